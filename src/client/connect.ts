/** connect: a URL or options → an open connection. §2.4.1 §5.2 */

import { UsageError } from '../errors.ts'
import { connectSocket } from '../io/socket.ts'
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
 * @throws {TransportError} the host cannot be reached, or its certificate is not trusted
 * @throws {SaslError} authentication failed, or would have shown a secret without TLS
 * @throws {RemoteError} the peer closed the connection
 * @throws {ProtocolError} the peer does not speak AMQP 1.0
 *
 * Cancellation: drops the transport and rejects with `signal.reason`. Afterwards the signal has no effect.
 */
export async function connect(
  target: string | URL | ConnectOptions,
  options: Omit<Partial<ConnectOptions>, 'host' | 'port'> = {},
): Promise<Connection> {
  const settings: ConnectOptions = { ...parseTarget(target), ...options }
  if (typeof settings.host !== 'string' || settings.host === '') throw new UsageError('the target names no host')
  settings.signal?.throwIfAborted()
  const tls = settings.transport ? undefined : tlsOptions(settings)
  const port = settings.port ?? (tls ? 5671 : 5672)
  const transport =
    settings.transport ?? (await connectSocket({ host: settings.host, port, tls, signal: settings.signal }))
  const secure = tls !== undefined || settings.transport !== undefined
  const hostname = settings.hostname ?? settings.host
  const connection = new ClientConnection(transport, { ...settings, hostname }, security(settings), secure)
  await connection.start(settings)
  return connection
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
  if (url.username !== '') options.sasl = sasl.plain(decodeURIComponent(url.username), decodeURIComponent(url.password))
  return options
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
  if (typeof tls === 'object') return tls
  return (tls ?? port === 5671) ? {} : undefined
}

function security({ sasl: chosen, allowInsecureAuth }: ConnectOptions): Security {
  if (chosen === false) return { role: 'none' }
  const mechanisms: readonly SaslMechanism[] =
    chosen === undefined ? [sasl.anonymous()] : Array.isArray(chosen) ? chosen : [chosen as SaslMechanism]
  return { role: 'client', mechanisms, allowInsecure: allowInsecureAuth === true }
}
