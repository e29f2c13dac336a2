/** §2.6.1–6: links: names, handles, attaching, detaching, errors, closing. Their credit is in `2.6-flow.test.ts`. */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { error, source, target } from '../peer/composites.ts'
import { any, type Expected, failing } from '../peer/script.ts'
import {
  begun,
  opened,
  receiving,
  same,
  scenario,
  sending,
  sides,
  withReceiver,
  withSender,
} from '../support/scenario.ts'
import { pause } from '../waiting.ts'

const A = source({ address: 'a' })
const B = target({ address: 'b' })
const one = Uint8Array.of(1)
const tag = (n: number): Uint8Array => Uint8Array.of(0, 0, 0, n)
const sent = (id: number, handle = 0): Expected => ({ handle, deliveryId: id, deliveryTag: any, messageFormat: 0 })
/** What a flow of ours says of the session. */
const state = (nextIncomingId = 0, nextOutgoingId = 0): Expected => ({
  nextIncomingId,
  incomingWindow: 2048,
  nextOutgoingId,
  outgoingWindow: 0xffffffff,
})

describe('§2.6.1 naming a link', () => {
  test('§2.6.1 the same name in both directions: two links', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const session = begun(s)
    const sender = session.sender('same')
    const receiver = session.receiver('same')
    sender.attach({ source: { address: 'a' }, target: { address: 'b' } })
    receiver.attach({ source: { address: 'a' }, target: { address: 'b' } })
    s.peer.expectAttach({ name: 'same', handle: 0, role: 'sender', source: A, target: B, initialDeliveryCount: 0 })
    s.peer.expectAttach({ name: 'same', handle: 1, role: 'receiver', source: A, target: B, maxMessageSize: any })
    s.peer.sendAttach({ name: 'same', handle: 1, role: 'sender' })
    s.peer.sendAttach({ name: 'same', handle: 0, role: 'receiver' })
    expect(s.events()).toMatchObject([
      { type: 'link.attached', link: same(receiver) },
      { type: 'link.attached', link: same(sender) },
    ])
    s.peer.finished()
  })

  test('§2.6.1 both attach the same name, each as sender: two links', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const session = begun(s)
    const sender = session.sender('same')
    sender.attach({ source: { address: 'a' }, target: { address: 'b' } })
    s.peer.expectAttach({ name: 'same', handle: 0, role: 'sender', source: A, target: B, initialDeliveryCount: 0 })
    s.peer.sendAttach({ name: 'same', handle: 0, role: 'sender' })
    const { link } = s.event('link.attached')
    expect(link).toMatchObject({ role: 'receiver', initiated: 'remote' })
    expect(sender.state).toBe('ATTACH_SENT')
  })
})

