/** One incoming delivery: what the session knows of it until it is settled. §2.6.12 */

import type { DeliveryState } from '../definitions/delivery-state.ts'
import type { Transfer } from '../definitions/performatives.ts'
import type { SequenceNo } from '../definitions/restricted.ts'
import type { IncomingStream } from './incoming-stream.ts'
import { isOutcome } from './outcomes.ts'
import { Sections } from './payload-position.ts'
import type { ReceiverEndpoint } from './receiver-endpoint.ts'
import type { Position } from './resumption.ts'
import type { Share } from './untaken.ts'

/** Smallest buffer for pieces that are copied. */
const TAIL = 512

/** What a piece takes up besides its bytes: a view and its buffer. */
export const PIECE = 256

const NO_BYTES: Uint8Array = /* @__PURE__ */ new Uint8Array(0)

/** What is known of a delivery that the peer sends. */
export class IncomingDelivery {
  /** These two change when the delivery is resumed. */
  link: ReceiverEndpoint
  deliveryId: SequenceNo
  /** BORROWS from the chunk that it came in. */
  deliveryTag: Uint8Array
  readonly messageFormat: number
  /** The payload in the pieces in which it came. BORROWS */
  chunks: Uint8Array[] = []
  /** Bytes of all chunks. */
  size = 0
  /** The sender has settled it. */
  remoteSettled: boolean
  /** The last state that the sender told. */
  remoteState: DeliveryState | undefined
  /** The sender asked that we settle it without waiting, whatever the link's mode. §2.7.5 */
  settlesFirst = false
  /** What we have decided, once we have. */
  localState: DeliveryState | undefined
  localSettled = false
  /** Of a delivery that is handed out before it is complete. §2.6.14 */
  stream: IncomingStream | undefined = undefined
  /** It is complete, and the owner has it. */
  handedOver = false
  /** Its terminus lives on without the link: it may still be decided. For the owner. */
  kept = false
  /** Bytes that come once more, and are let pass. */
  skip = 0
  /** Memory that its pieces keep alive, as far as they were kept for more to come. */
  pinned = 0
  /** What is counted for it while it waits for whoever takes it. */
  untaken: Share | undefined = undefined
  /** For the owner. */
  context: unknown

  /** Where small pieces are gathered, and how much of it is used. */
  #tail: Uint8Array = NO_BYTES
  #tailUsed = 0
  /** Of what has come in part, and is resumed. */
  #sections: Sections | undefined = undefined

  constructor(
    link: ReceiverEndpoint,
    deliveryId: SequenceNo,
    deliveryTag: Uint8Array | undefined,
    messageFormat: number,
    remoteSettled: boolean,
    remoteState: DeliveryState | undefined,
  ) {
    this.link = link
    this.deliveryId = deliveryId
    this.deliveryTag = deliveryTag ?? NO_BYTES
    this.messageFormat = messageFormat
    this.remoteSettled = remoteSettled
    this.remoteState = remoteState
    this.context = undefined
  }

  /** Takes out the first piece: what comes behind it must not be gathered where it lies. */
  shift(): Uint8Array | undefined {
    const piece = this.chunks.shift()
    if (this.chunks.length > 0) return piece
    this.#tail = NO_BYTES
    this.#tailUsed = 0
    return piece
  }

  /**
   * Gives the payload away, once all of it is here and decided on: the session remembers the delivery until the sender
   * settles it, which may be never, and must not keep its chunk alive for that.
   */
  release(): Uint8Array[] {
    const { chunks } = this
    this.chunks = []
    this.deliveryTag = this.deliveryTag.slice()
    this.#tail = NO_BYTES
    this.#tailUsed = 0
    return chunks
  }

  /**
   * Has a delivery that is complete keep no more alive than it needs: pieces that are small against their chunks are
   * copied.
   *
   * @returns the bytes of memory that it takes up
   */
  keepAlone(): number {
    this.chunks = this.chunks.map(piece => (piece.length * 2 >= piece.buffer.byteLength ? piece : piece.slice()))
    this.deliveryTag = this.deliveryTag.slice()
    return this.chunks.reduce((sum, { buffer }) => sum + buffer.byteLength + PIECE, PIECE)
  }

  /** What is decided; a provisional state of a transaction is not. */
  get decision(): DeliveryState | undefined {
    const { localState } = this
    return localState && (this.localSettled || isOutcome(localState)) ? localState : undefined
  }

  /** The first place of the payload that is not here. §3.4.1 */
  get end(): Position {
    this.#sections ??= new Sections()
    return this.#sections.end(this.chunks, this.size)
  }

  /** How many bytes lie before a place; `undefined` when that is not here. §3.4.1 */
  offsetOf(position: Position): number | undefined {
    this.#sections ??= new Sections()
    return this.#sections.offsetOf(this.chunks, this.size, position)
  }

  /** What is left of bytes behind those that are let pass. */
  unskipped(bytes: Uint8Array): Uint8Array {
    const passed = Math.min(this.skip, bytes.length)
    this.skip -= passed
    return new Uint8Array(bytes.buffer, bytes.byteOffset + passed, bytes.length - passed)
  }

  /**
   * Keeps a piece of payload that has to wait for more. One that is small, by itself or against its chunk, is copied,
   * together with its neighbours, since a view would keep the whole chunk alive, and is dear itself.
   *
   * @returns the bytes of memory that this takes up
   */
  keep(piece: Uint8Array): number {
    if (piece.length >= TAIL && piece.length * 2 >= piece.buffer.byteLength) {
      this.chunks.push(piece)
      this.#tail = NO_BYTES
      this.#tailUsed = 0
      this.pinned += piece.buffer.byteLength + PIECE
      return piece.buffer.byteLength + PIECE
    }
    let taken = 0
    if (this.#tail.length - this.#tailUsed >= piece.length) this.chunks.pop()
    else {
      this.#tail = new Uint8Array(Math.max(TAIL, piece.length, Math.min(this.size, 1 << 16)))
      this.#tailUsed = 0
      taken = this.#tail.length + PIECE
    }
    this.#tail.set(piece, this.#tailUsed)
    this.#tailUsed += piece.length
    this.chunks.push(this.#tail.subarray(0, this.#tailUsed))
    this.pinned += taken
    return taken
  }
}

/** The delivery that a transfer begins. §2.7.5 */
export const newDelivery = (
  link: ReceiverEndpoint,
  id: SequenceNo,
  tag: Uint8Array,
  { more, messageFormat = 0, settled = false, state }: Transfer,
): IncomingDelivery =>
  // A view of the tag would keep its chunk alive for as long as the delivery is unfinished.
  new IncomingDelivery(link, id, more ? tag.slice() : tag, messageFormat, settled, state)
