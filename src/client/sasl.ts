/**
 * The SASL mechanisms there are, for `connect` and for `listen`. Each has a file of its own in `sasl/`. §5.3
 *
 * No bundler takes an object apart: who names `sasl` carries all of it, 2.5 KiB min+gzip, of which SCRAM is most.
 * `connect` and `listen` themselves take the few that they need from their files.
 */

import { anonymous, anonymousServer } from './sasl/anonymous.ts'
import type { TokenCheck, TokenSource } from './sasl/bearer.ts'
import { type ExternalCheck, external, externalServer } from './sasl/external.ts'
import type { Maybe, SaslMechanism, SaslServerMechanism } from './sasl/mechanism.ts'
import { mssbcbs, mssbcbsServer } from './sasl/mssbcbs.ts'
import { oauthBearer, oauthBearerServer } from './sasl/oauth-bearer.ts'
import { type PlainCheck, plain, plainServer } from './sasl/plain.ts'
import { type ScramLookup, type ScramServerOptions, scram, scramServer } from './sasl/scram.ts'
import { xoauth2, xoauth2Server } from './sasl/xoauth2.ts'

export type { SaslMechanism, SaslServerMechanism } from './sasl/mechanism.ts'

/** Mechanisms for `connect`. */
export const sasl: {
  /** RFC 4505. `trace` is text for the server's log. */
  anonymous(trace?: string): SaslMechanism
  /** RFC 4616. Refused without TLS unless `allowInsecureAuth`. @throws {SaslError} for a NUL in either argument */
  plain(username: string, password: string): SaslMechanism
  /** By what the transport has proved, usually a client certificate. `authorizationId`: act as somebody else. */
  external(authorizationId?: string): SaslMechanism
  /**
   * RFC 5802 and 7677: SCRAM-SHA-512, -256, -1, in that order. Neither end shows the password, and the server has to
   * prove that it knows it. No channel binding. Both arguments are prepared by SASLprep (RFC 4013). A server may ask for
   * 4,096 … 1,000,000 iterations.
   *
   * @throws {SaslError} an argument is empty, or contains what SASLprep forbids
   */
  scram(username: string, password: string): readonly SaslMechanism[]
  /**
   * RFC 7628: an OAuth 2 bearer token, or what fetches a fresh one for each connection. `authorizationId`: whom to act
   * as, where the token does not say. Refused without TLS unless `allowInsecureAuth`.
   */
  oauthBearer(token: TokenSource, authorizationId?: string): SaslMechanism
  /** What came before `oauthBearer`. Refused without TLS unless `allowInsecureAuth`. @throws {SaslError} control characters */
  xoauth2(username: string, token: TokenSource): SaslMechanism
  /** Microsoft's: authenticated later, by CBS. */
  mssbcbs(): SaslMechanism
} = { anonymous, plain, external, scram, oauthBearer, xoauth2, mssbcbs }

/** Mechanisms for `listen`. In each, a `check` that gives true lets the peer in, text does and names it; all else refuses. */
export const saslServer: {
  /** Lets everybody in. */
  anonymous(): SaslServerMechanism
  /** Asks `check`. The identity is the user name unless `check` returns another. */
  plain(check: PlainCheck): SaslServerMechanism
  /**
   * Asks `check` about the certificate that the peer showed (DER) and whom it wants to act as, if anybody; a peer
   * without a certificate is refused. Ask for certificates by `tls: { requestCert: true }`; unless that also verifies
   * them, `check` must.
   */
  external(check: ExternalCheck): SaslServerMechanism
  /**
   * Asks `lookup` for what is kept of a user's password; `scramCredentials` derives it. A user who is not known is asked
   * for a proof all the same, with a salt that does not change, and refused at the end; for that, say in `options` what
   * your users' credentials look like. The identity is the user name.
   *
   * @throws {UsageError} an option is out of range
   */
  scram(lookup: ScramLookup, options?: ScramServerOptions): readonly SaslServerMechanism[]
  /** Asks `check` about the token and whom its owner wants to act as ('' for nobody in particular). */
  oauthBearer(check: TokenCheck): SaslServerMechanism
  /** Asks `check`. The identity is the user name unless `check` returns another. */
  xoauth2(check: (username: string, token: string) => Maybe<boolean | string>): SaslServerMechanism
  /** Lets everybody in, to authenticate by CBS. */
  mssbcbs(): SaslServerMechanism
} = {
  anonymous: anonymousServer,
  plain: plainServer,
  external: externalServer,
  scram: scramServer,
  oauthBearer: oauthBearerServer,
  xoauth2: xoauth2Server,
  mssbcbs: mssbcbsServer,
}