describe.each(sides)('§2.6.2 handles (%s)', role => {
  test('§2.6.2 each end has its own', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const session = begun(s)
    const sender = session.sender('l')
    sender.attach({ source: { address: 'a' }, target: { address: 'b' } })
    s.peer.expectAttach({ name: 'l', handle: 0, role: 'sender', source: A, target: B, initialDeliveryCount: 0 })
    s.peer.respondAttach({ handle: 16_000 }).sendFlow({ handle: 16_000, deliveryCount: 0, linkCredit: 1 })
    sender.transfer(one)
    s.peer.expectTransfer(sent(0), one)
    s.peer.sendDetach({ handle: 16_000 }).expectDetach({ handle: 0, closed: true }).finished()
  })

  test('§2.6.2 the lowest that is free is taken', () => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    const first = sending(s, session, { name: 'a', handle: 0 })
    sending(s, session, { name: 'b', handle: 1 })
    first.close()
    s.peer.expectDetach({ handle: 0, closed: true }).sendDetach({ handle: 0 })
    sending(s, session, { name: 'c', handle: 0 })
    s.peer.finished()
  })

  test('§2.6.2 the peer takes a handle again once both have detached', () => {
    const { s, peer, session, receiver } = withReceiver(role, { credit: 1 })
    peer.sendDetach().expectDetach({ handle: 0, closed: true })
    expect(s.event('link.detached').link).toBe(receiver)
    const again = receiving(s, session, { name: 'again' })
    expect(again).not.toBe(receiver)
    again.flow(1)
    peer.expectFlow({ ...state(), handle: 0, deliveryCount: 0, linkCredit: 1 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: one })
    expect(s.deliveries()[0]?.link).toBe(again)
    peer.finished()
  })

  test('§2.6.2 ours is not used again before the peer has detached, too', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const session = begun(s)
    sending(s, session).close()
    s.peer.expectDetach({ handle: 0, closed: true })
    session.sender('next').attach({ source: { address: 'a' }, target: { address: 'b' } })
    s.peer.expectAttach({ name: 'next', handle: 1, role: 'sender', source: A, target: B, initialDeliveryCount: 0 })
    s.peer.sendDetach().finished()
  })

  test('§2.6.2 two hundred links, attached and closed by turns from either end, leave nothing behind', async () => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    const refs = Array.from({ length: 200 }, (_, i) => {
      const link = i % 2 ? sending(s, session, { name: `l${i}` }) : receiving(s, session, { name: `l${i}` })
      if (i % 3) {
        link.close()
        s.peer.expectDetach({ handle: 0, closed: true }).sendDetach()
      } else s.peer.sendDetach().expectDetach({ handle: 0, closed: true })
      expect(s.event('link.detached').link).toBe(link)
      expect(link).toMatchObject({ state: 'CLOSED', handle: -1, remoteHandle: -1 })
      return new WeakRef(link)
    })
    s.peer.finished()
    // The last one may still lie in a register.
    expect(await alive(refs)).toBeLessThanOrEqual(1)
    expect(session.state).toBe('MAPPED')
  })

  test('§2.6.2 two hundred links with a fresh handle of the peer’s each leave nothing behind', async () => {
    const s = opened(scenario({ role: 'acceptor' }))
    const session = begun(s)
    const refs = Array.from({ length: 200 }, (_, i) => {
      s.peer.sendAttach({ name: `l${i}`, handle: i })
      const { link } = s.event('link.attached')
      link.attach({ source: { address: 'a' }, target: { address: 'b' } })
      s.peer.expectAttach({ name: `l${i}`, handle: 0, role: 'receiver', source: A, target: B, maxMessageSize: any })
      s.peer.sendDetach({ handle: i }).expectDetach({ handle: 0, closed: true })
      s.events()
      return new WeakRef(link)
    })
    s.peer.finished()
    expect(await alive(refs)).toBeLessThanOrEqual(1)
    expect(session.state).toBe('MAPPED')
  })
})

