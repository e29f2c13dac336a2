/**
 * A transport that is slow, or breaks off, as the faults of its hub say; otherwise it hands on what it gets.
 *
 * For the `transport` of `listen`: nothing of AMQP is known here.
 */

import type { Transport, TransportSink } from '../../io/transport.ts'
import type { EmulatorClock } from '../clock.ts'
import type { Faults, FaultyConnection } from './faults.ts'

/** Wraps the transport of one connection. */
export function faultyTransport(transport: Transport, faults: Faults, clock: EmulatorClock): Transport {
  return new FaultyTransport(transport, faults, clock)
}

/** Acts, in order, each no earlier than so many ms after it was handed in. */
class Delay {
  readonly #clock: EmulatorClock
  #waiting: { readonly due: number; readonly act: () => void }[] = []

  constructor(clock: EmulatorClock) {
    this.#clock = clock
  }

  run(delayMs: number, act: () => void): void {
    const last = this.#waiting.at(-1)
    if (delayMs === 0 && last === undefined) return act()
    this.#waiting.push({ due: Math.max(this.#clock.now() + delayMs, last?.due ?? 0), act })
    if (last === undefined) this.#wait()
  }

  clear(): void {
    this.#waiting = []
  }

  #wait(): void {
    const [first] = this.#waiting
    if (first === undefined) return
    this.#clock.setTimer(
      () => {
        // A timer may be early by a fraction; and what waited may be gone.
        if (this.#waiting[0] === first && this.#clock.now() >= first.due) {
          first.act()
          this.#waiting.shift()
        }
        this.#wait()
      },
      Math.max(first.due - this.#clock.now(), 0),
    )
  }
}

class FaultyTransport implements Transport, FaultyConnection {
  bytes = 0
  readonly #transport: Transport
  readonly #faults: Faults
  readonly #in: Delay
  readonly #out: Delay
  readonly #unwatch: () => void
  #isDropped = false

  constructor(transport: Transport, faults: Faults, clock: EmulatorClock) {
    this.#transport = transport
    this.#faults = faults
    this.#in = new Delay(clock)
    this.#out = new Delay(clock)
    this.#unwatch = faults.watchTransport(this)
  }

  get remoteAddress(): string | undefined {
    return this.#transport.remoteAddress
  }

  get peerCertificate(): Uint8Array | undefined {
    return this.#transport.peerCertificate
  }

  start(sink: TransportSink): void {
    this.#transport.start({
      data: bytes => this.#in.run(this.#faults.delayMs, () => this.#count(bytes, part => sink.data(part))),
      drain: () => sink.drain(),
      end: error => {
        this.#unwatch()
        this.#in.run(this.#faults.delayMs, () => sink.end(error))
      },
      over: () => this.#in.run(this.#faults.delayMs, () => sink.over?.()),
    })
  }

  write(chunks: readonly Uint8Array[]): boolean {
    let hasRoom = true
    this.#out.run(this.#faults.delayMs, () => {
      if (this.#faults.bytesLeft(this) === Number.POSITIVE_INFINITY) {
        for (const { length } of chunks) this.bytes += length
        hasRoom = this.#isDropped || this.#transport.write(chunks)
        return
      }
      for (const chunk of chunks)
        this.#count(chunk, part => {
          hasRoom = this.#transport.write([part])
        })
    })
    return hasRoom
  }

  end(): void {
    this.#out.run(this.#faults.delayMs, () => this.#transport.end())
  }

  destroy(error?: Error): void {
    this.#isDropped = true
    this.#unwatch()
    this.#out.clear()
    this.#transport.destroy(error)
  }

  pause(): void {
    this.#transport.pause?.()
  }

  resume(): void {
    this.#transport.resume?.()
  }

  drop(): void {
    this.destroy()
  }

  /** Hands on what may still cross, and drops the connection when that was the last. */
  #count(bytes: Uint8Array, handOn: (part: Uint8Array) => void): void {
    if (this.#isDropped) return
    const part = bytes.subarray(0, Math.min(bytes.length, this.#faults.bytesLeft(this)))
    this.bytes += part.length
    if (part.length > 0) handOn(part)
    this.#faults.crossed(this)
  }
}
