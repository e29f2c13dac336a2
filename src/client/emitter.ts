/** A few typed events. Listeners are added with `on`, which gives something to dispose. */

import { ClosedError, DecodeError, UsageError } from '../errors.ts'
import type { Emits } from './api-events.ts'
import { checkSignal } from './operation.ts'
import type { Abortable } from './options.ts'

export class Emitter<Events> implements Emits<Events> {
  #listeners: { readonly type: keyof Events; readonly listener: (event: never) => unknown }[] | undefined

  on<K extends keyof Events>(type: K, listener: (event: Events[K]) => unknown, options: Abortable = {}): Disposable {
    if (this.eventNames && !this.eventNames.includes(type as string))
      throw new UsageError(`there is no event ${JSON.stringify(type)} here, only ${this.eventNames.join(', ')}`)
    if (typeof listener !== 'function') throw new UsageError('a listener is a function')
    checkSignal(options.signal)
    const entry = { type, listener: listener as (event: never) => unknown }
    const off = () => {
      this.#listeners = this.#listeners?.filter(have => have !== entry)
      options.signal?.removeEventListener('abort', off)
    }
    if (options.signal?.aborted) return { [Symbol.dispose]: off }
    this.#listeners = [...(this.#listeners ?? []), entry]
    options.signal?.addEventListener('abort', off, { once: true })
    this.onListener(type)
    return { [Symbol.dispose]: off }
  }

  /** A listener was added: what has waited for one is to be told now. */
  protected onListener(_type: keyof Events): void {}

  /** What there is to listen to; `undefined`: anything. */
  protected get eventNames(): readonly string[] | undefined {
    return undefined
  }

  /** Whether anybody listens. */
  hears(type: keyof Events): boolean {
    return this.#listeners?.some(entry => entry.type === type) === true
  }

  /**
   * A listener that throws, or rejects, does not keep the others from hearing: its error becomes an uncaught exception.
   * One that rejects with `ClosedError` was using something that has ended, which `closed` tells: that is no exception.
   *
   * @param blame  what a `DecodeError` is given to: what the peer sent must not end the process
   */
  emit<K extends keyof Events>(type: K, event: Events[K], blame?: (error: DecodeError) => void): void {
    const fail = (error: unknown) => (blame && error instanceof DecodeError ? blame(error) : raise(error))
    for (const entry of this.#listeners ?? []) {
      if (entry.type !== type) continue
      try {
        const result: unknown = entry.listener(event as never)
        if (result instanceof Promise) result.catch(fail)
      } catch (error) {
        fail(error)
      }
    }
  }
}

/** Makes an error uncaught, in a turn of its own. */
export function raise(error: unknown): void {
  if (error instanceof ClosedError) return
  queueMicrotask(() => {
    throw error
  })
}

/** Where nobody else wants to know: a warning of the process, which prints it. */
export const warn = (error: unknown): void => {
  globalThis.process?.emitWarning(error instanceof Error ? error : new Error(String(error)))
}
