/**
 * An IoT Hub in this process: devices and back ends connect to it over TLS or over transports in memory, with the
 * connection strings that it makes for them, and programs look in from behind.
 *
 * It serves telemetry at both ends, cloud-to-device messages, feedback and file upload notifications, direct methods and
 * twins, with authentication by CBS, SASL PLAIN or certificates. It keeps everything in memory and is meant for tests and
 * demonstrations, on loopback. Facts: spec-notes/iothub.md
 */

import { AmqpCondition, RemoteError, UsageError } from '../errors.ts'
import type { Transport } from '../io/transport.ts'
import { commandTo } from '../iothub/addresses.ts'
import { formatConnectionString } from '../iothub/credentials/connection-string.ts'
import { readClientCertificate, type X509Registration } from './certificates/client-certificate.ts'
import { checkShape, type Shape } from './check-shape.ts'
import type { FeedbackStatus } from './command-queue.ts'
import type { EmulatorFault, StandingFault } from './faults/faults.ts'
import { FILE_UPLOAD, type FileUpload } from './file-notifications.ts'
import { Hub } from './hub.ts'
import { INVOKE_OPTIONS, type InvokeMethodOptions, invokeMethod, type MethodAnswer } from './invocation.ts'
import { type Listening, listenFor } from './listening/listening.ts'
import { memoryTransportPair, showing } from './listening/memory.ts'
import type { DeviceNode } from './nodes/device-node.ts'
import { checkOptions, type IotHubEmulatorOptions } from './options.ts'
import type { EmulatorProvisioning } from './provisioning/provisioning-service.ts'
import type { EmulatorState } from './state.ts'
import type { RecordedTelemetry } from './telemetry/event-log.ts'
import { type TwinView, twinView, UPDATE_OPTIONS, type UpdateDesiredOptions, updateDesired } from './twins/twin-view.ts'

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

const MESSAGE: Shape<EmulatorMessage> = {
  body: 'bytes',
  properties: 'object',
  messageId: 'text',
  correlationId: 'text',
  contentType: 'text',
  contentEncoding: 'text',
  expiry: 'date',
}
const SEND_OPTIONS: Shape<SendToDeviceOptions> = { moduleId: 'text', inputName: 'text' }
const WHO = { deviceId: 'text', moduleId: 'text', service: 'flag', policy: 'text', eventHub: 'flag' } as const

/** A hub. Make it with {@link IotHubEmulator.start}. */
export class IotHubEmulator implements AsyncDisposable {
  /** Of the authority that signed the certificate, PEM; `undefined` without TLS or with TLS of your own. */
  readonly ca: string | undefined
  /** The port that is listened on; 0 for a hub in memory. */
  readonly port: number
  /** The port that is listened on for WebSockets; 0 without. */
  readonly webSocketPort: number
  /** The port that is listened on for HTTPS; 0 without. */
  readonly httpsPort: number
  readonly #listening: Listening
  readonly #hostName: string
  readonly #hub: Hub

  private constructor(hub: Hub, listening: Listening, hostName: string) {
    this.ca = listening.certificate?.ca
    this.port = listening.port
    this.webSocketPort = listening.webSocketPort
    this.httpsPort = listening.httpsPort
    this.#listening = listening
    this.#hostName = hostName
    this.#hub = hub
    // As devices will write it into their connection strings.
    const port = this.port || this.webSocketPort
    hub.provisioning.host = port === 0 ? hostName : `${hostName}:${port}`
  }

  /**
   * Starts a hub with the given devices and the policies of a new one, all with fresh keys but for those of `state`.
   *
   * @throws {UsageError} a device id is invalid or given twice, an option is out of range, or `state` is none, or its
   *   certificate has ended or is for another host
   * @throws {TransportError} the port is taken or may not be used
   */
  static async start(options: IotHubEmulatorOptions = {}): Promise<IotHubEmulator> {
    checkOptions(options)
    const { hostName = 'localhost' } = options
    const hub = new Hub(hostName, options)
    const kept = options.state?.devices.map(({ deviceId }) => deviceId)
    for (const deviceId of options.devices ?? (kept ? [] : ['device1']))
      if (!kept?.includes(deviceId)) hub.registry.addDevice(deviceId)
    return new IotHubEmulator(hub, await listenFor(hub, { ...options, hostName }), hostName)
  }

