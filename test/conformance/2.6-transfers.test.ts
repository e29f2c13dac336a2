/** §2.6.11–14: deliveries: in one frame and in many, aborted, settled in every mode, told of in ranges. */

import { describe, expect, test } from 'vitest'
import { ACCEPTED } from '../../src/definitions/delivery-state.ts'
import { accepted } from '../peer/composites.ts'
import { any, type Expected, failing } from '../peer/script.ts'
import { concat, fromHex } from '../peer/wire.ts'
import {
  begun,
  opened,
  payloadOf,
  receiving,
  same,
  scenario,
  sending,
  sides,
  withReceiver,
  withSender,
} from '../support/scenario.ts'

const one = Uint8Array.of(1)
const tag = (n: number): Uint8Array => Uint8Array.of(0, 0, 0, n)
const sent = (id: number, rest: Expected = {}): Expected => ({
  handle: 0,
  deliveryId: id,
  deliveryTag: any,
  /** MESSAGE-FORMAT. §3.2.16 */
  messageFormat: 0,
  ...rest,
})
/** A message with a body of one byte, complete in itself. */
const MESSAGE = fromHex('00 53 75 a0 01 2a')
const bytes = (from: number, length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => from + i)

describe.each(sides)('§2.6.12 sending (%s)', role => {
  test('§2.6.12 unsettled: a delivery-id, a tag, and an outcome', () => {
    const { s, peer, sender } = withSender(role, { credit: 2 })
    const delivery = sender.transfer(MESSAGE, { deliveryTag: Uint8Array.of(9), messageFormat: 7 })
    peer.expectTransfer({ handle: 0, deliveryId: 0, deliveryTag: Uint8Array.of(9), messageFormat: 7 }, MESSAGE)
    expect(s.outcomes()).toEqual([])
    peer.respondDisposition().finished()
    expect(s.outcomes()).toEqual([delivery])
    expect(delivery.remoteState).toEqual(ACCEPTED)
    expect(sender.session.outgoing.count).toBe(0)
  })

  test('§2.6.12 settled: over as soon as it is framed', () => {
    const { s, peer, sender } = withSender(role, { credit: 2 })
    const delivery = sender.transfer(one, { settled: true })
    peer.expectTransfer(sent(0, { settled: true }), one)
    expect(s.outcomes()).toEqual([delivery])
    // The receiver has nothing to tell; it is let pass.
    peer.sendDisposition({ first: 0, settled: true, state: accepted() }).finished()
    expect(s.outcomes()).toEqual([])
  })

  test('§2.8.2 modes settled and unsettled are kept to', () => {
    const settled = withSender(role, { ours: { sndSettleMode: 'settled' }, theirs: { sndSettleMode: 1 }, credit: 1 })
    expect(() => settled.sender.transfer(one)).toThrow(expect.objectContaining({ section: '2.8.2' }))
    const unsettled = withSender(role, {
      ours: { sndSettleMode: 'unsettled' },
      theirs: { sndSettleMode: 0 },
      credit: 1,
    })
    expect(() => unsettled.sender.transfer(one, { settled: true })).toThrow(
      expect.objectContaining({ section: '2.8.2' }),
    )
    for (const { peer, sender } of [settled, unsettled]) {
      sender.transfer(one, { settled: sender.sndSettleMode === 'settled' })
      peer.expectTransfer(sent(0, { settled: sender.sndSettleMode === 'settled' }), one).finished()
    }
  })

  test('§2.8.2 mode mixed takes both', () => {
    const { peer, sender } = withSender(role, { credit: 2 })
    sender.transfer(one, { settled: true })
    sender.transfer(one)
    peer
      .expectTransfer(sent(0, { settled: true }), one)
      .expectTransfer(sent(1), one)
      .finished()
  })

  test('§2.8.3 mode second: the receiver decides, we settle, in one frame for many', () => {
    const modes = { ours: { rcvSettleMode: 'second' as const }, theirs: { rcvSettleMode: 1 } }
    const { s, peer, sender } = withSender(role, { ...modes, credit: 10 })
    for (let i = 0; i < 3; i++) sender.transfer(one)
    expect(peer.all()).toHaveLength(3)
    peer.sendDisposition({ first: 0, last: 2, state: accepted() })
    peer.expectDisposition({ role: 'sender', first: 0, last: 2, settled: true, state: accepted() }).finished()
    expect(s.outcomes()).toHaveLength(3)
  })

  test('§2.6.12 a receiver of mode first that leaves the settling to us', () => {
    const { s, peer, sender } = withSender(role, { credit: 10 })
    sender.transfer(one)
    peer.expectTransfer(sent(0), one).respondDisposition({ settled: false })
    peer.expectDisposition({ role: 'sender', first: 0, settled: true, state: accepted() })
    // And settles itself, late.
    peer.sendDisposition({ first: 0, settled: true, state: accepted() }).finished()
    expect(s.outcomes()).toHaveLength(1)
  })

  test('§2.7.6 a range over several links, with holes, twice', () => {
    const { s, peer, session, sender } = withSender(role, { credit: 10 })
    const other = sending(s, session, { name: 'l2', handle: 1 })
    peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit: 10 })
    for (let i = 0; i < 6; i++) (i % 2 ? other : sender).transfer(one)
    expect(peer.all()).toHaveLength(6)
    peer.sendDisposition({ first: 2, settled: true, state: accepted() })
    expect(s.outcomes().map(({ deliveryId }) => deliveryId)).toEqual([2])
    peer.sendDisposition({ first: 0, last: 4, settled: true, state: accepted() })
    peer.sendDisposition({ first: 0, last: 4, settled: true, state: accepted() })
    expect(
      s
        .outcomes()
        .map(({ deliveryId }) => deliveryId)
        .sort(),
    ).toEqual([0, 1, 3, 4])
    expect(session.outgoing.count).toBe(1)
    peer.finished()
  })

  test.each([
    ['0 … 2^31 − 1', 0, 0x7fffffff, 3],
    ['0 … 2^32 − 1, which as serial numbers ends before it begins', 0, 0xffffffff, 0],
    ['last before first', 2, 0, 0],
    ['ids that were never given', 1000, 2_000_000_000, 0],
    ['half the circle from behind', 0x80000003, 2, 3],
  ])('§2.7.6 a range of %s costs nothing', (_name, first, last, settled) => {
    const { s, peer, sender } = withSender(role, { credit: 10 })
    for (let i = 0; i < 3; i++) sender.transfer(one)
    expect(peer.all()).toHaveLength(3)
    const start = performance.now()
    for (let i = 0; i < 100; i++) peer.sendDisposition({ first, last, settled: true, state: accepted() })
    expect(performance.now() - start).toBeLessThan(1000)
    expect(s.outcomes()).toHaveLength(settled)
    expect(s.engine.connection.state).toBe('OPENED')
    peer.finished()
  })

  test('§2.6.12 more than any ring holds: 5,000 unsettled, settled backwards', () => {
    const { s, peer, sender } = withSender(role, { begin: { incomingWindow: 1e6 }, credit: 1e6 })
    peer.sendFlow({ incomingWindow: 1e6, handle: 0, deliveryCount: 0, linkCredit: 1e6 })
    for (let i = 0; i < 5000; i++) sender.transfer(one)
    expect(peer.all()).toHaveLength(5000)
    for (let id = 4999; id >= 0; id -= 100) peer.sendDisposition({ first: id - 99, last: id, settled: true })
    expect(s.outcomes()).toHaveLength(5000)
    expect(sender.session.outgoing.count).toBe(0)
  })

  test('§2.6.12 §2.8.10 delivery-ids wrap: sent, settled in a range across the wrap', () => {
    const { s, peer, sender } = withSender(role, { ourBegin: { nextOutgoingId: 0xfffffffe }, credit: 10 })
    for (let i = 0; i < 4; i++) sender.transfer(one)
    for (const id of [0xfffffffe, 0xffffffff, 0, 1]) peer.expectTransfer(sent(id), one)
    peer.sendDisposition({ first: 0xffffffff, last: 0, settled: true, state: accepted() })
    expect(s.outcomes().map(({ deliveryId }) => deliveryId)).toEqual([0xffffffff, 0])
    peer.sendDisposition({ first: 0xfffffffe, last: 1, settled: true, state: accepted() })
    expect(s.outcomes().map(({ deliveryId }) => deliveryId)).toEqual([0xfffffffe, 1])
    peer.finished()
  })

  test('§2.7.3 §2.6.12 deliveries of a link that is closed before they are settled', () => {
    const { s, peer, session, sender } = withSender(role, { credit: 2 })
    const delivery = sender.transfer(one)
    const queued = [sender.transfer(one), sender.transfer(one)]
    expect(peer.all()).toHaveLength(2)
    peer.sendDetach().expectDetach({ handle: 0, closed: true })
    s.event('link.detached')
    expect(new Set(sender.abandoned)).toEqual(new Set([delivery, ...queued]))
    expect(session.outgoing.count).toBe(0)
    expect(s.engine.connection.pendingBytes).toBe(0)
    // Late news of it is let pass.
    peer.sendDisposition({ first: 0, last: 5, settled: true, state: accepted() }).finished()
    expect(s.outcomes()).toEqual([])
  })

  test('§2.8.7 a tag of 32 bytes, and not of 33', () => {
    const { peer, sender } = withSender(role, { credit: 2 })
    sender.transfer(one, { deliveryTag: bytes(0, 32) })
    peer.expectTransfer({ handle: 0, deliveryId: 0, deliveryTag: bytes(0, 32), messageFormat: 0 }, one)
    expect(() => sender.transfer(one, { deliveryTag: bytes(0, 33) })).toThrow(
      expect.objectContaining({ code: 'ERR_AMQP_USAGE', section: '2.8.7' }),
    )
    peer.finished()
  })

  test('§2.6.12 tags of unsettled deliveries are all different', () => {
    const { peer, sender } = withSender(role, { credit: 1000 })
    for (let i = 0; i < 1000; i++) sender.transfer(one)
    expect(new Set(peer.all().map(({ fields }) => fields.deliveryTag?.v)).size).toBe(1000)
  })
})

