/** §2.4: opening, pipelining, closing, time-outs, states; and the limits that open announces. */

import { describe, expect, test } from 'vitest'
import { error } from '../peer/composites.ts'
import { any, type Expected, failing } from '../peer/script.ts'
import { frame } from '../peer/wire.ts'
import {
  begun,
  OUR_BEGIN,
  OUR_OPEN,
  opened,
  receiving,
  type Scenario,
  scenario,
  sending,
  sides,
  withReceiver,
  withSender,
} from '../support/scenario.ts'

const ILLEGAL = 'amqp:illegal-state'
const ANY_OPEN: Expected = { containerId: any, maxFrameSize: any, channelMax: any }

/** Told once, by an event and an error of the scope. */
function failed(s: Scenario, condition: string): void {
  expect(s.event('protocol.error').error).toMatchObject({ condition, scope: 'connection' })
  expect(s.event('connection.closed')).toMatchObject({ by: 'local', error: { condition } })
}

describe('§2.4.1 opening', () => {
  test('§2.4.1 both open at the same time', () => {
    const s = scenario({ role: 'initiator' })
    s.engine.connection.open({ containerId: 'us' })
    s.peer.expectHeader()
    s.peer.together(peer => peer.sendHeader().sendOpen())
    s.peer.expectOpen(OUR_OPEN).finished()
    expect(s.engine.connection.state).toBe('OPENED')
  })

  test.each(sides)('§2.4.1 an open says what it was given (%s)', role => {
    const s = opened(scenario({ role }), { maxFrameSize: 4096, channelMax: 5, idleTimeOut: 7000 })
    s.peer.finished()
  })

  test('§2.4.1 the peer’s open is told as it is', () => {
    const s = scenario({ role: 'acceptor' })
    s.peer
      .sendHeader()
      .sendOpen({ containerId: 'c', hostname: 'h', maxFrameSize: 1024, channelMax: 7, idleTimeOut: 90 })
    expect(s.event('connection.opened').open).toMatchObject({
      containerId: 'c',
      hostname: 'h',
      maxFrameSize: 1024,
      channelMax: 7,
      idleTimeOut: 90,
    })
  })

  test('§2.4.1 no open within the time for it: given up', () => {
    const s = scenario({ role: 'acceptor' })
    s.peer.sendHeader().expectHeader()
    s.pass(29_999)
    expect(s.engine.isDone).toBe(false)
    s.pass(1)
    expect(s.engine.isDone).toBe(true)
    expect(s.event('connection.closed').by).toBe('transport')
  })

  test.each(sides)('§2.7.1 another frame in place of open: illegal-state, behind an open of ours (%s)', role => {
    const s = scenario({ role })
    if (role === 'initiator') s.engine.connection.open({ containerId: 'us' })
    s.peer.sendHeader().expectHeader().sendBegin()
    s.peer.expectOpen(ANY_OPEN).expectClose({ error: failing(ILLEGAL) })
    failed(s, ILLEGAL)
    // §2.4.6: everything is let pass until the close.
    s.peer.sendOpen().sendBegin().sendAttach().nothing().sendClose().finished()
    expect(s.engine.isDone).toBe(true)
  })

  test('§2.7.1 close in place of open', () => {
    const s = scenario({ role: 'acceptor' })
    s.peer.sendHeader().expectHeader().sendClose()
    s.peer
      .expectOpen(ANY_OPEN)
      .expectClose({ error: failing(ILLEGAL) })
      .finished()
    failed(s, ILLEGAL)
  })

  test.each(sides)('§2.7.1 a second open: illegal-state (%s)', role => {
    const s = opened(scenario({ role }))
    s.peer
      .sendOpen()
      .expectClose({ error: failing(ILLEGAL) })
      .finished()
    failed(s, ILLEGAL)
  })

  test.each(sides)('§2.4.1 the connection is lost before it is open (%s)', role => {
    const s = scenario({ role })
    s.peer.sendHeader()
    s.engine.receiveEnd(0)
    expect(s.event('connection.closed')).toMatchObject({ by: 'transport', error: { code: 'ERR_AMQP_TRANSPORT' } })
    expect(s.engine.isDone).toBe(true)
  })
})

