/** What becomes of everything that is under way when a connection is lost and made again: the table of the README. */

import { describe, expect, test } from 'vitest'
import type { Delivery, Sender } from '../../src/client/api.ts'
import type { Emits, LinkEvents } from '../../src/client/api-events.ts'
import { ClosedError, RemoteError, TransactionError, TransportError, UsageError } from '../../src/errors.ts'
import { pause, until } from '../waiting.ts'
import { settled } from './joined.ts'
import { reconnecting, said } from './reconnecting.ts'

const body = (value: string | number) => ({ body: { value } })

const linkOf = ({ name }: { name: string }): string => `link '${name}'`
const rootOf = (error: Error): Error => (error.cause instanceof Error ? rootOf(error.cause) : error)

describe('sends', () => {
  test('that wait for credit are kept, and sent in order', async () => {
    await using world = await reconnecting({ receiving: { credit: 'manual' } })
    const sender = await world.near.sender('q')
    const sends = [1, 2, 3].map(value => sender.send(body(value)))
    await pause(5)
    world.cut()
    const again = await world.receiver(1)
    again.addCredit(10)
    for (const value of [1, 2, 3]) {
      const delivery = (await again.receive()) as Delivery
      expect(said(delivery)).toBe(value)
      await delivery.accept()
    }
    expect(await Promise.all(sends)).toEqual(Array(3).fill({ outcome: 'accepted' }))
  })

  test('that are made while there is no connection wait likewise, encoded at the call, within maxPending', async () => {
    await using world = await reconnecting({ receiving: { credit: 'manual' } })
    const sender = await world.near.sender('q', { maxPending: 3 })
    const queued = sender.send(body(1))
    world.refuse(true)
    world.cut()
    await world.state('waiting', 2)
    const value = { body: { value: 5 } }
    const held = sender.send(value)
    value.body.value = 6
    const cancel = new AbortController()
    const cancelled = settled(sender.send(body(9), { signal: cancel.signal }))
    expect(sender.pending).toBe(3)
    expect(await settled(sender.send(body(4)))).toBeInstanceOf(UsageError)
    cancel.abort('enough')
    expect([await cancelled, sender.pending]).toEqual(['enough', 2])
    world.refuse(false)
    const again = await world.receiver(1)
    again.addCredit(10)
    const deliveries = [await again.receive(), await again.receive()] as Delivery[]
    expect(deliveries.map(said)).toEqual([1, 5])
    for (const delivery of deliveries) await delivery.accept()
    expect(await Promise.all([queued, held])).toHaveLength(2)
  })

  test('that are framed and have no outcome reject: they may have arrived', async () => {
    await using world = await reconnecting()
    const sender = await world.near.sender('q')
    const sent = settled(sender.send(body(1)))
    const first = await (await world.receiver(0)).receive()
    world.cut()
    const error = (await sent) as ClosedError
    expect(error).toBeInstanceOf(ClosedError)
    expect([error.scope, error.message]).toEqual([
      'delivery',
      `${linkOf(sender)}, with a message under way that may have arrived or not, is closed: ${rootOf(error).message}`,
    ])
    expect(error.message.split(sender.name)).toHaveLength(2)
    expect(rootOf(error)).not.toBeInstanceOf(ClosedError)
    expect(error.cause).toBeInstanceOf(ClosedError)
    const again = await world.receiver(1)
    const next = sender.send(body(2))
    const delivery = (await again.receive()) as Delivery
    expect(said(delivery)).toBe(2)
    // One of unknown fate may still be there under its tag.
    expect([...delivery.deliveryTag]).not.toEqual([...(first?.deliveryTag ?? [])])
    await delivery.accept()
    expect(await next).toEqual({ outcome: 'accepted' })
  })

  test('that are framed are sent again with `resend`, before what waits', async () => {
    await using world = await reconnecting({ reconnect: { resend: true } })
    const sender = await world.near.sender('q')
    const first = sender.send(body(1), { deliveryTag: Uint8Array.of(7) })
    await (await world.receiver(0)).receive()
    world.refuse(true)
    world.cut()
    await world.state('waiting', 2)
    const second = sender.send(body(2))
    expect(await settled(sender.send(body(3), { deliveryTag: Uint8Array.of(7) }))).toBeInstanceOf(UsageError)
    world.refuse(false)
    const again = await world.receiver(1)
    const deliveries = [await again.receive(), await again.receive()] as Delivery[]
    expect(deliveries.map(delivery => [said(delivery), ...delivery.deliveryTag])).toEqual([
      [1, 7],
      [2, 0, 0, 0, 0],
    ])
    for (const delivery of deliveries) await delivery.accept()
    expect(await Promise.all([first, second])).toHaveLength(2)
  })

  test('that are made while they are sent, or under a transaction, reject', async () => {
    await using world = await reconnecting({
      far: { coordinator: {} },
      receiving: { credit: 'manual' },
      reconnect: { resend: true },
    })
    const sender = await world.near.sender('q')
    const transaction = await world.near.transaction()
    const posted = settled(sender.send(body(1), { transaction }))
    const never = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}) })
    const streamed = settled(sender.send({ body: never }))
    await pause(5)
    world.refuse(true)
    world.cut()
    expect(await posted).toBeInstanceOf(TransactionError)
    expect(await streamed).toBeInstanceOf(ClosedError)
    expect(transaction.state).toBe('rolled-back')
    expect(await settled(transaction.commit())).toMatchObject({ fate: 'rolled-back' })
    expect(await settled(sender.send({ body: new ReadableStream() }))).toBeInstanceOf(ClosedError)
    world.refuse(false)
    const after = await world.near.transaction()
    await after.rollback()
  })

  test('that are settled and framed are over', async () => {
    await using world = await reconnecting()
    const sender = await world.near.sender('q')
    expect(await sender.send(body(1), { settled: true })).toEqual({ outcome: 'accepted' })
    world.cut()
    const again = await world.receiver(1)
    const next = sender.send(body(2))
    const delivery = (await again.receive()) as Delivery
    expect(said(delivery)).toBe(2)
    await delivery.accept()
    await next
  })
})

