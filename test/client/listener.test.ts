/** Listeners and connections as objects: iterated, wrapped, closed with grace, kept from keeping the process. */

import { inspect } from 'node:util'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { Connection } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { sasl } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ClosedError, TransportError, UsageError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { fromHex } from '../peer/wire.ts'
import { pause } from '../waiting.ts'
import { joined, settled } from './joined.ts'

afterEach(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
})

describe('a listener', () => {
  test('iterated: connections as they come, until it is closed', async () => {
    const listener = await listen()
    const seen: Connection[] = []
    const loop = (async () => {
      for await (const connection of listener) seen.push(connection)
      return 'over'
    })()
    const near = await connect({ host: '127.0.0.1', port: listener.port })
    await expect.poll(() => seen.length).toBe(1)
    expect(seen[0]?.remote.containerId).toBeDefined()
    await listener.close()
    expect(await loop).toBe('over')
    expect(await near.closed).toMatchObject({ by: 'remote', error: undefined })
  })

  test('connections that came before anybody listened are handed over', async () => {
    await using listener = await listen()
    const near = await connect({ host: '127.0.0.1', port: listener.port })
    await pause(20)
    const seen: Connection[] = []
    listener.on('connection', connection => seen.push(connection))
    await expect.poll(() => seen.length).toBe(1)
    await near.close()
  })

  test('connections that nobody takes are closed', async () => {
    await using listener = await listen()
    const near = await connect({ host: '127.0.0.1', port: listener.port })
    expect(await near.closed).toMatchObject({ by: 'remote' })
  }, 10_000)

  test('its signal closes it; one that has fired makes none', async () => {
    const controller = new AbortController()
    const listener = await listen({ signal: controller.signal })
    const { port } = listener
    const near = await connect({ host: '127.0.0.1', port })
    controller.abort()
    expect(await near.closed).toMatchObject({ by: 'remote' })
    await listener.close()
    expect(await settled(connect({ host: '127.0.0.1', port }))).toBeInstanceOf(TransportError)
    expect(await settled(listen({ signal: AbortSignal.abort('why') }))).toBe('why')
  })

  test('without a port: 0, and peers by hand', async () => {
    await using listener = await listen({ port: null })
    expect(listener.port).toBe(0)
    expect(inspect(listener)).toBe('Listener { port: 0, connections: 0 }')
  })

  test('closed with grace: connections may end by themselves, and are closed when they do not', async () => {
    await using ends = await joined()
    const began = performance.now()
    const closing = ends.listener.close({ graceMs: 60_000 })
    await ends.near.close()
    await closing
    expect(performance.now() - began).toBeLessThan(10_000)
    await using others = await joined()
    await others.listener.close({ graceMs: 20 })
    expect(await others.near.closed).toMatchObject({ by: 'remote' })
  })

  test('closed while a peer is still opening: that peer is dropped', async () => {
    const [a, b] = memoryPair()
    const listener = await listen({ port: null })
    const accepting = settled(listener.accept(b))
    const near = settled(connect({ host: 'm', transport: a }))
    await listener.close()
    // Both ends may have opened by then: neither stays so.
    for (const end of [await accepting, await near])
      if (!(end instanceof Error)) expect(await (end as Connection).closed).toBeDefined()
    expect(inspect(listener)).toContain('connections: 0')
  })

  test('what wraps its transports may throw: that peer is dropped, and it is told', async () => {
    const boom = new Error('boom')
    await using listener = await listen({
      port: null,
      transport: () => {
        throw boom
      },
    })
    const errors: unknown[] = []
    listener.on('error', error => errors.push(error))
    const [, b] = memoryPair()
    const destroyed = vi.spyOn(b, 'destroy')
    expect(await settled(listener.accept(b))).toBe(boom)
    expect(errors).toEqual([boom])
    expect(destroyed).toHaveBeenCalledTimes(1)
  })
})

