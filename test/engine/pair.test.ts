import { describe, expect, test } from 'vitest'
import { ACCEPTED } from '../../src/definitions/delivery-state.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import { bytewise, type Cut, expectEvent, hear, Pair, whole } from '../support/pair.ts'

/** A pair with a session and one link from left to right. */
function linked(options: { cut?: Cut; window?: number; maxFrameSize?: number; rcv?: 'first' | 'second' } = {}): {
  pair: Pair
  sender: SenderEndpoint
  receiver: ReceiverEndpoint
} {
  const pair = new Pair({}, {}, options.cut)
  pair.left.connection.open({ containerId: 'left' })
  pair.right.connection.open({ containerId: 'right', maxFrameSize: options.maxFrameSize })
  const session = pair.left.connection.session()
  session.begin()
  const sender = session.sender('l1')
  sender.attach({ source: { address: 'a' }, target: { address: 'b' }, rcvSettleMode: options.rcv })
  pair.drive()
  const heard = hear(pair.right)
  expectEvent(heard, 'session.begun').session.begin()
  const attached = expectEvent(heard, 'link.attached')
  const receiver = attached.link as ReceiverEndpoint
  receiver.useWindow(options.window ?? 100)
  receiver.attach({ source: attached.attach.source, target: attached.attach.target, rcvSettleMode: options.rcv })
  pair.drive()
  hear(pair.left)
  hear(pair.right)
  return { pair, sender, receiver }
}

describe.each([
  ['whole', whole],
  ['byte by byte', bytewise],
] as const)('two engines, bytes %s', (_name, cut) => {
  test('§2.4.1 §2.5.1 §2.6.3 open, begin, attach, credit', () => {
    const { sender, receiver } = linked({ cut })
    expect(sender.state).toBe('ATTACHED')
    expect(receiver.state).toBe('ATTACHED')
    expect(sender.credit.linkCredit).toBe(100)
  })

  test('§2.6.12 a transfer, accepted', () => {
    const { pair, sender, receiver } = linked({ cut })
    const out = sender.transfer(Uint8Array.of(1, 2, 3), { context: 'x' })
    pair.drive()
    const [delivery] = hear(pair.right).deliveries
    expect(delivery?.chunks.flatMap(c => [...c])).toEqual([1, 2, 3])
    if (delivery) receiver.disposition(delivery, ACCEPTED)
    receiver.consumed()
    pair.drive()
    const { outcomes } = hear(pair.left)
    expect(outcomes).toEqual([out])
    expect(out.remoteState).toBe(ACCEPTED)
  })

  test('§2.6.14 1 MiB through 512-byte frames', () => {
    const { pair, sender } = linked({ cut: cut === bytewise ? whole : cut, maxFrameSize: 512 })
    const payload = Uint8Array.from({ length: 1 << 20 }, (_, i) => i * 7)
    sender.transfer(payload)
    pair.drive()
    const [delivery] = hear(pair.right).deliveries
    expect(delivery?.size).toBe(1 << 20)
    expect(Buffer.concat(delivery?.chunks ?? []).equals(payload)).toBe(true)
  })

  test('§2.8.3 mode second: the sender settles after the receiver has decided', () => {
    const { pair, sender, receiver } = linked({ cut, rcv: 'second' })
    sender.transfer(Uint8Array.of(1))
    pair.drive()
    const [delivery] = hear(pair.right).deliveries
    if (!delivery) throw new Error('nothing arrived')
    receiver.disposition(delivery, ACCEPTED)
    expect(delivery.localSettled).toBe(false)
    pair.drive()
    expect(hear(pair.left).outcomes).toHaveLength(1)
    expectEvent(hear(pair.right), 'delivery.settled')
    expect(delivery.localSettled).toBe(true)
  })

  test('§2.6.6 §2.5.2 §2.4.3 close the link, end the session, close the connection', () => {
    const { pair, sender } = linked({ cut })
    sender.close()
    pair.drive()
    expect(expectEvent(hear(pair.right), 'link.detached')).toMatchObject({ by: 'remote', closed: true })
    expect(expectEvent(hear(pair.left), 'link.detached')).toMatchObject({ by: 'local', closed: true })
    sender.session.end()
    pair.drive()
    expect(expectEvent(hear(pair.right), 'session.ended')).toMatchObject({ by: 'remote', error: undefined })
    expectEvent(hear(pair.left), 'session.ended')
    pair.left.connection.close()
    pair.drive()
    expect(expectEvent(hear(pair.right), 'connection.closed')).toMatchObject({ by: 'remote', error: undefined })
    expect(expectEvent(hear(pair.left), 'connection.closed')).toMatchObject({ by: 'local', error: undefined })
    expect(pair.left.isDone && pair.right.isDone).toBe(true)
  })
})

