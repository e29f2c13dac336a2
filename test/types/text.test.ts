// Text in both directions at every length where the way of doing it changes, and the cache of keys. §1.6.20 §1.6.21
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cachedSymbol, cachedText } from '../../src/types/key-cache.ts'
import { decodeAscii, decodeUtf8, encodeUtf8, utf8Room, writeAscii, writeUtf8 } from '../../src/types/utf8.ts'

const lengths = Array.from({ length: 70 }, (_, i) => i)
const textOf = (length: number): string => Array.from({ length }, (_, i) => String.fromCharCode(33 + (i % 90))).join('')
const around = (bytes: Uint8Array): Uint8Array => Uint8Array.of(0xff, 0x80, ...bytes, 0x80, 0xff)

describe('§1.6.20 UTF-8', () => {
  test.each(lengths)('%i characters of ASCII', length => {
    const text = textOf(length)
    const bytes = around(new Uint8Array(Buffer.from(text)))
    expect(decodeUtf8(bytes, 2, 2 + length)).toBe(text)
    expect(decodeAscii(bytes, 2, 2 + length)).toBe(text)
    expect(decodeAscii(bytes, 1, 2 + length)).toBeUndefined()
    expect(decodeUtf8(bytes, 1, 2 + length)).toBeUndefined()
    expect(decodeUtf8(bytes, 2, 3 + length)).toBeUndefined()
  })

  test('as the platform does it, for any text and any bytes', () => {
    const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 100 }), text => {
        const bytes = new Uint8Array(2 + utf8Room(text))
        const length = writeUtf8(bytes, 2, text)
        expect(bytes.slice(2, 2 + length)).toEqual(new Uint8Array(Buffer.from(text)))
        expect(encodeUtf8(text)).toEqual(new Uint8Array(Buffer.from(text)))
        expect(decodeUtf8(bytes, 2, 2 + length)).toBe(text)
      }),
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), bytes => {
        let expected: string | undefined
        try {
          expected = strict.decode(bytes)
        } catch {}
        expect(decodeUtf8(bytes, 0, bytes.length)).toBe(expected)
      }),
    )
  })

  test('U+FFFD that was sent is no fault', () => {
    const text = `${'\ufffd'.repeat(3)}${'a'.repeat(80)}`
    expect(decodeUtf8(encodeUtf8(text), 0, 89)).toBe(text)
  })

  test.each([1, 20, 30, 80, 300])('a lone surrogate behind %i characters has no form', length => {
    const text = `${'a'.repeat(length)}\ud800`
    expect(writeUtf8(new Uint8Array(utf8Room(text)), 0, text)).toBe(-1)
    expect(writeUtf8(new Uint8Array(2 * utf8Room(text)), 0, `${text}é`)).toBe(-1)
  })
})

describe('§1.6.21 ASCII', () => {
  test.each(lengths)('%i characters, and one that is none', length => {
    const text = textOf(length)
    const bytes = new Uint8Array(3 * length + 6)
    expect(writeAscii(bytes, 1, text)).toBe(true)
    expect(bytes.slice(1, 1 + length)).toEqual(new Uint8Array(Buffer.from(text)))
    for (const other of ['\x80', 'é', '€']) {
      expect(writeAscii(bytes, 0, text + other)).toBe(false)
      expect(writeAscii(bytes, 0, other + text)).toBe(false)
    }
  })
})

describe('the cache of keys', () => {
  test('§1.6.23 gives the text that is there, however often and in whatever order', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', '\0', '\x7f', '\x80', 'é'), maxLength: 44 })
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 20 }), words => {
        for (const text of [...words, ...words]) {
          const bytes = around(new Uint8Array(Buffer.from(text, 'latin1')))
          const ascii = /^[\0-\x7f]{1,40}$/.test(text) ? text : undefined
          expect(cachedText(bytes, 2, text.length)).toBe(ascii)
          expect(cachedSymbol(bytes, 2, text.length)?.name).toBe(ascii)
        }
      }),
    )
  })

  test('§1.6.23 tells keys apart that share a slot', () => {
    // Same length, first, middle and last character: the rest must be looked at, byte for byte.
    const keys = ['a1b2c3d4e5', 'a9b2c3d4e5', 'a1b2c3d4f5', 'a1b9c3d4e5']
    for (const key of [...keys, ...keys]) expect(cachedText(new Uint8Array(Buffer.from(key)), 0, key.length)).toBe(key)
  })
})
