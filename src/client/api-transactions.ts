/** Transactions as interfaces: what a controller holds, and what a coordinator is told of. §4 */

import type { AmqpValue } from '../types/values.ts'
import type { Connection, Delivery, Sender } from './api.ts'
import type { Abortable } from './options.ts'
import type { Outcome } from './outcome.ts'

/**
 * A transaction that the peer coordinates: what is sent, settled or acquired under it holds together, or not at all.
 * §4.1 When its control link, session or connection ends before the discharge, it is rolled back.
 */
export interface Transaction extends AsyncDisposable {
  /** As the coordinator has assigned it, at most 32 bytes. §4.5.4 */
  readonly id: Uint8Array
  /** `unknown`: the connection was lost while the peer was asked to commit. */
  readonly state: 'live' | 'discharging' | 'committed' | 'rolled-back' | 'unknown'
  /**
   * Makes the work hold. Waits until every message posted under it is on the wire; that takes the receivers' credit.
   * Whether they were accepted is told by each `send()` and not asked here: await those first. §4.3
   *
   * @throws {TransactionError} it does not hold, or nobody knows; see `fate`. It is rolled back, too, when a message
   *   posted under it was lost with its link
   * @throws {UsageError} it has been discharged already
   * Cancellation: before the discharge is sent nothing has happened; afterwards it takes its course.
   */
  commit(options?: Abortable): Promise<void>
  /**
   * Makes none of it hold: messages still queued are taken back, and their sends reject. Resolves when it is rolled
   * back, also because its control link is gone.
   *
   * @throws {UsageError} it has been committed, or is about to be
   * @throws {TransactionError} its fate is unknown
   * Cancellation: as `commit`.
   */
  rollback(options?: Abortable): Promise<void>
  /** Rolls back what has not been discharged, and waits for that no longer than a close may take. */
  [Symbol.asyncDispose](): Promise<void>
}

/** A transaction of the peer's that this end coordinates. §4.1 */
export interface CoordinatedTransaction {
  readonly connection: Connection
  /** As this end has assigned it. */
  readonly id: Uint8Array
  /** The global transaction that the controller has named; `undefined` for a local one. §4.5.2 */
  readonly globalId: AmqpValue | undefined
  /** Deliveries that were posted under it, in order, whatever was decided on them. §4.4.1 */
  readonly posted: readonly Delivery[]
  /** Deliveries of ours that were retired under it, with the outcomes that hold if it commits. §4.4.2 */
  readonly retired: readonly Retirement[]
  /**
   * Messages of ours that the peer has acquired under it: those that left on the credit that it gave under it, each with
   * the outcome that holds if it commits, once there is one. Their `send()` resolves when it is discharged: after a
   * rollback they are `released`. §4.4.3
   */
  readonly acquired: readonly Acquired[]
  /** Resolves when it is over. */
  readonly discharged: Promise<'committed' | 'rolled-back'>
}

/** A message of ours that the peer has acquired under a transaction. */
export interface Acquired {
  readonly sender: Sender
  readonly deliveryTag: Uint8Array
  /** `undefined`: the peer has not decided. If it commits so, the message is its own, and settled later. */
  readonly outcome: Outcome | undefined
}

/** A delivery of ours that the peer has retired under a transaction. Its `send()` resolves when that is discharged. */
export interface Retirement {
  readonly sender: Sender
  readonly deliveryTag: Uint8Array
  readonly outcome: Outcome
}
