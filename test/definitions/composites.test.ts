/** The golden composites: decoded by our tables to what the standard's tables say, and written in their smallest form. */

import { describe, expect, test } from 'vitest'
import { DecodeError } from '../../src/errors.ts'
import type { Composite } from '../../src/types/composite.ts'
import { Reader } from '../../src/types/reader.ts'
import { Writer } from '../../src/types/writer.ts'
import { encode, toHex } from '../peer/wire.ts'
import { fromJson, loadVectors } from '../vectors/load.ts'
import { comparable, compositeOf, meaning, smallest } from './standard.ts'
import { tableOf, tables } from './tables.ts'

/** Rows that show composites in general (§1.4) and are none of the standard's. */
const FOREIGN = ['the example composite: a book', 'an unknown composite with more fields than any']

/**
 * Rows with a described value in a `*` position: its descriptor is read as a bigint, which is written as a long. Their
 * bytes differ, not their meaning.
 */
const OPEN_DESCRIPTORS = ['source, dynamic', 'target, all fields']

const rows = loadVectors('composites').filter(({ name }) => !FOREIGN.includes(name))

function decode(table: Composite<unknown>, bytes: Uint8Array): unknown {
  const reader = new Reader(bytes)
  if (reader.u8() !== 0) reader.fail('not described')
  const descriptor = reader.readDescriptor()
  expect([table.code, table.symbol]).toContain(descriptor)
  const value = table.read(reader)
  expect(reader.offset).toBe(bytes.length)
  return value
}

function written(table: Composite<unknown>, value: unknown): string {
  const writer = new Writer()
  table.write(writer, value as never)
  return toHex(writer.copy())
}

const tableFor = (row: (typeof rows)[number]): Composite<unknown> =>
  tableOf(compositeOf(fromJson(row.value))?.code ?? -1)

describe('composites.json', () => {
  test('the rows that are left out exist, and the rest is not nothing', () => {
    expect(rows).toHaveLength(loadVectors('composites').length - FOREIGN.length)
    expect(rows.length).toBeGreaterThan(100)
  })

  test('every table has a row', () => {
    const seen = new Set(rows.map(row => tableFor(row).name))
    expect([...tables.values()].map(({ name }) => name).filter(name => !seen.has(name))).toEqual([
      'header',
      'properties',
    ])
  })

  test.each(rows)('$section $name', row => {
    const wire = fromJson(row.value)
    const table = tableFor(row)
    const value = decode(table, row.bytes)
    expect(comparable(value)).toStrictEqual(comparable(meaning(wire)))
    const least = smallest(wire)
    if (!OPEN_DESCRIPTORS.includes(row.name)) expect(written(table, value)).toBe(toHex(encode(least)))
    expect(comparable(decode(table, encode(least)))).toStrictEqual(comparable(value))
  })

  test('most rows are what we write ourselves, byte for byte', () => {
    const exact = rows.filter(row => written(tableFor(row), decode(tableFor(row), row.bytes)) === toHex(row.bytes))
    expect(exact.length).toBeGreaterThan(60)
    for (const row of exact) expect(row.canonical).toBe(true)
  })

  test.each(rows)('$section $name, cut short: DecodeError and nothing else', ({ bytes, ...row }) => {
    const table = tableFor({ bytes, ...row })
    for (let length = 0; length < bytes.length; length++) {
      const reader = new Reader(bytes.slice(0, length))
      expect(() => {
        reader.u8()
        reader.readDescriptor()
        table.read(reader)
      }).toThrow(DecodeError)
    }
  })
})
