/**
 * An IoT Hub in this process: devices and back ends connect to it over TLS or over transports in memory, with the
 * connection strings that it makes for them, and programs look in from behind.
 *
 * It serves telemetry, cloud-to-device messages and feedback, direct methods and twins, with authentication by CBS or
 * SASL PLAIN. The Event Hubs endpoint is refused as not implemented. It keeps everything in memory and is meant for tests and
 * demonstrations, on loopback. Facts: spec-notes/iothub.md
 */

import type { TlsOptions } from 'node:tls'
import type { Listener } from '../client/api.ts'
import { listen } from '../client/listen.ts'
import type { ListenOptions } from '../client/options.ts'
import { AmqpCondition, RemoteError, UsageError } from '../errors.ts'
import type { Transport } from '../io/transport.ts'
import { commandTo } from '../iothub/addresses.ts'
import { formatConnectionString } from '../iothub/connection-string.ts'
import { type Certificate, createCertificate } from './certificate.ts'
import { type EmulatorClock, systemClock } from './clock.ts'
import type { FeedbackStatus } from './command-queue.ts'
import type { DeviceNode } from './device-node.ts'
import type { TelemetryEvent } from './event-log.ts'
import { type HttpsListener, listenHttps } from './https-listener.ts'
import { Hub } from './hub.ts'
import { type InvokeMethodOptions, invokeMethod, type MethodAnswer } from './invocation.ts'
import { memoryTransportPair } from './memory.ts'
import { ServiceApi } from './service-api.ts'
import { type TwinView, twinView, type UpdateDesiredOptions, updateDesired } from './twin-view.ts'

/** How an emulator is set up. */
export interface IotHubEmulatorOptions {
  /** Ids of the devices that exist from the start. Default `['device1']`. */
  readonly devices?: readonly string[] | undefined
  /** The host that connection strings name, without port; clients must be able to reach it. Default `'localhost'`. */
  readonly hostName?: string | undefined
  /** Partitions of the telemetry log, 1 … 32. Default 4. */
  readonly partitions?: number | undefined
  /**
   * Where to listen: host (default 127.0.0.1), port (default any free one) and, instead of a certificate made for the
   * run, TLS options of your own. `'memory'`: nowhere, see {@link IotHubEmulator.transport}.
   */
  readonly listen?: EmulatorListenOptions | 'memory' | undefined
  /**
   * Where to listen for the HTTPS of back ends: calls of direct methods and twins, by a token with the right
   * ServiceConnect. The certificate is that of `listen`, or made for the run. Default: nowhere.
   */
  readonly https?: EmulatorHttpsOptions | undefined
  /** Default: the clock of this machine. */
  readonly clock?: EmulatorClock | undefined
  /** How long a receiver may keep a message or a feedback batch, in ms, > 0. Default 60 000. */
  readonly lockMs?: number | undefined
  /** Abandons after which a message is given up, 1 … 100. Default 10. */
  readonly maxDeliveryCount?: number | undefined
  /** How long a message without an expiry of its own waits for its device, in ms, > 0. Default 3 600 000 (1 h). */
  readonly timeToLiveMs?: number | undefined
  /** How long feedback is gathered into a batch of up to 64 records, in ms, ≥ 0. Default 15 000. */
  readonly feedbackBatchMs?: number | undefined
  /** How long after its expiry a token is still taken, in ms, ≥ 0. Default 300 000 (5 min). */
  readonly tokenSkewMs?: number | undefined
}

/** Where an emulator listens. */
export interface EmulatorListenOptions {
  readonly host?: string | undefined
  readonly port?: number | undefined
  readonly tls?: TlsOptions | undefined
}

/** Where an emulator listens for HTTPS. */
export interface EmulatorHttpsOptions {
  /** Default 127.0.0.1. */
  readonly host?: string | undefined
  /** Default any free one. */
  readonly port?: number | undefined
}

/** A message for a device, from behind the hub. */
export interface EmulatorMessage {
  /** A string is sent as UTF-8. */
  readonly body: Uint8Array | string
  readonly properties?: Readonly<Record<string, string>> | undefined
  readonly messageId?: string | undefined
  readonly correlationId?: string | undefined
  readonly contentType?: string | undefined
  readonly contentEncoding?: string | undefined
  /** When to give up. Default: after `timeToLiveMs`. */
  readonly expiry?: Date | undefined
}

/** Where below a device a message goes. */
export interface SendToDeviceOptions {
  readonly moduleId?: string | undefined
  /** An input of the module, as if another module's output led there. */
  readonly inputName?: string | undefined
}

/** A hub. Make it with {@link IotHubEmulator.start}. */
export class IotHubEmulator implements AsyncDisposable {
  /** Of the authority that signed the certificate of this run, PEM; `undefined` without TLS or with TLS of your own. */
  readonly ca: string | undefined
  /** The port that is listened on; 0 for a hub in memory. */
  readonly port: number
  /** The port that is listened on for HTTPS; 0 without. */
  readonly httpsPort: number
  readonly #https: HttpsListener | undefined
  readonly #hostName: string
  readonly #hub: Hub
  readonly #listener: Listener

