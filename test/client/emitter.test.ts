/** Listeners: added, disposed, silenced by a signal, and what becomes of what they throw. */

import { afterEach, describe, expect, test, vi } from 'vitest'
import { Emitter } from '../../src/client/emitter.ts'
import { abortable, deferred, handled, throwIfAborted, within } from '../../src/client/operation.ts'
import { ClosedError } from '../../src/errors.ts'

type Events = { a: number; b: string }

describe('listeners', () => {
  test('hear their own events until they are disposed of, in the order they were added', () => {
    const emitter = new Emitter<Events>()
    const heard: unknown[] = []
    const first = emitter.on('a', n => heard.push(['first', n]))
    emitter.on('a', n => heard.push(['second', n]))
    emitter.on('b', text => heard.push(text))
    expect([emitter.hears('a'), emitter.hears('b')]).toEqual([true, true])
    emitter.emit('a', 1)
    first[Symbol.dispose]()
    first[Symbol.dispose]()
    emitter.emit('a', 2)
    emitter.emit('b', 'x')
    expect(heard).toEqual([['first', 1], ['second', 1], ['second', 2], 'x']) // biome-ignore format: one line
  })

  test('nobody listens at first', () => {
    const emitter = new Emitter<Events>()
    expect(emitter.hears('a')).toBe(false)
    emitter.emit('a', 1)
  })

  test('until their signal fires; not at all when it has', () => {
    const emitter = new Emitter<Events>()
    const controller = new AbortController()
    const heard: number[] = []
    emitter.on('a', n => heard.push(n), { signal: controller.signal })
    emitter.emit('a', 1)
    controller.abort()
    emitter.emit('a', 2)
    const never = emitter.on('a', n => heard.push(n), { signal: controller.signal })
    emitter.emit('a', 3)
    expect(emitter.hears('a')).toBe(false)
    never[Symbol.dispose]()
    expect(heard).toEqual([1])
  })

  test('one that is disposed of while an event is told still hears that event, and no later one', () => {
    const emitter = new Emitter<Events>()
    const heard: number[] = []
    emitter.on('a', () => last[Symbol.dispose]())
    const last = emitter.on('a', n => heard.push(n))
    emitter.emit('a', 1)
    emitter.emit('a', 2)
    expect(heard).toEqual([1])
  })
})

describe('what listeners throw', () => {
  afterEach(() => {
    vi.restoreAllMocks()
  })

  /** Errors that are thrown in turns of their own. */
  const uncaught = (): unknown[] => {
    const errors: unknown[] = []
    vi.spyOn(globalThis, 'queueMicrotask').mockImplementation(task => {
      try {
        task()
      } catch (error) {
        errors.push(error)
      }
    })
    return errors
  }

  test('keeps nobody from hearing, and becomes an uncaught exception', async () => {
    const errors = uncaught()
    const emitter = new Emitter<Events>()
    const heard: number[] = []
    const [thrown, rejected] = [new Error('thrown'), new Error('rejected')]
    emitter.on('a', () => {
      throw thrown
    })
    emitter.on('a', () => Promise.reject(rejected))
    emitter.on('a', n => heard.push(n))
    emitter.emit('a', 1)
    await Promise.resolve()
    expect(heard).toEqual([1])
    expect(errors).toEqual([thrown, rejected])
  })

  test('is nothing when it was using what has ended', async () => {
    const errors = uncaught()
    const emitter = new Emitter<Events>()
    emitter.on('a', () => {
      throw new ClosedError('link', 'link')
    })
    emitter.on('a', () => Promise.reject(new ClosedError('link', 'link')))
    emitter.emit('a', 1)
    await Promise.resolve()
    expect(errors).toEqual([])
  })
})

describe('operations', () => {
  test('a signal that has fired cancels at once', async () => {
    const why = new Error('why')
    const operation = deferred<void>()
    let cancelled = 0
    await expect(abortable(operation, AbortSignal.abort(why), () => cancelled++)).rejects.toBe(why)
    expect(cancelled).toBe(1)
    expect(() => throwIfAborted({ signal: AbortSignal.abort(why) })).toThrow(why)
    throwIfAborted(undefined)
  })

  test('a signal that fires afterwards cancels nothing, and is not listened to any more', async () => {
    const controller = new AbortController()
    const removed = vi.spyOn(controller.signal, 'removeEventListener')
    const operation = deferred<number>()
    let cancelled = 0
    const promise = abortable(operation, controller.signal, () => cancelled++)
    operation.resolve(5)
    expect(await promise).toBe(5)
    await Promise.resolve()
    expect(removed).toHaveBeenCalledTimes(1)
    controller.abort()
    expect(cancelled).toBe(0)
  })

  test('waiting within a time: for the promise, the time or the signal, whichever is first', async () => {
    const never = new Promise(() => {})
    const controller = new AbortController()
    await within(Promise.reject(new Error('does not matter')), 1e9)
    await within(never, 1)
    const waiting = within(never, 1e9, controller.signal)
    controller.abort()
    await waiting
  })

  test('a handled promise rejects for whoever awaits it', async () => {
    const why = new Error('why')
    await expect(handled(Promise.reject(why))).rejects.toBe(why)
  })
})
