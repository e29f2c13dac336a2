/** What builds on a connection that is made again: hooks before it is restored, requests, tokens, streams, diagnostics. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { describe, expect, test } from 'vitest'
import { CbsSession } from '../../src/cbs/cbs-session.ts'
import type { IncomingLink, RequestLink, Sender } from '../../src/client/api.ts'
import type { StateMessage } from '../../src/client/diagnostics/diagnostics.ts'
import type { ReopenedConnection } from '../../src/client/recovery/back-off.ts'
import { ClosedError, RemoteError } from '../../src/errors.ts'
import { int } from '../../src/types/values.ts'
import { uncaught } from '../defects/uncaught.ts'
import { pause, until } from '../waiting.ts'
import { settled } from './joined.ts'
import { type Reconnecting, reconnecting } from './reconnecting.ts'

const body = (value: string | number) => ({ body: { value } })

describe('onReopened', () => {
  /** A far end that notes each link in the order of their attaches, and answers requests. */
  const noting = (names: string[]) => {
    let answers: Sender | undefined
    return async (link: IncomingLink) => {
      names.push(`${link.remoteRole} ${link.target?.address ?? ''} ${link.source?.address ?? ''}`.trim())
      if (link.remoteRole === 'receiver') {
        answers = await link.accept()
        return
      }
      for await (const delivery of await link.accept()) {
        await delivery.accept()
        const { messageId } = delivery.message.properties ?? {}
        const status = { 'status-code': int(202) }
        void answers?.send({ properties: { correlationId: messageId }, applicationProperties: status }).catch(() => {})
      }
    }
  }

  test('tokens are put on a fresh pair of links before any other is attached again', async () => {
    const names: string[] = []
    const hooks: unknown[] = []
    await using world = await reconnecting({
      onLink: noting(names),
      reconnect: {
        onReopened: async connection => {
          hooks.push(connection.remote.containerId, connection.remoteAddress)
          // It is left open, and must not come back by itself.
          await connection.session()
          await using cbs = await CbsSession.attach(connection)
          await cbs.putToken('audience', { type: 't', value: 'v', expiresAt: new Date() })
          names.push('token put')
        },
      },
    })
    const sender = await world.near.sender('q')
    expect(await sender.send(body(1))).toEqual({ outcome: 'accepted' })
    names.length = 0
    world.cut()
    await world.state('waiting')
    expect(await sender.send(body(2))).toEqual({ outcome: 'accepted' })
    expect(names.slice(0, 3).sort()).toEqual(['receiver cbs $cbs', 'sender $cbs cbs', 'token put'])
    expect(names.slice(3)).toEqual(['sender q'])
    expect(hooks).toHaveLength(2)
    names.length = 0
    world.cut()
    await world.state('waiting', 2)
    expect(await sender.send(body(3))).toEqual({ outcome: 'accepted' })
    expect(names.filter(name => name.includes('cbs'))).toHaveLength(2)
    await expect.poll(() => world.near.stats).toMatchObject({ sessions: 2, links: 1 })
  })

  test('where it fails, the attempt has; an error that lasts ends the connection', async () => {
    let count = 0
    await using world = await reconnecting({
      reconnect: {
        onReopened: async () => {
          await pause(1)
          if (++count < 3) throw new Error(`not yet ${count}`)
          if (count > 3) throw new RemoteError('cbs', 'link', { condition: 'amqp:unauthorized-access' })
        },
      },
    })
    const sender = await world.near.sender('q')
    world.cut()
    await until(() => world.receivers.length === 2)
    expect(count).toBe(3)
    expect(world.states.filter(({ state }) => state === 'connected')).toHaveLength(2)
    expect(world.states.find(({ attempt }) => attempt === 3)?.error?.message).toContain('not yet 2')
    const sent = sender.send(body(1))
    await (await (await world.receiver(1)).receive())?.accept()
    expect(await sent).toEqual({ outcome: 'accepted' })
    world.cut()
    expect(await sender.closed).toMatchObject({ error: { condition: 'amqp:unauthorized-access' } })
    expect(world.states.at(-1)?.state).toBe('closed')
  })

  test('where it throws before it returns a promise, the attempt has failed, and nothing is uncaught', async () => {
    using caught = uncaught()
    let count = 0
    await using world = await reconnecting({
      reconnect: {
        onReopened: () => {
          if (++count < 3) throw new Error(`not yet ${count}`)
        },
      },
    })
    await world.near.sender('q')
    world.cut()
    await until(() => world.receivers.length === 2)
    await pause(5)
    expect([count, caught.errors]).toEqual([3, []])
  })

  test('while it runs, what is begun elsewhere waits; a loss or a close ends it, and what it has begun', async () => {
    const given: { connection: ReopenedConnection; signal: AbortSignal }[] = []
    await using world = await reconnecting({
      reconnect: {
        onReopened: (connection, signal) => {
          given.push({ connection, signal })
          return given.length < 3 ? new Promise(() => {}) : undefined
        },
      },
    })
    await world.near.sender('q')
    world.cut()
    await until(() => given.length === 1)
    const waiting = world.near.receiver('r')
    const session = await given[0]?.connection.session()
    await pause(5)
    expect([world.receivers.length, world.senders.length]).toEqual([1, 0])
    world.cut()
    await until(() => given.length === 2)
    expect(given[0]?.signal.aborted).toBe(true)
    expect(await session?.closed).toMatchObject({ by: 'transport' })
    world.cut()
    await waiting
    expect(given).toHaveLength(3)
    expect(given[2]?.signal.aborted).toBe(true)
    given.length = 0
    world.cut()
    await until(() => given.length === 1)
    await world.near.close()
    expect(given[0]?.signal.aborted).toBe(true)
    expect(await world.near.closed).toEqual({ by: 'local', error: undefined })
  })
})

