// Decimals as text, both ways: vectors made by Python's decimal module and a second encoder (vectors/decimals.py), bytes
// laid out by hand from IEEE 754-2008 §3.5.2, what is refused, and properties over all bytes and texts. §1.6.13–15
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EncodeError } from '../../src/errors.ts'
import { decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import { AmqpMap } from '../../src/types/map.ts'
import { Decimal } from '../../src/types/values.ts'
import { fromHex, toHex } from '../peer/wire.ts'

const vectors: { section: string; width: 32 | 64 | 128; input: string; text: string; hex: string }[] = JSON.parse(
  readFileSync(new URL('../vectors/decimals.json', import.meta.url), 'utf8'),
)

/** Bits in groups, spaces between, as hex. */
const bits = (text: string): string => {
  const digits = text.replaceAll(' ', '')
  return BigInt(`0b${digits}`)
    .toString(16)
    .padStart(digits.length / 4, '0')
}

const zeros = (count: number): string => '0'.repeat(count)
const ones = (count: number): string => '1'.repeat(count)

describe('decimals.json', () => {
  test('has hundreds of rows', () => {
    expect(vectors.length).toBeGreaterThan(500)
  })

  test.each(vectors)('$section $width: $input', ({ width, input, text, hex }) => {
    expect(toHex(Decimal.parse(input, width).bytes)).toBe(hex)
    expect(toHex(Decimal.parse(text, width).bytes)).toBe(hex)
    expect(new Decimal(fromHex(hex)).toString()).toBe(text)
  })
})

describe('by hand: sign, exponent, coefficient', () => {
  test.each([
    // The exponents of 10^0 are 101, 398 and 6176.
    ['0', bits(`0 01100101 ${zeros(23)}`)],
    ['-0', bits(`1 01100101 ${zeros(23)}`)],
    ['1.5', bits(`0 01100100 ${zeros(19)} 1111`)],
    ['1.50', bits(`0 01100011 ${zeros(15)} 10010110`)],
    ['8388607', bits(`0 01100101 ${ones(23)}`)],
    ['8388608', bits(`0 11 01100101 ${zeros(21)}`)],
    ['9999999', bits('0 11 01100101 1 1000 1001 0110 0111 1111')],
    ['-9.999999E+96', bits('1 11 10111111 1 1000 1001 0110 0111 1111')],
    ['1E-101', bits(`0 00000000 ${zeros(22)} 1`)],
    ['1', bits(`0 0110001110 ${zeros(52)} 1`)],
    ['9007199254740991', bits(`0 0110001110 ${ones(53)}`)],
    ['9007199254740992', bits(`0 11 0110001110 ${zeros(51)}`)],
    ['-1', bits(`1 01100000100000 ${zeros(112)} 1`)],
    ['1E+6111', bits(`0 10111111111111 ${zeros(112)} 1`)],
    ['Infinity', bits(`0 11110 ${zeros(26)}`)],
    ['-Infinity', bits(`1 11110 ${zeros(58)}`)],
    ['NaN', bits(`0 111110 ${zeros(25)}`)],
    ['sNaN5', bits(`0 111111 ${zeros(118)} 101`)],
  ])('%s', (text, hex) => {
    const width = (hex.length * 4) as 32 | 64 | 128
    expect(toHex(Decimal.parse(text, width).bytes)).toBe(hex)
    expect(new Decimal(fromHex(hex)).toString()).toBe(text)
  })

  test.each([
    ['0', '10,000,000 has 8 digits', bits('0 11 01100101 1 1000 1001 0110 1000 0000')],
    ['0E+3', 'the exponent of such a zero stays', bits(`0 11 01101000 ${ones(21)}`)],
    ['-0', '10^16 has 17 digits', bits('1 11 0110001110 0 11100001 10111100100110111111000001 0000000000000000')],
    ['0', 'decimal128 has no coefficient that begins with 100', bits(`0 11 01100000100000 ${zeros(111)}`)],
    ['0', '10^34 fits its bits, but not 34 digits', bits(`0 01100000100000 ${(10n ** 34n).toString(2)}`)],
    ['-Infinity', 'the rest of an infinity says nothing', bits(`1 11110 ${ones(26)}`)],
    ['NaN', 'a payload of 7 digits', bits('0 111110 00000 11110100001001000000')],
    ['NaN999999', 'a payload of 6', bits('0 111110 00000 11110100001000111111')],
    ['-sNaN1', 'five bits without a meaning', bits(`1 111111 11111 ${zeros(19)} 1`)],
  ])('not canonical reads as %s: %s', (text, _why, hex) => {
    const decimal = new Decimal(fromHex(hex))
    expect(decimal.toString()).toBe(text)
    expect(toHex(Decimal.parse(text, decimal.width).bytes) === hex).toBe(text === 'NaN999999')
    // Whatever they mean, the bytes go out as they came.
    const again = decodeValue(encodeValue(decimal))
    expect(again).toEqual(decimal)
    expect(toHex((again as Decimal).bytes)).toBe(hex)
  })
})

describe('what does not fit is refused, never rounded', () => {
  test.each([
    ['12345678', 32],
    ['1.0000000', 32],
    ['10000000', 32],
    ['1E+91', 32],
    ['1E-102', 32],
    ['0E+91', 32],
    ['0.1E-101', 32],
    ['NaN1000000', 32],
    ['12345678901234567', 64],
    ['1E+370', 64],
    ['1E-399', 64],
    ['sNaN1000000000000000', 64],
    [`1${zeros(34)}`, 128],
    ['1E+6112', 128],
    ['1E-6177', 128],
    [`1E+${'9'.repeat(400)}`, 128],
    [`1E-${'9'.repeat(400)}`, 128],
    [`NaN1${zeros(33)}`, 128],
  ] as const)('%s in %i bits', (text, width) => {
    expect(() => Decimal.parse(text, width)).toThrow(EncodeError)
  })

  test('but zeros in front are no digits', () => {
    expect(Decimal.parse(`${zeros(1000)}1.5`, 32)).toEqual(Decimal.parse('1.5', 32))
    expect(Decimal.parse(`NaN${zeros(100)}`, 32)).toEqual(Decimal.parse('NaN', 32))
    expect(Decimal.parse('0.0000001', 32).toString()).toBe('1E-7')
  })

  test.each(['', '.', '-', 'e5', '.e5', '1e', '1e+', '1.2.3', '+-1', ' 1', '1 ', '1_000', '0x1', '1,5', '١', 'infin'])(
    '%j is no decimal',
    text => {
      expect(() => Decimal.parse(text, 64)).toThrow('not the text of a decimal')
    },
  )

  test.each([0, 16, 33, 256])('%i bits are no width', width => {
    expect(() => Decimal.parse('1', width as 32)).toThrow(EncodeError)
  })

  test('a long text is measured before it is a number', () => {
    const started = performance.now()
    expect(() => Decimal.parse('9'.repeat(5_000_000), 128)).toThrow('34 digits')
    expect(performance.now() - started).toBeLessThan(1000)
  })
})

describe('properties', () => {
  const width = fc.constantFrom(32 as const, 64 as const, 128 as const)
  const DIGITS = { 32: 7, 64: 16, 128: 34 }
  const LEAST = { 32: -101, 64: -398, 128: -6176 }
  const MOST = { 32: 90, 64: 369, 128: 6111 }

  test('sign, coefficient and exponent come back exactly', () => {
    const parts = width.chain(w =>
      fc.tuple(
        fc.constant(w),
        fc.constantFrom('', '-'),
        fc.bigInt(0n, 10n ** BigInt(DIGITS[w]) - 1n),
        fc.integer({ min: LEAST[w], max: MOST[w] }),
      ),
    )
    fc.assert(
      fc.property(parts, ([w, sign, coefficient, exponent]) => {
        const text = Decimal.parse(`${sign}${coefficient}E${exponent}`, w).toString()
        const [, minus, whole = '', fraction = '', power = '0'] =
          /^(-?)(\d+)(?:\.(\d+))?(?:E([+-]\d+))?$/.exec(text) ?? []
        expect([minus, BigInt(whole + fraction), Number(power) - fraction.length]).toEqual([
          sign,
          coefficient,
          exponent,
        ])
      }),
      { numRuns: 1000 },
    )
  })

  test('any bytes have a text, and the text is a fixed point', () => {
    const bytes = width.chain(w => fc.uint8Array({ minLength: w / 8, maxLength: w / 8 }))
    fc.assert(
      fc.property(bytes, raw => {
        const decimal = new Decimal(raw)
        const canonical = Decimal.parse(decimal.toString(), decimal.width)
        expect(canonical.toString()).toBe(decimal.toString())
        expect(Decimal.parse(canonical.toString(), decimal.width)).toEqual(canonical)
      }),
      { numRuns: 1000 },
    )
  })

  test('a double of up to 15 digits is the same number', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -(10 ** 15), max: 10 ** 15 }),
        fc.integer({ min: -300, max: 200 }),
        (digits, at) => {
          const text = `${digits}E${at}`
          expect(Number(Decimal.parse(text, 64).toString())).toBe(Number(text))
        },
      ),
    )
  })
})

test('as JSON and as a key a decimal shows its number', () => {
  const price = Decimal.parse('19.90', 64)
  expect(JSON.stringify({ price })).toBe('{"price":"19.90"}')
  expect(JSON.stringify(new AmqpMap([[price, price]]))).toBe('{"19.90":"19.90"}')
})
