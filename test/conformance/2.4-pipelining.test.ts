/** §2.4.2: what leaves before the peer has said anything, and what waits; alone, and behind a SASL init. */

import { describe, expect, test } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import { any, type Expected } from '../peer/script.ts'
import { amqpHeader, saslHeader } from '../peer/wire.ts'
import { OUR_BEGIN, OUR_OPEN, type Scenario, scenario } from '../support/scenario.ts'

const ENDS = { source: { address: 'a' }, target: { address: 'b' } }
const SENDER: Expected = { name: 'l1', handle: 0, role: 'sender', source: any, target: any, initialDeliveryCount: 0 }

function pipelining(): Scenario {
  const s = scenario({ role: 'initiator' })
  s.engine.connection.open({ containerId: 'us' })
  s.engine.pipeline()
  return s
}

describe('§2.4.2 without SASL', () => {
  test('§2.4.2 header, open, begin and attach leave before anything has come', () => {
    const s = pipelining()
    const session = s.engine.connection.session()
    session.begin()
    session.sender('l1').attach(ENDS)
    s.peer.expectHeader().expectOpen(OUR_OPEN).expectBegin(OUR_BEGIN).expectAttach(SENDER).nothing()
    s.peer.sendHeader().sendOpen().respondBegin().respondAttach({ role: 'receiver' })
    s.peer.sendFlow({ nextIncomingId: 0, handle: 0, deliveryCount: 0, linkCredit: 1 }).finished()
    expect(s.events().map(({ type }) => type)).toEqual([
      'connection.opened',
      'session.begun',
      'link.attached',
      'link.flow',
    ])
  })

  test('§2.4.2 what is begun between our open and the peer’s leaves at once', () => {
    const s = pipelining()
    s.peer.expectHeader().expectOpen(OUR_OPEN).nothing()
    const session = s.engine.connection.session()
    session.begin()
    s.peer.expectBegin(OUR_BEGIN).sendHeader()
    session.sender('l1').attach(ENDS)
    s.peer.expectAttach(SENDER).sendOpen().finished()
  })

  test('§2.4.2 credit that is granted at once leaves with the attach, and says nothing of the peer’s transfers', () => {
    const s = pipelining()
    const session = s.engine.connection.session()
    session.begin()
    const link = session.receiver('l1')
    link.attach(ENDS)
    link.flow(10)
    s.peer.expectHeader().expectOpen(OUR_OPEN).expectBegin(OUR_BEGIN)
    s.peer.expectAttach({ name: 'l1', handle: 0, role: 'receiver', source: any, target: any, maxMessageSize: any })
    s.peer.expectFlow({ incomingWindow: 2048, nextOutgoingId: 0, outgoingWindow: any, handle: 0, linkCredit: 10 })
    s.peer.nothing()
  })

  test('§2.4.1 a frame above 512 bytes waits for the peer’s open, and so does what comes behind it', () => {
    const s = pipelining()
    const session = s.engine.connection.session()
    session.begin()
    session.sender('l1').attach({ ...ENDS, target: { address: 'b'.repeat(500) } })
    session.sender('l2').attach(ENDS)
    s.peer.expectHeader().expectOpen(OUR_OPEN).expectBegin(OUR_BEGIN).nothing().sendHeader().nothing().sendOpen()
    s.peer
      .expectAttach(SENDER)
      .expectAttach({ ...SENDER, name: 'l2', handle: 1 })
      .finished()
  })

  test('§2.4.1 another channel than 0 waits', () => {
    const s = pipelining()
    s.engine.connection.session().begin()
    s.engine.connection.session().begin()
    s.peer.expectHeader().expectOpen(OUR_OPEN).expectBegin(OUR_BEGIN).nothing().sendHeader().nothing().sendOpen()
    s.peer.expectBegin(OUR_BEGIN, undefined, 1).finished()
  })

  test('§2.4.1 an open above 512 bytes waits for the header', () => {
    const s = scenario({ role: 'initiator' })
    const containerId = 'c'.repeat(600)
    s.engine.connection.open({ containerId })
    s.engine.pipeline()
    s.engine.connection.session().begin()
    s.peer.expectHeader().nothing().sendHeader()
    s.peer
      .expectOpen({ ...OUR_OPEN, containerId })
      .expectBegin(OUR_BEGIN)
      .finished()
  })

  test('§2.4.7 a close goes behind it, and everything is answered', () => {
    const s = pipelining()
    s.engine.connection.close()
    s.peer.expectHeader().expectOpen(OUR_OPEN).expectClose().nothing()
    expect(s.engine.connection.isClosing).toBe(true)
    s.peer.sendHeader().sendOpen().sendClose().finished()
    expect(s.engine.isDone).toBe(true)
    expect(s.event('connection.closed')).toMatchObject({ by: 'local', error: undefined })
  })

  test('§2.4.1 a peer that takes no frame as large as one that waited: an error here, and a close', () => {
    const s = scenario({ role: 'initiator' })
    s.engine.connection.open({ containerId: 'us' })
    const session = s.engine.connection.session()
    session.begin()
    session.sender('l1').attach({ ...ENDS, target: { address: 'b'.repeat(500) } })
    s.peer.expectHeader().sendHeader().expectOpen(OUR_OPEN).sendOpen({ maxFrameSize: 512 })
    s.peer.expectBegin(OUR_BEGIN).expectClose().sendClose().finished()
    expect(s.event('connection.closed')).toMatchObject({ by: 'local', error: { code: 'ERR_AMQP_USAGE' } })
    expect(s.engine.isDone).toBe(true)
  })

  test('§2.4.1 a peer that has no channel for a session that waited', () => {
    const s = scenario({ role: 'initiator' })
    s.engine.connection.open({ containerId: 'us' })
    s.engine.connection.session().begin()
    s.engine.connection.session().begin()
    s.peer.expectHeader().sendHeader().expectOpen(OUR_OPEN).sendOpen({ channelMax: 0 })
    s.peer.expectBegin(OUR_BEGIN).expectClose().sendClose().finished()
    const { error } = s.event('connection.closed')
    expect(error).toBeInstanceOf(UsageError)
    expect(error?.message).toContain('channels up to 0')
  })
})

