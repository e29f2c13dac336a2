/** §2.4.2: connections used before they are open: round trips counted, refusals survived, and remembered. */

import { createServer, connect as dialTcp, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { Connection, Listener } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ConnectOptions, ListenOptions } from '../../src/client/options.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { createCertificate } from '../../src/emulator/certificates/certificate.ts'
import { AmqpError, ClosedError, SaslError, TransportError, UsageError } from '../../src/errors.ts'
import type { Transport, TransportSink } from '../../src/io/transport.ts'
import { pause } from '../waiting.ts'
import { settled } from './joined.ts'

const opened: (() => unknown)[] = []
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})

/** Accepts everything. */
async function serving(options: ListenOptions = {}): Promise<Listener> {
  const listener = await listen(options)
  opened.push(() => listener.close())
  listener.on('error', () => {})
  listener.on('connection', serve)
  return listener
}

function serve(connection: Connection): void {
  connection.on('session', async incoming => {
    const session = await incoming.accept()
    session.on('link', async link => {
      if (link.remoteRole === 'receiver') return link.accept()
      for await (const delivery of await link.accept()) await delivery.accept()
      return undefined
    })
  })
}

// ---- a line on which nothing arrives until it is carried ----------------------------------------------------------

class LineEnd implements Transport {
  readonly written: Uint8Array[] = []
  sink: TransportSink | undefined
  start(sink: TransportSink): void {
    this.sink = sink
  }
  write(chunks: readonly Uint8Array[]): boolean {
    this.written.push(...chunks.map(chunk => new Uint8Array(chunk)))
    return true
  }
  end(): void {}
  destroy(): void {
    this.sink?.end()
  }
}

/** Lets everybody do all that can be done without hearing more. */
const quiet = async (): Promise<void> => {
  for (let i = 0; i < 30; i++) await new Promise(setImmediate)
}

/** How often a flight went there and another came back until the work was done. */
async function roundTrips(
  how: Partial<ConnectOptions>,
  far: ListenOptions,
  work: (connection: Connection) => Promise<unknown>,
): Promise<number> {
  const [near, distant] = [new LineEnd(), new LineEnd()]
  const listener = await serving({ port: null, limits: { closeMs: 10 }, ...far })
  void listener.accept(distant).then(serve, () => {})
  let isDone = false
  const done = connect({ host: 'far', transport: near, ...how })
    .then(work)
    .finally(() => {
      isDone = true
    })
  const carry = async (from: LineEnd, to: LineEnd): Promise<void> => {
    for (const chunk of from.written.splice(0)) to.sink?.data(chunk)
    await quiet()
  }
  let trips = 0
  for (await quiet(); !isDone; trips++) {
    if (trips > 20) throw new Error('it never ends')
    await carry(near, distant)
    await carry(distant, near)
  }
  await done
  return trips
}

const sendOne = async (connection: Connection): Promise<void> => {
  const sender = await connection.sender('q')
  expect(await sender.send({ body: 'x' })).toEqual({ outcome: 'accepted' })
}

describe('§2.4.2 round trips until the first message is accepted', () => {
  const plain = {
    near: { sasl: sasl.plain('ann', 'secret') },
    far: { sasl: [saslServer.plain(async user => user === 'ann')] },
  }

  test.each<[string, number, Partial<ConnectOptions>, ListenOptions]>([
    ['pipelined, ANONYMOUS', 2, { pipeline: true }, {}],
    ['pipelined, PLAIN', 2, { pipeline: true, ...plain.near }, plain.far],
    ['pipelined, no SASL', 2, { pipeline: true, sasl: false }, {}],
    ['pipelined, a choice of mechanisms', 3, { pipeline: true, sasl: [sasl.external(), sasl.anonymous()] }, {}],
    ['not pipelined', 6, {}, {}],
  ])('%s: %i', async (_, trips, near, far) => {
    // Loaded when the first connection asks for it, before anything is written.
    await import('../../src/client/pipeline.ts')
    expect(await roundTrips(near, far, sendOne)).toBe(trips)
  })

  test('§2.4.2 a server has to prove itself before it sees AMQP: SCRAM is not run ahead', async () => {
    const seen: string[] = []
    const kept = new Map([['ann', await (await import('../../src/client/sasl/scram-keys.ts')).scramCredentials('pw')]])
    await using listener = await listen({
      port: null,
      sasl: saslServer.scram(user => kept.get(user), { hashes: ['SHA-256'] }),
      trace: ({ direction, body }) => {
        if (direction === 'in') seen.push((body as { type?: string })?.type ?? String(body))
      },
    })
    const { memoryPair } = await import('../../src/io/memory.ts')
    const [a, b] = memoryPair()
    void listener.accept(b).then(serve)
    const connection = await connect({ host: 'h', transport: a, pipeline: true, sasl: sasl.scram('ann', 'pw') })
    await sendOne(connection)
    expect(seen.slice(0, 5)).toEqual(['AMQP 3 1.0.0', 'sasl-init', 'sasl-response', 'AMQP 0 1.0.0', 'open'])
    await connection.close()
  })
})

