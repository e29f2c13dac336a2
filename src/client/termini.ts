/** Sources, targets and the peer's open between the words of the API and the fields of the standard. §3.5 */

import type { Outcome as OutcomeState } from '../definitions/delivery-state.ts'
import type { ErrorValue } from '../definitions/error.ts'
import type { Attach, Open } from '../definitions/performatives.ts'
import type { Coordinator, Source, Target } from '../definitions/terminus.ts'
import type { OpenInit } from '../engine/connection-endpoint.ts'
import type { ErrorFields } from '../engine/error-fields.ts'
import { AmqpCondition, type AmqpError, type DecodeError, type RemoteError, UsageError } from '../errors.ts'
import { fields, type Init } from '../types/composite.ts'
import { AmqpMap } from '../types/map.ts'
import { AmqpSymbol, type AmqpValue, Described, ulong } from '../types/values.ts'
import type { RemoteOpen } from './api.ts'
import type { Ends } from './keeping/keeper.ts'
import type {
  ConnectionOptions,
  ErrorInit,
  LinkReply,
  NodeLifetime,
  SourceInit,
  TargetInit,
  TerminusInit,
} from './options.ts'
import { type Outcome, outcomeOf } from './outcome.ts'

const EMPTY: ReadonlyMap<AmqpValue, AmqpValue> = /* @__PURE__ */ new Map()

/** A map that is always there, for the API. */
export const orEmpty = (map: AmqpMap | undefined): ReadonlyMap<AmqpValue, AmqpValue> => map ?? EMPTY

/** What is announced unless said otherwise: half of the silence that is borne. §2.4.5 */
const DEFAULT_IDLE_MS = 30_000

/** What we say of ourselves. §2.7.1 */
export function openInit(options: ConnectionOptions, containerId: string): OpenInit {
  const { hostname, maxFrameSize, channelMax, desiredCapabilities, offeredCapabilities, properties } = options
  const { idleTimeOut = DEFAULT_IDLE_MS } = options
  return {
    containerId,
    hostname,
    maxFrameSize,
    channelMax,
    idleTimeOut: idleTimeOut === 0 ? undefined : idleTimeOut,
    desiredCapabilities,
    offeredCapabilities,
    properties: optionalFields(properties),
  }
}

/** What the peer said of itself. §2.7.1 */
export const remoteOpen = (open: Open): RemoteOpen => ({
  containerId: open.containerId,
  hostname: open.hostname,
  maxFrameSize: open.maxFrameSize,
  channelMax: open.channelMax,
  idleTimeOut: open.idleTimeOut,
  offeredCapabilities: open.offeredCapabilities,
  desiredCapabilities: open.desiredCapabilities,
  properties: orEmpty(open.properties),
})

/** The maps that objects of ours were made from. */
const readFrom = /* @__PURE__ */ new WeakMap<object, AmqpMap>()

/** An object as a `fields` map; one that the peer has told goes back as it came, types and all. §2.8.13 */
export const optionalFields = (record: Readonly<Record<string, AmqpValue>> | undefined): AmqpMap | undefined =>
  record && (readFrom.get(record) ?? fields(record))

/** An error as the wire has it. §2.8.14 @throws {UsageError} without a condition */
export function errorFields(error: ErrorInit): ErrorFields {
  const { condition, description, info } = error
  if (typeof condition !== 'string')
    throw new UsageError('an error to be sent needs a condition, e.g. amqp:internal-error', '2.8.14')
  return { type: 'error', condition, description, info: optionalFields(info) }
}

/** What the peer hears of what it sent and nobody could read. §2.8.15 */
export const decodeFault = ({ message }: DecodeError): ErrorInit => ({
  condition: AmqpCondition.decodeError,
  description: message,
})
const LIFETIME = 'lifetime-policy'
/** Their descriptors, from 0x2b on. §3.5.10–13 */
const LIFETIMES: readonly NodeLifetime[] = [
  'delete-on-close',
  'delete-on-no-links',
  'delete-on-no-messages',
  'delete-on-no-links-or-messages',
]
const FIRST_LIFETIME = 0x2bn

/** §3.5.9 @throws {UsageError} a lifetime that is none of the four */
function nodeProperties({ lifetime, nodeProperties: properties }: TerminusInit): AmqpMap | undefined {
  if (lifetime === undefined) return optionalFields(properties)
  const at = LIFETIMES.indexOf(lifetime)
  if (at < 0) throw new UsageError(`a dynamic node's lifetime is one of ${LIFETIMES.join(', ')}`, '3.5.9')
  return fields({ ...properties, [LIFETIME]: new Described(ulong(FIRST_LIFETIME + BigInt(at)), []) })
}

/** The lifetime among node properties, by the number or the name of its type. */
function lifetimeOf(properties: AmqpMap | undefined): NodeLifetime | undefined {
  const policy = properties?.get(LIFETIME)
  if (!(policy instanceof Described)) return undefined
  const { descriptor } = policy
  return LIFETIMES.find(
    (name, i) => descriptor === FIRST_LIFETIME + BigInt(i) || String(descriptor) === `amqp:${name}:list`,
  )
}

/** What the peer asks of a dynamic node, or says of it. */
function nodeInit(properties: AmqpMap | undefined): Pick<TerminusInit, 'lifetime' | 'nodeProperties'> {
  const lifetime = lifetimeOf(properties)
  const all = record(properties)
  if (!all || !lifetime) return { nodeProperties: all && Object.keys(all).length > 0 ? all : undefined }
  const { [LIFETIME]: _, ...rest } = all
  return { lifetime, nodeProperties: Object.keys(rest).length > 0 ? rest : undefined }
}

