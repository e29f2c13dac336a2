/** What a peer, or an owner, may cost: each limit at its edge and one beyond. §2.4.1 §2.6.12 §2.6.14 §2.7.1 §2.7.2 */

import { describe, expect, test } from 'vitest'
import { ACCEPTED } from '../../src/definitions/delivery-state.ts'
import { Engine } from '../../src/engine/engine.ts'
import type { Limits } from '../../src/engine/limits.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SessionEndpoint } from '../../src/engine/session-endpoint.ts'
import { UsageError } from '../../src/errors.ts'
import { attach, begin, open, transfer } from '../peer/composites.ts'
import { amqpHeader, concat, frame, saslHeader } from '../peer/wire.ts'
import { expectEvent, hear } from '../support/pair.ts'

const newBegin = begin({ nextOutgoingId: 0, incomingWindow: 1000, outgoingWindow: 1000 })

/** An engine with an open connection on which the peer speaks. */
function opened(limits: Partial<Limits>, theirs = {}): Engine {
  const engine = new Engine({ limits })
  engine.connection.open({ containerId: 'us' })
  engine.receive(concat(amqpHeader, frame(0, open({ containerId: 'peer', ...theirs }))), 0)
  engine.output(1 << 20, 0)
  hear(engine)
  return engine
}

/** The same with a session on channel 0 and receivers with handles 0 … count − 1, with credit for 100 each. */
function receiving(limits: Partial<Limits>, count = 1): { engine: Engine; links: ReceiverEndpoint[] } {
  const engine = opened(limits)
  engine.receive(frame(0, newBegin), 0)
  expectEvent(hear(engine), 'session.begun').session.begin()
  const links: ReceiverEndpoint[] = []
  for (let handle = 0; handle < count; handle++) {
    engine.receive(
      frame(0, attach({ name: `l${handle}`, handle, role: 'sender', initialDeliveryCount: 0, source: {}, target: {} })),
      0,
    )
    const link = expectEvent(hear(engine), 'link.attached').link as ReceiverEndpoint
    link.useWindow(100)
    link.attach({ source: {}, target: {} })
    links.push(link)
  }
  engine.output(1 << 20, 0)
  return { engine, links }
}

/** A transfer of `size` bytes; the id is left out where the delivery goes on. */
const delivery = (
  handle: number,
  id: number | undefined,
  size: number,
  rest: { more?: boolean; settled?: boolean } = {},
) =>
  frame(
    0,
    transfer({ handle, deliveryId: id, deliveryTag: id === undefined ? undefined : Uint8Array.of(id), ...rest }),
    new Uint8Array(size),
  )

const faults = (engine: Engine): string[] =>
  hear(engine).events.flatMap(event =>
    event.type === 'protocol.error' ? [`${event.error.scope} ${event.error.condition}`] : [],
  )

describe('§2.6.12 maxUnsettled', () => {
  test('as many as that, and the session ends with one more', () => {
    const { engine } = receiving({ maxUnsettled: 3 })
    for (let id = 0; id < 3; id++) engine.receive(delivery(0, id, 1), 0)
    const heard = hear(engine)
    expect([heard.deliveries.length, heard.events.length]).toEqual([3, 0])
    engine.receive(delivery(0, 3, 1), 0)
    expect(faults(engine)).toEqual(['session amqp:resource-limit-exceeded'])
  })

  test('over all links of the session; settled ones do not count, and settling makes room', () => {
    const { engine, links } = receiving({ maxUnsettled: 2 }, 2)
    engine.receive(delivery(0, 0, 1), 0)
    engine.receive(delivery(1, 1, 1), 0)
    engine.receive(delivery(1, 2, 1, { settled: true }), 0)
    const { deliveries } = hear(engine)
    expect(deliveries).toHaveLength(3)
    if (deliveries[0]) links[0]?.disposition(deliveries[0], ACCEPTED)
    engine.receive(delivery(0, 3, 1), 0)
    expect(faults(engine)).toEqual([])
    engine.receive(delivery(0, 4, 1), 0)
    expect(faults(engine)).toEqual(['session amqp:resource-limit-exceeded'])
  })
})

