/** What must never regress silently on the data path, counted rather than timed. */

import { describe, expect, test } from 'vitest'
import type { Connection, Receiver, Sender } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { UsageError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'

interface Tap extends Transport {
  readonly written: Uint8Array[][]
  readonly read: Uint8Array[]
  /** While set, `write` keeps what it is given and says that it has enough. */
  blocked: boolean
  release(): void
}

/** A transport that shows what is written to it, and can be told to take no more. */
function tapped(transport: Transport): Tap {
  let drain = () => {}
  const held: Uint8Array[][] = []
  return {
    written: [],
    read: [],
    blocked: false,
    start(sink) {
      drain = () => sink.drain()
      const data = (bytes: Uint8Array) => {
        this.read.push(bytes)
        sink.data(bytes)
      }
      transport.start({ data, drain, end: error => sink.end(error) })
    },
    write(chunks) {
      this.written.push([...chunks])
      if (!this.blocked) return transport.write(chunks)
      held.push([...chunks])
      return false
    },
    release() {
      this.blocked = false
      for (const chunks of held.splice(0)) transport.write(chunks)
      drain()
    },
    end: () => transport.end(),
    destroy: error => transport.destroy(error),
  }
}

/** A sender here and its receiver there, over tapped memory. */
async function link(): Promise<{ near: Connection; tap: Tap; farTap: Tap; sender: Sender; receiver: Receiver }> {
  const [a, b] = memoryPair()
  const tap = tapped(a)
  const farTap = tapped(b)
  const listener = await listen({})
  const accepting = listener.accept(farTap)
  const near = await connect({ host: 'memory', transport: tap })
  const far = await accepting
  const receiving = new Promise<Receiver>(resolve =>
    far.on('session', async incoming => {
      const session = await incoming.accept()
      session.on('link', async found => {
        if (found.remoteRole === 'sender') resolve(await found.accept({ credit: { window: 5000 } }))
      })
    }),
  )
  near.closed.then(() => listener.close())
  const sender = await near.sender('q', { maxPending: 5000 })
  const receiver = await receiving
  while (sender.linkCredit === 0) await new Promise(resolve => setImmediate(resolve))
  tap.written.length = 0
  farTap.written.length = 0
  return { near, tap, farTap, sender, receiver }
}

const size = (writes: Uint8Array[][]): number => writes.flat().reduce((sum, chunk) => sum + chunk.length, 0)

describe('sending', () => {
  test('1,000 sends in one turn make at most ⌈bytes / 64 KiB⌉ + 2 transport writes', async () => {
    const { near, tap, sender, receiver } = await link()
    const body = new Uint8Array(1024)
    const sends = Array.from({ length: 1000 }, () => sender.send({ body }))
    const taking = (async () => {
      for (let i = 0; i < 1000; i++) await (await receiver.receive()).accept()
    })()
    await new Promise(resolve => setImmediate(resolve))
    expect(tap.written.length).toBeLessThanOrEqual(Math.ceil(size(tap.written) / 65_536) + 2)
    await Promise.all(sends)
    await taking
    await near.close()
  })

  test('a 64 KiB body is the same ArrayBuffer at the transport as at send', async () => {
    const { near, tap, sender, receiver } = await link()
    const body = new Uint8Array(64 << 10).fill(1)
    const sent = sender.send({ body })
    const delivery = await receiver.receive()
    await delivery.accept()
    await sent
    expect(tap.written.flat().some(chunk => chunk.buffer === body.buffer)).toBe(true)
    expect(delivery.message.body).toEqual(body)
    await near.close()
  })

  test('a body below 4 KiB is copied at the call: what happens to it later does not matter', async () => {
    const { near, sender, receiver } = await link()
    const body = new Uint8Array(100).fill(1)
    const sent = sender.send({ body })
    body.fill(2)
    const delivery = await receiver.receive()
    await delivery.accept()
    await sent
    expect(delivery.message.body).toEqual(new Uint8Array(100).fill(1))
    await near.close()
  })

  test('a transport that has enough is not written to until it drains', async () => {
    const { near, tap, sender, receiver } = await link()
    tap.blocked = true
    const sends = Array.from({ length: 2000 }, (_, i) => sender.send({ body: new Uint8Array(1000).fill(i) }))
    for (let i = 0; i < 5; i++) await new Promise(resolve => setImmediate(resolve))
    expect(tap.written.length).toBe(1)
    expect(size(tap.written)).toBeLessThan(512 << 10)
    expect(sender.pending).toBeGreaterThan(1000)
    tap.release()
    for (let i = 0; i < 2000; i++) {
      const delivery = await receiver.receive()
      expect((delivery.message.body as Uint8Array)[0]).toBe(i & 0xff)
      await delivery.accept()
    }
    await Promise.all(sends)
    await near.close()
  })

  test('what is queued is bounded in bytes: send rejects beyond limits.maxPendingBytes', async () => {
    const { near, tap, sender } = await link()
    tap.blocked = true
    const body = new Uint8Array(1 << 20)
    const sends: Promise<unknown>[] = []
    for (let i = 0; i < 100; i++) sends.push(sender.send({ body }).catch(error => error))
    const refused = (await Promise.race([Promise.all(sends.slice(-20)), near.closed])) as unknown[]
    expect(refused.every(error => error instanceof UsageError)).toBe(true)
    tap.blocked = false
    ;(near as unknown as { destroy(): void }).destroy()
    await Promise.all(sends)
  })
})

describe('receiving', () => {
  test('1,000 contiguous accepts make one disposition', async () => {
    const { near, farTap, sender, receiver } = await link()
    const sends = Array.from({ length: 1000 }, () => sender.send({ body: Uint8Array.of(1) }))
    const deliveries = []
    for (let i = 0; i < 1000; i++) deliveries.push(await receiver.receive())
    await new Promise(resolve => setImmediate(resolve))
    farTap.written.length = 0
    for (const delivery of deliveries) delivery.accept()
    await Promise.all(sends)
    const bytes = Buffer.concat(farTap.written.flat())
    const dispositions = bytes.toString('latin1').split('\x00\x53\x15').length - 1
    expect(dispositions).toBe(1)
    await near.close()
  })

  test('a message that lies whole in its chunk is not copied', async () => {
    const { near, farTap, sender, receiver } = await link()
    const sent = sender.send({ body: new Uint8Array(1000) })
    const delivery = await receiver.receive()
    expect(farTap.read.some(chunk => chunk.buffer === delivery.bytes.buffer)).toBe(true)
    await delivery.accept()
    await sent
    await near.close()
  })

  test('credit comes back when deliveries are taken, not before', async () => {
    const { near, sender, receiver } = await link()
    const sends = Array.from({ length: 4000 }, () => sender.send({ body: Uint8Array.of(1) }))
    for (let i = 0; i < 10; i++) await new Promise(resolve => setImmediate(resolve))
    expect(sender.linkCredit).toBe(1000)
    for (let i = 0; i < 4000; i++) await (await receiver.receive()).accept()
    await Promise.all(sends)
    await new Promise(resolve => setImmediate(resolve))
    expect(sender.linkCredit).toBeGreaterThan(2000)
    await near.close()
  })
})
