/**
 * Settlement: both settle modes of either end, all outcomes, decided in any order; deliveries given up in the middle,
 * links detached, closed and failed under them, sessions ended, connections closed. Each delivery comes to one end at
 * its sender and no other; what an outcome says is what was decided; no delivery-id serves twice at a time, across the
 * wrap; and when all is over nobody remembers anything. §2.6.12 §2.6.14 §2.7.5 §2.8.2 §2.8.3 §3.4
 */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ACCEPTED, type DeliveryState, RELEASED } from '../../src/definitions/delivery-state.ts'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import { serialDistance } from '../../src/engine/serial.ts'
import type { SessionEndpoint } from '../../src/engine/session-endpoint.ts'
import { command, type End, type LinkEnd, patience, runs, type Side, serial, side, World, width } from './world.ts'

const ERROR = { type: 'error', condition: 'amqp:internal-error', description: 'because' } as const
const OUTCOMES: readonly DeliveryState[] = [
  ACCEPTED,
  RELEASED,
  {
    type: 'rejected',
    error: { type: 'error', condition: 'amqp:not-allowed', description: undefined, info: undefined },
  },
  { type: 'modified', deliveryFailed: true, undeliverableHere: false, messageAnnotations: undefined },
]

interface Sent {
  readonly id: number
  readonly size: number
  readonly delivery: OutgoingDelivery
  /** How its sender heard that it is over: exactly one. */
  readonly fates: string[]
}

interface Arrived {
  readonly delivery: IncomingDelivery
  decided: string | undefined
  /** Times that the sender's settlement was heard, in mode second. */
  settled: number
}

interface Model {
  readonly session: SessionEndpoint
  readonly answer: SessionEndpoint
  readonly sent: Sent[]
  readonly arrived: Map<number, Arrived>
  /** Links that somebody has asked to end, by side. */
  readonly ending: Record<Side, Set<LinkEnd>>
  /** Senders whose deliveries have been told their fate. */
  readonly over: Set<LinkEnd>
  names: number
}

const senders = (model: Readonly<Model>, world: World): SenderEndpoint[] =>
  world.left.links.filter(link => link.role === 'sender' && !model.ending.left.has(link)) as SenderEndpoint[]

/** What the owner of a sender does when it hears that the link is over, or what the link was on. */
function giveUp(model: Model, sender: SenderEndpoint): void {
  if (model.over.has(sender)) return
  model.over.add(sender)
  const left = new Set([...sender.abandoned.splice(0), ...sender.queue, ...sender.unsettled()])
  for (const { delivery, fates } of model.sent) if (left.has(delivery) && fates[0] !== 'aborted') fates.push('lost')
}

const ids = (ring: Iterable<{ deliveryId: number }>, from: number): number[] =>
  [...ring].map(({ deliveryId }) => serialDistance(deliveryId, from)).sort((a, b) => a - b)

function always(model: Readonly<Model>, world: World): void {
  const open = new Set<number>()
  for (const { delivery, fates, id } of model.sent) {
    expect(fates.length).toBeLessThanOrEqual(1)
    const { deliveryId } = delivery
    if (fates[0]?.startsWith('outcome') && !delivery.settled)
      expect(fates).toEqual([`outcome ${model.arrived.get(id)?.decided}`])
    if (deliveryId < 0 || delivery.settled || (fates.length > 0 && !delivery.aborted)) continue
    if (fates[0] === 'aborted' && model.session.outgoing.get(deliveryId) === undefined) continue
    // Framed and unsettled: it is remembered under its id, and no other is.
    expect(open.has(deliveryId)).toBe(false)
    open.add(deliveryId)
    expect(model.session.outgoing.get(deliveryId)).toBe(delivery)
  }
  for (const end of world.ends) expect(end.protocolErrors).toEqual([])
}

