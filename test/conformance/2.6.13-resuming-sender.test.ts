/** §2.6.13 §3.4.6: a sender of ours takes up what an earlier endpoint of its link has left, by what the target's map says. */

import { describe, expect, test } from 'vitest'
import { ACCEPTED, type DeliveryState } from '../../src/definitions/delivery-state.ts'
import { attach as attachTable } from '../../src/definitions/performatives.ts'
import type { Source, Target } from '../../src/definitions/terminus.ts'
import type { UnsettledEntry } from '../../src/definitions/unsettled-map.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import { Writer } from '../../src/types/writer.ts'
import { accepted, rejected, released } from '../peer/composites.ts'
import { any, type Expected, type Script } from '../peer/script.ts'
import { concat, type Wire } from '../peer/wire.ts'
import {
  at,
  givenUp,
  granted,
  leftBySender,
  message,
  NOWHERE,
  type Resuming,
  resume,
  resumedSender,
  SECOND,
  sent,
  tag,
  transfer,
  unsettledMap,
} from '../support/resuming.ts'
import { begun, opened, scenario, sides, withSender } from '../support/scenario.ts'

describe('§2.6.13 the ways of a resumed delivery', () => {
  const how = (target: Record<number, Wire | null>, rest: Partial<Resuming> = {}): Resuming => ({
    says: unsettledMap({ 1: null }),
    theirs: { unsettled: unsettledMap(target) },
    ...rest,
  })

  test('§2.7.5 in several frames: resume, state and tag are on the first', () => {
    const payload = concat(message(1), message(2), message(3))
    const left = leftBySender(link => link.transfer(payload, { deliveryTag: tag(1), messageFormat: 7 }))
    const { peer } = resumedSender(left, how({ 1: at(0, 50) }, { open: { maxFrameSize: 512 } }))
    const frames = peer.all()
    expect(frames.map(({ fields }) => [fields.resume?.v, fields.more?.v, fields.deliveryTag?.v])).toEqual([
      [true, true, '01'],
      [undefined, true, undefined],
      [undefined, undefined, undefined],
    ])
    expect(frames[0]?.fields.messageFormat).toEqual({ t: 'uint', v: 7 })
    expect(concat(...frames.map(frame => frame.payload))).toEqual(payload.subarray(50))
    peer.respondDisposition({ first: 0 }).finished()
  })

  test('everything is there already: no payload', () => {
    const { peer } = resumedSender(sent(1), how({ 1: at(2, 0) }))
    peer.expectTransfer(resume(0, 1, { state: at(2, 0) })).finished()
  })

  test.each<[string, Wire]>([
    ['a section that the message does not have', at(3, 0)],
    ['a byte that it does not have', at(1, 86)],
    ['no place at all', at(0xffffffff, 2n ** 64n - 1n)],
  ])('§3.4.6 the target asks for %s: it is to forget it, and gets it anew', (_name, place) => {
    const { peer, link } = resumedSender(sent(1), how({ 1: place }))
    peer
      .expectTransfer(resume(0, 1, { aborted: true }))
      .expectTransfer(transfer(1, 1), message(1))
      .finished()
    expect([link.abandoned, link.unsettledCount]).toEqual([[], 1])
  })

  test('the abort was not framed before the next cut: nothing but the delivery is left', () => {
    const first = resumedSender(sent(1), how({ 1: at(9, 9) }, { credit: 0 }))
    first.peer.finished()
    first.s.engine.receiveEnd(0)
    const { open, abandoned } = first.link
    expect([open.length, abandoned.length]).toEqual([1, 1])
    const { peer } = resumedSender(open, how({ 1: at(0, 8) }))
    peer.expectTransfer(resume(0, 1, { state: at(0, 8) }), message(1).subarray(8)).finished()
  })

  test('§2.7.5 credit is needed as for any other', () => {
    const { peer, link } = resumedSender(sent(1), how({ 1: null }, { credit: 0 }))
    link.transfer(message(2), { deliveryTag: tag(2) })
    peer.nothing().sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 1 })
    peer.expectTransfer(resume(0, 1), message(1)).nothing()
    peer.sendFlow({ handle: 0, deliveryCount: 1, linkCredit: 1 })
    peer.expectTransfer(transfer(1, 2), message(2)).finished()
  })

  test('§2.8.2 mode unsettled: a disposition settles, since no transfer may', () => {
    const { s, peer } = resumedSender(sent(1), {
      ...how({ 1: accepted() }, { ours: { sndSettleMode: 'unsettled' } }),
    })
    peer.expectTransfer(resume(0, 1, { state: accepted() }))
    peer.expectDisposition({ role: 'sender', first: 0, settled: true, state: accepted() })
    // Its echo comes too late, and is let pass.
    peer.respondDisposition().finished()
    expect(s.outcomes().map(({ remoteState }) => remoteState?.type)).toEqual(['accepted'])
  })

  test('an outcome that does not fit into the target’s frames is not said back', () => {
    const info = {
      t: 'map' as const,
      v: [
        [
          { t: 'symbol' as const, v: 'k' },
          { t: 'string' as const, v: 'x'.repeat(900) },
        ],
      ] as [Wire, Wire][],
    }
    const state = rejected({ error: { condition: 'x:y', description: 'long', info } })
    const { s, peer } = resumedSender(sent(1), how({ 1: state }, { open: { maxFrameSize: 512 } }))
    peer.expectTransfer(resume(0, 1, { settled: true, state: any })).finished()
    expect(s.outcomes()[0]?.remoteState).toMatchObject({ type: 'rejected', error: { condition: 'x:y' } })
  })

  test('§2.6.12 the tags of what has come to an end may be used again', () => {
    const { peer, link } = resumedSender(sent(1), how({ 1: accepted() }))
    expect(() => link.transfer(message(1), { deliveryTag: tag(1) })).toThrow(/in use/)
    peer.expectTransfer(resume(0, 1, { settled: true, state: accepted() }))
    link.transfer(message(1), { deliveryTag: tag(1) })
    peer.expectTransfer(transfer(1, 1), message(1)).finished()
    const lost = resumedSender(sent(1, false), { says: unsettledMap({ 1: NOWHERE }) })
    lost.link.transfer(message(1), { deliveryTag: tag(1) })
    lost.peer.expectTransfer(transfer(0, 1), message(1)).finished()
  })

  test('the counter of tags goes on behind those of the earlier endpoint', () => {
    const left = leftBySender(link => link.transfer(message(1)))
    const zeros = new Uint8Array(4)
    const { peer, link } = resumedSender(left, { says: any as never })
    link.transfer(message(2))
    peer.expectTransfer({ ...transfer(0, 1), deliveryTag: zeros }, message(1))
    peer.expectTransfer({ ...transfer(1, 2), deliveryTag: Uint8Array.of(0, 0, 0, 1) }, message(2)).finished()
  })
})