describe('deliveries', () => {
  const sendFrom = (sender: Sender | undefined, ...values: number[]): Promise<unknown>[] =>
    values.map(value => settled((sender as Sender).send(body(value))))

  test('in hand are lost; those that nobody had taken are dropped; loops go on', async () => {
    await using world = await reconnecting()
    const receiver = await world.near.receiver('q')
    sendFrom(world.senders[0], 1, 2, 3)
    const first = await receiver.receive()
    const failed: unknown[] = []
    const got: unknown[] = []
    world.cut()
    await world.state('waiting')
    expect(first.state).toBe('lost')
    await first.accept().catch(error => failed.push(error))
    expect(failed[0]).toBeInstanceOf(ClosedError)
    const loop = (async () => {
      for await (const delivery of receiver) {
        got.push(said(delivery))
        await delivery.accept()
        if (got.length === 2) break
      }
    })()
    await until(() => world.senders.length === 2)
    expect(first.state).toBe('lost')
    const outcomes = sendFrom(world.senders[1], 10, 20)
    await loop
    expect(got).toEqual([10, 20])
    expect(await Promise.all(outcomes)).toEqual(Array(2).fill({ outcome: 'accepted' }))
  })

  test('that were sent settled and not taken are kept', async () => {
    await using world = await reconnecting()
    const receiver = await world.near.receiver('q')
    await (await world.sender(0)).send(body(1), { settled: true })
    sendFrom(world.senders[0], 2)
    await pause(5)
    world.cut()
    await world.state('connected', 2)
    expect(said(await receiver.receive())).toBe(1)
  })

  test('credit by hand is granted again, that of dropped deliveries included', async () => {
    await using world = await reconnecting()
    const receiver = await world.near.receiver('q', { credit: 'manual' })
    receiver.addCredit(3)
    sendFrom(world.senders[0], 1)
    await pause(5)
    world.refuse(true)
    world.cut()
    await world.state('waiting', 2)
    receiver.addCredit(2)
    expect(() => receiver.addCredit(0)).toThrow(UsageError)
    world.refuse(false)
    const far = await world.sender(1)
    await until(() => far.linkCredit === 5)
    await pause(5)
    expect(far.linkCredit).toBe(5)
  })

  test('drain, get and stop are asked again', async () => {
    await using world = await reconnecting()
    const receiver = await world.near.receiver('q', { credit: 'manual' })
    world.refuse(true)
    world.cut()
    await world.state('waiting')
    const got = receiver.get()
    world.refuse(false)
    expect(await got).toBeUndefined()
    world.refuse(true)
    world.cut()
    await world.state('waiting', 3)
    receiver.addCredit(4)
    const drained = receiver.drain()
    world.refuse(false)
    await drained
    expect(world.senders.at(-1)?.linkCredit).toBe(0)
    world.cut()
    await world.state('waiting', 4)
    await receiver.stop()
  })

  test('process goes on', async () => {
    await using world = await reconnecting()
    const receiver = await world.near.receiver('q')
    const handled: unknown[] = []
    const stop = new AbortController()
    const done = settled(
      receiver.process(delivery => handled.push(said(delivery)), { signal: stop.signal, concurrency: 2 }),
    )
    expect(await (await world.sender(0)).send(body(1))).toEqual({ outcome: 'accepted' })
    world.cut()
    await until(() => world.senders.length === 2)
    expect(await (await world.sender(1)).send(body(2))).toEqual({ outcome: 'accepted' })
    expect(handled).toEqual([1, 2])
    stop.abort('enough')
    expect(await done).toBe('enough')
  })

  test('that settle second: what waits for the sender rejects', async () => {
    await using world = await reconnecting()
    const receiver = await world.near.receiver('q', { settle: 'second' })
    sendFrom(world.senders[0], 1)
    const delivery = await receiver.receive()
    world.cut()
    const decided = settled(delivery.accept())
    expect(await decided).toBeInstanceOf(ClosedError)
  })
})

