/**
 * Booleans, characters, uuids, symbols, strings and timestamps that another implementation, rhea 3.0.5, got wrong:
 * took what is illegal, or gave back another value or type. Here they come out right, or with a typed error.
 */

import { describe, expect, test } from 'vitest'
import { DecodeError, EncodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { decodeTyped, decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import { AmqpSymbol, type AmqpValue, timestamp, Uuid } from '../../src/types/values.ts'
import { fromHex, toHex } from '../peer/wire.ts'

const decode = (hex: string): AmqpValue => decodeValue(fromHex(hex))
const message = (hex: string) => decodeMessage(fromHex(hex))

/** Refused both ways of decoding, with this offset. */
function refused(hex: string, offset: number): void {
  for (const how of [decodeValue, decodeTyped])
    expect(() => how(fromHex(hex)), hex).toThrow(expect.objectContaining({ code: 'ERR_AMQP_DECODE', offset }))
}

describe('§1.6.2 booleans of one byte', () => {
  test('are true and false; any other byte is refused', () => {
    expect(decode('5601')).toBe(true)
    expect(decode('5600')).toBe(false)
    for (const byte of ['02', '80', 'ff']) refused(`56${byte}`, 1)
  })

  test('in a body: false is false', () => {
    expect(message('005377 5600').body).toEqual({ value: false })
    expect(toHex(encodeMessage(message('005377 5600').toInit()))).toBe('00537742')
  })

  test('in an array', () => {
    const bytes = fromHex('e0 04 02 56 01 00')
    expect(decodeValue(bytes)).toMatchObject({ type: 'array', value: { of: 'boolean', elements: [true, false] } })
    expect(encodeValue(decodeValue(bytes))).toEqual(bytes)
    refused('e004025601 02', 5)
  })
})

test('§1.6.16 a char beyond Unicode, or half of a pair, is refused', () => {
  for (const code of ['0000d800', '0000dfff', '00110000', 'ffffffff']) refused(`73${code}`, 1)
  expect(decode('730010ffff')).toMatchObject({ type: 'char', value: '\u{10ffff}' })
})

describe('§1.6.18 uuid', () => {
  test('has 16 bytes, no fewer and no more', () => {
    for (const length of [0, 3, 15, 17, 20]) expect(() => new Uuid(new Uint8Array(length))).toThrow(EncodeError)
    expect(() => new Uuid(Buffer.from('abc'))).toThrow(EncodeError)
  })

  test('is made from text by parse, and not from text as if that were bytes', () => {
    const text = 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'
    expect(toHex(encodeValue(Uuid.parse(text)))).toBe('98f81d4fae7dec11d0a76500a0c91e6bf6')
    expect(String(decode('98f81d4fae7dec11d0a76500a0c91e6bf6'))).toBe(text)
    expect(() => Uuid.parse('abc')).toThrow(EncodeError)
    for (const given of [text, 'sixteen letters!', [...new Uint8Array(16)], null])
      expect(() => new Uuid(given as never)).toThrow(EncodeError)
  })

  test('cut off is refused', () => {
    refused('98010203', 1)
  })
})

describe('§3.2.4 ids keep their type from message-id to correlation-id', () => {
  const copied = (hex: string): string => {
    const messageId = message(hex).properties?.messageId
    return toHex(encodeMessage({ properties: { correlationId: messageId }, body: { value: null } }))
  }

  test('a binary of four bytes', () => {
    expect(message('005373 c00701a00401020304').properties?.messageId).toEqual(Uint8Array.of(1, 2, 3, 4))
    expect(copied('005373 c00701a00401020304')).toBe('005373c00c064040404040a0040102030400537740')
  })

  test('the largest ulong, and a uuid', () => {
    expect(copied('005373 c00a0180ffffffffffffffff')).toBe('005373c00f06404040404080ffffffffffffffff00537740')
    const uuid = '98f81d4fae7dec11d0a76500a0c91e6bf6'
    expect(copied(`005373 c01201${uuid}`)).toBe(`005373c017064040404040${uuid}00537740`)
  })
})

describe('§1.6.21 symbols', () => {
  test('that are not ASCII are refused, both ways', () => {
    refused('a302c3a9', 2)
    refused('b300000002c3a9', 5)
    expect(() => encodeValue(new AmqpSymbol('é'))).toThrow(EncodeError)
  })

  test('stay symbols when they are sent again', () => {
    const bytes = fromHex('005377 a303666f6f')
    expect(decodeMessage(bytes).body).toEqual({ value: new AmqpSymbol('foo') })
    expect(encodeMessage(decodeMessage(bytes).toInit())).toEqual(bytes)
  })
})

test('§1.6.20 strings: invalid UTF-8 and lone surrogates are refused, not replaced', () => {
  for (const hex of ['a102c328', 'a103eda080', 'a102c080', 'a101ff']) refused(hex, 2)
  expect(() => message('005377a102c328').body).toThrow(DecodeError)
  for (const text of ['\ud800', 'x\udc00', `${'x'.repeat(100)}\ud83d`])
    expect(() => encodeValue(text)).toThrow(EncodeError)
  // U+FFFD itself is a character like others.
  expect(decode('a103efbfbd')).toBe('\ufffd')
})

test('§1.6.17 timestamps beyond Date: its ends, never an invalid Date; exact with their type (D-003)', () => {
  for (const [hex, ms] of [
    ['837fffffffffffffff', 2n ** 63n - 1n],
    ['838000000000000000', -(2n ** 63n)],
  ] as const) {
    const date = decode(hex) as Date
    expect(date.getTime()).toBe(ms > 0n ? 8.64e15 : -8.64e15)
    expect(decode(toHex(encodeValue(date)))).toEqual(date)
    expect(decodeTyped(fromHex(hex))).toEqual(timestamp(ms))
    expect(toHex(encodeValue(decodeTyped(fromHex(hex)) as AmqpValue))).toBe(hex)
    expect(toHex(encodeValue(timestamp(ms)))).toBe(hex)
  }
  expect(() => encodeValue(new Date(Number.NaN))).toThrow(EncodeError)
})
