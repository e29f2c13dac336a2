/** SCRAM, both ends: the RFCs' exchanges byte for byte, and every way in which a peer may cheat or stammer. §5.3.2 */

import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { SaslExchange, SaslServerExchange, SaslStep } from '../../../src/client/sasl/mechanism.ts'
import { scram, scramMechanism, scramServer, scramServerMechanism } from '../../../src/client/sasl/scram.ts'
import { type ScramCredentials, type ScramHash, scramCredentials } from '../../../src/client/sasl/scram-keys.ts'
import { SaslError, UsageError } from '../../../src/errors.ts'
import { read } from '../../peer/composites.ts'
import { fromHex } from '../../peer/wire.ts'
import { fromJson, loadVectors } from '../../vectors/load.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (value: Uint8Array | undefined): string => new TextDecoder().decode(value)
const context = { hostname: 'h', secure: true, signal: new AbortController().signal }
const HASHES: readonly ScramHash[] = ['SHA-1', 'SHA-256', 'SHA-512']

/** The SCRAM messages of an exchange: client-first, server-first, client-final, server-final. */
function messagesOf(mechanism: string): [string, string, string, string] {
  const vector = loadVectors('sasl').find(({ name }) => name.startsWith(`${mechanism},`))
  const found = (vector?.steps ?? []).flatMap(({ value }) => {
    const fields = value ? read(fromJson(value))?.fields : undefined
    const field = ['initialResponse', 'challenge', 'response', 'additionalData'].find(key => fields?.[key])
    const wire = field && fields?.[field]
    return wire && wire.t === 'binary' ? [text(fromHex(wire.v))] : []
  })
  expect(found).toHaveLength(4)
  return found as [string, string, string, string]
}

const nonceIn = (message: string): string => /r=([^,]+)/.exec(message)?.[1] ?? ''
const saltIn = (message: string): Uint8Array =>
  Uint8Array.from(Buffer.from(/s=([^,]+)/.exec(message)?.[1] ?? '', 'base64'))

/** The mechanism of an exchange, at both ends, with the nonces that were printed. */
async function replay(hash: ScramHash, password = 'pencil') {
  const messages = messagesOf(`SCRAM-${hash}`)
  const [clientFirst, serverFirst] = messages
  const ours = nonceIn(clientFirst)
  const credentials = await scramCredentials('pencil', { hash, iterations: 4096, salt: saltIn(serverFirst) })
  const client = scramMechanism(hash, 'user', password, () => ours).start(context)
  const nonce = nonceIn(serverFirst).slice(ours.length)
  const lookup = (name: string): ScramCredentials | undefined => (name === 'user' ? credentials : undefined)
  const server = scramServerMechanism(hash, lookup, undefined, () => nonce).start(CONTEXT)
  return { messages, client, server, credentials }
}

const CONTEXT = { secure: true, peerCertificate: undefined }

const failure = async (work: () => unknown): Promise<Error> => {
  try {
    await work()
  } catch (error) {
    return error as Error
  }
  return expect.unreachable()
}

describe.each(HASHES)('SCRAM-%s', hash => {
  test('the client says what the vector has, and believes the signature', async () => {
    const { client, messages } = await replay(hash)
    expect(text(await client.initial())).toBe(messages[0])
    expect(text(await client.respond(bytes(messages[1])))).toBe(messages[2])
    await client.finish(bytes(messages[3]))
  })

  test('the client takes the signature as a last challenge, answers with nothing, and needs no more', async () => {
    const { client, messages } = await replay(hash)
    await client.initial()
    await client.respond(bytes(messages[1]))
    expect(await client.respond(bytes(messages[3]))).toEqual(new Uint8Array())
    await client.finish(undefined)
    expect(await failure(() => client.respond(bytes(messages[3])))).toBeInstanceOf(SaslError)
  })

  test('the server says what the vector has', async () => {
    const { server, messages } = await replay(hash)
    expect(await server.step(bytes(messages[0]))).toEqual({ challenge: bytes(messages[1]) })
    expect(await server.step(bytes(messages[2]))).toEqual({
      outcome: 'ok',
      identity: 'user',
      additionalData: bytes(messages[3]),
    })
  })

  test.each(['user', 'a=b,c', 'jürgen', '名前', 'ſ'])('both ends agree on the user %j', async name => {
    const credentials = await scramCredentials('pässwörd€', { hash, iterations: 4096 })
    const asked: string[] = []
    const outcome = await run(
      scramMechanism(hash, name, 'pässwörd€').start(context),
      scramServerMechanism(hash, asking => {
        asked.push(asking)
        return credentials
      }).start(CONTEXT),
    )
    const prepared = name === 'ſ' ? 's' : name
    expect(outcome).toBe(prepared)
    expect(asked).toEqual([prepared])
  })

  test('a wrong password is refused', async () => {
    const { client, server } = await replay(hash, 'Pencil')
    expect(await run(client, server)).toBe('auth')
  })
})

