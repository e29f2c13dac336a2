/** A clock that stands still until it is moved. */

import type { EmulatorClock } from '../../src/emulator/clock.ts'

export class ManualClock implements EmulatorClock {
  #now: number
  #timers: { readonly at: number; readonly callback: () => void }[] = []

  constructor(now: number = Date.now()) {
    this.#now = now
  }

  now(): number {
    return this.#now
  }

  get timers(): number {
    return this.#timers.length
  }

  setTimer(callback: () => void, delayMs: number): () => void {
    if (!(delayMs >= 0 && delayMs < 2 ** 31)) throw new RangeError(`no timer takes ${delayMs} ms`)
    const timer = { at: this.#now + delayMs, callback }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter(other => other !== timer)
    }
  }

  /** Moves on, running what falls due on the way, in order. */
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (due === undefined) break
      this.#timers = this.#timers.filter(timer => timer !== due)
      this.#now = Math.max(this.#now, due.at)
      due.callback()
    }
    this.#now = end
  }
}
