/** What console.log shows of the objects that users hold: a line, no internals, no secrets. */

import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import type { Connection } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'

test('connection, session, sender, receiver, delivery, listener', async () => {
  await using listener = await listen({ sasl: [saslServer.plain((_user, password) => password === 'hunter2')] })
  const far = new Promise<Connection>(resolve => listener.on('connection', resolve))
  const connection = await connect({
    host: '127.0.0.1',
    port: listener.port,
    sasl: sasl.plain('ann', 'hunter2'),
    allowInsecureAuth: true,
    containerId: 'near',
  })
  const server = await far
  server.on('session', async incoming => {
    const session = await incoming.accept()
    session.on('link', async link => {
      if (link.remoteRole === 'receiver') (await link.accept()).send({ body: 'x' }).catch(() => {})
      else await link.accept()
    })
  })
  const session = await connection.session()
  const sender = await session.sender('q1', { name: 'out' })
  const receiver = await session.receiver('q2', { name: 'in' })
  const delivery = await receiver.receive()
  expect(inspect(connection)).toMatch(/^Connection \{ containerId: 'near', remote: '[-\w]+', state: 'open' \}$/)
  expect(inspect(server)).toMatch(/^Connection \{ containerId: '[-\w]+', remote: 'near', state: 'open' \}$/)
  expect(inspect(session)).toBe("Session { links: 2, state: 'open' }")
  expect(inspect(sender)).toMatch(
    /^Sender \{ name: 'out', source: .*, target: 'q1', linkCredit: \d+, state: 'open' \}$/,
  )
  expect(inspect(receiver)).toMatch(/^Receiver \{ name: 'in', source: 'q2', target: .*, state: 'open' \}$/)
  expect(inspect(delivery)).toBe("Delivery { link: 'in', bytes: 6, state: 'live' }")
  expect(inspect(listener)).toBe(`Listener { port: ${listener.port}, connections: 1 }`)
  expect(inspect({ connection, server, session, sender, receiver, delivery, listener }, { depth: 9 })).not.toContain(
    'hunter2',
  )
  await connection.close()
  for (const ended of [connection, session, sender, receiver]) expect(inspect(ended)).toContain("state: 'ended'")
})
