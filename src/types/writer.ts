/**
 * Writer: a growing cursor, and the primitives of §1.6.1–23, each in its smallest encoding.
 *
 * Sizes of lists and maps are patched in afterwards: the one-byte form is assumed, and the content moved up when it
 * turns out larger. A writer can be a slab: `mark` is where the unit being written began, everything before it has been
 * handed out as views and is never touched again; when the slab is full the unit moves to a new one.
 */

import { EncodeError } from '../errors.ts'
import { allocate, byteCount } from './allocate.ts'
import { utf8Room, writeAscii, writeUtf8 } from './utf8.ts'

const words = /* @__PURE__ */ new Uint32Array(2)
const asUlong = /* @__PURE__ */ new BigUint64Array(words.buffer)
const asDouble = /* @__PURE__ */ new Float64Array(words.buffer)
const asFloat = /* @__PURE__ */ new Float32Array(words.buffer)
const LOW = /* @__PURE__ */ (() => (new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1))()
const HIGH = 1 - LOW

/** Room that a fixed-width value and its constructor need at most. */
const FIXED = 17

/** The compiler's checks, for callers that have no compiler. */
function refuse(expected: string, value: unknown): never {
  throw new EncodeError(`expected a ${expected}, not a ${value === null ? 'null' : typeof value}`)
}

function refuseSymbol(): never {
  throw new EncodeError('a symbol is ASCII')
}

function refuseSurrogate(): never {
  throw new EncodeError('a string with a lone surrogate has no UTF-8 form')
}

export class Writer {
  bytes: Uint8Array
  offset = 0
  /** Start of the unit being written. */
  mark = 0
  /** Bytes behind `mark` that are kept free, for what is known last. */
  headroom = 0
  /** Smallest size of the buffer that follows when this one is full. */
  readonly slabSize: number
  /** What is not written yet is zero: results are views, and `buffer` shows what is around them. */
  readonly #clear: boolean

  constructor(size = 256, slabSize = 0, clear = false) {
    this.bytes = clear ? new Uint8Array(size) : allocate(size)
    this.slabSize = slabSize
    this.#clear = clear
  }

  /** Makes room for `width` more bytes. */
  ensure(width: number): void {
    if (width > this.bytes.length - this.offset) this.#grow(width)
  }