/** Lets two ends talk. @returns the identity, or the outcome that is not ok */
async function run(client: SaslExchange, server: SaslServerExchange): Promise<string | undefined> {
  let step: SaslStep = await server.step(await client.initial())
  while ('challenge' in step) step = await server.step(await client.respond(step.challenge))
  if (step.outcome !== 'ok') return step.outcome
  await client.finish(step.additionalData)
  return step.identity
}

describe('a server that cheats or stammers', () => {
  const [, FIRST, , FINAL] = messagesOf('SCRAM-SHA-256')
  const [head = '', salt = '', count = ''] = FIRST.split(',')

  test.each<[string, string, RegExp]>([
    ['a nonce that is not ours', `r=x${nonceIn(FIRST)},${salt},${count}`, /nonce/],
    ['our nonce with another letter', FIRST.replace('r=rO', 'r=rP'), /nonce/],
    ['our nonce, nothing added', `r=rOprNGfwEbeRWgbNEkqO,${salt},${count}`, /nonce/],
    ['4095 iterations', `${head},${salt},i=4095`, /4095 iterations; 4096 … 1000000/],
    ['a million and one', `${head},${salt},i=1000001`, /1000001 iterations/],
    ['absurdly many', `${head},${salt},i=${'9'.repeat(400)}`, /9{16} iterations/],
    ['no iterations', `${head},${salt}`, /not understood/],
    ['a negative number', `${head},${salt},i=-4096`, /not understood/],
    ['a number with a fraction', `${head},${salt},i=4096.5`, /not understood/],
    ['a number in hex', `${head},${salt},i=0x1000`, /not understood/],
    ['a leading zero', `${head},${salt},i=04096`, /not understood/],
    ['an empty salt', `${head},s=,${count}`, /not understood/],
    ['a salt that is not base64', `${head},s=W22ZaJ0SNY7soEsUEjb6g,${count}`, /not understood/],
    ['another order', `${salt},${head},${count}`, /not understood/],
    ['a mandatory extension', `m=x,${FIRST}`, /demands an extension/],
    ['an error', 'e=unknown-user', /the server refuses: unknown-user/],
    ['nothing', '', /not understood/],
    ['not UTF-8', '\udcff', /not understood/],
  ])('first message: %s', async (_what, message, expected) => {
    const { client } = await replay('SHA-256')
    await client.initial()
    const began = performance.now()
    const error = await failure(() => client.respond(message === '\udcff' ? Uint8Array.of(0xff) : bytes(message)))
    expect(error).toBeInstanceOf(SaslError)
    expect(error.message).toMatch(expected)
    expect(error.message).toMatch(/^authentication by SASL SCRAM-SHA-256 failed: /)
    // Refused before anything is computed.
    expect(performance.now() - began).toBeLessThan(200)
  })

  test('an error of the server’s is the outcome `auth`', async () => {
    const { client } = await replay('SHA-256')
    await client.initial()
    await client.respond(bytes(FIRST))
    expect(await failure(() => client.finish(bytes('e=invalid-proof')))).toMatchObject({ outcome: 'auth' })
  })

  test('an extension that is not mandatory is passed over, and signed', async () => {
    const extended = `${FIRST},x=1,y=2`
    const { client, messages } = await replay('SHA-256')
    await client.initial()
    const answer = text(await client.respond(bytes(extended)))
    expect(answer.split(',p=')[0]).toBe(messages[2].split(',p=')[0])
    expect(answer).not.toBe(messages[2])
  })

  test.each<[string, string | undefined]>([
    ['ok without a word', undefined],
    ['ok with nothing', ''],
    ['a signature with another bit', FINAL.replace('v=6', 'v=7')],
    ['a signature that is cut short', FINAL.slice(0, 20)],
    ['a signature without its end', `v=${Buffer.from(FINAL.slice(2), 'base64').subarray(0, 31).toString('base64')}`],
    [
      'a signature with more behind it',
      `v=${Buffer.concat([Buffer.from(FINAL.slice(2), 'base64'), Buffer.alloc(1)]).toString('base64')}`,
    ],
    ['an empty signature', 'v='],
    ['zeros', `v=${Buffer.alloc(32).toString('base64')}`],
    ['an error', 'e=other-error'],
    ['its first message again', FIRST],
  ])('last message: %s', async (_what, message) => {
    for (const asChallenge of [false, true]) {
      const { client } = await replay('SHA-256')
      await client.initial()
      await client.respond(bytes(FIRST))
      const data = message === undefined ? undefined : bytes(message)
      const error = await failure(() => (asChallenge ? client.respond(data ?? new Uint8Array()) : client.finish(data)))
      expect(error).toBeInstanceOf(SaslError)
    }
  })

  test('ok right behind the init, also with the signature of another exchange', async () => {
    for (const data of [undefined, FINAL]) {
      const { client } = await replay('SHA-256')
      await client.initial()
      const error = await failure(() => client.finish(data === undefined ? undefined : bytes(data)))
      expect(error.message).toContain('has not proved')
    }
  })

  test('every cut of its messages is refused, never anything but a SaslError', async () => {
    for (let end = 0; end < FIRST.length; end++) {
      const { client } = await replay('SHA-256')
      await client.initial()
      // A number that is cut is another number, below the bound; an outright success would be the signature’s to refuse.
      expect(await failure(() => client.respond(bytes(FIRST.slice(0, end))))).toBeInstanceOf(SaslError)
    }
    for (let end = 0; end < FINAL.length; end++) {
      const { client } = await replay('SHA-256')
      await client.initial()
      await client.respond(bytes(FIRST))
      expect(await failure(() => client.finish(bytes(FINAL.slice(0, end))))).toBeInstanceOf(SaslError)
    }
  })
})

