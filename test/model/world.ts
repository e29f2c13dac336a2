/**
 * What the model tests share: two engines, the bytes on their way between them, a virtual clock, and an owner at each
 * end who hears everything. Bytes move only when a command says so, and in pieces of the size that it says.
 *
 * FC_RUNS multiplies how often each property is tried; FC_SEED repeats a run whose seed was printed.
 */

import fc from 'fast-check'
import { expect } from 'vitest'
import { Engine, type EngineOptions } from '../../src/engine/engine.ts'
import type { EngineEvent } from '../../src/engine/events.ts'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { AttachInit } from '../../src/engine/link-endpoint.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import type { BeginInit, SessionEndpoint } from '../../src/engine/session-endpoint.ts'
import { UsageError } from '../../src/errors.ts'

export type Side = 'left' | 'right'
export const SIDES: readonly Side[] = ['left', 'right']
export type LinkEnd = SenderEndpoint | ReceiverEndpoint

const CLOSE_ROUNDS = 3

/** Bytes on their way to one end. */
class Wire {
  #chunks: Uint8Array[] = []
  length = 0

  put(chunks: readonly Uint8Array[]): void {
    for (const chunk of chunks) {
      this.#chunks.push(chunk)
      this.length += chunk.length
    }
  }

  /** The next bytes, at most `count`, in a buffer of their own: as late as this, so that nobody may reuse what he gave. */
  take(count: number): Uint8Array {
    const out = new Uint8Array(Math.min(count, this.length))
    let at = 0
    while (at < out.length) {
      const chunk = this.#chunks[0] as Uint8Array
      const part = chunk.subarray(0, out.length - at)
      out.set(part, at)
      at += part.length
      if (part.length === chunk.length) this.#chunks.shift()
      else this.#chunks[0] = chunk.subarray(part.length)
    }
    this.length -= out.length
    return out
  }
}

/** One end: its engine, and what its owner has heard. */
export class End {
  readonly side: Side
  readonly engine: Engine
  readonly incoming = new Wire()
  readonly sessions: SessionEndpoint[] = []
  readonly links: LinkEnd[] = []
  /** How often each thing was said to have ended; `connection` for the connection. */
  readonly ended = new Map<unknown, number>()
  readonly protocolErrors: string[] = []
  hungUp = false

  constructor(side: Side, options: EngineOptions) {
    this.side = side
    this.engine = new Engine(options)
  }

  get isClosed(): boolean {
    return this.ended.has('connection')
  }

  /** Ends are told once, and the connection's is told last. */
  note(event: EngineEvent): void {
    if (event.type !== 'frame') expect(this.isClosed, `${event.type} after the end`).toBe(false)
    if (event.type === 'protocol.error') this.protocolErrors.push(event.error.message)
    if (event.type === 'connection.closed') this.#end('connection')
    if (event.type === 'session.ended') this.#end(event.session)
    if (event.type === 'link.detached') this.#end(event.link)
  }

  #end(what: unknown): void {
    this.ended.set(what, (this.ended.get(what) ?? 0) + 1)
    expect(this.ended.get(what)).toBe(1)
  }
}

/** What the owners do with what they hear. */
export interface Owner {
  onEvent?(end: End, event: EngineEvent): void
  onDelivery?(end: End, delivery: IncomingDelivery): void
  onOutcome?(end: End, delivery: OutgoingDelivery): void
}

export interface WorldOptions {
  readonly left?: EngineOptions
  readonly right?: EngineOptions
  /** For the cuts that no command makes. */
  readonly seed?: number
}

export class World {
  readonly left: End
  readonly right: End
  now = 0
  owner: Owner = {}
  #seed: number

  constructor({ left = {}, right = {}, seed = 1 }: WorldOptions) {
    this.left = new End('left', left)
    this.right = new End('right', right)
    this.#seed = seed
  }

  get ends(): readonly End[] {
    return [this.left, this.right]
  }

  end(side: Side): End {
    return this[side]
  }

  peer(end: End): End {
    return end === this.left ? this.right : this.left
  }

  /** Lets one end write. @returns how many bytes */
  flush(side: Side, maxBytes = 1 << 16): number {
    const end = this[side]
    const chunks = end.engine.output(maxBytes, this.now)
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
    this.peer(end).incoming.put(chunks)
    this.hear(end)
    return length
  }

  /** Lets bytes arrive at one end, in one piece. @returns how many */
  arrive(side: Side, count: number): number {
    const end = this[side]
    const bytes = end.incoming.take(count)
    if (bytes.length > 0 && !end.hungUp) end.engine.receive(bytes, this.now)
    this.hear(end)
    return bytes.length
  }

  /** Hands the owner all that an engine has to tell: deliveries and outcomes before the events that may end them. */
  hear(end: End): void {
    const { engine } = end
    for (let told = true; told; ) {
      told = false
      for (let d = engine.nextDelivery(); d; d = engine.nextDelivery()) {
        told = true
        this.owner.onDelivery?.(end, d)
      }
      for (let o = engine.nextOutcome(); o; o = engine.nextOutcome()) {
        told = true
        this.owner.onOutcome?.(end, o)
      }
      for (let event = engine.nextEvent(); event; event = engine.nextEvent()) {
        told = true
        end.note(event)
        if (event.type === 'session.begun' && !end.sessions.includes(event.session)) end.sessions.push(event.session)
        if (event.type === 'link.attached' && !end.links.includes(event.link)) end.links.push(event.link)
        this.owner.onEvent?.(end, event)
      }
    }
  }

  /** Lets time pass, and both ends look at the clock. */
  pass(ms: number): void {
    this.now += ms
    for (const end of this.ends) {
      end.engine.tick(this.now)
      this.hear(end)
    }
  }

