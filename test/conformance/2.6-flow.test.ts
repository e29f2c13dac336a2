/** §2.6.7–10: the credit of links, as sender and as receiver. */

import { describe, expect, test } from 'vitest'
import { source, target } from '../peer/composites.ts'
import { any, type Expected } from '../peer/script.ts'
import { begun, opened, receiving, scenario, sending, sides, withReceiver, withSender } from '../support/scenario.ts'

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

describe.each(sides)('§2.6.7 credit, as sender (%s)', role => {
  test('§2.6.7 no credit, no transfer; each takes one', () => {
    const { peer, sender } = withSender(role)
    for (let i = 0; i < 4; i++) sender.transfer(one)
    peer.nothing().sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 1 })
    peer.expectTransfer(sent(0), one).nothing()
    peer.sendFlow({ handle: 0, deliveryCount: 1, linkCredit: 2 })
    peer.expectTransfer(sent(1), one).expectTransfer(sent(2), one).finished()
    expect(sender.credit.linkCredit).toBe(0)
  })

  test('§2.6.7 what is on its way counts against what the flow says', () => {
    const { peer, sender } = withSender(role, { credit: 5 })
    for (let i = 0; i < 3; i++) sender.transfer(one)
    expect(peer.all()).toHaveLength(3)
    // Written before it had seen any: two are left.
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 5 })
    expect(sender.credit.linkCredit).toBe(2)
    // Taken back below what is on its way: none, and no debt.
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 1 })
    expect(sender.credit.linkCredit).toBe(0)
    peer.sendFlow({ handle: 0, deliveryCount: 3, linkCredit: 1 })
    expect(sender.credit.linkCredit).toBe(1)
  })

  test('§2.6.7 a receiver that does not know the delivery-count means the initial one', () => {
    const { peer, sender } = withSender(role, { credit: 5 })
    sender.transfer(one)
    expect(peer.all()).toHaveLength(1)
    peer.sendFlow({ handle: 0, linkCredit: 3 })
    expect(sender.credit.linkCredit).toBe(2)
  })

  test('§2.7.4 a flow without link-credit changes none', () => {
    const { peer, sender } = withSender(role, { credit: 5 })
    peer.sendFlow({ handle: 0 })
    expect(sender.credit.linkCredit).toBe(5)
  })

  test('§2.6.10 credit taken back stops the link', () => {
    const { peer, sender } = withSender(role, { credit: 5 })
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 0, echo: true })
    sender.transfer(one)
    peer.expectFlow({ ...state(), handle: 0, deliveryCount: 0, linkCredit: 0, available: 1 }).finished()
  })

  test('§2.7.4 echo is answered, with what is available', () => {
    const { peer, sender } = withSender(role)
    for (let i = 0; i < 3; i++) sender.transfer(one)
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 0, echo: true })
    peer.expectFlow({ ...state(), handle: 0, deliveryCount: 0, linkCredit: 0, available: 3 }).finished()
  })

  test('§2.6.7 drain: what is queued goes first, then the credit, then a flow', () => {
    const { peer, sender } = withSender(role)
    for (let i = 0; i < 2; i++) sender.transfer(one)
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10, drain: true })
    peer.expectTransfer(sent(0), one).expectTransfer(sent(1), one)
    peer.expectFlow({ ...state(0, 2), handle: 0, deliveryCount: 10, linkCredit: 0, available: 0, drain: true })
    peer.finished()
    // What is sent later waits for fresh credit, counted from there.
    sender.transfer(one)
    peer.nothing().sendFlow({ handle: 0, deliveryCount: 10, linkCredit: 1 })
    peer.expectTransfer(sent(2), one).finished()
  })

  test('§2.6.7 drain with nothing queued', () => {
    const { peer } = withSender(role, { credit: 7 })
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 7, drain: true })
    peer.expectFlow({ ...state(), handle: 0, deliveryCount: 7, linkCredit: 0, available: 0, drain: true }).finished()
  })

  test('§2.6.7 drain with more queued than credit', () => {
    const { peer, sender } = withSender(role)
    for (let i = 0; i < 5; i++) sender.transfer(one)
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 2, drain: true })
    peer.expectTransfer(sent(0), one).expectTransfer(sent(1), one)
    peer
      .expectFlow({ ...state(0, 2), handle: 0, deliveryCount: 2, linkCredit: 0, available: 3, drain: true })
      .finished()
  })

  test('§2.6.7 drain while the session’s window is shut: it waits for it', () => {
    const { peer, sender } = withSender(role, { begin: { incomingWindow: 0 } })
    sender.transfer(one)
    peer.sendFlow({ incomingWindow: 0, handle: 0, deliveryCount: 0, linkCredit: 3, drain: true }).nothing()
    peer.sendFlow({ incomingWindow: 5 }).expectTransfer(sent(0), one)
    peer
      .expectFlow({ ...state(0, 1), handle: 0, deliveryCount: 3, linkCredit: 0, available: 0, drain: true })
      .finished()
  })

  test('§2.6.7 §2.8.10 the delivery-count wraps', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const session = begun(s)
    const sender = session.sender('l1')
    sender.attach({ source: { address: 'a' }, target: { address: 'b' }, initialDeliveryCount: 0xfffffffe })
    s.peer.expectAttach({
      name: 'l1',
      handle: 0,
      role: 'sender',
      source: A,
      target: B,
      initialDeliveryCount: 0xfffffffe,
    })
    s.peer.respondAttach().sendFlow({ handle: 0, linkCredit: 3 })
    for (let i = 0; i < 10; i++) sender.transfer(one)
    expect(s.peer.all()).toHaveLength(3)
    expect(sender.credit).toMatchObject({ deliveryCount: 1, linkCredit: 0 })
    s.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 3 })
    expect(s.peer.all()).toHaveLength(2)
    s.peer.sendFlow({ handle: 0, deliveryCount: 3, linkCredit: 2, drain: true })
    expect(s.peer.all().map(({ name }) => name)).toEqual(['transfer', 'transfer', 'flow'])
    s.peer.finished()
  })

  test('§2.6.7 a link without credit does not stall another, and closing it is not needed for that', () => {
    const { s, peer, session, sender } = withSender(role)
    const other = sending(s, session, { name: 'l2', handle: 1 })
    for (let i = 0; i < 100; i++) sender.transfer(one)
    for (let i = 0; i < 5; i++) other.transfer(one)
    peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit: 100 })
    expect(peer.all().map(({ fields }) => fields.handle?.v)).toEqual([1, 1, 1, 1, 1])
    peer.finished()
  })
})

