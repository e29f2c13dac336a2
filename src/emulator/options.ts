/** The options of an emulated hub, and what is wrong with them. */

import type { TlsOptions } from 'node:tls'
import { UsageError } from '../errors.ts'
import { checkShape, type Shape } from './check-shape.ts'
import type { EmulatorClock } from './clock.ts'
import type { GatewayVersion } from './gateway-version.ts'
import type { WebSocketServerClass } from './listening/websocket-listener.ts'
import type { QuotaOptions } from './quotas.ts'
import { checkState, type EmulatorState } from './state.ts'

/** How an emulator is set up. */
export interface IotHubEmulatorOptions {
  /** Ids of the devices that exist from the start, beside those of `state`. Default `['device1']`, with a `state` none. */
  readonly devices?: readonly string[] | undefined
  /** The host that connection strings name, without port; clients must be able to reach it. Default `'localhost'`. */
  readonly hostName?: string | undefined
  /** Partitions of the telemetry log, 1 … 32. Default 4. */
  readonly partitions?: number | undefined
  /** Consumer groups that telemetry may be read in, beside `$Default`. Case is left aside. Default: none. */
  readonly consumerGroups?: readonly string[] | undefined
  /**
   * The host that redirects to the built-in event hub name, without port. It must lead to this listener, and is told
   * apart from the hub by the name that a peer opens. Default: the hub's, where one name serves for both.
   */
  readonly eventHubHostName?: string | undefined
  /**
   * Where to listen: host (default 127.0.0.1), port (default any free one) and, instead of a certificate made for the
   * run, TLS options of your own. `'memory'`: nowhere, see {@link IotHubEmulator.transport}.
   */
  readonly listen?: EmulatorListenOptions | 'memory' | undefined
  /** Where to listen for WebSockets, over TLS as above. Default: nowhere. */
  readonly webSocket?: EmulatorWebSocketOptions | undefined
  /**
   * Where to listen for the HTTPS of back ends: calls of direct methods and twins, by a token with the right
   * ServiceConnect. The certificate is that of `listen`, or made for the run. Default: nowhere.
   */
  readonly https?: EmulatorHttpsOptions | undefined
  /** Default: the clock of this machine. */
  readonly clock?: EmulatorClock | undefined
  /** How long a receiver may keep a message, feedback batch or notification, in ms, > 0. Default 60 000. */
  readonly lockMs?: number | undefined
  /** Abandons after which a message, or a feedback batch, is given up, 1 … 100. Default 10. */
  readonly maxDeliveryCount?: number | undefined
  /** How long a message without an expiry of its own waits for its device, in ms, > 0. Default 3 600 000 (1 h). */
  readonly timeToLiveMs?: number | undefined
  /** How long feedback is gathered into a batch of up to 64 records, in ms, ≥ 0. Default 15 000. */
  readonly feedbackBatchMs?: number | undefined
  /** How long telemetry is kept, in ms, > 0. Default 86 400 000 (1 day). */
  readonly retentionMs?: number | undefined
  /** How long after its expiry a token is still taken, in ms, ≥ 0. Default 300 000 (5 min). */
  readonly tokenSkewMs?: number | undefined
  /**
   * Which of the two kinds of gateway it looks like: `'v1'`, or `'v2'`, whose flows lack a field. Rhea, and what is built on
   * it, stalls with that in the end. Default `'v1'`.
   */
  readonly gateway?: GatewayVersion | undefined
  /**
   * Refuse messages that come too fast, with `com.microsoft:device-container-throttled`, or are too many for a day, with
   * `amqp:resource-limit-exceeded`; `true` for the quotas of one unit. Sizes and the depth of queues are limited in any
   * case. Default false.
   */
  readonly quotas?: boolean | QuotaOptions | undefined
  /**
   * What {@link IotHubEmulator.state} of an earlier hub gave, for clients to find the same one again: keys, certificate,
   * id scope, enrolments. Default: all are made anew.
   */
  readonly state?: EmulatorState | undefined
  /**
   * Called when the provisioning service has made a device on the hub, or given it other keys, and before the device is
   * told: to keep {@link IotHubEmulator.state} with it. It must not throw.
   */
  readonly onAssigned?: ((deviceId: string) => void) | undefined
}

