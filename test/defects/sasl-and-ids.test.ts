/**
 * Credentials and identifiers that another implementation, rhea 3.0.5, cut short, padded or made up wrongly. Here they are
 * what they should be, byte for byte. §5.3.3.2
 */

import { createServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import { connect } from '../../src/client/connect.ts'
import { type SaslMechanism, sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { SaslError } from '../../src/errors.ts'
import { read, saslMechanisms, saslOutcome } from '../peer/composites.ts'
import { concat, frame, parseFrames, saslHeader, toHex, type Wire } from '../peer/wire.ts'

/** The sasl-init that a client sends to a server which then refuses it. */
async function initOf(mechanism: SaslMechanism): Promise<Record<string, Wire>> {
  const heard: Uint8Array[] = []
  const server = createServer(socket => {
    socket.on('error', () => {})
    socket.on('data', bytes => {
      heard.push(bytes)
      const { frames } = parseFrames(concat(...heard).subarray(8))
      if (frames.length > 0) socket.end(frame(0, saslOutcome({ code: 1 }), undefined, 1))
    })
    socket.write(concat(saslHeader, frame(0, saslMechanisms({ saslServerMechanisms: [mechanism.name] }), undefined, 1)))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const error = await connect({ host: '127.0.0.1', port, sasl: mechanism, allowInsecureAuth: true }).catch(
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(SaslError)
  expect(error).toMatchObject({ outcome: 'auth' })
  await new Promise(resolve => server.close(resolve))
  const [init] = parseFrames(concat(...heard).subarray(8)).frames
  return read(init?.performative as Wire)?.fields ?? {}
}

describe('§5.3.3.2 the initial response', () => {
  test('of PLAIN is sized in bytes of UTF-8, not in characters', async () => {
    const { mechanism, initialResponse } = await initOf(sasl.plain('jürgen', 'pässwörd€'))
    expect(mechanism).toEqual({ t: 'symbol', v: 'PLAIN' })
    const hex = '00 6ac3bc7267656e 00 70c3a4737377c3b67264e282ac'.replaceAll(' ', '')
    expect(initialResponse).toEqual({ t: 'binary', v: hex })
  })

  test('of PLAIN beyond the basic plane', async () => {
    const { initialResponse } = await initOf(sasl.plain('😀', '🔑🔑'))
    expect(initialResponse).toEqual({ t: 'binary', v: '00f09f988000f09f9491f09f9491' })
  })

  test('of ANONYMOUS is empty, or the trace; no NUL goes before it', async () => {
    expect((await initOf(sasl.anonymous())).initialResponse).toEqual({ t: 'binary', v: '' })
    const { initialResponse } = await initOf(sasl.anonymous('jürgen@host'))
    expect(initialResponse).toEqual({ t: 'binary', v: toHex(new TextEncoder().encode('jürgen@host')) })
  })

  test('of EXTERNAL and of a mechanism of the user’s own is what it says, with any user name', async () => {
    expect((await initOf(sasl.external('jürgen'))).initialResponse).toEqual({ t: 'binary', v: '6ac3bc7267656e' })
    const text = new TextEncoder().encode('user=jürgen\x01auth=Bearer t\x01\x01')
    const xoauth2: SaslMechanism = {
      name: 'XOAUTH2',
      secret: true,
      start: () => ({ initial: () => text, respond: () => new Uint8Array(0), finish: () => {} }),
    }
    const { mechanism, initialResponse } = await initOf(xoauth2)
    expect([mechanism?.v, initialResponse?.v]).toEqual(['XOAUTH2', toHex(text)])
  })

  test('of PLAIN is understood by our own listener', async () => {
    const seen: string[][] = []
    await using listener = await listen({
      sasl: [
        saslServer.plain((user, password) => {
          seen.push([user, password])
          return true
        }),
      ],
    })
    const { port } = listener
    const near = await connect({
      host: '127.0.0.1',
      port,
      sasl: sasl.plain('jürgen', 'pässwörd€'),
      allowInsecureAuth: true,
    })
    await near.close()
    expect(seen).toEqual([['jürgen', 'pässwörd€']])
  })
})

test('identifiers made here are random uuids of version 4, variant 1', async () => {
  const v4 = /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
  const ids = new Set<string>()
  await using listener = await listen({})
  for (let i = 0; i < 20; i++) {
    const accepted = new Promise<string>(resolve => {
      const once = listener.on('connection', connection => {
        once[Symbol.dispose]()
        connection.on('session', async session =>
          (await session.accept()).on('link', async link => ids.add((await link.accept()).name)),
        )
        resolve(connection.remote.containerId)
      })
    })
    await using near = await connect({ host: '127.0.0.1', port: listener.port })
    ids
      .add(await accepted)
      .add(near.remote.containerId)
      .add((await near.sender('q')).name)
  }
  // The listener's container-id, and for each peer its own and the name of its link, which both ends know.
  expect(ids.size).toBe(41)
  for (const id of ids) expect(id).toMatch(v4)
})
