/** Messages that are no AMQP, to whoever takes links in a listener: the link ends, and nothing else. §2.8.15 */

import { expect, test } from 'vitest'
import type { Delivery } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { DecodeError } from '../../src/errors.ts'
import { EncodedMessage } from '../../src/message/encode.ts'
import { until } from '../waiting.ts'
import { joined, settled } from './joined.ts'

const GARBAGE = new EncodedMessage(Uint8Array.of(0, 0x53, 0x77))
const read = (delivery: Delivery) => {
  void delivery.message.body
  return delivery.accept()
}

test('a listener of links that fails on one closes its link with amqp:decode-error; other links go on', async () => {
  await using ends = await joined({
    onLink: async link => {
      if (link.remoteRole === 'sender') for await (const delivery of await link.accept()) await read(delivery)
    },
  })
  const bad = await ends.near.sender('bad')
  const good = await ends.near.sender('good')
  const error = await settled(bad.send(GARBAGE))
  expect(error).toMatchObject({ code: 'ERR_AMQP_CLOSED', condition: 'amqp:decode-error' })
  expect(await bad.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:decode-error' } })
  expect((await bad.closed).error?.message).toContain(' at byte ')
  expect(await good.send({ body: 'x' })).toEqual({ outcome: 'accepted' })
})

test('a link that has not been taken is refused with it', async () => {
  await using ends = await joined({
    onLink: () => {
      throw new DecodeError('nothing of it', 3)
    },
  })
  const error = await settled(ends.near.sender('q'))
  expect(error).toMatchObject({ condition: 'amqp:decode-error', description: 'nothing of it at byte 3' })
})

test('a listener of sessions ends the connection with it', async () => {
  await using ends = await joined({ onLink: null })
  ends.far.on('session', async incoming => {
    for await (const link of (await incoming.accept()).incoming())
      if (link.remoteRole === 'sender') for await (const delivery of await link.accept()) await read(delivery)
  })
  const sender = await ends.near.sender('q')
  void settled(sender.send(GARBAGE))
  expect(await ends.near.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:decode-error' } })
})

test('and so does one of connections', async () => {
  await using listener = await listen()
  listener.on('connection', () => {
    throw new DecodeError('nothing of it', 0)
  })
  const connection = await connect({ host: '127.0.0.1', port: listener.port })
  expect(await connection.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:decode-error' } })
})

test('a handler of `links` that could not read: the listener hears of which link and which peer', async () => {
  const heard: unknown[] = []
  await using listener = await listen({
    links: async link => {
      if (link.remoteRole === 'sender') for await (const delivery of await link.accept()) await read(delivery)
    },
  })
  listener.on('error', error => heard.push(error))
  const connection = await connect({ host: '127.0.0.1', port: listener.port })
  const sender = await connection.sender('q', { name: 'bad' })
  expect(await settled(sender.send(GARBAGE))).toMatchObject({ condition: 'amqp:decode-error' })
  await until(() => heard.length > 0)
  expect(heard).toMatchObject([{ code: 'ERR_AMQP_PROTOCOL', scope: 'link', cause: { code: 'ERR_AMQP_DECODE' } }])
  expect(String(heard[0])).toMatch(/: link 'bad' of 127\.0\.0\.1:\d+: .* at byte \d+$/)
  await connection.close()
})