function atRest(model: Readonly<Model>): void {
  const { session, answer } = model
  const from = session.window.initialOutgoingId
  expect(ids(session.outgoing, from)).toEqual(ids(answer.incoming, from))
  expect(answer.incoming.count).toBe(session.outgoing.count)
  for (const { delivery, decided, settled } of model.arrived.values()) {
    const { link } = delivery
    if (link.hasEnded || decided === undefined || link.rcvSettleMode === 'first') continue
    // In mode second the sender has the last word, and says it once.
    expect([delivery.remoteSettled, delivery.localSettled, settled <= 1]).toEqual([true, true, true])
  }
}

const step = (name: string, run: (model: Model, world: World) => void): fc.Command<Model, World> =>
  command(name, (model, world) => {
    run(model, world)
    for (const end of world.ends) world.hear(end)
    always(model, world)
  })

const size = fc.oneof(fc.integer({ min: 4, max: 30 }), fc.integer({ min: 400, max: 6000 }))
const send = fc.tuple(fc.nat(3), size, fc.boolean()).map(([index, size, flag]) =>
  step(`send ${size} on ${index} ${flag}`, (model, world) => {
    const all = senders(model, world).filter(sender => sender.isAttached && sender.session.maySend)
    const sender = all[index % (all.length || 1)]
    if (!sender) return
    const settled = sender.sndSettleMode === 'mixed' ? flag : sender.sndSettleMode === 'settled'
    const id = model.sent.length
    const payload = new Uint8Array(size).fill(id)
    new DataView(payload.buffer).setUint32(0, id)
    model.sent.push({ id, size, delivery: sender.transfer(payload, { settled }), fates: [] })
  }),
)
const abort = fc.nat(7).map(back =>
  step(`abort the last but ${back}`, model => {
    const entry = model.sent.at(-1 - back)
    if (!entry || entry.fates.length > 0) return
    const what = entry.delivery.link.abort(entry.delivery)
    if (what !== 'sent') entry.fates.push(what)
  }),
)
const decide = fc.tuple(fc.nat(7), fc.constantFrom(...OUTCOMES)).map(([index, state]) =>
  step(`${state.type} ${index}`, model => {
    const open = [...model.arrived.values()].filter(({ decided }) => decided === undefined)
    const entry = open[index % (open.length || 1)]
    if (!entry) return
    entry.decided = state.type
    entry.delivery.link.disposition(entry.delivery, state)
  }),
)
const attach = fc
  .tuple(fc.constantFrom('mixed' as const, 'unsettled' as const, 'settled' as const), fc.boolean())
  .map(([sndSettleMode, second]) =>
    step(`attach ${sndSettleMode} ${second}`, (model, world) => {
      if (!model.session.maySend || senders(model, world).length >= 4) return
      const sender = model.session.sender(`l${model.names++}`)
      sender.attach({ source: {}, target: {}, sndSettleMode, rcvSettleMode: second ? 'second' : 'first' })
      world.left.links.push(sender)
    }),
  )
