/** Channels and handles (§2.5.1, §2.6.2): always the lowest that is free, against a set that does the obvious. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Numbering } from '../../src/engine/numbering.ts'

describe('Numbering', () => {
  test('§2.5.1 counts from 0, fills holes first, says −1 when full', () => {
    const numbers = new Numbering<string>(2)
    expect([...'abc'].map(item => numbers.assign(item))).toEqual([0, 1, 2])
    expect(numbers.assign('d')).toBe(-1)
    numbers.release(1)
    expect(numbers.get(1)).toBeUndefined()
    expect(numbers.assign('d')).toBe(1)
    expect([...numbers]).toEqual(['a', 'd', 'c'])
    expect(numbers.count).toBe(3)
  })

  test('§2.6.2 numbers that the peer chose', () => {
    const numbers = new Numbering<string>(100)
    numbers.set(5, 'x')
    expect([numbers.get(5), numbers.get(4), numbers.get(6), numbers.get(1000), numbers.count]).toEqual([
      'x',
      undefined,
      undefined,
      undefined,
      1,
    ])
    numbers.set(5, 'y')
    expect([numbers.get(5), numbers.count]).toEqual(['y', 1])
    expect([0, 1, 2, 3, 4, 5].map(i => numbers.assign(String(i)))).toEqual([0, 1, 2, 3, 4, 6])
  })

  test('a lower max counts from then on', () => {
    const numbers = new Numbering<string>(10)
    numbers.assign('a')
    numbers.assign('b')
    numbers.max = 1
    expect(numbers.assign('c')).toBe(-1)
    numbers.release(0)
    expect(numbers.assign('c')).toBe(0)
  })

  test('§2.7.1 a number is kept for each answer that is owed', () => {
    const numbers = new Numbering<string>(2)
    numbers.owed = 2
    expect(numbers.hasRoom).toBe(true)
    expect(numbers.assign('ours')).toBe(0)
    expect([numbers.hasRoom, numbers.assign('ours too')]).toEqual([false, -1])
    expect([numbers.assign('answer', true), numbers.assign('answer', true), numbers.owed]).toEqual([1, 2, 0])
    expect([numbers.hasRoom, numbers.assign('ours too')]).toEqual([false, -1])
    numbers.release(1)
    expect([numbers.hasRoom, numbers.assign('ours too')]).toEqual([true, 1])
  })

  test('releasing what is free changes nothing', () => {
    const numbers = new Numbering<string>(10)
    numbers.release(0)
    numbers.release(7)
    numbers.assign('a')
    numbers.release(0)
    numbers.release(0)
    expect([numbers.count, numbers.assign('b'), numbers.assign('c')]).toEqual([0, 0, 1])
  })

  test('§2.6.2 numbers far apart cost an entry each', () => {
    const numbers = new Numbering<string>(0xffffffff)
    // An array of 2^32 − 1 holes would never be filled.
    for (const number of [0xffffffff, 0x10000, 30, 0]) numbers.set(number, `${number}`)
    expect([0xffffffff, 0x10000, 30, 0, 1].map(number => numbers.get(number))).toEqual([
      '4294967295',
      '65536',
      '30',
      '0',
      undefined,
    ])
    expect(numbers.count).toBe(4)
    for (let i = 1; i < 40; i++) if (i !== 30) expect(numbers.assign(`${i}`)).toBe(i)
    expect([numbers.get(30), numbers.assign('next'), numbers.count]).toEqual(['30', 40, 43])
    numbers.set(0x10000, 'again')
    numbers.release(0xffffffff)
    expect([numbers.get(0x10000), numbers.get(0xffffffff), numbers.count]).toEqual(['again', undefined, 42])
    expect([...numbers].slice(-2)).toEqual(['next', 'again'])
  })

  test('any sequence does what a map and a search from 0 do', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('assign' as const) }),
      fc.record({ do: fc.constantFrom('release' as const, 'set' as const), number: fc.nat({ max: 40 }) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 0, max: 30 }), (steps, max) => {
        const numbers = new Numbering<number>(max)
        const model = new Map<number, number>()
        for (const [item, step] of steps.entries()) {
          if (step.do === 'assign') {
            let free = 0
            while (model.has(free)) free++
            expect(numbers.assign(item)).toBe(free > max ? -1 : free)
            if (free <= max) model.set(free, item)
          } else if (step.do === 'set') {
            numbers.set(step.number, item)
            model.set(step.number, item)
          } else {
            numbers.release(step.number)
            model.delete(step.number)
          }
          expect(numbers.count).toBe(model.size)
        }
        for (let number = 0; number < 50; number++) expect(numbers.get(number)).toBe(model.get(number))
        expect([...numbers].sort()).toEqual([...model.values()].sort())
      }),
    )
  })
})
