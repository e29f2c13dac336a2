/** Links that are resumed with what both ends hold unsettled, and what is promised where connections are cut at random. */

import { expect, test } from 'vitest'
import type { Connection } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'
import { random } from '../fuzz/mutations.ts'
import { pause, until } from '../waiting.ts'
import { settled } from './joined.ts'
import { QUICK, said } from './reconnecting.ts'
import { ResumingPeer } from './resuming-peer.ts'

const SEED = Number(process.env.FC_SEED ?? Date.now() & 0x7fffffff)
const MESSAGES = 1000

/** Cuts after so many bytes from this end. */
const cutting = (transport: Transport, bytes: number): Transport => {
  let left = bytes
  return {
    start: sink => transport.start(sink),
    end: () => transport.end(),
    destroy: error => transport.destroy(error),
    write(chunks) {
      for (const chunk of chunks) {
        if (left <= 0) break
        transport.write([chunk.subarray(0, left)])
        left -= chunk.length
      }
      if (left <= 0) transport.destroy()
      return true
    },
  }
}

/** Connects to a peer over connections that are cut after `next()` bytes. */
async function resuming(
  serve: (transport: Transport) => void,
  next: () => number,
  reconnect: object,
): Promise<Connection> {
  const transport = (): Transport => {
    const [a, b] = memoryPair()
    serve(b)
    return cutting(a, next())
  }
  return await connect({ host: 'memory', transport, sasl: false, reconnect: { ...QUICK, ...reconnect } })
}

const forever = (): number => Number.POSITIVE_INFINITY

test('§2.6.13 a send without an outcome gets that which the receiver has, and is not sent twice', async () => {
  const peer = new ResumingPeer()
  peer.accepts = false
  const ends: Transport[] = []
  const near = await resuming(
    transport => {
      ends.push(transport)
      peer.serve(transport)
    },
    forever,
    { resume: true },
  )
  const sender = await near.sender('q')
  const sends = [1, 2].map(value => sender.send({ body: { value } }))
  await until(() => peer.arrived.length === 2)
  ends[0]?.destroy()
  await until(() => ends.length === 2)
  sends.push(sender.send({ body: { value: 3 } }))
  await until(() => peer.arrived.length === 3)
  peer.decideAll()
  expect(await Promise.all(sends)).toEqual(Array(3).fill({ outcome: 'accepted' }))
  expect(peer.arrived).toEqual([1, 2, 3])
  await near.close()
})

test('§2.6.13 a delivery in hand stays live; its decision goes out when the link is back, also in mode first', async () => {
  for (const settle of ['first', 'second'] as const) {
    const peer = new ResumingPeer()
    const ends: Transport[] = []
    const near = await resuming(
      transport => {
        ends.push(transport)
        peer.serve(transport)
      },
      forever,
      { resume: true, initialMs: 30, maxMs: 30 },
    )
    const receiver = await near.receiver('q', { settle, credit: 'manual' })
    receiver.addCredit(3)
    peer.send(1, 2, 3)
    const [before, during, after] = [await receiver.receive(), await receiver.receive(), await receiver.receive()]
    const first = before.accept()
    // In mode first a decision that is lost makes a duplicate, as it must.
    await until(() => peer.outcomes.length === 1)
    ends[0]?.destroy()
    await pause(5)
    expect(during.state).toBe('live')
    const second = during.accept()
    await until(() => ends.length === 2)
    await until(() => peer.outcomes.length >= 2)
    await Promise.all([first, second])
    expect([during.state, after.state]).toEqual(['settled', 'live'])
    await after.accept()
    await until(() => peer.outcomes.length === 3)
    expect(peer.outcomes.map(([index]) => index).sort()).toEqual([1, 2, 3])
    await near.close()
  }
})

test('§2.6.13 maps that do not fit: attached again until all is resumed', { timeout: 20_000 }, async () => {
  const peer = new ResumingPeer()
  peer.accepts = false
  peer.maxFrameSize = 512
  const ends: Transport[] = []
  const near = await resuming(
    transport => {
      ends.push(transport)
      peer.serve(transport)
    },
    forever,
    { resume: true },
  )
  const sender = await near.sender('q')
  const tag = (index: number): Uint8Array => new Uint8Array(32).fill(index)
  const sends = Array.from({ length: 19 }, (_, i) => sender.send({ body: { value: i } }, { deliveryTag: tag(i) }))
  await until(() => peer.arrived.length === 19)
  peer.accepts = true
  ends[0]?.destroy()
  await until(() => ends.length === 2)
  peer.decideAll()
  expect(await Promise.all(sends)).toHaveLength(19)
  const last = sender.send({ body: { value: 'end' } as never }).then(() => 'sent')
  expect(await last).toBe('sent')
  expect(peer.arrived.slice(0, 19)).toEqual(Array.from({ length: 19 }, (_, i) => i))
  await near.close()
})

