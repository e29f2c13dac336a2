/**
 * The coordinator: keeps the books of the transactions that the peer controls on one connection. §4.2–4.5
 *
 * Work comes as it does without transactions; receivers and senders ask here what to make of a txn-id. What the
 * controller may not do ends its control link, and so every transaction that it declared there.
 */

import type { DeliveryState, TransactionalState } from '../../definitions/delivery-state.ts'
import type { Discharge } from '../../definitions/transactions.ts'
import { coordinationField, TransactionCapability } from '../../definitions/transactions.ts'
import type { Acquisition } from '../../engine/acquisition.ts'
import { isOutcome } from '../../engine/outcomes.ts'
import type { OutgoingDelivery } from '../../engine/outgoing-delivery.ts'
import { AmqpCondition, ClosedError, DecodeError, TransactionCondition, UsageError } from '../../errors.ts'
import { encodeValue } from '../../types/any-writer.ts'
import { Reader } from '../../types/reader.ts'
import type { AmqpValue } from '../../types/values.ts'
import type { Connection, IncomingLink, Receiver, Session } from '../api.ts'
import type { ClientDelivery } from '../delivery.ts'
import { raise } from '../emitter.ts'
import { handled } from '../operation.ts'
import type { CoordinatorOptions, ErrorInit } from '../options.ts'
import { type ClientSender, UNKNOWN_ID } from '../sender.ts'
import { errorFields } from '../termini.ts'
import { ResourceTransaction } from './coordinated-transaction.ts'

const CAPABILITIES: readonly string[] = [
  TransactionCapability.localTransactions,
  TransactionCapability.multiTxnsPerSsn,
  TransactionCapability.multiSsnsPerTxn,
]

const DEFAULT_IDLE_MS = 60_000
const DEFAULT_MAX = 100
/** Requests of one control link that may be on their way. */
const WINDOW = 100

/** What a coordinator needs of its connection. */
interface CoordinatorOwner {
  readonly api: Connection
  readonly flushed: Set<() => void>
  readonly engine: {
    readonly connection: {
      readonly partialPostings: ReadonlySet<{ remoteState: DeliveryState | undefined }>
      acquires: boolean
      readonly limits: { readonly maxIncompleteBytes: number }
    }
  }
}

/** What a coordinator needs of the sessions that work is done on. */
type WorkSession = Session & { readonly endpoint: { readonly isDue: boolean } }

/** A control link, and whether its source knows the outcome `rejected`. §4.2 */
interface Control {
  readonly receiver: Receiver
  readonly rejects: boolean
}

export class Coordinator {
  readonly #owner: CoordinatorOwner
  readonly #options: CoordinatorOptions
  readonly #failed: (error: Error) => void
  readonly #idleMs: number
  readonly #max: number
  readonly #controls = new Map<Receiver, Control>()
  /** By txn-id. One that was rolled back on its own account stays until it is discharged, to be told why. */
  readonly #transactions = new Map<string, ResourceTransaction>()
  readonly #retired = new WeakMap<OutgoingDelivery, ResourceTransaction>()
  readonly #acquired = new WeakMap<Acquisition, ResourceTransaction>()
  #declaring = 0
  /** Those that are not known by their ids any more, and are not over: they are being committed. */
  #ending = 0
  /** Bytes of what is posted under transactions that are kept. */
  #bytes = 0

  /** @param failed  hears what the application's part has thrown that is no refusal */
  constructor(owner: CoordinatorOwner, options: CoordinatorOptions, failed: (error: Error) => void) {
    this.#owner = owner
    this.#options = options
    this.#failed = failed
    this.#idleMs = options.idleMs ?? DEFAULT_IDLE_MS
    this.#max = options.maxTransactions ?? DEFAULT_MAX
  }

