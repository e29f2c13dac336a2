/** The receiver's edges: credit by hand and by itself, drains, refusals, what comes after it has left. §2.6.3 §2.6.7 */

import { describe, expect, test } from 'vitest'
import { ACCEPTED, RELEASED } from '../../src/definitions/delivery-state.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import { UsageError } from '../../src/errors.ts'
import { expectEvent, hear, Pair } from '../support/pair.ts'

/** Two links from left to right on one session. */
function linked(window: number | undefined) {
  const pair = new Pair()
  pair.left.connection.open({ containerId: 'left' })
  pair.right.connection.open({ containerId: 'right', maxFrameSize: 512 })
  const session = pair.left.connection.session()
  session.begin()
  const senders = ['a', 'b'].map(name => session.sender(name)) as [SenderEndpoint, SenderEndpoint]
  for (const sender of senders) sender.attach({ source: {}, target: {} })
  pair.drive()
  const receivers: ReceiverEndpoint[] = []
  for (const event of hear(pair.right).events) {
    if (event.type === 'session.begun') event.session.begin()
    if (event.type !== 'link.attached' || event.link.role === 'sender') continue
    event.link.useWindow(window)
    event.link.attach({ source: {}, target: {} })
    receivers.push(event.link)
  }
  pair.drive()
  hear(pair.left)
  hear(pair.right)
  return { pair, session, senders, receivers: receivers as [ReceiverEndpoint, ReceiverEndpoint] }
}

/** Only left → right. */
const toRight = (pair: Pair): void => pair.right.receive(Buffer.concat(pair.left.output(1 << 20, 0)), 0)

describe('§2.6.7 credit by hand', () => {
  test.each([0, -1, 1.5, Number.NaN, 2 ** 31])('not for %d deliveries', count => {
    const { receivers } = linked(undefined)
    expect(() => receivers[0].flow(count)).toThrow(UsageError)
    expect(receivers[0].credit.linkCredit).toBe(0)
  })

  test('adds up, never beyond 2^31 − 1', () => {
    const { pair, receivers, senders } = linked(undefined)
    receivers[0].flow(2)
    receivers[0].flow(3)
    pair.drive()
    expect(senders[0].credit.linkCredit).toBe(5)
    receivers[0].flow(0x7fffffff)
    pair.drive()
    expect(senders[0].credit.linkCredit).toBe(0x7fffffff)
  })

  test('not where it keeps itself', () => {
    const { receivers } = linked(5)
    expect(() => receivers[0].flow(1)).toThrow(UsageError)
  })
})

describe('§2.6.7 credit that keeps itself', () => {
  test('a window of 1: one at a time, the next when it is consumed, whether or not it is settled', () => {
    const { pair, senders, receivers } = linked(1)
    for (let i = 0; i < 3; i++) senders[0].transfer(Uint8Array.of(i))
    pair.drive()
    expect(hear(pair.right).deliveries).toHaveLength(1)
    receivers[0].consumed()
    pair.drive()
    expect(hear(pair.right).deliveries).toHaveLength(1)
  })

  test('consumed more often than anything came: nothing is granted for it', () => {
    const { pair, senders, receivers } = linked(4)
    for (let i = 0; i < 10; i++) receivers[0].consumed()
    pair.drive()
    expect([receivers[0].credit.held, senders[0].credit.linkCredit]).toEqual([0, 4])
  })

  test('§2.6.8 after a drain the window is filled again', () => {
    const { pair, senders, receivers } = linked(4)
    senders[0].transfer(Uint8Array.of(1))
    receivers[0].drain()
    pair.drive()
    const heard = hear(pair.right)
    expectEvent(heard, 'link.drained')
    expect([heard.deliveries.length, receivers[0].credit.held]).toEqual([1, 1])
    expect(senders[0].credit).toMatchObject({ linkCredit: 3, drain: false })
  })
})

