/**
 * ReceiverEndpoint: puts deliveries together, grants credit, and tells the sender what was decided. §2.6.7 §2.6.12
 *
 * Payload is kept in the pieces in which it came. A piece of an incomplete delivery that is small against its chunk is
 * copied, since a view would keep the whole chunk alive.
 */

import type { DeliveryState } from '../definitions/delivery-state.ts'
import type { Attach, Disposition, Flow, Transfer } from '../definitions/performatives.ts'
import type { UnsettledEntry } from '../definitions/unsettled-map.ts'
import { AmqpCondition, LinkCondition, UsageError } from '../errors.ts'
import type { Init } from '../types/composite.ts'
import { echoed, fittedState } from './error-fields.ts'
import { IncomingDelivery } from './incoming-delivery.ts'
import { ReceiverCredit } from './link-credit.ts'
import { type AttachInit, LinkEndpoint } from './link-endpoint.ts'
import { isOutcome } from './outcomes.ts'
import { joined, offsetOf } from './payload-position.ts'
import { ReceiverRecovery } from './receiver-recovery.ts'
import { positionOf } from './resumption.ts'
import type { SessionEndpoint } from './session-endpoint.ts'

export class ReceiverEndpoint extends LinkEndpoint {
  readonly role = 'receiver'
  /** Replaced by `useWindow` before attaching. */
  credit: ReceiverCredit = new ReceiverCredit(undefined)
  /** Largest message that is accepted, in bytes. */
  maxMessageSize: number
  /** The delivery whose last frame has not come. */
  #partial: IncomingDelivery | undefined
  /** Memory that its pieces keep alive. */
  #pinned = 0
  /** The frame being read is the last of its delivery. */
  #lastFrame = false

  constructor(session: SessionEndpoint, name: string, initiated: 'local' | 'remote') {
    super(session, name, initiated)
    this.maxMessageSize = session.connection.limits.maxMessageSize
  }

  protected get self(): never {
    return this as never
  }

  /** Keeps `window` deliveries coming by itself; `undefined` leaves credit to `flow`. Before attaching only. §2.6.7 */
  useWindow(window: number | undefined): void {
    const { deliveryCount } = this.credit
    this.credit = new ReceiverCredit(window)
    // The sender's attach may have come before ours.
    this.credit.onAttach(deliveryCount)
  }

  /** Grants credit for `count` more deliveries. @throws {UsageError} when credit is automatic. §2.6.7 */
  flow(count: number): void {
    if (this.credit.window !== undefined) throw new UsageError(`${this.label} keeps its credit by itself`, '2.6.7')
    if (!Number.isInteger(count) || count < 1 || count > 0x7fffffff)
      throw new UsageError(`credit is granted for 1 to 2^31 − 1 deliveries, not ${count}`, '2.6.7')
    this.credit.grant(count)
    this.session.flowDue(this)
  }

  /** Asks the sender to use up or give back its credit; `link.drained` follows. §2.6.7 */
  drain(): void {
    if (this.credit.linkCredit === 0) {
      this.session.connection.emit({ type: 'link.drained', link: this })
      return
    }
    this.credit.drain = true
    this.session.flowDue(this)
  }

  /** The owner has taken a delivery: credit for the next may be granted. */
  consumed(): void {
    this.credit.consumed()
    if (this.credit.isLow && this.isAttached) this.session.flowDue(this)
  }

