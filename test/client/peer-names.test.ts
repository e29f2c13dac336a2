/** Errors say whom they are about: where a client connected to, and who came to a listener, by address and user. */

import { once } from 'node:events'
import { createServer, connect as dial, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import type { Connection, Listener } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { createCertificate } from '../../src/emulator/certificates/certificate.ts'
import { reasonOf } from '../../src/io/socket.ts'
import { settled } from './joined.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

/** A port where each peer meets this. */
async function port(meet: (socket: Socket) => void): Promise<number> {
  const server = createServer(socket => meet(socket.on('error', () => {}))).listen(0, '127.0.0.1')
  ends.push(() => server.close())
  await once(server, 'listening')
  return (server.address() as { port: number }).port
}

/** The errors that a listener tells. */
function failures(listener: Listener): Promise<Error> {
  return new Promise(resolve => listener.on('error', resolve))
}

const header = Buffer.from('AMQP\0\x01\0\0', 'latin1')

test('a peer that hangs up, that says nothing, that speaks something else', async () => {
  const hangsUp = await port(socket => socket.once('data', () => socket.end(header)))
  expect(String(await settled(connect({ host: '127.0.0.1', port: hangsUp, sasl: false })))).toContain(
    `the transport to 127.0.0.1:${hangsUp} ended`,
  )
  const silent = await port(() => {})
  const limits = { headerOnlyMs: 20 }
  expect(String(await settled(connect({ host: '127.0.0.1', port: silent, limits })))).toContain(
    `no protocol header from 127.0.0.1:${silent} within 20 ms`,
  )
  const web = await port(socket => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'))
  expect(String(await settled(connect({ host: '127.0.0.1', port: web })))).toContain(
    `127.0.0.1:${web} answered something that is not an AMQP header`,
  )
})

test('who is refused, at both ends, and never by which password', async () => {
  await using listener = await listen({ sasl: [saslServer.plain(() => false)] })
  const failure = failures(listener)
  const target = `amqp://ann:hunter2@127.0.0.1:${listener.port}`
  const error = await settled(connect(target, { allowInsecureAuth: true }))
  expect(String(error)).toContain(`authentication by SASL PLAIN at 127.0.0.1:${listener.port} failed`)
  const told = String(await failure)
  expect(told).toMatch(/authentication of 127\.0\.0\.1:\d+ refused: "ann" is not authenticated/)
  expect(told).not.toContain('hunter2')
  const none = await settled(connect(`amqp://127.0.0.1:${listener.port}`, { sasl: sasl.external() }))
  expect(String(none)).toContain(`no common SASL mechanism: 127.0.0.1:${listener.port} offers PLAIN`)
})

test('the address of either end', async () => {
  await using listener = await listen()
  const accepted = new Promise<Connection>(resolve => listener.on('connection', resolve))
  await using near = await connect(`amqp://127.0.0.1:${listener.port}`)
  expect(near.remoteAddress).toBe(`127.0.0.1:${listener.port}`)
  const far = await accepted
  expect(far.remoteAddress).toMatch(/^127\.0\.0\.1:\d+$/)
  await near.close()
  await far.closed
  expect(far.remoteAddress).toMatch(/^127\.0\.0\.1:\d+$/)
})

test('a handshake that failed, and a certificate that is missing, in words', async () => {
  const { ca, cert, key } = await createCertificate()
  await using listener = await listen({ tls: { cert, key, ca, requestCert: true, rejectUnauthorized: true } })
  const failure = failures(listener)
  const error = await settled(connect({ host: '127.0.0.1', port: listener.port, tls: { ca } }))
  expect(String(error)).toMatch(
    /the peer refused our certificate: there is none, and one is required \(TLS alert 116\)/,
  )
  expect(String(await failure)).toMatch(/TLS handshake.* failed: /)
  const again = failures(listener)
  const plain = dial(listener.port, '127.0.0.1').on('error', () => {})
  plain.write(header)
  expect(String(await again)).toMatch(/TLS handshake with 127\.0\.0\.1:\d+ failed: /)
  plain.destroy()
})

test('alerts that are not about certificates', () => {
  const error = new Error('error:0A000438:SSL routines::tlsv1 alert internal error:SSL alert number 80')
  expect(reasonOf(error)).toBe('the peer ended the TLS handshake (alert 80)')
})
