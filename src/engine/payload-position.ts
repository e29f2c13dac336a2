/**
 * Places in a payload, as the number of a section and an offset inside it, and as a number of bytes. §3.4.1
 *
 * Sections are counted as they are encoded, constructor and descriptor included. Bytes that are not sections of a
 * message, or of another message-format, count as one section: both ends come to the same place by the same bytes.
 */

import { valueEnd } from '../types/skip.ts'
import type { Position } from './resumption.ts'

/** A section's end is told by its first bytes: descriptor, constructor, size. One that says it later is none. */
const HEAD = 64
/** Bytes between places that are remembered. */
const APART = 1 << 16
/** Behind a head that is cut off: a constructor that AMQP does not have. */
const FILLER = 0xff

/** Where a section begins. */
interface Start {
  readonly sectionNumber: number
  /** Bytes before it. */
  readonly offset: number
}

/**
 * Where sections begin in one payload, which only grows. What has been looked through is not looked through again: a peer
 * may detach and attach as often as it likes, and asks for the same with each attach.
 */
export class Sections {
  /** Far apart, in order. */
  readonly #starts: Start[] = [{ sectionNumber: 0, offset: 0 }]
  /** The last one known. */
  #last: Start = { sectionNumber: 0, offset: 0 }

  /** The first place that is not there. @param size  bytes of all pieces */
  end(pieces: readonly Uint8Array[], size: number): Position {
    const { sectionNumber, offset } = this.#walk(pieces, size, this.#last, Number.POSITIVE_INFINITY)
    return { sectionNumber, sectionOffset: BigInt(size - offset) }
  }

  /** How many bytes of the payload lie before a place; `undefined` when that is not inside it. */
  offsetOf(
    pieces: readonly Uint8Array[],
    size: number,
    { sectionNumber, sectionOffset }: Position,
  ): number | undefined {
    const known = this.#last.sectionNumber <= sectionNumber ? this.#last : this.#before(sectionNumber)
    const start = this.#walk(pieces, size, known, sectionNumber)
    if (start.sectionNumber < sectionNumber) return undefined
    return sectionOffset <= BigInt(size - start.offset) ? start.offset + Number(sectionOffset) : undefined
  }

  #before(wanted: number): Start {
    let at = this.#starts.length - 1
    while ((this.#starts[at] as Start).sectionNumber > wanted) at--
    return this.#starts[at] as Start
  }

  /** From one beginning of a section on, to that of another, or to the last that is there. */
  #walk(pieces: readonly Uint8Array[], size: number, from: Start, until: number): Start {
    let { sectionNumber, offset } = from
    let piece = 0
    let before = 0
    while (sectionNumber < until && offset < size) {
      // There is one: their lengths come to `size`.
      for (; offset - before >= (pieces[piece] as Uint8Array).length; piece++)
        before += (pieces[piece] as Uint8Array).length
      const length = sectionLength(pieces, piece, offset - before, size - offset)
      if (length === undefined) break
      offset += length
      sectionNumber++
      if (offset - (this.#starts.at(-1) as Start).offset >= APART) this.#starts.push({ sectionNumber, offset })
    }
    const start = { sectionNumber, offset }
    if (offset > this.#last.offset) this.#last = start
    return start
  }
}

/**
 * Bytes of the section that begins in a piece; `undefined` when it is not all there, or is none.
 *
 * @param left  bytes from there on, to the end of all pieces
 */
function sectionLength(pieces: readonly Uint8Array[], index: number, at: number, left: number): number | undefined {
  const piece = pieces[index] as Uint8Array
  if (piece[at] !== 0x00) return undefined
  try {
    // Those of a message, mostly: a descriptor of two bytes, and a value that is not described.
    const isPlain = piece.length - at > 8 && piece[at + 1] === 0x53 && piece[at + 3] !== 0x00
    if (isPlain) return valueEnd(piece, at + 3, at + left) - at
    const head = new Uint8Array(HEAD + 8).fill(FILLER)
    let filled = 0
    for (let i = index, from = at; i < pieces.length && filled < HEAD; i++, from = 0) {
      const part = (pieces[i] as Uint8Array).subarray(from, from + HEAD - filled)
      head.set(part, filled)
      filled += part.length
    }
    return valueEnd(head, 0, left)
  } catch {
    // A DecodeError: more bytes are needed, or no bytes would help.
    return undefined
  }
}

/** The first place that is not in `bytes`, the beginning of a payload. */
export const endPosition = (bytes: Uint8Array): Position => new Sections().end([bytes], bytes.length)

/** How many bytes of the payload lie before a place; `undefined` when that is not inside it. */
export const offsetOf = (bytes: Uint8Array, position: Position): number | undefined =>
  new Sections().offsetOf([bytes], bytes.length, position)

/** Pieces of a payload as one. */
export function joined(pieces: readonly Uint8Array[], size: number): Uint8Array {
  if (pieces.length === 1) return pieces[0] as Uint8Array
  const bytes = new Uint8Array(size)
  let at = 0
  for (const piece of pieces) {
    bytes.set(piece, at)
    at += piece.length
  }
  return bytes
}
