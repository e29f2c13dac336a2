/**
 * §2.8.14–18: what a peer does wrong, what it is told, and how much ends with it. One table; each row is a violation,
 * the section that makes it one, the condition, and the scope: which of close, end and detach carries it.
 */

import { describe, expect, test } from 'vitest'
import type { Scope } from '../../src/errors.ts'
import { build, error, source, target } from '../peer/composites.ts'
import { any, failing, type Script } from '../peer/script.ts'
import { encode, frame, fromHex } from '../peer/wire.ts'
import { begun, opened, receiving, type Scenario, type Side, scenario, sending, sides } from '../support/scenario.ts'

interface Violation {
  readonly what: string
  readonly section: string
  readonly condition: string
  readonly scope: Exclude<Scope, 'delivery'>
  readonly say: (peer: Script) => void
}

const FRAMING = 'amqp:connection:framing-error'
const DECODE = 'amqp:decode-error'
const ILLEGAL = 'amqp:illegal-state'
const NOT_ALLOWED = 'amqp:not-allowed'
const INVALID = 'amqp:invalid-field'
const one = Uint8Array.of(1)
const first = { handle: 0, deliveryId: 0, deliveryTag: one }

/** Four links: 0 receives with credit 3 and takes messages of 100 bytes, 1 sends. Handles go to 3, channels to 2. */
const violations: readonly Violation[] = [
  // the frame
  bad('a frame smaller than its header', '2.3.1', FRAMING, 'connection', p => p.sendRaw('00000007 02000000')),
  bad('a frame above max-frame-size', '2.7.1', FRAMING, 'connection', p => p.sendRaw('00010001 02000000')),
  bad('doff 1', '2.3.1', FRAMING, 'connection', p => p.sendRaw('00000008 01000000')),
  bad('a frame of an unknown type', '2.3.1', FRAMING, 'connection', p => p.sendRaw('00000008 02070000')),
  // its body
  bad('an unknown performative', '2.3.2', DECODE, 'connection', p => p.sendRaw(frame(0, custom(0x19)))),
  bad('a body that is not described', '2.3.2', DECODE, 'connection', p => p.sendRaw(frame(0, { t: 'list', v: [] }))),
  bad('flow, truncated', '1.6', DECODE, 'connection', p =>
    p.sendRaw(frame(0, undefined, fromHex('00 53 13 c0 ff 04'))),
  ),
  bad('flow without incoming-window', '2.7.4', DECODE, 'connection', p => p.sendFlow({ incomingWindow: null })),
  bad('transfer without handle', '2.7.5', DECODE, 'connection', p => p.sendTransfer({ handle: null })),
  bad('disposition without first', '2.7.6', DECODE, 'connection', p => p.sendDisposition({ first: null })),
  bad('attach without name', '2.7.3', DECODE, 'connection', p => p.sendAttach({ name: null, handle: 2 })),
  bad('attach without role', '2.7.3', DECODE, 'connection', p =>
    p.sendRaw(frame(0, build('attach', { name: 'x', handle: 2 }))),
  ),
  bad('detach without handle', '2.7.7', DECODE, 'connection', p => p.sendDetach({ handle: null })),
  bad('an error without condition', '2.8.14', DECODE, 'connection', p => p.sendDetach({ error: build('error', {}) })),
  bad('a settle mode that there is not', '2.8.2', DECODE, 'connection', p =>
    p.sendAttach({ name: 'x', handle: 2, sndSettleMode: 3 }),
  ),
  bad('a handle that is a string', '2.7.5', DECODE, 'connection', p =>
    p.sendTransfer({ handle: { t: 'string', v: '0' } }),
  ),
  bad('a source that is a target', '2.7.3', DECODE, 'connection', p =>
    p.sendAttach({ name: 'x', handle: 2, source: target() }),
  ),
  bad('a delivery-tag of 33 bytes', '2.8.7', DECODE, 'connection', p =>
    p.sendTransfer({ ...first, deliveryTag: new Uint8Array(33) }),
  ),
  bad('a state that is none', '2.7.6', DECODE, 'connection', p => p.sendDisposition({ state: source() })),
  bad('payload behind a disposition', '2.3.2', DECODE, 'connection', p => p.sendDisposition({}, one)),
  // the connection
  bad('open twice', '2.7.1', ILLEGAL, 'connection', p => p.sendOpen()),
  bad('begin on a channel in use', '2.5.1', NOT_ALLOWED, 'connection', p => p.sendBegin()),
  bad('begin that answers nothing', '2.5.1', NOT_ALLOWED, 'connection', p =>
    p.sendBegin({ remoteChannel: 2 }, undefined, 1),
  ),
  bad('begin that answers twice', '2.5.5', ILLEGAL, 'connection', p => p.sendBegin({ remoteChannel: 0 }, undefined, 1)),
  bad('begin above channel-max', '2.7.1', FRAMING, 'connection', p => p.sendBegin({}, undefined, 3)),
  bad('a frame above channel-max', '2.7.1', FRAMING, 'connection', p => p.sendFlow({}, undefined, 65_535)),
  bad('a frame on a channel without session', '2.5.1', FRAMING, 'connection', p => p.sendFlow({}, undefined, 1)),
  bad('a handle above handle-max', '2.7.2', FRAMING, 'connection', p => p.sendAttach({ name: 'x', handle: 4 })),
  bad('the highest handle there is', '2.7.2', FRAMING, 'connection', p =>
    p.sendAttach({ name: 'x', handle: 0xffffffff }),
  ),
  // the session
  bad('attach with a handle in use', '2.6.2', 'amqp:session:handle-in-use', 'session', p =>
    p.sendAttach({ name: 'x', handle: 0 }),
  ),
  bad('transfer with a handle to which nothing is attached', '2.6.2', 'amqp:session:unattached-handle', 'session', p =>
    p.sendTransfer({ ...first, handle: 2 }),
  ),
  bad('flow with such a handle', '2.7.4', 'amqp:session:unattached-handle', 'session', p => p.sendFlow({ handle: 2 })),
  bad('detach with such a handle', '2.6.2', 'amqp:session:unattached-handle', 'session', p =>
    p.sendDetach({ handle: 2 }),
  ),
  bad('transfer with a handle above all', '2.6.2', 'amqp:session:unattached-handle', 'session', p =>
    p.sendTransfer({ ...first, handle: 0xffffffff }),
  ),
  bad('transfer to a link that sends', '2.7.5', NOT_ALLOWED, 'session', p => p.sendTransfer({ ...first, handle: 1 })),
  bad('transfer beyond the window', '2.5.6', 'amqp:session:window-violation', 'session', p => {
    p.together(all => {
      for (let i = 0; i < 5; i++) all.sendTransfer({ ...first, more: true })
    })
  }),
  bad('a delivery-id out of order: ahead', '2.6.12', INVALID, 'session', p => {
    p.sendTransfer(first).sendTransfer({ ...first, deliveryId: 2 })
  }),
  bad('a delivery-id out of order: again', '2.6.12', INVALID, 'session', p =>
    p.sendTransfer(first).sendTransfer(first),
  ),
  bad('another delivery-id within a delivery', '2.7.5', INVALID, 'session', p => {
    p.sendTransfer({ ...first, more: true }).sendTransfer({ ...first, deliveryId: 1 })
  }),
  bad('a sender without initial-delivery-count', '2.7.3', INVALID, 'session', p =>
    p.sendRaw(frame(0, build('attach', { name: 'x', handle: 2, role: 'sender', source: source(), target: target() }))),
  ),
  // the link
  bad('transfer without credit', '2.6.7', 'amqp:link:transfer-limit-exceeded', 'link', p => {
    for (let i = 0; i < 4; i++) p.sendTransfer({ ...first, deliveryId: i })
  }),
  bad('the first transfer of a delivery without delivery-id', '2.7.5', INVALID, 'link', p =>
    p.sendTransfer({ handle: 0, deliveryTag: one }),
  ),
  bad('the first transfer of a delivery without delivery-tag', '2.7.5', INVALID, 'link', p =>
    p.sendTransfer({ handle: 0, deliveryId: 0 }),
  ),
  bad('a message larger than max-message-size', '2.7.3', 'amqp:link:message-size-exceeded', 'link', p =>
    p.sendTransfer(first, new Uint8Array(101)),
  ),
  bad('such a message in two frames', '2.7.3', 'amqp:link:message-size-exceeded', 'link', p =>
    p.sendTransfer({ ...first, more: true }, new Uint8Array(60)).sendTransfer({ handle: 0 }, new Uint8Array(60)),
  ),
]