describe('§2.4.2 pipelined open', () => {
  test('§2.4.2 header, open, begin and attach in one chunk', () => {
    const s = scenario({ role: 'acceptor' })
    s.peer.together(peer => peer.sendHeader().sendOpen().sendBegin().sendAttach().sendFlow({ nextIncomingId: null }))
    s.peer.expectHeader().nothing()
    s.engine.connection.open({ containerId: 'us' })
    const { session } = s.event('session.begun')
    session.begin()
    const { link, attach } = s.event('link.attached')
    link.attach({ source: attach.source, target: attach.target })
    s.peer.expectOpen(OUR_OPEN).expectBegin({ remoteChannel: 0, ...OUR_BEGIN })
    s.peer.expectAttach({ name: 'l1', handle: 0, role: 'receiver', source: any, target: any, maxMessageSize: any })
    s.peer.finished()
  })

  test('§2.4.2 a receiver pipelines begin, attach and flow, as one platform’s clients do', () => {
    const s = opened(scenario({ role: 'acceptor' }))
    s.peer.together(peer =>
      peer.sendBegin().sendAttach({ role: 'receiver' }).sendFlow({ nextIncomingId: null, handle: 0, linkCredit: 10 }),
    )
    s.event('session.begun').session.begin()
    const { link } = s.event('link.attached')
    if (link.role !== 'sender') throw new Error('it sends')
    link.attach({ source: { address: 'a' }, target: { address: 'b' } })
    link.transfer(Uint8Array.of(1))
    s.peer.expectBegin({ remoteChannel: 0, ...OUR_BEGIN })
    s.peer.expectAttach({ name: 'l1', handle: 0, role: 'sender', source: any, target: any, initialDeliveryCount: 0 })
    s.peer.expectTransfer(
      { handle: 0, deliveryId: 0, deliveryTag: new Uint8Array(4), messageFormat: 0 },
      Uint8Array.of(1),
    )
    s.peer.finished()
  })

  test('§2.6.7 a drain that is pipelined behind the attach is answered behind ours', () => {
    const s = opened(scenario({ role: 'acceptor' }))
    s.peer.together(peer =>
      peer
        .sendBegin()
        .sendAttach({ role: 'receiver' })
        .sendFlow({ nextIncomingId: null, handle: 0, linkCredit: 10, drain: true }),
    )
    s.event('session.begun').session.begin()
    s.peer.expectBegin({ remoteChannel: 0, ...OUR_BEGIN }).nothing()
    s.event('link.attached').link.attach({ source: { address: 'a' }, target: { address: 'b' } })
    s.peer.expectAttach({ name: 'l1', handle: 0, role: 'sender', source: any, target: any, initialDeliveryCount: 0 })
    s.peer.expectFlow({ ...sessionState(0), handle: 0, deliveryCount: 10, linkCredit: 0, available: 0, drain: true })
    s.peer.finished()
  })

  test('§2.4.2 what we say before the peer’s open has come waits for it', () => {
    const s = scenario({ role: 'initiator' })
    s.engine.connection.open({ containerId: 'us' })
    const session = s.engine.connection.session()
    session.begin()
    session.sender('l1').attach({ source: { address: 'a' }, target: { address: 'b' } })
    s.peer.expectHeader().sendHeader().expectOpen(OUR_OPEN).nothing().sendOpen()
    s.peer.expectBegin(OUR_BEGIN)
    s.peer.expectAttach({ name: 'l1', handle: 0, role: 'sender', source: any, target: any, initialDeliveryCount: 0 })
    s.peer.finished()
  })

  test('§2.4.2 open and close in one chunk are answered with open and close', () => {
    const s = scenario({ role: 'acceptor' })
    s.peer.together(peer => peer.sendHeader().sendOpen().sendClose())
    s.peer.expectHeader()
    s.peer.expectOpen(ANY_OPEN).expectClose().finished()
    expect(s.engine.isDone).toBe(true)
    expect(s.event('connection.closed')).toMatchObject({ by: 'remote', error: undefined })
  })

  test('§2.4.3 we close before the peer’s open has come', () => {
    const s = scenario({ role: 'initiator' })
    s.engine.connection.open({ containerId: 'us' })
    s.engine.connection.close()
    s.peer.expectHeader().sendHeader().expectOpen(OUR_OPEN).expectClose()
    s.peer.sendOpen().sendClose().finished()
    expect(s.engine.isDone).toBe(true)
    expect(s.event('connection.closed')).toMatchObject({ by: 'local', error: undefined })
  })
})

