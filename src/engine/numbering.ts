/**
 * Numbers that endpoints are assigned: always the lowest that is free. §2.5.1 §2.6.2
 *
 * Numbers that follow each other are kept in an array. A peer may take any other: those far above cost an entry each,
 * not the hole in front of them.
 */

/** Holes that are filled to keep the array dense. */
const HOLES = 16

export class Numbering<T> {
  /** Highest number that may be assigned. */
  max: number
  /** Endpoints of the peer's that wait for our answer: a number is kept for each. */
  owed = 0
  readonly #items: (T | undefined)[] = []
  #far: Map<number, T> | undefined
  /** Below this, nothing is free. */
  #full = 0
  #count = 0

  constructor(max: number) {
    this.max = max
  }

  get count(): number {
    return this.#count
  }

  /** Whether one more can be had, besides those that are owed. */
  get hasRoom(): boolean {
    return this.#count + this.owed <= this.max
  }

  /**
   * Assigns the lowest free number.
   *
   * @param isOwed  it answers the peer, and has been counted in `owed`
   * @returns −1 when all up to `max` are taken, or owed
   */
  assign(item: T, isOwed = false): number {
    if (isOwed) this.owed--
    else if (this.owed > 0 && !this.hasRoom) return -1
    let number = this.#full
    while (this.get(number) !== undefined) number++
    if (number > this.max) return -1
    this.set(number, item)
    this.#full = number + 1
    return number
  }

  get(number: number): T | undefined {
    return number < this.#items.length ? this.#items[number] : this.#far?.get(number)
  }

  /** Takes a number that the peer chose. */
  set(number: number, item: T): void {
    const items = this.#items
    if (this.get(number) === undefined) this.#count++
    if (number > items.length + HOLES) {
      this.#far ??= new Map()
      this.#far.set(number, item)
      return
    }
    while (items.length <= number) items.push(this.#taken(items.length))
    items[number] = item
  }

  /** Takes what is kept far above, now that the array has come to it. */
  #taken(number: number): T | undefined {
    const item = this.#far?.get(number)
    this.#far?.delete(number)
    return item
  }

  release(number: number): void {
    if (this.get(number) === undefined) return
    if (number < this.#items.length) this.#items[number] = undefined
    else this.#far?.delete(number)
    this.#count--
    if (number < this.#full) this.#full = number
  }

  *[Symbol.iterator](): Generator<T> {
    for (const item of this.#items) if (item !== undefined) yield item
    if (this.#far) yield* this.#far.values()
  }
}
