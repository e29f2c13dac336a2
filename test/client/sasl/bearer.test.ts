/** OAUTHBEARER and XOAUTH2, both ends: what is sent, what is understood, and that no error shows a token. §5.3.2 */

import { describe, expect, test } from 'vitest'
import type { SaslMechanism, SaslServerExchange, SaslStep } from '../../../src/client/sasl/mechanism.ts'
import { sasl, saslServer } from '../../../src/client/sasl.ts'
import { SaslError } from '../../../src/errors.ts'
import { read } from '../../peer/composites.ts'
import { fromHex } from '../../peer/wire.ts'
import { fromJson, loadVectors } from '../../vectors/load.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (value: Uint8Array | undefined): string => new TextDecoder().decode(value)
const controller = new AbortController()
const begin = (mechanism: SaslMechanism) => mechanism.start({ hostname: 'h', secure: true, signal: controller.signal })

/** The client's message in a vector. */
function messageIn(name: string): string {
  const vector = loadVectors('sasl').find(row => row.name === name)
  for (const { value } of vector?.steps ?? []) {
    const wire = value ? read(fromJson(value))?.fields['initialResponse'] : undefined
    if (wire?.t === 'binary') return text(fromHex(wire.v))
  }
  return expect.unreachable()
}

const failure = async (work: () => unknown): Promise<Error> => {
  try {
    await work()
  } catch (error) {
    return error as Error
  }
  return expect.unreachable()
}

const OAUTH_TOKEN = 'vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=='
const X_TOKEN = 'ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg'
const TOKEN = 'eyJ.secret.part'

describe('the client', () => {
  test('OAUTHBEARER says what RFC 7628 has, host and port left out', async () => {
    const exchange = begin(sasl.oauthBearer(OAUTH_TOKEN, 'user@example.com'))
    expect(text(await exchange.initial())).toBe(messageIn('OAUTHBEARER'))
  })

  test('OAUTHBEARER for nobody in particular; a name with a comma', async () => {
    expect(text(await begin(sasl.oauthBearer('t')).initial())).toBe('n,,\x01auth=Bearer t\x01\x01')
    const named = await begin(sasl.oauthBearer('t', 'a,b=c')).initial()
    expect(text(named)).toBe('n,a=a=2Cb=3Dc,\x01auth=Bearer t\x01\x01')
  })

  test('XOAUTH2 says what its definition has', async () => {
    const exchange = begin(sasl.xoauth2('someuser@example.com', X_TOKEN))
    expect(text(await exchange.initial())).toBe(messageIn('XOAUTH2'))
  })

  test('a token that is fetched: once for each attempt, and told when it is of no use any more', async () => {
    const signals: AbortSignal[] = []
    const mechanism = sasl.oauthBearer(async signal => `t${signals.push(signal)}`)
    expect(text(await begin(mechanism).initial())).toContain('Bearer t1\x01')
    expect(text(await begin(mechanism).initial())).toContain('Bearer t2\x01')
    expect(signals).toEqual([controller.signal, controller.signal])
  })

  test('both are secrets: refused without TLS', () => {
    expect(sasl.oauthBearer('t').secret && sasl.xoauth2('u', 't').secret).toBe(true)
  })

  test.each(['', ' tok9', 'tok9 ', 'a\x01b', 'a\nb', 'tökén'])(
    'the token %j is refused, and not shown',
    async token => {
      for (const mechanism of [sasl.oauthBearer(token), sasl.xoauth2('u', () => token)]) {
        const error = await failure(() => begin(mechanism).initial())
        expect(error).toBeInstanceOf(SaslError)
        if (token !== '') expect(error.message).not.toContain(token)
      }
    },
  )

  test('a user with a control character', () => {
    expect(() => sasl.xoauth2('a\x01b', 't')).toThrow(SaslError)
  })

  test.each([
    ['OAUTHBEARER', sasl.oauthBearer(TOKEN), '\x01'],
    ['XOAUTH2', sasl.xoauth2('u', TOKEN), ''],
  ])('%s: a refusal is answered, and its status kept', async (_name, mechanism, dismissal) => {
    const exchange = begin(mechanism)
    await exchange.initial()
    expect(exchange.failure?.()).toBeUndefined()
    expect(text(await exchange.respond(bytes('{"status":"invalid_token","scope":"x"}')))).toBe(dismissal)
    expect(exchange.failure?.()).toBe('status invalid_token')
    // One challenge is all there is; and `ok` behind it is a contradiction.
    expect(await failure(() => exchange.respond(bytes('{}')))).toBeInstanceOf(SaslError)
    expect(await failure(() => exchange.finish(undefined))).toBeInstanceOf(SaslError)
  })

  test.each([
    ['{"status":401}', 'status 401'],
    ['{"status":"401"}', 'status 401'],
    ['{}', undefined],
    ['null', undefined],
    ['[]', undefined],
    ['not JSON', undefined],
    ['', undefined],
    [`{"status":"${TOKEN}"}`, undefined],
    [`{"status":"bad:${TOKEN}"}`, undefined],
    ['{"status":"secret"}', undefined],
    ['{"status":"two words"}', undefined],
    [`{"status":"${'x'.repeat(65)}"}`, undefined],
    ['{"status":"\\u001b[31m"}', undefined],
    ['{"status":{}}', undefined],
  ])('the refusal %s: %s', async (refusal, expected) => {
    const exchange = begin(sasl.oauthBearer(TOKEN))
    await exchange.initial()
    await exchange.respond(bytes(refusal))
    expect(exchange.failure?.()).toBe(expected)
  })
})

