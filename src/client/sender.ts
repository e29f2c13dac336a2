/** Sender: encodes at the call, waits for credit in order, resolves with the outcome. §2.6.7 §2.6.12 */

import { type DeliveryState, type Outcome as OutcomeState, RELEASED } from '../definitions/delivery-state.ts'
import type { DeliveryInit, OutgoingDelivery } from '../engine/outgoing-delivery.ts'
import { COPY_BELOW, type SenderEndpoint } from '../engine/sender-endpoint.ts'
import { heldDelivery, requeue } from '../engine/sender-recovery.ts'
import { type AmqpError, ClosedError, TransactionCondition, type TransactionError, UsageError } from '../errors.ts'
import { EncodedMessage, encodeMessage, writeMessage } from '../message/encode.ts'
import type { MessageInit } from '../message/message.ts'
import type { AmqpValue } from '../types/values.ts'
import type { ResumedSend, Sender, StreamedInit } from './api.ts'
import type { SenderEvents } from './api-events.ts'
import { checkAddressed, checkSend, checkSize } from './check-send.ts'
import { inspectAs } from './diagnostics/inspect.ts'
import { detachWhenDone } from './keeping/keeper.ts'
import { ClientLink, type LinkOwner } from './link.ts'
import { abortable, type Deferred, deferred, handled, throwIfAborted } from './operation.ts'
import type { Abortable, ErrorInit, SendOptions } from './options.ts'
import { ACCEPTED_OUTCOME, type Outcome, outcomeOf } from './outcome.ts'
import { lostSend, type PendingSend, PendingSends } from './pending-sends.ts'
import { HeldSends } from './recovery/held-sends.ts'
import { restoredSend, type UnsettledSend, unsettledSends } from './recovery/unsettled.ts'
import { isStreamed, StreamedSend } from './streaming/streamed-send.ts'
import { liveTransaction } from './transactions/own-transaction.ts'
import type { ClientTransaction } from './transactions/transaction.ts'

/** What work under a transaction is refused with that nobody here coordinates. §4.5.8 */
export const UNKNOWN_ID: ErrorInit = {
  condition: TransactionCondition.unknownId,
  description: 'there is no such transaction',
}

/** What a delivery becomes that is settled without an outcome, where the source names no default. D-017 */
const UNSAID: Outcome = { outcome: 'released' }

export class ClientSender extends ClientLink<SenderEvents> implements Sender {
  static {
    inspectAs(ClientSender.prototype, 'Sender', of => {
      const { state, ...link } = of.summary
      return { ...link, linkCredit: of.linkCredit, state }
    })
  }

  declare endpoint: SenderEndpoint
  readonly #maxPending: number
  #waiters: Deferred<void>[] = []
  readonly #sends = new PendingSends()
  /** While the link is being attached again: what is then queued, in order, and what the two ends compare first. */
  readonly #held = new HeldSends()
  #compared: readonly OutgoingDelivery[] = []
  /** What was left when it ended. */
  #left: readonly UnsettledSend[] | undefined
  resumed: readonly ResumedSend[] = []

  readonly #earlier: readonly UnsettledSend[] | undefined

  /** @param earlier  what a link of its name has left */
  constructor(
    owner: LinkOwner,
    endpoint: SenderEndpoint,
    maxPending: number,
    earlier: readonly UnsettledSend[] | undefined,
  ) {
    super(owner, endpoint, earlier !== undefined)
    this.#maxPending = maxPending
    this.#earlier = earlier
  }

  protected override get eventNames(): readonly string[] {
    return [...super.eventNames, 'credit']
  }

  get linkCredit(): number {
    return this.endpoint.credit.linkCredit
  }

  get pending(): number {
    return this.endpoint.queue.length + this.#held.count
  }

