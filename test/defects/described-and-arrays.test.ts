/**
 * Described values, arrays and decimals of which another implementation, rhea 3.0.5, lost the descriptors, the values,
 * or itself. Here they keep all they came with. §1.2 §1.6.13–15 §1.6.24
 */

import { describe, expect, test } from 'vitest'
import { EncodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { decodeTyped, decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import { type AmqpValue, array, Decimal, Described, described, symbol } from '../../src/types/values.ts'
import { frame, fromHex, toHex } from '../peer/wire.ts'
import { opened, scenario } from '../support/scenario.ts'

const decode = (hex: string): AmqpValue => decodeValue(fromHex(hex))
const encoded = (value: AmqpValue): string => toHex(encodeValue(value))
const plain = (hex: string): string => hex.replaceAll(' ', '')

describe('§1.2 described values', () => {
  test('in a body keep their descriptor, also when they are sent again', () => {
    const message = decodeMessage(fromHex('005377 00a303666f6f 7100000005'))
    expect(message.body).toEqual({ value: described(symbol('foo'), 5) })
    expect(toHex(encodeMessage(message.toInit()))).toBe(plain('005377 00a303666f6f 5405'))
  })

  test('of described values keep both descriptors', () => {
    const hex = plain('00 a30161 00 a30162 5405')
    expect(decode(hex)).toEqual(described(symbol('a'), described(symbol('b'), 5)))
    expect(encoded(decode(hex))).toBe(hex)
    expect(encoded(decodeTyped(fromHex(hex)))).toBe(hex)
  })

  test('that are encoded as a body stay as the caller made them', () => {
    const value = Object.freeze(described(symbol('foo'), 5))
    const init = Object.freeze({ body: Object.freeze({ value }) })
    expect(toHex(encodeMessage(init))).toBe(plain('005377 00a303666f6f 5405'))
    expect(toHex(encodeMessage(init))).toBe(plain('005377 00a303666f6f 5405'))
    expect(value).toEqual(new Described(symbol('foo'), 5))
  })

  test('in a list are a class of the public API, which encodes to what was read', () => {
    const hex = plain('c0 09 01 00a303666f6f5405')
    const [item] = decode(hex) as AmqpValue[]
    expect(item).toBeInstanceOf(Described)
    expect(item).toMatchObject({ descriptor: { name: 'foo' }, value: 5 })
    expect(encoded(decode(hex))).toBe(hex)
  })

  test.each(['constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf'])(
    'the descriptor %s is a symbol like others',
    name => {
      const text = Buffer.from(name)
      const hex = `00a3${text.length.toString(16).padStart(2, '0')}${text.toString('hex')}5405`
      expect(decode(hex)).toEqual(described(symbol(name), 5))
      expect(encoded(decode(hex))).toBe(hex)
      expect(decodeMessage(fromHex(`005377${hex}`)).body).toEqual({ value: described(symbol(name), 5) })
      // Where the descriptor must be known, it is not.
      expect(() => decodeMessage(fromHex(hex))).toThrow(expect.objectContaining({ code: 'ERR_AMQP_DECODE' }))
      const s = opened(scenario({ role: 'acceptor' }))
      s.peer.sendRaw(frame(0, undefined, fromHex(hex)))
      expect(s.event('protocol.error').error).toMatchObject({ condition: 'amqp:decode-error' })
    },
  )
})

describe('§1.6.24 arrays', () => {
  test('of described values keep the descriptor', () => {
    const hex = plain('e0 0a 02 00a303666f6f 54 01 02')
    expect(decode(hex)).toEqual(array('int', [1, 2], [symbol('foo')]))
    expect(encoded(decode(hex))).toBe(hex)
    expect(encoded(array('int', [1, 2], [symbol('foo')]))).toBe(hex)
  })

  test('of arrays and of lists are written, and read back', () => {
    const arrays = plain('e0 07 01 e0 04 02 54 01 02')
    expect(encoded(array('array', [array('int', [1, 2])]))).toBe(arrays)
    expect(decode(arrays)).toMatchObject({ value: { of: 'array', elements: [array('int', [1, 2])] } })
    const lists = plain('e0 0a 02 c0 03 01 54 01 03 01 54 02')
    expect(encoded(array('list', [[1], [2]]))).toBe(lists)
    expect(decode(lists)).toMatchObject({ value: { of: 'list', elements: [[1], [2]] } })
    for (const hex of [arrays, lists]) {
      expect(encoded(decode(hex))).toBe(hex)
      expect(encoded(decodeTyped(fromHex(hex)))).toBe(hex)
    }
  })

  test('take the wide constructor when an element needs it', () => {
    const long = 'x'.repeat(300)
    const bytes = encodeValue(array('string', ['a', long]))
    // f0, size, count, b1, then sizes of four bytes.
    expect(toHex(bytes.subarray(0, 19))).toBe(plain('f0 0000013a 00000002 b1 00000001 61 0000012c'))
    expect(decodeValue(bytes)).toMatchObject({ value: { of: 'string', elements: ['a', long] } })
    for (const [of, element] of [
      ['uint', 256],
      ['long', -129n],
      ['binary', new Uint8Array(256)],
      ['symbol', 's'.repeat(256)],
    ] as const) {
      const decoded = decodeTyped(encodeValue(array(of, [element])))
      expect(decoded).toMatchObject({ value: { of, elements: [{ value: element }] } })
    }
  })

  test('take no element of another type', () => {
    for (const elements of [['1'], [1, 'x'], [0.5], [null], [[1]]])
      expect(() => encodeValue(array('int', elements))).toThrow(EncodeError)
  })
})

test('§1.6.13–15 decimals are made from any Uint8Array of their width, and from nothing else', () => {
  for (const [hex, width] of [
    ['7422500001', 32],
    ['8431c0000000000001', 64],
    ['9430400000000000000000000000000001', 128],
  ] as const) {
    const bytes = fromHex(hex).subarray(1)
    expect(encoded(new Decimal(bytes))).toBe(hex)
    expect(encoded(new Decimal(Buffer.from(bytes)))).toBe(hex)
    const read = decode(hex) as Decimal
    expect([read.width, toHex(read.bytes)]).toEqual([width, hex.slice(2)])
    expect(encoded(read)).toBe(hex)
    expect(encoded(decodeTyped(fromHex(hex)))).toBe(hex)
  }
  for (const given of [1.5, '1.50', [1, 2, 3, 4], null, new Uint8Array(5), new Uint16Array(4)])
    expect(() => new Decimal(given as never)).toThrow(EncodeError)
})