describe.each(sides)('§2.4.3 closing (%s)', role => {
  test('§2.4.3 ours, answered', () => {
    const s = opened(scenario({ role }))
    s.engine.connection.close()
    s.peer.expectClose()
    expect(s.engine.isDone).toBe(false)
    s.peer.sendClose().finished()
    expect(s.engine.isDone).toBe(true)
    expect(s.events()).toMatchObject([{ type: 'connection.closed', by: 'local', error: undefined }])
  })

  test('§2.4.3 the peer’s, answered at once', () => {
    const s = opened(scenario({ role }))
    s.peer.sendClose().expectClose().finished()
    expect(s.engine.isDone).toBe(true)
    expect(s.events()).toMatchObject([{ type: 'connection.closed', by: 'remote', error: undefined }])
  })

  test('§2.4.3 the peer’s, with an error', () => {
    const s = opened(scenario({ role }))
    const why = { condition: 'amqp:connection:forced', description: 'maintenance', info: { a: 1 } }
    s.peer
      .sendClose({ error: error(why) })
      .expectClose()
      .finished()
    expect(s.event('connection.closed')).toMatchObject({
      by: 'remote',
      error: { code: 'ERR_AMQP_REMOTE', condition: 'amqp:connection:forced', description: 'maintenance' },
    })
  })

  test('§2.4.3 ours, with an error', () => {
    const s = opened(scenario({ role }))
    s.engine.connection.close({ condition: 'amqp:connection:forced', description: 'bye' })
    s.peer.expectClose({ error: error({ condition: 'amqp:connection:forced', description: 'bye' }) })
    s.peer.sendClose().finished()
    expect(s.engine.isDone).toBe(true)
  })

  test('§2.4.3 nothing is written behind a close', () => {
    const { s, peer, session, sender } = withSender(role, { credit: 10 })
    s.engine.connection.close()
    peer.expectClose()
    expect(() => session.receiver('late').attach({ source: {}, target: {} })).not.toThrow()
    expect(sender.transfer(Uint8Array.of(1)).deliveryId).toBe(-1)
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10, echo: true }).sendDetach().sendEnd().nothing()
    peer.sendClose().finished()
  })

  test('§2.4.3 frames that come between the two closes still count', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 5 })
    s.engine.connection.close()
    peer
      .expectClose()
      .sendTransfer({ deliveryId: 0, deliveryTag: Uint8Array.of(1) })
      .sendClose()
      .finished()
    expect(s.deliveries()).toHaveLength(1)
    expect(receiver.credit.linkCredit).toBe(4)
  })

  test('§2.4.3 a close on another channel is a close', () => {
    const s = opened(scenario({ role }))
    s.peer.sendClose({}, undefined, 9).expectClose().finished()
    expect(s.engine.isDone).toBe(true)
  })

  test('§2.4.3 a second close, and frames behind a close, are not read', () => {
    const s = opened(scenario({ role }))
    s.peer.together(peer => peer.sendClose().sendClose().sendBegin().sendRaw('00000000 00000000'))
    s.peer.expectClose().finished()
    s.peer.sendClose().sendBegin().finished()
    expect(s.events()).toMatchObject([{ type: 'connection.closed', by: 'remote', error: undefined }])
  })

  test('§2.4.3 the peer does not answer: given up after a while', () => {
    const s = opened(scenario({ role }))
    s.engine.connection.close()
    s.peer.expectClose()
    s.pass(0)
    s.pass(4_999)
    expect(s.engine.isDone).toBe(false)
    s.pass(1)
    expect(s.engine.isDone).toBe(true)
    expect(s.event('connection.closed')).toMatchObject({ by: 'transport' })
    s.peer.finished()
  })

  test('§2.4.3 what is queued goes first', () => {
    const { s, peer, sender } = withSender(role, { credit: 3 })
    for (let i = 0; i < 3; i++) sender.transfer(Uint8Array.of(i))
    s.engine.connection.close()
    expect(peer.all().map(({ name }) => name)).toEqual(['transfer', 'transfer', 'transfer', 'close'])
  })

  test('§2.4.4 both close at the same time', () => {
    const s = opened(scenario({ role }))
    s.engine.connection.close()
    s.peer
      .expectClose()
      .sendClose({ error: error({ condition: 'amqp:connection:forced' }) })
      .finished()
    expect(s.engine.isDone).toBe(true)
    expect(s.event('connection.closed').by).toBe('local')
  })

  test('§2.4.4 both close at the same time, ours not yet written', () => {
    const s = opened(scenario({ role }))
    s.engine.connection.close()
    s.peer.sendClose().expectClose().finished()
    expect(s.engine.isDone).toBe(true)
  })

  test('§2.4.3 the connection is lost', () => {
    const { s } = withSender(role, { credit: 1 })
    s.engine.receiveEnd(0, new Error('reset'))
    expect(s.event('connection.closed')).toMatchObject({ by: 'transport', error: { code: 'ERR_AMQP_TRANSPORT' } })
    expect(s.engine.isDone).toBe(true)
    s.peer.finished()
  })
})

