/** Where there is no Buffer, and where the high half of a number comes first in memory. §1.6.6 §1.6.12 §1.6.20 §1.6.21 */

import { afterEach, describe, expect, test, vi } from 'vitest'
import { fromHex, toHex } from '../peer/wire.ts'

afterEach(() => {
  vi.unstubAllGlobals()
  vi.resetModules()
})

const lengths = [0, 1, 8, 25, 26, 27, 31, 32, 33, 63, 64, 65, 127, 200]

describe('without a Buffer, as in a browser', () => {
  const load = async (): Promise<typeof import('../../src/types/utf8.ts')> => {
    vi.resetModules()
    vi.stubGlobal('Buffer', undefined)
    return await import('../../src/types/utf8.ts')
  }

  test.each(lengths)('§1.6.20 §1.6.21 text of %i characters, both ways', async length => {
    const { decodeAscii, decodeUtf8, encodeUtf8, utf8Room, writeAscii, writeUtf8 } = await load()
    const ascii = Array.from({ length }, (_, i) => String.fromCharCode(33 + (i % 90))).join('')
    for (const text of [ascii, `${ascii}é`, `${ascii}\u{1f600}`]) {
      const expected = new TextEncoder().encode(text)
      expect(encodeUtf8(text)).toEqual(expected)
      const bytes = new Uint8Array(2 + utf8Room(text))
      expect(writeUtf8(bytes, 2, text)).toBe(expected.length)
      expect(bytes.slice(2, 2 + expected.length)).toEqual(expected)
      expect(decodeUtf8(bytes, 2, 2 + expected.length)).toBe(text)
      expect(decodeAscii(bytes, 2, 2 + expected.length)).toBe(text === ascii ? text : undefined)
      expect(writeAscii(bytes, 0, text)).toBe(text === ascii)
    }
    const room = new Uint8Array(3 * length + 3)
    expect(writeUtf8(room, 0, `${ascii}\ud800`)).toBe(-1)
    expect(decodeUtf8(Uint8Array.of(...new TextEncoder().encode(ascii), 0xff), 0, length + 1)).toBeUndefined()
  })

  test('§1.6.20 U+FFFD that was sent is no fault', async () => {
    const { decodeUtf8, encodeUtf8 } = await load()
    const text = `${'\ufffd'.repeat(3)}${'a'.repeat(80)}`
    expect(decodeUtf8(encodeUtf8(text), 0, 89)).toBe(text)
  })
})

test.each([1, 30, 80])(
  '§1.6.20 a lone surrogate behind %i characters becomes U+FFFD where text need not be exact',
  async n => {
    const { encodeUtf8 } = await import('../../src/types/utf8.ts')
    expect(encodeUtf8(`${'a'.repeat(n)}\ud800`)).toEqual(new TextEncoder().encode(`${'a'.repeat(n)}\ufffd`))
  },
)

/**
 * The machine itself cannot be turned round; what can is the answer to which half comes first. The halves of every
 * 64-bit number must then be exchanged in memory, so that its wire form is exchanged on this machine.
 */
describe('where the high half comes first in memory', () => {
  const load = async (first: Uint8Array) => {
    vi.resetModules()
    vi.stubGlobal('Uint16Array', { of: () => first })
    const [{ Writer }, { Reader }] = await Promise.all([
      import('../../src/types/writer.ts'),
      import('../../src/types/reader.ts'),
    ])
    vi.unstubAllGlobals()
    return { Writer, Reader }
  }
  const exchanged = (hex: string): string => hex.slice(8) + hex.slice(0, 8)

  test.each([
    ['low half first', Uint8Array.of(1, 0), (hex: string) => hex],
    ['high half first', Uint8Array.of(0, 1), exchanged],
  ])('§1.6.6 §1.6.12 %s', async (_order, first, wire) => {
    const { Writer, Reader } = await load(first)
    const cases: [string, 'u64' | 'f64', bigint | number][] = [
      ['0102030405060708', 'u64', 0x0102030405060708n],
      ['3ff8000000000001', 'f64', 1.5 + 2 ** -52],
    ]
    for (const [hex, verb, value] of cases) {
      const writer = new Writer()
      writer[verb](value as never)
      expect(toHex(writer.copy())).toBe(wire(hex))
      expect(new Reader(fromHex(wire(hex)))[verb]()).toBe(value)
    }
  })
})
