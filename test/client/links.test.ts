/** Links: what both ends see of each other, every way to end one, and a peer that does not answer. §2.6 */

import { describe, expect, test } from 'vitest'
import type { IncomingLink, Receiver, Sender } from '../../src/client/api.ts'
import { ClosedError, RemoteError, UsageError } from '../../src/errors.ts'
import { AmqpSymbol } from '../../src/types/values.ts'
import { pause } from '../waiting.ts'
import { joined, settled } from './joined.ts'

const entries = (map: ReadonlyMap<unknown, unknown> | undefined): unknown[] =>
  [...(map ?? [])].map(([key, value]) => [key instanceof AmqpSymbol ? `:${key.name}` : key, value])

describe('§2.6.3 what an attach tells', () => {
  test('the accepting end sees it all, and its answer is seen here', async () => {
    let seen: IncomingLink | undefined
    await using ends = await joined({
      onLink: async link => {
        seen = link
        if (link.remoteRole === 'sender')
          await link.accept({ maxMessageSize: 1000n, reply: { properties: { b: 2 }, offeredCapabilities: ['x'] } })
      },
    })
    const sender = await ends.near.sender('q', {
      name: 'n',
      properties: { a: 1 },
      desiredCapabilities: ['cap'],
      settle: 'unsettled',
      source: { address: 's' },
    })
    expect(seen).toMatchObject({
      name: 'n',
      remoteRole: 'sender',
      source: { address: 's' },
      target: { address: 'q' },
      desiredCapabilities: ['cap'],
      sndSettleMode: 'unsettled',
      rcvSettleMode: 'first',
    })
    expect(entries(seen?.properties)).toEqual([[':a', 1]])
    expect(entries(sender.properties)).toEqual([[':b', 2]])
    expect([sender.name, sender.remoteMaxMessageSize]).toEqual(['n', 1000n])
    expect(sender.target).toEqual({ address: 'q', expiryPolicy: 'link-detach' })
    expect(sender.session.connection).toBe(ends.near)
    expect(await settled(sender.send({ body: new Uint8Array(2000) }))).toMatchObject({
      code: 'ERR_AMQP_USAGE',
      message: expect.stringContaining('which takes 1000'),
    })
  })

  test('properties and limits that were not told: none', async () => {
    let far: Sender | undefined
    await using ends = await joined({
      onLink: async link => {
        if (link.remoteRole === 'receiver') far = await link.accept()
      },
    })
    const receiver = await ends.near.receiver('q')
    expect([entries(receiver.properties), receiver.remoteMaxMessageSize]).toEqual([[], undefined])
    expect(far?.remoteMaxMessageSize).toBe(64n << 20n)
  })

  test('§2.8.2 §2.8.3 a reply may give other termini and modes than were asked for', async () => {
    const far: (Sender | Receiver)[] = []
    await using ends = await joined({
      onLink: async link => {
        if (link.remoteRole === 'sender') {
          far.push(await link.accept({ reply: { target: { address: 'other' }, source: { address: 'who' } } }))
        } else far.push(await link.accept({ settle: 'settled', reply: { source: { address: 'made', dynamic: true } } }))
      },
    })
    const sender = await ends.near.sender('q')
    expect([sender.target?.address, sender.source]).toEqual(['other', { address: 'who' }])
    const receiver = await ends.near.receiver({ dynamic: true })
    expect(receiver.source).toMatchObject({ address: 'made', dynamic: true })
    // Sent settled, as the accepting end has chosen.
    void (far[1] as Sender).send({ body: 'x' })
    expect((await receiver.receive()).settled).toBe(true)
  })

  test('§2.6.3 a reply with null for a terminus makes no link', async () => {
    await using ends = await joined({
      onLink: async link => {
        const far = await (link.remoteRole === 'sender'
          ? link.accept({ reply: { target: null } })
          : link.accept({ reply: { source: null } }))
        await far.close({ error: { condition: 'amqp:not-found' } })
      },
    })
    expect(await settled(ends.near.sender('q'))).toMatchObject({ condition: 'amqp:not-found' })
    expect(await settled(ends.near.receiver('q'))).toMatchObject({ condition: 'amqp:not-found' })
  })

  test.each([
    ['a target', (c: { sender(target: never): unknown }) => c.sender(undefined as never), 'a sender needs a target'],
    ['a source', (c: { receiver(source: never): unknown }) => c.receiver(5 as never), 'a receiver needs a source'],
  ])('%s that is none is refused before anything is sent', async (_what, ask, message) => {
    await using ends = await joined()
    const error = await settled(ask(ends.near as never) as Promise<unknown>)
    expect(error).toBeInstanceOf(UsageError)
    expect(String(error)).toContain(message)
  })

  test.each([[{ window: 0 }], [{ window: 1.5 }], [{ window: 2 ** 31 }], ['auto'], [null]])(
    'credit %j is refused',
    async credit => {
      await using ends = await joined()
      const error = await settled(ends.near.receiver('q', { credit: credit as never }))
      expect(error).toBeInstanceOf(UsageError)
      expect(String(error)).toContain('credit is')
    },
  )

  test('what cannot be encoded in an attach is refused, and the session goes on', async () => {
    await using ends = await joined()
    const session = await ends.near.session()
    const error = await settled(session.sender('q', { name: 'n', properties: { a: {} as never } }))
    expect(error).toMatchObject({ code: 'ERR_AMQP_ENCODE' })
    expect((await session.sender('q', { name: 'other' })).name).toBe('other')
  })
})

