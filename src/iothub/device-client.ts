/**
 * The device side of an IoT Hub: telemetry to the cloud, messages and calls from it, and its twin.
 *
 * Links are attached when first used. What is lost is made again, and the client goes on: `closed` is the end.
 * Facts: spec-notes/iothub.md, device links.
 */

import type { Closure, Delivery, Receiver } from '../client/api.ts'
import type { Abortable } from '../client/options.ts'
import { ClosedError, DecodeError, UsageError } from '../errors.ts'
import { deviceAddresses } from './addresses.ts'
import { checkAbortable, checkNames, type Names } from './check-names.ts'
import { HubConnection } from './connection/hub-connection.ts'
import { HUB, type IotHubOptions } from './connection/hub-options.ts'
import type { LinkPair } from './connection/link-pair.ts'
import type { Outbox } from './connection/outbox.ts'
import { rejectUnreadable, settled } from './connection/settling.ts'
import { SharedLink } from './connection/shared-link.ts'
import { type ConnectionString, fieldsOf } from './credentials/connection-string.ts'
import {
  checkCredentials,
  credentialOf,
  type HostAndPort,
  type HubLogin,
  hubNameOf,
  type SasCredential,
  splitHost,
} from './credentials/login.ts'
import type { X509Credential } from './credentials/x509.ts'
import {
  BATCH_FORMAT,
  type CommandContent,
  readCommand,
  type Telemetry,
  telemetryBatch,
  telemetryMessage,
} from './message-mapping.ts'
import { type MethodHandler, MethodHandlers, type MethodRegistration } from './methods.ts'
import { Twin } from './twins/twin.ts'

/** Who a device is and how it proves it; what a connection string says, taken apart. */
export interface DeviceCredentials {
  /** The hub, e.g. `myhub.azure-devices.net`; may end in `:port`. */
  readonly hostName: string
  /** As registered; case-sensitive. */
  readonly deviceId: string
  /** For a module of the device. */
  readonly moduleId?: string | undefined
  /** Its own key, or a source of tokens for `{hostName}/devices/{deviceId}[/modules/{moduleId}]`. */
  readonly sas?: SasCredential | undefined
  /** Its certificate, in place of `sas`. */
  readonly x509?: X509Credential | undefined
  /** Policy that the key belongs to; leave out for the device's own key. */
  readonly keyName?: string | undefined
  /** Connect here instead of to the hub; may end in `:port`. Tokens keep naming the hub. */
  readonly gatewayHostName?: string | undefined
}

/** How a device connects to its hub. */
export interface DeviceOptions extends IotHubOptions {
  /** The model that the device follows, e.g. `dtmi:com:example:Thermostat;1`: IoT Plug and Play. */
  readonly modelId?: string | undefined
}

/**
 * A message from the cloud, to be settled once by one of the three. Until then the hub keeps it locked, for a minute. Where
 * one of them rejects since the link was lost, and `isRetryable` is true of that, the client goes on, and the message
 * comes again.
 */
export interface CloudToDeviceMessage extends CommandContent {
  /** Done: the hub removes it. @throws {ClosedError} the link ended first; the hub will deliver it again */
  complete(): Promise<void>
  /** Not now: the hub delivers it again, up to a limit, usually ten times. @throws {ClosedError} as above */
  abandon(): Promise<void>
  /** Never: the hub dead-letters it. @throws {ClosedError} as above */
  reject(): Promise<void>
}

/**
 * A device or module, connected to its hub. Make it with {@link DeviceClient.connect}.
 *
 * A module is a device with inputs and outputs, and an address below that of its device: it is the same class, by
 * credentials with a `moduleId`. What its methods are told under a name that is no option is a `UsageError`.
 */
export class DeviceClient implements AsyncDisposable {
  /** Resolves when the client has ended for good, closed or given up: by whom, and why. */
  readonly closed: Promise<Closure>
  readonly #hub: HubConnection
  readonly #telemetry: Outbox
  readonly #commands: SharedLink<Receiver>
  /** Of a module only. */
  readonly #inputs: SharedLink<Receiver> | undefined
  readonly #methods: MethodHandlers
  readonly #twin: SharedLink<Twin>

