/**
 * The back-end side of an IoT Hub: messages to devices, feedback on them, telemetry, and
 * file upload notifications.
 *
 * Links are attached when first used. What is lost is made again, and the client goes on: `closed` is the end.
 * Facts: spec-notes/iothub.md, service links.
 */

import type { Closure, Delivery, Receiver } from '../client/api.ts'
import type { Abortable } from '../client/options.ts'
import { UsageError } from '../errors.ts'
import type { Message } from '../message/message.ts'
import { serviceAddresses } from './addresses.ts'
import { checkAbortable, checkNames, type Names } from './check-names.ts'
import { HubConnection } from './connection/hub-connection.ts'
import { HUB, type IotHubOptions } from './connection/hub-options.ts'
import type { Outbox } from './connection/outbox.ts'
import { rejectUnreadable, settled } from './connection/settling.ts'
import type { SharedLink } from './connection/shared-link.ts'
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
import { type FileNotification, readFileNotification } from './file-notifications.ts'
import { type CloudMessage, cloudMessage, type FeedbackRecord, readFeedback } from './message-mapping.ts'
import { EventHub } from './telemetry/event-hub.ts'
import type { TelemetryEvent } from './telemetry/event-mapping.ts'
import type { EventHubInfo, PartitionInfo } from './telemetry/management.ts'
import type { TelemetryOptions } from './telemetry/telemetry-options.ts'

/** Who a back end is and how it proves it; what a connection string says, taken apart. */
export interface ServiceCredentials {
  /** The hub, e.g. `myhub.azure-devices.net`; may end in `:port`. */
  readonly hostName: string
  /** The shared access policy; it needs the right ServiceConnect. */
  readonly keyName: string
  /** A key of the policy, or a source of tokens for `{hostName}`. */
  readonly sas: SasCredential
}

/** Whom a message is for; ids as registered, not encoded. */
export interface CommandTarget {
  readonly deviceId: string
  /** A module of the device; leave out for the device itself. */
  readonly moduleId?: string | undefined
}

/** Some records of feedback, to be settled once, all together. Until then the hub keeps them locked, for a minute. */
export interface FeedbackBatch {
  readonly records: readonly FeedbackRecord[]
  /** Done: the hub removes them. @throws {ClosedError} the link ended first; they will come again */
  complete(): Promise<void>
  /** Not now: they come again, to this or another receiver. @throws {ClosedError} as above */
  abandon(): Promise<void>
}

/**
 * A back end, connected to its hub. Make it with {@link ServiceClient.connect}. What its methods are told under a name that
 * is no option is a `UsageError`.
 */
export class ServiceClient implements AsyncDisposable {
  /** Resolves when the client has ended for good, closed or given up: by whom, and why. */
  readonly closed: Promise<Closure>
  readonly #hub: HubConnection
  readonly #eventHub: EventHub
  readonly #commands: Outbox
  readonly #feedback: SharedLink<Receiver>
  readonly #fileNotifications: SharedLink<Receiver>

  private constructor(hub: HubConnection, eventHub: EventHub) {
    this.#hub = hub
    this.#eventHub = eventHub
    this.#commands = hub.sender(serviceAddresses.commands)
    this.#feedback = hub.receiver(serviceAddresses.feedback, FEEDBACK_WINDOW)
    this.#fileNotifications = hub.receiver(serviceAddresses.fileNotifications, FEEDBACK_WINDOW)
    this.closed = hub.closed
  }

  /**
   * Connects to a hub and authenticates by a shared access policy, with tokens that are renewed in time. This first
   * connection is tried once; what is lost later is made again, see `IotHubOptions.reconnect`.
   *
   * @param credentials  a connection string with `SharedAccessKeyName` and no `DeviceId`, or what `parseConnectionString`
   *   has made of one, or its parts
   * @throws {UsageError} the connection string is not a service's, or lacks a key or token; the key is not base64;
   *   there is no such option, or it is out of range
   * @throws {RemoteError} the hub refused the token (CBS): condition `amqp:unauthorized-access`
   * @throws {SaslError} the hub refused the token (PLAIN)
   * @throws {TransportError} the hub cannot be reached, or its certificate is not trusted
   *
   * Cancellation drops the connection.
   */
  static async connect(
    credentials: string | ConnectionString | ServiceCredentials,
    options: IotHubOptions = {},
  ): Promise<ServiceClient> {
    checkNames('option of ServiceClient.connect', options, HUB)
    const fields = fieldsOf(credentials)
    const login = fields ? loginFrom(fields) : readLogin(credentials as ServiceCredentials)
    const hub = await HubConnection.open(login, options)
    return new ServiceClient(hub, new EventHub(hub, login, options))
  }

