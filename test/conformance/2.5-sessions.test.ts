/** §2.5: sessions: beginning, ending, errors, states, and their windows. */

import { describe, expect, test } from 'vitest'
import { accepted, error } from '../peer/composites.ts'
import { any, type Expected, failing } from '../peer/script.ts'
import {
  begun,
  OUR_BEGIN,
  opened,
  receiving,
  same,
  scenario,
  sending,
  sides,
  withReceiver,
  withSender,
} from '../support/scenario.ts'

const tag = (n: number): Uint8Array => Uint8Array.of(0, 0, 0, n)
const sent = (id: number, more = false): Expected => ({
  handle: 0,
  deliveryId: id,
  deliveryTag: tag(id),
  messageFormat: 0,
  more,
})
const one = Uint8Array.of(1)
/** What a flow of ours says of the session. */
const state = (nextIncomingId: number, nextOutgoingId = 0): Expected => ({
  nextIncomingId,
  incomingWindow: 2048,
  nextOutgoingId,
  outgoingWindow: 0xffffffff,
})

describe('§2.5.1 establishing a session', () => {
  test('§2.5.1 ours has no remote-channel, the answer names it', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const session = s.engine.connection.session()
    session.begin()
    s.peer.expectBegin(OUR_BEGIN).sendBegin({ remoteChannel: 0, incomingWindow: 7, handleMax: 3 }, undefined, 9)
    expect(s.event('session.begun')).toMatchObject({
      session: same(session),
      begin: { incomingWindow: 7, handleMax: 3 },
    })
    expect(session).toMatchObject({ state: 'MAPPED', channel: 0, remoteChannel: 9 })
    s.peer.finished()
  })

  test('§2.5.1 the peer’s is answered on the lowest free channel, naming the peer’s', () => {
    const s = opened(scenario({ role: 'acceptor' }))
    s.peer.sendBegin({}, undefined, 5).sendBegin({}, undefined, 3)
    const first = s.event('session.begun').session
    const second = s.event('session.begun').session
    second.begin()
    s.peer.expectBegin({ remoteChannel: 3, ...OUR_BEGIN })
    first.begin()
    s.peer.expectBegin({ remoteChannel: 5, ...OUR_BEGIN }, undefined, 1).finished()
  })

  test('§2.5.1 both begin at the same time: two sessions', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const ours = s.engine.connection.session()
    ours.begin()
    s.peer.expectBegin(OUR_BEGIN).sendBegin({}, undefined, 0)
    const theirs = s.event('session.begun').session
    expect(theirs).not.toBe(ours)
    theirs.begin()
    s.peer.expectBegin({ remoteChannel: 0, ...OUR_BEGIN }, undefined, 1)
    s.peer.sendBegin({ remoteChannel: 0 }, undefined, 1)
    expect(s.event('session.begun').session).toBe(ours)
    s.peer.finished()
  })

  test.each(sides)('§2.5.5 begin is for once (%s)', role => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    expect(() => session.begin()).toThrow(expect.objectContaining({ code: 'ERR_AMQP_USAGE', section: '2.5.5' }))
    s.peer.finished()
  })

  test('§2.5.1 refused: begun and ended', () => {
    const s = opened(scenario({ role: 'acceptor' }))
    s.peer.sendBegin()
    const { session } = s.event('session.begun')
    session.begin()
    session.end({ condition: 'amqp:not-allowed' })
    s.peer
      .expectBegin({ remoteChannel: 0, ...OUR_BEGIN })
      .expectEnd({ error: error({ condition: 'amqp:not-allowed' }) })
    s.peer.sendEnd().finished()
    expect(s.event('session.ended')).toMatchObject({ session: same(session), by: 'local' })
  })
})