describe('§2.6.3 establishing a link', () => {
  test.each(sides)('§2.6.3 a sender, and a receiver (%s)', role => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    expect(sending(s, session, { name: 'x' }).state).toBe('ATTACHED')
    expect(receiving(s, session, { name: 'y', handle: 1 }).state).toBe('ATTACHED')
    s.peer.finished()
  })

  test('§2.6.3 the peer’s attach is told as it is', () => {
    const s = opened(scenario({ role: 'acceptor' }))
    begun(s)
    s.peer.sendAttach({
      name: 'n',
      handle: 4,
      role: 'receiver',
      sndSettleMode: 'settled',
      rcvSettleMode: 'second',
      source: source({ address: 'q', dynamic: false, capabilities: ['queue'] }),
      target: target({ address: 'me' }),
      maxMessageSize: 1000n,
      properties: { p: 1 },
    })
    const { link, attach } = s.event('link.attached')
    expect(link).toMatchObject({ name: 'n', role: 'sender', remoteMaxMessageSize: 1000n, sndSettleMode: 'settled' })
    expect(attach).toMatchObject({
      handle: 4,
      rcvSettleMode: 'second',
      source: { address: 'q', capabilities: ['queue'] },
    })
  })

  test.each(['sender', 'receiver'] as const)('§2.6.3 the peer refuses our %s: null terminus, then detach', kind => {
    const s = opened(scenario({ role: 'initiator' }))
    const session = begun(s)
    const link = kind === 'sender' ? session.sender('no') : session.receiver('no')
    link.attach({ source: { address: 'a' }, target: { address: 'b' } })
    s.peer.expectAttach({
      name: 'no',
      handle: 0,
      role: kind,
      source: A,
      target: B,
      ...(kind === 'sender' ? { initialDeliveryCount: 0 } : { maxMessageSize: any }),
    })
    s.peer.respondAttach(kind === 'sender' ? { target: null } : { source: null, initialDeliveryCount: 0 })
    expect(s.event('link.attached').link).toBe(link)
    expect(link.refused).toBe(true)
    s.peer.nothing()
    s.peer.sendDetach({ error: error({ condition: 'amqp:not-found', description: 'no such node' }) })
    s.peer.expectDetach({ handle: 0, closed: true }).finished()
    expect(s.event('link.detached')).toMatchObject({
      by: 'remote',
      closed: true,
      error: { code: 'ERR_AMQP_REMOTE', condition: 'amqp:not-found' },
    })
  })

  test.each(['sender', 'receiver'] as const)('§2.6.3 we refuse the peer’s %s: null terminus, then detach', kind => {
    const s = opened(scenario({ role: 'acceptor' }))
    begun(s)
    s.peer.sendAttach({ name: 'no', role: kind })
    s.event('link.attached').link.refuse({ condition: 'amqp:not-found', description: 'no such node' })
    if (kind === 'sender')
      s.peer.expectAttach({ name: 'no', handle: 0, role: 'receiver', source: A, maxMessageSize: any })
    else s.peer.expectAttach({ name: 'no', handle: 0, role: 'sender', target: B, initialDeliveryCount: 0 })
    s.peer.expectDetach({
      handle: 0,
      closed: true,
      error: error({ condition: 'amqp:not-found', description: 'no such node' }),
    })
    s.peer.sendDetach().finished()
  })

  test('§2.6.3 the peer detaches before we have answered its attach', () => {
    const s = opened(scenario({ role: 'acceptor' }))
    begun(s)
    s.peer.together(peer => peer.sendAttach().sendDetach())
    s.peer.expectAttach({ name: 'l1', handle: 0, role: 'receiver', maxMessageSize: any })
    s.peer.expectDetach({ handle: 0, closed: true }).finished()
    expect(s.events().map(({ type }) => type)).toEqual(['link.attached', 'link.detached'])
  })

  test('§2.6.3 we close before the peer has answered our attach', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const session = begun(s)
    const link = session.sender('l1')
    link.attach({ source: { address: 'a' }, target: { address: 'b' } })
    link.close()
    s.peer.expectAttach({ name: 'l1', handle: 0, role: 'sender', source: A, target: B, initialDeliveryCount: 0 })
    s.peer.expectDetach({ handle: 0, closed: true })
    s.peer.respondAttach().sendDetach().finished()
    expect(s.event('link.detached')).toMatchObject({ link: same(link), by: 'local', closed: true })
  })

  test.each(sides)('§2.7.3 a sender’s attach without initial-delivery-count (%s)', role => {
    const s = opened(scenario({ role }))
    begun(s)
    s.peer.sendAttach({ initialDeliveryCount: null as never, role: { t: 'boolean', v: false } })
    s.peer
      .expectEnd({ error: failing('amqp:invalid-field') })
      .sendEnd()
      .finished()
    // Nothing is offered that could be answered no more.
    expect(s.events().map(({ type }) => type)).toEqual(['protocol.error', 'session.ended'])
  })
})

