// Values of any type: round trips, the smallest encodings, map keys, limits, and what no bytes may cause. §1.2 §1.6
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DecodeError, EncodeError } from '../../src/errors.ts'
import { decodeTyped, decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import { keyIdentity } from '../../src/types/key-identity.ts'
import { AmqpMap } from '../../src/types/map.ts'
import { valueEnd } from '../../src/types/skip.ts'
import { AmqpSymbol, type AmqpValue, array, described, Typed, timestamp, uint, ulong } from '../../src/types/values.ts'
import { decode, encode, fromHex, toHex } from '../peer/wire.ts'
import { typed, value } from '../support/arbitraries.ts'
import { toTyped } from '../support/wire-values.ts'

/** Runs `read`; anything that it throws is a DecodeError. */
function onlyDecodeErrors(read: () => unknown): void {
  try {
    read()
  } catch (error) {
    expect(error).toBeInstanceOf(DecodeError)
  }
}

test('§1.6.24 what has no width is read once, whatever the count', () => {
  const lists = decodeValue(fromHex('f0 00000005 000000ff 45')) as Typed<'array', { elements: AmqpValue[] }>
  expect(lists.value.elements).toHaveLength(255)
  expect(new Set(lists.value.elements)).toEqual(new Set([[]]))
  expect(decodeTyped(fromHex('e0 02 00 43'))).toEqual(new Typed('array', { of: 'uint', descriptors: [], elements: [] }))
})

describe('round trips', () => {
  test('§1.6 decodeTyped gives back every typed value that was encoded', () => {
    fc.assert(
      fc.property(typed, before => {
        expect(decodeTyped(encodeValue(before))).toEqual(before)
      }),
      { numRuns: 500 },
    )
  })

  test('§1.6 decodeValue gives back every plain value that was encoded', () => {
    fc.assert(
      fc.property(value, before => {
        expect(decodeValue(encodeValue(before))).toEqual(before)
      }),
      { numRuns: 500 },
    )
  })

  test('§1.6 a second codec reads the same from the bytes, and writes none fewer', () => {
    fc.assert(
      fc.property(typed, before => {
        const bytes = encodeValue(before)
        const { value: wire, end } = decode(bytes)
        expect(end).toBe(bytes.length)
        expect(toTyped(wire)).toEqual(before)
        expect(toHex(encode(wire))).toBe(toHex(bytes))
      }),
    )
  })

  test('§1.2 skipping ends where decoding ends', () => {
    fc.assert(
      fc.property(typed, fc.uint8Array({ maxLength: 8 }), (before, behind) => {
        const bytes = encodeValue(before)
        expect(valueEnd(new Uint8Array([...bytes, ...behind]), 0, bytes.length + behind.length)).toBe(bytes.length)
      }),
    )
  })
})

describe('hostile bytes', () => {
  test('§1.6 random bytes give a value or a DecodeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), bytes => {
        onlyDecodeErrors(() => decodeValue(bytes))
        onlyDecodeErrors(() => decodeTyped(bytes))
        onlyDecodeErrors(() => valueEnd(bytes, 0, bytes.length))
      }),
      { numRuns: 2000 },
    )
  })

  test('§1.6 a value with bytes changed gives a value or a DecodeError, and shortened always the error', () => {
    fc.assert(
      fc.property(typed, fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 }), (before, changes) => {
        const bytes = encodeValue(before)
        for (let length = 0; length < Math.min(bytes.length, 200); length++)
          expect(() => decodeTyped(bytes.subarray(0, length))).toThrow(DecodeError)
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte
        onlyDecodeErrors(() => decodeTyped(bytes))
        onlyDecodeErrors(() => decodeValue(bytes))
      }),
    )
  })

  test('§1.6.24 elements without bytes are bounded by the budget alone', () => {
    const millions = fromHex('f0 00000005 01000000 40')
    expect(() => decodeValue(millions)).toThrow(DecodeError)
    expect(() => decodeValue(millions)).toThrow(/elements/)
    expect(decodeTyped(fromHex('f0 00000005 00000003 40')).value).toEqual({
      of: 'null',
      descriptors: [],
      elements: [1, 2, 3].map(() => new Typed('null', null)),
    })
    expect(() => decodeValue(fromHex('f0 00000005 00000003 40'), { maxNesting: 64, maxElements: 2 })).toThrow(
      DecodeError,
    )
  })

  test('§1.6.22 nesting is bounded, by the limit given', () => {
    const nested = (depth: number): AmqpValue => (depth === 0 ? [] : [nested(depth - 1)])
    const bytes = encodeValue(nested(40))
    expect(() => decodeValue(bytes)).not.toThrow()
    expect(() => decodeValue(bytes, { maxNesting: 40, maxElements: 100 })).toThrow(/nested/)
  })

  test('§1.2 a million bytes 0x00 are refused by skipping too', () => {
    expect(() => valueEnd(new Uint8Array(1_000_000), 0, 1_000_000)).toThrow(DecodeError)
  })
})

