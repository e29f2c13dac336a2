/** Requests and answers over a pair of links: correlation of any kind, lateness, loss. §3.2.4 */

import { inspect } from 'node:util'
import { describe, expect, test, vi } from 'vitest'
import type { Delivery, IncomingLink, Link, Sender } from '../../src/client/api.ts'
import { ClosedError, DeliveryError, ProtocolError, RemoteError, UsageError } from '../../src/errors.ts'
import { EncodedMessage } from '../../src/message/encode.ts'
import type { Message, MessageInit } from '../../src/message/message.ts'
import { Uuid } from '../../src/types/values.ts'
import { pause } from '../waiting.ts'
import { type Joined, joined, settled } from './joined.ts'

type Answer = (message: MessageInit | EncodedMessage) => void
type Serve = (request: Message, answer: Answer, delivery: Delivery) => unknown

interface Node extends AsyncDisposable {
  readonly ends: Joined
  readonly links: Link[]
}

/** A node that serves requests, on a link of its own for the answers. */
async function node(serve: Serve, reply: { address: string } = { address: 'made for you' }): Promise<Node> {
  const links: Link[] = []
  let sender: Sender | undefined
  const onLink = async (link: IncomingLink) => {
    if (link.remoteRole === 'receiver') {
      sender = await link.accept(link.source?.dynamic ? { reply: { source: { dynamic: true, ...reply } } } : {})
      links.push(sender)
      return
    }
    const receiver = await link.accept()
    links.push(receiver)
    const answer: Answer = message => void sender?.send(message).catch(() => {})
    for await (const delivery of receiver) {
      await serve(delivery.message, answer, delivery)
      await delivery.accept().catch(() => {})
    }
  }
  const ends = await joined({ onLink })
  return { ends, links, [Symbol.asyncDispose]: () => ends[Symbol.asyncDispose]() }
}

const echo: Serve = ({ properties, body }, answer) =>
  answer({ properties: { correlationId: properties?.messageId }, body: `${body} back` })