describe('a connection', () => {
  test('shows what it is while it opens, is open, and has ended', async () => {
    const [a] = memoryPair()
    const { ClientConnection } = await import('../../src/client/connection.ts')
    const carrier = { transport: a, host: 'h', peer: undefined, secure: true, security: { role: 'none' as const } }
    const opening = new ClientConnection(carrier, { containerId: 'c' })
    expect(inspect(opening)).toContain("state: 'opening'")
    expect(() => opening.remote).toThrow(ClosedError)
    expect([opening.identity, opening.peerCertificate]).toEqual([undefined, undefined])
    await using ends = await joined()
    expect(inspect(ends.near)).toContain("state: 'open'")
    await ends.near.close()
    expect(inspect(ends.near)).toContain("state: 'ended'")
    await ends.near.close()
    expect(await settled(ends.near.sender('q'))).toBeInstanceOf(ClosedError)
  })

  test('§2.4.5 idle-time-out 0 announces none', async () => {
    await using ends = await joined({ near: { idleTimeOut: 0, properties: { p: 1 } } })
    expect([ends.far.remote.idleTimeOut, ends.near.remote.idleTimeOut]).toEqual([undefined, 30_000])
    expect(ends.far.remote.properties.get('p')).toBe(1)
    expect(ends.near.remote.properties.size).toBe(0)
  })

  test('ref and unref reach its socket and its timer', async () => {
    await using listener = await listen()
    listener.on('connection', () => {})
    const { Socket } = await import('node:net')
    const refs = vi.spyOn(Socket.prototype, 'ref')
    const unrefs = vi.spyOn(Socket.prototype, 'unref')
    await using near = await connect({ host: '127.0.0.1', port: listener.port })
    near.unref()
    expect(unrefs).toHaveBeenCalled()
    refs.mockClear()
    near.ref()
    expect(refs).toHaveBeenCalledTimes(1)
    // Over a transport that has no such thing, nothing but the timer.
    await using ends = await joined()
    ends.near.unref()
    ends.near.ref()
    expect(refs).toHaveBeenCalledTimes(1)
  })

  test('cancelling a close drops the transport', async () => {
    await using ends = await joined()
    ends.mute()
    const controller = new AbortController()
    const closing = settled(ends.near.close({ signal: controller.signal }))
    await pause(5)
    const why = new Error('no time')
    controller.abort(why)
    expect(await closing).toBe(why)
    expect(await ends.near.closed).toMatchObject({ by: 'transport' })
    expect(await settled(ends.far.close({ signal: controller.signal }))).toBe(why)
  })

  test('AMQP_TRACE=frames prints what crosses on stderr, both ways', async () => {
    vi.stubEnv('AMQP_TRACE', 'x,frames')
    const lines: string[] = []
    vi.spyOn(process.stderr, 'write').mockImplementation(text => lines.push(String(text)) > 0)
    await using ends = await joined({ near: { containerId: 'near-end', sasl: false } })
    await ends.near.close()
    const mine = ` #${ends.near.id} near-end `
    const own = (): string[] => lines.filter(line => line.includes(mine)).map(line => line.slice(12 + mine.length))
    await expect.poll(() => own().length).toBe(6)
    expect(lines.every(line => /^\d\d:\d\d:\d\d\.\d{3} #\d+ /.test(line))).toBe(true)
    const kinds = own().map(line => /^. (?:\[0\] )?[\w-]+/.exec(line)?.[0])
    expect(kinds.sort()).toEqual(['← AMQP', '← [0] close', '← [0] open', '→ AMQP', '→ [0] close', '→ [0] open'])
    expect(own()[0]).toBe('→ AMQP 0 1.0.0\n')
  })
})

describe('connect', () => {
  test.each([
    ['no target', undefined],
    ['a number', 5],
  ])('%s is a UsageError', async (_what, target) => {
    expect(await settled(connect(target as never))).toBeInstanceOf(UsageError)
  })

  test.each([[{ host: '' }], [{}], [{ host: 5 }], ['amqp://'], ['http://host'], ['amqps:///path']])(
    '%j names no host, or is no AMQP',
    async target => {
      expect(await settled(connect(target as never))).toBeInstanceOf(UsageError)
    },
  )

  test('a URL object is as good as its text', async () => {
    await using listener = await listen()
    listener.on('connection', () => {})
    await using near = await connect(new URL(`amqp://127.0.0.1:${listener.port}`))
    expect(near.remote.maxFrameSize).toBe(65_536)
  })

  test('several mechanisms, in order of preference', async () => {
    await using ends = await joined({ near: { sasl: [sasl.plain('u', 'p'), sasl.anonymous('trace')] } })
    expect(ends.far.identity).toBeUndefined()
  })

  test('a transport whose connection cannot be made is destroyed', async () => {
    const [a] = memoryPair()
    const destroyed = vi.spyOn(a, 'destroy')
    const limits = Object.defineProperty({}, 'maxNesting', {
      enumerable: true,
      get() {
        throw new RangeError('from the caller’s own object')
      },
    })
    expect(await settled(connect({ host: 'h', transport: a, limits }))).toBeInstanceOf(RangeError)
    expect(destroyed).toHaveBeenCalled()
  })

  test('the port is the standard’s where none is said: 5672, and 5671 with TLS', async () => {
    const { Socket } = await import('node:net')
    const ports: unknown[] = []
    vi.spyOn(Socket.prototype, 'connect').mockImplementation(function (this: InstanceType<typeof Socket>, to: unknown) {
      ports.push(((Array.isArray(to) ? to[0] : to) as { port?: unknown }).port)
      setImmediate(() => this.destroy(new Error('not here')))
      return this
    })
    await settled(connect('amqp://127.0.0.1'))
    await settled(connect({ host: '127.0.0.1', tls: true }))
    expect(ports).toEqual([5672, 5671])
  })

  test('a peer that answers with nothing but a header and an end', async () => {
    const [a, b] = memoryPair()
    b.write([fromHex('414d5150 00 010000')])
    b.start({ data: () => {}, drain: () => {}, end: () => {} })
    setTimeout(() => b.end(), 20)
    expect(await settled(connect({ host: 'h', transport: a, sasl: false }))).toBeInstanceOf(TransportError)
  })
})
