// Connections that somebody else makes: a real HTTP proxy, TLS through it with the names checked, and proxies that fail.
// §5.2
import { createServer, request } from 'node:http'
import { type AddressInfo, connect as connectSocket, type Socket } from 'node:net'
import { Duplex, PassThrough } from 'node:stream'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { connect } from '../../src/client/connect.ts'
import type { ListenOptions } from '../../src/client/options.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { type Certificate, createCertificate } from '../../src/emulator/certificates/certificate.ts'
import { SaslError, TransportError, UsageError } from '../../src/errors.ts'
import { pause } from '../waiting.ts'

let certificate: Certificate
beforeAll(async () => {
  certificate = await createCertificate({ hostNames: ['broker.example'] })
})

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean()
})

/** A proxy that takes every CONNECT to the port given, on loopback, whatever the host is called. */
async function httpProxy(): Promise<{ port: number; asked: (string | undefined)[]; sockets: Set<Duplex> }> {
  const asked: (string | undefined)[] = []
  const sockets = new Set<Duplex>()
  const server = createServer((_request, response) => response.writeHead(405).end())
  server.on('connect', (asking, client, head) => {
    asked.push(asking.url)
    const far = connectSocket(Number(asking.url?.split(':').at(-1)), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      far.write(head)
      far.pipe(client).pipe(far)
    })
    for (const socket of [client, far]) {
      sockets.add(socket)
      socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    }
    far.on('close', () => client.destroy())
    client.on('close', () => far.destroy())
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise(resolve => server.close(resolve))
  })
  return { port: (server.address() as AddressInfo).port, asked, sockets }
}

/** What a user writes. */
const throughProxy =
  (proxyPort: number) =>
  (host: string, port: number): Promise<Duplex> =>
    new Promise((resolve, reject) => {
      request({ host: '127.0.0.1', port: proxyPort, method: 'CONNECT', path: `${host}:${port}` })
        .on('connect', (response, socket) =>
          response.statusCode === 200 ? resolve(socket) : reject(new Error(`the proxy said ${response.statusCode}`)),
        )
        .on('error', reject)
        .end()
    })

/** A broker that takes every message, behind a host name that only the proxy resolves. */
async function broker(options: ListenOptions = {}): Promise<number> {
  const listener = await listen(options)
  cleanups.push(() => listener.close())
  listener.on('error', () => {})
  listener.on('connection', connection =>
    connection.on('session', async incoming => {
      const session = await incoming.accept()
      session.on('link', async link => {
        if (link.remoteRole === 'sender') for await (const delivery of await link.accept()) await delivery.accept()
      })
    }),
  )
  return listener.port
}

const failure = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => expect.unreachable(),
    error => error,
  )

