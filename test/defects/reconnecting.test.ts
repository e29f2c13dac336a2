/** Reconnecting, as others have got it wrong: rhea 3.0.5, rhea-promise 3.0.3. */

import { expect, test } from 'vitest'
import type { Connection } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { listen } from '../../src/client/listen.ts'
import { settled, turn } from '../client/joined.ts'
import { reconnecting, said, until } from '../client/reconnecting.ts'

test('rhea 3.0.5: a peer that closes right after open is not met 164 times in two seconds', async () => {
  let connections = 0
  const listener = await listen({ host: '127.0.0.1' })
  listener.on('connection', async connection => {
    connections++
    await connection.close()
  })
  const near = await connect(`amqp://127.0.0.1:${listener.port}`, { reconnect: { initialMs: 10 } })
  await turn(1000)
  // Some eight waits of growing bounds fit into a second.
  expect(connections).toBeGreaterThan(1)
  expect(connections).toBeLessThan(20)
  await near.close()
  await listener.close()
})

test('rhea-promise 3.0.3: delivery-ids that begin anew; every send across a reconnect gets one answer, its own', async () => {
  await using world = await reconnecting()
  const sender = await world.near.sender('q')
  const old = settled(sender.send({ body: { value: 1 } }))
  await world.receivers[0]?.receive()
  world.cut()
  await until(() => world.receivers.length === 2)
  const answers: unknown[] = []
  const fresh = sender.send({ body: { value: 2 } }).then(outcome => answers.push(outcome))
  const delivery = await world.receivers[1]?.receive()
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
  await turn(50)
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
