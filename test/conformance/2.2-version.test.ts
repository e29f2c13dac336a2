/** §2.2: protocol headers, and what follows when they do not fit. */

import { describe, expect, test } from 'vitest'
import { amqpHeader, fromHex, saslHeader, tlsHeader } from '../peer/wire.ts'
import { opened, scenario, sides } from '../support/scenario.ts'

const HTTP = new TextEncoder().encode('GET / HTTP/1.1\r\n\r\n')
const AMQP_1_1 = fromHex('414d5150 00 010100')

describe('§2.2 version negotiation', () => {
  test.each(sides)('§2.2 the same header from both, then open (%s)', role => {
    const s = opened(scenario({ role }))
    expect(s.engine.connection.state).toBe('OPENED')
    s.peer.finished()
  })

  test('§2.2 the initiator sends its header at once, and nothing else until it is answered', () => {
    const { engine, peer } = scenario({ role: 'initiator' })
    engine.connection.open({ containerId: 'us' })
    peer.expectHeader().finished()
  })

  test('§2.2 the acceptor waits for the header', () => {
    const { peer } = scenario({ role: 'acceptor' })
    peer.nothing().sendHeader().expectHeader().finished()
  })

  test('§2.2 a header that comes byte by byte', () => {
    const s = scenario({ role: 'acceptor' })
    s.peer.cut = bytes => Array.from(bytes, byte => Uint8Array.of(byte))
    opened(s).peer.finished()
  })

  test.each([
    ['a later version', AMQP_1_1],
    ['another layer', tlsHeader],
    ['SASL where none is', saslHeader],
    ['HTTP', HTTP],
    ['zeros', new Uint8Array(8)],
  ])('§2.2 %s: the acceptor answers with the header it supports, and is done', (_name, header) => {
    const s = scenario({ role: 'acceptor' })
    s.peer.sendHeader(header).expectHeader(amqpHeader).finished()
    expect(s.engine.isDone).toBe(true)
    expect(s.event('protocol.error').error).toMatchObject({
      condition: 'amqp:connection:framing-error',
      section: '2.2',
    })
    expect(s.event('connection.closed')).toMatchObject({ by: 'local', error: { code: 'ERR_AMQP_PROTOCOL' } })
  })

  test.each([
    ['a later version', AMQP_1_1],
    ['another layer', saslHeader],
    ['HTTP', HTTP],
  ])('§2.2 %s in answer: the initiator says no more, and is done', (_name, header) => {
    const s = scenario({ role: 'initiator' })
    s.engine.connection.open({ containerId: 'us' })
    s.peer.expectHeader().sendHeader(header).finished()
    expect(s.engine.isDone).toBe(true)
    expect(s.event('connection.closed')).toMatchObject({ by: 'local', error: { code: 'ERR_AMQP_PROTOCOL' } })
    // Whatever comes behind is not looked at.
    s.peer.sendOpen().finished()
  })

  test('§2.2 AMQP where SASL is required: answered with the SASL header', () => {
    const s = scenario({ role: 'acceptor', sasl: 'server', mechanisms: ['PLAIN'], allowNoSasl: false })
    s.peer.sendHeader(amqpHeader).expectHeader(saslHeader).finished()
    expect(s.engine.isDone).toBe(true)
  })

  test('§2.2 no header within the time for it: given up', () => {
    const s = scenario({ role: 'acceptor' })
    s.pass(9_999)
    expect(s.engine.isDone).toBe(false)
    s.pass(1)
    expect(s.engine.isDone).toBe(true)
    expect(s.event('connection.closed')).toMatchObject({ by: 'transport', error: { code: 'ERR_AMQP_TRANSPORT' } })
    s.peer.finished()
  })
})