describe('what plain values become', () => {
  const cases: [AmqpValue, string][] = [
    [null, '40'],
    [true, '41'],
    [1, '5401'],
    [-129, '71ffffff7f'],
    [2147483648, '810000000080000000'],
    [1.5, '823ff8000000000000'],
    [-0, '828000000000000000'],
    [1e300, '827e37e43c8800759c'],
    [1n, '5501'],
    ['é', 'a102c3a9'],
    [new AmqpSymbol('é'.normalize('NFD')[0] as string), 'a30165'],
    [new Date(-1), '83ffffffffffffffff'],
    [uint(0), '43'],
    [ulong(255n), '53ff'],
    [timestamp(2n ** 63n - 1n), '837fffffffffffffff'],
    [[], '45'],
    [new Map([['a', 1]]), 'c10602a101615401'],
    [array('uint', [0, 1]), 'e00402520001'],
    [described(ulong(1n), 'x'), '005301a10178'],
  ]
  test.each(cases)('§1.6 %o', (plain, hex) => expect(toHex(encodeValue(plain))).toBe(hex))

  test('§1.6.17 instants beyond Date are clamped by decodeValue and exact by decodeTyped', () => {
    const bytes = encodeValue(timestamp(2n ** 62n))
    expect(decodeValue(bytes)).toEqual(new Date(8.64e15))
    expect(decodeTyped(bytes)).toEqual(new Typed('timestamp', 2n ** 62n))
  })

  const refused: [string, unknown, string][] = [
    ['undefined', undefined, ''],
    ['a plain object', {}, ''],
    ['a function', () => 0, ''],
    ['a bigint beyond long', 2n ** 63n, ''],
    ['a lone surrogate', 'a\ud800', ''],
    ['a lone surrogate in a long text', `${'a'.repeat(99)}\udc00`, ''],
    ['a symbol beyond ASCII', new AmqpSymbol('é'), ''],
    ['a long symbol beyond ASCII', new AmqpSymbol(`${'a'.repeat(40)}é`), ''],
    ['an invalid Date', new Date(Number.NaN), ''],
    ['a fault inside a list', [1, [2, {}]], '1.1'],
    ['a fault inside a map', new Map([['key', [{}]]]), 'key.0'],
    ['the same key twice', new AmqpMap([['a', 1], ['a', 2]]), ''], // biome-ignore format: one line
    ['a string that is none', new Typed('string', 5), ''],
    ['a boolean that is none', new Typed('boolean', 'yes'), ''],
    ['a float that is none', new Typed('float', '1'), ''],
    ['an array with another type', array('uint', [1, 'x']), '1'],
  ]
  test.each(refused)('§1.6 %s is refused', (_, wrong, path) => {
    try {
      encodeValue(wrong as AmqpValue)
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(EncodeError)
      expect((error as EncodeError).path).toBe(path)
    }
  })

  test('§1.6.22 a circular value is refused', () => {
    const circle: AmqpValue[] = []
    circle.push(circle)
    expect(() => encodeValue(circle)).toThrow(EncodeError)
  })
})

describe('maps', () => {
  test('§1.6.23 keys are compared by type and value', () => {
    const map = decodeValue(encodeValue(new AmqpMap([[1, 'int'], [uint(1), 'uint'], ['1', 'string'], [1.5, 'double']]))) // biome-ignore format: one line
    expect(map).toBeInstanceOf(AmqpMap)
    expect([...(map as AmqpMap).values()]).toEqual(['int', 'uint', 'string', 'double'])
    expect((map as AmqpMap).get('1')).toBe('string')
    expect((map as AmqpMap).get(1)).toBe('int')
    expect((map as AmqpMap).get(uint(1))).toBe('uint')
    expect((map as AmqpMap).get(1.5)).toBe('double')
  })

  test('§1.6.23 0 and -0, and a string and a symbol of the same text, are two keys', () => {
    const zeros = new AmqpMap([[0, 'int'], [-0, 'double'], ['a', 1], [new AmqpSymbol('a'), 2]]) // biome-ignore format: one line
    expect(decodeValue(encodeValue(zeros))).toEqual(zeros)
  })

  test('§1.6.23 get finds the same with and without an index', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(value, fc.integer()), { maxLength: 40, selector: ([key]) => keyIdentity(key) }),
        entries => {
          const map = new AmqpMap(entries)
          const small = new AmqpMap(entries.slice(0, 3))
          for (const [key] of entries.slice(0, 3)) expect(map.get(key)).toBe(small.get(key))
          for (const [key] of entries) expect(map.has(key)).toBe(true)
          expect(map.size).toBe(entries.length)
          expect([...map]).toEqual(entries)
        },
      ),
    )
  })

  test('§1.6.23 thousands of equal-looking keys cost no more than thousands', () => {
    const flat = new AmqpMap(Array.from({ length: 20_000 }, (_, i) => [`key-${i}`, i] as const))
    expect(decodeValue(encodeValue(flat))).toEqual(flat)
  })

  test('§1.6.23 JSON of a map is an object, whatever the map holds', () => {
    const map = new AmqpMap([
      ['__proto__', 1],
      [ulong(5n), [2n, uint(3)]],
      [new AmqpSymbol('s'), new AmqpSymbol('t')],
      [Uint8Array.of(1), Uint8Array.of(255)],
    ])
    expect(JSON.stringify(map)).toBe('{"5":["2",3],"__proto__":1,"s":"t","binary:1":"ff"}')
  })
})
