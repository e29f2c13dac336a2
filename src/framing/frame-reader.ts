/**
 * FrameReader: bytes in any chunking → protocol headers, frames, and the payload of transfers in pieces. §2.3.1–2
 *
 * A frame that lies whole in its chunk is decoded in place. Of one that does not, only what decoding needs is put
 * together: the performative of a transfer, the whole of any other. Payload is never copied; it is handed on as it
 * comes, in pieces, each a view of its chunk (BORROWS).
 */

import { readDisposition, readFlow, readTransfer } from '../definitions/hot-paths.ts'
import type { Performative } from '../definitions/performatives.ts'
import { frameBody } from '../definitions/registry.ts'
import { type SaslPerformative, saslFrame } from '../definitions/sasl.ts'
import { type DecodeLimits, Reader } from '../types/reader.ts'

/** What `next` found. */
export type FrameItem = 'header' | 'frame' | 'payload'

/** A fault in the layout of a frame, as against its content. §2.3 */
export class FramingFault extends Error {}

const NO_BYTES: Uint8Array = /* @__PURE__ */ new Uint8Array(0)
const TRANSFER = 0x14
/** Memory that an element of a list, map or array takes up, besides its bytes: an object, or a place in an array. */
const ELEMENT = 32
/** Enough of a transfer to know where its list ends: descriptor (up to 10 bytes), list constructor, size. */
const PEEK = 15

export class FrameReader {
  /** Largest frame that is accepted, in bytes. */
  maxFrameSize: number
  /** Whether the next eight bytes are a protocol header. */
  expectHeader = true
  /** 0 AMQP, 1 SASL: any other type is a fault. */
  expectType = 0

  /** After `next` returned `header`: its bytes. */
  header: Uint8Array = NO_BYTES
  /** After `next` returned `frame`. */
  channel = 0
  body: Performative | SaslPerformative | undefined
  /** After `frame`, the first piece of payload, or undefined; after `payload`, the next piece. BORROWS */
  payload: Uint8Array | undefined
  /** Bytes of the frame's payload still to come after this piece. */
  payloadLeft = 0

  #chunk: Uint8Array = NO_BYTES
  #at = 0
  /** Bytes behind the chunk, in its buffer, that are this reader's to fill. */
  #room = 0
  readonly #reader: Reader
  /** The beginning of an item that its chunk cut off. */
  #held: Uint8Array = NO_BYTES
  #heldLength = 0

  constructor(maxFrameSize: number, limits: DecodeLimits) {
    this.maxFrameSize = maxFrameSize
    this.#reader = new Reader(NO_BYTES, 0, 0, limits)
  }

