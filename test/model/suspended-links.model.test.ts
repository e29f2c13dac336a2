/**
 * Links that outlive their connections: a client's engine and a listener of ours that keeps termini, cut any number of
 * times, now and then attached from a second connection before the first is known to be gone. Both directions at once.
 * Every delivery comes to one end, and it is the one that was decided. §2.6.1 §2.6.4 §2.6.13
 */

import { expect, test } from 'vitest'
import type { Delivery, IncomingLink } from '../../src/client/api.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ACCEPTED, RELEASED } from '../../src/definitions/delivery-state.ts'
import { Engine } from '../../src/engine/engine.ts'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import type { Transport, TransportSink } from '../../src/io/transport.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { random } from '../fuzz/mutations.ts'
import { hear } from '../support/pair.ts'

const RUNS = 12 * Number(process.env.FC_RUNS ?? 1)
const SEED = Number(process.env.FC_SEED ?? Date.now() & 0x7fffffff)
const MESSAGES = 12
const CUTS = 8

const TERMS = { expiryPolicy: 'connection-close' as const, timeout: 60 }
const soon = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const fateOf = (index: number): string => (index % 3 === 0 ? 'released' : 'accepted')
const indexIn = (bytes: Uint8Array): number => bytes.at(-1) ?? -1
const body = (index: number): { data: Uint8Array[] } => ({
  data: [new Uint8Array(index % 4 === 0 ? 900 : 30), Uint8Array.of(index)],
})

