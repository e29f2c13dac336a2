/**
 * Link credit: several links at once, both ways, credit by hand and by itself, drains that cross what is sent. Nothing
 * is delivered that was not granted, no credit is lost or made up, every drain comes to its end, and at rest both ends
 * count alike. §2.6.7–10
 */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import { serialDistance } from '../../src/engine/serial.ts'
import { command, patience, runs, serial, side, World, width } from './world.ts'

interface Link {
  readonly sender: SenderEndpoint
  readonly receiver: ReceiverEndpoint
  readonly initial: number
  /** Granted by hand. */
  granted: number
  sent: number
  arrived: number
  /** Arrived and not consumed. */
  held: number
  /** Drains asked for and heard to be over: one end may serve for several. */
  drains: number
  drained: number
  isDraining: boolean
}

interface Model {
  readonly links: readonly Link[]
}

/** Deliveries that the receiver knows to be over: those that came, and those that a drain gave back. */
const used = ({ receiver, initial }: Link): number => serialDistance(receiver.credit.deliveryCount, initial)

function always({ links }: Readonly<Model>, world: World): void {
  for (const link of links) {
    const { sender, receiver } = link
    expect(Math.min(sender.credit.linkCredit, receiver.credit.linkCredit)).toBeGreaterThanOrEqual(0)
    expect(used(link)).toBeGreaterThanOrEqual(link.arrived)
    // The sender is ahead of the receiver, and never beyond what the receiver allows.
    const ahead = serialDistance(sender.credit.deliveryCount, receiver.credit.deliveryCount)
    expect(ahead).toBeGreaterThanOrEqual(0)
    expect(ahead + sender.credit.linkCredit).toBeLessThanOrEqual(receiver.credit.linkCredit)
    if (receiver.credit.window === undefined) {
      // By hand: what was granted is used or still open.
      expect(used(link) + receiver.credit.linkCredit).toBe(link.granted)
    } else {
      // One more than the owner has may be on its way, in part.
      expect([link.held, link.held + 1]).toContain(receiver.credit.held)
      expect(receiver.credit.linkCredit + receiver.credit.held).toBeLessThanOrEqual(receiver.credit.window)
    }
  }
  for (const end of world.ends) expect(end.protocolErrors).toEqual([])
}

function atRest({ links }: Readonly<Model>): void {
  for (const link of links) {
    const { sender, receiver } = link
    expect(sender.credit.deliveryCount).toBe(receiver.credit.deliveryCount)
    expect(sender.credit.linkCredit).toBe(receiver.credit.linkCredit)
    // Nothing stalls: what is still queued has no credit.
    expect(link.sent - link.arrived).toBe(sender.queue.length)
    if (sender.queue.length > 0) expect(sender.credit.linkCredit).toBe(0)
    expect([receiver.credit.drain, link.isDraining]).toEqual([false, false])
    // Credit that keeps itself stands above half of the window, but for what the owner holds.
    const { window, linkCredit } = receiver.credit
    if (window !== undefined) expect((linkCredit + link.held) * 2).toBeGreaterThan(window)
  }
}

const step = (name: string, run: (model: Model, world: World) => void): fc.Command<Model, World> =>
  command(name, (model, world) => {
    run(model, world)
    for (const end of world.ends) world.hear(end)
    always(model, world)
  })

const onLink = (name: string, run: (link: Link) => void): fc.Arbitrary<fc.Command<Model, World>> =>
  fc.nat(4).map(index => step(`${name} on ${index}`, ({ links }) => run(links[index % links.length] as Link)))

const send = onLink('send', link => {
  link.sender.transfer(Uint8Array.of(link.sent & 0xff), { settled: link.sent % 2 === 0 })
  link.sent++
})
const large = onLink('send much', link => {
  link.sender.transfer(new Uint8Array(3000).fill(link.sent), { settled: true })
  link.sent++
})
const grant = fc.integer({ min: 1, max: 6 }).chain(count =>
  onLink(`grant ${count}`, link => {
    if (link.receiver.credit.window !== undefined) return
    link.receiver.flow(count)
    link.granted += count
  }),
)
const drain = onLink('drain', link => {
  link.drains++
  link.isDraining = true
  link.receiver.drain()
})
const consume = onLink('consume', link => {
  if (link.held === 0) return
  link.held--
  link.receiver.consumed()
})
const writes = fc.tuple(side, width).map(([by, n]) => step(`${by} writes ${n}`, (_, world) => world.flush(by, n)))
const hears = fc.tuple(side, width).map(([by, n]) => step(`${by} hears ${n}`, (_, world) => world.arrive(by, n)))
const rest = fc.constant(
  step('rest', (model, world) => {
    world.rest()
    atRest(model)
  }),
)
const commands = fc.commands<Model, World>(
  [send, send, large, grant, grant, drain, consume, consume, writes, hears, writes, hears, writes, hears, rest],
  { maxCommands: 80, size: 'max' },
)
/** For each link: its window, or credit by hand. */
const windows = fc.array(fc.option(fc.integer({ min: 1, max: 8 }), { nil: undefined }), { minLength: 1, maxLength: 5 })

test('§2.6.7 credit: never negative, never exceeded, never lost, equal at rest; every drain ends', patience, () => {
  let drained = 0
  fc.assert(
    fc.property(windows, serial, fc.integer(), commands, (windows, initial, seed, steps) => {
      const world = new World({ seed })
      const sessions = world.session({}, {}, { maxFrameSize: 512 })
      const model: Model = {
        links: windows.map((window, i) => ({
          ...world.link(`l${i}`, sessions[i & 1 ? 1 : 0], window, { initialDeliveryCount: initial }),
          initial,
          granted: 0,
          sent: 0,
          arrived: 0,
          held: 0,
          drains: 0,
          drained: 0,
          isDraining: false,
        })),
      }
      const linkOf = (receiver: ReceiverEndpoint): Link => model.links.find(link => link.receiver === receiver) as Link
      world.owner = {
        onDelivery(_end, delivery) {
          const link = linkOf(delivery.link)
          expect(delivery.chunks[0]?.[0]).toBe(link.arrived & 0xff)
          link.arrived++
          link.held++
        },
        onEvent(_end, event) {
          if (event.type !== 'link.drained') return
          const link = linkOf(event.link)
          link.isDraining = false
          link.drained++
          expect(link.drained).toBeLessThanOrEqual(link.drains)
          drained++
        },
      }
      fc.modelRun(() => ({ model, real: world }), steps)
      world.rest()
      always(model, world)
      atRest(model)
      // What is queued comes through as soon as there is credit for it.
      for (const link of model.links) {
        const { receiver, sender } = link
        while (link.held > 0) {
          link.held--
          receiver.consumed()
        }
        if (receiver.credit.window !== undefined || sender.queue.length === 0) continue
        link.granted += sender.queue.length
        receiver.flow(sender.queue.length)
      }
      world.owner.onDelivery = (_end, delivery) => {
        linkOf(delivery.link).arrived++
        delivery.link.consumed()
      }
      world.rest()
      for (const { sent, arrived } of model.links) expect(arrived).toBe(sent)
      world.finish()
    }),
    runs(140),
  )
  expect(drained).toBeGreaterThan(0)
})