/** Where an emulator listens. */
export interface EmulatorListenOptions {
  readonly host?: string | undefined
  readonly port?: number | undefined
  readonly tls?: TlsOptions | undefined
}

/** Where an emulator listens for WebSockets, at `/$iothub/websocket` with the sub-protocol `AMQPWSB10`. */
export interface EmulatorWebSocketOptions {
  /** `WebSocketServer` of the package `ws`, or a class like it. */
  readonly server: WebSocketServerClass
  /** Default 127.0.0.1. */
  readonly host?: string | undefined
  /** Default any free one. Clients of Microsoft's know only 443. */
  readonly port?: number | undefined
}

/** Where an emulator listens for HTTPS. */
export interface EmulatorHttpsOptions {
  /** Default 127.0.0.1. */
  readonly host?: string | undefined
  /** Default any free one. */
  readonly port?: number | undefined
}

const OPTIONS: Shape<IotHubEmulatorOptions> = {
  devices: 'texts',
  hostName: 'text',
  partitions: 'number',
  consumerGroups: 'texts',
  eventHubHostName: 'text',
  listen: 'any',
  webSocket: 'object',
  https: 'object',
  clock: 'object',
  lockMs: 'number',
  maxDeliveryCount: 'number',
  timeToLiveMs: 'number',
  feedbackBatchMs: 'number',
  retentionMs: 'number',
  tokenSkewMs: 'number',
  gateway: 'text',
  quotas: 'any',
  state: 'any',
  onAssigned: 'function',
}
const LISTEN: Shape<EmulatorListenOptions> = { host: 'text', port: 'port', tls: 'object' }
const WEB_SOCKET: Shape<EmulatorWebSocketOptions> = { server: 'class', host: 'text', port: 'port' }
const HTTPS: Shape<EmulatorHttpsOptions> = { host: 'text', port: 'port' }
const QUOTAS: Shape<QuotaOptions> = {
  telemetryPerSecond: 'number',
  commandsPerMinute: 'number',
  twinReadsPerSecond: 'number',
  twinUpdatesPerSecond: 'number',
  messagesPerDay: 'number',
}

/** @throws {UsageError} there is no such option, or it is of another type or out of range */
export function checkOptions(options: IotHubEmulatorOptions): void {
  checkShape('option of IotHubEmulator.start', options, OPTIONS)
  const { listen = 'memory', webSocket, https, quotas = false } = options
  if (listen !== 'memory') checkShape('option of listen', listen, LISTEN)
  if (webSocket !== undefined) checkShape('option of webSocket', webSocket, WEB_SOCKET)
  if (webSocket !== undefined && webSocket.server === undefined)
    throw new UsageError('IoT Hub emulator: webSocket needs a server: WebSocketServer of the package ws')
  if (https !== undefined) checkShape('option of https', https, HTTPS)
  if (typeof quotas !== 'boolean') checkShape('option of quotas', quotas, QUOTAS)
  const { lockMs = 1, maxDeliveryCount = 1, timeToLiveMs = 1, feedbackBatchMs = 0, tokenSkewMs = 0 } = options
  const { retentionMs = 1 } = options
  const { gateway = 'v1' } = options
  for (const [name, value] of Object.entries({ lockMs, timeToLiveMs, retentionMs }))
    if (!(value > 0)) throw new UsageError(`IoT Hub emulator: ${name} must be greater than 0`)
  for (const [name, value] of Object.entries({ feedbackBatchMs, tokenSkewMs }))
    if (!(value >= 0)) throw new UsageError(`IoT Hub emulator: ${name} must not be negative`)
  if (!(Number.isInteger(maxDeliveryCount) && maxDeliveryCount >= 1 && maxDeliveryCount <= 100))
    throw new UsageError('IoT Hub emulator: maxDeliveryCount must be 1 … 100')
  if (options.state !== undefined) checkState(options.state)
  if (gateway !== 'v1' && gateway !== 'v2') throw new UsageError("IoT Hub emulator: gateway is 'v1' or 'v2'")
}
