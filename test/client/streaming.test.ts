/**
 * §2.6.14: messages that are sent while they are made and read while they arrive, over sockets.
 *
 * FAIRLEAD_STREAM_MIB sets the size of the message that goes through a process of its own, and prints what that cost.
 */

import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { afterEach, describe, expect, test } from 'vitest'
import type { Connection, Delivery, IncomingLink, Listener, Receiver, Sender } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ConnectionOptions, ReceiverOptions } from '../../src/client/options.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ClosedError, DecodeError, DeliveryError, EncodeError, UsageError } from '../../src/errors.ts'
import { EncodedMessage, encodeMessage } from '../../src/message/encode.ts'
import { pause } from '../waiting.ts'

const closing: { close(): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(closing.splice(0).map(what => what.close()))
})

/** A listener on loopback whose links go to `onLink`. */
async function server(
  onLink: (link: IncomingLink) => unknown,
  options: ConnectionOptions & { incomingWindow?: number } = {},
): Promise<Listener> {
  const { incomingWindow, ...listening } = options
  const listener = await listen(listening)
  closing.push(listener)
  listener.on('connection', connection =>
    connection.on('session', async incoming => {
      const session = await incoming.accept({ incomingWindow })
      session.on('link', onLink)
    }),
  )
  return listener
}

/** A sender here and its receiver there; frames of 4 KiB, and a window of eight of them unless said otherwise. */
async function linked(
  options: ReceiverOptions & { incomingWindow?: number } = { streaming: true },
  connection: ConnectionOptions = {},
): Promise<{ near: Connection; sender: Sender; receiver: Receiver; others: Receiver[] }> {
  const others: Receiver[] = []
  let give: (receiver: Receiver) => void = () => {}
  const receiving = new Promise<Receiver>(resolve => {
    give = resolve
  })
  const { incomingWindow = 8, ...receiverOptions } = options
  const listener = await server(
    async link => {
      if (link.remoteRole !== 'sender') return
      const receiver = await link.accept(link.name === 'plain' ? {} : receiverOptions)
      if (link.name === 'plain') others.push(receiver)
      else give(receiver)
    },
    { maxFrameSize: 4096, incomingWindow, ...connection },
  )
  const near = await connect({ host: '127.0.0.1', port: listener.port })
  closing.push(near)
  const sender = await near.sender('q')
  return { near, sender, receiver: await receiving, others }
}

/** A body that counts how far it has been pulled, and whether it was left. */
function counted(pieces: number, size = 10_000): AsyncIterable<Uint8Array> & { pulled: number; left: boolean } {
  const body = {
    pulled: 0,
    left: false,
    [Symbol.asyncIterator]() {
      return {
        next: async () =>
          body.pulled === pieces
            ? { done: true as const, value: undefined }
            : { done: false as const, value: new Uint8Array(size).fill(body.pulled++) },
        return: async () => {
          body.left = true
          return { done: true as const, value: undefined }
        },
      }
    },
  }
  return body
}

/** Pieces on demand. */
function fed(): AsyncIterable<Uint8Array> & { feed(piece: Uint8Array): void; end(error?: unknown): void } {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  const stream = new ReadableStream<Uint8Array>({
    start(given) {
      controller = given
    },
  })
  return {
    feed: piece => controller?.enqueue(piece),
    end: error => (error === undefined ? controller?.close() : controller?.error(error)),
    [Symbol.asyncIterator]: () => stream[Symbol.asyncIterator](),
  }
}

const all = async (body: ReadableStream<Uint8Array>): Promise<Uint8Array> =>
  new Uint8Array(await new Response(body).arrayBuffer())

