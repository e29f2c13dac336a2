/**
 * Driver: engine ↔ transport ↔ one timer. The only loop.
 *
 * Data goes to the engine, what it tells goes to the owner, and what is to be written leaves once per turn: when the
 * microtask queue has run empty, so that everything that `for await` loops and awaiting senders do in one turn shares
 * one write. At once when 64 KiB are pending. A transport that has enough stops the pulling until it drains.
 */

import type { Engine } from '../engine/engine.ts'
import type { EngineEvent } from '../engine/events.ts'
import type { IncomingDelivery } from '../engine/incoming-delivery.ts'
import type { OutgoingDelivery } from '../engine/outgoing-delivery.ts'
import { type AmqpError, TransportError } from '../errors.ts'
import { timerDelay } from './delay.ts'
import type { Transport } from './transport.ts'

/** Who hears what the engine tells. */
export interface DriverOwner {
  onDelivery(delivery: IncomingDelivery): void
  onOutcome(delivery: OutgoingDelivery): void
  onEvent(event: EngineEvent): void
  /** Something was written, so that queues are shorter. */
  onFlush(): void
}

/** Bytes pulled from the engine at a time. */
const BATCH = 256 << 10
/** Pending payload above which a flush does not wait for the end of the turn. */
const EAGER = 64 << 10
/** Pending answers above which nothing more is read while the transport is blocked: the peer reads first. */
const MAX_ANSWERS = 1 << 20
/** Bytes of a protocol header. */
const HEADER = 8

export class Driver {
  readonly engine: Engine
  /** The transport ended before a whole protocol header had come. */
  endedUnheard = false
  /** When bytes last came, or else when it started: monotonic milliseconds. */
  heardAt = 0
  /** A fault at this end, in a tracer or here, has ended it. */
  isFaulty = false
  readonly #transport: Transport
  readonly #owner: DriverOwner
  #scheduled = false
  #blocked = false
  #paused = false
  #ended = false
  #inside = false
  #received = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #timerDue = Number.POSITIVE_INFINITY
  #refed = true

  constructor(engine: Engine, transport: Transport, owner: DriverOwner) {
    this.engine = engine
    this.#transport = transport
    this.#owner = owner
  }