  private constructor(hub: HubConnection, { deviceId, moduleId }: Identity, { modelId }: DeviceOptions) {
    const addresses = deviceAddresses(deviceId, moduleId)
    this.#hub = hub
    this.#telemetry = hub.sender(addresses.telemetry, modelId === undefined ? {} : { [MODEL_ID]: modelId })
    this.#commands = hub.receiver(addresses.commands, COMMAND_WINDOW)
    this.#inputs = moduleId === undefined ? undefined : hub.receiver(addresses.telemetry, COMMAND_WINDOW)
    this.#methods = new MethodHandlers(hub.pair({ address: addresses.methods, kind: 'methods' }), hub)
    const twin = hub.pair({
      address: addresses.twin,
      kind: 'twin',
      sender: { settle: 'settled' },
      receiver: { sndSettleMode: 'settled', credit: { window: TWIN_WINDOW } },
    })
    this.#twin = new SharedLink(() => openTwin(twin, hub))
    this.closed = hub.closed
  }

  /**
   * Connects a device or module to its hub and authenticates it, by tokens that are renewed in time, or by its
   * certificate. This first connection is tried once; what is lost later is made again, see `IotHubOptions.reconnect`. Whom a certificate proves, a hub asks at the first link: one that it does not know fails what is done
   * first, as with `amqp:unauthorized-access`.
   *
   * @param credentials  a connection string with `DeviceId`, and `ModuleId` for a module, or what `parseConnectionString`
   *   has made of one, or its parts. With `x509=true`
   *   the certificate and its key are in `options.tls`: `{ cert, key }` or `{ pfx }`
   * @throws {UsageError} the connection string is not a device's, or lacks a key or token; the key is not base64; there is
   *   no certificate; there is no such option, or it is out of range
   * @throws {RemoteError} the hub refused the token (CBS): condition `amqp:unauthorized-access`
   * @throws {SaslError} the hub refused the token (PLAIN)
   * @throws {TransportError} the hub cannot be reached, or its certificate is not trusted
   *
   * Cancellation drops the connection.
   */
  static async connect(
    credentials: string | ConnectionString | DeviceCredentials,
    options: DeviceOptions = {},
  ): Promise<DeviceClient> {
    checkNames('option of DeviceClient.connect', options, { ...HUB, modelId: 0 })
    const fields = fieldsOf(credentials)
    const identity = fields ? identityOf(fields) : readCredentials(credentials as DeviceCredentials)
    return new DeviceClient(await HubConnection.open(loginOf(identity), options), identity, options)
  }

  /** @internal A device of a pool. */
  static async over(
    join: (login: HubLogin) => Promise<HubConnection>,
    credentials: DeviceCredentials,
    options: Pick<DeviceOptions, 'modelId'>,
  ): Promise<DeviceClient> {
    const identity = readCredentials(credentials)
    return new DeviceClient(await join(loginOf(identity)), identity, options)
  }

  /**
   * Sends telemetry. Any number may be in flight; their order is kept.
   *
   * @returns when the hub has taken it
   * @throws {DeliveryError} the hub did not take it; `condition` says why, e.g. `amqp:link:message-size-exceeded`
   * @throws {QueueFullError} as many messages wait as may: `maxQueued` for a connection, 2,048 at least for credit
   * @throws {UsageError} a property is not what the mapping allows, or there is an `outputName` and this is no module
   * @throws {EncodeError} a value does not fit, e.g. a content type that is not ASCII
   * @throws {RemoteError} the hub refused the link
   * @throws {ClosedError} link or connection were lost with the message on its way, and whether the hub has it is unknown;
   *   or the client has ended. What was not on its way yet waits for the next connection
   *
   * Cancellation: a queued message is not sent; for one that was, the outcome is unknown.
   */
  async sendTelemetry(telemetry: Telemetry, options: Abortable = {}): Promise<void> {
    checkAbortable('sendTelemetry', options)
    const message = telemetryMessage(telemetry)
    this.#checkOutput(telemetry)
    await this.#telemetry.send(message, { signal: options.signal })
  }