describe.each(sides)('§2.4.5 idle time-out (%s)', role => {
  test('§2.4.5 an empty frame at half of the peer’s', () => {
    const s = opened(scenario({ role }), {}, { idleTimeOut: 1000 })
    for (let i = 0; i < 5; i++) {
      s.pass(499)
      s.peer.nothing()
      s.pass(1)
      s.peer.expectEmpty()
    }
    s.peer.finished()
  })

  test('§2.4.5 the clock is asked for in time', () => {
    const s = opened(scenario({ role }), { idleTimeOut: 10_000 }, { idleTimeOut: 1000 })
    expect(s.engine.tick(s.now)).toBe(500)
    s.pass(500)
    s.peer.expectEmpty()
    expect(s.engine.tick(s.now)).toBe(1000)
  })

  test('§2.4.5 no empty frame where there was another', () => {
    const s = opened(scenario({ role }), {}, { idleTimeOut: 1000 })
    s.pass(400)
    begun(s)
    s.pass(499)
    s.peer.nothing()
    s.pass(1)
    s.peer.expectEmpty().finished()
  })

  test.each([[{}], [{ idleTimeOut: 0 }]])('§2.7.1 a peer that watches nothing gets nothing: %j', theirs => {
    const s = opened(scenario({ role }), {}, theirs)
    expect(s.engine.tick(0)).toBeUndefined()
    s.pass(1e9)
    s.peer.finished()
    expect(s.engine.isDone).toBe(false)
  })

  test('§2.4.5 a silent peer is given up after twice what we announced', () => {
    const s = opened(scenario({ role }), { idleTimeOut: 1000 })
    s.pass(1999)
    expect(s.engine.isDone).toBe(false)
    s.pass(1)
    expect(s.engine.isDone).toBe(true)
    expect(s.event('connection.closed')).toMatchObject({
      by: 'transport',
      error: { code: 'ERR_AMQP_IDLE_TIMEOUT', condition: 'amqp:resource-limit-exceeded' },
    })
  })

  test('§2.4.5 empty frames keep the connection', () => {
    const s = opened(scenario({ role }), { idleTimeOut: 1000 })
    for (let i = 0; i < 20; i++) {
      s.pass(1999)
      s.peer.sendEmpty()
    }
    expect(s.engine.isDone).toBe(false)
    s.peer.finished()
  })

  test('§2.4.5 no empty frame behind a close', () => {
    const s = opened(scenario({ role }), {}, { idleTimeOut: 1000 })
    s.engine.connection.close()
    s.peer.expectClose()
    s.pass(2000)
    s.peer.finished()
  })

  test('§2.7.1 the longest time-out there is', () => {
    const s = opened(scenario({ role }), { idleTimeOut: 0xffffffff }, { idleTimeOut: 0xffffffff })
    expect(s.engine.tick(0)).toBe(0xffffffff / 2)
    s.pass(0x7fffffff)
    s.peer.nothing()
    s.pass(1)
    s.peer.expectEmpty().finished()
  })
})