describe('§2.7.5 given up when the link is resumed', () => {
  const how: Resuming = { says: unsettledMap({ 1: null }), theirs: { unsettled: unsettledMap({ 1: at(0, 8) }) } }

  test('before its first frame: the target is to forget it', () => {
    const left = sent(1)
    const { s, peer, link } = resumedSender(left, { ...how, credit: 0 })
    expect(left.map(delivery => link.abort(delivery))).toEqual(['aborted'])
    expect(left.map(delivery => link.abort(delivery))).toEqual(['sent'])
    expect([s.engine.connection.pendingBytes, link.open]).toEqual([0, []])
    peer.nothing().sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 1 })
    peer.expectTransfer(resume(0, 1, { aborted: true })).finished()
    expect([s.outcomes(), link.unsettledCount, link.open]).toEqual([[], 0, []])
  })

  test('in its middle', () => {
    const left = leftBySender(link => link.transfer(concat(message(1), message(2)), { deliveryTag: tag(1) }))
    const { s, peer, link } = resumedSender(left, { ...how, open: { maxFrameSize: 512 }, credit: 0 })
    peer.sendFlow({ incomingWindow: 1, handle: 0, deliveryCount: 0, linkCredit: 1 })
    peer.expectTransfer(resume(0, 1, { state: at(0, 8), more: true }), any)
    expect(left.map(delivery => link.abort(delivery))).toEqual(['aborted'])
    peer.nothing().sendFlow({ incomingWindow: 1 }).expectTransfer({ handle: 0, aborted: true }).finished()
    expect([s.engine.connection.pendingBytes, link.open]).toEqual([0, []])
  })

  test('an outcome that only has to be said stays', () => {
    const left = sent(1)
    const theirs = { unsettled: unsettledMap({ 1: accepted() }) }
    const { peer, link } = resumedSender(left, { ...how, theirs, credit: 0 })
    expect(left.map(delivery => link.abort(delivery))).toEqual(['sent'])
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 1 })
    peer.expectTransfer(resume(0, 1, { state: accepted(), settled: true })).finished()
  })

  test('after the link has ended', () => {
    const left = sent(1)
    const { s, link } = resumedSender(left, { ...how, credit: 0 })
    s.engine.receiveEnd(0)
    expect(left.map(delivery => link.abort(delivery))).toEqual(['sent'])
    expect(s.engine.connection.pendingBytes).toBe(0)
  })

  test('§3.4.6 an outcome at the source stays what it is, however often the link is cut', () => {
    const theirs = { unsettled: unsettledMap({ 13: accepted() }) }
    const first = resumedSender(givenUp(13), { says: unsettledMap({ 13: released() }), theirs })
    first.peer.expectTransfer(resume(0, 13, { state: released() })).finished()
    first.s.engine.receiveEnd(0)
    // The target has echoed it and forgotten: nothing is sent again.
    const second = resumedSender(first.link.open, { says: unsettledMap({ 13: released() }) })
    second.peer.finished()
    expect([second.link.open, second.link.abandoned]).toEqual([[], []])
    // Or it has not.
    const third = resumedSender(first.link.open, { says: unsettledMap({ 13: released() }), theirs })
    third.peer.expectTransfer(resume(0, 13, { state: released() })).finished()
  })
})