describe('a client that cheats or stammers', () => {
  const [FIRST, , FINAL] = messagesOf('SCRAM-SHA-256')

  test.each<[string, string]>([
    ['channel binding, which is not offered', `p=tls-unique,,${FIRST.slice(3)}`],
    ['a mandatory extension', `n,,m=x,${FIRST.slice(3)}`],
    ['somebody else to act as', `n,a=root,${FIRST.slice(3)}`],
    ['an empty one to act as', `n,a=,${FIRST.slice(3)}`],
    ['no user', 'n,,n=,r=abc'],
    ['no nonce', 'n,,n=user,r='],
    ['an escape that there is not', 'n,,n=a=2Db,r=abc'],
    ['a half escape', 'n,,n=a=2,r=abc'],
    ['a user that SASLprep forbids', 'n,,n=\u0007,r=abc'],
    ['no header', FIRST.slice(3)],
    ['nothing', ''],
  ])('first message: %s', async (_what, message) => {
    const { server } = await replay('SHA-256')
    expect(await server.step(bytes(message))).toEqual({ outcome: 'auth' })
  })

  test.each<[string, string]>([
    ['another nonce', FINAL.replace(',r=rO', ',r=rP')],
    ['a nonce without the server’s part', FINAL.replace(/,r=[^,]+/, ',r=rOprNGfwEbeRWgbNEkqO')],
    ['another header', FINAL.replace('c=biws', 'c=eSws')],
    ['another proof', FINAL.replace('p=dH', 'p=eH')],
    ['a proof that is too short', FINAL.replace(/p=.*/, 'p=dHzb')],
    ['no proof', FINAL.replace(/,p=.*/, '')],
    ['an empty proof', FINAL.replace(/p=.*/, 'p=')],
    ['its first message again', FIRST],
    ['nothing', ''],
  ])('last message: %s', async (_what, message) => {
    const { server } = await replay('SHA-256')
    await server.step(bytes(FIRST))
    expect(await server.step(bytes(message))).toEqual({ outcome: 'auth' })
  })

  test('every cut of its messages is refused', async () => {
    for (let end = 0; end < FINAL.length; end++) {
      const { server } = await replay('SHA-256')
      await server.step(bytes(FIRST))
      expect(await server.step(bytes(FINAL.slice(0, end)))).toEqual({ outcome: 'auth' })
    }
  })

  test('what is kept of a password does not log in: neither key is a proof', async () => {
    for (const key of ['storedKey', 'serverKey'] as const) {
      const { server, credentials } = await replay('SHA-256')
      await server.step(bytes(FIRST))
      const proof = Buffer.from(credentials[key]).toString('base64')
      expect(await server.step(bytes(FINAL.replace(/p=.*/, `p=${proof}`)))).toEqual({ outcome: 'auth' })
    }
  })

  /** The last message of a client that knows the password, and says otherwise what it likes; made with other means. */
  function proving(bare: string, serverFirst: string, withoutProof: string): string {
    const salted = pbkdf2Sync('pencil', saltIn(serverFirst), 4096, 32, 'sha256')
    const clientKey = createHmac('sha256', salted).update('Client Key').digest()
    const storedKey = createHash('sha256').update(clientKey).digest()
    const signature = createHmac('sha256', storedKey).update(`${bare},${serverFirst},${withoutProof}`).digest()
    const proof = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0)))
    return `${withoutProof},p=${proof.toString('base64')}`
  }

  test.each<[string, string, string, string, string]>([
    ['`n`, as all do', 'n,,', 'n,,', 'NONCE', 'ok'],
    [
      '`y`: it could bind channels, and thinks that we cannot; it acts as itself',
      'y,a=user,',
      'y,a=user,',
      'NONCE',
      'ok',
    ],
    ['another header in the second message: somebody has changed the first', 'n,,', 'y,,', 'NONCE', 'auth'],
    ['a nonce of another exchange', 'n,,', 'n,,', 'abcdef', 'auth'],
  ])('%s', async (_what, header, repeated, nonce, outcome) => {
    const { server } = await replay('SHA-256')
    const step = await server.step(bytes(`${header}n=user,r=abc`))
    const first = text((step as { challenge: Uint8Array }).challenge)
    const withoutProof = `c=${Buffer.from(repeated).toString('base64')},r=${nonce.replace('NONCE', nonceIn(first))}`
    const last = proving('n=user,r=abc', first, withoutProof)
    expect(await server.step(bytes(last))).toMatchObject({ outcome })
  })

  test('no initial response: it is asked for', async () => {
    const { server } = await replay('SHA-256')
    expect(await server.step(undefined)).toEqual({ challenge: new Uint8Array() })
    expect(await server.step(bytes(FIRST))).toHaveProperty('challenge')
  })
})

