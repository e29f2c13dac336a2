/**
 * The map sections, read: annotations with their restricted keys, application properties with theirs. §3.2.5 §3.2.10
 *
 * A described value is let through in application properties: .NET clients write durations and URIs so.
 */

import { duplicateKey, readContent, readKey } from '../types/any-reader.ts'
import { typeOfCode } from '../types/constructors.ts'
import { KeyRows } from '../types/key-rows.ts'
import { AmqpMap } from '../types/map.ts'
import type { Reader } from '../types/reader.ts'
import type { AmqpValue } from '../types/values.ts'

const annotationRows: KeyRows = /* @__PURE__ */ new KeyRows()
const propertyRows: KeyRows = /* @__PURE__ */ new KeyRows()

/** Reads a map whose keys are symbols or ulongs. BORROWS @throws {DecodeError} §3.2.10 */
export function readAnnotations(reader: Reader): AmqpMap {
  const outer = reader.enterMap()
  const start = reader.offset
  const pairs = reader.count >> 1
  const row = annotationRows.find(reader, pairs)
  const flat: AmqpValue[] = []
  let known = row !== undefined
  for (let i = 0; i < pairs; i++) {
    if (known && row?.take(reader, i)) flat.push(row.keys[i] as AmqpValue)
    else {
      known = false
      const code = reader.peek()
      if (code !== 0xa3 && code !== 0xb3 && code !== 0x53 && code !== 0x80 && code !== 0x44)
        reader.fail(`the keys of annotations are symbols or ulongs, found ${typeOfCode[code] ?? 'no value'}`)
      flat.push(readKey(reader))
    }
    const form = reader.u8()
    flat.push(form === 0xa1 ? reader.text(reader.u8()) : readContent(reader, form))
  }
  if (!known) checkKeys(reader, start, flat, annotationRows)
  reader.leave(outer)
  return AmqpMap.fromFlat(flat)
}

/** Reads a map whose keys are strings and whose values are simple. BORROWS @throws {DecodeError} §3.2.5 */
export function readApplicationProperties(reader: Reader): AmqpMap {
  const outer = reader.enterMap()
  const start = reader.offset
  const pairs = reader.count >> 1
  const row = propertyRows.find(reader, pairs)
  const flat: AmqpValue[] = []
  let known = row !== undefined
  for (let i = 0; i < pairs; i++) {
    if (known && row?.take(reader, i)) flat.push(row.keys[i] as AmqpValue)
    else {
      known = false
      const code = reader.peek()
      if (code !== 0xa1 && code !== 0xb1)
        reader.fail(`the keys of application-properties are strings, found ${typeOfCode[code] ?? 'no value'}`)
      flat.push(readKey(reader))
    }
    const form = reader.u8()
    // All from 0xc0 up are compound; list0 is the one below.
    if (form >= 0xc0 || form === 0x45) reader.unexpected(form, 'a value of a simple type')
    flat.push(form === 0xa1 ? reader.text(reader.u8()) : readContent(reader, form))
  }
  if (!known) checkKeys(reader, start, flat, propertyRows)
  reader.leave(outer)
  return AmqpMap.fromFlat(flat)
}

/** Of a map whose keys are no row read before. */
function checkKeys(reader: Reader, start: number, flat: readonly AmqpValue[], rows: KeyRows): void {
  if (duplicateKey(flat, reader) !== undefined) reader.fail('a map holds the same key twice', start)
  rows.learn(reader, start, flat)
}
