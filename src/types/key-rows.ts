/**
 * The rows of keys that maps had before. A stream of messages has the same keys in the same order, message after message:
 * a map whose keys are, byte for byte, those of a map read before takes them from there, and they need not be compared
 * with each other once more.
 *
 * What a row holds was checked when it was learnt: legal keys, none of them twice. A table serves one kind of map.
 */

import type { Reader } from './reader.ts'
import { valueEnd } from './skip.ts'
import type { AmqpValue } from './values.ts'

const SLOTS = 64
/** Longer maps, and longer keys, are not learnt: they do not recur. */
const MOST_KEYS = 16
const MOST_BYTES = 400
/** Of the maps that no row fits, one in so many is learnt; where keys never recur, learning is a loss. */
const LEARN_EVERY = 4

/** The keys of a map, and their bytes in one piece, constructors included. */
class KeyRow {
  readonly keys: readonly AmqpValue[]
  readonly bytes: Uint8Array
  /** Where the bytes of each key begin, and those of the last end. */
  readonly bounds: readonly number[]

  constructor(keys: readonly AmqpValue[], bytes: Uint8Array, bounds: readonly number[]) {
    this.keys = keys
    this.bytes = bytes
    this.bounds = bounds
  }

  /** Takes the key at the cursor if it is the one that this row has at `index`. */
  take(reader: Reader, index: number): boolean {
    const { bytes, offset } = reader
    const own = this.bytes
    const from = this.bounds[index] as number
    const to = this.bounds[index + 1] as number
    if (to - from > reader.end - offset) return false
    const shift = offset - from
    for (let i = from; i < to; i++) if (own[i] !== bytes[i + shift]) return false
    reader.offset = to + shift
    return true
  }
}

export class KeyRows {
  readonly #rows: (KeyRow | undefined)[] = new Array(SLOTS).fill(undefined)
  #misses = 0

  /** The row that a map of `pairs` entries, the cursor on its first key, may have. */
  find(reader: Reader, pairs: number): KeyRow | undefined {
    const row = this.#rows[slotOf(reader.bytes, reader.offset, pairs)]
    return row?.keys.length === pairs ? row : undefined
  }

  /** Keeps the keys of the map that was read from `start` to the cursor. @param flat  its keys and values */
  learn(reader: Reader, start: number, flat: readonly AmqpValue[]): void {
    const pairs = flat.length >> 1
    if (pairs === 0 || pairs > MOST_KEYS || ++this.#misses % LEARN_EVERY !== 0) return
    const source = reader.bytes
    const bytes = new Uint8Array(MOST_BYTES)
    const bounds = [0]
    let length = 0
    let at = start
    for (let i = 0; i < pairs; i++) {
      const end = valueEnd(source, at, reader.offset)
      if (length + end - at > MOST_BYTES) return
      while (at < end) bytes[length++] = source[at++] as number
      bounds.push(length)
      at = valueEnd(source, at, reader.offset)
    }
    const keys = flat.filter((_, i) => i % 2 === 0)
    this.#rows[slotOf(source, start, pairs)] = new KeyRow(keys, bytes.slice(0, length), bounds)
  }
}

/** By the number of keys and by what the first one begins with; behind the end of the bytes, by less. */
const slotOf = (bytes: Uint8Array, offset: number, pairs: number): number =>
  (pairs * 7 + (bytes[offset + 1] as number) * 3 + (bytes[offset + 2] as number) * 5) & (SLOTS - 1)
