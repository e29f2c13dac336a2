/**
 * Link recovery: the connection is cut at any byte, any number of times, and the link is attached again on a new one.
 * Every delivery is handed over once, whole, and comes to one end at its sender, which is the one that was decided.
 * Receivers settle second: in mode first a decision that is lost makes a duplicate, as it must. §2.6.13 §3.4.6
 */

import { expect, test } from 'vitest'
import { ACCEPTED, type DeliveryState, RELEASED } from '../../src/definitions/delivery-state.ts'
import { Engine } from '../../src/engine/engine.ts'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { random } from '../fuzz/mutations.ts'
import { hear } from '../support/pair.ts'

const RUNS = 150 * Number(process.env.FC_RUNS ?? 1)
const SEED = Number(process.env.FC_SEED ?? Date.now() & 0x7fffffff)
const MESSAGES = 24
/** Connections that are cut; the next one is left alone. */
const CUTS = 12

/** A message of some sections, whose number is in its body. */
function message(index: number, isSmall: boolean, below: (n: number) => number): Uint8Array {
  const sizes = isSmall ? [4, 5] : [below(3) === 0 ? 3000 : 40, below(900)]
  return encodeMessage({
    applicationProperties: { index },
    body: { data: sizes.map(size => new Uint8Array(size).fill(index)) },
  })
}

interface Sent {
  readonly payload: Uint8Array
  readonly fates: (string | undefined)[]
}

/** What one end keeps while there is no connection. */
interface Kept {
  outgoing: readonly OutgoingDelivery[]
  incoming: readonly IncomingDelivery[]
}

class Run {
  readonly #below: (n: number) => number
  readonly sent: Sent[] = []
  /** By the number in the message: payloads that were handed over, and what was decided. */
  readonly arrived = new Map<Uint8Array, string[]>()
  readonly decided = new Map<number, string>()
  readonly confirmed = new Set<IncomingDelivery>()
  readonly handedOver: IncomingDelivery[] = []
  readonly undecided = new Set<IncomingDelivery>()
  kept: Kept = { outgoing: [], incoming: [] }
  #toSend = MESSAGES
  /** Many small ones that stay undecided, whose map is too large for a frame; or few large ones, cut in the middle. */
  readonly #isSmall: boolean
  cuts = 0
  /** Times that a map did not fit, and the link was attached once more. */
  reattached = 0

  constructor(below: (n: number) => number) {
    this.#below = below
    this.#isSmall = below(2) === 0
  }

  get isOver(): boolean {
    return this.#toSend === 0 && this.sent.every(({ fates }) => fates.length > 0)
  }

