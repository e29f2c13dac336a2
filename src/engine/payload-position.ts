/**
 * Places in a payload, as the number of a section and an offset inside it, and as a number of bytes. §3.4.1
 *
 * Sections are counted as they are encoded, constructor and descriptor included. Bytes that are not sections of a
 * message, or of another message-format, count as one section: both ends come to the same place by the same bytes.
 */

import { valueEnd } from '../types/skip.ts'
import type { Position } from './resumption.ts'

/** The end of the section at `start`; `undefined` when it is not all there, or is none. */
function sectionEnd(bytes: Uint8Array, start: number): number | undefined {
  if (bytes[start] !== 0x00) return undefined
  try {
    return valueEnd(bytes, start, bytes.length)
  } catch {
    // A DecodeError: more bytes are needed, or no bytes would help.
    return undefined
  }
}

/** The first place that is not in `bytes`, the beginning of a payload. */
export function endPosition(bytes: Uint8Array): Position {
  let start = 0
  let sectionNumber = 0
  while (start < bytes.length) {
    const end = sectionEnd(bytes, start)
    if (end === undefined) break
    start = end
    sectionNumber++
  }
  return { sectionNumber, sectionOffset: BigInt(bytes.length - start) }
}

/** How many bytes of the payload lie before a place; `undefined` when that is not inside it. */
export function offsetOf(bytes: Uint8Array, { sectionNumber, sectionOffset }: Position): number | undefined {
  let start = 0
  for (let i = 0; i < sectionNumber; i++) {
    const end = sectionEnd(bytes, start)
    if (end === undefined) return undefined
    start = end
  }
  const left = bytes.length - start
  return sectionOffset <= BigInt(left) ? start + Number(sectionOffset) : undefined
}

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
