/** What connect refuses, how long it waits, and what it leaves behind when it fails. */

import { createServer, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { connect, parseTarget } from '../../src/client/connect.ts'
import type { ConnectOptions } from '../../src/client/options.ts'
import type { SaslMechanism } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { EncodeError, SaslError, TransportError, UsageError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'

let server: Server | undefined
const sockets: Socket[] = []
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
  server?.close()
  server = undefined
})

/** A server that only collects what it is sent. @returns its port, and the bytes */
async function collecting(onSocket: (socket: Socket) => void = () => {}): Promise<{ port: number; bytes: Buffer[] }> {
  const bytes: Buffer[] = []
  server = createServer(socket => {
    sockets.push(socket)
    socket.on('error', () => {}).on('data', chunk => bytes.push(chunk))
    onSocket(socket)
  })
  await new Promise<void>(resolve => server?.listen(0, '127.0.0.1', resolve))
  return { port: (server.address() as { port: number }).port, bytes }
}

const failure = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => expect.unreachable(),
    error => error,
  )

/** Options as JavaScript writes them. */
const loose = (options: object): Omit<ConnectOptions, 'host' | 'port'> =>
  options as Omit<ConnectOptions, 'host' | 'port'>

describe('§5.2 what the URL says stays said', () => {
  test('`tls: undefined` beside amqps:// is TLS: the first byte is a TLS record’s', async () => {
    const { port, bytes } = await collecting(socket => socket.once('data', () => socket.destroy()))
    await failure(connect(`amqps://127.0.0.1:${port}`, { tls: undefined }))
    expect(bytes[0]?.[0]).toBe(0x16)
  })

  test('`sasl: undefined` keeps the user of the URL, which needs TLS', async () => {
    await using listener = await listen({})
    listener.on('error', () => {})
    const error = await failure(connect(`amqp://u:p@127.0.0.1:${listener.port}`, { sasl: undefined }))
    expect(error).toBeInstanceOf(SaslError)
  })

  test('`tls: false` with amqps:// is a UsageError', async () => {
    expect(await failure(connect('amqps://127.0.0.1:1', { tls: false }))).toBeInstanceOf(UsageError)
  })

  test.each([[null], ['yes'], [1]])('tls: %j is a UsageError', async tls => {
    const error = await failure(connect('amqp://127.0.0.1:1', loose({ tls })))
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain('tls')
  })

  test('a user name that is not percent-encoded is a UsageError without the text', async () => {
    const error = await failure(connect('amqp://a:secret%zz@h'))
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).not.toContain('secret')
  })
})

describe('what a URL stands for', () => {
  test.each([
    ['amqps://us%65r:p%40ss@host', { host: 'host', tls: true }, ['user', 'p@ss']],
    ['amqps://a%2Fb%3Ac:%25%2B+%C3%A9@host:1234/q', { host: 'host', tls: true, port: 1234 }, ['a/b:c', '%++é']],
    ['amqp://only@[::1]', { host: '::1', tls: false }, ['only', '']],
    ['wss://u:p@host/a%20b?c=%41', { host: 'host', tls: true, webSocket: { path: '/a%20b?c=%41' } }, ['u', 'p']],
    ['ws://host', { host: 'host', tls: false, webSocket: { path: '/' } }, undefined],
    ['wss://host:443', { host: 'host', tls: true, webSocket: { path: '/' } }, undefined],
  ])('%s', async (url, expected, credentials) => {
    const { sasl, ...options } = parseTarget(url)
    expect(options).toEqual(expected)
    const mechanism = sasl as SaslMechanism | undefined
    expect(mechanism?.name).toBe(credentials && 'PLAIN')
    const exchange = mechanism?.start({ hostname: 'host', secure: true, signal: new AbortController().signal })
    const initial = await exchange?.initial()
    expect(initial && new TextDecoder().decode(initial).split('\0')).toEqual(credentials && ['', ...credentials])
  })

  test.each(['http://host', 'amqpss://host', 'wsss://host', 'wss:', 'host'])('%s is a UsageError', url => {
    expect(() => parseTarget(url)).toThrow(UsageError)
  })
})

