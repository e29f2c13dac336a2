/** The accepting end: its options count, and closures tell what the API says and no more. */

import { expect, test } from 'vitest'
import type { IncomingLink, Receiver } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { listen } from '../../src/client/serving/listen.ts'

test('§2.8.3 a receiver may accept a link to settle second although the sender asked for first', async () => {
  await using listener = await listen()
  const receiving = new Promise<Receiver>(resolve =>
    listener.on('connection', connection =>
      connection.on('session', async incoming => {
        const session = await incoming.accept()
        session.on('link', async (link: IncomingLink) => {
          if (link.remoteRole === 'sender') resolve(await link.accept({ settle: 'second' }))
        })
      }),
    ),
  )
  await using connection = await connect({ host: '127.0.0.1', port: listener.port })
  const sender = await connection.sender('q')
  const receiver = await receiving
  const outcome = sender.send({ body: 'twice' })
  const delivery = await receiver.receive()
  const accepting = delivery.accept()
  // Our sender has not settled yet, so that the delivery is neither settled nor accepted for good.
  expect(delivery.state).toBe('live')
  expect(await outcome).toEqual({ outcome: 'accepted' })
  await accepting
  expect(delivery.state).toBe('settled')
})

test('the closure of a session is `by` and `error`, like those of links and connections', async () => {
  await using listener = await listen()
  listener.on('connection', connection => connection.on('session', incoming => incoming.accept()))
  await using connection = await connect({ host: '127.0.0.1', port: listener.port })
  const session = await connection.session()
  await session.end()
  expect(Object.keys(await session.closed).sort()).toEqual(['by', 'error'])
})