describe.each(sides)('§2.5.2 ending (%s)', role => {
  test('§2.5.2 ours, answered', () => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    session.end()
    s.peer.expectEnd()
    expect(session.state).toBe('END_SENT')
    s.peer.sendEnd().finished()
    expect(s.events()).toMatchObject([{ type: 'session.ended', session: same(session), by: 'local', error: undefined }])
  })

  test('§2.5.2 the peer’s, with an error, answered at once', () => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    s.peer
      .sendEnd({ error: error({ condition: 'amqp:internal-error', description: 'oops' }) })
      .expectEnd()
      .finished()
    expect(s.events()).toMatchObject([
      {
        type: 'session.ended',
        session: same(session),
        by: 'remote',
        error: { code: 'ERR_AMQP_REMOTE', condition: 'amqp:internal-error' },
      },
    ])
    expect(() => session.sender('late').attach({})).toThrow(expect.objectContaining({ code: 'ERR_AMQP_USAGE' }))
  })

  test('§2.5.2 an end takes the links with it, and leaves other sessions', () => {
    const s = opened(scenario({ role }))
    const doomed = begun(s)
    sending(s, doomed)
    const other = begun(s, {}, {}, 1)
    const sender = sending(s, other, { name: 'l2', channel: 1 })
    s.peer.sendEnd().expectEnd()
    expect(s.event('session.ended').session).toBe(doomed)
    s.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 1 }, undefined, 1)
    sender.transfer(one)
    s.peer.expectTransfer(sent(0), one, 1).finished()
  })

  test('§2.5.2 what is queued goes first', () => {
    const { peer, session, sender } = withSender(role, { credit: 2 })
    sender.transfer(one)
    sender.transfer(one)
    session.end()
    expect(peer.all().map(({ name }) => name)).toEqual(['transfer', 'transfer', 'end'])
    peer.sendEnd().finished()
  })

  test('§2.5.3 both end at the same time', () => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    session.end()
    s.peer
      .expectEnd()
      .sendEnd({ error: error({ condition: 'amqp:internal-error' }) })
      .finished()
    expect(session.state).toBe('ENDED')
    expect(s.events().map(({ type }) => type)).toEqual(['session.ended'])
  })

  test('§2.5.2 a second end: the channel is free, and the frame lost', () => {
    const s = opened(scenario({ role }))
    begun(s)
    s.peer.sendEnd().expectEnd()
    s.peer
      .sendEnd()
      .expectClose({ error: failing('amqp:connection:framing-error') })
      .finished()
  })

  test('§2.5.5 frames that come between the two ends are let pass', () => {
    const { s, peer, session } = withReceiver(role, { credit: 1 })
    session.end()
    peer.expectEnd()
    peer.sendTransfer({ deliveryId: 9, deliveryTag: one }).sendAttach({ handle: 0 }).sendFlow({ handle: 77 })
    peer.sendDetach({ handle: 9 }).sendDisposition({ first: 0, last: 0xffffffff }).nothing().sendEnd().finished()
    expect(s.events().map(({ type }) => type)).toEqual(['session.ended'])
  })

  test('§2.5.2 channels are used again', () => {
    const s = opened(scenario({ role }))
    for (let i = 0; i < 3; i++) {
      begun(s).end()
      s.peer.expectEnd().sendEnd()
      expect(s.event('session.ended').by).toBe('local')
    }
    s.peer.finished()
  })
})