  /** Accepts a control link and answers what comes by it, until it ends. §4.2 */
  serve(link: IncomingLink): void {
    void handled(this.#serve(link))
  }

  async #serve(link: IncomingLink): Promise<void> {
    if (link.remoteRole === 'receiver')
      return link.refuse({ condition: AmqpCondition.notAllowed, description: 'a coordinator is written to' })
    // Not before there may be a transaction: nothing can be acquired under none.
    this.#owner.engine.connection.acquires = true
    const { distributed } = this.#options
    const capabilities = distributed ? [...CAPABILITIES, TransactionCapability.distributedTransactions] : CAPABILITIES
    const target = { coordinator: true, capabilities }
    const receiver = await link.accept({ credit: { window: WINDOW }, reply: { target } })
    const outcomes = link.source?.outcomes ?? []
    const control: Control = { receiver, rejects: outcomes.length === 0 || outcomes.includes('amqp:rejected:list') }
    this.#controls.set(receiver, control)
    receiver.closed.then(() => this.#onClosed(receiver))
    for await (const delivery of receiver) void handled(this.#answer(control, delivery as ClientDelivery))
  }

  /** What its controller has not discharged is rolled back. §4.1 */
  #onClosed(control: Receiver): void {
    this.#controls.delete(control)
    for (const transaction of this.#transactions.values()) {
      if (transaction.control !== control) continue
      this.#forget(transaction)
      // The application is making it hold: it will, and the controller is not told.
      if (transaction.stage !== 'committing') this.#rollBack(transaction, TransactionCondition.transactionRollback)
    }
  }

  // ---- declare and discharge -----------------------------------------------------------------------------------

  async #answer(control: Control, delivery: ClientDelivery): Promise<void> {
    if (delivery.settled) return this.#terminate(control.receiver, 'a request to the coordinator was sent settled')
    try {
      const request = requestIn(delivery)
      const state: DeliveryState | undefined =
        request.type === 'declare'
          ? { type: 'declared', txnId: await this.#declare(control, request.globalId) }
          : await this.#discharge(control, request)
      if (state) delivery.tell(state)
    } catch (error) {
      const fields =
        error instanceof Refusal ? error.error : { condition: conditionOf(error) ?? AmqpCondition.internalError }
      if (control.rejects) delivery.tell({ type: 'rejected', error: errorFields(fields) as never })
      else this.#terminate(control.receiver, fields.description ?? '', fields.condition)
    }
  }

  async #declare({ receiver }: Control, globalId: AmqpValue | undefined): Promise<Uint8Array> {
    if (globalId !== undefined && !this.#options.distributed)
      throw new Refusal(AmqpCondition.notImplemented, 'only local transactions: no global-id')
    if (this.#transactions.size + this.#declaring + this.#ending >= this.#max)
      throw new Refusal(AmqpCondition.resourceLimitExceeded, `${this.#max} transactions are open`)
    const { api } = this.#owner
    const expire = (): void => this.#onExpired(transaction)
    const transaction: ResourceTransaction = new ResourceTransaction(api, receiver, globalId, this.#idleMs, expire)
    const { id } = transaction
    this.#declaring++
    try {
      await this.#options.declare?.(transaction)
    } catch (error) {
      transaction.rollBack(TransactionCondition.transactionRollback)
      throw this.#refusalBy(error, AmqpCondition.internalError, 'the declare', receiver)
    } finally {
      this.#declaring--
    }
    if (this.#controls.has(receiver)) this.#transactions.set(keyOf(id), transaction)
    else this.#rollBack(transaction, TransactionCondition.transactionRollback)
    return id
  }

  async #discharge({ receiver }: Control, { txnId, fail }: Discharge): Promise<DeliveryState | undefined> {
    const transaction = this.#transactions.get(keyOf(txnId))
    if (!transaction || transaction.control !== receiver)
      throw new Refusal(UNKNOWN_ID.condition, UNKNOWN_ID.description)
    const { stage } = transaction
    if (stage !== 'live' && stage !== 'rolled-back') throw new Refusal(UNKNOWN_ID.condition, 'it is being discharged')
    if (this.#isPartial(txnId)) {
      this.#terminate(
        receiver,
        'discharge of a transaction with half a message',
        TransactionCondition.transactionRollback,
      )
      return undefined
    }
    const { acquisitions } = transaction
    acquisitions.stop()
    try {
      if (fail || stage === 'rolled-back') {
        this.#forget(transaction)
        if (stage === 'live') this.#rollBack(transaction, TransactionCondition.transactionRollback)
        if (fail) return { type: 'accepted' }
      } else await this.#commit(transaction)
    } finally {
      // Half of a message that is aborted goes before the answer. §4.4.3
      if (transaction.stage !== 'committed') await this.#written(receiver, () => acquisitions.arePartial)
    }
    if (transaction.stage === 'committed') return { type: 'accepted' }
    throw new Refusal(transaction.condition, 'the transaction was rolled back')
  }

  async #commit(transaction: ResourceTransaction): Promise<void> {
    transaction.stage = 'deciding'
    await transaction.decided()
    this.#forget(transaction)
    if (isOver(transaction)) return
    if (transaction.isSpoilt) return this.#rollBack(transaction, TransactionCondition.transactionRollback)
    transaction.stage = 'committing'
    try {
      await this.#options.commit?.(transaction)
    } catch (error) {
      this.#rollBack(transaction, TransactionCondition.transactionRollback)
      throw this.#refusalBy(error, TransactionCondition.transactionRollback, 'the commit', transaction.control)
    }
    transaction.commit()
    await this.#told(transaction)
  }

  /**
   * What the application's part has thrown, as the peer hears it: a condition, and nothing else of it. One that has none
   * was not thrown to refuse, and somebody here has to know; but not that the peer has gone meanwhile.
   */
  #refusalBy(error: unknown, otherwise: string, what: string, control: Receiver): Refusal {
    const condition = conditionOf(error)
    if (condition !== undefined) return new Refusal(condition, `${what} was refused`)
    if (!(error instanceof ClosedError && !this.#controls.has(control)))
      this.#failed(error instanceof Error ? error : new Error(String(error)))
    return new Refusal(otherwise, `${what} failed`)
  }

  /** The outcomes go before the answer to the discharge, also those that other sessions carry. §4.4.4 */
  #told({ posted, control }: ResourceTransaction): Promise<void> {
    const sessions = new Set(posted.map(({ receiver }) => receiver.session as WorkSession))
    sessions.delete(control.session as WorkSession)
    return this.#written(control, () => [...sessions].some(({ endpoint }) => endpoint.isDue))
  }

  /** Resolves when nothing is to be written any more that an answer has to wait for, or its link has ended. */
  #written(control: Receiver, isDue: () => boolean): Promise<void> {
    const { flushed } = this.#owner
    return new Promise(resolve => {
      const onFlush = (): void => {
        if (isDue() && this.#controls.has(control)) return
        flushed.delete(onFlush)
        resolve()
      }
      flushed.add(onFlush)
      control.closed.then(onFlush)
      onFlush()
    })
  }

  /** Whether half a message has been posted under it. §4.4.1 */
  #isPartial(txnId: Uint8Array): boolean {
    for (const { remoteState } of this.#owner.engine.connection.partialPostings)
      if (remoteState?.type === 'transactional-state' && keyOf(remoteState.txnId) === keyOf(txnId)) return true
    return false
  }

  #rollBack(transaction: ResourceTransaction, condition: string): void {
    if (isOver(transaction)) return
    transaction.rollBack(condition)
    const { rollback } = this.#options
    if (rollback) Promise.resolve(transaction).then(rollback).catch(raise)
  }

