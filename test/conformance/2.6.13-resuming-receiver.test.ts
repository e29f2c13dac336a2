/** §2.6.13 §3.4.6: a receiver of ours is resumed: it says how far everything got, and takes up what the source does. */

import { describe, expect, test } from 'vitest'
import { ACCEPTED, type DeliveryState, RELEASED } from '../../src/definitions/delivery-state.ts'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import { accepted, type Fields, modified, received, rejected, released } from '../peer/composites.ts'
import { any, type Script } from '../peer/script.ts'
import { concat, type Wire } from '../peer/wire.ts'
import {
  at,
  attached,
  type Before,
  granted,
  leftByReceiver,
  message,
  type Resuming,
  resumedReceiver,
  SECOND,
  tag,
  unsettledMap,
} from '../support/resuming.ts'
import { begun, payloadOf, receiving, type Scenario, sides, withReceiver } from '../support/scenario.ts'

const second = { ours: { rcvSettleMode: 'second' as const } }
/** Bytes of the message that had come before the cut. */
const HAD = 320

/** One delivery, of which a part has come. */
const partial = (had = HAD): IncomingDelivery[] =>
  leftByReceiver((_link, peer) =>
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(1), more: true }, message(1).subarray(0, had)),
  ).left

/** One delivery that its owner has, decided or not. */
const whole = (state?: DeliveryState, before: Before = second): IncomingDelivery[] =>
  leftByReceiver((link, peer, s) => {
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(1) }, message(1))
    for (const delivery of s.deliveries()) if (state) link.disposition(delivery, state)
    peer.all()
  }, before).left

/** What the source has: the delivery with tag 1, from the beginning. */
const KNOWN: Fields = { unsettled: unsettledMap({ 1: null }) }
const PARTIAL: Resuming = { says: unsettledMap({ 1: at(1, HAD - SECOND) }), theirs: KNOWN }
const WHOLE: Resuming = { says: unsettledMap({ 1: at(2, 0) }), theirs: KNOWN }
const resume = (rest: Fields = {}): Fields => ({ deliveryId: 0, deliveryTag: tag(1), resume: true, ...rest })

const types = (s: Scenario): string[] => s.events().map(({ type }) => type)
/** What a receiver is left with that has nothing more to do. */
const nothingLeft = ({ s, session, link }: ReturnType<typeof resumedReceiver>): void => {
  expect([link.open, session.incoming.count, s.engine.connection.incompleteBytes]).toEqual([[], 0, 0])
}

