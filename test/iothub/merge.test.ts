import { describe, expect, it } from 'vitest'
import { merge } from '../../src/iothub/telemetry/merge.ts'
import { pause } from '../waiting.ts'

async function* counting(name: string, count: number, ms = 0, onLeft = () => {}): AsyncGenerator<string> {
  try {
    for (let i = 0; i < count; i++) {
      await pause(ms)
      yield `${name}${i}`
    }
  } finally {
    onLeft()
  }
}

describe('merge', () => {
  it('gives all, each in its order, and ends', async () => {
    const items: string[] = []
    for await (const item of merge([counting('a', 3), counting('b', 0), counting('c', 2)], () => {})) items.push(item)
    expect([...items].sort()).toEqual(['a0', 'a1', 'a2', 'c0', 'c1'])
    expect(items.filter(item => item.startsWith('a'))).toEqual(['a0', 'a1', 'a2'])
  })

  it('of nothing ends', async () => {
    expect(await merge([], () => {}).next()).toEqual({ done: true, value: undefined })
  })

  it('a slow one does not hold up a fast one, nor is it starved', async () => {
    const items: string[] = []
    for await (const item of merge([counting('slow', 2, 20), counting('fast', 5)], () => {})) items.push(item)
    expect(items.indexOf('fast4')).toBeLessThan(items.indexOf('slow1'))
    expect(items).toHaveLength(7)
  })

  it('takes no more than one item ahead of each', async () => {
    let made = 0
    async function* eager(): AsyncGenerator<number> {
      for (;;) yield made++
    }
    const merged = merge([eager()], () => {})
    await merged.next()
    await pause(5)
    expect(made).toBe(1)
    await merged.next()
    await pause(5)
    expect(made).toBe(2)
    await merged.return(undefined)
  })

  it('leaving stops what waits, and leaves each', async () => {
    const left: string[] = []
    let stop = (_: Error): void => {}
    async function* waiting(): AsyncGenerator<string> {
      try {
        await new Promise((_, reject) => {
          stop = reject
        })
      } finally {
        left.push('w')
      }
    }
    const merged = merge([waiting(), counting('a', 9, 0, () => left.push('a'))], () => stop(new Error('stopped')))
    for await (const item of merged) {
      expect(item).toBe('a0')
      break
    }
    expect(left.sort()).toEqual(['a', 'w'])
  })

  it('the error of one is thrown, and the others are left', async () => {
    const left: string[] = []
    async function* failing(): AsyncGenerator<string> {
      yield 'f0'
      throw new Error('broken')
    }
    const items: string[] = []
    const reading = (async () => {
      for await (const item of merge([failing(), counting('a', 99, 0, () => left.push('a'))], () => {}))
        items.push(item)
    })()
    await expect(reading).rejects.toThrow('broken')
    expect(items).toContain('f0')
    expect(left).toEqual(['a'])
  })
})
