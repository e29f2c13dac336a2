/** Unsettled deliveries of a session by link and by range, against what a filter over all of them gives. §2.6.12 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SessionDeliveries } from '../../src/engine/session-deliveries.ts'

interface Delivery {
  link: object
  deliveryId: number
}

describe('by link', () => {
  const step = fc.record({
    add: fc.nat({ max: 1500 }),
    skip: fc.nat({ max: 3 }),
    links: fc.integer({ min: 1, max: 5 }),
    settle: fc.nat({ max: 9 }),
    ends: fc.nat({ max: 4 }),
  })

  test('what a link has is what a filter finds, whenever it is asked', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 8 }), fc.constantFrom(0, 0xfffffa00, 0x7ffffff0), (steps, start) => {
        const deliveries = new SessionDeliveries<Delivery>()
        const links = Array.from({ length: 5 }, () => ({}))
        let id = start
        for (const { add, skip, links: spread, settle, ends } of steps) {
          for (let i = 0; i < add; i++) {
            deliveries.add(id, { link: links[i % spread] as object, deliveryId: id })
            id = (id + 1 + skip) >>> 0
          }
          for (const { deliveryId } of [...deliveries]) if (deliveryId % 10 < settle / 2) deliveries.delete(deliveryId)
          const expected = [...deliveries].filter(({ link }) => link === links[ends])
          expect(deliveries.ofLink(links[ends] as object, expected.length)).toEqual(expected)
        }
      }),
      { numRuns: 60 },
    )
  })
})

describe('by range', () => {
  const filled = (count: number, start = 0) => {
    const deliveries = new SessionDeliveries<Delivery>()
    for (let i = 0; i < count; i++) {
      const deliveryId = (start + i) >>> 0
      deliveries.add(deliveryId, { link: deliveries, deliveryId })
    }
    return deliveries
  }

  test('a short one is free, a wide one is paid for by what has come', () => {
    const deliveries = filled(50_000)
    let walks = 0
    while (deliveries.mayWalk(0, 0x7fffffff)) walks++
    // 2^19 steps, less than what 50,000 deliveries pay for sixteen times over.
    expect(walks).toBe(Math.floor((1 << 19) / 50_000))
    expect([deliveries.mayWalk(5, 5), deliveries.mayWalk(0, 256), deliveries.mayWalk(0, 300)]).toEqual([
      true,
      true,
      false,
    ])
    for (let id = 50_000; id < 60_000; id++) deliveries.add(id, { link: deliveries, deliveryId: id })
    expect([0, 1, 2].map(() => deliveries.mayWalk(0, 0x7fffffff))).toEqual([true, true, false])
  })

  test('a range costs the ids that it has in common with what is held, aside or not', () => {
    const deliveries = filled(1000, 0xffffff00)
    expect([deliveries.width(0, 9), deliveries.width(9, 0), deliveries.width(0xffffff00, 0xffffff00 + 5000)]).toEqual([
      10, 0, 1000,
    ])
    for (let id = 1000; id < 100_000; id += 400) deliveries.add(id, { link: deliveries, deliveryId: id })
    expect(deliveries.width(0, 0x7fffffff)).toBeLessThan(4 * 65_536)
    expect(deliveries.width(0, 0)).toBeLessThanOrEqual(2)
  })
})