describe.each(sides)('§2.6.7 credit, as receiver (%s)', role => {
  test('§2.6.8 manual credit is granted one by one', () => {
    const { s, peer, receiver } = withReceiver(role)
    peer.nothing()
    for (let i = 0; i < 3; i++) {
      receiver.flow(1)
      peer.expectFlow({ ...state(i), handle: 0, deliveryCount: i, linkCredit: 1 })
      peer.sendTransfer({ deliveryId: i, deliveryTag: tag(i) }).nothing()
    }
    expect(s.deliveries()).toHaveLength(3)
  })

  test('§2.6.9 automatic credit: granted at once, and again when half of it is used and consumed', () => {
    const s = opened(scenario({ role: 'initiator' }))
    const session = begun(s)
    const receiver = session.receiver('l1')
    receiver.useWindow(4)
    receiver.attach({ source: { address: 'a' }, target: { address: 'b' } })
    s.peer.expectAttach({ name: 'l1', handle: 0, role: 'receiver', source: A, target: B, maxMessageSize: any })
    s.peer.respondAttach({ initialDeliveryCount: 7 })
    s.peer.expectFlow({ ...state(), handle: 0, deliveryCount: 7, linkCredit: 4 })
    s.peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) }).sendTransfer({ deliveryId: 1, deliveryTag: tag(1) })
    // Nobody has taken them.
    s.peer.nothing()
    for (const delivery of s.deliveries()) delivery.link.consumed()
    s.peer.expectFlow({ ...state(2), handle: 0, deliveryCount: 9, linkCredit: 4 }).finished()
  })

  test('§2.6.7 available is told by the sender, and goes down with what arrives', () => {
    const { peer, receiver } = withReceiver(role, { credit: 5 })
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 5, available: 2 })
    expect(receiver.credit.available).toBe(2)
    for (let i = 0; i < 3; i++) peer.sendTransfer({ deliveryId: i, deliveryTag: tag(i) })
    expect(receiver.credit.available).toBe(0)
    peer.finished()
  })

  test('§2.6.7 the sender’s notion of link-credit is not a grant', () => {
    const { peer, receiver } = withReceiver(role, { credit: 1 })
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 100 })
    expect(receiver.credit.linkCredit).toBe(1)
  })

  test('§2.6.7 drain: asked for, and over when the credit is used up', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 5 })
    receiver.drain()
    peer.expectFlow({ ...state(), handle: 0, deliveryCount: 0, linkCredit: 5, drain: true })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) })
    expect(s.events()).toEqual([])
    peer.sendFlow({ handle: 0, deliveryCount: 5, linkCredit: 0, drain: true }).nothing()
    expect(s.event('link.drained').link).toBe(receiver)
    expect(receiver.credit).toMatchObject({ deliveryCount: 5, linkCredit: 0, drain: false })
    receiver.flow(2)
    peer.expectFlow({ ...state(1), handle: 0, deliveryCount: 5, linkCredit: 2 }).finished()
  })

  test('§2.6.7 drain: over when deliveries have used the credit up, whether or not the sender says so', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 2 })
    receiver.drain()
    peer.all()
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) })
    expect(s.events()).toEqual([])
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1), more: true })
    // Not before the last frame of the last one.
    expect(s.events()).toEqual([])
    peer.sendTransfer({})
    expect(s.event('link.drained').link).toBe(receiver)
    expect(s.deliveries()).toHaveLength(2)
    expect(receiver.credit).toMatchObject({ deliveryCount: 2, linkCredit: 0, drain: false })
    // A flow that says so late ends no other drain.
    receiver.flow(1)
    receiver.drain()
    peer.expectFlow({ ...state(3), handle: 0, deliveryCount: 2, linkCredit: 1, drain: true })
    peer.sendFlow({ handle: 0, deliveryCount: 2, linkCredit: 0, drain: true }).nothing()
    expect(s.events()).toEqual([])
    expect(receiver.credit).toMatchObject({ linkCredit: 1, drain: true })
  })

  test('§2.6.7 drain: credit that keeps itself begins again when deliveries have used it up', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 2 })
    receiver.resize(2)
    receiver.drain()
    peer.all()
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) })
    receiver.consumed()
    peer.nothing()
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1) })
    expect(s.event('link.drained').link).toBe(receiver)
    peer.expectFlow({ ...state(2), handle: 0, deliveryCount: 2, linkCredit: 1 }).finished()
  })

  test('§2.6.7 drain without any credit is over at once', () => {
    const { s, peer, receiver } = withReceiver(role)
    receiver.drain()
    expect(s.event('link.drained').link).toBe(receiver)
    peer.finished()
  })

  test('§2.7.4 the sender’s echo is answered', () => {
    const { peer } = withReceiver(role, { credit: 5 })
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 5, echo: true })
    peer.expectFlow({ ...state(), handle: 0, deliveryCount: 0, linkCredit: 5 }).finished()
  })

  test('§2.6.7 §2.8.10 the delivery-count wraps', () => {
    const { s, peer, receiver } = withReceiver(role, { theirs: { initialDeliveryCount: 0xfffffffe }, credit: 3 })
    for (let i = 0; i < 3; i++) peer.sendTransfer({ deliveryId: i, deliveryTag: tag(i) })
    expect(s.deliveries()).toHaveLength(3)
    receiver.flow(4)
    peer.expectFlow({ ...state(3), handle: 0, deliveryCount: 1, linkCredit: 4 })
    // Drained across the wrap.
    peer.sendFlow({ handle: 0, deliveryCount: 3, linkCredit: 2 })
    expect(receiver.credit).toMatchObject({ deliveryCount: 3, linkCredit: 2 })
    peer.finished()
  })

  test('§2.6.7 deliveries that nobody settles do not stall another link of the session', () => {
    const { s, peer, session } = withReceiver(role, { credit: 10_000 })
    const other = receiving(s, session, { name: 'l2', handle: 1 })
    other.flow(10_000)
    peer.expectFlow({ ...state(), handle: 1, deliveryCount: 0, linkCredit: 10_000 })
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0) })
    // Its window of 2,048 is opened again each time that half of it is used.
    for (let i = 1; i <= 5000; i++) {
      peer.sendTransfer({ handle: 1, deliveryId: i, deliveryTag: tag(i), settled: true })
      if (i % 1000 === 0) expect(peer.all().every(({ name, fields }) => name === 'flow' && !fields.handle)).toBe(true)
    }
    expect(s.deliveries()).toHaveLength(5001)
    expect(session.state).toBe('MAPPED')
  })
})
