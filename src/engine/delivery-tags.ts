/** The delivery-tags of one link: a counter, and those in use that its owner has chosen. §2.6.12 §2.8.7 */

import { tagText } from '../definitions/unsettled-map.ts'
import { UsageError } from '../errors.ts'

export class DeliveryTags {
  #next = 0
  #chosen: Set<string> | undefined

  /** The next one of the counter. A number stands for its four bytes. */
  next(): number {
    return this.#next++ >>> 0
  }

  /** @throws {UsageError} it is too long, or in use. @param label  of the link, for the message */
  check(tag: Uint8Array, label: string): void {
    if (tag.length > 32) throw new UsageError(`a delivery-tag has at most 32 bytes, not ${tag.length}`, '2.8.7')
    if (this.#chosen?.has(tagText(tag)))
      throw new UsageError(`the delivery-tag is in use by an unsettled delivery of ${label}`, '2.6.12')
  }

  /** It is in use: the counter goes on behind it. */
  use(tag: Uint8Array | number): void {
    if (typeof tag === 'number') this.#next = Math.max(this.#next, tag + 1)
    else (this.#chosen ??= new Set()).add(tagText(tag))
  }

  /** Its delivery has come to an end. */
  free(tag: Uint8Array | number): void {
    if (typeof tag !== 'number') this.#chosen?.delete(tagText(tag))
  }
}
