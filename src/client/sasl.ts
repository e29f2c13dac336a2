/** SASL mechanisms as the client and the server plug them in: ANONYMOUS, PLAIN, and the interfaces for others. §5.3 */

import { SaslError } from '../errors.ts'
import { decodeUtf8, encodeUtf8 } from '../types/utf8.ts'

type Maybe<T> = T | Promise<T>

/** What a client mechanism may know. */
export interface SaslContext {
  /** The host connected to. */
  readonly hostname: string
  /** Whether the transport is private: TLS, or vouched for. */
  readonly secure: boolean
  readonly signal: AbortSignal
}

/** A way to authenticate, on the connecting side. One object may serve many connections. */
export interface SaslMechanism {
  /** The registered name, e.g. `PLAIN`. */
  readonly name: string
  /** Whether it gives a secret to whoever listens: then it is refused without TLS. */
  readonly secret: boolean
  /** Begins one attempt. */
  start(context: SaslContext): SaslExchange
}

/** One attempt. Whatever it throws or rejects with fails the connection with a `SaslError`. */
export interface SaslExchange {
  initial(): Maybe<Uint8Array | undefined>
  respond(challenge: Uint8Array): Maybe<Uint8Array>
  /** Throws when the server failed to prove itself. */
  finish(additionalData: Uint8Array | undefined): Maybe<void>
}

/** What a server mechanism may know. */
export interface SaslServerContext {
  readonly secure: boolean
  /** DER, when the peer showed a certificate. */
  readonly peerCertificate: Uint8Array | undefined
}

/** A way to authenticate peers, on the accepting side. */
export interface SaslServerMechanism {
  readonly name: string
  start(context: SaslServerContext): SaslServerExchange
}

/** One attempt of one peer. Throwing answers `sys`. */
export interface SaslServerExchange {
  /** @param response  the initial response, or the answer to the last challenge; `undefined` when there was none */
  step(response: Uint8Array | undefined): Maybe<SaslStep>
}

/** What the server does next. §5.3.3.3 §5.3.3.5 */
export type SaslStep =
  | { readonly challenge: Uint8Array }
  | {
      readonly outcome: 'ok' | 'auth' | 'sys' | 'sys-perm' | 'sys-temp'
      /** Who the peer is, for `connection.identity`. */
      readonly identity?: string | undefined
      readonly additionalData?: Uint8Array | undefined
    }

const unasked = (name: string) => (): never => {
  throw new SaslError(`the server sent a challenge, which ${name} does not have`)
}

const nothing = (): undefined => undefined

/** RFC 4505. @param trace  text for the server's log */
const anonymous = (trace?: string): SaslMechanism => ({
  name: 'ANONYMOUS',
  secret: false,
  start: () => ({
    initial: () => (trace === undefined ? new Uint8Array() : encodeUtf8(trace)),
    respond: unasked('ANONYMOUS'),
    finish: nothing,
  }),
})

/** RFC 4616: user and password as they are, so TLS is required unless `allowInsecureAuth`. @throws {SaslError} for a NUL in either */
const plain = (username: string, password: string): SaslMechanism => {
  if (username.includes('\0') || password.includes('\0'))
    throw new SaslError('a PLAIN user name or password cannot contain NUL')
  return {
    name: 'PLAIN',
    secret: true,
    start: () => ({
      initial: () => encodeUtf8(`\0${username}\0${password}`),
      respond: unasked('PLAIN'),
      finish: nothing,
    }),
  }
}

/** RFC 4422, appendix A: the transport has proved who we are, usually by a client certificate. */
const external = (authorizationId = ''): SaslMechanism => ({
  name: 'EXTERNAL',
  secret: false,
  start: () => ({ initial: () => encodeUtf8(authorizationId), respond: unasked('EXTERNAL'), finish: nothing }),
})

/** MSSBCBS: authenticated later, by CBS. No initial response, no challenge. */
const mssbcbs = (): SaslMechanism => ({
  name: 'MSSBCBS',
  secret: false,
  start: () => ({ initial: nothing, respond: unasked('MSSBCBS'), finish: nothing }),
})

/** Mechanisms for `connect`. */
export const sasl: {
  /** RFC 4505. `trace` is text for the server's log. */
  anonymous(trace?: string): SaslMechanism
  /** RFC 4616. Refused without TLS unless `allowInsecureAuth`. @throws {SaslError} for a NUL in either argument */
  plain(username: string, password: string): SaslMechanism
  /** By what the transport has proved, usually a client certificate. `authorizationId`: act as somebody else. */
  external(authorizationId?: string): SaslMechanism
  /** Microsoft's: authenticated later, by CBS. */
  mssbcbs(): SaslMechanism
} = { anonymous, plain, external, mssbcbs }

/** Mechanisms for `listen`. */
export const saslServer: {
  /** Lets everybody in. */
  anonymous(): SaslServerMechanism
  /** Asks `check`; false or a throw refuses. The identity is the user name unless `check` returns another. */
  plain(check: (username: string, password: string) => Maybe<boolean | string>): SaslServerMechanism
  /**
   * Asks `check` about the certificate that the peer showed (DER) and whom it wants to act as, if anybody; a peer
   * without a certificate is refused. Ask for certificates by `tls: { requestCert: true }`; unless that also verifies
   * them, `check` must.
   */
  external(check: (certificate: Uint8Array, authorizationId: string) => Maybe<boolean | string>): SaslServerMechanism
  /** Lets everybody in, to authenticate by CBS. */
  mssbcbs(): SaslServerMechanism
} = {
  anonymous: () => ({ name: 'ANONYMOUS', start: () => ({ step: () => ({ outcome: 'ok' }) }) }),
  mssbcbs: () => ({ name: 'MSSBCBS', start: () => ({ step: () => ({ outcome: 'ok' }) }) }),
  external: check => ({
    name: 'EXTERNAL',
    start: ({ peerCertificate }) => ({ step: response => checkExternal(response, peerCertificate, check) }),
  }),
  plain: check => ({ name: 'PLAIN', start: () => ({ step: response => checkPlain(response, check) }) }),
}

async function checkPlain(
  response: Uint8Array | undefined,
  check: (username: string, password: string) => Maybe<boolean | string>,
): Promise<SaslStep> {
  if (response === undefined) return { challenge: new Uint8Array() }
  const parts = decodeUtf8(response, 0, response.length)?.split('\0')
  const [authzid, username, password] = parts ?? []
  if (parts?.length !== 3 || username === undefined || password === undefined) return { outcome: 'auth' }
  if (authzid !== '' && authzid !== username) return { outcome: 'auth' }
  const answer = await check(username, password)
  return answer === false ? { outcome: 'auth' } : { outcome: 'ok', identity: answer === true ? username : answer }
}

async function checkExternal(
  response: Uint8Array | undefined,
  certificate: Uint8Array | undefined,
  check: (certificate: Uint8Array, authorizationId: string) => Maybe<boolean | string>,
): Promise<SaslStep> {
  if (response === undefined) return { challenge: new Uint8Array() }
  const authorizationId = decodeUtf8(response, 0, response.length)
  if (!certificate || authorizationId === undefined) return { outcome: 'auth' }
  const answer = await check(certificate, authorizationId)
  return answer === false
    ? { outcome: 'auth' }
    : { outcome: 'ok', identity: answer === true ? authorizationId || undefined : answer }
}
