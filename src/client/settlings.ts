/** Decisions that wait for the sender to settle, in mode second: what their promises hang on. §2.6.12 §2.8.3 */

import type { IncomingDelivery } from '../engine/incoming-delivery.ts'
import type { AmqpError } from '../errors.ts'
import { type Deferred, deferred } from './operation.ts'

export class Settlings {
  readonly #waiting = new Set<Deferred<void>>()

  /** @param isHere  whether the end of the link ends the waiting */
  wait(delivery: IncomingDelivery, isHere: boolean): Promise<void> {
    const settling = deferred<void>()
    delivery.context = settling
    if (isHere) this.#waiting.add(settling)
    return settling.promise
  }

  /** The sender has settled a delivery. */
  end({ context }: IncomingDelivery): void {
    const settling = context as Deferred<void> | undefined
    if (!settling) return
    this.#waiting.delete(settling)
    settling.resolve()
  }

  /** The delivery lives on without its link, or fails now. */
  leave({ context, kept }: IncomingDelivery, cause: AmqpError | undefined): void {
    const settling = context as Deferred<void> | undefined
    if (kept && settling) this.#waiting.delete(settling)
    else settling?.reject(cause)
  }

  fail(error: AmqpError): void {
    for (const settling of this.#waiting) settling.reject(error)
    this.#waiting.clear()
  }
}
