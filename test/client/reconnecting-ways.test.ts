/** The ways by which a lost connection is made again: hosts, redirects, proxies, WebSockets, credentials, pipelining. */

import { once } from 'node:events'
import { createServer, connect as dialTcp } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocketServer, WebSocket as WsSocket } from 'ws'
import type { Connection, Listener } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ConnectOptions, ListenOptions } from '../../src/client/options.ts'
import type { ConnectionState } from '../../src/client/recovery/back-off.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ConnectionCondition, SaslError, TransportError, UsageError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { webSocketTransport } from '../../src/io/websocket.ts'
import { ushort } from '../../src/types/values.ts'
import { pause, until } from '../waiting.ts'
import { settled } from './joined.ts'
import { QUICK } from './reconnecting.ts'

const opened: (() => unknown)[] = []
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})

interface Server {
  readonly listener: Listener
  readonly port: number
  readonly connections: Connection[]
  /** Drops every transport; there is one at least. */
  cut(): Promise<void>
}

/** A listener that accepts every message. */
async function serving(options: ListenOptions = {}): Promise<Server> {
  const connections: Connection[] = []
  const listener = await listen({
    ...options,
    links: async link => {
      if (link.remoteRole === 'receiver') return void (await link.accept())
      for await (const delivery of await link.accept()) await delivery.accept()
    },
  })
  opened.push(() => listener.close())
  listener.on('connection', connection => void connections.push(connection))
  listener.on('error', () => {})
  const cut = async (): Promise<void> => {
    await until(() => connections.length > 0)
    for (const connection of connections.splice(0)) (connection as unknown as { destroy(): void }).destroy()
  }
  return { listener, port: listener.port, connections, cut }
}

/** Sends every connection to another port, announced in the open. */
async function redirecting(port: () => number): Promise<Server> {
  const connections: Connection[] = []
  const listener = await listen({ properties: { 'amqp:connection-establishment-failed': true } })
  opened.push(() => listener.close())
  listener.on('connection', connection => {
    connections.push(connection)
    const info = { 'network-host': '127.0.0.1', port: ushort(port()) }
    return connection.close({ error: { condition: ConnectionCondition.redirect, info } })
  })
  return { listener, port: listener.port, connections, cut: async () => {} }
}

interface Near {
  readonly near: Connection
  readonly states: ConnectionState[]
  /** Resolves when it knows that it has been lost, so many times by now. */
  lost(times?: number): Promise<void>
}

async function connected(options: Partial<ConnectOptions>): Promise<Near> {
  const states: ConnectionState[] = []
  const { reconnect, ...rest } = options
  const near = await connect({
    host: '127.0.0.1',
    ...rest,
    reconnect: { ...QUICK, ...reconnect, onStateChange: state => states.push(state) },
  })
  opened.push(() => near.close())
  const isLoss = ({ state, attempt }: ConnectionState, i: number) =>
    state === 'waiting' && (attempt === 1 || states[i - 1]?.state !== 'connecting')
  return { near, states, lost: (times = 1) => until(() => states.filter(isLoss).length >= times) }
}

const accepted = { outcome: 'accepted' }

describe('what cannot be done again is refused at once', () => {
  test.each<[string, object]>([
    ['a transport, which is used up', { transport: memoryPair()[0], reconnect: {} }],
    ['no options at all', { reconnect: true }],
    ['a name that means nothing', { reconnect: { retries: 3 } }],
    ['a number out of range', { reconnect: { maxMs: -1 } }],
    ['a hook that is no function', { reconnect: { onReopened: 'yes' } }],
    ['hosts that are no list', { hosts: 'other' }],
    ['hosts that are no hosts', { hosts: ['a:b:c'] }],
    ['hosts that are no text', { hosts: [5672] }],
  ])('%s', async (_, options) => {
    expect(await settled(connect({ host: 'h', ...options } as ConnectOptions))).toBeInstanceOf(UsageError)
  })
})

