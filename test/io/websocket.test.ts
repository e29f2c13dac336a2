// WebSockets as transports, over real sockets: plain and TLS, every cut of the bytes, and peers that refuse, send text,
// vanish, do not read, or never close. §5.2
import { createServer as createHttpServer, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import type { Connection, IncomingLink } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ConnectOptions, ListenOptions } from '../../src/client/options.ts'
import { saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { createCertificate } from '../../src/emulator/certificates/certificate.ts'
import { SaslError, TransportError, UsageError } from '../../src/errors.ts'
import type { Transport } from '../../src/io/transport.ts'
import { connectWebSocket, type WebSocketTarget, webSocketTransport } from '../../src/io/websocket.ts'
import { pause } from '../waiting.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean()
})

interface Served {
  readonly port: number
  readonly sockets: WebSocket[]
  /** Path and query of each upgrade. */
  readonly paths: (string | undefined)[]
}

/** A WebSocket server of the kind that users have. */
async function serve(onSocket: (socket: WebSocket) => void, options: object = {}, server?: Server): Promise<Served> {
  const http = server ?? createHttpServer()
  const upgraded = new WebSocketServer({ server: http, ...options })
  const sockets: WebSocket[] = []
  const paths: (string | undefined)[] = []
  upgraded.on('connection', (socket, request) => {
    sockets.push(socket)
    paths.push(request.url)
    socket.on('error', () => {})
    onSocket(socket)
  })
  await new Promise<void>(resolve => http.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => {
    for (const socket of sockets) socket.terminate()
    upgraded.close()
    http.closeAllConnections()
    return new Promise(resolve => http.close(resolve))
  })
  return { port: (http.address() as AddressInfo).port, sockets, paths }
}

/** What serves the peers of accepted transports, and keeps the bodies that they send. */
interface Store {
  readonly bodies: unknown[]
  readonly errors: Error[]
  take(transport: Transport): void
}

/** A listener without a port of its own. */
async function store(options: ListenOptions = {}): Promise<Store> {
  const listener = await listen({ ...options, port: null })
  cleanups.push(() => listener.close())
  const bodies: unknown[] = []
  const errors: Error[] = []
  listener.on('error', error => errors.push(error))
  const take = (transport: Transport): void => {
    listener.accept(transport).then(
      connection => connection.on('session', async incoming => (await incoming.accept()).on('link', keep)),
      () => {},
    )
  }
  const keep = async (link: IncomingLink): Promise<void> => {
    // Never a message for those who want one.
    if (link.remoteRole === 'receiver') return void link.accept()
    for await (const delivery of await link.accept({ credit: { window: 20 } })) {
      bodies.push(delivery.message.body)
      await delivery.accept()
    }
  }
  return { bodies, errors, take }
}

const failure = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => expect.unreachable(),
    error => error,
  )

async function opened(target: string, options: Omit<Partial<ConnectOptions>, 'host' | 'port'> = {}) {
  const connection = await connect(target, { webSocket: { class: WebSocket }, ...options })
  cleanups.push(() => connection.close())
  return connection
}

async function roundTrip(connection: Connection, body: Uint8Array | string): Promise<void> {
  const sender = await connection.sender('q')
  expect(await sender.send({ body })).toEqual({ outcome: 'accepted' })
}