describe('§2.4.2 a connection that is not open yet', () => {
  test('§5.2 over TLS, with a secret: header, init, header, open, begin, attach before anything has come', async () => {
    const certificate = await createCertificate({ hostNames: ['localhost'] })
    const { port } = await serving({
      tls: { cert: certificate.cert, key: certificate.key },
      sasl: [saslServer.plain((user, password) => user === 'ann' && password === 'secret')],
    })
    const frames: string[] = []
    const connection = await connect(`amqps://ann:secret@localhost:${port}`, {
      pipeline: true,
      tls: { ca: certificate.ca },
      trace: ({ direction, body }) => frames.push(`${direction} ${(body as { type?: string })?.type ?? body}`),
    })
    await sendOne(connection)
    expect(frames.slice(0, 6).map(frame => frame.replace('out ', ''))).toEqual([
      'AMQP 3 1.0.0',
      'sasl-init',
      'AMQP 0 1.0.0',
      'open',
      'begin',
      'attach',
    ])
    await connection.close()
  })

  test('`opened` follows; then `remote` is there, listeners and iterators hear, and it closes as any', async () => {
    const { port } = await serving()
    const connection = await connect({ host: '127.0.0.1', port, pipeline: true })
    const heard: unknown[] = []
    connection.on('closed', closure => heard.push(closure))
    using never = connection.on('closed', () => heard.push('never'))
    never[Symbol.dispose]()
    expect(() => connection.remote).toThrow(ClosedError)
    connection.unref()
    connection.ref()
    await connection.opened
    expect(connection.remote.containerId).toBeTypeOf('string')
    const session = await connection.session()
    expect(session.connection).toBe(connection)
    const receiver = await connection.receiver('q')
    expect(receiver.session).not.toBe(session)
    await connection.close()
    expect(await connection.closed).toEqual({ by: 'local', error: undefined })
    expect(heard).toEqual([{ by: 'local', error: undefined }])
  })

  test('sessions that the peer begins come to whoever listened, or iterated, before the open', async () => {
    const listener = await listen()
    opened.push(() => listener.close())
    // It may be gone before the begin is answered.
    listener.on('connection', connection => void connection.session().catch(() => {}))
    const connection = await connect({ host: '127.0.0.1', port: listener.port, pipeline: true })
    for await (const incoming of connection.incoming()) {
      expect(incoming.connection).toBe(connection)
      await incoming.accept()
      break
    }
    await connection.close()
  })

  test('§2.4.1 one session goes ahead; another, or links beside it, wait for the open', async () => {
    const frames: string[] = []
    const { port } = await serving({ trace: f => f.direction === 'in' && frames.push((f.body as never)?.['type']) })
    const connection = await connect({ host: '127.0.0.1', port, pipeline: true })
    const [one, two] = await Promise.all([connection.session(), connection.session(), sendOne(connection)])
    expect(one).not.toBe(two)
    await connection.close()
    expect(frames.filter(name => name === 'begin')).toHaveLength(3)
  })

  test('misuse rejects at once; a signal stops the asking; redirects are for others', async () => {
    const { port } = await collecting(() => {})
    const connection = await connect({ host: '127.0.0.1', port, pipeline: true })
    expect(await settled(connection.sender(5 as never))).toBeInstanceOf(UsageError)
    expect(await settled(connection.sender('q', { signal: AbortSignal.timeout(20) }))).toMatchObject({
      name: 'TimeoutError',
    })
    expect(await settled(connection.session({ signal: AbortSignal.abort('why') }))).toBe('why')
    await connection.close({ signal: AbortSignal.timeout(20) }).catch(() => {})
    expect(await settled(connect({ host: 'h', pipeline: true, followRedirects: 1 }))).toBeInstanceOf(UsageError)
  })

  test('closed before it is open: what waits fails, and nothing is tried again', async () => {
    let count = 0
    const { port } = await collecting(() => count++)
    const connection = await connect({ host: '127.0.0.1', port, pipeline: true, limits: { closeMs: 30 } })
    const sender = settled(connection.sender('q'))
    await pause(20)
    await connection.close()
    expect(await sender).toBeInstanceOf(AmqpError)
    expect(await connection.closed).toEqual({ by: 'local', error: undefined })
    expect(await settled(connection.opened)).toBeInstanceOf(Error)
    expect(count).toBe(1)
  })
})

