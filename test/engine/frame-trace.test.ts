/** What a tracer hears of the frames that we write on the ordinary data path. §2.7.5 §2.7.6 */

import { expect, test } from 'vitest'
import { ACCEPTED } from '../../src/definitions/delivery-state.ts'
import { DispositionRuns, dispositionOf } from '../../src/engine/disposition-runs.ts'
import type { Engine } from '../../src/engine/engine.ts'
import type { EngineEvent } from '../../src/engine/events.ts'
import { finish } from '../../src/engine/outgoing-stream.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import { fields } from '../../src/types/composite.ts'
import { expectEvent, hear, Pair } from '../support/pair.ts'

type Frame = Extract<EngineEvent, { type: 'frame' }>

/** The frames of one type that an engine tells of since it was last asked, fields that are absent left off. */
const frames = (engine: Engine, direction: 'in' | 'out', type: string): { body: object; payload: number }[] =>
  hear(engine)
    .events.filter((event): event is Frame => event.type === 'frame' && event.direction === direction)
    .filter(({ body }) => (body as { type?: string } | undefined)?.type === type)
    .map(({ body, payload }) => ({
      body: Object.fromEntries(Object.entries(body as object).filter(([, value]) => value !== undefined)),
      payload,
    }))

function linked() {
  const pair = new Pair({ trace: true }, { trace: true })
  pair.left.connection.open({ containerId: 'left' })
  pair.right.connection.open({ containerId: 'right', maxFrameSize: 512 })
  const session = pair.left.connection.session()
  session.begin()
  const sender = session.sender('l')
  sender.attach({ source: {}, target: {}, rcvSettleMode: 'second' })
  pair.drive()
  const heard = hear(pair.right)
  expectEvent(heard, 'session.begun').session.begin()
  const receiver = expectEvent(heard, 'link.attached').link as ReceiverEndpoint
  receiver.useWindow(10)
  receiver.attach({ source: {}, target: {}, rcvSettleMode: 'second' })
  pair.drive()
  hear(pair.left)
  hear(pair.right)
  return { pair, sender, receiver }
}

test('§2.7.5 a message in several frames: the first has its id, tag and format, the others have not', () => {
  const { pair, sender } = linked()
  sender.transfer(new Uint8Array(1000), { deliveryTag: Uint8Array.of(7), messageFormat: 5 })
  pair.drive()
  const sent = frames(pair.left, 'out', 'transfer')
  expect(sent.length).toBe(3)
  expect(sent[0]?.body).toEqual({
    type: 'transfer',
    handle: 0,
    deliveryId: 0,
    deliveryTag: Uint8Array.of(7),
    messageFormat: 5,
    more: true,
  })
  expect(sent[1]?.body).toEqual({ type: 'transfer', handle: 0, more: true })
  expect(sent[2]?.body).toEqual({ type: 'transfer', handle: 0, more: false })
  expect(sent.reduce((sum, { payload }) => sum + payload, 0)).toBe(1000)
  // The peer reads the same from the bytes.
  const heard = frames(pair.right, 'in', 'transfer')
  expect(heard.map(({ payload }) => payload)).toEqual(sent.map(({ payload }) => payload))
  expect(heard.map(({ body }) => 'deliveryId' in body)).toEqual([true, false, false])
})

test('§4.4.3 a message that is acquired says so in its frames, and not once the transaction is over', () => {
  const { pair, sender, receiver } = linked()
  pair.left.connection.acquires = true
  receiver.flowProperties = fields({ 'txn-id': Uint8Array.of(4) })
  receiver.session.flowDue(receiver)
  pair.drive()
  hear(pair.left)
  const delivery = sender.transfer(new Uint8Array(100))
  pair.drive()
  expect(delivery.acquired).toBe(sender.acquisition)
  const state = { type: 'transactional-state', txnId: Uint8Array.of(4), outcome: undefined }
  expect(frames(pair.left, 'out', 'transfer')).toMatchObject([{ body: { deliveryId: 0, state } }])
  const streamed = sender.transfer(Uint8Array.of(1), { isOpen: true })
  pair.drive()
  sender.acquisition?.end()
  finish(streamed, [Uint8Array.of(2)])
  pair.drive()
  expect(frames(pair.left, 'out', 'transfer').map(({ body }) => 'state' in body)).toEqual([true, false])
})

test('§2.7.6 dispositions of both roles: one delivery has no last, several have', () => {
  const { pair, sender, receiver } = linked()
  for (let i = 0; i < 3; i++) sender.transfer(Uint8Array.of(i))
  pair.drive()
  hear(pair.left)
  const [first, ...rest] = hear(pair.right).deliveries
  if (first) receiver.disposition(first, ACCEPTED)
  pair.drive()
  const state = { type: 'accepted' }
  expect(frames(pair.right, 'out', 'disposition').map(({ body }) => body)).toEqual([
    { type: 'disposition', role: 'receiver', first: 0, settled: false, state, batchable: false },
  ])
  expect(frames(pair.left, 'out', 'disposition').map(({ body }) => body)).toEqual([
    { type: 'disposition', role: 'sender', first: 0, settled: true, state, batchable: false },
  ])
  for (const delivery of rest) receiver.disposition(delivery, ACCEPTED)
  pair.drive()
  expect(frames(pair.right, 'out', 'disposition').map(({ body }) => body)).toEqual([
    { type: 'disposition', role: 'receiver', first: 1, last: 2, settled: false, state, batchable: false },
  ])
})

test('§2.7.6 a run goes on while ids follow each other, across the wrap, and all else is the same', () => {
  const runs = new DispositionRuns()
  expect(runs.add(true, 0xffffffff, true, ACCEPTED)).toBe(true)
  expect(runs.add(true, 0, true, ACCEPTED)).toBe(false)
  // A gap, another role, another settlement, another state: each begins a run.
  expect(runs.add(true, 2, true, ACCEPTED)).toBe(true)
  expect(runs.add(false, 3, true, ACCEPTED)).toBe(true)
  expect(runs.add(false, 4, false, ACCEPTED)).toBe(true)
  expect(runs.add(false, 5, false, undefined)).toBe(true)
  expect(runs.take().map(dispositionOf)).toMatchObject([
    { role: 'receiver', first: 0xffffffff, last: 0, settled: true },
    { role: 'receiver', first: 2, last: undefined },
    { role: 'sender', first: 3, settled: true },
    { role: 'sender', first: 4, settled: false, state: ACCEPTED },
    { role: 'sender', first: 5, state: undefined },
  ])
  expect(runs.take()).toEqual([])
})
