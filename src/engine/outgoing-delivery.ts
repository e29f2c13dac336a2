/** One outgoing delivery: its payload until that is framed, its state until it is settled. §2.6.12 */

import type { DeliveryState } from '../definitions/delivery-state.ts'
import type { SequenceNo } from '../definitions/restricted.ts'
import type { Acquisition } from './acquisition.ts'
import type { SenderEndpoint } from './sender-endpoint.ts'

const NO_BYTES: Uint8Array = /* @__PURE__ */ new Uint8Array(0)

/** Bytes that stay the caller's and are sent from `at`, a place in the message as it was written. */
export interface Splice {
  readonly at: number
  readonly bytes: Uint8Array
}

/** What a delivery may be given. */
export interface DeliveryInit {
  /** At most 32 bytes, unique among the link's unsettled deliveries. Default: a counter. §2.8.7 */
  readonly deliveryTag?: Uint8Array | undefined
  /** §2.8.11 */
  readonly messageFormat?: number | undefined
  readonly settled?: boolean | undefined
  /** Told with every frame of it: a transactional-state, to post it under a transaction. Must not change. §4.4.1 */
  readonly state?: DeliveryState | undefined
  /** More payload follows, by `extend` of `outgoing-stream.ts`. Default: no. §2.6.14 */
  readonly isOpen?: boolean | undefined
  /** For the owner: `OutgoingDelivery.context`. */
  readonly context?: unknown
}

/** How a delivery of an earlier endpoint is taken up. §2.7.5 */
export interface Resume {
  /** On its first transfer: where the payload goes on, or the outcome. */
  readonly state: DeliveryState | undefined
  /** The state is the target's outcome, and ours: the source settles. */
  readonly settles: boolean
  /** The target is to forget it. */
  readonly aborted: boolean
}

/** What is known of a delivery that we send. */
export class OutgoingDelivery {
  link: SenderEndpoint
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
  /** What every frame of it says of its state, and the same as it is encoded. §4.4.1 */
  state: DeliveryState | undefined
  stateBytes: Uint8Array | undefined
  /** The receiver's transaction that it was sent under. §4.4.3 */
  acquired: Acquisition | undefined
  /** Not yet framed to its end, nor taken back. */
  isQueued = true
  /** The outcome that it has at the source: its owner has given it up, and that stays so. §3.4.6 */
  localState: DeliveryState | undefined
  /** The last state that the receiver told. */
  remoteState: DeliveryState | undefined
  /** The receiver has settled it. */
  remoteSettled = false
  /** The payload, for as long as it may have to be sent again; on links that can be resumed. */
  kept: readonly Uint8Array[] | undefined
  /** A frame of it has been written, on this endpoint or an earlier one: the target may know of it. */
  hasBegun = false
  /** Its next frame resumes it. */
  resumption: Resume | undefined
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
    this.state = undefined
    this.stateBytes = undefined
    this.acquired = undefined
    this.localState = undefined
    this.remoteState = undefined
    this.kept = undefined
    this.resumption = undefined
    this.context = context
  }

  /**
   * Makes it a delivery of another endpoint, to be sent from `offset` of its payload.
   * @returns false when there is payload to send that was not kept
   */
  rebind(link: SenderEndpoint, offset: number): boolean {
    this.link = link
    this.deliveryId = -1
    this.aborted = false
    this.resumption = undefined
    this.sent = 0
    this.pieces = [...(this.kept ?? [])]
    if (this.kept) this.take(offset)
    this.sent = offset
    return this.kept !== undefined || offset === this.size
  }

  /** It only has the target forget the delivery of an earlier endpoint: nobody waits for what becomes of it. */
  get isNotice(): boolean {
    return this.resumption?.aborted === true
  }

  /** Instead of being resumed it is to be forgotten, by a transfer without payload. §3.4.6 */
  becomeNotice(): void {
    this.resumption = { state: undefined, settles: false, aborted: true }
    this.sent = this.size
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

/** A message in pieces: what was written from `start` to `end`, with the caller's bytes between, counted from `base`. */
export function spliced(
  bytes: Uint8Array,
  base: number,
  start: number,
  end: number,
  splices: readonly Splice[],
): Uint8Array[] {
  const pieces: Uint8Array[] = []
  let from = start
  for (const splice of splices) {
    const at = base + splice.at
    if (at > from) pieces.push(bytes.subarray(from, at))
    if (splice.bytes.length > 0) pieces.push(splice.bytes)
    from = at
  }
  if (end > from) pieces.push(bytes.subarray(from, end))
  return pieces
}
