/** What a receiver acquires under: one transaction at a time. §4.4.3 */

import { UsageError } from '../../errors.ts'
import type { ClientDelivery } from '../delivery.ts'
import type { ClientTransaction } from './transaction.ts'

export class Acquiring {
  #transaction: ClientTransaction | undefined
  #hasAcquired = false

  get isUnderWay(): boolean {
    return this.#transaction !== undefined
  }

  /** @throws {UsageError} it acquires under another one */
  check(transaction: ClientTransaction | undefined, label: string): void {
    if (transaction && this.#transaction && this.#transaction !== transaction)
      throw new UsageError(`${label} acquires under another transaction`, '4.4.3')
  }

  under(transaction: ClientTransaction | undefined): void {
    this.#transaction = transaction
    if (transaction) this.#hasAcquired = true
  }

  /** Whether a delivery that the sender says is under a transaction was acquired here. */
  takes(delivery: ClientDelivery, txnId: Uint8Array): boolean {
    const transaction = this.#transaction
    // Acquired while the discharge was on its way: it is here all the same.
    if (!transaction || !sameBytes(transaction.id, txnId)) return this.#hasAcquired
    delivery.acquired = transaction
    transaction.acquired(delivery)
    return true
  }
}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i])
