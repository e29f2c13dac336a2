/** What `node:diagnostics_channel` hears, and that it hears no secrets. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect, test } from 'vitest'
import { connect } from '../../src/client/connect.ts'
import type {
  CreditMessage,
  FrameMessage,
  SettlementMessage,
  StateMessage,
} from '../../src/client/diagnostics/diagnostics.ts'
import { formatFrame } from '../../src/client/diagnostics/trace-format.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { joined } from './joined.ts'

/** A connection that sends one message, with listeners on all channels meanwhile. */
async function heard(channels: readonly string[]): Promise<Record<string, unknown[]>> {
  const messages: Record<string, unknown[]> = { frame: [], state: [], credit: [], settlement: [] }
  const listeners = channels.map(name => {
    const listener = (message: unknown) => void messages[name]?.push(message)
    subscribe(`fairlead:${name}`, listener)
    return () => unsubscribe(`fairlead:${name}`, listener)
  })
  const [a, b] = memoryPair()
  const listener = await listen({ port: null, containerId: 'far', sasl: [saslServer.plain(() => true)] })
  listener.accept(b).then(connection =>
    connection.on('session', async incoming =>
      (await incoming.accept()).on('link', async link => {
        if (link.remoteRole === 'sender') for await (const delivery of await link.accept()) await delivery.accept()
      }),
    ),
  )
  const connection = await connect({
    host: 'm',
    transport: a,
    containerId: 'near',
    sasl: sasl.plain('user', 'hunter2'),
  })
  const sender = await connection.sender('q', { name: 'l1' })
  await sender.send({ body: 'x' })
  await connection.close()
  await listener.close()
  for (const stop of listeners) stop()
  return messages
}

test('frames, states, credit and settlement are published, without secrets', async () => {
  const messages = await heard(['frame', 'state', 'credit', 'settlement'])
  const near = (messages['frame'] as FrameMessage[]).filter(frame => frame.connection === 'near')
  const text = near.map(frame => `${frame.direction} ${formatFrame(frame)}`)
  expect(text[0]).toBe('out AMQP 3 1.0.0')
  expect(text.find(line => line.includes('sasl-init'))).toMatch(
    /mechanism=PLAIN, initial-response=<13 bytes, not shown>/,
  )
  expect(text.some(line => /^out \[0\] transfer\(handle=0, delivery-id=0, .*\) \+ \d+ bytes$/.test(line))).toBe(true)
  for (const frame of messages['frame'] as FrameMessage[])
    for (const value of Object.values((frame.body ?? {}) as object))
      if (value instanceof Uint8Array) expect(Buffer.from(value).toString('latin1')).not.toContain('hunter2')
  const states = (messages['state'] as StateMessage[]).filter(state => state.connection === 'near')
  expect(states.map(({ scope, state }) => `${scope} ${state}`)).toEqual([
    'connection opened',
    'session opened',
    'link opened',
    'connection ended',
    'session ended',
    'link ended',
  ])
  // What goes down with the connection has its name, and its cause.
  expect(states.map(({ name }) => name)).toEqual(['far', '0', 'l1', 'far', '0', 'l1'])
  expect(states.slice(3).map(({ by }) => by)).toEqual(['local', 'local', 'local'])
  expect(messages['credit'] as CreditMessage[]).toContainEqual({
    connection: 'near',
    id: expect.any(Number),
    link: 'l1',
    linkCredit: 100,
    drain: false,
  })
  expect(messages['settlement'] as SettlementMessage[]).toEqual([
    { connection: 'near', id: states[0]?.id, link: 'l1', deliveryId: 0, outcome: 'accepted' },
  ])
})

test('nothing is published on channels that nobody hears', async () => {
  const messages = await heard(['settlement'])
  expect(messages['settlement']).toHaveLength(1)
  expect(messages['frame']).toHaveLength(0)
})

test('connections that share a container-id have numbers of their own', async () => {
  const first = (await heard(['settlement']))['settlement'] as SettlementMessage[]
  const second = (await heard(['settlement']))['settlement'] as SettlementMessage[]
  expect(first[0]?.id).toBeGreaterThan(0)
  expect(second[0]?.id).toBeGreaterThan(first[0]?.id as number)
})

test('what ends by itself is told once', async () => {
  const states: StateMessage[] = []
  const listener = (message: unknown) => void states.push(message as StateMessage)
  subscribe('fairlead:state', listener)
  await using ends = await joined()
  const far = ends.near.remote.containerId
  const session = await ends.near.session()
  const link = await session.sender('q', { name: 'l1' })
  await link.close()
  await session.receiver('q', { name: 'l2' })
  await session.end()
  await ends.near.close()
  unsubscribe('fairlead:state', listener)
  const own = states.filter(({ id }) => id === ends.near.id).filter(({ state }) => state === 'ended')
  expect(own.map(({ scope, name }) => `${scope} ${name}`)).toEqual([
    'link l1',
    'session 0',
    'link l2',
    `connection ${far}`,
  ])
})