describe.each(sides)('§3.4.6 a part has come (%s)', role => {
  test.each<[string, Wire | undefined, number]>([
    ['the beginning, without a state', undefined, 0],
    ['the beginning, said', at(0, 0), 0],
    ['a place before', at(0, 17), 17],
    ['the end of the section before', at(0, SECOND), SECOND],
    ['the very place', at(1, HAD - SECOND), HAD],
    ['the very place, counted from the section before', at(0, HAD), HAD],
  ])('resumed from %s', (_name, state, from) => {
    const left = partial()
    const resumed = resumedReceiver(left, { role, ...PARTIAL })
    const { s, peer, link } = resumed
    peer.sendTransfer(resume(state ? { state } : {}), message(1).subarray(from))
    const deliveries = s.deliveries()
    expect(deliveries).toEqual(left)
    expect(payloadOf(deliveries[0])).toEqual(message(1))
    expect(s.engine.connection.incompleteBytes).toBe(0)
    // It has used the credit that was granted for it.
    expect(link.credit.linkCredit).toBe(9)
    link.disposition(deliveries[0] as IncomingDelivery, ACCEPTED)
    peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: accepted() }).finished()
    nothingLeft(resumed)
  })

  test.each([0, 100, HAD - 1, HAD])('in frames of one byte, from byte %i', from => {
    const { s, peer } = resumedReceiver(partial(), { role, ...PARTIAL })
    const rest = message(1).subarray(from)
    for (let i = 0; i < rest.length; i++) {
      const more = i < rest.length - 1
      // The flag may be repeated; so may id and tag.
      const fields = i === 0 ? resume({ state: at(0, from), more }) : i % 2 ? { more } : resume({ more })
      peer.sendTransfer(fields, rest.subarray(i, i + 1))
    }
    expect(payloadOf(s.deliveries()[0])).toEqual(message(1))
    peer.finished()
  })

  test('all but the frame that says so had come', () => {
    const all = message(1).length
    const { s, peer } = resumedReceiver(partial(all), { role, says: unsettledMap({ 1: at(2, 0) }), theirs: KNOWN })
    peer.sendTransfer(resume({ state: at(2, 0) }))
    expect(payloadOf(s.deliveries()[0])).toEqual(message(1))
  })

  test('cut again in its middle, and again', () => {
    let left = partial(10)
    for (const [had, from] of [
      [10, 0],
      [30, 20],
      [200, 30],
    ] as const) {
      const { s, peer, link } = resumedReceiver(left, { role, says: unsettledMap({ 1: at(0, had) }), theirs: KNOWN })
      const to = had === 10 ? 30 : 200
      if (had === 200) {
        peer.sendTransfer(resume({ state: at(0, from) }), message(1).subarray(from))
        expect(s.deliveries().map(payloadOf)).toEqual([message(1)])
      } else peer.sendTransfer(resume({ state: at(0, from), more: true }), message(1).subarray(from, to))
      s.engine.receiveEnd(0)
      left = link.open
      expect(left).toHaveLength(1)
    }
  })

  test('aborted: what had come is dropped', () => {
    const resumed = resumedReceiver(partial(), { role, ...PARTIAL })
    const { s, peer } = resumed
    peer.sendTransfer(resume({ aborted: true }), message(1))
    nothingLeft(resumed)
    // The owner has had nothing for its credit.
    peer.expectFlow({ ...granted(10, 1) })
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1) }, message(2)).finished()
    expect(s.deliveries().map(payloadOf)).toEqual([message(2)])
    expect(types(s)).not.toContain('delivery.settled')
  })

  test('aborted in the middle of being resumed', () => {
    const resumed = resumedReceiver(partial(), { role, ...PARTIAL })
    const { s, peer } = resumed
    peer.sendTransfer(resume({ more: true }), message(1).subarray(0, 350)).sendTransfer({ aborted: true })
    nothingLeft(resumed)
    peer.finished()
    expect(s.deliveries()).toEqual([])
  })

  test('settled by the source when it is resumed', () => {
    const resumed = resumedReceiver(partial(), { role, ...PARTIAL })
    resumed.peer.sendTransfer(resume({ settled: true }), message(1))
    expect(resumed.s.deliveries()).toMatchObject([{ remoteSettled: true, handedOver: true }])
    resumed.peer.finished()
    nothingLeft(resumed)
  })

  test('only the target has it: considered settled, and dropped', () => {
    const resumed = resumedReceiver(partial(), { role, ...PARTIAL, theirs: {} })
    nothingLeft(resumed)
    expect(types(resumed.s)).not.toContain('delivery.settled')
    // A late resume is of a tag that is not known.
    resumed.peer.sendTransfer(resume(), message(1))
    resumed.peer.expectFlow(granted(10, 1)).finished()
    expect(resumed.s.deliveries()).toEqual([])
  })

  test.each<[string, Fields, Uint8Array]>([
    ['behind the place asked for', { state: at(1, HAD - SECOND + 1) }, message(1).subarray(HAD + 1)],
    ['at a section that has not come', { state: at(2, 0) }, new Uint8Array(0)],
    ['at a place beyond everything', { state: at(0xffffffff, 2n ** 64n - 1n) }, message(1)],
    ['with less than had come', {}, message(1).subarray(0, HAD - 1)],
    ['with an outcome in place of payload', { state: accepted(), settled: true }, new Uint8Array(0)],
  ])('resumed %s: an error of the link, and nothing is handed over', (_name, fields, payload) => {
    const { s, peer, link } = resumedReceiver(partial(), { role, ...PARTIAL })
    peer.sendTransfer(resume(fields), payload)
    peer.expectDetach({ handle: 0, closed: true, error: any }).sendDetach().finished()
    expect(s.event('protocol.error').error).toMatchObject({ condition: 'amqp:invalid-field', section: '3.4.6' })
    expect([s.deliveries(), s.engine.connection.incompleteBytes]).toEqual([[], 0])
    // §2.6.5: the link may be resumed, with what had come.
    if (!fields.settled) expect(link.open).toHaveLength(1)
  })
})

