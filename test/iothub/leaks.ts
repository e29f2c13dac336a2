/** What is left over: timers that are set, and listeners on signals that have not fired. Counted from when it is begun. */

export interface Leaks extends Disposable {
  /** Timers that neither were cleared nor have fired, by what set them. */
  timers(): string[]
  /** Listeners on signals that have not fired. */
  listeners(): number
}

export function watchLeaks(): Leaks {
  const { setTimeout: set, clearTimeout: clear } = globalThis
  const { addEventListener: add, removeEventListener: remove } = AbortSignal.prototype
  const timers = new Map<unknown, string>()
  const listeners = new Map<AbortSignal, Set<unknown>>()
  globalThis.setTimeout = ((callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) => {
    const timer = set(() => {
      timers.delete(timer)
      callback(...args)
    }, ms)
    timers.set(timer, `${ms} ms, ${new Error().stack?.split('\n')[2]?.trim()}`)
    return timer
  }) as typeof setTimeout
  globalThis.clearTimeout = (timer => {
    timers.delete(timer)
    clear(timer)
  }) as typeof clearTimeout
  AbortSignal.prototype.addEventListener = function (this: AbortSignal, ...args: Parameters<typeof add>) {
    if (args[0] === 'abort') listeners.set(this, (listeners.get(this) ?? new Set()).add(args[1]))
    add.apply(this, args)
  }
  AbortSignal.prototype.removeEventListener = function (this: AbortSignal, ...args: Parameters<typeof remove>) {
    listeners.get(this)?.delete(args[1])
    remove.apply(this, args)
  }
  return {
    timers: () => [...timers.values()],
    listeners: () => [...listeners].reduce((sum, [signal, of]) => sum + (signal.aborted ? 0 : of.size), 0),
    [Symbol.dispose]() {
      Object.assign(globalThis, { setTimeout: set, clearTimeout: clear })
      Object.assign(AbortSignal.prototype, { addEventListener: add, removeEventListener: remove })
    },
  }
}