  private constructor(
    hub: Hub,
    listener: Listener,
    https: HttpsListener | undefined,
    hostName: string,
    port: number,
    ca: string | undefined,
  ) {
    this.ca = ca
    this.port = port
    this.httpsPort = https?.port ?? 0
    this.#https = https
    this.#hostName = hostName
    this.#hub = hub
    this.#listener = listener
  }

  /**
   * Starts a hub with the given devices and the policies of a new one, all with fresh keys.
   *
   * @throws {UsageError} a device id is invalid or given twice, or an option is out of range
   * @throws {TransportError} the port is taken or may not be used
   */
  static async start(options: IotHubEmulatorOptions = {}): Promise<IotHubEmulator> {
    const { hostName = 'localhost', listen: where = {} } = options
    checkOptions(options)
    const hub = new Hub(hostName, options)
    for (const deviceId of options.devices ?? ['device1']) hub.registry.addDevice(deviceId)
    const given = where === 'memory' ? undefined : where.tls
    const isOwnTls = given === undefined && (where !== 'memory' || options.https !== undefined)
    const certificate = isOwnTls ? await createCertificate({ hostNames: [hostName] }) : undefined
    const listener = await listen({ ...hub.listenOptions(), ...socketOptions(where, certificate) })
    listener.on('connection', connection => hub.serve(connection))
    // A peer that fails its handshake is the peer's affair.
    listener.on('error', () => {})
    const port = where === 'memory' ? 0 : listener.port
    const tls = given ?? { cert: certificate?.cert, key: certificate?.key }
    const https = await listenForApi(hub, hostName, tls, options).catch(async error => {
      await listener.close()
      throw error
    })
    return new IotHubEmulator(hub, listener, https, hostName, port, certificate?.ca)
  }

  /**
   * Telemetry, from the oldest event kept; each iteration begins there, and waits for more until the hub is closed.
   * The last 100 000 events are kept.
   */
  get telemetry(): AsyncIterable<TelemetryEvent, undefined> {
    return this.#hub.events
  }

  /**
   * The connection string of a device or module, or of the policy `service`.
   *
   * @returns text with a key in it
   * @throws {UsageError} if there is no such device or module
   */
  connectionString(
    who: { readonly deviceId: string; readonly moduleId?: string | undefined } | { readonly service: true },
  ): string {
    const common = { hostName: this.#hostName, port: this.port === 0 ? undefined : this.port }
    const { registry } = this.#hub
    if ('service' in who) {
      const sharedAccessKey = registry.policy('service')?.primaryKey
      return formatConnectionString({ kind: 'service', keyName: 'service', sharedAccessKey, ...common })
    }
    const { deviceId, moduleId } = who
    const identity = moduleId === undefined ? registry.device(deviceId) : registry.module(deviceId, moduleId)
    if (identity === undefined) throw unknown(deviceId, moduleId)
    const sharedAccessKey = identity.primaryKey
    return formatConnectionString({ kind: 'device', deviceId, moduleId, sharedAccessKey, x509: false, ...common })
  }

  /** Adds a device, with fresh keys. @throws {UsageError} if the id is invalid or taken */
  addDevice(deviceId: string): void {
    this.#hub.registry.addDevice(deviceId)
  }

  /** Adds a module to a device, with fresh keys. @throws {UsageError} there is no such device, the id is invalid or taken */
  addModule(deviceId: string, moduleId: string): void {
    this.#hub.registry.addModule(deviceId, moduleId)
  }

  /** A transport whose other end this hub serves. It works whether or not the hub listens too. */
  transport(): Transport {
    const [ours, theirs] = memoryTransportPair()
    this.accept(theirs)
    return ours
  }

  /**
   * Serves the peer of a transport, e.g. of a WebSocket that a server of yours has accepted at `/$iothub/websocket` with
   * the sub-protocol `AMQPWSB10`: `hub.accept(webSocketTransport(socket))`. It works whether or not the hub listens too.
   */
  accept(transport: Transport): void {
    // A peer that fails its handshake is the peer's affair.
    this.#listener.accept(transport).then(
      connection => this.#hub.serve(connection),
      () => {},
    )
  }