describe('§5.2 over WebSockets', () => {
  test('ws:// with path and query, sub-protocol amqp, nothing compressed', async () => {
    const kept = await store()
    const served = await serve(socket => kept.take(webSocketTransport(socket)), { perMessageDeflate: true })
    const connection = await opened(`ws://127.0.0.1:${served.port}/a/b?c=d`)
    await roundTrip(connection, 'hello')
    expect(kept.bodies).toEqual(['hello'])
    expect(served.paths).toEqual(['/a/b?c=d'])
    expect(served.sockets[0]?.protocol).toBe('amqp')
    expect(served.sockets[0]?.extensions).toBe('')
    await connection.close()
    expect(await connection.closed).toEqual({ by: 'local', error: undefined })
    await expect.poll(() => served.sockets[0]?.readyState).toBe(WebSocket.CLOSED)
  })

  test('wss:// with the authority given, PLAIN from the URL, percent-encoded', async () => {
    const { ca, cert, key } = await createCertificate({ hostNames: ['localhost'] })
    const users: string[] = []
    const kept = await store({
      sasl: [saslServer.plain((user, password) => users.push(`${user} ${password}`) > 0)],
    })
    const served = await serve(socket => kept.take(webSocketTransport(socket)), {}, createHttpsServer({ cert, key }))
    const connection = await opened(`wss://us%65r:p%40ss@localhost:${served.port}/`, { tls: { ca } })
    await roundTrip(connection, 'secret')
    expect(users).toEqual(['user p@ss'])

    const untrusted = await failure(opened(`wss://localhost:${served.port}/`))
    expect(untrusted).toBeInstanceOf(TransportError)
    expect(untrusted.message).toMatch(/cannot open a WebSocket to localhost:\d+: .*certificate/)
    const plain = await failure(opened(`wss://localhost:${served.port}/`, { tls: false }))
    expect(plain).toBeInstanceOf(UsageError)
  })

  test('ws:// shows no password', async () => {
    const kept = await store({ sasl: [saslServer.plain(() => true)] })
    const { port } = await serve(socket => kept.take(webSocketTransport(socket)))
    expect(await failure(opened(`ws://u:p@127.0.0.1:${port}/`))).toBeInstanceOf(SaslError)
    await opened(`ws://u:p@127.0.0.1:${port}/`, { allowInsecureAuth: true })
  })

  test('large messages, both a pile of them and one that takes many frames', async () => {
    const kept = await store()
    const { port, sockets } = await serve(socket => {
      kept.take(webSocketTransport(socket))
      socket.on('message', (data: ArrayBuffer) => sizes.push(data.byteLength))
    })
    const sizes: number[] = []
    const connection = await opened(`ws://127.0.0.1:${port}/`)
    const sender = await connection.sender('q')
    const large = new Uint8Array(5_000_000).map((_, i) => i * 7)
    await sender.send({ body: large })
    expect(Buffer.compare(kept.bodies[0] as Uint8Array, large)).toBe(0)
    await Promise.all(Array.from({ length: 100 }, (_, i) => sender.send({ body: `${i}`.repeat(20_000) })))
    expect(kept.bodies).toHaveLength(101)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(65_536)
    expect(sockets).toHaveLength(1)
  })

  test('message boundaries mean nothing: a byte each, and many frames in one', async () => {
    const kept = await store()
    const { port } = await serve(socket => {
      const inner = webSocketTransport(socket)
      // Outgoing bytes are cut into single ones; incoming ones gathered for a while.
      const cutting: Transport = {
        start: sink => inner.start(sink),
        write: chunks => inner.write(chunks.flatMap(chunk => Array.from(chunk, (_, i) => chunk.subarray(i, i + 1)))),
        end: () => inner.end(),
        destroy: error => inner.destroy(error),
      }
      kept.take(cutting)
    })
    class Gathering extends WebSocket {
      #held: Uint8Array[] = []
      override send(bytes: Uint8Array): void {
        if (this.#held.length === 0)
          setTimeout(() => {
            super.send(Buffer.concat(this.#held))
            this.#held = []
          }, 5)
        this.#held.push(new Uint8Array(bytes))
      }
    }
    const connection = await opened(`ws://127.0.0.1:${port}/`, { webSocket: { class: Gathering } })
    const sender = await connection.sender('q')
    await Promise.all(Array.from({ length: 20 }, (_, i) => sender.send({ body: `m${i}` })))
    expect(kept.bodies).toEqual(Array.from({ length: 20 }, (_, i) => `m${i}`))
  })

  test('the sub-protocol may be another, the path an option', async () => {
    const kept = await store()
    const served = await serve(socket => kept.take(webSocketTransport(socket)))
    const connection = await connect({
      host: '127.0.0.1',
      port: served.port,
      webSocket: { class: WebSocket, path: '/$iothub/websocket', protocols: ['AMQPWSB10'] },
    })
    cleanups.push(() => connection.close())
    expect(served.paths).toEqual(['/$iothub/websocket'])
    expect(served.sockets[0]?.protocol).toBe('AMQPWSB10')
  })
})

describe('what cannot be opened', () => {
  test.each([
    ['another', () => 'mqtt', /invalid subprotocol|took none/],
    ['none', () => false, /no subprotocol|took none/],
  ])('a server that takes %s of the sub-protocols', async (_what, handleProtocols, message) => {
    const { port, sockets } = await serve(() => {}, { handleProtocols })
    const error = await failure(opened(`ws://127.0.0.1:${port}/`))
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toMatch(message)
    expect(error.message).toContain(`127.0.0.1:${port}`)
    await expect.poll(() => sockets.every(socket => socket.readyState === WebSocket.CLOSED)).toBe(true)
  })

  test('a class that minds no sub-protocol: we do', async () => {
    const { port, sockets } = await serve(() => {}, { handleProtocols: () => false })
    class Careless extends WebSocket {
      constructor(url: string) {
        super(url)
      }
    }
    const error = await failure(opened(`ws://127.0.0.1:${port}/`, { webSocket: { class: Careless } }))
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toBe(`127.0.0.1:${port} took none of the WebSocket sub-protocols amqp`)
    await expect.poll(() => sockets[0]?.readyState).toBe(WebSocket.CLOSED)
  })

  test('a server that refuses the upgrade, and one that is not there, are TransportErrors', async () => {
    const { port } = await serve(() => {}, { verifyClient: () => false })
    const refused = await failure(opened(`ws://127.0.0.1:${port}/`))
    expect(refused).toBeInstanceOf(TransportError)
    expect(refused.message).toBe(`cannot open a WebSocket to 127.0.0.1:${port}: Unexpected server response: 401`)
    expect(refused.cause).toBeInstanceOf(Error)
    const absent = await failure(opened('ws://127.0.0.1:1/'))
    expect(absent).toBeInstanceOf(TransportError)
    expect(absent.message).toContain('ECONNREFUSED')
  })

  test('a server that never answers is given up after limits.handshakeMs, or when the signal fires', async () => {
    const http = createHttpServer()
    let held = 0
    let gone = 0
    http.on('upgrade', (_request, socket) => {
      held++
      socket.on('error', () => {}).on('close', () => gone++)
      socket.on('end', () => socket.end())
      socket.resume()
    })
    await new Promise<void>(resolve => http.listen(0, '127.0.0.1', resolve))
    cleanups.push(() => http.close())
    const { port } = http.address() as AddressInfo
    const late = await failure(opened(`ws://127.0.0.1:${port}/`, { limits: { handshakeMs: 50 } }))
    expect(late).toBeInstanceOf(TransportError)
    expect(late.message).toBe(`no WebSocket from 127.0.0.1:${port} within 50 ms`)
    const signal = AbortSignal.timeout(50)
    expect(await failure(opened(`ws://127.0.0.1:${port}/`, { signal }))).toBe(signal.reason)
    await expect.poll(() => [held, gone]).toEqual([2, 2])
  })

  test.each([
    [{ path: 'no-slash' }, 'slash'],
    [{ protocols: ['a b'] }, 'a b'],
    [{ path: '/#secret' }, 'fragment'],
  ])('%j is a UsageError', async (webSocket, message) => {
    const error = await failure(opened('ws://127.0.0.1:1/', { webSocket: { class: WebSocket, ...webSocket } }))
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain(message)
    expect(error.message).not.toContain('secret')
  })

  test('together with a proxy it is a UsageError', async () => {
    const proxy = () => expect.unreachable()
    expect(await failure(opened('ws://127.0.0.1:1/', { proxy }))).toBeInstanceOf(UsageError)
  })
})

describe('a peer', () => {
  test('that sends text is refused, with code 1003', async () => {
    const codes: number[] = []
    const { port } = await serve(socket => {
      socket.on('close', code => codes.push(code))
      socket.send('AMQP')
    })
    const error = await failure(opened(`ws://127.0.0.1:${port}/`))
    expect(error).toBeInstanceOf(TransportError)
    expect(error.cause).toBeInstanceOf(TransportError)
    expect(error.message).toContain(`127.0.0.1:${port} sent text over the WebSocket`)
    await expect.poll(() => codes).toEqual([1003])
  })

  test('whose text an accepting end refuses', async () => {
    const kept = await store()
    const { port } = await serve(socket => kept.take(webSocketTransport(socket)))
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`, 'amqp')
    socket.on('open', () => socket.send('hello'))
    const code = await new Promise(resolve => socket.on('close', resolve))
    expect(code).toBe(1003)
    expect(kept.errors[0]?.message).toContain('the peer sent text over the WebSocket')
  })

  test.each([
    ['vanishes', (socket: WebSocket) => socket.terminate(), /code 1006/],
    ['closes with a code', (socket: WebSocket) => socket.close(1011, 'overloaded'), /code 1011: overloaded/],
    ['closes without a word', (socket: WebSocket) => socket.close(1000), /ended before the connection was closed$/],
  ])('that %s ends the connection, and all that waits', async (_what, leave, message) => {
    const kept = await store()
    const { port, sockets } = await serve(socket => kept.take(webSocketTransport(socket)))
    const connection = await opened(`ws://127.0.0.1:${port}/`)
    const receiving = failure(connection.receiver('q').then(receiver => receiver.receive()))
    for (const socket of sockets) leave(socket)
    const { by, error } = await connection.closed
    expect(by).toBe('transport')
    expect(error).toBeInstanceOf(TransportError)
    expect(error?.message).toMatch(message)
    expect(await receiving).toBeInstanceOf(Error)
  })

  test('that never answers a close frame is dropped after limits.closeMs', async () => {
    const kept = await store()
    const { port } = await serve(socket => {
      kept.take(webSocketTransport(socket))
      // `ws` answers a close frame by this.
      socket.close = () => {}
    })
    let near: WebSocket | undefined
    class Kept extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols)
        near = this
      }
    }
    const connection = await opened(`ws://127.0.0.1:${port}/`, {
      webSocket: { class: Kept },
      limits: { closeMs: 100 },
    })
    const began = performance.now()
    await connection.close()
    await expect.poll(() => near?.readyState, { timeout: 5_000 }).toBe(WebSocket.CLOSED)
    expect(performance.now() - began).toBeLessThan(3_000)
  })
})