describe.each(sides)('§2.6.12 receiving (%s)', role => {
  test('§2.6.12 a delivery, as it was sent', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 1 })
    peer.sendTransfer({ deliveryId: 77, deliveryTag: bytes(0, 32), messageFormat: 5 }, MESSAGE)
    const [delivery] = s.deliveries()
    expect(delivery).toMatchObject({ link: same(receiver), deliveryId: 77, messageFormat: 5, remoteSettled: false })
    expect(delivery?.deliveryTag).toEqual(bytes(0, 32))
    expect(payloadOf(delivery)).toEqual(MESSAGE)
  })

  test('§2.8.3 mode first: settled with the outcome, in one frame for many', () => {
    const { s, peer, session, receiver } = withReceiver(role, { credit: 10 })
    for (let i = 0; i < 5; i++) peer.sendTransfer({ deliveryId: i, deliveryTag: tag(i) })
    const deliveries = s.deliveries()
    for (const delivery of deliveries.slice(0, 3)) receiver.disposition(delivery, ACCEPTED)
    if (deliveries[4]) receiver.disposition(deliveries[4], { type: 'released' })
    peer.expectDisposition({ role: 'receiver', first: 0, last: 2, settled: true, state: accepted() })
    peer.expectDisposition({ role: 'receiver', first: 4, settled: true, state: any }).finished()
    expect(session.incoming.count).toBe(1)
  })

  test('§2.8.3 mode second: settled when the sender has', () => {
    const modes = { ours: { rcvSettleMode: 'second' as const }, theirs: { rcvSettleMode: 1 } }
    const { s, peer, session, receiver } = withReceiver(role, { ...modes, credit: 10 })
    for (let i = 0; i < 3; i++) peer.sendTransfer({ deliveryId: i, deliveryTag: tag(i) })
    for (const delivery of s.deliveries()) receiver.disposition(delivery, ACCEPTED)
    peer.expectDisposition({ role: 'receiver', first: 0, last: 2, state: accepted() }).nothing()
    expect(session.incoming.count).toBe(3)
    peer.sendDisposition({ role: 'sender', first: 0, last: 2, settled: true, state: accepted() }).finished()
    expect(s.events().map(({ type }) => type)).toEqual(Array(3).fill('delivery.settled'))
    expect(session.incoming.count).toBe(0)
  })

  test('§2.7.5 on a link of mode second, a delivery that is to be settled at once', () => {
    const modes = { ours: { rcvSettleMode: 'second' as const }, theirs: { rcvSettleMode: 1 } }
    const { s, peer, session, receiver } = withReceiver(role, { ...modes, credit: 10 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), rcvSettleMode: 'first' })
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1) })
    for (const delivery of s.deliveries()) receiver.disposition(delivery, ACCEPTED)
    peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: accepted() })
    peer.expectDisposition({ role: 'receiver', first: 1, state: accepted() }).finished()
    expect(session.incoming.count).toBe(1)
  })

  test('§2.6.12 settled by the sender: nothing is told', () => {
    const { s, peer, session, receiver } = withReceiver(role, { credit: 10 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), settled: true })
    const [delivery] = s.deliveries()
    expect(delivery?.remoteSettled).toBe(true)
    expect(session.incoming.count).toBe(0)
    if (delivery) receiver.disposition(delivery, ACCEPTED)
    peer.finished()
  })

  test('§2.7.5 settled on the last frame only is settled', () => {
    const { s, peer, session } = withReceiver(role, { credit: 10 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, one).sendTransfer({ settled: true }, one)
    expect(s.deliveries()).toMatchObject([{ remoteSettled: true, size: 2 }])
    expect(session.incoming.count).toBe(0)
    peer.finished()
  })

  test('§2.7.5 settled on the first frame holds for the others', () => {
    const { s, peer } = withReceiver(role, { credit: 10 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), settled: true, more: true }, one).sendTransfer({}, one)
    expect(s.deliveries()).toMatchObject([{ remoteSettled: true }])
    peer.finished()
  })

  test('§2.6.12 the sender settles before we have decided', () => {
    const { s, peer, session, receiver } = withReceiver(role, { credit: 10 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) })
    peer.sendDisposition({ role: 'sender', first: 0, settled: true, state: accepted() })
    const [delivery] = s.deliveries()
    expect(delivery).toMatchObject({ remoteSettled: true, remoteState: ACCEPTED })
    expect(session.incoming.count).toBe(0)
    if (delivery) receiver.disposition(delivery, ACCEPTED)
    peer.finished()
  })

  test('§2.6.12 decided once, and not again', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 10 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) })
    const [delivery] = s.deliveries()
    if (!delivery) throw new Error('nothing arrived')
    receiver.disposition(delivery, ACCEPTED)
    expect(() => receiver.disposition(delivery, ACCEPTED)).toThrow(expect.objectContaining({ section: '2.6.12' }))
    peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: accepted() }).finished()
  })

  test('§2.6.12 §2.8.10 delivery-ids begin anywhere and wrap', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 10 })
    for (const id of [0xfffffffe, 0xffffffff, 0, 1]) peer.sendTransfer({ deliveryId: id, deliveryTag: tag(id & 7) })
    const deliveries = s.deliveries()
    expect(deliveries.map(({ deliveryId }) => deliveryId)).toEqual([0xfffffffe, 0xffffffff, 0, 1])
    for (const delivery of deliveries) receiver.disposition(delivery, ACCEPTED)
    peer
      .expectDisposition({ role: 'receiver', first: 0xfffffffe, last: 1, settled: true, state: accepted() })
      .finished()
  })

  test('§2.7.6 a disposition of the sender’s for everything there may be costs nothing', () => {
    const { s, peer, session } = withReceiver(role, { credit: 10 })
    for (let i = 0; i < 3; i++) peer.sendTransfer({ deliveryId: i, deliveryTag: tag(i) })
    const start = performance.now()
    peer.sendDisposition({ role: 'sender', first: 0, last: 0xffffffff, settled: true })
    expect(session.incoming.count).toBe(3)
    peer.sendDisposition({ role: 'sender', first: 0, last: 0x7fffffff, settled: true })
    expect(performance.now() - start).toBeLessThan(1000)
    expect(session.incoming.count).toBe(0)
    expect(s.engine.connection.state).toBe('OPENED')
    peer.finished()
  })
})