function bad(
  what: string,
  section: string,
  condition: string,
  scope: Violation['scope'],
  say: (peer: Script) => void,
): Violation {
  return { what, section, condition, scope, say }
}

function custom(code: number): ReturnType<typeof build> {
  return { t: 'described', v: { descriptor: { t: 'ulong', v: BigInt(code) }, value: { t: 'list', v: [] } } }
}

function prepared(role: Side): Scenario {
  const s = opened(scenario({ role }), { channelMax: 2 })
  const session = begun(s, { handleMax: 3, incomingWindow: 4 })
  const receiver = receiving(s, session, { ours: { maxMessageSize: 100n } })
  sending(s, session, { name: 'l2', handle: 1 })
  receiver.flow(3)
  expect(s.peer.all()).toHaveLength(1)
  s.events()
  return s
}

describe.each(sides)('§2.8.15–18 violations (%s)', role => {
  test.each(violations)('§$section $what: $condition, of the $scope', ({ condition, scope, say }) => {
    const s = prepared(role)
    const { peer } = s
    say(peer)
    const why = { error: failing(condition) }
    // What the window or the credit lets us say in between does not matter here.
    const heard = peer.all()
    const [told, ...more] = heard.filter(({ name }) => name !== 'flow')
    expect(more).toEqual([])
    expect(told?.name).toBe({ connection: 'close', session: 'end', link: 'detach' }[scope])
    const { fields } = told as (typeof heard)[number]
    expect(fields.error && why.error.test(fields.error)).toBe(true)
    if (scope === 'link') expect(fields).toMatchObject({ closed: { v: true }, handle: { v: 0 } })

    const events = s.events()
    const protocol = events.filter(event => event.type === 'protocol.error')
    expect(protocol.map(({ error }) => [error.condition, error.scope])).toEqual([[condition, scope]])
    const ended = events.find(({ type }) => type === `${scope}.${ENDINGS[scope]}`)
    expect(ended).toMatchObject({ by: 'local', error: { code: 'ERR_AMQP_PROTOCOL', condition } })

    // What stands above goes on; and the peer may end it in order.
    if (scope === 'connection') {
      peer.sendClose().finished()
      expect(s.engine.isDone).toBe(true)
      return
    }
    if (scope === 'link') {
      peer.sendDetach()
      peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit: 1, echo: true })
      peer.expectFlow({
        nextIncomingId: any,
        incomingWindow: any,
        nextOutgoingId: 0,
        outgoingWindow: any,
        handle: 1,
        deliveryCount: 0,
        linkCredit: 1,
        available: 0,
      })
    }
    if (scope === 'session') peer.sendEnd().sendBegin({}, undefined, 1).nothing()
    peer.sendClose().expectClose().finished()
  })

  test('§2.8.14 a violation of ours ends nothing else of the peer’s: an error of its own is told as it is', () => {
    const s = prepared(role)
    s.peer.sendDetach({
      error: error({ condition: 'custom:thing', description: 'why', info: { k: 'v', n: 1 } }),
    })
    s.peer.expectDetach({ handle: 0, closed: true }).finished()
    const { error: told } = s.event('link.detached')
    expect(told).toMatchObject({
      code: 'ERR_AMQP_REMOTE',
      condition: 'custom:thing',
      description: 'why',
      scope: 'link',
    })
    if (told?.code !== 'ERR_AMQP_REMOTE') throw new Error('it is')
    expect([...((told as { info?: ReadonlyMap<unknown, unknown> }).info ?? [])].map(([key]) => `${key}`)).toEqual([
      'k',
      'n',
    ])
  })

  test('§2.8.14 first cause wins: what follows an error is not told again', () => {
    const s = prepared(role)
    s.peer.together(peer => {
      peer
        .sendDetach({ handle: 2 })
        .sendTransfer({ ...first, handle: 3 })
        .sendOpen()
        .sendRaw('00000000 00000000')
    })
    expect(s.peer.all().map(({ name }) => name)).toEqual(['end', 'close'])
    const errors = s.events().flatMap(event => (event.type === 'protocol.error' ? [event.error.condition] : []))
    expect(errors).toEqual(['amqp:session:unattached-handle', ILLEGAL])
  })

  test('§2.8.15 every table row is a frame that this codec can say', () => {
    expect(encode(custom(0x19))).toEqual(fromHex('00 53 19 45'))
    expect(new Set(violations.map(({ what }) => what)).size).toBe(violations.length)
  })
})

const ENDINGS = { connection: 'closed', session: 'ended', link: 'detached' } as const
