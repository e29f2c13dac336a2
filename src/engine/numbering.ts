/** Numbers that endpoints are assigned: always the lowest that is free. §2.5.1 §2.6.2 */

export class Numbering<T> {
  /** Highest number that may be assigned. */
  max: number
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

  /** Assigns the lowest free number. @returns −1 when all up to `max` are taken */
  assign(item: T): number {
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
