/**
 * Where a value ends, found without decoding it. §1.2
 *
 * Every format code says by its high digit how wide the value is or how wide its size is, so skipping reads at most five
 * bytes of a value that is not described. What lies inside a list, map or array is not looked at.
 */

import { DecodeError } from '../errors.ts'
import { typeOfCode } from './constructors.ts'

/** Per format code: bytes that follow it, or one of the marks below. */
const DESCRIBED = 0xfc
const SIZE8 = 0xfd
const SIZE32 = 0xfe
const UNKNOWN = 0xff
const SMALLEST_MARK = DESCRIBED

const follows: Uint8Array = /* @__PURE__ */ (() => {
  const byCategory = [DESCRIBED, 0, 0, 0, 0, 1, 2, 4, 8, 16, SIZE8, SIZE32, SIZE8, SIZE32, SIZE8, SIZE32]
  return Uint8Array.from({ length: 256 }, (_, code) =>
    typeOfCode[code] === undefined ? UNKNOWN : (byCategory[code >> 4] as number),
  )
})()

/**
 * The offset behind the value whose constructor is at `offset`.
 *
 * @param end  where the bytes end that the value may take
 * @throws {DecodeError} when the value does not fit, or begins with no constructor of AMQP 1.0
 */
export function valueEnd(bytes: Uint8Array, offset: number, end: number): number {
  if (offset + 1 < end) {
    // Most values: a width, or a size of one byte.
    const width = follows[bytes[offset] as number] as number
    const at = width < SMALLEST_MARK ? offset + 1 + width : offset + 2 + (bytes[offset + 1] as number)
    if ((width < SMALLEST_MARK || width === SIZE8) && at <= end) return at
  }
  return anyEnd(bytes, offset, end)
}

function anyEnd(bytes: Uint8Array, offset: number, end: number): number {
  // A described value is a constructor and two more values; a loop, so that no depth of them can exhaust the stack.
  let values = 1
  let at = offset
  while (values > 0) {
    if (at >= end) throw new DecodeError('a value needed, no bytes left', at)
    const code = bytes[at++] as number
    const width = follows[code] as number
    if (width === DESCRIBED) values++
    else {
      at = width < SMALLEST_MARK ? at + width : behindSize(bytes, at, end, width, code)
      values--
    }
    if (at > end) throw new DecodeError(`${at - end} bytes of the value are missing`, end)
  }
  return at
}

function behindSize(bytes: Uint8Array, at: number, end: number, width: number, code: number): number {
  if (width === UNKNOWN)
    throw new DecodeError(`expected a value, found unknown constructor 0x${code.toString(16).padStart(2, '0')}`, at - 1)
  if (width === SIZE8) {
    if (at >= end) throw new DecodeError('1 byte needed, none left', at)
    return at + 1 + (bytes[at] as number)
  }
  if (end - at < 4) throw new DecodeError(`4 bytes needed, ${end - at} left`, at)
  const size =
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  return at + 4 + size
}
