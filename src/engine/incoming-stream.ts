/**
 * IncomingStream: what a delivery has that is handed out before it is complete: its payload, taken as it comes. §2.6.14
 *
 * Transfer frames that lie here unread take up the session's incoming-window, so that a reader who does not read stops
 * the sender (§2.5.6): no more lies here than that window, and `limits.maxIncompleteBytes`, allow. A frame gives its
 * place back when its last byte has been taken, or when its link has ended.
 */

import { type IncomingDelivery, PIECE } from './incoming-delivery.ts'

/** How the payload of a delivery ended. `aborted`: the sender gave it up (§2.7.5); `lost`: its link ended first. */
export type StreamEnd = 'complete' | 'aborted' | 'lost'

export class IncomingStream {
  /** Set once nothing more will come. What has come of a complete delivery can still be taken. */
  ended: StreamEnd | undefined
  /** For the owner. */
  context: unknown
  readonly #delivery: IncomingDelivery
  /** The streams of the link that are not complete, or not read: this is among them. */
  readonly #open: Set<IncomingStream>
  /** Bytes of payload that have been taken. */
  #taken = 0
  /** Where in the payload frames end that are not wholly taken. */
  #frameEnds: number[] = []
  /** Frames that take up the window. */
  #held = 0
  /** Memory that unread pieces keep alive. */
  #pinned = 0
  #isTold = false
  #isDiscarding = false

  constructor(delivery: IncomingDelivery, open: Set<IncomingStream>) {
    this.#delivery = delivery
    this.#open = open
    open.add(this)
  }

  /** Takes the next piece of payload; `undefined` when none is here. BORROWS */
  next(): Uint8Array | undefined {
    this.#isTold = false
    const piece = this.#delivery.shift()
    if (!piece) return undefined
    this.#unpin(piece.buffer.byteLength + PIECE)
    this.#taken += piece.length
    this.#releaseFrames()
    this.#settleDown()
    return piece
  }

  /** Whether everything has come and been taken. */
  get isRead(): boolean {
    return this.ended !== undefined && this.#delivery.chunks.length === 0
  }

  /** Nobody will read what is here or comes. */
  discard(): void {
    this.#isDiscarding = true
    while (this.next()) {}
  }

  // ---- what the link tells -------------------------------------------------------------------------------------

  /** A transfer frame of the delivery begins. */
  onFrame(): void {
    if (this.#isDiscarding) return
    this.#held++
    this.#delivery.link.session.window.held++
  }

  /** @returns false when unfinished deliveries hold too much memory */
  add(piece: Uint8Array): boolean {
    if (this.#isDiscarding) {
      this.#taken += piece.length
      return true
    }
    const { connection } = this.#delivery.link.session
    const kept = this.#delivery.keep(piece)
    this.#pinned += kept
    connection.incompleteBytes += kept
    if (connection.incompleteBytes > connection.limits.maxIncompleteBytes) return false
    this.#tell()
    return true
  }

  onFrameEnd(): void {
    this.#frameEnds.push(this.#delivery.size)
    this.#releaseFrames()
  }

  /** Nothing more will come. What is here of a delivery that is not complete is dropped. */
  end(how: StreamEnd): void {
    if (this.ended) return
    this.ended = how
    if (how !== 'complete') this.discard()
    this.#settleDown()
    this.#tell()
  }

  /** The link has ended: what is complete stays readable, and the window is no longer there to hold it back. */
  onLinkEnded(): void {
    this.end('lost')
    this.#frameEnds = []
    this.#release(this.#held)
  }

  // ---- places in the window, and memory ------------------------------------------------------------------------

  #releaseFrames(): void {
    let done = 0
    while (done < this.#frameEnds.length && (this.#frameEnds[done] as number) <= this.#taken) done++
    if (done === 0) return
    this.#frameEnds.splice(0, done)
    this.#release(done)
  }

  #release(frames: number): void {
    const released = Math.min(frames, this.#held)
    if (released === 0) return
    const { session } = this.#delivery.link
    this.#held -= released
    session.window.held -= released
    if (session.window.isLow && session.maySend) session.windowDue()
  }

  #unpin(bytes: number): void {
    this.#pinned -= bytes
    this.#delivery.link.session.connection.incompleteBytes -= bytes
  }

  /** Leaves the link's set when there is nothing left to look after. */
  #settleDown(): void {
    if (this.isRead) this.#open.delete(this)
  }

  #tell(): void {
    if (this.#isTold) return
    this.#isTold = true
    const { connection } = this.#delivery.link.session
    connection.emit({ type: 'delivery.continued', delivery: this.#delivery, stream: this })
  }
}