class World {
  readonly #below: (n: number) => number
  /** The client's own ends, while there is no connection. */
  #outgoing: readonly OutgoingDelivery[] = []
  #incoming: readonly IncomingDelivery[] = []
  #toSend = 0
  /** Client to listener: what the listener's application got, and what the client heard. */
  readonly arrived: number[] = []
  readonly heard = new Map<number, string[]>()
  /** Listener to client. */
  readonly got: number[] = []
  readonly outcomes: Promise<string>[] = []
  readonly settled: Promise<unknown>[] = []
  resumed = 0
  readonly #undecided: Delivery[] = []
  readonly #listener = listen({
    port: null,
    termini: true,
    limits: { closeMs: 20, settleMs: 20 },
    links: link => this.#serve(link),
  })

  constructor(below: (n: number) => number) {
    this.#below = below
  }

  async #serve(link: IncomingLink): Promise<void> {
    if (link.resumes) this.resumed++
    if (link.remoteRole === 'receiver') {
      const sender = await link.accept()
      // A few with each link, and the rest where no cut is to come.
      const goesOn = (): boolean => this.#isUncut || this.outcomes.length === 0 || this.#below(2) === 0
      while (this.outcomes.length < MESSAGES && goesOn()) {
        const index = this.outcomes.length
        this.outcomes.push(sender.send({ body: body(index) }).then(({ outcome }) => outcome, String))
      }
      return
    }
    try {
      for await (const delivery of await link.accept()) {
        this.arrived.push(indexIn(delivery.bytes))
        this.#undecided.push(delivery)
      }
    } catch {
      // It goes on with the next link.
    }
  }

  /** Decides on some of what the listener has, attached or not. */
  #decide(all: boolean): void {
    for (const delivery of this.#undecided.splice(0))
      if (!all && this.#below(3) > 0) this.#undecided.push(delivery)
      else {
        const released = fateOf(indexIn(delivery.bytes)) === 'released'
        this.settled.push((released ? delivery.release() : delivery.accept()).catch(error => error))
      }
  }

  get isOver(): boolean {
    return (
      this.#toSend === MESSAGES &&
      this.heard.size === MESSAGES &&
      this.outcomes.length === MESSAGES &&
      this.got.length >= MESSAGES &&
      this.#isQuiet
    )
  }
  #isUncut = false
  #isQuiet = false

  /** One connection, cut after so many bytes, or left alone. */
  async connection(cutAfter: number): Promise<void> {
    const below = this.#below
    this.#isUncut = cutAfter === Number.POSITIVE_INFINITY
    const engine = new Engine({})
    let sink: TransportSink | undefined
    let bytes = 0
    const written: Uint8Array[] = []
    const transport: Transport = {
      start: given => {
        sink = given
      },
      write: chunks => {
        written.push(...chunks.map(chunk => chunk.slice()))
        return true
      },
      end: () => {},
      destroy: () => sink?.end(),
    }
    const listener = await this.#listener
    listener.accept(transport).catch(() => {})
    engine.connection.open({ containerId: 'client', maxFrameSize: [512, 2000][below(2)] as number })
    const session = engine.connection.session()
    let sender: SenderEndpoint | undefined
    let receiver: ReceiverEndpoint | undefined
    for (let idle = 0; bytes < cutAfter && idle < 12; ) {
      const before = bytes
      for (const chunk of engine.output(1 << 16, 0)) {
        const width = Math.min(chunk.length, cutAfter - bytes)
        bytes += width
        if (width > 0) sink?.data(chunk.slice(0, width))
      }
      await soon()
      for (const chunk of written.splice(0)) {
        const width = Math.min(chunk.length, cutAfter - bytes)
        bytes += width
        if (width > 0) engine.receive(chunk.slice(0, width), 0)
      }
      idle = bytes === before ? idle + 1 : 0
      const told = hear(engine)
      for (const delivery of told.outcomes) this.#outcome(delivery)
      for (const event of told.events) {
        if (event.type === 'protocol.error') throw event.error
        if (event.type !== 'connection.opened') continue
        session.begin()
        sender = session.sender('to')
        sender.keepsPayload = true
        sender.adopt(this.#outgoing)
        sender.attach({ source: {}, target: { address: 'q', ...TERMS }, rcvSettleMode: 'second' })
        receiver = session.receiver('from')
        receiver.useWindow(3)
        receiver.adopt(this.#incoming)
        receiver.attach({ source: { address: 'q', ...TERMS }, target: {}, rcvSettleMode: 'second' })
        this.#outgoing = []
        this.#incoming = []
      }
      for (const delivery of told.deliveries) {
        const index = indexIn(Buffer.concat(delivery.chunks))
        this.got.push(index)
        delivery.link.consumed()
        delivery.link.disposition(delivery, fateOf(index) === 'released' ? RELEASED : ACCEPTED)
      }
      while (sender?.isAttached && this.#toSend < MESSAGES && below(3) > 0) {
        const index = this.#toSend++
        sender.transfer(encodeMessage({ body: body(index) }), { context: index })
      }
      this.#decide(this.#isUncut)
    }
    this.#isQuiet = this.#isUncut
    engine.receiveEnd(0)
    for (const delivery of hear(engine).outcomes) this.#outcome(delivery)
    if (sender) this.#outgoing = sender.open
    if (receiver) this.#incoming = receiver.open
    // Now and then the listener does not hear of it: the next attach steals.
    if (below(3) > 0) sink?.end()
    await soon()
    this.#decide(false)
  }

  #outcome(delivery: OutgoingDelivery): void {
    const index = delivery.context as number
    this.heard.set(index, [...(this.heard.get(index) ?? []), delivery.remoteState?.type ?? 'none'])
  }

  get left(): readonly unknown[] {
    return [...this.#outgoing, ...this.#incoming]
  }

  async close(): Promise<void> {
    await (await this.#listener).close()
  }
}

test(`§2.6.4 links that outlive any cut: each delivery ends once, seed ${SEED}`, { timeout: 120_000 }, async () => {
  let resumed = 0
  for (let run = 0; run < RUNS; run++) {
    const world = new World(random((SEED + run) | 0))
    try {
      for (let cut = 0; cut < CUTS; cut++) await world.connection(400 + random(SEED + run * 31 + cut)(3000))
      for (let tries = 0; tries < 20 && !world.isOver; tries++) await world.connection(Number.POSITIVE_INFINITY)
      const all = Array.from({ length: MESSAGES }, (_, i) => i)
      expect(
        [...world.arrived].sort((a, b) => a - b),
        'handed over by the listener',
      ).toEqual(all)
      for (const index of all) expect(world.heard.get(index), `message ${index}`).toEqual([fateOf(index)])
      expect(
        [...world.got].sort((a, b) => a - b),
        'handed over by the client',
      ).toEqual(all)
      expect(await Promise.all(world.outcomes)).toEqual(all.map(fateOf))
      expect((await Promise.all(world.settled)).filter(error => error !== undefined)).toEqual([])
      expect(world.left).toEqual([])
      resumed += world.resumed
    } catch (error) {
      throw new Error(`seed ${(SEED + run) | 0}: ${error}`, { cause: error })
    } finally {
      await world.close()
    }
  }
  expect(resumed).toBeGreaterThan(RUNS * 2)
})
