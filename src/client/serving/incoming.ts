/**
 * What the peer initiates, sessions and links, on its way to somebody who takes it: a listener, or an iterator.
 *
 * What nobody has taken waits for a moment, since a taker may be attached just after the connection; then it is
 * refused.
 */

import { timerDelay } from '../../io/delay.ts'

/** How long something waits for its first taker, in milliseconds. */
const PATIENCE_MS = 1000
/** How many are refused in one turn. */
const SLICE = 256

/** Something that waits, and since when. */
interface Waiting<T> {
  readonly item: T
  readonly isOver: () => boolean
  readonly until: number
}

export class IncomingQueue<T extends object> implements AsyncIterable<T, undefined> {
  #waiting: Waiting<T>[] = []
  /** Length of the queue at which it is next looked through for what is over. */
  #sweepAt = 16
  #takers: ((item: T | undefined) => void)[] = []
  #iterators = 0
  #ended = false
  /** One for the queue: until the oldest has waited long enough. */
  #timer: ReturnType<typeof setTimeout> | undefined
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

  /** @param isOver  whether the item has ended meanwhile, so that nobody needs it any more */
  push(item: T, isOver: () => boolean): void {
    if (this.#ended || this.#listened(item)) return
    const taker = this.#takers.shift()
    if (taker) return taker(item)
    this.#waiting.push({ item, isOver, until: performance.now() + PATIENCE_MS })
    if (this.#waiting.length >= this.#sweepAt) {
      // Each sweep is paid for by as many pushes: a peer that begins and ends for ever leaves nothing here.
      this.#waiting = this.#waiting.filter(waiting => !waiting.isOver())
      this.#sweepAt = Math.max(16, this.#waiting.length * 2)
    }
    this.#arm()
  }

  /** Items that wait, those that are over included until they are swept out. */
  get length(): number {
    return this.#waiting.length
  }

  #arm(): void {
    const [oldest] = this.#waiting
    if (this.#timer || !oldest || this.#iterators > 0 || this.#ended) return
    this.#timer = setTimeout(() => this.#onTimer(), timerDelay(oldest.until - performance.now()))
    this.#timer.unref?.()
  }

  #onTimer(): void {
    this.#timer = undefined
    if (this.#iterators > 0 || this.#ended) return
    const now = performance.now()
    const after = this.#waiting.findIndex(({ until }, i) => until > now || i === SLICE)
    const due = this.#waiting.splice(0, after < 0 ? SLICE : after)
    for (const { item, isOver } of due) if (!isOver()) this.#turnAway(item)
    this.#arm()
  }

  /** Whoever initiated it may not be there any more, or past being told: that concerns nobody here. */
  #turnAway(item: T): void {
    try {
      this.#refuse(item)
    } catch {
      // Its connection says why it ended.
    }
  }

  /** A listener was added: it takes what waits. */
  offer(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const { item, isOver } of waiting) if (!isOver()) this.push(item, isOver)
  }

  /** Nothing more will come. */
  end(): void {
    this.#ended = true
    this.#waiting = []
    clearTimeout(this.#timer)
    for (const taker of this.#takers.splice(0)) taker(undefined)
  }

  /** The first that waits and is not over. */
  #take(): T | undefined {
    for (let first = this.#waiting.shift(); first; first = this.#waiting.shift()) if (!first.isOver()) return first.item
    return undefined
  }

  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    this.#iterators++
    let done = false
    return {
      next: async () => {
        if (done) return { done: true, value: undefined }
        const waiting = this.#take()
        if (waiting !== undefined) return { done: false, value: waiting }
        if (this.#ended) return { done: true, value: undefined }
        const value = await new Promise<T | undefined>(resolve => this.#takers.push(resolve))
        return value === undefined ? { done: true, value: undefined } : { done: false, value }
      },
      return: async () => {
        if (!done) this.#iterators--
        done = true
        this.#arm()
        return { done: true, value: undefined }
      },
    }
  }
}
