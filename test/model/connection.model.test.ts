/**
 * Connections, sessions and links that two honest owners open, answer, refuse, end and close in any order, pipelined
 * or not, with bytes that arrive when and in whatever pieces they like, time that passes, and transports that break.
 * Nobody ever breaks the protocol, every end is told once, and both ends can always still close. §2.4 §2.5 §2.6.3–6
 */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { connectionTransitions } from '../../src/engine/connection-states.ts'
import { linkTransitions } from '../../src/engine/link-states.ts'
import type { SessionEndpoint } from '../../src/engine/session-endpoint.ts'
import { sessionTransitions } from '../../src/engine/session-states.ts'
import { attempt, command, type End, type LinkEnd, patience, runs, type Side, side, World, width } from './world.ts'

/** What the owners have done, as far as no state tells it. */
interface Model {
  readonly opened: Set<Side>
  readonly closed: Set<Side>
  /** Sessions and links whose end has been asked for. */
  readonly ending: Set<SessionEndpoint | LinkEnd>
  /** Links that we will begin: a name is used once. */
  links: number
}

type Step = (model: Model, end: End, world: World) => void

const ERROR = { type: 'error', condition: 'amqp:internal-error', description: 'because' } as const

/** States that were come by, over all runs, and how often: a model that never gets anywhere tests nothing. */
const seen = new Map<string, number>()

function look(world: World): void {
  const note = (state: string): unknown => seen.set(state, (seen.get(state) ?? 0) + 1)
  for (const { engine, sessions, links, protocolErrors } of world.ends) {
    expect(protocolErrors).toEqual([])
    note(`connection ${engine.connection.state}`)
    for (const { state } of sessions) note(`session ${state}`)
    for (const { state } of links) note(`link ${state}`)
  }
}

const on = (name: string, by: Side, step: Step): fc.Command<Model, World> =>
  command(`${by} ${name}`, (model, world) => {
    step(model, world.end(by), world)
    world.hear(world.end(by))
    look(world)
  })

const pick = <T>(from: readonly T[], index: number): T | undefined => from[index % (from.length || 1)]

const withSession =
  (index: number, step: (session: SessionEndpoint, model: Model) => void): Step =>
  (model, end) => {
    const session = pick(end.sessions, index)
    if (session) step(session, model)
  }

const withLink =
  (index: number, step: (link: LinkEnd, model: Model) => void): Step =>
  (model, end) => {
    const link = pick(end.links, index)
    if (link) step(link, model)
  }

const mayBegin = ({ state, connection, initiated }: SessionEndpoint): boolean =>
  'S:BEGIN' in sessionTransitions[state] && !connection.hasEnded && (initiated === 'remote' || !connection.isClosing)
const mayAttach = (link: LinkEnd): boolean => 'S:ATTACH' in linkTransitions[link.state] && link.session.maySend

const steps: Record<string, (index: number, flag: boolean) => Step> = {
  open: () => (model, end) => {
    const { connection } = end.engine
    // When the peer's close comes before our open, the engine opens by itself, to answer it. D-011
    const opened = model.opened.has(end.side) || connection.localOpen !== undefined
    if (connection.hasEnded) return
    attempt(!opened, () => connection.open({ containerId: end.side, idleTimeOut: 5000 }))
    model.opened.add(end.side)
  },
  close: (_, isError) => (model, end) => {
    const { connection } = end.engine
    const legal = connection.localOpen !== undefined && !connection.hasEnded && !model.closed.has(end.side)
    attempt(legal, () => connection.close(isError ? ERROR : undefined))
    if (legal) model.closed.add(end.side)
  },
  session: () => (_, end) => {
    if (end.sessions.length >= 6) return
    const session = end.engine.connection.session()
    attempt(mayBegin(session), () => session.begin())
    if (session.state !== 'UNMAPPED') end.sessions.push(session)
  },
  begin: index => withSession(index, session => attempt(mayBegin(session), () => session.begin())),
  end: (index, isError) =>
    withSession(index, (session, model) => {
      const { state, connection } = session
      const legal = 'S:END' in sessionTransitions[state] && !model.ending.has(session) && !connection.hasEnded
      attempt(legal, () => session.end(isError ? ERROR : undefined))
      if (legal) model.ending.add(session)
    }),
  link: (index, sends) => (model, end) => {
    const session = pick(end.sessions, index)
    if (!session?.maySend || end.links.length >= 8) return
    const name = `${end.side} ${model.links++}`
    const link = sends ? session.sender(name) : session.receiver(name)
    if (link.role === 'receiver') link.useWindow(3)
    link.attach({ source: {}, target: {} })
    end.links.push(link)
  },
  attach: index => withLink(index, link => attempt(mayAttach(link), () => link.attach({ source: {}, target: {} }))),
  refuse: index =>
    withLink(index, (link, model) => {
      if (link.initiated === 'local' || !mayAttach(link)) return
      link.refuse(ERROR)
      model.ending.add(link)
    }),
  detach: (index, isClose) =>
    withLink(index, (link, model) => {
      const legal = 'S:DETACH' in linkTransitions[link.state] && link.session.maySend && !model.ending.has(link)
      if (link.hasEnded) return
      attempt(legal, () => (isClose ? link.close() : link.detach()))
      if (legal) model.ending.add(link)
    }),
  fail: index =>
    withLink(index, (link, model) => {
      if (!link.isAttached || !link.session.maySend) return
      link.close(ERROR)
      model.ending.add(link)
    }),
  transfer: (index, isLarge) =>
    withLink(index, link => {
      if (link.role === 'sender')
        attempt(link.isAttached && link.session.maySend, () => link.transfer(new Uint8Array(isLarge ? 9000 : 3)))
    }),
  credit: (index, drain) =>
    withLink(index, link => {
      if (link.role !== 'receiver' || link.session.connection.hasEnded || link.hasEnded) return
      if (drain) link.drain()
      else link.consumed()
    }),
}

