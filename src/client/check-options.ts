/** What is wrong with options, said before anything is opened: names that mean nothing, numbers out of range. */

import { DEFAULT_LIMITS } from '../engine/limits.ts'
import { UsageError } from '../errors.ts'
import { checkPem } from '../io/tls-options.ts'
import { checkSignal } from './operation.ts'
import type {
  ConnectionOptions,
  ConnectOptions,
  LinkOptions,
  ListenOptions,
  ReceiverOptions,
  SenderOptions,
  SourceInit,
  TargetInit,
} from './options.ts'
import { backOffOf, type ReconnectOptions } from './recovery/back-off.ts'

/** Every name of an interface, so that one that is added to it and not here does not compile. */
type Names<T> = Readonly<Record<keyof T, 0>>

const CONNECTION: Names<ConnectionOptions> = {
  signal: 0,
  containerId: 0,
  hostname: 0,
  maxFrameSize: 0,
  channelMax: 0,
  idleTimeOut: 0,
  desiredCapabilities: 0,
  offeredCapabilities: 0,
  properties: 0,
  limits: 0,
  wireProfile: 0,
  trace: 0,
}

const CONNECT: Names<Omit<ConnectOptions, keyof ConnectionOptions>> = {
  host: 0,
  port: 0,
  tls: 0,
  hosts: 0,
  reconnect: 0,
  transport: 0,
  webSocket: 0,
  proxy: 0,
  sasl: 0,
  allowInsecureAuth: 0,
  pipeline: 0,
  followRedirects: 0,
}

const RECONNECT: Names<ReconnectOptions> = {
  initialMs: 0,
  maxMs: 0,
  stableMs: 0,
  attempts: 0,
  resend: 0,
  resume: 0,
  reattach: 0,
  retry: 0,
  onReopened: 0,
  onStateChange: 0,
}

const LISTEN: Names<Omit<ListenOptions, keyof ConnectionOptions>> = {
  host: 0,
  port: 0,
  tls: 0,
  sasl: 0,
  allowNoSasl: 0,
  coordinator: 0,
  termini: 0,
  transport: 0,
  links: 0,
  authorise: 0,
  maxConnections: 0,
}

const LINK: Names<LinkOptions> = { signal: 0, name: 0, properties: 0, maxMessageSize: 0, desiredCapabilities: 0 }

const SENDER: Names<SenderOptions> = { ...LINK, settle: 0, maxPending: 0, source: 0, unsettled: 0 }

const RECEIVER: Names<ReceiverOptions> = {
  ...LINK,
  credit: 0,
  streaming: 0,
  settle: 0,
  sndSettleMode: 0,
  target: 0,
  unsettled: 0,
}

const TERMINUS: Names<SourceInit & TargetInit> = {
  address: 0,
  dynamic: 0,
  lifetime: 0,
  nodeProperties: 0,
  durable: 0,
  expiryPolicy: 0,
  timeout: 0,
  capabilities: 0,
  coordinator: 0,
  filter: 0,
  distributionMode: 0,
  defaultOutcome: 0,
  outcomes: 0,
}

/** @throws {UsageError} for names that mean nothing to a link */
export function checkLinkOptions(role: 'sender' | 'receiver', options: SenderOptions | ReceiverOptions): void {
  checkNames(`option of ${role}`, options, role === 'sender' ? SENDER : RECEIVER)
}

/** @throws {UsageError} for names that mean nothing of a source or target */
export function checkTerminusNames(what: string, terminus: object): void {
  checkNames(`field of a ${what}`, terminus, TERMINUS)
}

/** @throws {UsageError} for what `connect` cannot work with */
export function checkConnectOptions(options: ConnectOptions): void {
  check('connect', options, CONNECT)
  checkPort(options.port, 1)
  const { reconnect, transport, tls } = options
  if (typeof tls === 'object' && !transport) checkPem(tls)
  if (reconnect === undefined || reconnect === false) return
  if (typeof reconnect !== 'object' || reconnect === null)
    throw new UsageError('reconnect is an object of options, {} for the defaults, or false')
  checkNames('option of reconnect', reconnect, RECONNECT)
  backOffOf(reconnect)
  if (typeof transport === 'object')
    throw new UsageError('a transport is used up when it is lost: with `reconnect`, give a function that makes one')
}

/** @throws {UsageError} for what `listen` cannot work with */
export function checkListenOptions(options: ListenOptions): void {
  check('listen', options, LISTEN)
  if (options.port !== null) checkPort(options.port, 0)
  checkPem(options.tls)
  for (const mechanism of [options.sasl ?? []].flat())
    if (typeof mechanism?.start !== 'function' || typeof mechanism.name !== 'string')
      throw new UsageError('sasl is a mechanism such as saslServer.plain(check), or a list of them')
}

function check(what: string, options: ConnectionOptions, own: object): void {
  checkNames(`option of ${what}`, options, { ...CONNECTION, ...own })
  if (options.limits) checkNames('limit', options.limits, DEFAULT_LIMITS)
  checkSignal(options.signal)
  checkNumber('maxFrameSize', options.maxFrameSize, 512, 0xffffffff)
  checkNumber('channelMax', options.channelMax, 0, 0xffff)
  checkNumber('idleTimeOut', options.idleTimeOut, 0, 0xffffffff)
}

/** One that is undefined is one that was not given, whatever its name. */
function checkNames(kind: string, given: object, known: object): void {
  for (const name of Object.keys(given))
    if (!Object.hasOwn(known, name) && (given as Record<string, unknown>)[name] !== undefined)
      throw new UsageError(`there is no ${kind} named ${JSON.stringify(name)}`)
}

const checkPort = (port: unknown, min: number): void => checkNumber('port', port, min, 0xffff)

function checkNumber(name: string, value: unknown, min: number, max: number): void {
  if (value === undefined || (Number.isInteger(value) && (value as number) >= min && (value as number) <= max)) return
  throw new UsageError(`${name} is an integer from ${min} to ${max}, not ${String(value)}`)
}
