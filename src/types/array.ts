/**
 * Arrays: one constructor, many elements; nested, described, of any type. §1.6.24
 *
 * How an element's content is read or written is passed in, so that this file knows constructors and sizes only.
 * On write the narrowest constructor that fits all elements is chosen, never one of zero width except for null:
 * a count without bytes behind it is what peers rightly distrust (D-005).
 */

import { EncodeError } from '../errors.ts'
import { fixedWidth, typeOfCode } from './constructors.ts'
import { encodeErrorWithin } from './encode-path.ts'
import type { Reader } from './reader.ts'
import { type AmqpArray, AmqpSymbol, type AmqpTypeName, type AmqpValue, Typed } from './values.ts'
import { Writer } from './writer.ts'

/**
 * Reads the array behind constructor 0xe0 or 0xf0.
 *
 * @param content  reads what follows a constructor
 * @param descriptor  reads a descriptor
 */
export function readArray<V>(
  reader: Reader,
  wide: boolean,
  content: (reader: Reader, code: number) => V,
  descriptor: (reader: Reader) => AmqpValue,
): AmqpArray<V> {
  const size = wide ? reader.u32() : reader.u8()
  const least = wide ? 5 : 2
  if (size < least) reader.fail(`a size of ${size} leaves no room for the count and the constructor`)
  reader.need(size)
  const count = wide ? reader.u32() : reader.u8()
  const outer = reader.enterSized(count, size - (wide ? 4 : 1))
  const descriptors: AmqpValue[] = []
  let code = reader.u8()
  while (code === 0x00) {
    reader.descend()
    descriptors.push(descriptor(reader))
    code = reader.u8()
  }
  const of = typeOfCode[code]
  if (of === undefined) reader.unexpected(code, 'an element constructor')
  checkCount(reader, code, count)
  let elements: V[] = []
  // Without a width they are all the same: one is read, and stands for all.
  if (count > 0 && fixedWidth(code) === 0) elements = new Array<V>(count).fill(content(reader, code))
  else for (let i = 0; i < count; i++) elements.push(content(reader, code))
  for (let i = 0; i < descriptors.length; i++) reader.ascend()
  reader.leave(outer)
  return { of, descriptors, elements }
}

/** What an element without a width costs of the budget: 256 of them use up the default. They are all the same. */
const ZERO_WIDTH_COST = 4096

/** Compares the count with the bytes that are there. Zero-width elements are bounded by the budget alone, at a higher price. */
function checkCount(reader: Reader, code: number, count: number): void {
  const fixed = fixedWidth(code)
  // A count with no bytes behind it is cheap to send: each such element costs as much of the budget as many others.
  if (fixed === 0) reader.spend(count * (ZERO_WIDTH_COST - 1))
  const least = fixed >= 0 ? fixed : code & 0x10 ? 4 : 1
  if (count * least > reader.end - reader.offset)
    reader.fail(`${count} elements of at least ${least} bytes do not fit in ${reader.end - reader.offset} bytes`)
}

/**
 * Writes an array with its constructor.
 *
 * @param write  writes a value with its constructor, in its smallest encoding
 * @throws {EncodeError} when an element is not of the array's type
 */
export function writeArray(writer: Writer, array: AmqpArray, write: (writer: Writer, value: AmqpValue) => void): void {
  const { of, descriptors, elements } = array
  const scratch = new Writer(64)
  const encoded = elements.map((element, i) => {
    try {
      return encodeElement(scratch, element, of, write)
    } catch (error) {
      throw encodeErrorWithin(i, error)
    }
  })
  const begun = writer.open()
  for (const descriptor of descriptors) {
    writer.u8(0x00)
    write(writer, descriptor)
  }
  writeElements(writer, of, encoded)
  closeArray(writer, begun, elements.length)
}

function closeArray(writer: Writer, begun: number, count: number): void {
  const start = writer.mark + begun
  const size = writer.offset - start - 3
  if (size < 0xff && count <= 0xff) {
    writer.bytes[start] = 0xe0
    writer.bytes[start + 1] = size + 1
    writer.bytes[start + 2] = count
  } else writer.widen(begun, size, count, 0xf0)
}

/** One element, encoded alone: its own constructor first. */
function encodeElement(
  scratch: Writer,
  element: unknown,
  of: AmqpTypeName,
  write: (writer: Writer, value: AmqpValue) => void,
): Uint8Array {
  scratch.offset = 0
  write(scratch, toElement(element, of))
  const bytes = scratch.copy()
  const found = typeOfCode[bytes[0] as number]
  if (found !== of) throw new EncodeError(`an array of ${of} cannot hold a ${found}`)
  return bytes
}

