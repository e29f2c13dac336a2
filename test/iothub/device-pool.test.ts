/** Many devices over one connection: together where it is about the connection, each by itself where it is about a device. */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, it } from 'vitest'
import type { TracedFrame } from '../../src/client/options.ts'
import type { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { ClosedError, RemoteError, UsageError } from '../../src/errors.ts'
import { createSasToken } from '../../src/iothub/credentials/sas.ts'
import type { DeviceClient } from '../../src/iothub/device-client.ts'
import { DevicePool, type PoolOptions } from '../../src/iothub/pool/device-pool.ts'
import { PoolSessions } from '../../src/iothub/pool/pool-sessions.ts'
import { joined } from '../client/joined.ts'
import { pause, until } from '../waiting.ts'
import { keyOf, text, Way, World } from './world.ts'

const world = new World()
afterEach(() => world.close())

const ids = (count: number): string[] => Array.from({ length: count }, (_, i) => `d${i}`)

async function pooled(
  count: number,
  more: PoolOptions = {},
  lockMs = 300,
): Promise<{ hub: IotHubEmulator; pool: DevicePool; way: Way; devices: DeviceClient[] }> {
  const hub = await world.hub({ devices: ids(count), tokenSkewMs: 0, lockMs })
  const way = new Way(hub)
  const pool = world.kept(await DevicePool.connect('localhost', { ...more, ...way.options(more) }))
  const devices = await Promise.all(ids(count).map(deviceId => pool.device(hub.connectionString({ deviceId }))))
  return { hub, pool, way, devices }
}

describe('a pool', () => {
  it('has a thousand devices on one connection, each with telemetry and messages', async () => {
    const count = 1000
    // A lock that outlives what a slow machine makes of a thousand.
    const { hub, pool, way, devices } = await pooled(count, {}, 60_000)
    const loops = devices.map(device => device.messages().next())
    await Promise.all(devices.map((device, i) => device.sendTelemetry({ body: `${i}` })))
    const seen = new Map<string, string>()
    for await (const event of hub.telemetry) {
      seen.set(event.deviceId, text(event.body))
      if (seen.size === count) break
    }
    for (let i = 0; i < count; i++) expect(seen.get(`d${i}`)).toBe(`${i}`)
    const statuses = ids(count).map(id => hub.sendToDevice(id, { body: id }))
    const received = await Promise.all(loops)
    expect(received.map(({ value }) => text(value?.body ?? new Uint8Array()))).toEqual(ids(count))
    await Promise.all(received.map(({ value }) => value?.complete()))
    expect(new Set(await Promise.all(statuses))).toEqual(new Set(['success']))
    expect(way.dialled).toHaveLength(1)
    expect(pool.size).toBe(count)
  }, 60_000)

  it('makes all of them again, a few tokens at a time, by one pair of links', async () => {
    let waiting = 0
    let most = 0
    let pairs = 0
    const trace = ({ direction, body, payload }: TracedFrame): void => {
      const { target, deliveryTag } = (body ?? {}) as { target?: { address?: string }; deliveryTag?: unknown }
      if (direction === 'out' && target?.address === '$cbs') pairs++
      if (pairs < 2 || deliveryTag === undefined || payload === 0) return
      // Until all tokens are there nothing else is sent: each request has one answer.
      waiting += direction === 'out' ? 1 : -1
      most = Math.max(most, waiting)
    }
    const { hub, way, devices } = await pooled(60, { concurrency: 5, trace })
    await Promise.all(devices.map(device => device.sendTelemetry({ body: '0' })))
    const loops = devices.map(device => device.messages().next())
    await way.lose()
    await until(() => way.states.includes('restored'))
    expect(pairs).toBe(2)
    expect(most).toBe(5)
    await Promise.all(devices.map(device => device.sendTelemetry({ body: '1' })))
    for (const id of ids(60)) void hub.sendToDevice(id, { body: id }).catch(() => {})
    expect((await Promise.all(loops)).map(({ value }) => text(value?.body ?? new Uint8Array()))).toEqual(ids(60))
    expect(way.dialled).toHaveLength(2)
  })

  it('a device that the hub lets in no more ends alone, with the reason', async () => {
    const { hub, pool, way, devices } = await pooled(3)
    await Promise.all(devices.map(device => device.sendTelemetry({ body: '0' })))
    hub.fault({ on: 'token' })
    await way.lose()
    const ended = await Promise.race(devices.map(async (device, i) => ({ i, closure: await device.closed })))
    expect(ended.closure).toMatchObject({ by: 'remote', error: { condition: 'amqp:unauthorized-access' } })
    const others = devices.filter((_, i) => i !== ended.i)
    await Promise.all(others.map(device => device.sendTelemetry({ body: '1' })))
    await expect(devices[ended.i]?.sendTelemetry({ body: '1' })).rejects.toMatchObject({
      condition: 'amqp:unauthorized-access',
    })
    expect(pool.size).toBe(2)
    // It may come back.
    await (await pool.device(hub.connectionString({ deviceId: `d${ended.i}` }))).sendTelemetry({ body: '2' })
  })

  it('a device with a wrong key is refused, and the others do not notice', async () => {
    const { hub, pool, way, devices } = await pooled(2)
    hub.addDevice('d9')
    const key = Buffer.alloc(32, 1).toString('base64')
    await expect(pool.device({ deviceId: 'd9', sas: { key } })).rejects.toThrow(RemoteError)
    await Promise.all(devices.map(device => device.sendTelemetry({ body: '0' })))
    expect(way.dialled).toHaveLength(1)
    expect(pool.size).toBe(2)
    await pool.device({ deviceId: 'd9', sas: { key: keyOf(hub.connectionString({ deviceId: 'd9' })) } })
  })

  it('a device that is closed leaves the others, and its loops end', async () => {
    const { pool, devices, hub } = await pooled(2)
    const [one, other] = devices as [DeviceClient, DeviceClient]
    await Promise.all(devices.map(device => device.sendTelemetry({ body: '0' })))
    const twin = await one.twin()
    const loops = [one.messages().next(), twin.changes().next()]
    await pause(20)
    await one.close()
    expect(await Promise.all(loops)).toEqual(Array(2).fill({ done: true, value: undefined }))
    expect(await one.closed).toMatchObject({ by: 'local' })
    await expect(one.sendTelemetry({ body: 'x' })).rejects.toThrow(ClosedError)
    await other.sendTelemetry({ body: '1' })
    expect(pool.size).toBe(1)
    await one.close()
    await (await pool.device(hub.connectionString({ deviceId: 'd0' }))).sendTelemetry({ body: '2' })
  })

  it('a device that was closed may come again at once, and is in the pool once', async () => {
    const { hub, pool, devices } = await pooled(1)
    const closing = devices[0]?.close()
    const again = pool.device(hub.connectionString({ deviceId: 'd0' }))
    await closing
    await (await again).sendTelemetry({ body: 'again' })
    expect(pool.size).toBe(1)
    await expect(pool.device(hub.connectionString({ deviceId: 'd0' }))).rejects.toThrow('in the pool already')
  })

  it('keeps nothing of devices that have left', async () => {
    const { hub, pool } = await pooled(1)
    const gone: WeakRef<DeviceClient>[] = []
    for (let i = 0; i < 5; i++) {
      hub.addDevice(`x${i}`)
      const device = await pool.device(hub.connectionString({ deviceId: `x${i}` }))
      await device.twin()
      await device.close()
      gone.push(new WeakRef(device))
    }
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const left = (): number => gone.filter(device => device.deref() !== undefined).length
    for (let i = 0; i < 50 && left() > 1; i++) {
      await pause(5)
      collect()
    }
    // The last may still be on the stack.
    expect(left()).toBeLessThanOrEqual(1)
  })

  it('that is closed says so to who comes late', async () => {
    const { hub, pool } = await pooled(1)
    hub.addDevice('d9')
    await pool.close()
    const late = pool.device(hub.connectionString({ deviceId: 'd9' }))
    await expect(late).rejects.toThrow('the connection is closed, from this end')
    expect(pool.size).toBe(0)
  })

  it('that is closed ends all of them', async () => {
    const { pool, devices } = await pooled(2)
    const loops = devices.map(device => device.messages().next())
    await pool.close()
    expect(await Promise.all(loops)).toEqual(Array(2).fill({ done: true, value: undefined }))
    for (const device of devices) expect(await device.closed).toMatchObject({ by: 'local' })
    expect(await pool.closed).toMatchObject({ by: 'local' })
    expect(pool.size).toBe(0)
  })

  it('renews the token of each', async () => {
    const { devices, way } = await pooled(5, { tokens: { lifeMs: 2500, marginMs: 2300 } })
    await pause(2800)
    await Promise.all(devices.map(device => device.sendTelemetry({ body: '0' })))
    expect(way.dialled).toHaveLength(1)
  })

  it('begins another session when one is full', async () => {
    const { hub, devices } = await pooled(10, { linksPerSession: 4 })
    const loops = devices.map(device => device.messages().next())
    await Promise.all(devices.map(device => device.sendTelemetry({ body: '0' })))
    // Five sessions for twenty links: one that ends takes four with it.
    hub.fault({ on: 'session', match: 'd0/messages/events', error: { condition: 'amqp:internal-error' } })
    await Promise.all(devices.map(device => device.sendTelemetry({ body: '1' }).catch(() => {})))
    await Promise.all(devices.map(device => device.sendTelemetry({ body: '2' })))
    for (const id of ids(10)) void hub.sendToDevice(id, { body: id }).catch(() => {})
    expect(await Promise.all(loops)).toHaveLength(10)
  })

  it('may have a policy, or a source of tokens, for devices without a key', async () => {
    const hub = await world.hub({ devices: ids(2) })
    const asked: string[] = []
    const token = (request: { readonly resourceUri: string }): Promise<string> => {
      asked.push(request.resourceUri)
      const deviceId = request.resourceUri.split('/').at(-1) ?? ''
      const expiresAt = new Date(Date.now() + 60_000)
      return createSasToken({ ...request, key: keyOf(hub.connectionString({ deviceId })), expiresAt })
    }
    const credentials = { hostName: 'localhost', sas: { token } }
    const pool = world.kept(await DevicePool.connect(credentials, { transport: () => hub.transport() }))
    pool.unref()
    pool.ref()
    const devices = await Promise.all(ids(2).map(id => pool.device(id)))
    await Promise.all(devices.map(device => device.sendTelemetry({ body: 'x' })))
    expect(asked.sort()).toEqual(['localhost/devices/d0', 'localhost/devices/d1'])
  })

  it('may have the connection string of a policy, and devices by their ids alone', async () => {
    const hub = await world.hub({ devices: ids(3), tokenSkewMs: 0 })
    const way = new Way(hub)
    const pool = world.kept(await DevicePool.connect(hub.connectionString({ policy: 'device' }), way.options()))
    const devices = await Promise.all(ids(3).map(id => pool.device(id)))
    const sendAll = (body: string): Promise<unknown> =>
      Promise.all(devices.map(device => device.sendTelemetry({ body })))
    await sendAll('0')
    await way.lose()
    await sendAll('1')
    const who: string[] = []
    for await (const event of hub.telemetry) {
      who.push(`${event.deviceId} ${event.authentication?.scope}`)
      if (who.length === 6) break
    }
    expect([...new Set(who)].sort()).toEqual(['d0 hub', 'd1 hub', 'd2 hub'])
    await expect(pool.device('d7').then(device => device.sendTelemetry({ body: 'x' }))).rejects.toThrow()
    const wrong = DevicePool.connect(hub.connectionString({ policy: 'registryRead' }), {
      transport: () => hub.transport(),
    })
    const stranger = await world.kept(await wrong).device('d0')
    await expect(stranger.sendTelemetry({ body: 'x' })).rejects.toMatchObject({ condition: 'amqp:unauthorized-access' })
    expect(() => hub.connectionString({ policy: 'nobody' })).toThrow(UsageError)
  })

  it('says what is wrong with who is to join', async () => {
    const { hub, pool } = await pooled(1)
    const key = keyOf(hub.connectionString({ deviceId: 'd0' }))
    for (const wrong of [
      'd7',
      { deviceId: '' },
      { deviceId: 'd0', sas: { key } },
      undefined as never,
      `HostName=other;DeviceId=d7;SharedAccessKey=${key}`,
      'HostName=localhost;DeviceId=d7;x509=true',
      `HostName=localhost;SharedAccessKeyName=p;SharedAccessKey=${key}`,
    ])
      await expect(pool.device(wrong)).rejects.toThrow(UsageError)
    expect(pool.size).toBe(1)
  })

  it.each([
    ['', {}],
    [{} as never, {}],
    ['localhost', { linksPerSession: 1 }],
    ['localhost', { concurrency: 0 }],
    [`HostName=h;DeviceId=d;SharedAccessKey=${Buffer.alloc(8).toString('base64')}`, {}],
  ])('is not made of %j with %j', async (credentials, options) => {
    await expect(DevicePool.connect(credentials, options)).rejects.toThrow(UsageError)
  })

  it('may be cancelled before it is connected, and so may a device', async () => {
    const signal = AbortSignal.abort(new Error('no'))
    await expect(DevicePool.connect('localhost', { signal })).rejects.toThrow('no')
    const { hub, pool } = await pooled(1)
    hub.addDevice('d9')
    await expect(pool.device(hub.connectionString({ deviceId: 'd9' }), { signal })).rejects.toThrow('no')
    await pool.device(hub.connectionString({ deviceId: 'd9' }))
  })
})

it('sessions are as wide as the hub has them, where that is less', async () => {
  const { near, ...far } = world.kept(await joined({ far: { limits: { maxLinks: 3 } } }))
  const sessions = new PoolSessions(near, 100)
  // At most three to a session: what does not fit goes to the next.
  for (let i = 0; i < 7; i++) await sessions.sender(`q${i}`)
  expect(sessions.count).toBe(3)
  const last = await sessions.receiver('q7')
  await last.close()
  await far.sessions[0]?.end()
  await until(() => sessions.count === 2)
  await sessions.sender('q8')
})