describe('§2.6.13 what is not resumed', () => {
  test('never framed: not in the map, sent as if nothing had happened, behind the others', () => {
    const left = leftBySender(
      link => {
        link.transfer(message(1), { deliveryTag: tag(1) })
        link.transfer(message(2), { deliveryTag: tag(2) })
        link.transfer(message(3), { deliveryTag: tag(3), settled: true })
      },
      { frames: 1 },
    )
    expect(left).toHaveLength(3)
    const { peer } = resumedSender(left, {
      says: unsettledMap({ 1: null }),
      // A tag of ours by chance: it is not in our map.
      theirs: { unsettled: unsettledMap({ 1: null, 2: accepted() }) },
    })
    peer.expectTransfer(resume(0, 1), message(1)).expectTransfer(transfer(1, 2), message(2))
    peer.expectTransfer(transfer(2, 3, { settled: true }), message(3)).finished()
  })

  test('sent settled, and cut: it is not in the map, and lost', () => {
    const left = leftBySender(
      link => link.transfer(concat(message(1), message(1)), { deliveryTag: tag(1), settled: true }),
      { frames: 1 },
    )
    expect(left.map(({ hasBegun }) => hasBegun)).toEqual([true])
    const theirs = { unsettled: unsettledMap({ 1: at(0, 8) }) }
    const { s, peer, link } = resumedSender(left, { says: unsettledMap({}), theirs })
    peer.finished()
    expect([link.abandoned, s.outcomes()]).toEqual([left, []])
  })

  test('sent settled, cut, and given up: nobody hears of it', () => {
    const left = leftBySender(
      (link, peer) => {
        const delivery = link.transfer(concat(message(1), message(1)), { deliveryTag: tag(1), settled: true })
        peer.all()
        link.abort(delivery)
      },
      { frames: 1 },
    )
    const { peer, link } = resumedSender(left, { says: unsettledMap({}) })
    peer.finished()
    expect(link.abandoned).toEqual([])
  })

  test('§4.4.1 posted under a transaction: the target is to forget it, and it is not sent without one', () => {
    const state: DeliveryState = { type: 'transactional-state', txnId: Uint8Array.of(7), outcome: undefined }
    const posted = (n: number) => leftBySender(link => link.transfer(message(n), { deliveryTag: tag(n), state }))
    const left = [...posted(1), ...posted(2)]
    const { peer, link } = resumedSender(left, {
      says: unsettledMap({ 1: null, 2: null }),
      theirs: { unsettled: unsettledMap({ 1: at(1, 0) }) },
    })
    peer.expectTransfer(resume(0, 1, { aborted: true })).finished()
    expect(link.abandoned).toEqual(left)
  })

  test('only the target has it: ignored', () => {
    const { peer, link } = resumedSender([], {
      says: unsettledMap({}),
      theirs: { unsettled: unsettledMap({ 1: accepted(), 2: at(0, 0), 3: null }) },
    })
    peer.finished()
    expect(link.open).toEqual([])
  })

  test('the target has no map: it knows nothing', () => {
    const { peer } = resumedSender(sent(1), { says: unsettledMap({ 1: null }), theirs: { unsettled: null } })
    peer.expectTransfer(transfer(0, 1), message(1)).finished()
  })

  test('§2.6.3 the target is gone: everything stays for another link', () => {
    const left = sent(1)
    const { peer, link } = resumedSender(left, {
      says: unsettledMap({ 1: null }),
      theirs: { target: null },
      credit: 0,
    })
    peer.sendDetach({ closed: true }).expectDetach({ handle: 0, closed: true }).finished()
    expect([link.refused, link.open]).toEqual([true, left])
  })
})

