/** One outgoing delivery: its payload until that is framed, its state until it is settled. §2.6.12 */

import type { DeliveryState } from '../definitions/delivery-state.ts'
import type { SequenceNo } from '../definitions/restricted.ts'
import type { SenderEndpoint } from './sender-endpoint.ts'

const NO_BYTES: Uint8Array = /* @__PURE__ */ new Uint8Array(0)

/** What is known of a delivery that we send. */
export class OutgoingDelivery {
  readonly link: SenderEndpoint
  /** Assigned when its first frame is written; −1 before. */
  deliveryId: SequenceNo = -1
  /** A number stands for its four bytes. */
  readonly tag: Uint8Array | number
  readonly messageFormat: number
  readonly settled: boolean
  /** Encoded in a slab with headroom in front: from `start` to `end` of `bytes`. */
  bytes: Uint8Array
  start: number
  end: number
  /** Or in pieces, none of which is ours to change. */
  pieces: Uint8Array[] | undefined
  /** Bytes of payload, and how many of them are framed. */
  size: number
  sent = 0
  /** More payload is to come: see `outgoing-stream.ts`. §2.6.14 */
  isOpen = false
  /** The transfer-id of its latest frame. §2.5.6 */
  transferId: SequenceNo = 0
  /** Given up after a part of it was framed: the next frame says so. §2.7.5 */
  aborted = false
  /** The last state that the receiver told. */
  remoteState: DeliveryState | undefined
  /** For the owner. */
  context: unknown

  constructor(
    link: SenderEndpoint,
    tag: Uint8Array | number,
    messageFormat: number,
    settled: boolean,
    bytes: Uint8Array,
    start: number,
    end: number,
    pieces: Uint8Array[] | undefined,
    size: number,
    context: unknown,
  ) {
    this.link = link
    this.tag = tag
    this.messageFormat = messageFormat
    this.settled = settled
    this.bytes = bytes
    this.start = start
    this.end = end
    this.pieces = pieces
    this.size = size
    this.remoteState = undefined
    this.context = context
  }

  get deliveryTag(): Uint8Array {
    const { tag } = this
    return typeof tag === 'number' ? Uint8Array.of(tag >>> 24, tag >>> 16, tag >>> 8, tag) : tag
  }

  /** Lets go of the payload. */
  release(): void {
    this.isOpen = false
    this.bytes = NO_BYTES
    this.start = 0
    this.end = 0
    this.pieces = undefined
  }

  /** The next `width` bytes of payload, as views. */
  take(width: number): Uint8Array[] {
    if (!this.pieces) {
      const view = this.bytes.subarray(this.start + this.sent, this.start + this.sent + width)
      this.sent += width
      return [view]
    }
    const views: Uint8Array[] = []
    let left = width
    while (left > 0) {
      const piece = this.pieces[0] as Uint8Array
      if (piece.length <= left) {
        views.push(piece)
        this.pieces.shift()
        left -= piece.length
      } else {
        views.push(piece.subarray(0, left))
        this.pieces[0] = piece.subarray(left)
        left = 0
      }
    }
    this.sent += width
    return views
  }
}
