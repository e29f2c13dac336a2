/** What nobody has taken: how long it waits, what it costs, and what happens when it ends first. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { IncomingQueue } from '../../src/client/incoming.ts'

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
