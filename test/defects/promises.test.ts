/**
 * Promises that rhea-promise 3.0.3, over rhea 3.0.5, left unsettled, rejected for what had arrived, or leaked into an
 * uncaught exception. Here each settles once, by what happened. §2.4.3 §2.6.12
 */

import { afterEach, describe, expect, test } from 'vitest'
import type { Connection, IncomingLink, Listener, Sender } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { Outcome } from '../../src/client/outcome.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ClosedError, EncodeError } from '../../src/errors.ts'
import { pause } from '../waiting.ts'
import { uncaught } from './uncaught.ts'

let listener: Listener | undefined
afterEach(() => listener?.close())

async function served(onLink: (link: IncomingLink) => unknown): Promise<{ near: Connection; drop: () => void }> {
  listener = await listen({})
  const far = new Promise<Connection>(resolve => listener?.on('connection', resolve))
  const near = await connect({ host: '127.0.0.1', port: listener.port })
  const connection = await far
  connection.on('session', async session => (await session.accept()).on('link', onLink))
  return { near, drop: () => (connection as unknown as { destroy(): void }).destroy() }
}

/** Takes messages and accepts them. */
async function accepting(link: IncomingLink): Promise<void> {
  if (link.remoteRole !== 'sender') return void (await link.accept())
  for await (const delivery of await link.accept()) void delivery.accept()
}

/** Timers and the like that keep the process alive. */
const active = (): number => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length

test('a message that cannot be encoded rejects its send at once, and leaves nothing behind', async () => {
  using caught = uncaught()
  const { near } = await served(accepting)
  const sender = await near.sender('q')
  const timers = active()
  const bad: unknown[] = [
    { body: { value: Symbol('s') } },
    { body: { value: { plain: 1 } } },
    { body: () => 1 },
    { header: { ttl: -1 }, body: 'x' },
    { properties: { userId: 'text' }, body: 'x' },
    { applicationProperties: { list: [1] }, body: 'x' },
  ]
  for (const message of bad) {
    const error = await sender.send(message as never).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(EncodeError)
  }
  expect(sender.pending).toBe(0)
  expect(active()).toBeLessThanOrEqual(timers)
  // 1e20 is a double like others.
  expect(await sender.send({ body: { value: 1e20 } })).toEqual({ outcome: 'accepted' })
  await sender.close()
  await pause(20)
  expect(caught.errors).toEqual([])
})

describe('§2.8.2 a link on which everything is sent settled', () => {
  test('send resolves when the message has been handed over', async () => {
    const bodies: unknown[] = []
    const { near } = await served(async link => {
      if (link.remoteRole !== 'sender') return
      expect(link.sndSettleMode).toBe('settled')
      for await (const delivery of await link.accept()) {
        expect(delivery.settled).toBe(true)
        bodies.push(delivery.message.body)
      }
    })
    const sender = await near.sender('q', { settle: 'settled' })
    const outcomes: Promise<Outcome>[] = []
    for (let i = 0; i < 20; i++) outcomes.push(sender.send({ body: `${i}` }))
    expect(await Promise.all(outcomes)).toEqual(new Array(20).fill({ outcome: 'accepted' }))
    await sender.close()
    while (bodies.length < 20) await pause(1)
    expect(bodies).toEqual(Array.from({ length: 20 }, (_, i) => `${i}`))
  })

  test('it waits for credit, and rejects when none ever comes', async () => {
    const { near, drop } = await served(link =>
      link.remoteRole === 'sender' ? link.accept({ credit: 'manual' }) : undefined,
    )
    const sender = await near.sender('q', { settle: 'settled' })
    const send = sender.send({ body: 'x' }).catch((reason: unknown) => reason)
    expect(await Promise.race([send, pause(20).then(() => 'waiting')])).toBe('waiting')
    drop()
    expect(await send).toBeInstanceOf(ClosedError)
  })
})

describe('close, when the socket drops meanwhile', () => {
  const kinds: [string, (near: Connection, sender: Sender) => Promise<void>][] = [
    ['of a sender', (_near, sender) => sender.close()],
    ['of a sender, as a detach', (_near, sender) => sender.detach()],
    ['of a session', (_near, sender) => sender.session.end()],
    ['of a connection', near => near.close()],
    ['by disposal', async near => near[Symbol.asyncDispose]()],
  ]

  test.each(kinds)('%s settles at once', async (_name, close) => {
    using caught = uncaught()
    // Nobody settles: closing waits for the outcome.
    const { near, drop } = await served(link => (link.remoteRole === 'sender' ? link.accept() : undefined))
    const sender = await near.sender('q')
    const send = sender.send({ body: 'x' }).catch((reason: unknown) => reason)
    while (sender.pending > 0) await pause(1)
    const closing = close(near, sender)
    drop()
    const started = performance.now()
    await closing
    expect(performance.now() - started).toBeLessThan(500)
    expect(await send).toBeInstanceOf(ClosedError)
    expect(await near.closed).toMatchObject({ by: 'transport' })
    // Again, when all is over.
    await close(near, sender)
    expect(caught.errors).toEqual([])
  })

  test('all at once', async () => {
    const { near, drop } = await served(link => (link.remoteRole === 'sender' ? link.accept() : undefined))
    const sender = await near.sender('q')
    const send = sender.send({ body: 'x' }).catch((reason: unknown) => reason)
    const closing = kinds.map(([, close]) => close(near, sender))
    drop()
    await Promise.all(closing)
    expect(await send).toBeInstanceOf(ClosedError)
  })

  test('two that wait for the same outcome both go on when it comes', async () => {
    let answer: (() => unknown) | undefined
    const { near } = await served(async link => {
      if (link.remoteRole !== 'sender') return
      const delivery = await (await link.accept()).receive()
      answer = () => delivery.accept()
    })
    const sender = await near.sender('q')
    const send = sender.send({ body: 'x' })
    while (!answer) await pause(1)
    const closing = [sender.close(), sender.session.end(), near.close()]
    await pause(10)
    const started = performance.now()
    answer()
    expect(await send).toEqual({ outcome: 'accepted' })
    await Promise.all(closing)
    // Not the second that `limits.settleMs` would let them wait.
    expect(performance.now() - started).toBeLessThan(700)
  })
})

test('sends in flight are rejected when the connection ends, not when a timer does', async () => {
  const { near, drop } = await served(link => (link.remoteRole === 'sender' ? link.accept() : undefined))
  const sender = await near.sender('q')
  const sends = Array.from({ length: 5 }, (_, i) => sender.send({ body: `${i}` }))
  while (sender.pending > 0) await pause(1)
  drop()
  const started = performance.now()
  const results = await Promise.allSettled(sends)
  expect(performance.now() - started).toBeLessThan(500)
  expect(results.map(({ status }) => status)).toEqual(new Array(5).fill('rejected'))
})