describe('a request', () => {
  test('§3.5.3 is answered at a node that the peer made', async () => {
    const seen: Message[] = []
    await using at = await node((request, answer, delivery) => {
      seen.push(request)
      echo(request, answer, delivery)
    })
    await using link = await at.ends.near.request('orders')
    expect([link.address, link.replyTo]).toEqual(['orders', 'made for you'])
    expect((await link.send({ body: 'x', properties: { subject: 's' } })).body).toBe('x back')
    expect(seen[0]?.properties).toMatchObject({ replyTo: 'made for you', subject: 's', messageId: expect.any(String) })
    expect(inspect(link)).toBe("RequestLink { address: 'orders', replyTo: 'made for you', pending: 0 }")
  })

  test('is answered by a node itself, at an address of ours', async () => {
    await using at = await node(echo)
    await using link = await at.ends.near.request('$management', { replyTo: 'me' })
    expect(link.replyTo).toBe('me')
    expect((await link.send({ body: 'x' })).body).toBe('x back')
    const [near] = at.links.filter(({ source }) => source?.address === '$management')
    expect(near?.target?.address).toBe('me')
  })

  test('§3.5.3 a peer that keeps the address of its node to itself is a ProtocolError, and the session ends', async () => {
    await using at = await node(echo, { address: '' })
    expect(await settled(at.ends.near.request('orders'))).toBeInstanceOf(ProtocolError)
    await expect.poll(() => inspect(at.ends.sessions[0])).toContain("'ended'")
  })

  test('a peer that refuses either link refuses it', async () => {
    await using ends = await joined({ onLink: link => link.refuse({ condition: 'amqp:not-found' }) })
    expect(await settled(ends.near.request('q'))).toMatchObject({
      code: 'ERR_AMQP_REMOTE',
      condition: 'amqp:not-found',
    })
  })

  test.each<[string, unknown, unknown]>([
    ['string', 'My Id', 'My Id'],
    ['ulong', 7n, 7n],
    ['uuid', Uuid.parse('6f1f3c2e-0000-4000-8000-00000000000a'), Uuid.parse('6f1f3c2e-0000-4000-8000-00000000000a')],
    ['binary', Uint8Array.of(0xff, 0), Uint8Array.of(0xff, 0)],
    ['uuid for its text', '6F1F3C2E-0000-4000-8000-00000000000A', Uuid.parse('6f1f3c2e-0000-4000-8000-00000000000a')],
    ['binary for its text', 'abc', new TextEncoder().encode('abc')],
  ])('§3.2.4 finds its answer by an id of type %s', async (_, messageId, correlationId) => {
    await using at = await node((_request, answer) => {
      answer({ properties: { correlationId: 'another' }, body: 'wrong' })
      answer({ properties: { correlationId: correlationId as string }, body: 'right' })
    })
    await using link = await at.ends.near.request('q')
    expect((await link.send({ properties: { messageId: messageId as string } })).body).toBe('right')
    expect(link.unmatched).toBe(1)
  })

  test('§3.2.4 finds its answer by message-id, where the peer answers so', async () => {
    await using at = await node(({ properties }, answer) =>
      answer({ properties: { messageId: properties?.messageId }, body: 'so' }),
    )
    await using link = await at.ends.near.request('q')
    expect((await link.send({})).body).toBe('so')
  })

  test('is one of many; answers come in any order', async () => {
    const waiting: (() => void)[] = []
    await using at = await node((request, answer, delivery) => {
      waiting.unshift(() => echo(request, answer, delivery))
      if (waiting.length === 300) for (const go of waiting) go()
    })
    await using link = await at.ends.near.request('q')
    const answers = Array.from({ length: 300 }, (_, i) => link.send({ body: `${i}` }))
    expect(link.pending).toBe(300)
    expect((await Promise.all(answers)).map(({ body }) => body)).toEqual(answers.map((_, i) => `${i} back`))
    expect([link.pending, link.unmatched]).toEqual([0, 0])
  })

  test('with the id of one that waits is a UsageError; afterwards the id is free', async () => {
    await using at = await node(async (request, answer, delivery) => {
      await pause(10)
      echo(request, answer, delivery)
    })
    await using link = await at.ends.near.request('q')
    const first = link.send({ properties: { messageId: 1n } })
    expect(await settled(link.send({ properties: { messageId: '1' } }))).toBeInstanceOf(UsageError)
    await first
    await link.send({ properties: { messageId: '1' } })
  })

  test('that the peer rejects is a DeliveryError; one that cannot be encoded an EncodeError', async () => {
    await using at = await node((_, __, delivery) => delivery.reject({ condition: 'amqp:not-allowed' }))
    await using link = await at.ends.near.request('q')
    const error = await settled(link.send({}))
    expect(error).toBeInstanceOf(DeliveryError)
    expect(error).toMatchObject({ condition: 'amqp:not-allowed' })
    expect(await settled(link.send({ body: { value: Symbol('x') as never } }))).toMatchObject({
      code: 'ERR_AMQP_ENCODE',
    })
    expect(link.pending).toBe(0)
  })
})