describe.each(sides)('§3.4.6 the owner has it, and has not decided (%s)', role => {
  test.each<[string, Fields, Uint8Array]>([
    ['from the end, without payload', { state: at(2, 0) }, new Uint8Array(0)],
    ['from the beginning', {}, message(1)],
    ['from the beginning, with more than there was', {}, concat(message(1), message(2))],
    ['from a place that it does not have', { state: at(7, 7) }, message(1)],
    ['without payload or state', {}, new Uint8Array(0)],
  ])('resumed %s: not handed over again; its decision goes out under the new id', (_name, fields, payload) => {
    const left = whole()
    const resumed = resumedReceiver(left, { role, ...WHOLE, ...second })
    const { s, peer, session } = resumed
    peer.sendTransfer(resume({ deliveryId: 700, ...fields }), payload)
    // Its owner gets nothing for the credit that it has used.
    peer.expectFlow(granted(10, 1)).nothing()
    expect([s.deliveries(), session.incoming.count]).toEqual([[], 1])
    expect(left.map(payloadOf)).toEqual([message(1)])
    for (const delivery of left) delivery.link.disposition(delivery, RELEASED)
    peer.expectDisposition({ role: 'receiver', first: 700, state: released() })
    peer.sendDisposition({ role: 'sender', first: 700, settled: true, state: released() }).finished()
    expect(types(s)).toContain('delivery.settled')
    nothingLeft(resumed)
  })

  test('decided between two frames that resume it', () => {
    const left = whole()
    const { s, peer } = resumedReceiver(left, { role, ...WHOLE, ...second })
    peer.sendTransfer(resume({ more: true }), message(1).subarray(0, 9))
    for (const delivery of left) delivery.link.disposition(delivery, ACCEPTED)
    peer.sendTransfer(resume(), message(1).subarray(9))
    peer.expectFlow(granted(10, 1))
    peer.expectDisposition({ role: 'receiver', first: 0, state: accepted() }).finished()
    expect(s.deliveries()).toEqual([])
  })

  test.each<[string, Fields]>([
    ['aborted', { aborted: true }],
    ['settled', { settled: true, state: at(2, 0) }],
    ['settled with an outcome', { settled: true, state: accepted() }],
  ])('%s by the source: the owner keeps it and is told; what it decides is nobody’s business', (_name, fields) => {
    const left = whole()
    const resumed = resumedReceiver(left, { role, ...WHOLE, ...second })
    const { s, peer } = resumed
    s.events()
    peer.sendTransfer(resume(fields)).expectFlow(granted(10, 1))
    expect(types(s)).toEqual(['delivery.settled'])
    for (const delivery of left) delivery.link.disposition(delivery, ACCEPTED)
    peer.finished()
    expect(left).toMatchObject([{ remoteSettled: true, localSettled: true }])
    expect(left.map(payloadOf)).toEqual([message(1)])
    nothingLeft(resumed)
  })

  test('forgotten by the source: considered settled, the owner is told', () => {
    const left = whole()
    const resumed = resumedReceiver(left, { role, ...WHOLE, ...second, theirs: {} })
    expect(types(resumed.s)).toContain('delivery.settled')
    expect(left).toMatchObject([{ remoteSettled: true }])
    nothingLeft(resumed)
    for (const delivery of left) delivery.link.disposition(delivery, ACCEPTED)
    resumed.peer.finished()
  })
})

