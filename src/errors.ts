/**
 * The error taxonomy: eleven classes, one union, and the condition constants of the standard.
 *
 * Two questions, two fields: `code` says who failed (you, the peer, the wire, time), `scope` says what died with it.
 * This file imports nothing; every layer may throw from it. §2.8.14–18, §4.5.8
 */

/** What an error ended: the whole connection, a session, a link, or one delivery. */
export type Scope = 'connection' | 'session' | 'link' | 'delivery'

/** The stable `code` of each class below. Switch on it; messages may change. */
export type AmqpErrorCode =
  | 'ERR_AMQP_USAGE'
  /** A `UsageError` that another try may mend: `QueueFullError` of IoT Hub. */
  | 'ERR_AMQP_QUEUE_FULL'
  | 'ERR_AMQP_ENCODE'
  | 'ERR_AMQP_DECODE'
  | 'ERR_AMQP_PROTOCOL'
  | 'ERR_AMQP_REMOTE'
  | 'ERR_AMQP_SASL'
  | 'ERR_AMQP_DELIVERY'
  | 'ERR_AMQP_TRANSACTION'
  | 'ERR_AMQP_TRANSPORT'
  | 'ERR_AMQP_IDLE_TIMEOUT'
  | 'ERR_AMQP_CLOSED'

/** Fields that any error may carry. */
export interface AmqpErrorDetails {
  readonly condition?: string | undefined
  readonly scope?: Scope | undefined
  readonly cause?: unknown
}

/** Under this key another copy of this package, loaded in the same process, recognises our errors. */
const BRAND = 'fairlead.error.code'

/** Base of every error this package throws or rejects with. Cancellation is not one: that rejects with `signal.reason`. */
export abstract class AmqpError extends Error {
  static readonly code: string = 'ERR_AMQP'
  abstract readonly code: AmqpErrorCode
  /** The condition exchanged with the peer, e.g. `amqp:link:detach-forced`; `undefined` where none was. §2.8.15–18 */
  readonly condition: string | undefined
  readonly scope: Scope | undefined

  constructor(message: string, details: AmqpErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.condition = details.condition
    this.scope = details.scope
    Object.defineProperty(this, Symbol.for(BRAND), { value: (new.target as { code?: string }).code })
  }

  /**
   * Compares by code, so an error from a second copy of this package still matches. A class derived by a user has no
   * `code` of its own and falls back to the prototype chain.
   */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (typeof value !== 'object' || value === null) return false
    const code = (value as Record<symbol, unknown>)[Symbol.for(BRAND)]
    if (code === undefined || !Object.hasOwn(this, 'code'))
      return Function.prototype[Symbol.hasInstance].call(this, value)
    return this.code === 'ERR_AMQP' || this.code === code
  }
}

/** You broke a rule of the API or of the standard; nothing was changed and nothing was sent. */
export class UsageError extends AmqpError {
  static override readonly code = 'ERR_AMQP_USAGE'
  override readonly name: 'UsageError' | 'QueueFullError' = 'UsageError'
  readonly code: 'ERR_AMQP_USAGE' | 'ERR_AMQP_QUEUE_FULL' = 'ERR_AMQP_USAGE'
  /** The section that forbids it, e.g. `2.6.7`, where one does. */
  readonly section: string | undefined

  constructor(message: string, section?: string) {
    super(section === undefined ? message : `${message} (§${section})`)
    this.section = section
  }
}

/** A value has no AMQP encoding: wrong type, out of range, circular. Nothing was sent. */
export class EncodeError extends AmqpError {
  static override readonly code = 'ERR_AMQP_ENCODE'
  override readonly name = 'EncodeError'
  readonly code = 'ERR_AMQP_ENCODE'
  /** Where in the value, e.g. `applicationProperties.retries`. Empty for the value itself. */
  readonly path: string
  /** The message without the path. */
  readonly reason: string

  constructor(reason: string, path = '') {
    super(path === '' ? reason : `${path}: ${reason}`)
    this.reason = reason
    this.path = path
  }
}

/** Bytes are not valid AMQP. The only error that decoding throws. */
export class DecodeError extends AmqpError {
  static override readonly code = 'ERR_AMQP_DECODE'
  override readonly name = 'DecodeError'
  readonly code = 'ERR_AMQP_DECODE'
  /** Byte offset of the fault, from the start of the bytes given. */
  readonly offset: number

  constructor(message: string, offset: number) {
    super(`${message} at byte ${offset}`, { condition: AmqpCondition.decodeError })
    this.offset = offset
  }
}

