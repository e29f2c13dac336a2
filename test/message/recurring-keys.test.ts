// Maps whose keys recur take them from a table (types/key-rows.ts). What is read must not depend on what was read before.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DecodeError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { decodeValue } from '../../src/types/any-reader.ts'
import type { AmqpMap } from '../../src/types/map.ts'
import { fromHex } from '../peer/wire.ts'

const APPLICATION_PROPERTIES = '74'
const MESSAGE_ANNOTATIONS = '72'

const hex = (text: string): string => Buffer.from(text).toString('hex')
const byte = (n: number): string => n.toString(16).padStart(2, '0')
const str = (text: string): string => `a1${byte(text.length)}${hex(text)}`
const sym = (text: string): string => `a3${byte(text.length)}${hex(text)}`
/** A map8 of keys and values in hex. */
const map = (...items: string[]): string => {
  const content = items.join('')
  return `c1${byte(content.length / 2 + 1)}${byte(items.length)}${content}`
}
const section = (code: string, content: string) => decodeMessage(fromHex(`0053${code}${content}005375a000`))
const properties = (content: string) => section(APPLICATION_PROPERTIES, content).applicationProperties
const annotations = (content: string) => section(MESSAGE_ANNOTATIONS, content).messageAnnotations

/** Reads often enough for a row to be learnt. */
const often = <T>(read: () => T): T => {
  for (let i = 0; i < 15; i++) read()
  return read()
}

describe('keys that recur', () => {
  const row = map(str('site'), '5401', str('line'), '5402', str('cell'), '5403')

  test('come out the same the first and the sixteenth time, with new values', () => {
    const first = [...(properties(row) as AmqpMap)]
    expect(first).toEqual([
      ['site', 1],
      ['line', 2],
      ['cell', 3],
    ])
    expect([...(often(() => properties(row)) as AmqpMap)]).toEqual(first)
    expect([...(properties(map(str('site'), '41', str('line'), '42', str('cell'), '40')) as AmqpMap)]).toEqual([
      ['site', true],
      ['line', false],
      ['cell', null],
    ])
  })

  test('a row that begins alike and ends otherwise is read as it is', () => {
    often(() => properties(row))
    const other = map(str('site'), '5401', str('line'), '5402', str('door'), '5403')
    expect([...(properties(other) as AmqpMap).keys()]).toEqual(['site', 'line', 'door'])
    const back = map(str('site'), '5401', str('post'), '5402', str('cell'), '5403')
    expect([...(properties(back) as AmqpMap).keys()]).toEqual(['site', 'post', 'cell'])
  })

  test('§1.6.23 a key twice is refused, however well the rest is known', () => {
    often(() => properties(row))
    for (const twice of [
      map(str('site'), '5401', str('line'), '5402', str('site'), '5403'),
      map(str('site'), '5401', str('line'), '5402', str('line'), '5403'),
      map(str('site'), '5401', str('site'), '5402', str('cell'), '5403'),
    ])
      expect(() => often(() => properties(twice))).toThrow(DecodeError)
  })

  test('§3.2.5 keys known as symbols of annotations are no keys of application properties, nor the other way', () => {
    const symbols = map(sym('site'), '5401', sym('line'), '5402')
    const strings = map(str('site'), '5401', str('line'), '5402')
    often(() => annotations(symbols))
    often(() => properties(strings))
    expect(() => properties(symbols)).toThrow('strings')
    expect(() => annotations(strings)).toThrow('symbols')
  })

  test('a value that is cut off is found, behind a known key too', () => {
    often(() => properties(map(str('k'), 'a103616263')))
    expect(() => properties(`c10602${str('k')}a103`)).toThrow(DecodeError)
    expect(() => properties(`c10402${str('k')}`)).toThrow(DecodeError)
    expect(() => properties(`c10302a101`)).toThrow(DecodeError)
  })

  test('any maps in any order: as the reader of values of any type has them', () => {
    const key = fc.constantFrom('a', 'b', 'ab', 'site', 'line', 'x-opt-key', 'n'.repeat(30), '')
    const entry = fc.tuple(key, fc.constantFrom('41', '5407', 'a1026869', '8200000000000000ff', '40', 'c00100'))
    const maps = fc.array(fc.array(entry, { maxLength: 6 }), { minLength: 1, maxLength: 40 })
    const attempt = <T>(read: () => T): T | string => {
      try {
        return read()
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error
        return 'refused'
      }
    }
    let refused = 0
    fc.assert(
      fc.property(maps, all => {
        for (const entries of all) {
          const content = map(...entries.flatMap(([name, value]) => [str(name), value]))
          const compound = entries.some(([, value]) => value === 'c00100')
          const wanted = attempt(() => [...(decodeValue(fromHex(content)) as AmqpMap)])
          const found = attempt(() => [...(properties(content) as AmqpMap)])
          if (found === 'refused') refused++
          expect(found).toEqual(compound ? 'refused' : wanted)
        }
      }),
      { numRuns: 300 },
    )
    expect(refused).toBeGreaterThan(10)
  })
})
