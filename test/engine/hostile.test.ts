/** What a peer may send to do harm, and what comes of it: each was a way to crash, hang or exhaust an end once. */

import { describe, expect, test } from 'vitest'
import { ACCEPTED } from '../../src/definitions/delivery-state.ts'
import { Engine } from '../../src/engine/engine.ts'
import { UnsettledRing } from '../../src/engine/unsettled.ts'
import { DecodeError, UsageError } from '../../src/errors.ts'
import { decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import * as peer from '../peer/composites.ts'
import { frame, fromHex } from '../peer/wire.ts'
import { expectEvent, hear, Pair } from '../support/pair.ts'

describe('§2.6.12 the ring of unsettled deliveries', () => {
  test('gaps far wider than the ring neither hang nor mix deliveries up', () => {
    for (const start of [0, 0xffffff00]) {
      const ring = new UnsettledRing<number>()
      const model = new Map<number, number>()
      let id = start
      let seed = 7
      for (let i = 0; i < 3000; i++) {
        seed = (seed * 1103515245 + 12345) & 0x7fffffff
        id = (id + (seed % 97 === 0 ? 100_000 : 1 + (seed % 40))) >>> 0
        ring.add(id, id)
        model.set(id, id)
        if (seed % 3 === 0) {
          const keys = [...model.keys()]
          const victim = keys[seed % keys.length] as number
          expect(ring.delete(victim)).toBe(true)
          model.delete(victim)
        }
        expect(ring.count).toBe(model.size)
      }
      expect([...ring].sort()).toEqual([...model.keys()].sort())
      for (const key of model.keys()) {
        expect(ring.get(key)).toBe(key)
        expect(ring.get((key + 1) >>> 0)).toBe(model.get((key + 1) >>> 0))
      }
      const visited: number[] = []
      const first = [...model.keys()][0] as number
      ring.range(first, id, delivery => void visited.push(delivery))
      expect(visited.sort()).toEqual([...model.keys()].sort())
    }
  })

  test('settled and unsettled sends on one session: every outcome comes', () => {
    const pair = new Pair()
    pair.left.connection.open({ containerId: 'l' })
    pair.right.connection.open({ containerId: 'r' })
    const session = pair.left.connection.session()
    session.begin()
    const sender = session.sender('s')
    sender.attach({ source: {}, target: {} })
    pair.drive()
    const heard = hear(pair.right)
    expectEvent(heard, 'session.begun').session.begin({ incomingWindow: 10_000 })
    const { link } = expectEvent(heard, 'link.attached')
    if (link.role === 'receiver') link.useWindow(5000)
    link.attach({ source: {}, target: {} })
    pair.drive()
    hear(pair.left)
    let unsettled = 0
    for (let i = 0; i < 2000; i++) {
      const settled = i % 67 !== 0
      if (!settled) unsettled++
      sender.transfer(Uint8Array.of(i), { settled })
    }
    pair.drive()
    for (const delivery of hear(pair.right).deliveries)
      if (!delivery.remoteSettled) delivery.link.disposition(delivery, ACCEPTED)
    pair.drive()
    expect(hear(pair.left).outcomes.filter(outcome => !outcome.settled)).toHaveLength(unsettled)
    expect(session.outgoing.count).toBe(0)
  })
})

/** An end that has attached a sender to a scripted peer. */
function sending(attach: peer.Fields = {}): { engine: Engine; feed: (bytes: Uint8Array) => void } {
  const engine = new Engine()
  engine.connection.open({ containerId: 'us' })
  const feed = (bytes: Uint8Array) => {
    engine.receive(bytes, 0)
    engine.output(1 << 20, 0)
  }
  engine.output(1 << 20, 0)
  feed(fromHex('414d515000010000'))
  feed(frame(0, peer.open({ containerId: 'p', maxFrameSize: 512 })))
  const session = engine.connection.session()
  session.begin()
  engine.output(1 << 20, 0)
  feed(frame(0, peer.begin({ remoteChannel: 0, nextOutgoingId: 0, incomingWindow: 100, outgoingWindow: 100 })))
  const sender = session.sender('s')
  sender.attach({ source: {}, target: {} })
  engine.output(1 << 20, 0)
  feed(
    frame(
      0,
      peer.attach({ name: 's', handle: 0, role: true, source: peer.source({}), target: peer.target({}), ...attach }),
    ),
  )
  return { engine, feed }
}

describe('§2.6.7 flows with extreme numbers', () => {
  test.each([
    [1, 0xffffffff],
    [0x7fffffff, 0xffffffff],
    [0x80000000, 0xffffffff],
    [0xffffffff, 0xffffffff],
  ])('delivery-count %i with link-credit %i, echoed', (deliveryCount, linkCredit) => {
    const { engine, feed } = sending()
    feed(
      frame(
        0,
        peer.flow({
          nextIncomingId: 0,
          incomingWindow: 100,
          nextOutgoingId: 0,
          outgoingWindow: 100,
          handle: 0,
          deliveryCount,
          linkCredit,
          echo: true,
        }),
      ),
    )
    expect(hear(engine).events.some(event => event.type === 'protocol.error')).toBe(false)
    expect(engine.connection.hasEnded).toBe(false)
  })
})

describe('§2.8.3 a receiver in mode second, whose outcome is settled by saying it back', () => {
  const large = { 'x-a': { t: 'ulong', v: 2n ** 64n - 1n } } as const
  test.each([
    ['holds what cannot be written', peer.modified({ messageAnnotations: large })],
    ['does not fit its own frames', peer.rejected({ error: peer.error({ condition: `a:${'b'.repeat(600)}` }) })],
    [
      'is longer than its own frames',
      peer.rejected({ error: peer.error({ condition: 'a', description: 'd'.repeat(600) }) }),
    ],
  ])('%s', (_what, state) => {
    const { engine, feed } = sending({ rcvSettleMode: 1n })
    feed(
      frame(
        0,
        peer.flow({
          nextIncomingId: 0,
          incomingWindow: 100,
          nextOutgoingId: 0,
          outgoingWindow: 100,
          handle: 0,
          deliveryCount: 0,
          linkCredit: 5,
        }),
      ),
    )
    const { link } = expectEvent(hear(engine), 'link.attached')
    if (link.role !== 'sender') throw new Error('no sender')
    link.transfer(Uint8Array.of(1))
    engine.output(1 << 20, 0)
    feed(frame(0, peer.disposition({ role: true, first: 0, settled: false, state })))
    expect(hear(engine).outcomes).toHaveLength(1)
    expect(link.unsettledCount).toBe(0)
    link.transfer(Uint8Array.of(1))
    expect(engine.output(1 << 20, 0)).not.toEqual([])
  })
})

describe('§2.4.1 a peer with small frames and long names', () => {
  test.each(['not-attached', 'no delivery-count'])('%s', what => {
    const { engine, feed } = sending()
    const name = 'n'.repeat(400)
    if (what === 'not-attached') {
      feed(frame(0, peer.attach({ name, handle: 1, role: true })))
      feed(frame(0, peer.detach({ handle: 1, closed: true })))
    } else feed(frame(0, peer.attach({ name, handle: 1, role: false })))
    expect(() => engine.output(1 << 20, 0)).not.toThrow()
  })
})

describe('§1.6 values that cost more than they weigh', () => {
  test('§1.6.24 ten bytes do not become a million elements', () => {
    expect(() => decodeValue(fromHex('f000000005000ff00040'))).toThrow(DecodeError)
    expect(decodeValue(fromHex('e0020840'))).toMatchObject({ value: { elements: new Array(8).fill(null) } })
  })

  test('§1.6.23 nested maps with large keys are read in time that grows with their size', () => {
    let value: unknown = 'x'.repeat(60_000)
    for (let i = 0; i < 20; i++) {
      const map = new Map<unknown, unknown>([[[value], i]])
      for (let j = 0; j < 7; j++) map.set(j, null)
      value = map
    }
    const bytes = encodeValue(value as never)
    const started = performance.now()
    decodeValue(bytes)
    expect(performance.now() - started).toBeLessThan(3000)
  })

  test('§1.6.23 lists as keys are compared by their elements, not by how they print', () => {
    const map = new Map<unknown, unknown>([
      [['a,string:b'], 1],
      [['a', 'b'], 2],
    ])
    expect((decodeValue(encodeValue(map as never)) as unknown as { size: number }).size).toBe(2)
  })
})

describe('§2.6.12 an owner of the engine who goes on after the end', () => {
  test('transfer throws on a session that has ended, and queues nothing', () => {
    const { engine, feed } = sending()
    feed(frame(0, peer.end({})))
    const link = hear(engine).events.flatMap(event => (event.type === 'link.attached' ? [event.link] : []))[0]
    if (link?.role !== 'sender') throw new Error('no sender')
    expect(() => link.transfer(Uint8Array.of(1))).toThrow(UsageError)
    expect(engine.connection.pendingBytes).toBe(0)
  })
})
