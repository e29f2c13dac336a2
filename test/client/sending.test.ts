/** Senders: what is refused at the call, waiting for room, cancelling, outcomes that nobody has said. §2.6.7 §2.6.12 */

import { describe, expect, test } from 'vitest'
import type { Receiver, Sender } from '../../src/client/api.ts'
import type { SenderOptions } from '../../src/client/options.ts'
import { ClosedError, UsageError } from '../../src/errors.ts'
import { EncodedMessage, encodeMessage } from '../../src/message/encode.ts'
import { pause } from '../waiting.ts'
import { type Joined, joined, settled } from './joined.ts'

/** A sender here and its receiver there. */
async function linked(options: SenderOptions = {}): Promise<{ ends: Joined; sender: Sender; receiver: Receiver }> {
  const receivers: Receiver[] = []
  const ends = await joined({
    onLink: async link => {
      if (link.remoteRole === 'sender') receivers.push(await link.accept({ credit: 'manual' }))
    },
  })
  const sender = await ends.near.sender('q', options)
  return { ends, sender, receiver: receivers[0] as Receiver }
}

describe('send', () => {
  test.each([[undefined], [null], ['text'], [5]])('%j is no message', async message => {
    const { ends, sender } = await linked()
    await using _ends = ends
    const error = await settled(sender.send(message as never))
    expect(error).toBeInstanceOf(UsageError)
    expect(sender.pending).toBe(0)
  })

  test('§2.6.12 a delivery-tag in use is refused until its delivery is settled', async () => {
    const { ends, sender, receiver } = await linked()
    await using _ends = ends
    const deliveryTag = Uint8Array.of(1, 2, 3)
    const first = sender.send({ body: 'x' }, { deliveryTag })
    const again = await settled(sender.send({ body: 'y' }, { deliveryTag: deliveryTag.slice() }))
    expect(again).toBeInstanceOf(UsageError)
    expect(String(again)).toContain('in use')
    receiver.addCredit(2)
    const delivery = await receiver.receive()
    expect(delivery.deliveryTag).toEqual(deliveryTag)
    await delivery.accept()
    await first
    const second = sender.send({ body: 'y' }, { deliveryTag })
    await (await receiver.receive()).accept()
    expect(await second).toEqual({ outcome: 'accepted' })
  })

  test('a message that is encoded already keeps its format, unless another is said', async () => {
    const { ends, sender, receiver } = await linked()
    await using _ends = ends
    receiver.addCredit(2)
    const encoded = encodeMessage({ body: 'x' })
    void settled(sender.send(new EncodedMessage(encoded, 7)))
    void settled(sender.send(new EncodedMessage(encoded, 7), { messageFormat: 8 }))
    expect([(await receiver.receive()).messageFormat, (await receiver.receive()).messageFormat]).toEqual([7, 8])
  })

  test('§2.8.2 a link of one mode refuses the other', async () => {
    const settling = await linked({ settle: 'settled' })
    await using _one = settling.ends
    expect(await settled(settling.sender.send({ body: 'x' }, { settled: false }))).toBeInstanceOf(UsageError)
    const unsettled = await linked({ settle: 'unsettled' })
    await using _two = unsettled.ends
    expect(await settled(unsettled.sender.send({ body: 'x' }, { settled: true }))).toBeInstanceOf(UsageError)
  })

  test('§2.6.14 a large body between small sections arrives whole, an empty piece with it', async () => {
    const { ends, sender, receiver } = await linked()
    await using _ends = ends
    receiver.addCredit(1)
    const large = new Uint8Array(100_000).fill(7)
    const body = { data: [large, new Uint8Array(0), large] }
    const sent = sender.send({ applicationProperties: { a: 1 }, body, footer: { f: 'end' } })
    const { message } = await receiver.receive().then(async delivery => {
      await delivery.accept()
      return delivery
    })
    expect(await sent).toEqual({ outcome: 'accepted' })
    expect(message.body).toEqual(body)
    expect(message.applicationProperties?.get('a')).toBe(1)
    expect(message.footer?.get('f')).toBe('end')
  })

  test('cancelled after it was sent: its outcome concerns nobody any more', async () => {
    const { ends, sender, receiver } = await linked()
    await using _ends = ends
    receiver.addCredit(1)
    const controller = new AbortController()
    const why = new Error('changed my mind')
    const sending = settled(sender.send({ body: 'x' }, { signal: controller.signal }))
    const delivery = await receiver.receive()
    controller.abort(why)
    expect(await sending).toBe(why)
    await delivery.accept()
    await sender.close()
    expect(await sender.closed).toEqual({ by: 'local', error: undefined })
  })

  test('a signal that fires after the outcome changes nothing', async () => {
    const { ends, sender, receiver } = await linked()
    await using _ends = ends
    receiver.addCredit(1)
    const controller = new AbortController()
    const sending = sender.send({ body: 'x' }, { signal: controller.signal })
    await (await receiver.receive()).release()
    expect(await sending).toEqual({ outcome: 'released' })
    controller.abort()
    expect(sender.pending).toBe(0)
  })
})

describe('ready', () => {
  test('at once while there is room', async () => {
    const { ends, sender } = await linked({ maxPending: 10 })
    await using _ends = ends
    for (let i = 0; i < 4; i++) void settled(sender.send({ body: 'x' }))
    await sender.ready()
    expect(sender.pending).toBe(4)
  })

  test('can be cancelled; others go on waiting, and hear of the link’s end', async () => {
    const { ends, sender } = await linked({ maxPending: 2 })
    await using _ends = ends
    for (let i = 0; i < 2; i++) void settled(sender.send({ body: 'x' }))
    const controller = new AbortController()
    const why = new Error('changed my mind')
    const [cancelled, waiting] = [settled(sender.ready({ signal: controller.signal })), settled(sender.ready())]
    controller.abort(why)
    expect(await cancelled).toBe(why)
    expect(await settled(sender.ready({ signal: controller.signal }))).toBe(why)
    await pause(5)
    ends.cut()
    expect(await waiting).toBeInstanceOf(ClosedError)
  })

  test('waits until the queue is half empty, not only shorter', async () => {
    const { ends, sender, receiver } = await linked({ maxPending: 4 })
    await using _ends = ends
    for (let i = 0; i < 4; i++) void settled(sender.send({ body: 'x' }))
    let ready = false
    void sender.ready().then(() => {
      ready = true
    })
    receiver.addCredit(1)
    await expect.poll(() => sender.pending).toBe(3)
    await pause(5)
    expect(ready).toBe(false)
    receiver.addCredit(2)
    await expect.poll(() => ready).toBe(true)
  })
})

test('§2.8.7 §2.8.11 tags are bytes, message formats are integers; nothing is sent otherwise', async () => {
  await using ends = await joined()
  const sender = await ends.near.sender('q')
  for (const deliveryTag of ['abc', [1], null])
    expect(await settled(sender.send({ body: 'x' }, { deliveryTag: deliveryTag as never }))).toBeInstanceOf(UsageError)
  for (const messageFormat of [-1, 1.5, 2 ** 32])
    expect(await settled(sender.send({ body: 'x' }, { messageFormat }))).toMatchObject({ section: '2.8.11' })
  expect(sender.pending).toBe(0)
})