/** The peer broke the standard; we told it so with `condition` and ended `scope`. */
export class ProtocolError extends AmqpError {
  static override readonly code = 'ERR_AMQP_PROTOCOL'
  override readonly name = 'ProtocolError'
  readonly code = 'ERR_AMQP_PROTOCOL'
  readonly section: string | undefined

  constructor(message: string, condition: string, scope: Scope, section?: string, cause?: unknown) {
    super(section === undefined ? message : `${message} (§${section})`, { condition, scope, cause })
    this.section = section
  }
}

/** The peer ended `scope` with an error of its own. §2.8.14 */
export class RemoteError extends AmqpError {
  static override readonly code = 'ERR_AMQP_REMOTE'
  override readonly name = 'RemoteError'
  readonly code = 'ERR_AMQP_REMOTE'
  declare readonly condition: string
  readonly description: string | undefined
  /** The error's info map, keys as sent. §2.8.14 */
  readonly info: ReadonlyMap<unknown, unknown> | undefined

  constructor(
    what: string,
    scope: Scope,
    error: { condition: string; description?: string | undefined; info?: ReadonlyMap<unknown, unknown> | undefined },
  ) {
    super(`${what}: ${error.condition}${error.description ? ` (${error.description})` : ''}`, {
      condition: error.condition,
      scope,
    })
    this.description = error.description
    this.info = error.info
  }

  /**
   * Where the peer says to go instead, for `amqp:connection:redirect` and `amqp:link:redirect`; `undefined` for any
   * other condition, and where the info map names no place or is malformed. The peer's word: check before following.
   * §2.8.16 §2.8.18
   */
  get redirect(): Redirect | undefined {
    const { condition, info } = this
    if (condition !== ConnectionCondition.redirect && condition !== LinkCondition.redirect) return undefined
    const at = (key: string): unknown => info?.get(key) ?? undefined
    const [hostname, networkHost, port] = [at('hostname'), at('network-host'), at('port')]
    const address = condition === LinkCondition.redirect ? at('address') : undefined
    if (!isText(hostname) || !isText(networkHost) || !isText(address) || !isPort(port)) return undefined
    return hostname || networkHost || address ? { hostname, networkHost, port, address } : undefined
  }
}

/** Where a peer says to go instead. What it does not say is `undefined`: the same as before. §2.8.16 §2.8.18 */
export interface Redirect {
  /** Name of the container: for the open frame, for SASL, and the name that its certificate must show. */
  readonly hostname: string | undefined
  /** Name or address of the machine to connect to. */
  readonly networkHost: string | undefined
  /** 1 … 65,535 */
  readonly port: number | undefined
  /** Of links: the address of the terminus there. */
  readonly address: string | undefined
}

const isText = (value: unknown): value is string | undefined =>
  value === undefined || (typeof value === 'string' && value !== '')

const isPort = (value: unknown): value is number | undefined =>
  value === undefined || (Number.isInteger(value) && (value as number) > 0 && (value as number) <= 0xffff)

/** The outcome codes of §5.3.3.6 other than `ok`. */
export type SaslFailure = 'auth' | 'sys' | 'sys-perm' | 'sys-temp'

/** Authentication was refused, or could not be tried. §5.3 */
export class SaslError extends AmqpError {
  static override readonly code = 'ERR_AMQP_SASL'
  override readonly name = 'SaslError'
  readonly code = 'ERR_AMQP_SASL'
  /** What the peer answered; `undefined` when no mechanism fitted or the exchange broke off. */
  readonly outcome: SaslFailure | undefined

  constructor(message: string, outcome?: SaslFailure, cause?: unknown) {
    super(message, { scope: 'connection', cause })
    this.outcome = outcome
  }
}

/** `assertAccepted` met another outcome; it is in `outcome`. §3.4 */
export class DeliveryError extends AmqpError {
  static override readonly code = 'ERR_AMQP_DELIVERY'
  override readonly name = 'DeliveryError'
  readonly code = 'ERR_AMQP_DELIVERY'
  readonly outcome: { readonly outcome: string }

  constructor(message: string, outcome: { readonly outcome: string }, condition?: string) {
    super(message, { condition, scope: 'delivery' })
    this.outcome = outcome
  }
}

/** A transaction was refused, did not commit, or was lost with its control link. §4.2–4.3 */
export class TransactionError extends AmqpError {
  static override readonly code = 'ERR_AMQP_TRANSACTION'
  override readonly name = 'TransactionError'
  readonly code = 'ERR_AMQP_TRANSACTION'
  /**
   * What became of the work: `rolled-back`, none of it holds; `unknown`, the connection was lost while the peer was
   * asked to commit, so that all of it holds, or none.
   */
  readonly fate: 'rolled-back' | 'unknown'

