/**
 * Values of any type, read: `decodeValue` for JavaScript values, `decodeTyped` for values that keep their exact type.
 * §1.2 §1.6
 *
 * | AMQP | decodeValue gives |
 * |---|---|
 * | null, boolean, string, binary | `null`, `boolean`, `string`, `Uint8Array` (a view) |
 * | ubyte ushort uint byte short int float double | `number` |
 * | ulong long | `bigint`, always |
 * | timestamp | `Date`, clamped to its range (D-003) |
 * | symbol, uuid, decimals | `AmqpSymbol`, `Uuid`, `Decimal` |
 * | char | `Typed<'char', string>` |
 * | list, map, array, described | array, `AmqpMap`, `Typed<'array', AmqpArray>`, `Described` |
 *
 * A map key whose plain value would encode as another type (a uint, a double that is a whole number …) stays `Typed`,
 * so that maps survive a round trip.
 */

import { readArray } from './array.ts'
import { typeOfCode } from './constructors.ts'
import { cachedSymbol, cachedText } from './key-cache.ts'
import { KeyIdentities, keyIdentity, numberType } from './key-identity.ts'
import { AmqpMap } from './map.ts'
import { type DecodeLimits, Reader } from './reader.ts'
import { AmqpSymbol, type AmqpValue, Described, Typed, Uuid } from './values.ts'

/**
 * Decodes exactly one value.
 *
 * @param bytes  not copied: binaries in the result are views of it
 * @throws {DecodeError} for anything else than one well-formed value, with the byte offset
 */
export function decodeValue(bytes: Uint8Array, limits?: DecodeLimits): AmqpValue {
  const reader = new Reader(bytes, 0, bytes.length, limits)
  const value = readValue(reader)
  if (reader.offset !== bytes.length) reader.fail(`${bytes.length - reader.offset} bytes behind the value`)
  return value
}

/** As `decodeValue`, but every value, at every depth, keeps its AMQP type; see `Typed` for what each holds. */
export function decodeTyped(bytes: Uint8Array, limits?: DecodeLimits): Typed {
  const reader = new Reader(bytes, 0, bytes.length, limits)
  const value = readTyped(reader)
  if (reader.offset !== bytes.length) reader.fail(`${bytes.length - reader.offset} bytes behind the value`)
  return value
}

/** Reads the value at the cursor. BORROWS */
export function readValue(reader: Reader): AmqpValue {
  return readContent(reader, reader.u8())
}

/** Reads what follows constructor `code`. */
export function readContent(reader: Reader, code: number): AmqpValue {
  switch (code) {
    case 0x40: // null
      return null
    case 0x41: // true
      return true
    case 0x42: // false
      return false
    case 0x56: // boolean
      return reader.booleanByte()
    case 0x50: // ubyte
    case 0x52: // smalluint
      return reader.u8()
    case 0x43: // uint0
      return 0
    case 0x60: // ushort
      return reader.u16()
    case 0x70: // uint
      return reader.u32()
    case 0x51: // byte
    case 0x54: // smallint
      return (reader.u8() << 24) >> 24
    case 0x61: // short
      return (reader.u16() << 16) >> 16
    case 0x71: // int
      return reader.i32()
    case 0x44: // ulong0
      return 0n
    case 0x53: // smallulong
      return BigInt(reader.u8())
    case 0x80: // ulong
      return reader.u64()
    case 0x55: // smalllong
      return BigInt((reader.u8() << 24) >> 24)
    case 0x81: // long
      return reader.i64()
    case 0x72: // float
      return reader.f32()
    case 0x82: // double
      return reader.f64()
    case 0x74: // decimal32
      return reader.decimal(4)
    case 0x84: // decimal64
      return reader.decimal(8)
    case 0x94: // decimal128
      return reader.decimal(16)
    case 0x73: // char
      return new Typed('char', reader.char())
    case 0x83: // timestamp
      return reader.date()
    case 0x98: // uuid
      return new Uuid(reader.view(16))
    case 0xa0: // vbin8
      return reader.view(reader.u8())
    case 0xb0: // vbin32
      return reader.view(reader.u32())
    case 0xa1: // str8
      return reader.text(reader.u8())
    case 0xb1: // str32
      return reader.text(reader.u32())
    case 0xa3: // sym8
      return readSymbolKey(reader, reader.u8())
    case 0xb3: // sym32
      return readSymbolKey(reader, reader.u32())
    case 0x45: // list0
    case 0xc0: // list8
    case 0xd0: // list32
      return readList(reader, code)
    case 0xc1: // map8
    case 0xd1: // map32
      return readMap(reader, code)
    case 0xe0: // array8
    case 0xf0: // array32
      return new Typed('array', readArray(reader, code === 0xf0, readContent, readValue))
    case 0x00:
      return readDescribed(reader)
    default:
      return reader.unexpected(code, 'a value')
  }
}

function readDescribed(reader: Reader): Described {
  reader.descend()
  const descriptor = readDescriptor(reader)
  const value = readValue(reader)
  reader.ascend()
  return new Described(descriptor, value)
}

/** Any value may stand there; a number keeps its type, so that a plain bigint always stands for a ulong. */
function readDescriptor(reader: Reader): AmqpValue {
  const code = reader.u8()
  const plain = readContent(reader, code)
  const type = typeOfCode[code]
  if (typeof plain === 'number' && type !== numberType(plain)) return new Typed(type as 'uint', plain)
  return type === 'long' && (plain as bigint) >= 0n ? new Typed(type, plain) : plain
}

