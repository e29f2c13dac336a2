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

  /** The id after the newest that was added. */
  get end(): SequenceNo {
    return this.#high
  }

  /** Adds the next delivery. Ids must be added in order, each one after the last. */
  add(id: SequenceNo, delivery: T): void {
    if (this.#inRing === 0) {
      this.#low = id
    } else {
      this.#skipHoles()
      if (serialDistance(id, this.#low) > this.#mask) this.#makeRoom(id)
    }
    this.#slots[id & this.#mask] = delivery
    this.#high = serialAdd(id, 1)
    this.#inRing++
  }

  get(id: SequenceNo): T | undefined {
    if (this.#covers(id)) return this.#slots[id & this.#mask]
    return this.#aside.size > 0 ? this.#aside.get(id) : undefined
  }

  /** @returns whether it was there */
  delete(id: SequenceNo): boolean {
    if (!this.#covers(id)) return this.#aside.delete(id)
    const slot = id & this.#mask
    if (this.#slots[slot] === undefined) return false
    this.#slots[slot] = undefined
    this.#inRing--
    return true
  }

  /** Calls `visit` for what is unsettled from `first` to `last`, in order; costs what is held, not what is asked. */
  range(first: SequenceNo, last: SequenceNo, visit: (delivery: T, id: SequenceNo) => void): void {
    const span = serialDistance(last, first)
    if (span < 0) return
    for (const id of this.#asideIn(first, span)) visit(this.#aside.get(id) as T, id)
    if (this.#inRing === 0) return
    const from = serialDistance(first, this.#low) < 0 ? this.#low : first
    const afterLast = serialAdd(last, 1)
    const to = serialDistance(afterLast, this.#high) > 0 ? this.#high : afterLast
    for (let id = from; serialDistance(to, id) > 0; id = serialAdd(id, 1)) {
      const delivery = this.#slots[id & this.#mask]
      if (delivery !== undefined) visit(delivery, id)
    }
  }

  /** Steps that `range` takes. */
  width(first: SequenceNo, last: SequenceNo): number {
    const span = Math.max(serialDistance(last, first) + 1, 0)
    return Math.min(span, this.#aside.size) + Math.min(span, Math.max(serialDistance(this.#high, this.#low), 0))
  }

  /** The ids set aside that lie in a range: looked up one by one when the range is the smaller. */
  #asideIn(first: SequenceNo, span: number): SequenceNo[] {
    if (this.#aside.size === 0) return []
    if (span >= this.#aside.size) {
      const at = (id: SequenceNo) => serialDistance(id, first)
      return [...this.#aside.keys()].filter(id => at(id) >= 0 && at(id) <= span)
    }
    const ids: SequenceNo[] = []
    for (let i = 0; i <= span; i++) if (this.#aside.has(serialAdd(first, i))) ids.push(serialAdd(first, i))
    return ids
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
    while (serialDistance(this.#high, this.#low) > 0 && this.#slots[this.#low & this.#mask] === undefined)
      this.#low = serialAdd(this.#low, 1)
  }

  /** Makes the ring reach `id`: by growing while it is well filled, then by moving aside what is too old. */
  #makeRoom(id: SequenceNo): void {
    while (serialDistance(id, this.#low) > this.#mask && this.#inRing * 4 > this.#mask + 1) this.#double()
    const low = serialAdd(id, -this.#mask)
    for (; this.#inRing > 0 && serialDistance(low, this.#low) > 0; this.#low = serialAdd(this.#low, 1)) {
      const slot = this.#low & this.#mask
      const delivery = this.#slots[slot]
      if (delivery === undefined) continue
      this.#aside.set(this.#low, delivery)
      this.#slots[slot] = undefined
      this.#inRing--
    }
    if (this.#inRing === 0) this.#low = id
  }

  #double(): void {
    const mask = this.#mask * 2 + 1
    const slots = new Array<T | undefined>(mask + 1).fill(undefined)
    for (let id = this.#low; serialDistance(this.#high, id) > 0; id = serialAdd(id, 1))
      slots[id & mask] = this.#slots[id & this.#mask]
    this.#slots = slots
    this.#mask = mask
  }
}