describe('an answer', () => {
  test('that does not pass `check` is rejected, and fails its request alone', async () => {
    const outcomes: unknown[] = []
    await using at = await node((_, __, delivery) => delivery.accept())
    const check = ({ body }: Message) => {
      if (body === 'broken') throw new RangeError('broken')
      return body === 'bad' ? { condition: 'amqp:invalid-field', description: 'bad it is' } : undefined
    }
    await using link = await at.ends.near.request('q', { check })
    const sender = at.links.find((have): have is Sender => 'send' in have)
    const requests = ['bad', 'broken', 'good'].map(messageId => settled(link.send({ properties: { messageId } })))
    for (const body of ['bad', 'broken', 'good'])
      outcomes.push((await sender?.send({ properties: { correlationId: body }, body }))?.outcome)
    const [bad, broken, good] = await Promise.all(requests)
    expect(outcomes).toEqual(['rejected', 'accepted', 'accepted'])
    expect(bad).toBeInstanceOf(ProtocolError)
    expect(bad).toMatchObject({ condition: 'amqp:invalid-field', message: 'bad it is' })
    expect(broken).toBeInstanceOf(RangeError)
    expect(good).toMatchObject({ body: 'good' })
  })

  test('that is no message fails all that waits', async () => {
    await using at = await node((_, answer) => answer(new EncodedMessage(Uint8Array.of(0xff))))
    await using link = await at.ends.near.request('q')
    const error = await settled(link.send({}))
    expect(error).toBeInstanceOf(ClosedError)
    expect(error).toMatchObject({ condition: 'amqp:decode-error' })
    expect(await link.closed).toMatchObject({ by: 'local', error: { condition: 'amqp:decode-error' } })
  })
})

describe('patience', () => {
  test('ends by timeoutMs, of the request or else of the link; a late answer is counted', async () => {
    const answers: (() => void)[] = []
    await using at = await node((request, answer, delivery) => void answers.push(() => echo(request, answer, delivery)))
    await using link = await at.ends.near.request('q', { timeoutMs: 30 })
    expect(await settled(link.send({}))).toMatchObject({ name: 'TimeoutError' })
    const patient = link.send({ body: 'b' }, { timeoutMs: 20_000 })
    await pause(60)
    for (const go of answers) go()
    expect((await patient).body).toBe('b back')
    expect(link.unmatched).toBe(1)
    expect(await settled(link.send({}, { timeoutMs: 0 }))).toBeInstanceOf(UsageError)
    expect(await settled(at.ends.near.request('q', { timeoutMs: Number.NaN }))).toBeInstanceOf(UsageError)
  })

  test('ends by a signal; no timer and no listener is left behind', async () => {
    await using at = await node((request, answer, delivery) => {
      if (request.body === 'x') echo(request, answer, delivery)
    })
    await using link = await at.ends.near.request('q')
    const controller = new AbortController()
    const left = vi.spyOn(controller.signal, 'removeEventListener')
    const sent = settled(link.send({ body: 'y' }, { signal: controller.signal }))
    await link.send({ body: 'x' }, { signal: controller.signal, timeoutMs: 10_000 })
    expect(left).toHaveBeenCalledTimes(1)
    controller.abort('enough')
    expect(await sent).toBe('enough')
    expect(await settled(link.send({}, { signal: controller.signal }))).toBe('enough')
    expect(link.pending).toBe(0)
  })
})

describe('the end', () => {
  test.each([0, 1])('of link %i fails what waits, with the cause, and leaves the connection', async index => {
    await using at = await node(() => {})
    const link = await at.ends.near.request('q')
    const waiting = [settled(link.send({})), settled(link.send({}))]
    await pause(10)
    void at.links[index]?.close({ error: { condition: 'amqp:resource-deleted' } })
    for (const error of await Promise.all(waiting)) {
      expect(error).toBeInstanceOf(ClosedError)
      expect((error as Error).cause).toBeInstanceOf(RemoteError)
      expect(error).toMatchObject({ condition: 'amqp:resource-deleted' })
    }
    expect(await link.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:resource-deleted' } })
    expect(await settled(link.send({}))).toBeInstanceOf(ClosedError)
    await at.ends.near.session()
    await link.close()
  })

  test('by closing, and with the connection', async () => {
    await using at = await node(() => {})
    const link = await at.ends.near.request('q')
    const waiting = settled(link.send({}))
    await link.close()
    expect(await waiting).toBeInstanceOf(ClosedError)
    expect(await link.closed).toEqual({ by: 'local', error: undefined })
    const other = await at.ends.near.request('q')
    const cut = settled(other.send({}))
    at.ends.cut()
    expect(await cut).toBeInstanceOf(ClosedError)
    expect(await other.closed).toMatchObject({ by: 'transport' })
  })
})