describe('§2.6.14 maxIncompleteBytes', () => {
  test('what several links hold together; the one that goes beyond is closed, the others live', () => {
    const { engine, links } = receiving({ maxIncompleteBytes: 4400 }, 3)
    for (const handle of [0, 1, 2]) engine.receive(delivery(handle, handle, 1000, { more: true }), 0)
    const before = engine.connection.incompleteBytes
    expect(before).toBeGreaterThanOrEqual(3000)
    expect(before).toBeLessThanOrEqual(4400)
    engine.receive(delivery(1, undefined, 1000, { more: true }), 0)
    const heard = hear(engine)
    expect(expectEvent(heard, 'link.detached').link).toBe(links[1])
    expect(expectEvent(heard, 'link.detached').error?.condition).toBe('amqp:resource-limit-exceeded')
    expect(engine.connection.incompleteBytes).toBeLessThan(before)
    for (const handle of [0, 2]) engine.receive(delivery(handle, undefined, 10), 0)
    expect(hear(engine).deliveries.map(({ size }) => size)).toEqual([1010, 1010])
    expect(engine.connection.incompleteBytes).toBe(0)
  })

  test('a whole message is not counted, however large', () => {
    const { engine } = receiving({ maxIncompleteBytes: 100 })
    engine.receive(delivery(0, 0, 5000), 0)
    expect([hear(engine).deliveries.length, engine.connection.incompleteBytes]).toEqual([1, 0])
  })

  test('a small piece does not keep its chunk alive: it is copied, and counts as what it takes', () => {
    const { engine } = receiving({})
    const chunk = concat(delivery(0, 0, 20, { more: true }), frame(0, undefined, new Uint8Array(0)))
    const padded = concat(chunk, ...Array.from({ length: 1000 }, () => Uint8Array.of(0, 0, 0, 8, 2, 0, 0, 0)))
    engine.receive(padded, 0)
    expect(engine.connection.incompleteBytes).toBe(512 + 256)
    engine.receive(delivery(0, undefined, 1), 0)
    const [whole] = hear(engine).deliveries
    expect(whole?.chunks[0]?.buffer).not.toBe(padded.buffer)
    expect(whole?.size).toBe(21)
  })

  test('what is given up is given back: aborted, detached, session ended', () => {
    const { engine, links } = receiving({}, 3)
    for (const handle of [0, 1, 2]) engine.receive(delivery(handle, handle, 1000, { more: true }), 0)
    engine.receive(frame(0, transfer({ handle: 0, aborted: true })), 0)
    expect(engine.connection.incompleteBytes).toBeLessThanOrEqual(3000)
    links[1]?.close({ condition: 'amqp:internal-error' })
    expect(engine.connection.incompleteBytes).toBeLessThanOrEqual(1500)
    links[2]?.session.end({ condition: 'amqp:internal-error' })
    expect(engine.connection.incompleteBytes).toBe(0)
    expect(hear(engine).deliveries).toEqual([])
  })
})

describe('maxPendingBytes', () => {
  const sending = (limits: Partial<Limits>) => {
    const engine = opened(limits)
    engine.receive(frame(0, newBegin), 0)
    expectEvent(hear(engine), 'session.begun').session.begin()
    engine.receive(frame(0, attach({ name: 'l', handle: 0, role: 'receiver', source: {}, target: {} })), 0)
    const { link } = expectEvent(hear(engine), 'link.attached')
    link.attach({ source: {}, target: {} })
    if (link.role !== 'sender') throw new Error('no sender')
    return { engine, sender: link }
  }

  test('once so much is queued, sending is refused and changes nothing', () => {
    const { engine, sender } = sending({ maxPendingBytes: 1000 })
    sender.transfer(new Uint8Array(999))
    // One may go beyond: what is refused is more.
    const second = sender.transfer(new Uint8Array(5000))
    expect(engine.connection.pendingBytes).toBe(5999)
    expect(() => sender.transfer(Uint8Array.of(1))).toThrow(UsageError)
    expect(() => sender.beginMessage({})).toThrow(UsageError)
    expect([sender.queue.length, engine.connection.pendingBytes]).toEqual([2, 5999])
    expect(sender.abort(second)).toBe('removed')
    expect(() => sender.transfer(Uint8Array.of(1))).not.toThrow()
  })
})

