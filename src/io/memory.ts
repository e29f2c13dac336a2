/** A linked pair of transports in memory: what one writes, the other receives, in turns of the event loop. */

import type { Transport, TransportSink } from './transport.ts'

/** How a pair carries bytes. */
export interface MemoryPairOptions {
  /** Cuts what crosses into other chunks, e.g. at seeded places. Default: as written. */
  readonly cut?: ((bytes: Uint8Array) => readonly Uint8Array[]) | undefined
  /** Bytes under way above which `write` returns false. Default 1 MiB. */
  readonly highWaterMark?: number | undefined
}

/** Two transports, each the other's peer. Bytes are copied, as on any wire: neither end sees the other's memory. */
export function memoryPair(options: MemoryPairOptions = {}): [Transport, Transport] {
  const a = new MemoryTransport(options)
  const b = new MemoryTransport(options)
  a.peer = b
  b.peer = a
  return [a, b]
}

class MemoryTransport implements Transport {
  peer: MemoryTransport | undefined
  readonly #options: MemoryPairOptions
  #sink: TransportSink | undefined
  #inbox: Uint8Array[] = []
  #inboxBytes = 0
  #scheduled = false
  #wantsDrain = false
  #writable = true
  #peerEnded = false
  #ended = false
  #paused = false

  constructor(options: MemoryPairOptions) {
    this.#options = options
  }

  start(sink: TransportSink): void {
    this.#sink = sink
    this.#schedule()
  }

  write(chunks: readonly Uint8Array[]): boolean {
    const { peer } = this
    if (!this.#writable || !peer || peer.#ended) return true
    for (const chunk of chunks) {
      // Not slice: a Buffer's would share the memory.
      const copy = new Uint8Array(chunk)
      peer.#inbox.push(...(this.#options.cut?.(copy) ?? [copy]))
      peer.#inboxBytes += chunk.length
    }
    peer.#schedule()
    const room = peer.#inboxBytes < (this.#options.highWaterMark ?? 1 << 20)
    if (!room) this.#wantsDrain = true
    return room
  }

  end(): void {
    if (!this.#writable) return
    this.#writable = false
    if (!this.peer) return
    this.peer.#peerEnded = true
    this.peer.#schedule()
  }

  destroy(error?: Error): void {
    this.#writable = false
    this.#inbox = []
    this.#finish(error)
    const { peer } = this
    if (!peer || peer.#ended) return
    peer.#peerEnded = true
    peer.#schedule()
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled || this.#paused || !this.#sink) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#deliver()
    })
  }

  #deliver(): void {
    if (this.#ended || this.#paused) return
    const inbox = this.#inbox
    this.#inbox = []
    this.#inboxBytes = 0
    for (let i = 0; i < inbox.length; i++) {
      if (this.#ended) return
      this.#sink?.data(inbox[i] as Uint8Array)
      if (this.#paused) return this.#keep(inbox.slice(i + 1))
    }
    const { peer } = this
    peer?.drained()
    if (this.#peerEnded && this.#inbox.length === 0) this.#finish(undefined)
  }

  /** What was not delivered comes first when delivery goes on. */
  #keep(rest: readonly Uint8Array[]): void {
    this.#inbox = [...rest, ...this.#inbox]
    this.#inboxBytes = this.#inbox.reduce((sum, { length }) => sum + length, 0)
  }

  /** The peer has taken what was under way. */
  drained(): void {
    if (!this.#wantsDrain || this.#ended) return
    this.#wantsDrain = false
    this.#sink?.drain()
  }

  #finish(error: Error | undefined): void {
    if (this.#ended) return
    this.#ended = true
    setImmediate(() => this.#sink?.end(error))
  }
}
