/**
 * Reader: a cursor over the bytes of one or more values, and the primitives of §1.6.1–23.
 *
 * Nothing from the wire is believed before it is checked: a width against the bytes that are there, a size against the
 * enclosing size, a count against the size *and* a budget, depth against a limit. Every fault is a `DecodeError` with
 * the byte offset. Bytes handed out are views (BORROWS). Arrays are in `array.ts`, values of any type in `any.ts`.
 */

import { DecodeError } from '../errors.ts'
import { typeOfCode } from './constructors.ts'
import { cachedText } from './key-cache.ts'
import type { KeyIdentities } from './key-identity.ts'
import { decodeAscii, decodeUtf8 } from './utf8.ts'
import { AmqpSymbol, Decimal, Uuid } from './values.ts'

/** Bounds on what one top-level value may cost. */
export interface DecodeLimits {
  /** Levels of list, map, array and described value within each other. */
  readonly maxNesting: number
  /** Elements of all lists, maps and arrays together. */
  readonly maxElements: number
}

/** 64 levels, 2^20 elements: far above any real message, far below harm. */
export const DEFAULT_DECODE_LIMITS: DecodeLimits = { maxNesting: 64, maxElements: 1 << 20 }

/** One 64-bit word seen as integers, bigint and double: cheaper than a DataView per chunk. */
const words = /* @__PURE__ */ new Uint32Array(2)
const asUlong = /* @__PURE__ */ new BigUint64Array(words.buffer)
const asLong = /* @__PURE__ */ new BigInt64Array(words.buffer)
const asDouble = /* @__PURE__ */ new Float64Array(words.buffer)
const asFloat = /* @__PURE__ */ new Float32Array(words.buffer)
const LOW = /* @__PURE__ */ (() => (new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1))()
const HIGH = 1 - LOW

/** Instants that `Date` can hold: ±8.64e15 ms. */
const DATE_MAX = 8.64e15

export class Reader {
  bytes: Uint8Array
  offset: number
  /** Where reading must stop; inside a list or map, the end of that. */
  end: number
  /** Elements in the list or map just entered. */
  count = 0
  readonly limits: DecodeLimits
  #depth = 0
  #elements = 0
  /** Added to offsets in errors, when `bytes` is a part of something larger. */
  base = 0
  /** Of the compound keys of maps within this value. */
  keys: KeyIdentities | undefined

  constructor(bytes: Uint8Array, offset = 0, end: number = bytes.length, limits: DecodeLimits = DEFAULT_DECODE_LIMITS) {
    this.bytes = bytes
    this.offset = offset
    this.end = end
    this.limits = limits
  }

  /** Starts over on other bytes, with a full budget. */
  reset(bytes: Uint8Array, offset: number, end: number): void {
    this.bytes = bytes
    this.offset = offset
    this.end = end
    this.#depth = 0
    this.#elements = 0
    this.keys = undefined
  }

  fail(message: string, offset: number = this.offset): never {
    throw new DecodeError(message, this.base + offset)
  }

  /** The constructor at the cursor is not one of `expected`. */
  unexpected(code: number, expected: string): never {
    const found = typeOfCode[code] ?? `unknown constructor 0x${code.toString(16).padStart(2, '0')}`
    return this.fail(`expected ${expected}, found ${found}`, this.offset - 1)
  }

  need(width: number): void {
    if (width > this.end - this.offset) this.fail(`${width} bytes needed, ${this.end - this.offset} left`)
  }

  /** The constructor byte at the cursor, left in place. */
  peek(): number {
    if (this.offset >= this.end) this.fail('a value needed, no bytes left')
    return this.bytes[this.offset] as number
  }

  u8(): number {
    if (this.offset >= this.end) this.fail('1 byte needed, none left')
    return this.bytes[this.offset++] as number
  }

  u16(): number {
    this.need(2)
    const { bytes, offset } = this
    this.offset = offset + 2
    return ((bytes[offset] as number) << 8) | (bytes[offset + 1] as number)
  }

  u32(): number {
    return this.i32() >>> 0
  }

  i32(): number {
    const offset = this.offset
    if (this.end - offset < 4) this.need(4)
    const bytes = this.bytes
    this.offset = offset + 4
    return (
      ((bytes[offset] as number) << 24) |
      ((bytes[offset + 1] as number) << 16) |
      ((bytes[offset + 2] as number) << 8) |
      (bytes[offset + 3] as number)
    )
  }