describe.each(sides)('§2.6.4 §2.6.6 detaching and closing (%s)', role => {
  test.each([
    ['detach', false],
    ['close', true],
  ] as const)('§2.6.4 §2.6.6 our %s, answered', (verb, closed) => {
    const { s, peer, sender } = withSender(role)
    sender[verb]()
    peer.expectDetach({ handle: 0, closed }).sendDetach({ closed }).finished()
    expect(s.events()).toMatchObject([
      { type: 'link.detached', link: same(sender), by: 'local', closed, error: undefined },
    ])
    expect(sender.state).toBe(closed ? 'CLOSED' : 'DETACHED')
  })

  test.each([[false], [true]])('§2.6.4 §2.6.6 the peer’s, closed %s, answered in kind', closed => {
    const { s, peer, receiver } = withReceiver(role)
    peer.sendDetach({ closed }).expectDetach({ handle: 0, closed }).finished()
    expect(s.events()).toMatchObject([{ type: 'link.detached', link: same(receiver), by: 'remote', closed }])
  })

  test('§2.6.6 ours, with an error', () => {
    const { peer, receiver } = withReceiver(role)
    receiver.close({ condition: 'amqp:link:detach-forced', description: 'x' })
    peer.expectDetach({
      handle: 0,
      closed: true,
      error: error({ condition: 'amqp:link:detach-forced', description: 'x' }),
    })
    peer.sendDetach().finished()
  })

  test('§2.6.4 both detach at the same time', () => {
    const { s, peer, sender } = withSender(role)
    sender.detach()
    peer.expectDetach({ handle: 0 }).sendDetach({ closed: false }).finished()
    expect(s.events().map(({ type }) => type)).toEqual(['link.detached'])
  })

  test('§2.6.6 both close at the same time, ours not yet written', () => {
    const { s, peer, sender } = withSender(role)
    sender.close()
    peer.sendDetach().expectDetach({ handle: 0, closed: true }).finished()
    expect(s.events().map(({ type }) => type)).toEqual(['link.detached'])
  })

  test('§2.6.6 a plain detach of ours crosses a closing one: closed at both ends', () => {
    const { s, peer, sender } = withSender(role)
    sender.detach()
    peer.expectDetach({ handle: 0 }).sendDetach({ closed: true }).finished()
    expect(s.event('link.detached')).toMatchObject({ closed: true })
  })

  test('§2.6.6 a closing detach of ours crosses a plain one: closed at both ends', () => {
    const { s, peer, sender } = withSender(role)
    sender.close()
    peer.expectDetach({ handle: 0, closed: true }).sendDetach({ closed: false }).finished()
    expect(s.event('link.detached')).toMatchObject({ closed: true })
  })

  test('§2.6.6 what is queued goes first', () => {
    const { peer, sender } = withSender(role, { credit: 2 })
    sender.transfer(one)
    sender.transfer(one)
    sender.close()
    peer.expectTransfer(sent(0), one).expectTransfer(sent(1), one).expectDetach({ handle: 0, closed: true })
    peer.sendDetach().finished()
  })

  test('§2.6.4 attached again under the same name before the peer’s detach has come', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const session = begun(s)
    const before = sending(s, session)
    before.detach()
    const after = session.sender('l1')
    after.attach({ source: { address: 'a' }, target: { address: 'b' } })
    s.peer.together(() => {})
    const frames = s.peer.all().map(({ name }) => name)
    expect(frames.sort()).toEqual(['attach', 'detach'])
    s.peer.sendDetach({ closed: false }).sendAttach({ name: 'l1', role: 'receiver', handle: 0 })
    expect(s.events()).toMatchObject([
      { type: 'link.detached', link: same(before) },
      { type: 'link.attached', link: same(after) },
    ])
    expect(after.state).toBe('ATTACHED')
    s.peer.finished()
  })

  test('§2.6.4 the peer attaches again under the same name', () => {
    const s = opened(scenario({ role: 'acceptor' }))
    const session = begun(s)
    const before = receiving(s, session)
    s.peer.together(peer => peer.sendDetach({ closed: false }).sendAttach())
    s.peer.expectDetach({ handle: 0 })
    expect(s.event('link.detached').link).toBe(before)
    expect(s.event('link.attached').link).not.toBe(before)
    s.peer.finished()
  })

  test('§2.6.6 a second detach', () => {
    const { peer } = withSender(role)
    peer.sendDetach().expectDetach({ handle: 0, closed: true }).sendDetach()
    peer
      .expectEnd({ error: failing('amqp:session:unattached-handle') })
      .sendEnd()
      .finished()
  })
})

