/** Who is let in, and what becomes of a link whose handler fails: found by trying the package as a stranger. §5.3 §2.6.3 */

import { inspect } from 'node:util'
import { afterEach, expect, test, vi } from 'vitest'
import type { Listener } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ListenOptions } from '../../src/client/options.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { DecodeError, RemoteError, type SaslError, UsageError } from '../../src/errors.ts'
import { Decimal, Uuid } from '../../src/types/values.ts'
import { attach, begin, open } from '../peer/composites.ts'
import { amqpHeader, concat, frame } from '../peer/wire.ts'

let listener: Listener | undefined
afterEach(async () => {
  vi.restoreAllMocks()
  await listener?.close()
  listener = undefined
})
const serve = async (options: ListenOptions): Promise<number> => {
  listener = await listen(options)
  return listener.port
}
const NOTHING = [undefined, null, false, '', 0, Number.NaN, {}]

test.each(NOTHING)('a check that gives %o lets nobody in', async answer => {
  const check = (() => answer) as never
  const mechanisms = [saslServer.plain(check), saslServer.oauthBearer(check), saslServer.xoauth2(check)]
  const port = await serve({ sasl: mechanisms })
  for (const mine of [sasl.plain('u', 'p'), sasl.oauthBearer('t'), sasl.xoauth2('u', 't')])
    await expect(connect({ host: '127.0.0.1', port, sasl: mine, allowInsecureAuth: true })).rejects.toMatchObject({
      outcome: 'auth',
    } satisfies Partial<SaslError>)
})

test.each(NOTHING.filter(answer => typeof answer !== 'object' || answer === null))(
  'an authorise that gives %o refuses the link',
  async answer => {
    const port = await serve({
      links: { q: async link => void (await link.accept()) },
      authorise: (() => answer) as never,
    })
    const connection = await connect(`amqp://127.0.0.1:${port}`)
    await expect(connection.sender('q')).rejects.toMatchObject({ condition: 'amqp:unauthorized-access' })
    await connection.close()
  },
)

test('a mechanism need not be in a list; what is none is a UsageError', async () => {
  const port = await serve({ sasl: saslServer.plain((user, password) => user === 'ann' && password === 'p') })
  const connection = await connect({ host: '127.0.0.1', port, sasl: sasl.plain('ann', 'p'), allowInsecureAuth: true })
  await connection.close()
  await expect(listen({ sasl: (() => true) as never })).rejects.toBeInstanceOf(UsageError)
})

const heard = async (handle: (error: Error) => never) => {
  const fault = new Error('boom')
  const port = await serve({
    links: {
      q: async link => {
        await link.accept()
        handle(fault)
      },
    },
  })
  const connection = await connect(`amqp://127.0.0.1:${port}`)
  const sender = await connection.sender('q')
  const { error } = await sender.closed
  await connection.close()
  return error as RemoteError
}

test('a handler that fails once it has accepted ends the link, and is a warning where nobody hears of it', async () => {
  const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  const error = await heard(fault => {
    throw fault
  })
  expect(error).toBeInstanceOf(RemoteError)
  expect(error.condition).toBe('amqp:internal-error')
  expect(warned.mock.calls.map(([warning]) => String(warning))).toEqual(['Error: boom'])
})

test('a handler that cannot read a message ends the link with decode-error', async () => {
  vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  const error = await heard(() => {
    throw new DecodeError('three bad bytes', { offset: 0 } as never)
  })
  expect(error.condition).toBe('amqp:decode-error')
})

test('a link that is attached without a terminus and never detached is given up', async () => {
  const net = await import('node:net')
  const server = net.createServer(socket => {
    // The header, the open, and on the attach an answer that says neither source nor target, as one library’s servers do.
    socket.once('data', () => {
      socket.write(
        concat(
          amqpHeader,
          frame(0, open({ containerId: 'peer' })),
          frame(0, begin({ remoteChannel: 0, nextOutgoingId: 0, incomingWindow: 100, outgoingWindow: 100 })),
          frame(0, attach({ name: 'l', handle: 0, role: 'receiver' })),
        ),
      )
    })
    socket.on('error', () => {})
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const connection = await connect({ host: '127.0.0.1', port, sasl: false, pipeline: true, limits: { closeMs: 100 } })
  await expect(connection.sender('q', { name: 'l' })).rejects.toMatchObject({ name: 'ProtocolError', scope: 'link' })
  await connection.close().catch(() => {})
  server.close()
})

test('the console shows values as text', () => {
  const uuid = Uuid.parse('3f2504e0-4f89-41d3-9a0c-0305e82c3301')
  expect(inspect({ uuid, decimal: Decimal.parse('1.50', 64) })).toBe(
    '{\n  uuid: Uuid(3f2504e0-4f89-41d3-9a0c-0305e82c3301),\n  decimal: Decimal(1.50)\n}',
  )
})

test.each([
  ['sender', () => ['q', { settled: true }]],
  ['sender', () => [{ adress: 'q' }]],
  ['receiver', () => ['q', { autoaccept: false }]],
  ['receiver', () => [{ address: 'q', filters: {} }]],
] as const)('a %s with a name that means nothing is a UsageError', async (role, given) => {
  const port = await serve({ links: { q: async link => void (await link.accept()) } })
  const connection = await connect(`amqp://127.0.0.1:${port}`)
  const [terminus, options] = given() as unknown as [string, object | undefined]
  await expect(connection[role](terminus, options)).rejects.toThrow(/there is no (option|field) of/)
  await (await connection[role]('q')).close()
  await connection.close()
})

test('what is said of a wrong host holds no password', async () => {
  const connecting = connect('amqp://127.0.0.1', { hosts: ['amqps://ann:secret@broker-2'] })
  const error = await connecting.catch(reason => reason)
  expect(error).toBeInstanceOf(UsageError)
  expect(inspect(error)).not.toContain('secret')
})
