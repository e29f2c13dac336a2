/** Redirects of connections: followed when that is asked for, as often as that is. §2.8.16 §2.8.18 */

import { type Redirect, RemoteError, SaslError } from '../errors.ts'
import type { Connection } from './api.ts'
import { within } from './operation.ts'
import type { ConnectOptions } from './options.ts'
import type { SaslMechanism } from './sasl/mechanism.ts'

/** In an open: a close with the reason follows. A convention, older than its name is settled. */
const REFUSED = 'amqp:connection-establishment-failed'
/** How long that close is waited for, in milliseconds. */
const CLOSE_MS = 2000

/**
 * Options for `connect` that lead where a redirect points: host, hostname, port, and the name that the certificate must
 * show. TLS stays as it was. The address of a link's redirect is the caller's to attach to.
 *
 * @param options  how the peer that redirects was reached
 * @throws {SaslError} a mechanism of `options.sasl` would show its secret to another host; `cause` is what was given as
 *   `why`. A function of the host decides for itself.
 */
export function redirectTarget(redirect: Redirect, options: ConnectOptions, why?: RemoteError): ConnectOptions {
  const { hostname, networkHost, port } = redirect
  const before = options.hostname ?? options.host
  const host = networkHost ?? hostname ?? options.host
  const name = hostname ?? networkHost ?? before
  if (name !== before && showsSecret(options.sasl))
    throw new SaslError(
      `redirected to ${name}, which is not shown a secret meant for ${before}; give \`sasl\` as a function of the host`,
      undefined,
      why,
    )
  const { tls } = options
  return {
    ...options,
    host,
    hostname: name,
    port: port ?? options.port,
    tls: typeof tls === 'object' || tls === true ? { ...(tls === true ? {} : tls), servername: name } : tls,
  }
}

const showsSecret = (sasl: ConnectOptions['sasl']): boolean =>
  typeof sasl !== 'function' && [sasl || []].flat().some((have: SaslMechanism) => have.secret)

/**
 * Connects, and again wherever it is redirected to, `followRedirects` times at most.
 *
 * @param dial  connects once
 * @throws {RemoteError} one redirect too many, or one without a target
 */
export async function following(
  first: ConnectOptions,
  dial: (settings: ConnectOptions) => Promise<Connection>,
): Promise<Connection> {
  let settings = first
  for (let left = first.followRedirects ?? 0; ; left--) {
    const connection = await dial(settings)
    const error = await redirection(connection, settings.signal)
    if (!error) return connection
    // A transport that was given leads to one peer only.
    if (left <= 0 || !error.redirect || settings.transport) throw error
    settings = redirectTarget(error.redirect, settings, error)
  }
}

/** The redirect with which a peer has closed, in one piece with its open or announced by that. */
async function redirection(connection: Connection, signal: AbortSignal | undefined): Promise<RemoteError | undefined> {
  if (connection.remote.properties.get(REFUSED) === true) await within(connection.closed, CLOSE_MS, signal)
  const closure = await Promise.race([connection.closed, Promise.resolve(undefined)])
  const error = closure?.error
  return error instanceof RemoteError && error.condition === 'amqp:connection:redirect' ? error : undefined
}
