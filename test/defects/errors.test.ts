/**
 * Errors by which another implementation, rhea 3.0.5, lost its connection, its process or its messages. Here an error
 * reaches who asked, and nobody else. §2.4.3 §2.6.5
 */

import { afterEach, describe, expect, test } from 'vitest'
import type { Connection, IncomingLink, IncomingSession, Listener, Receiver } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ClosedError, RemoteError, UsageError } from '../../src/errors.ts'
import { attach, begin, detach, end, flow, open, source, target } from '../peer/composites.ts'
import { amqpHeader, concat, frame, fromHex } from '../peer/wire.ts'
import { pause } from '../waiting.ts'
import { talk } from './talk.ts'
import { uncaught } from './uncaught.ts'

let listener: Listener | undefined
afterEach(() => listener?.close())

/** A connection to a listener that hands every link to `onLink`. */
async function served(
  onLink: (link: IncomingLink) => unknown,
): Promise<{ near: Connection; far: Connection; connections: () => number }> {
  let connections = 0
  listener = await listen({})
  const far = new Promise<Connection>(resolve =>
    listener?.on('connection', connection => {
      connections++
      connection.on('session', async session => (await session.accept()).on('link', onLink))
      resolve(connection)
    }),
  )
  const near = await connect({ host: '127.0.0.1', port: listener.port })
  return { near, far: await far, connections: () => connections }
}

describe('an exception of the application', () => {
  test('in a loop over messages is the loop’s: link, session and connection live, and there is one connection', async () => {
    using caught = uncaught()
    const { near, connections } = await served(async link => {
      if (link.remoteRole !== 'receiver') return
      const sender = await link.accept()
      for (const body of ['one', 'two', 'three']) await sender.send({ body }).catch(() => {})
    })
    const receiver = await near.receiver('q')
    const loop = (async () => {
      for await (const delivery of receiver) throw new Error(`no use for ${delivery.message.body}`)
    })()
    await expect(loop).rejects.toThrow('no use for one')
    // The message that was looked at is unsettled, and the next can be had.
    const next = receiver.receive()
    const again = await near.receiver('q')
    const first = await again.receive()
    expect(first.message.body).toBe('one')
    await first.accept()
    expect((await again.receive()).message.body).toBe('two')
    next.catch(() => {})
    expect(connections()).toBe(1)
    await near.close()
    await pause(10)
    expect(caught.errors).toEqual([])
  })

  test('in a listener is an uncaught exception, of a turn of its own: other listeners hear, the connection lives', async () => {
    using caught = uncaught()
    const heard: number[] = []
    const { near, connections } = await served(async link => {
      const far = await link.accept()
      if (link.remoteRole === 'sender') (far as Receiver).on('closed', () => heard.push(3))
    })
    const sender = await near.sender('q')
    const fail = () => {
      heard.push(1)
      throw new Error('a bug of the application')
    }
    sender.on('credit', fail)
    sender.on('credit', () => heard.push(2))
    const other = await near.receiver('r')
    const failLater = async () => {
      throw new Error('another')
    }
    sender.on('closed', failLater)
    other.on('closed', failLater)
    await pause(20)
    expect(await near.sender('s')).toMatchObject({ name: expect.stringMatching(/^s/) })
    await sender.close()
    await other.close()
    await pause(20)
    expect(caught.errors.map(error => (error as Error).message).sort()).toEqual(
      [...heard.filter(n => n === 1).map(() => 'a bug of the application'), 'another', 'another'].sort(),
    )
    expect(heard.filter(n => n === 1)).toHaveLength(heard.filter(n => n === 2).length)
    expect(heard).toContain(3)
    expect(connections()).toBe(1)
    await (await near.session()).end()
  })
})

