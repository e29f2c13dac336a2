/**
 * Composite types: described lists with named fields, read and written by one interpreter from a table. §1.3 §1.4
 *
 * A composite is an interface with documented fields and a table of the same fields in the standard's order; a missing
 * or misspelt field does not compile. A decoded composite has all its fields: defaults filled in, absent ones
 * `undefined`, and `type`, the composite's name.
 */

import { EncodeError } from '../errors.ts'
import { readValue } from './any-reader.ts'
import { writeValue } from './any-writer.ts'
import { readArray } from './array.ts'
import { encodeErrorWithin } from './encode-path.ts'
import { AmqpMap } from './map.ts'
import type { Reader } from './reader.ts'
import { AmqpSymbol, type AmqpValue, array } from './values.ts'
import type { Writer } from './writer.ts'

/** How values of one field type are read and written, constructor included. */
export interface FieldType<V> {
  readonly name: string
  read(reader: Reader): V
  /** @throws {EncodeError} when the value does not fit. `style` is for composites within. */
  write(writer: Writer, value: V, style?: CompositeStyle): void
}

/** A field of a composite: its type, and what its absence means. §1.4 */
export interface Field<V> {
  readonly type: FieldType<NonNullable<V>>
  readonly mandatory: boolean
  /** What an absent field means. */
  readonly absent: V
}

/** What may be given for writing: any field may be left out, mandatory ones are checked at run time. */
export type Init<T> = { readonly [K in keyof T]?: T[K] | undefined }

/** Quirks for peers that cannot read elided fields or a single value for an array; see `WireProfile`. */
export interface CompositeStyle {
  /** Write every field, defaults and nulls included. */
  readonly complete: boolean
  /** Write one value of a `multiple` field as an array of one. */
  readonly arrays: boolean
}

export const PLAIN_STYLE: CompositeStyle = { complete: false, arrays: false }

/** A composite type, made from its table: reads and writes values. §1.4 */
export interface Composite<T> {
  readonly name: string
  /** Low 32 bits of the descriptor; the domain is 0, AMQP's own. */
  readonly code: number
  /** The symbolic descriptor. */
  readonly symbol: string
  readonly section: string
  readonly fields: readonly (Field<unknown> & { readonly key: string })[]
  /** Reads the list behind the descriptor. @throws {DecodeError} */
  read(reader: Reader): T
  /** Writes descriptor and list. @throws {EncodeError} */
  write(writer: Writer, value: Init<T>, style?: CompositeStyle): void
}

/** A field that may be absent. */
export const optional = <V>(type: FieldType<V>): Field<V | undefined> => ({
  type: type as never,
  mandatory: false,
  absent: undefined,
})

/** A field that must be there. */
export const mandatory = <V>(type: FieldType<V>): Field<V> => ({
  type: type as never,
  mandatory: true,
  absent: undefined as V,
})

/** A field whose absence means a value. */
export const defaulted = <V>(type: FieldType<V>, absent: V): Field<V> => ({
  type: type as never,
  mandatory: false,
  absent,
})

const NOTHING: readonly never[] = /* @__PURE__ */ Object.freeze([])

/** A field of any number of symbols: null, one, or an array of them. §1.4 */
export const symbols: Field<readonly string[]> = /* @__PURE__ */ (() => {
  const type: FieldType<readonly string[]> = {
    name: 'symbol',
    read(reader) {
      const code = reader.peek()
      if (code !== 0xe0 && code !== 0xf0) return [reader.readSymbol()]
      reader.offset++
      const { of, descriptors, elements } = readArray(
        reader,
        code === 0xf0,
        (r, element) =>
          element === 0xa3
            ? r.symbolName(r.u8())
            : element === 0xb3
              ? r.symbolName(r.u32())
              : r.unexpected(element, 'symbol'),
        readValue,
      )
      if (of !== 'symbol' || descriptors.length > 0) reader.fail('expected an array of plain symbols')
      return elements
    },
    write(writer, names) {
      if (names.length === 1) writer.writeSymbol(names[0] as string)
      else writeValue(writer, array('symbol', names))
    },
  }
  return { type, mandatory: false, absent: NOTHING }
})()

/** As `symbols`, where at least one must be there. */
export const mandatorySymbols: Field<readonly string[]> = /* @__PURE__ */ (() => ({
  ...symbols,
  type: {
    ...symbols.type,
    read(reader: Reader) {
      const start = reader.offset
      const names = symbols.type.read(reader)
      return names.length > 0 ? names : reader.fail('at least one symbol is needed', start)
    },
  },
  mandatory: true,
}))()

/**
 * Makes a composite from its table.
 *
 * @param fields  in the standard's order: the position on the wire
 */