  /**
   * Telemetry, from the oldest event kept; each iteration begins there, and waits for more until the hub is closed.
   * The last 100 000 events are kept, for as long as `retentionMs`.
   */
  get telemetry(): AsyncIterable<RecordedTelemetry, undefined> {
    return this.#hub.events
  }

  /** A provisioning service that assigns devices to this hub, on the same ports. Nobody is enrolled at first. */
  get provisioning(): EmulatorProvisioning {
    return this.#hub.provisioning
  }

  /**
   * The connection string of a device or module, of a shared access policy, or of the policy `service` at the event hub,
   * for clients of that.
   *
   * @param who  `policy`: `iothubowner`, `service`, `device`, `registryRead` or `registryReadWrite`; `service: true` is
   *   short for the second
   * @param options  `webSocket`: with the port for WebSockets in it
   * @returns text with a key in it, or `x509=true` for a device with a certificate
   * @throws {UsageError} if there is no such device, module or policy
   */
  connectionString(
    who:
      | { readonly deviceId: string; readonly moduleId?: string | undefined }
      | { readonly service: true }
      | { readonly policy: string }
      | { readonly eventHub: true },
    options: { readonly webSocket?: boolean | undefined } = {},
  ): string {
    if (typeof who === 'object' && who !== null) checkShape('field of connectionString', who, WHO)
    else throw new UsageError(`connectionString: ${NEEDS}`)
    checkShape('option of connectionString', options, { webSocket: 'flag' })
    if ('eventHub' in who) return this.#hub.eventHubConnectionString()
    const port = options.webSocket ? this.webSocketPort : this.port
    const common = { hostName: this.#hostName, port: port === 0 ? undefined : port }
    const { registry } = this.#hub
    if (!('deviceId' in who && who.deviceId !== undefined)) {
      const keyName = 'service' in who ? 'service' : (who as { readonly policy?: unknown }).policy
      if (typeof keyName !== 'string') throw new UsageError(`connectionString: ${NEEDS}`)
      const policy = registry.policy(keyName)
      if (policy === undefined) throw new UsageError(`IoT Hub emulator: there is no policy '${keyName}'`)
      return formatConnectionString({ kind: 'service', keyName, sharedAccessKey: policy.primaryKey, ...common })
    }
    const { deviceId, moduleId } = who
    const identity = moduleId === undefined ? registry.device(deviceId) : registry.module(deviceId, moduleId)
    if (identity === undefined) throw unknown(deviceId, moduleId)
    const x509 = 'x509' in identity && identity.x509 !== undefined
    const sharedAccessKey = x509 ? undefined : identity.primaryKey
    return formatConnectionString({ kind: 'device', deviceId, moduleId, sharedAccessKey, x509, ...common })
  }

  /**
   * Adds a device, with fresh keys.
   *
   * @param options  `x509`: it proves itself by a certificate instead, which is known by its thumbprint, or signed by an
   *   authority that this hub trusts; see {@link IotHubEmulator.addAuthority}
   * @throws {UsageError} if the id is invalid or taken, or a thumbprint is none
   */
  addDevice(deviceId: string, options: { readonly x509?: X509Registration | undefined } = {}): void {
    checkShape('option of addDevice', options, { x509: 'any' })
    this.#hub.registry.addDevice(deviceId, {}, options.x509)
  }

  /**
   * Removes a device and its modules: its links are detached with `amqp:not-found`, its tokens count no more, and messages
   * for it are gone. A later device of the same id is another.
   *
   * @throws {UsageError} there is no such device
   */
  removeDevice(deviceId: string): void {
    if (!this.#hub.removeDevice(deviceId)) throw unknown(deviceId, undefined)
  }

  /**
   * Disables a device and its modules, or enables them again: meanwhile its tokens and certificates are refused, and the
   * links that it has are detached, with `amqp:unauthorized-access`. What is sent to it waits.
   *
   * @throws {UsageError} there is no such device
   */
  enableDevice(deviceId: string, isEnabled = true): void {
    if (this.#hub.registry.device(deviceId) === undefined) throw unknown(deviceId, undefined)
    this.#hub.setEnabled(deviceId, isEnabled)
  }

  /** Trusts an authority to sign certificates of devices. @param ca  PEM @throws {UsageError} it is no certificate */
  async addAuthority(ca: string): Promise<void> {
    await readClientCertificate(ca)
    this.#hub.authorities.add(ca)
  }

  /** Adds a module to a device, with fresh keys. @throws {UsageError} there is no such device, the id is invalid or taken */
  addModule(deviceId: string, moduleId: string): void {
    this.#hub.registry.addModule(deviceId, moduleId)
  }

  /**
   * A transport whose other end this hub serves. It works whether or not the hub listens too.
   *
   * @param options  `certificate`: what the client shows, PEM, as it would in TLS; its key is not asked for
   */
  transport(options: { readonly certificate?: string | undefined } = {}): Transport {
    checkShape('option of transport', options, { certificate: 'text' })
    const [ours, theirs] = memoryTransportPair()
    this.accept(options.certificate === undefined ? theirs : showing(theirs, derOf(options.certificate)))
    return ours
  }

  /**
   * Serves the peer of a transport, e.g. of a WebSocket that a server of yours has accepted at `/$iothub/websocket` with
   * the sub-protocol `AMQPWSB10`: `hub.accept(webSocketTransport(socket))`. It works whether or not the hub listens too.
   */
  accept(transport: Transport): void {
    this.#listening.accept(transport)
  }

  /**
   * Queues a message for a device or module and waits for its end: until it has been settled for good, or has expired.
   *
   * @param options  `moduleId`: for this module; `inputName`: for this input of the module
   * @throws {UsageError} if there is no such device or module, a device is to have an input, or a field or option is
   *   unknown or of another type
   * @throws {RemoteError} its queue is full: condition `amqp:resource-limit-exceeded`
   * @throws {ClosedError} the hub was closed first
   */
  async sendToDevice(
    deviceId: string,
    message: EmulatorMessage,
    options: SendToDeviceOptions = {},
  ): Promise<FeedbackStatus> {
    checkShape('option of sendToDevice', options, SEND_OPTIONS)
    checkShape('field of a message', message, MESSAGE)
    if (message.body === undefined) throw new UsageError('IoT Hub emulator: a message needs a body')
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
   * Lets something go wrong, from now on, once unless it says otherwise:
   * `hub.fault({ on: 'attach', match: 'devices/d1/', error: { condition: 'amqp:internal-error' } })`.
   *
   * @returns what tells how often it has struck, and ends it when it is disposed of: `using fault = hub.fault(…)`
   * @throws {UsageError} there is no such fault, or a number in it is out of range
   */
  fault(fault: EmulatorFault): StandingFault {
    return this.#hub.faults.add(fault)
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
    checkShape('option of invokeMethod', options, INVOKE_OPTIONS)
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
    checkShape('option of twin', options, { moduleId: 'text' })
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
    checkShape('option of updateDesired', options, UPDATE_OPTIONS)
    const { moduleId, etag } = options
    return updateDesired(this.#node(deviceId, moduleId).twin, nameOf(deviceId, moduleId), patch, etag)
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
    if (device === undefined) throw unknown(deviceId, undefined)
    return device.purge()
  }

  /**
   * Tells back ends that a device has uploaded a file. What they make of it stays here.
   *
   * @throws {UsageError} if there is no such device, or a field is missing, unknown or of another type
   */
  notifyFileUpload(upload: FileUpload): void {
    checkShape('field of a file upload', upload, FILE_UPLOAD)
    if (this.#hub.registry.device(upload.deviceId) === undefined) throw unknown(upload.deviceId, undefined)
    this.#hub.fileNotifications.notify(upload)
  }

  /** What a later hub needs for clients of this one to find it again, as it stands. A copy. Secret. */
  state(): EmulatorState {
    return { ...this.#hub.state(), tls: this.#listening.certificate }
  }

  /** Stops listening, closes every connection and ends the iterations over telemetry. */
  async close(): Promise<void> {
    this.#hub.close()
    await this.#listening.close()
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

const NEEDS = 'needs { deviceId }, { policy }, { service: true } or { eventHub: true }'

/** The first certificate of a PEM text. */
function derOf(pem: string): Uint8Array {
  return Buffer.from(/-----BEGIN CERTIFICATE-----([^-]*)/.exec(pem)?.[1] ?? '', 'base64')
}

function unknown(deviceId: string, moduleId: string | undefined): UsageError {
  return new UsageError(`IoT Hub emulator: there is no ${nameOf(deviceId, moduleId)}`)
}

function nameOf(deviceId: string, moduleId: string | undefined): string {
  return moduleId === undefined ? `device '${deviceId}'` : `module '${moduleId}' of device '${deviceId}'`
}
