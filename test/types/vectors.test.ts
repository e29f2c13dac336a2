// The golden vectors against decodeTyped, decodeValue and encodeValue. §1.6
import { describe, expect, test } from 'vitest'
import { DecodeError } from '../../src/errors.ts'
import { decodeTyped, decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import { toHex } from '../peer/wire.ts'
import { toTyped } from '../support/wire-values.ts'
import { fromJson, loadVectors } from '../vectors/load.ts'

/** Every length of short vectors; of long ones the ends and some between. */
function lengthsBelow(length: number): number[] {
  const all = Array.from({ length }, (_, i) => i)
  return all.filter(i => length < 700 || i < 100 || i > length - 100 || i % 97 === 0)
}

describe.each(['primitives', 'arrays', 'composites'] as const)('%s.json', file => {
  test.each(loadVectors(file))('$section $name', ({ bytes, value, canonical }) => {
    const decoded = decodeTyped(bytes)
    expect(decoded).toEqual(toTyped(fromJson(value)))
    const again = encodeValue(decoded)
    if (canonical) expect(toHex(again)).toBe(toHex(bytes))
    expect(decodeTyped(again)).toEqual(decoded)
    expect(() => decodeValue(bytes)).not.toThrow()
    for (const length of lengthsBelow(bytes.length)) {
      expect(() => decodeTyped(bytes.subarray(0, length)), `${length} bytes`).toThrow(DecodeError)
      expect(() => decodeValue(bytes.subarray(0, length)), `${length} bytes`).toThrow(DecodeError)
    }
  })
})

test.each(loadVectors('bad-input'))('bad-input.json: $section $name', ({ bytes }) => {
  expect(() => decodeTyped(bytes)).toThrow(DecodeError)
  expect(() => decodeValue(bytes)).toThrow(DecodeError)
})
