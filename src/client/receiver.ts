/** Receiver: deliveries in order, to whoever asks next; credit comes back as they are taken. §2.6.7 */

import type { TransactionalState } from '../definitions/delivery-state.ts'
import { Fifo } from '../engine/fifo.ts'
import type { IncomingDelivery } from '../engine/incoming-delivery.ts'
import type { ReceiverEndpoint } from '../engine/receiver-endpoint.ts'
import { type AmqpError, UsageError } from '../errors.ts'
import { fields } from '../types/composite.ts'
import type { Closure, Delivery, Receiver } from './api.ts'
import { ClientDelivery } from './delivery.ts'
import { inspectAs } from './inspect.ts'
import { ClientLink, type LinkOwner } from './link.ts'
import { abortable, type Deferred, deferred, handled, throwIfAborted } from './operation.ts'
import type { Abortable, Transacted } from './options.ts'
import { UNKNOWN_ID } from './sender.ts'
import { type ClientTransaction, liveTransaction } from './transaction.ts'

export class ClientReceiver extends ClientLink<{ closed: Closure }> implements Receiver {
  static {
    inspectAs(ClientReceiver.prototype, 'Receiver', of => of.summary)
  }

  declare readonly endpoint: ReceiverEndpoint
  readonly #buffer = new Fifo<ClientDelivery>()
  readonly #takers = new Fifo<Deferred<Delivery | undefined>>()
  #drains: Deferred<void>[] = []
  #acquiring: ClientTransaction | undefined
  #hasAcquired = false
  /** Settlements that wait for the sender, in mode second. */
  readonly settling: Set<Deferred<void>> = new Set()

  constructor(owner: LinkOwner, endpoint: ReceiverEndpoint) {
    super(owner, endpoint)
  }

  /** Whether the link has ended, so that nothing on it can be settled. */
  get hasEnded(): boolean {
    return this.closure !== undefined || this.endpoint.hasEnded
  }

  get cause(): AmqpError | undefined {
    return this.closure?.error
  }

  protected get isBusy(): boolean {
    return false
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
    const delivery = this.#take() ?? (await this.#wait(options.signal))
    if (!delivery) throw this.closedError()
    return delivery
  }

  /** The next delivery that is here already. */
  #take(): ClientDelivery | undefined {
    for (let delivery = this.#buffer.shift(); delivery; delivery = this.#buffer.shift()) {
      this.#consumed()
      if (delivery.state !== 'lost') return delivery
    }
    return undefined
  }

  #consumed(): void {
    this.endpoint.consumed()
    if (this.endpoint.flowDue) this.owner.touch()
  }

  /** Waits for the next delivery; `undefined` when the link ends first. */
  #wait(signal: AbortSignal | undefined): Promise<Delivery | undefined> {
    if (this.closure) return Promise.resolve(undefined)
    const taker = deferred<Delivery | undefined>()
    this.#takers.push(taker)
    return abortable(taker, signal, () => this.#takers.remove(taker))
  }

  /** A complete delivery has come. */
  onDelivery(incoming: IncomingDelivery): void {
    const delivery = new ClientDelivery(this, incoming)
    const state = incoming.remoteState
    if (state?.type === 'transactional-state' && !this.#isUnderTransaction(delivery, state)) return this.#consumed()
    const taker = this.#takers.shift()
    if (!taker) {
      this.#buffer.push(delivery)
      return
    }
    this.#consumed()
    taker.resolve(delivery)
  }

  addCredit(count: number, options: Transacted = {}): void {
    if (this.isOver) throw this.closedError()
    const transaction = options.transaction && liveTransaction(options.transaction, this.session)
    if (transaction && this.#acquiring && this.#acquiring !== transaction)
      throw new UsageError(`${this.endpoint.label} acquires under another transaction`, '4.4.3')
    this.endpoint.flow(count)
    if (transaction) this.acquireUnder(transaction)
    this.owner.touch()
  }

  /** What the sender is asked to acquire under; said with every flow until it is over. §4.4.3 */
  acquireUnder(transaction: ClientTransaction | undefined): void {
    this.#acquiring = transaction
    this.endpoint.flowProperties = transaction && fields({ 'txn-id': transaction.id })
    if (!transaction) return
    this.#hasAcquired = true
    transaction.acquireOn(this)
  }

  /** Whether a delivery that says it is under a transaction may be handed out. */
  #isUnderTransaction(delivery: ClientDelivery, state: TransactionalState): boolean {
    const acquiring = this.#acquiring
    if (acquiring && sameBytes(acquiring.id, state.txnId)) {
      delivery.acquired = acquiring
      acquiring.acquired(delivery)
      return true
    }
    // Acquired while the discharge was on its way: it is here all the same.
    if (this.#hasAcquired) return true
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
    const drained = deferred<void>()
    this.#drains.push(drained)
    this.endpoint.drain()
    this.owner.touch()
    await abortable(drained, options.signal, () => {
      this.#drains = this.#drains.filter(have => have !== drained)
    })
  }

  onDrained(): void {
    for (const drained of this.#drains.splice(0)) drained.resolve()
  }

  /** The sender has settled a delivery that we had decided on. */
  onSettled(incoming: IncomingDelivery): void {
    const settling = incoming.context as Deferred<void> | undefined
    if (!settling) return
    this.settling.delete(settling)
    settling.resolve()
  }

  protected ended(closure: Closure): void {
    for (const taker of this.#takers.drain()) taker.resolve(undefined)
    const error = this.closedError()
    for (const waiting of [...this.#drains.splice(0), ...this.settling]) waiting.reject(error)
    this.settling.clear()
    void closure
  }

  [Symbol.asyncIterator](): AsyncIterator<Delivery, undefined> {
    let left = false
    return {
      next: () => {
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

export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i])
