/** Redirects of connections: followed when that is asked for, as often as that is. §2.8.16 §2.8.18 */

import type { Open } from '../definitions/performatives.ts'
import { ConnectionCondition, type Redirect, RemoteError, SaslError } from '../errors.ts'
import type { ConnectOptions } from './options.ts'
import type { SaslMechanism } from './sasl/mechanism.ts'
import { orEmpty } from './termini.ts'

/** In an open: a close with the reason follows. A convention, older than its name is settled. */
const REFUSED = 'amqp:connection-establishment-failed'
/** How long that close is waited for, in milliseconds. */
export const CLOSE_MS = 2000

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

/** Whether an error sends the connection elsewhere. §2.8.16 */
export const isRedirect = (error: unknown): error is RemoteError =>
  error instanceof RemoteError && error.condition === ConnectionCondition.redirect

/** Whether an open says that a close follows it. */
export const announcesClose = (properties: Open['properties']): boolean => orEmpty(properties).get(REFUSED) === true
