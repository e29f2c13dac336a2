/** Complete deliveries that nobody takes: what is counted, whose window stays shut, and when a link ends. §2.5.6 §2.6.7 */

import { expect, test } from 'vitest'
import { Engine } from '../../src/engine/engine.ts'
import { type IncomingDelivery, PIECE } from '../../src/engine/incoming-delivery.ts'
import type { Limits } from '../../src/engine/limits.ts'
import type { SessionEndpoint } from '../../src/engine/session-endpoint.ts'
import { attach, begin, open, read, transfer } from '../peer/composites.ts'
import { amqpHeader, concat, frame, parseFrames } from '../peer/wire.ts'
import { hear } from '../support/pair.ts'

/** An engine with two sessions of a window of 4 frames and a receiver on each, with credit for 100. */
function receiving(limits: Partial<Limits>): { engine: Engine; sessions: SessionEndpoint[] } {
  const engine = new Engine({ limits })
  const sessions: SessionEndpoint[] = []
  engine.connection.open({ containerId: 'us' })
  engine.receive(concat(amqpHeader, frame(0, open({ containerId: 'peer' }))), 0)
  for (const channel of [0, 1]) {
    engine.receive(frame(channel, begin({ nextOutgoingId: 0, incomingWindow: 1000, outgoingWindow: 1000 })), 0)
    const from = { name: `l${channel}`, handle: 0, role: 'sender', initialDeliveryCount: 0, source: {}, target: {} }
    for (const event of hear(engine).events)
      if (event.type === 'session.begun') {
        event.session.begin({ incomingWindow: 4 })
        sessions.push(event.session)
      }
    engine.receive(frame(channel, attach(from)), 0)
    for (const event of hear(engine).events)
      if (event.type === 'link.attached' && event.link.role === 'receiver') {
        event.link.useWindow(100)
        event.link.attach({ source: {}, target: {} })
      }
  }
  engine.output(1 << 20, 0)
  return { engine, sessions }
}

/** A message of `size` bytes in a chunk of its own, or in one with others. */
const message = (channel: number, id: number, size: number): Uint8Array =>
  frame(channel, transfer({ handle: 0, deliveryId: id, deliveryTag: Uint8Array.of(id) }), new Uint8Array(size))

function come(engine: Engine, ...messages: Uint8Array[]): IncomingDelivery[] {
  engine.receive(concat(...messages), 0)
  return hear(engine).deliveries
}

/** The windows that our flows tell, and whether a link ends. */
function told(engine: Engine): unknown[] {
  const { frames } = parseFrames(concat(...engine.output(1 << 20, 0)))
  return frames.flatMap(({ performative, channel }) => {
    const said = performative && read(performative)
    if (said?.name === 'flow') return [[channel, said.fields['incomingWindow']?.v]]
    return said?.name === 'detach' ? [[channel, 'detach']] : []
  })
}

test('the deliveries of one chunk count it once, until the last of them is taken', () => {
  const { engine } = receiving({})
  const { untaken } = engine.connection
  const chunk = concat(message(0, 0, 100), message(0, 1, 100), message(0, 2, 100))
  const [first, second, third] = come(engine, chunk) as [IncomingDelivery, IncomingDelivery, IncomingDelivery]
  for (const delivery of [first, second, third]) expect(untaken.add(delivery)).toBe(true)
  expect(untaken.bytes).toBe(chunk.length + 3 * PIECE)
  untaken.remove(second)
  untaken.remove(first)
  expect(untaken.bytes).toBe(chunk.length + PIECE)
  untaken.remove(third)
  untaken.remove(third)
  expect(untaken.bytes).toBe(0)
  expect(untaken.add(third)).toBe(true)
  expect(untaken.bytes).toBe(chunk.length + PIECE)
})

test('a message of several frames counts what it keeps alive, one without payload itself', () => {
  const { engine } = receiving({})
  const { untaken } = engine.connection
  const from = transfer({ handle: 0, deliveryId: 0, deliveryTag: Uint8Array.of(0), more: true })
  come(engine, frame(0, from, new Uint8Array(10_000)))
  const [long] = come(engine, frame(0, transfer({ handle: 0 }), new Uint8Array(50))) as [IncomingDelivery]
  untaken.add(long)
  expect(untaken.bytes).toBeGreaterThan(10_050)
  expect(untaken.bytes).toBeLessThan(11_500)
  untaken.remove(long)
  const [empty] = come(engine, message(0, 1, 0)) as [IncomingDelivery]
  untaken.add(empty)
  expect(untaken.bytes).toBe(PIECE)
})

test('above the limit a session opens its window no more, until deliveries are taken; others do', () => {
  const { engine, sessions } = receiving({ maxBufferedBytes: 3000 })
  const { untaken } = engine.connection
  const kept = [0, 1, 2].flatMap(id => come(engine, message(0, id, 1000)))
  for (const delivery of kept) expect(untaken.add(delivery)).toBe(true)
  // A flow was due before the third was added; it says what is left.
  expect(told(engine)).toEqual([[0, 1]])
  expect(come(engine, message(1, 0, 10), message(1, 1, 10))).toHaveLength(2)
  expect(told(engine)).toEqual([[1, 4]])
  come(engine, message(0, 3, 1000))
  expect(told(engine)).toEqual([])
  expect(sessions[0]?.window.incomingWindow).toBe(0)
  expect(untaken.remove(kept[0] as IncomingDelivery)).toBe(true)
  expect(told(engine)).toEqual([[0, 4]])
  expect(untaken.remove(kept[1] as IncomingDelivery)).toBe(false)
})

test('a session none of whose deliveries wait is not kept shut by another', () => {
  const { engine, sessions } = receiving({ maxBufferedBytes: 3000 })
  const { untaken } = engine.connection
  const all = [0, 1, 2].flatMap(id => come(engine, message(0, id, 1000)))
  const [other] = come(engine, message(1, 0, 10), message(1, 1, 10)) as [IncomingDelivery]
  for (const delivery of [...all, other]) untaken.add(delivery)
  expect(sessions.map(({ window }) => window.isStopped)).toEqual([true, true])
  expect(untaken.remove(other)).toBe(true)
  expect(sessions.map(({ window }) => window.isStopped)).toEqual([true, false])
})

test('what the windows allow beyond maxIncompleteBytes ends the link that it comes on', () => {
  const { engine } = receiving({ maxBufferedBytes: 2500, maxIncompleteBytes: 1000 })
  const { untaken } = engine.connection
  const all = [0, 1, 2].flatMap(id => come(engine, message(0, id, 1000)))
  expect(all.map(delivery => untaken.add(delivery))).toEqual([true, true, false])
  const { events } = hear(engine)
  expect(events.map(({ type }) => type)).toEqual(['protocol.error', 'link.detached'])
  const [fault] = events
  expect(fault?.type === 'protocol.error' && fault.error).toMatchObject({
    condition: 'amqp:resource-limit-exceeded',
    scope: 'link',
  })
})
