/** Every promise settles, with the first cause, however a connection, session or link ends. */

import { createServer, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { Connection, IncomingLink, Listener, Receiver } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ListenOptions } from '../../src/client/options.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import {
  ClosedError,
  DecodeError,
  ProtocolError,
  RemoteError,
  SaslError,
  TransportError,
  UsageError,
} from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { pause } from '../waiting.ts'

let listener: Listener | undefined
afterEach(async () => {
  await listener?.close()
  listener = undefined
})

/** A listener that hands its connections' links to `onLink`, and a connection to it. */
async function served(
  onLink: (link: IncomingLink) => unknown = link => link.accept(),
  options: ListenOptions = {},
): Promise<{ near: Connection; far: Connection }> {
  const server = await listen({ port: 0, ...options })
  listener = server
  const far = new Promise<Connection>(resolve => server.on('connection', resolve))
  const near = await connect({ host: '127.0.0.1', port: server.port })
  const farEnd = await far
  farEnd.on('session', async incoming => {
    const session = await incoming.accept()
    session.on('link', onLink)
  })
  return { near, far: farEnd }
}

const settled = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    value => value,
    error => error,
  )

describe('§2.4.3 the end of a connection settles what waits beneath it', () => {
  test('the socket dies: sends, receives, ready, attach, close', async () => {
    const { near, far } = await served(link =>
      // Nobody grants credit, and one link is never answered.
      link.name === 'ignored'
        ? undefined
        : link.remoteRole === 'sender'
          ? link.accept({ credit: 'manual' })
          : link.accept(),
    )
    const sender = await near.sender('a', { maxPending: 4 })
    const receiver = await near.receiver('b')
    const sends = [1, 2, 3, 4].map(i => settled(sender.send({ body: Uint8Array.of(i) })))
    const waiting = [
      ...sends,
      settled(sender.ready()),
      settled(receiver.receive()),
      settled(near.sender('c', { name: 'ignored' })),
      settled(sender.close()),
    ]
    await pause(30)
    ;(far as unknown as { destroy(): void }).destroy()
    const results = await Promise.all(waiting)
    const closure = await near.closed
    expect(closure).toMatchObject({ by: 'transport', error: { code: 'ERR_AMQP_TRANSPORT' } })
    for (const result of results.slice(0, 6)) {
      expect(result).toBeInstanceOf(ClosedError)
      expect((result as ClosedError).cause).toBe(closure.error)
    }
    expect(results[6]).toBeInstanceOf(TransportError)
    expect(await sender.closed).toEqual(closure)
    expect(await settled(sender.send({ body: 'late' }))).toBeInstanceOf(ClosedError)
    expect(await settled(near.session())).toBeInstanceOf(ClosedError)
  })

  test('the peer closes with an error: it reaches every promise as the cause', async () => {
    const { near, far } = await served(link =>
      link.remoteRole === 'sender' ? link.accept({ credit: 'manual' }) : undefined,
    )
    const sender = await near.sender('a')
    const send = settled(sender.send({ body: 'x' }))
    await far.close({ error: { condition: 'amqp:connection:forced', description: 'maintenance' } })
    expect(await near.closed).toMatchObject({
      by: 'remote',
      error: { code: 'ERR_AMQP_REMOTE', condition: 'amqp:connection:forced', description: 'maintenance' },
    })
    const error = (await send) as ClosedError
    expect(error).toBeInstanceOf(ClosedError)
    expect(error.cause).toBeInstanceOf(RemoteError)
    expect(error.condition).toBe('amqp:connection:forced')
    // Without credit nothing of it had left.
    expect(error.scope).toBe('link')
    expect(await far.closed).toEqual({ by: 'local', error: undefined })
  })

  test('what is begun when the end has come and is not told yet is refused as of something closed', async () => {
    const [a, b] = memoryPair()
    const held: Uint8Array[] = []
    let holds = false
    let receiver: Receiver | undefined
    listener = await listen({
      port: null,
      links: async link => {
        if (link.remoteRole === 'sender') receiver = await link.accept({ credit: 'manual' })
      },
    })
    const accepting = listener.accept({
      start: sink => b.start(sink),
      write: chunks => (holds ? held.push(...chunks) > 0 : b.write(chunks)),
      end: () => b.end(),
      destroy: error => b.destroy(error),
    })
    const near = await connect({ host: 'memory', transport: a })
    const far = await accepting
    const session = await near.session()
    const sender = await session.sender('a')
    const early: Promise<unknown>[] = []
    // What comes in one piece is told one after the other: of the close nobody here has heard.
    sender.on('credit', () =>
      early.push(
        ...[near.session(), near.sender('b'), near.receiver('c'), near.request('d'), session.sender('e')].map(settled),
      ),
    )
    holds = true
    receiver?.addCredit(1)
    const closed = far.close({ error: { condition: 'amqp:connection:forced' } })
    await pause(5)
    b.write([Buffer.concat(held)])
    await Promise.all([closed, near.closed])
    expect(early).toHaveLength(5)
    for (const error of await Promise.all(early)) {
      expect(error).toBeInstanceOf(ClosedError)
      expect(error).toMatchObject({ condition: 'amqp:connection:forced' })
    }
  })

  test('while it is being closed from here, nothing is begun any more', async () => {
    const { near } = await served()
    const session = await near.session()
    const ended = session.end()
    const closed = near.close({ error: { condition: 'amqp:internal-error' } })
    const late = [near.session(), near.sender('b'), near.receiver('c'), session.sender('d'), session.transaction()]
    for (const error of await Promise.all(late.map(settled))) expect(error).toBeInstanceOf(ClosedError)
    await Promise.all([ended, closed])
  })

  test('a session that is being ended attaches no more links', async () => {
    const { near } = await served()
    const session = await near.session()
    const ended = session.end({ error: { condition: 'amqp:internal-error' } })
    await new Promise(resolve => setImmediate(resolve))
    expect(await settled(session.sender('d'))).toBeInstanceOf(ClosedError)
    await ended
  })

  test('an iteration over a receiver ends when the connection is closed here, and throws when it was not', async () => {
    const { near } = await served()
    const receiver = await near.receiver('b')
    const loop = (async () => {
      for await (const _ of receiver) throw new Error('nothing was sent')
      return 'done'
    })()
    await near.close()
    expect(await loop).toBe('done')

    const again = await served()
    const other = await again.near.receiver('b')
    const failing = settled(
      (async () => {
        for await (const _ of other) throw new Error('nothing was sent')
      })(),
    )
    ;(again.far as unknown as { destroy(): void }).destroy()
    expect(await failing).toBeInstanceOf(ClosedError)
  })
})