describe('requests', () => {
  let node = 0
  interface Asked {
    answer(): void
    /** The link for answers. */
    by(): Sender | undefined
    readonly replyTo: string | undefined
  }
  /** A node that answers when it is told to. */
  const asking = (asked: Asked[], accepts = true) => {
    let answers: Sender | undefined
    return async (link: IncomingLink) => {
      if (link.remoteRole === 'receiver') {
        const address = `answers-${++node}`
        answers = await link.accept(link.source?.dynamic ? { reply: { source: { dynamic: true, address } } } : {})
        return
      }
      for await (const delivery of await link.accept()) {
        if (accepts) await delivery.accept()
        const { messageId, replyTo } = delivery.message.properties ?? {}
        const answer = () =>
          void answers?.send({ properties: { correlationId: messageId }, body: 'answer' }).catch(() => {})
        asked.push({ answer, by: () => answers, replyTo })
      }
    }
  }

  async function request(
    at: Reconnecting,
    replyTo?: string,
  ): Promise<{ link: RequestLink; ask: () => Promise<unknown> }> {
    const link = await at.near.request('node', { replyTo })
    return { link, ask: () => settled(link.send({ body: 'x' }).then(answer => answer.body)) }
  }

  test('at an address of ours: what is not sent waits; of what was taken the answer is lost', async () => {
    const asked: Asked[] = []
    await using world = await reconnecting({ onLink: asking(asked) })
    const { link, ask } = await request(world, 'me')
    const taken = ask()
    await until(() => asked.length === 1)
    await pause(5)
    world.refuse(true)
    world.cut()
    expect(await taken).toBeInstanceOf(ClosedError)
    const waits = ask()
    await pause(5)
    world.refuse(false)
    await until(() => asked.length === 2)
    asked[1]?.answer()
    expect(await waits).toBe('answer')
    expect(link.pending).toBe(0)
  })

  test('that were not taken reject as the sends that they are', async () => {
    const asked: Asked[] = []
    await using world = await reconnecting({ onLink: asking(asked, false) })
    const { ask } = await request(world, 'me')
    const sent = ask()
    await until(() => asked.length === 1)
    world.cut()
    expect(await sent).toMatchObject({ code: 'ERR_AMQP_CLOSED', scope: 'delivery' })
  })

  test('§2.6.4 the peer forces the link for answers off: of what was taken the answer is lost, and the next is answered', async () => {
    const asked: Asked[] = []
    await using world = await reconnecting({ onLink: asking(asked) })
    const { ask } = await request(world)
    const taken = ask()
    await until(() => asked.length === 1)
    await asked[0]?.by()?.close({ error: { condition: 'amqp:link:detach-forced' } })
    expect(await taken).toBeInstanceOf(ClosedError)
    const next = ask()
    await until(() => asked.length === 2)
    asked[1]?.answer()
    expect(await next).toBe('answer')
    expect(world.far).toHaveLength(1)
  })

  test('§3.5.3 at a node that the peer makes: another one, which the next request names', async () => {
    const asked: Asked[] = []
    await using world = await reconnecting({ onLink: asking(asked) })
    const { link, ask } = await request(world)
    const before = link.replyTo
    const lost = ask()
    await until(() => asked.length === 1)
    world.refuse(true)
    world.cut()
    expect(await lost).toBeInstanceOf(ClosedError)
    const waits = ask()
    const cancelled = settled(link.send({ body: 'no' }, { signal: AbortSignal.timeout(5) }))
    expect(await cancelled).toMatchObject({ name: 'TimeoutError' })
    world.refuse(false)
    await until(() => asked.length === 2)
    expect(asked[1]?.replyTo).toBe(link.replyTo)
    expect(link.replyTo).not.toBe(before)
    asked[1]?.answer()
    expect(await waits).toBe('answer')
    await link.close()
    expect(await settled(link.send({ body: 'late' }))).toBeInstanceOf(ClosedError)
  })
})

