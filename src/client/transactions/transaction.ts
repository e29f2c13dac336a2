/**
 * A transaction as its controller holds it: the work that was done under it, and its end. §4.3 §4.4
 *
 * The first end counts: an answer to the discharge, or the loss of the control link, which rolls back by definition
 * unless the discharge was on its way. Of what was acquired under it, a rollback leaves nothing here. §4.4.4.3
 */

import type { DeliveryState, Outcome, TransactionalState } from '../../definitions/delivery-state.ts'
import type { OutgoingDelivery } from '../../engine/outgoing-delivery.ts'
import { type AmqpError, ClosedError, TransactionCondition, TransactionError, UsageError } from '../../errors.ts'
import type { Closure, Session } from '../api.ts'
import type { Transaction } from '../api-transactions.ts'
import type { ClientDelivery } from '../delivery.ts'
import { inspectAs } from '../diagnostics/inspect.ts'
import { abortable, type Deferred, deferred, handled, throwIfAborted, within } from '../operation.ts'
import type { Abortable } from '../options.ts'
import type { ClientReceiver } from '../receiver.ts'
import type { ClientSender } from '../sender.ts'
import { OwnTransaction } from './own-transaction.ts'

/** What a transaction needs of its control link. */
export interface TransactionOwner {
  readonly session: Session
  /** Why it can reach its coordinator no more; `undefined` while it can. */
  readonly lost: Closure | undefined
  /** Whether work may be done on other sessions of the connection. §4.5.7 */
  readonly spansSessions: boolean
  /** Milliseconds that a close may take. */
  readonly closeMs: number
  /** Called whenever something was written. */
  readonly flushed: Set<() => void>
  touch(): void
  /** Asks the coordinator. §4.3 */
  discharge(
    txnId: Uint8Array,
    fail: boolean,
  ): { delivery: OutgoingDelivery; answer: Promise<DeliveryState | undefined> }
  /** The transaction is over. */
  forget(transaction: ClientTransaction): void
}

export class ClientTransaction extends OwnTransaction implements Transaction {
  static {
    inspectAs(ClientTransaction.prototype, 'Transaction', of => ({ id: of.id, state: of.state }))
  }

  readonly id: Uint8Array
  /** What messages are posted with: the same object each time, so that it is encoded once. §4.4.1 */
  readonly posting: TransactionalState
  readonly #owner: TransactionOwner
  #state: Transaction['state'] = 'live'
  #error: TransactionError | undefined
  /** Messages posted under it that are queued or not settled, and deliveries retired or acquired. */
  readonly #posted = new Set<OutgoingDelivery>()
  readonly #retired = new Set<ClientDelivery>()
  readonly #acquired = new Set<ClientDelivery>()
  readonly #acquiring = new Set<ClientReceiver>()
  /** Outcomes with the transaction around them, one for each, so that their dispositions are written as ranges. */
  readonly #states = new Map<Outcome, TransactionalState>()
  /** Why it must not commit: a message was lost with its link. */
  #spoilt: AmqpError | undefined
  #discharge: { readonly delivery: OutgoingDelivery; readonly fail: boolean } | undefined
  #framing: Deferred<void> | undefined
  readonly #over = deferred<void>()

  constructor(owner: TransactionOwner, id: Uint8Array) {
    super()
    this.#owner = owner
    this.id = id
    this.posting = Object.freeze({ type: 'transactional-state', txnId: id, outcome: undefined })
  }

  get state(): Transaction['state'] {
    return this.#state
  }

  get isLive(): boolean {
    return this.#state === 'live'
  }

  // ---- work ----------------------------------------------------------------------------------------------------

