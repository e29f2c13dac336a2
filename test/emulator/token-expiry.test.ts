/** Tokens by the clock: when a hub lets go of what one allowed, and how a renewal keeps it. */

import { afterEach, describe, expect, it } from 'vitest'
import { CbsSession } from '../../src/cbs/cbs-session.ts'
import type { Connection } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { sasl } from '../../src/client/sasl.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { createSasToken } from '../../src/iothub/credentials/sas.ts'
import { ManualClock } from './manual-clock.ts'

const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})
function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}

const SKEW_MS = 30_000
const EVENTS = '/devices/d1/messages/events'
const type = 'servicebus.windows.net:sastoken'
const unauthorized = { condition: 'amqp:unauthorized-access' }

async function setUp(): Promise<{
  clock: ManualClock
  hub: IotHubEmulator
  token: (seconds: number) => Promise<string>
}> {
  // On a whole second, as tokens are.
  const clock = new ManualClock(1_800_000_000_000)
  const hub = kept(await IotHubEmulator.start({ listen: 'memory', devices: ['d1'], clock, tokenSkewMs: SKEW_MS }))
  const key = /SharedAccessKey=([^;]+)/.exec(hub.connectionString({ deviceId: 'd1' }))?.[1] ?? ''
  const token = (seconds: number): Promise<string> => {
    const expiresAt = new Date(clock.now() + seconds * 1000)
    return createSasToken({ resourceUri: 'localhost/devices/d1', key, expiresAt })
  }
  return { clock, hub, token }
}

const isOpen = (connection: Connection): Promise<boolean> =>
  Promise.race([connection.closed.then(() => false), new Promise<true>(resolve => setTimeout(() => resolve(true), 30))])

describe('by CBS', () => {
  it('links hold until the tolerance is over, then they are detached, and the connection stays for another token', async () => {
    const { clock, hub, token } = await setUp()
    const connection = kept(await connect({ host: 'localhost', transport: hub.transport() }))
    const cbs = await CbsSession.attach(connection)
    const put = async (seconds: number): Promise<void> => {
      await cbs.putToken('d1', { type, value: await token(seconds), expiresAt: new Date() })
    }
    await put(60)
    const sender = await connection.sender(EVENTS)
    clock.advance(60_000 + SKEW_MS - 1)
    expect(await sender.send({ body: Uint8Array.of(1) })).toEqual({ outcome: 'accepted' })
    clock.advance(1)
    expect(await sender.closed).toMatchObject({ by: 'remote', error: unauthorized })
    await expect(connection.sender(EVENTS)).rejects.toMatchObject(unauthorized)
    await put(60)
    await connection.sender(EVENTS)
  })

  it('a renewal in time keeps the links, for as long as the new token holds', async () => {
    const { clock, hub, token } = await setUp()
    const connection = kept(await connect({ host: 'localhost', transport: hub.transport() }))
    const cbs = await CbsSession.attach(connection)
    const put = async (seconds: number): Promise<void> => {
      await cbs.putToken('d1', { type, value: await token(seconds), expiresAt: new Date() })
    }
    await put(60)
    const sender = await connection.sender(EVENTS)
    clock.advance(45_000)
    await put(60)
    clock.advance(60_000 + SKEW_MS - 1)
    expect(await sender.send({ body: Uint8Array.of(1) })).toEqual({ outcome: 'accepted' })
    clock.advance(1)
    expect(await sender.closed).toMatchObject({ error: unauthorized })
  })

  it('a renewal that is refused takes nothing away', async () => {
    const { clock, hub, token } = await setUp()
    const connection = kept(await connect({ host: 'localhost', transport: hub.transport() }))
    const cbs = await CbsSession.attach(connection)
    await cbs.putToken('d1', { type, value: await token(60), expiresAt: new Date() })
    const sender = await connection.sender(EVENTS)
    hub.fault({ on: 'token' })
    const renewal = cbs.putToken('d1', { type, value: await token(3600), expiresAt: new Date() })
    await expect(renewal).rejects.toMatchObject(unauthorized)
    expect(await sender.send({ body: Uint8Array.of(1) })).toEqual({ outcome: 'accepted' })
    clock.advance(60_000 + SKEW_MS)
    expect(await sender.closed).toMatchObject({ error: unauthorized })
  })

  it('a token that is over by less than the tolerance is taken, one that is over by more is not', async () => {
    const { clock, hub, token } = await setUp()
    const connection = kept(await connect({ host: 'localhost', transport: hub.transport() }))
    const cbs = await CbsSession.attach(connection)
    const [early, late] = [await token(10), await token(0)]
    clock.advance(SKEW_MS + 1)
    await cbs.putToken('d1', { type, value: early, expiresAt: new Date() })
    const refused = cbs.putToken('d1', { type, value: late, expiresAt: new Date() })
    await expect(refused).rejects.toThrow('the token has expired')
  })
})

it('by PLAIN the connection is closed when the tolerance is over, and there is no renewal', async () => {
  const { clock, hub, token } = await setUp()
  const mechanism = sasl.plain('d1@sas.localhost', await token(60))
  const connection = kept(await connect({ host: 'localhost', transport: hub.transport(), sasl: mechanism }))
  await connection.sender(EVENTS)
  clock.advance(60_000 + SKEW_MS - 1)
  expect(await isOpen(connection)).toBe(true)
  clock.advance(1)
  expect(await connection.closed).toMatchObject({ by: 'remote', error: unauthorized })
})
