/**
 * Integers that another implementation, rhea 3.0.5, got wrong: changed their value, their type, or lost them. The same
 * bytes and values here come out as they went in, or are refused with a typed error. §1.6.3–12
 *
 * Values decoded plainly keep their number; their exact AMQP type is kept by `decodeTyped`.
 */

import { describe, expect, test } from 'vitest'
import { EncodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { decodeTyped, decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import { type AmqpValue, char, double, long, Typed, ubyte, uint, ulong } from '../../src/types/values.ts'
import { fromHex, toHex } from '../peer/wire.ts'

/** The bytes of a value, its type kept. */
const resent = (hex: string): string => toHex(encodeValue(decodeTyped(fromHex(hex)) as AmqpValue))
const encoded = (value: unknown): string => toHex(encodeValue(value as AmqpValue))

describe('§1.6.6 ulong', () => {
  test.each([
    ['2^53 + 1', '800020000000000001', 9007199254740993n],
    ['2^53 + 2^32 − 1', '8000200000ffffffff', 9007203549708287n],
    ['2^53 + 2^32', '800020000100000000', 9007203549708288n],
    ['2^64 − 1', '80ffffffffffffffff', 18446744073709551615n],
  ])('%s is exact, and a bigint like every other', (_name, hex, value) => {
    expect(decodeValue(fromHex(hex))).toBe(value)
    expect(decodeTyped(fromHex(hex))).toEqual(ulong(value))
    expect(resent(hex)).toBe(hex)
    expect(encoded(ulong(value))).toBe(hex)
  })

  test('a small one has the same JavaScript type', () => {
    expect(decodeValue(fromHex('44'))).toBe(0n)
    expect(decodeValue(fromHex('5305'))).toBe(5n)
    expect(resent('5305')).toBe('5305')
  })

  test('a plain bigint is a long: one that no long can hold is refused, not clipped', () => {
    expect(() => encodeValue(18446744073709551615n)).toThrow(EncodeError)
    expect(() => encodeValue(2n ** 63n)).toThrow(EncodeError)
  })

  test('ulong(123n) is written', () => {
    expect(encoded(ulong(123n))).toBe('537b')
    expect(() => ulong(123 as never)).toThrow(EncodeError)
    expect(() => ulong(-1n)).toThrow(EncodeError)
    expect(() => ulong(2n ** 64n)).toThrow(EncodeError)
  })
})

describe('§1.6.10 long', () => {
  test('2^63 − 1 in a body, received and sent again, stays a long', () => {
    const bytes = fromHex('005377 81 7fffffffffffffff')
    const message = decodeMessage(bytes)
    expect(message.body).toEqual({ value: 9223372036854775807n })
    expect(toHex(encodeMessage(message.toInit()))).toBe(toHex(bytes))
  })

  test('−2^63 is written', () => {
    expect(encoded(long(-(2n ** 63n)))).toBe('818000000000000000')
    expect(decodeValue(fromHex('818000000000000000'))).toBe(-(2n ** 63n))
    expect(() => long(-(2n ** 63n) - 1n)).toThrow(EncodeError)
    // From a number: it is no safe integer, so it is a double, and says so on the wire.
    expect(encoded(-(2 ** 63))).toBe('82c3e0000000000000')
    expect(() => long(-(2 ** 63) as never)).toThrow(EncodeError)
  })
})

describe('§1.6 values that are no numbers of JavaScript', () => {
  test('a bigint by itself, in a body, in an application property', () => {
    expect(encoded(9007199254740993n)).toBe('810020000000000001')
    expect(toHex(encodeMessage({ body: { value: 10n } }))).toBe('005377550a')
    expect(toHex(encodeMessage({ body: { value: null }, applicationProperties: { n: 10n } }))).toBe(
      '005374c10602a1016e550a00537740',
    )
  })

  test('a bigint, symbol or function where none belongs is refused', () => {
    for (const value of [Symbol('s'), () => 1, undefined, {}]) {
      expect(() => encodeValue(value as never)).toThrow(EncodeError)
      expect(() => encodeMessage({ body: { value: value as never } })).toThrow(EncodeError)
      expect(() => encodeMessage({ applicationProperties: { a: [value] as never } })).toThrow(EncodeError)
    }
    for (const body of [10n, Symbol('s'), () => 1])
      expect(() => encodeMessage({ body: body as never })).toThrow(expect.objectContaining({ code: 'ERR_AMQP_ENCODE' }))
  })
})

describe('§1.6.9 int and §1.6.12 double', () => {
  test('1e20 is a double', () => {
    expect(encoded(1e20)).toBe('824415af1d78b58c40')
    expect(decodeValue(fromHex('824415af1d78b58c40'))).toBe(1e20)
  })

  test('5 is an int, −5 as well; types that were received can be kept', () => {
    expect(encoded(5)).toBe('5405')
    expect(encoded(-5)).toBe('54fb')
    expect(encoded(uint(5))).toBe('5205')
    expect(encoded(double(5))).toBe('824014000000000000')
    // int 5 plainly and typed; double 5.0 and uint 5 typed.
    expect(encoded(decodeValue(fromHex('5405')))).toBe('5405')
    for (const hex of ['5405', '824014000000000000', '5205']) expect(resent(hex)).toBe(hex)
  })

  test('the least ints are ints', () => {
    expect(encoded(-2147483648)).toBe('7180000000')
    expect(encoded(-2147483647)).toBe('7180000001')
    expect(decodeValue(fromHex('7180000000'))).toBe(-2147483648)
    expect(encoded(-2147483649)).toBe('81ffffffff7fffffff')
  })

  test('NaN is a double', () => {
    expect(encoded(Number.NaN)).toBe('827ff8000000000000')
    expect(decodeValue(fromHex('827ff8000000000000'))).toBeNaN()
  })
})

test('§1.6.3 §1.6.16 what is not of the type asked for is refused, not taken for zero', () => {
  for (const value of ['x', '5', null, undefined, Number.NaN, 0.5, 256, -1, 5n])
    expect(() => ubyte(value as never)).toThrow(EncodeError)
  expect(encoded(char('A'))).toBe('7300000041')
  for (const value of ['', 'AB', '\ud800']) expect(() => char(value)).toThrow(EncodeError)
  for (const priority of ['x', Symbol('s'), 5n, {}])
    expect(() => encodeMessage({ header: { priority: priority as never } })).toThrow(
      expect.objectContaining({ code: 'ERR_AMQP_ENCODE', path: 'header.priority' }),
    )
  for (const [type, value] of [
    ['symbol', 5],
    ['char', 5],
    ['null', 5],
    ['map', 'x'],
    ['map', [[1, 2, 3]]],
    ['array', 'x'],
    ['described', null],
  ] as const)
    expect(() => encodeValue(new Typed(type, value) as never), type).toThrow(EncodeError)
})
