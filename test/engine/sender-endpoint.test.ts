/** The sender's edges: what may be queued and when, what becomes of it, whose bytes are whose. §2.6.7 §2.6.12 §2.7.5 */

import { describe, expect, test } from 'vitest'
import { ACCEPTED } from '../../src/definitions/delivery-state.ts'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { AttachInit } from '../../src/engine/link-endpoint.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import { COPY_BELOW, type SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import { heldDelivery, requeue } from '../../src/engine/sender-recovery.ts'
import { UsageError } from '../../src/errors.ts'
import { expectEvent, hear, Pair } from '../support/pair.ts'

/** A link from left to right. */
function linked(window: number | undefined, init: AttachInit = {}, maxFrameSize = 512, incomingWindow = 100) {
  const pair = new Pair()
  pair.left.connection.open({ containerId: 'left' })
  pair.right.connection.open({ containerId: 'right', maxFrameSize })
  const session = pair.left.connection.session()
  session.begin({ nextOutgoingId: 0xffffffff })
  const sender = session.sender('l')
  sender.attach({ source: {}, target: {}, ...init })
  pair.drive()
  const heard = hear(pair.right)
  expectEvent(heard, 'session.begun').session.begin({ incomingWindow })
  const receiver = expectEvent(heard, 'link.attached').link as ReceiverEndpoint
  receiver.useWindow(window)
  receiver.attach({ source: {}, target: {} })
  pair.drive()
  hear(pair.left)
  hear(pair.right)
  return { pair, session, sender, receiver }
}

const payload = (delivery: IncomingDelivery | undefined): number[] => [...Buffer.concat(delivery?.chunks ?? [])]

describe('§2.6.7 initial-delivery-count', () => {
  test.each([0, 1, 0x7fffffff, 0xffffffff])('is %i, at both ends, and counts on from there', initialDeliveryCount => {
    const { pair, sender, receiver } = linked(10, { initialDeliveryCount })
    expect([sender.credit.initialDeliveryCount, receiver.credit.deliveryCount]).toEqual([
      initialDeliveryCount,
      initialDeliveryCount,
    ])
    sender.transfer(Uint8Array.of(1))
    sender.transfer(Uint8Array.of(2))
    pair.drive()
    expect(hear(pair.right).deliveries).toHaveLength(2)
    expect([sender.credit.deliveryCount, receiver.credit.deliveryCount]).toEqual(
      Array(2).fill((initialDeliveryCount + 2) % 2 ** 32),
    )
  })
})

test('§2.5.6 transfer-ids and delivery-ids begin at next-outgoing-id, and wrap', () => {
  const { pair, session, sender } = linked(10)
  const sent = [1, 2, 3].map(byte => sender.transfer(Uint8Array.of(byte)))
  pair.drive()
  expect(sent.map(({ deliveryId }) => deliveryId)).toEqual([0xffffffff, 0, 1])
  expect([session.window.nextOutgoingId, session.outgoing.count]).toEqual([2, 3])
  expect(hear(pair.right).deliveries.map(({ deliveryId }) => deliveryId)).toEqual([0xffffffff, 0, 1])
})

describe('§2.6.12 what cannot be sent is refused, and nothing is queued', () => {
  test.each([
    ['the link is closing', ({ sender }: { sender: SenderEndpoint }) => sender.close()],
    ['the link is detaching', ({ sender }: { sender: SenderEndpoint }) => sender.detach()],
  ])('%s', (_why, ending) => {
    const link = linked(undefined)
    ending(link)
    expect(() => link.sender.transfer(Uint8Array.of(1))).toThrow(UsageError)
    expect([link.sender.queue.length, link.pair.left.connection.pendingBytes]).toEqual([0, 0])
  })

  test('our end of the session is on its way, the peer’s is not yet here', () => {
    const { pair, session, sender } = linked(10)
    session.end()
    pair.left.output(1 << 20, 0)
    expect(session.state).toBe('END_SENT')
    expect(() => sender.transfer(Uint8Array.of(1))).toThrow(UsageError)
    expect(pair.left.output(1 << 20, 0)).toEqual([])
  })

  test('the connection is over', () => {
    const { pair, sender } = linked(10)
    pair.left.receiveEnd(0)
    expect(() => sender.transfer(Uint8Array.of(1))).toThrow(UsageError)
    expect(() => sender.beginMessage({})).toThrow(UsageError)
    expect([sender.queue.length, pair.left.connection.pendingBytes]).toEqual([0, 0])
  })
})

