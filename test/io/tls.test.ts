/** TLS with real certificates over real sockets: verification on, names checked, SNI sent. §5.2 */

import { connect as connectTcp, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Connection, Listener } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { type Certificate, createCertificate } from '../../src/emulator/certificates/certificate.ts'
import { SaslError, TransportError, UsageError } from '../../src/errors.ts'

let certificate: Certificate
let listener: Listener
const failures: Error[] = []
const names: (string | undefined)[] = []

beforeAll(async () => {
  certificate = await createCertificate({ hostNames: ['localhost'] })
  listener = await listen({
    tls: {
      cert: certificate.cert,
      key: certificate.key,
      SNICallback: (name, done) => {
        names.push(name)
        done(null)
      },
    },
    sasl: [saslServer.plain((user, password) => user === 'u' && password === 'p')],
  })
  listener.on('error', error => failures.push(error))
  listener.on('connection', () => {})
})
afterAll(() => listener.close())

const to = (host: string, tls: object): Promise<Connection> =>
  connect({ host, port: listener.port, tls, sasl: sasl.plain('u', 'p') })

describe('§5.2 TLS', () => {
  test('§5.2.1 TLS first, on the port of amqps; PLAIN, with the authority given; SNI carries the name', async () => {
    await using connection = await to('localhost', { ca: certificate.ca })
    expect(connection.remote.maxFrameSize).toBe(65_536)
    expect(names).toContain('localhost')
    expect(connection.peerCertificate?.length).toBeGreaterThan(100)
  })

  test('an authority that is not trusted is a TransportError that says so', async () => {
    const error = await to('localhost', {}).catch(error => error)
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toMatch(/certificate/)
  })

  test('a certificate for another name is refused', async () => {
    const error = await to('localhost', { ca: certificate.ca, servername: 'example.org' }).catch(error => error)
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toMatch(/altnames/)
  })

  test('a wrong password is refused after the handshake', async () => {
    const error = await connect({
      host: 'localhost',
      port: listener.port,
      tls: { ca: certificate.ca },
      sasl: sasl.plain('u', 'wrong'),
    }).catch(error => error)
    expect(error).toBeInstanceOf(SaslError)
  })

  test('a plain client on a TLS port fails, and the listener reports it and lives on', async () => {
    failures.length = 0
    const error = await connect({ host: 'localhost', port: listener.port, tls: false }).catch(error => error)
    expect(error).toBeInstanceOf(TransportError)
    expect(failures.length).toBeGreaterThan(0)
    await using connection = await to('localhost', { ca: certificate.ca })
    expect(connection.remote).toBeDefined()
  })

  test('a port that is taken is a TransportError', async () => {
    const error = await listen({ port: listener.port }).catch(error => error)
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toContain('EADDRINUSE')
  })
})

describe('certificates and keys that are none', () => {
  const SECRET = 'hunter2'
  const garbage = (what: string) => `-----BEGIN ${what}-----\n${SECRET}\n-----END ${what}-----`
  const WRONG: readonly (readonly [string, () => object, string])[] = [
    ['a path for ca', () => ({ ca: 'ca.pem' }), 'tls.ca has no PEM certificate; it takes the content of a file'],
    ['one of several', () => ({ ca: [certificate.ca, Buffer.from('ca.pem')] }), 'tls.ca has no PEM certificate'],
    ['DER for ca', () => ({ ca: new Uint8Array([0x30, 0x82, 0xff]) }), 'tls.ca has no PEM certificate'],
    ['a path for cert', () => ({ cert: 'cert.pem' }), 'tls.cert has no PEM certificate'],
    ['a key for cert', () => ({ cert: certificate.key }), 'tls.cert has no PEM certificate'],
    ['a path for key', () => ({ cert: certificate.cert, key: 'key.pem' }), 'tls.key has no PEM private key'],
    ['garbage for cert', () => ({ cert: garbage('CERTIFICATE') }), 'tls.cert cannot be used: '],
    ['garbage for key', () => ({ key: garbage('PRIVATE KEY') }), 'tls.key cannot be used: '],
    ['a path for pfx', () => ({ pfx: 'client.pfx' }), 'tls.pfx cannot be used: not enough data'],
    ['a number', () => ({ key: certificate.key, passphrase: 4711 }), 'passphrase" property must be of type string'],
    ['keys as they are not given', () => ({ key: [{ pem: SECRET }] }), 'tls.key cannot be used: '],
    [
      'keys that do not match',
      () => ({ cert: other.cert, key: certificate.key }),
      'tls.key is not the key of tls.cert',
    ],
  ]
  let other: Certificate
  beforeAll(async () => {
    other = await createCertificate()
  })

  test.each(WRONG)('%s: the option is named, and nothing of it', async (_, make, why) => {
    const tls = make()
    const { port } = listener
    const attempts = [() => connect({ host: 'localhost', port, tls, reconnect: {} }), () => listen({ tls })]
    for (const attempt of attempts) {
      const error = await attempt().then(
        made => made.close(),
        error => error,
      )
      expect(error).toBeInstanceOf(UsageError)
      expect(error.message).toContain(why)
      expect(String(error.stack)).not.toMatch(/hunter2|4711|BEGIN|ca\.pem|cert\.pem|key\.pem/)
    }
    expect(() => listener.setSecureContext(tls)).toThrow(UsageError)
  })

  test('what node:tls takes is taken: views, lists, several in one, empty ones', async () => {
    const ca = [new TextEncoder().encode(certificate.ca), '', Buffer.from(other.ca + other.cert)]
    const both = certificate.cert + certificate.key
    await using connection = await to('localhost', { ca, cert: both, key: [{ pem: both }] })
    expect(connection.remote).toBeDefined()
  })
})

