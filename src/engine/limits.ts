/** Every limit, its default, and why. All are per connection unless said; sizes in bytes, times in milliseconds. */

import type { DecodeLimits } from '../types/reader.ts'

/** What one connection may cost this process, whatever the peer sends or the user queues. */
export interface Limits extends DecodeLimits {
  /** Largest message that is received, in bytes; more detaches the link. 64 MiB by default. §2.7.3 */
  readonly maxMessageSize: number
  /** Levels of nesting in one decoded value. 64. */
  readonly maxNesting: number
  /** Elements of all lists, maps and arrays in one decoded value. 2^20. */
  readonly maxElements: number
  /** Largest SASL frame that is received. The standard says 512 (§5.3.1); tokens are longer: 64 KiB. */
  readonly saslFrame: number
  /** Sessions at once; announced as channel-max + 1. 1,024. */
  readonly maxSessions: number
  /** Links of one session at once; announced as handle-max + 1. 16,384. */
  readonly maxLinks: number
  /** Incoming deliveries of one session that may be unsettled at once. 2^16. */
  readonly maxUnsettled: number
  /** Messages that one sender may hold queued, waiting for credit, window or socket. 2,048. */
  readonly maxPending: number
  /** Bytes that all senders of a connection may hold queued. 64 MiB. */
  readonly maxPendingBytes: number
  /**
   * Bytes that partly received messages, and what is unread of streamed ones, may pin, counted by the buffers they keep
   * alive; and as many that messages may which are posted under transactions of the peer's that are not over. 256 MiB.
   */
  readonly maxIncompleteBytes: number
  /**
   * Bytes that complete messages may pin which nobody has taken yet. Above it the sessions on which they arrive announce
   * no more window until some are taken; where they pin `maxIncompleteBytes` more all the same, a link ends. 64 MiB.
   * §2.5.6
   */
  readonly maxBufferedBytes: number
  /**
   * Memory that the peer's sessions and links may take up, about: what their begins and attaches say, with a kilobyte
   * for each. More closes the connection. 64 MiB.
   */
  readonly maxLinkBytes: number
  /** Bytes that a peer may send before it is authenticated and has opened the connection. 256 KiB. */
  readonly preAuthBytes: number
  /** Time for the peer to send its first protocol header. 10 s. */
  readonly headerOnlyMs: number
  /** Time for connecting, TLS included, and once more from then to the peer's open. 30 s. */
  readonly handshakeMs: number
  /** Time that `close()` waits for the outcomes of what was sent. 1 s. */
  readonly settleMs: number
  /** Time that `close()` waits for the peer's close. 5 s. */
  readonly closeMs: number
}

/** The limits that hold unless others are given. */
export const DEFAULT_LIMITS: Limits = /* @__PURE__ */ Object.freeze({
  maxMessageSize: 64 << 20,
  maxNesting: 64,
  maxElements: 1 << 20,
  saslFrame: 64 << 10,
  maxSessions: 1024,
  maxLinks: 16_384,
  maxUnsettled: 1 << 16,
  maxPending: 2048,
  maxPendingBytes: 64 << 20,
  maxIncompleteBytes: 256 << 20,
  maxBufferedBytes: 64 << 20,
  maxLinkBytes: 64 << 20,
  preAuthBytes: 256 << 10,
  headerOnlyMs: 10_000,
  handshakeMs: 30_000,
  settleMs: 1_000,
  closeMs: 5_000,
})
