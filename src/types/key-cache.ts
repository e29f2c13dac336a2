/**
 * A bounded cache of the short ASCII texts that recur on every message: map keys and symbols. Never for values: a value
 * cache halves the time on one repeated message and doubles it on a real stream.
 */

import { decodeAscii } from './utf8.ts'
import { AmqpSymbol } from './values.ts'

const SLOTS = 512
const LONGEST = 40

const texts: (string | undefined)[] = /* @__PURE__ */ new Array(SLOTS)
const symbols: (AmqpSymbol | undefined)[] = /* @__PURE__ */ new Array(SLOTS)

function slotOf(bytes: Uint8Array, start: number, length: number): number {
  const first = bytes[start] as number
  const middle = bytes[start + (length >> 1)] as number
  const last = bytes[start + length - 1] as number
  return (length * 37 + first * 5 + middle * 193 + last * 1031) & (SLOTS - 1)
}

function isText(text: string, bytes: Uint8Array, start: number, length: number): boolean {
  if (text.length !== length) return false
  for (let i = 0; i < length; i++) if (text.charCodeAt(i) !== bytes[start + i]) return false
  return true
}

/** The text of `length` bytes that lie inside `bytes`; `undefined` when they are not ASCII or too long to be cached. */
export function cachedText(bytes: Uint8Array, start: number, length: number): string | undefined {
  if (length === 0 || length > LONGEST) return undefined
  const slot = slotOf(bytes, start, length)
  const have = texts[slot]
  if (have !== undefined && isText(have, bytes, start, length)) return have
  const text = decodeAscii(bytes, start, start + length)
  if (text !== undefined) texts[slot] = text
  return text
}

/** As `cachedText`, as a symbol. */
export function cachedSymbol(bytes: Uint8Array, start: number, length: number): AmqpSymbol | undefined {
  if (length === 0 || length > LONGEST) return undefined
  const slot = slotOf(bytes, start, length)
  const have = symbols[slot]
  if (have !== undefined && isText(have.name, bytes, start, length)) return have
  const text = decodeAscii(bytes, start, start + length)
  if (text === undefined) return undefined
  const made = new AmqpSymbol(text)
  symbols[slot] = made
  return made
}
