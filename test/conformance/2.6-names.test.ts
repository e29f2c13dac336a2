/** §2.6.1: a link's name is in use once in each direction: ours is refused, the peer's steals. §2.8.18 */

import { describe, expect, test } from 'vitest'
import { error, source, target } from '../peer/composites.ts'
import { any } from '../peer/script.ts'
import { begun, opened, receiving, same, scenario, sending, sides } from '../support/scenario.ts'

const A = source({ address: 'a' })
const B = target({ address: 'b' })
const termini = { source: { address: 'a' }, target: { address: 'b' } }
const one = Uint8Array.of(1)
const STOLEN = error({ condition: 'amqp:link:stolen', description: 'the name was attached again' })

describe('§2.6.1 a name of ours that is in use', () => {
  test.each(sides)('§2.6.1 is refused before anything is sent, on each session (%s)', role => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    const other = begun(s, {}, {}, 1)
    sending(s, session, { name: 'n' })
    for (const on of [session, other])
      expect(() => on.sender('n')).toThrow("link 'n': a sender of that name is attached already (§2.6.1)")
    // The other direction has names of its own.
    receiving(s, other, { name: 'n', channel: 1 })
    expect(() => session.receiver('n')).toThrow('a receiver of that name is attached already')
    s.peer.finished()
  })

  test('§2.6.1 also while the peer has not answered, and not when it never was attached', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const session = begun(s)
    const other = begun(s, {}, {}, 1)
    session.sender('n').attach(termini)
    s.peer.expectAttach({ name: 'n', handle: 0, role: 'sender', source: A, target: B, initialDeliveryCount: 0 })
    expect(() => session.sender('n')).toThrow("link 'n' is being attached already (§2.6.1)")
    expect(() => other.sender('n')).toThrow('a sender of that name is attached already')
    session.receiver('r')
    other.receiver('r').attach(termini)
    s.peer.expectAttach(
      { name: 'r', handle: 0, role: 'receiver', source: A, target: B, maxMessageSize: any },
      undefined,
      1,
    )
    s.peer.finished()
  })

  test.each(sides)('§2.6.1 is free again once its link is closing, or its session has ended (%s)', role => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    const other = begun(s, {}, {}, 1)
    sending(s, session, { name: 'n' }).close()
    // On whichever session: the detach goes first, so that nothing is stolen.
    const again = other.sender('n')
    again.attach(termini)
    s.peer.expectDetach({ handle: 0, closed: true })
    s.peer.expectAttach(
      { name: 'n', handle: 0, role: 'sender', source: A, target: B, initialDeliveryCount: 0 },
      undefined,
      1,
    )
    s.peer.sendAttach({ name: 'n', handle: 0, role: 'receiver' }, undefined, 1)
    s.peer.sendEnd({}, undefined, 1).expectEnd({}, undefined, 1)
    const next = session.sender('n')
    next.attach(termini)
    s.peer.expectAttach({ name: 'n', handle: 1, role: 'sender', source: A, target: B, initialDeliveryCount: 0 })
    s.peer.finished()
  })
})

describe.each([0, 1])('§2.6.1 the peer attaches a name that is in use, on channel %i', channel => {
  test.each(sides)('§2.6.1 the older link is closed as stolen, then the new one is told (%s)', role => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    begun(s, {}, {}, 1)
    const old = receiving(s, session, { name: 'n' })
    s.peer.sendAttach({ name: 'n', handle: 7, role: 'sender' }, undefined, channel)
    s.peer.expectDetach({ handle: 0, closed: true, error: STOLEN })
    const told = s.events()
    expect(told).toMatchObject([
      { type: 'link.detached', link: same(old), by: 'remote', closed: true },
      { type: 'link.attached', link: { name: 'n', initiated: 'remote', state: 'ATTACH_RCVD' } },
    ])
    expect(told[0]).toMatchObject({
      error: {
        code: 'ERR_AMQP_REMOTE',
        condition: 'amqp:link:stolen',
        message: "link 'n': amqp:link:stolen (the name was attached again)",
      },
    })
    // What was on its way to the older one is let pass, and its detach ends it.
    s.peer.sendTransfer({ handle: 0, deliveryId: 0, deliveryTag: one }, one).sendDetach()
    expect(s.deliveries()).toEqual([])
    expect(old.state).toBe('CLOSED')
    expect(s.events()).toEqual([])
    s.peer.finished()
  })

  test('§2.6.1 also where the older one has not been answered', () => {
    const s = opened(scenario({ role: 'acceptor' }))
    begun(s)
    begun(s, {}, {}, 1)
    s.peer.sendAttach({ name: 'n', handle: 3, role: 'receiver' })
    const { link: old } = s.event('link.attached')
    s.peer.sendAttach({ name: 'n', handle: 7, role: 'receiver' }, undefined, channel)
    s.peer.expectAttach({ name: 'n', handle: 0, role: 'sender', initialDeliveryCount: 0 })
    s.peer.expectDetach({ handle: 0, closed: true, error: STOLEN })
    expect(s.event('link.detached').link).toBe(old)
    expect(s.event('link.attached').link.state).toBe('ATTACH_RCVD')
    expect(old.state).toBe('DISCARDING')
    s.peer.finished()
  })
})

test('§2.6.1 both ends attach the name at once, on two sessions: the answer to ours comes last and holds', () => {
  const s = opened(scenario({ role: 'initiator' }))
  const session = begun(s)
  begun(s, {}, {}, 1)
  const sender = session.sender('n')
  sender.attach(termini)
  s.peer.expectAttach({ name: 'n', handle: 0, role: 'sender', source: A, target: B, initialDeliveryCount: 0 })
  s.peer.sendAttach({ name: 'n', handle: 0, role: 'receiver' }, undefined, 1)
  const { link: theirs } = s.event('link.attached')
  expect(sender.state).toBe('ATTACH_SENT')
  s.peer.sendAttach({ name: 'n', handle: 0, role: 'receiver' })
  s.peer.expectAttach({ name: 'n', handle: 0, role: 'sender', initialDeliveryCount: 0 }, undefined, 1)
  s.peer.expectDetach({ handle: 0, closed: true, error: STOLEN }, undefined, 1)
  expect(s.event('link.detached').link).toBe(theirs)
  expect(s.event('link.attached').link).toBe(sender)
  expect(sender.state).toBe('ATTACHED')
  s.peer.finished()
})

test('§2.6.1 nothing is stolen from a session that is ending', () => {
  const s = opened(scenario({ role: 'acceptor' }))
  const session = begun(s)
  begun(s, {}, {}, 1)
  sending(s, session, { name: 'n' })
  session.end()
  s.peer.expectEnd({})
  s.peer.sendAttach({ name: 'n', handle: 1, role: 'receiver' }, undefined, 1)
  expect(s.events().map(({ type }) => type)).toEqual(['link.attached'])
  s.peer.finished()
})
