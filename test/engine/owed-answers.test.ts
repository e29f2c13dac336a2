/**
 * Answers that the engine owes where its owner has not given them, and frames that are written before their time: in
 * whatever way the peer hastens, nothing throws, and what is written keeps its order. §2.4.7 §2.5.1 §2.6.3 §2.6.7
 */

import { expect, test } from 'vitest'
import { Engine } from '../../src/engine/engine.ts'
import type { EngineEvent } from '../../src/engine/events.ts'
import { UsageError } from '../../src/errors.ts'
import { attach, begin, close, detach, end, flow, open } from '../peer/composites.ts'
import { amqpHeader, concat, frame } from '../peer/wire.ts'
import { expectEvent, hear, Pair } from '../support/pair.ts'

const newBegin = begin({ nextOutgoingId: 0, incomingWindow: 100, outgoingWindow: 100 })
const theirAttach = (handle: number, name: string, role = 'receiver') =>
  attach({ name, handle, role, source: {}, target: {}, initialDeliveryCount: role === 'sender' ? 0 : undefined })

function opened(theirs = {}): Engine {
  const engine = new Engine({ trace: true })
  engine.connection.open({ containerId: 'us' })
  engine.receive(concat(amqpHeader, frame(0, open({ containerId: 'peer', ...theirs }))), 0)
  engine.output(1 << 20, 0)
  hear(engine)
  return engine
}

function begun(theirs = {}, theirBegin = newBegin): Engine {
  const engine = opened(theirs)
  engine.receive(frame(0, theirBegin), 0)
  expectEvent(hear(engine), 'session.begun').session.begin()
  engine.output(1 << 20, 0)
  hear(engine)
  return engine
}

/** The frames that were written, by name. */
const written = (engine: Engine): string[] => {
  engine.output(1 << 20, 0)
  return framesOut(hear(engine).events)
}
const framesOut = (events: EngineEvent[]): string[] =>
  events.flatMap(event =>
    event.type === 'frame' && event.direction === 'out' ? [(event.body as { type: string }).type] : [],
  )

test('§2.5.1 begin and end from a peer that leaves us no channel for the answer', () => {
  const engine = begun({ channelMax: 0 })
  engine.receive(concat(frame(1, newBegin), frame(1, end())), 0)
  expect(expectEvent(hear(engine), 'connection.closed').error).toMatchObject({
    code: 'ERR_AMQP_PROTOCOL',
    condition: 'amqp:not-allowed',
  })
})

test('§2.5.4 an error on a session that we have no channel to answer', () => {
  const engine = begun({ channelMax: 0 })
  engine.receive(concat(frame(1, newBegin), frame(1, detach({ handle: 9 }))), 0)
  expect(expectEvent(hear(engine), 'connection.closed').error?.condition).toBe('amqp:not-allowed')
})

test('§2.6.3 attach and detach from a peer that leaves us no handle for the answer', () => {
  const engine = begun({}, begin({ nextOutgoingId: 0, incomingWindow: 100, outgoingWindow: 100, handleMax: 0 }))
  engine.receive(frame(0, theirAttach(0, 'a')), 0)
  expectEvent(hear(engine), 'link.attached').link.attach({})
  engine.receive(concat(frame(0, theirAttach(1, 'b')), frame(0, detach({ handle: 1, closed: true }))), 0)
  expect(expectEvent(hear(engine), 'session.ended').error?.condition).toBe('amqp:not-allowed')
  expect(engine.connection.state).toBe('OPENED')
})

test('§2.6.3 a name that does not fit in the peer’s own frames', () => {
  const name = 'n'.repeat(2000)
  const engine = begun({ maxFrameSize: 512 })
  engine.receive(concat(frame(0, theirAttach(0, name)), frame(0, detach({ handle: 0, closed: true }))), 0)
  expect(expectEvent(hear(engine), 'session.ended').error?.condition).toBe('amqp:not-allowed')
})

test.each(['n'.repeat(2000), '€'.repeat(1000), '🐟'.repeat(1000)])(
  '§2.8.14 what we say of a link with a long name fits in the smallest frame: %.3s…',
  name => {
    const engine = begun({ maxFrameSize: 512 })
    const session = { name, handle: 0, role: 'sender', source: {}, target: {} }
    // No initial-delivery-count: an error of the session, whose description names the link.
    engine.receive(frame(0, attach(session)), 0)
    const error = expectEvent(hear(engine), 'session.ended').error
    expect(error?.condition).toBe('amqp:invalid-field')
    expect(error?.message).toContain(name.slice(0, 10))
    const bytes = engine.output(1 << 20, 0).reduce((sum, chunk) => sum + chunk.length, 0)
    expect(bytes).toBeGreaterThan(0)
    expect(bytes).toBeLessThanOrEqual(512)
  },
)

