/** connect: a URL or options → an open connection; TLS, where it is, before anything of AMQP. §2.4.1 §5.2.1 */

import type { Duplex } from 'node:stream'
import { DEFAULT_LIMITS } from '../engine/limits.ts'
import { ClosedError, type RemoteError, UsageError } from '../errors.ts'
import { connectSocket } from '../io/socket.ts'
import type { Transport } from '../io/transport.ts'
import type { Connection } from './api.ts'
import type { Security } from './authentication.ts'
import { checkConnectOptions } from './check-options.ts'
import { ClientConnection } from './connection.ts'
import type { Carrier } from './line.ts'
import { shared } from './operation.ts'
import type { ConnectOptions } from './options.ts'
import { refusesPipelining } from './pipeline.ts'
import { isLasting, type ReconnectOptions } from './recovery/back-off.ts'
import type { Recovery, Route } from './recovery/recovery.ts'
import { isRedirect, redirectTarget } from './redirect.ts'
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
 * With `hosts` each is tried once, in order, and the last error is thrown; one that another host would not mend, such as
 * a refused password, is thrown at once. With `reconnect` a connection that is lost later is made again.
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
  try {
    return await reached(settingsOf(target, options))
  } catch (error) {
    if (typeof given === 'object') given.destroy()
    throw error
  }
}

/** Connects to the first of the hosts that takes us. */
async function reached(settings: ConnectOptions): Promise<Connection> {
  const routes = routesOf(settings)
  const recovery = settings.reconnect
    ? await recoveryOf(settings.reconnect, routes, settings.followRedirects)
    : undefined
  let failure: unknown
  for (const route of routes) {
    try {
      return await following(route, settings, recovery)
    } catch (error) {
      if (settings.signal?.aborted || isLasting(error)) throw error
      failure = error
    }
  }
  throw failure
}

async function recoveryOf(options: ReconnectOptions, routes: [Way, ...Way[]], redirects = 0): Promise<Recovery> {
  const { Recovery } = await import('./recovery/recovery.ts')
  return new Recovery(options, routes, redirects)
}

