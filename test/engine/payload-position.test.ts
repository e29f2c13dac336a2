/** Places in a payload: whatever is cut where, both ends come to the same byte. §3.4.1 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { endPosition, joined, offsetOf, Sections } from '../../src/engine/payload-position.ts'
import type { Position } from '../../src/engine/resumption.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { concat, fromHex } from '../peer/wire.ts'

const at = (sectionNumber: number, sectionOffset: number | bigint): Position => ({
  sectionNumber,
  sectionOffset: BigInt(sectionOffset),
})

/** Cuts after each byte: what the receiver says it has is what the sender finds again. */
function cutAnywhere(bytes: Uint8Array): void {
  for (let cut = 0; cut <= bytes.length; cut++) {
    const position = endPosition(bytes.subarray(0, cut))
    if (offsetOf(bytes, position) !== cut)
      throw new Error(`cut after ${cut}: section ${position.sectionNumber} + ${position.sectionOffset}`)
    // Whoever resumes may say it back to the receiver.
    expect(offsetOf(bytes.subarray(0, cut), position)).toBe(cut)
  }
}

const big = new Uint8Array(300).fill(7)
/** Sections of every width, as they are on the wire. */
const SECTIONS: readonly [string, Uint8Array][] = [
  ['amqp-value null, no width', fromHex('00 53 77 40')],
  ['amqp-value of one byte', fromHex('00 53 77 50 07')],
  ['amqp-value of two bytes', fromHex('00 53 77 60 0007')],
  ['amqp-value of four bytes', fromHex('00 53 77 70 00000007')],
  ['amqp-value of eight bytes', fromHex('00 53 77 80 0000000000000007')],
  ['amqp-value of sixteen bytes', fromHex('00 53 77 98 000102030405060708090a0b0c0d0e0f')],
  ['data, size of one byte', fromHex('00 53 75 a0 03 010203')],
  ['data, size of four bytes', concat(fromHex('00 53 75 b0 0000012c'), big)],
  ['data, empty', fromHex('00 53 75 a0 00')],
  ['header, the empty list', fromHex('00 53 70 45')],
  ['header, a small list', fromHex('00 53 70 c0 02 01 41')],
  ['properties, a large list', fromHex('00 53 73 d0 00000005 00000001 40')],
  ['application-properties, a small map', fromHex('00 53 74 c1 06 02 a1 01 61 54 01')],
  ['application-properties, a large map', fromHex('00 53 74 d1 00000004 00000000')],
  ['amqp-value, an array', fromHex('00 53 77 e0 04 02 50 0102')],
  ['descriptor of eight bytes', fromHex('00 80 0000000000000075 a0 01 ff')],
  ['descriptor in symbol form', concat(fromHex('00 a3 10'), Buffer.from('amqp:data:binary'), fromHex('a0 01 ff'))],
  [
    'descriptor in symbol form, size of four bytes',
    concat(fromHex('00 b3 00000010'), Buffer.from('amqp:data:binary'), fromHex('a0 01 ff')),
  ],
  ['a described value in a section', fromHex('00 53 77 00 a3 01 61 00 53 05 a1 02 6869')],
  ['a described descriptor', fromHex('00 00 53 01 53 02 a0 01 ff')],
]

describe('§3.4.1 a section of each width, cut after each byte', () => {
  test.each(SECTIONS)('%s', (_name, section) => {
    expect(endPosition(section)).toEqual(at(1, 0))
    expect(endPosition(section.subarray(0, -1))).toEqual(at(0, section.length - 1))
    cutAnywhere(section)
    cutAnywhere(concat(section, section))
  })

  test('all of them, one behind the other', () => {
    const payload = concat(...SECTIONS.map(([, section]) => section))
    expect(endPosition(payload)).toEqual(at(SECTIONS.length, 0))
    cutAnywhere(payload)
  })

  test('the sections of a message', () => {
    const header = fromHex('00 53 70 45')
    const payload = concat(header, encodeMessage({ applicationProperties: { a: 1 }, body: 'b' }))
    expect(endPosition(payload)).toEqual(at(3, 0))
    expect(offsetOf(payload, at(1, 0))).toBe(header.length)
    cutAnywhere(payload)
  })
})