  /** One connection, cut after so many bytes, or left until everything is over. */
  connection(cutAfter: number): void {
    const below = this.#below
    const left = new Engine({})
    const right = new Engine({})
    const maxFrameSize = [512, 600, 2000][below(3)] as number
    left.connection.open({ containerId: 'left', maxFrameSize })
    right.connection.open({ containerId: 'right', maxFrameSize })
    const session = left.connection.session()
    let sender: SenderEndpoint | undefined
    let receiver: ReceiverEndpoint | undefined
    const attach = () => {
      sender = session.sender('q')
      sender.keepsPayload = true
      sender.adopt(this.kept.outgoing)
      this.kept.outgoing = []
      sender.attach({ source: {}, target: { address: 'q' }, rcvSettleMode: 'second' })
    }
    let bytes = 0
    let now = 0
    let idle = 0
    /** Moves some bytes one way. @returns whether there were any */
    const move = (from: Engine, to: Engine): boolean => {
      for (const chunk of from.output(1 << 16, now)) {
        for (let at = 0; at < chunk.length; ) {
          const width = Math.min(1 + below(700), chunk.length - at, cutAfter - bytes)
          if (width === 0) return true
          // In a buffer of its own: whoever keeps it must not count on the rest.
          to.receive(chunk.slice(at, at + width), now++)
          at += width
          bytes += width
        }
      }
      return false
    }
    while (bytes < cutAfter && idle < 80) {
      const before = bytes
      if (below(2) === 0) move(left, right)
      else move(right, left)
      idle = bytes === before ? idle + 1 : 0
      // The sending side.
      const leftHeard = hear(left)
      for (const delivery of leftHeard.outcomes) this.#outcome(delivery)
      for (const event of leftHeard.events) {
        if (event.type === 'protocol.error') throw event.error
        if (event.type === 'connection.opened') {
          session.begin()
          attach()
        }
        if (event.type === 'link.detached' && sender?.mustReattach) {
          this.reattached++
          this.kept.outgoing = sender.open
          attach()
        }
      }
      if (
        sender?.mustReattach &&
        sender.state === 'ATTACHED' &&
        sender.isAttached &&
        sender.unsettledCount === 0 &&
        sender.mayDetach
      )
        sender.detach()
      if (sender && this.#toSend > 0 && sender.isAttached && below(3) === 0) this.#send(sender)
      // The receiving side.
      const rightHeard = hear(right)
      for (const event of rightHeard.events) {
        if (event.type === 'protocol.error') throw event.error
        if (event.type === 'session.begun') event.session.begin()
        if (event.type === 'link.attached' && event.link.role === 'receiver') {
          receiver = event.link
          receiver.useWindow([2, 5, 30][below(3)])
          receiver.adopt(this.kept.incoming)
          receiver.attach({ source: event.attach.source, target: event.attach.target })
        }
        if (event.type === 'link.detached') this.kept.incoming = (event.link as ReceiverEndpoint).open
        if (event.type === 'delivery.settled') this.confirmed.add(event.delivery)
      }
      for (const delivery of rightHeard.deliveries) {
        const payload = Buffer.concat(delivery.chunks)
        const at = this.sent.find(({ payload: known }) => Buffer.compare(known, payload) === 0)
        if (!at) throw new Error(`a payload of ${payload.length} bytes that nobody sent`)
        this.arrived.set(at.payload, [...(this.arrived.get(at.payload) ?? []), 'handed over'])
        this.handedOver.push(delivery)
        this.undecided.add(delivery)
        delivery.link.consumed()
      }
      this.#decideSome(cutAfter === Number.POSITIVE_INFINITY ? 1 : this.#isSmall ? 3000 : 10)
      if (this.isOver && idle > 20) break
    }
    this.cuts++
    left.receiveEnd(now)
    right.receiveEnd(now)
    const last = hear(left)
    for (const delivery of last.outcomes) this.#outcome(delivery)
    for (const event of hear(right).events) if (event.type === 'delivery.settled') this.confirmed.add(event.delivery)
    if (sender) this.kept.outgoing = sender.open
    if (receiver) this.kept.incoming = receiver.open
  }

  #send(sender: SenderEndpoint): void {
    const index = this.sent.length
    const payload = message(index, this.#isSmall, this.#below)
    const sent: Sent = { payload, fates: [] }
    this.sent.push(sent)
    // Long tags, so that the maps do not always fit into a frame.
    const deliveryTag = this.#isSmall || index % 2 === 0 ? new Uint8Array(32).fill(index + 1) : undefined
    sender.transfer(payload, { context: sent, deliveryTag })
    this.#toSend--
  }

  #outcome(delivery: OutgoingDelivery): void {
    ;(delivery.context as Sent).fates.push(delivery.remoteState?.type)
  }

  /** Decides on some deliveries, connected or not. */
  #decideSome(oneIn: number): void {
    for (const delivery of this.undecided) {
      if (this.#below(oneIn) !== 0) continue
      this.undecided.delete(delivery)
      const payload = Buffer.concat(delivery.chunks)
      const index = this.sent.findIndex(({ payload: known }) => Buffer.compare(known, payload) === 0)
      const state: DeliveryState = this.#below(3) === 0 ? RELEASED : ACCEPTED
      this.decided.set(index, state.type)
      delivery.link.disposition(delivery, state)
    }
  }
}

test(`§2.6.13 any cut, any number of times: once and whole, seed ${SEED}`, { timeout: 60_000 + RUNS * 200 }, () => {
  let resumed = 0
  let reattached = 0
  for (let run = 0; run < RUNS; run++) {
    const below = random((SEED + run) | 0)
    const world = new Run(below)
    try {
      while (world.cuts < CUTS && !world.isOver) world.connection(300 + below(8000))
      resumed += world.kept.outgoing.length
      world.connection(Number.POSITIVE_INFINITY)
      reattached += world.reattached
      for (const [index, { payload, fates }] of world.sent.entries()) {
        expect(world.arrived.get(payload), `message ${index}`).toEqual(['handed over'])
        expect(fates, `message ${index}`).toEqual([world.decided.get(index)])
      }
      expect(world.sent.length).toBe(MESSAGES)
      expect(world.kept.outgoing).toEqual([])
      expect(world.kept.incoming).toEqual([])
      // Who decided has heard that it holds.
      expect(world.handedOver.filter(delivery => !world.confirmed.has(delivery))).toEqual([])
    } catch (error) {
      throw new Error(`seed ${(SEED + run) | 0}, ${world.cuts} connections: ${error}`, { cause: error })
    }
  }
  expect(resumed).toBeGreaterThan(RUNS / 10)
  expect(reattached).toBeGreaterThan(RUNS / 10)
})