  /** Starts the transport and sends what is due. */
  start(): void {
    this.heardAt = performance.now()
    this.#transport.start({
      data: bytes => this.#onData(bytes),
      drain: () => {
        this.#blocked = false
        this.touch()
      },
      end: error => this.#onEnd(error),
      // What is gone need not be dropped after a while.
      over: () => clearTimeout(this.#timer),
    })
    this.#rearm()
    this.touch()
  }

  /** Something may be due for sending: it leaves at the end of this turn. Call after every use of the engine. */
  touch(): void {
    if (this.#ended) return
    const { pendingBytes, ready } = this.engine.connection
    if (pendingBytes >= EAGER && ready.length > 0 && !this.#blocked && !this.#inside) {
      this.#flush()
      return
    }
    if (this.#scheduled) return
    this.#scheduled = true
    // After the microtasks of this turn, and those that they cause.
    queueMicrotask(() => process.nextTick(this.#onTurnEnd))
  }

  readonly #onTurnEnd = (): void => {
    this.#scheduled = false
    this.#flush()
  }

  /** Drops the transport without another word. */
  destroy(error?: AmqpError): void {
    this.#drop(error, false)
  }

  ref(): void {
    this.#refed = true
    // What waits for the peer's end of something that is over holds nobody.
    if (!this.#ended) this.#timer?.ref()
  }

  unref(): void {
    this.#refed = false
    this.#timer?.unref()
  }

  #onData(bytes: Uint8Array): void {
    if (this.#ended) return
    try {
      this.#received += bytes.length
      this.heardAt = performance.now()
      this.engine.receive(bytes, this.heardAt)
      this.#pump()
      if (this.engine.hasOutput) this.touch()
      this.#afterwards()
      this.#pace()
    } catch (error) {
      this.#drop(error)
    }
  }

  /** Reads no more while the peer does not take its answers: they would pile up here. */
  #pace(): void {
    const full = this.#blocked && !this.#ended && this.engine.writer.pending > MAX_ANSWERS
    if (full === this.#paused) return
    this.#paused = full
    if (full) this.#transport.pause?.()
    else this.#transport.resume?.()
  }

  #onEnd(error: Error | undefined): void {
    if (this.#ended) {
      // Of a transport that is gone there is nothing left to drop.
      clearTimeout(this.#timer)
      return
    }
    this.endedUnheard = this.#received < HEADER
    try {
      this.engine.receiveEnd(performance.now(), error)
      this.#pump()
      this.#finish()
    } catch (fault) {
      this.#drop(fault)
    }
  }

  /** Ends everything at once. An error that nobody expected, a bug here or in a tracer, ends in `closed` too. */
  #drop(error: unknown, isFault = true): void {
    if (this.#ended) return
    this.isFaulty = isFault
    try {
      this.engine.receiveEnd(performance.now(), error)
      this.#pump()
    } catch {
      this.#owner.onEvent({ type: 'connection.closed', by: 'transport', error: droppedFor(error) })
    }
    this.#ended = true
    clearTimeout(this.#timer)
    this.#transport.destroy(error instanceof Error ? error : undefined)
  }

  /** Hands on what the engine has to tell: deliveries and outcomes before the events that may end them. */
  #pump(): void {
    const { engine } = this
    const owner = this.#owner
    this.#inside = true
    for (let delivery = engine.nextDelivery(); delivery; delivery = engine.nextDelivery()) owner.onDelivery(delivery)
    for (let delivery = engine.nextOutcome(); delivery; delivery = engine.nextOutcome()) owner.onOutcome(delivery)
    for (let event = engine.nextEvent(); event; event = engine.nextEvent()) owner.onEvent(event)
    this.#inside = false
  }

  #flush(): void {
    if (this.#ended) return
    try {
      this.#write()
      this.#owner.onFlush()
      this.#pump()
      this.#afterwards()
      this.#pace()
    } catch (error) {
      this.#drop(error)
    }
  }

  #write(): void {
    while (!this.#blocked) {
      const chunks = this.engine.output(BATCH, performance.now())
      if (chunks.length === 0) break
      this.#blocked = !this.#transport.write(chunks)
    }
  }

  #afterwards(): void {
    if (this.#ended) return
    if (this.engine.isDone) this.#finish()
    else this.#rearm()
  }

  /** The engine is done: what is written still leaves, then the transport ends. */
  #finish(): void {
    if (this.#ended) return
    const rest = this.engine.output(Number.MAX_SAFE_INTEGER, performance.now())
    this.#ended = true
    clearTimeout(this.#timer)
    if (rest.length > 0) this.#transport.write(rest)
    this.#transport.end()
    // The peer's end is waited for: it must be seen.
    this.#pace()
    // A peer that never ends its side must not keep the socket for ever.
    this.#timer = setTimeout(() => this.#transport.destroy(), timerDelay(this.engine.limits.closeMs))
    this.#timer.unref?.()
  }

  /** One timer, for the earliest deadline. It is only moved when it has to fire earlier. */
  #rearm(): void {
    const now = performance.now()
    const due = this.engine.tick(now, this.#blocked)
    if (this.engine.isDone) {
      this.#pump()
      this.#finish()
      return
    }
    if (due === undefined || due >= this.#timerDue) return
    clearTimeout(this.#timer)
    this.#timerDue = due
    this.#timer = setTimeout(() => this.#onTimer(), timerDelay(due - now))
    if (!this.#refed) this.#timer.unref?.()
  }

  #onTimer(): void {
    this.#timerDue = Number.POSITIVE_INFINITY
    this.#flush()
    if (this.#ended) return
    try {
      this.#rearm()
    } catch (error) {
      this.#drop(error)
    }
  }
}

const droppedFor = (cause: unknown): TransportError =>
  new TransportError(`the connection was dropped: ${cause instanceof Error ? cause.message : String(cause)}`, cause)