  /** A flow that names a transaction may have come before the link was accepted. §4.4.3 */
  override onAttached(properties: ReadonlyMap<AmqpValue, AmqpValue>): void {
    super.onAttached(properties)
    if (this.endpoint.acquisition) this.onFlow()
    if (this.terminus && this.endpoint.mustReattach) detachWhenDone(this, this.owner.flushed)
  }

  send(message: MessageInit | StreamedInit | EncodedMessage, options: SendOptions = {}): Promise<Outcome> {
    let delivery: OutgoingDelivery
    let stream: StreamedSend | undefined
    let transaction: ClientTransaction | undefined
    try {
      if (this.isOver || this.isLeft) throw this.closedError()
      throwIfAborted(options)
      if (this.pending >= this.#maxPending)
        throw new UsageError(
          `${this.endpoint.label} has ${this.pending} messages waiting; \`ready()\` tells when there is room`,
        )
      checkSend(message, options)
      if (options.transaction) transaction = liveTransaction(options.transaction, this.session)
      if (this.isDown) delivery = this.#hold(message, options)
      else if (isStreamed(message)) {
        stream = new StreamedSend(this.endpoint, message, this.#initOf(options, transaction), this.owner)
        delivery = stream.delivery
      } else delivery = this.#queue(message, options, transaction)
    } catch (error) {
      return Promise.reject(error)
    }
    const outcome = new Promise<Outcome>((resolve, reject) => {
      const pending: PendingSend = { resolve, reject, detach: undefined, transaction, raw: false }
      this.#sends.begin(delivery, pending)
      transaction?.post(delivery)
      if (options.signal) this.#watch(delivery, pending, options.signal)
      if (stream) this.#feed(stream, pending)
    })
    // Not earlier: this may flush at once, and a message that is sent settled then has its outcome.
    this.owner.touch()
    return outcome
  }

  /** Whether it was attached without a target address: each message says where it goes. §3.2.4 */
  relays = false
  /** Sends what a coordinator is to answer, of which the answer is the state itself. @throws as `send` rejects §4.2 */
  request(message: EncodedMessage): { delivery: OutgoingDelivery; answer: Promise<DeliveryState | undefined> } {
    if (this.closure || this.isLeft) throw this.closedError()
    const delivery = this.endpoint.transfer(message.bytes)
    const answer = this.#answer<DeliveryState | undefined>(delivery, true)
    this.owner.touch()
    return { delivery, answer }
  }

  /** What a delivery comes to. */
  #answer<T>(delivery: OutgoingDelivery, raw: boolean): Promise<T> {
    return new Promise<T>((resolve, reject) =>
      this.#sends.begin(delivery, { resolve, reject, detach: undefined, transaction: undefined, raw }),
    )
  }

  /** Encodes a message and queues it, or changes nothing. */
  #queue(
    message: MessageInit | EncodedMessage,
    options: SendOptions,
    transaction: ClientTransaction | undefined,
  ): OutgoingDelivery {
    const { endpoint } = this
    const init = this.#initOf(options, transaction)
    if (message instanceof EncodedMessage) {
      checkSize(this.endpoint, message.bytes.length)
      return endpoint.transfer(message.bytes, {
        ...init,
        messageFormat: options.messageFormat ?? message.messageFormat,
      })
    }
    if (this.relays) checkAddressed(this.endpoint, message)
    const writer = endpoint.beginMessage(init)
    const start = writer.offset - writer.mark
    try {
      const splices = writeMessage(writer, message, COPY_BELOW)
      let size = writer.offset - writer.mark - start
      if (splices) for (const splice of splices) size += splice.bytes.length
      checkSize(this.endpoint, size)
      return endpoint.commitMessage(init, splices)
    } catch (error) {
      endpoint.cancelMessage()
      throw error
    }
  }