describe('§2.6 the end of a link', () => {
  test('§2.6.3 a refused attach rejects with the condition', async () => {
    const { near } = await served(link => link.refuse({ condition: 'amqp:not-found', description: 'no such node' }))
    const error = await settled(near.sender('nowhere'))
    expect(error).toBeInstanceOf(RemoteError)
    expect(error).toMatchObject({ condition: 'amqp:not-found', scope: 'link', description: 'no such node' })
  })

  test('§2.6.5 a detach with an error rejects queued and unsettled sends, and leaves the connection alone', async () => {
    const { near } = await served(async link => {
      if (link.remoteRole !== 'sender') return
      const receiver = await link.accept({ credit: 'manual' })
      if (link.target?.address !== 'a') return
      receiver.addCredit(1)
      await receiver.receive()
      await receiver.close({ error: { condition: 'amqp:resource-deleted', description: 'gone' } })
    })
    const sender = await near.sender('a')
    const [first, second] = await Promise.all([
      settled(sender.send({ body: 'unsettled' })),
      settled(sender.send({ body: 'queued' })),
    ])
    for (const error of [first, second])
      expect(error).toMatchObject({ code: 'ERR_AMQP_CLOSED', condition: 'amqp:resource-deleted' })
    expect(await sender.closed).toMatchObject({ by: 'remote' })
    await near.sender('another')
  })

  test('§2.6.12 a delivery cannot be settled after its link has ended; forgetting the promise is harmless', async () => {
    const { near } = await served(async link => {
      if (link.remoteRole !== 'receiver') return
      const sender = await link.accept()
      settled(sender.send({ body: 'x' }))
    })
    const receiver = await near.receiver('b')
    const delivery = await receiver.receive()
    await receiver.close()
    expect(delivery.state).toBe('lost')
    void delivery.accept()
    expect(await settled(delivery.accept())).toBeInstanceOf(ClosedError)
  })

  test('§2.6.12 settling twice: the same again is nothing, something else is refused', async () => {
    const { near } = await served(async link => {
      if (link.remoteRole === 'receiver') settled((await link.accept()).send({ body: 'x' }))
    })
    const delivery = await (await near.receiver('b')).receive()
    await delivery.accept()
    await delivery.accept()
    expect(delivery.state).toBe('settled')
    expect(await settled(delivery.reject())).toBeInstanceOf(UsageError)
  })
})