describe('§2.5.5 states that only pipelining leads to', () => {
  test('§2.5.5 an end of ours before the begin has been answered', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const session = s.engine.connection.session()
    session.begin()
    session.end()
    s.peer.expectBegin(OUR_BEGIN).expectEnd()
    // The channel is not free yet.
    const next = s.engine.connection.session()
    next.begin()
    s.peer.expectBegin(OUR_BEGIN, undefined, 1)
    s.peer.sendBegin({ remoteChannel: 0 }).sendEnd()
    expect(s.event('session.ended').session).toBe(session)
    const third = s.engine.connection.session()
    third.begin()
    s.peer.expectBegin(OUR_BEGIN, undefined, 0).finished()
  })

  test('§2.5.5 the channel of a session ended early stays taken when an older one on it is answered', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const older = begun(s)
    older.end()
    s.peer.expectEnd()
    const early = s.engine.connection.session()
    early.begin()
    early.end()
    s.peer.expectBegin(OUR_BEGIN).expectEnd()
    // The peer answers in order: the end of the older, then begin and end of the other.
    s.peer.sendEnd().sendBegin({ remoteChannel: 0 }).sendEnd().finished()
    expect(s.events().map(({ type }) => type)).toEqual(['session.ended', 'session.ended'])
    expect(s.engine.connection.state).toBe('OPENED')
  })

  test('§2.5.5 the peer’s end behind its begin is answered with begin and end', () => {
    const s = opened(scenario({ role: 'acceptor' }))
    s.peer.together(peer => peer.sendBegin().sendAttach().sendEnd())
    s.peer
      .expectBegin({ remoteChannel: 0, ...OUR_BEGIN })
      .expectEnd()
      .finished()
    expect(s.events().map(({ type }) => type)).toEqual(['session.begun', 'link.attached', 'session.ended'])
  })

  test('§2.5.4 an error before we have answered the begin: begin, then end', () => {
    const s = opened(scenario({ role: 'acceptor' }))
    s.peer.together(peer => peer.sendBegin().sendFlow({ nextIncomingId: null, handle: 3 }))
    s.peer.expectBegin({ remoteChannel: 0, ...OUR_BEGIN })
    s.peer
      .expectEnd({ error: failing('amqp:session:unattached-handle') })
      .sendEnd()
      .finished()
  })
})

describe.each(sides)('§2.5.4 session errors (%s)', role => {
  test('§2.5.4 behind an error, everything is let pass until the peer’s end; other sessions go on', () => {
    const s = opened(scenario({ role }))
    const doomed = begun(s)
    const receiver = receiving(s, doomed)
    receiver.flow(5)
    s.peer.expectFlow({ ...state(0), handle: 0, deliveryCount: 0, linkCredit: 5 })
    const other = begun(s, {}, {}, 1)
    s.peer.sendDetach({ handle: 9 }).expectEnd({ error: failing('amqp:session:unattached-handle') })
    expect(s.event('protocol.error').error).toMatchObject({ scope: 'session', section: '2.6.2' })
    expect(s.event('session.ended')).toMatchObject({ session: same(doomed), by: 'local' })
    s.peer
      .sendTransfer({ deliveryId: 0, deliveryTag: one })
      .sendAttach({ handle: 7 })
      .sendDetach({ handle: 8 })
      .nothing()
    expect(s.deliveries()).toEqual([])
    s.peer.sendEnd().nothing()
    other.end()
    s.peer.expectEnd({}, undefined, 1).finished()
  })

  test('§2.5.4 payload that is still coming when the session has failed', () => {
    const { s, peer } = withReceiver(role, { credit: 1 })
    peer.cut = bytes => [bytes.slice(0, 40), bytes.slice(40, 60), bytes.slice(60)]
    peer.sendTransfer({ handle: 5, deliveryId: 0, deliveryTag: one }, new Uint8Array(100))
    peer
      .expectEnd({ error: failing('amqp:session:unattached-handle') })
      .sendEnd()
      .finished()
    expect(s.deliveries()).toEqual([])
  })

  test('§2.8.14 a description is short enough for a peer that takes 512 bytes', () => {
    const s = opened(scenario({ role }), {}, { maxFrameSize: 512 })
    begun(s)
    s.peer.sendAttach({ name: '𝒩'.repeat(300), role: 'receiver' })
    s.peer.sendTransfer({ deliveryId: 0, deliveryTag: one })
    s.peer
      .expectEnd({ error: failing('amqp:not-allowed') })
      .sendEnd()
      .finished()
  })
})

