/** Drives a FrameReader over chunks and puts down what it gives, pieces of payload joined. */

import type { Performative } from '../../src/definitions/performatives.ts'
import type { SaslPerformative } from '../../src/definitions/sasl.ts'
import { FrameReader } from '../../src/framing/frame-reader.ts'
import { DEFAULT_DECODE_LIMITS } from '../../src/types/reader.ts'
import { toHex } from '../peer/wire.ts'

export interface ReadFrame {
  channel: number
  body: Performative | SaslPerformative | undefined
  pieces: Uint8Array[]
  /** Bytes that were still to come when the frame was given. */
  left: number
}

/** A reader for frames of one type; no protocol header comes first. */
export function frameReader(type: number, maxFrameSize = 65_536): FrameReader {
  const reader = new FrameReader(maxFrameSize, DEFAULT_DECODE_LIMITS)
  reader.expectHeader = false
  reader.expectType = type
  return reader
}

/** Hands in the chunks, one after the other, and takes what comes of each. */
export function readFrames(reader: FrameReader, chunks: readonly Uint8Array[]): ReadFrame[] {
  const frames: ReadFrame[] = []
  for (const chunk of chunks) {
    reader.push(chunk)
    for (let item = reader.next(); item !== undefined; item = reader.next()) {
      if (item === 'header') throw new Error('a header among frames')
      if (item === 'frame')
        frames.push({ channel: reader.channel, body: reader.body, pieces: [], left: reader.payloadLeft })
      if (reader.payload) frames.at(-1)?.pieces.push(reader.payload)
    }
  }
  return frames
}

export const payloadOf = (frame: ReadFrame): string => frame.pieces.map(toHex).join('')

export const bytewise = (bytes: Uint8Array): Uint8Array[] => Array.from(bytes, (_, i) => bytes.slice(i, i + 1))

/** In pieces of their own, as chunks from a socket are. */
export function cutAt(bytes: Uint8Array, ...places: readonly number[]): Uint8Array[] {
  const ends = [...places, bytes.length].sort((a, b) => a - b)
  return ends.map((end, i) => bytes.slice(ends[i - 1] ?? 0, end)).filter(chunk => chunk.length > 0)
}