  /** @throws {UsageError} it is over, or not for this session  @throws {TransactionError} it was rolled back, or lost */
  check(session: Session): void {
    if (this.#error) throw this.#error
    if (this.#state !== 'live') throw new UsageError(`the transaction is ${this.#state}`, '4.3')
    const { session: own, spansSessions } = this.#owner
    if (session.connection !== own.connection) throw new UsageError('the transaction is another connection’s', '4.1')
    if (session !== own && !spansSessions)
      throw new UsageError('the coordinator allows work on the session of its control link only', '4.1')
  }

  post(delivery: OutgoingDelivery): void {
    this.#posted.add(delivery)
  }

  /** A posted message has its provisional outcome, or has been given up by whoever sent it. */
  answered(delivery: OutgoingDelivery): void {
    if (!delivery.isQueued && (delivery.settled || delivery.remoteSettled)) this.#posted.delete(delivery)
  }

  /** The link of a posted message has ended before its outcome was known. @returns what its send rejects with */
  lose(delivery: OutgoingDelivery, error: AmqpError): AmqpError {
    this.#posted.delete(delivery)
    const { lost } = this.#owner
    if (lost) this.lost(lost)
    if (this.#error) return this.#error
    this.#spoilt ??= error
    return error
  }

  /** The state that retires a delivery with an outcome. §4.4.2 */
  retirement(outcome: Outcome): TransactionalState {
    const known = this.#states.get(outcome)
    if (known) return known
    const state: TransactionalState = Object.freeze({ type: 'transactional-state', txnId: this.id, outcome })
    // Accepted and released are shared; the others are one delivery's own.
    if (outcome.type === 'accepted' || outcome.type === 'released') this.#states.set(outcome, state)
    return state
  }

  retire(delivery: ClientDelivery): void {
    this.#retired.add(delivery)
  }

  acquireOn(receiver: ClientReceiver): void {
    this.#acquiring.add(receiver)
  }

  acquired(delivery: ClientDelivery): void {
    this.#acquired.add(delivery)
  }

  // ---- its end -------------------------------------------------------------------------------------------------

  async commit(options: Abortable = {}): Promise<void> {
    throwIfAborted(options)
    this.check(this.#owner.session)
    await this.#end(false, options)
    if (this.#error) throw this.#error
  }

  async rollback(options: Abortable = {}): Promise<void> {
    throwIfAborted(options)
    if (this.#state === 'rolled-back') return
    this.check(this.#owner.session)
    await this.#end(true, options)
    if (this.#error?.fate === 'unknown') throw this.#error
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'live') handled(this.rollback())
    if (this.#state === 'discharging') await within(this.#over.promise, this.#owner.closeMs)
  }

  /** Waits until nothing of it is queued, then discharges. */
  async #end(fail: boolean, options: Abortable): Promise<void> {
    this.#state = 'discharging'
    if (fail) this.#withdraw()
    try {
      await this.#drained(options)
      await this.#framed(options)
    } catch (error) {
      if (this.#state === 'discharging') this.#state = 'live'
      throw error
    }
    if (this.#state !== 'discharging') return
    this.#send(fail || this.#spoilt !== undefined)
    const over = deferred<void>()
    this.#over.promise.then(over.resolve)
    await abortable(over, options.signal, () => {})
  }

  /** Takes back what is queued: nobody needs it any more. */
  #withdraw(): void {
    for (const delivery of this.#posted)
      if (delivery.isQueued) {
        const sender = senderOf(delivery)
        sender.withdraw(delivery, new TransactionError('the transaction was rolled back', 'rolled-back'))
      }
    this.#owner.touch()
  }

  /** Credit that is left would acquire outside of the transaction once that is over. §4.4.3 */
  async #drained({ signal }: Abortable): Promise<void> {
    await Promise.all(
      [...this.#acquiring].map(async receiver => {
        try {
          await receiver.drain({ signal })
        } catch (error) {
          if (!(error instanceof ClosedError)) throw error
        }
      }),
    )
  }

  /** A discharge behind half a message would end the control link. §4.4.1 */
  #framed({ signal }: Abortable): Promise<void> {
    const { flushed } = this.#owner
    const framing = deferred<void>()
    this.#framing = framing
    const onFlush = (): void => {
      for (const delivery of this.#posted) {
        if (delivery.isQueued && this.#state === 'discharging') return
        this.answered(delivery)
      }
      flushed.delete(onFlush)
      framing.resolve()
    }
    flushed.add(onFlush)
    onFlush()
    return abortable(framing, signal, () => flushed.delete(onFlush))
  }

  #send(fail: boolean): void {
    try {
      const { delivery, answer } = this.#owner.discharge(this.id, fail)
      this.#discharge = { delivery, fail }
      answer.then(
        state => this.#onAnswer(state, fail),
        error => this.#onLost(error, undefined),
      )
    } catch (error) {
      this.#onLost(error as AmqpError, undefined)
    }
  }

  #onAnswer(state: DeliveryState | undefined, fail: boolean): void {
    if (fail) {
      const why = this.#spoilt && `the transaction was rolled back: ${this.#spoilt.message}`
      return this.#conclude(
        'rolled-back',
        new TransactionError(why ?? 'the transaction was rolled back', 'rolled-back', { cause: this.#spoilt }),
      )
    }
    if (state?.type === 'accepted') return this.#conclude('committed', undefined)
    if (state?.type === 'rejected') {
      const condition = state.error?.condition ?? TransactionCondition.transactionRollback
      const text = `the transaction was rolled back by the coordinator: ${condition}`
      const { description } = state.error ?? {}
      const why = description ? `${text} (${description})` : text
      return this.#conclude('rolled-back', new TransactionError(why, 'rolled-back', { condition }))
    }
    const why = `the coordinator answered a discharge with ${state?.type ?? 'nothing'}`
    this.#conclude('unknown', new TransactionError(why, 'unknown'))
  }

  /** The control link, or what carries it, has ended. §4.1 */
  lost(closure: Closure): void {
    this.#onLost(closure.error, closure)
  }

  #onLost(cause: AmqpError | undefined, closure: Closure | undefined): void {
    const { delivery, fail } = this.#discharge ?? {}
    const inFlight = delivery !== undefined && delivery.deliveryId >= 0 && !fail
    // A control link that the coordinator ends with an error is its way to refuse the discharge. §4.4.2
    const refused = closure?.by === 'remote' && closure.error?.scope === 'link'
    const fate = inFlight && !refused ? 'unknown' : 'rolled-back'
    const what = fate === 'unknown' ? 'may have been committed or rolled back' : 'was rolled back'
    const why = cause ? `: ${cause.message}` : ', as its control link was closed'
    this.#conclude(
      fate,
      new TransactionError(`the transaction ${what}${why}`, fate, { condition: cause?.condition, cause }),
    )
  }

  #conclude(state: 'committed' | 'rolled-back' | 'unknown', error: TransactionError | undefined): void {
    if (this.#error || this.#state === 'committed') return
    this.#state = state
    this.#error = error
    this.#owner.forget(this)
    for (const delivery of this.#posted) {
      if (error) senderOf(delivery).withdraw(delivery, error)
      senderOf(delivery).settlePosting(delivery, state === 'committed')
    }
    for (const receiver of this.#acquiring) receiver.acquireUnder(undefined)
    for (const delivery of this.#retired) delivery.conclude(state === 'committed')
    if (state !== 'committed') for (const delivery of this.#acquired) delivery.forsake()
    for (const set of [this.#posted, this.#retired, this.#acquired, this.#acquiring]) set.clear()
    this.#owner.touch()
    this.#framing?.resolve()
    this.#over.resolve()
  }
}

const senderOf = (delivery: OutgoingDelivery): ClientSender => delivery.link.context as ClientSender
