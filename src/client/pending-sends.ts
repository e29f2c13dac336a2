/** The sends of a link whose promise is not settled: what each waits with, and who waits until there are none. §2.6.12 */

import type { OutgoingDelivery } from '../engine/outgoing-delivery.ts'
import { ClosedError } from '../errors.ts'
import type { Closure } from './api.ts'
import { type Deferred, deferred } from './operation.ts'
import type { ClientTransaction } from './transactions/transaction.ts'

/** What a sent message waits with: the context of its delivery. */
export interface PendingSend {
  resolve(outcome: never): void
  reject(error: unknown): void
  /** Stops listening to the signal. */
  detach: (() => void) | undefined
  /** What it is posted under. §4.4.1 */
  readonly transaction: ClientTransaction | undefined
  /** The state itself is asked for, not the outcome that it says. */
  readonly raw: boolean
}

/** The error for a message of which some had left. @param link  its label */
export function lostSend(link: string, cause: unknown, by?: Closure['by']): ClosedError {
  return new ClosedError(`${link}, with a message under way that may have arrived or not,`, 'delivery', cause, by)
}

export class PendingSends {
  #count = 0
  #noneLeft: Deferred<void> | undefined
  /** Accepted before all of it was sent: sent to its end all the same. */
  #acceptedEarly: Set<OutgoingDelivery> | undefined

  get isEmpty(): boolean {
    return this.#count === 0
  }

  begin(delivery: OutgoingDelivery, pending: PendingSend): void {
    delivery.context = pending
    this.#count++
  }

  /** A send is over. @returns what it waited with, the first time */
  end(delivery: OutgoingDelivery): PendingSend | undefined {
    const pending = delivery.context as PendingSend | undefined
    if (!pending) return undefined
    delivery.context = undefined
    this.#acceptedEarly?.delete(delivery)
    pending.detach?.()
    if (--this.#count === 0) this.release()
    return pending
  }

  /** Sends that began on an earlier link of the same terminus. §2.6.13 */
  takeOver(deliveries: Iterable<OutgoingDelivery>): void {
    for (const { context } of deliveries) if (context) this.#count++
  }

  acceptEarly(delivery: OutgoingDelivery): void {
    this.#acceptedEarly ??= new Set()
    this.#acceptedEarly.add(delivery)
  }

  isAcceptedEarly(delivery: OutgoingDelivery): boolean {
    return this.#acceptedEarly?.has(delivery) === true
  }

  /** Those that were accepted early, to be ended. */
  get acceptedEarly(): readonly OutgoingDelivery[] {
    return this.#acceptedEarly ? [...this.#acceptedEarly] : []
  }

  whenNone(): Promise<void> {
    if (this.isEmpty) return Promise.resolve()
    this.#noneLeft ??= deferred()
    return this.#noneLeft.promise
  }

  /** Lets go whoever waits until there are none. */
  release(): void {
    this.#noneLeft?.resolve()
    this.#noneLeft = undefined
  }
}
