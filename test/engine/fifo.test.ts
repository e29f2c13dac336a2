/** The queue against an array. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Fifo } from '../../src/engine/fifo.ts'

test('any sequence does what an array does', () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.constant('push' as const) },
    { weight: 5, arbitrary: fc.constant('shift' as const) },
    {
      weight: 1,
      arbitrary: fc.constantFrom('drain' as const, 'peek' as const, 'remove' as const, 'removeNone' as const),
    },
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), steps => {
      const fifo = new Fifo<{ n: number }>()
      const model: { n: number }[] = []
      for (const [n, step] of steps.entries()) {
        const item = { n }
        if (step === 'push') {
          fifo.push(item)
          model.push(item)
        } else if (step === 'shift') expect(fifo.shift()).toBe(model.shift())
        else if (step === 'peek') expect(fifo.peek()).toBe(model[0])
        else if (step === 'drain') expect(fifo.drain()).toEqual(model.splice(0))
        else if (step === 'removeNone') expect(fifo.remove(item)).toBe(false)
        else {
          const some = model[n % Math.max(model.length, 1)]
          if (some) expect(fifo.remove(some)).toBe(true)
          if (some) model.splice(model.indexOf(some), 1)
        }
        expect(fifo.length).toBe(model.length)
      }
      expect([...fifo]).toEqual(model)
    }),
  )
})

test('what has been taken out is not found any more', () => {
  const fifo = new Fifo<string>()
  fifo.push('a')
  fifo.push('b')
  fifo.shift()
  expect(fifo.remove('a')).toBe(false)
  expect(fifo.length).toBe(1)
})

test('long queues: across the places where the array is made anew', () => {
  const fifo = new Fifo<number>()
  let [next, out] = [0, 0]
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 1500; i++) fifo.push(next++)
    for (let i = 0; i < 1400; i++) expect(fifo.shift()).toBe(out++)
    expect(fifo.peek()).toBe(out)
    expect(fifo.length).toBe(next - out)
  }
  while (fifo.length > 0) expect(fifo.shift()).toBe(out++)
  expect(out).toBe(next)
  expect(fifo.shift()).toBeUndefined()
  expect(fifo.peek()).toBeUndefined()
})

test.each([1024, 1025, 1026, 3000])('%i items, taken out to the last, leave an empty queue that works on', count => {
  const fifo = new Fifo<number>()
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < count; i++) fifo.push(i)
    for (let i = 0; i < count; i++) expect(fifo.shift()).toBe(i)
    expect([fifo.length, fifo.shift(), [...fifo]]).toEqual([0, undefined, []])
  }
})