  constructor(message: string, fate: 'rolled-back' | 'unknown', details: AmqpErrorDetails = {}) {
    super(message, details)
    this.fate = fate
  }
}

/** The socket failed, could not be opened, or ended before the close performative. `cause` is the socket's own error. */
export class TransportError extends AmqpError {
  static override readonly code = 'ERR_AMQP_TRANSPORT'
  override readonly name = 'TransportError'
  readonly code = 'ERR_AMQP_TRANSPORT'

  constructor(message: string, cause?: unknown) {
    super(message, { scope: 'connection', cause })
  }
}

/** The peer was silent for twice the idle time-out that we announced. §2.4.5 */
export class IdleTimeoutError extends AmqpError {
  static override readonly code = 'ERR_AMQP_IDLE_TIMEOUT'
  override readonly name = 'IdleTimeoutError'
  readonly code = 'ERR_AMQP_IDLE_TIMEOUT'
  /** Milliseconds of silence: twice the `idleTimeOut` that was announced. */
  readonly idleMs: number

  /** @param idleMs  the silence that was borne: twice what was announced */
  constructor(idleMs: number, peer = 'peer') {
    super(`${peer} silent for ${idleMs} ms, twice the idle time-out that was announced`, {
      condition: AmqpCondition.resourceLimitExceeded,
      scope: 'connection',
    })
    this.idleMs = idleMs
  }
}

/** The thing you used has ended; `cause` says why. */
export class ClosedError extends AmqpError {
  static override readonly code = 'ERR_AMQP_CLOSED'
  override readonly name = 'ClosedError'
  readonly code = 'ERR_AMQP_CLOSED'

  /** @param by  which end closed it, where it ended without an error */
  constructor(what: string, scope: Scope, cause?: unknown, by?: 'local' | 'remote' | 'transport') {
    const who = by === 'local' ? ', from this end' : by === 'remote' ? ', by the peer' : ''
    super(`${what} is closed${cause instanceof Error ? `: ${rootOf(cause).message}` : who}`, {
      scope,
      cause,
      condition: cause instanceof AmqpError ? cause.condition : undefined,
    })
  }
}

/** What ended the first of several that went down with each other; in between each only says that it has ended. */
function rootOf(error: Error): Error {
  let root = error
  while (root instanceof ClosedError && root.cause instanceof Error) root = root.cause
  return root
}

/** All of the above, discriminated by `code`. */
export type AnyAmqpError =
  | UsageError
  | EncodeError
  | DecodeError
  | ProtocolError
  | RemoteError
  | SaslError
  | DeliveryError
  | TransactionError
  | TransportError
  | IdleTimeoutError
  | ClosedError

/** Shared conditions. §2.8.15 */
export const AmqpCondition = {
  internalError: 'amqp:internal-error',
  notFound: 'amqp:not-found',
  unauthorizedAccess: 'amqp:unauthorized-access',
  decodeError: 'amqp:decode-error',
  resourceLimitExceeded: 'amqp:resource-limit-exceeded',
  notAllowed: 'amqp:not-allowed',
  invalidField: 'amqp:invalid-field',
  notImplemented: 'amqp:not-implemented',
  resourceLocked: 'amqp:resource-locked',
  preconditionFailed: 'amqp:precondition-failed',
  resourceDeleted: 'amqp:resource-deleted',
  illegalState: 'amqp:illegal-state',
  frameSizeTooSmall: 'amqp:frame-size-too-small',
} as const

/** Conditions of connections. §2.8.16 */
export const ConnectionCondition = {
  connectionForced: 'amqp:connection:forced',
  framingError: 'amqp:connection:framing-error',
  redirect: 'amqp:connection:redirect',
} as const

/** Conditions of sessions. §2.8.17 */
export const SessionCondition = {
  windowViolation: 'amqp:session:window-violation',
  errantLink: 'amqp:session:errant-link',
  handleInUse: 'amqp:session:handle-in-use',
  unattachedHandle: 'amqp:session:unattached-handle',
} as const

/** Conditions of links. §2.8.18 */
export const LinkCondition = {
  detachForced: 'amqp:link:detach-forced',
  transferLimitExceeded: 'amqp:link:transfer-limit-exceeded',
  messageSizeExceeded: 'amqp:link:message-size-exceeded',
  redirect: 'amqp:link:redirect',
  stolen: 'amqp:link:stolen',
} as const

/** Conditions of transactions. §4.5.8 */
export const TransactionCondition = {
  unknownId: 'amqp:transaction:unknown-id',
  transactionRollback: 'amqp:transaction:rollback',
  transactionTimeout: 'amqp:transaction:timeout',
} as const