describe('users who are not known', () => {
  const nobody = () => undefined
  const ask = async (name: string, options = {}, at = 1): Promise<string> => {
    const server = scramServer(nobody, options)[at]?.start(CONTEXT)
    const step = await server?.step(bytes(`n,,n=${name},r=abc`))
    return text((step as { challenge: Uint8Array }).challenge)
  }
  const salt = (message: string): string => Buffer.from(saltIn(message)).toString('hex')

  test('are asked for a proof like those who are, with the same salt each time, and refused at the end', async () => {
    const first = await ask('eve')
    expect(first).toMatch(/^r=abc[^,]{24},s=[^,]{24},i=65536$/)
    expect(salt(await ask('eve'))).toBe(salt(first))
    expect(salt(await ask('mallory'))).not.toBe(salt(first))
    expect(salt(await ask('eve', {}, 0))).not.toBe(salt(first))
    expect(nonceIn(await ask('eve'))).not.toBe(nonceIn(first))
    const client = scramMechanism('SHA-256', 'eve', 'x').start(context)
    const server = scramServer(nobody, { iterations: 4096 })[1]?.start(CONTEXT)
    expect(server && (await run(client, server))).toBe('auth')
  })

  test('look as the options say, and the same in another process with the same secret', async () => {
    const options = { iterations: 10_000, saltSize: 64, secret: bytes('kept'), hashes: ['SHA-1'] as const }
    const message = await ask('eve', options, 0)
    expect(message).toMatch(/,i=10000$/)
    expect(salt(message)).toBe(createHmac('sha512', 'kept').update('SHA-1,eve').digest('hex'))
  })

  test('a lookup that fails, fails', async () => {
    const server = scramServer(() => Promise.reject(new Error('database')))[0]?.start(CONTEXT)
    expect((await failure(() => server?.step(bytes('n,,n=u,r=a')))).message).toBe('database')
  })
})

describe('what they are made with', () => {
  test('strongest first, at both ends; none shows the password', () => {
    const names = ['SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1']
    expect(scram('u', 'p').map(({ name }) => name)).toEqual(names)
    expect(scram('u', 'p').every(({ secret }) => !secret)).toBe(true)
    expect(scramServer(() => undefined).map(({ name }) => name)).toEqual(names)
  })

  test.each([
    ['', 'p'],
    ['u', ''],
    ['u\0', 'p'],
    ['u', 'p\u0007'],
    ['\u00ad', 'p'],
    ['u', '\ud800'],
  ])('user %j and password %j are refused, without showing them', (user, password) => {
    expect(() => scram(user, password)).toThrow(SaslError)
    expect(() => scram(user, password)).toThrow(/forbids/)
  })

  test.each([{ iterations: 4095 }, { iterations: 1_000_001 }, { iterations: 5000.5 }])(
    '%o is a UsageError, in credentials and in options',
    async options => {
      expect(await failure(() => scramCredentials('p', options))).toBeInstanceOf(UsageError)
      expect(() => scramServer(() => undefined, options)).toThrow(UsageError)
    },
  )

  test.each([{ saltSize: 0 }, { saltSize: 65 }, { hashes: [] }, { hashes: ['MD5' as ScramHash] }])(
    'the option %o is a UsageError',
    options => {
      expect(() => scramServer(() => undefined, options)).toThrow(UsageError)
    },
  )

  test('credentials have a salt of their own, and the default iterations', async () => {
    const [a, b] = await Promise.all([scramCredentials('p'), scramCredentials('p')])
    expect(a.salt).toHaveLength(16)
    expect(a.salt).not.toEqual(b.salt)
    expect(a).toMatchObject({ iterations: 65_536, storedKey: { length: 32 }, serverKey: { length: 32 } })
    expect(await failure(() => scramCredentials(''))).toBeInstanceOf(SaslError)
  })
})
