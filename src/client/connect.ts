/** connect: a URL or options → an open connection; TLS, where it is, before anything of AMQP. §2.4.1 §5.2.1 */

import { DEFAULT_LIMITS } from '../engine/limits.ts'
import { TransportError, UsageError } from '../errors.ts'
import { connectSocket } from '../io/socket.ts'
import type { Transport } from '../io/transport.ts'
import type { Connection } from './api.ts'
import { ClientConnection, type Security } from './connection.ts'
import type { ConnectOptions } from './options.ts'
import { type SaslMechanism, sasl } from './sasl.ts'

/**
 * Connects to an AMQP 1.0 peer and resolves when both ends have opened the connection.
 *
 * @param target  `amqps://user:password@host:port`, percent-encoded, or options. The path is not used.
 * @param options  override what the URL says
 * @throws {UsageError} the target is not understood
 * @throws {TransportError} the host cannot be reached, or its certificate is not trusted; connecting and TLS take longer
 *   than `limits.handshakeMs`, or opening does
 * @throws {SaslError} authentication failed, or would have shown a secret without TLS
 * @throws {RemoteError} the peer closed the connection
 * @throws {ProtocolError} the peer does not speak AMQP 1.0
 *
 * Whenever it rejects, the transport is dropped, also one that was given.
 * Cancellation: drops the transport and rejects with `signal.reason`. Afterwards the signal has no effect.
 */
export async function connect(
  target: string | URL | ConnectOptions,
  options: Omit<Partial<ConnectOptions>, 'host' | 'port'> = {},
): Promise<Connection> {
  // An option that is undefined is one that was not given: it must not take TLS or the user out of the URL.
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  const parsed = parseTarget(target)
  const settings: ConnectOptions = { ...parsed, ...given }
  const { host, signal } = settings
  if (typeof host !== 'string' || host === '') throw new UsageError('the target names no host')
  if (parsed !== target && parsed.tls === true && settings.tls === false)
    throw new UsageError('the target is amqps://, which is TLS, and `tls` is false; use amqp://')
  signal?.throwIfAborted()
  const how = security(settings)
  const tls = settings.transport ? undefined : tlsOptions(settings)
  const port = settings.port ?? (tls ? 5671 : 5672)
  const withinMs = settings.limits?.handshakeMs ?? DEFAULT_LIMITS.handshakeMs
  const transport = settings.transport ?? (await connectSocket({ host, port, tls, withinMs, signal }))
  const secure = tls !== undefined || settings.transport !== undefined
  const connection = build(transport, settings, how, secure)
  try {
    await connection.start(settings)
  } catch (error) {
    if (secure || !(error instanceof TransportError) || !connection.endedUnheard) throw error
    // A server that speaks TLS answers our header with an alert.
    throw new TransportError(
      `${host}:${port} ended the connection before the AMQP header; if this is a TLS port, use amqps://`,
      error.cause ?? error,
    )
  }
  return connection
}

function build(transport: Transport, settings: ConnectOptions, how: Security, secure: boolean): ClientConnection {
  try {
    return new ClientConnection(transport, { ...settings, hostname: settings.hostname ?? settings.host }, how, secure)
  } catch (error) {
    transport.destroy()
    throw error
  }
}

/** The options that a target stands for. @throws {UsageError} */
export function parseTarget(target: string | URL | ConnectOptions): ConnectOptions {
  if (typeof target !== 'object' && typeof target !== 'string')
    throw new UsageError('connect needs a target: a URL such as amqps://host, or options with a host')
  if (typeof target !== 'string' && !(target instanceof URL)) return target
  const url = typeof target === 'string' ? parseUrl(target) : target
  if (url.protocol !== 'amqp:' && url.protocol !== 'amqps:')
    throw new UsageError(`a target begins with amqp:// or amqps://, not ${url.protocol}//`)
  if (url.hostname === '') throw new UsageError('the target names no host')
  const options: ConnectOptions = { host: url.hostname.replace(/^\[|\]$/g, ''), tls: url.protocol === 'amqps:' }
  if (url.port !== '') options.port = Number(url.port)
  if (url.username !== '') options.sasl = sasl.plain(decoded(url.username), decoded(url.password))
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

function tlsOptions({ tls, port }: ConnectOptions): import('node:tls').ConnectionOptions | undefined {
  if (tls !== undefined && typeof tls !== 'boolean' && (typeof tls !== 'object' || tls === null))
    throw new UsageError('tls is true, false, or options of node:tls')
  if (typeof tls === 'object') return tls
  return (tls ?? port === 5671) ? {} : undefined
}

function security({ sasl: chosen, allowInsecureAuth }: ConnectOptions): Security {
  if (chosen === false) return { role: 'none' }
  const mechanisms: readonly SaslMechanism[] =
    chosen === undefined ? [sasl.anonymous()] : Array.isArray(chosen) ? chosen : [chosen as SaslMechanism]
  if (mechanisms.some(mechanism => typeof mechanism?.start !== 'function'))
    throw new UsageError('sasl is a mechanism such as sasl.plain(user, password), a list of them, or false')
  return { role: 'client', mechanisms, allowInsecure: allowInsecureAuth === true }
}