describe('§2.6.13 incomplete maps', () => {
  const says = unsettledMap({ 1: null, 2: null })
  const two = () =>
    leftBySender(link => {
      for (const n of [1, 2]) link.transfer(message(n), { deliveryTag: tag(n) })
    })

  test('the target’s: what it knows is resumed, nothing else is sent before both are complete', () => {
    const theirs = { unsettled: unsettledMap({ 2: null }), incompleteUnsettled: true }
    const { s, peer, session, link } = resumedSender(two(), { says, theirs })
    link.transfer(message(3), { deliveryTag: tag(3) })
    expect(link.mustReattach).toBe(true)
    peer.expectTransfer(resume(0, 2), message(2)).nothing()
    // A drain ends all the same: nothing more can come.
    peer.sendFlow({ handle: 0, deliveryCount: 1, linkCredit: 99, drain: true })
    peer.expectFlow({ ...granted(0, 100), available: any, drain: true })
    peer.respondDisposition({ first: 0 }).nothing()
    expect(s.outcomes()).toHaveLength(1)
    link.detach()
    peer.expectDetach({ handle: 0 }).sendDetach({ closed: false }).nothing()
    const next = session.sender('l1')
    next.keepsPayload = true
    next.adopt(link.open)
    next.attach({ source: { address: 'a' }, target: { address: 'b' } })
    peer.expectAttach({ ...attach, unsettled: unsettledMap({ 1: null }) }).respondAttach()
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 9 })
    peer.expectTransfer(transfer(1, 1), message(1)).expectTransfer(transfer(2, 3), message(3)).finished()
    expect(next.mustReattach).toBe(false)
  })

  test('the target’s, of a delivery that cannot be resumed: forgotten now, sent anew later', () => {
    const theirs = { unsettled: unsettledMap({ 1: at(9, 9), 2: null }), incompleteUnsettled: true }
    const { peer, link } = resumedSender(two(), { says, theirs })
    peer
      .expectTransfer(resume(0, 1, { aborted: true }))
      .expectTransfer(resume(1, 2), message(2))
      .finished()
    expect(link.open.map(({ deliveryTag }) => deliveryTag[0])).toEqual([1, 2])
  })

  test.each(sides)('the target’s, where the source has nothing (%s)', role => {
    const theirs = { incompleteUnsettled: true }
    const { peer, sender } = withSender(role, { theirs, credit: 5 })
    sender.transfer(message(1))
    peer.finished()
    expect([sender.mustReattach, sender.mayDetach]).toEqual([true, true])
  })

  test('ours: its frame holds no more', () => {
    const all = leftBySender(link => {
      for (let n = 0; n < 40; n++) link.transfer(message(1), { deliveryTag: new Uint8Array(32).fill(n) })
    })
    const { s, peer, link } = prepared(all, 512)
    const [frame] = peer.all()
    const map = frame?.fields.unsettled as Wire & { t: 'map' }
    expect(frame?.fields.incompleteUnsettled).toEqual({ t: 'boolean', v: true })
    expect(map.v.length).toBeGreaterThan(8)
    expect(map.v.length).toBeLessThan(40)
    // The target knows one that is in our map, and one that is not.
    const known: [Wire, Wire][] = [0, 39].map(n => [
      { t: 'binary', v: Buffer.alloc(32, n).toString('hex') },
      { t: 'null', v: null },
    ])
    peer.respondAttach({ unsettled: { t: 'map', v: known } })
    peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit: 100 })
    const first = peer.all().filter(({ fields }) => fields.deliveryTag)
    expect(first.map(({ fields }) => [fields.resume?.v, fields.deliveryTag?.v])).toEqual(
      known.map(([key]) => [true, key.v]),
    )
    expect([link.mustReattach, link.open.length, s.engine.connection.state]).toEqual([true, 40, 'OPENED'])
  })
})

const attach: Expected = {
  name: 'l1',
  handle: 0,
  role: 'sender',
  source: any,
  target: any,
  initialDeliveryCount: 0,
}

/** A sender that has attached and waits for the answer. */
function prepared(left: readonly OutgoingDelivery[], maxFrameSize: number) {
  const { s, peer, session } = withSender('initiator', { name: 'other', handle: 0, open: { maxFrameSize } })
  const link = session.sender('l1')
  link.keepsPayload = true
  link.adopt(left)
  link.attach({ source: { address: 'a' }, target: { address: 'b' } })
  return { s, peer, link }
}