describe('§2.6.6 what comes after we have left', () => {
  test.each(['close', 'detach'] as const)('is let pass after a %s, and the other link of the session goes on', how => {
    const { pair, senders, receivers } = linked(10)
    senders[0].transfer(Uint8Array.of(0))
    pair.drive()
    receivers[0][how]()
    pair.right.output(1 << 20, 0)
    hear(pair.right)
    // On their way when the left hears of it: one whole, one of many frames.
    senders[0].transfer(Uint8Array.of(1))
    senders[0].transfer(new Uint8Array(2000))
    senders[1].transfer(Uint8Array.of(3))
    toRight(pair)
    const heard = hear(pair.right)
    expect(heard.events.filter(({ type }) => type === 'protocol.error')).toEqual([])
    expect(heard.deliveries.map(({ link, size }) => [link.name, size])).toEqual([['b', 1]])
    expect(pair.right.connection.incompleteBytes).toBe(0)
  })

  test('a delivery of a link that has ended may still be decided: nothing happens', () => {
    const { pair, session, senders, receivers } = linked(10)
    senders[0].transfer(Uint8Array.of(0))
    pair.drive()
    const [delivery] = hear(pair.right).deliveries
    receivers[0].close()
    pair.drive()
    hear(pair.left)
    if (delivery) receivers[0].disposition(delivery, ACCEPTED)
    pair.drive()
    expect(hear(pair.left).outcomes).toEqual([])
    expect([session.outgoing.count, receivers[0].session.incoming.count]).toEqual([0, 0])
  })

  test('consumed and drain on a link that has ended write nothing', () => {
    const { pair, senders, receivers } = linked(2)
    senders[0].transfer(Uint8Array.of(0))
    senders[0].transfer(Uint8Array.of(1))
    pair.drive()
    receivers[0].close()
    pair.drive()
    receivers[0].consumed()
    receivers[0].consumed()
    const before = pair.crossed.fromRight
    pair.drive()
    expect(pair.crossed.fromRight).toBe(before)
  })
})

test('§2.6.12 outcomes out of order, each for its delivery', () => {
  const { pair, senders, receivers } = linked(10)
  const sent = [0, 1, 2].map(byte => senders[byte % 2 ? 1 : 0].transfer(Uint8Array.of(byte)))
  pair.drive()
  const [first, second, third] = hear(pair.right).deliveries
  if (!first || !second || !third) throw new Error('something is missing')
  receivers[0].disposition(third, RELEASED)
  second.link.disposition(second, ACCEPTED)
  pair.drive()
  expect(hear(pair.left).outcomes.map(({ deliveryId, remoteState }) => [deliveryId, remoteState?.type])).toEqual([
    [2, 'released'],
    [1, 'accepted'],
  ])
  expect(sent[0]?.remoteState).toBeUndefined()
  expect(first.link.session.incoming.count).toBe(1)
})

test('§2.6.3 a link that the peer has asked for is refused: a null terminus, then the error', () => {
  const pair = new Pair()
  pair.left.connection.open({ containerId: 'left' })
  pair.right.connection.open({ containerId: 'right' })
  const session = pair.left.connection.session()
  session.begin()
  const sender = session.sender('l')
  sender.attach({ source: { address: 'a' }, target: { address: 'b' } })
  pair.drive()
  const heard = hear(pair.right)
  expectEvent(heard, 'session.begun').session.begin()
  expectEvent(heard, 'link.attached').link.refuse({ condition: 'amqp:not-found', description: 'no b' })
  pair.drive()
  const told = hear(pair.left)
  expect(expectEvent(told, 'link.attached').link.refused).toBe(true)
  expect(expectEvent(told, 'link.attached').attach).toMatchObject({ target: undefined, source: { address: 'a' } })
  expect(expectEvent(told, 'link.detached')).toMatchObject({ closed: true, error: { condition: 'amqp:not-found' } })
  expect([sender.state, session.state]).toEqual(['CLOSED', 'MAPPED'])
})
