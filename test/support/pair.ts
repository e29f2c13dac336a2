/** Two engines back to back, on a virtual clock, with the bytes between them cut wherever a test likes. */

import { Engine, type EngineOptions } from '../../src/engine/engine.ts'
import type { EngineEvent } from '../../src/engine/events.ts'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'

/** What one end has told since it was last asked. */
export interface Heard {
  events: EngineEvent[]
  deliveries: IncomingDelivery[]
  outcomes: OutgoingDelivery[]
}

export type Cut = (bytes: Uint8Array) => Uint8Array[]

export const whole: Cut = bytes => [bytes]
export const bytewise: Cut = bytes => Array.from(bytes, (_, i) => bytes.slice(i, i + 1))

const join = (chunks: readonly Uint8Array[]): Uint8Array => {
  const out = new Uint8Array(chunks.reduce((n, c) => n + c.length, 0))
  let at = 0
  for (const chunk of chunks) {
    out.set(chunk, at)
    at += chunk.length
  }
  return out
}

export class Pair {
  readonly left: Engine
  readonly right: Engine
  now = 0
  /** Bytes that have crossed, from either end. */
  readonly crossed = { fromLeft: 0, fromRight: 0 }
  readonly #cut: Cut

  constructor(left: EngineOptions = {}, right: EngineOptions = {}, cut: Cut = whole) {
    this.left = new Engine(left)
    this.right = new Engine(right)
    this.#cut = cut
  }

  /** Moves bytes until neither end has any. */
  drive(): void {
    for (let round = 0; round < 10_000; round++) {
      const a = join(this.left.output(1 << 20, this.now))
      const b = join(this.right.output(1 << 20, this.now))
      if (a.length === 0 && b.length === 0) return
      this.crossed.fromLeft += a.length
      this.crossed.fromRight += b.length
      if (a.length > 0) for (const chunk of this.#cut(a)) this.right.receive(chunk, this.now)
      if (b.length > 0) for (const chunk of this.#cut(b)) this.left.receive(chunk, this.now)
    }
    throw new Error('the two ends never come to rest')
  }
}

/** Takes everything that an engine has to tell. */
export function hear(engine: Engine): Heard {
  const heard: Heard = { events: [], deliveries: [], outcomes: [] }
  for (let d = engine.nextDelivery(); d; d = engine.nextDelivery()) heard.deliveries.push(d)
  for (let o = engine.nextOutcome(); o; o = engine.nextOutcome()) heard.outcomes.push(o)
  for (let e = engine.nextEvent(); e; e = engine.nextEvent()) heard.events.push(e)
  return heard
}

/** The first event of a type, or a failure that says what there was instead. */
export function expectEvent<T extends EngineEvent['type']>(heard: Heard, type: T): Extract<EngineEvent, { type: T }> {
  const found = heard.events.find(event => event.type === type)
  if (!found) throw new Error(`no ${type} among ${heard.events.map(event => event.type).join(', ') || 'no events'}`)
  return found as Extract<EngineEvent, { type: T }>
}
