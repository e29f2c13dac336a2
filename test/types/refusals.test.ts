/** What the constructors, the writer and the reader refuse, and what they let through. §1.4 §1.6 */

import { describe, expect, test } from 'vitest'
import { deliveryStateField, received, rejected } from '../../src/definitions/delivery-state.ts'
import { begin, open } from '../../src/definitions/performatives.ts'
import { saslMechanisms } from '../../src/definitions/sasl.ts'
import { properties } from '../../src/definitions/sections.ts'
import { declare } from '../../src/definitions/transactions.ts'
import { DecodeError, EncodeError } from '../../src/errors.ts'
import { decodeTyped, decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import type { Composite } from '../../src/types/composite.ts'
import { fixedWidth } from '../../src/types/constructors.ts'
import { AmqpMap } from '../../src/types/map.ts'
import { Reader } from '../../src/types/reader.ts'
import { valueEnd } from '../../src/types/skip.ts'
import {
  type AmqpValue,
  array,
  byte,
  char,
  Decimal,
  described,
  double,
  float,
  int,
  long,
  short,
  Typed,
  timestamp,
  Uuid,
  ubyte,
  uint,
  ulong,
  ushort,
} from '../../src/types/values.ts'
import { Writer } from '../../src/types/writer.ts'
import { fromHex, toHex } from '../peer/wire.ts'

const read = <T>(table: Composite<T>, hex: string): T => table.read(new Reader(fromHex(hex)))

const wrong = (value: unknown): never => value as never

describe('§1.6 constructors of values', () => {
  const integers: [string, (value: number) => Typed, number, number][] = [
    ['ubyte', ubyte, 0, 0xff],
    ['ushort', ushort, 0, 0xffff],
    ['uint', uint, 0, 0xffffffff],
    ['byte', byte, -0x80, 0x7f],
    ['short', short, -0x8000, 0x7fff],
    ['int', int, -0x80000000, 0x7fffffff],
  ]
  test.each(integers)('%s: its ends and nothing beyond, no fraction', (type, make, min, max) => {
    for (const value of [min, max]) expect(make(value)).toEqual(new Typed(type as 'int', value))
    for (const value of [min - 1, max + 1, 0.5, Number.NaN, wrong('1'), wrong(1n)])
      expect(() => make(value)).toThrow(EncodeError)
  })

  const wides: [string, (value: bigint) => Typed, bigint, bigint][] = [
    ['ulong', ulong, 0n, 2n ** 64n - 1n],
    ['long', long, -(2n ** 63n), 2n ** 63n - 1n],
    ['timestamp', timestamp, -(2n ** 63n), 2n ** 63n - 1n],
  ]
  test.each(wides)('%s: its ends and nothing beyond, no plain number', (type, make, min, max) => {
    for (const value of [min, max]) expect(make(value)).toEqual(new Typed(type as 'long', value))
    for (const value of [min - 1n, max + 1n, wrong(1)]) expect(() => make(value)).toThrow(EncodeError)
  })

  test.each([
    ['float', float],
    ['double', double],
  ])('%s: any number, and nothing else', (type, make) => {
    for (const value of [0.5, -0, Number.NaN, Number.POSITIVE_INFINITY])
      expect(make(value)).toEqual(new Typed(type as 'float', value))
    for (const value of ['1', 1n, null, {}]) expect(() => make(wrong(value))).toThrow(`is not a ${type}`)
  })

  test('the message says what it was, of objects only that it was one', () => {
    expect(() => ubyte(300)).toThrow('300 is not a ubyte')
    expect(() => ubyte(wrong({ secret: 1 }))).toThrow('this value is not a ubyte')
  })

  test('§1.6.16 char: one scalar value, of one unit or two', () => {
    for (const value of ['a', '\u{1f600}', '\uffff']) {
      expect(decodeValue(encodeValue(char(value)))).toEqual(new Typed('char', value))
    }
    for (const value of ['', 'ab', '\ud800', '\udfff', 'a\u{1f600}', '\u{1f600}a'])
      expect(() => char(value)).toThrow(EncodeError)
  })

  test('§1.6.18 uuid: 16 bytes, or 32 hexadecimal digits in five groups', () => {
    const text = '00112233-4455-6677-8899-aabbccddeeff'
    expect(Uuid.parse(text.toUpperCase()).toString()).toBe(text)
    for (const other of ['', text.slice(1), `${text}0`, text.replaceAll('-', ''), text.replace('f', 'g')])
      expect(() => Uuid.parse(other)).toThrow('not the text of a uuid')
    for (const length of [0, 15, 17]) expect(() => new Uuid(new Uint8Array(length))).toThrow(EncodeError)
  })

  test('§1.6.13–15 decimals: 4, 8 or 16 bytes', () => {
    for (const length of [4, 8, 16]) expect(new Decimal(new Uint8Array(length)).width).toBe(length * 8)
    for (const length of [0, 3, 5, 32]) expect(() => new Decimal(new Uint8Array(length))).toThrow(EncodeError)
  })
})

describe('§1.6 encoding', () => {
  test('§1.6.13–15 decimals: their bytes behind the constructor of their width', () => {
    const hex = [4, 8, 16].map(length => toHex(encodeValue(new Decimal(new Uint8Array(length).fill(1)))))
    expect(hex).toEqual([`74${'01'.repeat(4)}`, `84${'01'.repeat(8)}`, `94${'01'.repeat(16)}`])
  })

  test('§1.2 a descriptor that was a long stays one, and is not taken for a ulong', () => {
    for (const hex of [
      '00 55 05 40',
      '00 81 00000000000001f4 40',
      '00 55 ff 40',
      '00 53 05 40',
      '00 70 fcf7bde8 40',
      '00 52 05 40',
      '00 72 3f800000 40',
    ]) {
      const bytes = fromHex(hex)
      expect(toHex(encodeValue(decodeValue(bytes)))).toBe(toHex(bytes))
    }
  })

  test('§1.6.17 a timestamp may be given as a Date', () => {
    expect(toHex(encodeValue(new Typed('timestamp', new Date(1))))).toBe('830000000000000001')
  })

  test.each([
    ['in a list', (value: AmqpValue): AmqpValue => [value]],
    ['in a map', (value: AmqpValue): AmqpValue => new Map([['key', value]])],
    ['in an array', (value: AmqpValue): AmqpValue => array('map', [value])],
  ])('what a value of the caller’s own throws comes through as it is: %s', (_where, within) => {
    const cause = new RangeError('thrown by the caller’s own object')
    class Failing extends Map<AmqpValue, AmqpValue> {
      override [Symbol.iterator](): never {
        throw cause
      }
    }
    expect(() => encodeValue(within(new Failing()))).toThrow(cause)
  })

  test.each([
    ['a string', ['writeString', ''], 'string'],
    ['a symbol', ['writeSymbol', 5], 'string'],
    ['a boolean', ['writeBoolean', null], 'boolean'],
    ['a binary', ['writeBinary', 'text'], 'Uint8Array'],
    ['a timestamp', ['writeTimestamp', 0], 'Date'],
  ] as const)(
    'the writer refuses %s that is none, and says what there was instead',
    (_what, [verb, value], expected) => {
      const given = verb === 'writeString' ? null : value
      const write = (new Writer() as unknown as Record<string, (value: unknown) => void>)[verb]
      expect(() => write?.call(new Writer(), given)).toThrow(
        `expected a ${expected}, not a ${given === null ? 'null' : typeof given}`,
      )
    },
  )

  test('§1.6.19 a binary of 4 GiB has no form', () => {
    const writer = new Writer()
    expect(() => writer.binaryHeader(0x100000000)).toThrow('less than 4 GiB')
    expect(writer.offset).toBe(0)
    writer.binaryHeader(0xffffffff)
    expect(toHex(writer.copy())).toBe('b0ffffffff')
  })

  test.each([5, 30, 255, 300])('§1.6.20 a lone surrogate behind %i characters is refused', length => {
    expect(() => encodeValue(`${'a'.repeat(length - 1)}\ud800`)).toThrow('lone surrogate')
  })

  test.each([5, 30, 255, 300])('§1.6.21 a symbol of %i characters, one of them not ASCII, is refused', length => {
    const name = `${'a'.repeat(length - 1)}é`
    expect(() => new Writer().writeSymbol(name)).toThrow('a symbol is ASCII')
    expect(() => encodeValue(new Typed('symbol', name))).toThrow('a symbol is ASCII')
  })
})

describe('§1.6.24 arrays', () => {
  const typedOf = (value: AmqpValue): unknown => decodeTyped(encodeValue(value)).value

  test.each([
    ['lists', array('list', [['a'], []]), [['a'], []]],
    ['maps', array('map', [new AmqpMap([['k', 1]]), new Map()]), [new AmqpMap([['k', 1]]), new AmqpMap()]],
    ['strings', array('string', ['a', 'é']), ['a', 'é']],
    ['symbols', array('symbol', ['a', 'b']), ['a', 'b']],
    ['booleans', array('boolean', [true, false]), [true, false]],
    ['binaries', array('binary', [Uint8Array.of(1)]), [Uint8Array.of(1)]],
  ])('of plain %s', (_what, given, elements) => {
    const again = decodeValue(encodeValue(given))
    const plain = again instanceof Typed ? (again.value as { elements: unknown[] }).elements : again
    expect(JSON.stringify(plain)).toBe(JSON.stringify(elements))
  })

  test('of arrays', () => {
    expect(typedOf(array('array', [array('uint', [1]), array('ubyte', [])]))).toMatchObject({
      of: 'array',
      elements: [{ value: { of: 'uint' } }, { value: { of: 'ubyte', elements: [] } }],
    })
  })

  test('an element of another type is refused, with its place', () => {
    const refused = (value: AmqpValue): EncodeError => {
      try {
        encodeValue(value)
      } catch (error) {
        if (error instanceof EncodeError) return error
      }
      throw new Error('nothing was refused')
    }
    expect(refused(array('uint', [1, int(2)]))).toMatchObject({
      reason: 'an array of uint cannot hold a int',
      path: '1',
    })
    expect(refused(array('list', [new AmqpMap()]))).toMatchObject({ path: '0' })
  })

  test('described elements name the type below their descriptors', () => {
    expect(() => encodeValue(array('described', [described(ulong(1n), 'x')]))).toThrow('names the type below')
    expect(typedOf(array('string', ['x'], [ulong(1n)]))).toMatchObject({ of: 'string', elements: [{ value: 'x' }] })
  })
})

describe('§1.4 composites', () => {
  const write = <T>(table: Composite<T>, value: object): string => {
    const writer = new Writer()
    table.write(writer, value)
    return toHex(writer.copy())
  }

  test('a mandatory field that is left out is refused, by name', () => {
    expect(() => write(open, {})).toThrow('open needs containerId')
    expect(() => write(open, { containerId: null })).toThrow(EncodeError)
    expect(() => write(saslMechanisms, { saslServerMechanisms: [] })).toThrow(EncodeError)
  })

  test('several symbols in one field: one, an array of either width, and no other type', () => {
    const mechanisms = (hex: string): readonly string[] => read(saslMechanisms, hex).saslServerMechanisms
    expect(mechanisms('c0 04 01 a3 01 41')).toEqual(['A'])
    expect(mechanisms('c0 09 01 e0 06 02 a3 01 41 01 42')).toEqual(['A', 'B'])
    expect(mechanisms('c0 0a 01 e0 07 01 b3 00000001 41')).toEqual(['A'])
    expect(() => mechanisms('c0 06 01 e0 03 01 50 41')).toThrow(DecodeError)
    // Nothing but the constructor says what an array of none holds.
    expect(() => mechanisms('c0 05 01 e0 02 00 50')).toThrow('array of plain symbols')
    expect(() => mechanisms('c0 05 01 e0 02 00 a3')).toThrow('at least one symbol')
    expect(() => mechanisms('c0 0a 01 e0 07 01 00 53 05 a3 01 41')).toThrow('array of plain symbols')
  })

  test('§1.6.6 a ulong field takes bigints of 64 bits', () => {
    const sizes = (sectionOffset: unknown): string => write(received, { sectionNumber: 0, sectionOffset })
    expect(sizes(2n ** 64n - 1n)).toContain('80ffffffffffffffff')
    for (const value of [5, -1n, 2n ** 64n]) expect(() => sizes(value)).toThrow('is not a ulong')
  })

  test('§1.3 a field of any type takes any value', () => {
    const hex = write(declare, { globalId: ['a', 1] })
    expect(hex).toBe('005331c00901c00602a101615401')
    expect(read(declare, hex.slice(6)).globalId).toEqual(['a', 1])
  })

  test('§2.8.13 the keys of fields are symbols', () => {
    const init = { nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 1 }
    expect(() => write(begin, { ...init, properties: new AmqpMap([['text', 1]]) })).toThrow('symbols')
    try {
      write(begin, { ...init, properties: new AmqpMap([['text', 1]]) })
    } catch (error) {
      expect((error as EncodeError).path).toBe('properties.text')
    }
  })

  test('a style writes every field, and one symbol as an array of one', () => {
    const styled = (arrays: boolean, complete: boolean): string => {
      const writer = new Writer()
      saslMechanisms.write(writer, { saslServerMechanisms: ['A'] }, { arrays, complete })
      return toHex(writer.copy())
    }
    expect(styled(false, false)).toBe('005340c00401a30141')
    expect(styled(true, false)).toBe('005340c00701e00401a30141')
    const writer = new Writer()
    begin.write(writer, { nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 1 }, { arrays: false, complete: true })
    expect(begin.read(new Reader(writer.copy().subarray(3)))).toMatchObject({ handleMax: 0xffffffff })
    expect(writer.copy()[5]).toBe(begin.fields.length)
  })

  test('§1.4 a field that holds one composite takes that one, by code and by symbol', () => {
    const error = (descriptor: string, width: number): string =>
      `c0 ${(width + 10).toString(16).padStart(2, '0')} 01 00 ${descriptor} c0 06 01 a3 03 613a62`
    const symbol = 'a3 0f 616d71703a6572726f723a6c697374'
    expect(read(rejected, error('53 1d', 2)).error).toMatchObject({ condition: 'a:b' })
    expect(read(rejected, error(symbol, 17)).error).toMatchObject({ condition: 'a:b' })
    expect(() => read(rejected, error('53 1e', 2))).toThrow('expected error')
    expect(() => read(rejected, error(symbol.replace('6c697374', '6c697375'), 17))).toThrow('expected error')
  })

  test('§1.4 only the members of an archetype are written', () => {
    expect(() => deliveryStateField.write(new Writer(), { type: 'open' } as never)).toThrow('open is not a')
  })

  test('§3.2.11 a message-id of another type is refused', () => {
    expect(() => read(properties, 'c0 03 01 52 05')).toThrow(DecodeError)
    expect(read(properties, `c0 12 01 98 ${'11'.repeat(16)}`).messageId).toEqual(
      new Uuid(new Uint8Array(16).fill(0x11)),
    )
  })
})

test('§1.2 the width behind a constructor: of fixed ones, and of no others', () => {
  const widths = [0x40, 0x50, 0x60, 0x70, 0x80, 0x94].map(fixedWidth)
  expect(widths).toEqual([0, 1, 2, 4, 8, 16])
  // Described, variable, compound, array; and two codes that are none.
  expect([0x00, 0xa0, 0xc0, 0xf0, 0x4f, 0x99].map(fixedWidth)).toEqual([-1, -1, -1, -1, -1, -1])
})

describe('§1.6 the reader’s verbs refuse what is of another type', () => {
  test.each([
    ['readUshort', '50 01'],
    ['readUlong', '70 00000001'],
    ['readUuid', '40'],
    ['readBinary', '41'],
    ['readString', 'a30161'],
    ['readSymbol', 'a10161'],
    ['enterList', 'c1020040'],
    ['enterMap', 'c00100'],
    ['readDescriptor', '54 01'],
  ] as const)('%s', (verb, hex) => {
    const reader = new Reader(fromHex(hex))
    expect(() => reader[verb]()).toThrow(DecodeError)
    expect(() => new Reader(fromHex(hex))[verb]()).toThrow(/found|expected/)
  })

  test('§1.6.21 a symbol of the long form; §1.6.17 an instant', () => {
    expect(new Reader(fromHex('b3 00000001 61')).readSymbol()).toBe('a')
    expect(new Reader(fromHex('83 0000000000000005')).readTimestamp()).toEqual(new Date(5))
    expect(read(properties, 'c0 12 09 40 40 40 40 40 40 40 40 83 0000000000000005')).toMatchObject({
      absoluteExpiryTime: new Date(5),
    })
  })

  test('§1.2 one value and nothing behind it', () => {
    for (const decode of [decodeValue, decodeTyped])
      expect(() => decode(fromHex('41 41'))).toThrow('1 bytes behind the value')
  })

  test('§1.2 skipping refuses what no value begins with, also below descriptors', () => {
    for (const hex of ['3f', '00 53 01 3f', '99 00 00']) {
      const bytes = fromHex(hex)
      expect(() => valueEnd(bytes, 0, bytes.length)).toThrow('unknown constructor')
    }
  })

  test('§1.5 a descriptor may be a ulong of any width, or a symbol of either', () => {
    expect(new Reader(fromHex('44')).readDescriptor()).toBe(0)
    expect(new Reader(fromHex('53 10')).readDescriptor()).toBe(0x10)
    expect(new Reader(fromHex('80 0000000000000010')).readDescriptor()).toBe(0x10)
    expect(new Reader(fromHex('80 0000000100000010')).readDescriptor()).toBeUndefined()
    expect(new Reader(fromHex('a30161')).readDescriptor()).toBe('a')
    expect(new Reader(fromHex('b30000000161')).readDescriptor()).toBe('a')
  })
})
