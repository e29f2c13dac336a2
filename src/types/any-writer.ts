/**
 * Values of any type, written, each in its smallest encoding. §1.2 §1.6
 *
 * A plain `number` becomes int when it is an integer of 32 bits, long when it is a safe integer beyond that, else
 * double; a `bigint` becomes long. Other numeric types are written from `Typed` values: `uint(5)`, `float(0.5)`.
 */

import { EncodeError } from '../errors.ts'
import { duplicateKey } from './any-reader.ts'
import { writeArray } from './array.ts'
import { encodeErrorWithin } from './encode-path.ts'
import { type KeyIdentities, numberType } from './key-identity.ts'
import { AmqpMap } from './map.ts'
import { begin, finish } from './slab.ts'
import {
  type AmqpArray,
  AmqpSymbol,
  type AmqpValue,
  byte,
  char,
  Decimal,
  Described,
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
} from './values.ts'
import type { Writer } from './writer.ts'

/** Values may nest this deep; deeper ones are taken for circular. */
const MAX_NESTING = 64

/**
 * Encodes one value.
 *
 * @returns bytes that are never written again. Small ones share a buffer of 32 KiB with others, as those of `encodeMessage`
 * @throws {EncodeError} when a value has no AMQP type or does not fit it; `path` says where
 */
export function encodeValue(value: AmqpValue): Uint8Array {
  const writer = begin()
  writeValue(writer, value)
  return finish(writer)
}

/** Writes a value with its constructor. @throws {EncodeError} */
export function writeValue(writer: Writer, value: AmqpValue, depth = 0): void {
  switch (typeof value) {
    case 'string':
      return writer.writeString(value)
    case 'number':
      return writeNumber(writer, value)
    case 'boolean':
      return writer.writeBoolean(value)
    case 'bigint':
      return writer.writeLong(long(value).value)
    case 'object':
      return writeObject(writer, value, depth)
    default:
      throw new EncodeError(`${typeof value === 'undefined' ? 'undefined' : `a ${typeof value}`} has no AMQP type`)
  }
}

function writeNumber(writer: Writer, value: number): void {
  const type = numberType(value)
  if (type === 'int') writer.writeInt(value)
  else if (type === 'long') writer.writeLong(BigInt(value))
  else writer.writeDouble(value)
}

function writeObject(
  writer: Writer,
  value: Exclude<AmqpValue, string | number | boolean | bigint>,
  depth: number,
): void {
  if (value === null) return writer.writeNull()
  if (depth > MAX_NESTING) throw new EncodeError(`nested deeper than ${MAX_NESTING} levels, or circular`)
  if (value instanceof Uint8Array) return writer.writeBinary(value)
  if (value instanceof AmqpSymbol) return writer.writeSymbol(value.name)
  if (value instanceof Date) return writer.writeTimestamp(value)
  if (Array.isArray(value)) return writeList(writer, value, depth)
  if (value instanceof AmqpMap) return writeFlat(writer, value.flat, depth)
  if (value instanceof Map) return writeFlat(writer, [...value].flat(1) as AmqpValue[], depth)
  if (value instanceof Typed) return writeTyped(writer, value, depth)
  if (value instanceof Described) return writeDescribed(writer, value.descriptor, value.value, depth)
  if (value instanceof Uuid) return writer.writeUuid(value.bytes)
  if (value instanceof Decimal) return writeDecimal(writer, value)
  throw new EncodeError('a plain object has no AMQP type: use a Map for a map, an array for a list')
}

function writeDescribed(writer: Writer, descriptor: AmqpValue, value: AmqpValue, depth: number): void {
  writer.u8(0x00)
  // Descriptors are ulongs or symbols: a plain bigint here is no long. §1.5
  if (typeof descriptor === 'bigint' && descriptor >= 0n) writer.writeUlong(ulong(descriptor).value)
  else writeValue(writer, descriptor, depth + 1)
  writeValue(writer, value, depth + 1)
}

function writeDecimal(writer: Writer, value: Decimal): void {
  writer.u8(value.width === 32 ? 0x74 : value.width === 64 ? 0x84 : 0x94)
  writer.raw(value.bytes)
}

/** §1.6.22 */
export function writeList(writer: Writer, items: readonly AmqpValue[], depth = 0): void {
  const begun = writer.open()
  for (let i = 0; i < items.length; i++) {
    try {
      writeValue(writer, items[i] as AmqpValue, depth + 1)
    } catch (error) {
      throw encodeErrorWithin(i, error)
    }
  }
  writer.closeList(begun, items.length)
}

