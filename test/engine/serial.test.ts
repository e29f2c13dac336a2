/** RFC 1982 arithmetic on 32 bits (§2.8.10): around the wrap, and its laws. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { serialAdd, serialDistance, serialLess, serialMax } from '../../src/engine/serial.ts'

const MAX = 0xffffffff
const HALF = 0x80000000
const serial = fc.oneof(fc.constantFrom(0, 1, HALF - 1, HALF, HALF + 1, MAX - 1, MAX), fc.integer({ min: 0, max: MAX }))

describe('§2.8.10 serial numbers', () => {
  test.each([
    [0, 1, 1],
    [MAX, 1, 0],
    [MAX, 2, 1],
    [0, -1, MAX],
    [5, -10, MAX - 4],
    [HALF, HALF - 1, MAX],
    [HALF, HALF, 0],
    [MAX, MAX, MAX - 1],
  ])('%i + %i = %i', (a, count, sum) => {
    expect(serialAdd(a, count)).toBe(sum)
  })

  test.each([
    [0, 0, 0],
    [1, 0, 1],
    [0, 1, -1],
    [0, MAX, 1],
    [MAX, 0, -1],
    [3, MAX - 2, 6],
    [HALF - 1, 0, HALF - 1],
    [HALF + 1, 0, -HALF + 1],
  ])('%i is %i + %i', (a, b, distance) => {
    expect(serialDistance(a, b)).toBe(distance)
  })

  test.each([
    [0, 1, true],
    [1, 0, false],
    [0, 0, false],
    [MAX, 0, true],
    [0, MAX, false],
    [MAX - 5, 5, true],
    [0, HALF - 1, true],
    [0, HALF + 1, false],
  ])('%i < %i: %s', (a, b, less) => {
    expect(serialLess(a, b)).toBe(less)
    expect(serialMax(a, b)).toBe(less ? b : a)
  })

  test('adding less than half the circle goes forward, and the distance tells how far', () => {
    fc.assert(
      fc.property(serial, fc.integer({ min: 1, max: HALF - 1 }), (a, count) => {
        const b = serialAdd(a, count)
        expect(b).toBe(Number((BigInt(a) + BigInt(count)) % 2n ** 32n))
        expect(serialLess(a, b)).toBe(true)
        expect(serialLess(b, a)).toBe(false)
        expect(serialDistance(b, a)).toBe(count)
        expect(serialDistance(a, b)).toBe(-count)
        expect(serialMax(a, b)).toBe(b)
        expect(serialMax(b, a)).toBe(b)
        expect(serialAdd(b, -count)).toBe(a)
      }),
    )
  })
})