  #onExpired(transaction: ResourceTransaction): void {
    if (transaction.stage !== 'committing') this.#rollBack(transaction, TransactionCondition.transactionTimeout)
  }

  /** Its id is unknown from now on. It takes up its place until it is over, however long the application takes. */
  #forget(transaction: ResourceTransaction): void {
    if (!this.#transactions.delete(keyOf(transaction.id))) return
    this.#ending++
    transaction.discharged.then(() => {
      this.#ending--
      this.#bytes -= transaction.postedBytes
    })
  }

  /** The controller broke a rule: the link that it controls transactions by ends, and they with it. §4.1 */
  #terminate(control: Receiver, description: string, condition: string = AmqpCondition.notAllowed): void {
    void handled(control.close({ error: { condition, description } }))
    this.#onClosed(control)
  }

  // ---- work ----------------------------------------------------------------------------------------------------

  /** The transaction of a txn-id, or why no work is done under it. §4.5.8 */
  #live(txnId: Uint8Array): ResourceTransaction | ErrorInit {
    const transaction = this.#transactions.get(keyOf(txnId))
    if (transaction?.stage === 'live') return transaction
    if (transaction?.stage !== 'rolled-back') return UNKNOWN_ID
    return { condition: transaction.condition, description: 'the transaction was rolled back' }
  }

  /** A delivery has come that is posted under a transaction. @returns why it is refused §4.4.1 */
  post(delivery: ClientDelivery, { txnId }: TransactionalState): ErrorInit | undefined {
    if (this.#controls.has(delivery.receiver))
      return { condition: AmqpCondition.notAllowed, description: 'no transactional work on a control link' }
    const transaction = this.#live(txnId)
    if (!(transaction instanceof ResourceTransaction)) return transaction
    const bytes = delivery.keepAlone()
    const { maxIncompleteBytes } = this.#owner.engine.connection.limits
    if (this.#bytes + bytes > maxIncompleteBytes) {
      if (delivery.settled) transaction.isSpoilt = true
      const description = `messages posted under open transactions hold more than ${maxIncompleteBytes} bytes`
      return { condition: AmqpCondition.resourceLimitExceeded, description }
    }
    this.#bytes += bytes
    transaction.post(delivery, bytes)
    return undefined
  }

  /** A delivery of ours has been retired under a transaction. @returns why that is refused §4.4.2 */
  retire(sender: ClientSender, delivery: OutgoingDelivery): ErrorInit | undefined {
    const state = delivery.remoteState as TransactionalState
    const transaction = this.#live(state.txnId)
    if (!(transaction instanceof ResourceTransaction)) return transaction
    const acquirer = this.#open(delivery)
    if (acquirer && acquirer !== transaction)
      return { condition: AmqpCondition.notAllowed, description: 'it was acquired under another transaction' }
    const before = this.#retired.get(delivery)
    if (before && before !== transaction && !isOver(before)) {
      const why = 'a delivery was retired under two transactions'
      this.#terminate(transaction.control, why, TransactionCondition.transactionRollback)
      return undefined
    }
    this.#retired.set(delivery, transaction)
    transaction.retire(sender, delivery, state)
    return undefined
  }

  /** What a sender sends is to be acquired under a transaction. @returns why it is not §4.4.3 */
  acquire(sender: ClientSender, acquisition: Acquisition): ErrorInit | undefined {
    if (this.#acquired.has(acquisition)) return undefined
    const transaction = this.#live(acquisition.txnId)
    if (!(transaction instanceof ResourceTransaction)) return transaction
    this.#acquired.set(acquisition, transaction)
    transaction.acquire(sender, acquisition)
    return undefined
  }

  /** The transaction that an acquired delivery is under, for as long as that is open. */
  #open({ acquired }: OutgoingDelivery): ResourceTransaction | undefined {
    const transaction = acquired && this.#acquired.get(acquired)
    return transaction && !isOver(transaction) ? transaction : undefined
  }

  /**
   * Whether what has become known of an acquired delivery only holds from the discharge on. An outcome before that is
   * told with the transaction, or ends the link that it came by. §4.4.4.3
   */
  holds(sender: ClientSender, delivery: OutgoingDelivery): boolean {
    const transaction = this.#open(delivery)
    const { remoteState: state } = delivery
    if (!transaction || state?.type === 'transactional-state') return false
    if (transaction.stage === 'live' && state && isOutcome(state) && !delivery.settled) {
      const description = 'the outcome of an acquired message was told outside of its transaction'
      void handled(sender.close({ error: { condition: AmqpCondition.notAllowed, description } }))
    }
    return true
  }
}