describe('backpressure', () => {
  test('what waits in the WebSocket is bounded while the peer does not read, and all leaves when it does', async () => {
    let received = 0
    const { port, sockets } = await serve(socket => {
      socket.on('message', (data: Buffer) => {
        received += data.length
      })
      socket.pause()
    })
    let near: WebSocket | undefined
    class Kept extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols)
        near = this
      }
    }
    const transport = await connectWebSocket(target(port, Kept))
    let drains = 0
    transport.start({ data: () => {}, drain: () => drains++, end: () => {} })
    const piece = new Uint8Array(256 << 10)
    let sent = 0
    // What the kernel takes is not ours to count.
    while (sent < 200 << 20 && transport.write([piece])) {
      sent += piece.length
      await new Promise(resolve => setImmediate(resolve))
    }
    sent += piece.length
    expect(near?.bufferedAmount).toBeLessThan(2 << 20)
    expect(sent).toBeLessThan(100 << 20)
    await pause(100)
    expect(drains).toBe(0)
    sockets[0]?.resume()
    await expect.poll(() => drains, { timeout: 5_000 }).toBe(1)
    transport.end()
    await expect.poll(() => received, { timeout: 5_000 }).toBe(sent)
  })
})

const target = (port: number, Class: WebSocketTarget['class'] = WebSocket): WebSocketTarget => ({
  host: '127.0.0.1',
  port,
  path: '/',
  tls: undefined,
  protocols: ['amqp'],
  class: Class,
  withinMs: 5_000,
})

