/** The driver's last resorts: timers too long, transports that do not end, bugs, peers that do not read. */

import { connect as connectTcp, createServer, type Socket } from 'node:net'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { Connection } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ClientConnection } from '../../src/client/connection.ts'
import type { ConnectOptions, ListenOptions } from '../../src/client/options.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { TransportError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport, TransportSink } from '../../src/io/transport.ts'
import { amqpHeader } from '../peer/wire.ts'
import { pause } from '../waiting.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

/** A pair of connections over memory, the accepting end's transport wrapped. */
async function linked(
  near: Partial<ConnectOptions> = {},
  far: ListenOptions = {},
  wrap: (transport: Transport) => Transport = transport => transport,
): Promise<{ near: Connection; far: ClientConnection }> {
  const [a, b] = memoryPair()
  const listener = await listen({ ...far, port: null })
  const accepting = listener.accept(wrap(b))
  accepting.catch(() => {})
  const connection = await connect({ host: 'memory', transport: a, ...near })
  return { near: connection, far: (await accepting) as ClientConnection }
}

describe('timers', () => {
  test('time-outs that setTimeout cannot wait for are waited for, not fired at once', async () => {
    const options = { limits: { headerOnlyMs: 1e12, handshakeMs: 1e12, closeMs: 1e12 } }
    const spy = vi.spyOn(globalThis, 'setTimeout')
    const { near } = await linked(options, options)
    await near.close()
    expect(spy.mock.calls.length).toBeGreaterThan(1)
    expect(spy.mock.calls.filter(([, ms]) => (ms ?? 0) > 2 ** 31 - 1)).toEqual([])
  })

  test('no timer outlives a socket that the peer has dropped', async () => {
    const closeMs = 54_322
    const set = vi.spyOn(globalThis, 'setTimeout')
    const clear = vi.spyOn(globalThis, 'clearTimeout')
    await using listener = await listen({ limits: { closeMs } })
    let failed = 0
    listener.on('error', () => failed++)
    for (let i = 0; i < 5; i++) {
      const socket = connectTcp({ host: '127.0.0.1', port: listener.port })
      await new Promise<void>(resolve => socket.write(amqpHeader, () => resolve()))
      socket.destroy()
    }
    await expect.poll(() => failed).toBe(5)
    const made = set.mock.results.filter((_, i) => set.mock.calls[i]?.[1] === closeMs)
    const left = () => made.filter(({ value }) => !clear.mock.calls.some(([timer]) => timer === value))
    await expect.poll(left).toEqual([])
  })

  test('no timer outlives a connection that both ends have closed', async () => {
    const closeMs = 54_321
    const set = vi.spyOn(globalThis, 'setTimeout')
    const clear = vi.spyOn(globalThis, 'clearTimeout')
    const left = (): number => {
      const cleared = new Set<unknown>(clear.mock.calls.map(([timer]) => timer))
      const results = set.mock.results.filter((_, i) => set.mock.calls[i]?.[1] === closeMs)
      return results.filter(({ value }) => !cleared.has(value)).length
    }
    await using listener = await listen({ limits: { closeMs } })
    listener.on('connection', () => {})
    const connection = await connect({ host: '127.0.0.1', port: listener.port, limits: { closeMs } })
    await connection.close()
    // One at each end, since neither knows that the other has dropped its socket.
    await expect.poll(() => set.mock.calls.filter(([, ms]) => ms === closeMs).length).toBeGreaterThan(1)
    await expect.poll(left).toBe(0)
  })
})

describe('a bug ends its connection, and no other', () => {
  test('a tracer that throws', async () => {
    const boom = new Error('boom')
    const error = await linked({
      trace: () => {
        throw boom
      },
    }).catch(error => error)
    expect(error).toBeInstanceOf(TransportError)
    expect(error.cause).toBe(boom)
  })

  test('an engine that throws when asked for output', async () => {
    const { near, far } = await linked()
    const boom = new Error('boom')
    vi.spyOn(far.engine, 'output').mockImplementation(() => {
      throw boom
    })
    near.session().catch(() => {})
    far.touch()
    expect(await far.closed).toMatchObject({ by: 'transport', error: { code: 'ERR_AMQP_TRANSPORT', cause: boom } })
    expect((await near.closed).by).toBe('transport')
  })
})

describe('a peer that does not read its answers', () => {
  test('is read no further while more than a mebibyte of them waits, until it reads', async () => {
    let blocked = false
    let deaf = false
    let pauses = 0
    let resumes = 0
    let sink: TransportSink | undefined
    const { near, far } = await linked({ limits: { maxSessions: 65_536 } }, {}, transport => ({
      start: given => {
        sink = given
        transport.start({ ...given, drain: () => {}, data: bytes => given.data(bytes), end: e => given.end(e) })
      },
      write: chunks => {
        transport.write(chunks)
        if (deaf) blocked = true
        return !deaf
      },
      end: () => transport.end(),
      destroy: error => transport.destroy(error),
      pause: () => {
        pauses++
        transport.pause?.()
      },
      resume: () => {
        resumes++
        transport.resume?.()
      },
    }))
    far.on('session', async incoming => {
      const session = await incoming.accept()
      session.on('link', link => link.refuse({ condition: 'amqp:not-found', description: 'x'.repeat(400) }))
    })
    const session = await near.session()
    deaf = true
    let refused = 0
    const flood = (async () => {
      for (let i = 0; i < 150 && pauses === 0; i++) {
        for (let j = 0; j < 100; j++) session.sender('q').catch(() => refused++)
        await pause()
      }
    })()
    await expect.poll(() => pauses, { timeout: 15_000 }).toBe(1)
    await flood
    expect(blocked).toBe(true)
    const held = far.engine.writer.pending
    expect(held).toBeGreaterThan(1 << 20)
    for (let j = 0; j < 1000; j++) session.sender('q').catch(() => refused++)
    await pause(50)
    // What was in one chunk already was read; nothing after it.
    expect(far.engine.writer.pending).toBe(held)
    deaf = false
    sink?.drain()
    await expect.poll(() => resumes).toBe(1)
    await expect.poll(() => refused, { timeout: 15_000 }).toBeGreaterThan(1000)
    await near.close()
  }, 45_000)

  test('a socket that is paused delivers nothing, and everything when it resumes', async () => {
    const transports: string[] = []
    const server = createServer()
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const accepted = new Promise<Socket>(resolve => server.once('connection', resolve))
    const { socketTransport } = await import('../../src/io/socket.ts')
    const { connectSocket } = await import('../../src/io/socket.ts')
    const { port } = server.address() as { port: number }
    const near = await connectSocket({ host: '127.0.0.1', port, tls: undefined, withinMs: 1000 })
    const far = socketTransport(await accepted)
    far.start({
      data: bytes => transports.push(`data ${bytes.length}`),
      drain: () => {},
      end: () => transports.push('end'),
    })
    near.start({ data: () => {}, drain: () => {}, end: () => {} })
    far.pause?.()
    near.write([new Uint8Array(10)])
    await pause(30)
    expect(transports).toEqual([])
    far.resume?.()
    await expect.poll(() => transports).toEqual(['data 10'])
    near.destroy()
    await expect.poll(() => transports).toEqual(['data 10', 'end'])
    server.close()
  })
})
