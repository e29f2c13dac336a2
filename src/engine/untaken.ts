/**
 * Untaken: what complete deliveries keep alive that lie with an owner who has not handed them out, counted against a
 * limit of the connection. §2.5.6 §2.6.7
 *
 * Credit counts deliveries, and their size is the sender's to choose. Above `limits.maxBufferedBytes` the sessions on
 * which such deliveries arrive announce no more window, until they are taken. What the windows still allow arrives:
 * where that is more than `limits.maxIncompleteBytes` as well, a link ends with it.
 */

import { AmqpCondition } from '../errors.ts'
import { type IncomingDelivery, PIECE } from './incoming-delivery.ts'
import type { Limits } from './limits.ts'
import type { SessionEndpoint } from './session-endpoint.ts'

/** A chunk of input, kept alive by the deliveries that lie in it. */
interface Chunk {
  readonly buffer: ArrayBufferLike
  users: number
}

/** What is counted for one delivery. */
export interface Share {
  readonly session: SessionEndpoint
  readonly chunk: Chunk | undefined
  readonly bytes: number
}

export class Untaken {
  bytes = 0
  readonly #limits: Limits
  /** Where the newest delivery ends: those of one chunk come one behind the other. */
  #newest: Chunk | undefined
  /** Sessions that have announced no more window, and those with deliveries of theirs. */
  readonly #stopped = new Set<SessionEndpoint>()

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /** A complete delivery has to wait for whoever takes it. @returns false when it was one too many: its link has ended */
  add(delivery: IncomingDelivery): boolean {
    const { session } = delivery.link
    const chunk = this.#chunkOf(delivery.chunks.at(-1)?.buffer)
    const bytes = PIECE + delivery.pinned
    delivery.untaken = { session, chunk, bytes }
    session.untaken++
    this.bytes += bytes
    const { maxBufferedBytes, maxIncompleteBytes } = this.#limits
    if (this.bytes <= maxBufferedBytes) return true
    session.window.isStopped = true
    this.#stopped.add(session)
    if (this.bytes <= maxBufferedBytes + maxIncompleteBytes) return true
    this.remove(delivery)
    const what = `messages that nobody takes hold more than ${maxBufferedBytes + maxIncompleteBytes} bytes`
    delivery.link.fail(AmqpCondition.resourceLimitExceeded, what, '2.6.7')
    return false
  }

  /** It has been taken, or dropped. @returns whether the peer has to be told of a window that opens again */
  remove(delivery: IncomingDelivery): boolean {
    if (!delivery.untaken) return false
    const { session, chunk, bytes } = delivery.untaken
    delivery.untaken = undefined
    this.bytes -= bytes
    if (chunk && --chunk.users === 0) this.bytes -= chunk.buffer.byteLength
    session.untaken--
    if (this.#stopped.size === 0) return false
    if (this.bytes <= this.#limits.maxBufferedBytes) for (const each of this.#stopped) this.#resume(each)
    else if (session.untaken === 0) this.#resume(session)
    else return false
    return true
  }

  /** Counts a chunk with the first delivery in it. */
  #chunkOf(buffer: ArrayBufferLike | undefined): Chunk | undefined {
    if (!buffer) return undefined
    if (this.#newest?.buffer !== buffer || this.#newest.users === 0) {
      this.#newest = { buffer, users: 0 }
      this.bytes += buffer.byteLength
    }
    this.#newest.users++
    return this.#newest
  }

  #resume(session: SessionEndpoint): void {
    this.#stopped.delete(session)
    session.window.isStopped = false
    if (session.window.isLow && session.maySend) session.windowDue()
  }
}
