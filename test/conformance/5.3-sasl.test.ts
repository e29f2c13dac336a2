/** §5.3: the SASL layer, as client and as server; the AMQP layer behind it. */

import { describe, expect, test } from 'vitest'
import type { SaslCode } from '../../src/definitions/sasl.ts'
import type { EngineOptions } from '../../src/engine/engine.ts'
import { UsageError } from '../../src/errors.ts'
import { build } from '../peer/composites.ts'
import { amqpHeader, frame, fromHex, saslHeader } from '../peer/wire.ts'
import { begun, OUR_OPEN, opened, type Scenario, scenario } from '../support/scenario.ts'

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const NO_NAME = text('\0user\0secret')

function client(): Scenario {
  const s = scenario({ role: 'initiator', sasl: 'client' })
  s.engine.connection.open({ containerId: 'us' })
  return s
}

const server = (options: EngineOptions = {}): Scenario =>
  scenario({ role: 'acceptor', sasl: 'server', mechanisms: ['PLAIN', 'ANONYMOUS', 'EXTERNAL'], ...options })

/** Given up: nothing more is said, and nothing is listened to. */
function givenUp(s: Scenario): void {
  s.peer.nothing().sendHeader(amqpHeader).sendOpen().finished()
  expect(s.engine.isDone).toBe(true)
  expect(s.events().filter(({ type }) => type === 'connection.closed')).toMatchObject([
    { by: 'local', error: { code: 'ERR_AMQP_PROTOCOL' } },
  ])
}