/** Plain elements take the type of the array: `array('uint', [1, 2])`, `array('symbol', ['a'])`. */
function toElement(element: unknown, of: AmqpTypeName): AmqpValue {
  if (of === 'symbol' && typeof element === 'string') return new AmqpSymbol(element)
  if (element instanceof Typed || (typeof element === 'object' && of !== 'list' && of !== 'map' && of !== 'array'))
    return element as AmqpValue
  if (of === 'null' || of === 'list' || of === 'map' || of === 'array' || of === 'string') return element as AmqpValue
  return new Typed(of, element)
}

/** Strips each element's own constructor and writes the contents behind a common one. */
function writeElements(writer: Writer, of: AmqpTypeName, encoded: readonly Uint8Array[]): void {
  switch (of) {
    case 'boolean':
      return fixed(writer, 0x56, encoded, 1, bytes => [bytes[0] === 0x41 ? 1 : 0])
    case 'uint':
      return number(writer, encoded, 0x52, 0x70, 4)
    case 'ulong':
      return number(writer, encoded, 0x53, 0x80, 8)
    case 'int':
      return number(writer, encoded, 0x54, 0x71, 4)
    case 'long':
      return number(writer, encoded, 0x55, 0x81, 8)
    case 'binary':
      return variable(writer, encoded, 0xa0)
    case 'string':
      return variable(writer, encoded, 0xa1)
    case 'symbol':
      return variable(writer, encoded, 0xa3)
    case 'list':
      return compound(writer, encoded, 0xc0)
    case 'map':
      return compound(writer, encoded, 0xc1)
    case 'array':
      return compound(writer, encoded, 0xe0)
    case 'described':
      throw new EncodeError('a described array names the type below its descriptors')
    default: {
      // One encoding only: null, ubyte, ushort, byte, short, float, double, decimals, char, timestamp, uuid.
      writer.u8(ONLY_CODE[of])
      for (const bytes of encoded) writer.raw(bytes.subarray(1))
    }
  }
}

const ONLY_CODE = {
  null: 0x40,
  ubyte: 0x50,
  byte: 0x51,
  ushort: 0x60,
  short: 0x61,
  float: 0x72,
  char: 0x73,
  decimal32: 0x74,
  double: 0x82,
  timestamp: 0x83,
  decimal64: 0x84,
  decimal128: 0x94,
  uuid: 0x98,
} as const

function fixed(
  writer: Writer,
  code: number,
  encoded: readonly Uint8Array[],
  width: number,
  special: (bytes: Uint8Array) => readonly number[] | undefined,
): void {
  writer.u8(code)
  for (const bytes of encoded) {
    const content = special(bytes) ?? bytes.subarray(1)
    writer.ensure(width)
    for (const byte of content) writer.u8(byte)
  }
}

/** Integers with zero-, one- and full-width forms: one byte if all fit, else the full width, sign-extended. */
function number(writer: Writer, encoded: readonly Uint8Array[], small: number, full: number, width: number): void {
  if (encoded.every(bytes => bytes.length <= 2))
    return fixed(writer, small, encoded, 1, b => (b.length === 1 ? [0] : undefined))
  const signed = small === 0x54 || small === 0x55
  fixed(writer, full, encoded, width, bytes => {
    if (bytes.length > 2) return undefined
    const low = bytes[1] ?? 0
    const fill = signed && low > 0x7f ? 0xff : 0
    return [...new Array<number>(width - 1).fill(fill), low]
  })
}

function variable(writer: Writer, encoded: readonly Uint8Array[], code8: number): void {
  const narrow = encoded.every(bytes => bytes[0] === code8)
  writer.u8(narrow ? code8 : code8 + 0x10)
  for (const bytes of encoded) {
    const content = bytes.subarray(bytes[0] === code8 ? 2 : 5)
    if (narrow) writer.u8(content.length)
    else writer.u32(content.length)
    writer.raw(content)
  }
}

function compound(writer: Writer, encoded: readonly Uint8Array[], code8: number): void {
  const narrow = encoded.every(bytes => bytes[0] === code8 || bytes[0] === 0x45)
  writer.u8(narrow ? code8 : code8 + 0x10)
  for (const bytes of encoded) {
    const empty = bytes[0] === 0x45
    const short = bytes[0] === code8
    const count = empty ? 0 : short ? (bytes[2] as number) : new DataView(bytes.buffer, bytes.byteOffset).getUint32(5)
    const content = bytes.subarray(empty ? 1 : short ? 3 : 9)
    if (narrow) {
      writer.u8(content.length + 1)
      writer.u8(count)
    } else {
      writer.u32(content.length + 4)
      writer.u32(count)
    }
    writer.raw(content)
  }
}