describe.each(sides)('§3.4.6 it is decided (%s)', role => {
  const decided: Resuming = { role, ...second, says: unsettledMap({ 1: accepted() }), theirs: KNOWN }

  test('3: settled with the same outcome', () => {
    const resumed = resumedReceiver(whole(ACCEPTED), decided)
    resumed.peer.sendTransfer(resume({ settled: true, state: accepted() }))
    resumed.peer.expectFlow(granted(10, 1)).finished()
    expect(types(resumed.s)).toContain('delivery.settled')
    nothingLeft(resumed)
  })

  test('3: confirmed, and not settled: settled here, and said', () => {
    const resumed = resumedReceiver(whole(ACCEPTED), decided)
    resumed.peer.sendTransfer(resume({ state: accepted() }))
    resumed.peer.expectFlow(granted(10, 1))
    resumed.peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: accepted() }).finished()
    expect(types(resumed.s)).toContain('delivery.settled')
    nothingLeft(resumed)
  })

  test.each<[string, Wire, Wire]>([
    ['released', released(), released()],
    ['rejected', rejected({ error: { condition: 'x:y' } }), rejected({ error: { condition: 'x:y' } })],
    ['modified', modified({ deliveryFailed: true }), modified({ deliveryFailed: true })],
  ])('13: restated as %s: that is echoed, and settled', (name, state, echo) => {
    const left = whole(ACCEPTED)
    const resumed = resumedReceiver(left, decided)
    resumed.peer.sendTransfer(resume({ state })).expectFlow(granted(10, 1))
    resumed.peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: echo }).finished()
    expect(left).toMatchObject([{ localState: { type: name } }])
    nothingLeft(resumed)
  })

  test('not heard of yet: said again, under the new id; payload is let pass', () => {
    const resumed = resumedReceiver(whole(ACCEPTED), decided)
    const { s, peer } = resumed
    peer.sendTransfer(resume({ deliveryId: 9, more: true }), message(1).subarray(0, 100))
    peer.expectDisposition({ role: 'receiver', first: 9, state: accepted() }).nothing()
    peer.sendTransfer({ more: true }, message(1).subarray(100, 200)).sendTransfer({}, message(1).subarray(200))
    peer.expectFlow(granted(10, 1))
    expect([s.deliveries(), s.engine.connection.incompleteBytes]).toEqual([[], 0])
    peer.sendDisposition({ role: 'sender', first: 9, settled: true, state: accepted() }).finished()
    expect(types(s)).toContain('delivery.settled')
    nothingLeft(resumed)
  })

  test('decided while there was no connection', () => {
    const left = whole()
    for (const delivery of left) delivery.link.disposition(delivery, ACCEPTED)
    const { peer } = resumedReceiver(left, decided)
    peer
      .sendTransfer(resume({ settled: true, state: accepted() }))
      .expectFlow(granted(10, 1))
      .finished()
  })

  test('decided while the source believes that it is not', () => {
    const left = whole()
    const { peer } = resumedReceiver(left, { ...decided, says: unsettledMap({ 1: at(2, 0) }) })
    for (const delivery of left) delivery.link.disposition(delivery, ACCEPTED)
    peer
      .nothing()
      .sendTransfer(resume({ state: at(2, 0) }))
      .expectFlow(granted(10, 1))
    peer.expectDisposition({ role: 'receiver', first: 0, state: accepted() }).finished()
  })

  test('aborted by the source all the same: over', () => {
    const resumed = resumedReceiver(whole(ACCEPTED), decided)
    resumed.peer
      .sendTransfer(resume({ aborted: true }))
      .expectFlow(granted(10, 1))
      .finished()
    expect(types(resumed.s)).toContain('delivery.settled')
    nothingLeft(resumed)
  })

  test('§2.7.5 that it was to be settled first is not kept', () => {
    const left = leftByReceiver((_link, peer, s) => {
      peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(1), rcvSettleMode: 'first' }, message(1))
      expect(s.deliveries()).toHaveLength(1)
    }, second).left
    const { peer } = resumedReceiver(left, { role, ...WHOLE, ...second })
    peer.sendTransfer(resume({ state: at(2, 0) })).expectFlow(granted(10, 1))
    for (const delivery of left) delivery.link.disposition(delivery, ACCEPTED)
    peer.expectDisposition({ role: 'receiver', first: 0, state: accepted() }).finished()
  })

  test('§4.4.4 a provisional state is no decision: resumed as if there were none', () => {
    const state: DeliveryState = { type: 'transactional-state', txnId: Uint8Array.of(1), outcome: ACCEPTED }
    const left = whole(state)
    const { peer } = resumedReceiver(left, { role, ...WHOLE, ...second })
    peer
      .sendTransfer(resume({ state: at(2, 0) }))
      .expectFlow(granted(10, 1))
      .nothing()
    for (const delivery of left) delivery.link.disposition(delivery, RELEASED)
    peer.expectDisposition({ role: 'receiver', first: 0, state: released() }).finished()
  })

  test('mode first: the decision is said with its settlement, and nothing is left', () => {
    const left = whole(undefined, {})
    for (const delivery of left) delivery.link.disposition(delivery, ACCEPTED)
    const resumed = resumedReceiver(left, { ...decided, ours: {} })
    resumed.peer.sendTransfer(resume({ state: at(2, 0) })).expectFlow(granted(10, 1))
    resumed.peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: accepted() }).finished()
    nothingLeft(resumed)
  })
})

