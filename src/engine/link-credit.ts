/** Link flow control, one class for each role. Pure arithmetic. §2.6.7–10 */

import type { SequenceNo } from '../definitions/restricted.ts'
import { serialAdd, serialDistance } from './serial.ts'

/** The sender's side: what it may still send. §2.6.7 */
export class SenderCredit {
  /** Deliveries sent, as a serial number. */
  deliveryCount: SequenceNo
  initialDeliveryCount: SequenceNo
  /** Deliveries that the receiver still allows. */
  linkCredit = 0
  /** The receiver wants unused credit back. */
  drain = false

  constructor(initialDeliveryCount: SequenceNo = 0) {
    this.deliveryCount = initialDeliveryCount
    this.initialDeliveryCount = initialDeliveryCount
  }

  /** Our attach: where the count begins. Credit may have come before it, from a receiver that attached first. §2.6.7 */
  onAttach(initialDeliveryCount: SequenceNo): void {
    this.deliveryCount = initialDeliveryCount
    this.initialDeliveryCount = initialDeliveryCount
  }

  /** The receiver's flow. Without link-credit it changes nothing. */
  onFlow(flow: { deliveryCount: SequenceNo | undefined; linkCredit: number | undefined; drain: boolean }): void {
    if (flow.linkCredit === undefined) return
    const ahead = serialDistance(this.deliveryCount, flow.deliveryCount ?? this.initialDeliveryCount)
    // A delivery-count ahead of ours is one that we have not reached: it grants nothing beyond the credit itself.
    this.linkCredit = Math.max(flow.linkCredit - Math.max(ahead, 0), 0)
    this.drain = flow.drain
  }

  /** One delivery begins. */
  onSend(): void {
    this.deliveryCount = serialAdd(this.deliveryCount, 1)
    this.linkCredit--
  }

  /** Nothing is left to send while the receiver drains: all credit is used up at once. @returns how much there was */
  consume(): number {
    const unused = this.linkCredit
    this.deliveryCount = serialAdd(this.deliveryCount, unused)
    this.linkCredit = 0
    return unused
  }
}

/** The receiver's side: what it has allowed. §2.6.7 */
export class ReceiverCredit {
  /** What the sender said last, plus what has arrived since; unknown until its attach. */
  deliveryCount: SequenceNo = 0
  /** Deliveries that may still arrive. */
  linkCredit = 0
  /** Messages the sender says it has. */
  available = 0
  drain = false
  /** All credit has been taken back, and the sender has not said yet that it knows. §2.6.10 */
  isStopping = false
  /** Deliveries beyond the credit that may be under way, since they had credit when they were sent. */
  revoked = 0
  /** Deliveries to keep coming; `undefined` leaves credit to `grant`. */
  window: number | undefined
  /** Deliveries that have arrived and are not yet consumed; they take up the window. */
  held = 0

  constructor(window: number | undefined) {
    this.window = window
  }

  /** The sender's attach. §2.6.7 */
  onAttach(initialDeliveryCount: SequenceNo): void {
    this.deliveryCount = initialDeliveryCount
  }

  /** A delivery begins to arrive. @returns false when it has no credit */
  onDelivery(): boolean {
    if (this.linkCredit > 0) this.linkCredit--
    else if (this.revoked > 0) this.revoked--
    else return false
    this.deliveryCount = serialAdd(this.deliveryCount, 1)
    if (this.available > 0) this.available--
    this.held++
    return true
  }

  /** The sender's flow; its own notion of link-credit is not a grant. @returns whether a drain has come to its end */
  onFlow(flow: { deliveryCount: SequenceNo | undefined; available: number | undefined }): boolean {
    if (flow.available !== undefined) this.available = flow.available
    if (flow.deliveryCount === undefined) return false
    const used = serialDistance(flow.deliveryCount, this.deliveryCount)
    if (used > 0) {
      this.deliveryCount = flow.deliveryCount
      this.revoked = Math.max(this.revoked - Math.max(used - this.linkCredit, 0), 0)
      this.linkCredit = Math.max(this.linkCredit - used, 0)
    }
    if (!this.drain || this.linkCredit > 0) return false
    this.drain = false
    this.isStopping = false
    return true
  }

  /** A delivery was consumed: it no longer takes up the window. */
  consumed(): void {
    if (this.held > 0) this.held--
  }

  /** Whether half of the window is free: time to tell the sender. Never while draining. */
  get isLow(): boolean {
    return this.window !== undefined && !this.drain && (this.linkCredit + this.held) * 2 <= this.window
  }

  /** Fills the window, to be told in the flow that is being framed. */
  refill(): void {
    if (this.window === undefined || this.drain) return
    const credit = Math.max(this.window - this.held, 0)
    if (this.revoked > 0) this.revoked = Math.max(this.revoked + this.linkCredit - credit, 0)
    this.linkCredit = credit
  }

  /** Allows `count` more deliveries. */
  grant(count: number): void {
    this.linkCredit = Math.min(this.linkCredit + count, 0x7fffffff)
    this.revoked = Math.max(this.revoked - count, 0)
  }

  /**
   * Keeps `window` deliveries coming from now on, those included that are held; `undefined` takes all credit back and
   * leaves it to `grant`. What is under way may still arrive. §2.6.10
   */
  resize(window: number | undefined): void {
    this.window = window
    const allowed = window === undefined ? 0 : Math.max(window - this.held, 0)
    this.revoked += Math.max(this.linkCredit - allowed, 0)
    this.linkCredit = Math.min(this.linkCredit, allowed)
  }
}
