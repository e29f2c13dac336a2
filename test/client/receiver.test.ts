/** Receivers: taking, draining, leaving loops, and deciding about deliveries in every way. §2.6.7 §2.6.8 §3.4 */

import { describe, expect, test } from 'vitest'
import type { Delivery, Receiver, Sender } from '../../src/client/api.ts'
import type { ReceiverOptions } from '../../src/client/options.ts'
import type { ClientReceiver } from '../../src/client/receiver.ts'
import { ClosedError, UsageError } from '../../src/errors.ts'
import { pause } from '../waiting.ts'
import { type Joined, joined, settled } from './joined.ts'

/** A receiver here and its sender there. */
async function linked(options: ReceiverOptions = {}): Promise<{ ends: Joined; receiver: Receiver; sender: Sender }> {
  const senders: Sender[] = []
  const ends = await joined({
    onLink: async link => {
      if (link.remoteRole === 'receiver') senders.push(await link.accept())
    },
  })
  const receiver = await ends.near.receiver('q', options)
  return { ends, receiver, sender: senders[0] as Sender }
}

describe('§2.6.7 taking', () => {
  test('deliveries wait in order, and a loop may be left and begun again', async () => {
    const { ends, receiver, sender } = await linked()
    await using _ends = ends
    const sends = [1, 2, 3].map(n => sender.send({ body: String(n) }))
    const bodies: unknown[] = []
    for await (const delivery of receiver) {
      bodies.push(delivery.message.body)
      await delivery.accept()
      if (bodies.length === 2) break
    }
    const rest = receiver[Symbol.asyncIterator]()
    const third = await rest.next()
    bodies.push(third.value?.message.body)
    await third.value?.accept()
    expect(bodies).toEqual(['1', '2', '3'])
    await Promise.all(sends)
    // A loop that was left gives nothing more, though there is more.
    expect(await rest.return?.()).toEqual({ done: true, value: undefined })
    void settled(sender.send({ body: '4' }))
    await pause(10)
    expect(await rest.next()).toEqual({ done: true, value: undefined })
    expect((await receiver.receive()).message.body).toBe('4')
  })

  test('credit by hand: as many as were asked for', async () => {
    const { ends, receiver, sender } = await linked({ credit: 'manual' })
    await using _ends = ends
    for (const n of [1, 2, 3]) void settled(sender.send({ body: String(n) }))
    receiver.addCredit(2)
    await receiver.receive()
    await receiver.receive()
    expect(await settled(receiver.receive({ signal: AbortSignal.timeout(20) }))).toMatchObject({ name: 'TimeoutError' })
    receiver.addCredit(1)
    expect((await receiver.receive()).message.body).toBe('3')
  })

  test('what came before the link ended is lost: it is not handed out', async () => {
    const { ends, receiver, sender } = await linked()
    await using _ends = ends
    void settled(sender.send({ body: '1' }))
    await expect.poll(() => sender.pending).toBe(0)
    await pause(10)
    await sender.close({ error: { condition: 'a:b' } })
    await receiver.closed
    expect(await settled(receiver.receive())).toMatchObject({ code: 'ERR_AMQP_CLOSED', condition: 'a:b' })
    await expect(receiver[Symbol.asyncIterator]().next()).rejects.toThrow(ClosedError)
  })
})

describe('§2.6.8 draining', () => {
  test('resolves when the sender has nothing more, several at once', async () => {
    const { ends, receiver, sender } = await linked({ credit: 'manual' })
    await using _ends = ends
    const credits: unknown[] = []
    sender.on('credit', credit => credits.push(credit))
    receiver.addCredit(5)
    await Promise.all([receiver.drain(), receiver.drain()])
    expect(sender.linkCredit).toBe(0)
    expect(credits.at(-1)).toMatchObject({ drain: true })
  })

  test('can be cancelled: the answer then concerns nobody', async () => {
    const { ends, receiver } = await linked({ credit: 'manual' })
    await using _ends = ends
    receiver.addCredit(5)
    const controller = new AbortController()
    const why = new Error('changed my mind')
    const cancelled = settled(receiver.drain({ signal: controller.signal }))
    const kept = receiver.drain()
    controller.abort(why)
    expect(await cancelled).toBe(why)
    await kept
    expect(await settled(receiver.drain({ signal: controller.signal }))).toBe(why)
  })

  test('ends with the link', async () => {
    const { ends, receiver } = await linked({ credit: 'manual' })
    await using _ends = ends
    receiver.addCredit(5)
    await pause(5)
    ends.mute()
    const draining = settled(receiver.drain())
    await pause(5)
    ends.cut()
    expect(await draining).toBeInstanceOf(ClosedError)
  })
})

