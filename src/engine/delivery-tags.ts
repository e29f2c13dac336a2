/** The delivery-tags of one sender: a counter, and those in use that its owner has chosen. §2.6.12 */

import { tagText } from '../definitions/unsettled-map.ts'
import type { OutgoingDelivery } from './outgoing-delivery.ts'

export class DeliveryTags {
  #next = 0
  #chosen: Set<string> | undefined

  /** The next one of the counter. */
  next(): number {
    return this.#next++ >>> 0
  }

  /** Whether an unsettled delivery has it. */
  has(tag: Uint8Array): boolean {
    return this.#chosen?.has(tagText(tag)) === true
  }

  /** It is in use. */
  use(tag: Uint8Array): void {
    this.#chosen ??= new Set()
    this.#chosen.add(tagText(tag))
  }

  /** Its delivery has come to an end. */
  free(tag: Uint8Array | number): void {
    if (typeof tag !== 'number') this.#chosen?.delete(tagText(tag))
  }

  /** Only these are left of an earlier endpoint's: the counter goes on behind them. §2.6.13 */
  adopt(deliveries: Iterable<OutgoingDelivery>): void {
    this.#chosen = undefined
    for (const { tag, settled } of deliveries) {
      if (typeof tag === 'number') this.#next = Math.max(this.#next, tag + 1)
      else if (!settled) this.use(tag)
    }
  }
}
