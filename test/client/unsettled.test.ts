/** §2.6.13: what a link leaves unsettled, kept as plain values, and taken up by a link of another process. */

import { deserialize, serialize } from 'node:v8'
import { describe, expect, test } from 'vitest'
import type { Connection } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { UnsettledDelivery, UnsettledSend } from '../../src/client/recovery/unsettled.ts'
import { ClosedError, UsageError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'
import { random } from '../fuzz/mutations.ts'
import { pause, until } from '../waiting.ts'
import { settled } from './joined.ts'
import { said } from './reconnecting.ts'
import { ResumingPeer } from './resuming-peer.ts'

const SEED = Number(process.env.FC_SEED ?? Date.now() & 0x7fffffff)

/** As if it had been written to a file and read by another process. */
const kept = <T>(state: T): T => deserialize(serialize(state)) as T

interface Process {
  readonly connection: Connection
  /** From now on nothing that it says is heard. */
  mute(): void
  /** It dies: neither end says anything more. */
  kill(): Promise<void>
}

async function started(peer: ResumingPeer): Promise<Process> {
  const [a, b] = memoryPair()
  peer.serve(b)
  let isMute = false
  const transport: Transport = {
    start: sink => a.start(sink),
    write: chunks => isMute || a.write(chunks),
    end: () => a.end(),
    destroy: error => a.destroy(error),
  }
  const connection = await connect({ host: 'memory', transport, sasl: false })
  return {
    connection,
    mute: () => {
      isMute = true
    },
    kill: async () => {
      b.destroy()
      await connection.closed
      await pause()
    },
  }
}

const body = (value: number) => ({ body: { value } })

describe('a sender', () => {
  test('gets the outcomes of what the earlier one has sent; what the peer does not know is sent again', async () => {
    const peer = new ResumingPeer()
    peer.accepts = false
    const first = await started(peer)
    const sender = await first.connection.sender('q', { name: 'n', unsettled: [] })
    const sends = [1, 2].map(value => settled(sender.send(body(value))))
    sends.push(settled(sender.send(body(3), { deliveryTag: Uint8Array.of(7) })))
    await until(() => peer.arrived.length === 3)
    expect(sender.unsettled().map(({ hasBegun, isGivenUp }) => [hasBegun, isGivenUp])).toEqual(
      Array(3).fill([true, false]),
    )
    await first.kill()
    expect(await Promise.all(sends)).toEqual(Array(3).fill(expect.any(ClosedError)))
    const left = kept(sender.unsettled())
    expect(left.map(({ deliveryTag }) => [...deliveryTag])).toEqual([[0, 0, 0, 0], [0, 0, 0, 1], [7]])
    expect(left.every(({ size, payload }) => payload?.length === size)).toBe(true)

    const second = await started(peer)
    const next = await second.connection.sender('q', { name: 'n', unsettled: left })
    expect(next.resumed.map(({ deliveryTag }) => [...deliveryTag])).toEqual([[0, 0, 0, 0], [0, 0, 0, 1], [7]])
    expect(await settled(next.send(body(9), { deliveryTag: Uint8Array.of(7) }))).toBeInstanceOf(UsageError)
    const fourth = next.send(body(4))
    await until(() => peer.arrived.length === 4)
    expect(new Set(next.unsettled().map(({ deliveryTag }) => String(deliveryTag))).size).toBe(4)
    peer.decideAll()
    expect(await Promise.all(next.resumed.map(({ outcome }) => outcome))).toEqual(
      Array(3).fill({ outcome: 'accepted' }),
    )
    expect(await fourth).toEqual({ outcome: 'accepted' })
    expect(peer.arrived).toEqual([1, 2, 3, 4])
    expect(next.unsettled()).toEqual([])
    await second.connection.close()
  })

  test('what had not begun is sent; a peer that knows nothing gets everything', async () => {
    // More than the peer's credit.
    const silent = new ResumingPeer()
    silent.accepts = false
    silent.consumes = false
    const before = await started(silent)
    const sender = await before.connection.sender('q', { name: 'n', unsettled: [] })
    const sends = Array.from({ length: 25 }, (_, i) => settled(sender.send(body(i))))
    await until(() => silent.arrived.length === 20)
    const left = kept(sender.unsettled())
    expect(left.filter(({ hasBegun }) => !hasBegun)).toHaveLength(5)
    await before.kill()
    await Promise.all(sends)
    expect(kept(sender.unsettled())).toEqual(left)

    const knowsNothing = new ResumingPeer()
    const second = await started(knowsNothing)
    const next = await second.connection.sender('q', { name: 'n', unsettled: left })
    await Promise.all(next.resumed.map(({ outcome }) => outcome))
    expect(knowsNothing.arrived).toEqual(Array.from({ length: 25 }, (_, i) => i))
    await second.connection.close()
  })

  test('what nobody waits for is forgotten, and a body that was made while it was sent is asked for, not sent', async () => {
    const peer = new ResumingPeer()
    peer.accepts = false
    const first = await started(peer)
    const sender = await first.connection.sender('q', { name: 'n', unsettled: [] })
    async function* pieces() {
      yield new Uint8Array(10)
    }
    const never = new ReadableStream<Uint8Array>({
      start: at => at.enqueue(new Uint8Array(9)),
      pull: () => new Promise(() => {}),
    })
    const whole = settled(sender.send({ body: pieces() }))
    await until(() => peer.undecided.size === 1)
    const partly = settled(sender.send({ body: never }))
    await pause(5)
    await first.kill()
    await Promise.all([whole, partly])
    const left = kept(sender.unsettled())
    expect(left.map(({ isGivenUp, payload }) => [isGivenUp, payload])).toEqual([
      [false, undefined],
      [true, undefined],
    ])
    // What has arrived whole and is decided has its outcome; not decided, it could only be aborted.
    peer.decideAll()
    const second = await started(peer)
    const next = await second.connection.sender('q', { name: 'n', unsettled: left })
    expect(next.resumed).toHaveLength(1)
    expect(await next.resumed[0]?.outcome).toEqual({ outcome: 'accepted' })
    await second.connection.close()

    // One that the peer does not know cannot be made again.
    const third = await started(new ResumingPeer())
    const last = await third.connection.sender('q', { name: 'n', unsettled: left })
    expect(await settled(last.resumed[0]?.outcome as Promise<unknown>)).toMatchObject({ scope: 'delivery' })
    await third.connection.close()
  })

  test('maps that do not fit are told one after the other, on one connection', async () => {
    const peer = new ResumingPeer()
    peer.accepts = false
    peer.maxFrameSize = 512
    const first = await started(peer)
    const sender = await first.connection.sender('q', { name: 'n', unsettled: [] })
    for (let i = 0; i < 19; i++) void settled(sender.send(body(i), { deliveryTag: new Uint8Array(32).fill(i) }))
    await until(() => peer.arrived.length === 19)
    await first.kill()
    const second = await started(peer)
    const next = await second.connection.sender('q', { name: 'n', unsettled: kept(sender.unsettled()) })
    peer.accepts = true
    peer.decideAll()
    const outcomes = await Promise.all(next.resumed.map(({ outcome }) => outcome))
    expect(outcomes).toEqual(Array(19).fill({ outcome: 'accepted' }))
    expect(await next.send(body(99))).toEqual({ outcome: 'accepted' })
    expect(peer.arrived).toEqual([...Array.from({ length: 19 }, (_, i) => i), 99])
    await second.connection.close()
  })

  test('keeps nothing unless it is asked to, and refuses what is no state', async () => {
    const peer = new ResumingPeer()
    const { connection } = await started(peer)
    const plain = await connection.sender('q')
    await plain.close()
    expect([plain.unsettled(), plain.resumed]).toEqual([[], []])
    const good: UnsettledSend = {
      deliveryTag: Uint8Array.of(1),
      messageFormat: 0,
      hasBegun: true,
      isGivenUp: false,
      size: 1,
      payload: Uint8Array.of(0),
    }
    for (const wrong of [{ deliveryTag: 'x' }, { deliveryTag: new Uint8Array(33) }, { payload: 'x' }, { size: 2 }])
      for (let i = 0; i < 2; i++)
        expect(
          await settled(connection.sender('q', { name: 'n', unsettled: [{ ...good, ...wrong } as never] })),
        ).toBeInstanceOf(UsageError)
    const delivery = { deliveryTag: Uint8Array.of(1), messageFormat: 0, payload: 'x', isComplete: true } as never
    expect(await settled(connection.receiver('q', { name: 'n', unsettled: [delivery] }))).toBeInstanceOf(UsageError)
    await connection.close()
  })
})

describe('a receiver', () => {
  test('hands out again what was not decided, and tells what was', async () => {
    const peer = new ResumingPeer()
    const first = await started(peer)
    const receiver = await first.connection.receiver('q', { name: 'n', settle: 'second', unsettled: [] })
    peer.send(1, 2, 3)
    const [one, , three] = [await receiver.receive(), await receiver.receive(), await receiver.receive()]
    first.mute()
    void settled(one?.reject({ condition: 'amqp:not-allowed' }) as Promise<unknown>)
    await pause(5)
    expect(receiver.unsettled()).toHaveLength(3)
    await first.kill()
    const left: readonly UnsettledDelivery[] = kept(receiver.unsettled())
    expect(left.map(({ isComplete, decision }) => [isComplete, decision !== undefined])).toEqual([
      [true, true],
      [true, false],
      [true, false],
    ])
    expect(three?.state).toBe('lost')

    const second = await started(peer)
    const next = await second.connection.receiver('q', { name: 'n', settle: 'second', unsettled: left })
    const again = [await next.receive(), await next.receive()]
    expect(again.map(said)).toEqual([2, 3])
    expect(again.map(({ state }) => state)).toEqual(['live', 'live'])
    await Promise.all(again.map(delivery => delivery.accept()))
    await until(() => peer.outcomes.length === 3)
    expect([...peer.outcomes].sort()).toEqual([
      [1, 'rejected'],
      [2, 'accepted'],
      [3, 'accepted'],
    ])
    expect(next.unsettled()).toEqual([])
    peer.send(4)
    expect(said(await next.receive())).toBe(4)
    await second.connection.close()
  })

  test('a decision before the sender has resumed the delivery waits for that', async () => {
    const peer = new ResumingPeer()
    const first = await started(peer)
    const receiver = await first.connection.receiver('q', { name: 'n', unsettled: [] })
    peer.send(1)
    await receiver.receive()
    await first.kill()
    const second = await started(peer)
    const credit = 'manual'
    const next = await second.connection.receiver('q', { name: 'n', credit, unsettled: kept(receiver.unsettled()) })
    const delivery = await next.receive()
    const decided = delivery.accept()
    // Nothing is settled yet: for what has to be resumed credit is granted by itself.
    expect([delivery.state, peer.outcomes.length]).toEqual(['live', 0])
    await decided
    expect(delivery.state).toBe('settled')
    await until(() => peer.outcomes.length === 1)
    expect(peer.outcomes).toEqual([[1, 'accepted']])
    await second.connection.close()
  })
})

test(`§2.6.13 across restarts at random nothing is lost and nothing comes twice, seed ${SEED}`, {
  timeout: 60_000,
}, async () => {
  const below = random(SEED)
  const peer = new ResumingPeer()
  const got = new Set<unknown>()
  const total = 400
  let made = 0
  let sends: readonly UnsettledSend[] = []
  let deliveries: readonly UnsettledDelivery[] = []
  let runs = 0
  while (made < total || sends.length > 0 || peer.outcomes.length < total) {
    if (++runs > 500) throw new Error('it never ends')
    const { connection, kill } = await started(peer)
    const sender = await connection.sender('q', { name: 's', unsettled: sends, maxPending: 2 * total })
    const receiver = await connection.receiver('r', {
      name: 'r',
      settle: 'second',
      credit: { window: 20 },
      unsettled: deliveries,
    })
    const receiving = (async () => {
      for await (const delivery of receiver) {
        got.add(said(delivery))
        if (below(4) > 0) void delivery.accept()
      }
    })().catch(() => {})
    for (let n = below(60); n > 0 && made < total; n--) {
      void settled(sender.send(body(made)))
      peer.send(made++)
      if (below(10) === 0) await pause()
    }
    if (runs > 40) await pause(20)
    else for (let n = below(4); n > 0; n--) await new Promise(setImmediate)
    await kill()
    await receiving
    sends = kept(sender.unsettled())
    deliveries = kept(receiver.unsettled())
  }
  const all = Array.from({ length: total }, (_, i) => i)
  expect([...peer.arrived].sort((a, b) => Number(a) - Number(b))).toEqual(all)
  expect([...got].sort((a, b) => Number(a) - Number(b))).toEqual(all)
  expect(new Set(peer.outcomes.map(([index]) => index)).size).toBe(total)
  expect(runs).toBeGreaterThan(3)
})
