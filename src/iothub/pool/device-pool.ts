/**
 * Many devices over one connection, as gateways have them: one pair of links to `$cbs`, a token and links for each.
 *
 * What goes wrong with one is its own affair. What is lost of the connection is made again for all, a few tokens at a
 * time. Facts: spec-notes/iothub.md, connections; spec-notes/cbs.md.
 */

import type { Closure } from '../../client/api.ts'
import type { Abortable } from '../../client/options.ts'
import { sasl } from '../../client/sasl.ts'
import { UsageError } from '../../errors.ts'
import { checkNames, type Names } from '../check-names.ts'
import { systemClock } from '../clock.ts'
import { HubConnection } from '../connection/hub-connection.ts'
import { HubLine } from '../connection/hub-line.ts'
import { checkHubOptions, type IotHubOptions, STAY } from '../connection/hub-options.ts'
import { type ConnectionString, fieldsOf } from '../credentials/connection-string.ts'
import { checkSas, type HostAndPort, type SasCredential, splitHost } from '../credentials/login.ts'
import { DeviceClient, type DeviceCredentials } from '../device-client.ts'
import { PoolSessions } from './pool-sessions.ts'

/** A hub, and by which policy devices are let in that come without a key of their own. */
export interface PoolCredentials {
  /** The hub, e.g. `myhub.azure-devices.net`; may end in `:port`. */
  readonly hostName: string
  /** A shared access policy with the right DeviceConnect; none where each device has a key of its own. */
  readonly keyName?: string | undefined
  /** The key of the policy, or a source of tokens for `{hostName}/devices/{deviceId}`. */
  readonly sas?: SasCredential | undefined
  /** Connect here instead of to the hub; may end in `:port`. Tokens keep naming the hub. */
  readonly gatewayHostName?: string | undefined
}

/** How a pool connects. */
export interface PoolOptions extends Omit<IotHubOptions, 'auth'> {
  /**
   * Links that share a session, 2 … 100,000. A session that the hub ends takes no more than these with it, until they are
   * attached again. Default 1,000.
   */
  readonly linksPerSession?: number | undefined
  /** Tokens on their way to the hub at once after the connection was made again, 1 or more. Default 32. */
  readonly concurrency?: number | undefined
}

/** What tells a device of a pool from the others; the rest is as for the pool, unless it says otherwise. */
export type PoolDevice = Omit<DeviceCredentials, 'hostName' | 'gatewayHostName' | 'x509'>

/** How a device joins a pool. */
export interface PoolDeviceOptions extends Abortable {
  /** As `DeviceOptions.modelId`. */
  readonly modelId?: string | undefined
}

/** A connection for many devices. Make it with {@link DevicePool.connect}. */
export class DevicePool implements AsyncDisposable {
  /** Resolves when the connection has ended for good, and with it all devices: by whom, and why. */
  readonly closed: Promise<Closure>
  readonly #line: HubLine
  readonly #hub: HostAndPort
  readonly #credentials: PoolCredentials
  readonly #options: PoolOptions
  readonly #sessions: PoolSessions
  readonly #devices = new Set<string>()

  private constructor(line: HubLine, hub: HostAndPort, credentials: PoolCredentials, options: PoolOptions) {
    this.#line = line
    this.#hub = hub
    this.#credentials = credentials
    this.#options = options
    this.#sessions = new PoolSessions(line.connection, options.linksPerSession ?? LINKS_PER_SESSION)
    this.closed = line.closed
  }

  /**
   * Connects to a hub; nobody is authenticated yet. This first connection is tried once.
   *
   * @param credentials  the host of the hub, a connection string of a policy, what `parseConnectionString` has made of
   *   one, or the parts
   * @throws {UsageError} they name no hub, the connection string is a device's, or an option is out of range
   * @throws {TransportError} the hub cannot be reached, or its certificate is not trusted
   *
   * Cancellation drops the connection.
   */
  static async connect(
    credentials: string | ConnectionString | PoolCredentials,
    options: PoolOptions = {},
  ): Promise<DevicePool> {
    const isHost = typeof credentials === 'string' && !credentials.includes('=')
    const fields = isHost ? undefined : fieldsOf(credentials)
    const parts = fields ? poolOf(fields) : isHost ? { hostName: credentials } : (credentials as PoolCredentials)
    checkNames('option of DevicePool.connect', options, CONNECT)
    checkHubOptions(options)
    const { linksPerSession = LINKS_PER_SESSION, concurrency = CONCURRENCY, tls = true, signal } = options
    // A pair of links is one device's, and no session is to take half of it only.
    if (!(Number.isInteger(linksPerSession) && linksPerSession >= 2 && linksPerSession <= MOST_LINKS))
      throw new UsageError(`IoT Hub: linksPerSession is 2 to ${MOST_LINKS}`)
    if (!(Number.isInteger(concurrency) && concurrency >= 1)) throw new UsageError('IoT Hub: concurrency is 1 or more')
    if (typeof parts?.hostName !== 'string') throw new UsageError('IoT Hub: a pool needs the hostName of a hub')
    checkNames('field of credentials', parts, CREDENTIALS)
    if (parts.sas !== undefined) checkSas(parts.sas)
    signal?.throwIfAborted()
    const hub = splitHost(parts.hostName)
    const { host, port } = parts.gatewayHostName === undefined ? hub : splitHost(parts.gatewayHostName)
    const who = `a pool of devices of hub '${hub.host}'`
    const init = { host, port, who, clock: systemClock, concurrency, maxLinks: linksPerSession + 1 }
    const line = await HubLine.open({ ...init, sasl: sasl.anonymous(), tls }, options)
    return new DevicePool(line, hub, parts, options)
  }