describe('hosts', () => {
  test('in order, each once, at first and for each attempt; IPv6 in brackets, the port by default', async () => {
    const [one, two] = [await serving(), await serving()]
    const dead = 1
    const { near, lost } = await connected({ port: dead, hosts: [`127.0.0.1:${one.port}`, `127.0.0.1:${two.port}`] })
    expect(near.remoteAddress).toContain(`:${one.port}`)
    await one.listener.close()
    await lost()
    const sender = await near.sender('q')
    expect(near.remoteAddress).toContain(`:${two.port}`)
    expect(await sender.send({ body: 'x' })).toEqual(accepted)
    const error = await settled(connect({ host: '127.0.0.1', port: dead, hosts: ['[::1]:1', '127.0.0.1'] }))
    expect(error).toBeInstanceOf(TransportError)
  })

  test('an error that no other host mends is thrown at once', async () => {
    const [one, two] = [await serving({ sasl: [saslServer.plain(() => false)] }), await serving()]
    const options = { allowInsecureAuth: true, sasl: sasl.plain('ann', 'x'), hosts: [`127.0.0.1:${two.port}`] }
    expect(await settled(connect({ host: '127.0.0.1', port: one.port, ...options }))).toBeInstanceOf(SaslError)
    await pause(20)
    expect(two.connections).toEqual([])
  })
})

describe('§5.3 credentials', () => {
  test('are asked for anew, by the host’s name, for each attempt; they may take their time, and fail', async () => {
    const shown: string[] = []
    const server = await serving({ sasl: [saslServer.plain((_, password) => shown.push(password) > 0)] })
    const asked: string[] = []
    const { near, states, lost } = await connected({
      port: server.port,
      allowInsecureAuth: true,
      sasl: async host => {
        asked.push(host)
        await pause(2)
        if (asked.length === 2) throw new Error('the token service is away')
        return sasl.plain('ann', `token ${asked.length}`)
      },
    })
    const sender = await near.sender('q')
    await server.cut()
    await lost()
    expect(await sender.send({ body: 'x' }, { settled: true })).toEqual(accepted)
    expect(asked).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.1'])
    expect(shown).toEqual(['token 1', 'token 3'])
    expect(states.find(({ attempt }) => attempt === 2)?.error?.message).toContain('the token service is away')
  })

  test('that fail inside of a mechanism are asked for again, too; those that are refused are not', async () => {
    let good = true
    const server = await serving({ sasl: [saslServer.plain(() => good)] })
    let count = 0
    const { near, lost } = await connected({
      port: server.port,
      allowInsecureAuth: true,
      sasl: () => {
        const plain = sasl.plain('ann', 'x')
        if (++count !== 2) return plain
        return {
          ...plain,
          name: plain.name,
          start: () => ({ ...plain, initial: () => Promise.reject(new Error('away')) }) as never,
        }
      },
    })
    await server.cut()
    await lost()
    await until(() => count === 3)
    await near.sender('q')
    good = false
    await server.cut()
    expect(await near.closed).toMatchObject({ error: { code: 'ERR_AMQP_SASL', outcome: 'auth' } })
  })

  test('that never come do not keep connect from being cancelled, nor close from ending it', async () => {
    const server = await serving()
    let isSlow = false
    const slow = () => (isSlow ? new Promise<never>(() => {}) : sasl.anonymous())
    const { near, lost } = await connected({ port: server.port, sasl: slow })
    isSlow = true
    const error = settled(connect({ host: '127.0.0.1', port: server.port, sasl: slow, signal: AbortSignal.timeout(5) }))
    expect(await error).toMatchObject({ name: 'TimeoutError' })
    await server.cut()
    await lost()
    await pause(10)
    await near.close()
    expect(await near.closed).toEqual({ by: 'local', error: undefined })
  })
})

