/**
 * Sizes, kinds and orders that another implementation, rhea 3.0.5, never looked at: values that end elsewhere than they
 * say, sections that are not what they must be. Here each is refused, with the offset of the fault. §1.6.19–23 §3.2
 */

import { describe, expect, test } from 'vitest'
import { EncodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { decodeTyped, decodeValue } from '../../src/types/any-reader.ts'
import { fromHex } from '../peer/wire.ts'

const decodeError = (offset: number) => expect.objectContaining({ code: 'ERR_AMQP_DECODE', offset })

describe('§1.6.22 the size of a list', () => {
  test.each([
    ['of none, with an element', 'c0 00 01 41', 1],
    ['beyond the bytes', 'c0 ff 01 41', 2],
    ['with room for nothing but the count', 'd0 00000004 00000003 414141', 9],
    ['with bytes left over', 'c0 04 01 41 42 43', 4],
  ])('%s is refused', (_name, hex, offset) => {
    for (const how of [decodeValue, decodeTyped]) expect(() => how(fromHex(hex))).toThrow(decodeError(offset))
  })

  test('with bytes left over does not shift what follows: the list around it is refused as well', () => {
    expect(() => decodeValue(fromHex('c0 09 02 c0 04 01 41 42 43 5405'))).toThrow('left over')
    for (const section of ['005376', '005377'])
      expect(() => decodeMessage(fromHex(`${section} c0 04 01 41 42 43`)).body).toThrow(decodeError(7))
  })
})

describe('§1.6.19–21 a size beyond the bytes', () => {
  test.each([
    ['str8', 'a1 0a 616263', 2],
    ['str32', 'b1 ffffffff 616263', 5],
    ['vbin32', 'b0 ffffffff 616263', 5],
    ['vbin8', 'a0 0a 616263', 2],
    ['sym8', 'a3 0a 616263', 2],
    ['sym32', 'b3 ffffffff 616263', 5],
  ])('%s is refused, at once and by every reader', (_name, hex, offset) => {
    for (const how of [decodeValue, decodeTyped]) expect(() => how(fromHex(hex))).toThrow(decodeError(offset))
    expect(() => decodeMessage(fromHex(`005377 ${hex}`))).toThrow(expect.objectContaining({ code: 'ERR_AMQP_DECODE' }))
  })
})

describe('§3.2 sections', () => {
  test('application-properties that are a list are refused', () => {
    expect(() => decodeMessage(fromHex('005374 c0 03 01 5405'))).toThrow(decodeError(3))
  })

  test.each([
    ['properties behind application-properties', '005374c10100 00537345 00537740'],
    ['a header behind properties', '00537345 00537045 00537740'],
    ['two headers', '00537045 00537045 00537740'],
    ['two amqp-values', '00537741 00537742'],
    ['data and value mixed', '005375a00161 00537741'],
    ['value and sequence mixed', '00537741 00537645'],
    ['a footer before the body', '005378c10100 00537741'],
    ['a string in a data section', '005375a103616263'],
    ['a map in a header', '005370c10100 00537740'],
    ['a null for properties', '00537340 00537740'],
    ['a map in a sequence', '005376c10100'],
  ])('%s are refused', (_name, hex) => {
    expect(() => decodeMessage(fromHex(hex))).toThrow(expect.objectContaining({ code: 'ERR_AMQP_DECODE' }))
  })

  test('§3.2.1 a string in the place of ttl is refused', () => {
    const message = decodeMessage(fromHex('005370 c006 03 40 40 a10161 00537740'))
    expect(() => message.header).toThrow(expect.objectContaining({ code: 'ERR_AMQP_DECODE' }))
    expect(() => message.header).toThrow('expected uint, found string')
    expect(() => message.toInit()).toThrow('expected uint, found string')
  })

  test('§3.2.6 a data section that is no binary is never written', () => {
    for (const data of ['abc', ['abc'], [], [null], [[97, 98, 99]]])
      expect(() => encodeMessage({ body: { data: data as never } })).toThrow(EncodeError)
  })
})
