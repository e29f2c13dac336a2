/** The scanner against `locate`, on whole messages cut anywhere. §3.2 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DecodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import type { MessageInit } from '../../src/message/message.ts'
import { SectionScanner } from '../../src/message/section-scanner.ts'
import { fromHex } from '../peer/wire.ts'

const join = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(parts.flatMap(part => [...part]))

/** Cuts bytes at the places given, which wrap. */
function cut(bytes: Uint8Array, widths: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const width = widths[i % widths.length] ?? 1
    pieces.push(bytes.subarray(at, at + width))
    at += width
  }
  return pieces
}

function scanned(bytes: Uint8Array, widths: readonly number[] = [bytes.length || 1]) {
  const scanner = new SectionScanner(1 << 20)
  const data = cut(bytes, widths).flatMap(piece => scanner.push(piece))
  scanner.end()
  return { scanner, data: join(data), around: scanner.around() }
}

const binary = fc.uint8Array({ maxLength: 400 })
const message: fc.Arbitrary<MessageInit> = fc.record(
  {
    header: fc.record({ durable: fc.boolean(), ttl: fc.nat() }, { requiredKeys: [] }),
    deliveryAnnotations: fc.constant({ a: 1 }),
    messageAnnotations: fc.constant({ b: 'x'.repeat(300) }),
    properties: fc.record({ messageId: fc.string(), to: fc.string({ maxLength: 400 }) }, { requiredKeys: [] }),
    applicationProperties: fc.dictionary(fc.string({ maxLength: 5 }), fc.string({ maxLength: 20 }), { maxKeys: 5 }),
    body: fc.oneof(
      binary,
      fc.array(binary, { minLength: 1, maxLength: 4 }).map(data => ({ data })),
    ),
    footer: fc.constant({ c: 1 }),
  },
  { requiredKeys: ['body'] },
)

test('data comes out as it went in, and what stands around it decodes as it would have, however it is cut', () => {
  fc.assert(
    fc.property(message, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 8 }), (init, widths) => {
      const bytes = encodeMessage(init)
      const { scanner, data, around } = scanned(bytes, widths)
      const { body } = init as { body: Uint8Array | { data: Uint8Array[] } }
      expect(data).toEqual(join(body instanceof Uint8Array ? [body] : body.data))
      expect(scanner.isPastOpening).toBe(true)
      const { body: _, ...sections } = decodeMessage(bytes).toInit()
      const { body: none, ...found } = decodeMessage(around).toInit()
      expect(found).toEqual(sections)
      expect(none).toEqual(new Uint8Array(0))
    }),
  )
})

test('any bytes end in data or in DecodeError, as `locate` would have it', () => {
  const valid = message.map(encodeMessage)
  const broken = fc.tuple(valid, fc.nat(), fc.nat(255)).map(([bytes, at, value]) => {
    const copy = bytes.slice()
    copy[at % copy.length] = value
    return copy
  })
  fc.assert(
    fc.property(fc.oneof(broken, fc.uint8Array({ maxLength: 40 })), fc.integer({ min: 1, max: 9 }), (bytes, width) => {
      const errorOf = (run: () => unknown): unknown => {
        try {
          run()
          return undefined
        } catch (error) {
          return error
        }
      }
      const whole = errorOf(() => decodeMessage(bytes))
      const cutUp = errorOf(() => {
        const { scanner, around } = scanned(bytes, [width])
        if (scanner.bodyCode !== 0 || around.length > 0) decodeMessage(around)
      })
      for (const error of [whole, cutUp]) if (error !== undefined) expect(error).toBeInstanceOf(DecodeError)
      expect(cutUp === undefined).toBe(whole === undefined)
    }),
    { numRuns: 500 },
  )
})

describe('by hand', () => {
  test('§3.2 descriptors in their other forms', () => {
    // Data by a ulong of eight bytes, by symbol of either width.
    for (const head of [
      '00 80 00 00 00 00 00 00 00 75',
      '00 a3 10 61 6d 71 70 3a 64 61 74 61 3a 62 69 6e 61 72 79',
      '00 b3 00 00 00 10 61 6d 71 70 3a 64 61 74 61 3a 62 69 6e 61 72 79',
    ])
      for (const tail of ['a0 02 01 02', 'b0 00 00 00 02 01 02'])
        expect(scanned(fromHex(`${head} ${tail}`), [1]).data).toEqual(Uint8Array.of(1, 2))
  })

  test('a value or a sequence is kept whole', () => {
    for (const body of ['text', { value: [1, 2] }, { sequence: [[1], [2]] }]) {
      const bytes = encodeMessage({ properties: { to: 'x' }, body })
      const { scanner, around } = scanned(bytes, [3])
      expect([scanner.isOpaque, scanner.isPastOpening]).toEqual([true, false])
      expect(around).toEqual(bytes)
    }
  })

  test('sections around the data have a limit; data has none', () => {
    const scanner = new SectionScanner(100)
    scanner.push(encodeMessage({ body: new Uint8Array(10_000) }))
    expect(() => scanner.push(encodeMessage({ footer: { x: 'y'.repeat(200) } }).subarray(5))).toThrow(DecodeError)
  })
})
