/**
 * A bounded cache of the short ASCII texts that recur on every message: map keys and symbols. Never for values: a value
 * cache halves the time on one repeated message and doubles it on a real stream.
 */

import { decodeAscii } from './utf8.ts'
import { AmqpSymbol } from './values.ts'

const SLOTS = 512
const LONGEST = 40
/** Words of four bytes that a slot has room for; the bytes of its text are compared four at a time. */
const WORDS = LONGEST / 4

const texts: (string | undefined)[] = /* @__PURE__ */ new Array(SLOTS)
const symbols: (AmqpSymbol | undefined)[] = /* @__PURE__ */ new Array(SLOTS)
const textWords: Int32Array = /* @__PURE__ */ new Int32Array(SLOTS * WORDS)
const symbolWords: Int32Array = /* @__PURE__ */ new Int32Array(SLOTS * WORDS)

function slotOf(bytes: Uint8Array, start: number, length: number): number {
  const first = bytes[start] as number
  const middle = bytes[start + (length >> 1)] as number
  const last = bytes[start + length - 1] as number
  return (length * 37 + first * 5 + middle * 193 + last * 1031) & (SLOTS - 1)
}

/** Four bytes, or those that are left. */
function wordAt(bytes: Uint8Array, at: number, end: number): number {
  if (at + 4 <= end)
    return (
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    )
  let word = 0
  for (let i = end - 1; i >= at; i--) word = (word << 8) | (bytes[i] as number)
  return word
}

/** Whether a slot has these bytes; the caller has compared the lengths. */
function matches(words: Int32Array, slot: number, bytes: Uint8Array, start: number, length: number): boolean {
  const end = start + length
  let word = slot * WORDS
  for (let at = start; at < end; at += 4) if (words[word++] !== wordAt(bytes, at, end)) return false
  return true
}

function fill(words: Int32Array, slot: number, bytes: Uint8Array, start: number, length: number): void {
  const end = start + length
  let word = slot * WORDS
  for (let at = start; at < end; at += 4) words[word++] = wordAt(bytes, at, end)
}

/** The text of `length` bytes that lie inside `bytes`; `undefined` when they are not ASCII or too long to be cached. */
export function cachedText(bytes: Uint8Array, start: number, length: number): string | undefined {
  if (length === 0 || length > LONGEST) return undefined
  const slot = slotOf(bytes, start, length)
  const have = texts[slot]
  if (have !== undefined && have.length === length && matches(textWords, slot, bytes, start, length)) return have
  const text = decodeAscii(bytes, start, start + length)
  if (text === undefined) return undefined
  texts[slot] = text
  fill(textWords, slot, bytes, start, length)
  return text
}

/** As `cachedText`, as a symbol. */
export function cachedSymbol(bytes: Uint8Array, start: number, length: number): AmqpSymbol | undefined {
  if (length === 0 || length > LONGEST) return undefined
  const slot = slotOf(bytes, start, length)
  const have = symbols[slot]
  if (have !== undefined && have.name.length === length && matches(symbolWords, slot, bytes, start, length)) return have
  const text = decodeAscii(bytes, start, start + length)
  if (text === undefined) return undefined
  const made = new AmqpSymbol(text)
  symbols[slot] = made
  fill(symbolWords, slot, bytes, start, length)
  return made
}
