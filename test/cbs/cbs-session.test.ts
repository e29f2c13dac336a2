import { afterEach, describe, expect, it } from 'vitest'
import { CbsSession, type CbsToken } from '../../src/cbs/cbs-session.ts'
import type { Connection, Delivery, IncomingLink, Link, Listener, Sender } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ClosedError, DeliveryError, ProtocolError, RemoteError, UsageError } from '../../src/errors.ts'
import { EncodedMessage } from '../../src/message/encode.ts'
import type { Message, MessageInit, PropertiesInit } from '../../src/message/message.ts'
import { int, Uuid } from '../../src/types/values.ts'

const token: CbsToken = { type: 'test:token', value: 'the token', expiresAt: new Date('2030-01-01T00:00:00Z') }

/** What a `$cbs` node of the test does with a request. */
type Serve = (request: Message, answer: (message: MessageInit | EncodedMessage) => void, delivery: Delivery) => void

interface Peer extends AsyncDisposable {
  readonly cbs: CbsSession
  readonly client: Connection
  /** The links and the connection as the node has them. */
  readonly links: Link[]
  readonly server: Connection
}

const opened: AsyncDisposable[] = []

afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

async function connectTo(onLink: (link: IncomingLink) => void): Promise<{ client: Connection; server: Connection }> {
  const listener: Listener = await listen({})
  opened.push(listener)
  const served = new Promise<Connection>(resolve => {
    listener.on('connection', connection => {
      connection.on('session', incoming => {
        void incoming.accept().then(session => session.on('link', onLink))
      })
      resolve(connection)
    })
  })
  const client = await connect({ host: '127.0.0.1', port: listener.port })
  opened.push(client)
  return { client, server: await served }
}

async function attachTo(serve: Serve): Promise<Omit<Peer, keyof AsyncDisposable>> {
  const links: Link[] = []
  let sender: Sender | undefined
  const { client, server } = await connectTo(async link => {
    if (link.remoteRole === 'receiver') {
      expect(link.source?.address).toBe('$cbs')
      sender = await link.accept()
      links.push(sender)
      return
    }
    expect(link.target?.address).toBe('$cbs')
    const receiver = await link.accept()
    links.push(receiver)
    receiveInto(receiver, delivery =>
      serve(delivery.message, message => void sender?.send(message).catch(() => {}), delivery),
    )
  })
  const cbs = await CbsSession.attach(client)
  return { cbs, client, links, server }
}

async function receiveInto(receiver: AsyncIterable<Delivery>, take: (delivery: Delivery) => void): Promise<void> {
  try {
    for await (const delivery of receiver) {
      take(delivery)
      await delivery.accept().catch(() => {})
    }
  } catch {
    // The link has ended.
  }
}

const answerTo = (request: Message, status: unknown, description?: string): MessageInit => ({
  properties: { correlationId: request.properties?.messageId },
  applicationProperties: { 'status-code': status as never, 'status-description': description },
})

const accepting: Serve = (request, answer) => answer(answerTo(request, int(200), 'OK'))

describe('a request', () => {
  it('has the form that nodes expect', async () => {
    const requests: Message[] = []
    const { cbs } = await attachTo((request, answer, delivery) => {
      requests.push(request)
      accepting(request, answer, delivery)
    })
    await cbs.putToken('host/devices/d', token)
    const [request] = requests
    expect(request?.properties).toMatchObject({ messageId: expect.any(String), to: '$cbs', replyTo: 'cbs' })
    expect([...(request?.applicationProperties ?? [])]).toEqual([
      ['operation', 'put-token'],
      ['type', 'test:token'],
      ['name', 'host/devices/d'],
      ['expiration', token.expiresAt],
    ])
    expect(request?.toJSON()).toMatchObject({ body: expect.anything() })
    const body = request?.body
    expect(typeof body === 'object' && 'value' in body ? body.value : body).toBe('the token')
  })

  it.each<[string, string, Partial<CbsToken>]>([
    ['an empty audience', '', {}],
    ['an empty type', 'a', { type: '' }],
    ['an empty token', 'a', { value: '' }],
    ['an expiry that is no date', 'a', { expiresAt: new Date(Number.NaN) }],
  ])('is not made with %s', async (_, audience, part) => {
    const { cbs } = await attachTo(() => expect.unreachable())
    await expect(cbs.putToken(audience, { ...token, ...part })).rejects.toThrow(UsageError)
  })
})