describe('sending a message while it is made', () => {
  test('§3.2.6 sections, a data section for each piece, footer: one message to any receiver', async () => {
    const { sender, receiver } = await linked({ incomingWindow: 2048 })
    const body = counted(20)
    const sending = sender.send({
      header: { durable: true },
      properties: { messageId: 'm1' },
      applicationProperties: { room: 'lab' },
      body,
      footer: { crc: 7 },
    })
    const delivery = await receiver.receive()
    const { message } = delivery
    expect((message.body as { data: Uint8Array[] }).data.map(part => [part.length, part[0]])).toEqual(
      Array.from({ length: 20 }, (_, i) => [10_000, i]),
    )
    expect([message.header?.durable, message.properties?.messageId, message.footer?.get('crc')]).toEqual([
      true,
      'm1',
      7,
    ])
    await delivery.accept()
    expect(await sending).toEqual({ outcome: 'accepted' })
    expect(body.left).toBe(false)
    expect(sender.pending).toBe(0)
  })

  test('a ReadableStream; one that is empty is a message without bytes', async () => {
    const { sender, receiver } = await linked({})
    const streamed = sender.send({ body: new Blob(['one', 'two']).stream(), properties: { to: 'x' } })
    const first = await receiver.receive()
    expect(new TextDecoder().decode(await all(first.body))).toBe('onetwo')
    await first.accept()
    await streamed
    const empty = sender.send({ body: new ReadableStream<Uint8Array>({ start: c => c.close() }) }, { settled: true })
    expect((await receiver.receive()).message.body).toEqual(new Uint8Array(0))
    expect(await empty).toEqual({ outcome: 'accepted' })
  })

  test('§2.6.14 transfers leave while the body is still made; a message sent later on the link waits for its end', async () => {
    const { near, sender, receiver, others } = await linked()
    const body = fed()
    const sending = sender.send({ properties: { subject: 's' }, body })
    body.feed(Uint8Array.of(0))
    const delivery = await receiver.receive()
    expect(delivery.message.properties?.subject).toBe('s')
    const behind = sender.send({ body: 'behind' }, { settled: true })
    // Another link of the same session does not wait.
    const other = await near.sender('plain', { name: 'plain' })
    const passing = other.send({ body: 'passing' })
    while (others.length === 0) await pause(1)
    const passed = await (others[0] as Receiver).receive()
    expect(passed.message.body).toBe('passing')
    await passed.accept()
    await passing
    const reader = delivery.body.getReader()
    expect((await reader.read()).value?.[0]).toBe(0)
    body.feed(Uint8Array.of(1, 2, 3))
    expect([...((await reader.read()).value ?? [])]).toEqual([1, 2, 3])
    expect(sender.pending).toBe(2)
    body.end()
    expect((await reader.read()).done).toBe(true)
    await delivery.accept()
    expect(await sending).toEqual({ outcome: 'accepted' })
    await behind
    expect((await receiver.receive()).message.body).toBe('behind')
  })

  test('the source is pulled only while little is queued: without credit, and while nobody reads', async () => {
    const { sender, receiver } = await linked({ streaming: true, credit: 'manual' })
    const body = counted(10_000)
    const signal = new AbortController()
    const sending = sender.send({ body }, { signal: signal.signal })
    sending.catch(() => {})
    const second = counted(10)
    const behind = sender.send({ body: second }, { signal: signal.signal })
    behind.catch(() => {})
    await pause(20)
    expect(body.pulled).toBeGreaterThan(20)
    expect(body.pulled).toBeLessThan(30)
    // Not the next of its link: not asked at all.
    expect(second.pulled).toBe(0)
    receiver.addCredit(1)
    const delivery = await receiver.receive()
    const reader = delivery.body.getReader()
    await pause(20)
    // A window of eight frames of 4 KiB more, and that is all.
    const before = body.pulled
    expect(before).toBeLessThan(40)
    for (let i = 0; i < 30; i++) await reader.read()
    await pause(20)
    expect(body.pulled).toBeGreaterThan(before)
    signal.abort(new Error('enough'))
    await expect(sending).rejects.toThrow('enough')
    await expect(behind).rejects.toThrow('enough')
    expect(body.left).toBe(true)
  })

  test('§2.7.5 a source that throws half-way: aborted, here and there; the link goes on', async () => {
    const { sender, receiver } = await linked()
    const body = fed()
    const sending = sender.send({ properties: { messageId: 'm' }, body })
    body.feed(new Uint8Array(20_000))
    const delivery = await receiver.receive()
    const reading = all(delivery.body)
    await pause(20)
    body.end(new RangeError('out of data'))
    await expect(sending).rejects.toThrow(RangeError)
    await expect(reading).rejects.toThrow(DeliveryError)
    await expect(reading).rejects.toMatchObject({ outcome: { outcome: 'aborted' } })
    expect(delivery.state).toBe('aborted')
    await expect(delivery.accept()).rejects.toThrow(DeliveryError)
    const next = sender.send({ body: 'next' })
    const following = await receiver.receive()
    expect(following.message.body).toBe('next')
    await following.accept()
    expect(await next).toEqual({ outcome: 'accepted' })
  })

  test('a signal before anything has left takes the message back, and leaves the source', async () => {
    const { sender, receiver } = await linked({ credit: 'manual' })
    const body = counted(3)
    const signal = AbortSignal.timeout(30)
    await expect(sender.send({ body }, { signal })).rejects.toThrow('timeout')
    expect(sender.pending).toBe(0)
    const next = sender.send({ body: 'next' }, { settled: true })
    receiver.addCredit(2)
    expect((await receiver.receive()).message.body).toBe('next')
    await next
    const cancelled: unknown[] = []
    const stream = new ReadableStream<Uint8Array>({ cancel: () => void cancelled.push(1) })
    const again = AbortSignal.timeout(30)
    await expect(sender.send({ body: stream }, { signal: again })).rejects.toThrow('timeout')
    await pause(1)
    expect(cancelled).toEqual([1])
  })

  test('what is no bytes, a section that does not fit, a locked stream', async () => {
    const { sender } = await linked()
    const text = (async function* () {
      yield 'text' as never
    })()
    await expect(sender.send({ body: text })).rejects.toThrow(EncodeError)
    await expect(sender.send({ header: { ttl: -1 }, body: text })).rejects.toThrow(EncodeError)
    const locked = new Blob(['x']).stream()
    locked.getReader()
    await expect(sender.send({ body: locked })).rejects.toThrow(UsageError)
    expect(sender.pending).toBe(0)
  })

  test('§2.7.3 larger than the receiver takes: the sender stops itself', async () => {
    const { sender } = await linked({ streaming: true, maxMessageSize: 50_000n, incomingWindow: 2048 })
    const body = counted(100)
    await expect(sender.send({ body })).rejects.toThrow(UsageError)
    expect([body.pulled, body.left]).toEqual([5, true])
  })

  test('the receiver decides before all of it has come: the rest is not sent', async () => {
    const { sender, receiver } = await linked()
    const body = counted(1_000_000)
    const sending = sender.send({ body })
    const delivery = await receiver.receive()
    await delivery.reject({ condition: 'amqp:not-allowed' })
    expect(await sending).toMatchObject({ outcome: 'rejected' })
    expect(body.left).toBe(true)
    const next = sender.send({ body: 'next' })
    await (await receiver.receive()).accept()
    expect(await next).toEqual({ outcome: 'accepted' })
  })

  test('the receiver accepts before all of it has come: the rest is sent all the same, or as far as the link lives', async () => {
    const { sender, receiver } = await linked()
    const body = counted(30)
    const sending = sender.send({ body })
    const delivery = await receiver.receive()
    const reading = all(delivery.body)
    await delivery.accept()
    expect((await reading).length).toBe(300_000)
    expect(await sending).toEqual({ outcome: 'accepted' })
    expect([body.left, sender.pending]).toEqual([false, 0])
    const endless = counted(1_000_000)
    const cut = sender.send({ body: endless })
    const second = await receiver.receive()
    const reader = second.body.getReader()
    await reader.read()
    await second.accept()
    await pause(20)
    await receiver.close({ error: { condition: 'amqp:link:detach-forced' } })
    expect(await cut).toEqual({ outcome: 'accepted' })
    expect(endless.left).toBe(true)
  })

  test('the link ends half-way: both ends hear of it, and the source is left', async () => {
    const { sender, receiver } = await linked()
    const body = counted(1_000_000)
    const sending = sender.send({ body })
    sending.catch(() => {})
    const delivery = await receiver.receive()
    const reader = delivery.body.getReader()
    await reader.read()
    await receiver.close({ error: { condition: 'amqp:link:detach-forced' } })
    await expect(sending).rejects.toThrow(ClosedError)
    expect(body.left).toBe(true)
    await expect(
      (async () => {
        while (!(await reader.read()).done);
      })(),
    ).rejects.toThrow(ClosedError)
    expect(delivery.state).toBe('lost')
  })
})

