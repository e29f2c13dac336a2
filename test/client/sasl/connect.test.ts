/** Authentication from end to end, by connect and listen: every mechanism, who is chosen, who is refused, what is told. */

import { afterEach, describe, expect, test } from 'vitest'
import type { Connection, Listener } from '../../../src/client/api.ts'
import { connect } from '../../../src/client/connect.ts'
import type { ConnectOptions, ListenOptions, TracedFrame } from '../../../src/client/options.ts'
import type { SaslMechanism, SaslServerMechanism } from '../../../src/client/sasl/mechanism.ts'
import { scramCredentials } from '../../../src/client/sasl/scram-keys.ts'
import { sasl, saslServer } from '../../../src/client/sasl.ts'
import { listen } from '../../../src/client/serving/listen.ts'
import { SaslError, TransportError } from '../../../src/errors.ts'
import { memoryPair } from '../../../src/io/memory.ts'
import { pause } from '../../waiting.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (value: Uint8Array | undefined): string => new TextDecoder().decode(value)

const listeners: Listener[] = []
afterEach(async () => {
  await Promise.all(listeners.splice(0).map(listener => listener.close()))
})

interface Meeting {
  near: Connection | Error
  far: Connection | Error
  /** What the connecting end saw, by type. */
  frames: TracedFrame[]
}

/** Both ends of a connection in memory, or why there is none. */
async function meet(
  server: readonly SaslServerMechanism[],
  client: ConnectOptions['sasl'],
  options: { connect?: Partial<ConnectOptions>; listen?: ListenOptions } = {},
): Promise<Meeting> {
  const listener = await listen({ port: null, sasl: server, allowNoSasl: false, ...options.listen })
  listeners.push(listener)
  listener.on('error', () => {})
  const [a, b] = memoryPair()
  const frames: TracedFrame[] = []
  const caught = (error: Error): Error => error
  const far = listener.accept(b).catch(caught)
  const trace = (frame: TracedFrame): void => void frames.push(frame)
  const near = connect({ host: 'h', transport: a, sasl: client, trace, ...options.connect }).catch(caught)
  return { near: await near, far: await far, frames }
}

const identity = ({ far }: Meeting): string | undefined => {
  if (far instanceof Error) throw far
  return far.identity
}

/** What has been said by the connecting end. */
const said = ({ frames }: Meeting): string[] =>
  frames
    .filter(({ direction }) => direction === 'out')
    .map(({ body, layer }) => (layer === 'header' ? String(body) : String((body as { type?: string }).type)))

const users = { jürgen: 'pässwörd€', user: 'pencil' } as Record<string, string>
const kept = new Map<string, Awaited<ReturnType<typeof scramCredentials>>>()
for (const hash of ['SHA-1', 'SHA-256', 'SHA-512'] as const)
  for (const [user, password] of Object.entries(users))
    kept.set(`${user} ${hash}`, await scramCredentials(password, { hash, iterations: 4096 }))
const scramUsers = (hashes?: ('SHA-1' | 'SHA-256' | 'SHA-512')[]): readonly SaslServerMechanism[] =>
  saslServer.scram((user, hash) => kept.get(`${user} ${hash}`), { iterations: 4096, hashes })
const token = 'x'.repeat(20_000)

describe('§5.3.2 each mechanism lets in whom it should', () => {
  test.each<[string, readonly SaslServerMechanism[], ConnectOptions['sasl'], string | undefined]>([
    ['ANONYMOUS', [saslServer.anonymous()], sasl.anonymous('me'), undefined],
    ['MSSBCBS', [saslServer.mssbcbs()], sasl.mssbcbs(), undefined],
    [
      'PLAIN beyond ASCII',
      [saslServer.plain((user, password) => users[user] === password)],
      sasl.plain('jürgen', 'pässwörd€'),
      'jürgen',
    ],
    ['SCRAM-SHA-1', scramUsers(['SHA-1']), sasl.scram('user', 'pencil'), 'user'],
    ['SCRAM-SHA-256', scramUsers(['SHA-256']), sasl.scram('user', 'pencil'), 'user'],
    ['SCRAM-SHA-512', scramUsers(), sasl.scram('user', 'pencil'), 'user'],
    ['SCRAM beyond ASCII, in another spelling', scramUsers(), sasl.scram('ju\u0308rgen', 'pa\u0308sswörd€'), 'jürgen'],
    [
      'OAUTHBEARER with a token of 20,000 bytes (§5.3.1)',
      [saslServer.oauthBearer(given => (given === token ? 'device1' : false))],
      sasl.oauthBearer(async () => token),
      'device1',
    ],
    [
      'XOAUTH2',
      [saslServer.xoauth2(async (user, given) => user === 'u' && given === token)],
      sasl.xoauth2('u', token),
      'u',
    ],
  ])('%s', async (_name, server, client, expected) => {
    const meeting = await meet(server, client)
    expect(meeting.near).not.toBeInstanceOf(Error)
    expect(identity(meeting)).toBe(expected)
  })
})