describe('§2.8.16 redirects', () => {
  test('are followed at each attempt, from the first host on', async () => {
    let to: Server = await serving()
    const door = await redirecting(() => to.port)
    const { near, states, lost } = await connected({ port: door.port, followRedirects: 1 })
    const sender = await near.sender('q')
    expect(near.remoteAddress).toContain(`:${to.port}`)
    const old = to
    to = await serving()
    await old.listener.close()
    await lost()
    expect(await sender.send({ body: 'x' }, { settled: true })).toEqual(accepted)
    expect(near.remoteAddress).toContain(`:${to.port}`)
    expect(door.connections.length).toBeGreaterThan(1)
    expect(states.filter(({ state }) => state === 'connected')).toHaveLength(2)
  })

  test('that come later lead there, too', async () => {
    const [one, two] = [await serving(), await serving()]
    const { near, lost } = await connected({ port: one.port, followRedirects: 1 })
    const sender = await near.sender('q')
    const info = { 'network-host': '127.0.0.1', port: ushort(two.port) }
    await until(() => one.connections.length > 0)
    await one.connections[0]?.close({ error: { condition: ConnectionCondition.redirect, info } })
    await lost()
    expect(await sender.send({ body: 'x' }, { settled: true })).toEqual(accepted)
    expect(near.remoteAddress).toContain(`:${two.port}`)
  })

  test('without `followRedirects`, or too many of them, end it', async () => {
    const one = await serving()
    const { near } = await connected({ port: one.port })
    const info = { 'network-host': '127.0.0.1', port: ushort(1) }
    await until(() => one.connections.length > 0)
    await one.connections[0]?.close({ error: { condition: ConnectionCondition.redirect, info } })
    expect(await near.closed).toMatchObject({ error: { condition: ConnectionCondition.redirect } })

    let to = (await serving()).port
    const door = await redirecting(() => to)
    const { near: other } = await connected({ port: door.port, followRedirects: 2 })
    to = door.port
    ;(other as unknown as { line: { destroy(): void } }).line.destroy()
    expect(await other.closed).toMatchObject({ error: { condition: ConnectionCondition.redirect } })
    const states: ConnectionState[] = []
    const reconnect = { onStateChange: (state: ConnectionState) => states.push(state) }
    const never = connect({ host: '127.0.0.1', port: door.port, followRedirects: 1, reconnect })
    expect(await settled(never)).toMatchObject({ condition: ConnectionCondition.redirect })
    expect(states).toEqual([])
  })
})

describe('transports', () => {
  test('a proxy is asked for each attempt', async () => {
    const server = await serving()
    let asked = 0
    const { near, lost } = await connected({
      host: 'somewhere',
      port: 99,
      proxy: async () => {
        asked++
        const socket = dialTcp(server.port, '127.0.0.1')
        await once(socket, 'connect')
        return socket
      },
    })
    const sender = await near.sender('q')
    await server.cut()
    await lost()
    expect(await sender.send({ body: 'x' }, { settled: true })).toEqual(accepted)
    expect(asked).toBe(2)
  })

  test('a WebSocket is made for each attempt', async () => {
    const server = await serving({ port: null })
    const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'amqp' })
    opened.push(() => void sockets.close())
    await once(sockets, 'listening')
    let count = 0
    sockets.on('connection', socket => {
      count++
      void server.listener.accept(webSocketTransport(socket as never)).then(at => server.connections.push(at))
    })
    const { port } = sockets.address() as { port: number }
    const { near, lost } = await connected({ port, webSocket: { class: WsSocket as never } })
    const sender = await near.sender('q')
    await until(() => server.connections.length === 1)
    await server.cut()
    await lost()
    expect(await sender.send({ body: 'x' }, { settled: true })).toEqual(accepted)
    expect(count).toBe(2)
  })
})

describe('§2.4.2 pipelining', () => {
  test('the first connection is pipelined; it is made again without, and everything goes on', async () => {
    const server = await serving()
    const { near, states, lost } = await connected({ port: server.port, pipeline: true })
    const sender = await near.sender('q')
    expect(await sender.send({ body: 'x' })).toEqual(accepted)
    await near.opened
    await server.cut()
    await lost()
    expect(await sender.send({ body: 'y' }, { settled: true })).toEqual(accepted)
    await until(() => states.at(-1)?.state === 'restored')
    expect(states.map(({ state }) => state)).toEqual(['connected', 'waiting', 'connecting', 'connected', 'restored'])
  })

  test('one that is refused is made again at once; one that is lost later, as any', async () => {
    const server = await serving()
    let refuses = true
    const door = createServer(socket => {
      opened.push(() => socket.destroy())
      socket.on('error', () => {})
      if (refuses) socket.once('data', () => socket.destroy())
      else {
        const inner = dialTcp(server.port, '127.0.0.1')
        inner.on('error', () => socket.destroy()).on('close', () => socket.destroy())
        socket.on('close', () => inner.destroy())
        socket.pipe(inner).pipe(socket)
      }
      refuses = false
    })
    opened.push(() => void door.close())
    await new Promise<void>(resolve => door.listen(0, '127.0.0.1', resolve))
    const { near, states, lost } = await connected({ port: (door.address() as { port: number }).port, pipeline: true })
    const sender = await near.sender('q')
    expect(await sender.send({ body: 'x' })).toEqual(accepted)
    expect(states.map(({ state }) => state)).toEqual(['connected'])
    await server.cut()
    await lost()
    expect(await sender.send({ body: 'y' }, { settled: true })).toEqual(accepted)
  })
})