export function composite<T extends { readonly type: string }>(table: {
  readonly name: T['type']
  readonly code: number
  readonly section: string
  readonly fields: { readonly [K in Exclude<keyof T, 'type'>]-?: Field<T[K]> }
}): Composite<T> {
  const { name, code, section } = table
  const fields = Object.entries(table.fields as Record<string, Field<unknown>>).map(([key, field]) => ({
    key,
    ...field,
  }))
  return {
    name,
    code,
    symbol: `amqp:${name}:list`,
    section,
    fields,
    read(reader) {
      const outer = reader.enterList()
      const count = reader.count
      if (count > fields.length) reader.fail(`${name} has ${fields.length} fields, not ${count}`)
      const out: Record<string, unknown> = { type: name }
      for (let i = 0; i < fields.length; i++) {
        const field = fields[i] as (typeof fields)[number]
        const given = i < count && !reader.takeNull()
        const value = given ? field.type.read(reader) : field.absent
        // No value and no values are the same absence.
        if (field.mandatory && (!given || isEmptyMultiple(field, value)))
          reader.fail(`${name} lacks the mandatory ${field.key}`)
        out[field.key] = value
      }
      reader.leave(outer)
      return out as unknown as T
    },
    write(writer, value, style = PLAIN_STYLE) {
      writer.writeDescriptor(code)
      const given = value as Record<string, unknown>
      const begun = writer.open()
      const count = style.complete ? fields.length : presentFields(name, fields, given)
      for (let i = 0; i < count; i++) {
        const field = fields[i] as (typeof fields)[number]
        try {
          writeField(writer, field, given[field.key] ?? (style.complete ? field.absent : undefined), style)
        } catch (error) {
          throw encodeErrorWithin(field.key, error)
        }
      }
      writer.closeList(begun, count)
    },
  }
}

/** Trailing fields that are absent, or equal to what absence means, are left off. §1.4 */
function presentFields(name: string, fields: Composite<unknown>['fields'], given: Record<string, unknown>): number {
  let count = 0
  for (let i = 0; i < fields.length; i++) {
    const field = fields[i] as (typeof fields)[number]
    const value = given[field.key]
    if (value === undefined || value === null || (field.mandatory && isEmptyMultiple(field, value))) {
      if (field.mandatory) throw new EncodeError(`${name} needs ${field.key}`, field.key)
    } else if (field.mandatory || (value !== field.absent && !isEmptyMultiple(field, value))) count = i + 1
  }
  return count
}

const isEmptyMultiple = (field: Field<unknown>, value: unknown): boolean =>
  field.absent === NOTHING && (value as readonly unknown[]).length === 0

function writeField(writer: Writer, field: Field<unknown>, value: unknown, style: CompositeStyle): void {
  if (value === undefined || value === null || isEmptyMultiple(field, value)) return writer.writeNull()
  if (!style.complete && !field.mandatory && value === field.absent) return writer.writeNull()
  if (style.arrays && field.absent === NOTHING) return writeValue(writer, array('symbol', value as readonly string[]))
  field.type.write(writer, value as NonNullable<unknown>, style)
}

// ---- the primitive field types -----------------------------------------------------------------------------------

const bounded = (
  name: string,
  max: number,
  read: (reader: Reader) => number,
  write: (writer: Writer, value: number) => void,
): FieldType<number> => ({
  name,
  read,
  write(writer, value) {
    if (!Number.isInteger(value) || value < 0 || value > max) throw new EncodeError(`${String(value)} is not a ${name}`)
    write(writer, value)
  },
})

export const stringField: FieldType<string> = {
  name: 'string',
  read: r => r.readString(),
  write: (w, v) => w.writeString(v),
}
export const symbolField: FieldType<string> = {
  name: 'symbol',
  read: r => r.readSymbol(),
  write: (w, v) => w.writeSymbol(v),
}
export const booleanField: FieldType<boolean> = {
  name: 'boolean',
  read: r => r.readBoolean(),
  write: (w, v) => w.writeBoolean(v),
}
export const binaryField: FieldType<Uint8Array> = {
  name: 'binary',
  read: r => r.readBinary(),
  write: (w, v) => w.writeBinary(v),
}
export const timestampField: FieldType<Date> = {
  name: 'timestamp',
  read: r => r.readTimestamp(),
  write: (w, v) => w.writeTimestamp(v),
}
export const ubyteField: FieldType<number> = /* @__PURE__ */ bounded(
  'ubyte',
  0xff,
  r => r.readUbyte(),
  (w, v) => w.writeUbyte(v),
)
export const ushortField: FieldType<number> = /* @__PURE__ */ bounded(
  'ushort',
  0xffff,
  r => r.readUshort(),
  (w, v) => w.writeUshort(v),
)
export const uintField: FieldType<number> = /* @__PURE__ */ bounded(
  'uint',
  0xffffffff,
  r => r.readUint(),
  (w, v) => w.writeUint(v),
)
export const ulongField: FieldType<bigint> = {
  name: 'ulong',
  read: r => r.readUlong(),
  write(writer, value) {
    if (typeof value !== 'bigint' || value < 0n || value >= 1n << 64n)
      throw new EncodeError(`${String(value)} is not a ulong`)
    writer.writeUlong(value)
  },
}

