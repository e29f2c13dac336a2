/** Receiver: deliveries in order, to whoever asks next; credit comes back as they are taken. §2.6.7 */

import type { TransactionalState } from '../definitions/delivery-state.ts'
import { Fifo } from '../engine/fifo.ts'
import type { IncomingDelivery } from '../engine/incoming-delivery.ts'
import type { IncomingStream } from '../engine/incoming-stream.ts'
import type { ReceiverEndpoint } from '../engine/receiver-endpoint.ts'
import { type AmqpError, UsageError } from '../errors.ts'
import { fields } from '../types/composite.ts'
import type { Delivery, ProcessOptions, Receiver } from './api.ts'
import type { LinkEvents } from './api-events.ts'
import { ClientDelivery } from './delivery.ts'
import { inspectAs } from './diagnostics/inspect.ts'
import { Drains } from './drains.ts'
import { ClientLink, type LinkOwner } from './link.ts'
import { abortable, type Deferred, deferred, handled, throwIfAborted } from './operation.ts'
import type { Abortable, Transacted } from './options.ts'
import { type Handler, type ProcessSource, processDeliveries } from './process.ts'
import { restoredDelivery, type UnsettledDelivery, unsettledDeliveries } from './recovery/unsettled.ts'
import { UNKNOWN_ID } from './sender.ts'
import { Settlings } from './settlings.ts'
import type { IncomingBody } from './streaming/incoming-body.ts'
import { streamed } from './streaming/streamed-delivery.ts'
import { Acquiring } from './transactions/acquiring.ts'
import { liveTransaction } from './transactions/own-transaction.ts'
import type { ClientTransaction } from './transactions/transaction.ts'

/** How long a sender has for an echo before it is asked for a drain, which some answer alone and some die of. D-042 */
const DRAIN_AFTER_MS = 250

/** Why a `get` stops waiting. */
const NOTHING: unknown = /* @__PURE__ */ Symbol('nothing')

export class ClientReceiver extends ClientLink<LinkEvents> implements Receiver {
  static {
    inspectAs(ClientReceiver.prototype, 'Receiver', of => of.summary)
  }

  declare endpoint: ReceiverEndpoint
  readonly #buffer = new Fifo<ClientDelivery>()
  readonly #takers = new Fifo<Deferred<ClientDelivery | undefined>>()
  /** The delivery whose last transfer has not come, where they are handed out before. */
  #incomplete: IncomingBody | undefined
  /** One `get` at a time: each has its own drain. */
  #getting: Promise<unknown> | undefined
  /** While `process` runs: credit comes back when a delivery is settled, not when it is taken. */
  #onProcessEnd: (() => void) | undefined
  readonly #drains = new Drains()
  /** Credit by hand that was out when the link was lost, and is granted again when it is back. */
  #owed = 0
  readonly #acquiring = new Acquiring()
  /** Settlements that wait for the sender, in mode second. */
  readonly settlings: Settlings = new Settlings()
  /** Of an earlier link, whole and not decided. */
  readonly #toHandOut: ClientDelivery[] = []
  /** What was left when it ended. */
  #left: readonly UnsettledDelivery[] | undefined
  readonly #earlier: readonly UnsettledDelivery[] | undefined

  /** @param earlier  what a link of its name has left */
  constructor(owner: LinkOwner, endpoint: ReceiverEndpoint, earlier: readonly UnsettledDelivery[] | undefined) {
    super(owner, endpoint, earlier !== undefined)
    this.#earlier = earlier
  }

  /** Whether nothing can be decided any more on a delivery: its link has ended, or is another now. §2.6.13 */
  isLost({ link, stream }: IncomingDelivery): boolean {
    if (this.closure) return true
    if (this.isHere(link)) return false
    return !(this.resumes && !stream && (this.isDown || !this.endpoint.hasEnded))
  }

  /** Whether what came on an endpoint can be decided there. */
  isHere(link: ReceiverEndpoint): boolean {
    return link === this.endpoint && !this.isDown && !link.hasEnded
  }