describe('an answer', () => {
  it.each([200, 202, 299])('of status %i is success', async status => {
    const { cbs } = await attachTo((request, answer) => answer(answerTo(request, int(status))))
    await expect(cbs.putToken('a', token)).resolves.toBeUndefined()
  })

  it.each([
    [401, 'amqp:unauthorized-access'],
    [403, 'amqp:unauthorized-access'],
    [404, 'amqp:not-found'],
    [400, 'amqp:invalid-field'],
    [500, 'amqp:internal-error'],
    [199, 'amqp:internal-error'],
    [300, 'amqp:internal-error'],
  ])('of status %i is %s', async (status, condition) => {
    const { cbs } = await attachTo((request, answer) => answer(answerTo(request, int(status), 'because')))
    const error = await cbs.putToken('aud', token).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(RemoteError)
    expect(error).toMatchObject({ condition, description: 'because', scope: 'connection' })
    expect((error as RemoteError).info?.get('status-code')).toBe(status)
    expect((error as Error).message).toContain("'aud'")
    expect((error as Error).message).not.toContain(token.value)
  })

  it('may have its status in any integer type', async () => {
    const { cbs } = await attachTo((request, answer) => answer(answerTo(request, 200n)))
    await cbs.putToken('a', token)
  })

  it.each([undefined, '200', 200.5, null])('with the status %s is an error', async status => {
    const { cbs } = await attachTo((request, answer) => answer(answerTo(request, status)))
    await expect(cbs.putToken('a', token)).rejects.toThrow(ProtocolError)
    // The links stand, and other requests work.
    const error = await cbs.putToken('b', token).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(ProtocolError)
  })

  it.each<[string, (id: string) => PropertiesInit['correlationId']]>([
    ['uuid', id => Uuid.parse(id)],
    ['binary', id => new TextEncoder().encode(id)],
  ])('is matched by an id of type %s', async (_, idOf) => {
    const { cbs } = await attachTo((request, answer) => {
      const correlationId = idOf(String(request.properties?.messageId))
      answer({ properties: { correlationId }, applicationProperties: { 'status-code': int(200) } })
    })
    await cbs.putToken('a', token)
  })

  it('to nobody is passed over', async () => {
    const { cbs } = await attachTo((request, answer, delivery) => {
      answer({ properties: { correlationId: 'nobody' }, applicationProperties: { 'status-code': int(500) } })
      answer({ applicationProperties: { 'status-code': int(500) } })
      accepting(request, answer, delivery)
    })
    await cbs.putToken('a', token)
  })

  it('that is no message fails all that is pending: one of them was answered', async () => {
    const { cbs, client } = await attachTo((request, answer) => {
      if (request.applicationProperties?.get('name') === 'b') answer(new EncodedMessage(Uint8Array.of(0xff)))
    })
    const results = await Promise.allSettled(['a', 'b'].map(audience => cbs.putToken(audience, token)))
    for (const result of results)
      expect(result).toMatchObject({ reason: { code: 'ERR_AMQP_CLOSED', condition: 'amqp:decode-error' } })
    // The connection has nothing to do with it.
    await (await client.session()).end()
  })

  it('finds its request among several in flight', async () => {
    const waiting: (() => void)[] = []
    const { cbs } = await attachTo((request, answer) => {
      const status = request.applicationProperties?.get('name') === 'b' ? 401 : 200
      waiting.unshift(() => answer(answerTo(request, int(status))))
      if (waiting.length === 3) for (const go of waiting) go()
    })
    const results = await Promise.allSettled(['a', 'b', 'c'].map(audience => cbs.putToken(audience, token)))
    expect(results.map(result => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })
})

describe('cancellation', () => {
  it('forgets the request, and a late answer to it', async () => {
    let late = (): void => {}
    const { cbs } = await attachTo((request, answer, delivery) => {
      if (request.applicationProperties?.get('name') === 'slow') {
        late = () => answer(answerTo(request, int(401)))
        return
      }
      late()
      accepting(request, answer, delivery)
    })
    const abort = new AbortController()
    const slow = cbs.putToken('slow', token, { signal: abort.signal })
    setTimeout(() => abort.abort(new Error('enough')), 20)
    await expect(slow).rejects.toThrow('enough')
    await cbs.putToken('next', token)
  })

  it('before the call sends nothing', async () => {
    const { cbs } = await attachTo(() => expect.unreachable())
    await expect(cbs.putToken('a', token, { signal: AbortSignal.abort(new Error('no')) })).rejects.toThrow('no')
  })
})

describe('the end', () => {
  it('of the connection fails what is pending, and what comes after', async () => {
    const { cbs, server } = await attachTo(() => {})
    const pending = cbs.putToken('a', token)
    setTimeout(() => void server.close({ error: { condition: 'amqp:connection:forced' } }), 20)
    const error = await pending.catch((error: unknown) => error)
    expect(error).toBeInstanceOf(ClosedError)
    expect(error).toMatchObject({ condition: 'amqp:connection:forced' })
    await expect(cbs.putToken('b', token)).rejects.toThrow(ClosedError)
  })

  it.each([0, 1])('of link %i fails what is pending', async index => {
    const { cbs, links } = await attachTo(() => {})
    const pending = cbs.putToken('a', token)
    setTimeout(() => void links[index]?.close({ error: { condition: 'amqp:link:detach-forced' } }), 20)
    await expect(pending).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED', condition: 'amqp:link:detach-forced' })
  })

  it('by closing fails what is pending and leaves the connection open', async () => {
    const { cbs, client } = await attachTo(() => {})
    const pending = cbs.putToken('a', token)
    const failed = expect(pending).rejects.toThrow(ClosedError)
    await cbs.close()
    await failed
    await expect(cbs.putToken('b', token)).rejects.toThrow(ClosedError)
    await cbs.close()
    expect(await Promise.race([client.closed, Promise.resolve('open')])).toBe('open')
  })

  it('of a request by rejection is a DeliveryError', async () => {
    const { cbs } = await attachTo((_, __, delivery) => void delivery.reject({ condition: 'amqp:not-allowed' }))
    const error = await cbs.putToken('a', token).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(DeliveryError)
    expect(error).toMatchObject({ condition: 'amqp:not-allowed' })
  })

  it('comes at once where there is no such node', async () => {
    const { client } = await connectTo(link => link.refuse({ condition: 'amqp:not-found', description: 'no cbs here' }))
    await expect(CbsSession.attach(client)).rejects.toMatchObject({ condition: 'amqp:not-found' })
  })
})
