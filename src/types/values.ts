/**
 * AMQP values as JavaScript sees them: the union `AmqpValue`, the few classes that JavaScript lacks, and a constructor
 * function for each AMQP type, for places where the exact type matters. §1.6
 *
 * One AMQP type, one JavaScript type; never decided by magnitude. A plain `number` encodes as int when it is an integer
 * of 32 bits, as long when it is a safe integer beyond that, else as double; a `bigint` encodes as long. Every other
 * numeric type needs its constructor: `uint(5)`, `ulong(5n)`.
 */

import { EncodeError } from '../errors.ts'
import { formatDecimal, parseDecimal } from './decimal.ts'
import type { AmqpMap } from './map.ts'

/** Anything that a `*` position may hold, in or out. */
export type AmqpValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Date
  | Uint8Array
  | AmqpSymbol
  | Described
  | Typed
  | Uuid
  | Decimal
  | readonly AmqpValue[]
  | AmqpMap
  | ReadonlyMap<AmqpValue, AmqpValue>

/** The names of the AMQP types, as §1.6 spells them; `described` stands for §1.2. */
export type AmqpTypeName =
  | 'null'
  | 'boolean'
  | 'ubyte'
  | 'ushort'
  | 'uint'
  | 'ulong'
  | 'byte'
  | 'short'
  | 'int'
  | 'long'
  | 'float'
  | 'double'
  | 'decimal32'
  | 'decimal64'
  | 'decimal128'
  | 'char'
  | 'timestamp'
  | 'uuid'
  | 'binary'
  | 'string'
  | 'symbol'
  | 'list'
  | 'map'
  | 'array'
  | 'described'

/** A symbolic value from a constrained domain; ASCII. §1.6.21 */
export class AmqpSymbol {
  readonly name: string

  /** @param name  ASCII only, checked when encoded */
  constructor(name: string) {
    this.name = name
  }

  toString(): string {
    return this.name
  }

  toJSON(): string {
    return this.name
  }
}

/** A value with a descriptor that says what it means. §1.2 */
export class Described<T = AmqpValue> {
  readonly descriptor: AmqpValue
  readonly value: T

  constructor(descriptor: AmqpValue, value: T) {
    this.descriptor = descriptor
    this.value = value
  }
}

/**
 * A value together with its exact AMQP type, where the JavaScript type alone does not say it.
 *
 * `value` is what `decodeTyped` gives: number for the integers up to 32 bits and the floats, bigint for ulong, long and
 * timestamp (milliseconds), a one-code-point string for char, string for string and symbol, `AmqpArray` for array,
 * `Typed[]` for list, pairs for map, `{ descriptor, value }` for described.
 */
export class Typed<K extends AmqpTypeName = AmqpTypeName, V = unknown> {
  readonly type: K
  readonly value: V

  constructor(type: K, value: V) {
    this.type = type
    this.value = value
  }
}

/** The content of an array: many elements, one constructor. §1.6.24 */
export interface AmqpArray<V = unknown> {
  /** Type of every element. */
  readonly of: AmqpTypeName
  /** Descriptors shared by every element, outermost first; empty for plain elements. */
  readonly descriptors: readonly AmqpValue[]
  readonly elements: readonly V[]
}

/** Text has a length as well, and would be written as zeros. */
function checkBytes(type: 'uuid' | 'decimal', bytes: unknown): void {
  if (!(bytes instanceof Uint8Array)) throw new EncodeError(`a ${type} is made from a Uint8Array`)
}

const hexOf = (bytes: Uint8Array): string => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')

/** Node's console shows what a method of this name returns. */
function shownAsText(prototype: object, name: string): void {
  Object.defineProperty(prototype, Symbol.for('nodejs.util.inspect.custom'), {
    value(this: object) {
      return `${name}(${this})`
    },
  })
}

/** A universally unique identifier, RFC 4122; 16 bytes in network order. §1.6.18 */
export class Uuid {
  static {
    shownAsText(Uuid.prototype, 'Uuid')
  }

  /** 16 bytes. A view of the bytes given, not a copy. */
  readonly bytes: Uint8Array

  /** @throws {EncodeError} unless it is a `Uint8Array` of 16 bytes */
  constructor(bytes: Uint8Array) {
    checkBytes('uuid', bytes)
    if (bytes.length !== 16) throw new EncodeError(`a uuid has 16 bytes, not ${bytes.length}`)
    this.bytes = bytes
  }

  /** @param text  8-4-4-4-12 hex digits, any case. @throws {EncodeError} for any other text */
  static parse(text: string): Uuid {
    if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw new EncodeError('not the text of a uuid')
    const digits = text.replaceAll('-', '')
    return new Uuid(Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16)))
  }

  toString(): string {
    return hexOf(this.bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  }

  toJSON(): string {
    return this.toString()
  }
}

/**
 * An IEEE 754-2008 decimal in its interchange bytes, kept exactly whatever they are; text when asked. §1.6.13–15
 *
 * Two decimals are the same number and yet differ: `1.5` and `1.50` have other bytes, and are two keys of a map.
 */
export class Decimal {
  static {
    shownAsText(Decimal.prototype, 'Decimal')
  }

  readonly width: 32 | 64 | 128
  /** 4, 8 or 16 bytes, big-endian. A view of the bytes given, not a copy. */
  readonly bytes: Uint8Array

