/** connect: a URL or options → an open connection; TLS, where it is, before anything of AMQP. §2.4.1 §5.2.1 */

import type { Duplex } from 'node:stream'
import { DEFAULT_LIMITS } from '../engine/limits.ts'
import { TransportError, UsageError } from '../errors.ts'
import { connectSocket } from '../io/socket.ts'
import type { Transport } from '../io/transport.ts'
import type { Connection } from './api.ts'
import type { Security } from './authentication.ts'
import { checkConnectOptions } from './check-options.ts'
import { ClientConnection } from './connection.ts'
import type { ConnectOptions } from './options.ts'
import type { SecondTry } from './pipeline.ts'
import { anonymous } from './sasl/anonymous.ts'
import { external } from './sasl/external.ts'
import type { SaslMechanism } from './sasl/mechanism.ts'
import { plain } from './sasl/plain.ts'

/**
 * Connects to an AMQP 1.0 peer and resolves when both ends have opened the connection.
 *
 * @param target  `amqps://user:password@host:port`, percent-encoded, the path not used; `wss://host/path`, a WebSocket; or
 *   options
 * @param options  override what the URL says
 * @throws {UsageError} the target is not understood, an option is unknown or out of range
 * @throws {TransportError} the host cannot be reached, its certificate is not trusted, or it takes no WebSocket with one
 *   of the sub-protocols; connecting and TLS take longer than `limits.handshakeMs`, or opening does
 * @throws {SaslError} authentication failed, or would have shown a secret without TLS
 * @throws {RemoteError} the peer closed the connection; with `followRedirects`, also one redirect too many
 * @throws {ProtocolError} the peer does not speak AMQP 1.0
 *
 * With `pipeline` it resolves when the transport stands; what then fails rejects `connection.opened`.
 *
 * Whenever it rejects, the transport is dropped, also one that was given.
 * Cancellation: drops the transport and rejects with `signal.reason`. Afterwards the signal has no effect.
 */
export async function connect(
  target: string | URL | ConnectOptions,
  options: Omit<Partial<ConnectOptions>, 'host' | 'port'> = {},
): Promise<Connection> {
  const given = options.transport ?? (target as Partial<ConnectOptions> | undefined)?.transport
  const settings = orDrop(given, () => settingsOf(target, options))
  if (!settings.followRedirects) return dial(settings)
  const { following } = await import('./redirect.ts')
  return following(settings, dial)
}

/** What `make` gives; where it throws, the transport is dropped. */
function orDrop<T>(transport: Transport | undefined, make: () => T): T {
  try {
    return make()
  } catch (error) {
    transport?.destroy()
    throw error
  }
}

/** The options of a target, checked and overridden. @throws {UsageError} */
function settingsOf(
  target: string | URL | ConnectOptions,
  options: Omit<Partial<ConnectOptions>, 'host' | 'port'>,
): ConnectOptions {
  // An option that is undefined is one that was not given: it must not take TLS or the user out of the URL.
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  const parsed = parseTarget(target)
  const settings: ConnectOptions = { ...parsed, ...given }
  const { host, followRedirects = 0 } = settings
  if (typeof host !== 'string' || host === '') throw new UsageError('the target names no host')
  checkConnectOptions(settings)
  if (!Number.isInteger(followRedirects) || followRedirects < 0)
    throw new UsageError('followRedirects is a number of redirects, 0 for none')
  if (followRedirects > 0 && settings.pipeline)
    throw new UsageError('`pipeline` does not wait for the open, behind which a redirect comes: one of the two')
  if (parsed !== target && parsed.tls === true && settings.tls === false)
    throw new UsageError('the target is amqps:// or wss://, which is TLS, and `tls` is false; use amqp:// or ws://')
  if (settings.webSocket) settings.webSocket = { ...settings.webSocket, path: pathOf(settings, parsed) }
  // Decided once: a redirect to another port takes no TLS away.
  settings.tls = tlsOptions(settings) ?? false
  return settings
}

/** Connects once. */
async function dial(settings: ConnectOptions): Promise<Connection> {
  const { host, signal, pipeline } = settings
  // What only some programs use is loaded when it is asked for.
  const pipelining = pipeline ? await import('./pipeline.ts') : undefined
  const how = orDrop(settings.transport, () => {
    signal?.throwIfAborted()
    return security(settings)
  })
  const tls = settings.transport ? undefined : tlsOptions(settings)
  const port = settings.port ?? defaultPort(settings, tls !== undefined)
  const peer = settings.transport ? settings.transport.remoteAddress : `${host}:${port}`
  const secure = tls !== undefined || settings.transport !== undefined
  const make = async (cancel: AbortSignal | undefined): Promise<ClientConnection> => {
    const transport = settings.transport ?? (await reach({ ...settings, signal: cancel }, host, port, tls))
    return build(transport, { ...settings, peer }, how, secure)
  }
  const connection = await make(signal)
  const opening = { settings, connection, where: `${host}:${port}`, secure }
  if (!pipelining) return opened(opening, signal)
  const second: SecondTry = {
    peer: opening.where,
    dial: async cancel => opened({ ...opening, connection: await make(cancel) }, cancel),
  }
  const { PipelinedConnection, refusesPipelining } = pipelining
  return new PipelinedConnection(connection, !refusesPipelining(second.peer), settings.transport ? undefined : second)
}

/** A connection that is to be opened. */
interface Opening {
  readonly settings: ConnectOptions
  readonly connection: ClientConnection
  readonly where: string
  readonly secure: boolean
}