describe('reading a message while it arrives', () => {
  test('sections at once, whatever the frames; the footer at the end; the body only as a stream', async () => {
    const { sender, receiver } = await linked({ streaming: true }, { maxFrameSize: 512 })
    const long = 'x'.repeat(3000)
    const sending = sender.send({ applicationProperties: { long }, body: counted(3), footer: { crc: 1 } })
    const delivery = await receiver.receive()
    expect(delivery.message.applicationProperties?.get('long')).toBe(long)
    expect(delivery.message.footer).toBeUndefined()
    for (const read of [() => delivery.bytes, () => delivery.chunks, () => delivery.message.body])
      expect(read).toThrow(UsageError)
    expect(await all(delivery.body)).toEqual(new Uint8Array(30_000).map((_, i) => Math.floor(i / 10_000)))
    expect(delivery.message.footer?.get('crc')).toBe(1)
    expect(JSON.parse(JSON.stringify(delivery.message))).toMatchObject({ footer: { crc: 1 } })
    await delivery.accept()
    expect(await sending).toEqual({ outcome: 'accepted' })
  })

  test('a body that is a value comes whole', async () => {
    const { sender, receiver } = await linked({ streaming: true }, { maxFrameSize: 512 })
    const sending = sender.send({ properties: { to: 'x' }, body: { value: 'y'.repeat(5000) } })
    const delivery = await receiver.receive()
    expect(delivery.message.body).toBe('y'.repeat(5000))
    expect(delivery.bytes.length).toBeGreaterThan(5000)
    expect(() => delivery.body).toThrow(UsageError)
    await delivery.accept()
    await sending
  })

  test('cancelled, or settled unread: the rest is dropped, and the window opens for the next', async () => {
    const { sender, receiver } = await linked()
    for (let i = 0; i < 3; i++) {
      const sending = sender.send({ body: new Uint8Array(200_000) })
      const delivery = await receiver.receive()
      if (i === 1) await delivery.body.cancel()
      await delivery.accept()
      expect(await sending).toEqual({ outcome: 'accepted' })
    }
  })

  test('what is complete stays readable when its link has ended', async () => {
    const { sender, receiver } = await linked()
    await sender.send({ body: new Uint8Array(20_000).fill(5) }, { settled: true })
    const delivery = await receiver.receive()
    await sender.close()
    await receiver.closed
    expect((await all(delivery.body)).every(byte => byte === 5)).toBe(true)
  })

  test('bytes that are no message: the stream fails with DecodeError, and the link goes on', async () => {
    const { sender, receiver } = await linked()
    const good = encodeMessage({ body: new Uint8Array(5000) })
    for (const bytes of [good.slice(0, 4000), new Uint8Array(5000).fill(0xff), new Uint8Array([...good, 1, 2, 3])]) {
      const sending = sender.send(new EncodedMessage(bytes))
      const delivery: Delivery = await receiver.receive()
      await expect(all(delivery.body)).rejects.toThrow(DecodeError)
      await delivery.reject()
      expect((await sending).outcome).toBe('rejected')
    }
  })

  test('§2.7.3 larger than the receiver said it takes: the link fails, and so does the stream', async () => {
    const { sender, receiver } = await linked({ streaming: true, maxMessageSize: 30_000n, incomingWindow: 2048 })
    // The sender is told otherwise.
    Object.defineProperty((sender as unknown as { endpoint: object }).endpoint, 'remoteMaxMessageSize', { value: 0n })
    const body = fed()
    const sending = sender.send({ body })
    sending.catch(() => {})
    body.feed(new Uint8Array(20_000))
    const delivery = await receiver.receive()
    body.feed(new Uint8Array(20_000))
    await expect(all(delivery.body)).rejects.toMatchObject({ condition: 'amqp:link:message-size-exceeded' })
    await expect(sending).rejects.toThrow(ClosedError)
  })

  test('§2.5.6 a reader who does not read stops its session, not another; it goes on when it reads', async () => {
    const far: Sender[] = []
    const listener = await server(async link => {
      if (link.remoteRole === 'receiver') far.push(await link.accept())
    })
    const near = await connect({ host: '127.0.0.1', port: listener.port, maxFrameSize: 4096 })
    closing.push(near)
    const big = await near.receiver('big', { streaming: true })
    const small = await near.receiver('small')
    expect(big.session).not.toBe(small.session)
    const body = counted(1000)
    const sending = (far[0] as Sender).send({ body })
    const delivery = await big.receive()
    await pause(50)
    const before = body.pulled
    expect(before).toBeLessThan(80)
    for (let i = 0; i < 100; i++) {
      const passing = (far[1] as Sender).send({ body: 'x' })
      await (await small.receive()).accept()
      await passing
    }
    expect(body.pulled).toBe(before)
    expect((await all(delivery.body)).length).toBe(10_000_000)
    await delivery.accept()
    await sending
    await big.close()
    await big.session.closed
    expect(await Promise.race([small.session.closed, pause(20).then(() => 'open')])).toBe('open')
  })
})

