/**
 * The time of an emulated hub: a clock that can be replaced, and one timer that is set to a deadline and moved.
 *
 * Timers of the system clock do not keep a process alive.
 */

/** Where an emulator has its time from. */
export interface EmulatorClock {
  /** ms since 1970-01-01 UTC. */
  now(): number
  /**
   * Calls back once, no earlier than `delayMs` from now.
   *
   * @param delayMs  0 … 2^31 − 1
   * @returns a function that calls it off
   */
  setTimer(callback: () => void, delayMs: number): () => void
}

/** The clock of this machine. */
export const systemClock: EmulatorClock = {
  now: () => Date.now(),
  setTimer(callback, delayMs) {
    const timer = setTimeout(callback, delayMs)
    timer.unref()
    return () => clearTimeout(timer)
  },
}

const MAX_DELAY_MS = 2 ** 31 - 1

/** A timer for one deadline at a time. */
export class Alarm {
  readonly #clock: EmulatorClock
  readonly #onDue: () => void
  #deadline: number | undefined
  #cancel: (() => void) | undefined

  /** @param onDue  called at or after the deadline; may set the next */
  constructor(clock: EmulatorClock, onDue: () => void) {
    this.#clock = clock
    this.#onDue = onDue
  }

  /** Moves the deadline, in ms since 1970; `undefined` for none. A deadline in the past is due at once, not in this call. */
  set(deadline: number | undefined): void {
    if (deadline === this.#deadline) return
    this.#cancel?.()
    this.#cancel = undefined
    this.#deadline = deadline
    if (deadline === undefined) return
    const delay = Math.min(Math.max(deadline - this.#clock.now(), 0), MAX_DELAY_MS)
    this.#cancel = this.#clock.setTimer(() => {
      this.#cancel = undefined
      this.#deadline = undefined
      // A far deadline takes several timers; and a timer may be early by a fraction.
      if (this.#clock.now() < deadline) this.set(deadline)
      else this.#onDue()
    }, delay)
  }
}
