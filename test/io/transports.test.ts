/** The transports by themselves: memory pairs cut, paused, ended and destroyed; sockets that fail in their ways. */

import { createServer, Socket as NetSocket, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { TransportError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { connectSocket, type SocketTarget, socketTransport } from '../../src/io/socket.ts'
import type { Transport } from '../../src/io/transport.ts'
import { pause } from '../waiting.ts'

const settled = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    value => value,
    error => error,
  )

/** Starts a transport and puts down what it says; `onData` may act on each chunk. */
function heard(transport: Transport, onData: (bytes: Uint8Array) => void = () => {}): string[] {
  const log: string[] = []
  transport.start({
    data: bytes => {
      log.push(`data ${[...bytes]}`)
      onData(bytes)
    },
    drain: () => log.push('drain'),
    end: error => log.push(`end${error ? ` ${error.message}` : ''}`),
  })
  return log
}

const chunks = (...numbers: number[]): Uint8Array[] => numbers.map(n => Uint8Array.of(n))

describe('a memory pair', () => {
  test('what is written before anybody has started waits', async () => {
    const [a, b] = memoryPair()
    a.write(chunks(1, 2))
    await pause()
    const log = heard(b)
    await expect.poll(() => log).toEqual(['data 1', 'data 2'])
  })

  test('cuts as it is told', async () => {
    const [a, b] = memoryPair({ cut: bytes => Array.from(bytes, byte => Uint8Array.of(byte)) })
    const log = heard(b)
    a.write([Uint8Array.of(1, 2, 3)])
    await expect.poll(() => log).toEqual(['data 1', 'data 2', 'data 3'])
  })

  test('says when there is enough under way, and when there is room again', async () => {
    const [a, b] = memoryPair({ highWaterMark: 2 })
    const log = heard(a)
    expect([a.write(chunks(1)), a.write(chunks(2))]).toEqual([true, false])
    heard(b)
    await expect.poll(() => log).toEqual(['drain'])
    expect(a.write(chunks(3))).toBe(true)
    await pause(5)
    expect(log).toEqual(['drain'])
  })

  test('paused in the middle: the rest comes first when it goes on, and counts until then', async () => {
    const [a, b] = memoryPair({ highWaterMark: 3 })
    const log = heard(b, ([byte]) => {
      if (byte !== 1) return
      a.write(chunks(4))
      b.pause?.()
    })
    a.write(chunks(1, 2, 3))
    await expect.poll(() => log.length).toBeGreaterThan(0)
    await pause(5)
    expect(log).toEqual(['data 1'])
    expect(a.write(chunks(5))).toBe(false)
    b.resume?.()
    await expect.poll(() => log).toEqual(['data 1', 'data 2', 'data 3', 'data 4', 'data 5'])
  })

  test('paused between a turn and its delivery', async () => {
    const [a, b] = memoryPair()
    const log = heard(b)
    a.write(chunks(1))
    b.pause?.()
    await pause(5)
    expect(log).toEqual([])
    b.resume?.()
    await expect.poll(() => log).toEqual(['data 1'])
  })

  test('ended: what was written still arrives, then the end, once; nothing can be written any more', async () => {
    const [a, b] = memoryPair()
    const [logA, logB] = [heard(a), heard(b)]
    a.write(chunks(1))
    a.end()
    a.end()
    expect(a.write(chunks(2))).toBe(true)
    await expect.poll(() => logB).toEqual(['data 1', 'end'])
    // The other side may go on.
    b.write(chunks(3))
    b.end()
    await expect.poll(() => logA).toEqual(['data 3', 'end'])
    a.destroy()
    b.destroy()
    await pause(5)
    expect([logA, logB]).toEqual([
      ['data 3', 'end'],
      ['data 1', 'end'],
    ])
  })

  test('destroyed: what was under way is lost, each end says so once', async () => {
    const [a, b] = memoryPair()
    const [logA, logB] = [heard(a), heard(b)]
    b.write(chunks(1))
    a.destroy(new Error('why'))
    a.destroy(new Error('again'))
    await expect.poll(() => [logA, logB]).toEqual([['end why'], ['end']])
    expect(b.write(chunks(2))).toBe(true)
    await pause(5)
    expect(logA).toEqual(['end why'])
  })

  test('destroyed by whoever reads: nothing more of that turn is read', async () => {
    const [a, b] = memoryPair()
    const log = heard(b, () => b.destroy())
    a.write(chunks(1, 2, 3))
    await expect.poll(() => log.at(-1)).toBe('end')
    expect(log).toEqual(['data 1', 'end'])
  })
})

describe('a socket', () => {
  let server: Server | undefined
  const sockets: Socket[] = []
  afterEach(() => {
    vi.restoreAllMocks()
    for (const socket of sockets.splice(0)) socket.destroy()
    server?.close()
    server = undefined
  })

  async function serving(onSocket: (socket: Socket) => void = () => {}): Promise<number> {
    server = createServer(socket => {
      sockets.push(socket.on('error', () => {}))
      onSocket(socket)
    })
    await new Promise<void>(resolve => server?.listen(0, '127.0.0.1', resolve))
    return (server.address() as { port: number }).port
  }

  const to = (port: number, rest: Partial<SocketTarget> = {}): SocketTarget => ({
    host: '127.0.0.1',
    port,
    tls: undefined,
    withinMs: 5000,
    ...rest,
  })

  /** The error of connecting where the socket fails as it is told. */
  async function failing(fail: (socket: NetSocket) => void, rest: Partial<SocketTarget> = {}): Promise<unknown> {
    vi.spyOn(NetSocket.prototype, 'connect').mockImplementation(function (this: NetSocket) {
      setImmediate(() => fail(this))
      return this
    })
    return settled(connectSocket(to(1, rest)))
  }

  test('what went wrong is said: by the system, or by its code where it says nothing', async () => {
    const message = async (error: object): Promise<string> =>
      String(await failing(socket => socket.destroy(Object.assign(new Error(''), error))))
    expect(await message({ message: 'connect ECONNREFUSED' })).toContain('127.0.0.1:1: connect ECONNREFUSED')
    expect(await message({ code: 'ECONNREFUSED' })).toContain('127.0.0.1:1: ECONNREFUSED')
    expect(await message({ name: 'AggregateError' })).toContain('127.0.0.1:1: AggregateError')
    expect(await message({ message: 'long text', code: 'EPROTO', reason: 'unsupported protocol' })).toContain(
      '127.0.0.1:1: unsupported protocol',
    )
    expect(await message({ message: 'EPROTO of another kind', code: 'EPROTO' })).toContain('EPROTO of another kind')
  })

  test('closed before it was connected', async () => {
    const error = await failing(socket => socket.destroy())
    expect(error).toBeInstanceOf(TransportError)
    expect(String(error)).toContain('closed during the handshake')
  })

  test('nobody answers in time: the socket is destroyed, and its late error is nobody’s', async () => {
    let socket: NetSocket | undefined
    const error = await failing(
      made => {
        socket = made
      },
      { withinMs: 20 },
    )
    expect(String(error)).toContain('no connection to 127.0.0.1:1 within 20 ms')
    expect(socket?.destroyed).toBe(true)
    socket?.emit('error', new Error('late'))
  })

  test('a TLS handshake that the peer breaks off', async () => {
    const port = await serving(socket => socket.once('data', () => socket.destroy()))
    const error = await settled(connectSocket(to(port, { tls: {} })))
    expect(error).toBeInstanceOf(TransportError)
  })

  test('a reset reaches the sink as the error of its end, once', async () => {
    const port = await serving(socket => socket.resume())
    const near = await connectSocket(to(port))
    const log = heard(near)
    await expect.poll(() => sockets.length).toBe(1)
    sockets[0]?.resetAndDestroy()
    await expect.poll(() => log.length).toBe(1)
    expect(log[0]).toMatch(/^end .*ECONNRESET/)
    // Afterwards nothing can be written, and nothing is wrong with trying.
    expect(near.write(chunks(1))).toBe(true)
    near.end()
    near.destroy()
    await pause(5)
    expect(log).toHaveLength(1)
  })

  test('one that died before it was started ends at once', async () => {
    const port = await serving()
    const near = await connectSocket(to(port))
    near.destroy(new Error('why'))
    await pause(5)
    const log = heard(near)
    await expect.poll(() => log).toEqual(['end why'])
  })

  test('the peer’s end is an end; having ended our side we wait for the close', async () => {
    const port = await serving(socket => socket.end('x'))
    const near = await connectSocket(to(port))
    const log = heard(near)
    await expect.poll(() => log).toEqual(['data 120', 'end'])
    const other = await connectSocket(to(port))
    other.end()
    const second = heard(other)
    await expect.poll(() => second).toEqual(['data 120', 'end'])
  })

  test('no certificate without TLS', async () => {
    const near = await connectSocket(to(await serving()))
    expect(near.peerCertificate).toBeUndefined()
    near.destroy()
  })

  test('more than it takes at once: false, then a drain', async () => {
    let far: Socket | undefined
    const port = await serving(socket => {
      far = socket.pause()
    })
    const near = await connectSocket(to(port))
    const log = heard(near)
    let room = true
    for (let i = 0; i < 1000 && room; i++) room = near.write([new Uint8Array(1 << 20)])
    expect(room).toBe(false)
    far?.resume()
    await expect.poll(() => log).toContain('drain')
    near.destroy()
  })

  test('wrapping a socket of one’s own', async () => {
    const port = await serving(socket => socket.write('x'))
    const own = new NetSocket()
    await new Promise<void>(resolve => own.connect(port, '127.0.0.1', resolve))
    const near = socketTransport(own)
    const log = heard(near)
    await expect.poll(() => log).toEqual(['data 120'])
    near.destroy()
  })
})