  /**
   * Sends a message to a device. Any number may be in flight; their order is kept.
   *
   * @param to  a device by its id, as registered, not encoded; or device and module
   * @returns when the hub has queued it; what becomes of it later is told by {@link ServiceClient.feedback}
   * @throws {DeliveryError} the hub did not take it; `condition` says why: `amqp:not-found` for an unknown device,
   *   `amqp:resource-limit-exceeded` for a full queue, `amqp:link:message-size-exceeded` above 64 KiB,
   *   `com.microsoft:device-container-throttled` when there were too many. `isRetryable` says which to try again.
   * @throws {QueueFullError} as many messages wait as may: `maxQueued` for a connection, 2,048 at least for credit
   * @throws {UsageError} a property is not what the mapping allows, or feedback is wanted without a `messageId`
   * @throws {EncodeError} a value does not fit, e.g. a content type that is not ASCII
   * @throws {RemoteError} the hub refused the link, e.g. because the policy lacks ServiceConnect
   * @throws {ClosedError} link or connection were lost with the message on its way, and whether the hub has it is unknown;
   *   or the client has ended. What was not on its way yet waits for the next connection
   *
   * Cancellation: a queued message is not sent; for one that was, the outcome is unknown.
   */
  async sendToDevice(to: string | CommandTarget, message: CloudMessage, options: Abortable = {}): Promise<void> {
    checkAbortable('sendToDevice', options)
    const { deviceId, moduleId } = typeof to === 'string' ? { deviceId: to, moduleId: undefined } : to
    const encoded = cloudMessage(deviceId, message, moduleId)
    await this.#commands.send(encoded, { signal: options.signal })
  }