describe('§2.6.4 §2.6.6 leaving', () => {
  test('detach keeps the terminus: the far end hears no close, and both have ended', async () => {
    const far: Receiver[] = []
    await using ends = await joined({
      onLink: async link => {
        if (link.remoteRole === 'sender') far.push(await link.accept())
      },
    })
    const sender = await ends.near.sender('q')
    await sender.detach()
    expect(await sender.closed).toEqual({ by: 'local', error: undefined })
    expect(await far[0]?.closed).toEqual({ by: 'remote', error: undefined })
    // Again, and closing what has detached: nothing.
    await sender.detach()
    await sender.close()
    expect(await settled(sender.send({ body: 'x' }))).toBeInstanceOf(ClosedError)
    expect(await settled(sender.ready())).toBeInstanceOf(ClosedError)
  })

  test('a signal that has fired leaves the link alone', async () => {
    await using ends = await joined()
    const sender = await ends.near.sender('q')
    const signal = AbortSignal.abort(new Error('too late'))
    expect(String(await settled(sender.detach({ signal })))).toContain('too late')
    expect(String(await settled(sender.close({ signal })))).toContain('too late')
    expect(await settled(sender.send({ body: 'x' }, { signal }))).toBe(signal.reason)
    expect(await sender.send({ body: 'x' }, { settled: true })).toEqual({ outcome: 'accepted' })
  })

  test('disposal closes', async () => {
    await using ends = await joined()
    let link: Receiver
    {
      await using receiver = await ends.near.receiver('q')
      link = receiver
    }
    expect(await link.closed).toEqual({ by: 'local', error: undefined })
    expect(() => link.addCredit(1)).toThrow(ClosedError)
    expect(await settled(link.drain())).toBeInstanceOf(ClosedError)
    expect(await settled(link.receive())).toBeInstanceOf(ClosedError)
  })

  test('while a close waits for outcomes nothing new is sent, and what was is answered', async () => {
    let answer: (() => void) | undefined
    await using ends = await joined({
      onLink: async link => {
        if (link.remoteRole !== 'sender') return
        const delivery = await (await link.accept()).receive()
        answer = () => void delivery.accept()
      },
    })
    const sender = await ends.near.sender('q')
    const sent = sender.send({ body: 'x' })
    const closing = sender.close()
    const late = await settled(sender.send({ body: 'y' }))
    expect(late).toBeInstanceOf(ClosedError)
    await expect.poll(() => answer).toBeDefined()
    answer?.()
    expect(await sent).toEqual({ outcome: 'accepted' })
    await closing
  })

  test('a peer that never answers a detach is given up after closeMs', async () => {
    await using ends = await joined({ near: { limits: { closeMs: 40, settleMs: 10 } } })
    const sender = await ends.near.sender('q')
    const receiver = await ends.near.receiver('q')
    ends.mute()
    await Promise.all([sender.close(), receiver.detach()])
    expect(await sender.closed).toEqual({ by: 'local', error: undefined })
    expect(await receiver.closed).toEqual({ by: 'local', error: undefined })
  })

  test('cancelling a close that waits rejects with the reason and drops what was queued', async () => {
    await using ends = await joined({
      onLink: link => (link.remoteRole === 'sender' ? link.accept({ credit: 'manual' }) : undefined),
    })
    const sender = await ends.near.sender('q')
    const queued = settled(sender.send({ body: 'x' }))
    ends.mute()
    const controller = new AbortController()
    const why = new Error('no time')
    const closing = settled(sender.close({ signal: controller.signal, error: { condition: 'amqp:internal-error' } }))
    await pause(5)
    controller.abort(why)
    expect(await closing).toBe(why)
    expect([sender.pending, await Promise.race([queued, pause(50)])]).toEqual([0, undefined])
    ends.cut()
    expect(await queued).toBeInstanceOf(ClosedError)
  })

  test('cancelling an attach that is not answered closes the link', async () => {
    const links: IncomingLink[] = []
    await using ends = await joined({ onLink: link => void links.push(link) })
    const controller = new AbortController()
    const attaching = settled(ends.near.sender('q', { signal: controller.signal }))
    await expect.poll(() => links.length).toBe(1)
    const why = new Error('changed my mind')
    controller.abort(why)
    expect(await attaching).toBe(why)
    // The answer comes all the same, and is met by the close.
    const far = (await links[0]?.accept()) as Sender | undefined
    expect(await far?.closed).toEqual({ by: 'remote', error: undefined })
  })

  test('a link whose session ends while it is being attached is a ClosedError or the session’s own', async () => {
    await using ends = await joined({ onLink: () => undefined })
    const session = await ends.near.session()
    const attaching = settled(session.sender('q'))
    await expect.poll(() => ends.sessions.length).toBe(1)
    await ends.sessions[0]?.end()
    const error = await attaching
    expect(error).toBeInstanceOf(ClosedError)
    expect(String(error)).toContain('while it was being attached')
  })

  test('refusing twice, or after having accepted, changes nothing', async () => {
    const accepted: IncomingLink[] = []
    await using ends = await joined({
      onLink: async link => {
        await link.accept()
        accepted.push(link)
      },
    })
    const sender = await ends.near.sender('q')
    for (const link of [...accepted, ...accepted]) link.refuse({ condition: 'amqp:not-found' })
    expect(accepted).toHaveLength(1)
    expect(sender.target?.address).toBe('q')
    expect(await Promise.race([sender.closed, pause(20)])).toBeUndefined()
  })

  test('§2.8.14 an error to be sent needs a condition', async () => {
    await using ends = await joined()
    const sender = await ends.near.sender('q')
    const error = await settled(sender.close({ error: { description: 'why' } as never }))
    expect(error).toBeInstanceOf(UsageError)
    expect(String(error)).toContain('needs a condition')
    await sender.close({ error: { condition: 'a:b', info: { n: 1 } } })
  })

  test('a link that nobody takes is refused', async () => {
    await using ends = await joined({ onLink: null })
    ends.far.on('session', incoming => incoming.accept())
    const error = await settled(ends.near.sender('q'))
    expect(error).toBeInstanceOf(RemoteError)
    expect(error).toMatchObject({ condition: 'amqp:not-found' })
  })
})
