/**
 * FrameWriter: frames → chunks for the transport. §2.3.1
 *
 * Everything small is written once, into a slab. A message is encoded there with headroom in front, and its frame
 * header and transfer fill the headroom when it is framed; neighbours in the slab leave as one chunk. Payload that the
 * caller keeps goes out by reference.
 */

import { putTransfer, TRANSFER_ROOM, type TransferFields, transferWidth } from '../definitions/hot-paths.ts'
import { UsageError } from '../errors.ts'
import { Writer } from '../types/writer.ts'

const SLAB_SIZE = 64 << 10
/** The first slab: many connections say no more than open and close. */
const FIRST_SLAB = 2048
const FRAME_HEADER = 8

/** Writes a frame header for a frame of `size` bytes. §2.3.1 */
function putFrameHeader(bytes: Uint8Array, at: number, size: number, type: number, channel: number): void {
  bytes[at] = size >>> 24
  bytes[at + 1] = size >>> 16
  bytes[at + 2] = size >>> 8
  bytes[at + 3] = size
  bytes[at + 4] = 2
  bytes[at + 5] = type
  bytes[at + 6] = channel >>> 8
  bytes[at + 7] = channel
}

export class FrameWriter {
  /** Bytes written and not yet taken. */
  pending = 0
  /** Frames written, ever. */
  frames = 0

  /** Where messages are encoded and frames built. Taken away while in use: a getter may well use the connection. */
  #slab: Writer | undefined = undefined
  /** The message being written, and those within which it is. */
  #message: Writer | undefined = undefined
  readonly #outer: Writer[] = []
  #chunks: Uint8Array[] = []
  /** The run of slab that is being extended. */
  #bytes: Uint8Array | undefined
  #start = 0
  #end = 0

  /** Takes what was written. The chunks are the caller's; they are never written to again. */
  take(): Uint8Array[] {
    this.#flushRun()
    const chunks = this.#chunks
    this.#chunks = []
    this.pending = 0
    return chunks
  }

  /** Starts a message with headroom in front of it, for `transferInPlace`. It ends with `endMessage`. */
  beginMessage(headroom: number): Writer {
    const slab = this.#takeSlab()
    if (this.#message) this.#outer.push(this.#message)
    this.#message = slab
    slab.headroom = headroom
    slab.ensure(headroom + 256)
    slab.mark = slab.offset
    slab.offset += headroom
    return slab
  }

  /** Ends the message begun last. @returns its writer: what was written lies behind `mark` and the headroom */
  endMessage(): Writer {
    const slab = this.#message as Writer
    this.#message = this.#outer.length > 0 ? this.#outer.pop() : undefined
    this.#slab = slab
    return slab
  }

  #takeSlab(): Writer {
    const slab = this.#slab ?? new Writer(FIRST_SLAB, SLAB_SIZE)
    this.#slab = undefined
    return slab
  }

  /** Bytes as they are: protocol headers, payload by reference. */
  raw(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#flushRun()
    this.#chunks.push(bytes)
    this.pending += bytes.length
  }

  /**
   * A frame whose body `write` puts into the slab; nothing for an empty frame. §2.3.2
   *
   * @param maxFrameSize  what the peer takes
   * @throws {UsageError} when the frame is larger; whatever `write` throws. Nothing is written then.
   */
  frame(type: number, channel: number, maxFrameSize: number, write?: (writer: Writer) => void): void {
    const slab = this.#takeSlab()
    slab.ensure(FRAME_HEADER)
    slab.mark = slab.offset
    slab.offset += FRAME_HEADER
    try {
      write?.(slab)
      const size = slab.offset - slab.mark
      if (size > maxFrameSize)
        throw new UsageError(`a frame of ${size} bytes is too large for the peer, which takes ${maxFrameSize}`, '2.4.1')
    } catch (error) {
      slab.offset = slab.mark
      throw error
    } finally {
      this.#slab = slab
    }
    putFrameHeader(slab.bytes, slab.mark, slab.offset - slab.mark, type, channel)
    this.#append(slab.bytes, slab.mark, slab.offset)
    slab.mark = slab.offset
    this.frames++
  }

  /** The payload that fits in one frame of at most `maxFrameSize` bytes behind this transfer. */
  capacity(t: TransferFields, maxFrameSize: number): number {
    return maxFrameSize - FRAME_HEADER - transferWidth(t)
  }

  /** A transfer whose payload lies in a slab, with headroom in front, from `start` to `end`. §2.7.5 */
  transferInPlace(channel: number, t: TransferFields, bytes: Uint8Array, start: number, end: number): void {
    const at = start - transferWidth(t)
    putTransfer(bytes, at, t)
    putFrameHeader(bytes, at - FRAME_HEADER, end - at + FRAME_HEADER, 0, channel)
    this.#append(bytes, at - FRAME_HEADER, end)
    this.frames++
  }

  /** A transfer in front of `size` bytes of payload, which the caller hands to `raw` next. §2.7.5 */
  transferBefore(channel: number, t: TransferFields, size: number): void {
    const slab = this.#takeSlab()
    this.#slab = slab
    slab.ensure(t.state ? TRANSFER_ROOM + t.state.length + 3 : TRANSFER_ROOM)
    const start = slab.offset
    const end = putTransfer(slab.bytes, start + FRAME_HEADER, t)
    putFrameHeader(slab.bytes, start, end - start + size, 0, channel)
    slab.offset = end
    slab.mark = end
    this.#append(slab.bytes, start, end)
    this.frames++
  }

  #append(bytes: Uint8Array, start: number, end: number): void {
    this.pending += end - start
    if (this.#bytes === bytes && this.#end === start) {
      this.#end = end
      return
    }
    this.#flushRun()
    this.#bytes = bytes
    this.#start = start
    this.#end = end
  }

  #flushRun(): void {
    if (!this.#bytes) return
    this.#chunks.push(new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + this.#start, this.#end - this.#start))
    this.#bytes = undefined
  }
}