describe('§5.3.2 as client', () => {
  test('§5.3.2 header, mechanisms, init, outcome; then the AMQP header and open', () => {
    const s = client()
    s.peer.expectHeader(saslHeader).nothing().sendHeader(saslHeader)
    s.peer.sendSaslMechanisms({ saslServerMechanisms: ['PLAIN', 'ANONYMOUS'] }).nothing()
    expect(s.event('sasl.mechanisms').mechanisms).toEqual(['PLAIN', 'ANONYMOUS'])
    s.engine.sasl?.init('PLAIN', NO_NAME, 'host')
    s.peer.expectSaslInit({ mechanism: 'PLAIN', initialResponse: NO_NAME, hostname: 'host' }).nothing()
    s.peer.sendSaslOutcome()
    expect(s.event('sasl.outcome').code).toBe('ok')
    s.peer.expectHeader(amqpHeader).nothing().sendHeader(amqpHeader).expectOpen(OUR_OPEN).sendOpen()
    s.event('connection.opened')
    s.peer.finished()
  })

  test.each([
    ['EXTERNAL', undefined],
    ['EXTERNAL', new Uint8Array(0)],
    ['MSSBCBS', undefined],
    ['X-OWN', text('whatever')],
  ])('§5.3.3.2 the name %s passes as it is', (mechanism, initialResponse) => {
    const s = client()
    s.peer.expectHeader(saslHeader).sendHeader(saslHeader)
    s.peer.sendSaslMechanisms({ saslServerMechanisms: ['PLAIN', mechanism] })
    expect(s.event('sasl.mechanisms').mechanisms).toEqual(['PLAIN', mechanism])
    s.engine.sasl?.init(mechanism, initialResponse, undefined)
    s.peer.expectSaslInit({ mechanism, initialResponse }).finished()
  })

  test('§5.3.3.1 one mechanism, as a symbol and not an array', () => {
    const s = client()
    s.peer.expectHeader(saslHeader).sendHeader(saslHeader).sendSaslMechanisms({ saslServerMechanisms: 'EXTERNAL' })
    expect(s.event('sasl.mechanisms').mechanisms).toEqual(['EXTERNAL'])
  })

  test('§5.3.3.3 challenges, each with its response', () => {
    const s = client()
    s.peer.expectHeader(saslHeader).sendHeader(saslHeader).sendSaslMechanisms()
    s.engine.sasl?.init('X', undefined, undefined)
    s.peer.expectSaslInit({ mechanism: 'X' })
    for (const step of ['a', 'b', 'c']) {
      s.peer.sendSaslChallenge({ challenge: text(step) })
      expect(s.event('sasl.challenge').challenge).toEqual(text(step))
      s.engine.sasl?.respond(text(`${step}!`))
      s.peer.expectSaslResponse({ response: text(`${step}!`) })
    }
    s.peer
      .sendSaslOutcome({ additionalData: text('done') })
      .expectHeader(amqpHeader)
      .finished()
    expect(s.event('sasl.outcome').additionalData).toEqual(text('done'))
  })

  test('§5.3.1 a response longer than 512 bytes is sent in one frame', () => {
    const s = client()
    s.peer.expectHeader(saslHeader).sendHeader(saslHeader).sendSaslMechanisms()
    s.engine.sasl?.init('PLAIN', new Uint8Array(3000).fill(65), undefined)
    s.peer.expectSaslInit({ mechanism: 'PLAIN', initialResponse: new Uint8Array(3000).fill(65) }).finished()
  })

  test.each<[number, SaslCode]>([
    [1, 'auth'],
    [2, 'sys'],
    [3, 'sys-perm'],
    [4, 'sys-temp'],
    [9, 'sys'],
  ])('§5.3.3.6 outcome %i: %s, and no AMQP behind it', (code, told) => {
    const s = client()
    s.peer.expectHeader(saslHeader).sendHeader(saslHeader).sendSaslMechanisms()
    s.engine.sasl?.init('PLAIN', NO_NAME, undefined)
    s.peer.expectSaslInit({ mechanism: 'PLAIN', initialResponse: NO_NAME }).sendSaslOutcome({ code }).finished()
    expect(s.event('sasl.outcome').code).toBe(told)
  })

  test('§5.3 a server that pipelines: header, mechanisms and outcome, AMQP header and open', () => {
    const s = client()
    s.peer.expectHeader(saslHeader).together(peer => peer.sendHeader(saslHeader).sendSaslMechanisms())
    s.engine.sasl?.init('ANONYMOUS', undefined, undefined)
    s.peer.expectSaslInit({ mechanism: 'ANONYMOUS' })
    s.peer.together(peer => peer.sendSaslOutcome().sendHeader(amqpHeader).sendOpen())
    s.peer.expectHeader(amqpHeader).expectOpen(OUR_OPEN).finished()
    s.event('connection.opened')
  })

  test('§5.3.2 D-036 an outcome that is held: nothing is sent or read before `proceed`', () => {
    const s = scenario({ role: 'initiator', sasl: 'client', holdOutcome: true })
    s.engine.connection.open({ containerId: 'us' })
    s.peer.expectHeader(saslHeader).sendHeader(saslHeader).sendSaslMechanisms()
    expect(() => s.engine.sasl?.proceed()).toThrow(UsageError)
    s.engine.sasl?.init('X', undefined, undefined)
    s.peer.expectSaslInit({ mechanism: 'X' })
    s.peer.together(peer =>
      peer
        .sendSaslOutcome({ additionalData: text('proof') })
        .sendHeader(amqpHeader)
        .sendOpen(),
    )
    s.peer.nothing()
    expect(s.engine.hasOutput).toBe(false)
    expect(s.events().map(({ type }) => type)).toEqual(['sasl.mechanisms', 'sasl.outcome'])
    s.engine.sasl?.proceed()
    s.peer.expectHeader(amqpHeader).expectOpen(OUR_OPEN).finished()
    s.event('connection.opened')
    expect(() => s.engine.sasl?.proceed()).toThrow(UsageError)
  })

  test('§5.3.2 D-036 an outcome that is held for too long: given up', () => {
    const s = scenario({ role: 'initiator', sasl: 'client', holdOutcome: true })
    s.engine.connection.open({ containerId: 'us' })
    s.peer.expectHeader(saslHeader).sendHeader(saslHeader).sendSaslMechanisms()
    s.engine.sasl?.init('X', undefined, undefined)
    s.peer.expectSaslInit({ mechanism: 'X' }).sendSaslOutcome().nothing()
    s.pass(30_000)
    s.peer.finished()
    expect(s.engine.isDone).toBe(true)
  })

  test.each<[string, (s: Scenario) => void]>([
    ['init, which is ours', s => s.peer.sendSaslInit()],
    ['a response, which is ours', s => s.peer.sendSaslResponse()],
    ['a challenge before mechanisms', s => s.peer.sendSaslChallenge()],
    ['an outcome before mechanisms', s => s.peer.sendSaslOutcome()],
    ['mechanisms twice', s => s.peer.sendSaslMechanisms().sendSaslMechanisms()],
    ['an outcome before init', s => s.peer.sendSaslMechanisms().sendSaslOutcome()],
    ['an empty frame', s => s.peer.sendRaw('00000008 02010000')],
    ['an AMQP frame', s => s.peer.sendOpen()],
    ['payload behind mechanisms', s => s.peer.sendSaslMechanisms({}, Uint8Array.of(1))],
    ['mechanisms of none', s => s.peer.sendSaslMechanisms({ saslServerMechanisms: null })],
    [
      'mechanisms that are an empty array, which is none (§5.3.3.1)',
      s => s.peer.sendRaw('00000012 02010000 005340 c00501 e00200a3'),
    ],
    ['a frame of 2 GiB', s => s.peer.sendRaw('7fffffff 02010000')],
    ['doff 1', s => s.peer.sendRaw('00000008 01010000')],
    ['an open as a SASL frame', s => s.peer.sendRaw(frame(0, build('open', { containerId: 'x' }), undefined, 1))],
  ])('§5.3.2 %s: given up', (_name, say) => {
    const s = client()
    s.peer.expectHeader(saslHeader).sendHeader(saslHeader)
    say(s)
    givenUp(s)
  })

  test('§5.3 a server without SASL', () => {
    const s = client()
    s.peer.expectHeader(saslHeader).sendHeader(amqpHeader)
    givenUp(s)
  })

  test('§5.3.1 channel and extended header are ignored', () => {
    const s = client()
    s.peer.expectHeader(saslHeader).sendHeader(saslHeader)
    s.peer.sendRaw('00000017 03 01 abcd 01020304 00 53 40 c0 06 01 a3 03 505152')
    expect(s.event('sasl.mechanisms').mechanisms).toEqual(['PQR'])
  })
})