  #grow(width: number): void {
    const used = this.offset - this.mark
    const size = Math.max(this.slabSize, 2 * used + width, 64)
    const bytes = this.#clear ? new Uint8Array(size) : allocate(size)
    bytes.set(this.bytes.subarray(this.mark, this.offset))
    this.bytes = bytes
    this.offset = used
    this.mark = 0
  }

  /** What was written since `mark`. BORROWS: a view, valid for ever as long as `mark` is moved past it. */
  written(): Uint8Array {
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + this.mark, this.offset - this.mark)
  }

  /** What was written since `mark`, as bytes of its own. */
  copy(): Uint8Array {
    return this.bytes.slice(this.mark, this.offset)
  }

  u8(value: number): void {
    this.ensure(1)
    this.bytes[this.offset++] = value
  }

  u16(value: number): void {
    this.ensure(2)
    this.bytes[this.offset++] = value >>> 8
    this.bytes[this.offset++] = value
  }

  u32(value: number): void {
    this.ensure(4)
    const { bytes, offset } = this
    bytes[offset] = value >>> 24
    bytes[offset + 1] = value >>> 16
    bytes[offset + 2] = value >>> 8
    bytes[offset + 3] = value
    this.offset = offset + 4
  }

  /** The low 64 bits, two's complement. */
  u64(value: bigint): void {
    asUlong[0] = value
    this.u32(words[HIGH] as number)
    this.u32(words[LOW] as number)
  }

  f32(value: number): void {
    asFloat[0] = value
    this.u32(words[0] as number)
  }

  f64(value: number): void {
    asDouble[0] = value
    this.u32(words[HIGH] as number)
    this.u32(words[LOW] as number)
  }

  /** Bytes as they are, copied. */
  raw(bytes: Uint8Array): void {
    const length = byteCount(bytes)
    this.ensure(length)
    this.bytes.set(bytes, this.offset)
    this.offset += length
  }

  /** §1.6.1 */
  writeNull(): void {
    this.u8(0x40)
  }

  /** @throws {EncodeError} for anything but a boolean. §1.6.2 */
  writeBoolean(value: boolean): void {
    if (typeof value !== 'boolean') refuse('boolean', value)
    this.u8(value ? 0x41 : 0x42)
  }

  /** 0 … 255, checked by the caller. §1.6.3 */
  writeUbyte(value: number): void {
    this.u8(0x50)
    this.u8(value)
  }

  /** §1.6.4 */
  writeUshort(value: number): void {
    this.u8(0x60)
    this.u16(value)
  }

  /** 0 … 2^32 − 1. §1.6.5 */
  writeUint(value: number): void {
    this.ensure(FIXED)
    if (value === 0) this.bytes[this.offset++] = 0x43
    else if (value < 0x100) {
      this.bytes[this.offset++] = 0x52
      this.bytes[this.offset++] = value
    } else {
      this.bytes[this.offset++] = 0x70
      this.u32(value)
    }
  }

  /** §1.6.6 */
  writeUlong(value: bigint): void {
    this.ensure(FIXED)
    if (value === 0n) this.bytes[this.offset++] = 0x44
    else if (value < 0x100n) {
      this.bytes[this.offset++] = 0x53
      this.bytes[this.offset++] = Number(value)
    } else {
      this.bytes[this.offset++] = 0x80
      this.u64(value)
    }
  }

  /** §1.6.7 */
  writeByte(value: number): void {
    this.u8(0x51)
    this.u8(value)
  }

  /** §1.6.8 */
  writeShort(value: number): void {
    this.u8(0x61)
    this.u16(value)
  }

  /** §1.6.9 */
  writeInt(value: number): void {
    if (value >= -0x80 && value <= 0x7f) {
      this.u8(0x54)
      this.u8(value)
    } else {
      this.u8(0x71)
      this.u32(value)
    }
  }

  /** §1.6.10 */
  writeLong(value: bigint): void {
    if (value >= -0x80n && value <= 0x7fn) {
      this.u8(0x55)
      this.u8(Number(value))
    } else {
      this.u8(0x81)
      this.u64(value)
    }
  }

  /** §1.6.11 */
  writeFloat(value: number): void {
    this.u8(0x72)
    this.f32(value)
  }

  /** §1.6.12 */
  writeDouble(value: number): void {
    this.u8(0x82)
    this.f64(value)
  }

  /** A Unicode scalar value: one, which the caller has checked. §1.6.16 */
  writeChar(value: string): void {
    this.u8(0x73)
    this.u32(value.codePointAt(0) as number)
  }

  /** @throws {EncodeError} for an invalid Date, or none at all. §1.6.17 */
  writeTimestamp(value: Date): void {
    if (!(value instanceof Date)) refuse('Date', value)
    const ms = value.getTime()
    if (Number.isNaN(ms)) throw new EncodeError('an invalid Date is no timestamp')
    this.ensure(FIXED)
    this.u8(0x83)
    this.u32(Math.floor(ms / 0x100000000))
    this.u32(ms)
  }

  /** 16 bytes. §1.6.18 */
  writeUuid(bytes: Uint8Array): void {
    this.u8(0x98)
    this.raw(bytes)
  }

  /** @throws {EncodeError} for anything but a Uint8Array, or one of 4 GiB. §1.6.19 */
  writeBinary(bytes: Uint8Array): void {
    if (!(bytes instanceof Uint8Array)) refuse('Uint8Array', bytes)
    this.binaryHeader(byteCount(bytes))
    this.raw(bytes)
  }

  /** The constructor and size of a binary of `length` bytes, which the caller writes. @throws {EncodeError} from 4 GiB on */
  binaryHeader(length: number): void {
    if (length < 0x100) {
      this.u8(0xa0)
      this.u8(length)
    } else {
      if (length > 0xffffffff) throw new EncodeError(`a binary has less than 4 GiB, not ${length} bytes`)
      this.u8(0xb0)
      this.u32(length)
    }
  }

  /** @throws {EncodeError} when the text holds a lone surrogate, or is no string. §1.6.20 */
  writeString(text: string): void {
    if (typeof text !== 'string') refuse('string', text)
    this.ensure(5 + utf8Room(text))
    if (text.length >= 0x100) return this.#longString(text)
    const { bytes, offset } = this
    const length = writeUtf8(bytes, offset + 2, text)
    if (length < 0) refuseSurrogate()
    if (length < 0x100) {
      bytes[offset] = 0xa1
      bytes[offset + 1] = length
      this.offset = offset + 2 + length
    } else {
      bytes.copyWithin(offset + 5, offset + 2, offset + 2 + length)
      this.#longHeader(offset, 0xb1, length)
    }
  }

  #longString(text: string): void {
    const start = this.offset
    this.#longHeader(start, 0xb1, this.utf8(text, start + 5))
  }

  #longHeader(start: number, code: number, length: number): void {
    this.offset = start
    this.u8(code)
    this.u32(length)
    this.offset = start + 5 + length
  }

  /** Writes text at `offset`, where there is room. @returns the number of bytes. @throws {EncodeError} */
  utf8(text: string, offset: number): number {
    const length = writeUtf8(this.bytes, offset, text)
    if (length < 0) refuseSurrogate()
    return length
  }

  /** @throws {EncodeError} unless the name is a string of ASCII. §1.6.21 */
  writeSymbol(name: string): void {
    if (typeof name !== 'string') refuse('string', name)
    const length = name.length
    this.ensure(5 + utf8Room(name))
    const { bytes, offset } = this
    if (length < 0x100) {
      bytes[offset] = 0xa3
      bytes[offset + 1] = length
      if (!writeAscii(bytes, offset + 2, name)) refuseSymbol()
      this.offset = offset + 2 + length
    } else {
      this.u8(0xb3)
      this.u32(length)
      this.ascii(name)
    }
  }

  /** @throws {EncodeError} unless the name is ASCII */
  ascii(name: string): void {
    this.ensure(utf8Room(name))
    if (!writeAscii(this.bytes, this.offset, name)) refuseSymbol()
    this.offset += name.length
  }

  /** Descriptor of a composite of the standard: 0x00 and a code below 256. §1.5 */
  writeDescriptor(code: number): void {
    this.ensure(3)
    const { bytes, offset } = this
    bytes[offset] = 0x00
    bytes[offset + 1] = 0x53
    bytes[offset + 2] = code
    this.offset = offset + 3
  }

  /** Starts a list or map; the elements follow, then `close`. @returns what `close` needs */
  open(): number {
    this.ensure(3)
    const start = this.offset - this.mark
    this.offset += 3
    return start
  }

  /** Ends a list of `count` elements begun at `start`. §1.6.22 */
  closeList(start: number, count: number): void {
    if (count === 0) {
      this.offset = this.mark + start
      this.u8(0x45)
    } else this.#close(start, count, 0xc0)
  }

  /** Ends a map; `count` counts keys and values. §1.6.23 */
  closeMap(start: number, count: number): void {
    this.#close(start, count, 0xc1)
  }

  #close(begun: number, count: number, code8: number): void {
    const start = this.mark + begun
    const size = this.offset - start - 3
    if (size < 0xff && count <= 0xff) {
      const bytes = this.bytes
      bytes[start] = code8
      bytes[start + 1] = size + 1
      bytes[start + 2] = count
    } else this.widen(begun, size, count, code8 + 0x10)
  }

  /** Moves content up behind a four-byte header: constructor, size, count. */
  widen(begun: number, size: number, count: number, code32: number): void {
    this.ensure(6)
    const start = this.mark + begun
    this.bytes.copyWithin(start + 9, start + 3, start + 3 + size)
    this.offset = start
    this.u8(code32)
    this.u32(size + 4)
    this.u32(count)
    this.offset = start + 9 + size
  }
}
