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
  readonly bytes: number
  users: number
}

/** What is counted for one delivery. It keeps neither that nor its session alive. */
export interface Share {
  readonly session: WeakRef<SessionEndpoint>
  readonly chunk: Chunk | undefined
  readonly bytes: number
  isReleased: boolean
}

export class Untaken {
  bytes = 0
  readonly #limits: Limits
  /** Where the newest delivery ends: those of one chunk come one behind the other. */
  #newest: Chunk | undefined
  #buffer: ArrayBufferLike | undefined
  /** Sessions that have announced no more window, and those with deliveries of theirs. */
  readonly #stopped = new Set<WeakRef<SessionEndpoint>>()

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /** A complete delivery has to wait for whoever takes it. @returns false when it was one too many: its link has ended */
  add(delivery: IncomingDelivery): boolean {
    const { session } = delivery.link
    const chunk = this.#chunkOf(delivery.chunks.at(-1)?.buffer)
    const bytes = PIECE + delivery.pinned
    delivery.untaken = { session: session.weakly, chunk, bytes, isReleased: false }
    session.untaken++
    this.bytes += bytes
    const { maxBufferedBytes, maxIncompleteBytes } = this.#limits
    if (this.bytes <= maxBufferedBytes) return true
    session.window.isStopped = true
    this.#stopped.add(session.weakly)
    if (this.bytes <= maxBufferedBytes + maxIncompleteBytes) return true
    this.remove(delivery)
    const what = `messages that nobody takes hold more than ${maxBufferedBytes + maxIncompleteBytes} bytes`
    delivery.link.fail(AmqpCondition.resourceLimitExceeded, what, '2.6.7')
    return false
  }

  /** It has been taken, or dropped. @returns whether the peer has to be told of a window that opens again */
  remove(delivery: IncomingDelivery): boolean {
    const share = delivery.untaken
    delivery.untaken = undefined
    return share !== undefined && this.release(share)
  }

  /** As `remove`, where the delivery itself is no longer there. */
  release(share: Share): boolean {
    const { chunk, bytes, isReleased } = share
    if (isReleased) return false
    share.isReleased = true
    this.bytes -= bytes
    if (chunk && --chunk.users === 0) this.bytes -= chunk.bytes
    const session = share.session.deref()
    if (session) session.untaken--
    if (this.#stopped.size === 0) return false
    if (this.bytes <= this.#limits.maxBufferedBytes) for (const each of this.#stopped) this.#resume(each)
    else if (session?.untaken === 0) this.#resume(share.session)
    else return false
    return true
  }

  /** Counts a chunk with the first delivery in it. */
  #chunkOf(buffer: ArrayBufferLike | undefined): Chunk | undefined {
    if (!buffer) return undefined
    let chunk = this.#newest
    if (!chunk || this.#buffer !== buffer || chunk.users === 0) {
      chunk = { bytes: buffer.byteLength, users: 0 }
      this.#newest = chunk
      this.#buffer = buffer
      this.bytes += chunk.bytes
    }
    chunk.users++
    return chunk
  }

  #resume(weakly: WeakRef<SessionEndpoint>): void {
    this.#stopped.delete(weakly)
    const session = weakly.deref()
    if (!session) return
    session.window.isStopped = false
    if (session.window.isLow && session.maySend) session.windowDue()
  }
}