/** Why a request is rejected. */
class Refusal extends Error {
  readonly error: ErrorInit

  constructor(condition: string, description: string | undefined) {
    super(description)
    this.error = { condition, description }
  }
}

function conditionOf(error: unknown): string | undefined {
  const condition = (error as { condition?: unknown } | null | undefined)?.condition
  return typeof condition === 'string' ? condition : undefined
}

const isOver = ({ stage }: ResourceTransaction): boolean => stage === 'committed' || stage === 'rolled-back'

/** The declare or discharge in a message. §4.2 §4.3 @throws {Refusal} */
function requestIn(delivery: ClientDelivery) {
  try {
    const { body } = delivery.message
    if (typeof body !== 'object' || !('value' in body)) throw new DecodeError('not an amqp-value section', 0)
    return coordinationField.read(new Reader(encodeValue(body.value)))
  } catch (error) {
    throw new Refusal(AmqpCondition.decodeError, `neither declare nor discharge: ${(error as Error).message}`)
  }
}

const keyOf = (txnId: Uint8Array): string => String.fromCharCode(...txnId)

/** @throws {UsageError} an option is out of range */
export function checkCoordinator(options: boolean | CoordinatorOptions | undefined): void {
  if (typeof options !== 'object') return
  for (const name of ['idleMs', 'maxTransactions'] as const) {
    const value = options[name]
    if (value !== undefined && !(value > 0))
      throw new UsageError(`coordinator.${name} is a positive number, not ${value}`)
  }
}
