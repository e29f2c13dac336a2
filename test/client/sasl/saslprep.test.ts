/** SASLprep: the examples of RFC 4013, and the tables. */

import { describe, expect, test } from 'vitest'
import { saslprep } from '../../../src/client/sasl/saslprep.ts'

describe('RFC 4013, section 3', () => {
  test.each([
    ['I\u00adX', 'IX'],
    ['user', 'user'],
    ['USER', 'USER'],
    ['\u00aa', 'a'],
    ['\u2168', 'IX'],
    ['\u0007', undefined],
    ['\u0627\u0031', undefined],
  ])('%j → %j', (text, expected) => {
    expect(saslprep(text, 'stored')).toBe(expected)
  })
})

describe('the tables', () => {
  test.each([
    ['a no-break space is a space', 'a\u00a0b', 'a b'],
    ['an ideographic space is a space', 'a\u3000b', 'a b'],
    ['zero width: gone', 'a\u200b\u200c\u200d\u2060\ufeffb', 'ab'],
    ['a variation selector: gone', 'a\ufe0fb', 'ab'],
    ['composed and decomposed are one', 'u\u0308', 'ü'],
    ['full width is plain', '\uff21\uff11', 'A1'],
    ['one-way text', '\u05d0\u05d1', '\u05d0\u05d1'],
    ['one-way text with digits inside', '\u0627\u0031\u0628', '\u0627\u0031\u0628'],
    ['an emoji of today', 'p\u{1f98a}', 'p\u{1f98a}'],
    ['several planes', 'p\u{20000}', 'p\u{20000}'],
    ['nothing', '', ''],
  ])('%s', (_what, text, expected) => {
    expect(saslprep(text, 'stored')).toBe(expected)
    expect(saslprep(text, 'query')).toBe(expected)
  })

  test.each([
    ['NUL', 'a\0'],
    ['DEL', 'a\x7f'],
    ['C1', 'a\u0085'],
    ['a line separator', 'a\u2028'],
    ['private use', 'a\ue000'],
    ['private use, plane 16', 'a\u{100000}'],
    ['a non-character', 'a\ufdd0'],
    ['a non-character, plane 1', 'a\u{1fffe}'],
    ['half a pair', 'a\ud800'],
    ['the replacement character', 'a\ufffd'],
    ['ideographic description', 'a\u2ff0'],
    ['a mark of direction', 'a\u200e'],
    ['an override', 'a\u202e'],
    ['a tag', 'a\u{e0041}'],
    ['both directions', '\u05d0a\u05d0'],
    ['right to left, begun otherwise', '1\u05d0'],
    ['right to left, ended otherwise', '\u05d01'],
  ])('%s is forbidden', (_what, text) => {
    expect(saslprep(text, 'stored')).toBeUndefined()
    expect(saslprep(text, 'query')).toBeUndefined()
  })

  test('what is unassigned may be asked for, not kept', () => {
    expect(saslprep('a\u0378', 'query')).toBe('a\u0378')
    expect(saslprep('a\u0378', 'stored')).toBeUndefined()
  })
})