/** §3.5.8 @throws {UsageError} a value that is neither described nor null */
function filterSet(filter: SourceInit['filter']): AmqpMap | undefined {
  for (const [name, value] of Object.entries(filter ?? {}))
    if (value !== null && !(value instanceof Described))
      throw new UsageError(`filter ${name} is a described value or null; \`filters\` makes the common ones`, '3.5.8')
  return optionalFields(filter)
}

function terminusFields(init: TerminusInit) {
  const { address, dynamic, durable, expiryPolicy, timeout, capabilities } = init
  return {
    address,
    dynamic,
    dynamicNodeProperties: nodeProperties(init),
    durable,
    expiryPolicy,
    timeout,
    capabilities,
  }
}

/** §3.5.4 §4.5.1; null is a target without an address, which asks for the anonymous relay. */
export function targetFields(init: string | TargetInit | null): (Init<Target> & { type: 'target' }) | Coordinator {
  if (init === null) return { type: 'target' }
  if (typeof init === 'object' && init.coordinator)
    return { type: 'coordinator', capabilities: init.capabilities ?? [] }
  return { type: 'target', ...terminusFields(typeof init === 'string' ? { address: init } : init) }
}

/** §3.5.3; null is a source without an address. */
export function sourceFields(init: string | SourceInit | null): Init<Source> {
  if (init === null) return {}
  const source: SourceInit = typeof init === 'string' ? { address: init } : init
  return {
    ...terminusFields(source),
    filter: filterSet(source.filter),
    distributionMode: source.distributionMode,
    defaultOutcome: source.defaultOutcome && stateOf(source.defaultOutcome),
    outcomes: source.outcomes,
  }
}

/** The state that an outcome stands for. */
function stateOf(outcome: Outcome): OutcomeState {
  switch (outcome.outcome) {
    case 'accepted':
      return { type: 'accepted' }
    case 'released':
      return { type: 'released' }
    case 'rejected':
      return { type: 'rejected', error: outcome.error && errorValue(outcome.error) }
    case 'modified':
      return {
        type: 'modified',
        deliveryFailed: outcome.deliveryFailed,
        undeliverableHere: outcome.undeliverableHere,
        messageAnnotations: outcome.messageAnnotations?.size ? new AmqpMap(outcome.messageAnnotations) : undefined,
      }
  }
}

/** What an error says, as the wire has it. */
const errorValue = (error: AmqpError): ErrorValue => {
  const { description, info } = error as Partial<RemoteError>
  return {
    type: 'error',
    condition: error.condition ?? AmqpCondition.internalError,
    description: description ?? error.message,
    info: info && new AmqpMap(info as ReadonlyMap<AmqpValue, AmqpValue>),
  }
}

/** A `fields` map as an object, for the API, frozen since it stands for the map. Keys are symbols: none is lost. */
function record(map: AmqpMap | undefined): Readonly<Record<string, AmqpValue>> | undefined {
  if (!map) return undefined
  const out: Record<string, AmqpValue> = Object.create(null)
  for (const [key, value] of map) out[key instanceof AmqpSymbol ? key.name : String(key)] = value
  readFrom.set(out, map)
  return Object.freeze(out)
}

/** A terminus without what is absent or means nothing. */
function terminusInit(terminus: Source | Target): TerminusInit {
  const { address, dynamic, dynamicNodeProperties, durable, expiryPolicy, timeout, capabilities } = terminus
  return present({
    address,
    dynamic: dynamic || undefined,
    ...nodeInit(dynamicNodeProperties),
    durable: durable === 'none' ? undefined : durable,
    expiryPolicy: expiryPolicy === 'session-end' ? undefined : expiryPolicy,
    timeout: timeout || undefined,
    capabilities: capabilities.length > 0 ? capabilities : undefined,
  })
}

const present = <T extends object>(object: T): T =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T

/** Both ends of a link that is accepted: as the peer says them, unless the reply says otherwise. §2.6.3 */
export function endsOf(attach: Attach, { reply }: { readonly reply?: LinkReply }): Ends {
  const { source, target } = reply ?? {}
  return {
    source: source === undefined ? attach.source : source === null ? undefined : sourceFields(source),
    target: target === undefined ? attach.target : target === null ? undefined : targetFields(target),
  }
}

/** What the peer's source says. */
export function sourceInit(source: Source | undefined): SourceInit | null {
  if (!source) return null
  const { filter, distributionMode, defaultOutcome, outcomes } = source
  return present({
    ...terminusInit(source),
    filter: record(filter),
    distributionMode: distributionMode as SourceInit['distributionMode'],
    defaultOutcome: outcomeOf(defaultOutcome),
    outcomes: outcomes.length > 0 ? outcomes : undefined,
  })
}

/** What the peer's target says; a coordinator is told apart by its flag. §4.5.1 */
export function targetInit(target: Target | Coordinator | undefined): TargetInit | null {
  if (!target) return null
  if (target.type === 'coordinator') return { coordinator: true, capabilities: target.capabilities }
  return terminusInit(target)
}

/** What a link that a peer attaches says of its ends. */
interface Termini {
  readonly source: SourceInit | null
  readonly target: TargetInit | null
}

/** An object with the termini of an attach, which are made when somebody first asks: many links are taken unseen. */
export function withTermini<L extends object>(
  { source, target }: Pick<Attach, 'source' | 'target'>,
  link: L,
): L & Termini {
  let from: SourceInit | null | undefined
  let to: TargetInit | null | undefined
  const readSource = () => {
    from ??= sourceInit(source)
    return from
  }
  const readTarget = () => {
    to ??= targetInit(target)
    return to
  }
  return Object.defineProperties(link, {
    source: { get: readSource, enumerable: true },
    target: { get: readTarget, enumerable: true },
  }) as L & Termini
}
