/**
 * ReceiverEndpoint: puts deliveries together, grants credit, and tells the sender what was decided. §2.6.7 §2.6.12
 *
 * Payload is kept in the pieces in which it came. A piece of an incomplete delivery that is small against its chunk is
 * copied, since a view would keep the whole chunk alive.
 */

import type { DeliveryState } from '../definitions/delivery-state.ts'
import type { Attach, Disposition, Flow, Transfer } from '../definitions/performatives.ts'
import type { SequenceNo } from '../definitions/restricted.ts'
import type { UnsettledEntry } from '../definitions/unsettled-map.ts'
import { AmqpCondition, LinkCondition, UsageError } from '../errors.ts'
import type { Init } from '../types/composite.ts'
import type { AmqpMap } from '../types/map.ts'
import { echoed, fittedState } from './error-fields.ts'
import { type IncomingDelivery, newDelivery } from './incoming-delivery.ts'
import { IncomingStream } from './incoming-stream.ts'
import { ReceiverCredit } from './link-credit.ts'
import { type AttachInit, LinkEndpoint } from './link-endpoint.ts'
import { isOutcome } from './outcomes.ts'
import { ReceiverRecovery } from './receiver-recovery.ts'
import type { SessionEndpoint } from './session-endpoint.ts'

export class ReceiverEndpoint extends LinkEndpoint {
  readonly role = 'receiver'
  /** Replaced by `useWindow` before attaching. */
  credit: ReceiverCredit = new ReceiverCredit(undefined)
  /** Largest message that is accepted, in bytes. */
  maxMessageSize: number
  /** Deliveries are handed out when they begin, and read as they come. Before attaching only. §2.6.14 */
  isStreaming = false
  /** Those that are not complete, or not read. */
  #streams: Set<IncomingStream> | undefined
  /** The delivery whose last frame has not come. */
  #partial: IncomingDelivery | undefined
  /** Memory that its pieces keep alive. */
  #pinned = 0
  /** The frame being read is the last of its delivery. */
  #lastFrame = false
  /** A drain is over but for the delivery whose last frame has not come. */
  #drainedLate = false
  /** What every flow of ours says besides credit. §2.7.4 */
  flowProperties: AmqpMap | undefined

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
    if (this.credit.linkCredit === 0) return this.#drained()
    this.credit.drain = true
    this.session.flowDue(this)
  }

  /**
   * Takes all credit back, the automatic kind for good, and asks the sender to confirm; `link.drained` follows. What is
   * under way may still arrive. With `drain` one credit is left and drained: some answer only that. §2.6.10
   */
  stop(drain = false): void {
    if (!this.credit.stop(drain)) return this.#drained()
    this.session.flowDue(this)
  }

  /** Keeps another number of deliveries coming, those that are held included; less credit is taken back. §2.6.7 */
  resize(window: number): void {
    this.credit.resize(window)
    this.session.flowDue(this)
  }

  /** Says that no credit is out, once nothing that had it is unfinished. Credit of a window begins again. */
  #drained(late = this.#partial !== undefined && !this.isStreaming): void {
    this.#drainedLate = late
    if (this.credit.isLow && this.isAttached) this.session.flowDue(this)
    if (!this.#drainedLate) this.session.connection.emit({ type: 'link.drained', link: this })
  }

  /** The owner has taken a delivery: credit for the next may be granted. */
  consumed(): void {
    this.credit.consumed()
    if (this.credit.isLow && this.isAttached) this.session.flowDue(this)
  }

  /** A transfer with the first piece of its payload; `left` bytes of it follow. §2.7.5 */
  onTransfer(transfer: Transfer, payload: Uint8Array | undefined, left: number): void {
    if (!this.isAttached) return this.#passed(transfer)
    if (this.#ignored >= 0) return this.#ignore(this.#ignored, transfer)
    const partial = this.#partial
    if (partial && !this.#goesOn(partial.deliveryId, transfer)) return
    const delivery = partial ?? this.#begun(transfer)
    if (!delivery) return
    if (transfer.aborted) return this.#aborted(delivery, transfer)
    this.#lastFrame = !transfer.more
    const decision = partial ? undefined : delivery.decision
    if (transfer.settled && !delivery.remoteSettled) {
      delivery.remoteSettled = true
      this.#forget(delivery)
      if (delivery.handedOver && !decision) this.#settledBySender(delivery)
    }
    if (transfer.state) delivery.remoteState = transfer.state
    if (transfer.rcvSettleMode === 'first') delivery.settlesFirst = true
    if (decision) return this.#confirmed(delivery, decision, transfer)
    this.#partial = delivery
    if (delivery.stream) return this.#streamed(delivery, delivery.stream, payload, left, true)
    if (transfer.more && delivery.remoteState?.type === 'transactional-state')
      this.session.connection.partialPostings.add(delivery)
    if (payload && !this.#add(delivery, payload, transfer.more || left > 0)) return
    if (left === 0 && this.#lastFrame) this.#complete(delivery)
  }

  /** A further piece of the payload of the frame being read. */
  onPayload(piece: Uint8Array, left: number): void {
    const delivery = this.#partial
    if (this.state !== 'ATTACHED' || !delivery) return
    if (delivery.stream) return this.#streamed(delivery, delivery.stream, piece, left, false)
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
      const what = 'the first transfer of a delivery lacks its delivery-id or -tag'
      return void this.fail(AmqpCondition.invalidField, what, '2.7.5')
    }
    const { incoming, incomingIds: ids, connection } = this.session
    if (!ids.take(deliveryId)) {
      const what = `delivery-id ${deliveryId}, where ${ids.next} is next`
      return void this.session.fail(AmqpCondition.invalidField, what, '2.6.12')
    }
    if (!this.credit.onDelivery())
      return void this.fail(LinkCondition.transferLimitExceeded, `delivery ${deliveryId} came without credit`, '2.6.7')
    const delivery = transfer.resume
      ? this.#resumed(transfer, deliveryId, deliveryTag)
      : newDelivery(this, deliveryId, deliveryTag, transfer)
    if (!delivery) return undefined
    if (!transfer.resume && !this.mapComplete)
      return void this.fail(AmqpCondition.notAllowed, 'a new delivery, where only resumed ones are allowed', '2.7.3')
    if (!transfer.settled) {
      // What is resumed has been counted before.
      const count = transfer.resume ? 0 : incoming.count + (this.#recovery?.count ?? 0)
      if (count >= connection.limits.maxUnsettled) {
        const what = `more than ${connection.limits.maxUnsettled} deliveries unsettled`
        return void this.session.fail(AmqpCondition.resourceLimitExceeded, what, '2.6.12')
      }
      incoming.add(deliveryId, delivery)
      this.unsettledCount++
    }
    if (this.isStreaming && !transfer.resume) this.#handOut(delivery)
    if (this.credit.usedUp()) this.#drained(!this.isStreaming && !transfer.resume)
    return delivery
  }

  /** Hands out a delivery that has begun. §2.6.14 */
  #handOut(delivery: IncomingDelivery): void {
    this.#streams ??= new Set()
    delivery.stream = new IncomingStream(delivery, this.#streams)
    this.session.connection.deliveries.push(delivery)
  }

  /** A piece of a delivery that has been handed out, or a frame without payload. */
  #streamed(
    delivery: IncomingDelivery,
    stream: IncomingStream,
    piece: Uint8Array | undefined,
    left: number,
    begins: boolean,
  ): void {
    if (begins) stream.onFrame()
    if (piece && !this.#fits(delivery, piece)) return
    if (piece && !stream.add(piece)) return void this.#overfull(delivery)
    if (left > 0) return
    stream.onFrameEnd()
    if (!this.#lastFrame) return
    this.#forgetPartial()
    stream.end('complete')
  }

  /** Deliveries of one link do not interleave. §2.6.14 */
  #goesOn(begun: SequenceNo, { deliveryId = begun }: Transfer): boolean {
    if (deliveryId === begun) return true
    const what = `delivery ${deliveryId} on ${this.label} begins inside delivery ${begun}`
    this.session.fail(AmqpCondition.invalidField, what, '2.6.14')
    return false
  }

  /** An aborted delivery is settled and forgotten, payload and all; what the owner has, it keeps. §2.7.5 */
  #aborted(delivery: IncomingDelivery, { resume }: Transfer): void {
    this.#forget(delivery)
    this.#forgetPartial()
    if (delivery.handedOver) this.#settledBySender(delivery)
    // One that was handed out has been consumed by its owner, or will be.
    if (delivery.stream) delivery.stream.end('aborted')
    else if (resume) this.#unseen()
    else this.consumed()
  }

  #forgetPartial(): void {
    this.session.connection.incompleteBytes -= this.#pinned
    this.#pinned = 0
    const { partialPostings } = this.session.connection
    if (this.#partial && partialPostings.size > 0) partialPostings.delete(this.#partial)
    this.#partial = undefined
    if (this.#drainedLate) this.#drained()
  }

  /** Keeps a piece of payload. @returns false when it was one too many */
  #add(delivery: IncomingDelivery, bytes: Uint8Array, incomplete: boolean): boolean {
    const piece = delivery.skip > 0 ? delivery.unskipped(bytes) : bytes
    if (piece.length === 0) return true
    if (!this.#fits(delivery, piece)) return false
    if (!incomplete) {
      delivery.chunks.push(piece)
      return true
    }
    const taken = delivery.keep(piece)
    this.#pinned += taken
    const { connection } = this.session
    connection.incompleteBytes += taken
    const adopted = this.#recovery?.pinned ?? 0
    return connection.incompleteBytes + adopted <= connection.limits.maxIncompleteBytes || this.#overfull(delivery)
  }

  #fits(delivery: IncomingDelivery, piece: Uint8Array): boolean {
    delivery.size += piece.length
    if (delivery.size <= this.maxMessageSize) return true
    const what = `message larger than ${this.maxMessageSize} bytes`
    return this.#tooMuch(delivery, LinkCondition.messageSizeExceeded, what, '2.7.3')
  }

  #overfull(delivery: IncomingDelivery): false {
    const what = 'unfinished messages hold too much memory'
    return this.#tooMuch(delivery, AmqpCondition.resourceLimitExceeded, what, '2.6.14')
  }

  /** What broke a limit is not kept for another endpoint either. */
  #tooMuch(delivery: IncomingDelivery, condition: string, description: string, section: string): false {
    this.#forgetPartial()
    this.#forget(delivery)
    this.fail(condition, description, section)
    return false
  }

  #complete(delivery: IncomingDelivery): void {
    this.#forgetPartial()
    // The owner has had a delivery that was complete before it was resumed.
    if (delivery.handedOver) return this.#unseen()
    if (delivery.skip > 0)
      return this.fail(AmqpCondition.invalidField, 'resumed with less payload than had come before', '3.4.6')
    delivery.handedOver = true
    this.session.connection.deliveries.push(delivery)
  }

  // ---- resuming ------------------------------------------------------------------------------------------------

  /** Deliveries of an earlier endpoint of this link that the sender has not resumed. */
  #recovery: ReceiverRecovery | undefined
  /** The delivery whose frames are let pass, the last of which has not come; −1 for none. */
  #ignored: SequenceNo = -1
  /** What the link had when it ended. */
  #left: IncomingDelivery[] = []

  /** Takes over what an earlier endpoint of this link has left: `open`. Before `attach`, which tells the peer. §2.6.13 */
  adopt(deliveries: readonly IncomingDelivery[]): void {
    this.#recovery = new ReceiverRecovery(deliveries)
  }

  /** What was taken over and not resumed. */
  get adopted(): readonly IncomingDelivery[] {
    return this.#recovery?.left ?? []
  }

  /** What this endpoint leaves and another may take over, in the order in which it came. Streams are used up. */
  get open(): IncomingDelivery[] {
    const here = this.session.incoming.ofLink(this, this.unsettledCount)
    return [...this.adopted, ...this.#left, ...here].filter(({ stream }) => !stream)
  }

  protected get unsettledState(): Iterable<UnsettledEntry> | undefined {
    return this.#recovery?.unsettled()
  }

  protected resume(unsettled: readonly UnsettledEntry[] | undefined): void {
    // One that is not complete is just dropped: the owner does not know of it.
    for (const delivery of this.#recovery?.settledAtSource(unsettled, this.remoteMapComplete) ?? [])
      if (delivery.handedOver) this.#settledBySender(delivery)
  }

  /** The delivery that a transfer resumes. One that is not known is let pass, all of it. §2.6.13 §3.4.6 */
  #resumed(transfer: Transfer, deliveryId: number, deliveryTag: Uint8Array): IncomingDelivery | undefined {
    const delivery = this.#recovery?.take(deliveryTag, transfer)
    if (!delivery) return this.#ignore(deliveryId, transfer)
    if (delivery === 'gap')
      return void this.fail(AmqpCondition.invalidField, 'resumed behind the place up to which it had come', '3.4.6')
    delivery.link = this
    delivery.deliveryId = deliveryId
    this.#pinned = delivery.handedOver ? 0 : delivery.pinned
    this.session.connection.incompleteBytes += this.#pinned
    return delivery
  }

  #ignore(begun: SequenceNo, transfer: Transfer): undefined {
    if (!this.#goesOn(begun, transfer)) return
    this.#ignored = transfer.more && !transfer.aborted ? begun : -1
    if (this.#ignored < 0) this.#unseen()
  }

  /** The owner gets nothing for the credit that a delivery has used: that is granted again. §2.6.7 */
  #unseen(): void {
    if (this.credit.window === undefined && !this.credit.drain) this.flow(1)
    this.consumed()
  }

  /** The sender has taken up a delivery that is decided: it confirms that, or says what holds instead. §3.4.6 */
  #confirmed(delivery: IncomingDelivery, decided: DeliveryState, transfer: Transfer): void {
    const { state, settled } = transfer
    this.#forgetPartial()
    this.#ignore(delivery.deliveryId, transfer)
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
   * `delivery.settled` follows. A transactional-state is no decision yet: another state may follow it, or `revert`.
   *
   * @param settles  false: the delivery stays, whatever the mode, until a state follows. §4.4.2
   * @throws {UsageError} when it has been decided already. §2.6.12 §2.8.3
   */
  disposition(delivery: IncomingDelivery, state: DeliveryState, settles = true): void {
    if (delivery.localState && (delivery.localState.type !== 'transactional-state' || delivery.localSettled))
      throw new UsageError(`delivery ${delivery.deliveryId} on ${this.label} is decided already`, '2.6.12')
    const sendable = fittedState(state, this.session.connection.remoteMaxFrameSize)
    delivery.localState = sendable
    if (delivery.remoteSettled) return this.#settled(delivery)
    // One of an earlier endpoint: it is told when the sender has resumed it. §2.6.13
    if (delivery.deliveryId < 0) return
    const first = settles && (this.rcvSettleMode === 'first' || delivery.settlesFirst)
    if (first) this.#settled(delivery)
    this.session.dispositionDue(true, delivery.deliveryId, first, sendable)
  }

  /** The transaction under which a delivery was decided on is rolled back: it is undecided again. §4.4.4 */
  revert(delivery: IncomingDelivery): void {
    if (!delivery.localSettled) delivery.localState = undefined
  }

  /** The session knows the delivery no longer. */
  #forget(delivery: IncomingDelivery): void {
    if (this.session.incoming.delete(delivery.deliveryId)) this.unsettledCount--
  }

  #settledBySender(delivery: IncomingDelivery): void {
    delivery.remoteSettled = true
    this.#settled(delivery)
    this.session.connection.emit({ type: 'delivery.settled', delivery })
  }

  #settled(delivery: IncomingDelivery): void {
    delivery.localSettled = true
    this.#forget(delivery)
  }

  /** The sender told its state of a delivery. §2.7.6 */
  onDisposition(delivery: IncomingDelivery, disposition: Disposition): void {
    if (disposition.state) delivery.remoteState = disposition.state
    if (disposition.settled) this.#settledBySender(delivery)
  }

  /** The sender's flow for this link; what it says of credit is not a grant. §2.6.7 */
  onFlow(flow: Flow): void {
    if (this.credit.onFlow(flow)) this.#drained()
    if (flow.echo) this.session.flowDue(this)
  }

  get mayDetach(): boolean {
    return true
  }

  abandonQueue(): void {
    this.#partial?.stream?.end('lost')
    if (this.#partial) this.#forgetPartial()
  }

  protected onEnded(): void {
    for (const stream of this.#streams ?? []) stream.onLinkEnded()
    for (const delivery of this.session.incoming.ofLink(this, this.unsettledCount)) {
      this.#left.push(delivery)
      this.#forget(delivery)
    }
  }

  protected attachFields(init: AttachInit): Init<Attach> {
    if (init.maxMessageSize !== undefined && init.maxMessageSize > 0n) this.maxMessageSize = Number(init.maxMessageSize)
    // What is read as it comes needs no limit: the session's window bounds what lies here. 0: none. §2.7.3
    else if (this.isStreaming) this.maxMessageSize = Number.POSITIVE_INFINITY
    return { maxMessageSize: Number.isFinite(this.maxMessageSize) ? BigInt(this.maxMessageSize) : 0n }
  }

  protected onAttachFields(attach: Attach): boolean {
    if (attach.initialDeliveryCount === undefined) {
      const what = `${this.label}: a sender's attach lacks initial-delivery-count`
      this.session.fail(AmqpCondition.invalidField, what, '2.7.3')
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