describe('§5.3.3.6 each mechanism refuses whom it should', () => {
  test.each<[string, readonly SaslServerMechanism[], ConnectOptions['sasl'], RegExp]>([
    ['PLAIN', [saslServer.plain(() => false)], sasl.plain('u', 'secret'), /PLAIN failed: .*\(code auth\)$/],
    ['SCRAM, wrong password', scramUsers(), sasl.scram('user', 'secret'), /SCRAM-SHA-512 failed: .*\(code auth\)$/],
    ['SCRAM, unknown user', scramUsers(), sasl.scram('eve', 'secret'), /SCRAM-SHA-512 failed: .*\(code auth\)$/],
    [
      'OAUTHBEARER',
      [saslServer.oauthBearer(() => false)],
      sasl.oauthBearer('secret'),
      /OAUTHBEARER failed: .*\(code auth\); the server says: status invalid_token$/,
    ],
    [
      'XOAUTH2',
      [saslServer.xoauth2(() => false)],
      sasl.xoauth2('u', 'secret'),
      /XOAUTH2 failed: .*\(code auth\); the server says: status invalid_token$/,
    ],
  ])('%s', async (_name, server, client, message) => {
    const meeting = await meet(server, client)
    expect(meeting.near).toBeInstanceOf(SaslError)
    expect(meeting.near).toMatchObject({ outcome: 'auth', message: expect.stringMatching(message) })
    expect((meeting.near as Error).message).not.toContain('secret')
    expect(meeting.far).toBeInstanceOf(SaslError)
    expect(said(meeting)).not.toContain('open')
  })

  test('a lookup that fails is a system error', async () => {
    const meeting = await meet(
      saslServer.scram(() => Promise.reject(new Error('no database'))),
      sasl.scram('user', 'pencil'),
    )
    expect(meeting.near).toMatchObject({ outcome: 'sys' })
  })
})

describe('D-036 a server that does not prove itself sees no AMQP', () => {
  const rogue = (...steps: (Uint8Array | undefined)[]): readonly SaslServerMechanism[] => [
    {
      name: 'SCRAM-SHA-256',
      start: () => {
        let at = 0
        return {
          step: response => {
            const next = steps[at++]
            const nonce = /r=([^,]+)/.exec(text(response))?.[1]
            if (at === steps.length) return { outcome: 'ok', additionalData: next }
            return { challenge: bytes(text(next).replace('NONCE', `${nonce}more`)) }
          },
        }
      },
    },
  ]
  const FIRST = bytes('r=NONCE,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096')

  test.each<[string, (Uint8Array | undefined)[]]>([
    ['ok at once', [undefined]],
    ['ok at once, with a made-up signature', [bytes(`v=${'A'.repeat(43)}=`)]],
    ['ok behind the proof, without a signature', [FIRST, undefined]],
    ['ok behind the proof, with an empty one', [FIRST, new Uint8Array()]],
    ['ok behind the proof, with a made-up one', [FIRST, bytes(`v=${'A'.repeat(43)}=`)]],
    ['a made-up one as a challenge', [FIRST, bytes(`v=${'A'.repeat(43)}=`), undefined]],
  ])('%s', async (_what, steps) => {
    const meeting = await meet(rogue(...steps), sasl.scram('user', 'pencil'))
    expect(meeting.near).toBeInstanceOf(SaslError)
    expect((meeting.near as Error).message).toContain('has not proved that it knows the password')
    expect(meeting.far).toBeInstanceOf(Error)
    expect(said(meeting).filter(what => !what.startsWith('sasl-'))).toEqual(['AMQP 3 1.0.0'])
  })

  test('whatever the mechanism takes its time over, nothing is sent before', async () => {
    let prove: () => void = () => {}
    const slow: SaslMechanism = {
      name: 'ANONYMOUS',
      secret: false,
      start: () => ({
        initial: () => undefined,
        respond: challenge => challenge,
        finish: () =>
          new Promise(resolve => {
            prove = resolve
          }),
      }),
    }
    const frames: TracedFrame[] = []
    const listener = await listen({ port: null, allowNoSasl: false })
    listeners.push(listener)
    const [a, b] = memoryPair()
    const far = listener.accept(b)
    const near = connect({ host: 'h', transport: a, sasl: slow, trace: frame => frames.push(frame) })
    await expect.poll(() => frames.some(({ body }) => (body as { type?: string }).type === 'sasl-outcome')).toBe(true)
    await pause(30)
    expect(frames.filter(({ direction, layer }) => direction === 'out' && layer !== 'sasl')).toHaveLength(1)
    prove()
    expect((await near).remote.containerId).toBeDefined()
    await far
  })
})