describe('§5.3.2 as server', () => {
  test('§5.3.2 mechanisms behind the header, outcome behind the init, then AMQP', () => {
    const s = server()
    s.peer.nothing().sendHeader(saslHeader).expectHeader(saslHeader)
    s.peer.expectSaslMechanisms({ saslServerMechanisms: ['PLAIN', 'ANONYMOUS', 'EXTERNAL'] }).nothing()
    s.peer.sendSaslInit({ mechanism: 'PLAIN', initialResponse: NO_NAME, hostname: 'h' }).nothing()
    expect(s.event('sasl.init')).toMatchObject({ mechanism: 'PLAIN', initialResponse: NO_NAME, hostname: 'h' })
    s.engine.sasl?.outcome('ok')
    s.peer.expectSaslOutcome({ code: 0 }).nothing()
    begun(opened(s))
    s.peer.finished()
  })

  test('§5.3.3.2 EXTERNAL, with an empty response and with none', () => {
    for (const initialResponse of [null, new Uint8Array(0), text('name')]) {
      const s = server()
      s.peer.sendHeader(saslHeader).sendSaslInit({ mechanism: 'EXTERNAL', initialResponse })
      expect(s.event('sasl.init')).toMatchObject({
        mechanism: 'EXTERNAL',
        initialResponse: initialResponse ?? undefined,
      })
    }
  })

  test('§5.3.3.3 challenges', () => {
    const s = server()
    s.peer.sendHeader(saslHeader).sendSaslInit({ mechanism: 'PLAIN' })
    expect(s.peer.expectHeader(saslHeader).all()).toHaveLength(1)
    s.engine.sasl?.challenge(text('who?'))
    s.peer.expectSaslChallenge({ challenge: text('who?') }).sendSaslResponse({ response: text('me') })
    expect(s.event('sasl.response').response).toEqual(text('me'))
    s.engine.sasl?.outcome('ok', text('bye'))
    s.peer.expectSaslOutcome({ code: 0, additionalData: text('bye') }).finished()
  })

  test('§5.3.3.6 refused: the outcome, and nothing is read any more', () => {
    const s = server()
    s.peer.sendHeader(saslHeader).sendSaslInit()
    expect(s.peer.expectHeader(saslHeader).all()).toHaveLength(1)
    s.engine.sasl?.outcome('auth')
    s.peer.expectSaslOutcome({ code: 1 })
    s.peer.sendHeader(amqpHeader).sendOpen().finished()
    expect(s.events().map(({ type }) => type)).toEqual(['sasl.init'])
  })

  test('§5.3 a client that pipelines everything, in one chunk', () => {
    const s = server()
    s.peer.together(peer =>
      peer.sendHeader(saslHeader).sendSaslInit().sendHeader(amqpHeader).sendOpen().sendBegin().sendAttach(),
    )
    s.peer.expectHeader(saslHeader)
    s.peer.expectSaslMechanisms({ saslServerMechanisms: ['PLAIN', 'ANONYMOUS', 'EXTERNAL'] }).nothing()
    expect(s.events().map(({ type }) => type)).toEqual(['sasl.init'])
    s.engine.sasl?.outcome('ok')
    s.engine.connection.open({ containerId: 'us' })
    s.peer.expectSaslOutcome({ code: 0 }).expectHeader(amqpHeader).expectOpen(OUR_OPEN).finished()
    expect(s.events().map(({ type }) => type)).toEqual(['connection.opened', 'session.begun', 'link.attached'])
  })

  test('§5.3 the same, byte by byte', () => {
    const s = server()
    s.peer.cut = bytes => Array.from(bytes, byte => Uint8Array.of(byte))
    s.peer.together(peer => peer.sendHeader(saslHeader).sendSaslInit().sendHeader(amqpHeader).sendOpen())
    expect(s.peer.expectHeader(saslHeader).all()).toHaveLength(1)
    s.engine.sasl?.outcome('ok')
    s.engine.connection.open({ containerId: 'us' })
    s.peer.expectSaslOutcome({ code: 0 }).expectHeader(amqpHeader).expectOpen(OUR_OPEN).finished()
  })

  test('§2.2 a client without SASL, where that is allowed', () => {
    const s = server({ allowNoSasl: true })
    opened(s).peer.finished()
  })

  test('§2.2 a client without SASL, where it is not', () => {
    const s = server({ allowNoSasl: false })
    s.peer.sendHeader(amqpHeader).expectHeader(saslHeader)
    givenUp(s)
  })

  test.each<[string, (s: Scenario) => void]>([
    ['mechanisms, which are ours', s => s.peer.sendSaslMechanisms()],
    ['an outcome, which is ours', s => s.peer.sendSaslOutcome()],
    ['a response before a challenge', s => s.peer.sendSaslResponse()],
    ['init without a mechanism', s => s.peer.sendSaslInit({ mechanism: null })],
    ['an empty frame', s => s.peer.sendRaw('00000008 02010000')],
    ['an AMQP frame', s => s.peer.sendOpen()],
    ['a frame above the limit', s => s.peer.sendRaw('00010001 02010000')],
    // 29 bytes that claim millions of elements, before anybody is authenticated.
    [
      'ten million nulls',
      s => s.peer.sendRaw('0000001c 02010000 00 53 41 c0 0e 02 f0 00000005 00989680 40 40 40 40 40'),
    ],
    ['ten million nulls in an array of mechanisms', s => s.peer.sendRaw(frame(0, undefined, HOSTILE, 1))],
  ])('§5.3.2 %s: given up', (_name, say) => {
    const s = server()
    s.peer.sendHeader(saslHeader).expectHeader(saslHeader)
    expect(s.peer.all()).toHaveLength(1)
    const start = performance.now()
    say(s)
    expect(performance.now() - start).toBeLessThan(500)
    givenUp(s)
  })

  test('§5.3.2 a second init while the first is being decided upon is not read', () => {
    const s = server()
    s.peer.sendHeader(saslHeader).sendSaslInit().sendSaslInit({ mechanism: 'PLAIN' })
    expect(s.events().map(({ type }) => type)).toEqual(['sasl.init'])
    s.engine.sasl?.outcome('ok')
    // It stands where the AMQP header belongs.
    expect(s.engine.isDone).toBe(true)
  })

  test('§5.3 no init within the time for it: given up', () => {
    const s = server()
    s.peer.sendHeader(saslHeader)
    s.pass(30_000)
    expect(s.engine.isDone).toBe(true)
    expect(s.event('connection.closed').by).toBe('transport')
  })
})

const HOSTILE = fromHex('00 53 40 f0 00000005 00989680 40')
