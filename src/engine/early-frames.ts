/** Frames that were written before the peer's open has come, and which of them it is known to take. §2.4.1 §2.4.2 */

import { FrameWriter } from '../framing/frame-writer.ts'
import type { Writer } from '../types/writer.ts'

/** One that waits. */
export interface EarlyFrame {
  readonly channel: number
  readonly size: number
  readonly chunks: readonly Uint8Array[]
  /** Reports it, when it leaves. */
  readonly trace: (() => void) | undefined
}

export class EarlyFrames {
  readonly #writer = new FrameWriter()
  #frames: EarlyFrame[] = []

  /**
   * Encodes one behind those that wait.
   *
   * @param maxFrameSize  what the peer takes, as far as that is known
   * @throws {UsageError} it is larger; whatever `write` throws. Nothing is kept then
   */
  add(channel: number, maxFrameSize: number, write: (writer: Writer) => void, trace: (() => void) | undefined): void {
    this.#writer.frame(0, channel, maxFrameSize, write)
    const size = this.#writer.pending
    this.#frames.push({ channel, size, chunks: this.#writer.take(), trace })
  }

  /**
   * Writes them in order, as far as they are within these limits: none overtakes one that is not.
   * @returns the first that is not
   */
  release(writer: FrameWriter, maxFrameSize: number, channelMax: number): EarlyFrame | undefined {
    const beyond = this.#frames.findIndex(({ size, channel }) => size > maxFrameSize || channel > channelMax)
    for (const { chunks, trace } of this.#frames.splice(0, beyond < 0 ? this.#frames.length : beyond)) {
      for (const chunk of chunks) writer.raw(chunk)
      trace?.()
    }
    return this.#frames[0]
  }
}