describe('§2.6.4 the same link again', () => {
  const again = (link: SenderEndpoint, peer: Script, channel: number, session = link.session): SenderEndpoint => {
    const next = session.sender('l1')
    next.keepsPayload = true
    next.adopt(link.open)
    next.attach({ source: { address: 'a' }, target: { address: 'b' } })
    peer.expectAttach({ ...attach, unsettled: unsettledMap({ 1: null }) }, undefined, channel)
    peer.respondAttach({ unsettled: unsettledMap({ 1: at(1, 0) }) }, undefined, channel)
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 9 }, undefined, channel)
    return next
  }

  test.each(sides)('on the same session (%s)', role => {
    const { s, peer, sender } = withSender(role, { credit: 9 })
    sender.keepsPayload = true
    const delivery = sender.transfer(message(1), { deliveryTag: tag(1) })
    peer.expectTransfer(transfer(0, 1), message(1))
    sender.detach()
    peer.expectDetach({ handle: 0 }).sendDetach({ closed: false })
    const next = again(sender, peer, 0)
    peer.expectTransfer(resume(1, 1, { state: at(1, 0) }), message(1).subarray(SECOND))
    // Its old id means nothing any more.
    peer.sendDisposition({ first: 0, settled: true, state: released() })
    expect(s.outcomes()).toEqual([])
    peer.sendDisposition({ first: 1, settled: true, state: accepted() }).finished()
    expect(s.outcomes()).toEqual([delivery])
    expect([delivery.remoteState, next.unsettledCount, delivery.link === next]).toEqual([ACCEPTED, 0, true])
  })

  test('on another session of the same connection', () => {
    const { s, peer, session, sender } = withSender('initiator', { credit: 9 })
    sender.keepsPayload = true
    const delivery = sender.transfer(message(1), { deliveryTag: tag(1) })
    peer.expectTransfer(transfer(0, 1), message(1))
    session.end()
    peer.expectEnd().respondEnd()
    const next = again(sender, peer, 0, begun(s))
    peer.expectTransfer(resume(0, 1, { state: at(1, 0) }), message(1).subarray(SECOND))
    peer.sendDisposition({ first: 0, settled: true, state: accepted() }).finished()
    expect([s.outcomes(), next.open]).toEqual([[delivery], []])
  })
})

describe('§2.7.3 hostile maps', () => {
  test('100,000 entries, most of them of tags that nobody has', () => {
    const s = opened(scenario({ role: 'initiator' }), { maxFrameSize: 4 << 20 })
    const link = begun(s).sender('l1')
    link.keepsPayload = true
    link.adopt(sent(1))
    link.attach({ source: {}, target: {} })
    s.peer.all()
    const unsettled = Array.from({ length: 100_000 }, (_, i): UnsettledEntry => {
      const state = { type: 'received' as const, sectionNumber: i, sectionOffset: 2n ** 64n - 1n }
      return [i > 0 ? Uint8Array.of(i >> 16, i >> 8, i) : tag(1), i % 2 ? undefined : state]
    })
    const writer = new Writer()
    const termini = { source: { type: 'source' } as Source, target: { type: 'target' } as Target }
    attachTable.write(writer, { type: 'attach', name: 'l1', handle: 0, role: 'receiver', ...termini, unsettled })
    const body = writer.copy()
    const size = body.length + 8
    const start = performance.now()
    s.peer.sendRaw(concat(Uint8Array.of(size >> 24, size >> 16, size >> 8, size, 2, 0, 0, 0), body))
    s.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 9 })
    expect(performance.now() - start).toBeLessThan(5000)
    s.peer
      .expectTransfer(resume(0, 1, { aborted: true }))
      .expectTransfer(transfer(1, 1), message(1))
      .finished()
  })

  test.each<[string, Wire]>([
    ['a list', { t: 'list', v: [] }],
    [
      'strings for tags',
      {
        t: 'map',
        v: [
          [
            { t: 'string', v: 'a' },
            { t: 'null', v: null },
          ],
        ],
      },
    ],
    [
      'null for a tag',
      {
        t: 'map',
        v: [
          [
            { t: 'null', v: null },
            { t: 'null', v: null },
          ],
        ],
      },
    ],
    [
      'a number for a state',
      {
        t: 'map',
        v: [
          [
            { t: 'binary', v: '01' },
            { t: 'uint', v: 1 },
          ],
        ],
      },
    ],
  ])('%s: a decode error, and the connection is closed', (_name, unsettled) => {
    const { s, peer, link } = prepared(sent(1), 4096)
    peer.all()
    peer.respondAttach({ unsettled })
    expect(s.event('protocol.error').error.condition).toBe('amqp:decode-error')
    expect(peer.all().map(({ name }) => name)).toEqual(['close'])
    expect(link.open).toHaveLength(1)
  })
})