  /** @throws {EncodeError} unless it is a `Uint8Array` of 4, 8 or 16 bytes */
  constructor(bytes: Uint8Array) {
    checkBytes('decimal', bytes)
    const width = bytes.length * 8
    if (width !== 32 && width !== 64 && width !== 128)
      throw new EncodeError(`a decimal has 4, 8 or 16 bytes, not ${bytes.length}`)
    this.width = width
    this.bytes = bytes
  }

  /**
   * Keeps sign, digits and exponent exactly: `1.50` keeps its zero, `-0` its sign.
   *
   * @param text  `-12.50`, `1E+7`, `Infinity`, `NaN`, `sNaN12`; any case, no spaces
   * @param width  bits: 32 for 7 digits, 64 for 16, 128 for 34
   * @throws {EncodeError} any other text, more digits, or an exponent that the width does not reach; never rounds
   */
  static parse(text: string, width: 32 | 64 | 128): Decimal {
    return new Decimal(parseDecimal(text, width))
  }

  /** The scientific string of General Decimal Arithmetic; `parse` reads it back. */
  toString(): string {
    return formatDecimal(this.bytes)
  }

  toJSON(): string {
    return this.toString()
  }
}

/** An error whose path says which constructor refused. */
const refuse = (type: AmqpTypeName, value: unknown): never => {
  throw new EncodeError(`${typeof value === 'object' ? 'this value' : String(value)} is not a ${type}`)
}

const integer =
  <K extends AmqpTypeName>(type: K, min: number, max: number) =>
  (value: number): Typed<K, number> =>
    Number.isInteger(value) && value >= min && value <= max ? new Typed(type, value) : refuse(type, value)

const wide =
  <K extends AmqpTypeName>(type: K, min: bigint, max: bigint) =>
  (value: bigint): Typed<K, bigint> =>
    typeof value === 'bigint' && value >= min && value <= max ? new Typed(type, value) : refuse(type, value)

/** Each of these takes a number in the range of its type and throws `EncodeError` for any other. §1.6.3–9 */
export const ubyte: (value: number) => Typed<'ubyte', number> = /* @__PURE__ */ integer('ubyte', 0, 0xff)
/** 0 … 65,535. §1.6.4 @throws {EncodeError} */
export const ushort: (value: number) => Typed<'ushort', number> = /* @__PURE__ */ integer('ushort', 0, 0xffff)
/** 0 … 2^32 − 1. §1.6.5 @throws {EncodeError} */
export const uint: (value: number) => Typed<'uint', number> = /* @__PURE__ */ integer('uint', 0, 0xffffffff)
/** −128 … 127. §1.6.7 @throws {EncodeError} */
export const byte: (value: number) => Typed<'byte', number> = /* @__PURE__ */ integer('byte', -0x80, 0x7f)
/** −32,768 … 32,767. §1.6.8 @throws {EncodeError} */
export const short: (value: number) => Typed<'short', number> = /* @__PURE__ */ integer('short', -0x8000, 0x7fff)
/** −2^31 … 2^31 − 1. §1.6.9 @throws {EncodeError} */
export const int: (value: number) => Typed<'int', number> = /* @__PURE__ */ integer('int', -0x80000000, 0x7fffffff)
/** 0 … 2^64 − 1. §1.6.6 @throws {EncodeError} */
export const ulong: (value: bigint) => Typed<'ulong', bigint> = /* @__PURE__ */ wide('ulong', 0n, 2n ** 64n - 1n)
/** −2^63 … 2^63 − 1. §1.6.10 @throws {EncodeError} */
export const long: (value: bigint) => Typed<'long', bigint> = /* @__PURE__ */ wide('long', -(2n ** 63n), 2n ** 63n - 1n)

const real =
  <K extends AmqpTypeName>(type: K) =>
  (value: number): Typed<K, number> =>
    typeof value === 'number' ? new Typed(type, value) : refuse(type, value)

/** binary32; the value is rounded to it when encoded. §1.6.11 */
export const float: (value: number) => Typed<'float', number> = /* @__PURE__ */ real('float')
/** binary64. §1.6.12 */
export const double: (value: number) => Typed<'double', number> = /* @__PURE__ */ real('double')

/** One Unicode scalar value. §1.6.16 @throws {EncodeError} for a surrogate, or a string of another length */
export function char(value: string): Typed<'char', string> {
  if (typeof value !== 'string') return refuse('char', value)
  const code = value.codePointAt(0)
  if (code === undefined || value.length !== (code > 0xffff ? 2 : 1) || (code >= 0xd800 && code <= 0xdfff))
    return refuse('char', value)
  return new Typed('char', value)
}

/** Milliseconds since 1970-01-01 UTC as 64 bits, for instants that `Date` cannot hold. §1.6.17 @throws {EncodeError} */
export const timestamp: (ms: bigint) => Typed<'timestamp', bigint> = /* @__PURE__ */ wide(
  'timestamp',
  -(2n ** 63n),
  2n ** 63n - 1n,
)

/** A symbol. ASCII, checked when encoded. §1.6.21 */
export const symbol = (name: string): AmqpSymbol => new AmqpSymbol(name)

/** A described value. §1.2 */
export const described = <T extends AmqpValue>(descriptor: AmqpValue, value: T): Described<T> =>
  new Described(descriptor, value)

/**
 * An array: every element is of type `of` and written with one constructor. §1.6.24
 *
 * @param elements  plain values (`array('uint', [1, 2])`, `array('symbol', ['a'])`) or `Typed` ones
 */
export const array = (
  of: AmqpTypeName,
  elements: readonly unknown[],
  descriptors: readonly AmqpValue[] = [],
): Typed<'array', AmqpArray> => new Typed('array', { of, descriptors, elements })
