/** Bytes that nobody has written are in no result, and not around it. */

import { expect, test } from 'vitest'
import { encodeMessage } from '../../src/message/encode.ts'
import { decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'

/** Leaves old memory behind, of the sizes that are asked for next. */
function litter(): void {
  for (let i = 0; i < 64; i++) for (const size of [32_768, 30_000]) Buffer.allocUnsafeSlow(size).fill(0x53)
}

class Longer extends Uint8Array {
  override get length(): number {
    return 30_000
  }
}
class Shorter extends Uint8Array {
  override get length(): number {
    return 1
  }
}

test.each([Longer, Shorter])('%o: a length that is none is not believed', odd => {
  litter()
  const bytes = new odd(4)
  expect(decodeValue(encodeValue(bytes))).toEqual(new Uint8Array(4))
  expect(encodeMessage({ body: bytes })).toEqual(encodeMessage({ body: new Uint8Array(4) }))
  expect(encodeMessage({ body: new odd(5000) })).toEqual(encodeMessage({ body: new Uint8Array(5000) }))
})

test('what is behind a result in its buffer is zero', () => {
  litter()
  // More than one buffer's worth: the next ones as well as the first.
  for (let i = 0; i < 200; i++) {
    const { buffer, byteOffset, length } = encodeValue(new Uint8Array(400).fill(1))
    const rest = new Uint8Array(buffer, byteOffset + length)
    expect(rest.every(byte => byte === 0)).toBe(true)
  }
})
