/**
 * One authenticated connection to a hub, as the device and the service client use it: where to connect, how to prove
 * who it is, and links that are attached when first used and shared by all who use them.
 *
 * It authenticates by CBS, by SASL PLAIN, where user names have the form that hubs expect, or by a certificate in TLS. It
 * does not reconnect and does not renew tokens. Facts: spec-notes/iothub.md, SASL, SAS tokens, CBS. §2.6.3, §5.3
 */

import { CbsSession } from '../cbs/cbs-session.ts'
import type { Closure, Connection, Delivery, Receiver, RequestLink, Sender } from '../client/api.ts'
import { connect } from '../client/connect.ts'
import type {
  Abortable,
  ConnectionOptions,
  ConnectOptions,
  ReceiverOptions,
  RequestLinkOptions,
  SourceInit,
  WebSocketOptions,
} from '../client/options.ts'
import { sasl } from '../client/sasl.ts'
import { ClosedError, SaslError, UsageError } from '../errors.ts'
import type { Transport } from '../io/transport.ts'
import type { ConnectionString } from './connection-string.ts'
import { attachLinkPair, type LinkPair, type LinkPairInit } from './link-pair.ts'
import { createSasToken, isInScope, parseSasToken, type SasKeyRule } from './sas.ts'
import { withCertificate, type X509Credential } from './x509.ts'

/** How to connect to a hub. */
export interface IotHubOptions extends Abortable {
  /** Options for `node:tls`, e.g. `{ ca }`. TLS is always used, except over a `transport`. */
  readonly tls?: import('node:tls').ConnectionOptions | undefined
  /**
   * Instead of a socket. The caller vouches for its privacy. A function is asked for each host: telemetry is read from
   * another than the hub's.
   */
  readonly transport?: Transport | ((host: string) => Transport) | undefined
  /** Over a WebSocket, to port 443 and the path of a hub; `{}` where the platform has a WebSocket. */
  readonly webSocket?: WebSocketOptions | undefined
  /** Makes the connection in place of a socket; see `ConnectOptions.proxy`. */
  readonly proxy?: ConnectOptions['proxy']
  /**
   * `'cbs'`: ANONYMOUS, then a token to `$cbs`; `'plain'`: the token is the password of SASL PLAIN. Default `'cbs'`. Not
   * for devices with a certificate, which have no token.
   */
  readonly auth?: 'cbs' | 'plain' | undefined
  /** Sees every frame, both ways; see `ConnectionOptions.trace`. */
  readonly trace?: ConnectionOptions['trace']
}

/** What tokens come from: a key to sign them with, or somebody who makes them. */
export type SasCredential =
  /** Base64. Secret. */
  | { readonly key: string }
  /** Gives a token that is valid now, for what is asked. It may be called again when that one has expired. */
  | { token(request: TokenRequest): string | Promise<string> }

/** What a token is needed for. */
export interface TokenRequest {
  /** As in `SasTokenInit`: the hub or device, or, for reading telemetry, the event hub. */
  readonly resourceUri: string
  readonly keyRule: SasKeyRule
}

/** Where to connect to. An IPv6 address stands without brackets; no port means 5671. */
export interface HostAndPort {
  readonly host: string
  readonly port: number | undefined
}

/** Whom to log in as, and where. */
export interface HubLogin extends HostAndPort {
  /** For error messages, e.g. `device 'd1' of hub 'myhub'`. */
  readonly who: string
  /** What tokens are for, e.g. `myhub.azure-devices.net/devices/d1`; not encoded. */
  readonly resource: string
  /** User name for SASL PLAIN. */
  readonly user: string
  /** Policy that a key belongs to; `undefined` for a device's own. */
  readonly keyName: string | undefined
  /** `x509` without a certificate: it is in the options for TLS. */
  readonly credential: SasCredential | { readonly x509: X509Credential | undefined }
  /** How tokens are signed. Default `'iothub'`. */
  readonly keyRule?: SasKeyRule | undefined
}

/** The label before the first dot of a host, by which a hub is called in user names. */
export function hubNameOf(hostName: string): string {
  return hostName.split('.', 1)[0] ?? hostName
}

/** Takes the port off a host name. @throws {UsageError} if `text` is not a host name, optionally followed by `:port` */
export function splitHost(text: string): HostAndPort {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^\s:/?#@[\]]+))(?::(\d{1,5}))?$/i.exec(text)
  const host = match?.[1] ?? match?.[2]
  if (host === undefined) throw new UsageError('IoT Hub: not a host name, optionally followed by :port')
  return { host, port: match?.[3] === undefined ? undefined : Number(match[3]) }
}

