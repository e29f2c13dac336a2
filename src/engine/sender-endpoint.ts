/**
 * SenderEndpoint: queues deliveries, frames them as credit, window and socket allow, and learns what became of them.
 * §2.6.7 §2.6.12 §2.6.14
 *
 * A message is encoded once, into the connection's slab: `beginMessage` hands out a writer behind the headroom,
 * `commitMessage` queues what was written. Framing fills the headroom.
 */

import { type DeliveryState, RELEASED } from '../definitions/delivery-state.ts'
import { transferWidth } from '../definitions/hot-paths.ts'
import type { Attach, Disposition, Flow } from '../definitions/performatives.ts'
import type { UnsettledEntry } from '../definitions/unsettled-map.ts'
import { ClosedError, UsageError } from '../errors.ts'
import type { Init } from '../types/composite.ts'
import type { Writer } from '../types/writer.ts'
import { type Acquisition, takeAcquisition } from './acquisition.ts'
import { DeliveryTags } from './delivery-tags.ts'
import { Fifo } from './fifo.ts'
import { transferOf } from './frame-trace.ts'
import { SenderCredit } from './link-credit.ts'
import { type AttachInit, LinkEndpoint } from './link-endpoint.ts'
import { isOutcome } from './outcomes.ts'
import { type DeliveryInit, OutgoingDelivery, type Resume, type Splice, spliced } from './outgoing-delivery.ts'
import { planRecovery, unsettledAtSource } from './sender-recovery.ts'
import { encodedState, transferFields } from './transfer-state.ts'

/** Payload below this is copied when it is queued. */
export const COPY_BELOW: number = 4096

/** Bytes of a frame that are left for all but the payload of a transfer that resumes. */
const RESUME_REST = 128

export class SenderEndpoint extends LinkEndpoint {
  readonly role = 'sender'
  readonly credit: SenderCredit = new SenderCredit()
  readonly queue: Fifo<OutgoingDelivery> = new Fifo()
  /** On the connection's list of links that may send; or waiting for the session's window. */
  isReady = false
  isBlocked = false
  /** What is sent is acquired under this, if anything. Its owner clears it with the discharge. §4.4.3 */
  acquisition: Acquisition | undefined
  /** Shared by all endpoints of one link, where it is attached again: set before `adopt`. */
  tags: DeliveryTags = new DeliveryTags()

  protected get self(): never {
    return this as never
  }

  /**
   * Starts a message: write its bytes to the writer, then `commitMessage`, or `cancelMessage` when encoding failed.
   * @throws {UsageError} when the link cannot send, or too much is queued
   */
  beginMessage(init: DeliveryInit): Writer {
    this.checkSendable(init)
    const handle = this.handle < 0 ? 0xffff : this.handle
    const { deliveryTag = 0, messageFormat = 0, settled = false } = init
    const fields = transferFields(handle, 0xffffffff, deliveryTag, messageFormat, settled, encodedState(init.state))
    return this.session.connection.writer.beginMessage(transferWidth(fields) + 8)
  }

  /**
   * Queues what was written since `beginMessage`, with the caller's own bytes spliced in.
   * @throws {ClosedError} the link has ended while it was being written: `cancelMessage` is still due
   */
  commitMessage(init: DeliveryInit, splices?: readonly Splice[]): OutgoingDelivery {
    const { connection } = this.session
    if (!this.isAttached || !this.session.maySend) throw new ClosedError(this.label, 'link', connection.cause)
    const slab = connection.writer.endMessage()
    const { mark: base, offset: end } = slab
    const start = base + slab.headroom
    slab.mark = end
    const pieces = splices && splices.length > 0 ? spliced(slab.bytes, base, start, end, splices) : undefined
    return this.#enqueue(init, slab.bytes, start, end, pieces)
  }

  /** Takes back what was written since `beginMessage`. */
  cancelMessage(): void {
    const slab = this.session.connection.writer.endMessage()
    slab.offset = slab.mark
  }