  /** A transfer with the first piece of its payload; `left` bytes of it follow. §2.7.5 */
  onTransfer(transfer: Transfer, payload: Uint8Array | undefined, left: number): void {
    if (!this.isAttached) return this.#passed(transfer)
    if (this.#ignored) return this.#ignore(transfer)
    const delivery = this.#partial ? this.#continued(this.#partial, transfer) : this.#begun(transfer)
    if (!delivery) return
    if (transfer.aborted) return this.#aborted(delivery)
    this.#lastFrame = !transfer.more
    if (transfer.settled && !delivery.remoteSettled) {
      delivery.remoteSettled = true
      this.#forget(delivery)
    }
    if (transfer.state) delivery.remoteState = transfer.state
    if (transfer.rcvSettleMode === 'first') delivery.settlesFirst = true
    if (transfer.resume && delivery.localState) return this.#confirmed(delivery, delivery.localState, transfer)
    this.#partial = delivery
    if (payload && !this.#add(delivery, payload, transfer.more || left > 0)) return
    if (left === 0 && this.#lastFrame) this.#complete(delivery)
  }

  /** A further piece of the payload of the frame being read. */
  onPayload(piece: Uint8Array, left: number): void {
    const delivery = this.#partial
    if (this.state !== 'ATTACHED' || !delivery) return
    if (!this.#add(delivery, piece, true)) return
    if (left === 0 && this.#lastFrame) this.#complete(delivery)
  }

  /** What is let pass keeps its place in the sequence; further frames of one delivery may repeat its id. §2.6.12 */
  #passed({ deliveryId }: Transfer): void {
    if (deliveryId !== undefined) this.session.incomingIds.take(deliveryId)
  }

  #begun(transfer: Transfer): IncomingDelivery | undefined {
    const { deliveryId, deliveryTag } = transfer
    if (deliveryId === undefined || deliveryTag === undefined) {
      this.#passed(transfer)
      this.fail(AmqpCondition.invalidField, 'the first transfer of a delivery lacks its delivery-id or -tag', '2.7.5')
      return undefined
    }
    const ids = this.session.incomingIds
    if (!ids.take(deliveryId)) {
      this.session.fail(AmqpCondition.invalidField, `delivery-id ${deliveryId}, where ${ids.next} is next`, '2.6.12')
      return undefined
    }
    if (!this.credit.onDelivery()) {
      this.fail(LinkCondition.transferLimitExceeded, `delivery ${deliveryId} came without credit`, '2.6.7')
      return undefined
    }
    const settled = transfer.settled === true
    const delivery = transfer.resume
      ? this.#resumed(transfer, deliveryId, deliveryTag)
      : new IncomingDelivery(
          this,
          deliveryId,
          // A view would keep its chunk alive for as long as the delivery is unfinished.
          transfer.more ? deliveryTag.slice() : deliveryTag,
          transfer.messageFormat ?? 0,
          settled,
          transfer.state,
        )
    if (!delivery) return undefined
    if (!transfer.resume && !this.mapComplete) {
      this.fail(AmqpCondition.notAllowed, 'a new delivery, where only resumed ones are allowed', '2.7.3')
      return undefined
    }
    if (!settled) {
      const { incoming, connection } = this.session
      if (incoming.count >= connection.limits.maxUnsettled) {
        this.session.fail(
          AmqpCondition.resourceLimitExceeded,
          `more than ${connection.limits.maxUnsettled} deliveries unsettled`,
          '2.6.12',
        )
        return undefined
      }
      incoming.add(deliveryId, delivery)
      this.unsettledCount++
    }
    return delivery
  }

  #continued(delivery: IncomingDelivery, transfer: Transfer): IncomingDelivery | undefined {
    if (transfer.deliveryId === undefined || transfer.deliveryId === delivery.deliveryId) return delivery
    this.session.fail(
      AmqpCondition.invalidField,
      `delivery ${transfer.deliveryId} on ${this.label} begins inside delivery ${delivery.deliveryId}`,
      '2.6.14',
    )
    return undefined
  }

  /** An aborted delivery is settled and forgotten, payload and all. §2.7.5 */
  #aborted(delivery: IncomingDelivery): void {
    this.#forget(delivery)
    this.#forgetPartial()
    this.consumed()
  }

  #forgetPartial(): void {
    this.session.connection.incompleteBytes -= this.#pinned
    this.#pinned = 0
    this.#partial = undefined
  }

