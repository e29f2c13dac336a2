/**
 * The only place where strings and bytes meet. UTF-8 for strings (§1.6.20), ASCII for symbols (§1.6.21), both checked.
 *
 * Short text is read with one call of `fromCharCode` and written in a loop, which beats every built-in up to some 24
 * characters; the rest goes to the platform. `Buffer` is used where the global exists (Node, Deno, Bun), never imported.
 */

import { SHORT, shortText } from './short-text.ts'

/** The globals this file may use; the program below `io/` is compiled without Node's or the DOM's types. */
interface BufferMethods {
  latin1Slice(this: Uint8Array, start: number, end: number): string
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

/** Text below this many characters is written here: without a `Buffer` the platform's way is slow. */
const SHORT_WRITE = /* @__PURE__ */ (() => (native === undefined ? 64 : 26))()

let strict: { decode(bytes: Uint8Array): string } | undefined
let encoder: { encodeInto(text: string, into: Uint8Array): { written: number } } | undefined

/** Decodes UTF-8; `undefined` when the bytes are not valid UTF-8. */
export function decodeUtf8(bytes: Uint8Array, start: number, end: number): string | undefined {
  if (end - start <= SHORT && isAscii(bytes, start, end)) return shortText(bytes, start, end)
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
  if (!isAscii(bytes, start, end)) return undefined
  if (end - start <= SHORT) return shortText(bytes, start, end)
  if (native) return native.latin1Slice.call(bytes, start, end)
  let text = ''
  for (let i = start; i < end; i += SHORT) text += shortText(bytes, i, Math.min(i + SHORT, end))
  return text
}

function isAscii(bytes: Uint8Array, start: number, end: number): boolean {
  let i = start
  let all = 0
  for (; i + 4 <= end; i += 4)
    all |= (bytes[i] as number) | (bytes[i + 1] as number) | (bytes[i + 2] as number) | (bytes[i + 3] as number)
  for (; i < end; i++) all |= bytes[i] as number
  return all < 0x80
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
  if (length < SHORT_WRITE) {
    let i = 0
    for (; i < length; i++) {
      const code = text.charCodeAt(i)
      if (code > 0x7f) break
      bytes[offset + i] = code
    }
    if (i === length) return length
  }
  const written = writeAny(bytes, offset, text)
  // As many bytes as characters: it is ASCII, every other character takes more.
  return written === length || text.isWellFormed() ? written : -1
}

function writeAny(bytes: Uint8Array, offset: number, text: string): number {
  if (native) return native.utf8Write.call(bytes, text, offset, bytes.length - offset)
  encoder ??= new TextEncoder()
  return encoder.encodeInto(text, bytes.subarray(offset)).written
}

/** Writes ASCII at `offset`, where `utf8Room(text)` bytes must be free. @returns false when `text` is not ASCII */
export function writeAscii(bytes: Uint8Array, offset: number, text: string): boolean {
  const length = text.length
  if (length >= SHORT_WRITE) return writeAny(bytes, offset, text) === length
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i)
    if (code > 0x7f) return false
    bytes[offset + i] = code
  }
  return true
}

/** The UTF-8 bytes of a text. Lone surrogates become U+FFFD. */
export function encodeUtf8(text: string): Uint8Array {
  const bytes = new Uint8Array(utf8Room(text))
  const length = writeUtf8(bytes, 0, text.isWellFormed() ? text : text.toWellFormed())
  return bytes.slice(0, length)
}