describe.each(sides)('§2.5.6 session flow control (%s)', role => {
  test('§2.5.6 incoming-window 0 stops transfers', () => {
    const { peer, sender } = withSender(role, { begin: { incomingWindow: 0 }, credit: 0 })
    peer.sendFlow({ incomingWindow: 0, handle: 0, deliveryCount: 0, linkCredit: 10 })
    sender.transfer(one)
    peer.nothing().sendFlow({ incomingWindow: 1 }).expectTransfer(sent(0), one).finished()
  })

  test('§2.5.6 a window of 1: one frame of a message, then the next', () => {
    const { peer, sender } = withSender(role, { open: { maxFrameSize: 512 }, begin: { incomingWindow: 1 } })
    peer.sendFlow({ incomingWindow: 1, handle: 0, deliveryCount: 0, linkCredit: 10 })
    sender.transfer(new Uint8Array(600))
    peer.expectTransfer(sent(0, true), any).nothing()
    peer.sendFlow({ incomingWindow: 1 }).expectTransfer({ handle: 0 }, any).finished()
  })

  test('§2.5.6 the window counts from the next-incoming-id that the peer names', () => {
    const { peer, sender } = withSender(role, { begin: { incomingWindow: 3 } })
    peer.sendFlow({ incomingWindow: 3, handle: 0, deliveryCount: 0, linkCredit: 100 })
    for (let i = 0; i < 10; i++) sender.transfer(one)
    expect(peer.all()).toHaveLength(3)
    // The peer has seen one when it says so: two are on their way, and the window is five.
    peer.sendFlow({ nextIncomingId: 1, incomingWindow: 5 })
    expect(peer.all()).toHaveLength(3)
    // It shrinks: what is on its way is more than that.
    peer.sendFlow({ nextIncomingId: 3, incomingWindow: 1 }).nothing()
    peer.sendFlow({ nextIncomingId: 6, incomingWindow: 1 })
    expect(peer.all()).toHaveLength(1)
    peer.finished()
  })

  test('§2.5.6 without next-incoming-id the initial one is meant, as long as nothing is known to have arrived', () => {
    const { peer, sender } = withSender(role, { begin: { incomingWindow: 2 } })
    peer.sendFlow({ nextIncomingId: null, incomingWindow: 2, handle: 0, deliveryCount: 0, linkCredit: 100 })
    for (let i = 0; i < 10; i++) sender.transfer(one)
    expect(peer.all()).toHaveLength(2)
    peer.sendFlow({ nextIncomingId: null, incomingWindow: 2 }).nothing()
    peer.sendFlow({ nextIncomingId: null, incomingWindow: 3 })
    expect(peer.all()).toHaveLength(1)
  })

  test('§2.5.6 the window is opened again when half of it is used', () => {
    const { peer } = withReceiver(role, { begin: { incomingWindow: 4 }, credit: 100 })
    const flow: Expected = { incomingWindow: 4, nextOutgoingId: 0, outgoingWindow: 0xffffffff }
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) }).nothing()
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1) }).expectFlow({ nextIncomingId: 2, ...flow })
    peer.sendTransfer({ deliveryId: 2, deliveryTag: tag(2) }).nothing()
    peer
      .sendTransfer({ deliveryId: 3, deliveryTag: tag(3) })
      .expectFlow({ nextIncomingId: 4, ...flow })
      .finished()
  })

  test('§2.5.6 a transfer beyond the window: window-violation', () => {
    const { s, peer } = withReceiver(role, { begin: { incomingWindow: 2 }, credit: 100 })
    peer.together(all => {
      for (let i = 0; i < 3; i++) all.sendTransfer({ deliveryId: i, deliveryTag: tag(i) })
    })
    peer
      .expectEnd({ error: failing('amqp:session:window-violation') })
      .sendEnd()
      .finished()
    expect(s.event('protocol.error').error).toMatchObject({ scope: 'session', section: '2.5.6' })
  })

  test('§2.5.6 an incoming-window of 0 of ours', () => {
    const { peer } = withReceiver(role, { begin: { incomingWindow: 0 }, credit: 1 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) })
    peer
      .expectEnd({ error: failing('amqp:session:window-violation') })
      .sendEnd()
      .finished()
  })

  test('§2.7.4 echo of the session is answered, once', () => {
    const s = opened(scenario({ role }))
    begun(s)
    s.peer.sendFlow({ echo: true }).expectFlow(state(0)).finished()
  })

  test('§2.5.6 §2.8.10 transfer-ids wrap: the peer’s', () => {
    const { peer } = withReceiver(role, {
      begin: { incomingWindow: 2 },
      peerBegin: { nextOutgoingId: 0xfffffffe },
      credit: 100,
    })
    const flow: Expected = { incomingWindow: 2, nextOutgoingId: 0, outgoingWindow: 0xffffffff }
    for (const [i, next] of [0xffffffff, 0, 1, 2].entries()) {
      peer.sendTransfer({ deliveryId: i, deliveryTag: tag(i) })
      peer.expectFlow({ nextIncomingId: next, ...flow })
    }
    peer.finished()
  })

  test('§2.5.6 §2.8.10 transfer-ids wrap: ours', () => {
    const { peer, sender } = withSender(role, {
      begin: { incomingWindow: 4 },
      ourBegin: { nextOutgoingId: 0xfffffffe },
    })
    peer.sendFlow({ incomingWindow: 4, handle: 0, deliveryCount: 0, linkCredit: 100 })
    for (let i = 0; i < 10; i++) sender.transfer(one)
    expect(peer.all()).toHaveLength(4)
    expect(peer.nextIncomingId).toBe(2)
    peer.sendFlow({ incomingWindow: 4 })
    expect(peer.all()).toHaveLength(4)
    peer.sendFlow({ incomingWindow: 1, echo: true })
    peer
      .expectFlow(state(0, 6))
      .expectTransfer({ ...sent(8), deliveryId: 6 }, one)
      .finished()
  })

  test('§2.5.6 a flow that is older than what is known takes nothing back', () => {
    const { peer, sender } = withSender(role, { begin: { incomingWindow: 2 } })
    peer.sendFlow({ incomingWindow: 2, handle: 0, deliveryCount: 0, linkCredit: 100 })
    for (let i = 0; i < 4; i++) sender.transfer(one)
    expect(peer.all()).toHaveLength(2)
    peer.sendDisposition({ first: 0, last: 1, settled: true })
    peer.sendFlow({ nextIncomingId: null, incomingWindow: 2 })
    expect(peer.all()).toHaveLength(2)
  })

  test('§2.7.2 handle-max: ours is enforced, the peer’s is kept', () => {
    const s = opened(scenario({ role }))
    const session = begun(s, { handleMax: 1 }, { handleMax: 0 })
    sending(s, session)
    expect(() => session.receiver('l2').attach({})).toThrow(
      expect.objectContaining({ code: 'ERR_AMQP_USAGE', section: '2.6.2' }),
    )
    s.peer.sendAttach({ name: 'l3', handle: 2 })
    s.peer.expectClose({ error: failing('amqp:connection:framing-error') }).finished()
  })
})

