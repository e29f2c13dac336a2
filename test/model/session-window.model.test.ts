/**
 * Session windows under load: messages of many frames through narrow windows, both ways, over several links, with
 * bytes that arrive when they like. No transfer ever finds the window shut; at rest both ends agree on what is open,
 * and whatever had credit has arrived, whole and in order. §2.5.6
 */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ACCEPTED } from '../../src/definitions/delivery-state.ts'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import { serialDistance } from '../../src/engine/serial.ts'
import type { SessionEndpoint } from '../../src/engine/session-endpoint.ts'
import { command, patience, runs, serial, side, World, width } from './world.ts'

interface Link {
  readonly sender: SenderEndpoint
  readonly receiver: ReceiverEndpoint
  /** Sizes of what was sent and of what has come, in order. */
  readonly sent: number[]
  readonly arrived: number[]
}

interface Model {
  readonly links: readonly Link[]
  readonly sessions: readonly [SessionEndpoint, SessionEndpoint]
  /** What has come and is not decided. */
  readonly undecided: IncomingDelivery[]
}

/** Each direction: what the sending end believes is open, and what the receiving end has opened. */
function* directions({ sessions: [left, right] }: Readonly<Model>): Generator<[SessionEndpoint, SessionEndpoint]> {
  yield [left, right]
  yield [right, left]
}

/** What holds at any time. */
function always(model: Readonly<Model>, world: World): void {
  for (const [from, to] of directions(model)) {
    expect(from.window.remoteIncomingWindow).toBeGreaterThanOrEqual(0)
    expect(to.window.incomingWindow).toBeGreaterThanOrEqual(0)
    // What is under way has its place in the window that the other end has opened.
    const underWay = serialDistance(from.window.nextOutgoingId, to.window.nextIncomingId ?? 0)
    expect(underWay).toBeGreaterThanOrEqual(0)
    expect(from.window.remoteIncomingWindow + underWay).toBeLessThanOrEqual(to.window.incomingWindow)
  }
  for (const end of world.ends) expect(end.protocolErrors).toEqual([])
}

/** What holds when nothing is under way. */
function atRest(model: Readonly<Model>): void {
  for (const [from, to] of directions(model)) {
    expect(from.window.remoteIncomingWindow).toBe(to.window.incomingWindow)
    expect(from.window.nextOutgoingId).toBe(to.window.nextIncomingId)
  }
  for (const { sender, sent, arrived } of model.links) {
    expect([sender.queue.length, sender.isBlocked]).toEqual([0, false])
    expect(arrived).toEqual(sent)
  }
}

const step = (name: string, run: (model: Model, world: World) => void): fc.Command<Model, World> =>
  command(name, (model, world) => {
    run(model, world)
    always(model, world)
  })

const size = fc.oneof(fc.integer({ min: 0, max: 50 }), fc.integer({ min: 400, max: 3000 }), fc.constant(12_000))
const send = fc.tuple(fc.nat(3), size, fc.boolean()).map(([index, bytes, settled]) =>
  step(`send ${bytes} on ${index}${settled ? ', settled' : ''}`, ({ links }) => {
    const { sender, sent } = links[index % links.length] as Link
    sender.transfer(new Uint8Array(bytes).fill(sent.length), { settled })
    sent.push(bytes)
  }),
)
const decide = fc.nat(5).map(index =>
  step(`accept ${index}`, ({ undecided }) => {
    const [delivery] = undecided.splice(index % (undecided.length || 1), 1)
    if (delivery) delivery.link.disposition(delivery, ACCEPTED)
  }),
)
const writes = fc.tuple(side, width).map(([by, n]) => step(`${by} writes ${n}`, (_, world) => world.flush(by, n)))
const hears = fc.tuple(side, width).map(([by, n]) => step(`${by} hears ${n}`, (_, world) => world.arrive(by, n)))
const rest = fc.constant(
  step('rest', (model, world) => {
    world.rest()
    atRest(model)
  }),
)
const commands = fc.commands<Model, World>(
  [send, writes, hears, send, writes, hears, send, decide, writes, hears, rest],
  {
    maxCommands: 60,
    size: 'max',
  },
)
const window = fc.integer({ min: 1, max: 20 })

test('§2.5.6 windows of 1 to 20: never overrun, never stuck, equal at rest', patience, () => {
  fc.assert(
    fc.property(window, window, serial, serial, fc.integer(), commands, (ours, theirs, first, second, seed, steps) => {
      const world = new World({ seed })
      const sessions = world.session(
        { incomingWindow: ours, nextOutgoingId: first },
        { incomingWindow: theirs, nextOutgoingId: second },
        { maxFrameSize: 512 },
      )
      const [left, right] = sessions
      const links = [left, left, right].map((from, i) => ({
        ...world.link(`l${i}`, from, 1000),
        sent: [],
        arrived: [],
      }))
      const model: Model = { links, sessions, undecided: [] }
      world.owner = {
        onDelivery(_end, delivery) {
          const link = model.links.find(({ receiver }) => receiver === delivery.link) as Link
          const bytes = Buffer.concat(delivery.chunks)
          expect(bytes.every(byte => byte === (link.arrived.length & 0xff))).toBe(true)
          link.arrived.push(bytes.length)
          if (!delivery.remoteSettled) model.undecided.push(delivery)
          delivery.link.consumed()
        },
      }
      fc.modelRun(() => ({ model, real: world }), steps)
      world.rest()
      always(model, world)
      atRest(model)
      world.finish()
    }),
    runs(180),
  )
})
