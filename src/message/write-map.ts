/**
 * The map sections, written from objects or maps. §3.2.5 §3.2.10
 *
 * An object's keys need no look for duplicates and its values are mostly texts and numbers: that is the path which is
 * kept short. Anything else goes through a flat list of keys and values.
 */

import { EncodeError } from '../errors.ts'
import { duplicateKey } from '../types/any-reader.ts'
import { writeValue } from '../types/any-writer.ts'
import { encodeErrorWithin } from '../types/encode-path.ts'
import { AmqpMap } from '../types/map.ts'
import { AmqpSymbol, type AmqpValue, Described, Typed } from '../types/values.ts'
import type { Writer } from '../types/writer.ts'
import type { Entries } from './message.ts'

/**
 * Writes a section of annotations: string keys become symbols.
 *
 * @param name  of the field that holds them, for the path of an error
 * @throws {EncodeError} for a key that is neither symbol nor ulong, or that occurs twice. §3.2.10
 */
export function writeAnnotations(writer: Writer, code: number, entries: Entries, name: string): void {
  writer.writeDescriptor(code)
  if (isMap(entries, name)) writeFlat(writer, flatOf(entries, toAnnotationKey, name), name)
  else writeAnnotationObject(writer, entries, name)
}

/**
 * Writes the section of application properties.
 *
 * @throws {EncodeError} for a key that is no string or occurs twice, and for a value that is not simple. §3.2.5
 */
export function writeApplicationProperties(writer: Writer, code: number, entries: Entries): void {
  writer.writeDescriptor(code)
  if (isMap(entries, PROPERTIES)) {
    const flat = flatOf(entries, toPropertyKey, PROPERTIES)
    for (let i = 0; i < flat.length; i += 2)
      if (!isSimple(flat[i + 1])) throw within(PROPERTIES, keyText(flat[i] as AmqpValue), notSimple())
    writeFlat(writer, flat, PROPERTIES)
  } else writePropertyObject(writer, entries)
}

const PROPERTIES = 'applicationProperties'

type EntriesObject = Readonly<Record<string, AmqpValue | undefined>>

/** In a `for … in` the compiler knows this form; `Object.hasOwn` takes twice the time of the loop. */
const hasOwn = Object.prototype.hasOwnProperty

function writeAnnotationObject(writer: Writer, entries: EntriesObject, name: string): void {
  let key = ''
  try {
    const begun = writer.open()
    let count = 0
    for (key in entries) {
      if (!hasOwn.call(entries, key)) continue
      const value = entries[key]
      if (value === undefined) continue
      writer.writeSymbol(key)
      if (typeof value === 'string') writer.writeString(value)
      else writeValue(writer, value)
      count += 2
    }
    writer.closeMap(begun, count)
  } catch (error) {
    throw within(name, key, error)
  }
}

function writePropertyObject(writer: Writer, entries: EntriesObject): void {
  let key = ''
  try {
    const begun = writer.open()
    let count = 0
    for (key in entries) {
      if (!hasOwn.call(entries, key)) continue
      const value = entries[key]
      if (value === undefined) continue
      writer.writeString(key)
      if (typeof value === 'string') writer.writeString(value)
      else {
        if (typeof value === 'object' && !isSimple(value)) throw notSimple()
        writeValue(writer, value)
      }
      count += 2
    }
    writer.closeMap(begun, count)
  } catch (error) {
    throw within(PROPERTIES, key, error)
  }
}

const within = (section: string, key: string, error: unknown): unknown =>
  encodeErrorWithin(section, encodeErrorWithin(key, error))

/** Objects have no symbol keys that count, so an iterator tells a map, of whatever class. */
function isMap(entries: Entries, name: string): entries is ReadonlyMap<AmqpValue, AmqpValue> {
  if (typeof entries !== 'object' || Array.isArray(entries)) throw new EncodeError('expected an object or a map', name)
  return Symbol.iterator in entries
}

/** Keys, each passed through `toKey`, and values in turn. */
function flatOf(
  entries: ReadonlyMap<AmqpValue, AmqpValue>,
  toKey: (key: AmqpValue) => AmqpValue | undefined,
  name: string,
): AmqpValue[] {
  const flat: AmqpValue[] = []
  for (const [key, value] of entries) {
    const made = toKey(key)
    if (made === undefined)
      throw within(name, keyText(key), new EncodeError(`a key of this type is not allowed in ${name}`))
    flat.push(made, value)
  }
  const twice = duplicateKey(flat)
  if (twice !== undefined) throw within(name, keyText(twice), new EncodeError('a map holds the same key twice'))
  return flat
}

function writeFlat(writer: Writer, flat: readonly AmqpValue[], name: string): void {
  let i = 0
  try {
    const begun = writer.open()
    for (; i < flat.length; i += 2) {
      writeValue(writer, flat[i] as AmqpValue)
      writeValue(writer, flat[i + 1] as AmqpValue)
    }
    writer.closeMap(begun, flat.length)
  } catch (error) {
    throw within(name, keyText(flat[i] as AmqpValue), error)
  }
}

const keyText = (key: AmqpValue): string => String(key instanceof Typed ? key.value : key)

/** Symbols and ulongs. §3.2.10 */
function toAnnotationKey(key: AmqpValue): AmqpValue | undefined {
  if (key instanceof AmqpSymbol) return key
  if (typeof key === 'string') return new AmqpSymbol(key)
  if (!(key instanceof Typed)) return undefined
  if (key.type === 'symbol') return new AmqpSymbol(String(key.value))
  return key.type === 'ulong' ? key : undefined
}

/** Strings. §3.2.5 */
function toPropertyKey(key: AmqpValue): AmqpValue | undefined {
  if (typeof key === 'string') return key
  return key instanceof Typed && key.type === 'string' ? String(key.value) : undefined
}

/** Not a list, map, array or described value. Whether it is a value at all is `writeValue`'s affair. */
function isSimple(value: unknown): boolean {
  if (value instanceof Typed)
    return value.type !== 'list' && value.type !== 'map' && value.type !== 'array' && value.type !== 'described'
  return !(Array.isArray(value) || value instanceof AmqpMap || value instanceof Map || value instanceof Described)
}

const notSimple = (): EncodeError =>
  new EncodeError('application properties hold values of simple types: no list, map, array or described value')
