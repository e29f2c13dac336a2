/**
 * Maps that another implementation, rhea 3.0.5, turned into plain objects, and so lost entries, order and types, or took
 * a prototype from the wire. Here a map is what was sent, or refused. §1.6.23 §3.2.5
 */

import { describe, expect, test } from 'vitest'
import { EncodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { decodeTyped, decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import { AmqpMap } from '../../src/types/map.ts'
import { type AmqpValue, symbol } from '../../src/types/values.ts'
import { fromHex, toHex } from '../peer/wire.ts'

const plain = (hex: string): string => hex.replaceAll(' ', '')

function refused(hex: string, message: string): void {
  for (const how of [decodeValue, decodeTyped]) {
    expect(() => how(fromHex(hex))).toThrow(expect.objectContaining({ code: 'ERR_AMQP_DECODE' }))
    expect(() => how(fromHex(hex))).toThrow(message)
  }
}

test('§1.6.23 int 1 and "1" are two keys', () => {
  const hex = plain('c1 08 04 540141 a1013142')
  const map = decodeValue(fromHex(hex)) as AmqpMap
  expect([...map]).toEqual([
    [1, true],
    ['1', false],
  ])
  expect([map.get(1), map.get('1')]).toEqual([true, false])
  expect(toHex(encodeValue(map))).toBe(hex)
})

test('§1.6.23 an odd count is refused', () => {
  refused('c1 05 03 a100 41 42', 'a map holds pairs, not 3 items')
  refused('d1 00000008 00000003 a100 41 42', 'a map holds pairs, not 3 items')
})

test('§1.6.23 a key that comes twice is refused, read or written', () => {
  refused('c1 09 04 a1016141 a1016142', 'same key twice')
  const twice: [AmqpValue, AmqpValue][] = [
    ['a', true],
    ['a', false],
  ]
  expect(() => encodeValue(new AmqpMap(twice))).toThrow(EncodeError)
  expect(() => decodeMessage(fromHex('005374 c1 09 04 a1016141 a1016142 00537740')).applicationProperties).toThrow(
    'same key twice',
  )
})

test('§1.6.23 the order of entries is kept, numbers or not', () => {
  const hex = plain('c1 0b 06 a1016240 540240 540140')
  const map = new Map<AmqpValue, AmqpValue>([
    ['b', null],
    [2, null],
    [1, null],
  ])
  expect(toHex(encodeValue(map))).toBe(hex)
  const read = decodeValue(fromHex(hex)) as AmqpMap
  expect([...read.keys()]).toEqual(['b', 2, 1])
  expect(toHex(encodeValue(read))).toBe(hex)
  expect(toHex(encodeValue(decodeTyped(fromHex(hex)) as AmqpValue))).toBe(hex)
})

describe('a key named __proto__', () => {
  const ATTACK = '005374 c119 02 a1095f5f70726f746f5f5f c10b 02 a107697341646d696e 41'

  test('§3.2.5 with a map behind it is no application property', () => {
    const message = decodeMessage(fromHex(ATTACK))
    for (const read of [() => message.applicationProperties, () => message.toInit(), () => JSON.stringify(message)])
      expect(read).toThrow(expect.objectContaining({ code: 'ERR_AMQP_DECODE', offset: 17 }))
    expect(({} as Record<string, unknown>)['isAdmin']).toBeUndefined()
  })

  test('with a simple value is an entry like others, here, in JSON and when sent again', () => {
    const hex = plain('005374 c10d 02 a1095f5f70726f746f5f5f 41 005377 40')
    const message = decodeMessage(fromHex(hex))
    expect([...(message.applicationProperties as AmqpMap)]).toEqual([['__proto__', true]])
    expect(message.applicationProperties?.get('isAdmin')).toBeUndefined()
    expect(JSON.stringify(message.applicationProperties)).toBe('{"__proto__":true}')
    expect(toHex(encodeMessage(message.toInit()))).toBe(hex)
    const given = JSON.parse('{ "__proto__": true }')
    expect(toHex(encodeMessage({ applicationProperties: given, body: { value: null } }))).toBe(hex)
  })

  test('§3.2.10 in annotations, where maps may be, gives nobody a prototype', () => {
    // message-annotations { __proto__: { isAdmin: true } }, keys symbols and a string.
    const message = decodeMessage(fromHex('005372 c119 02 a3095f5f70726f746f5f5f c10b 02 a107697341646d696e 41'))
    const annotations = message.messageAnnotations as AmqpMap
    expect([...annotations.keys()]).toEqual([symbol('__proto__')])
    expect(annotations.get('isAdmin')).toBeUndefined()
    expect('isAdmin' in annotations).toBe(false)
    const json = annotations.toJSON()
    expect(Object.getPrototypeOf(json)).toBeNull()
    expect(json['isAdmin']).toBeUndefined()
    expect(JSON.stringify(json)).toBe('{"__proto__":{"isAdmin":true}}')
  })
})

test('a map that was read answers only to its own keys', () => {
  const map = decodeValue(fromHex('c1 01 00')) as AmqpMap
  for (const key of ['constructor', 'toString', '__proto__', 'hasOwnProperty', 'size'])
    expect([map.get(key), map.has(key)]).toEqual([undefined, false])
})