describe('mechanisms of one’s own, whose answers are promises', () => {
  const later = <T>(value: T): Promise<T> => new Promise(resolve => setTimeout(() => resolve(value), 5))

  const chip = (sign: (challenge: string) => string): SaslMechanism => ({
    name: 'X-CHIP',
    secret: false,
    start: () => ({
      initial: () => later(bytes('device1')),
      respond: challenge => later(bytes(sign(text(challenge)))),
      finish: async additionalData => {
        await later(undefined)
        if (text(additionalData) !== 'welcome') throw new SaslError('not the server that I know')
      },
    }),
  })

  const verifier = (welcome: string): SaslServerMechanism => ({
    name: 'X-CHIP',
    start: () => {
      let name: string | undefined
      return {
        step: async response => {
          await later(undefined)
          if (name !== undefined)
            return text(response) === 'signed nonce'
              ? { outcome: 'ok', identity: name, additionalData: bytes(welcome) }
              : { outcome: 'auth' }
          name = text(response)
          return { challenge: bytes('nonce') }
        },
      }
    },
  })

  test('both ends', async () => {
    const meeting = await meet(
      [verifier('welcome')],
      chip(challenge => `signed ${challenge}`),
    )
    expect(identity(meeting)).toBe('device1')
  })

  test('a server that the mechanism does not know', async () => {
    const { near } = await meet(
      [verifier('hello')],
      chip(challenge => `signed ${challenge}`),
    )
    expect(near).toMatchObject({ code: 'ERR_AMQP_SASL', message: 'not the server that I know' })
  })

  test('a rejection becomes the SaslError’s cause', async () => {
    const fault = new Error('the chip does not answer')
    const { near } = await meet(
      [verifier('welcome')],
      chip(() => {
        throw fault
      }),
    )
    expect(near).toMatchObject({ message: 'SASL X-CHIP failed: the chip does not answer', cause: fault })
  })

  test('an answer that comes when the connection has ended is dropped, and the signal has fired', async () => {
    let signal: AbortSignal | undefined
    const mechanism: SaslMechanism = {
      name: 'ANONYMOUS',
      secret: false,
      start: context => ({
        initial: () =>
          new Promise(resolve => {
            signal = context.signal
            signal.addEventListener('abort', () => setTimeout(() => resolve(new Uint8Array()), 5))
          }),
        respond: challenge => challenge,
        finish: () => {},
      }),
    }
    const { near } = await meet([saslServer.anonymous()], mechanism, { connect: { limits: { handshakeMs: 50 } } })
    expect(near).toBeInstanceOf(TransportError)
    expect(signal?.aborted).toBe(true)
    await pause(20)
  })
})

