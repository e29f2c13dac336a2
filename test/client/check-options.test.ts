/** Options and events that do not exist, or are out of range: said before anything is opened. */

import { describe, expect, test } from 'vitest'
import type { Emits } from '../../src/client/api-events.ts'
import { connect } from '../../src/client/connect.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { header, properties } from '../../src/definitions/sections.ts'
import { EncodeError, UsageError } from '../../src/errors.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { joined, settled } from './joined.ts'

/** Options that neither end takes, and what is said. */
const WRONG: readonly (readonly [object, string])[] = [
  [{ maxFramesize: 1000 }, 'named "maxFramesize"'],
  [{ limits: { maxMessagesize: 5 } }, 'there is no limit named "maxMessagesize"'],
  [{ maxFrameSize: 100 }, 'maxFrameSize is an integer from 512'],
  [{ maxFrameSize: 1000.5 }, 'maxFrameSize'],
  [{ channelMax: 65_536 }, 'channelMax'],
  [{ idleTimeOut: -1 }, 'idleTimeOut is an integer from 0'],
  [{ port: 65_536 }, 'port is an integer'],
  [{ port: '5672' }, 'port is an integer'],
  [{ signal: {} }, 'a signal is an AbortSignal'],
]

describe.each(WRONG)('%j', (options, why) => {
  test('is refused by connect, before a transport is asked for anything', async () => {
    const error = await settled(connect({ host: '127.0.0.1', proxy: asked, ...options } as never))
    expect(error).toBeInstanceOf(UsageError)
    expect(String(error)).toContain(why)
  })

  test('is refused by listen', async () => {
    const error = await settled(listen(options as never))
    expect(error).toBeInstanceOf(UsageError)
    expect(String(error)).toContain(why)
  })
})

const asked = (): never => {
  throw new Error('a proxy was asked')
}

test('what is undefined was not given; port 0 is for listeners alone', async () => {
  await using listener = await listen({ port: 0, maxFramesize: undefined } as never)
  expect(listener.port).toBeGreaterThan(0)
  expect(await settled(connect({ host: '127.0.0.1', port: 0 }))).toBeInstanceOf(UsageError)
})

test.each([
  [{ maxTermini: -1 }, 'termini.maxTermini is a number from 0 on, not -1'],
  [{ maxSeconds: Number.NaN }, 'termini.maxSeconds is a number from 0 on, not NaN'],
  [{ maxTerminus: 1 }, 'there is no option of termini named "maxTerminus"'],
])('what termini cannot be kept with: %j', async (termini, message) => {
  expect(await settled(listen({ port: null, termini } as never))).toMatchObject({ code: 'ERR_AMQP_USAGE', message })
})

test('events that are not there, listeners that are none', async () => {
  await using ends = await joined()
  const { near, listener } = ends
  const sender = await near.sender('q')
  const receiver = await near.receiver('q')
  for (const [emitter, names] of [
    [near, 'closed, session'],
    [sender.session, 'closed, link'],
    [sender, 'closed, suspended, restored, credit'],
    [receiver, 'closed, suspended, restored'],
    [listener, 'connection, error'],
  ] as const) {
    const on = (type: string, listener: unknown, options = {}) =>
      (emitter as Emits<Record<string, unknown>>).on(type, listener as never, options)
    expect(() => on('close', () => {})).toThrow(`there is no event "close" here, only ${names}`)
    const [name = ''] = names.split(', ')
    expect(() => on(name, undefined)).toThrow('a listener is a function')
    expect(() => on(name, () => {}, { signal: {} })).toThrow('a signal is an AbortSignal')
  }
  for (const operation of [sender.send({ body: 'x' }, { signal: {} as never }), near.session({ signal: {} as never })])
    expect(await settled(operation)).toBeInstanceOf(UsageError)
})

test('a message whose body has another name', () => {
  expect(() => encodeMessage({ content: 'x' } as never)).toThrow(EncodeError)
  expect(() => encodeMessage({ properties: {}, application_properties: {} } as never)).toThrow(
    expect.objectContaining({ path: 'application_properties' }),
  )
  expect(encodeMessage({}).length).toBe(5)
})

test.each([
  [{ body: 'x', appProperties: {} }, 'appProperties', 'there is no section of that name, only header, '],
  [
    { body: 'x', properties: { contenttype: 'a/b' } },
    'properties.contenttype',
    'there is no field of that name, only m',
  ],
  [{ body: 'x', properties: { type: 'order' } }, 'properties.type', 'there is no field of that name'],
  [{ body: 'x', header: { Durable: true } }, 'header.Durable', 'there is no field of that name, only durable, '],
])('names in a message that mean nothing: %j', async (message, path, reason) => {
  await using ends = await joined()
  const sender = await ends.near.sender('q')
  const streamed = { ...message, body: new Response('x').body }
  for (const given of [message, streamed]) {
    const error = await settled(sender.send(given as never))
    expect(error).toMatchObject({ code: 'ERR_AMQP_ENCODE', path, reason: expect.stringContaining(reason) })
  }
  expect(sender.pending).toBe(0)
})

test('every name that means something is known; undefined, null and inherited ones mean nothing', () => {
  const nothing = (names: readonly string[]) => Object.fromEntries(names.map(name => [name, undefined]))
  const names = (table: { fields: readonly { key: string }[] }) => table.fields.map(({ key }) => key)
  for (const [section, table] of Object.entries({ header, properties })) {
    for (const name of names(table))
      expect(() => encodeMessage({ [section]: { [name]: Symbol('no value') } } as never)).toThrow(
        expect.not.objectContaining({ reason: expect.stringContaining('of that name') }),
      )
    const only = expect.objectContaining({ reason: expect.stringContaining(`only ${names(table).join(', ')}`) })
    expect(() => encodeMessage({ [section]: { other: 1 } } as never)).toThrow(only)
  }
  const odd = Object.assign(Object.create({ inherited: 1 }), { body: 'x', appProperties: null, ...nothing(['singal']) })
  expect(encodeMessage(odd)).toEqual(encodeMessage({ body: 'x' }))
  const given = { header: { ttl: 5 }, properties: { subject: 's' }, footer: { a: 1 }, body: 'x' }
  const bytes = encodeMessage(given)
  expect(encodeMessage(decodeMessage(bytes).toInit())).toEqual(bytes)
})

test.each([{ singal: AbortSignal.abort() }, { settle: 'settled' }])(
  'options of send that mean nothing: %j',
  async wrong => {
    await using ends = await joined()
    const sender = await ends.near.sender('q')
    const error = await settled(sender.send({ body: 'x' }, wrong as never))
    expect(error).toBeInstanceOf(UsageError)
    expect(String(error)).toContain(
      `there is no option of send named "${Object.keys(wrong)}", only signal, settled, transaction, deliveryTag, messageFormat`,
    )
    expect(sender.pending).toBe(0)
    await sender.send({ body: 'x' }, { settled: true, settle: undefined } as never)
  },
)

test('the connections of a listener are of one container', async () => {
  await using listener = await listen()
  listener.on('connection', () => {})
  await using one = await connect(`amqp://127.0.0.1:${listener.port}`)
  await using two = await connect(`amqp://127.0.0.1:${listener.port}`)
  expect(one.remote.containerId).toBe(two.remote.containerId)
})
