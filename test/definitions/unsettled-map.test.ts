/** The unsettled map of an attach: there and back, cut to a frame, and what is none. §2.7.3 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ACCEPTED, type DeliveryState, RELEASED } from '../../src/definitions/delivery-state.ts'
import {
  fittingEntries,
  statesByTag,
  tagText,
  type UnsettledEntry,
  unsettledField,
} from '../../src/definitions/unsettled-map.ts'
import { DecodeError, EncodeError } from '../../src/errors.ts'
import { Reader } from '../../src/types/reader.ts'
import { Writer } from '../../src/types/writer.ts'
import { accepted, received } from '../peer/composites.ts'
import { decodeAll, encode, toHex, type Wire } from '../peer/wire.ts'

const tag = fc.uint8Array({ maxLength: 32 })
const state = fc.oneof(
  fc.constantFrom<(DeliveryState | undefined)[]>(undefined, ACCEPTED, RELEASED, { type: 'rejected', error: undefined }),
  fc.record({
    type: fc.constant('received' as const),
    sectionNumber: fc.oneof(fc.nat({ max: 300 }), fc.nat({ max: 0xffffffff })),
    sectionOffset: fc.oneof(fc.bigInt(0n, 300n), fc.bigInt(0n, 2n ** 64n - 1n)),
  }),
)
const entries = fc.array(fc.tuple(tag, state), { maxLength: 140, size: 'max' })

function written(all: readonly UnsettledEntry[]): Uint8Array {
  const writer = new Writer()
  unsettledField.write(writer, all)
  return writer.copy()
}

function read(bytes: Uint8Array): readonly UnsettledEntry[] {
  const reader = new Reader(bytes)
  const all = unsettledField.read(reader)
  expect(reader.offset).toBe(bytes.length)
  return all
}

const sent = (...pairs: [Wire, Wire][]): Uint8Array => encode({ t: 'map', v: pairs })
const binary = (...bytes: number[]): Wire => ({ t: 'binary', v: toHex(Uint8Array.from(bytes)) })
const NULL: Wire = { t: 'null', v: null }

describe('§2.7.3 there and back', () => {
  test('any entries, in order', () => {
    fc.assert(
      fc.property(entries, all => {
        expect(read(written(all))).toEqual(all)
      }),
    )
  })

  test('as another codec has it', () => {
    const all: UnsettledEntry[] = [
      [Uint8Array.of(1), undefined],
      [Uint8Array.of(), ACCEPTED],
      [new Uint8Array(32), { type: 'received', sectionNumber: 3, sectionOffset: 5n }],
    ]
    const wire: [Wire, Wire][] = [
      [binary(1), NULL],
      [binary(), accepted()],
      [binary(...new Uint8Array(32)), received({ sectionNumber: 3, sectionOffset: 5n })],
    ]
    expect(decodeAll(written(all))).toEqual([{ t: 'map', v: wire }])
    expect(read(sent(...wire))).toEqual(all)
  })

  test('none: a map without entries, which is not null', () => {
    expect(toHex(written([]))).toBe('c10100')
    expect(read(sent())).toEqual([])
  })
})

describe('§2.7.3 what is no such map', () => {
  test.each<[string, Uint8Array]>([
    ['a key that is null', sent([NULL, accepted()])],
    ['a key that is a string', sent([{ t: 'string', v: 'a' }, accepted()])],
    ['a key that is a symbol', sent([{ t: 'symbol', v: 'a' }, accepted()])],
    ['a key of 33 bytes', sent([binary(...new Uint8Array(33)), accepted()])],
    ['a value that is no delivery state', sent([binary(1), { t: 'uint', v: 1 }])],
    ['a value that is described, as something else', sent([binary(1), described(0x28n)])],
    ['a value that nobody knows', sent([binary(1), described(0x1234n)])],
    ['a received without its fields', sent([binary(1), described(0x23n)])],
    ['an odd number of items', Uint8Array.of(0xc1, 0x03, 0x01, 0xa0, 0x00)],
    ['more items than bytes', Uint8Array.of(0xc1, 0x01, 0x02)],
    ['a list', encode({ t: 'list', v: [binary(1), NULL] })],
    ['nothing', new Uint8Array(0)],
  ])('%s', (_name, bytes) => {
    expect(() => read(bytes)).toThrow(DecodeError)
  })

  test('a tag of 33 bytes is not written', () => {
    expect(() => written([[new Uint8Array(33), undefined]])).toThrow(EncodeError)
  })
})

function described(descriptor: bigint): Wire {
  return { t: 'described', v: { descriptor: { t: 'ulong', v: descriptor }, value: { t: 'list', v: [] } } }
}

describe('§2.7.3 as many entries as fit', () => {
  test('to the byte, whatever the entries and the room', () => {
    fc.assert(
      fc.property(entries, fc.nat({ max: 6000 }), (all, room) => {
        const { unsettled, incompleteUnsettled } = fittingEntries(all, room)
        expect(unsettled).toEqual(all.slice(0, unsettled.length))
        expect(incompleteUnsettled).toBe(unsettled.length < all.length)
        if (unsettled.length > 0) expect(written(unsettled).length).toBeLessThanOrEqual(room)
        if (incompleteUnsettled) expect(written(all.slice(0, unsettled.length + 1)).length).toBeGreaterThan(room)
      }),
    )
  })

  test.each([1, 62, 63, 127, 128, 200])('%i entries have exactly the room that they need', count => {
    const all = Array.from({ length: count }, (_, i): UnsettledEntry => [Uint8Array.of(i), undefined])
    const room = written(all).length
    expect(fittingEntries(all, room)).toEqual({ unsettled: all, incompleteUnsettled: false })
    const less = fittingEntries(all, room - 1)
    expect(less.incompleteUnsettled).toBe(true)
    expect(less.unsettled.length).toBeLessThan(count)
  })

  test('asks for no more of them than it can use', () => {
    let asked = 0
    function* endless(): Generator<UnsettledEntry> {
      for (;;) yield [Uint8Array.of(asked++ & 0xff), undefined]
    }
    expect(fittingEntries(endless(), 100).unsettled).toHaveLength(24)
    expect(asked).toBe(25)
  })

  test('no room at all', () => {
    expect(fittingEntries([[Uint8Array.of(1), undefined]], -20)).toEqual({ unsettled: [], incompleteUnsettled: true })
    expect(fittingEntries([], -20)).toEqual({ unsettled: [], incompleteUnsettled: false })
  })
})

test('§2.7.3 states by tag: every byte counts, null is not absent, the last of two holds', () => {
  const states = statesByTag([
    [Uint8Array.of(0, 255), undefined],
    [Uint8Array.of(0), RELEASED],
    [Uint8Array.of(0), ACCEPTED],
  ])
  expect(states.get(tagText(Uint8Array.of(0, 255)))).toBeNull()
  expect(states.get(tagText(Uint8Array.of(0)))).toBe(ACCEPTED)
  expect(states.get(tagText(Uint8Array.of(0, 0)))).toBeUndefined()
  expect(statesByTag(undefined).size).toBe(0)
})
