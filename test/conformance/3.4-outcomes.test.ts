/** §3.4: delivery states, told by either end. */

import { describe, expect, test } from 'vitest'
import { ACCEPTED, type DeliveryState, RELEASED } from '../../src/definitions/delivery-state.ts'
import { symbol } from '../../src/types/values.ts'
import { accepted, error, modified, received, rejected, released } from '../peer/composites.ts'
import { any, type Expected, failing } from '../peer/script.ts'
import type { Wire } from '../peer/wire.ts'
import { sides, withReceiver, withSender } from '../support/scenario.ts'

const one = Uint8Array.of(1)
const sent = (id: number): Expected => ({ handle: 0, deliveryId: id, deliveryTag: any, messageFormat: 0 })

/** Each outcome: its section, as it is on the wire, and as it is told. */
const outcomes: readonly [name: string, section: string, wire: Wire, told: Record<string, unknown>][] = [
  ['accepted', '3.4.2', accepted(), { type: 'accepted' }],
  ['rejected', '3.4.3', rejected(), { type: 'rejected' }],
  [
    'rejected, with an error',
    '3.4.3',
    rejected({ error: error({ condition: 'amqp:invalid-field', description: 'no' }) }),
    { type: 'rejected', error: { condition: 'amqp:invalid-field', description: 'no' } },
  ],
  ['released', '3.4.4', released(), { type: 'released' }],
  ['modified', '3.4.5', modified(), { type: 'modified' }],
  [
    'modified, in every way',
    '3.4.5',
    modified({ deliveryFailed: true, undeliverableHere: true, messageAnnotations: { 'x-opt-a': 1 } }),
    { type: 'modified', deliveryFailed: true, undeliverableHere: true },
  ],
]

describe.each(sides)('§3.4 outcomes (%s)', role => {
  test.each(outcomes)('§3.4 %s, §%s, told by the receiver', (_name, _section, wire, told) => {
    const { s, peer, sender } = withSender(role, { credit: 1 })
    const delivery = sender.transfer(one)
    peer.expectTransfer(sent(0), one).respondDisposition({ state: wire }).finished()
    expect(s.outcomes()).toEqual([delivery])
    expect(delivery.remoteState).toMatchObject(told)
  })

  test.each(outcomes)('§3.4 %s, §%s, told by us', (_name, _section, wire, told) => {
    const { s, peer, receiver } = withReceiver(role, { credit: 1 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: one })
    const [delivery] = s.deliveries()
    if (!delivery) throw new Error('nothing arrived')
    const extra = told.deliveryFailed ? { messageAnnotations: new Map([[symbol('x-opt-a'), 1]]) } : {}
    const inner = told.error ? { error: { type: 'error', info: undefined, ...(told.error as object) } } : {}
    const state = { deliveryFailed: undefined, undeliverableHere: undefined, ...told, ...inner, ...extra }
    receiver.disposition(delivery, state as unknown as DeliveryState)
    peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: wire }).finished()
  })

  test.each(outcomes)('§3.4 %s, §%s, unsettled: we settle with the same', (_name, _section, wire) => {
    const { s, peer, sender } = withSender(role, { credit: 1 })
    sender.transfer(one)
    peer.expectTransfer(sent(0), one).respondDisposition({ settled: false, state: wire })
    peer.expectDisposition({ role: 'sender', first: 0, settled: true, state: any }).finished()
    expect(s.outcomes()).toHaveLength(1)
  })

  test('§3.4.1 received is no outcome: the delivery stays unsettled', () => {
    const { s, peer, sender } = withSender(role, { credit: 1 })
    const delivery = sender.transfer(one)
    peer.expectTransfer(sent(0), one)
    peer.respondDisposition({ settled: false, state: received({ sectionNumber: 1, sectionOffset: 20n }) }).nothing()
    expect(s.outcomes()).toEqual([])
    expect(delivery.remoteState).toMatchObject({ type: 'received', sectionNumber: 1, sectionOffset: 20n })
    expect(sender.session.outgoing.count).toBe(1)
    peer.respondDisposition().finished()
    expect(s.outcomes()).toEqual([delivery])
    expect(delivery.remoteState).toBe(ACCEPTED)
  })

  test('§3.4 settled without a state', () => {
    const { s, peer, sender } = withSender(role, { credit: 1 })
    const delivery = sender.transfer(one)
    peer.expectTransfer(sent(0), one).respondDisposition({ state: null }).finished()
    expect(s.outcomes()).toEqual([delivery])
    expect(delivery.remoteState).toBeUndefined()
  })

  test('§3.4 neither settled nor a state: nothing has happened', () => {
    const { s, peer, sender } = withSender(role, { credit: 1 })
    sender.transfer(one)
    peer.expectTransfer(sent(0), one).respondDisposition({ settled: false, state: null }).finished()
    expect(s.outcomes()).toEqual([])
    expect(sender.session.outgoing.count).toBe(1)
  })

  test('§3.4 a first terminal state is final: what follows the settling is let pass', () => {
    const { s, peer, sender } = withSender(role, { credit: 1 })
    const delivery = sender.transfer(one)
    peer.expectTransfer(sent(0), one).respondDisposition({ state: released() }).respondDisposition().finished()
    expect(s.outcomes()).toEqual([delivery])
    expect(delivery.remoteState).toBe(RELEASED)
  })

  test('§2.7.5 a state that comes with the transfer', () => {
    const { s, peer } = withReceiver(role, { credit: 1 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: one, settled: true, state: accepted() })
    expect(s.deliveries()[0]?.remoteState).toBe(ACCEPTED)
  })

  test('§3.4 different outcomes one after the other: each in its own frame, in order', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 4 })
    for (let i = 0; i < 4; i++) peer.sendTransfer({ deliveryId: i, deliveryTag: Uint8Array.of(i) })
    for (const [i, delivery] of s.deliveries().entries())
      receiver.disposition(delivery, i === 1 || i === 2 ? RELEASED : ACCEPTED)
    peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: accepted() })
    peer.expectDisposition({ role: 'receiver', first: 1, last: 2, settled: true, state: released() })
    peer.expectDisposition({ role: 'receiver', first: 3, settled: true, state: accepted() }).finished()
  })

  test('§3.4 a state that nobody knows: decode-error', () => {
    const { peer, sender } = withSender(role, { credit: 1 })
    sender.transfer(one)
    const unknown: Wire = { t: 'described', v: { descriptor: { t: 'ulong', v: 0x2fn }, value: { t: 'list', v: [] } } }
    peer.expectTransfer(sent(0), one).respondDisposition({ state: unknown })
    peer.expectClose({ error: failing('amqp:decode-error') }).finished()
  })
})
