/** §2.6.10: credit taken back; what was under way still arrives. */

import { describe, expect, test } from 'vitest'
import type { Expected } from '../peer/script.ts'
import { any } from '../peer/script.ts'
import { sides, withReceiver, withSender } from '../support/scenario.ts'

const tag = (n: number): Uint8Array => Uint8Array.of(0, 0, 0, n)
const one = Uint8Array.of(1)
const state = (nextIncomingId = 0): Expected => ({
  nextIncomingId,
  incomingWindow: 2048,
  nextOutgoingId: 0,
  outgoingWindow: 0xffffffff,
})
const stopping = { handle: 0, linkCredit: 0, drain: true, echo: true }

describe.each(sides)('§2.6.10 stopping (%s)', role => {
  test('§2.6.10 no credit, echo; over when the sender’s flow comes', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 5 })
    receiver.stop()
    peer.expectFlow({ ...state(), ...stopping, deliveryCount: 0 }).nothing()
    expect(s.events()).toEqual([])
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 0 })
    expect(s.event('link.drained').link).toBe(receiver)
    peer.finished()
  })

  test('§2.6.10 transfers that were under way are taken, as many as had credit', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 3 })
    receiver.stop()
    peer.expectFlow({ ...state(), ...stopping, deliveryCount: 0 })
    for (let i = 0; i < 2; i++) peer.sendTransfer({ deliveryId: i, deliveryTag: tag(i) }, one)
    peer.sendFlow({ handle: 0, deliveryCount: 2, linkCredit: 0 })
    expect(s.deliveries()).toHaveLength(2)
    expect(s.event('link.drained').link).toBe(receiver)
    expect(receiver.credit).toMatchObject({ deliveryCount: 2, linkCredit: 0, drain: false, isStopping: false })
    // One more than ever had credit is one too many.
    peer.sendTransfer({ deliveryId: 2, deliveryTag: tag(2) }, one).nothing()
    peer.sendTransfer({ deliveryId: 3, deliveryTag: tag(3) }, one)
    peer.expectDetach({ handle: 0, closed: true, error: any })
  })

  test('§2.6.10 without credit there is nothing to wait for', () => {
    const { s, peer, receiver } = withReceiver(role)
    receiver.stop()
    expect(s.event('link.drained').link).toBe(receiver)
    peer.finished()
  })

  test('§2.6.14 a message half of which has come is waited for', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 1 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, one)
    receiver.stop()
    expect(s.events()).toEqual([])
    peer.sendTransfer({}, one)
    expect(s.event('link.drained').link).toBe(receiver)
    const drains = withReceiver(role, { credit: 2 })
    drains.receiver.drain()
    drains.peer.all()
    drains.peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true }, one)
    drains.peer.sendFlow({ handle: 0, deliveryCount: 2, linkCredit: 0 })
    expect(drains.s.events()).toEqual([])
    drains.peer.sendTransfer({ aborted: true })
    expect(drains.s.event('link.drained').link).toBe(drains.receiver)
  })

  test('§2.6.7 automatic credit is given up for good; by hand it begins again', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 4 })
    receiver.resize(4)
    expect(peer.all()).toHaveLength(1)
    receiver.stop()
    peer.expectFlow({ ...state(), ...stopping, deliveryCount: 0 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) }, one)
    peer.sendFlow({ handle: 0, deliveryCount: 1, linkCredit: 0 }).nothing()
    expect(s.deliveries()).toHaveLength(1)
    receiver.consumed()
    peer.nothing()
    receiver.flow(2)
    peer.expectFlow({ ...state(1), handle: 0, deliveryCount: 1, linkCredit: 2 }).finished()
  })

  test('§2.6.7 a smaller window: what is held and what is under way fill it first', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 10 })
    receiver.resize(2)
    peer.expectFlow({ ...state(), handle: 0, deliveryCount: 0, linkCredit: 2 })
    for (let i = 0; i < 10; i++) peer.sendTransfer({ deliveryId: i, deliveryTag: tag(i) }, one)
    peer.nothing()
    for (let i = 0; i < 9; i++) receiver.consumed()
    peer.expectFlow({ ...state(10), handle: 0, deliveryCount: 10, linkCredit: 1 }).finished()
    expect(s.deliveries()).toHaveLength(10)
  })

  test('§2.6.10 as sender: nothing more is sent, and the flow is echoed', () => {
    const { peer, sender } = withSender(role, { credit: 5 })
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 0, echo: true, drain: true })
    sender.transfer(one)
    const flows = peer.all()
    expect(flows.length).toBeGreaterThan(0)
    for (const { name, fields } of flows)
      expect([name, fields.linkCredit?.v, fields.deliveryCount?.v]).toEqual(['flow', 0, 0])
    peer.finished()
  })
})
