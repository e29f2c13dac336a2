/** Promises that somebody else settles, and cancellation, in one place. */

import { UsageError } from '../errors.ts'
import { timerDelay } from '../io/delay.ts'
import type { Abortable } from './options.ts'

/** A promise and what settles it. Node 20 has no `Promise.withResolvers`. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  resolve(value: T): void
  reject(error: unknown): void
}

export function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = unset
  let reject: (error: unknown) => void = unset
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

const unset = (): void => {}

/** Marks a rejection as handled: awaiting the promise still rejects, forgetting it never crashes the process. */
export function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(unset)
  return promise
}

/**
 * The promise of an operation that a signal can cancel.
 *
 * @param cancel  called when the signal fires first; the promise then rejects with `signal.reason`
 */
export function abortable<T>(operation: Deferred<T>, signal: AbortSignal | undefined, cancel: () => void): Promise<T> {
  if (!signal) return operation.promise
  const onAbort = () => {
    operation.reject(signal.reason)
    cancel()
  }
  if (signal.aborted) onAbort()
  else {
    signal.addEventListener('abort', onAbort, { once: true })
    const done = () => signal.removeEventListener('abort', onAbort)
    operation.promise.then(done, done)
  }
  return operation.promise
}

/** What others wait for as well, given up by this one alone when its signal fires. */
export function shared<T>(operation: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return operation
  const mine = deferred<T>()
  operation.then(mine.resolve, mine.reject)
  return abortable(mine, signal, unset)
}

/** Waits for a promise, for `ms` milliseconds at most, or until a signal fires; how it ends does not matter. */
export function within(promise: Promise<unknown>, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, timerDelay(ms))
    signal?.addEventListener('abort', done)
    promise.then(done, done)
  })
}

/** @throws {UsageError} unless it is a signal, or none */
export function checkSignal(signal: unknown): void {
  if (signal === undefined || typeof (signal as Partial<AbortSignal> | null)?.throwIfAborted === 'function') return
  throw new UsageError('a signal is an AbortSignal')
}

/** Rejects at once when the signal has fired already. */
export function throwIfAborted(options: Abortable | undefined): void {
  if (options?.signal === undefined) return
  checkSignal(options.signal)
  options.signal.throwIfAborted()
}

/** @throws {UsageError} unless it is left out, or a time */
export function checkTimeout(ms: unknown): void {
  if (ms === undefined || (typeof ms === 'number' && ms > 0)) return
  throw new UsageError('timeoutMs is a number of milliseconds above 0')
}