describe('the transport itself', () => {
  test('what comes before start is kept, and an end too; end is told once', async () => {
    const { port } = await serve(socket => {
      socket.send(Uint8Array.of(1, 2))
      socket.send(Uint8Array.of(3))
      socket.close(1000)
    })
    const transport = await connectWebSocket(target(port))
    await pause(50)
    const told: unknown[] = []
    transport.start({ data: bytes => told.push([...bytes]), drain: () => {}, end: error => told.push(error) })
    expect(told).toEqual([])
    await pause(20)
    expect(told).toEqual([[1, 2], [3], undefined])
    transport.end()
    transport.destroy(new Error('late'))
    expect(transport.write([Uint8Array.of(1)])).toBe(true)
    await pause(20)
    expect(told).toHaveLength(3)
  })

  test('destroy tells its error, and the peer sees the socket gone', async () => {
    const { port, sockets } = await serve(() => {})
    const transport = await connectWebSocket(target(port))
    const ends: unknown[] = []
    transport.start({ data: () => {}, drain: () => {}, end: error => ends.push(error) })
    const why = new Error('enough')
    transport.destroy(why)
    expect(ends).toEqual([])
    await expect.poll(() => ends).toEqual([why])
    await expect.poll(() => sockets[0]?.readyState).toBe(WebSocket.CLOSED)
  })
})