describe('through an HTTP proxy', () => {
  test('§5.2 TLS is ours, with the name that was asked for: SNI, check and open', async () => {
    const names: unknown[] = []
    const port = await broker({
      tls: {
        cert: certificate.cert,
        key: certificate.key,
        SNICallback: (name, done) => {
          names.push(name)
          done(null)
        },
      },
      sasl: [saslServer.plain((user, password) => user === 'u' && password === 'p')],
    })
    const { port: proxyPort, asked, sockets } = await httpProxy()
    const connection = await connect(`amqps://u:p@broker.example:${port}`, {
      proxy: throughProxy(proxyPort),
      tls: { ca: certificate.ca },
    })
    expect(asked).toEqual([`broker.example:${port}`])
    expect(names).toEqual(['broker.example'])
    expect(connection.peerCertificate?.length).toBeGreaterThan(100)
    const sender = await connection.sender('q')
    const body = new Uint8Array(3_000_000).fill(7)
    expect(await sender.send({ body })).toEqual({ outcome: 'accepted' })
    await connection.close()
    await expect.poll(() => sockets.size).toBe(0)
  })

  test('§5.2 a certificate for another name is refused all the same', async () => {
    const port = await broker({ tls: { cert: certificate.cert, key: certificate.key } })
    const { port: proxyPort, sockets } = await httpProxy()
    const options = { proxy: throughProxy(proxyPort), tls: { ca: certificate.ca } }
    for (const host of ['other.example', '10.0.0.1']) {
      const error = await failure(connect({ host, port, ...options }))
      expect(error).toBeInstanceOf(TransportError)
      expect(error.message).toMatch(/altnames|IP/)
    }
    await expect.poll(() => sockets.size).toBe(0)
  })

  test('without TLS it is plain, and shows no password', async () => {
    const port = await broker({ sasl: [saslServer.anonymous(), saslServer.plain(() => true)] })
    const { port: proxyPort, sockets } = await httpProxy()
    const proxy = throughProxy(proxyPort)
    const connection = await connect(`amqp://broker.example:${port}`, { proxy })
    expect(await (await connection.sender('q')).send({ body: 'x' })).toEqual({ outcome: 'accepted' })
    connection.unref()
    connection.ref()
    await connection.close()
    const error = await failure(connect(`amqp://broker.example:${port}`, { proxy, sasl: sasl.plain('u', 'p') }))
    expect(error).toBeInstanceOf(SaslError)
    await expect.poll(() => sockets.size).toBe(0)
  })

  test('a peer that vanishes behind it ends the connection', async () => {
    const port = await broker()
    const { port: proxyPort, sockets } = await httpProxy()
    const connection = await connect(`amqp://broker.example:${port}`, { proxy: throughProxy(proxyPort) })
    for (const socket of sockets) socket.destroy()
    expect((await connection.closed).error).toBeInstanceOf(TransportError)
  })

  test('the stream may be any Duplex, with TLS over it', async () => {
    const port = await broker({ tls: { cert: certificate.cert, key: certificate.key } })
    const socket = connectSocket(port, '127.0.0.1')
    const stream = Duplex.from({ readable: socket.pipe(new PassThrough()), writable: socket })
    const connection = await connect(`amqps://broker.example:${port}`, {
      proxy: () => stream,
      tls: { ca: certificate.ca },
    })
    expect(await (await connection.sender('q')).send({ body: 'x' })).toEqual({ outcome: 'accepted' })
    await connection.close()
    await expect.poll(() => socket.closed).toBe(true)
  })
})

describe('a proxy that fails', () => {
  const to = (proxy: unknown, options: object = {}): Promise<Error> =>
    failure(connect('amqps://broker.example:1', { proxy: proxy as () => Duplex, ...options }))

  test('its error is the cause of a TransportError', async () => {
    const cause = new Error('407')
    const throwing = (): never => {
      throw cause
    }
    for (const proxy of [() => Promise.reject(cause), throwing]) {
      const error = await to(proxy)
      expect(error).toBeInstanceOf(TransportError)
      expect(error.message).toBe('the proxy cannot connect to broker.example:1: 407')
      expect(error.cause).toBe(cause)
    }
  })

  test('a stream that has ended is a TransportError', async () => {
    const ended = new PassThrough().destroy()
    await new Promise(resolve => ended.on('close', resolve))
    const error = await to(() => ended)
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toContain('already ended')
  })

  test.each([[undefined], [{}], ['socket']])('%j is no stream: UsageError', async given => {
    expect(await to(() => given)).toBeInstanceOf(UsageError)
  })

  test('one that takes too long is given up, and what it gives later destroyed', async () => {
    const late: Socket[] = []
    const { port } = await httpProxy()
    const proxy = async () => {
      await pause(150)
      late.push(connectSocket(port, '127.0.0.1'))
      return late.at(-1)
    }
    const error = await to(proxy, { limits: { handshakeMs: 50 } })
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toBe('the proxy gave no connection to broker.example:1 within 50 ms')
    const signal = AbortSignal.timeout(50)
    expect(await to(proxy, { signal })).toBe(signal.reason)
    await expect.poll(() => late.map(socket => socket.destroyed)).toEqual([true, true])
  })

  test('the handshake has what the proxy left of limits.handshakeMs', async () => {
    const silent = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() })
    const began = performance.now()
    const error = await to(
      async () => {
        await pause(500)
        return silent
      },
      { limits: { handshakeMs: 600 } },
    )
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toContain('no TLS handshake')
    expect(performance.now() - began).toBeGreaterThan(590)
    expect(performance.now() - began).toBeLessThan(950)
    expect(silent.destroyed).toBe(true)
  })
})
