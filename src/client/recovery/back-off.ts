/** When a lost connection is tried again, and when not. Pure: time and chance are arguments. */

import {
  AmqpCondition,
  AmqpError,
  ConnectionCondition,
  ProtocolError,
  RemoteError,
  SaslError,
  TransportError,
  UsageError,
} from '../../errors.ts'
import { isDistrust } from '../../io/socket.ts'
import type { RemoteOpen, RequestLink, Session } from '../api.ts'
import type { RequestLinkOptions, SessionOptions } from '../options.ts'

/** How a lost connection is made again. */
export interface ReconnectOptions {
  /** Upper bound of the first wait, in milliseconds; it doubles with each attempt that fails. Default 250. */
  readonly initialMs?: number | undefined
  /** Upper bound of any wait, in milliseconds. Default 30,000. */
  readonly maxMs?: number | undefined
  /** A connection that lives so long, in milliseconds, has the next loss begin at `initialMs` again. Default 10,000. */
  readonly stableMs?: number | undefined
  /** Attempts in a row, rounds of all hosts, after which it is given up. Default: no end. */
  readonly attempts?: number | undefined
  /**
   * What becomes of messages that were under way, where the peer cannot say whether it has them. Default false: `send`
   * rejects, since they may have arrived. True: they are sent again, and may arrive twice.
   */
  readonly resend?: boolean | undefined
  /**
   * Ask the peer what it has: links are resumed with what both ends hold unsettled, so that nothing is lost and, where
   * the receiver settles second, nothing comes twice. For peers that keep a link's state; others refuse it or ignore it.
   * Default false. §2.6.13
   */
  readonly resume?: boolean | undefined
  /**
   * Whether a link that the peer ends by `amqp:link:detach-forced`, while the connection lives, is attached again after a
   * wait. False: it has ended, as by any other condition. Default true. §2.8.18
   */
  readonly reattach?: boolean | undefined
  /**
   * Asked of what ended the connection, or an attempt to make it again: whether to try once more. `undefined`: as by
   * default, which is not where what we say or who we are is wrong; a number: yes, in so many milliseconds or later. What
   * it throws surfaces as an uncaught exception, and counts as `undefined`.
   */
  readonly retry?: ((error: AmqpError | undefined) => boolean | number | undefined) | undefined
  /**
   * Called when a connection that was lost is open again, before its sessions and links are: to put a token to `$cbs`
   * first, say. Nothing is restored before it resolves, however long it takes. Where it throws or rejects the attempt has
   * failed, and the next follows, unless another attempt would meet the same error again. What it begins on `connection`
   * is not restored after the next loss. `signal` fires when it is over: done, or the connection lost or closed meanwhile.
   */
  readonly onReopened?: ((connection: ReopenedConnection, signal: AbortSignal) => unknown) | undefined
  /** Told of every change of state; for logs. What it throws surfaces as an uncaught exception. */
  readonly onStateChange?: ((state: ConnectionState) => unknown) | undefined
}

/**
 * Where a connection that is made again stands: `waiting` since it was lost, `connecting`, `connected` when it is open,
 * `restored` when each session and link is there again or has ended, `closed` for good.
 */
export interface ConnectionState {
  readonly state: 'waiting' | 'connecting' | 'connected' | 'restored' | 'closed'
  /** Attempts since the loss, from 1; 0 when connected. */
  readonly attempt: number
  /** Why the last connection or attempt ended. */
  readonly error: AmqpError | undefined
  /** With `restored`: how many sessions and links there are again. */
  readonly restored?: { readonly sessions: number; readonly links: number } | undefined
}

/** A connection that is open again, before anything of it is restored. What is begun here does not outlive it. */
export interface ReopenedConnection {
  readonly remote: RemoteOpen
  /** As `Connection.remoteAddress`. */
  readonly remoteAddress: string | undefined
  /** As `Connection.session`. */
  session(options?: SessionOptions): Promise<Session>
  /** As `Connection.request`. */
  request(address: string, options?: RequestLinkOptions): Promise<RequestLink>
}

/** The options with their defaults. */
export interface BackOff {
  readonly initialMs: number
  readonly maxMs: number
  readonly stableMs: number
  readonly attempts: number
}

/** @throws {UsageError} a number that is none, or negative */
export function backOffOf(options: ReconnectOptions): BackOff {
  const { initialMs = 250, maxMs = 30_000, stableMs = 10_000, attempts = Number.POSITIVE_INFINITY } = options
  for (const name of ['retry', 'onReopened', 'onStateChange'] as const)
    if (options[name] !== undefined && typeof options[name] !== 'function')
      throw new UsageError(`reconnect.${name} is a function`)
  for (const [name, value] of Object.entries({ initialMs, maxMs, stableMs, attempts }))
    if (typeof value !== 'number' || !(value >= 0)) throw new UsageError(`reconnect.${name} is a number from 0 on`)
  return { initialMs, maxMs, stableMs, attempts }
}

/**
 * Milliseconds to wait before an attempt: anything up to a bound that doubles, so that those who lost a server together
 * do not come back together.
 *
 * @param attempt  from 1
 * @param chance  0 … 1, drawn anew each time
 */
export const waitBefore = (attempt: number, { initialMs, maxMs }: BackOff, chance: number): number =>
  chance * Math.min(maxMs, initialMs * 2 ** Math.min(attempt - 1, 40))

/** Conditions that another attempt will meet again. */
const LASTING: ReadonlySet<string> = new Set([
  AmqpCondition.unauthorizedAccess,
  AmqpCondition.notImplemented,
  AmqpCondition.notAllowed,
  AmqpCondition.invalidField,
  AmqpCondition.decodeError,
  AmqpCondition.frameSizeTooSmall,
  ConnectionCondition.framingError,
  ConnectionCondition.redirect,
])

/** Whether trying again cannot help: what is wrong is what we say, or who we are. */
export function isLasting(error: unknown): boolean {
  if (error instanceof SaslError) return !isPassing(error)
  if (error instanceof RemoteError) return LASTING.has(error.condition ?? '')
  if (error instanceof TransportError) return isDistrust(error.cause)
  return error instanceof ProtocolError || error instanceof UsageError
}

/** Whether the server was at fault for a moment, or whatever fetches the secret. */
const isPassing = ({ outcome, cause }: SaslError): boolean =>
  outcome === 'sys' || outcome === 'sys-temp' || (!outcome && cause instanceof Error && !(cause instanceof AmqpError))
