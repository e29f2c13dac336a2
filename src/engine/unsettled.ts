/**
 * UnsettledRing: the unsettled deliveries of one direction of a session, by delivery-id. §2.6.12
 *
 * Delivery-ids are handed out in order, so a slot is `id & mask` and look-up is an index. The ring covers the ids from
 * the oldest it still holds to the newest; when it is full of holes, what is old moves aside into a map, so that one
 * delivery left unsettled for ever costs one entry and not a growing ring.
 */

import type { SequenceNo } from '../definitions/restricted.ts'
import { serialAdd, serialDistance } from './serial.ts'

export class UnsettledRing<T> {
  #slots: (T | undefined)[]
  #mask: number
  /** The oldest id that the ring covers, and the one after the newest. */
  #low: SequenceNo = 0
  #high: SequenceNo = 0
  #inRing = 0
  readonly #aside = new Map<SequenceNo, T>()

  /** @param capacity  slots to begin with, a power of two */
  constructor(capacity = 16) {
    this.#slots = new Array(capacity).fill(undefined)
    this.#mask = capacity - 1
  }

  /** Unsettled deliveries. */
  get count(): number {
    return this.#inRing + this.#aside.size
  }

  /** Adds the next delivery. Ids must be added in order, each one after the last. */
  add(id: SequenceNo, delivery: T): void {
    if (this.#inRing === 0) {
      this.#low = id
    } else {
      this.#skipHoles()
      if (serialDistance(id, this.#low) > this.#mask) this.#makeRoom()
    }
    this.#slots[id & this.#mask] = delivery
    this.#high = serialAdd(id, 1)
    this.#inRing++
  }

  get(id: SequenceNo): T | undefined {
    if (this.#covers(id)) return this.#slots[id & this.#mask]
    return this.#aside.size > 0 ? this.#aside.get(id) : undefined
  }

  delete(id: SequenceNo): void {
    if (!this.#covers(id)) {
      this.#aside.delete(id)
      return
    }
    const slot = id & this.#mask
    if (this.#slots[slot] === undefined) return
    this.#slots[slot] = undefined
    this.#inRing--
  }

  /** Calls `visit` for what is unsettled from `first` to `last`, in order; costs what is held, not what is asked. */
  range(first: SequenceNo, last: SequenceNo, visit: (delivery: T, id: SequenceNo) => void): void {
    const span = serialDistance(last, first)
    if (span < 0) return
    if (this.#aside.size > 0) {
      const old = [...this.#aside].filter(([id]) => {
        const at = serialDistance(id, first)
        return at >= 0 && at <= span
      })
      for (const [id, delivery] of old) visit(delivery, id)
    }
    if (this.#inRing === 0) return
    const from = serialDistance(first, this.#low) < 0 ? this.#low : first
    const afterLast = serialAdd(last, 1)
    const to = serialDistance(afterLast, this.#high) > 0 ? this.#high : afterLast
    for (let id = from; serialDistance(to, id) > 0; id = serialAdd(id, 1)) {
      const delivery = this.#slots[id & this.#mask]
      if (delivery !== undefined) visit(delivery, id)
    }
  }

  /** Everything unsettled, oldest first. */
  *[Symbol.iterator](): Generator<T> {
    yield* [...this.#aside.values()]
    for (let id = this.#low; this.#inRing > 0 && serialDistance(this.#high, id) > 0; id = serialAdd(id, 1)) {
      const delivery = this.#slots[id & this.#mask]
      if (delivery !== undefined) yield delivery
    }
  }

  clear(): void {
    this.#slots.fill(undefined)
    this.#inRing = 0
    this.#low = this.#high
    this.#aside.clear()
  }

  #covers(id: SequenceNo): boolean {
    return this.#inRing > 0 && serialDistance(id, this.#low) >= 0 && serialDistance(this.#high, id) > 0
  }

  #skipHoles(): void {
    while (this.#low !== this.#high && this.#slots[this.#low & this.#mask] === undefined)
      this.#low = serialAdd(this.#low, 1)
  }

  /** The ring is full: doubled when it is mostly used, else its older half moves aside. */
  #makeRoom(): void {
    const capacity = this.#mask + 1
    if (this.#inRing * 4 > capacity) {
      const slots = new Array<T | undefined>(capacity * 2).fill(undefined)
      const mask = capacity * 2 - 1
      for (let id = this.#low; id !== this.#high; id = serialAdd(id, 1)) slots[id & mask] = this.#slots[id & this.#mask]
      this.#slots = slots
      this.#mask = mask
      return
    }
    const middle = serialAdd(this.#low, capacity >> 1)
    for (; this.#low !== middle; this.#low = serialAdd(this.#low, 1)) {
      const slot = this.#low & this.#mask
      const delivery = this.#slots[slot]
      if (delivery === undefined) continue
      this.#aside.set(this.#low, delivery)
      this.#slots[slot] = undefined
      this.#inRing--
    }
    this.#skipHoles()
  }
}