describe('§2.6.5 a detach with an error that nobody listens for', () => {
  test('is no uncaught exception: it is what `closed` resolves with, and the next use rejects with', async () => {
    using caught = uncaught()
    const { near } = await served(async link => {
      const far = await link.accept()
      await far.close({ error: { condition: 'amqp:not-found', description: 'gone' } })
    })
    const sender = await near.sender('q')
    const receiver = await near.receiver('q')
    for (const link of [sender, receiver]) {
      const { by, error } = await link.closed
      expect(by).toBe('remote')
      expect(error).toBeInstanceOf(RemoteError)
      expect(error).toMatchObject({ condition: 'amqp:not-found', scope: 'link', description: 'gone' })
    }
    for (const use of [sender.send({ body: 'x' }), sender.ready(), receiver.receive(), receiver.drain()])
      await expect(use).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED', condition: 'amqp:not-found' })
    expect(() => receiver.addCredit(1)).toThrow(ClosedError)
    await pause(10)
    expect(caught.errors).toEqual([])
    await near.sender('still here').then(link => link.closed)
  })

  test('an attach that is refused rejects, once', async () => {
    using caught = uncaught()
    const { near } = await served(link => link.refuse({ condition: 'amqp:not-found' }))
    await expect(near.sender('q')).rejects.toMatchObject({ code: 'ERR_AMQP_REMOTE', condition: 'amqp:not-found' })
    await expect(near.receiver('q')).rejects.toMatchObject({ code: 'ERR_AMQP_REMOTE', condition: 'amqp:not-found' })
    await pause(10)
    expect(caught.errors).toEqual([])
  })
})

describe('what a peer begins and takes back in one piece is no exception of whoever accepts it', () => {
  const window = { nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 1 }
  const OPEN = concat(amqpHeader, frame(0, open({ containerId: 'hasty' })))
  const BEGIN = frame(0, begin(window))
  const END = frame(0, end())
  const CLOSE = fromHex('0000000c 02000000 00531845')
  const GARBAGE = fromHex('00000000 00000000')
  const node = { source: source({ address: 'a' }), target: target({ address: 'b' }) }
  const ATTACH = frame(0, attach({ name: 'x', handle: 0, role: true, ...node }))
  const SENDS = frame(0, attach({ name: 'y', handle: 0, role: false, initialDeliveryCount: 0, ...node }))
  const DETACH = frame(0, detach({ handle: 0, closed: true }))
  const CREDIT = frame(0, flow({ ...window, nextIncomingId: 0, handle: 0, deliveryCount: 0, linkCredit: 1 }))

  const rows: [name: string, ...pieces: Uint8Array[]][] = [
    ['begin, close', OPEN, concat(BEGIN, CLOSE)],
    ['begin, end', OPEN, concat(BEGIN, END)],
    ['begin, garbage', OPEN, concat(BEGIN, GARBAGE)],
    ['everything, close', concat(OPEN, BEGIN, ATTACH, CLOSE)],
    ...[ATTACH, SENDS].flatMap((one): typeof rows => [
      ['attach, detach', concat(OPEN, BEGIN), concat(one, DETACH)],
      ['attach, end', concat(OPEN, BEGIN), concat(one, END)],
      ['attach, close', concat(OPEN, BEGIN), concat(one, CLOSE)],
      ['attach, garbage', concat(OPEN, BEGIN), concat(one, GARBAGE)],
      ['attach, attach again', concat(OPEN, BEGIN), concat(one, one)],
      ['begin, attach, garbage', OPEN, concat(BEGIN, one, GARBAGE)],
      ['begin, attach, detach', OPEN, concat(BEGIN, one, DETACH)],
      ['begin, attach, end', OPEN, concat(BEGIN, one, END)],
    ]),
    ['credit, detach', concat(OPEN, BEGIN), ATTACH, concat(CREDIT, DETACH)],
    ['credit, end', concat(OPEN, BEGIN), ATTACH, concat(CREDIT, END)],
    ['credit, close', concat(OPEN, BEGIN), ATTACH, concat(CREDIT, CLOSE)],
    ['credit, garbage', concat(OPEN, BEGIN), ATTACH, concat(CREDIT, GARBAGE)],
  ]

  /** Accepts everything, or refuses it; on credit, sends, and leaves. */
  async function tries(how: 'accept' | 'refuse', pieces: Uint8Array[]): Promise<unknown[]> {
    const uses: unknown[] = []
    const use = (promise: Promise<unknown>) => promise.catch(error => uses.push(error))
    listener = await listen({ limits: { closeMs: 50, settleMs: 50 } })
    listener.on('connection', connection =>
      connection.on('session', async session => {
        if (how === 'refuse' && pieces[0] === OPEN) return session.refuse({ condition: 'amqp:not-allowed' })
        const accepted = await session.accept()
        accepted.on('link', async link => {
          if (how === 'refuse') return link.refuse({ condition: 'amqp:not-found' })
          if (link.remoteRole === 'sender') return link.accept()
          const sender = await link.accept()
          sender.on('credit', () => {
            use(sender.send({ body: 'now' }))
            use(sender.close())
            use(accepted.sender('another'))
            use(accepted.end())
            use(connection.session())
            use(connection.close())
          })
        })
      }),
    )
    const said = talk(listener.port, ...pieces)
    await pause(pieces.length * 20 + 20)
    await listener.close()
    await said.catch(() => {})
    return uses
  }

  test.each(rows)('%s', async (_name, ...pieces) => {
    using caught = uncaught()
    for (const how of ['accept', 'refuse'] as const) {
      const uses = await tries(how, pieces)
      expect(caught.errors).toEqual([])
      // It is over, and that is not the fault of who uses it.
      for (const error of uses) expect(error).not.toBeInstanceOf(UsageError)
    }
  })

  test('accepting it later is a ClosedError as well', async () => {
    listener = await listen({})
    const opened = new Promise<Connection>(resolve => listener?.on('connection', resolve))
    const announced = opened.then(
      connection => new Promise<IncomingSession>(resolve => connection.on('session', resolve)),
    )
    const rest = opened.then(() => concat(BEGIN, END, CLOSE))
    await talk(listener.port, OPEN, rest)
    const incoming = await announced
    await expect(incoming.accept()).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    incoming.refuse({ condition: 'amqp:not-allowed' })
  })
})

