/** What a receiver brings with it costs no more than before: deliveries and memory are counted, resumed or not. §2.6.13 */

import { describe, expect, test } from 'vitest'
import type { Transfer } from '../../src/definitions/performatives.ts'
import { Engine, type EngineOptions } from '../../src/engine/engine.ts'
import { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import { ReceiverRecovery } from '../../src/engine/receiver-recovery.ts'
import { attach, begin, type Fields, open, transfer } from '../peer/composites.ts'
import { amqpHeader, concat, frame, type Wire } from '../peer/wire.ts'
import { hear } from '../support/pair.ts'
import { unsettledMap } from '../support/resuming.ts'

const one = Uint8Array.of(1)

/** A receiver that has attached, with what another has left, to a source that knows these tags. */
function receiver(left: readonly IncomingDelivery[], known: readonly number[], limits: EngineOptions['limits']) {
  const engine = new Engine({ limits })
  engine.connection.open({ containerId: 'us' })
  const unsettled = unsettledMap(Object.fromEntries(known.map(n => [n, null])))
  const asked: Wire = attach({
    name: 'l',
    handle: 0,
    role: 'sender',
    initialDeliveryCount: 0,
    unsettled,
    source: {},
    target: {},
  })
  const begun = begin({ nextOutgoingId: 0, incomingWindow: 100, outgoingWindow: 100 })
  engine.output(1 << 20, 0)
  engine.receive(concat(amqpHeader, frame(0, open({ containerId: 'peer' })), frame(0, begun), frame(0, asked)), 0)
  let link: ReceiverEndpoint | undefined
  for (const event of hear(engine).events) {
    if (event.type === 'session.begun') event.session.begin()
    if (event.type === 'link.attached') link = event.link as ReceiverEndpoint
  }
  if (!link) throw new Error('no link')
  link.useWindow(50)
  link.adopt(left)
  link.attach({ source: {}, target: {} })
  engine.output(1 << 20, 0)
  const send = (fields: Fields, payload: Uint8Array = one): void =>
    engine.receive(frame(0, transfer({ handle: 0, ...fields }), payload), 0)
  const errors = () => hear(engine).events.flatMap(event => (event.type === 'protocol.error' ? [event.error] : []))
  return { engine, link, send, errors }
}

const tagged = (n: number, rest: Fields = {}): Fields => ({ deliveryId: n - 1, deliveryTag: Uint8Array.of(n), ...rest })

describe('§2.6.12 maxUnsettled', () => {
  const limits = { maxUnsettled: 3 }
  const cut = (known: readonly number[], left: readonly IncomingDelivery[], tags: readonly number[]) => {
    const made = receiver(left, known, limits)
    for (const n of tags) made.send({ ...tagged(n), deliveryId: n })
    return made
  }

  test('what is resumed was counted before; what is not resumed counts as well', () => {
    const first = cut([], [], [1, 2])
    expect(hear(first.engine).deliveries).toHaveLength(2)
    first.engine.receiveEnd(0)
    const second = receiver(first.link.open, [1, 2], limits)
    second.send({ deliveryId: 0, deliveryTag: Uint8Array.of(3) })
    expect(second.errors()).toEqual([])
    for (const n of [1, 2]) second.send({ deliveryId: n, deliveryTag: Uint8Array.of(n), resume: true })
    expect(second.errors()).toEqual([])
    expect(second.link.session.incoming.count).toBe(3)
    second.send({ deliveryId: 3, deliveryTag: Uint8Array.of(4) })
    expect(second.errors()).toMatchObject([{ condition: 'amqp:resource-limit-exceeded', scope: 'session' }])
    // Nothing was lost by that.
    expect(second.link.open.map(({ deliveryTag }) => deliveryTag[0])).toEqual([3, 1, 2])
  })

  test('a source that never resumes cannot have more kept, however often it comes', () => {
    let left: readonly IncomingDelivery[] = []
    let refusals = 0
    for (let round = 0; round < 5; round++) {
      const known = left.map(({ deliveryTag }) => deliveryTag[0] as number)
      const made = receiver(left, known, limits)
      for (let i = 0; i < 2; i++) made.send({ deliveryId: i, deliveryTag: Uint8Array.of(10 * round + i + 1) })
      refusals += made.errors().length
      made.engine.receiveEnd(0)
      left = made.link.open
      expect(left.length).toBeLessThanOrEqual(3)
    }
    expect([left.length, refusals]).toEqual([3, 4])
  })
})

describe('§2.6.14 maxIncompleteBytes', () => {
  const limits = { maxIncompleteBytes: 4000 }
  const piece = new Uint8Array(900).fill(5)

  test('what a part of a delivery pins is counted as before when it is resumed, and given back', () => {
    const first = receiver([], [], limits)
    for (let i = 0; i < 2; i++) first.send(i ? { more: true } : tagged(1, { more: true }), piece)
    const pinned = first.engine.connection.incompleteBytes
    expect(pinned).toBeGreaterThanOrEqual(1800)
    first.engine.receiveEnd(0)
    expect(first.engine.connection.incompleteBytes).toBe(0)
    const second = receiver(first.link.open, [1], limits)
    second.send(tagged(1, { resume: true, more: true }), new Uint8Array(0))
    expect(second.engine.connection.incompleteBytes).toBe(pinned)
    second.send({}, concat(piece, piece))
    expect(hear(second.engine).deliveries).toMatchObject([{ size: 1800 }])
    expect(second.engine.connection.incompleteBytes).toBe(0)
  })

  test('a source that never resumes its parts cannot have more pinned, however often it comes', () => {
    let left: readonly IncomingDelivery[] = []
    let errors = 0
    for (let round = 1; round <= 8; round++) {
      const known = left.map(({ deliveryTag }) => deliveryTag[0] as number)
      const made = receiver(left, known, limits)
      made.send({ deliveryId: 0, deliveryTag: Uint8Array.of(round), more: true }, piece)
      errors += made.errors().length
      made.engine.receiveEnd(0)
      left = made.link.open
    }
    expect(errors).toBeGreaterThan(2)
    expect(left.reduce((sum, { pinned }) => sum + pinned, 0)).toBeLessThanOrEqual(4000)
    expect(left.length).toBeGreaterThan(2)
  })
})

test('§2.6.13 by tag: what is left, what was settled, what it pins', () => {
  const some = (n: number, handedOver: boolean) => {
    const delivery = new IncomingDelivery(null as never, -1, Uint8Array.of(n), 0, false, undefined)
    return Object.assign(delivery, { handedOver, pinned: n * 100 })
  }
  const [a, b, c] = [some(1, false), some(2, true), some(3, false)]
  const recovery = new ReceiverRecovery([a, b, c])
  expect([recovery.count, recovery.pinned, recovery.left]).toEqual([3, 400, [a, b, c]])
  expect(recovery.settledAtSource([], false)).toEqual([])
  expect(recovery.settledAtSource([[Uint8Array.of(3), undefined]], true)).toEqual([a, b])
  const plain = { state: undefined, aborted: false } as Transfer
  expect(recovery.take(Uint8Array.of(1), plain)).toBeUndefined()
  const behind = { ...plain, state: { type: 'received', sectionNumber: 1, sectionOffset: 0n } } as Transfer
  expect([recovery.take(Uint8Array.of(3), behind), recovery.count, recovery.pinned]).toEqual(['gap', 1, 300])
  expect(recovery.take(Uint8Array.of(3), { ...behind, aborted: true })).toBe(c)
  expect([recovery.count, recovery.left]).toEqual([0, []])
})

test('what was brought along costs nothing with each piece of a payload, however much it is', () => {
  const left = Array.from(
    { length: 60_000 },
    (_, n) => new IncomingDelivery(null as never, -1, Uint8Array.of(n >> 8, n), 0, false, undefined),
  )
  for (const delivery of left) delivery.handedOver = true
  const recovery = new ReceiverRecovery(left)
  const started = process.cpuUsage()
  for (let i = 0; i < 2000; i++) expect(recovery.pinned).toBe(0)
  const { user, system } = process.cpuUsage(started)
  expect((user + system) / 1000).toBeLessThan(500)
})