test('§2.6.14 a streaming receiver goes on; the delivery that was being read fails', async () => {
  await using world = await reconnecting()
  const receiver = await world.near.receiver('q', { streaming: true })
  let fill: (() => void) | undefined
  const pieces = new ReadableStream<Uint8Array>({
    start: source => source.enqueue(new Uint8Array(5000)),
    pull: () => new Promise(resolve => (fill = resolve)),
  })
  void settled((await world.sender(0)).send({ body: pieces }) as Promise<unknown>)
  const delivery = await receiver.receive()
  const reading = delivery.body.getReader()
  expect((await reading.read()).value?.length).toBeGreaterThan(0)
  world.cut()
  expect(
    await settled(
      (async () => {
        while (!(await reading.read()).done);
      })(),
    ),
  ).toBeInstanceOf(ClosedError)
  expect(delivery.state).toBe('lost')
  fill?.()
  await until(() => world.senders.length === 2)
  const next = receiver.receive()
  void (await world.sender(1)).send({ body: new Uint8Array([1, 2]) }).catch(() => {})
  const { value } = await (await next).body.getReader().read()
  expect([...(value ?? [])]).toEqual([1, 2])
})

test('what is told, and counted: each loss and return, and all that is there again', async () => {
  const told: string[] = []
  const listener = (message: unknown) => {
    const { connection, scope, name, state } = message as StateMessage
    if (connection === 'near') told.push(`${scope} ${scope === 'link' ? name : ''} ${state}`.replace('  ', ' '))
  }
  await using world = await reconnecting({ near: { containerId: 'near' } })
  subscribe('fairlead:state', listener)
  const sender = await world.near.sender('q', { name: 's', maxPending: 5 })
  await world.near.receiver('r', { name: 'r' })
  told.length = 0
  world.refuse(true)
  world.cut()
  await world.state('waiting', 2)
  expect(told.sort()).toEqual(['connection ended', 'link r ended', 'link s ended', 'session ended'])
  told.length = 0
  const held = sender.send({ body: new Uint8Array(1000) })
  expect(world.near.stats).toMatchObject({ sessions: 1, links: 2, unsettledOutgoing: 0 })
  expect(world.near.stats.pendingBytes).toBeGreaterThan(1000)
  world.refuse(false)
  const restored = await world.state('restored')
  expect(restored).toMatchObject({ attempt: 0, restored: { sessions: 1, links: 2 } })
  expect(told.sort()).toEqual(['connection opened', 'link r opened', 'link s opened', 'session opened'])
  await (await (await world.receiver(1)).receive())?.accept()
  expect(await held).toEqual({ outcome: 'accepted' })
  expect(world.near.stats.pendingBytes).toBe(0)
  unsubscribe('fairlead:state', listener)
  const states = world.states.map(({ state }) => state)
  expect([states[0], states.at(-2), states.at(-1)]).toEqual(['connected', 'connected', 'restored'])
})

test('getters while there is no connection: what was last known', async () => {
  await using world = await reconnecting()
  const sender = await world.near.sender('q')
  world.refuse(true)
  world.cut()
  await world.state('waiting')
  expect(world.near.remote.containerId).toBeTypeOf('string')
  expect([sender.linkCredit, sender.name, sender.target?.address]).toEqual([expect.any(Number), sender.name, 'q'])
  expect((await import('node:util')).inspect(world.near)).toContain("state: 'reconnecting'")
  await world.near.close()
})
