/**
 * What a receiver brings with it from an earlier endpoint of its link: deliveries that have come in part, that are not
 * decided, or whose decision the sender has not confirmed. §2.6.13 §3.4.6
 */

import type { DeliveryState } from '../definitions/delivery-state.ts'
import type { Transfer } from '../definitions/performatives.ts'
import { statesByTag, tagText, type UnsettledEntry } from '../definitions/unsettled-map.ts'
import type { IncomingDelivery } from './incoming-delivery.ts'
import { positionOf } from './resumption.ts'

export class ReceiverRecovery {
  readonly #byTag: Map<string, IncomingDelivery>
  /** Memory that those keep alive that are unfinished. Kept up: it is asked for with each piece of a payload. */
  pinned = 0

  constructor(deliveries: readonly IncomingDelivery[]) {
    this.#byTag = new Map(deliveries.map(delivery => [tagText(delivery.deliveryTag), delivery]))
    for (const delivery of this.#byTag.values()) this.pinned += pinnedBy(delivery)
  }

  #remove(tag: string, delivery: IncomingDelivery): void {
    this.#byTag.delete(tag)
    this.pinned -= pinnedBy(delivery)
  }

  /** What the unsettled map of our attach says. §3.4.1 */
  *unsettled(): Generator<UnsettledEntry> {
    for (const delivery of this.#byTag.values()) yield [delivery.deliveryTag, stateAtTarget(delivery)] as const
  }

  /**
   * Lets go of what the source does not know any more: it has settled that.
   *
   * @param complete  whether the source says that its map is all it has
   */
  settledAtSource(unsettled: readonly UnsettledEntry[] | undefined, complete: boolean): IncomingDelivery[] {
    if (!complete) return []
    const known = statesByTag(unsettled)
    const settled: IncomingDelivery[] = []
    for (const [tag, delivery] of this.#byTag) {
      if (known.has(tag)) continue
      this.#remove(tag, delivery)
      settled.push(delivery)
    }
    return settled
  }

  /**
   * The delivery that a transfer resumes, set to let pass what comes once more; it is not kept here any longer.
   * @returns `undefined` for a tag that is not known, `gap` for a place behind what is here: that stays
   */
  take(tag: Uint8Array, { state, aborted }: Transfer): IncomingDelivery | 'gap' | undefined {
    const text = tagText(tag)
    const delivery = this.#byTag.get(text)
    if (!delivery) return undefined
    // Of what the owner has, nothing is needed, wherever it begins.
    const isOver = delivery.handedOver || aborted
    const from = isOver ? 0 : delivery.offsetOf(positionOf(state))
    if (from === undefined) return 'gap'
    this.#remove(text, delivery)
    delivery.skip = isOver ? Number.POSITIVE_INFINITY : delivery.size - from
    // What a transfer said of this is not kept. §2.7.5
    delivery.settlesFirst = false
    return delivery
  }

  /** How many have not been resumed. */
  get count(): number {
    return this.#byTag.size
  }

  /** What has not been resumed. */
  get left(): IncomingDelivery[] {
    return [...this.#byTag.values()]
  }
}

const pinnedBy = ({ handedOver, pinned }: IncomingDelivery): number => (handedOver ? 0 : pinned)

/** How far it got, or what was decided. */
const stateAtTarget = (delivery: IncomingDelivery): DeliveryState | undefined =>
  delivery.decision ?? { type: 'received', ...delivery.end }
