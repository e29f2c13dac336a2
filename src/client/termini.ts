/** Sources and targets between the words of the API and the fields of the standard. §3.5 */

import type { Outcome as OutcomeState } from '../definitions/delivery-state.ts'
import type { Open } from '../definitions/performatives.ts'
import type { Coordinator, Source, Target } from '../definitions/terminus.ts'
import type { ErrorFields } from '../engine/error-fields.ts'
import { UsageError } from '../errors.ts'
import { fields, type Init } from '../types/composite.ts'
import type { AmqpMap } from '../types/map.ts'
import { AmqpSymbol, type AmqpValue } from '../types/values.ts'
import type { RemoteOpen } from './api.ts'
import type { ErrorInit, SourceInit, TargetInit, TerminusInit } from './options.ts'
import { type Outcome, outcomeOf } from './outcome.ts'

const EMPTY: ReadonlyMap<AmqpValue, AmqpValue> = /* @__PURE__ */ new Map()

/** A map that is always there, for the API. */
export const orEmpty = (map: AmqpMap | undefined): ReadonlyMap<AmqpValue, AmqpValue> => map ?? EMPTY

/** An object as a `fields` map. §2.8.13 */
export const optionalFields = (record: Readonly<Record<string, AmqpValue>> | undefined): AmqpMap | undefined =>
  record && fields(record)

/** An error as the wire has it. §2.8.14 @throws {UsageError} without a condition */
export function errorFields(error: ErrorInit): ErrorFields {
  const { condition, description, info } = error
  if (typeof condition !== 'string')
    throw new UsageError('an error to be sent needs a condition, e.g. amqp:internal-error', '2.8.14')
  return { type: 'error', condition, description, info: optionalFields(info) }
}

function terminusFields(init: TerminusInit) {
  const { address, dynamic, nodeProperties, durable, expiryPolicy, timeout, capabilities } = init
  return {
    address,
    dynamic,
    dynamicNodeProperties: optionalFields(nodeProperties),
    durable,
    expiryPolicy,
    timeout,
    capabilities,
  }
}

/** §3.5.4; null is a target without an address, which asks for the anonymous relay. */
export function targetFields(init: string | TargetInit | null): Init<Target> & { type: 'target' } {
  if (init === null) return { type: 'target' }
  return { type: 'target', ...terminusFields(typeof init === 'string' ? { address: init } : init) }
}

/** §3.5.3; null is a source without an address. */
export function sourceFields(init: string | SourceInit | null): Init<Source> {
  if (init === null) return {}
  const source: SourceInit = typeof init === 'string' ? { address: init } : init
  return {
    ...terminusFields(source),
    filter: optionalFields(source.filter),
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
      return { type: 'rejected', error: undefined }
    case 'modified':
      return {
        type: 'modified',
        deliveryFailed: outcome.deliveryFailed,
        undeliverableHere: outcome.undeliverableHere,
        messageAnnotations: undefined,
      }
  }
}

/** A `fields` map as an object, for the API. Keys are symbols, so nothing is lost. */
function record(map: AmqpMap | undefined): Readonly<Record<string, AmqpValue>> | undefined {
  if (!map) return undefined
  const out: Record<string, AmqpValue> = Object.create(null)
  for (const [key, value] of map) out[key instanceof AmqpSymbol ? key.name : String(key)] = value
  return out
}

/** A terminus without what is absent or means nothing. */
function terminusInit(terminus: Source | Target): TerminusInit {
  const { address, dynamic, dynamicNodeProperties, durable, expiryPolicy, timeout, capabilities } = terminus
  return present({
    address,
    dynamic: dynamic || undefined,
    nodeProperties: record(dynamicNodeProperties),
    durable: durable === 'none' ? undefined : durable,
    expiryPolicy: expiryPolicy === 'session-end' ? undefined : expiryPolicy,
    timeout: timeout || undefined,
    capabilities: capabilities.length > 0 ? capabilities : undefined,
  })
}

const present = <T extends object>(object: T): T =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T

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
export function targetInit(target: Target | Coordinator | undefined): (TargetInit & { coordinator?: boolean }) | null {
  if (!target) return null
  if (target.type === 'coordinator') return { coordinator: true, capabilities: target.capabilities }
  return terminusInit(target)
}

/** What the peer says of itself. §2.7.1 */
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