describe('in bounded memory', () => {
  const MIB = 1 << 20
  const size = Number(process.env['FAIRLEAD_STREAM_MIB'] ?? 192) * MIB

  test('a large message passes through a process that grows by less than 64 MiB', { timeout: 300_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'fairlead-relay-'))
    const outfile = join(folder, 'relay.mjs')
    const entryPoints = [new URL('relay-process.ts', import.meta.url).pathname]
    await build({
      entryPoints,
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'es2022',
      logLevel: 'error',
    })
    const sent = createHash('sha256')
    const got = createHash('sha256')
    let received = 0
    let wanted: (sender: Sender) => void = () => {}
    const sending = new Promise<Sender>(resolve => {
      wanted = resolve
    })
    const source = await server(async link => {
      if (link.remoteRole === 'receiver') wanted(await link.accept())
    })
    const target = await server(
      async link => {
        if (link.remoteRole !== 'sender') return
        for await (const delivery of await link.accept({ streaming: true })) {
          for await (const piece of delivery.body) {
            received += piece.length
            got.update(piece)
          }
          await delivery.accept()
        }
      },
      { incomingWindow: 64 },
    )
    const child = fork(outfile, [String(source.port), String(target.port)], { execArgv: ['--expose-gc'] })
    const said = async (test: (what: unknown) => boolean): Promise<unknown> =>
      new Promise((resolve, reject) => {
        const hear = (what: unknown) => {
          if (!test(what)) return
          child.off('message', hear)
          resolve(what)
        }
        child.on('message', hear)
        child.once('exit', code => reject(new Error(`the relay ended with ${code}`)))
      })
    try {
      const sender = await sending
      const block = new Uint8Array(64 << 10)
      const body = async function* (bytes: number) {
        for (let at = 0; at < bytes; at += block.length) {
          const piece = block.slice()
          new DataView(piece.buffer).setFloat64(at % 60_000, Math.sin(at))
          sent.update(piece)
          yield piece
        }
      }
      const send = async (bytes: number) => {
        const relayed = said(what => what === 'relayed')
        expect(await sender.send({ properties: { messageId: 'm' }, body: body(bytes) })).toEqual({
          outcome: 'accepted',
        })
        await relayed
      }
      await send(16 * MIB)
      const measuring = said(what => what === 'measuring')
      child.send('warm')
      await measuring
      const began = performance.now()
      await send(size)
      const seconds = (performance.now() - began) / 1000
      const growing = said(what => typeof what === 'object')
      child.send('report')
      const growth = (await growing) as { rss: number; known: number }
      if (process.env['FAIRLEAD_STREAM_MIB'])
        process.stderr.write(
          `${size / MIB} MiB in ${seconds.toFixed(1)} s; growth: rss ${(growth.rss / MIB).toFixed(1)} MiB, ` +
            `heap and external ${(growth.known / MIB).toFixed(1)} MiB\n`,
        )
      expect(received).toBe(size + 16 * MIB)
      expect(got.digest('hex')).toBe(sent.digest('hex'))
      expect(growth.rss).toBeLessThan(64 * MIB)
      expect(growth.known).toBeLessThan(64 * MIB)
    } finally {
      child.kill()
      await rm(folder, { recursive: true })
    }
  })
})
