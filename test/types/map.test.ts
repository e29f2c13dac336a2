/** AmqpMap: look-ups with and without an index, keys that are alike, and what the map looks like elsewhere. §1.6.23 */

import { describe, expect, test } from 'vitest'
import { decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import { AmqpMap } from '../../src/types/map.ts'
import {
  AmqpSymbol,
  type AmqpValue,
  array,
  Decimal,
  described,
  double,
  symbol,
  Typed,
  Uuid,
  uint,
  ulong,
} from '../../src/types/values.ts'

/** Keys of every kind, no two the same. */
const KEYS: readonly AmqpValue[] = [
  'text',
  symbol('name'),
  7,
  uint(8),
  ulong(9n),
  10n,
  1.5,
  double(-0),
  null,
  true,
  false,
  new Date(5),
  Uint8Array.of(1, 2),
  Uuid.parse('00112233-4455-6677-8899-aabbccddeeff'),
  new Decimal(Uint8Array.of(1, 2, 3, 4)),
  described(ulong(1n), 'x'),
  ['a', 'list'],
  new AmqpMap([['a', 'map']]),
  new Typed('list', [uint(1)]),
  new Typed('map', [[uint(1), uint(2)]]),
  array('uint', [1, 2]),
  array('uint', [1, 3]),
  new Uint8Array(300),
  new Uint8Array(300).fill(1),
  'x'.repeat(300),
  'y'.repeat(300),
]

describe.each([
  ['few entries', (entries: [AmqpValue, AmqpValue][]) => entries],
  [
    'many entries, behind others',
    (entries: [AmqpValue, AmqpValue][]): [AmqpValue, AmqpValue][] => [
      ...Array.from({ length: 40 }, (_, i): [AmqpValue, AmqpValue] => [`other-${i}`, i]),
      ...entries,
    ],
  ],
])('§1.6.23 %s', (_size, among) => {
  test.each(KEYS.map(key => [key]))('%o is found, and nothing else is found by it', key => {
    const map = new AmqpMap(among([[key, 'found']]))
    expect([map.get(key), map.has(key)]).toEqual(['found', true])
    for (const other of KEYS) if (other !== key) expect(map.has(other)).toBe(false)
  })

  test('a text finds the symbol of that text, a number any number of that value', () => {
    const map = new AmqpMap(among([[symbol('s'), 1], [ulong(2n), 2], [uint(3), 3], [4n, 4], ['5', 5]])) // biome-ignore format: one line
    expect([map.get('s'), map.get(2), map.get(2n), map.get(3), map.get(4), map.get('5')]).toEqual([1, 2, 2, 3, 4, 5])
    expect([map.get(5), map.get('2'), map.get('none'), map.get(99)]).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ])
  })

  test('a symbol, and a number with its type, find that type only', () => {
    const map = new AmqpMap(among([['s', 'string'], [2, 'int']])) // biome-ignore format: one line
    expect([map.get(symbol('s')), map.get(uint(2)), map.get(new Typed('int', 2))]).toEqual([
      undefined,
      undefined,
      'int',
    ])
  })

  test('of two keys that answer, the first stands', () => {
    const map = new AmqpMap(among([[symbol('a'), 'symbol'], ['a', 'string'], [uint(1), 'uint'], [1, 'int']])) // biome-ignore format: one line
    expect([map.get('a'), map.get(1)]).toEqual(['symbol', 'uint'])
  })

  test.each([
    ['undefined', undefined],
    ['a plain object', {}],
    ['a function', () => 0],
  ])('%s, which is no AMQP value, is no key of it', (_what, key) => {
    expect(new AmqpMap(among([['a', 1]])).get(key as never)).toBeUndefined()
  })
})

test('§1.6.23 forEach passes value, key and map in order, with the receiver that was given', () => {
  const map = new AmqpMap([['a', 1], [uint(2), 'b']]) // biome-ignore format: one line
  const seen: unknown[] = []
  const receiver = {}
  map.forEach(function (this: unknown, value, key, of) {
    seen.push([value, key, of === map, this === receiver])
  }, receiver)
  expect(seen).toEqual([
    [1, 'a', true, true],
    ['b', uint(2), true, true],
  ])
})

test('§1.6.23 keys, values and size; none of an empty map', () => {
  const map = new AmqpMap([['a', 1], ['b', 2]]) // biome-ignore format: one line
  expect([[...map.keys()], [...map.values()], map.size]).toEqual([['a', 'b'], [1, 2], 2])
  const none = new AmqpMap()
  expect([[...none], none.size, none.has('a')]).toEqual([[], 0, false])
})

test('JSON: maps within maps, of both classes; the first of two keys with the same text stands', () => {
  const map = new AmqpMap([
    ['outer', new Map<AmqpValue, AmqpValue>([[uint(1), new AmqpMap([[symbol('k'), 2n]])]])],
    ['1', 'string'],
    [1, 'int'],
    ['plain', { a: [1n], b: undefined } as never],
    ['decimal', Decimal.parse('1.50', 32)],
    ['uuid', Uuid.parse('00112233-4455-6677-8899-AABBCCDDEEFF')],
  ])
  expect(JSON.parse(JSON.stringify(map))).toEqual({
    outer: { '1': { k: '2' } },
    '1': 'string',
    plain: { a: ['1'] },
    decimal: '1.50',
    uuid: '00112233-4455-6677-8899-aabbccddeeff',
  })
})

test('a symbol is no text: two AmqpSymbols of one name are one key', () => {
  const map = new AmqpMap([[new AmqpSymbol('x'), 1]])
  expect(map.get(new AmqpSymbol('x'))).toBe(1)
})

test('§1.6.23 no key twice: in few entries and in many, of whatever kind', () => {
  const few: AmqpValue[] = ['text', symbol('text'), 7, null, true]
  for (const keys of [few, KEYS]) {
    const once = new AmqpMap(keys.map((key, i) => [key, i]))
    expect((decodeValue(encodeValue(once)) as AmqpMap).size).toBe(keys.length)
    for (const key of keys) {
      const twice = new AmqpMap([...once, [key, 'again']])
      expect(() => encodeValue(twice)).toThrow('the same key twice')
    }
  }
})
