/**
 * Session flow control: how many transfer frames may be on their way, each direction. Pure arithmetic. §2.5.6
 */

import type { SequenceNo } from '../definitions/restricted.ts'
import { serialAdd, serialDistance, serialMax } from './serial.ts'

/** Deliveries to the peer are not limited by us: the window that we announce for them is the largest. */
export const OUTGOING_WINDOW = 0xffffffff

/** Transfer frames that may be on their way to us, unless said otherwise. */
export const DEFAULT_INCOMING_WINDOW = 2048

export class SessionWindow {
  /** The transfer-id of the next transfer we send. */
  nextOutgoingId: SequenceNo
  readonly initialOutgoingId: SequenceNo
  /** Transfers the peer still takes. */
  remoteIncomingWindow = 0

  /** The transfer-id of the next transfer we receive; unknown until the peer's begin. */
  nextIncomingId: SequenceNo | undefined
  /** Transfers that we let the peer have under way, when nothing is. */
  readonly incomingWindowSize: number
  /** Transfers that the peer may still send before we announce more. */
  incomingWindow: number
  remoteOutgoingWindow = 0
  /** Transfers that have arrived and lie unread in deliveries that are read as they come: they take up the window. */
  held = 0
  /** The window is not opened again for now: too much of what has arrived waits for whoever takes it. */
  isStopped = false

  /** The latest transfer-id that the peer is known to have received, plus one. */
  #acknowledged: SequenceNo

  constructor(incomingWindowSize: number, initialOutgoingId: SequenceNo = 0) {
    this.incomingWindowSize = incomingWindowSize
    this.incomingWindow = incomingWindowSize
    this.nextOutgoingId = initialOutgoingId
    this.initialOutgoingId = initialOutgoingId
    this.#acknowledged = initialOutgoingId
  }

  /** The peer's begin. §2.7.2 */
  onBegin(begin: { nextOutgoingId: SequenceNo; incomingWindow: number; outgoingWindow: number }): void {
    this.nextIncomingId = begin.nextOutgoingId
    this.remoteIncomingWindow = begin.incomingWindow
    this.remoteOutgoingWindow = begin.outgoingWindow
  }

  /** One transfer frame leaves. @returns its transfer-id */
  onTransferSent(): SequenceNo {
    const id = this.nextOutgoingId
    this.nextOutgoingId = serialAdd(id, 1)
    this.remoteIncomingWindow--
    return id
  }

  /** One transfer frame arrived. @returns false when the window that we announced had no room for it. */
  onTransferReceived(): boolean {
    if (this.incomingWindow <= 0) return false
    // A transfer comes behind the begin that told it.
    this.nextIncomingId = serialAdd(this.nextIncomingId as SequenceNo, 1)
    this.incomingWindow--
    if (this.remoteOutgoingWindow > 0) this.remoteOutgoingWindow--
    return true
  }

  /** Whether so much of the announced window is used that it is time to announce more. */
  get isLow(): boolean {
    return !this.isStopped && (this.incomingWindow + this.held) * 2 <= this.incomingWindowSize
  }

  /** Opens the window to its full size, but for what is held, unless it is stopped, to be announced in the flow that is being framed. */
  refill(): void {
    if (!this.isStopped) this.incomingWindow = Math.max(this.incomingWindowSize - this.held, 0)
  }

  /** The peer has received the transfer with this id: a disposition covers it. */
  acknowledge(id: SequenceNo): void {
    this.#acknowledged = serialMax(this.#acknowledged, serialAdd(id, 1))
  }

  /**
   * The peer's flow. Without next-incoming-id the peer is taken at its initial value (§2.5.6) only as far as nothing
   * newer is known: some peers leave the field out for good, and their window would run dry. D-015
   */
  onFlow(flow: {
    nextIncomingId: SequenceNo | undefined
    incomingWindow: number
    nextOutgoingId: SequenceNo
    outgoingWindow: number
  }): void {
    if (flow.nextIncomingId !== undefined) this.#acknowledged = serialMax(this.#acknowledged, flow.nextIncomingId)
    const base = flow.nextIncomingId ?? this.#acknowledged
    this.remoteIncomingWindow = Math.max(flow.incomingWindow - serialDistance(this.nextOutgoingId, base), 0)
    this.nextIncomingId = flow.nextOutgoingId
    this.remoteOutgoingWindow = flow.outgoingWindow
  }
}