  /** The transport breaks: what is on its way is lost. */
  break(): void {
    for (const end of this.ends) {
      end.incoming.take(Number.POSITIVE_INFINITY)
      end.hungUp = true
      end.engine.receiveEnd(this.now, new Error('broken'))
      this.hear(end)
    }
  }

  /** Moves bytes, cut at random places, until neither end has any; an end that is done hangs up. */
  rest(): void {
    for (let round = 0; round < 20_000; round++) {
      let moved = 0
      for (const side of SIDES) moved += this.flush(side)
      for (const side of SIDES) if (this[side].incoming.length > 0) moved += this.arrive(side, this.#cut())
      for (const end of this.ends) {
        const peer = this.peer(end)
        if (!end.engine.isDone || end.engine.hasOutput || peer.incoming.length > 0 || peer.hungUp) continue
        peer.hungUp = true
        peer.engine.receiveEnd(this.now)
        this.hear(peer)
      }
      if (moved === 0) return
    }
    throw new Error('the two ends never come to rest')
  }

  /** mulberry32, for widths from 1 to 4096, small ones often. */
  #cut(): number {
    this.#seed = (this.#seed + 0x6d2b79f5) | 0
    let t = Math.imul(this.#seed ^ (this.#seed >>> 15), 1 | this.#seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    const random = (t ^ (t >>> 14)) >>> 0
    return 1 + ((random >>> 2) & (random & 3 ? 0xfff : 0x1f))
  }

  /**
   * Whatever has happened: both ends can still close, in bounded steps, and each hears once that it is over. Nothing
   * stays behind of what was queued or partly received.
   */
  finish(): void {
    for (const end of this.ends) {
      const { connection } = end.engine
      if (connection.hasEnded) continue
      if (!connection.localOpen) connection.open({ containerId: end.side })
      if (!connection.isClosing) connection.close()
    }
    this.rest()
    for (let round = 0; round < CLOSE_ROUNDS && !this.ends.every(end => end.engine.isDone); round++) {
      this.pass(this.left.engine.limits.closeMs)
      this.rest()
    }
    for (const { engine, ended, side } of this.ends) {
      expect([side, engine.isDone, engine.connection.state]).toEqual([side, true, 'END'])
      expect(ended.get('connection')).toBe(1)
      expect([engine.connection.pendingBytes, engine.connection.incompleteBytes]).toEqual([0, 0])
    }
  }

  /** Opens both ends and begins a session from the left. @returns its two ends */
  session(
    left: Partial<BeginInit> = {},
    right: Partial<BeginInit> = {},
    open: { maxFrameSize?: number } = {},
  ): readonly [SessionEndpoint, SessionEndpoint] {
    for (const end of this.ends) end.engine.connection.open({ containerId: end.side, ...open })
    const session = this.left.engine.connection.session()
    session.begin(left)
    this.rest()
    const answer = this.right.sessions[0] as SessionEndpoint
    answer.begin(right)
    this.rest()
    expect([session.state, answer.state]).toEqual(['MAPPED', 'MAPPED'])
    return [session, answer]
  }

  /** Attaches a link from one session's end to the other's. @returns sender and receiver */
  link(
    name: string,
    from: SessionEndpoint,
    window: number | undefined,
    init: AttachInit = {},
  ): { sender: SenderEndpoint; receiver: ReceiverEndpoint } {
    const sender = from.sender(name)
    const receiving = this.ends.find(end => end.engine.connection !== from.connection) as End
    const terminus = { source: { address: 's' }, target: { address: 't' } }
    sender.attach({ ...terminus, ...init })
    this.rest()
    const receiver = receiving.links.at(-1) as ReceiverEndpoint
    receiver.useWindow(window)
    receiver.attach(terminus)
    this.rest()
    expect([sender.state, receiver.state, receiver.name]).toEqual(['ATTACHED', 'ATTACHED', name])
    return { sender, receiver }
  }
}

/** A command by its name; the arguments are printed with it. */
export const command = <Model extends object, Real>(
  name: string,
  run: (model: Model, real: Real) => void,
  check: (model: Readonly<Model>) => boolean = () => true,
): fc.Command<Model, Real> => ({ check, run, toString: () => name })

/** Calls a verb that is legal or is not: then it throws a `UsageError`, and nothing else. */
export function attempt(isLegal: boolean, verb: () => void): void {
  if (isLegal) verb()
  else expect(verb).toThrow(UsageError)
}

const TIMES = Number(process.env.FC_RUNS ?? 1)

/** For vitest: more runs may take longer. */
export const patience: { timeout: number } = { timeout: 30_000 * Math.max(TIMES, 1) }

/** Runs that a property gets. */
export const runs = (base: number): fc.Parameters<unknown> => ({
  numRuns: Math.ceil(base * TIMES),
  ...(process.env.FC_SEED ? { seed: Number(process.env.FC_SEED) } : {}),
})

export const side: fc.Arbitrary<Side> = fc.constantFrom(...SIDES)
/** Widths of pieces: often a few bytes, sometimes much. */
export const width: fc.Arbitrary<number> = fc.oneof(
  fc.integer({ min: 1, max: 20 }),
  fc.integer({ min: 1, max: 600 }),
  fc.integer({ min: 1, max: 20_000 }),
)
/** Numbers to begin counting with: often so that they soon wrap. */
export const serial: fc.Arbitrary<number> = fc.oneof(
  fc.constantFrom(0, 0xffffffff, 0x7fffffff),
  fc.integer({ min: 0xfffffff0, max: 0xffffffff }),
  fc.integer({ min: 0, max: 0xffffffff }),
)