describe('§2.7.5 a tag that is not known', () => {
  const unknown = (peer: Script, id: number, rest: Fields = {}): void => {
    peer.sendTransfer({ deliveryId: id, deliveryTag: tag(9), resume: true, ...rest }, message(9))
  }

  test.each(sides)('ignored, all of it; its credit comes back (%s)', role => {
    const { s, peer } = resumedReceiver([], { role, says: unsettledMap({}), credit: 1 })
    unknown(peer, 5, { more: true })
    peer.sendTransfer({ more: true }, message(9)).nothing().sendTransfer({}, message(9))
    peer.expectFlow(granted(1, 1))
    unknown(peer, 6, { more: true, aborted: true })
    peer.expectFlow(granted(1, 2))
    unknown(peer, 7, { more: true })
    peer.nothing().sendTransfer({ aborted: true }).expectFlow(granted(1, 3))
    // What comes behind it is taken.
    peer.sendTransfer({ deliveryId: 8, deliveryTag: tag(9) }, message(8)).finished()
    expect(s.deliveries().map(payloadOf)).toEqual([message(8)])
  })

  test('a window is filled again', () => {
    const { s, peer, session } = withReceiver('initiator')
    const link = session.receiver('w')
    link.useWindow(2)
    link.adopt([])
    attached(s, link, { says: unsettledMap({}) }, [1, 0])
    expect(peer.all().map(({ fields }) => fields.linkCredit?.v)).toEqual([2])
    for (let id = 0; id < 2; id++) unknown(peer, id, { handle: 1 })
    expect(peer.all().map(({ fields }) => [fields.linkCredit?.v, fields.deliveryCount?.v])).toEqual([[2, 2]])
  })

  test('on a link that was never resumed', () => {
    const { s, peer, receiver } = withReceiver('initiator', { credit: 3 })
    for (let id = 0; id < 3; id++) unknown(peer, id)
    expect(peer.all().at(-1)?.fields.linkCredit?.v).toBe(3)
    expect([s.deliveries(), receiver.open, s.engine.connection.state]).toEqual([[], [], 'OPENED'])
  })

  test('while draining nothing is granted again', () => {
    const { s, peer, receiver } = withReceiver('initiator', { credit: 2 })
    receiver.drain()
    peer.expectFlow({ ...granted(2), drain: true })
    unknown(peer, 0)
    peer.sendFlow({ handle: 0, deliveryCount: 2, linkCredit: 0, drain: true }).finished()
    expect(types(s)).toContain('link.drained')
  })

  test('resume on every transfer: continuations of a new delivery are just that', () => {
    const { s, peer } = withReceiver('initiator', { credit: 3 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(1), more: true }, message(1).subarray(0, 7))
    peer.sendTransfer({ resume: true }, message(1).subarray(7)).finished()
    expect(s.deliveries().map(payloadOf)).toEqual([message(1)])
  })

  test('§2.6.14 another delivery begins inside: of one that is ignored, of one that is not', () => {
    const ignored = withReceiver('initiator', { credit: 3 })
    unknown(ignored.peer, 0, { more: true })
    unknown(ignored.peer, 1)
    const unfinished = resumedReceiver(partial(), PARTIAL)
    unfinished.peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(2), more: true }, message(2))
    unfinished.peer.sendTransfer(resume({ deliveryId: 1 }), message(1))
    for (const { s, peer } of [ignored, unfinished]) {
      expect(s.event('protocol.error').error).toMatchObject({ condition: 'amqp:invalid-field', section: '2.6.14' })
      expect(peer.all().map(({ name }) => name)).toEqual(['end'])
      expect([s.deliveries(), s.engine.connection.incompleteBytes]).toEqual([[], 0])
    }
    expect(unfinished.link.open.map(({ deliveryTag }) => deliveryTag[0])).toEqual([1, 2])
  })

  test('§2.6.7 without credit: an error, resumed or not; it stays for the next time', () => {
    const { s, peer, link } = resumedReceiver(partial(), { ...PARTIAL, credit: 0 })
    peer.sendTransfer(resume(), message(1))
    expect(s.event('protocol.error').error.condition).toBe('amqp:link:transfer-limit-exceeded')
    expect(link.open).toHaveLength(1)
  })
})