const leave = fc.tuple(side, fc.nat(3), fc.constantFrom('detach', 'close', 'fail')).map(([by, index, how]) =>
  step(`${by} ${how} ${index}`, (model, world) => {
    const { links } = world.end(by)
    const all = links.filter(link => link.isAttached && link.session.maySend && !model.ending[by].has(link))
    const link = all[index % (all.length || 1)]
    if (!link) return
    model.ending[by].add(link)
    if (how === 'detach') link.detach()
    else link.close(how === 'fail' ? ERROR : undefined)
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
const times = <T>(count: number, item: T): T[] => Array<T>(count).fill(item)
const commands = fc.commands<Model, World>(
  [...times(6, send), ...times(6, decide), ...times(5, writes), ...times(5, hears), abort, abort, attach, leave, rest],
  { maxCommands: 100, size: 'max' },
)

/** How it all ends: by whom, and what. */
const ending = fc.tuple(side, fc.constantFrom('links', 'session', 'session with an error', 'connection'))

function owner(model: Model): World['owner'] {
  return {
    onDelivery(_end, delivery) {
      const bytes = Buffer.concat(delivery.chunks)
      const id = bytes.readUInt32BE(0)
      const entry = model.sent[id] as Sent
      expect(model.arrived.has(id)).toBe(false)
      expect([bytes.length, bytes.at(-1), entry.fates[0]]).not.toContain('aborted')
      expect(bytes.length).toBe(entry.size)
      expect(delivery.deliveryId).toBe(entry.delivery.deliveryId)
      model.arrived.set(id, { delivery, decided: undefined, settled: 0 })
      delivery.link.consumed()
    },
    onOutcome(_end, delivery) {
      const entry = model.sent.find(sent => sent.delivery === delivery) as Sent
      entry.fates.push(`outcome ${delivery.remoteState?.type}`)
    },
    onEvent(end, event) {
      if (event.type === 'link.attached' && event.link.role === 'receiver' && event.link.state === 'ATTACH_RCVD') {
        event.link.useWindow(1000)
        if (event.link.session.maySend) event.link.attach({ source: {}, target: {} })
      }
      if (event.type === 'delivery.settled')
        for (const arrived of model.arrived.values()) if (arrived.delivery === event.delivery) arrived.settled++
      if (end.side === 'right') return
      const isWide = event.type === 'session.ended' || event.type === 'connection.closed'
      for (const link of end.links)
        if (link.role === 'sender' && (isWide || (event.type === 'link.detached' && event.link === link)))
          giveUp(model, link)
    },
  }
}

/** Ends what the last step says, and looks at what is left. */
function conclude(model: Model, world: World, end: End, what: string): void {
  if (what === 'links') {
    for (const entry of model.arrived.values()) {
      if (entry.decided !== undefined) continue
      entry.decided = 'accepted'
      entry.delivery.link.disposition(entry.delivery, ACCEPTED)
    }
    world.rest()
    for (const entry of model.arrived.values()) {
      if (entry.decided !== undefined) continue
      entry.decided = 'accepted'
      entry.delivery.link.disposition(entry.delivery, ACCEPTED)
    }
    world.rest()
    atRest(model)
    // All that was sent has come, all that came was decided: nobody remembers anything, though the links live on.
    expect([model.session.outgoing.count, model.answer.incoming.count]).toEqual([0, 0])
    for (const link of end.links) if (link.isAttached) link.close()
    world.rest()
  } else if (what !== 'connection') {
    const session = end === world.left ? model.session : model.answer
    session.end(what === 'session' ? undefined : ERROR)
    world.rest()
    expect([model.session.state, model.answer.state]).toEqual(['ENDED', 'ENDED'])
  }
  world.finish()
  always(model, world)
  for (const { fates } of model.sent) expect(fates).toHaveLength(1)
}

/** Fates that were met with, over all runs. */
const met = new Set<string>()

test(
  '§2.6.12 each delivery settles once, as was decided, under an id of its own; and nothing is left',
  patience,
  () => {
    fc.assert(
      fc.property(serial, fc.integer(), ending, commands, (nextOutgoingId, seed, [by, what], steps) => {
        const world = new World({ seed })
        const [session, answer] = world.session({ nextOutgoingId }, {}, { maxFrameSize: 512 })
        const model: Model = {
          session,
          answer,
          sent: [],
          arrived: new Map(),
          ending: { left: new Set(), right: new Set() },
          over: new Set(),
          names: 0,
        }
        world.owner = owner(model)
        for (const rcvSettleMode of ['first', 'second'] as const) {
          const sender = session.sender(rcvSettleMode)
          sender.attach({ source: {}, target: {}, rcvSettleMode })
          world.left.links.push(sender)
        }
        world.rest()
        fc.modelRun(() => ({ model, real: world }), steps)
        conclude(model, world, world.end(by), what)
        for (const { fates } of model.sent) for (const fate of fates) met.add(fate)
      }),
      runs(180),
    )
    for (const { type } of OUTCOMES) expect([...met]).toContain(`outcome ${type}`)
    for (const fate of ['outcome undefined', 'lost', 'removed', 'aborted']) expect([...met]).toContain(fate)
  },
)