  /**
   * Sends some telemetry as one transfer: the hub takes all of it, in order, or none. It takes 256 KiB altogether.
   *
   * @param batch  one message or more
   * @throws as {@link sendTelemetry}; {UsageError} also for an empty batch
   *
   * Cancellation: as with {@link sendTelemetry}.
   */
  async sendTelemetryBatch(batch: readonly Telemetry[], options: Abortable = {}): Promise<void> {
    checkAbortable('sendTelemetryBatch', options)
    const message = telemetryBatch(batch)
    for (const telemetry of batch) this.#checkOutput(telemetry)
    await this.#telemetry.send(message, { signal: options.signal }, BATCH_FORMAT)
  }

  /**
   * Messages from the cloud, as they come. Loops at the same time share them out. A message that cannot be read, or has
   * a body that is neither bytes nor text, is rejected and passed over.
   *
   * The loop ends when this client is closed. Leaving it settles nothing: what it has not settled stays locked at the
   * hub for a minute, and comes again.
   *
   * @throws {RemoteError} the hub refused the link
   * @throws {ClosedError} link or connection ended otherwise, for good; a new loop tries anew
   *
   * Cancellation ends the loop with `signal.reason`; no message is lost.
   */
  messages(options: Abortable = {}): AsyncGenerator<CloudToDeviceMessage, undefined, undefined> {
    checkAbortable('messages', options)
    return this.#read(this.#commands, options)
  }

