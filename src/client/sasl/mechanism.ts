/**
 * What a SASL mechanism is, at either end: the interfaces by which ours and anybody's are plugged in. Each step may be a
 * promise, for a secret that is fetched or a key that does not leave its chip. §5.3
 */

import { SaslError } from '../../errors.ts'

/** A value, or a promise of it. */
export type Maybe<T> = T | Promise<T>

/** What a client mechanism may know. */
export interface SaslContext {
  /** The host connected to. */
  readonly hostname: string
  /** Whether the transport is private: TLS, or vouched for. */
  readonly secure: boolean
  /** Fires when the connection has ended: what is still being fetched is of no use any more. */
  readonly signal: AbortSignal
}

/** A way to authenticate, on the connecting side. One object may serve many connections. */
export interface SaslMechanism {
  /** The registered name, e.g. `PLAIN`. */
  readonly name: string
  /** Whether it gives a secret to whoever listens: then it is refused without TLS. */
  readonly secret: boolean
  /**
   * Whether it says all in its initial response and has nothing to verify, so that a pipelining client may use it
   * unasked and send AMQP right behind. Default false. D-047
   */
  readonly pipelines?: boolean
  /** Begins one attempt. */
  start(context: SaslContext): SaslExchange
}

/** One attempt. Whatever it throws or rejects with fails the connection with a `SaslError`. */
export interface SaslExchange {
  /** The initial response; `undefined` for a mechanism in which the server speaks first. */
  initial(): Maybe<Uint8Array | undefined>
  /** The answer to a challenge; it may be empty. */
  respond(challenge: Uint8Array): Maybe<Uint8Array>
  /**
   * The outcome is `ok`: throws when the server failed to prove itself. Nothing of AMQP is said or heard before it
   * returns.
   */
  finish(additionalData: Uint8Array | undefined): Maybe<void>
  /** The outcome is not `ok`: what the server has said of the reason, for the error's message. Never a secret. */
  failure?(): string | undefined
}

/** What a server mechanism may know. */
export interface SaslServerContext {
  /** Whether the transport is private: TLS. */
  readonly secure: boolean
  /** DER, when the peer showed a certificate. */
  readonly peerCertificate: Uint8Array | undefined
}

/** A way to authenticate peers, on the accepting side. */
export interface SaslServerMechanism {
  /** The registered name, as it is offered. */
  readonly name: string
  /** Begins one attempt of one peer. */
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
      /** Who the peer is, for `connection.identity`; with another outcome than ok whom it said it was, for the error. */
      readonly identity?: string | undefined
      readonly additionalData?: Uint8Array | undefined
    }

/** Asks for the initial response that should have come with the init. */
export const EMPTY_CHALLENGE: SaslStep = /* @__PURE__ */ Object.freeze({ challenge: new Uint8Array() })

/** An exchange of one message from the client and nothing else. */
export const oneMessage = (name: string, initial: () => Uint8Array | undefined): SaslExchange => ({
  initial,
  respond: () => {
    throw new SaslError(`the server sent a challenge, which ${name} does not have`)
  },
  finish: () => {},
})

/**
 * What the answer of a `check` means: true takes the peer for whom it says it is, text names it, and all else refuses. So
 * a lookup that finds nothing lets nobody in.
 */
export const verdict = (answer: unknown, claimed: string | undefined): SaslStep =>
  isLetIn(answer)
    ? { outcome: 'ok', identity: answer === true ? claimed : answer }
    : { outcome: 'auth', identity: claimed }

/** Whether a `check` has let the peer in. */
export const isLetIn = (answer: unknown): answer is true | string =>
  answer === true || (typeof answer === 'string' && answer !== '')
