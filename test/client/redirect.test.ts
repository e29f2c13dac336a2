/** Redirects: what an error says of another place, and connections that follow it. §2.8.16 §2.8.18 */

import { afterEach, describe, expect, test } from 'vitest'
import type { Listener } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { redirectTarget } from '../../src/client/redirect.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ConnectionCondition, LinkCondition, RemoteError, SaslError, UsageError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { type AmqpValue, ushort } from '../../src/types/values.ts'
import { joined, settled } from './joined.ts'

const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

type Info = Record<string, AmqpValue>

/** Redirects every connection, as brokers do: announced in the open, said in the close. */
async function redirecting(info: Info, sasl = [saslServer.anonymous()]): Promise<Listener> {
  const listener = await listen({ sasl, properties: { 'amqp:connection-establishment-failed': true } })
  opened.push(listener)
  listener.on('connection', connection =>
    connection.close({ error: { condition: ConnectionCondition.redirect, info } }),
  )
  listener.on('error', () => {})
  return listener
}

async function serving(sasl = [saslServer.anonymous()]): Promise<Listener> {
  const listener = await listen({ sasl, containerId: 'the other' })
  opened.push(listener)
  listener.on('connection', () => {})
  return listener
}

const place = (port: number, hostname?: string): Info => ({
  'network-host': '127.0.0.1',
  port: ushort(port),
  ...(hostname ? { hostname } : {}),
})

const target = (condition: string, info?: Record<string, unknown>) =>
  new RemoteError('it', 'link', { condition, info: info && new Map(Object.entries(info)) }).redirect

describe('what an error says', () => {
  test('§2.8.16 §2.8.18 host, name, port, and of links the address', () => {
    const info = { hostname: 'b', 'network-host': '10.0.0.1', port: 5671, address: 'q2' }
    expect(target(LinkCondition.redirect, info)).toEqual({
      hostname: 'b',
      networkHost: '10.0.0.1',
      port: 5671,
      address: 'q2',
    })
    expect(target(ConnectionCondition.redirect, info)).toMatchObject({ hostname: 'b', address: undefined })
    expect(target(LinkCondition.redirect, { address: 'q2', hostname: null })).toMatchObject({ hostname: undefined })
  })

  test.each<[string, Record<string, unknown> | undefined]>([
    ['no info', undefined],
    ['no place', {}],
    ['a port alone', { port: 1 }],
    ['a name that is none', { hostname: 7 }],
    ['an empty name', { 'network-host': '' }],
    ['a port beyond 65,535', { hostname: 'b', port: 65_536 }],
    ['a port that is text', { hostname: 'b', port: '5671' }],
    ['port 0', { hostname: 'b', port: 0 }],
    ['an address that is none', { address: 1n }],
  ])('§2.8.18 %s: no target, and nothing is thrown', (_, info) => {
    expect(target(LinkCondition.redirect, info)).toBeUndefined()
  })

  test('other conditions have no target', () => {
    expect(target(LinkCondition.stolen, { hostname: 'b' })).toBeUndefined()
  })

  test('§2.8.18 who attaches a link that is elsewhere hears where', async () => {
    const info = { 'network-host': 'h2', port: ushort(5671), address: 'q2' }
    await using ends = await joined({
      onLink: link => link.refuse({ condition: LinkCondition.redirect, description: 'moved', info }),
    })
    const error = (await settled(ends.near.sender('q1'))) as RemoteError
    expect(error).toBeInstanceOf(RemoteError)
    expect(error.redirect).toEqual({ hostname: undefined, networkHost: 'h2', port: 5671, address: 'q2' })
    expect(redirectTarget({ ...error.redirect, hostname: 'n2' } as never, { host: 'h1', tls: true })).toMatchObject({
      host: 'h2',
      hostname: 'n2',
      port: 5671,
      tls: { servername: 'n2' },
    })
  })
})