/** Connects by a route, and again wherever that redirects to. @throws {RemoteError} one redirect too many */
async function following(first: Way, settings: ConnectOptions, recovery: Recovery | undefined): Promise<Connection> {
  const { followRedirects = 0, signal } = settings
  let route = first
  for (let left = followRedirects; ; left--) {
    if (followRedirects === 0) recovery?.arm(route)
    const connection = await once(route, recovery)
    if (followRedirects === 0) return connection
    const { line } = connection
    await line.settled(signal)
    const error = line.closure?.error
    if (!isRedirect(error)) {
      if (recovery && line.closure) throw error ?? new ClosedError('connection', 'connection', undefined, 'remote')
      recovery?.arm(route)
      return connection
    }
    const next = left > 0 && route.redirected(error)
    if (!next) throw error
    route = next
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

/** A way to the peer, and what is said there. */
interface Way extends Route {
  readonly settings: ConnectOptions
  /** `host:port` */
  readonly where: string
  redirected(error: RemoteError): Way | undefined
}

/** The ways to the hosts of the options, in order. @throws {UsageError} a host is not understood */
function routesOf(settings: ConnectOptions): [Way, ...Way[]] {
  const { hosts = [], transport } = settings
  if (!Array.isArray(hosts)) throw new UsageError('hosts is a list of `host` or `host:port`')
  const further = hosts.map(text => hostAndPort(text))
  if (transport) return [wayTo(settings)]
  return [wayTo(settings), ...further.map(({ host, port = settings.port }) => wayTo({ ...settings, host, port }))]
}

/** One of the further hosts. @throws {UsageError} */
function hostAndPort(text: unknown): { host: string; port: number | undefined } {
  const parts = typeof text === 'string' && /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text)
  if (parts)
    return { host: (parts[1] ?? parts[2]) as string, port: parts[3] === undefined ? undefined : Number(parts[3]) }
  // Not the text itself: it may be a URL, and hold a password.
  throw new UsageError('each of `hosts` is `host`, `host:port` or `[address]:port`; a URL stands only as the target')
}

function wayTo(settings: ConnectOptions): Way {
  const { host, transport: given, webSocket } = settings
  const tls = given ? undefined : tlsOptions(settings)
  const port = settings.port ?? defaultPort(settings, tls !== undefined)
  const where = `${host}:${port}`
  return {
    settings,
    where,
    async dial(signal, isRefed) {
      signal?.throwIfAborted()
      const how = await security(settings, signal)
      if (!given) {
        const transport = await reach(settings, { host, port, isRefed }, tls, signal)
        return { transport, host, peer: where, secure: tls !== undefined, bare: !tls && !webSocket, security: how }
      }
      const transport = typeof given === 'function' ? await given() : given
      return { transport, host, peer: transport.remoteAddress, secure: true, security: how }
    },
    // A transport that was given leads to one peer only.
    redirected(error) {
      const redirect = given ? undefined : error.redirect
      return redirect && wayTo(redirectTarget(redirect, settings, error))
    },
  }
}

/** Connects once. */
async function once(way: Way, recovery: Recovery | undefined): Promise<ClientConnection> {
  const { settings, where } = way
  const { signal, pipeline, transport } = settings
  const connection = build(await way.dial(signal, true), settings, recovery)
  if (!pipeline) await connection.line.start(signal)
  else {
    const second = { peer: where, dial: (cancel: AbortSignal) => way.dial(cancel, true) }
    connection.pipeline(!refusesPipelining(where), typeof transport === 'object' ? undefined : second)
  }
  return connection
}

type TlsOptions = import('node:tls').ConnectionOptions | undefined

/** A transport to the host: by a WebSocket, through a proxy, or by a socket. */
async function reach(
  settings: ConnectOptions,
  to: { readonly host: string; readonly port: number; readonly isRefed: boolean },
  tls: TlsOptions,
  signal: AbortSignal | undefined,
): Promise<Transport> {
  const { webSocket, proxy } = settings
  const withinMs = settings.limits?.handshakeMs ?? DEFAULT_LIMITS.handshakeMs
  if (webSocket) {
    if (proxy)
      throw new UsageError('a WebSocket class makes its own connections: `proxy` and `webSocket` exclude each other')
    const { class: Class, path = '/', protocols = ['amqp'] } = webSocket
    const { connectWebSocket } = await import('../io/websocket.ts')
    return connectWebSocket({ ...to, path, tls, protocols, class: Class, withinMs, signal })
  }
  const began = performance.now()
  let through: Duplex | undefined
  if (proxy) {
    const { connectThrough } = await import('../io/proxy.ts')
    through = await connectThrough(proxy, { ...to, withinMs }, signal)
  }
  const left = Math.ceil(withinMs - (performance.now() - began))
  return connectSocket({ ...to, tls, withinMs: left, signal, through })
}

const defaultPort = ({ webSocket }: ConnectOptions, tls: boolean): number =>
  webSocket ? (tls ? 443 : 80) : tls ? 5671 : 5672

/** The path of the options, or else that of the URL. @throws {UsageError} it begins with no slash */
function pathOf({ webSocket }: ConnectOptions, parsed: ConnectOptions): string {
  const path = webSocket?.path ?? parsed.webSocket?.path ?? '/'
  if (!path.startsWith('/')) throw new UsageError('the path of a WebSocket begins with a slash')
  return path
}

function build(carrier: Carrier, settings: ConnectOptions, recovery: Recovery | undefined): ClientConnection {
  try {
    return new ClientConnection(carrier, settings, recovery)
  } catch (error) {
    carrier.transport.destroy()
    throw error
  }
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

/** How to authenticate, asked anew each time. */
async function security(
  { host, hostname = host, tls, sasl = unchosen(tls), allowInsecureAuth }: ConnectOptions,
  signal: AbortSignal | undefined,
): Promise<Security> {
  const chosen = typeof sasl === 'function' ? await shared(Promise.resolve(sasl(hostname)), signal) : sasl
  if (chosen === false) return { role: 'none' }
  const mechanisms: readonly SaslMechanism[] = Array.isArray(chosen) ? chosen : [chosen as SaslMechanism]
  if (mechanisms.some(mechanism => typeof mechanism?.start !== 'function'))
    throw new UsageError('sasl is a mechanism such as sasl.plain(user, password), a list of them, or false')
  return { role: 'client', mechanisms, allowInsecure: allowInsecureAuth === true }
}
