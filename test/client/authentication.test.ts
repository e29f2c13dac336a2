/** The mechanisms over the wire, each end against a peer of raw frames: what either accepts, refuses and says. §5.3 */

import { describe, expect, test } from 'vitest'
import { connect } from '../../src/client/connect.ts'
import type { ConnectOptions, ListenOptions } from '../../src/client/options.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { SaslError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'
import { build, type Fields, read } from '../peer/composites.ts'
import { amqpHeader, concat, frame, parseFrames, saslHeader, type Wire } from '../peer/wire.ts'
import { pause } from '../waiting.ts'
import { settled } from './joined.ts'

/** A peer of raw frames: what it has read, and a way to write. */
class Peer {
  readonly #transport: Transport
  #bytes: Uint8Array = new Uint8Array(0)

  constructor(transport: Transport) {
    this.#transport = transport
    transport.start({
      data: bytes => {
        this.#bytes = concat(this.#bytes, bytes)
      },
      drain: () => {},
      end: () => {},
    })
  }

  write(...chunks: Uint8Array[]): void {
    this.#transport.write(chunks)
  }

  /** Ends without a word. */
  drop(): void {
    this.#transport.destroy()
  }

  frame(name: string, fields: Fields = {}): void {
    this.write(frame(0, build(name, fields), undefined, 1))
  }