describe.each(sides)('§2.4.6 discarding (%s)', role => {
  test('§2.4.6 behind an error, everything is let pass until the peer’s close', () => {
    const { s, peer } = withReceiver(role, { credit: 5 })
    peer.sendOpen().expectClose({ error: failing(ILLEGAL) })
    failed(s, ILLEGAL)
    peer
      .sendTransfer({ deliveryId: 0, deliveryTag: Uint8Array.of(1) })
      .sendBegin({}, undefined, 5)
      .sendOpen()
    peer.sendDetach({ handle: 77 }).sendFlow({ handle: 99 }).sendEnd({}, undefined, 44)
    peer.nothing()
    expect(s.deliveries()).toEqual([])
    expect(s.events()).toEqual([])
    expect(s.engine.isDone).toBe(false)
    peer.sendClose().finished()
    expect(s.engine.isDone).toBe(true)
  })

  test('§2.4.6 the peer never closes: given up after a while', () => {
    const s = opened(scenario({ role }))
    s.peer.sendOpen().expectClose({ error: failing(ILLEGAL) })
    s.pass(0)
    s.pass(5000)
    expect(s.engine.isDone).toBe(true)
  })

  test('§2.4.6 bytes that are no frames, while discarding', () => {
    const s = opened(scenario({ role }))
    s.peer.sendOpen().expectClose({ error: failing(ILLEGAL) })
    s.peer.sendRaw('00000000 00000000').sendClose().finished()
    expect(s.events().filter(({ type }) => type === 'connection.closed')).toHaveLength(1)
    expect(s.engine.isDone).toBe(true)
  })
})