describe('§3.4.1 bytes that are no sections count as one', () => {
  test.each<[string, string, Position]>([
    ['nothing', '', at(0, 0)],
    ['no descriptor', '53 75 a0 01 ff', at(0, 5)],
    ['no descriptor behind a section', '00 53 75 a0 01 ff 40 40', at(1, 2)],
    ['a constructor that AMQP does not have', '00 53 75 3f 00 00', at(0, 6)],
    ['a size beyond the end', '00 53 75 b0 ffffffff 01', at(0, 9)],
    ['nothing but descriptors', '00 00 00 00 00 00', at(0, 6)],
  ])('%s', (_name, hex, position) => {
    const bytes = fromHex(hex)
    expect(endPosition(bytes)).toEqual(position)
    cutAnywhere(bytes)
  })

  test('whatever the bytes are', () => {
    const some = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc
        .array(fc.oneof(fc.constantFrom(...SECTIONS.slice(0, 7).map(([, s]) => s)), fc.uint8Array({ maxLength: 5 })), {
          maxLength: 8,
        })
        .map(parts => concat(...parts)),
    )
    fc.assert(
      fc.property(some, bytes => cutAnywhere(bytes)),
      { numRuns: 300 },
    )
  })
})

describe('§3.4.1 places that are asked for', () => {
  const payload = fromHex('00 53 70 45  00 53 75 a0 01 ff')

  test('the end of one section is the beginning of the next', () => {
    expect([offsetOf(payload, at(0, 4)), offsetOf(payload, at(1, 0))]).toEqual([4, 4])
    expect([offsetOf(payload, at(1, 6)), offsetOf(payload, at(2, 0))]).toEqual([10, 10])
  })

  test.each([
    [0, 11n],
    [1, 7n],
    [2, 1n],
    [3, 0n],
    [0, 2n ** 64n - 1n],
    [0xffffffff, 0n],
    [0xffffffff, 2n ** 64n - 1n],
  ])('section %i + %d is not inside it', (sectionNumber, sectionOffset) => {
    expect(offsetOf(payload, { sectionNumber, sectionOffset })).toBeUndefined()
  })
})

test('pieces as one: a single piece is not copied', () => {
  const piece = Uint8Array.of(1, 2)
  expect(joined([piece], 2)).toBe(piece)
  expect(joined([], 0)).toEqual(new Uint8Array(0))
  expect(joined([piece, new Uint8Array(0), Uint8Array.of(3)], 3)).toEqual(Uint8Array.of(1, 2, 3))
})

describe('§2.6.13 a payload that comes piece by piece', () => {
  test('has the same places as in one piece, whatever is asked for in between', () => {
    const some = fc.array(fc.oneof(fc.constantFrom(...SECTIONS.map(([, s]) => s)), fc.uint8Array({ maxLength: 5 })), {
      maxLength: 12,
    })
    fc.assert(
      fc.property(
        some,
        fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }),
        fc.nat(14),
        (parts, cuts, asked) => {
          const bytes = concat(...parts)
          const sections = new Sections()
          const pieces: Uint8Array[] = []
          for (let size = 0, i = 0; size < bytes.length; i++) {
            const piece = bytes.subarray(size, size + (cuts[i % cuts.length] as number))
            pieces.push(piece)
            size += piece.length
            const here = bytes.subarray(0, size)
            const end = endPosition(here)
            expect(sections.end(pieces, size)).toEqual(end)
            expect(sections.offsetOf(pieces, size, end)).toBe(size)
            expect(sections.offsetOf(pieces, size, at(asked, 1))).toBe(offsetOf(here, at(asked, 1)))
          }
        },
      ),
      { numRuns: 300 },
    )
  })

  test('is looked through once, also for places far from both ends', () => {
    const section = fromHex('00 53 75 a0 00')
    const pieces = Array.from({ length: 40 }, () => concat(...Array<Uint8Array>(10_000).fill(section)))
    const size = 2_000_000
    const sections = new Sections()
    const first = timed(() => expect(sections.end(pieces, size)).toEqual(at(400_000, 0)))
    const again = timed(() => {
      for (let i = 0; i < 100; i++) sections.end(pieces, size)
      for (let i = 0; i < 10; i++) expect(sections.offsetOf(pieces, size, at(30_011 * i, 3))).toBe(150_055 * i + 3)
    })
    expect(again).toBeLessThan(Math.max(first * 4, 40))
  })

  test('a descriptor that does not end is none, however many bytes it has', () => {
    const zeros = new Uint8Array(4 << 20)
    expect(timed(() => expect(endPosition(zeros)).toEqual(at(0, zeros.length)))).toBeLessThan(5)
  })
})

/** Milliseconds of this process's work. */
function timed(run: () => void): number {
  const started = process.cpuUsage()
  run()
  const { user, system } = process.cpuUsage(started)
  return (user + system) / 1000
}