describe('followRedirects', () => {
  test('§2.8.16 0, the default: the connection is closed, and its error says where to', async () => {
    const { port } = await redirecting(place(1234))
    const connection = await connect({ host: '127.0.0.1', port })
    const { error } = await connection.closed
    expect((error as RemoteError).redirect).toMatchObject({ networkHost: '127.0.0.1', port: 1234 })
  })

  test('§2.8.16 goes there, with the name for the open, and asks for the credentials of that name', async () => {
    const { port } = await serving()
    const first = await redirecting(place(port, 'other.example'))
    const hosts: string[] = []
    const frames: unknown[] = []
    const connection = await connect({
      host: '127.0.0.1',
      port: first.port,
      followRedirects: 1,
      sasl: host => {
        hosts.push(host)
        return sasl.anonymous()
      },
      trace: ({ body, direction }) => direction === 'out' && frames.push(body),
    })
    expect(connection.remote.containerId).toBe('the other')
    expect(hosts).toEqual(['127.0.0.1', 'other.example'])
    await connection.close()
    const opens = frames.filter(body => (body as { type?: string })?.type === 'open')
    expect(opens).toMatchObject([{ hostname: '127.0.0.1' }, { hostname: 'other.example' }])
  })

  test('one too many rejects with it: two that redirect to each other end', async () => {
    let count = 0
    const info = place(1)
    const listener = await redirecting(info)
    info['port'] = ushort(listener.port)
    listener.on('connection', () => count++)
    const error = await settled(connect({ host: '127.0.0.1', port: listener.port, followRedirects: 3 }))
    expect(error).toBeInstanceOf(RemoteError)
    expect(error).toMatchObject({ condition: ConnectionCondition.redirect })
    expect(count).toBe(4)
  })

  test('a redirect without a target, or on a transport that was given, rejects with it', async () => {
    const { port } = await redirecting({ port: ushort(7) })
    const nowhere = await settled(connect({ host: '127.0.0.1', port, followRedirects: 1 }))
    expect(nowhere).toMatchObject({ code: 'ERR_AMQP_REMOTE', redirect: undefined })
    const [a, b] = memoryPair()
    const listener = await redirecting(place(1))
    void listener
      .accept(b)
      .then(far => far.close({ error: { condition: ConnectionCondition.redirect, info: place(1) } }))
    const given = await settled(connect({ host: 'memory', transport: a, followRedirects: 1 }))
    expect(given).toMatchObject({ code: 'ERR_AMQP_REMOTE', redirect: { port: 1 } })
  })

  test('a secret goes to no other name, unless `sasl` decides by host', async () => {
    const plain = [saslServer.plain(user => user === 'ann')]
    const { port } = await serving(plain)
    const elsewhere = await redirecting(place(port, 'other.example'), plain)
    const ann = sasl.plain('ann', 'secret')
    const how = { host: '127.0.0.1', port: elsewhere.port, followRedirects: 1, allowInsecureAuth: true }
    const error = (await settled(connect({ ...how, sasl: ann }))) as Error
    expect(error).toBeInstanceOf(SaslError)
    expect(error.message).toContain('other.example')
    expect(error.cause).toBeInstanceOf(RemoteError)
    const connection = await connect({ ...how, sasl: () => ann })
    expect(connection.remote.containerId).toBe('the other')
    await connection.close()
    // To the same name, on another port, it does.
    const same = await redirecting(place(port), plain)
    await (await connect({ ...how, port: same.port, sasl: ann })).close()
  })

  test('a peer that stays is not waited for; a number that is none is a UsageError', async () => {
    const { port } = await serving()
    await (await connect({ host: '127.0.0.1', port, followRedirects: 2 })).close()
    expect(await settled(connect({ host: '127.0.0.1', port, followRedirects: -1 }))).toBeInstanceOf(UsageError)
  })

  test('§5.2 TLS stays TLS on another port, and plain stays plain', () => {
    const redirect = { hostname: undefined, networkHost: 'h2', port: 5672, address: undefined }
    expect(redirectTarget(redirect, { host: 'h', tls: { ca: 'x' } })).toMatchObject({
      tls: { ca: 'x', servername: 'h2' },
    })
    expect(redirectTarget(redirect, { host: 'h', tls: false })).toMatchObject({ tls: false, host: 'h2' })
    const addressed = { hostname: undefined, networkHost: undefined, port: undefined, address: 'q' }
    expect(redirectTarget(addressed, { host: 'h', port: 9 })).toMatchObject({ host: 'h', hostname: 'h', port: 9 })
  })
})