  #word(): void {
    this.need(8)
    words[HIGH] = this.i32()
    words[LOW] = this.i32()
  }

  u64(): bigint {
    this.#word()
    return asUlong[0] as bigint
  }

  i64(): bigint {
    this.#word()
    return asLong[0] as bigint
  }

  f64(): number {
    this.#word()
    return asDouble[0] as number
  }

  f32(): number {
    words[0] = this.i32()
    return asFloat[0] as number
  }

  /** The next `width` bytes as a view. BORROWS */
  view(width: number): Uint8Array {
    this.need(width)
    const { bytes, offset } = this
    this.offset = offset + width
    // Not subarray: a Buffer's costs several times a plain view.
    return new Uint8Array(bytes.buffer, bytes.byteOffset + offset, width)
  }

  /** Whether the next value is null, consumed if so. §1.6.1 */
  takeNull(): boolean {
    if (this.peek() !== 0x40) return false
    this.offset++
    return true
  }

  /** §1.6.2 */
  readBoolean(): boolean {
    const code = this.u8()
    if (code === 0x41) return true
    if (code === 0x42) return false
    if (code !== 0x56) this.unexpected(code, 'boolean')
    return this.booleanByte()
  }

  /** The byte of a one-byte boolean: 0 or 1, nothing else. §1.6.2 */
  booleanByte(): boolean {
    const byte = this.u8()
    if (byte > 1) this.fail(`a boolean is 0 or 1, not ${byte}`, this.offset - 1)
    return byte === 1
  }

  /** §1.6.3 */
  readUbyte(): number {
    const code = this.u8()
    if (code !== 0x50) this.unexpected(code, 'ubyte')
    return this.u8()
  }

  /** §1.6.4 */
  readUshort(): number {
    const code = this.u8()
    if (code !== 0x60) this.unexpected(code, 'ushort')
    return this.u16()
  }

  /** §1.6.5 */
  readUint(): number {
    const code = this.u8()
    switch (code) {
      case 0x43: // uint0
        return 0
      case 0x52: // smalluint
        return this.u8()
      case 0x70:
        return this.u32()
      default:
        return this.unexpected(code, 'uint')
    }
  }

  /** §1.6.6 */
  readUlong(): bigint {
    const code = this.u8()
    switch (code) {
      case 0x44: // ulong0
        return 0n
      case 0x53: // smallulong
        return BigInt(this.u8())
      case 0x80:
        return this.u64()
      default:
        return this.unexpected(code, 'ulong')
    }
  }

  /** Milliseconds as a Date, clamped to what a Date can hold. §1.6.17 DEVIATES D-003 */
  readTimestamp(): Date {
    const code = this.u8()
    if (code !== 0x83) this.unexpected(code, 'timestamp')
    return this.date()
  }

  date(): Date {
    this.need(8)
    const ms = this.i32() * 0x100000000 + this.u32()
    if (ms <= DATE_MAX && ms >= -DATE_MAX) return new Date(ms)
    return new Date(ms > 0 ? DATE_MAX : -DATE_MAX)
  }

  /** A code point, checked to be a scalar value. §1.6.16 */
  char(): string {
    const code = this.u32()
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
      this.fail(`0x${code.toString(16)} is not a Unicode scalar value`, this.offset - 4)
    return String.fromCodePoint(code)
  }

  /** BORROWS §1.6.18 */
  readUuid(): Uuid {
    const code = this.u8()
    if (code !== 0x98) this.unexpected(code, 'uuid')
    return new Uuid(this.view(16))
  }

  /** BORROWS §1.6.13–15 */
  decimal(width: 4 | 8 | 16): Decimal {
    return new Decimal(this.view(width))
  }

  /** BORROWS §1.6.19 */
  readBinary(): Uint8Array {
    const code = this.u8()
    if (code === 0xa0) return this.view(this.u8())
    if (code === 0xb0) return this.view(this.u32())
    return this.unexpected(code, 'binary')
  }

  /** §1.6.20 */
  readString(): string {
    const code = this.u8()
    if (code === 0xa1) return this.text(this.u8())
    if (code === 0xb1) return this.text(this.u32())
    return this.unexpected(code, 'string')
  }

  /** `width` bytes of UTF-8. */
  text(width: number): string {
    this.need(width)
    const start = this.offset
    const text = decodeUtf8(this.bytes, start, start + width)
    if (text === undefined) this.fail('invalid UTF-8', start)
    this.offset = start + width
    return text
  }

  /** The name of a symbol. §1.6.21 */
  readSymbol(): string {
    const code = this.u8()
    if (code === 0xa3) return this.symbolName(this.u8())
    if (code === 0xb3) return this.symbolName(this.u32())
    return this.unexpected(code, 'symbol')
  }

  /** `width` bytes of ASCII. */
  symbolName(width: number): string {
    this.need(width)
    const start = this.offset
    const text = cachedText(this.bytes, start, width) ?? decodeAscii(this.bytes, start, start + width)
    if (text === undefined) this.fail('a symbol is ASCII', start)
    this.offset = start + width
    return text
  }

  symbolOf(width: number): AmqpSymbol {
    return new AmqpSymbol(this.symbolName(width))
  }

  /**
   * Enters the list at the cursor: `count` is its number of elements, `end` its end.
   *
   * @param code  its constructor, if that is read already: elements of an array share one
   * @returns the end of what encloses it, for `leave`. §1.6.22
   */
  enterList(code: number = this.u8()): number {
    switch (code) {
      case 0x45: // list0
        return this.enter(0, 0)
      case 0xc0: // list8
        return this.enter8()
      case 0xd0: // list32
        return this.enter32()
      default:
        return this.unexpected(code, 'list')
    }
  }

  /** Enters the map at the cursor: `count` counts keys and values. `code` and result as for `enterList`. §1.6.23 */
  enterMap(code: number = this.u8()): number {
    if (code !== 0xc1 && code !== 0xd1) return this.unexpected(code, 'map')
    const outer = code === 0xc1 ? this.enter8() : this.enter32()
    if (this.count % 2 !== 0) this.fail(`a map holds pairs, not ${this.count} items`)
    return outer
  }

  /** Behind a one-byte constructor: size and count of one byte each. */
  enter8(): number {
    const size = this.u8()
    if (size < 1) this.fail('a size of 0 leaves no room for the count', this.offset - 1)
    this.need(size)
    return this.enter(this.u8(), size - 1)
  }

  /** Behind a four-byte constructor: size and count of four bytes each. */
  enter32(): number {
    const size = this.u32()
    if (size < 4) this.fail(`a size of ${size} leaves no room for the count`, this.offset - 4)
    this.need(size)
    return this.enter(this.u32(), size - 4)
  }

  /** Elements of a list or map have a constructor each, so there are at most as many as bytes. */
  enter(count: number, size: number): number {
    if (count > size) this.fail(`${count} elements do not fit in ${size} bytes`)
    return this.enterSized(count, size)
  }

  /** As `enter`, for arrays, whose elements may be zero bytes wide: only the budget bounds those. §1.6.24 */
  enterSized(count: number, size: number): number {
    this.spend(count)
    this.descend()
    const outer = this.end
    this.end = this.offset + size
    this.count = count
    return outer
  }

  /** Ends a list, map or array, which must have been read to its last byte. */
  leave(outer: number): void {
    if (this.offset !== this.end) this.fail(`${this.end - this.offset} bytes left over inside a compound value`)
    this.end = outer
    this.#depth--
  }

  /** One level down; `ascend` or `leave` comes back up. */
  descend(): void {
    if (++this.#depth > this.limits.maxNesting) this.fail(`nested deeper than ${this.limits.maxNesting} levels`)
  }

  ascend(): void {
    this.#depth--
  }

  /** Elements that have been taken from the budget. */
  get elements(): number {
    return this.#elements
  }

  /** Takes elements from the budget that one top-level value has. */
  spend(count: number): void {
    this.#elements += count
    if (this.#elements > this.limits.maxElements)
      this.fail(`more than ${this.limits.maxElements} elements in one value`)
  }

  /** The descriptor of a composite: its code, its symbol, or `undefined` for any other. Behind the 0x00. §1.5 */
  readDescriptor(): number | string | undefined {
    const code = this.u8()
    switch (code) {
      case 0x44: // ulong0
        return 0
      case 0x53: // smallulong
        return this.u8()
      case 0x80: {
        const high = this.u32()
        const low = this.u32()
        return high === 0 ? low : undefined
      }
      case 0xa3: // sym8
        return this.symbolName(this.u8())
      case 0xb3: // sym32
        return this.symbolName(this.u32())
      default:
        return this.unexpected(code, 'a descriptor')
    }
  }
}