  /** Devices that are in it, those that are joining included. */
  get size(): number {
    return this.#devices.size
  }

  /**
   * Has a device or module join: puts its token.
   *
   * @param credentials  its id, where the pool has a policy; or id and key; a connection string, or what
   *   `parseConnectionString` has made of one
   * @returns a client as that of `DeviceClient.connect`, but that its `close()` leaves the connection to the others, and
   *   that its `closed` resolves when it ends itself, as when the hub lets it in no more, or the pool
   * @throws {UsageError} it is in the pool already, of another hub, has a certificate, or no key
   * @throws {RemoteError} the hub refused the token: condition `amqp:unauthorized-access`
   * @throws {ClosedError} the pool has ended
   *
   * Cancellation: it does not join; the token may be there.
   */
  async device(
    credentials: string | ConnectionString | PoolDevice,
    options: PoolDeviceOptions = {},
  ): Promise<DeviceClient> {
    checkNames('option of DevicePool.device', options, JOIN)
    const { signal, modelId } = options
    signal?.throwIfAborted()
    const whole = this.#completed(credentials)
    const key = JSON.stringify([whole.deviceId, whole.moduleId])
    if (this.#devices.has(key)) throw new UsageError(`IoT Hub: device '${whole.deviceId}' is in the pool already`)
    this.#devices.add(key)
    // Once: another may have come by the same name.
    let isIn = true
    const leave = (): void => {
      if (isIn) this.#devices.delete(key)
      isIn = false
    }
    try {
      const shared = { line: this.#line, host: this.#sessions, leave }
      const { tokens, maxQueued } = this.#options
      const join = (login: Parameters<typeof HubConnection.join>[1]): Promise<HubConnection> =>
        HubConnection.join(shared, login, { tokens, maxQueued, signal })
      return await DeviceClient.over(join, whole, { modelId })
    } catch (error) {
      leave()
      throw error
    }
  }

  /** What is said of a device, and what the pool has for it. @throws {UsageError} */
  #completed(credentials: string | ConnectionString | PoolDevice): DeviceCredentials {
    const { hostName, keyName, sas } = this.#credentials
    const isId = typeof credentials === 'string' && !credentials.includes('=')
    const device = isId ? undefined : fieldsOf(credentials)
    if (device !== undefined) {
      if (device.kind !== 'device') throw new UsageError('IoT Hub: the connection string is no device’s')
      if (device.hostName.toLowerCase() !== this.#hub.host.toLowerCase())
        throw new UsageError(`IoT Hub: device '${device.deviceId}' is of hub '${device.hostName}'`)
      const { deviceId, moduleId, sharedAccessKey, sharedAccessSignature } = device
      const token = (): string => sharedAccessSignature ?? ''
      const own = sharedAccessKey !== undefined ? { key: sharedAccessKey } : { token }
      if (sharedAccessKey === undefined && sharedAccessSignature === undefined)
        throw new UsageError(`IoT Hub: device '${deviceId}' has a certificate, and cannot share a connection`)
      return { hostName, deviceId, moduleId, keyName: device.keyName, sas: own }
    }
    const parts = isId ? { deviceId: credentials } : (credentials as PoolDevice)
    if (typeof parts?.deviceId !== 'string' || parts.deviceId === '')
      throw new UsageError('IoT Hub: a device of a pool needs a deviceId')
    if (parts.sas) return { ...parts, hostName }
    if (!sas) throw new UsageError(`IoT Hub: neither device '${parts.deviceId}' nor the pool has a key`)
    return { ...parts, hostName, sas, keyName }
  }

  /** Lets the process live as long as the connection does (the default), or not. */
  ref(): void {
    this.#line.connection.ref()
  }

  unref(): void {
    this.#line.connection.unref()
  }

  /** Sends what is queued, then closes the connection; all devices end. */
  async close(): Promise<void> {
    await this.#line.close()
  }

  /** {@link close} */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

const CREDENTIALS: Names<PoolCredentials> = { hostName: 0, keyName: 0, sas: 0, gatewayHostName: 0 }
const CONNECT: Names<PoolOptions> = { ...STAY, linksPerSession: 0, concurrency: 0 }
const JOIN: Names<PoolDeviceOptions> = { signal: 0, modelId: 0 }
const LINKS_PER_SESSION = 1_000
const MOST_LINKS = 100_000
const CONCURRENCY = 32

function poolOf(fields: ConnectionString): PoolCredentials {
  if (fields.kind !== 'service')
    throw new UsageError('IoT Hub: a pool has the connection string of a policy, or a host')
  const { hostName, port, keyName, sharedAccessKey: key, sharedAccessSignature: token } = fields
  const host = hostName.includes(':') ? `[${hostName}]` : hostName
  const sas = key !== undefined ? { key } : { token: () => token ?? '' }
  return { hostName: port === undefined ? host : `${host}:${port}`, keyName, sas }
}