// ---- peers that do not take it --------------------------------------------------------------------------------------

/** A server that hands each socket, with its number, to the test. @returns its port, and first chunks' lengths */
async function collecting(onSocket: (socket: Socket, nth: number) => void): Promise<{ port: number; first: number[] }> {
  const first: number[] = []
  let count = 0
  const server: Server = createServer(socket => {
    const nth = ++count
    opened.push(() => socket.destroy())
    socket.on('error', () => {}).once('data', chunk => first.push(chunk.length))
    onSocket(socket, nth)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  opened.push(() => void server.close())
  return { port: (server.address() as { port: number }).port, first }
}

/** Leads what comes to a listener. */
const lead = (socket: Socket, port: number): void => {
  const inner = dialTcp(port, '127.0.0.1')
  opened.push(() => inner.destroy())
  inner.on('error', () => socket.destroy())
  socket.pipe(inner).pipe(socket)
}

describe('§2.4.2 a peer that does not take it', () => {
  test.each<[string, (socket: Socket) => void]>([
    ['hangs up', socket => socket.once('data', () => socket.destroy())],
    ['falls silent', () => {}],
    ['answers with another protocol', socket => socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n'))],
  ])('%s: asked again without, once and for all', { timeout: 10_000 }, async (_, refuse) => {
    const { port: inner } = await serving()
    const { port, first } = await collecting((socket, nth) => (nth === 1 ? refuse(socket) : lead(socket, inner)))
    const connection = await connect({ host: '127.0.0.1', port, pipeline: true })
    const [session, receiver] = await Promise.all([
      connection.session(),
      connection.receiver('r'),
      sendOne(connection),
      connection.opened,
    ])
    expect([session.connection, receiver.session.connection]).toEqual([connection, connection])
    expect(first[0]).toBeGreaterThan(8)
    expect(first[1]).toBe(8)
    await connection.close()
    const next = await connect({ host: '127.0.0.1', port, pipeline: true })
    await sendOne(next)
    expect(first[2]).toBe(8)
    await next.close()
  })

  test('is not there for the second either: the second failure is told, everywhere', async () => {
    const { port } = await collecting(socket => socket.once('data', () => socket.destroy()))
    const connection = await connect({ host: '127.0.0.1', port, pipeline: true })
    const heard: unknown[] = []
    connection.on('closed', closure => heard.push(closure.error))
    const sender = settled(connection.sender('q'))
    const error = (await settled(connection.opened)) as Error
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toContain('ended the connection before the AMQP header')
    expect(await sender).toBe(error)
    expect(await connection.closed).toMatchObject({ by: 'transport', error })
    expect(heard).toEqual([error])
    for await (const _ of connection.incoming()) expect.unreachable()
    await connection.close()
  })

  test('§5.3.3.6 an identity that is refused is not shown again', async () => {
    let checks = 0
    const { port } = await serving({ sasl: [saslServer.plain(() => ++checks < 0)] })
    const how = { host: '127.0.0.1', port, pipeline: true, allowInsecureAuth: true }
    const connection = await connect({ ...how, sasl: sasl.plain('ann', 'x') })
    expect(await settled(connection.opened)).toMatchObject({ code: 'ERR_AMQP_SASL', outcome: 'auth' })
    await pause(50)
    expect(checks).toBe(1)
  })

  test('§5.3.3.1 a guess that was wrong: no common mechanism, as ever', async () => {
    const { port } = await serving({ sasl: [saslServer.plain(() => true)] })
    const connection = await connect({ host: '127.0.0.1', port, pipeline: true })
    const error = (await settled(connection.opened)) as Error
    expect(error).toBeInstanceOf(SaslError)
    expect(error.message).toMatch(/no common SASL mechanism|refused the identity/)
  })

  test('a secret is not shown without TLS, pipelined or not', async () => {
    const { port, first } = await collecting(() => {})
    const connection = await connect({ host: '127.0.0.1', port, pipeline: true, sasl: sasl.plain('ann', 'x') })
    await expect.poll(() => first).toEqual([8])
    await connection.close({ signal: AbortSignal.timeout(20) }).catch(() => {})
  })

  test('a transport that was given has no second try', async () => {
    const near = new LineEnd()
    const connection = await connect({ host: 'far', transport: near, pipeline: true })
    await pause()
    near.sink?.end(new Error('gone'))
    expect(await settled(connection.opened)).toBeInstanceOf(TransportError)
    expect(await connection.closed).toMatchObject({ by: 'transport' })
  })
})
