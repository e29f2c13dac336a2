/** Part of the public API: what can be listened to. */

import type { Closure } from './api.ts'
import type { Abortable } from './options.ts'

/** Typed events, few of them, only for what answers no call. */
export interface Emits<Events> {
  /**
   * Calls `listener` on every event until the result is disposed or the signal fires.
   * A listener that throws, or is async and rejects, does not disturb the others; its error surfaces as an uncaught
   * exception, unless it is a `ClosedError`: what the listener was using has ended, and its `closed` says why. When a
   * listener of links fails with a `DecodeError`, the link is closed with `amqp:decode-error` instead; one of sessions
   * or of connections ends the connection so.
   */
  on<K extends keyof Events>(type: K, listener: (event: Events[K]) => unknown, options?: Abortable): Disposable
}

/** What becomes of a link. */
export type LinkEvents = {
  /** It has ended. */
  closed: Closure
  /**
   * It is lost, with its connection or because the peer has forced it off, and will be attached again (`reconnect`). What
   * the peer was to send by it, and has not, may be lost: answers, and whatever it was asked for until the link ends.
   */
  suspended: Closure
  /** It is attached again, under the same name. §2.6.4 */
  restored: undefined
}

/** What becomes of a sender. */
export type SenderEvents = LinkEvents & {
  /** The receiver has spoken of credit. §2.6.7 */
  credit: { linkCredit: number; drain: boolean }
}