describe('the time that connecting may take', () => {
  test('a TLS handshake that never ends is given up after limits.handshakeMs', async () => {
    const { port } = await collecting()
    const began = performance.now()
    const error = await failure(connect(`amqps://127.0.0.1:${port}`, { limits: { handshakeMs: 60 } }))
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toBe(`no TLS handshake from 127.0.0.1:${port} within 60 ms`)
    expect(performance.now() - began).toBeGreaterThan(50)
    await expect.poll(() => sockets[0]?.closed).toBe(true)
  })

  test('a signal that fires in the same turn is not lost', async () => {
    const { port } = await collecting()
    const controller = new AbortController()
    const connecting = failure(connect(`amqps://127.0.0.1:${port}`, { signal: controller.signal }))
    controller.abort(new Error('changed my mind'))
    expect((await connecting).message).toBe('changed my mind')
    await expect.poll(() => sockets.every(socket => socket.closed)).toBe(true)
  })
})

describe('what is left behind', () => {
  test.each([
    ['maxFrameSize', { maxFrameSize: 100 }, UsageError],
    ['idleTimeOut', { idleTimeOut: 1.5 }, Error],
    ['desiredCapabilities', { desiredCapabilities: ['é'] }, EncodeError],
    ['sasl', loose({ sasl: 5 }), UsageError],
  ])('options that cannot be opened with leave no socket: %s', async (_what, options, type) => {
    const { port } = await collecting()
    expect(await failure(connect(`amqp://127.0.0.1:${port}`, options))).toBeInstanceOf(type)
    await expect.poll(() => sockets.every(socket => socket.closed)).toBe(true)
  })

  test('a listener with such options drops the peer and says so', async () => {
    await using listener = await listen({ desiredCapabilities: ['é'] })
    const errors: Error[] = []
    listener.on('error', error => errors.push(error))
    expect(await failure(connect({ host: '127.0.0.1', port: listener.port }))).toBeInstanceOf(TransportError)
    expect(errors).toEqual([expect.any(EncodeError)])
  })

  test.each<[string, object]>([
    ['a signal that has fired', { signal: AbortSignal.abort() }],
    ['no mechanism', { sasl: {} }],
    ['no number', { followRedirects: -1 }],
    ['both', { followRedirects: 1, pipeline: true }],
    ['an unknown option', { bogus: 1 }],
    ['an empty host', { host: '' }],
  ])('a given transport is destroyed before it is used: %s', async (_, options) => {
    const [a, b] = memoryPair()
    let ended = false
    b.start({ data: () => {}, end: () => (ended = true), drain: () => {} } as never)
    await failure(connect({ host: 'h', transport: a, ...options }))
    await expect.poll(() => ended).toBe(true)
  })

  test('a given transport is destroyed when opening throws', async () => {
    const [near] = memoryPair()
    let destroyed = 0
    const tapped: Transport = {
      start: sink => near.start(sink),
      write: chunks => near.write(chunks),
      end: () => near.end(),
      destroy: error => {
        destroyed++
        near.destroy(error)
      },
    }
    await failure(connect({ host: 'h', transport: tapped, maxFrameSize: 100 }))
    expect(destroyed).toBe(1)
  })
})

describe('errors say what to do', () => {
  test('TLS to a port that speaks AMQP without', async () => {
    await using listener = await listen({})
    listener.on('error', () => {})
    const error = await failure(connect(`amqps://127.0.0.1:${listener.port}`))
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toBe(`cannot connect to 127.0.0.1:${listener.port}: does this port speak TLS?`)
    expect(error.cause).toBeInstanceOf(Error)
  })

  test('a port that ends the connection before the AMQP header', async () => {
    const { port } = await collecting(socket =>
      socket.once('data', () => socket.end(Buffer.of(0x15, 3, 3, 0, 2, 2, 70))),
    )
    const error = await failure(connect(`amqp://127.0.0.1:${port}`))
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toBe(
      `127.0.0.1:${port} ended the connection before the AMQP header; if this is a TLS port, use amqps://`,
    )
  })
})