test('§5.3.2 SASL from both ends, then AMQP', () => {
  const pair = new Pair({ sasl: 'client' }, { sasl: 'server', mechanisms: ['PLAIN', 'ANONYMOUS'] })
  pair.left.connection.open({ containerId: 'l' })
  pair.right.connection.open({ containerId: 'r' })
  pair.drive()
  expect(expectEvent(hear(pair.left), 'sasl.mechanisms').mechanisms).toEqual(['PLAIN', 'ANONYMOUS'])
  pair.left.sasl?.init('PLAIN', Uint8Array.of(0, 117, 0, 112), 'h')
  pair.drive()
  expect(expectEvent(hear(pair.right), 'sasl.init')).toMatchObject({ mechanism: 'PLAIN', hostname: 'h' })
  pair.right.sasl?.outcome('ok')
  pair.drive()
  expect(expectEvent(hear(pair.left), 'connection.opened').open.containerId).toBe('r')
  expect(expectEvent(hear(pair.right), 'connection.opened').open.containerId).toBe('l')
})

test('§2.7.5 a delivery aborted after a part of it was sent is never delivered, and the next one is', () => {
  const { pair, sender } = linked({ maxFrameSize: 512 })
  const doomed = sender.transfer(new Uint8Array(100_000).fill(1))
  pair.right.receive(Buffer.concat(pair.left.output(2000, 0)), 0)
  expect(doomed.sent).toBeGreaterThan(0)
  expect(doomed.sent).toBeLessThan(100_000)
  expect(sender.abort(doomed)).toBe('aborted')
  const next = sender.transfer(Uint8Array.of(2))
  pair.drive()
  const { deliveries } = hear(pair.right)
  expect(deliveries.map(delivery => [...Buffer.concat(delivery.chunks)])).toEqual([[2]])
  expect(deliveries[0]?.deliveryId).toBe(next.deliveryId)
  expect(pair.left.connection.pendingBytes).toBe(0)
})

test('§2.7.5 a delivery aborted before any of it was sent leaves no trace', () => {
  const { pair, sender } = linked()
  const doomed = sender.transfer(Uint8Array.of(1))
  expect(sender.abort(doomed)).toBe('removed')
  sender.transfer(Uint8Array.of(2))
  pair.drive()
  expect(hear(pair.right).deliveries.map(delivery => delivery.deliveryId)).toEqual([0])
  expect(sender.abort(doomed)).toBe('sent')
})

test('§2.6.7 drain: what is queued goes first, the rest of the credit is used up', () => {
  const { pair, sender, receiver } = linked({ window: 0 })
  receiver.useWindow(undefined)
  receiver.flow(5)
  pair.drive()
  sender.transfer(Uint8Array.of(1))
  sender.transfer(Uint8Array.of(2))
  receiver.drain()
  pair.drive()
  const heard = hear(pair.right)
  expect(heard.deliveries).toHaveLength(2)
  expectEvent(heard, 'link.drained')
  expect(receiver.credit.linkCredit).toBe(0)
  expect(sender.credit.linkCredit).toBe(0)
  expect(sender.credit.deliveryCount).toBe(receiver.credit.deliveryCount)
})

test('one link without credit does not stall another of the same session', () => {
  const { pair, sender } = linked()
  const stuck = sender.session.sender('stuck')
  stuck.attach({ source: {}, target: {} })
  pair.drive()
  const event = expectEvent(hear(pair.right), 'link.attached')
  event.link.attach({ source: event.attach.source, target: event.attach.target })
  pair.drive()
  for (let i = 0; i < 10; i++) stuck.transfer(Uint8Array.of(i))
  for (let i = 0; i < 10; i++) sender.transfer(Uint8Array.of(i))
  pair.drive()
  expect(hear(pair.right).deliveries).toHaveLength(10)
  expect(stuck.queue.length).toBe(10)
})

test('§2.6.1 closing a link and attaching it again at once: the detach goes first, and the new link is answered', () => {
  const { pair, sender } = linked()
  sender.close()
  const again = sender.session.sender('l1')
  again.attach({ source: { address: 'a' }, target: { address: 'b' } })
  pair.drive()
  const heard = hear(pair.right)
  const order = heard.events.map(event => event.type).filter(type => type.startsWith('link.'))
  expect(order).toEqual(['link.detached', 'link.attached'])
  const { link, attach } = expectEvent(heard, 'link.attached')
  link.attach({ source: attach.source, target: attach.target })
  pair.drive()
  expect(again.state).toBe('ATTACHED')
})
