/** Messages that wait, in order, for their link to be attached again. §2.6.13 */

import type { OutgoingDelivery } from '../../engine/outgoing-delivery.ts'

export class HeldSends implements Iterable<OutgoingDelivery> {
  readonly #all = new Set<OutgoingDelivery>()
  /** Bytes of their payloads. */
  bytes = 0

  get count(): number {
    return this.#all.size
  }

  add(delivery: OutgoingDelivery): void {
    this.#all.add(delivery)
    this.bytes += delivery.size
  }

  /** Takes one back. @returns whether it was here */
  remove(delivery: OutgoingDelivery): boolean {
    if (!this.#all.delete(delivery)) return false
    this.bytes -= delivery.size
    return true
  }

  /** Takes all of them out. */
  take(): OutgoingDelivery[] {
    const all = [...this.#all]
    this.#all.clear()
    this.bytes = 0
    return all
  }

  [Symbol.iterator](): Iterator<OutgoingDelivery> {
    return this.#all.values()
  }
}
