/** Reconnecting, as others have got it wrong: rhea 3.0.5, rhea-promise 3.0.3. */

import { expect, test } from 'vitest'
import type { Connection } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { settled } from '../client/joined.ts'
import { reconnecting, said } from '../client/reconnecting.ts'
import { pause, until } from '../waiting.ts'
import { uncaught } from './uncaught.ts'

test('rhea 3.0.5: a peer that closes right after open is not met 164 times in two seconds', async () => {
  let connections = 0
  const listener = await listen({ host: '127.0.0.1' })
  listener.on('connection', async connection => {
    connections++
    await connection.close()
  })
  const near = await connect(`amqp://127.0.0.1:${listener.port}`, { reconnect: { initialMs: 10 } })
  await until(() => connections > 1)
  await pause(1000)
  // Some eight waits of growing bounds fit into a second.
  expect(connections).toBeLessThan(20)
  await near.close()
  await listener.close()
})

test('rhea-promise 3.0.3: delivery-ids that begin anew; every send across a reconnect gets one answer, its own', async () => {
  await using world = await reconnecting()
  const sender = await world.near.sender('q')
  const old = settled(sender.send({ body: { value: 1 } }))
  await (await world.receiver(0)).receive()
  world.cut()
  await until(() => world.receivers.length === 2)
  const answers: unknown[] = []
  const fresh = sender.send({ body: { value: 2 } }).then(outcome => answers.push(outcome))
  const delivery = await (await world.receiver(1)).receive()
  expect(delivery && said(delivery)).toBe(2)
  // It has the same delivery-id as the one before.
  expect(await old).toMatchObject({ code: 'ERR_AMQP_CLOSED', scope: 'delivery' })
  expect(answers).toEqual([])
  await delivery?.reject()
  await fresh
  expect(answers).toEqual([{ outcome: 'rejected', error: undefined }])
})

test('a listener that is killed and started again on its port; further hosts; nothing is left behind', async () => {
  const before = process
    .getActiveResourcesInfo()
    .filter(name => name !== 'Immediate')
    .sort()
  const first = await listen({ host: '127.0.0.1' })
  const { port } = first
  const near: Connection = await connect('amqp://127.0.0.1:1', {
    hosts: [`127.0.0.1:${port}`],
    reconnect: { initialMs: 5, maxMs: 20 },
  })
  const serve = (listener: typeof first): void => {
    listener.on('connection', connection =>
      connection.on('session', async incoming =>
        (await incoming.accept()).on('link', async link => {
          if (link.remoteRole !== 'sender') return
          for await (const delivery of await link.accept()) await delivery.accept()
        }),
      ),
    )
  }
  serve(first)
  const sender = await near.sender('q')
  expect(await sender.send({ body: 'one' })).toEqual({ outcome: 'accepted' })
  await first.close()
  const held = sender.send({ body: 'two' })
  await pause(50)
  const second = await listen({ host: '127.0.0.1', port })
  serve(second)
  expect(await held).toEqual({ outcome: 'accepted' })
  await near.close()
  await second.close()
  await until(
    () =>
      process.getActiveResourcesInfo().filter(name => name !== 'Immediate' && name !== 'Timeout').length <=
      before.length,
  )
})

test('rhea 3.0.5: an exception in the handler of a message costs no connection, also where that would be made again', async () => {
  using caught = uncaught()
  await using world = await reconnecting()
  const receiver = await world.near.receiver('q')
  const failures: unknown[] = []
  const stop = new AbortController()
  const fail = () => {
    throw new Error('a bug of the application')
  }
  const done = settled(receiver.process(fail, { signal: stop.signal, onError: error => failures.push(error) }))
  const outcome = await (await world.sender(0)).send({ body: { value: 1 } })
  expect(outcome).toMatchObject({ outcome: 'modified', deliveryFailed: true })
  const loop = (async () => {
    for await (const _ of await world.near.receiver('r')) fail()
  })()
  await until(() => world.senders.length === 2)
  void settled((await world.sender(1)).send({ body: { value: 2 } }) as Promise<unknown>)
  await expect(loop).rejects.toThrow('a bug of the application')
  stop.abort('enough')
  await done
  expect([failures.length, world.far.length, caught.errors]).toEqual([1, 1, []])
  expect(world.states.map(({ state }) => state)).toEqual(['connected'])
})

test('rhea 3.0.5, rhea-promise 3.0.3: sends in flight across a reconnect are each told, at the loss and not by a timer', async () => {
  await using world = await reconnecting()
  const sender = await world.near.sender('q')
  const sends = [1, 2, 3].map(value => settled(sender.send({ body: { value } })))
  await (await world.receiver(0)).receive()
  world.refuse(true)
  world.cut()
  expect(await Promise.all(sends)).toEqual(
    Array(3).fill(expect.objectContaining({ code: 'ERR_AMQP_CLOSED', scope: 'delivery' })),
  )
  expect(world.states.some(({ state }) => state === 'restored')).toBe(false)
})

test('rhea-promise 3.0.3: close() and end() settle when the connection is lost meanwhile, and when there is none', async () => {
  for (const before of [true, false]) {
    await using world = await reconnecting()
    const session = await world.near.session()
    const [sender, receiver] = [await session.sender('q'), await world.near.receiver('r')]
    void settled(sender.send({ body: { value: 1 } }))
    await pause(5)
    world.refuse(true)
    const close = (): Promise<unknown>[] =>
      [sender.close(), receiver.close(), session.end(), world.near.close()].map(settled)
    if (before) world.cut()
    if (before) await world.state('waiting')
    const closing = close()
    world.cut()
    expect(await Promise.all(closing)).toHaveLength(4)
    expect(await world.near.closed).toMatchObject({ error: before ? undefined : expect.anything() })
    expect(await sender.closed).toBeDefined()
  }
})