  /**
   * Feedback on messages that asked for it, in batches of up to 64 records, as they come. All receivers of a hub share
   * one queue, so do loops at the same time.
   *
   * The loop ends when this client is closed. Leaving it settles nothing: what it has not settled comes again after a
   * minute.
   *
   * @throws {ProtocolError} a batch cannot be understood; it was rejected. So with {DecodeError}
   * @throws {RemoteError} the hub refused the link
   * @throws {ClosedError} link or connection ended otherwise, for good; a new loop tries anew
   *
   * Cancellation ends the loop with `signal.reason`; no batch is lost.
   */
  async *feedback(options: Abortable = {}): AsyncGenerator<FeedbackBatch, undefined, undefined> {
    checkAbortable('feedback', options)
    for await (const delivery of this.#hub.deliveries(this.#feedback, options)) {
      const records = await readOrReject(delivery, readFeedback)
      yield { records, ...decisions(this.#hub, delivery) }
    }
  }

  /**
   * Notifications of files that devices have uploaded, as they come, where the hub is set up to give them. All receivers
   * of a hub share one queue, so do loops at the same time.
   *
   * The loop ends when this client is closed. Leaving it settles nothing: what it has not settled comes again after a
   * minute.
   *
   * @throws {ProtocolError} a notification cannot be understood; it was rejected. So with {DecodeError}
   * @throws {RemoteError} the hub refused the link
   * @throws {ClosedError} link or connection ended otherwise, for good; a new loop tries anew
   *
   * Cancellation ends the loop with `signal.reason`; no notification is lost.
   */
  async *fileNotifications(options: Abortable = {}): AsyncGenerator<FileNotification, undefined, undefined> {
    checkAbortable('fileNotifications', options)
    for await (const delivery of this.#hub.deliveries(this.#fileNotifications, options)) {
      const record = await readOrReject(delivery, readFileNotification)
      yield { ...record, ...decisions(this.#hub, delivery) }
    }
  }

  /**
   * Telemetry of all devices, from the event hub that the hub redirects to: another host, with a connection and a token
   * of its own, opened when first used. Reading takes nothing away; store the last `position` of each partition, and give
   * the list back as `from`, to read on behind them another time.
   *
   * The loop ends when this client is closed. Leaving it closes its links. An event that cannot be read is passed over.
   * When the connection or a link is lost, reading goes on behind the last event that was handed out, with the place of
   * the event hub and the token asked for anew.
   *
   * @throws {UsageError} an option is out of range; a place in `from` is not of the partition that is read, or of none; the
   *   credential is a token for the hub alone, or `transport` is not a
   *   function of the host
   * @throws {RemoteError} one of the hosts refused: `amqp:unauthorized-access`; `amqp:not-found` for a consumer group,
   *   `com.microsoft:argument-out-of-range` for a partition, `com.microsoft:argument-error` for a place that does not
   *   exist; `amqp:link:stolen` where a reader of a higher owner level is, `amqp:resource-limit-exceeded` where five are
   * @throws {ClosedError} link or connection ended for good; its `condition` is `amqp:link:stolen` when another reader took over
   * @throws {TransportError} the event hub cannot be reached the first time, or its certificate is not trusted
   *
   * Cancellation ends the loop with `signal.reason`.
   */
  telemetry(options: TelemetryOptions = {}): AsyncGenerator<TelemetryEvent, undefined, undefined> {
    return this.#eventHub.telemetry(options)
  }

  /**
   * What the event hub of this hub is. Errors as with {@link ServiceClient.telemetry}.
   *
   * @throws {ProtocolError} the answer is not as it should be
   *
   * Cancellation stops waiting.
   */
  async eventHub(options: Abortable = {}): Promise<EventHubInfo> {
    checkAbortable('eventHub', options)
    return this.#eventHub.info(options)
  }

  /** How its partitions stand, all of them. Errors and cancellation as with {@link ServiceClient.eventHub}. */
  async partitions(options: Abortable = {}): Promise<readonly PartitionInfo[]> {
    checkAbortable('partitions', options)
    return this.#eventHub.partitions(options)
  }

  /** Lets the process live as long as the connections do (the default), or not. */
  ref(): void {
    this.#hub.ref()
    this.#eventHub.isRefed = true
  }

  unref(): void {
    this.#hub.unref()
    this.#eventHub.isRefed = false
  }

  /** Sends what is queued, then closes the connections. */
  async close(): Promise<void> {
    await Promise.all([this.#eventHub.close(), this.#hub.close()])
  }

  /** {@link close} */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** Each batch that is sent ahead of its use runs down its lock. */
const FEEDBACK_WINDOW = 10

function loginFrom(fields: ConnectionString): HubLogin {
  if (fields.kind !== 'service') throw new UsageError('connection string: DeviceId is for devices, not for services')
  const { hostName: host, port, keyName } = fields
  return loginOf({ host, port }, keyName, credentialOf(fields))
}

const CREDENTIALS: Names<ServiceCredentials> = { hostName: 0, keyName: 0, sas: 0 }

function readLogin(credentials: ServiceCredentials): HubLogin {
  checkCredentials(credentials)
  checkNames('field of credentials', credentials, CREDENTIALS)
  const { hostName, keyName, sas } = credentials
  if (typeof keyName !== 'string' || sas === undefined)
    throw new UsageError('IoT Hub: a service needs the keyName of a policy, and `sas`')
  return loginOf(splitHost(hostName), keyName, sas)
}

function loginOf({ host, port }: HostAndPort, keyName: string, credential: HubLogin['credential']): HubLogin {
  const hub = hubNameOf(host)
  const who = `policy '${keyName}' of hub '${hub}'`
  return { who, host, port, resource: host, user: `${keyName}@sas.root.${hub}`, keyName, credential }
}

function decisions(hub: HubConnection, delivery: Delivery): Pick<FeedbackBatch, 'complete' | 'abandon'> {
  return {
    complete: () => settled(hub, delivery.accept()),
    abandon: () => settled(hub, delivery.release()),
  }
}

/** What nobody can read would come again and again. */
async function readOrReject<T>(delivery: Delivery, read: (message: Message) => T): Promise<T> {
  try {
    return read(delivery.message)
  } catch (error) {
    await rejectUnreadable(delivery)
    throw error
  }
}