describe('the standard class', () => {
  /** `ws` with the habits of the standard: fewer codes to close with, no terminate, no pause. */
  class Standard extends WebSocket {
    static made: unknown[][] = []
    override terminate = undefined as unknown as () => void
    override pause = undefined as unknown as () => void
    constructor(...given: [string, string[]]) {
      super(...given)
      Standard.made.push(given)
    }
    override close(code?: number): void {
      if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) throw new Error('InvalidAccessError')
      super.close(code)
    }
  }
  const holder = globalThis as { WebSocket?: unknown }
  const had = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket')
  const install = (value: unknown): void => {
    Object.defineProperty(holder, 'WebSocket', { value, configurable: true, writable: true })
    cleanups.push(() => {
      if (had) Object.defineProperty(holder, 'WebSocket', had)
      else delete holder.WebSocket
    })
  }

  test('is taken when none is given, and told no more than it knows', async () => {
    install(Standard)
    const kept = await store()
    const { port, sockets } = await serve(socket => kept.take(webSocketTransport(socket)))
    Standard.made = []
    const connection = await opened(`ws://127.0.0.1:${port}/x`, { webSocket: undefined })
    expect(Standard.made).toEqual([[`ws://127.0.0.1:${port}/x`, ['amqp']]])
    await roundTrip(connection, 'x')
    await connection.close()
    await expect.poll(() => sockets[0]?.readyState).toBe(WebSocket.CLOSED)
  })

  test('is not given TLS options, which it would not heed', async () => {
    install(Standard)
    const error = await failure(
      opened('wss://127.0.0.1:1/', { webSocket: {}, tls: { ca: '-----BEGIN CERTIFICATE-----' } }),
    )
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain('TLS')
  })

  test('may be missing', async () => {
    install(undefined)
    const error = await failure(opened('ws://127.0.0.1:1/', { webSocket: {} }))
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain('webSocket.class')
  })

  test('text is refused all the same, and a drop is at once on our side', async () => {
    install(Standard)
    const { port, sockets } = await serve(socket => socket.send('text'))
    const error = await failure(opened(`ws://127.0.0.1:${port}/`, { webSocket: {} }))
    expect(error.message).toContain('sent text over the WebSocket')
    await expect.poll(() => sockets[0]?.readyState).toBe(WebSocket.CLOSED)
  })
})
