/**
 * SessionDeliveries: the unsettled deliveries of one direction of a session, by id, by link, and by range at a price.
 *
 * Nothing is kept for the last two while messages pass. By link: few deliveries are looked through; many are sorted by
 * link once, for all the links that end before as many again have come. By range: a disposition may cover all there is,
 * as often as the peer likes, so that the deliveries that came pay for the walks. §2.6.12 §2.7.6
 */

import type { SequenceNo } from '../definitions/restricted.ts'
import { serialAdd, serialDistance } from './serial.ts'
import { UnsettledRing } from './unsettled.ts'

/** Ids that are looked through for each link that ends. */
const SHORT = 1024
/** Ids that each disposition may cover for nothing. */
const FREE = 256
/** Steps that each delivery pays for, and most that can be saved up. */
const STEPS = 16
const MOST_STEPS = 1 << 19

interface OfLink {
  readonly link: object
  readonly deliveryId: SequenceNo
}

export class SessionDeliveries<D extends OfLink> extends UnsettledRing<D> {
  #sorted: WeakMap<object, SequenceNo[]> | undefined
  /** The id after the last that is sorted. */
  #until: SequenceNo = 0
  #steps = MOST_STEPS
  /** The id after the last that has paid. */
  #paid: SequenceNo = 0

  /** What is unsettled of a link, oldest first. @param count  how many there are */
  ofLink(link: object, count: number): D[] {
    if (count === 0) return []
    if (this.count <= SHORT) return [...this].filter(delivery => delivery.link === link)
    const found = this.#find(link)
    if (found.length === count) return found
    this.#sort()
    return this.#find(link)
  }

  #find(link: object): D[] {
    const found: D[] = []
    const mine = (delivery: D | undefined) => {
      if (delivery?.link === link) found.push(delivery)
    }
    for (const id of this.#sorted?.get(link) ?? []) mine(this.get(id))
    const behind = serialDistance(this.end, this.#until)
    if (behind > 0 && behind <= SHORT) this.range(this.#until, serialAdd(this.end, -1), mine)
    return found
  }

  #sort(): void {
    this.#sorted = new WeakMap()
    for (const { link, deliveryId } of this) {
      const ids = this.#sorted.get(link)
      if (ids) ids.push(deliveryId)
      else this.#sorted.set(link, [deliveryId])
    }
    this.#until = this.end
  }

  /** Whether enough deliveries have come since for one more walk over a range. */
  mayWalk(first: SequenceNo, last: SequenceNo): boolean {
    if (serialDistance(last, first) <= FREE) return true
    const came = Math.max(serialDistance(this.end, this.#paid), 0)
    this.#paid = this.end
    this.#steps = Math.min(this.#steps + came * STEPS, MOST_STEPS) - this.width(first, last)
    if (this.#steps >= 0) return true
    this.#steps = 0
    return false
  }
}