describe('cancellation', () => {
  test('a queued send is removed and never arrives', async () => {
    const bodies: unknown[] = []
    let open: (() => void) | undefined
    const { near } = await served(async link => {
      if (link.remoteRole !== 'sender') return
      const receiver = await link.accept({ credit: 'manual' })
      open = () => receiver.addCredit(10)
      for await (const delivery of receiver) {
        bodies.push(delivery.message.body)
        await delivery.accept()
      }
    })
    const sender = await near.sender('a')
    const abort = new AbortController()
    const cancelled = settled(sender.send({ body: 'cancelled' }, { signal: abort.signal }))
    const kept = sender.send({ body: 'kept' })
    const why = new Error('changed my mind')
    abort.abort(why)
    expect(await cancelled).toBe(why)
    open?.()
    expect(await kept).toEqual({ outcome: 'accepted' })
    expect(bodies).toEqual(['kept'])
  })

  test('receive loses nothing', async () => {
    let sendNow: (() => void) | undefined
    const { near } = await served(async link => {
      if (link.remoteRole !== 'receiver') return
      const sender = await link.accept()
      sendNow = () => settled(sender.send({ body: 'x' }))
    })
    const receiver = await near.receiver('b')
    await expect(receiver.receive({ signal: AbortSignal.timeout(10) })).rejects.toMatchObject({ name: 'TimeoutError' })
    sendNow?.()
    expect((await receiver.receive()).message.body).toBe('x')
  })

  test('connect: the signal drops the socket', async () => {
    const silent: Server = createServer()
    const sockets: Socket[] = []
    silent.on('connection', socket => sockets.push(socket.resume()))
    await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve))
    const { port } = silent.address() as { port: number }
    await expect(connect({ host: '127.0.0.1', port, signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      name: 'TimeoutError',
    })
    await new Promise<void>(resolve => (sockets[0]?.destroyed ? resolve() : sockets[0]?.on('close', () => resolve())))
    silent.close()
  })
})

describe('§5.3 authentication', () => {
  const users = (): ListenOptions => ({
    sasl: [saslServer.plain((user, password) => user === 'jürgen' && password === 'pässwörd€')],
    allowNoSasl: false,
  })

  test('PLAIN, beyond ASCII, from a URL and from options', async () => {
    listener = await listen(users())
    const accepted = new Promise<Connection>(resolve => listener?.on('connection', resolve))
    const url = `amqp://${encodeURIComponent('jürgen')}:${encodeURIComponent('pässwörd€')}@127.0.0.1:${listener.port}`
    const near = await connect(url, { allowInsecureAuth: true })
    expect((await accepted).identity).toBe('jürgen')
    await near.close()
  })

  test('a wrong password is a SaslError with the outcome', async () => {
    listener = await listen(users())
    const error = await settled(
      connect({ host: '127.0.0.1', port: listener.port, sasl: sasl.plain('jürgen', 'guess'), allowInsecureAuth: true }),
    )
    expect(error).toBeInstanceOf(SaslError)
    expect(error).toMatchObject({ outcome: 'auth' })
    expect(String(error)).not.toContain('guess')
  })

  test('PLAIN without TLS is refused before anything is sent, unless allowed', async () => {
    listener = await listen(users())
    const error = await settled(connect({ host: '127.0.0.1', port: listener.port, sasl: sasl.plain('u', 'p') }))
    expect(error).toBeInstanceOf(SaslError)
    expect(String(error)).toContain('without TLS')
  })

  test('no common mechanism is said with both lists', async () => {
    listener = await listen(users())
    const error = await settled(connect({ host: '127.0.0.1', port: listener.port }))
    expect(String(error)).toContain(`127.0.0.1:${listener.port} offers PLAIN, we have ANONYMOUS`)
  })

  test('§2.2 a server that demands SASL answers an AMQP header with its own, and closes', async () => {
    listener = await listen(users())
    const error = await settled(connect({ host: '127.0.0.1', port: listener.port, sasl: false }))
    expect(error).toBeInstanceOf(ProtocolError)
    expect(String(error)).toContain('AMQP 3 1.0.0')
  })

  test('without SASL, where it is allowed', async () => {
    listener = await listen({})
    await using near = await connect({ host: '127.0.0.1', port: listener.port, sasl: false })
    expect(near.remote.maxFrameSize).toBe(65_536)
  })
})