async function opened(opening: Opening, signal: AbortSignal | undefined): Promise<ClientConnection> {
  const { settings, connection, where, secure } = opening
  try {
    await connection.start({ signal })
  } catch (error) {
    if (secure || settings.webSocket || !(error instanceof TransportError) || !connection.endedUnheard) throw error
    // A server that speaks TLS answers our header with an alert.
    throw new TransportError(
      `${where} ended the connection before the AMQP header; if this is a TLS port, use amqps://`,
      error.cause ?? error,
    )
  }
  return connection
}

/** How errors name the peer. */
type Peer = { readonly peer: string | undefined }

type TlsOptions = import('node:tls').ConnectionOptions | undefined

/** A transport to the host: by a WebSocket, through a proxy, or by a socket. */
async function reach(settings: ConnectOptions, host: string, port: number, tls: TlsOptions): Promise<Transport> {
  const { webSocket, proxy, signal } = settings
  const withinMs = settings.limits?.handshakeMs ?? DEFAULT_LIMITS.handshakeMs
  if (webSocket) {
    if (proxy)
      throw new UsageError('a WebSocket class makes its own connections: `proxy` and `webSocket` exclude each other')
    const { class: Class, path = '/', protocols = ['amqp'] } = webSocket
    const { connectWebSocket } = await import('../io/websocket.ts')
    return connectWebSocket({ host, port, path, tls, protocols, class: Class, withinMs, signal })
  }
  const began = performance.now()
  let through: Duplex | undefined
  if (proxy) {
    const { connectThrough } = await import('../io/proxy.ts')
    through = await connectThrough(proxy, { host, port, withinMs }, signal)
  }
  const left = Math.ceil(withinMs - (performance.now() - began))
  return connectSocket({ host, port, tls, withinMs: left, signal, through })
}

const defaultPort = ({ webSocket }: ConnectOptions, tls: boolean): number =>
  webSocket ? (tls ? 443 : 80) : tls ? 5671 : 5672

/** The path of the options, or else that of the URL. @throws {UsageError} it begins with no slash */
function pathOf({ webSocket }: ConnectOptions, parsed: ConnectOptions): string {
  const path = webSocket?.path ?? parsed.webSocket?.path ?? '/'
  if (!path.startsWith('/')) throw new UsageError('the path of a WebSocket begins with a slash')
  return path
}

function build(
  transport: Transport,
  settings: ConnectOptions & Peer,
  how: Security,
  secure: boolean,
): ClientConnection {
  const { host, hostname = host } = settings
  return orDrop(transport, () => new ClientConnection(transport, { ...settings, hostname }, how, secure))
}

/** The options that a target stands for. @throws {UsageError} */
export function parseTarget(target: string | URL | ConnectOptions): ConnectOptions {
  if (typeof target !== 'object' && typeof target !== 'string')
    throw new UsageError('connect needs a target: a URL such as amqps://host, or options with a host')
  if (typeof target !== 'string' && !(target instanceof URL)) return target
  const url = typeof target === 'string' ? parseUrl(target) : target
  const scheme = /^(amqp|ws)(s?):$/.exec(url.protocol)
  if (!scheme) throw new UsageError(`a target begins with amqp://, amqps://, ws:// or wss://, not ${url.protocol}//`)
  if (url.hostname === '') throw new UsageError('the target names no host')
  const options: ConnectOptions = { host: url.hostname.replace(/^\[|\]$/g, ''), tls: scheme[2] === 's' }
  if (scheme[1] === 'ws') options.webSocket = { path: `${url.pathname}${url.search}` }
  if (url.port !== '') options.port = Number(url.port)
  if (url.username !== '') options.sasl = plain(decoded(url.username), decoded(url.password))
  return options
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new UsageError('user name and password in a target are percent-encoded: % is written %25')
  }
}

function parseUrl(text: string): URL {
  try {
    return new URL(text)
  } catch {
    // Not the text itself: it may hold a password.
    throw new UsageError('the target is not a URL such as amqps://host or amqps://user:password@host:5671')
  }
}

function tlsOptions({ tls, port, webSocket }: ConnectOptions): TlsOptions {
  if (tls !== undefined && typeof tls !== 'boolean' && (typeof tls !== 'object' || tls === null))
    throw new UsageError('tls is true, false, or options of node:tls')
  if (typeof tls === 'object') return tls
  return (tls ?? port === (webSocket ? 443 : 5671)) ? {} : undefined
}

/** A certificate says who we are, where the server asks for that; else nobody does. */
const unchosen = (tls: ConnectOptions['tls']): readonly SaslMechanism[] =>
  typeof tls === 'object' && (tls?.cert !== undefined || tls?.pfx !== undefined)
    ? [external(), anonymous()]
    : [anonymous()]

function security({ host, hostname = host, tls, sasl = unchosen(tls), allowInsecureAuth }: ConnectOptions): Security {
  const chosen = typeof sasl === 'function' ? sasl(hostname) : sasl
  if (chosen === false) return { role: 'none' }
  const mechanisms: readonly SaslMechanism[] = Array.isArray(chosen) ? chosen : [chosen as SaslMechanism]
  if (mechanisms.some(mechanism => typeof mechanism?.start !== 'function'))
    throw new UsageError('sasl is a mechanism such as sasl.plain(user, password), a list of them, or false')
  return { role: 'client', mechanisms, allowInsecure: allowInsecureAuth === true }
}