/** Reads a list of any values; `code` is its constructor if that is read already. §1.6.22 */
export function readList(reader: Reader, code: number = reader.u8()): AmqpValue[] {
  const outer = reader.enterList(code)
  const items: AmqpValue[] = []
  for (let left = reader.count; left > 0; left--) items.push(readValue(reader))
  reader.leave(outer)
  return items
}

/** Reads a map: pairs only, no key twice; `code` as for `readList`. §1.6.23 */
export function readMap(reader: Reader, code: number = reader.u8()): AmqpMap {
  const outer = reader.enterMap(code)
  const start = reader.offset
  const count = reader.count
  const flat: AmqpValue[] = []
  for (let i = 0; i < count; i += 2) {
    flat.push(readKey(reader))
    flat.push(readValue(reader))
  }
  const twice = duplicateKey(flat, reader)
  if (twice !== undefined) reader.fail('a map holds the same key twice', start)
  reader.leave(outer)
  return AmqpMap.fromFlat(flat)
}

/** Reads the key of a map at the cursor: as `readValue`, but numeric keys keep their type. BORROWS §1.6.23 */
export function readKey(reader: Reader): AmqpValue {
  const code = reader.u8()
  if (code === 0xa1) return readTextKey(reader, reader.u8())
  if (code === 0xa3) return readSymbolKey(reader, reader.u8())
  const key = readContent(reader, code)
  const type = typeOfCode[code]
  if (typeof key === 'number') return type === numberType(key) ? key : new Typed(type as 'uint', key)
  if (typeof key === 'bigint') return type === 'long' ? key : new Typed('ulong', key)
  return key
}

function readTextKey(reader: Reader, length: number): string {
  reader.need(length)
  const text = cachedText(reader.bytes, reader.offset, length)
  if (text === undefined) return reader.text(length)
  reader.offset += length
  return text
}

function readSymbolKey(reader: Reader, length: number): AmqpSymbol {
  reader.need(length)
  const made = cachedSymbol(reader.bytes, reader.offset, length)
  if (made === undefined) return reader.symbolOf(length)
  reader.offset += length
  return made
}

const PAIRWISE = 8

/**
 * The first key that a flat list of keys and values holds twice.
 *
 * @param within  what the maps within one value share, so that compound keys within each other are walked once
 */
export function duplicateKey(
  flat: readonly AmqpValue[],
  within: { keys: KeyIdentities | undefined } = { keys: undefined },
): AmqpValue | undefined {
  if (flat.length <= 2 * PAIRWISE && !flat.some(isCompoundKey)) {
    for (let i = 2; i < flat.length; i += 2)
      for (let j = 0; j < i; j += 2) if (sameKey(flat[i] as AmqpValue, flat[j] as AmqpValue)) return flat[i]
    return undefined
  }
  const seen = new Set<string>()
  for (let i = 0; i < flat.length; i += 2) {
    const key = flat[i] as AmqpValue
    const identity = isCompoundKey(key, i) ? identitiesOf(within).of(key) : keyIdentity(key)
    if (seen.has(identity)) return flat[i]
    seen.add(identity)
  }
  return undefined
}

function identitiesOf(within: { keys: KeyIdentities | undefined }): KeyIdentities {
  within.keys ??= new KeyIdentities()
  return within.keys
}

/** Keys whose identity is dear: it is made once, not once for each pair. */
const isCompoundKey = (key: AmqpValue, i: number): boolean =>
  i % 2 === 0 && typeof key === 'object' && key !== null && !(key instanceof AmqpSymbol)

function sameKey(a: AmqpValue, b: AmqpValue): boolean {
  // Lengths first: they mostly differ, and comparing texts costs a call.
  if (typeof a === 'string') return typeof b === 'string' && a.length === b.length && a === b
  if (typeof b === 'string') return false
  // Not numbers: 0 is an int and -0 a double.
  if (a === b && typeof a !== 'number') return true
  if (a instanceof AmqpSymbol) return b instanceof AmqpSymbol && a.name.length === b.name.length && a.name === b.name
  if (b instanceof AmqpSymbol) return false
  return keyIdentity(a) === keyIdentity(b)
}

/** Reads the value at the cursor with its type. BORROWS */
export function readTyped(reader: Reader): Typed {
  return readTypedContent(reader, reader.u8())
}

function readTypedContent(reader: Reader, code: number): Typed {
  const type = typeOfCode[code]
  switch (type) {
    case undefined:
      return reader.unexpected(code, 'a value')
    case 'symbol':
      return new Typed(type, reader.symbolName(code === 0xa3 ? reader.u8() : reader.u32()))
    case 'char':
      return new Typed(type, reader.char())
    case 'timestamp':
      return new Typed(type, reader.i64())
    case 'array':
      return new Typed(type, readArray<Typed>(reader, code === 0xf0, readTypedContent, readTyped))
    case 'list': {
      const outer = reader.enterList(code)
      const items: Typed[] = []
      for (let left = reader.count; left > 0; left--) items.push(readTyped(reader))
      reader.leave(outer)
      return new Typed(type, items)
    }
    case 'map': {
      const outer = reader.enterMap(code)
      const start = reader.offset
      const pairs: [Typed, Typed][] = []
      for (let left = reader.count; left > 0; left -= 2) pairs.push([readTyped(reader), readTyped(reader)])
      if (new Set(pairs.map(([key]) => identitiesOf(reader).of(key))).size < pairs.length)
        reader.fail('a map holds the same key twice', start)
      reader.leave(outer)
      return new Typed(type, pairs)
    }
    case 'described': {
      reader.descend()
      const value = { descriptor: readTyped(reader), value: readTyped(reader) }
      reader.ascend()
      return new Typed(type, value)
    }
    default:
      return new Typed(type, readContent(reader, code))
  }
}
