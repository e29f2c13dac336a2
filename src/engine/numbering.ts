/** Numbers that endpoints are assigned: always the lowest that is free. §2.5.1 §2.6.2 */

export class Numbering<T> {
  /** Highest number that may be assigned. */
  max: number
  /** Endpoints of the peer's that wait for our answer: a number is kept for each. */
  owed = 0
  readonly #items: (T | undefined)[] = []
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
    while (this.#items[number] !== undefined) number++
    if (number > this.max) return -1
    this.set(number, item)
    this.#full = number + 1
    return number
  }

  get(number: number): T | undefined {
    return this.#items[number]
  }

  /** Takes a number that the peer chose. */
  set(number: number, item: T): void {
    // A hole in front would turn the array sparse: fill it, the peer's numbers are bounded.
    while (this.#items.length < number) this.#items.push(undefined)
    if (this.#items[number] === undefined) this.#count++
    this.#items[number] = item
  }

  release(number: number): void {
    if (this.#items[number] === undefined) return
    this.#items[number] = undefined
    this.#count--
    if (number < this.#full) this.#full = number
  }

  *[Symbol.iterator](): Generator<T> {
    for (const item of this.#items) if (item !== undefined) yield item
  }
}