describe('§2.6.13 incomplete maps', () => {
  test('the source’s: what it lacks is not settled', () => {
    const left = [...whole(), ...partial()]
    const resumed = resumedReceiver([left[0] as IncomingDelivery], {
      ...WHOLE,
      ...second,
      theirs: { unsettled: unsettledMap({}), incompleteUnsettled: true },
    })
    expect(resumed.link.open).toEqual([left[0]])
    expect(types(resumed.s)).not.toContain('delivery.settled')
  })

  test.each(sides)('ours: a new delivery is an error, one that is resumed is not (%s)', role => {
    const { left } = leftByReceiver((_link, peer, s) => {
      for (let n = 0; n < 40; n++) peer.sendTransfer({ deliveryId: n, deliveryTag: long(n) }, message(1))
      expect(s.deliveries()).toHaveLength(40)
    }, second)
    const { s, peer, link } = resumedReceiver(left, {
      role,
      ...second,
      open: { maxFrameSize: 512 },
      says: any as never,
      incomplete: true,
      theirs: { unsettled: { t: 'map', v: left.map(({ deliveryTag }) => [hex(deliveryTag), { t: 'null', v: null }]) } },
    })
    // In our map or not: it is known here.
    for (const n of [0, 39]) peer.sendTransfer({ deliveryId: n ? 1 : 0, deliveryTag: long(n), resume: true })
    expect(s.events().filter(({ type }) => type === 'protocol.error')).toEqual([])
    peer.all()
    peer.sendTransfer({ deliveryId: 2, deliveryTag: tag(77) }, message(1))
    peer.expectDetach({ handle: 0, closed: true, error: any }).finished()
    expect(s.event('protocol.error').error).toMatchObject({ condition: 'amqp:not-allowed', section: '2.7.3' })
    expect([link.open.length, s.deliveries()]).toEqual([40, []])
  })
})