/** @throws {UsageError} these are no credentials at all, as when an environment variable is not set */
export function checkCredentials(credentials: {
  readonly hostName: string
  readonly sas?: SasCredential | undefined
  readonly x509?: X509Credential | undefined
}): void {
  if (typeof credentials !== 'object' || credentials === null)
    throw new UsageError(`IoT Hub: needs a connection string or credentials, not ${credentials}`)
  if (typeof credentials.hostName !== 'string') throw new UsageError('IoT Hub: credentials need a hostName')
  const { sas, x509 } = credentials
  if (sas && x509) throw new UsageError('IoT Hub: `sas` and `x509` exclude each other')
  if (x509 && (x509.cert === undefined || x509.key === undefined))
    throw new UsageError('IoT Hub: `x509` needs { cert, key }')
  if (!x509 && (typeof sas !== 'object' || sas === null))
    throw new UsageError('IoT Hub: credentials need `sas`: { key } or { token }')
}

/** The credential in a connection string; a certificate is elsewhere. */
export function credentialOf(fields: ConnectionString): HubLogin['credential'] {
  const { sharedAccessKey, sharedAccessSignature } = fields
  if (sharedAccessKey !== undefined) return { key: sharedAccessKey }
  if (sharedAccessSignature !== undefined) return { token: () => sharedAccessSignature }
  return { x509: undefined }
}

/** A link, or a pair, that is attached on first use, shared, and attached again on the next use after it has ended. */
export class SharedLink<L extends { readonly closed: Promise<Closure> }> {
  readonly #attach: () => Promise<L>
  #current: Promise<L> | undefined

  constructor(attach: () => Promise<L>) {
    this.#attach = attach
  }

  /** Hands over the link that is attached or being attached, to be closed: the next use attaches another. */
  take(): Promise<L> | undefined {
    const taken = this.#current
    this.#current = undefined
    return taken
  }

  /**
   * The link, attached.
   *
   * @throws {RemoteError} the peer refused it
   * @throws {ClosedError} the connection has ended
   *
   * Cancellation stops waiting; the attach goes on for whoever else asks.
   */
  get(options: Abortable = {}): Promise<L> {
    this.#current ??= this.#open()
    return untilAborted(this.#current, options.signal)
  }

  #open(): Promise<L> {
    const opening = this.#attach()
    const forget = (): void => {
      if (this.#current === opening) this.#current = undefined
    }
    opening.then(link => link.closed.then(forget), forget)
    return opening
  }
}

/** A connection to a hub, authenticated. Make it with {@link HubConnection.open}. */
export class HubConnection implements AsyncDisposable {
  readonly #connection: Connection
  #isClosing = false

  private constructor(connection: Connection) {
    this.#connection = connection
  }

  /**
   * Connects and authenticates.
   *
   * @throws {SaslError} PLAIN was refused
   * @throws {RemoteError} CBS refused the token
   * @throws {TransportError} the host cannot be reached, or its certificate is not trusted
   * @throws {UsageError} the key is not base64, or what the provider gave is no token
   *
   * Cancellation drops the connection.
   */
  static async open(login: HubLogin, options: IotHubOptions = {}): Promise<HubConnection> {
    const { tls, transport, webSocket, proxy, signal, trace } = options
    signal?.throwIfAborted()
    const { credential } = login
    const auth = authOf(credential, options)
    // Over a transport that is given, whoever made it has shown the certificate.
    const security = 'x509' in credential && !transport ? withCertificate(tls, credential.x509) : (tls ?? true)
    const token = 'x509' in credential ? undefined : await untilAborted(makeToken(login, credential), signal)
    const connection = await connect({
      host: login.host,
      port: login.port,
      ...(transport === undefined
        ? { tls: security, webSocket: hubWebSocket(webSocket), proxy }
        : { transport: typeof transport === 'function' ? transport(login.host) : transport }),
      sasl: !token ? false : auth === 'plain' ? sasl.plain(login.user, token.value) : sasl.anonymous(),
      signal,
      trace,
    }).catch(error => {
      throw named(error, login.who)
    })
    try {
      if (token && auth === 'cbs') {
        const cbs = await CbsSession.attach(connection, { signal })
        await cbs.putToken(login.resource, token, { signal })
      }
      return new HubConnection(connection)
    } catch (error) {
      connection.close().catch(() => {})
      throw error
    }
  }