describe.each(sides)('§2.6.14 large messages (%s)', role => {
  test('§2.6.14 sent in frames that the peer takes', () => {
    const { peer, sender } = withSender(role, { open: { maxFrameSize: 512 }, credit: 1 })
    const payload = bytes(0, 1200)
    sender.transfer(payload)
    const frames = peer.all()
    expect(frames.map(({ fields }) => fields.more?.v ?? false)).toEqual([true, true, false])
    expect(frames.map(({ fields }) => fields.deliveryId?.v)).toEqual([0, undefined, undefined])
    expect(concat(...frames.map(({ payload }) => payload))).toEqual(payload)
  })

  test('§2.6.14 received in frames, some of them empty, with and without their delivery-id', () => {
    const { s, peer } = withReceiver(role, { credit: 1 })
    peer.sendTransfer({ deliveryId: 5, deliveryTag: tag(0), messageFormat: 3, more: true })
    peer.sendTransfer({ more: true }, bytes(0, 10))
    peer.sendTransfer({ deliveryId: 5, deliveryTag: tag(0), more: true }, bytes(10, 10))
    expect(s.deliveries()).toEqual([])
    peer.sendTransfer({}, bytes(20, 5))
    const [delivery] = s.deliveries()
    expect(delivery).toMatchObject({ deliveryId: 5, messageFormat: 3, size: 25 })
    expect(payloadOf(delivery)).toEqual(bytes(0, 25))
    peer.sendTransfer({ deliveryId: 6, deliveryTag: tag(1) }).expectDetach({ handle: 0, closed: true, error: any })
  })

  test('§2.6.14 messages of several links, interleaved', () => {
    const { s, peer, session } = withReceiver(role, { credit: 2 })
    for (const handle of [1, 2]) {
      const receiver = receiving(s, session, { name: `l${handle + 1}`, handle })
      receiver.flow(2)
      expect(peer.all()).toHaveLength(1)
    }
    for (const handle of [0, 1, 2])
      peer.sendTransfer({ handle, deliveryId: handle, deliveryTag: one, more: true }, bytes(handle * 10, 2))
    for (const handle of [2, 0, 1]) peer.sendTransfer({ handle, more: true }, bytes(handle * 10 + 2, 3))
    peer.sendTransfer({ handle: 1, aborted: true })
    for (const handle of [2, 0]) peer.sendTransfer({ handle }, bytes(handle * 10 + 5, 1))
    expect(s.deliveries().map(delivery => [delivery.link.name, payloadOf(delivery)])).toEqual([
      ['l3', bytes(20, 6)],
      ['l1', bytes(0, 6)],
    ])
    expect(s.engine.connection.incompleteBytes).toBe(0)
    peer.finished()
  })

  test('§2.6.14 a large message of one link lets the others through', () => {
    const { s, peer, session, sender } = withSender(role, { open: { maxFrameSize: 1000 }, credit: 1 })
    const other = sending(s, session, { name: 'l2', handle: 1 })
    peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit: 1 })
    sender.transfer(new Uint8Array(1 << 20))
    other.transfer(one)
    const frames = peer.all()
    const at = frames.findIndex(({ fields }) => fields.handle?.v === 1)
    expect(at).toBeGreaterThan(0)
    expect(at).toBeLessThan(frames.length / 2)
  })

  test('§2.7.5 aborted by the sender: never delivered, also when its first frame was a message already', () => {
    const { s, peer, session } = withReceiver(role, { credit: 3 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, MESSAGE)
    peer.sendTransfer({ aborted: true }, MESSAGE)
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1), more: true }, MESSAGE.subarray(0, 3))
    // Aborted takes precedence over more.
    peer.sendTransfer({ deliveryId: 1, more: true, aborted: true }, MESSAGE.subarray(3))
    peer.sendTransfer({ deliveryId: 2, deliveryTag: tag(2) }, MESSAGE)
    expect(s.deliveries().map(delivery => [delivery.deliveryId, payloadOf(delivery)])).toEqual([[2, MESSAGE]])
    expect(session.incoming.count).toBe(1)
    peer.finished()
  })

  test('§2.7.5 aborted in its only frame', () => {
    const { s, peer, session } = withReceiver(role, { credit: 2 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), aborted: true }, MESSAGE)
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1) }, MESSAGE)
    expect(s.deliveries().map(({ deliveryId }) => deliveryId)).toEqual([1])
    expect(session.incoming.count).toBe(1)
    peer.finished()
  })

  test('§2.7.5 aborted while its payload comes in pieces', () => {
    const { s, peer } = withReceiver(role, { credit: 2 })
    peer.cut = all => Array.from({ length: Math.ceil(all.length / 50) }, (_, i) => all.slice(i * 50, i * 50 + 50))
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, bytes(0, 200))
    peer.sendTransfer({ aborted: true }, bytes(0, 200))
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1) }, bytes(1, 200))
    expect(s.deliveries().map(payloadOf)).toEqual([bytes(1, 200)])
    expect(s.engine.connection.incompleteBytes).toBe(0)
    peer.finished()
  })

  test('§2.7.5 aborted by us, between two frames', () => {
    const { s, peer, sender } = withSender(role, { open: { maxFrameSize: 512 }, begin: { incomingWindow: 1 } })
    peer.sendFlow({ incomingWindow: 1, handle: 0, deliveryCount: 0, linkCredit: 5 })
    const doomed = sender.transfer(new Uint8Array(2000))
    peer.expectTransfer(sent(0, { more: true }), any)
    expect(sender.abort(doomed)).toBe('aborted')
    sender.transfer(one)
    // It needs the window like any other frame.
    peer.nothing().sendFlow({ incomingWindow: 1 }).expectTransfer({ handle: 0, aborted: true }).nothing()
    peer.sendFlow({ incomingWindow: 1 }).expectTransfer(sent(1), one).finished()
    expect(sender.session.outgoing.count).toBe(1)
    expect(s.engine.connection.pendingBytes).toBe(0)
  })

  test('§2.7.5 taken back by us before its first frame: no trace of it', () => {
    const { peer, sender } = withSender(role)
    const doomed = sender.transfer(one)
    sender.transfer(Uint8Array.of(2))
    expect(sender.abort(doomed)).toBe('removed')
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 5 })
    peer.expectTransfer(sent(0), Uint8Array.of(2)).finished()
  })

  test('§2.6.14 the link is detached in the middle of a message', () => {
    const { s, peer } = withReceiver(role, { credit: 2 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, bytes(0, 100))
    peer.sendDetach().expectDetach({ handle: 0, closed: true }).finished()
    expect(s.deliveries()).toEqual([])
    expect(s.engine.connection.incompleteBytes).toBe(0)
  })

  test('§2.7.3 max-message-size of ours: as large, and one byte larger', () => {
    const { s, peer } = withReceiver(role, { ours: { maxMessageSize: 100n }, credit: 5 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) }, bytes(0, 100))
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1), more: true }, bytes(0, 60))
    peer.nothing().sendTransfer({ more: true }, bytes(0, 41))
    peer.expectDetach({ handle: 0, closed: true, error: failing('amqp:link:message-size-exceeded') })
    peer.sendTransfer({}, bytes(0, 10)).sendDetach().finished()
    expect(s.deliveries().map(({ deliveryId }) => deliveryId)).toEqual([0])
    expect(s.engine.connection.incompleteBytes).toBe(0)
  })

  test('§2.7.3 max-message-size of the peer’s is known', () => {
    const { sender } = withSender(role, { theirs: { maxMessageSize: 100n } })
    expect(sender.remoteMaxMessageSize).toBe(100n)
  })
})