describe.each(sides)('§2.7.1 channel-max (%s)', role => {
  test('§2.7.1 the peer’s: no more sessions than it allows', () => {
    const s = opened(scenario({ role }), {}, { channelMax: 1 })
    const sessions = [0, 1].map(() => {
      const session = s.engine.connection.session()
      session.begin()
      return session
    })
    expect(sessions.map(({ channel }) => channel)).toEqual([0, 1])
    const third = s.engine.connection.session()
    expect(() => third.begin()).toThrow(expect.objectContaining({ code: 'ERR_AMQP_USAGE', section: '2.5.1' }))
    s.peer.expectBegin(OUR_BEGIN).expectBegin(OUR_BEGIN, undefined, 1).finished()
  })

  test('§2.7.1 the peer’s of 0: one session', () => {
    const s = opened(scenario({ role }), {}, { channelMax: 0 })
    begun(s)
    expect(() => s.engine.connection.session().begin()).toThrow(/channel/)
    s.peer.finished()
  })

  test('§2.7.1 a channel comes free with an end', () => {
    const s = opened(scenario({ role }), {}, { channelMax: 0 })
    for (let i = 0; i < 5; i++) {
      const session = begun(s)
      session.end()
      s.peer.expectEnd().sendEnd()
    }
    s.peer.finished()
  })

  test.each(['begin', 'flow', 'end'] as const)('§2.7.1 ours: %s above it is a framing-error', name => {
    const s = opened(scenario({ role }), { channelMax: 1 })
    s.peer.sendBegin({}, undefined, 1).nothing()
    s.peer.send(name, {}, undefined, 2)
    s.peer.expectClose({ error: failing('amqp:connection:framing-error') }).finished()
    failed(s, 'amqp:connection:framing-error')
  })

  test('§2.7.1 channels may be far apart, and different each way', () => {
    const s = opened(scenario({ role }))
    s.peer.sendBegin({}, undefined, 1023)
    s.event('session.begun').session.begin()
    s.peer.expectBegin({ remoteChannel: 1023, ...OUR_BEGIN })
    s.peer.sendBegin({}, undefined, 512)
    s.event('session.begun').session.begin()
    s.peer.expectBegin({ remoteChannel: 512, ...OUR_BEGIN }, undefined, 1)
    s.peer.sendEnd({}, undefined, 1023).expectEnd({}, undefined, 0).finished()
  })

  test('§2.7.1 a peer that begins more sessions than we can answer', () => {
    // Both its channels are legal; what it takes is one.
    const s = opened(scenario({ role }), {}, { channelMax: 0 })
    s.peer.sendBegin()
    s.event('session.begun').session.begin()
    s.peer.expectBegin({ remoteChannel: 0, ...OUR_BEGIN })
    s.peer
      .sendBegin({}, undefined, 1)
      .expectClose({ error: failing('amqp:not-allowed') })
      .finished()
    failed(s, 'amqp:not-allowed')
  })
})

describe.each(sides)('§2.4 channels (%s)', role => {
  test.each(['attach', 'flow', 'transfer', 'disposition', 'detach', 'end'] as const)(
    '§2.5.1 %s on a channel on which no session is',
    name => {
      const s = opened(scenario({ role }))
      s.peer.send(name, {}, undefined, 3)
      s.peer.expectClose({ error: failing('amqp:connection:framing-error') }).finished()
      failed(s, 'amqp:connection:framing-error')
    },
  )

  test('§2.5.1 begin on a channel that is in use', () => {
    const s = opened(scenario({ role }))
    begun(s)
    s.peer
      .sendBegin()
      .expectClose({ error: failing('amqp:not-allowed') })
      .finished()
    failed(s, 'amqp:not-allowed')
  })

  test('§2.5.1 begin that answers a channel on which nothing was begun', () => {
    const s = opened(scenario({ role }))
    s.peer
      .sendBegin({ remoteChannel: 4 })
      .expectClose({ error: failing('amqp:not-allowed') })
      .finished()
    failed(s, 'amqp:not-allowed')
  })

  test('§2.5.1 begin that answers a second time', () => {
    const s = opened(scenario({ role }))
    begun(s)
    s.peer.sendBegin({ remoteChannel: 0 }, undefined, 1)
    s.peer.expectClose({ error: failing(ILLEGAL) }).finished()
  })

  test('§2.4.6 sessions and links beneath end with the connection, without a word of their own', () => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    sending(s, session)
    receiving(s, session, { name: 'l2', handle: 1 })
    s.peer
      .sendRaw(frame(0, { t: 'null', v: null }))
      .expectClose({ error: failing('amqp:decode-error') })
      .finished()
    expect(s.events().map(({ type }) => type)).toEqual(['protocol.error', 'connection.closed'])
  })
})

/** What each of our flows says of the session. */
function sessionState(nextIncomingId: number): Expected {
  return { nextIncomingId, incomingWindow: 2048, nextOutgoingId: 0, outgoingWindow: 0xffffffff }
}
