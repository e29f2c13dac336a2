/** Time, for what waits in the clients of a hub: a clock that can be replaced. Its timers keep no process alive. */

/** Where time comes from. */
export interface HubClock {
  /** ms since 1970-01-01 UTC. */
  now(): number
  /**
   * Calls back once, in `delayMs` or later, by a clock that nobody sets.
   *
   * @param delayMs  0 … 2^31 − 1
   * @returns a function that calls it off
   */
  setTimer(callback: () => void, delayMs: number): () => void
}

/** The clock of this machine. What keeps the process alive is the connection that something waits for. */
export const systemClock: HubClock = {
  now: () => Date.now(),
  setTimer(callback, delayMs) {
    const timer = setTimeout(callback, Math.max(Math.ceil(delayMs), 1))
    timer.unref?.()
    return () => clearTimeout(timer)
  },
}

const LONGEST_MS = 2 ** 31 - 1

/** Calls back after any time, however long. @returns a function that calls it off */
export function after(clock: HubClock, delayMs: number, callback: () => void): () => void {
  let left = delayMs
  let cancel: () => void = () => {}
  const wait = (): void => {
    const step = Math.min(Math.max(left, 0), LONGEST_MS)
    left -= step
    cancel = clock.setTimer(left > 0 ? wait : callback, step)
  }
  wait()
  return () => cancel()
}

/** Waits. Cancellation ends the wait: it resolves. */
export function pause(clock: HubClock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal?.aborted) return resolve()
    const done = (): void => {
      cancel()
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const cancel = after(clock, delayMs, done)
    signal?.addEventListener('abort', done, { once: true })
  })
}

/** Rejects with `signal.reason` when that fires first. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