  /** Keeps a piece of payload. @returns false when it was one too many */
  #add(delivery: IncomingDelivery, bytes: Uint8Array, incomplete: boolean): boolean {
    const piece = delivery.skip > 0 ? delivery.unskipped(bytes) : bytes
    if (piece.length === 0) return true
    delivery.size += piece.length
    if (delivery.size > this.maxMessageSize) {
      this.#forgetPartial()
      this.fail(LinkCondition.messageSizeExceeded, `message larger than ${this.maxMessageSize} bytes`, '2.7.3')
      return false
    }
    if (!incomplete) {
      delivery.chunks.push(piece)
      return true
    }
    const taken = delivery.keep(piece)
    this.#pinned += taken
    const { connection } = this.session
    connection.incompleteBytes += taken
    if (connection.incompleteBytes <= connection.limits.maxIncompleteBytes) return true
    this.#forgetPartial()
    this.fail(AmqpCondition.resourceLimitExceeded, 'unfinished messages hold too much memory', '2.6.14')
    return false
  }

  #complete(delivery: IncomingDelivery): void {
    this.#forgetPartial()
    // The owner has had a delivery that was complete before it was resumed.
    if (delivery.handedOver) return this.consumed()
    delivery.handedOver = true
    this.session.connection.deliveries.push(delivery)
  }

  // ---- resuming ------------------------------------------------------------------------------------------------

  /** Deliveries of an earlier endpoint of this link that the sender has not resumed. */
  #recovery: ReceiverRecovery | undefined
  /** The delivery whose frames are let pass, the last of which has not come. */
  #ignored = false

  /**
   * Takes over what an earlier endpoint of this link has left: deliveries that came in part, that are not decided, or
   * whose decision was not confirmed. To be called before `attach`, which tells the peer. §2.6.13
   */
  adopt(deliveries: readonly IncomingDelivery[]): void {
    this.#recovery = new ReceiverRecovery(deliveries)
  }

  /** What was taken over and not resumed. */
  get adopted(): readonly IncomingDelivery[] {
    return this.#recovery?.left ?? []
  }

  /** Deliveries that this endpoint leaves: what another may take over. In the order in which they came. */
  get open(): IncomingDelivery[] {
    return [...this.adopted, ...this.#left, ...this.session.incoming.ofLink(this, this.unsettledCount)]
  }

  /** What the link had when it ended. */
  #left: IncomingDelivery[] = []

  protected get unsettledState(): Iterable<UnsettledEntry> | undefined {
    return this.#recovery?.unsettled()
  }

  protected resume(unsettled: readonly UnsettledEntry[] | undefined): void {
    for (const delivery of this.#recovery?.settledAtSource(unsettled, this.remoteMapComplete) ?? []) {
      delivery.remoteSettled = true
      this.#settled(delivery)
      this.session.connection.emit({ type: 'delivery.settled', delivery })
    }
  }

  /** The delivery that a transfer resumes. One that is not known is let pass, all of it. §2.6.13 */
  #resumed(transfer: Transfer, deliveryId: number, deliveryTag: Uint8Array): IncomingDelivery | undefined {
    const delivery = this.#recovery?.take(deliveryTag)
    const from = delivery && offsetOf(joined(delivery.chunks, delivery.size), positionOf(transfer.state))
    if (!delivery || (from === undefined && !delivery.localState && !transfer.aborted)) {
      this.#ignored = true
      this.#ignore(transfer)
      return undefined
    }
    delivery.link = this
    delivery.deliveryId = deliveryId
    delivery.skip = delivery.size - (from ?? delivery.size)
    this.#pinned = delivery.handedOver ? 0 : delivery.size
    this.session.connection.incompleteBytes += this.#pinned
    return delivery
  }

  #ignore(transfer: Transfer): void {
    if (transfer.more && !transfer.aborted) return
    this.#ignored = false
    this.consumed()
  }

  /** The sender has taken up a delivery that is decided: it confirms that, or says what holds instead. §3.4.6 */
  #confirmed(delivery: IncomingDelivery, decided: DeliveryState, { state, settled, more }: Transfer): void {
    this.#forgetPartial()
    this.#ignored = more
    if (!more) this.consumed()
    const isSaid = state !== undefined && isOutcome(state)
    if (isSaid) delivery.localState = state
    const first = this.rcvSettleMode === 'first' || delivery.settlesFirst || isSaid
    const said = isSaid ? echoed(state, this.session.connection.remoteMaxFrameSize) : decided
    if (!settled) this.session.dispositionDue(true, delivery.deliveryId, first, said)
    if (!settled && !first) return
    this.#settled(delivery)
    this.session.connection.emit({ type: 'delivery.settled', delivery })
  }

  /**
   * Decides on a delivery, once. In mode first it is settled with that; in mode second the sender settles, and
   * `delivery.settled` follows. @throws {UsageError} when it has been decided already. §2.6.12 §2.8.3
   */
  disposition(delivery: IncomingDelivery, state: DeliveryState): void {
    if (delivery.localState)
      throw new UsageError(`delivery ${delivery.deliveryId} on ${this.label} is decided already`, '2.6.12')
    const sendable = fittedState(state, this.session.connection.remoteMaxFrameSize)
    delivery.localState = sendable
    if (delivery.remoteSettled) {
      this.#settled(delivery)
      return
    }
    const first = this.rcvSettleMode === 'first' || delivery.settlesFirst
    if (first) this.#settled(delivery)
    this.session.dispositionDue(true, delivery.deliveryId, first, sendable)
  }

  /** The session knows the delivery no longer. */
  #forget(delivery: IncomingDelivery): void {
    if (this.session.incoming.delete(delivery.deliveryId)) this.unsettledCount--
  }

  #settled(delivery: IncomingDelivery): void {
    delivery.localSettled = true
    this.#forget(delivery)
  }

  /** The sender told its state of a delivery. §2.7.6 */
  onDisposition(delivery: IncomingDelivery, disposition: Disposition): void {
    if (disposition.state) delivery.remoteState = disposition.state
    if (!disposition.settled) return
    delivery.remoteSettled = true
    this.#settled(delivery)
    this.session.connection.emit({ type: 'delivery.settled', delivery })
  }

  /** The sender's flow for this link; what it says of credit is not a grant. §2.6.7 */
  onFlow(flow: Flow): void {
    const drained = this.credit.onFlow(flow)
    if (drained) this.session.connection.emit({ type: 'link.drained', link: this })
    if (flow.echo || (drained && this.credit.isLow)) this.session.flowDue(this)
  }

  get mayDetach(): boolean {
    return true
  }

  abandonQueue(): void {
    if (this.#partial) this.#forgetPartial()
  }

  protected onEnded(): void {
    for (const delivery of this.session.incoming.ofLink(this, this.unsettledCount)) {
      this.#left.push(delivery)
      this.#forget(delivery)
    }
  }

  protected attachFields(init: AttachInit): Init<Attach> {
    if (init.maxMessageSize !== undefined && init.maxMessageSize > 0n) this.maxMessageSize = Number(init.maxMessageSize)
    return { maxMessageSize: BigInt(this.maxMessageSize) }
  }

  protected onAttachFields(attach: Attach): boolean {
    if (attach.initialDeliveryCount === undefined) {
      this.session.fail(
        AmqpCondition.invalidField,
        `${this.label}: a sender's attach lacks initial-delivery-count`,
        '2.7.3',
      )
      return false
    }
    this.credit.onAttach(attach.initialDeliveryCount)
    this.sndSettleMode = attach.sndSettleMode
    if (this.initiated === 'remote') this.rcvSettleMode = attach.rcvSettleMode
    return true
  }

  protected onAttached(): void {
    if (this.state === 'ATTACHED' && !this.refused && (this.credit.isLow || this.credit.linkCredit > 0))
      this.session.flowDue(this)
  }
}