test(`with resume and settle second: nothing lost, nothing twice, seed ${SEED}`, { timeout: 60_000 }, async () => {
  const below = random(SEED)
  const peer = new ResumingPeer()
  let connections = 0
  const near = await resuming(
    transport => peer.serve(transport),
    () => (++connections < 60 ? 400 + below(4000) : Number.POSITIVE_INFINITY),
    { resume: true },
  )
  const session = await near.session()
  const sender = await session.sender('q', { maxPending: 2 * MESSAGES })
  const receiver = await session.receiver('r', { settle: 'second', credit: { window: 20 } })
  const got: unknown[] = []
  const receiving = (async () => {
    for await (const delivery of receiver) {
      got.push(said(delivery))
      void delivery.accept()
      if (got.length === MESSAGES) break
    }
  })()
  const sends: Promise<unknown>[] = []
  for (let i = 0; i < MESSAGES; i++) {
    sends.push(sender.send({ body: { value: i } }))
    peer.send(i)
    if (below(20) === 0) await pause(below(3))
  }
  const all = Array.from({ length: MESSAGES }, (_, i) => i)
  expect(await Promise.all(sends)).toEqual(all.map(() => ({ outcome: 'accepted' })))
  await receiving
  await until(() => peer.outcomes.length === MESSAGES)
  expect([...peer.arrived].sort((a, b) => Number(a) - Number(b))).toEqual(all)
  expect([...got].sort((a, b) => Number(a) - Number(b))).toEqual(all)
  expect(connections).toBeGreaterThan(10)
  await near.close()
})

test.each([true, false])(`resend %s: every send settles once, seed ${SEED}`, { timeout: 60_000 }, async resend => {
  const below = random(SEED)
  const listener = await listen({ port: null })
  const arrived = new Set<unknown>()
  let connections = 0
  const near = await resuming(
    transport =>
      void listener.accept(transport).then(
        connection =>
          connection.on('session', async incoming =>
            (await incoming.accept()).on('link', async link => {
              if (link.remoteRole !== 'sender') return
              for await (const delivery of await link.accept({ credit: { window: 20 } })) {
                arrived.add(said(delivery))
                await delivery.accept()
              }
            }),
          ),
        () => {},
      ),
    () => (++connections < 40 ? 600 + below(4000) : Number.POSITIVE_INFINITY),
    { resend },
  )
  const sender = await near.sender('q', { maxPending: 2 * MESSAGES })
  const sends: Promise<unknown>[] = []
  for (let i = 0; i < MESSAGES; i++) {
    sends.push(settled(sender.send({ body: { value: i } })))
    if (below(20) === 0) await pause(below(3))
  }
  const ends = (await Promise.all(sends)) as { outcome?: string; code?: string; scope?: string }[]
  const unknown = ends.filter(({ outcome }) => outcome !== 'accepted')
  expect(connections).toBeGreaterThan(5)
  if (resend) expect(unknown).toEqual([])
  else
    expect(new Set(unknown.map(({ code, scope }) => `${code} ${scope}`))).toEqual(new Set(['ERR_AMQP_CLOSED delivery']))
  for (const [i, { outcome }] of ends.entries()) if (outcome) expect(arrived.has(i)).toBe(true)
  await near.close()
  await listener.close()
})

test('cut at any byte behind the open, with resume: each message arrives once', { timeout: 60_000 }, async () => {
  let cuts = 0
  for (let at = 1; at < 300; at++) {
    const peer = new ResumingPeer()
    let connections = 0
    // Behind header and open, which the first connect needs.
    const near = await resuming(
      transport => peer.serve(transport),
      () => (++connections === 1 ? 110 + at : Number.POSITIVE_INFINITY),
      { resume: true },
    ).catch(() => undefined)
    if (!near) continue
    const sender = await near.sender('q', { name: 'q' })
    const sends = [1, 2, 3].map(value => sender.send({ body: { value } }))
    expect(await Promise.all(sends), `cut at ${at}`).toEqual(Array(3).fill({ outcome: 'accepted' }))
    expect(peer.arrived, `cut at ${at}`).toEqual([1, 2, 3])
    if (connections > 1) cuts++
    await near.close()
  }
  expect(cuts).toBeGreaterThan(100)
})