  /**
   * Queues an encoded message.
   *
   * @param payload  copied when it is small, else kept by reference until it is framed: it must not change
   * @throws {UsageError} as `beginMessage`
   */
  transfer(payload: Uint8Array | readonly Uint8Array[], init: DeliveryInit = {}): OutgoingDelivery {
    const parts = payload instanceof Uint8Array ? [payload] : payload
    const size = parts.reduce((sum, part) => sum + part.length, 0)
    if (size < COPY_BELOW && !init.isOpen) {
      const writer = this.beginMessage(init)
      for (const part of parts) writer.raw(part)
      return this.commitMessage(init)
    }
    this.checkSendable(init)
    encodedState(init.state)
    const pieces = parts.filter(part => part.length > 0)
    return this.#enqueue(init, parts[0] as Uint8Array, 0, 0, pieces)
  }

  checkSendable(init: DeliveryInit): void {
    const { connection } = this.session
    if (!this.isAttached) throw new UsageError(`${this.label} cannot send in state ${this.state}`, '2.6.12')
    // After our end the peer knows nothing of this channel, or something else.
    if (connection.hasEnded || !this.session.maySend)
      throw new UsageError(`${this.label} cannot send: its session has ended`, '2.5.5')
    if (connection.pendingBytes >= connection.limits.maxPendingBytes)
      throw new UsageError(`${connection.pendingBytes} bytes are queued on this connection already`)
    this.checkInit(init)
  }

  /** What can be told of a delivery before it may be sent. @throws {UsageError} */
  checkInit({ deliveryTag, settled = false }: DeliveryInit): void {
    if (deliveryTag) this.tags.check(deliveryTag, this.label)
    if (this.sndSettleMode === 'settled' && !settled) throw new UsageError(`${this.label} sends settled only`, '2.8.2')
    if (this.sndSettleMode === 'unsettled' && settled)
      throw new UsageError(`${this.label} sends unsettled only`, '2.8.2')
  }

