/** §2.6.14 §2.5.6 §2.7.5: messages sent while they are made, and handed out while they arrive. */

import { describe, expect, test } from 'vitest'
import { ACCEPTED } from '../../src/definitions/delivery-state.ts'
import type { IncomingStream } from '../../src/engine/incoming-stream.ts'
import { extend, finish } from '../../src/engine/outgoing-stream.ts'
import { any, type Expected, type Script } from '../peer/script.ts'
import { concat } from '../peer/wire.ts'
import { type Scenario, type Side, sending, sides, withReceiver, withSender } from '../support/scenario.ts'

const bytes = (from: number, count: number): Uint8Array => Uint8Array.from({ length: count }, (_, i) => from + i)
const tag = (n: number): Uint8Array => Uint8Array.of(0, 0, 0, n)
const first = (id: number, more = true): Expected => ({
  handle: 0,
  deliveryId: id,
  deliveryTag: any,
  messageFormat: 0,
  more,
})

describe.each(sides)('§2.6.14 sent while it is made (%s)', role => {
  test('§2.6.14 each piece in transfers of its own, `more` on all but the last', () => {
    const { peer, sender } = withSender(role, { credit: 2 })
    const delivery = sender.transfer(bytes(0, 3), { isOpen: true })
    peer.expectTransfer(first(0), bytes(0, 3)).nothing()
    extend(delivery, [bytes(3, 2), bytes(5, 1)])
    peer.expectTransfer({ handle: 0, more: true }, bytes(3, 3)).nothing()
    extend(delivery, [new Uint8Array(0)])
    peer.nothing()
    finish(delivery, [bytes(6, 1)])
    peer.expectTransfer({ handle: 0 }, bytes(6, 1)).respondDisposition({ first: 0 })
    sender.transfer(bytes(9, 1))
    peer.expectTransfer(first(1, false), bytes(9, 1)).finished()
  })

  test('§2.6.14 the end alone: an empty transfer without `more`', () => {
    const { peer, sender } = withSender(role, { credit: 1 })
    const delivery = sender.transfer(bytes(0, 1), { isOpen: true })
    peer.expectTransfer(first(0), bytes(0, 1))
    finish(delivery)
    peer.expectTransfer({ handle: 0 }).finished()
  })

  test('§2.6.14 others of the same link wait behind it, those of another link do not', () => {
    const { s, peer, session, sender } = withSender(role, { credit: 5 })
    const other = sending(s, session, { name: 'l2', handle: 1 })
    peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit: 5 })
    const delivery = sender.transfer(bytes(0, 1), { isOpen: true })
    sender.transfer(bytes(50, 1))
    peer.expectTransfer(first(0), bytes(0, 1)).nothing()
    other.transfer(bytes(70, 1))
    peer.expectTransfer({ ...first(1, false), handle: 1 }, bytes(70, 1)).nothing()
    finish(delivery, [bytes(1, 1)])
    peer.expectTransfer({ handle: 0 }, bytes(1, 1)).expectTransfer(first(2, false), bytes(50, 1)).finished()
  })

  test('§2.5.6 the session’s window holds it back, piece by piece', () => {
    const { peer, sender } = withSender(role, { credit: 5, begin: { incomingWindow: 2 } })
    peer.sendFlow({ incomingWindow: 2, handle: 0, deliveryCount: 0, linkCredit: 5 })
    const delivery = sender.transfer(bytes(0, 1), { isOpen: true })
    peer.expectTransfer(first(0), bytes(0, 1))
    for (let i = 1; i < 5; i++) {
      extend(delivery, [bytes(i, 1)])
      if (i === 1) peer.expectTransfer({ handle: 0, more: true }, bytes(1, 1))
      else peer.nothing()
    }
    peer.sendFlow({ incomingWindow: 1 }).expectTransfer({ handle: 0, more: true }, bytes(2, 3)).nothing()
    finish(delivery)
    peer.nothing().sendFlow({ incomingWindow: 1 }).expectTransfer({ handle: 0 }).finished()
  })

  test('§2.7.5 given up half-way: aborted; not begun: no trace', () => {
    const { s, peer, sender } = withSender(role, { credit: 1 })
    const delivery = sender.transfer(bytes(0, 3), { isOpen: true })
    const behind = sender.transfer(bytes(9, 1), { isOpen: true })
    peer.expectTransfer(first(0), bytes(0, 3))
    extend(delivery, [bytes(3, 1000)])
    expect(sender.abort(delivery)).toBe('aborted')
    expect(sender.abort(behind)).toBe('removed')
    // Too late: it is over.
    extend(delivery, [bytes(0, 1)])
    finish(delivery)
    peer.expectTransfer({ handle: 0, aborted: true }).finished()
    expect([s.engine.connection.pendingBytes, sender.unsettledCount, sender.queue.length]).toEqual([0, 0, 0])
  })

  test('§2.6.12 the receiver settles before the end: the rest can be aborted', () => {
    const { s, peer, sender } = withSender(role, { credit: 1 })
    const delivery = sender.transfer(bytes(0, 3), { isOpen: true })
    peer.expectTransfer(first(0), bytes(0, 3)).respondDisposition({ first: 0 })
    expect(s.outcomes()).toEqual([delivery])
    expect(sender.abort(delivery)).toBe('aborted')
    peer.expectTransfer({ handle: 0, aborted: true }).finished()
  })

  test('§2.6.6 a close waits for it, one with an error does not', () => {
    const { peer, sender } = withSender(role, { credit: 1 })
    const delivery = sender.transfer(bytes(0, 1), { isOpen: true })
    peer.expectTransfer(first(0), bytes(0, 1))
    sender.close()
    peer.nothing()
    finish(delivery, [bytes(1, 1)])
    peer.expectTransfer({ handle: 0 }, bytes(1, 1)).expectDetach({ handle: 0, closed: true }).respondDetach().finished()
    const again = withSender(role, { credit: 1 })
    again.sender.transfer(bytes(0, 1), { isOpen: true })
    again.peer.expectTransfer(first(0), bytes(0, 1))
    again.sender.close({ type: 'error', condition: 'amqp:internal-error', description: 'x' })
    again.peer.expectDetach({ handle: 0, closed: true, error: any }).respondDetach().finished()
  })
})