describe('§2.6.12 all settle modes of both ends', () => {
  const modes = sides.flatMap(role =>
    (['unsettled', 'settled', 'mixed'] as const).flatMap(snd =>
      (['first', 'second'] as const).map(rcv => ({ role, snd, rcv })),
    ),
  )

  test.each(modes)('§2.8.2 $snd §2.8.3 $rcv, sending ($role)', ({ role, snd, rcv }) => {
    const { s, peer, session, sender } = withSender(role, {
      ours: { sndSettleMode: snd, rcvSettleMode: rcv },
      theirs: { sndSettleMode: snd, rcvSettleMode: rcv },
      credit: 5,
    })
    expect(sender).toMatchObject({ sndSettleMode: snd, rcvSettleMode: rcv })
    const settled = snd === 'settled'
    sender.transfer(one, { settled })
    peer.expectTransfer(sent(0, { settled }), one)
    if (!settled && rcv === 'first') peer.respondDisposition()
    if (!settled && rcv === 'second') {
      peer.respondDisposition({ settled: false })
      peer.expectDisposition({ role: 'sender', first: 0, settled: true, state: accepted() })
    }
    peer.finished()
    expect(s.outcomes()).toHaveLength(1)
    expect(session.outgoing.count).toBe(0)
  })

  test.each(modes)('§2.8.2 $snd §2.8.3 $rcv, receiving ($role)', ({ role, snd, rcv }) => {
    const { s, peer, session, receiver } = withReceiver(role, {
      ours: { sndSettleMode: snd, rcvSettleMode: rcv },
      theirs: { sndSettleMode: snd, rcvSettleMode: rcv },
      credit: 5,
    })
    expect(receiver).toMatchObject({ sndSettleMode: snd, rcvSettleMode: rcv })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: one, settled: snd === 'settled' }, one)
    for (const delivery of s.deliveries()) receiver.disposition(delivery, ACCEPTED)
    if (snd !== 'settled') {
      peer.expectDisposition({ role: 'receiver', first: 0, settled: rcv === 'first', state: accepted() })
      if (rcv === 'second') peer.sendDisposition({ role: 'sender', first: 0, settled: true, state: accepted() })
    }
    peer.finished()
    expect(session.incoming.count).toBe(0)
  })

  test('§2.8.3 the receiver has the last word on how it settles', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const sender = begun(s).sender('l1')
    sender.attach({ source: {}, target: {}, rcvSettleMode: 'second' })
    expect(s.peer.all()).toHaveLength(1)
    s.peer.respondAttach({ rcvSettleMode: 'first' })
    expect(sender.rcvSettleMode).toBe('first')
  })

  test('§2.8.2 the sender has the last word on what it sends', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const receiver = begun(s).receiver('l1')
    receiver.attach({ source: {}, target: {}, sndSettleMode: 'unsettled' })
    expect(s.peer.all()).toHaveLength(1)
    s.peer.respondAttach({ sndSettleMode: 'settled' })
    expect(receiver.sndSettleMode).toBe('settled')
  })
})