  #enqueue(
    init: DeliveryInit,
    bytes: Uint8Array,
    start: number,
    end: number,
    pieces: Uint8Array[] | undefined,
  ): OutgoingDelivery {
    const size = pieces ? pieces.reduce((sum, piece) => sum + piece.length, 0) : end - start
    const tag = init.deliveryTag ?? this.tags.next()
    const { messageFormat = 0, settled = false, isOpen = false, context } = init
    const delivery = new OutgoingDelivery(this, tag, messageFormat, settled, bytes, start, end, pieces, size, context)
    delivery.isOpen = isOpen
    // What is made while it is sent cannot be sent again.
    if (this.keepsPayload && !isOpen) delivery.kept = pieces ? [...pieces] : [bytes.subarray(start, end)]
    delivery.state = init.state
    delivery.stateBytes = encodedState(init.state)
    if (init.deliveryTag && !delivery.settled) this.tags.use(init.deliveryTag)
    this.queue.push(delivery)
    this.session.connection.pendingBytes += size
    this.wake()
    return delivery
  }

  /** Joins the links that may send, if it may. */
  wake(): void {
    if (this.isReady || this.isBlocked || !this.maySend) return
    this.isReady = true
    this.session.connection.ready.push(this)
  }

  /** Whether something is queued that credit allows. */
  get maySend(): boolean {
    const next = this.queue.peek()
    if (next === undefined || this.state !== 'ATTACHED' || this.#isHeld(next)) return false
    // The rest of a message that is still being made waits for its maker, and what is behind it waits, too. §2.6.14
    if (next.isOpen && next.sent === next.size) return false
    return this.credit.linkCredit > 0 || next.deliveryId >= 0
  }

  /** Frames deliveries until `quantum` bytes are written, or nothing may be sent. */
  frameTransfers(quantum: number): void {
    const { connection, window } = this.session
    const writer = connection.writer
    const until = writer.pending + quantum
    while (this.maySend && writer.pending < until) {
      if (window.remoteIncomingWindow <= 0) {
        this.isBlocked = true
        this.session.blocked.push(this)
        return
      }
      this.#frameTransfer(this.queue.peek() as OutgoingDelivery, connection.remoteMaxFrameSize)
    }
  }

  #frameTransfer(delivery: OutgoingDelivery, maxFrameSize: number): void {
    const { session } = this
    const { connection } = session
    const writer = connection.writer
    if (delivery.aborted) return this.#frameAborted(delivery)
    if (delivery.resumption) return this.#frameResumed(delivery, delivery.resumption, maxFrameSize)
    const first = delivery.deliveryId < 0
    if (first) {
      delivery.deliveryId = session.nextDeliveryId()
      delivery.hasBegun = true
      this.credit.onSend()
      this.acquisition?.take(delivery)
      if (!delivery.settled) this.#remember(delivery)
    }
    const { tag, messageFormat, settled, stateBytes } = delivery
    const id = first ? delivery.deliveryId : -1
    const fields = transferFields(this.handle, id, tag, messageFormat, settled, stateBytes)
    fields.more = delivery.isOpen
    let width = delivery.size - delivery.sent
    if (width > writer.capacity(fields, maxFrameSize)) {
      fields.more = true
      width = writer.capacity(fields, maxFrameSize)
    }
    delivery.transferId = session.window.onTransferSent()
    if (first && !fields.more && !delivery.pieces && !delivery.acquired) {
      writer.transferInPlace(session.channel, fields, delivery.bytes, delivery.start, delivery.end)
      delivery.sent = width
    } else {
      writer.transferBefore(session.channel, fields, width)
      for (const piece of delivery.take(width)) writer.raw(piece)
    }
    connection.pendingBytes -= width
    if (connection.tracing) connection.traceOut(session.channel, transferOf(fields, delivery), width)
    if (fields.more) return
    this.queue.shift()
    delivery.isQueued = false
    delivery.release()
    if (delivery.settled) connection.outcomes.push(delivery)
  }

  #remember(delivery: OutgoingDelivery): void {
    this.session.outgoing.add(delivery.deliveryId, delivery)
    this.unsettledCount++
  }

  #forget(delivery: OutgoingDelivery): void {
    if (this.session.outgoing.delete(delivery.deliveryId)) this.unsettledCount--
  }

  /** An aborted delivery is settled and forgotten. §2.7.5 */
  #frameAborted(delivery: OutgoingDelivery): void {
    this.session.window.onTransferSent()
    this.session.control('transfer', { type: 'transfer', handle: this.handle, aborted: true })
    this.#forget(delivery)
    this.queue.shift()
    delivery.isQueued = false
  }

  // ---- resuming ------------------------------------------------------------------------------------------------

  /** Payload is kept until its delivery is settled, so that it can be sent again. Set before anything is sent. */
  keepsPayload = false
  /** Deliveries of an earlier endpoint of this link, until both maps are known; then those that wait for another. */
  adopted: OutgoingDelivery[] = []
  /** A map was incomplete: nothing new is sent, and the link is to be detached and attached again. §2.6.13 */
  mustReattach = false
  /** Whether this is the link of an earlier endpoint, which tells what that has left, if anything. */
  #isResumed = false

  /** Whether a delivery has to wait for complete maps, being new. */
  #isHeld(next: OutgoingDelivery): boolean {
    return this.mustReattach && next.resumption === undefined && next.deliveryId < 0
  }

  /**
   * Takes over what an earlier endpoint of this link has left without an outcome, in the order in which it was sent. To
   * be called before `attach`, which tells the peer. What cannot be resumed is in `abandoned` once both have attached.
   */
  adopt(deliveries: readonly OutgoingDelivery[]): void {
    this.adopted = [...deliveries]
    this.#isResumed = true
    for (const { tag, settled } of deliveries) if (typeof tag === 'number' || !settled) this.tags.use(tag)
  }

  /** The first frame of a delivery that is taken up. §2.7.5 */
  #frameResumed(delivery: OutgoingDelivery, { state, settles, aborted }: Resume, maxFrameSize: number): void {
    const { session } = this
    delivery.resumption = undefined
    delivery.deliveryId = session.nextDeliveryId()
    delivery.hasBegun = true
    this.credit.onSend()
    if (!settles && !aborted) this.#remember(delivery)
    const width = Math.min(delivery.size - delivery.sent, maxFrameSize - RESUME_REST)
    delivery.transferId = session.window.onTransferSent()
    const payload = delivery.take(width)
    const more = delivery.sent < delivery.size
    // In mode unsettled no transfer may settle, but a disposition behind it. §2.7.5
    const settled = settles && this.sndSettleMode !== 'unsettled'
    if (settles && !settled) session.dispositionDue(false, delivery.deliveryId, true, state)
    const { deliveryId, deliveryTag, messageFormat } = delivery
    const own = { deliveryId, deliveryTag, messageFormat, settled, more, state, resume: true, aborted }
    session.control('transfer', { type: 'transfer', handle: this.handle, ...own }, payload)
    session.connection.pendingBytes -= width
    if (more) return
    this.queue.shift()
    delivery.isQueued = false
    delivery.release()
    if (!settles) return
    this.tags.free(delivery.tag)
    session.connection.outcomes.push(delivery)
  }

  #isDraining = false

  /** Joins the senders whose receivers drain, once. */
  #drainDue(): void {
    if (this.#isDraining) return
    this.#isDraining = true
    this.session.connection.draining.push(this)
  }

  /** Uses up the credit that is left, once nothing is left to send. §2.6.7 @returns whether the drain is over */
  finishDrain(): boolean {
    this.#isDraining = !this.#drained()
    return !this.#isDraining
  }

  #drained(): boolean {
    if (!this.credit.drain || !this.isAttached) return true
    const next = this.queue.peek()
    if (next && this.credit.linkCredit > 0 && !this.#isHeld(next)) return false
    // The flag stays as the receiver set it last, and goes back to it so. §2.6.7
    this.credit.consume()
    this.session.flowDue(this)
    return true
  }

  /** A receiver's flow for this link. §2.6.7 */
  onFlow(flow: Flow): void {
    if (!takeAcquisition(this, flow)) return
    this.credit.onFlow(flow)
    this.session.connection.emit({ type: 'link.flow', link: this })
    if (this.credit.drain) this.#drainDue()
    if (flow.echo) this.session.flowDue(this)
    this.wake()
  }

  /** The receiver told the state of one delivery. §2.7.6 */
  onDisposition(delivery: OutgoingDelivery, disposition: Disposition): void {
    const { session } = this
    session.window.acknowledge(delivery.transferId)
    if (disposition.state) delivery.remoteState = disposition.state
    const { state } = disposition
    // The owner knows what the transaction is and whose; the delivery stays until it is settled. §4.4.4
    if (state?.type === 'transactional-state' && !disposition.settled) session.connection.outcomes.push(delivery)
    if (!disposition.settled && !(state && isOutcome(state))) return
    delivery.remoteSettled = disposition.settled
    this.#forget(delivery)
    this.tags.free(delivery.tag)
    // A receiver in mode second waits for us to settle. §2.8.3
    if (!disposition.settled) session.settlementDue(delivery.deliveryId, disposition.state)
    session.connection.outcomes.push(delivery)
  }

  /** Settles a delivery from this end, telling `state`; one that is settled already is left. §2.6.12 */
  settle(delivery: OutgoingDelivery, state: DeliveryState | undefined): void {
    if (this.session.outgoing.get(delivery.deliveryId) !== delivery) return
    this.#forget(delivery)
    this.tags.free(delivery.tag)
    this.session.dispositionDue(false, delivery.deliveryId, true, state)
  }

  /**
   * Takes back a delivery: one that is queued is removed, one that is partly framed is aborted. §2.7.5
   * @returns what it came to; `sent` means that it is too late
   */
  abort(delivery: OutgoingDelivery): 'removed' | 'aborted' | 'sent' {
    const { resumption } = delivery
    // What it comes to is known already, and only to be said.
    if (delivery.localState || delivery.isNotice || resumption?.settles) return 'sent'
    const isPartial = delivery.deliveryId >= 0
    const isThere = isPartial ? this.queue.peek() === delivery : resumption ? delivery.isQueued : undefined
    if (!(isThere ?? this.queue.remove(delivery))) return 'sent'
    this.session.connection.pendingBytes -= delivery.size - delivery.sent
    delivery.release()
    this.tags.free(delivery.tag)
    // The frame that says so needs credit or the session's window like any other.
    if (resumption) delivery.becomeNotice()
    else if (isPartial) {
      delivery.aborted = true
      delivery.localState = RELEASED
    } else {
      delivery.isQueued = false
      return 'removed'
    }
    this.wake()
    return 'aborted'
  }

  /** Deliveries whose outcome was open when the link ended; the owner takes them when it hears of the end. */
  readonly abandoned: OutgoingDelivery[] = []

  get mayDetach(): boolean {
    const next = this.queue.peek()
    return next === undefined || this.state !== 'ATTACHED' || this.#isHeld(next)
  }

  /** What is queued will not be framed any more. One that is partly framed is unsettled, too, and taken as such. */
  abandonQueue(): void {
    for (const delivery of this.queue.drain()) {
      if (!delivery.aborted) this.session.connection.pendingBytes -= delivery.size - delivery.sent
      // Another endpoint may still send it; a body that is being made is left by its maker.
      if (delivery.isOpen) delivery.localState ??= RELEASED
      else if (!delivery.hasBegun) delivery.kept ??= delivery.take(delivery.size)
      delivery.release()
      delivery.isQueued = false
      if (!delivery.isNotice && (delivery.deliveryId < 0 || delivery.settled)) this.abandoned.push(delivery)
    }
  }

  /** Deliveries without an outcome, as another endpoint may take them over: what has begun, then what has not. */
  get open(): OutgoingDelivery[] {
    const all = new Set([...this.adopted, ...this.unsettled(), ...this.abandoned, ...this.queue])
    const open = [...all].filter(({ isNotice }) => !isNotice)
    return [...open.filter(({ hasBegun }) => hasBegun), ...open.filter(({ hasBegun }) => !hasBegun)]
  }

  /** Deliveries that are framed, wholly or partly, and not settled. */
  unsettled(): OutgoingDelivery[] {
    return this.session.outgoing.ofLink(this, this.unsettledCount)
  }

  protected onEnded(): void {
    this.abandonQueue()
    for (const delivery of this.unsettled()) {
      this.#forget(delivery)
      this.abandoned.push(delivery)
    }
  }

  protected attachFields(init: AttachInit): Init<Attach> {
    this.credit.onAttach(init.initialDeliveryCount ?? 0)
    return { initialDeliveryCount: this.credit.initialDeliveryCount }
  }

  protected get unsettledState(): Iterable<UnsettledEntry> | undefined {
    return this.#isResumed ? unsettledAtSource(this.adopted) : undefined
  }

  protected onAttachFields(attach: Attach): boolean {
    // The receiver has the last word on how it settles, the sender on how it sends. §2.7.3
    if (this.initiated === 'remote') this.sndSettleMode = attach.sndSettleMode
    this.rcvSettleMode = attach.rcvSettleMode
    return true
  }

  protected resume(unsettled: readonly UnsettledEntry[] | undefined): void {
    this.mustReattach = this.mapsIncomplete
    const plan = planRecovery(this, this.adopted, unsettled, !this.mustReattach)
    const left = new Set([...plan.queue, ...plan.held])
    for (const delivery of this.adopted) if (!left.has(delivery)) this.tags.free(delivery.tag)
    this.adopted = [...plan.held]
    for (const delivery of plan.lost) this.abandoned.push(delivery)
    for (const delivery of plan.queue) {
      this.queue.push(delivery)
      delivery.isQueued = true
      this.session.connection.pendingBytes += delivery.size - delivery.sent
    }
    this.wake()
  }

  protected onAttached(): void {
    // A receiver may ask for a drain behind its attach, before ours.
    if (this.isAttached && this.credit.drain) this.#drainDue()
  }
}