describe('§5.3.2 behind a SASL init', () => {
  const guessing = (): Scenario => {
    const s = scenario({ role: 'initiator', sasl: 'client', holdOutcome: true })
    s.engine.connection.open({ containerId: 'us' })
    s.engine.sasl?.init('ANONYMOUS', undefined, 'host')
    return s
  }

  test('§2.4.2 header, init, header, open, begin: one flight, before anything has come', () => {
    const s = guessing()
    s.engine.pipeline()
    s.engine.connection.session().begin()
    s.peer.expectHeader(saslHeader).expectSaslInit({ mechanism: 'ANONYMOUS', hostname: 'host' })
    s.peer.expectHeader(amqpHeader).expectOpen(OUR_OPEN).expectBegin(OUR_BEGIN).nothing()
    s.peer.together(peer =>
      peer.sendHeader(saslHeader).sendSaslMechanisms().sendSaslOutcome().sendHeader(amqpHeader).sendOpen(),
    )
    expect(s.event('sasl.mechanisms').mechanisms).toEqual(['ANONYMOUS'])
    expect(s.event('sasl.outcome').code).toBe('ok')
    expect(s.engine.connection.remoteOpen).toBeUndefined()
    s.engine.sasl?.proceed()
    s.event('connection.opened')
    s.peer.respondBegin().finished()
    s.event('session.begun')
  })

  test('§5.3.2 an init that is guessed alone: AMQP waits for the outcome', () => {
    const s = guessing()
    s.peer.expectHeader(saslHeader).expectSaslInit({ mechanism: 'ANONYMOUS', hostname: 'host' }).nothing()
    s.peer.sendHeader(saslHeader).sendSaslMechanisms().sendSaslOutcome().nothing()
    s.engine.sasl?.proceed()
    s.peer.expectHeader(amqpHeader).nothing().sendHeader(amqpHeader).expectOpen(OUR_OPEN).finished()
  })

  test('§5.3.2 an outcome without mechanisms is a fault, guessed or not', () => {
    const s = guessing()
    s.engine.pipeline()
    s.peer
      .expectHeader(saslHeader)
      .expectSaslInit({ mechanism: 'ANONYMOUS', hostname: 'host' })
      .expectHeader(amqpHeader)
      .expectOpen(OUR_OPEN)
    s.peer.sendHeader(saslHeader).sendSaslOutcome().finished()
    expect(s.event('connection.closed')).toMatchObject({ error: { code: 'ERR_AMQP_PROTOCOL' } })
  })

  test('§2.4.2 pipelining before the init, or as a server, is a UsageError', () => {
    for (const role of ['client', 'server'] as const) {
      const s = scenario({ role: 'initiator', sasl: role })
      expect(() => s.engine.pipeline()).toThrow(UsageError)
    }
  })
})
