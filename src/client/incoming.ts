/**
 * What the peer initiates, sessions and links, on its way to somebody who takes it: a listener, or an iterator.
 *
 * What nobody has taken waits for a moment, since a taker may be attached just after the connection; then it is
 * refused.
 */

/** How long something waits for its first taker, in milliseconds. */
const PATIENCE_MS = 1000

export class IncomingQueue<T extends object> implements AsyncIterable<T, undefined> {
  #waiting: T[] = []
  #takers: ((item: T | undefined) => void)[] = []
  #iterators = 0
  #ended = false
  readonly #listened: (item: T) => boolean
  readonly #refuse: (item: T) => void

  /**
   * @param listened  gives the item to listeners; false when there are none
   * @param refuse  what becomes of an item that nobody takes
   */
  constructor(listened: (item: T) => boolean, refuse: (item: T) => void) {
    this.#listened = listened
    this.#refuse = refuse
  }

  push(item: T): void {
    if (this.#ended || this.#listened(item)) return
    const taker = this.#takers.shift()
    if (taker) return taker(item)
    this.#waiting.push(item)
    if (this.#iterators > 0) return
    const timer = setTimeout(() => {
      if (this.#iterators > 0 || this.#ended) return
      const at = this.#waiting.indexOf(item)
      if (at < 0) return
      this.#waiting.splice(at, 1)
      this.#refuse(item)
    }, PATIENCE_MS)
    timer.unref?.()
  }

  /** A listener was added: it takes what waits. */
  offer(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const item of waiting) this.push(item)
  }

  /** Nothing more will come. */
  end(): void {
    this.#ended = true
    this.#waiting = []
    for (const taker of this.#takers.splice(0)) taker(undefined)
  }

  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    this.#iterators++
    let done = false
    return {
      next: async () => {
        if (done) return { done: true, value: undefined }
        const waiting = this.#waiting.shift()
        if (waiting !== undefined) return { done: false, value: waiting }
        if (this.#ended) return { done: true, value: undefined }
        const value = await new Promise<T | undefined>(resolve => this.#takers.push(resolve))
        return value === undefined ? { done: true, value: undefined } : { done: false, value }
      },
      return: async () => {
        if (!done) this.#iterators--
        done = true
        return { done: true, value: undefined }
      },
    }
  }
}