  /** The bodies that have come since the header, by name. */
  get heard(): { name: string; fields: Record<string, Wire> }[] {
    const { frames } = parseFrames(this.#bytes.slice(8))
    return frames.flatMap(({ performative }) => (performative && read(performative)) ?? [])
  }

  /** The body of that name, once it is there. */
  async hear(name: string): Promise<Record<string, Wire>> {
    await expect.poll(() => this.heard.map(body => body.name)).toContain(name)
    return this.heard.find(body => body.name === name)?.fields ?? {}
  }

  /** The code of the outcome, once it is there. §5.3.3.6 */
  async outcome(): Promise<unknown> {
    return (await this.hear('saslOutcome'))['code']?.v
  }
}

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

/** A listener of ours, and a peer that has got as far as its list of mechanisms. */
async function server(options: ListenOptions): Promise<{ peer: Peer; accepted: Promise<unknown> }> {
  const [a, b] = memoryPair()
  const listener = await listen({ port: null, ...options })
  const accepted = settled(listener.accept(b)).finally(() => void listener.close())
  const peer = new Peer(a)
  peer.write(saslHeader)
  await peer.hear('saslMechanisms')
  return { peer, accepted }
}

const PLAIN: ListenOptions = { sasl: [saslServer.plain((user, password) => user === 'u' && password === 'p')] }

describe('§5.3 the server', () => {
  test('lists what it has', async () => {
    const { peer } = await server({ sasl: [saslServer.anonymous(), saslServer.mssbcbs()] })
    const { saslServerMechanisms } = await peer.hear('saslMechanisms')
    expect(saslServerMechanisms).toMatchObject({
      v: { elements: [{ v: 'ANONYMOUS' }, { v: 'MSSBCBS' }] },
    })
  })

  test('refuses a mechanism that it did not offer, with auth', async () => {
    const { peer, accepted } = await server(PLAIN)
    peer.frame('saslInit', { mechanism: 'X'.repeat(200) })
    expect(await peer.outcome()).toBe(1)
    const error = await accepted
    expect(error).toBeInstanceOf(SaslError)
    expect(String(error)).toContain(`the peer chose ${'X'.repeat(64)}, which is not offered`)
  })

  test.each([
    ['user and password', '\0u\0p', 0],
    ['acting as oneself', 'u\0u\0p', 0],
    ['acting as somebody else', 'other\0u\0p', 1],
    ['another password', '\0u\0x', 1],
    ['no password', '\0u', 1],
    ['too much', '\0u\0p\0', 1],
    ['nothing', '', 1],
  ])('PLAIN: %s', async (_what, response, code) => {
    const { peer, accepted } = await server(PLAIN)
    peer.frame('saslInit', { mechanism: 'PLAIN', initialResponse: bytes(response) })
    expect(await peer.outcome()).toBe(code)
    if (code !== 0) expect(await accepted).toMatchObject({ code: 'ERR_AMQP_SASL', outcome: 'auth' })
  })

  test('PLAIN: what is no UTF-8', async () => {
    const { peer } = await server(PLAIN)
    peer.frame('saslInit', { mechanism: 'PLAIN', initialResponse: Uint8Array.of(0, 0xff, 0, 0x70) })
    expect(await peer.outcome()).toBe(1)
  })

  test.each([
    ['PLAIN', PLAIN, '\0u\0p', 0],
    ['EXTERNAL', { sasl: [saslServer.external(() => true)] }, 'somebody', 1],
  ] as const)('%s: without an initial response it asks for one', async (mechanism, options, response, code) => {
    const { peer } = await server(options)
    peer.frame('saslInit', { mechanism })
    expect((await peer.hear('saslChallenge'))['challenge']).toMatchObject({ v: '' })
    peer.frame('saslResponse', { response: bytes(response) })
    // EXTERNAL has no certificate to go by here.
    expect(await peer.outcome()).toBe(code)
  })

  test.each([
    ['throws an error', () => Promise.reject(new Error('the directory is down')), 'the directory is down'],
    ['throws something else', () => Promise.reject('no directory'), 'no directory'],
  ])('a check that %s is answered with sys', async (_what, check, why) => {
    const { peer, accepted } = await server({ sasl: [saslServer.plain(check)] })
    peer.frame('saslInit', { mechanism: 'PLAIN', initialResponse: bytes('\0u\0p') })
    expect(await peer.outcome()).toBe(2)
    const error = await accepted
    expect(error).toMatchObject({ outcome: 'sys' })
    expect(String(error)).toContain(why)
  })

  test.each([true, false])('a peer that is gone when the check ends with %s is told nothing', async answer => {
    let decide: (answer: boolean) => void = () => {}
    const [a, b] = memoryPair()
    await using listener = await listen({
      port: null,
      sasl: [saslServer.plain(() => new Promise<boolean>(resolve => (decide = resolve)))],
    })
    const accepted = settled(listener.accept(b))
    const peer = new Peer(a)
    peer.write(saslHeader)
    peer.frame('saslInit', { mechanism: 'PLAIN', initialResponse: bytes('\0u\0p') })
    await peer.hear('saslMechanisms')
    await pause(10)
    a.destroy()
    expect(await accepted).toMatchObject({ code: 'ERR_AMQP_TRANSPORT' })
    decide(answer)
    await pause(10)
    expect(peer.heard.map(({ name }) => name)).toEqual(['saslMechanisms'])
  })

  test.each([
    ['true: the user name', true, 'u'],
    ['a text: that', 'someone', 'someone'],
  ])('the identity is what the check says: %s', async (_what, answer, identity) => {
    const { peer, accepted } = await server({ sasl: [saslServer.plain(() => answer)] })
    peer.frame('saslInit', { mechanism: 'PLAIN', initialResponse: bytes('\0u\0p') })
    expect(await peer.outcome()).toBe(0)
    peer.write(amqpHeader, frame(0, build('open', { containerId: 'peer' })))
    expect(await accepted).toMatchObject({ identity })
    peer.drop()
  })
})

/** EXTERNAL by what a transport says of its peer. */
describe('§5.3 EXTERNAL, by a transport that has a certificate', () => {
  test.each([
    ['true, for nobody in particular', true, '', 0, undefined],
    ['true, for somebody', true, 'somebody', 0, 'somebody'],
    ['a text', 'device1', 'somebody', 0, 'device1'],
    ['false', false, '', 1, undefined],
  ] as const)('the check says %s', async (_what, answer, authorizationId, code, identity) => {
    const asked: unknown[] = []
    const [a, b] = memoryPair()
    const certificate = Uint8Array.of(1, 2, 3)
    const listener = await listen({
      port: null,
      sasl: [
        saslServer.external((der, who) => {
          asked.push([der, who])
          return answer
        }),
      ],
    })
    const accepted = settled(listener.accept(Object.assign(b, { peerCertificate: certificate })))
    const peer = new Peer(a)
    peer.write(saslHeader)
    await peer.hear('saslMechanisms')
    peer.frame('saslInit', { mechanism: 'EXTERNAL', initialResponse: bytes(authorizationId) })
    expect(await peer.outcome()).toBe(code)
    expect(asked).toEqual([[certificate, authorizationId]])
    peer.write(amqpHeader, frame(0, build('open', { containerId: 'peer' })))
    const far = await accepted
    if (code === 0) expect((far as { identity: unknown }).identity).toBe(identity)
    else expect(far).toMatchObject({ outcome: 'auth' })
    a.destroy()
    await listener.close()
  })

  test('who to act as must be UTF-8', async () => {
    const [a, b] = memoryPair()
    await using listener = await listen({ port: null, sasl: [saslServer.external(() => true)] })
    const accepted = settled(listener.accept(Object.assign(b, { peerCertificate: Uint8Array.of(1) })))
    const peer = new Peer(a)
    peer.write(saslHeader)
    peer.frame('saslInit', { mechanism: 'EXTERNAL', initialResponse: Uint8Array.of(0xff) })
    expect(await peer.outcome()).toBe(1)
    expect(await accepted).toBeInstanceOf(SaslError)
  })
})

/** A client of ours, and a peer that has offered mechanisms. */
async function client(
  offered: string | string[],
  options: Partial<ConnectOptions>,
): Promise<{ peer: Peer; connecting: Promise<unknown>; transport: Transport }> {
  const [a, b] = memoryPair()
  const connecting = settled(connect({ host: 'the-host', transport: a, ...options }))
  const peer = new Peer(b)
  peer.write(saslHeader)
  peer.frame('saslMechanisms', { saslServerMechanisms: offered })
  return { peer, connecting, transport: b }
}

describe('§5.3 the client', () => {
  test.each([
    ['ANONYMOUS', sasl.anonymous(), ''],
    ['ANONYMOUS', sasl.anonymous('a trace'), 'a trace'],
    ['PLAIN', sasl.plain('u', 'p'), '\0u\0p'],
    ['EXTERNAL', sasl.external(), ''],
    ['EXTERNAL', sasl.external('somebody'), 'somebody'],
    ['MSSBCBS', sasl.mssbcbs(), undefined],
  ] as const)('%s: its initial response', async (name, mechanism, response) => {
    const { peer, connecting } = await client([name, 'OTHER'], { sasl: mechanism })
    const init = await peer.hear('saslInit')
    expect(init['mechanism']?.v).toBe(name)
    expect(init['hostname']?.v).toBe('the-host')
    expect(init['initialResponse']?.v).toBe(response === undefined ? undefined : Buffer.from(response).toString('hex'))
    peer.frame('saslOutcome', { code: 0 })
    peer.write(amqpHeader, frame(0, build('open', { containerId: 'peer' })))
    const near = (await connecting) as { remote: { containerId: string }; destroy(): void }
    expect(near.remote.containerId).toBe('peer')
    near.destroy()
  })

  test.each([
    ['ANONYMOUS', sasl.anonymous()],
    ['PLAIN', sasl.plain('u', 'p')],
    ['EXTERNAL', sasl.external()],
    ['MSSBCBS', sasl.mssbcbs()],
  ] as const)('%s has no challenge: one that comes fails the connection', async (name, mechanism) => {
    const { peer, connecting } = await client(name, { sasl: mechanism })
    await peer.hear('saslInit')
    peer.frame('saslChallenge', { challenge: Uint8Array.of(1) })
    const error = await connecting
    expect(error).toBeInstanceOf(SaslError)
    expect(String(error)).toContain(name)
  })

  test.each([
    [1, 'auth'],
    [2, 'sys'],
    [3, 'sys-perm'],
    [4, 'sys-temp'],
  ] as const)('the outcome %i is a SaslError with %s', async (code, outcome) => {
    const { peer, connecting } = await client('ANONYMOUS', {})
    await peer.hear('saslInit')
    peer.frame('saslOutcome', { code })
    const error = await connecting
    expect(error).toBeInstanceOf(SaslError)
    expect(error).toMatchObject({ outcome })
    expect(String(error)).toContain(`(code ${outcome})`)
  })

  test('no common mechanism: both lists are said, also where one of them is empty', async () => {
    const one = await client('OTHER', { sasl: [] })
    expect(String(await one.connecting)).toContain('the peer offers OTHER, we have none')
    const two = await client(['A', 'B'], { sasl: [sasl.anonymous(), sasl.external()] })
    expect(String(await two.connecting)).toContain('the peer offers A, B, we have ANONYMOUS, EXTERNAL')
  })

  test('a NUL in a user name or password is refused', () => {
    for (const [user, password] of [['a\0', 'p'], ['u', '\0']] as const) // biome-ignore format: one line
      expect(() => sasl.plain(user, password)).toThrow(SaslError)
  })
})