  /**
   * Messages for the inputs of a module, as they come; `inputName` says which input. All else is as with
   * {@link messages}.
   *
   * @throws {UsageError} this is no module
   */
  inputs(options: Abortable = {}): AsyncGenerator<CloudToDeviceMessage, undefined, undefined> {
    if (this.#inputs === undefined) throw new UsageError('inputs: only modules have them; this is a device')
    checkAbortable('inputs', options)
    return this.#read(this.#inputs, options)
  }

  /**
   * Answers calls of a direct method, or, without a name, of all that have no handler of their own. From the first on a
   * method without any is answered with status 501; before, callers hear what they hear of a device that is not there.
   * Calls are handled as they come, up to 100 at a time.
   *
   * @param name  as the caller says it; case-sensitive
   * @returns when the hub knows that the device takes calls
   * @throws {UsageError} the method has a handler already
   * @throws {RemoteError} the hub refused the links
   * @throws {ClosedError} the connection ended first
   *
   * Cancellation takes the handler away.
   */
  onMethod(name: string, handler: MethodHandler, options?: Abortable): Promise<MethodRegistration>
  onMethod(handler: MethodHandler, options?: Abortable): Promise<MethodRegistration>
  onMethod(
    first: string | MethodHandler,
    second?: MethodHandler | Abortable,
    third: Abortable = {},
  ): Promise<MethodRegistration> {
    return typeof first === 'string'
      ? this.#methods.add(first, second as MethodHandler, third)
      : this.#methods.add(undefined, first, (second as Abortable | undefined) ?? {})
  }

  /**
   * The twin, subscribed to and read. Asked again, it is the same object, until its `closed` resolves.
   *
   * @throws {RemoteError} the hub refused the links, or answered with an error; then `info` has its `status`
   * @throws {ProtocolError} what it answered is no twin
   * @throws {ClosedError} the connection ended first
   *
   * Cancellation stops waiting.
   */
  async twin(options: Abortable = {}): Promise<Twin> {
    checkAbortable('twin', options)
    try {
      const twin = await this.#twin.get(options)
      // It may not have heard yet.
      if (this.#hub.over.aborted) throw new ClosedError('the twin', 'link')
      return twin
    } catch (error) {
      throw this.#hub.explained(error)
    }
  }

  /** Lets the process live as long as the connection does (the default), or not. */
  ref(): void {
    this.#hub.ref()
  }

  unref(): void {
    this.#hub.unref()
  }

  /** Sends what is queued, then closes the connection. */
  async close(): Promise<void> {
    await this.#hub.close()
  }

  /** {@link close} */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #checkOutput({ outputName }: Telemetry): void {
    if (outputName !== undefined && this.#inputs === undefined)
      throw new UsageError('message: only modules have outputs, and this is a device: leave out outputName')
  }

  async *#read(
    link: SharedLink<Receiver>,
    options: Abortable,
  ): AsyncGenerator<CloudToDeviceMessage, undefined, undefined> {
    for await (const delivery of this.#hub.deliveries(link, options)) {
      const content = readable(delivery)
      if (content === undefined) await rejectUnreadable(delivery)
      else yield settleable(this.#hub, delivery, content)
    }
  }
}

/** In the attach of telemetry. */
const MODEL_ID = 'com.microsoft:model-id'

/** A hub queues at most 50 messages for a device; each that is sent ahead of its use runs down its lock. */
const COMMAND_WINDOW = 10

/** Notifications, and answers to ourselves: nothing is locked. */
const TWIN_WINDOW = 100

/** Credentials, with the port off the host names. */
interface Identity extends Pick<DeviceCredentials, 'deviceId' | 'moduleId' | 'keyName'> {
  readonly credential: HubLogin['credential']
  readonly hub: HostAndPort
  readonly gateway: HostAndPort | undefined
}

function identityOf(fields: ConnectionString): Identity {
  if (fields.kind !== 'device') throw new UsageError('connection string: DeviceId is missing')
  const { deviceId, moduleId, keyName, hostName, port, gatewayHostName, gatewayPort } = fields
  const gateway = gatewayHostName === undefined ? undefined : { host: gatewayHostName, port: gatewayPort }
  return { deviceId, moduleId, credential: credentialOf(fields), keyName, hub: { host: hostName, port }, gateway }
}

const CREDENTIALS: Names<DeviceCredentials> = {
  ...{ hostName: 0, deviceId: 0, moduleId: 0, sas: 0, x509: 0, keyName: 0, gatewayHostName: 0 },
}

function readCredentials(credentials: DeviceCredentials): Identity {
  checkCredentials(credentials)
  checkNames('field of credentials', credentials, CREDENTIALS)
  const { hostName, gatewayHostName, sas, x509, ...rest } = credentials
  const { deviceId, moduleId = 'none' } = rest
  if (typeof deviceId !== 'string' || typeof moduleId !== 'string')
    throw new UsageError('IoT Hub: credentials need a deviceId; it and moduleId are texts')
  const gateway = gatewayHostName === undefined ? undefined : splitHost(gatewayHostName)
  return { ...rest, credential: sas ?? { x509 }, hub: splitHost(hostName), gateway }
}

function loginOf({ deviceId, moduleId, credential, keyName, hub, gateway }: Identity): HubLogin {
  // What no address can say is found before anything is connected.
  deviceAddresses(deviceId, moduleId)
  const hubName = hubNameOf(hub.host)
  const identity = moduleId === undefined ? deviceId : `${deviceId}/modules/${moduleId}`
  return {
    who: `device '${identity}' of hub '${hubName}'`,
    ...(gateway ?? hub),
    resource: `${hub.host}/devices/${identity}`,
    user: keyName === undefined ? `${identity}@sas.${hubName}` : `${keyName}@sas.root.${hubName}`,
    keyName,
    credential,
  }
}

async function openTwin(links: SharedLink<LinkPair>, hub: HubConnection): Promise<Twin> {
  try {
    return await Twin.open(links, hub)
  } catch (error) {
    links
      .take()
      ?.then(pair => pair.close())
      .catch(() => {})
    throw error
  }
}

function readable(delivery: Delivery): CommandContent | undefined {
  try {
    return readCommand(delivery.message)
  } catch (error) {
    if (error instanceof DecodeError) return undefined
    throw error
  }
}

function settleable(hub: HubConnection, delivery: Delivery, content: CommandContent): CloudToDeviceMessage {
  return {
    ...content,
    complete: () => settled(hub, delivery.accept()),
    abandon: () => settled(hub, delivery.release()),
    reject: () => settled(hub, delivery.reject()),
  }
}