const long = (n: number): Uint8Array => new Uint8Array(32).fill(n)
const hex = (bytes: Uint8Array): Wire => ({ t: 'binary', v: Buffer.from(bytes).toString('hex') })

describe('§2.6.4 the same link again', () => {
  test.each(sides)('on the same session, in both modes (%s)', role => {
    for (const modes of [{}, { rcvSettleMode: 'second' as const }]) {
      const theirs = 'rcvSettleMode' in modes ? { rcvSettleMode: 1 } : {}
      const { s, peer, session, receiver } = withReceiver(role, { ours: modes, theirs, credit: 5 })
      peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(1) }, message(1))
      const [delivery] = s.deliveries()
      receiver.detach()
      peer.expectDetach({ handle: 0 }).sendDetach({ closed: false }).nothing()
      const next = session.receiver('l1')
      next.useWindow(undefined)
      next.adopt(receiver.open)
      attached(s, next, { ours: modes, says: unsettledMap({ 1: at(2, 0) }), theirs: { ...theirs, ...KNOWN } })
      next.flow(1)
      peer.expectFlow(granted(1))
      peer.sendTransfer(resume({ deliveryId: 1, state: at(2, 0) })).expectFlow(granted(1, 1))
      if (delivery) delivery.link.disposition(delivery, ACCEPTED)
      const settled = !('rcvSettleMode' in modes)
      peer.expectDisposition({ role: 'receiver', first: 1, settled, state: accepted() }).finished()
      expect([delivery?.link === next, s.deliveries()]).toEqual([true, []])
    }
  })

  test('on another session of the same connection, in the middle of a delivery', () => {
    const { s, peer, session, receiver } = withReceiver('initiator', { credit: 5 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(1), more: true }, message(1).subarray(0, HAD))
    session.end()
    peer.expectEnd().respondEnd()
    expect(s.engine.connection.incompleteBytes).toBe(0)
    const next = begun(s).receiver('l1')
    next.useWindow(undefined)
    next.adopt(receiver.open)
    attached(s, next, PARTIAL)
    next.flow(1)
    peer.expectFlow(granted(1))
    peer.sendTransfer(resume({ state: at(1, HAD - SECOND) }), message(1).subarray(HAD)).finished()
    expect(s.deliveries().map(payloadOf)).toEqual([message(1)])
    expect(s.engine.connection.incompleteBytes).toBe(0)
  })

  test('while another link of the session goes on', () => {
    const { s, peer, session, receiver } = withReceiver('initiator', { credit: 5 })
    const other = receiving(s, session, { name: 'l2', handle: 1 })
    other.flow(5)
    peer.all()
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(1) }, message(1))
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1), handle: 1 }, message(2))
    receiver.detach()
    peer.expectDetach({ handle: 0 }).sendDetach({ closed: false })
    expect([receiver.open.length, other.open.length]).toEqual([1, 1])
    for (const delivery of s.deliveries()) delivery.link.disposition(delivery, ACCEPTED)
    const heard = peer.all().map(({ fields }) => [fields.first?.v, fields.last?.v ?? fields.first?.v])
    expect(heard.flat()).toContain(1)
  })
})

test('§2.7.3 a received state that the source gives in its map is of no concern', () => {
  const unsettled = unsettledMap({ 1: received({ sectionNumber: 0xffffffff, sectionOffset: 2n ** 64n - 1n }) })
  const { s, peer } = resumedReceiver(partial(), { ...PARTIAL, theirs: { unsettled } })
  peer.sendTransfer(resume(), message(1))
  expect(s.deliveries().map(payloadOf)).toEqual([message(1)])
})
