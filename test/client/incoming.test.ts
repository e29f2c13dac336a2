/** What nobody has taken: how long it waits, what it costs, and what happens when it ends first. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { IncomingQueue } from '../../src/client/serving/incoming.ts'

interface Item {
  over: boolean
}

let refused: Item[]
let queue: IncomingQueue<Item>
const push = (item: Item = { over: false }): Item => {
  queue.push(item, () => item.over)
  return item
}

beforeEach(() => {
  vi.useFakeTimers()
  refused = []
  queue = new IncomingQueue<Item>(
    () => false,
    item => void refused.push(item),
  )
})
afterEach(() => {
  vi.useRealTimers()
})

describe('waiting for a taker', () => {
  test('each is refused after a second of its own, with one timer for all', () => {
    const first = push()
    vi.advanceTimersByTime(600)
    const second = push()
    expect(vi.getTimerCount()).toBe(1)
    vi.advanceTimersByTime(500)
    expect(refused).toEqual([first])
    vi.advanceTimersByTime(600)
    expect(refused).toEqual([first, second])
    expect(vi.getTimerCount()).toBe(0)
  })

  test('ten thousand at once are refused in slices, in order', () => {
    const items = Array.from({ length: 10_000 }, () => push())
    vi.advanceTimersByTime(1001)
    expect(refused.length).toBeGreaterThan(0)
    expect(refused.length).toBeLessThan(1000)
    vi.advanceTimersByTime(1000)
    expect(refused).toEqual(items)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('what is over is not refused, not handed out, and not kept', async () => {
    for (let i = 0; i < 10_000; i++) push().over = true
    expect(queue.length).toBeLessThan(20)
    const alive = push()
    expect(await queue[Symbol.asyncIterator]().next()).toEqual({ done: false, value: alive })
    vi.advanceTimersByTime(2000)
    expect(refused).toEqual([])
  })

  test('what still waits when the last loop is left is refused in time', async () => {
    const loop = queue[Symbol.asyncIterator]()
    const item = push()
    vi.advanceTimersByTime(5000)
    expect(refused).toEqual([])
    await loop.return?.()
    vi.advanceTimersByTime(1100)
    expect(refused).toEqual([item])
  })

  test('a refusal that fails disturbs nobody', () => {
    let calls = 0
    queue = new IncomingQueue<Item>(
      () => false,
      () => {
        calls++
        throw new Error('gone')
      },
    )
    push()
    push()
    expect(() => vi.advanceTimersByTime(1100)).not.toThrow()
    expect(calls).toBe(2)
  })
})

describe('takers', () => {
  const over = { done: true, value: undefined }

  test('who waits first is served first; the end ends all that wait, and all that ask later', async () => {
    const [one, two, three] = [0, 1, 2].map(() => queue[Symbol.asyncIterator]())
    const waiting = [one?.next(), two?.next(), three?.next()]
    const items = [push(), push()]
    expect(await Promise.all(waiting.slice(0, 2))).toEqual(items.map(value => ({ done: false, value })))
    queue.end()
    expect(await waiting[2]).toEqual(over)
    expect(await one?.next()).toEqual(over)
    push()
    expect([await two?.next(), queue.length]).toEqual([over, 0])
  })

  test('a loop that was left takes nothing, however often it is left', async () => {
    const loop = queue[Symbol.asyncIterator]()
    expect(await loop.return?.()).toEqual(over)
    expect(await loop.return?.()).toEqual(over)
    const item = push()
    expect(await loop.next()).toEqual(over)
    // It does not count as a taker either: the item is refused in time.
    vi.advanceTimersByTime(1100)
    expect(refused).toEqual([item])
    // The next loop does count, also while it is busy with something else.
    const next = queue[Symbol.asyncIterator]()
    const kept = push()
    vi.advanceTimersByTime(5000)
    expect(refused).toEqual([item])
    expect(await next.next()).toEqual({ done: false, value: kept })
  })

  test('a listener that comes late is given what waits, but not what is over', () => {
    const taken: Item[] = []
    let listens = false
    queue = new IncomingQueue<Item>(
      item => listens && taken.push(item) > 0,
      item => void refused.push(item),
    )
    const [gone, kept] = [push(), push()]
    gone.over = true
    listens = true
    queue.offer()
    const direct = push()
    expect(taken).toEqual([kept, direct])
    vi.advanceTimersByTime(2000)
    expect([refused, queue.length]).toEqual([[], 0])
  })

  test('what is over when its time has come is not refused; what ended with the queue neither', () => {
    push().over = true
    vi.advanceTimersByTime(1100)
    push()
    queue.end()
    vi.advanceTimersByTime(2000)
    expect(refused).toEqual([])
  })
})