  takeUp(): void {
    const deliveries = (this.#earlier ?? []).map(state => restoredDelivery(this.endpoint, state))
    for (const delivery of deliveries)
      if (delivery.handedOver && !delivery.decision) this.#toHandOut.push(new ClientDelivery(this, delivery))
    if (deliveries.length > 0) this.endpoint.adopt(deliveries)
  }

  unsettled(): readonly UnsettledDelivery[] {
    return this.#left ?? unsettledDeliveries(this.endpoint.open)
  }

  get cause(): AmqpError | undefined {
    return this.closure ? this.closure.error : this.loss
  }

  protected get isBusy(): boolean {
    const { linkCredit, revoked } = this.endpoint.credit
    return this.endpoint.isAttached && (this.#buffer.length > 0 || linkCredit + revoked > 0)
  }

  /** Takes credit back, and releases what nobody has taken, what is under way included. §2.6.10 */
  protected override beforeClose(): Promise<void> {
    this.releaseBuffered()
    return this.#stopped(undefined)
  }

  /** Gives back what nobody has taken. */
  releaseBuffered(): void {
    for (const delivery of this.#buffer.drain()) this.#leave(delivery)
  }

  #leave(delivery: ClientDelivery): void {
    delivery.leave()
    if (!delivery.isDecided) void delivery.release()
    this.#consumed()
  }

  /** Receivers wait for nobody: what they have not settled, they leave. */
  whenSettled(): Promise<void> {
    return Promise.resolve()
  }

  touch(): void {
    this.owner.touch()
  }

  async receive(options: Abortable = {}): Promise<Delivery> {
    throwIfAborted(options)
    this.#checkFree()
    const delivery = this.#take() ?? (await this.#wait(options.signal))
    if (!delivery) throw this.closedError()
    return delivery
  }

  /** The next delivery that is here already. */
  #take(): ClientDelivery | undefined {
    for (let delivery = this.#buffer.shift(); delivery; delivery = this.#buffer.shift()) {
      delivery.leave()
      const gone = isGone(delivery)
      if (gone || !this.#onProcessEnd) this.#consumed()
      if (!gone) return delivery
    }
    return undefined
  }

  /** @throws {UsageError} while `process` takes what comes */
  #checkFree(): void {
    if (this.#onProcessEnd) throw new UsageError(`deliveries of ${this.endpoint.label} go to \`process\``)
  }

  #consumed(): void {
    this.endpoint.consumed()
    if (this.endpoint.flowDue) this.owner.touch()
  }

  /** Waits for the next delivery; `undefined` when the link ends first. */
  #wait(signal: AbortSignal | undefined): Promise<ClientDelivery | undefined> {
    if (this.closure) return Promise.resolve(undefined)
    const taker = deferred<ClientDelivery | undefined>()
    this.#takers.push(taker)
    return abortable(taker, signal, () => this.#takers.remove(taker))
  }

  /** A complete delivery has come, or, where they are streamed, the beginning of one. */
  onDelivery(incoming: IncomingDelivery): void {
    if (incoming.stream) return this.#onBegun(incoming, incoming.stream)
    const delivery = new ClientDelivery(this, incoming)
    const state = incoming.remoteState
    if (state?.type === 'transactional-state' && !this.#isUnderTransaction(delivery, state)) return this.#consumed()
    this.#handOut(delivery)
  }

  #onBegun(incoming: IncomingDelivery, stream: IncomingStream): void {
    const body = streamed(this, incoming, stream, {
      ended: () => {
        if (this.#incomplete === body) this.#incomplete = undefined
      },
      handOut: delivery => this.#handOut(delivery),
      drop: () => this.#consumed(),
    })
    this.#incomplete = body
    this.onContinued(stream)
  }

  /** More of a delivery has come, or its end. */
  onContinued(stream: IncomingStream): void {
    ;(stream.context as (() => void) | undefined)?.()
  }

  #handOut(delivery: ClientDelivery): void {
    if (this.isClosing) return this.#leave(delivery)
    const taker = this.#takers.shift()
    if (!taker) {
      if (delivery.wait()) this.#buffer.push(delivery)
      return
    }
    if (!this.#onProcessEnd) this.#consumed()
    taker.resolve(delivery)
  }

  addCredit(count: number, options: Transacted = {}): void {
    if (this.isOver) throw this.closedError()
    this.#checkFree()
    const transaction = options.transaction && liveTransaction(options.transaction, this.session)
    this.#acquiring.check(transaction, this.endpoint.label)
    if (this.isDown) this.#owe(count)
    else this.endpoint.flow(count)
    if (transaction) this.acquireUnder(transaction)
    this.owner.touch()
  }

  /** What the sender is asked to acquire under; said with every flow until it is over. §4.4.3 */
  acquireUnder(transaction: ClientTransaction | undefined): void {
    this.#acquiring.under(transaction)
    this.endpoint.flowProperties = transaction && fields({ 'txn-id': transaction.id })
    transaction?.acquireOn(this)
  }

  /** Whether a delivery that says it is under a transaction may be handed out. */
  #isUnderTransaction(delivery: ClientDelivery, state: TransactionalState): boolean {
    if (this.#acquiring.takes(delivery, state.txnId)) return true
    const { coordinator } = this.owner
    const refusal = coordinator ? coordinator.post(delivery, state) : UNKNOWN_ID
    if (!refusal) return true
    if (delivery.settled) void handled(this.close({ error: refusal }))
    else void delivery.reject(refusal)
    return false
  }

  async drain(options: Abortable = {}): Promise<void> {
    throwIfAborted(options)
    if (this.isOver) throw this.closedError()
    this.#checkFree()
    await this.#whenDrained(() => this.endpoint.drain(), options.signal)
  }

  /** Resolves when the sender has no credit left, and what it has sent is here. */
  #whenDrained(ask: () => void, signal: AbortSignal | undefined): Promise<void> {
    const drained = this.#drains.wait(ask, signal)
    if (!this.isDown) ask()
    this.owner.touch()
    return drained
  }

  async get(options: Abortable = {}): Promise<Delivery | undefined> {
    throwIfAborted(options)
    this.#checkFree()
    const before = this.#getting
    const got = Promise.resolve(before).then(() => this.#getOne(options))
    this.#getting = got.catch(() => {})
    return got
  }

  async #getOne(options: Abortable): Promise<Delivery | undefined> {
    throwIfAborted(options)
    const here = this.#take()
    if (here) return here
    if (this.closure) throw this.closedError()
    const none = new AbortController()
    const signal = options.signal ? AbortSignal.any([options.signal, none.signal]) : none.signal
    const taken = this.#wait(signal)
    // A delivery that has come is heard of before the end of the drain.
    const drained = this.#whenDrained(() => {
      const { credit } = this.endpoint
      if (credit.window === undefined && credit.linkCredit === 0) this.endpoint.flow(1)
      this.endpoint.drain()
    }, options.signal)
    drained.then(
      () => none.abort(NOTHING),
      () => {},
    )
    try {
      const delivery = await taken
      if (delivery) return delivery
    } catch (error) {
      if (error === NOTHING) return undefined
      throw error
    }
    throw this.closedError()
  }

  async stop(options: Abortable = {}): Promise<void> {
    throwIfAborted(options)
    if (this.closure) throw this.closedError()
    await this.#stopped(options.signal)
  }

  /** Takes all credit back, and waits for the sender to confirm it, also by a drain if it must be. §2.6.10 */
  async #stopped(signal: AbortSignal | undefined): Promise<void> {
    const timer = setTimeout(() => {
      const { endpoint } = this
      if (!endpoint.isAttached || !endpoint.credit.isStopping || endpoint.credit.linkCredit > 0) return
      endpoint.stop(true)
      this.touch()
    }, DRAIN_AFTER_MS)
    try {
      await this.#whenDrained(() => this.endpoint.stop(), signal)
    } finally {
      clearTimeout(timer)
    }
  }

  async process(handler: Handler, options: ProcessOptions = {}): Promise<void> {
    if (this.closure) throw this.closedError()
    this.#checkFree()
    await processDeliveries(this.#processSource(), handler, options)
  }

  #processSource(): ProcessSource {
    const receiver = this
    return {
      begin(concurrency) {
        receiver.#checkFree()
        receiver.#onProcessEnd = () => {}
        receiver.endpoint.resize(concurrency)
        receiver.touch()
      },
      end() {
        receiver.#onProcessEnd = undefined
        if (!receiver.endpoint.isAttached) return receiver.endpoint.credit.resize(undefined)
        receiver.endpoint.stop()
        receiver.touch()
      },
      next: async signal => receiver.#take() ?? receiver.#wait(signal),
      done: () => receiver.#consumed(),
      onEnd(listener) {
        receiver.#onProcessEnd = listener
      },
      get failure() {
        return receiver.#isSurprise ? receiver.closedError() : undefined
      },
    }
  }

  onDrained(): void {
    this.#drains.end()
  }

  /** The sender has settled a delivery that we had decided on. */
  onSettled(incoming: IncomingDelivery): void {
    this.settlings.end(incoming)
  }

  protected ended(): void {
    const error = this.closedError()
    this.#left = this.takesUp ? unsettledDeliveries(this.endpoint.open) : []
    this.#incomplete?.fail(error)
    this.#incomplete = undefined
    this.#onProcessEnd?.()
    // What is not settled the sender has again. The rest can still be taken.
    for (const delivery of this.#buffer.drain()) {
      if (isGone(delivery)) delivery.leave()
      else {
        delivery.outlive()
        this.#buffer.push(delivery)
      }
    }
    for (const taker of this.#takers.drain()) taker.resolve(undefined)
    this.#drains.fail(error)
    this.settlings.fail(error)
  }

  // ---- a link that is lost and attached again ------------------------------------------------------------------

  protected suspended(cause: AmqpError): void {
    this.#incomplete?.fail(cause)
    this.#incomplete = undefined
    // What is left would be acquired outside of the transaction.
    if (this.#acquiring.isUnderWay) this.endpoint.credit.linkCredit = 0
    if (!this.resumes) this.settlings.fail(cause)
    for (const delivery of this.#buffer.drain()) {
      // The peer sends again what was not settled, to whoever asks.
      if (delivery.state !== 'lost' && delivery.state !== 'aborted') this.#buffer.push(delivery)
      else {
        delivery.leave()
        this.#owed++
      }
    }
  }

  /** Grants credit by hand, when the link is back. */
  #owe(count: number): void {
    if (this.endpoint.credit.window !== undefined || !Number.isInteger(count) || count < 1 || count > 0x7fffffff)
      return this.endpoint.flow(count)
    this.#owed = Math.min(this.#owed + count, 0x7fffffff)
  }

  protected renewed(): ReceiverEndpoint {
    const { endpoint } = this
    const next = this.owner.endpoint.receiver(this.name)
    next.isStreaming = endpoint.isStreaming
    next.useWindow(endpoint.credit.window)
    if (this.resumes) next.adopt(endpoint.open)
    // Of a delivery that had come in part the credit is free again.
    else this.#owed += endpoint.open.filter(({ handedOver }) => !handedOver).length
    this.#owed += endpoint.credit.linkCredit
    return next
  }

  protected onReattached(): void {
    for (const delivery of this.#toHandOut.splice(0)) this.#handOut(delivery)
    const { endpoint } = this
    const { credit, adopted } = endpoint
    if (credit.window === undefined) {
      // What is resumed takes credit, too.
      const count = this.#owed + adopted.length
      if (count > 0) endpoint.flow(Math.min(count, 0x7fffffff))
    } else credit.refill()
    this.#owed = 0
    this.#drains.askAgain()
    this.owner.touch()
  }

  protected get isReattaching(): boolean {
    return this.resumes && this.endpoint.mapsIncomplete
  }

  protected get comparedCount(): number {
    return this.endpoint.open.length
  }

  [Symbol.asyncIterator](): AsyncIterator<Delivery, undefined> {
    let left = false
    return {
      next: () => {
        if (this.#onProcessEnd) return this.receive().then(value => ({ done: false, value }))
        const delivery = left ? undefined : this.#take()
        if (delivery) return Promise.resolve({ done: false, value: delivery })
        return left ? Promise.resolve({ done: true, value: undefined }) : this.#waitForNext()
      },
      return: () => {
        left = true
        return Promise.resolve({ done: true, value: undefined })
      },
    }
  }

  /** Whether a loop over deliveries that just ended would look as if everything had been received. */
  get #isSurprise(): boolean {
    if (this.closure?.error) return true
    return this.closure?.by !== 'local' && this.endpoint.initiated === 'local'
  }

  async #waitForNext(): Promise<IteratorResult<Delivery, undefined>> {
    const value = await this.#wait(undefined)
    if (value) return { done: false, value }
    if (this.#isSurprise) throw this.closedError()
    return { done: true, value: undefined }
  }
}

/** Whether nobody can have it any more. */
const isGone = ({ state }: ClientDelivery): boolean => state === 'lost' || state === 'aborted'