describe('§2.5.6 flow without next-incoming-id', () => {
  test('§2.5.6 a gateway that never says next-incoming-id: 20,000 sends through a window of 5,000', () => {
    const { s, peer, sender } = withSender('initiator', {
      open: { maxFrameSize: 65_535, channelMax: 1024, idleTimeOut: 240_000 },
      begin: { nextOutgoingId: 1, incomingWindow: 5000, outgoingWindow: 0xffffffff, handleMax: 262_143 },
    })
    const total = 20_000
    const flow = (count: number) =>
      peer.sendFlow({
        nextIncomingId: null,
        incomingWindow: 5000,
        nextOutgoingId: 1,
        outgoingWindow: 0xffffffff,
        handle: 0,
        deliveryCount: count,
        linkCredit: 1000,
        available: 0,
      })
    flow(0)
    let queued = 0
    let arrived = 0
    for (let round = 0; arrived < total && round < 1000; round++) {
      while (queued < total && queued < arrived + 2000) {
        sender.transfer(one)
        queued++
      }
      const frames = peer.all()
      expect(frames.length, `stalled after ${arrived}`).toBeGreaterThan(0)
      for (const end = arrived + frames.length; arrived < end; ) {
        const next = Math.min(arrived + 100, end)
        peer.sendDisposition({ first: arrived, last: next - 1, settled: true, state: accepted() })
        arrived = next
        flow(arrived)
      }
    }
    expect(arrived).toBe(total)
    expect(s.outcomes()).toHaveLength(total)
    peer.finished()
  })
})