test('sends in flight when the connection dies are rejected, each, with the cause; none is forgotten', async () => {
  const { near, far } = await served(link => (link.remoteRole === 'sender' ? link.accept() : undefined))
  const sender = await near.sender('q')
  const other = await near.sender('r')
  const sends = ['a', 'b', 'c'].map(body => sender.send({ body }))
  const settledBefore = other.send({ body: 'd' }, { settled: true })
  expect(await settledBefore).toEqual({ outcome: 'accepted' })
  while (sender.pending > 0) await pause(1)
  ;(far as unknown as { destroy(): void }).destroy()
  const results = await Promise.allSettled(sends)
  const { error } = await near.closed
  expect(results).toHaveLength(3)
  for (const result of results) {
    const reason: unknown = (result as PromiseRejectedResult).reason
    expect(reason).toBeInstanceOf(ClosedError)
    expect(reason).toMatchObject({ cause: error, scope: 'delivery' })
  }
  expect(error).toMatchObject({ code: 'ERR_AMQP_TRANSPORT' })
})

test('many sends without credit wait, up to maxPending; the next is refused and the ones before are not', async () => {
  let grant: ((count: number) => void) | undefined
  let received = 0
  const { near } = await served(async link => {
    if (link.remoteRole !== 'sender') return
    const receiver = await link.accept({ credit: 'manual' })
    grant = count => receiver.addCredit(count)
    for await (const delivery of receiver) {
      received++
      void delivery.accept()
    }
  })
  const sender = await near.sender('q')
  const sends = Array.from({ length: 2048 }, (_, i) => sender.send({ body: `${i}` }))
  expect(sender.pending).toBe(2048)
  await expect(sender.send({ body: 'one more' })).rejects.toBeInstanceOf(UsageError)
  expect(sender.pending).toBe(2048)
  grant?.(5000)
  const outcomes = await Promise.all(sends)
  expect(new Set(outcomes.map(({ outcome }) => outcome))).toEqual(new Set(['accepted']))
  expect(received).toBe(2048)
  expect(await sender.send({ body: 'and now' })).toEqual({ outcome: 'accepted' })
})

test('an attach that fails here leaves its name free for the next', async () => {
  const { near } = await served(link => link.accept())
  const session = await near.session({ handleMax: 0 })
  const only = await session.sender('q')
  for (let i = 0; i < 2; i++) await expect(session.sender('r', { name: 'named' })).rejects.toThrow('no handle left')
  await only.close()
  expect((await session.sender('r', { name: 'named' })).name).toBe('named')
})