describe('§2.4.1 preAuthBytes', () => {
  /** An empty frame is legal before open, and so is a long wait for it. */
  const empty = Uint8Array.of(0, 0, 0, 8, 2, 0, 0, 0)

  test('so many bytes before the open, and not one more', () => {
    const engine = new Engine({ limits: { preAuthBytes: 80 } })
    engine.connection.open({ containerId: 'us' })
    engine.receive(amqpHeader, 0)
    for (let i = 0; i < 9; i++) engine.receive(empty, 0)
    expect(hear(engine).events).toEqual([])
    engine.receive(empty, 0)
    expect(expectEvent(hear(engine), 'connection.closed').error?.condition).toBe('amqp:resource-limit-exceeded')
    expect(engine.isDone).toBe(true)
  })

  test('what follows the open is not counted', () => {
    const engine = opened({ preAuthBytes: 80 })
    for (let i = 0; i < 100; i++) engine.receive(empty, 0)
    expect(hear(engine).events).toEqual([])
    expect(engine.connection.state).toBe('OPENED')
  })

  test('it holds in the SASL layer, too', () => {
    const engine = new Engine({ sasl: 'server', mechanisms: ['PLAIN'], limits: { preAuthBytes: 80 } })
    engine.receive(saslHeader, 0)
    // A SASL frame that never ends.
    engine.receive(Uint8Array.of(0, 0, 1, 0, 2, 1, 0, 0), 0)
    expect(hear(engine).events).toEqual([])
    engine.receive(new Uint8Array(65), 0)
    expect(expectEvent(hear(engine), 'connection.closed').error?.condition).toBe('amqp:resource-limit-exceeded')
  })
})

describe('§2.7.1 maxSessions', () => {
  test('is announced as channel-max, also where open asks for more', () => {
    const engine = new Engine({ limits: { maxSessions: 2 } })
    engine.connection.open({ containerId: 'us', channelMax: 100 })
    expect(engine.connection.localOpen?.channelMax).toBe(1)
  })

  test('the peer’s sessions: as many as that, again when one has ended, and never above channel-max', () => {
    const engine = opened({ maxSessions: 2 })
    const sessions: SessionEndpoint[] = []
    for (const channel of [0, 1]) {
      engine.receive(frame(channel, newBegin), 0)
      const { session } = expectEvent(hear(engine), 'session.begun')
      session.begin()
      sessions.push(session)
    }
    expect(sessions.map(({ channel }) => channel)).toEqual([0, 1])
    expect(() => engine.connection.session().begin()).toThrow(UsageError)
    engine.receive(frame(2, newBegin), 0)
    expect(faults(engine)).toEqual(['connection amqp:connection:framing-error'])
  })
})

describe('§2.7.2 maxLinks', () => {
  test('is announced as handle-max, and enforced', () => {
    const { engine, links } = receiving({ maxLinks: 2 }, 2)
    expect(links).toHaveLength(2)
    engine.receive(
      frame(0, attach({ name: 'l2', handle: 2, role: 'sender', initialDeliveryCount: 0, source: {}, target: {} })),
      0,
    )
    expect(faults(engine)).toEqual(['connection amqp:connection:framing-error'])
  })

  test('what begin asks for may lower it', () => {
    const engine = opened({ maxLinks: 10 })
    engine.receive(frame(0, newBegin), 0)
    expectEvent(hear(engine), 'session.begun').session.begin({ handleMax: 0 })
    engine.receive(frame(0, attach({ name: 'l1', handle: 1, role: 'receiver', source: {}, target: {} })), 0)
    expect(faults(engine)).toEqual(['connection amqp:connection:framing-error'])
  })
})
