/** The ring of unsettled deliveries against a Map (§2.6.12): look-up, ranges, holes, and the wrap at 2^32. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { serialAdd, serialDistance } from '../../src/engine/serial.ts'
import { UnsettledRing } from '../../src/engine/unsettled.ts'

const MAX = 0xffffffff

/** What a Map says is between two ids, in the order of the ids. */
function between(model: ReadonlyMap<number, string>, first: number, last: number): [number, string][] {
  const span = serialDistance(last, first)
  return [...model]
    .filter(([id]) => span >= 0 && serialDistance(id, first) >= 0 && serialDistance(id, first) <= span)
    .sort(([a], [b]) => serialDistance(a, b))
}

function visited(ring: UnsettledRing<string>, first: number, last: number): [number, string][] {
  const seen: [number, string][] = []
  ring.range(first, last, (delivery, id) => seen.push([id, delivery]))
  return seen
}

describe('§2.6.12 unsettled deliveries', () => {
  test('by id, across the wrap', () => {
    const ring = new UnsettledRing<string>()
    for (let i = 0; i < 6; i++) ring.add(serialAdd(MAX - 2, i), `d${i}`)
    expect(ring.count).toBe(6)
    expect([MAX - 2, MAX, 0, 2, 3, MAX - 3].map(id => ring.get(id))).toEqual([
      'd0',
      'd2',
      'd3',
      'd5',
      undefined,
      undefined,
    ])
    expect(visited(ring, MAX, 1)).toEqual([
      [MAX, 'd2'],
      [0, 'd3'],
      [1, 'd4'],
    ])
    expect([...ring]).toEqual(['d0', 'd1', 'd2', 'd3', 'd4', 'd5'])
  })

  test('a range from last to first is empty, one that covers half the circle costs what is held', () => {
    const ring = new UnsettledRing<string>()
    ring.add(5, 'x')
    expect(visited(ring, 6, 5)).toEqual([])
    expect(visited(ring, 0, 0x7fffffff)).toEqual([[5, 'x']])
    expect(visited(ring, MAX, 0x7ffffffe)).toEqual([[5, 'x']])
  })

  test('one left for ever does not keep the ring growing', () => {
    const ring = new UnsettledRing<string>(16)
    ring.add(0, 'old')
    for (let id = 1; id < 100_000; id++) {
      ring.add(id, `d${id}`)
      if (id > 3) ring.delete(id - 3)
    }
    expect([ring.count, ring.get(0), ring.get(50_000)]).toEqual([4, 'old', undefined])
    expect(visited(ring, 0, 99_998).map(([id]) => id)).toEqual([0, 99_997, 99_998])
    ring.delete(0)
    expect(ring.get(0)).toBeUndefined()
  })

  test('settling while a range is walked', () => {
    const ring = new UnsettledRing<string>()
    for (let id = 0; id < 40; id++) ring.add(id, `d${id}`)
    let seen = 0
    ring.range(5, 30, (_delivery, id) => {
      ring.delete(id)
      seen++
    })
    expect([seen, ring.count]).toEqual([26, 14])
    expect(visited(ring, 0, 39).map(([id]) => id)).toEqual([0, 1, 2, 3, 4, 31, 32, 33, 34, 35, 36, 37, 38, 39])
  })

  test('any sequence does what a Map does', () => {
    const step = fc.oneof(
      { weight: 160, arbitrary: fc.constant({ do: 'add' as const, a: 0, b: 0 }) },
      {
        weight: 140,
        arbitrary: fc.record({ do: fc.constant('delete' as const), a: fc.nat({ max: 300 }), b: fc.constant(0) }),
      },
      {
        weight: 40,
        arbitrary: fc.record({ do: fc.constant('settle' as const), a: fc.nat({ max: 300 }), b: fc.nat({ max: 60 }) }),
      },
      { weight: 40, arbitrary: fc.record({ do: fc.constant('range' as const), a: fc.nat({ max: 300 }), b: fc.nat() }) },
      { weight: 1, arbitrary: fc.constant({ do: 'clear' as const, a: 0, b: 0 }) },
    ) as fc.Arbitrary<{ do: 'add' | 'delete' | 'settle' | 'range' | 'clear'; a: number; b: number }>
    const start = fc.oneof(fc.constantFrom(0, MAX - 10, MAX - 100, 0x7fffffff), fc.integer({ min: 0, max: MAX }))
    fc.assert(
      fc.property(
        start,
        fc.constantFrom(1, 2, 16),
        fc.array(step, { maxLength: 500, size: 'max' }),
        (first, capacity, steps) => {
          const ring = new UnsettledRing<string>(capacity)
          const model = new Map<number, string>()
          let next = first
          for (const { do: what, a, b } of steps) {
            const id = serialAdd(next, -a)
            if (what === 'add') {
              const delivery = `d${next}`
              ring.add(next, delivery)
              model.set(next, delivery)
              next = serialAdd(next, 1)
            } else if (what === 'delete') {
              ring.delete(id)
              model.delete(id)
            } else if (what === 'clear') {
              ring.clear()
              model.clear()
            } else if (what === 'range') {
              const last = serialAdd(id, b % 400)
              expect(sorted(visited(ring, id, last))).toEqual(between(model, id, last))
            } else {
              const last = serialAdd(id, b)
              const expected = between(model, id, last)
              const seen: [number, string][] = []
              ring.range(id, last, (delivery, at) => {
                seen.push([at, delivery])
                ring.delete(at)
              })
              expect(sorted(seen)).toEqual(expected)
              for (const [at] of expected) model.delete(at)
            }
            same(ring.count, model.size)
            same(ring.get(id), model.get(id))
          }
          expect([...ring].sort()).toEqual([...model.values()].sort())
          for (let back = 0; back < 400; back++) {
            const id = serialAdd(next, -back)
            same(ring.get(id), model.get(id))
          }
        },
      ),
      { numRuns: 200 },
    )
  })
})

const sorted = (seen: [number, string][]): [number, string][] => [...seen].sort(([a], [b]) => serialDistance(a, b))

/** As `expect(a).toBe(b)`, at the price of a comparison while they are the same. */
function same(a: unknown, b: unknown): void {
  if (a !== b) expect(a).toBe(b)
}

test('§2.6.12 what was set aside is found by a range shorter than what is aside, and goes when all goes', () => {
  const ring = new UnsettledRing<string>(4)
  // Three of a hundred stay: the ring passes them by.
  for (let id = 0; id < 100; id++) {
    ring.add(id, `d${id}`)
    if (id % 10 !== 0 || id > 20) ring.delete(id)
  }
  expect([...ring]).toEqual(['d0', 'd10', 'd20'])
  expect(visited(ring, 9, 10)).toEqual([[10, 'd10']])
  expect(visited(ring, 11, 12)).toEqual([])
  expect(visited(ring, 5, 50)).toEqual([
    [10, 'd10'],
    [20, 'd20'],
  ])
  for (const id of [100, 101, 102]) ring.add(id, `d${id}`)
  // Between two that are there.
  expect([ring.delete(101), ring.delete(101), ring.get(101), ring.count]).toEqual([true, false, undefined, 5])
  ring.clear()
  expect([ring.count, [...ring], ring.get(10), ring.get(100)]).toEqual([0, [], undefined, undefined])
  ring.add(103, 'next')
  expect(ring.get(103)).toBe('next')
})