  /** Who ended the connection, and why. */
  get closed(): Promise<Closure> {
    return this.#connection.closed
  }

  /** A sender to `address`. @param properties  of the attach, besides the client's version */
  sender(address: string, properties: Readonly<Record<string, string>> = {}): SharedLink<Sender> {
    const all = { ...attachProperties, ...properties }
    return new SharedLink(() => this.#connection.sender(address, { properties: all }))
  }

  /** A receiver from `address`, that keeps `window` deliveries coming. */
  receiver(address: string, window: number): SharedLink<Receiver> {
    return new SharedLink(() =>
      this.#connection.receiver(address, { credit: { window }, properties: attachProperties }),
    )
  }

  /** A sender and a receiver of one address. */
  pair(init: Omit<LinkPairInit, 'properties'>): SharedLink<LinkPair> {
    return new SharedLink(() => attachLinkPair(this.#connection, { ...init, properties: attachProperties }))
  }

  /** A receiver of the caller's own, attached now. Errors and cancellation as with `Connection.receiver`. */
  attachReceiver(source: string | SourceInit, options: ReceiverOptions): Promise<Receiver> {
    const properties = { ...attachProperties, ...options.properties }
    return this.#connection.receiver(source, { ...options, properties })
  }

  /** A pair of links for requests. Errors and cancellation as with `Connection.request`. */
  request(address: string, options: RequestLinkOptions): Promise<RequestLink> {
    return this.#connection.request(address, options)
  }

  /**
   * What arrives on a link, until this connection is closed at this end.
   *
   * @throws {ClosedError} the link or the connection ended otherwise
   *
   * Cancellation loses nothing: what is on its way is given to the next who asks.
   */
  async *deliveries(
    link: SharedLink<Receiver>,
    options: Abortable = {},
  ): AsyncGenerator<Delivery, undefined, undefined> {
    try {
      const receiver = await link.get(options)
      for (;;) yield await receiver.receive(options)
    } catch (error) {
      if (!(this.#isClosing && error instanceof ClosedError)) throw error
    }
  }

  /** Sends what is queued, closes the connection and waits for the peer to do so. */
  async close(): Promise<void> {
    this.#isClosing = true
    await this.#connection.close()
  }

  /** {@link close} */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** Hubs know the name that the sub-protocol had before there was a standard, and no other. */
export const hubWebSocket = (options: WebSocketOptions | undefined): WebSocketOptions | undefined =>
  options && {
    class: options.class,
    path: options.path ?? '/$iothub/websocket',
    protocols: options.protocols ?? ['AMQPWSB10'],
  }

/** What hubs take to be the version of the client. */
export const attachProperties: Readonly<Record<string, string>> = { 'com.microsoft:client-version': 'fairlead/0.1.0' }

const TOKEN_TYPE = 'servicebus.windows.net:sastoken'
const TOKEN_LIFE_MS = 3_600_000

function authOf(credential: HubLogin['credential'], { auth }: IotHubOptions): 'cbs' | 'plain' {
  if (auth !== undefined && 'x509' in credential)
    throw new UsageError('IoT Hub: a device with a certificate has no token, and so no `auth`')
  return auth ?? 'cbs'
}

async function makeToken(
  { resource, keyName, keyRule = 'iothub' }: HubLogin,
  credential: SasCredential,
): Promise<{ readonly type: string; readonly value: string; readonly expiresAt: Date }> {
  if ('token' in credential) {
    const value = await credential.token({ resourceUri: resource, keyRule })
    const { sr, expiresAt } = parseSasToken(value)
    if (keyRule === 'eventhub' && !isInScope(sr, resource))
      throw new UsageError(`IoT Hub: telemetry needs a token for ${resource}, which is not the one that was given`)
    return { type: TOKEN_TYPE, value, expiresAt }
  }
  const expiresAt = new Date(Date.now() + TOKEN_LIFE_MS)
  const value = await createSasToken({ resourceUri: resource, key: credential.key, keyName, expiresAt, keyRule })
  return { type: TOKEN_TYPE, value, expiresAt }
}

/** A refusal of SASL says nothing of who was refused. */
function named(error: unknown, who: string): unknown {
  return error instanceof SaslError ? new SaslError(`${who}: ${error.message}`, error.outcome, error) : error
}

/** Rejects with `signal.reason` when that fires first. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