/** Shared by all maps within the outermost whose keys are compound: else each would walk all that is in its keys. */
const within: { keys: KeyIdentities | undefined } = { keys: undefined }

/** Writes a map from keys and values in turn. @throws {EncodeError} when a key occurs twice. §1.6.23 */
export function writeFlat(writer: Writer, flat: readonly AmqpValue[], depth = 0): void {
  const isOutermost = within.keys === undefined
  try {
    if (duplicateKey(flat, within) !== undefined) throw new EncodeError('a map holds the same key twice')
    writeEntries(writer, flat, depth)
  } finally {
    if (isOutermost) within.keys = undefined
  }
}

function writeEntries(writer: Writer, flat: readonly AmqpValue[], depth: number): void {
  const begun = writer.open()
  for (let i = 0; i < flat.length; i += 2) {
    try {
      writeValue(writer, flat[i] as AmqpValue, depth + 1)
      writeValue(writer, flat[i + 1] as AmqpValue, depth + 1)
    } catch (error) {
      throw encodeErrorWithin(String(flat[i]), error)
    }
  }
  writer.closeMap(begun, flat.length)
}

function writeTyped(writer: Writer, { type, value }: Typed, depth: number): void {
  switch (type) {
    case 'null':
      expect('null', value === null || value === undefined, value)
      return writer.writeNull()
    case 'boolean':
      return writer.writeBoolean(expect<boolean>('boolean', typeof value === 'boolean', value))
    case 'ubyte':
      return writer.writeUbyte(ubyte(value as number).value)
    case 'ushort':
      return writer.writeUshort(ushort(value as number).value)
    case 'uint':
      return writer.writeUint(uint(value as number).value)
    case 'ulong':
      return writer.writeUlong(ulong(value as bigint).value)
    case 'byte':
      return writer.writeByte(byte(value as number).value)
    case 'short':
      return writer.writeShort(short(value as number).value)
    case 'int':
      return writer.writeInt(int(value as number).value)
    case 'long':
      return writer.writeLong(long(value as bigint).value)
    case 'float':
      return writer.writeFloat(expect('float', typeof value === 'number', value))
    case 'double':
      return writer.writeDouble(expect('double', typeof value === 'number', value))
    case 'decimal32':
    case 'decimal64':
    case 'decimal128':
      return writeDecimal(writer, expect(type, value instanceof Decimal && type === `decimal${value.width}`, value))
    case 'char':
      return writer.writeChar(char(value as string).value)
    case 'timestamp':
      if (value instanceof Date) return writer.writeTimestamp(value)
      writer.u8(0x83)
      return writer.u64(timestamp(value as bigint).value)
    case 'uuid':
      return writer.writeUuid(expect<Uuid>('uuid', value instanceof Uuid, value).bytes)
    case 'binary':
      return writer.writeBinary(expect('binary', value instanceof Uint8Array, value))
    case 'string':
      return writer.writeString(expect('string', typeof value === 'string', value))
    case 'symbol':
      return writer.writeSymbol(expect('symbol', typeof value === 'string', value))
    case 'list':
      return writeList(writer, expect('list', Array.isArray(value), value), depth)
    case 'map':
      return writeFlat(writer, pairsOf(value).flat(1), depth)
    case 'array':
      return writeArray(writer, arrayOf(value), (w, element) => writeValue(w, element, depth + 1))
    case 'described': {
      const { descriptor, value: inner } = Object(value) as { descriptor: AmqpValue; value: AmqpValue }
      return writeDescribed(writer, descriptor, inner, depth)
    }
  }
}

function expect<V>(type: string, holds: boolean, value: unknown): V {
  if (!holds) throw new EncodeError(`this value is not a ${type}`)
  return value as V
}

function pairsOf(value: unknown): readonly (readonly [AmqpValue, AmqpValue])[] {
  return expect('map', Array.isArray(value) && value.every(pair => Array.isArray(pair) && pair.length === 2), value)
}

function arrayOf(value: unknown): AmqpArray {
  const { descriptors, elements } = Object(value) as Partial<AmqpArray>
  return expect('array', Array.isArray(descriptors) && Array.isArray(elements), value)
}
