/** What a listener does for its owner: links to handlers, authorised; leaving in peace; certificates; how many. */

import { afterEach, describe, expect, test } from 'vitest'
import type { Connection, IncomingLink, Listener, Receiver } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ListenOptions } from '../../src/client/options.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { createCertificate } from '../../src/emulator/certificates/certificate.ts'
import { RemoteError, TransportError, UsageError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { pause } from '../waiting.ts'
import { settled } from './joined.ts'

const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

async function ends(options: ListenOptions): Promise<{ listener: Listener; near: Connection; errors: Error[] }> {
  const listener = await listen(options)
  const errors: Error[] = []
  listener.on('error', error => errors.push(error))
  const near = await connect({
    host: '127.0.0.1',
    port: listener.port,
    sasl: options.sasl ? sasl.plain('ann', 'x') : undefined,
    allowInsecureAuth: true,
  })
  opened.push(listener, near)
  return { listener, near, errors }
}

/** Takes everything. */
async function sink(link: IncomingLink): Promise<void> {
  if (link.remoteRole === 'receiver') return void (await link.accept())
  for await (const delivery of await link.accept()) await delivery.accept()
}

describe('links and their handlers', () => {
  test('§2.6.3 one for each address; another address is not found; nobody need take the connection', async () => {
    const { near } = await ends({ links: { q: sink, '': sink } })
    const sender = await near.sender('q')
    expect(await sender.send({ body: 'x' })).toEqual({ outcome: 'accepted' })
    expect(await settled(near.sender('other'))).toMatchObject({ condition: 'amqp:not-found' })
    expect(await settled(near.receiver('toString'))).toMatchObject({ condition: 'amqp:not-found' })
    await near.receiver('q')
    await near.sender(null)
    await pause(1_200)
    expect(await sender.send({ body: 'still there' })).toEqual({ outcome: 'accepted' })
  })

  test('one for all', async () => {
    const { near } = await ends({
      links: link => (link.name === 'no' ? link.refuse({ condition: 'x:y' }) : sink(link)),
    })
    await near.sender('anything')
    expect(await settled(near.sender('q', { name: 'no' }))).toMatchObject({ condition: 'x:y' })
  })

  test('§2.8.15 authorised by who asks, for what: yes, no, or with an error', async () => {
    const authorise = async (link: IncomingLink) => {
      const address = link.target?.address
      if (address === 'full') return { condition: 'amqp:resource-limit-exceeded', description: 'no room' }
      return link.session.connection.identity === address
    }
    const { near } = await ends({ links: sink, authorise, sasl: [saslServer.plain(() => true)] })
    await near.sender('ann')
    expect(await settled(near.sender('bob'))).toMatchObject({ condition: 'amqp:unauthorized-access' })
    expect(await settled(near.sender('full'))).toMatchObject({ description: 'no room' })
  })

  test('a handler or an authoriser that throws refuses the link, and the listener hears why', async () => {
    const handler = (link: IncomingLink) => {
      if (link.target?.address === 'text') throw 'text'
      throw new RangeError('broken')
    }
    const { near, errors } = await ends({ links: handler })
    const refused = await settled(near.sender('q'))
    expect(refused).toBeInstanceOf(RemoteError)
    expect(refused).toMatchObject({ condition: 'amqp:internal-error' })
    expect((refused as Error).message).not.toContain('broken')
    await settled(near.sender('text'))
    expect(errors.map(({ message }) => message)).toEqual(['broken', 'text'])
    // One that loses its link in the middle is no failure.
    const other = await ends({ links: sink })
    await (await other.near.sender('q')).close()
    await other.near.close()
    expect(other.errors).toEqual([])
  })
})

describe('close({ graceMs })', () => {
  test('§2.6.6 what is under way gets its outcome, links are told, and what is idle is not waited for', async () => {
    const held: (() => void)[] = []
    const { listener, near } = await ends({
      links: async link => {
        if (link.remoteRole === 'receiver') return void (await (await link.accept()).send({ body: 'to you' }))
        for await (const delivery of await link.accept()) held.push(() => void delivery.accept())
      },
    })
    const [busy, idle, receiver] = await Promise.all([near.sender('busy'), near.sender('idle'), near.receiver('r')])
    const outcome = busy.send({ body: 'x' })
    const delivery = await receiver.receive()
    await expect.poll(() => held.length).toBe(1)
    const began = performance.now()
    const closing = listener.close({ graceMs: 60_000 })
    expect(await idle.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:link:detach-forced' } })
    // No link and no connection begins any more; credit is taken back.
    expect(await settled(near.sender('late'))).toMatchObject({ condition: 'amqp:link:detach-forced' })
    expect(await settled(connect({ host: '127.0.0.1', port: listener.port }))).toBeInstanceOf(TransportError)
    expect(busy.linkCredit).toBe(0)
    await pause(60)
    for (const accept of held) accept()
    expect(await outcome).toEqual({ outcome: 'accepted' })
    expect(await busy.closed).toMatchObject({ error: { condition: 'amqp:link:detach-forced' } })
    await delivery.accept()
    expect(await receiver.closed).toMatchObject({ error: { condition: 'amqp:link:detach-forced' } })
    await closing
    expect(await near.closed).toMatchObject({ by: 'remote' })
    expect(performance.now() - began).toBeLessThan(10_000)
  })

  test('§2.6.7 credit that was taken back stays so when what is here is taken and settled', async () => {
    let receiver: Receiver | undefined
    const { listener, near } = await ends({
      links: async link => {
        if (link.remoteRole === 'sender') receiver = await link.accept({ credit: { window: 2 } })
      },
    })
    const sender = await near.sender('q')
    const [one, two] = [sender.send({ body: '1' }), sender.send({ body: '2' })]
    await pause(30)
    const closing = listener.close({ graceMs: 60_000 })
    await pause(30)
    const three = settled(sender.send({ body: '3' }))
    const taken = [await receiver?.receive(), await receiver?.receive()]
    await pause(30)
    expect(sender.pending).toBe(1)
    for (const delivery of taken) await delivery?.accept()
    expect(await Promise.all([one, two])).toEqual([{ outcome: 'accepted' }, { outcome: 'accepted' }])
    expect(await three).toMatchObject({ code: 'ERR_AMQP_CLOSED', condition: 'amqp:link:detach-forced' })
    await closing
  })

  test('and no longer than that', async () => {
    const { listener, near } = await ends({
      links: async link => void (link.remoteRole === 'sender' && (await link.accept())),
    })
    const sender = await near.sender('q')
    const outcome = settled(sender.send({ body: 'never settled' }))
    await pause(20)
    await listener.close({ graceMs: 50 })
    expect(await outcome).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
  })
})

describe('how many', () => {
  test('connections beyond maxConnections are dropped, and there is room again when one has ended', async () => {
    const { listener, near, errors } = await ends({ links: sink, maxConnections: 1 })
    const how = { host: '127.0.0.1', port: listener.port }
    expect(await settled(connect(how))).toBeInstanceOf(TransportError)
    expect(errors[0]?.message).toContain('1 are open')
    const [a, b] = memoryPair()
    const given = settled(listener.accept(b))
    expect(await settled(connect({ host: 'memory', transport: a }))).toBeInstanceOf(TransportError)
    expect(await given).toBeInstanceOf(TransportError)
    await near.close()
    await pause(50)
    await (await connect(how)).close()
    expect(await settled(listen({ maxConnections: 0 }))).toBeInstanceOf(UsageError)
  })
})

describe('§5.2 another certificate', () => {
  test('§5.2 is shown to who comes next; connections that stand go on', async () => {
    const [one, two] = await Promise.all([0, 1].map(() => createCertificate({ hostNames: ['localhost'] })))
    if (!one || !two) throw new Error('there are two')
    const listener = await listen({ tls: { cert: one.cert, key: one.key }, links: sink })
    opened.push(listener)
    listener.on('error', () => {})
    const to = (ca: string) => connect({ host: 'localhost', port: listener.port, tls: { ca } })
    const before = await to(one.ca)
    expect(() => listener.setSecureContext({ cert: 'none', key: 'none' })).toThrow()
    await (await to(one.ca)).close()
    listener.setSecureContext({ cert: two.cert, key: two.key })
    expect(await settled(to(one.ca))).toBeInstanceOf(TransportError)
    await (await to(two.ca)).close()
    expect(await (await before.sender('q')).send({ body: 'x' })).toEqual({ outcome: 'accepted' })
    await before.close()
    await using plain = await listen()
    expect(() => plain.setSecureContext({})).toThrow(UsageError)
  })
})

describe('stats', () => {
  test('what is under way, at either end', async () => {
    const held: (() => Promise<void>)[] = []
    let far: Connection | undefined
    const { near } = await ends({
      links: async link => {
        far = link.session.connection
        if (link.remoteRole === 'receiver') return void (await link.accept())
        if (link.target?.address === 'no credit') return void (await link.accept({ credit: 'manual' }))
        for await (const delivery of await link.accept()) held.push(() => delivery.accept())
      },
    })
    const none = { sessions: 0, links: 0, unsettledOutgoing: 0, unsettledIncoming: 0, pendingBytes: 0 }
    expect(near.stats).toEqual(none)
    const sender = await near.sender('q')
    await near.receiver('r')
    const body = new Uint8Array(5_000)
    const sends = Array.from({ length: 2 }, () => sender.send({ body }))
    await expect.poll(() => held.length).toBe(2)
    expect(near.stats).toEqual({ ...none, sessions: 1, links: 2, unsettledOutgoing: 2 })
    expect(far?.stats).toEqual({ ...none, sessions: 1, links: 2, unsettledIncoming: 2 })
    for (const accept of held) await accept()
    await Promise.all(sends)
    expect(near.stats).toEqual({ ...none, sessions: 1, links: 2 })
    const stuck = await near.sender('no credit')
    const all = Array.from({ length: 5 }, () => settled(stuck.send({ body })))
    expect(near.stats).toMatchObject({ links: 3, unsettledOutgoing: 0 })
    expect(near.stats.pendingBytes).toBeGreaterThan(25_000)
    await near.close()
    await Promise.all(all)
    expect(near.stats).toEqual(none)
  })
})

describe('the anonymous relay', () => {
  test('§3.2.4 messages say where they go; one that does not is a UsageError, and the link goes on', async () => {
    const to: unknown[] = []
    const { near } = await ends({
      offeredCapabilities: ['ANONYMOUS-RELAY'],
      links: async link => {
        expect(link.target?.address).toBeUndefined()
        if (link.remoteRole === 'receiver') return link.refuse({ condition: 'amqp:not-found' })
        for await (const delivery of await link.accept()) {
          to.push(delivery.message.properties?.to)
          await delivery.accept()
        }
      },
    })
    expect(near.remote.offeredCapabilities).toContain('ANONYMOUS-RELAY')
    const relay = await near.sender(null)
    expect(await relay.send({ properties: { to: 'q1' } })).toEqual({ outcome: 'accepted' })
    const error = await settled(relay.send({ body: 'where to?' }))
    expect(error).toBeInstanceOf(UsageError)
    expect((error as Error).message).toContain('properties.to')
    expect(await relay.send({ properties: { to: 'q2' } })).toEqual({ outcome: 'accepted' })
    expect(to).toEqual(['q1', 'q2'])
  })
})
