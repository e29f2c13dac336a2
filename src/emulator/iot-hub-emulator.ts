/**
 * An IoT Hub in this process: devices and back ends connect to it over TLS or over transports in memory, with the
 * connection strings that it makes for them, and programs look in from behind.
 *
 * It serves telemetry at both ends, cloud-to-device messages, feedback and file upload notifications, with
 * authentication by CBS or SASL PLAIN. Methods and twins are refused as not implemented. It keeps everything in memory and is meant for tests and
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
import type { EmulatorClock } from './clock.ts'
import type { FeedbackStatus } from './command-queue.ts'
import type { TelemetryEvent } from './event-log.ts'
import type { FileUpload } from './file-notifications.ts'
import { Hub } from './hub.ts'
import { memoryTransportPair } from './memory.ts'
import type { QuotaOptions } from './quotas.ts'

/** How an emulator is set up. */
export interface IotHubEmulatorOptions {
  /** Ids of the devices that exist from the start. Default `['device1']`. */
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
  /** Default: the clock of this machine. */
  readonly clock?: EmulatorClock | undefined
  /** How long a receiver may keep a message, feedback batch or notification, in ms, > 0. Default 60 000. */
  readonly lockMs?: number | undefined
  /** Abandons after which a message is given up, 1 … 100. Default 10. */
  readonly maxDeliveryCount?: number | undefined
  /** How long a message without an expiry of its own waits for its device, in ms, > 0. Default 3 600 000 (1 h). */
  readonly timeToLiveMs?: number | undefined
  /** How long feedback is gathered into a batch of up to 64 records, in ms, ≥ 0. Default 15 000. */
  readonly feedbackBatchMs?: number | undefined
  /** How long after its expiry a token is still taken, in ms, ≥ 0. Default 300 000 (5 min). */
  readonly tokenSkewMs?: number | undefined
  /**
   * Refuse messages that come too fast, with `com.microsoft:device-container-throttled`, or are too many for a day, with
   * `amqp:resource-limit-exceeded`; `true` for the quotas of one unit. Sizes and the depth of queues are limited in any
   * case. Default false.
   */
  readonly quotas?: boolean | QuotaOptions | undefined
}

/** Where an emulator listens. */
export interface EmulatorListenOptions {
  readonly host?: string | undefined
  readonly port?: number | undefined
  readonly tls?: TlsOptions | undefined
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

/** A hub. Make it with {@link IotHubEmulator.start}. */
export class IotHubEmulator implements AsyncDisposable {
  /** Of the authority that signed the certificate of this run, PEM; `undefined` without TLS or with TLS of your own. */
  readonly ca: string | undefined
  /** The port that is listened on; 0 for a hub in memory. */
  readonly port: number
  readonly #hostName: string
  readonly #hub: Hub
  readonly #listener: Listener

  private constructor(hub: Hub, listener: Listener, hostName: string, port: number, ca: string | undefined) {
    this.ca = ca
    this.port = port
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
    const isOwnTls = where !== 'memory' && where.tls === undefined
    const hostNames = [hostName, ...(options.eventHubHostName === undefined ? [] : [options.eventHubHostName])]
    const certificate = isOwnTls ? await createCertificate({ hostNames }) : undefined
    const listener = await listen({ ...hub.listenOptions(), ...socketOptions(where, certificate) })
    listener.on('connection', connection => hub.serve(connection))
    // A peer that fails its handshake is the peer's affair.
    listener.on('error', () => {})
    const port = where === 'memory' ? 0 : listener.port
    if (port !== 0) hub.eventHub.port = port
    return new IotHubEmulator(hub, listener, hostName, port, certificate?.ca)
  }

  /**
   * Telemetry, from the oldest event kept; each iteration begins there, and waits for more until the hub is closed.
   * The last 100 000 events are kept.
   */
  get telemetry(): AsyncIterable<TelemetryEvent, undefined> {
    return this.#hub.events
  }

  /**
   * The connection string of a device, or of the policy `service`, at the hub or at its event hub, for clients of those.
   *
   * @returns text with a key in it
   * @throws {UsageError} if there is no such device
   */
  connectionString(
    who: { readonly deviceId: string } | { readonly service: true } | { readonly eventHub: true },
  ): string {
    if ('eventHub' in who) return this.#hub.eventHubConnectionString()
    const common = { hostName: this.#hostName, port: this.port === 0 ? undefined : this.port }
    if ('service' in who) {
      const policy = this.#hub.registry.policy('service')
      return formatConnectionString({
        kind: 'service',
        keyName: 'service',
        sharedAccessKey: policy?.primaryKey,
        ...common,
      })
    }
    const { deviceId } = who
    const device = this.#hub.registry.device(deviceId)
    if (device === undefined) throw unknownDevice(deviceId)
    return formatConnectionString({
      kind: 'device',
      deviceId,
      sharedAccessKey: device.primaryKey,
      x509: false,
      ...common,
    })
  }

  /** Adds a device, with fresh keys. @throws {UsageError} if the id is invalid or taken */
  addDevice(deviceId: string): void {
    this.#hub.registry.addDevice(deviceId)
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
   * Queues a message for a device and waits for its end: until the device has settled it for good, or it has expired.
   *
   * @throws {UsageError} if there is no such device
   * @throws {RemoteError} its queue is full: condition `amqp:resource-limit-exceeded`
   * @throws {ClosedError} the hub was closed first
   */
  async sendToDevice(deviceId: string, message: EmulatorMessage): Promise<FeedbackStatus> {
    const device = this.#hub.device(deviceId, undefined)
    if (device === undefined) throw unknownDevice(deviceId)
    const { body, messageId, correlationId, contentType, contentEncoding, expiry } = message
    return await this.#hub.untilClosed<FeedbackStatus>((resolve, reject) => {
      const isQueued = device.enqueue(
        {
          ack: 'none',
          properties: { messageId, to: commandTo(deviceId), correlationId, contentType, contentEncoding },
          applicationProperties: new Map(Object.entries(message.properties ?? {})),
          body: typeof body === 'string' ? new TextEncoder().encode(body) : body,
          onEnd: resolve,
        },
        expiry?.getTime(),
      )
      const condition = AmqpCondition.resourceLimitExceeded
      if (!isQueued) reject(new RemoteError(`the queue of device '${deviceId}' is full`, 'delivery', { condition }))
    })
  }

  /**
   * Empties the queue of messages for a device, as an operator may: they end as `purged`, also those that it has not
   * settled yet.
   *
   * @returns how many there were
   * @throws {UsageError} if there is no such device
   */
  purgeMessages(deviceId: string): number {
    const device = this.#hub.device(deviceId, undefined)
    if (device === undefined) throw unknownDevice(deviceId)
    return device.purge()
  }

  /**
   * Tells back ends that a device has uploaded a file. What they make of it stays here.
   *
   * @throws {UsageError} if there is no such device
   */
  notifyFileUpload(upload: FileUpload): void {
    if (this.#hub.registry.device(upload.deviceId) === undefined) throw unknownDevice(upload.deviceId)
    this.#hub.fileNotifications.notify(upload)
  }

  /** Stops listening, closes every connection and ends the iterations over telemetry. */
  async close(): Promise<void> {
    this.#hub.close()
    await this.#listener.close()
  }

  /** {@link close} */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
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

function unknownDevice(deviceId: string): UsageError {
  return new UsageError(`IoT Hub emulator: there is no device '${deviceId}'`)
}