const verbs = fc
  .tuple(fc.constantFrom(...Object.keys(steps).filter(name => name !== 'close')), side, fc.nat(7), fc.boolean())
  .map(([name, by, index, flag]) =>
    on(`${name} ${index} ${flag}`, by, (steps[name] as (typeof steps)[string])(index, flag)),
  )
/** Without these nothing comes about: they are as frequent as all others together. */
const beginnings = fc
  .tuple(fc.constantFrom('open', 'session', 'begin', 'link', 'attach', 'transfer'), side, fc.nat(7), fc.boolean())
  .map(([name, by, index, flag]) =>
    on(`${name} ${index} ${flag}`, by, (steps[name] as (typeof steps)[string])(index, flag)),
  )
const moves = fc.oneof(
  fc.tuple(side, width).map(([by, n]) => on(`writes ${n}`, by, (_, end, world) => world.flush(end.side, n))),
  fc.tuple(side, width).map(([by, n]) => on(`hears ${n}`, by, (_, end, world) => world.arrive(end.side, n))),
)
const rest = fc.constant(on('rest', 'left', (_, __, world) => world.rest()))
const time = fc.integer({ min: 0, max: 1500 }).map(ms => on(`pass ${ms}`, 'left', (_, __, world) => world.pass(ms)))
/** After these nothing of interest comes: they are rare. */
const endings = fc.tuple(fc.nat(3), side, fc.boolean()).map(([how, by, isError]) => {
  if (how === 0) return on('break', by, (_, __, world) => world.break())
  return on(`close ${isError}`, by, steps.close?.(0, isError) as Step)
})

const times = <T>(count: number, item: T): T[] => Array<T>(count).fill(item)
const commands = fc.commands<Model, World>(
  [...times(16, verbs), ...times(12, beginnings), ...times(20, moves), ...times(4, rest), time, endings],
  { maxCommands: 80, size: 'max' },
)

/** How far the two have come before the commands begin. */
const start = fc.constantFrom('nothing', 'sasl', 'header', 'open', 'session', 'links')

test('§2.4 §2.5 §2.6 whatever two ends do: no fault, one end each, and both can still close', patience, () => {
  fc.assert(
    fc.property(start, fc.integer(), commands, (from, seed, steps) => {
      const world = new World(
        from === 'sasl'
          ? { left: { sasl: 'client' }, right: { sasl: 'server', mechanisms: ['ANONYMOUS'] }, seed }
          : { seed },
      )
      world.owner = {
        onEvent(end, event) {
          if (event.type === 'sasl.mechanisms') end.engine.sasl?.init('ANONYMOUS', undefined, undefined)
          if (event.type === 'sasl.init') end.engine.sasl?.outcome('ok')
          if (event.type === 'link.attached' && event.link.state === 'ATTACH_RCVD' && event.link.role === 'receiver')
            event.link.useWindow(3)
        },
        onDelivery: (_end, delivery) => delivery.link.consumed(),
      }
      const model: Model = { opened: new Set(), closed: new Set(), ending: new Set(), links: 0 }
      if (from === 'header') {
        world.left.engine.connection.open({ containerId: 'left' })
        model.opened.add('left')
        world.rest()
      }
      if (from === 'open' || from === 'session' || from === 'links') {
        for (const end of world.ends) end.engine.connection.open({ containerId: end.side, idleTimeOut: 5000 })
        model.opened.add('left').add('right')
        world.rest()
      }
      if (from === 'session' || from === 'links') {
        const session = world.left.engine.connection.session()
        session.begin()
        world.left.sessions.push(session)
        world.rest()
        world.right.sessions[0]?.begin()
      }
      if (from === 'links')
        for (const end of world.ends) {
          const link = end.sessions[0]?.sender(`first of ${end.side}`) as LinkEnd
          link.attach({ source: {}, target: {} })
          end.links.push(link)
          world.rest()
          world.peer(end).links.at(-1)?.attach({ source: {}, target: {} })
          world.rest()
        }
      fc.modelRun(() => ({ model, real: world }), steps)
      world.finish()
      look(world)
    }),
    runs(800),
  )
  const missed = [...reachable('connection', connectionTransitions), ...reachable('session', sessionTransitions)]
    .concat(reachable('link', linkTransitions))
    .filter(state => !seen.has(state) && !NEVER.has(state))
  expect(missed).toEqual([])
})

const reachable = (machine: string, table: object): string[] => Object.keys(table).map(state => `${machine} ${state}`)

/** States in which no endpoint of ours rests, and why. */
const NEVER: ReadonlySet<string> = new Set([
  // We open when the peer's header has come.
  'connection OPEN_PIPE',
  'connection OC_PIPE',
  // Answered with the header in the same breath.
  'connection HDR_RCVD',
  // Answered at once.
  'connection CLOSE_RCVD',
  'session END_RCVD',
  // Not kept by the owners before the first verb.
  'session UNMAPPED',
  'link UNATTACHED',
])
