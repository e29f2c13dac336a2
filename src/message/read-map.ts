/**
 * The map sections, read: annotations with their restricted keys, application properties with theirs. §3.2.5 §3.2.10
 *
 * A described value is let through in application properties: .NET clients write durations and URIs so.
 */

import { duplicateKey, readContent, readKey } from '../types/any-reader.ts'
import { typeOfCode } from '../types/constructors.ts'
import { AmqpMap } from '../types/map.ts'
import type { Reader } from '../types/reader.ts'
import type { AmqpValue } from '../types/values.ts'

/** Reads a map whose keys are symbols or ulongs. BORROWS @throws {DecodeError} §3.2.10 */
export function readAnnotations(reader: Reader): AmqpMap {
  const outer = reader.enterMap()
  const start = reader.offset
  const flat: AmqpValue[] = []
  for (let left = reader.count; left > 0; left -= 2) {
    const code = reader.peek()
    if (code !== 0xa3 && code !== 0xb3 && code !== 0x53 && code !== 0x80 && code !== 0x44)
      reader.fail(`the keys of annotations are symbols or ulongs, found ${typeOfCode[code] ?? 'no value'}`)
    flat.push(readKey(reader))
    const form = reader.u8()
    flat.push(form === 0xa1 ? reader.text(reader.u8()) : readContent(reader, form))
  }
  return finish(reader, outer, start, flat)
}

/** Reads a map whose keys are strings and whose values are simple. BORROWS @throws {DecodeError} §3.2.5 */
export function readApplicationProperties(reader: Reader): AmqpMap {
  const outer = reader.enterMap()
  const start = reader.offset
  const flat: AmqpValue[] = []
  for (let left = reader.count; left > 0; left -= 2) {
    const code = reader.peek()
    if (code !== 0xa1 && code !== 0xb1)
      reader.fail(`the keys of application-properties are strings, found ${typeOfCode[code] ?? 'no value'}`)
    flat.push(readKey(reader))
    const form = reader.u8()
    // All from 0xc0 up are compound; list0 is the one below.
    if (form >= 0xc0 || form === 0x45) reader.unexpected(form, 'a value of a simple type')
    flat.push(form === 0xa1 ? reader.text(reader.u8()) : readContent(reader, form))
  }
  return finish(reader, outer, start, flat)
}

function finish(reader: Reader, outer: number, start: number, flat: AmqpValue[]): AmqpMap {
  if (duplicateKey(flat) !== undefined) reader.fail('a map holds the same key twice', start)
  reader.leave(outer)
  return AmqpMap.fromFlat(flat)
}
