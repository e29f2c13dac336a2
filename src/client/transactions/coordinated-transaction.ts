/** A transaction of the peer's, as its resource keeps it: what is posted and retired under it, until it is over. §4.4 */

import type { Outcome, TransactionalState } from '../../definitions/delivery-state.ts'
import { RELEASED } from '../../definitions/delivery-state.ts'
import type { Acquisition } from '../../engine/acquisition.ts'
import type { OutgoingDelivery } from '../../engine/outgoing-delivery.ts'
import { TransactionCondition, TransactionError, UsageError } from '../../errors.ts'
import { timerDelay } from '../../io/delay.ts'
import type { AmqpValue } from '../../types/values.ts'
import type { Connection, Delivery, Receiver } from '../api.ts'
import type { Acquired, CoordinatedTransaction, Retirement } from '../api-transactions.ts'
import type { ClientDelivery, Posting } from '../delivery.ts'
import { type Deferred, deferred } from '../operation.ts'
import { outcomeOf } from '../outcome.ts'
import type { ClientSender } from '../sender.ts'
import { AcquiredMessages } from './acquired.ts'

/** One delivery of ours that is retired under it, and the state that says so. */
interface Retired {
  readonly sender: ClientSender
  readonly state: TransactionalState
}

export class ResourceTransaction implements CoordinatedTransaction, Posting {
  readonly connection: Connection
  readonly id: Uint8Array
  readonly globalId: AmqpValue | undefined
  /** The control link that it was declared on. */
  readonly control: Receiver
  readonly posted: ClientDelivery[] = []
  postedBytes = 0
  /** `deciding`: a commit waits for outcomes; `committing`: what there is will hold, if the application agrees. */
  stage: 'live' | 'deciding' | 'committing' | 'committed' | 'rolled-back' = 'live'
  /** Why it was rolled back, in the words of §4.5.8. */
  condition: string = TransactionCondition.transactionRollback
  /** A message that was sent settled could not be processed: it must not commit. §4.4.4.1 */
  isSpoilt = false
  readonly acquisitions: AcquiredMessages = new AcquiredMessages()
  readonly #retired = new Map<OutgoingDelivery, Retired>()
  readonly #undecided = new Set<ClientDelivery>()
  #deciding: Deferred<void> | undefined
  readonly #discharged = deferred<'committed' | 'rolled-back'>()
  readonly #idleMs: number
  #timer: ReturnType<typeof setTimeout> | undefined
  #lastWork = performance.now()

  /** @param expire  called when nothing was done under it for `idleMs` */
  constructor(
    connection: Connection,
    control: Receiver,
    globalId: AmqpValue | undefined,
    idleMs: number,
    expire: () => void,
  ) {
    this.connection = connection
    this.control = control
    this.id = globalThis.crypto.getRandomValues(new Uint8Array(16))
    this.globalId = globalId
    this.#idleMs = idleMs
    this.#arm(expire)
  }

  #arm(expire: () => void): void {
    const left = this.#lastWork + this.#idleMs - performance.now()
    this.#timer = setTimeout(
      () => {
        if (performance.now() - this.#lastWork < this.#idleMs) this.#arm(expire)
        else expire()
      },
      timerDelay(Math.max(left, 1)),
    )
    this.#timer.unref?.()
  }

  get transaction(): CoordinatedTransaction {
    return this
  }

  get discharged(): Promise<'committed' | 'rolled-back'> {
    return this.#discharged.promise
  }

  get retired(): readonly Retirement[] {
    return [...this.#retired].map(([delivery, { sender, state }]) => ({
      sender,
      deliveryTag: delivery.deliveryTag,
      outcome: outcomeOf(state.outcome) ?? { outcome: 'released' },
    }))
  }

  get acquired(): readonly Acquired[] {
    return this.acquisitions.list
  }

  // ---- work ----------------------------------------------------------------------------------------------------

  /** @param bytes  that it keeps until it is over */
  post(delivery: ClientDelivery, bytes: number): void {
    this.#lastWork = performance.now()
    this.postedBytes += bytes
    this.posted.push(delivery)
    if (!delivery.settled) this.#undecided.add(delivery)
    delivery.posting = this
  }

  retire(sender: ClientSender, delivery: OutgoingDelivery, state: TransactionalState): void {
    this.#lastWork = performance.now()
    this.#retired.set(delivery, { sender, state })
  }

  acquire(sender: ClientSender, acquisition: Acquisition): void {
    this.#lastWork = performance.now()
    this.acquisitions.add(sender, acquisition)
  }

  /** Whether a delivery is retired under it, and has not been retired otherwise since. */
  holds(delivery: OutgoingDelivery): boolean {
    return this.#retired.get(delivery)?.state === delivery.remoteState
  }

  check(): void {
    if (this.stage === 'rolled-back')
      throw new TransactionError('the peer’s transaction is rolled back', 'rolled-back', { condition: this.condition })
  }

  decide(delivery: ClientDelivery, outcome: Outcome): void {
    this.check()
    if (this.stage === 'committed') throw new UsageError('the peer’s transaction is committed already', '4.4.1')
    this.#lastWork = performance.now()
    if (delivery.settled && outcome.type !== 'accepted') this.isSpoilt = true
    else if (!delivery.settled) delivery.decideUnder(this.id, outcome)
    this.#undecided.delete(delivery)
    if (this.#undecided.size === 0) this.#deciding?.resolve()
  }

  /** Resolves when every delivery posted under it has its outcome, or is lost with its link, or all is over. §4.4.1 */
  async decided(): Promise<void> {
    for (const delivery of this.#undecided)
      if (delivery.state !== 'live') {
        // Its outcome cannot be told any more.
        this.isSpoilt = true
        this.#undecided.delete(delivery)
      }
    if (this.#undecided.size === 0) return
    this.#deciding = deferred()
    for (const { receiver } of this.#undecided as ReadonlySet<Delivery>)
      receiver.closed.then(() => {
        this.isSpoilt = true
        this.#deciding?.resolve()
      })
    await this.#deciding.promise
  }

  // ---- its end -------------------------------------------------------------------------------------------------

  commit(): void {
    this.stage = 'committed'
    this.#conclude()
  }

  rollBack(condition: string): void {
    this.stage = 'rolled-back'
    this.condition = condition
    this.#conclude()
  }

  #conclude(): void {
    const committed = this.stage === 'committed'
    clearTimeout(this.#timer)
    for (const delivery of this.posted) {
      delivery.conclude(committed)
      if (!committed) delivery.tell(RELEASED)
    }
    if (!committed) this.acquisitions.conclude(false)
    for (const [delivery, { sender, state }] of this.#retired)
      if (this.holds(delivery)) sender.concludeRetirement(delivery, committed ? state.outcome : undefined)
    if (committed) this.acquisitions.conclude(true)
    this.#deciding?.resolve()
    this.#discharged.resolve(committed ? 'committed' : 'rolled-back')
  }
}