describe('whose bytes', () => {
  test(`below ${COPY_BELOW} bytes a payload is copied when it is queued`, () => {
    const { pair, sender, receiver } = linked(undefined, {}, 65_536)
    const bytes = new Uint8Array(COPY_BELOW - 1).fill(1)
    sender.transfer(bytes)
    bytes.fill(2)
    receiver.flow(1)
    pair.drive()
    expect(new Set(payload(hear(pair.right).deliveries[0]))).toEqual(new Set([1]))
  })

  test('from there on it goes out by reference', () => {
    const { pair, sender, receiver } = linked(undefined, {}, 65_536)
    const bytes = new Uint8Array(COPY_BELOW)
    sender.transfer(bytes)
    receiver.flow(1)
    pair.right.receive(Buffer.concat(pair.left.output(1 << 20, 0)), 0)
    pair.left.receive(Buffer.concat(pair.right.output(1 << 20, 0)), 0)
    const chunks = pair.left.output(1 << 20, 0)
    expect(chunks.some(chunk => chunk.buffer === bytes.buffer)).toBe(true)
  })

  test('a message is written, the caller’s bytes are spliced in where they belong', () => {
    const { pair, sender } = linked(10)
    const writer = sender.beginMessage({})
    const base = writer.mark
    writer.raw(Uint8Array.of(1, 2))
    const at = writer.offset - base
    writer.raw(Uint8Array.of(5))
    const delivery = sender.commitMessage({}, [{ at, bytes: Uint8Array.of(3, 4) }])
    expect(delivery.size).toBe(5)
    pair.drive()
    expect(payload(hear(pair.right).deliveries[0])).toEqual([1, 2, 3, 4, 5])
  })

  test('a message that is taken back while it is written leaves no trace', () => {
    const { pair, sender } = linked(10)
    sender.transfer(Uint8Array.of(1))
    sender.beginMessage({}).raw(new Uint8Array(300).fill(9))
    sender.cancelMessage()
    sender.transfer(Uint8Array.of(2))
    pair.drive()
    expect(hear(pair.right).deliveries.map(payload)).toEqual([[1], [2]])
  })

  test('§2.6.14 many parts, some of them empty, through frames of 512 bytes', () => {
    const { pair, sender } = linked(10)
    const parts = [new Uint8Array(0), new Uint8Array(5000).fill(1), new Uint8Array(0), Uint8Array.of(2)]
    sender.transfer(parts)
    pair.drive()
    expect(payload(hear(pair.right).deliveries[0])).toEqual([...parts.flatMap(part => [...part])])
    expect(pair.left.connection.pendingBytes).toBe(0)
  })
})

describe('§2.7.5 abort', () => {
  /** A delivery of which a part has been framed, and a receiver that has it. */
  function partly(settled = false) {
    const link = linked(1)
    const delivery = link.sender.transfer(new Uint8Array(10_000), { settled })
    link.pair.right.receive(Buffer.concat(link.pair.left.output(1500, 0)), 0)
    expect(delivery.sent).toBeGreaterThan(0)
    return { ...link, delivery }
  }

  test('needs no further credit, and frees the delivery’s id and bytes', () => {
    const { pair, session, sender, delivery } = partly()
    expect(sender.credit.linkCredit).toBe(0)
    expect(sender.abort(delivery)).toBe('aborted')
    expect(pair.left.connection.pendingBytes).toBe(0)
    pair.drive()
    expect([session.outgoing.count, sender.queue.length]).toEqual([0, 0])
    expect(pair.right.connection.incompleteBytes).toBe(0)
    expect([hear(pair.right).deliveries, hear(pair.left).outcomes]).toEqual([[], []])
    // The second time there is nothing to give up.
    expect(sender.abort(delivery)).toBe('sent')
  })

  test('of a settled one: no outcome', () => {
    const { pair, sender, delivery } = partly(true)
    sender.abort(delivery)
    pair.drive()
    expect([hear(pair.right).deliveries, hear(pair.left).outcomes]).toEqual([[], []])
  })

  test('waits for the session’s window as any transfer does', () => {
    const { pair, sender, receiver } = linked(10, {}, 512, 2)
    const delivery = sender.transfer(new Uint8Array(10_000))
    pair.left.output(1 << 20, 0)
    expect(sender.isBlocked).toBe(true)
    expect(sender.abort(delivery)).toBe('aborted')
    expect(pair.left.output(1 << 20, 0)).toEqual([])
    expect([sender.queue.length, receiver.state]).toEqual([1, 'ATTACHED'])
  })

  test('a link that is closed with an error instead: the aborted one is not reported a second time as queued', () => {
    const { pair, session, sender, delivery } = partly()
    sender.abort(delivery)
    sender.close({ condition: 'amqp:internal-error' })
    pair.drive()
    expectEvent(hear(pair.left), 'link.detached')
    expect(sender.abandoned).toEqual([delivery])
    expect([session.outgoing.count, pair.left.connection.pendingBytes]).toEqual([0, 0])
  })
})

