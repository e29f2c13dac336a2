/** What a listener is told about keeping the termini of links that are not attached. §2.6.3 §3.5.5 §3.5.6 */

import type { SourceInit, TargetInit } from './options.ts'
import type { Maybe } from './sasl/mechanism.ts'

/** Which link: names are unique in each direction between two containers. §2.6.1 */
export interface TerminusKey {
  /** As the peer says in its open. */
  readonly containerId: string
  /** As who it is authenticated: nobody takes over the links of somebody else. `undefined` for anonymous. */
  readonly identity: string | undefined
  readonly name: string
  /** What this end is. */
  readonly role: 'sender' | 'receiver'
}

/** A terminus of ours as its configuration is kept: `durable` of at least `configuration`. §3.5.5 */
export interface TerminusRecord {
  /** Both ends of the link, as they were when it was attached last. */
  readonly source: SourceInit | null
  readonly target: TargetInit | null
  /** When it expires, in milliseconds since 1970; `undefined` while it is attached, or until its policy is met. */
  readonly expiresAt: number | undefined
}

/**
 * Where configurations of durable termini survive this process: a database, say. Each call may be a promise, which an
 * attach waits for. What `get` or `set` throws then, `IncomingLink.accept` throws, too, and `links` refuse the attach with
 * `amqp:internal-error`; what is thrown while nobody waits goes to the listener's `on('error')`.
 */
export interface TerminusStore {
  get(key: TerminusKey): Maybe<TerminusRecord | undefined>
  set(key: TerminusKey, record: TerminusRecord): Maybe<unknown>
  delete(key: TerminusKey): Maybe<unknown>
}

/** How the termini of links live on when these are detached, or lose their session or connection. */
export interface TerminusOptions {
  /**
   * Termini that may be kept, those of attached links included. Links beyond are attached, and told that nothing is kept
   * for them. Default 1,000.
   */
  maxTermini?: number | undefined
  /** Deliveries that all links which are not attached may hold; a link that would exceed it is not kept. Default 100,000. */
  maxDeliveries?: number | undefined
  /**
   * Bytes of attaches, and of messages that have come in part, that may be kept. A terminus beyond is not; a part of a
   * message is dropped, and sent again. Default 64 MiB.
   */
  maxBytes?: number | undefined
  /**
   * Longest time-out that is granted, in seconds; where it is given, a terminus that is to live for ever is kept that
   * long after its connection has closed. Default: whatever is asked for.
   */
  maxSeconds?: number | undefined
  /** Keeps the configuration of those that are asked to be durable. Default: none is, and they are told so. */
  store?: TerminusStore | undefined
}