describe.each(sides)('§2.6.5 link errors (%s)', role => {
  test('§2.6.5 the link is closed with the error, and its other frames let pass; the session goes on', () => {
    const { s, peer, session, receiver } = withReceiver(role, { credit: 1 })
    const other = receiving(s, session, { name: 'l2', handle: 1 })
    other.flow(10)
    peer.expectFlow({ ...state(), handle: 1, deliveryCount: 0, linkCredit: 10 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) })
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1) })
    peer.expectDetach({ handle: 0, closed: true, error: failing('amqp:link:transfer-limit-exceeded') })
    expect(s.event('protocol.error').error).toMatchObject({ scope: 'link', section: '2.6.7' })
    expect(s.event('link.detached')).toMatchObject({ link: same(receiver), by: 'local', closed: true })
    // On their way already: a whole one, one in two frames.
    peer.sendTransfer({ deliveryId: 2, deliveryTag: tag(2) })
    peer.sendTransfer({ deliveryId: 3, deliveryTag: tag(3), more: true }, one).sendTransfer({ deliveryId: 3 }, one)
    peer.sendFlow({ handle: 0, deliveryCount: 4, linkCredit: 0 })
    // And the next one of another link.
    peer.sendTransfer({ handle: 1, deliveryId: 4, deliveryTag: tag(4) })
    peer.sendDetach().nothing()
    expect(s.deliveries().map(({ link, deliveryId }) => [link.name, deliveryId])).toEqual([
      ['l1', 0],
      ['l2', 4],
    ])
    peer.finished()
  })

  test('§2.6.6 deliveries that come while our close is on its way do not disturb the other links', () => {
    const { s, peer, session, receiver } = withReceiver(role, { credit: 10 })
    const other = receiving(s, session, { name: 'l2', handle: 1 })
    other.flow(10)
    peer.expectFlow({ ...state(), handle: 1, deliveryCount: 0, linkCredit: 10 })
    receiver.close()
    peer.expectDetach({ handle: 0, closed: true })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) }).sendTransfer({ deliveryId: 1, deliveryTag: tag(1) })
    peer.sendDetach().sendTransfer({ handle: 1, deliveryId: 2, deliveryTag: tag(2) })
    expect(s.deliveries().map(({ deliveryId }) => deliveryId)).toEqual([2])
    peer.finished()
  })

  test('§2.6.6 the rest of a delivery that comes behind a close with an error of ours', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 10 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, one)
    receiver.close({ condition: 'amqp:internal-error', description: 'ours' })
    peer.sendTransfer({}, one)
    peer.expectDetach({
      handle: 0,
      closed: true,
      error: error({ condition: 'amqp:internal-error', description: 'ours' }),
    })
    expect(s.deliveries()).toEqual([])
    peer.sendDetach().finished()
    expect(s.events().map(({ type }) => type)).toEqual(['link.detached'])
  })
})

/** How many of these are still held by something, after a collection. */
async function alive(refs: readonly WeakRef<object>[]): Promise<number> {
  setFlagsFromString('--expose_gc')
  const collect = runInNewContext('gc') as () => void
  // A reference that has been looked at is kept for the rest of the turn.
  await pause(0)
  collect()
  return refs.filter(ref => ref.deref() !== undefined).length
}