test('§2.6.12 when the link ends, all that was open is there to be taken, each once', () => {
  const { pair, session, sender, receiver } = linked(undefined)
  receiver.flow(4)
  pair.drive()
  const accepted = sender.transfer(Uint8Array.of(0))
  const unsettled = sender.transfer(Uint8Array.of(1))
  sender.transfer(Uint8Array.of(2), { settled: true })
  pair.drive()
  const { deliveries } = hear(pair.right)
  if (deliveries[0]) receiver.disposition(deliveries[0], ACCEPTED)
  pair.drive()
  expect(hear(pair.left).outcomes).toContain(accepted)
  const partly = sender.transfer(new Uint8Array(10_000))
  pair.right.receive(Buffer.concat(pair.left.output(1500, 0)), 0)
  const queued = sender.transfer(Uint8Array.of(4))
  const queuedSettled = sender.transfer(Uint8Array.of(5), { settled: true })
  receiver.close({ condition: 'amqp:internal-error' })
  // Only the right writes: what the left still has is too late.
  pair.left.receive(Buffer.concat(pair.right.output(1 << 20, 0)), 0)
  expectEvent(hear(pair.left), 'link.detached')
  expect(new Set(sender.abandoned)).toEqual(new Set([unsettled, partly, queued, queuedSettled]))
  expect(sender.abandoned).toHaveLength(4)
  expect([session.outgoing.count, pair.left.connection.pendingBytes]).toEqual([0, 0])
})

describe('§2.6.13 deliveries of an earlier endpoint, queued again', () => {
  const small = Uint8Array.of(1, 2, 3)
  const large = new Uint8Array(COPY_BELOW + 1).fill(7)

  test('what was not framed is kept, and sent in order as if nothing had happened', () => {
    const { sender: first } = linked(undefined)
    first.transfer(small)
    first.transfer(large)
    first.transfer(Uint8Array.of(9), { deliveryTag: Uint8Array.of(5) })
    first.abandonQueue()
    const { pair, sender } = linked(10)
    sender.tags = first.tags
    const [a, b, c] = first.open as [OutgoingDelivery, OutgoingDelivery, OutgoingDelivery]
    for (const delivery of [a, b, c]) expect(requeue(sender, delivery)).toBe(true)
    expect([a, b, c].map(({ kept, isQueued }) => [kept, isQueued])).toEqual(Array(3).fill([undefined, true]))
    pair.drive()
    expect(hear(pair.right).deliveries.map(payload)).toEqual([[...small], [...large], [9]])
    expect(pair.left.connection.pendingBytes).toBe(0)
  })

  test('what was framed is gone, unless payload is kept', () => {
    const { pair, sender: first } = linked(10)
    first.transfer(small)
    first.keepsPayload = true
    first.transfer(small)
    pair.drive()
    pair.left.receiveEnd(0)
    const [gone, kept] = first.open as [OutgoingDelivery, OutgoingDelivery]
    const next = linked(10)
    next.sender.tags = first.tags
    next.sender.keepsPayload = true
    expect(requeue(next.sender, gone)).toBe(false)
    expect(requeue(next.sender, kept)).toBe(true)
    next.pair.drive()
    expect(hear(next.pair.right).deliveries.map(payload)).toEqual([[...small]])
    expect(kept.kept).toBeDefined()
  })

  test('one that is made while there is no link; tags are those of all endpoints', () => {
    const { sender: first } = linked(undefined)
    const tag = Uint8Array.of(8)
    first.transfer(small)
    const held = heldDelivery(first, small, { deliveryTag: tag })
    expect(() => heldDelivery(first, small, { deliveryTag: tag })).toThrow(UsageError)
    expect(() => heldDelivery(first, small, { deliveryTag: new Uint8Array(33) })).toThrow(UsageError)
    const counted = heldDelivery(first, small, {})
    expect(counted.deliveryTag).toEqual(Uint8Array.of(0, 0, 0, 1))
    const { pair, sender } = linked(10)
    sender.tags = first.tags
    for (const delivery of [held, counted]) requeue(sender, delivery)
    sender.transfer(small)
    pair.drive()
    expect(hear(pair.right).deliveries.map(({ deliveryTag }) => [...deliveryTag])).toEqual([
      [8],
      [0, 0, 0, 1],
      [0, 0, 0, 2],
    ])
  })
})
