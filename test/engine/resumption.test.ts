/** What becomes of a delivery when its link is resumed: the standard's example, tag by tag, and the rest. §3.4.6 */

import { describe, expect, test } from 'vitest'
import { ACCEPTED, type DeliveryState, RELEASED } from '../../src/definitions/delivery-state.ts'
import { isOutcome } from '../../src/engine/outcomes.ts'
import { positionOf, type Resumption, resumption } from '../../src/engine/resumption.ts'

const at = (sectionNumber: number, sectionOffset: number | bigint): DeliveryState => ({
  type: 'received',
  sectionNumber,
  sectionOffset: BigInt(sectionOffset),
})

/** The example's two maps: at the source null is `undefined`; at the target a tag that is not there is. */
const EXAMPLE: readonly [
  tag: number,
  local: DeliveryState | undefined,
  remote: DeliveryState | null | undefined,
  Resumption,
][] = [
  [1, undefined, undefined, 'resend'],
  [2, undefined, at(3, 0), 'resume'],
  [3, undefined, ACCEPTED, 'settle'],
  [4, undefined, null, 'resume'],
  [5, at(0, 200), undefined, 'resend'],
  [6, at(1, 150), at(2, 0), 'resume'],
  [7, at(0, 500), at(0, 100), 'abort'],
  [8, at(3, 5), ACCEPTED, 'settle'],
  [9, at(2, 0), null, 'abort'],
  [10, ACCEPTED, undefined, 'forget'],
  [11, ACCEPTED, at(1, 2000), 'abort'],
  [12, ACCEPTED, ACCEPTED, 'settle'],
  [13, ACCEPTED, RELEASED, 'restate'],
  [14, ACCEPTED, null, 'abort'],
]

test.each(EXAMPLE)('§3.4.6 delivery-tag %i', (_tag, local, remote, expected) => {
  expect(resumption(local, remote)).toBe(expected)
})

describe('§3.4.6 beyond the example', () => {
  test.each<[string, DeliveryState | undefined, DeliveryState | null | undefined, Resumption]>([
    ['the very place', at(1, 7), at(1, 7), 'resume'],
    ['one byte before it', at(1, 7), at(1, 6), 'abort'],
    ['one byte behind it', at(1, 7), at(1, 8), 'resume'],
    ['an earlier section, further in', at(2, 0), at(1, 2n ** 64n - 1n), 'abort'],
    ['a later section, less far in', at(1, 100), at(2, 0), 'resume'],
    ['the first byte, where the target has nothing', at(0, 0), null, 'resume'],
    ['the same kind of outcome, with other fields', { type: 'rejected', error: undefined }, rejected(), 'settle'],
    ['an outcome that is no message’s', undefined, { type: 'declared', txnId: Uint8Array.of(1) }, 'settle'],
    ['a state of a transaction: no outcome, no place', undefined, posted(), 'resume'],
    ['the same at the source', posted(), at(0, 0), 'resume'],
  ])('%s', (_name, local, remote, expected) => {
    expect(resumption(local, remote)).toBe(expected)
  })
})

function rejected(): DeliveryState {
  return { type: 'rejected', error: { type: 'error', condition: 'x:y', description: undefined, info: undefined } }
}

function posted(): DeliveryState {
  return { type: 'transactional-state', txnId: Uint8Array.of(1), outcome: ACCEPTED }
}

test('§3.4.1 a state that names no place means the beginning', () => {
  expect(positionOf(at(3, 5))).toMatchObject({ sectionNumber: 3, sectionOffset: 5n })
  for (const state of [undefined, null, ACCEPTED, posted()])
    expect(positionOf(state)).toEqual({ sectionNumber: 0, sectionOffset: 0n })
})

test('§3.4 §4.5.5 outcomes are what ends a delivery', () => {
  const modified: DeliveryState = {
    type: 'modified',
    deliveryFailed: true,
    undeliverableHere: false,
    messageAnnotations: undefined,
  }
  const declared: DeliveryState = { type: 'declared', txnId: Uint8Array.of(1) }
  for (const state of [ACCEPTED, RELEASED, rejected(), modified, declared]) expect(isOutcome(state)).toBe(true)
  for (const state of [at(0, 0), posted()]) expect(isOutcome(state)).toBe(false)
})
