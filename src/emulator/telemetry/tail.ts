/** A list that grows at its end and loses at its front, both in constant time on the average. */

/** One list. */
export class Tail<T> {
  #items: T[] = []
  /** How many of `#items` are gone. */
  #gone = 0

  get length(): number {
    return this.#items.length - this.#gone
  }

  /** @param index  from 0, among those that are left */
  at(index: number): T | undefined {
    return this.#items[this.#gone + index]
  }

  push(item: T): void {
    this.#items.push(item)
  }

  /** Takes the first away. */
  shift(): T | undefined {
    const first = this.at(0)
    if (this.length === 0) return undefined
    this.#gone++
    // What is gone is let go of when it is half of all.
    if (this.#gone * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#gone)
      this.#gone = 0
    }
    return first
  }
}