describe('§3.4 deciding', () => {
  test('each way reaches the sender as its outcome', async () => {
    const { ends, receiver, sender } = await linked()
    await using _ends = ends
    const decide: ((delivery: Delivery) => Promise<void>)[] = [
      delivery => delivery.accept(),
      delivery => delivery.release(),
      delivery => delivery.reject({ condition: 'a:b', description: 'why', info: { n: 1 } }),
      delivery => delivery.reject(),
      delivery =>
        delivery.modify({ deliveryFailed: true, undeliverableHere: true, messageAnnotations: { 'x-opt-a': 1 } }),
      delivery => delivery.modify({}),
    ]
    const outcomes = decide.map(() => sender.send({ body: 'x' }))
    for (const one of decide) await one(await receiver.receive())
    const [accepted, released, rejected, bare, modified, plain] = await Promise.all(outcomes)
    expect([accepted, released]).toEqual([{ outcome: 'accepted' }, { outcome: 'released' }])
    expect(rejected).toMatchObject({ outcome: 'rejected', error: { condition: 'a:b', description: 'why' } })
    expect(bare).toEqual({ outcome: 'rejected', error: undefined })
    expect(modified).toMatchObject({ outcome: 'modified', deliveryFailed: true, undeliverableHere: true })
    expect(plain).toMatchObject({ outcome: 'modified', deliveryFailed: false, undeliverableHere: false })
    const { messageAnnotations } = modified as { messageAnnotations: ReadonlyMap<unknown, unknown> }
    expect([messageAnnotations.size, messageAnnotations.get('x-opt-a')]).toEqual([1, 1])
  })

  test('an error that is none decides nothing', async () => {
    const { ends, receiver, sender } = await linked()
    await using _ends = ends
    const outcome = sender.send({ body: 'x' })
    const delivery = await receiver.receive()
    expect(await settled(delivery.reject({} as never))).toBeInstanceOf(UsageError)
    const tooLong = { messageAnnotations: { 'x-opt-a': 'x'.repeat(100_000) } }
    expect(await settled(delivery.modify(tooLong))).toBeInstanceOf(UsageError)
    expect(delivery.state).toBe('live')
    await delivery.accept()
    expect(await outcome).toEqual({ outcome: 'accepted' })
  })

  test('§2.8.3 settling second: the same decision again waits for the same answer; the end of the link ends it', async () => {
    const { ends, receiver, sender } = await linked({ settle: 'second' })
    await using _ends = ends
    for (const n of [1, 2]) void settled(sender.send({ body: String(n) }))
    const [first, second] = [await receiver.receive(), await receiver.receive()]
    await Promise.all([first.accept(), first.accept()])
    expect(first.state).toBe('settled')
    ends.mute()
    const waiting = settled(second.release())
    await pause(5)
    ends.cut()
    expect(await waiting).toBeInstanceOf(ClosedError)
  })

  test('§2.8.3 settling second: what is decided on is the owner’s alone, however long the sender does not settle', async () => {
    const { ends, receiver, sender } = await linked({ settle: 'second' })
    await using _ends = ends
    const payload = new Uint8Array(100_000).fill(7)
    void settled(sender.send({ body: payload }, { deliveryTag: Uint8Array.of(7, 8) }))
    const delivery = await receiver.receive()
    ends.mute()
    const waiting = settled(delivery.accept())
    const [left] = (receiver as ClientReceiver).endpoint.open
    expect([left?.chunks, left?.deliveryTag.buffer.byteLength]).toEqual([[], 2])
    expect((receiver as ClientReceiver).unsettled()).toMatchObject([{ isComplete: true, payload: new Uint8Array(0) }])
    expect(Buffer.concat(delivery.chunks)).toEqual(Buffer.from(delivery.bytes))
    expect(delivery.message.body).toEqual(payload)
    ends.cut()
    expect(await waiting).toBeInstanceOf(ClosedError)
    expect(delivery.message.body).toEqual(payload)
  })

  test('§2.6.14 a message of several frames: its pieces, and the whole', async () => {
    const { ends, receiver, sender } = await linked()
    await using _ends = ends
    const body = Uint8Array.from({ length: 200_000 }, (_, i) => i)
    const outcome = sender.send({ body }, { deliveryTag: Uint8Array.of(7, 8), messageFormat: 0 })
    const delivery = await receiver.receive()
    expect(delivery.deliveryTag).toEqual(Uint8Array.of(7, 8))
    expect([delivery.receiver, delivery.messageFormat, delivery.settled]).toEqual([receiver, 0, false])
    expect(delivery.chunks.length).toBeGreaterThan(1)
    expect(Buffer.concat(delivery.chunks)).toEqual(Buffer.from(delivery.bytes))
    expect(delivery.message.body).toEqual(body)
    await delivery.accept()
    await outcome
  })
})