describe('which mechanism is used', () => {
  const all = [...scramUsers(), saslServer.plain(() => true), saslServer.anonymous()]
  const chosen = ({ frames }: Meeting): unknown =>
    frames.map(({ body }) => body as { type?: string; mechanism?: string }).find(({ type }) => type === 'sasl-init')
      ?.mechanism

  test.each<[string, ConnectOptions['sasl'], string]>([
    ['the first of ours that is offered', [...sasl.scram('user', 'pencil'), sasl.plain('u', 'p')], 'SCRAM-SHA-512'],
    ['in our order, not the server’s', [sasl.anonymous(), sasl.plain('u', 'p')], 'ANONYMOUS'],
    ['what is not offered is passed over', [sasl.mssbcbs(), sasl.plain('u', 'p')], 'PLAIN'],
    ['nothing said: ANONYMOUS', undefined, 'ANONYMOUS'],
  ])('%s', async (_what, client, expected) => {
    expect(chosen(await meet(all, client))).toBe(expected)
  })

  test('a client certificate and nothing else said: EXTERNAL where it is offered, else ANONYMOUS', async () => {
    const external = saslServer.external(() => true)
    const both = await meet([saslServer.anonymous(), external], undefined, {
      connect: { tls: { cert: 'c', key: 'k' } },
    })
    // In memory nobody shows a certificate: that it is asked for is the point.
    expect(chosen(both)).toBe('EXTERNAL')
    expect(both.near).toMatchObject({ outcome: 'auth' })
    const pfx = await meet([external], undefined, { connect: { tls: { pfx: 'p' } } })
    expect(chosen(pfx)).toBe('EXTERNAL')
    const one = await meet([saslServer.anonymous()], undefined, { connect: { tls: { cert: 'c', key: 'k' } } })
    expect(chosen(one)).toBe('ANONYMOUS')
    const none = await meet([saslServer.anonymous(), external], undefined, { connect: { tls: { ca: 'c' } } })
    expect(chosen(none)).toBe('ANONYMOUS')
  })

  test('without TLS: SCRAM is used, what shows a secret is not, whatever the server would rather have', async () => {
    const check = saslServer.plain(() => true)
    const bearer = saslServer.oauthBearer(() => true)
    const listener = await listen({ sasl: [check, bearer, ...scramUsers()], allowNoSasl: false })
    listeners.push(listener)
    listener.on('error', () => {})
    const to = { host: '127.0.0.1', port: listener.port }
    const inits: unknown[] = []
    const trace = ({ body }: TracedFrame): void => void inits.push((body as { mechanism?: string }).mechanism)
    const own = [sasl.plain('user', 'pencil'), sasl.oauthBearer('t'), ...sasl.scram('user', 'pencil')]
    await using _connection = await connect({ ...to, sasl: own, trace })
    expect(inits.filter(Boolean)).toEqual(['SCRAM-SHA-512'])
    const error = await connect({ ...to, sasl: sasl.oauthBearer('t') }).catch(error => error)
    expect(error).toBeInstanceOf(SaslError)
    expect(error.message).toContain('OAUTHBEARER is refused without TLS')
    await using _allowed = await connect({ ...to, sasl: sasl.oauthBearer('t'), allowInsecureAuth: true })
  })
})

describe('§5.3.1 frames above 512 bytes', () => {
  test('are taken up to limits.saslFrame by the server', async () => {
    const meeting = await meet([saslServer.oauthBearer(() => true)], sasl.oauthBearer(token), {
      listen: { limits: { saslFrame: 20_000 } },
    })
    expect(meeting.near).toBeInstanceOf(Error)
    expect((meeting.far as Error).message).toContain('20000')
  })

  test('are taken up to limits.saslFrame by the client', async () => {
    const wordy: SaslServerMechanism = {
      name: 'X',
      start: () => ({ step: () => ({ challenge: new Uint8Array(5_000) }) }),
    }
    const mute: SaslMechanism = {
      name: 'X',
      secret: false,
      start: () => ({
        initial: () => undefined,
        respond: () => {
          throw new SaslError('heard')
        },
        finish: () => {},
      }),
    }
    expect((await meet([wordy], mute)).near).toMatchObject({ message: 'heard' })
    const { near } = await meet([wordy], mute, { connect: { limits: { saslFrame: 4_000 } } })
    expect((near as Error).message).toContain('4000')
  })
})