  #initOf(options: SendOptions, transaction: ClientTransaction | undefined): DeliveryInit {
    return {
      deliveryTag: options.deliveryTag,
      messageFormat: options.messageFormat,
      settled: options.settled ?? this.endpoint.sndSettleMode === 'settled',
      state: transaction?.posting,
    }
  }

  /** Starts sending a body that is made meanwhile. However the send ends, its source is left. */
  #feed(stream: StreamedSend, pending: PendingSend): void {
    const unwatch = pending.detach
    pending.detach = () => {
      unwatch?.()
      stream.leave()
    }
    const { delivery } = stream
    stream.run().then(
      () => {
        if (this.#sends.isAcceptedEarly(delivery)) this.onOutcome(delivery)
      },
      error => {
        this.#sends.end(delivery)?.reject(error)
        this.owner.touch()
      },
    )
  }

  #watch(delivery: OutgoingDelivery, pending: PendingSend, signal: AbortSignal): void {
    const onAbort = () => {
      // The link may have been attached again since.
      const sender = (delivery.link.context as ClientSender | undefined) ?? this
      sender.#sends.end(delivery)
      if (sender.#held.remove(delivery)) sender.endpoint.tags.free(delivery.tag)
      // Where it is not attached at present, its source has given it up when it is.
      else if (sender.endpoint.abort(delivery) === 'sent' && sender.isOver) delivery.localState ??= RELEASED
      sender.owner.touch()
      pending.reject(signal.reason)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    pending.detach = () => signal.removeEventListener('abort', onAbort)
  }

  async ready(options: Abortable = {}): Promise<void> {
    throwIfAborted(options)
    if (this.closure || this.isLeft) throw this.closedError()
    if (this.pending * 2 < this.#maxPending) return
    const waiter = deferred<void>()
    this.#waiters.push(waiter)
    this.owner.flushed.add(this.#onFlush)
    await abortable(waiter, options.signal, () => {
      this.#waiters = this.#waiters.filter(have => have !== waiter)
    })
  }

  /** A delivery's outcome is known. */
  onOutcome(delivery: OutgoingDelivery): void {
    if (delivery.acquired && this.owner.coordinator?.holds(this, delivery)) return
    if (delivery.isOpen && delivery.remoteState?.type === 'accepted') return this.#sends.acceptEarly(delivery)
    const state = delivery.remoteState
    if (state?.type === 'transactional-state' && !delivery.settled) {
      if (!delivery.state) return this.#retired(delivery)
      // It is in the transaction, and what becomes of it is not decided.
      if (!delivery.remoteSettled && !state.outcome) return
    }
    const pending = this.#sends.end(delivery)
    pending?.resolve((pending.raw ? state : delivery.settled ? ACCEPTED_OUTCOME : this.#outcome(delivery)) as never)
    pending?.transaction?.answered(delivery)
    if (!this.endpoint.mustReattach) return
    this.#nextMap()
    this.owner.touch()
  }

  /** Takes back a message posted under a transaction that is over; its send rejects. */
  withdraw(delivery: OutgoingDelivery, error: TransactionError): void {
    if (delivery.isQueued && !delivery.aborted) this.endpoint.abort(delivery)
    this.#sends.end(delivery)?.reject(error)
  }

  /** The transaction of a posted message is over: its outcome holds, or there is none. §4.4.4 */
  settlePosting(delivery: OutgoingDelivery, committed: boolean): void {
    const state = delivery.remoteState
    // Committed and not answered: the answer is still owed.
    if (committed && delivery.context) return
    if (delivery.isQueued || this.closure || this.endpoint.hasEnded) return
    this.endpoint.settle(delivery, committed && state?.type === 'transactional-state' ? state.outcome : undefined)
  }

  // ---- transactions that the peer controls ---------------------------------------------------------------------

  /** The receiver has retired a delivery under a transaction, which this end must know. §4.4.2 */
  #retired(delivery: OutgoingDelivery): void {
    const { coordinator } = this.owner
    const refusal = coordinator ? coordinator.retire(this, delivery) : UNKNOWN_ID
    // A disposition cannot be refused, only the link that it came by.
    if (refusal) void handled(this.close({ error: refusal }))
  }

  /** The transaction is over that a delivery was retired under: with its outcome, or as if it had not been. §4.4.4.2 */
  concludeRetirement(delivery: OutgoingDelivery, outcome: OutcomeState | undefined): void {
    delivery.remoteState = outcome
    if (!outcome && !delivery.remoteSettled) return
    if (!this.closure && !this.endpoint.hasEnded && !delivery.aborted) this.endpoint.settle(delivery, outcome)
    this.#sends.end(delivery)?.resolve(this.#outcome(delivery) as never)
    this.owner.touch()
  }

  protected get isBusy(): boolean {
    return !this.#sends.isEmpty
  }

  /** Resolves when no send waits for its outcome. */
  whenSettled(): Promise<void> {
    return this.#sends.whenNone()
  }

  #outcome(delivery: OutgoingDelivery): Outcome {
    const { remoteState: state } = delivery
    const said = state?.type === 'transactional-state' ? state.outcome : state
    return outcomeOf(said) ?? outcomeOf(this.endpoint.remoteSource?.defaultOutcome) ?? UNSAID
  }

  /** The receiver's flow has changed the credit. */
  onFlow(): void {
    const { acquisition } = this.endpoint
    const refusal = acquisition && this.owner.coordinator?.acquire(this, acquisition)
    if (refusal) return void handled(this.close({ error: refusal }))
    if (this.hears('credit')) this.emit('credit', { linkCredit: this.linkCredit, drain: this.endpoint.credit.drain })
  }

  // ---- a link that is lost and attached again ------------------------------------------------------------------

  /** Encodes a message that is sent while there is no link, to be queued when there is. */
  #hold(message: MessageInit | StreamedInit | EncodedMessage, options: SendOptions): OutgoingDelivery {
    if (isStreamed(message) || options.transaction)
      throw new ClosedError(`${this.endpoint.label}, which is being attached again,`, 'link', this.loss)
    if (this.relays) checkAddressed(this.endpoint, message)
    const isEncoded = message instanceof EncodedMessage
    const bytes = isEncoded ? message.bytes : encodeMessage(message)
    checkSize(this.endpoint, bytes.length)
    if (this.#held.bytes >= this.endpoint.session.connection.limits.maxPendingBytes)
      throw new UsageError(`${this.#held.bytes} bytes wait on ${this.endpoint.label} already`)
    const messageFormat = options.messageFormat ?? (isEncoded ? message.messageFormat : undefined)
    const delivery = heldDelivery(this.endpoint, bytes, { ...this.#initOf(options, undefined), messageFormat })
    this.#held.add(delivery)
    return delivery
  }

  override get heldBytes(): number {
    return this.#held.bytes
  }

  takeUp(): void {
    const deliveries = (this.#earlier ?? []).map(state => restoredSend(this.endpoint, state))
    this.resumed = deliveries
      .filter(({ localState }) => !localState)
      .map(delivery => ({
        deliveryTag: delivery.deliveryTag,
        outcome: handled(this.#answer<Outcome>(delivery, false)),
      }))
    // Without any there is nothing to resume.
    if (deliveries.length > 0) this.endpoint.adopt(deliveries)
  }

  unsettled(): readonly UnsettledSend[] {
    return this.#left ?? unsettledSends([...this.endpoint.open, ...this.#held])
  }

  protected suspended(cause: AmqpError): void {
    const { endpoint } = this
    const { resumes } = this
    const resend = this.owner.recovery?.options.resend === true
    const held = this.#held.take()
    const compared: OutgoingDelivery[] = []
    endpoint.abandonQueue()
    for (const delivery of this.#sends.acceptedEarly)
      this.#sends.end(delivery)?.resolve(this.#outcome(delivery) as never)
    for (const delivery of endpoint.open) {
      const pending = delivery.context as PendingSend | undefined
      const isWhole = !delivery.localState && !pending?.transaction
      if (resumes && delivery.hasBegun) {
        compared.push(delivery)
        // Of one that was framed to its end the receiver is asked, also where the payload is not here any more.
        if (isWhole && (delivery.kept || delivery.sent === delivery.size) && !delivery.settled) continue
        // Nobody waits for it any more: the receiver is told to forget it.
        delivery.localState ??= RELEASED
        this.#end(delivery, lostSend(this.endpoint.label, cause))
        continue
      }
      if (isWhole && pending && delivery.kept && (resend || !delivery.hasBegun)) {
        this.#held.add(delivery)
        continue
      }
      this.#lose(delivery, cause)
    }
    for (const delivery of held) this.#held.add(delivery)
    this.#compared = compared
  }

  #lose(delivery: OutgoingDelivery, cause: AmqpError | undefined): void {
    this.endpoint.tags.free(delivery.tag)
    this.#end(delivery, lostSend(this.endpoint.label, cause))
  }

  #end(delivery: OutgoingDelivery, error: AmqpError): void {
    const pending = this.#sends.end(delivery)
    pending?.reject(pending.transaction ? pending.transaction.lose(delivery, error) : error)
  }

  protected renewed(): SenderEndpoint {
    const next = this.owner.endpoint.sender(this.name)
    next.tags = this.endpoint.tags
    next.keepsPayload = this.endpoint.keepsPayload
    if (this.resumes) next.adopt(this.#compared)
    return next
  }

  protected onReattached(): void {
    const { endpoint } = this
    this.#compared = []
    for (const delivery of endpoint.abandoned.splice(0)) this.#lose(delivery, this.loss)
    for (const delivery of this.#held.take()) if (!requeue(endpoint, delivery)) this.#lose(delivery, this.loss)
    if (endpoint.mustReattach) this.owner.flushed.add(this.#onFlush)
    this.owner.touch()
  }

  protected get isReattaching(): boolean {
    return this.endpoint.mustReattach
  }

  protected get comparedCount(): number {
    return this.#compared.length
  }

  /** What fitted into the maps is settled: the link is attached once more, for the rest. §2.6.13 */
  #nextMap(): void {
    const { endpoint } = this
    const isDone = endpoint.isAttached && endpoint.unsettledCount === 0 && endpoint.mayDetach
    if (!endpoint.mustReattach || !isDone || !this.mayReattach) return
    endpoint.detach()
    this.owner.touch()
  }

  /** The queue may have become shorter. */
  readonly #onFlush = (): void => {
    if (this.endpoint.mustReattach && this.mayReattach) return this.#nextMap()
    if (this.#waiters.length > 0 && this.pending * 2 >= this.#maxPending) return
    this.owner.flushed.delete(this.#onFlush)
    for (const waiter of this.#waiters.splice(0)) waiter.resolve()
  }

  /** Sends of an earlier link of this terminus are open on this one. §2.6.13 */
  takeOver(deliveries: Iterable<OutgoingDelivery>): void {
    this.#sends.takeOver(deliveries)
  }

  /** Nobody will learn what has become of a message. */
  lose(delivery: OutgoingDelivery, error: AmqpError): void {
    this.#sends.end(delivery)?.reject(error)
  }

  protected ended(): void {
    const error = this.closedError()
    for (const delivery of this.#sends.acceptedEarly)
      this.#sends.end(delivery)?.resolve(this.#outcome(delivery) as never)
    const open = [...this.endpoint.open, ...this.#held]
    this.#left = this.takesUp ? unsettledSends(open) : []
    for (const delivery of open) {
      if (this.terminus?.holds(delivery)) continue
      this.#end(delivery, delivery.hasBegun ? lostSend(this.endpoint.label, error.cause, this.closure?.by) : error)
    }
    this.owner.flushed.delete(this.#onFlush)
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error)
    // What lives on is nothing that a close of this link has to wait for.
    this.#sends.release()
  }
}
