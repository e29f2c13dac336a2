/**
 * The only place where strings and bytes meet. UTF-8 for strings (§1.6.20), ASCII for symbols (§1.6.21), both checked.
 *
 * Short text goes through a loop over ASCII bytes, unrolled eight wide, which beats every built-in below some 64 bytes;
 * the rest goes to the platform. `Buffer` is used where the global exists (Node, Deno, Bun) and never imported.
 */

/** The globals this file may use; the program below `io/` is compiled without Node's or the DOM's types. */
interface BufferMethods {
  utf8Slice(this: Uint8Array, start: number, end: number): string
  utf8Write(this: Uint8Array, text: string, offset: number, length: number): number
}
declare const Buffer: { prototype: BufferMethods } | undefined
declare const TextDecoder: new (
  encoding: string,
  options: { fatal: boolean; ignoreBOM: boolean },
) => { decode(bytes: Uint8Array): string }
declare const TextEncoder: new () => { encodeInto(text: string, into: Uint8Array): { written: number } }

/** Buffer's methods work on any Uint8Array. */
const native: BufferMethods | undefined = /* @__PURE__ */ (() =>
  typeof Buffer === 'undefined' ? undefined : Buffer.prototype)()

const SHORT = 64

let strict: { decode(bytes: Uint8Array): string } | undefined
let encoder: { encodeInto(text: string, into: Uint8Array): { written: number } } | undefined

/** The text of ASCII bytes, or `undefined` at the first byte above 0x7f. */
function shortAscii(bytes: Uint8Array, start: number, end: number): string | undefined {
  let text = ''
  let i = start
  for (; i + 8 <= end; i += 8) {
    const a = bytes[i] as number
    const b = bytes[i + 1] as number
    const c = bytes[i + 2] as number
    const d = bytes[i + 3] as number
    const e = bytes[i + 4] as number
    const f = bytes[i + 5] as number
    const g = bytes[i + 6] as number
    const h = bytes[i + 7] as number
    if ((a | b | c | d | e | f | g | h) > 0x7f) return undefined
    text += String.fromCharCode(a, b, c, d, e, f, g, h)
  }
  for (; i + 2 <= end; i += 2) {
    const a = bytes[i] as number
    const b = bytes[i + 1] as number
    if ((a | b) > 0x7f) return undefined
    text += String.fromCharCode(a, b)
  }
  if (i < end) {
    const a = bytes[i] as number
    if (a > 0x7f) return undefined
    text += String.fromCharCode(a)
  }
  return text
}

/** Decodes UTF-8; `undefined` when the bytes are not valid UTF-8. */
export function decodeUtf8(bytes: Uint8Array, start: number, end: number): string | undefined {
  if (end - start < SHORT) {
    const text = shortAscii(bytes, start, end)
    if (text !== undefined) return text
  }
  if (native) {
    const text = native.utf8Slice.call(bytes, start, end)
    // Invalid sequences come back as U+FFFD, which may also have been sent: only then look closer.
    if (!text.includes('\ufffd')) return text
  }
  try {
    strict ??= new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    return strict.decode(bytes.subarray(start, end))
  } catch {
    return undefined
  }
}

/** Decodes ASCII; `undefined` at any byte above 0x7f. */
export function decodeAscii(bytes: Uint8Array, start: number, end: number): string | undefined {
  if (end - start < SHORT) return shortAscii(bytes, start, end)
  let text = ''
  for (let i = start; i < end; i += SHORT) {
    const piece = shortAscii(bytes, i, Math.min(i + SHORT, end))
    if (piece === undefined) return undefined
    text += piece
  }
  return text
}

/** Room that `writeUtf8` may need for `text`, in bytes. */
export const utf8Room = (text: string): number => text.length * 3

/**
 * Writes `text` at `offset`, where `utf8Room(text)` bytes must be free.
 *
 * @returns the number of bytes written, or −1 when the text holds a lone surrogate, which UTF-8 cannot carry
 */
export function writeUtf8(bytes: Uint8Array, offset: number, text: string): number {
  const length = text.length
  if (length < SHORT) {
    let i = 0
    for (; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code > 0x7f) break
      bytes[offset + i] = code
    }
    if (i === length) return length
  }
  if (!text.isWellFormed()) return -1
  if (native) return native.utf8Write.call(bytes, text, offset, bytes.length - offset)
  encoder ??= new TextEncoder()
  return encoder.encodeInto(text, bytes.subarray(offset)).written
}

/** Writes ASCII at `offset`, where `text.length` bytes must be free. @returns false when `text` is not ASCII */
export function writeAscii(bytes: Uint8Array, offset: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 0x7f) return false
    bytes[offset + i] = code
  }
  return true
}