describe('what is wrong in what we are given', () => {
  test('an encode error rejects that send and changes nothing', async () => {
    const { near } = await served(async link => {
      if (link.remoteRole === 'sender') for await (const delivery of await link.accept()) await delivery.accept()
    })
    const sender = await near.sender('a')
    const error = await settled(sender.send({ applicationProperties: { bad: {} as never } }))
    expect(error).toMatchObject({ code: 'ERR_AMQP_ENCODE', path: 'applicationProperties.bad' })
    expect(await sender.send({ body: 'fine' })).toEqual({ outcome: 'accepted' })
  })

  test('beyond maxPending send rejects, and ready tells when there is room', async () => {
    let open: (() => void) | undefined
    const { near } = await served(async link => {
      if (link.remoteRole !== 'sender') return
      const receiver = await link.accept({ credit: 'manual' })
      open = () => receiver.addCredit(10)
      for await (const delivery of receiver) await delivery.accept()
    })
    const sender = await near.sender('a', { maxPending: 2 })
    const sends = [sender.send({ body: '1' }), sender.send({ body: '2' })]
    expect(await settled(sender.send({ body: '3' }))).toBeInstanceOf(UsageError)
    const ready = sender.ready()
    open?.()
    await ready
    expect(await Promise.all(sends)).toEqual([{ outcome: 'accepted' }, { outcome: 'accepted' }])
  })

  test('bytes that are no message throw when they are read, not before', async () => {
    const { near } = await served(async link => {
      if (link.remoteRole !== 'receiver') return
      const sender = await link.accept()
      const { EncodedMessage } = await import('../../src/message/encode.ts')
      settled(sender.send(new EncodedMessage(Uint8Array.of(0xff, 0xff))))
    })
    const delivery = await (await near.receiver('b')).receive()
    expect(delivery.bytes).toEqual(Uint8Array.of(0xff, 0xff))
    expect(() => delivery.message).toThrow(DecodeError)
    await delivery.reject({ condition: 'amqp:decode-error' })
  })

  test('a target that is not a URL is refused without showing it', async () => {
    const error = await settled(connect('user:hunter2@host'))
    expect(error).toBeInstanceOf(UsageError)
    expect(String(error)).not.toContain('hunter2')
  })
})

test('a peer that is not AMQP at all', async () => {
  const web = createServer(socket => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'))
  await new Promise<void>(resolve => web.listen(0, '127.0.0.1', resolve))
  const error = await settled(connect({ host: '127.0.0.1', port: (web.address() as { port: number }).port }))
  expect(error).toBeInstanceOf(ProtocolError)
  expect(String(error)).toContain('not an AMQP header')
  web.close()
})

test('a session that nobody takes is refused', async () => {
  const [a, b] = memoryPair()
  listener = await listen({})
  const far = listener.accept(b)
  const near = await connect({ host: 'm', transport: a })
  await far
  // The standard has no way to refuse a session but to begin and end it. §2.5.1
  await expect(near.session()).rejects.toMatchObject({ code: 'ERR_AMQP_REMOTE', condition: 'amqp:not-allowed' })
}, 5000)

test('closing waits for outcomes; what ends meanwhile ends the waiting, and no outcome is lost', async () => {
  let answer: (() => void) | undefined
  const { near, far } = await served(async link => {
    if (link.remoteRole !== 'sender') return
    const receiver = await link.accept()
    const delivery = await receiver.receive()
    answer = () => void delivery.accept()
  })
  const sender = await near.sender('a')
  const sent = sender.send({ body: 'x' })
  const closing = near.close()
  while (!answer) await pause(5)
  answer()
  expect(await sent).toEqual({ outcome: 'accepted' })
  await closing
  expect(await far.closed).toMatchObject({ by: 'remote' })

  const again = await served(link => (link.remoteRole === 'sender' ? link.accept({ credit: 'manual' }) : undefined))
  const other = await again.near.sender('a')
  const lost = settled(other.send({ body: 'x' }))
  const closes = [settled(other.close()), settled(other.session.end()), settled(again.near.close())]
  ;(again.far as unknown as { destroy(): void }).destroy()
  expect(await lost).toBeInstanceOf(ClosedError)
  expect(await Promise.all(closes)).toEqual([undefined, undefined, undefined])
})

test('§2.6.1 a link may be closed and opened again under its name in one turn: the detach goes first', async () => {
  const frames: string[] = []
  listener = await listen({ port: null })
  const [a, b] = memoryPair()
  listener
    .accept(b)
    .then(connection =>
      connection.on('session', async incoming => (await incoming.accept()).on('link', link => link.accept())),
    )
  const trace = (frame: { direction: string; body: unknown }) => {
    const type = (frame.body as { type?: string } | undefined)?.type
    if (frame.direction === 'out' && (type === 'attach' || type === 'detach')) frames.push(type)
  }
  const near = await connect({ host: 'm', transport: a, trace })
  const first = await near.receiver('q', { name: 'n' })
  const closing = first.close()
  const second = await near.receiver('q', { name: 'n' })
  await closing
  expect(frames).toEqual(['attach', 'detach', 'attach'])
  expect(second.name).toBe('n')
  await near.close()
})