  /**
   * Queues a message for a device or module and waits for its end: until it has been settled for good, or has expired.
   *
   * @param options  `moduleId`: for this module; `inputName`: for this input of the module
   * @throws {UsageError} if there is no such device or module, or a device is to have an input
   * @throws {RemoteError} its queue is full: condition `amqp:resource-limit-exceeded`
   * @throws {ClosedError} the hub was closed first
   */
  async sendToDevice(
    deviceId: string,
    message: EmulatorMessage,
    options: SendToDeviceOptions = {},
  ): Promise<FeedbackStatus> {
    const { moduleId, inputName } = options
    const node = this.#node(deviceId, moduleId)
    if (inputName !== undefined && moduleId === undefined)
      throw new UsageError('IoT Hub emulator: only modules have inputs')
    const { body, messageId, correlationId, contentType, contentEncoding, expiry } = message
    return await this.#hub.untilClosed<FeedbackStatus>((resolve, reject) => {
      const isQueued = node.enqueue(
        {
          ack: 'none',
          properties: { messageId, to: commandTo(deviceId, moduleId), correlationId, contentType, contentEncoding },
          applicationProperties: new Map(Object.entries(message.properties ?? {})),
          body: typeof body === 'string' ? new TextEncoder().encode(body) : body,
          inputName,
          onEnd: resolve,
        },
        expiry?.getTime(),
      )
      const condition = AmqpCondition.resourceLimitExceeded
      const what = `the queue of ${nameOf(deviceId, moduleId)} is full`
      if (!isQueued) reject(new RemoteError(what, 'delivery', { condition }))
    })
  }

  /**
   * Calls a direct method of a device or module and waits for its answer.
   *
   * @param payload  anything that JSON can say, up to 128 KiB; `undefined` becomes `null`
   * @throws {UsageError} there is no such device or module, or an argument is out of range
   * @throws {RemoteError} `amqp:not-found` (error-code 404103): the device takes no calls, or went away;
   *   `com.microsoft:timeout` (504101): it did not answer in time
   * @throws {ClosedError} the hub was closed first
   */
  async invokeMethod(
    deviceId: string,
    name: string,
    payload?: unknown,
    options: InvokeMethodOptions = {},
  ): Promise<MethodAnswer> {
    const { moduleId } = options
    return await invokeMethod(
      this.#node(deviceId, moduleId).methods,
      nameOf(deviceId, moduleId),
      name,
      payload,
      options,
    )
  }

  /**
   * The twin of a device or module as back ends have it, as it stands. A copy.
   *
   * @throws {UsageError} there is no such device or module
   */
  twin(deviceId: string, options: { readonly moduleId?: string | undefined } = {}): TwinView {
    return twinView(this.#node(deviceId, options.moduleId))
  }

  /**
   * Patches the desired properties of a device or module: objects are merged, `null` removes, all else replaces. A
   * device that has subscribed is told.
   *
   * @param options  `etag`: only if the twin has it
   * @returns the new version of the desired properties
   * @throws {UsageError} there is no such device or module, or the patch is not what a twin takes
   * @throws {RemoteError} `com.microsoft:precondition-failed`: the twin has another etag
   */
  updateDesired(deviceId: string, patch: object, options: UpdateDesiredOptions = {}): number {
    const { moduleId, etag } = options
    return updateDesired(this.#node(deviceId, moduleId).twin, nameOf(deviceId, moduleId), patch, etag)
  }

  /** Stops listening, closes every connection and ends the iterations over telemetry. */
  async close(): Promise<void> {
    this.#hub.close()
    await Promise.all([this.#listener.close(), this.#https?.close()])
  }

  /** {@link close} */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #node(deviceId: string, moduleId: string | undefined): DeviceNode {
    const node = this.#hub.device(deviceId, moduleId)
    if (node === undefined) throw unknown(deviceId, moduleId)
    return node
  }
}

function checkOptions(options: IotHubEmulatorOptions): void {
  const { lockMs = 1, maxDeliveryCount = 1, timeToLiveMs = 1, feedbackBatchMs = 0, tokenSkewMs = 0 } = options
  for (const [name, value] of Object.entries({ lockMs, timeToLiveMs }))
    if (!(value > 0)) throw new UsageError(`IoT Hub emulator: ${name} must be greater than 0`)
  for (const [name, value] of Object.entries({ feedbackBatchMs, tokenSkewMs }))
    if (!(value >= 0)) throw new UsageError(`IoT Hub emulator: ${name} must not be negative`)
  if (!(Number.isInteger(maxDeliveryCount) && maxDeliveryCount >= 1 && maxDeliveryCount <= 100))
    throw new UsageError('IoT Hub emulator: maxDeliveryCount must be 1 … 100')
}

function socketOptions(where: EmulatorListenOptions | 'memory', certificate: Certificate | undefined): ListenOptions {
  if (where === 'memory') return { port: null }
  const { host = '127.0.0.1', port = 0, tls = { cert: certificate?.cert, key: certificate?.key } } = where
  return { host, port, tls }
}

async function listenForApi(
  hub: Hub,
  hostName: string,
  tls: TlsOptions,
  { https, clock = systemClock }: IotHubEmulatorOptions,
): Promise<HttpsListener | undefined> {
  if (https === undefined) return undefined
  const api = new ServiceApi({
    hostName,
    now: () => clock.now(),
    authenticate: token => hub.authenticate(token),
    device: (deviceId, moduleId) => hub.device(deviceId, moduleId),
  })
  const { host = '127.0.0.1', port = 0 } = https
  return await listenHttps({ host, port, tls }, request => api.handle(request))
}

function unknown(deviceId: string, moduleId: string | undefined): UsageError {
  return new UsageError(`IoT Hub emulator: there is no ${nameOf(deviceId, moduleId)}`)
}

function nameOf(deviceId: string, moduleId: string | undefined): string {
  return moduleId === undefined ? `device '${deviceId}'` : `module '${moduleId}' of device '${deviceId}'`
}
