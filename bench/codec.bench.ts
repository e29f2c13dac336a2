/** Part 1: primitives by their typed methods, texts, and values of any type. One operation is one value. */

import { readValue } from '../src/types/any-reader.ts'
import { writeValue } from '../src/types/any-writer.ts'
import { Reader } from '../src/types/reader.ts'
import { Writer } from '../src/types/writer.ts'
import { type Cases, mix, type Unit } from './case.ts'
import { PRIMITIVES_PER_ROW, type Primitives, primitives, texts, values } from './corpus.ts'

function writeRow(writer: Writer, row: Primitives): void {
  writer.writeBoolean(row.boolean)
  writer.writeUbyte(row.ubyte)
  writer.writeUint(row.uint)
  writer.writeUint(row.sequenceNo)
  writer.writeUlong(row.ulong)
  writer.writeInt(row.int)
  writer.writeLong(row.long)
  writer.writeDouble(row.double)
  writer.writeTimestamp(row.timestamp)
  writer.writeBinary(row.binary)
  writer.writeString(row.string)
  writer.writeSymbol(row.symbol)
}

/** Reads what `writeRow` wrote, but for `int`, `long` and `double`, which only `*` positions have. */
function readRow(reader: Reader): number {
  let sum = reader.readBoolean() ? 1 : 2
  sum = mix(sum, reader.readUbyte())
  sum = mix(sum, reader.readUint())
  sum = mix(sum, reader.readUint())
  sum = mix(sum, Number(reader.readUlong() & 0xffffn))
  sum = mix(sum, readValue(reader) as number)
  sum = mix(sum, Number((readValue(reader) as bigint) & 0xffffn))
  sum = mix(sum, readValue(reader) as number)
  sum = mix(sum, reader.readTimestamp().getTime() % 65_536)
  sum = mix(sum, reader.readBinary().length)
  sum = mix(sum, reader.readString().length)
  return mix(sum, reader.readSymbol().length)
}

/** Times `write` into a slab, each row a unit of its own as in a real connection. */
function encoding<T>(rows: readonly T[], opsPerRow: number, write: (writer: Writer, row: T) => void): Unit {
  const writer = new Writer(64 << 10, 64 << 10)
  const pass = () => {
    let sum = 0
    for (const row of rows) {
      writer.mark = writer.offset
      write(writer, row)
      sum = mix(sum, (writer.offset - writer.mark) ^ (writer.bytes[writer.offset - 1] as number))
    }
    return sum
  }
  return { ops: rows.length * opsPerRow, bytesPerOp: encoded(rows, write).length / rows.length / opsPerRow, pass }
}

/** Times `read` over all rows, encoded behind each other. */
function decoding<T>(
  rows: readonly T[],
  opsPerRow: number,
  write: (writer: Writer, row: T) => void,
  read: (reader: Reader) => number,
): Unit {
  const bytes = encoded(rows, write)
  const reader = new Reader(bytes)
  const pass = () => {
    let sum = 0
    reader.reset(bytes, 0, bytes.length)
    while (reader.offset < bytes.length) {
      // A budget for each value, as for each section or frame.
      reader.reset(bytes, reader.offset, bytes.length)
      sum = mix(sum, read(reader))
    }
    return sum
  }
  return { ops: rows.length * opsPerRow, bytesPerOp: bytes.length / rows.length / opsPerRow, pass }
}

function encoded<T>(rows: readonly T[], write: (writer: Writer, row: T) => void): Uint8Array {
  const writer = new Writer()
  for (const row of rows) write(writer, row)
  return writer.copy()
}

const writeText = (writer: Writer, text: string): void => writer.writeString(text)
const readText = (reader: Reader): number => {
  const text = reader.readString()
  return text.length ^ text.charCodeAt(text.length >> 1)
}

const readMapSize = (reader: Reader): number => (readValue(reader) as ReadonlyMap<unknown, unknown>).size

export const codecCases: Cases = {
  'primitives.encode': () => encoding(primitives(), PRIMITIVES_PER_ROW, writeRow),
  'primitives.decode': () => decoding(primitives(), PRIMITIVES_PER_ROW, writeRow, readRow),
  'strings.encode': () => encoding(texts(), 1, writeText),
  'strings.decode': () => decoding(texts(), 1, writeText, readText),
  'values.encode': () => encoding(values(), 1, writeValue),
  'values.decode': () => decoding(values(), 1, writeValue, readMapSize),
}