describe('the server', () => {
  const seen: [string, string][] = []
  const check = (token: string, user: string): boolean => {
    seen.push([token, user])
    return token === TOKEN
  }
  const oauth = (): SaslServerExchange =>
    saslServer.oauthBearer(check).start({ secure: true, peerCertificate: undefined })
  const x = (): SaslServerExchange =>
    saslServer.xoauth2((user, token) => check(token, user)).start({ secure: true, peerCertificate: undefined })

  test.each<[string, () => SaslServerExchange, string, [string, string]]>([
    ['the RFC’s', oauth, messageIn('OAUTHBEARER'), [OAUTH_TOKEN, 'user@example.com']],
    ['host and port', oauth, 'n,,\x01host=h\x01port=1\x01auth=Bearer t\x01\x01', ['t', '']],
    ['channel binding that we lack', oauth, 'y,,\x01auth=Bearer t\x01\x01', ['t', '']],
    ['another case and more blanks', oauth, 'n,,\x01auth=bEARER   t\x01\x01', ['t', '']],
    ['a name with a comma', oauth, 'n,a=a=2Cb,\x01auth=Bearer t\x01\x01', ['t', 'a,b']],
    ['XOAUTH2', x, messageIn('XOAUTH2'), [X_TOKEN, 'someuser@example.com']],
  ])('understands %s', async (_what, start, message, expected) => {
    seen.length = 0
    await start().step(bytes(message))
    expect(seen).toEqual([expected])
  })

  test.each<[string, () => SaslServerExchange, string]>([
    ['nothing', oauth, ''],
    ['no header', oauth, `\x01auth=Bearer ${TOKEN}\x01\x01`],
    ['channel binding', oauth, `p=x,,\x01auth=Bearer ${TOKEN}\x01\x01`],
    ['no token', oauth, 'n,,\x01host=h\x01\x01'],
    ['an empty token', oauth, 'n,,\x01auth=Bearer \x01\x01'],
    ['two tokens', oauth, `n,,\x01auth=Bearer ${TOKEN}\x01auth=Bearer ${TOKEN}\x01\x01`],
    ['another scheme', oauth, `n,,\x01auth=Basic ${TOKEN}\x01\x01`],
    ['no end', oauth, `n,,\x01auth=Bearer ${TOKEN}\x01`],
    ['something behind the end', oauth, `n,,\x01auth=Bearer ${TOKEN}\x01\x01x`],
    ['a pair that is none', oauth, `n,,\x01what\x01auth=Bearer ${TOKEN}\x01\x01`],
    ['a name with a wrong escape', oauth, `n,a==2D,\x01auth=Bearer ${TOKEN}\x01\x01`],
    ['XOAUTH2 without a user', x, `user=\x01auth=Bearer ${TOKEN}\x01\x01`],
    ['XOAUTH2 without an end', x, `user=u\x01auth=Bearer ${TOKEN}\x01`],
    ['XOAUTH2 without a token', x, 'user=u\x01\x01'],
  ])('asks nobody about %s', async (_what, start, message) => {
    seen.length = 0
    const exchange = start()
    expect(await exchange.step(bytes(message))).toEqual({ challenge: bytes('{"status":"invalid_request"}') })
    expect(await exchange.step(Uint8Array.of(1))).toEqual({ outcome: 'auth' })
    expect(seen).toEqual([])
  })

  test.each<[string, () => SaslServerExchange, string, SaslStep]>([
    ['OAUTHBEARER for nobody', oauth, `n,,\x01auth=Bearer ${TOKEN}\x01\x01`, { outcome: 'ok', identity: undefined }],
    ['OAUTHBEARER', oauth, `n,a=u,\x01auth=Bearer ${TOKEN}\x01\x01`, { outcome: 'ok', identity: 'u' }],
    ['XOAUTH2', x, `user=u\x01auth=Bearer ${TOKEN}\x01\x01`, { outcome: 'ok', identity: 'u' }],
  ])('%s: lets a good token in', async (_what, start, message, expected) => {
    expect(await start().step(bytes(message))).toEqual(expected)
  })

  test('says why it refuses, then refuses, whatever the answer; asks for an initial response that is missing', async () => {
    for (const answer of ['\x01', '', 'more']) {
      const exchange = oauth()
      expect(await exchange.step(undefined)).toEqual({ challenge: new Uint8Array() })
      expect(await exchange.step(bytes('n,,\x01auth=Bearer wrong\x01\x01'))).toEqual({
        challenge: bytes('{"status":"invalid_token"}'),
      })
      expect(await exchange.step(bytes(answer))).toEqual({ outcome: 'auth' })
    }
  })

  test('a check that gives text names the peer', async () => {
    const exchange = saslServer.oauthBearer(async () => 'device1').start({ secure: true, peerCertificate: undefined })
    expect(await exchange.step(bytes('n,,\x01auth=Bearer t\x01\x01'))).toEqual({ outcome: 'ok', identity: 'device1' })
  })
})