/** A `*` position without a further restriction. */
export const anyField: FieldType<AmqpValue> = { name: '*', read: readValue, write: (w, v) => writeValue(w, v) }

/** A map of any keys, read as `AmqpMap`. */
export const mapField: FieldType<AmqpMap> = {
  name: 'map',
  read(reader) {
    const value = readValue(reader)
    return value instanceof AmqpMap ? value : reader.fail('expected map')
  },
  write: (writer, value) => writeValue(writer, value),
}

/** A map whose keys are symbols. §2.8.13 */
export const fieldsField: FieldType<AmqpMap> = {
  name: 'fields',
  read(reader) {
    const start = reader.offset
    const value = mapField.read(reader)
    for (const key of value.keys())
      if (!(key instanceof AmqpSymbol)) reader.fail('the keys of fields are symbols', start)
    return value
  },
  write(writer, value) {
    for (const key of value.keys())
      if (!(key instanceof AmqpSymbol)) throw new EncodeError('the keys of fields are symbols', String(key))
    writeValue(writer, value)
  },
}

/** The bytes that a map was read from. */
const readFrom = /* @__PURE__ */ new WeakMap<AmqpMap, Uint8Array>()

/**
 * As `type`, where a peer is told back what it has said: a map that was read is written as the bytes that it came in, so
 * that each value keeps its type, a uint that JavaScript knows as a number as well.
 */
export const exact = (type: FieldType<AmqpMap>): FieldType<AmqpMap> => ({
  name: type.name,
  read(reader) {
    const start = reader.offset
    const map = type.read(reader)
    // A copy: a view would keep the whole chunk alive.
    readFrom.set(map, new Uint8Array(reader.bytes.subarray(start, reader.offset)))
    return map
  },
  write(writer, map, style) {
    const bytes = readFrom.get(map)
    if (bytes) writer.raw(bytes)
    else type.write(writer, map, style)
  },
})

/** Entries of a `fields` map from an object: own keys as symbols. §2.8.13 */
export const fields = (record: Readonly<Record<string, AmqpValue>>): AmqpMap =>
  new AmqpMap(Object.entries(record).map(([key, value]) => [new AmqpSymbol(key), value]))

/** A field that holds a composite of one kind, e.g. `error`. */
export const compositeField = <T>(type: Composite<T>): FieldType<T> => ({
  name: type.name,
  read(reader) {
    const start = reader.offset
    if (reader.u8() !== 0x00) reader.unexpected(reader.bytes[start] as number, type.name)
    reader.descend()
    const descriptor = reader.readDescriptor()
    if (descriptor !== type.code && descriptor !== type.symbol) reader.fail(`expected ${type.name}`, start)
    const value = type.read(reader)
    reader.ascend()
    return value
  },
  write: (writer, value, style) => type.write(writer, value as Init<T>, style),
})

/** Composites that may stand in one place, found by descriptor. */
export interface Archetype<T extends { readonly type: string }> extends FieldType<T> {
  /** The composite with this code or symbol. */
  find(descriptor: number | string | undefined): Composite<T> | undefined
  named(name: T['type']): Composite<T>
}

/** The composite of each member of a union. */
type MemberOf<T> = T extends { readonly type: string } ? Composite<T> : never

/** A field that holds one of several composites; others than those are refused. §1.4 */
export function archetype<T extends { readonly type: string }>(
  name: string,
  members: readonly MemberOf<T>[],
): Archetype<T> {
  const list = members as unknown as readonly Composite<T>[]
  const byDescriptor = new Map<number | string | undefined, Composite<T>>()
  const byName = new Map<string, Composite<T>>()
  for (const member of list) {
    byDescriptor.set(member.code, member).set(member.symbol, member)
    byName.set(member.name, member)
  }
  const named = (type: string): Composite<T> => {
    const found = byName.get(type)
    if (!found) throw new EncodeError(`${type} is not a ${name}`)
    return found
  }
  return {
    name,
    find: descriptor => byDescriptor.get(descriptor),
    named,
    read(reader) {
      const start = reader.offset
      if (reader.u8() !== 0x00) reader.unexpected(reader.bytes[start] as number, name)
      reader.descend()
      const found = byDescriptor.get(reader.readDescriptor())
      if (!found) return reader.fail(`expected a ${name}`, start)
      const value = found.read(reader)
      reader.ascend()
      return value
    },
    write: (writer, value, style) => named(value.type).write(writer, value as Init<T>, style),
  }
}