describe('what is begun meanwhile', () => {
  test('session, sender and receiver wait, and so do their signals', async () => {
    await using world = await reconnecting()
    const session = await world.near.session()
    world.refuse(true)
    world.cut()
    await world.state('waiting')
    const cancelled = settled(world.near.sender('no', { signal: AbortSignal.timeout(5) }))
    expect(await cancelled).toMatchObject({ name: 'TimeoutError' })
    const waiting = [world.near.sender('a'), session.receiver('b'), world.near.session()]
    world.refuse(false)
    expect(await Promise.all(waiting)).toHaveLength(3)
  })

  test('an attach that was not answered is sent again', async () => {
    let isFirst = true
    await using world = await reconnecting({
      onLink: async (link, { cut }) => {
        if (isFirst) cut()
        else await link.accept()
        isFirst = false
      },
    })
    const sender = await world.near.sender('q')
    expect(await sender.send(body(1), { settled: true })).toEqual({ outcome: 'accepted' })
  })
})

describe('links', () => {
  test('§2.6.3 a re-attach that is refused ends the link with that error, and nothing else', async () => {
    let links = 0
    await using world = await reconnecting({
      onLink: async link => {
        if (++links === 1) await link.accept()
        else if (links === 2) link.refuse({ condition: 'amqp:not-found' })
        else await link.accept()
      },
    })
    const sender = await world.near.sender('q')
    world.cut()
    expect(await sender.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:not-found' } })
    await world.near.sender('other')
  })

  test('§2.6.4 detach-forced: attached again on the same connection', async () => {
    await using world = await reconnecting()
    const sender = await world.near.sender('q')
    await (await world.receiver(0)).close({ error: { condition: 'amqp:link:detach-forced' } })
    await until(() => world.receivers.length === 2)
    const sent = sender.send(body(1))
    await (await (await world.receiver(1)).receive())?.accept()
    expect(await sent).toEqual({ outcome: 'accepted' })
    expect(world.far).toHaveLength(1)
    await (await world.receiver(1)).close({ error: { condition: 'amqp:resource-deleted' } })
    expect(await sender.closed).toMatchObject({ error: { condition: 'amqp:resource-deleted' } })
  })

  test('is told: a loss and a return, of the connection or of the link alone', async () => {
    await using world = await reconnecting()
    const sender = await world.near.sender('q')
    const receiver = await world.near.receiver('q')
    const told: string[] = []
    for (const [name, link] of Object.entries({ sender, receiver })) {
      const on: Emits<LinkEvents>['on'] = link.on.bind(link)
      on('suspended', ({ by, error }) => told.push(`${name} suspended ${by} ${error?.condition}`))
      on('restored', () => told.push(`${name} restored`))
      on('closed', ({ by }) => told.push(`${name} closed ${by}`))
    }
    await (await world.receiver(0)).close({ error: { condition: 'amqp:link:detach-forced' } })
    await until(() => told.length === 2)
    expect(told.splice(0)).toEqual(['sender suspended remote amqp:link:detach-forced', 'sender restored'])
    // However many attempts it takes, once.
    world.refuse(true)
    world.cut()
    await world.state('waiting', 3)
    expect(told.splice(0).sort()).toEqual([
      'receiver suspended transport undefined',
      'sender suspended transport undefined',
    ])
    world.refuse(false)
    await until(() => told.length === 2)
    expect(told.splice(0).sort()).toEqual(['receiver restored', 'sender restored'])
    await world.near.close()
    expect(told.sort()).toEqual(['receiver closed local', 'sender closed local'])
  })

  test('§2.8.18 detach-forced: an end like any other, where that is asked for', async () => {
    await using world = await reconnecting({ reconnect: { reattach: false } })
    const sender = await world.near.sender('q')
    await (await world.receiver(0)).close({ error: { condition: 'amqp:link:detach-forced' } })
    expect(await sender.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:link:detach-forced' } })
    await world.near.sender('q')
  })

  test('closing while there is no connection ends them here', async () => {
    await using world = await reconnecting()
    const [sender, receiver] = [await world.near.sender('q'), await world.near.receiver('q')]
    const session = await world.near.session()
    world.refuse(true)
    world.cut()
    await world.state('waiting')
    const held = settled(sender.send(body(1)))
    await Promise.all([sender.close(), receiver.detach(), session.end()])
    expect(await held).toBeInstanceOf(ClosedError)
    expect(await receiver.closed).toEqual({ by: 'local', error: undefined })
    world.refuse(false)
    await world.state('connected', 2)
    await pause(5)
    expect([world.receivers.length, world.senders.length]).toEqual([1, 1])
  })
})

describe('the end', () => {
  test('close() while it waits: everything ends at once', async () => {
    await using world = await reconnecting({ reconnect: { initialMs: 60_000, maxMs: 60_000 } })
    const sender = await world.near.sender('q')
    world.refuse(true)
    world.cut()
    await world.state('waiting')
    const held = settled(sender.send(body(1)))
    const later = settled(world.near.session())
    await world.near.close()
    expect(await world.near.closed).toEqual({ by: 'local', error: undefined })
    expect([await held, await later]).toEqual([expect.any(ClosedError), expect.any(ClosedError)])
    expect(world.states.at(-1)?.state).toBe('closed')
  })

  test('attempts are counted until a connection has lived long enough', async () => {
    await using world = await reconnecting({ reconnect: { attempts: 3 } })
    world.refuse(true)
    world.cut()
    expect(await world.near.closed).toMatchObject({ by: 'transport', error: expect.any(TransportError) })
    expect(world.states.map(({ state, attempt }) => `${state} ${attempt}`)).toEqual([
      'connected 0',
      ...[1, 2, 3].flatMap(attempt => [`waiting ${attempt}`, `connecting ${attempt}`]),
      'closed 3',
    ])
  })

  test('an error that lasts is the end', async () => {
    await using world = await reconnecting()
    await (await world.farEnd(0)).close({ error: { condition: 'amqp:not-allowed' } })
    expect(await world.near.closed).toMatchObject({ by: 'remote', error: expect.any(RemoteError) })
    expect(world.states.map(({ state }) => state)).toEqual(['connected', 'closed'])
  })

  test('a peer that closes politely, or is forced to, is met again', async () => {
    await using world = await reconnecting()
    await (await world.farEnd(0)).close()
    await until(() => world.far.length === 2)
    await (await world.farEnd(1)).close({ error: { condition: 'amqp:connection:forced' } })
    await world.state('connected', 3)
  })
})

test('a connection that was unref’ed holds no process while it waits, and holds it again after ref()', async () => {
  const timers = (): number => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
  await using world = await reconnecting({ reconnect: { initialMs: 1_000_000, maxMs: 1_000_000 } })
  world.near.unref()
  await pause(5)
  const before = timers()
  world.cut()
  await world.state('waiting')
  // The idle timer of the connection went with it.
  expect(timers()).toBeLessThanOrEqual(before)
  const waiting = timers()
  world.near.ref()
  expect(timers()).toBe(waiting + 1)
  world.near.unref()
  expect(timers()).toBe(waiting)
})