  /** Hands in the next chunk, which must not change any more. */
  push(chunk: Uint8Array): void {
    if (this.#at === this.#chunk.length) {
      this.#chunk = chunk
      this.#at = 0
      this.#room = 0
      return
    }
    // Only when reading was put off, while a SASL server decides. Room is doubled, so that many small chunks cost no
    // more than their bytes; what has been handed out of a chunk lies in front of what is added.
    const left = this.#chunk.length - this.#at
    if (chunk.length > this.#room) {
      const larger = new Uint8Array(2 * (left + chunk.length))
      larger.set(this.#chunk.subarray(this.#at))
      this.#chunk = larger.subarray(0, left)
      this.#at = 0
      this.#room = larger.length - left
    }
    const { buffer, byteOffset, length } = this.#chunk
    this.#chunk = new Uint8Array(buffer, byteOffset, length + chunk.length)
    this.#chunk.set(chunk, length)
    this.#room -= chunk.length
  }

  /** Bytes handed in and not yet read. */
  get unread(): number {
    return this.#chunk.length - this.#at + this.#heldLength
  }

  /** About how much memory the body just read takes up, in bytes. */
  get weight(): number {
    const { offset, base, elements } = this.#reader
    return offset + base + elements * ELEMENT
  }

  /**
   * Reads the next item.
   * @returns `undefined` when more bytes are needed
   * @throws {FramingFault} the frame is malformed. §2.3.1
   * @throws {DecodeError} its body is
   */
  next(): FrameItem | undefined {
    if (this.payloadLeft > 0) return this.#nextPiece()
    if (this.#heldLength > 0) return this.#nextHeld()
    const left = this.#chunk.length - this.#at
    if (left < 8) return left === 0 ? undefined : this.#hold(8)
    if (this.expectHeader) {
      this.header = this.#chunk.subarray(this.#at, this.#at + 8)
      this.#at += 8
      return 'header'
    }
    const size = this.#checkLayout(this.#chunk, this.#at)
    if (size > left) return this.#hold(Math.min(size, 64))
    const start = this.#at
    this.#at += size
    this.#decode(this.#chunk, start, start + size)
    return 'frame'
  }

  #nextPiece(): FrameItem | undefined {
    const width = Math.min(this.payloadLeft, this.#chunk.length - this.#at)
    if (width === 0) return undefined
    this.payloadLeft -= width
    this.payload = this.#take(width)
    return 'payload'
  }

  #take(width: number): Uint8Array {
    const view = new Uint8Array(this.#chunk.buffer, this.#chunk.byteOffset + this.#at, width)
    this.#at += width
    return view
  }

  /** Starts putting together an item that ends in a later chunk. */
  #hold(size: number): FrameItem | undefined {
    this.#held = new Uint8Array(size)
    return this.#nextHeld()
  }

  /** Moves bytes from the chunk until `width` are held. */
  #fill(width: number): boolean {
    if (width > this.#held.length) {
      const larger = new Uint8Array(width)
      larger.set(this.#held.subarray(0, this.#heldLength))
      this.#held = larger
    }
    const moved = Math.min(width - this.#heldLength, this.#chunk.length - this.#at)
    if (moved > 0) {
      this.#held.set(this.#chunk.subarray(this.#at, this.#at + moved), this.#heldLength)
      this.#heldLength += moved
      this.#at += moved
    }
    return this.#heldLength >= width
  }

  #nextHeld(): FrameItem | undefined {
    if (!this.#fill(8)) return undefined
    if (this.expectHeader) {
      this.header = this.#release().subarray(0, 8)
      return 'header'
    }
    const size = this.#checkLayout(this.#held, 0)
    const bodyStart = (this.#held[4] as number) * 4
    if (this.expectType === 0 && size - bodyStart > PEEK) {
      if (!this.#fill(bodyStart + PEEK)) return undefined
      const listEnd = transferEnd(this.#held, bodyStart)
      if (listEnd > 0 && listEnd < size) return this.#heldTransfer(listEnd, size)
    }
    if (!this.#fill(size)) return undefined
    this.#decode(this.#release(), 0, size)
    return 'frame'
  }

  /** A transfer whose list is complete while its payload is not. */
  #heldTransfer(listEnd: number, size: number): FrameItem | undefined {
    if (!this.#fill(listEnd)) return undefined
    const heldLength = this.#heldLength
    const held = this.#release()
    this.#decode(held, 0, listEnd)
    if (heldLength > listEnd) {
      // Looking for the end of a short list took some payload with it.
      this.payload = held.subarray(listEnd, heldLength)
      this.payloadLeft = size - heldLength
    } else {
      const width = Math.min(size - listEnd, this.#chunk.length - this.#at)
      this.payload = width > 0 ? this.#take(width) : undefined
      this.payloadLeft = size - listEnd - width
    }
    return 'frame'
  }

  #release(): Uint8Array {
    const held = this.#held
    this.#held = NO_BYTES
    this.#heldLength = 0
    return held
  }

  /** Checks the eight bytes of a frame header. @returns the frame's size. §2.3.1 */
  #checkLayout(bytes: Uint8Array, at: number): number {
    const size =
      (((bytes[at] as number) << 24) |
        ((bytes[at + 1] as number) << 16) |
        ((bytes[at + 2] as number) << 8) |
        (bytes[at + 3] as number)) >>>
      0
    const dataOffset = bytes[at + 4] as number
    if (size < 8) throw new FramingFault(`a frame has at least 8 bytes, not ${size}`)
    if (size > this.maxFrameSize)
      throw new FramingFault(`frame of ${size} bytes, where ${this.maxFrameSize} are allowed`)
    if (dataOffset < 2 || dataOffset * 4 > size)
      throw new FramingFault(`data offset of ${dataOffset} words in a frame of ${size} bytes`)
    const type = bytes[at + 5] as number
    if (type !== this.expectType) throw new FramingFault(`frame of type ${type}, where ${this.expectType} is expected`)
    return size
  }

  /** Decodes the body of the frame that begins at `start`; what follows it is payload. §2.3.2 */
  #decode(bytes: Uint8Array, start: number, end: number): void {
    const reader = this.#reader
    this.channel = ((bytes[start + 6] as number) << 8) | (bytes[start + 7] as number)
    this.payload = undefined
    this.payloadLeft = 0
    const at = start + (bytes[start + 4] as number) * 4
    if (at === end) {
      this.body = undefined
      return
    }
    reader.reset(bytes, at, end)
    reader.base = -start
    if (this.expectType === 1) {
      this.body = saslFrame.read(reader)
      if (reader.offset !== end) reader.fail(`${end - reader.offset} bytes behind a SASL frame's body`)
      return
    }
    const body = readPerformative(reader)
    this.body = body
    if (reader.offset === end) return
    if (body.type !== 'transfer') reader.fail(`${end - reader.offset} bytes behind ${body.type}, which has no payload`)
    this.payload = reader.view(end - reader.offset)
  }
}

function readPerformative(reader: Reader): Performative {
  const { bytes, offset } = reader
  if (bytes[offset] === 0x00 && bytes[offset + 1] === 0x53 && offset + 3 <= reader.end) {
    reader.offset = offset + 3
    switch (bytes[offset + 2]) {
      case TRANSFER:
        return readTransfer(reader)
      case 0x15:
        return readDisposition(reader)
      case 0x13:
        return readFlow(reader)
    }
    reader.offset = offset
  }
  return frameBody.read(reader)
}

/** Where the list of a transfer ends, given the first `PEEK` bytes of a body; 0 when it is no transfer. */
function transferEnd(bytes: Uint8Array, start: number): number {
  if (bytes[start] !== 0x00) return 0
  let at: number
  if (bytes[start + 1] === 0x53 && bytes[start + 2] === TRANSFER) at = start + 3
  else if (bytes[start + 1] === 0x80 && isLongCode(bytes, start + 2)) at = start + 10
  else return 0
  if (bytes[at] === 0xc0) return at + 2 + (bytes[at + 1] as number)
  if (bytes[at] !== 0xd0) return 0
  const size = new DataView(bytes.buffer, bytes.byteOffset + at + 1, 4).getUint32(0)
  return at + 5 + size
}

function isLongCode(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 7; i++) if (bytes[at + i] !== 0) return false
  return bytes[at + 7] === TRANSFER
}