/** A streaming receiver with credit, on a session with a window of so many frames. */
function streaming(role: Side, incomingWindow: number, credit = 5) {
  const have = withReceiver(role, { begin: { incomingWindow } })
  have.receiver.isStreaming = true
  have.receiver.flow(credit)
  expect(have.peer.all()).toHaveLength(1)
  return have
}

/** The stream of the one delivery that has been handed out. */
function handedOut(s: Scenario): IncomingStream {
  const [delivery, ...others] = s.deliveries()
  expect(others).toEqual([])
  return delivery?.stream as IncomingStream
}

const taken = (stream: IncomingStream): Uint8Array => {
  const pieces: Uint8Array[] = []
  for (let piece = stream.next(); piece; piece = stream.next()) pieces.push(piece)
  return concat(...pieces)
}

/** Windows announced since it was last asked, in flows that are the session's alone. */
const announced = (peer: Script): unknown[] =>
  peer.all().map(({ name, fields }) => {
    expect([name, fields.handle]).toEqual(['flow', undefined])
    return fields.incomingWindow?.v
  })

describe.each(sides)('§2.6.14 handed out while it arrives (%s)', role => {
  test('§2.6.14 at its first transfer; told once until it is asked', () => {
    const { s, peer } = streaming(role, 100)
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, bytes(0, 3))
    const stream = handedOut(s)
    expect(s.events().map(({ type }) => type)).toEqual(['delivery.continued'])
    peer.sendTransfer({ more: true }, bytes(3, 3)).sendTransfer({ more: true })
    expect([s.deliveries(), s.events()]).toEqual([[], []])
    expect(taken(stream)).toEqual(bytes(0, 6))
    expect(stream.next()).toBeUndefined()
    peer.sendTransfer({}, bytes(6, 1))
    expect(s.events().map(({ type }) => type)).toEqual(['delivery.continued'])
    expect([stream.ended, stream.isRead]).toEqual(['complete', false])
    expect(taken(stream)).toEqual(bytes(6, 1))
    expect([stream.isRead, s.engine.connection.incompleteBytes]).toEqual([true, 0])
    peer.finished()
  })

  test('§2.5.6 unread frames take up the window; reading opens it again', () => {
    const { s, peer, session } = streaming(role, 4)
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, bytes(0, 10))
    const stream = handedOut(s)
    for (let i = 1; i < 4; i++) peer.sendTransfer({ more: true }, bytes(10 * i, 10))
    peer.nothing()
    expect(session.window).toMatchObject({ incomingWindow: 0, held: 4 })
    // Small pieces are gathered: what is taken is what has come.
    expect(taken(stream).length).toBe(40)
    expect(announced(peer)).toEqual([4])
    peer.sendTransfer({}, bytes(40, 1))
    expect(session.window).toMatchObject({ incomingWindow: 3, held: 1 })
    expect(taken(stream)).toEqual(bytes(40, 1))
    expect(session.window.held).toBe(0)
    peer.finished()
  })

  test('§2.5.6 a flow for another reason does not open the window over what is unread', () => {
    const { s, peer, receiver } = streaming(role, 4)
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, bytes(0, 10))
    peer.sendTransfer({ more: true }, bytes(10, 10))
    const stream = handedOut(s)
    receiver.flow(1)
    expect(peer.all()).toMatchObject([{ name: 'flow', fields: { incomingWindow: { v: 2 } } }])
    taken(stream)
    receiver.flow(1)
    expect(peer.all()).toMatchObject([{ name: 'flow', fields: { incomingWindow: { v: 4 } } }])
  })

  test('§2.5.6 a sender that does not mind the window is told so', () => {
    const { peer } = streaming(role, 3)
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, bytes(0, 1))
    for (let i = 0; i < 2; i++) peer.sendTransfer({ more: true }, bytes(1, 1)).nothing()
    peer.sendTransfer({ more: true }, bytes(2, 1))
    peer.expectEnd({ error: any })
  })

  test('§2.7.5 aborted: what has come is dropped, and the window is free', () => {
    const { s, peer, session } = streaming(role, 4)
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, bytes(0, 10))
    const stream = handedOut(s)
    peer.sendTransfer({ more: true }, bytes(0, 10)).sendTransfer({ aborted: true })
    expect(stream.ended).toBe('aborted')
    expect(stream.next()).toBeUndefined()
    expect([session.window.held, session.incoming.count, s.engine.connection.incompleteBytes]).toEqual([0, 0, 0])
    expect(announced(peer)).toEqual([4])
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1) }, bytes(0, 1))
    expect(handedOut(s).ended).toBe('complete')
  })

  test('discarded: what has come and what comes is dropped; it can be decided before its end', () => {
    const { s, peer, session, receiver } = streaming(role, 4)
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, bytes(0, 10))
    const [delivery] = s.deliveries()
    if (delivery) receiver.disposition(delivery, ACCEPTED)
    delivery?.stream?.discard()
    peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: any })
    let flows = 0
    for (let i = 0; i < 9; i++) {
      peer.sendTransfer({ more: true }, bytes(0, 10))
      flows += announced(peer).length
    }
    peer.sendTransfer({}, bytes(0, 1))
    expect(delivery?.stream).toMatchObject({ ended: 'complete', isRead: true })
    expect([session.window.held, s.engine.connection.incompleteBytes]).toEqual([0, 0])
    expect(flows).toBeGreaterThan(0)
  })

  test('§2.6.4 the link ends: the incomplete one is lost, the complete one stays, the window is free', () => {
    const { s, peer, session } = streaming(role, 5)
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) }, bytes(0, 10))
    const whole = handedOut(s)
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1), more: true }, bytes(0, 10))
    const half = handedOut(s)
    expect(session.window.held).toBe(2)
    peer.sendDetach({ handle: 0, closed: true }).expectDetach({ handle: 0, closed: true })
    expect([whole.ended, half.ended, session.window.held]).toEqual(['complete', 'lost', 0])
    expect([taken(whole), half.next()]).toEqual([bytes(0, 10), undefined])
    expect([session.window.held, s.engine.connection.incompleteBytes]).toEqual([0, 0])
  })

  test('§2.5.2 the session ends, the connection ends: lost', () => {
    for (const end of [(peer: Script) => peer.sendEnd(), (peer: Script) => peer.sendClose()]) {
      const { s, peer } = streaming(role, 4)
      peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, bytes(0, 10))
      const stream = handedOut(s)
      end(peer)
      expect([stream.ended, s.engine.connection.incompleteBytes]).toEqual(['lost', 0])
    }
  })

  test('§2.7.3 no limit is announced unless one is given, and one that is given holds', () => {
    const plain = withReceiver(role)
    expect(plain.receiver.maxMessageSize).toBe(64 << 20)
    const { s, peer, receiver } = streaming(role, 100)
    receiver.maxMessageSize = 25
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, bytes(0, 20))
    const stream = handedOut(s)
    peer.sendTransfer({ more: true }, bytes(0, 20)).expectDetach({ handle: 0, closed: true, error: any })
    expect([stream.ended, s.engine.connection.incompleteBytes]).toEqual(['lost', 0])
  })
})