test.each([
  ['when it is asked for', false],
  ['behind an error of the peer’s', true],
])('§2.7.1 an open of ours that is larger than what the peer takes, %s: the connection is over', (_when, fault) => {
  const engine = new Engine()
  engine.connection.open({ containerId: 'c'.repeat(600) })
  const theirOpen = frame(0, open({ containerId: 'peer', maxFrameSize: 512 }))
  engine.receive(concat(amqpHeader, theirOpen, ...(fault ? [theirOpen] : [])), 0)
  engine.output(1 << 20, 0)
  const { events } = hear(engine)
  expect(events.filter(({ type }) => type === 'connection.closed')).toHaveLength(1)
  expect(engine.isDone).toBe(true)
  expect(engine.output(1 << 20, 0)).toEqual([])
})

test('§2.4.7 what is written before the open stays in front of what is written after', () => {
  const engine = new Engine({ trace: true })
  engine.connection.open({ containerId: 'us' })
  engine.receive(amqpHeader, 0)
  expect(written(engine).filter(name => name !== undefined)).toEqual(['open'])
  const session = engine.connection.session()
  session.begin()
  // The peer's open arrives, and nothing is asked for before the owner goes on.
  engine.receive(frame(0, open({ containerId: 'peer' })), 0)
  session.sender('l').attach({ source: {}, target: {} })
  expect(written(engine)).toEqual(['begin', 'attach'])
})

test('§2.4.6 behind our close an error is told to the owner, and what follows is discarded', () => {
  const engine = begun()
  engine.connection.close()
  expect(written(engine)).toEqual(['close'])
  engine.receive(frame(7, detach({ handle: 0 })), 0)
  expect(expectEvent(hear(engine), 'connection.closed').error?.condition).toBe('amqp:connection:framing-error')
  engine.receive(concat(frame(1, newBegin), frame(0, close())), 0)
  expect(hear(engine).events.filter(({ type }) => type !== 'frame')).toEqual([])
  expect(engine.isDone).toBe(true)
})

test('§2.5.1 a begin is answered in front of a close that waits', () => {
  const engine = begun()
  engine.receive(frame(0, theirAttach(0, 'l')), 0)
  const { link } = expectEvent(hear(engine), 'link.attached')
  link.attach({})
  if (link.role === 'sender') link.transfer(Uint8Array.of(1))
  engine.connection.close()
  expect(written(engine)).toEqual(['attach'])
  engine.receive(concat(frame(1, newBegin), frame(1, end())), 0)
  const { events } = hear(engine)
  expect(events.filter(({ type }) => type === 'protocol.error')).toEqual([])
  expect(framesOut(events).concat(written(engine))).toEqual(['begin', 'end'])
  // One of our own would come too late.
  expect(() => engine.connection.session().begin()).toThrow(UsageError)
})

test('§2.6.7 credit and a drain that the peer asks for in front of our attach', () => {
  const engine = begun()
  const window = { nextIncomingId: 0, incomingWindow: 100, nextOutgoingId: 0, outgoingWindow: 100 }
  const drain = flow({ ...window, handle: 0, linkCredit: 5, drain: true })
  engine.receive(concat(frame(0, theirAttach(0, 'l')), frame(0, drain)), 0)
  const { link } = expectEvent(hear(engine), 'link.attached')
  expect(written(engine)).toEqual([])
  link.attach({ initialDeliveryCount: 0xfffffffe })
  expect(written(engine)).toEqual(['attach', 'flow'])
  expect(link.credit).toMatchObject({ deliveryCount: 3, linkCredit: 0 })
})

test('§2.8.2 §2.8.3 an answer that says nothing of the modes keeps what the peer has asked for', () => {
  const pair = new Pair()
  pair.left.connection.open({ containerId: 'left' })
  pair.right.connection.open({ containerId: 'right' })
  const session = pair.left.connection.session()
  session.begin()
  const sender = session.sender('l')
  sender.attach({ source: {}, target: {}, sndSettleMode: 'unsettled', rcvSettleMode: 'second' })
  pair.drive()
  const heard = hear(pair.right)
  expectEvent(heard, 'session.begun').session.begin()
  const { link } = expectEvent(heard, 'link.attached')
  link.attach({ source: {}, target: {} })
  pair.drive()
  const { attach } = expectEvent(hear(pair.left), 'link.attached')
  expect([attach.sndSettleMode, attach.rcvSettleMode]).toEqual(['unsettled', 'second'])
  expect([sender.rcvSettleMode, link.rcvSettleMode]).toEqual(['second', 'second'])
})

test('§2.6.3 16,000 links that are refused at once cost each the same', () => {
  const engine = begun({ maxFrameSize: 65_536 })
  const count = 16_000
  engine.receive(concat(...Array.from({ length: count }, (_, i) => frame(0, theirAttach(i, `l${i}`)))), 0)
  const { events } = hear(engine)
  const links = events.flatMap(event => (event.type === 'link.attached' ? [event.link] : []))
  expect(links).toHaveLength(count)
  const refusing = (from: number, to: number): number => {
    const started = process.cpuUsage()
    for (const link of links.slice(from, to)) link.refuse({ type: 'error', condition: 'amqp:not-found' })
    const { user, system } = process.cpuUsage(started)
    return user + system
  }
  refusing(0, 1000)
  const early = refusing(1000, 2000)
  refusing(2000, 15_000)
  expect(refusing(15_000, count)).toBeLessThan(Math.max(2 * early, 100_000))
  expect(written(engine).filter(name => name === 'detach')).toHaveLength(count)
})