describe('§5.3 EXTERNAL', () => {
  const serve = (identity: boolean | string): Promise<Listener> =>
    listen({
      tls: { cert: certificate.cert, key: certificate.key, requestCert: true, rejectUnauthorized: false },
      sasl: [saslServer.external(() => identity)],
      allowNoSasl: false,
    })

  test('a client certificate proves who the peer is', async () => {
    await using external = await serve('device1')
    const far = new Promise<Connection>(resolve => external.on('connection', resolve))
    const { ca, cert, key } = certificate
    await using _near = await connect({
      host: 'localhost',
      port: external.port,
      tls: { ca, cert, key },
      sasl: sasl.external(),
    })
    expect((await far).identity).toBe('device1')
    expect((await far).peerCertificate?.length).toBeGreaterThan(100)
  })

  test('without a certificate it is refused, and so is one that the check refuses', async () => {
    await using open = await serve(true)
    await using strict = await serve(false)
    const { ca, cert, key } = certificate
    for (const [port, tls] of [
      [open.port, { ca }],
      [strict.port, { ca, cert, key }],
    ] as const) {
      const error = await connect({ host: 'localhost', port, tls, sasl: sasl.external() }).catch(error => error)
      expect(error).toBeInstanceOf(SaslError)
      expect(error.outcome).toBe('auth')
    }
  })
})

describe('a peer that says nothing on a TLS port', () => {
  const silent = async (port: number): Promise<Socket> => {
    const socket = connectTcp({ host: '127.0.0.1', port })
    socket.on('error', () => {}).resume()
    await new Promise(resolve => socket.once('connect', resolve))
    return socket
  }
  const { setTimeout: pause } = globalThis
  const within = (promise: Promise<unknown>, ms: number): Promise<unknown> =>
    Promise.race([promise.then(() => 'done'), new Promise(resolve => pause(() => resolve('late'), ms))])

  test('does not keep the listener from closing; one whose handshake is over is closed properly', async () => {
    const other = await listen({ tls: { cert: certificate.cert, key: certificate.key } })
    other.on('connection', () => {})
    const socket = await silent(other.port)
    const gone = new Promise(resolve => socket.once('close', resolve))
    const near = await connect({ host: 'localhost', port: other.port, tls: { ca: certificate.ca } })
    expect(await within(other.close(), 3000)).toBe('done')
    expect(await within(gone, 3000)).toBe('done')
    expect(await near.closed).toEqual({ by: 'remote', error: undefined })
  })

  test('is given up after limits.handshakeMs', async () => {
    const errors: Error[] = []
    await using other = await listen({
      tls: { cert: certificate.cert, key: certificate.key },
      limits: { handshakeMs: 50 },
    })
    other.on('error', error => errors.push(error))
    const socket = await silent(other.port)
    expect(await within(new Promise(resolve => socket.once('close', resolve)), 3000)).toBe('done')
    expect(errors[0]).toBeInstanceOf(TransportError)
  })
})
