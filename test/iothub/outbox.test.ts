/** Messages that wait for their link: what is sent is what it was at the call, and a close sends what is queued. */

import { afterEach, describe, expect, it } from 'vitest'
import { isRetryable } from '../../src/iothub/connection/conditions.ts'
import type { DeviceClient } from '../../src/iothub/device-client.ts'
import { DevicePool } from '../../src/iothub/pool/device-pool.ts'
import { pause, until } from '../waiting.ts'
import { telemetryOf, World } from './world.ts'

const world = new World()
afterEach(() => world.close())

const bytes = (body: string): Uint8Array => new TextEncoder().encode(body)

it('what is sent is what it was at the call, however long it waits', async () => {
  const hub = await world.hub()
  const { device, way } = await world.device(hub)
  const sends: Promise<void>[] = []
  const send = (size: number): void => {
    const body = new Uint8Array(size).fill(97)
    const properties = { p: 'a' }
    sends.push(device.sendTelemetry({ body, properties }))
    body.fill(98)
    properties.p = 'b'
  }
  send(1)
  await sends[0]
  send(1)
  send(5000)
  await Promise.all(sends)
  way.bar(true)
  await until(() => way.states.includes('waiting'))
  send(1)
  send(5000)
  way.bar(false)
  await Promise.all(sends)
  let count = 0
  for await (const { body, properties } of hub.telemetry) {
    expect(body.every(byte => byte === 97)).toBe(true)
    expect(properties.get('p')).toBe('a')
    if (++count === sends.length) break
  }
})

it('what has no encoding is refused at the call, whether there is a connection or not', async () => {
  const hub = await world.hub()
  const { device, way } = await world.device(hub)
  way.bar(true)
  await until(() => way.states.includes('waiting'))
  const failure = device.sendTelemetry({ body: bytes('x'), contentType: 'é' })
  await expect(failure).rejects.toMatchObject({ code: 'ERR_AMQP_ENCODE', path: 'properties.contentType' })
})

it('more than may wait are refused at the call, as worth another try, before the first link and without credit, too', async () => {
  const hub = await world.hub()
  const { device } = await world.device(hub, { maxQueued: 0 })
  const burst = () => Array.from({ length: 3000 }, () => device.sendTelemetry({ body: '' }).catch(error => error))
  for (const _ of ['before the first link', 'with a link']) {
    const results = await Promise.all(burst())
    const refused = results.filter(result => result !== undefined)
    expect(refused.length).toBeGreaterThan(0)
    expect(refused.length).toBeLessThanOrEqual(3000 - 2048)
    for (const error of refused) {
      expect(error).toMatchObject({ code: 'ERR_AMQP_QUEUE_FULL', limit: 2048 })
      expect(isRetryable(error)).toBe(true)
    }
  }
})

describe('close()', () => {
  it('sends what is queued first, though its link is not there yet, and hears what becomes of it', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub)
    const sends = [1, 2, 3].map(i => device.sendTelemetry({ body: `${i}` }))
    await Promise.all([device.close(), ...sends])
    expect(await telemetryOf(hub, 3)).toEqual(['1', '2', '3'])
  })

  it('so where there is one, and where the last was lost', async () => {
    const hub = await world.hub()
    const { service } = await world.service(hub)
    const { device } = await world.device(hub)
    await device.sendTelemetry({ body: '1' })
    await Promise.all([device.sendTelemetry({ body: '2' }), device.close()])
    await service.sendToDevice('d1', { body: '1' })
    hub.fault({ on: 'link', match: 'deviceBound', error: { condition: 'amqp:link:detach-forced' } })
    await pause()
    await Promise.all([service.sendToDevice('d1', { body: '2' }), service.close()])
    expect(hub.purgeMessages('d1')).toBe(2)
    expect(await telemetryOf(hub, 2)).toEqual(['1', '2'])
  })

  it('so of a device of a pool, and of the pool', async () => {
    const hub = await world.hub({ devices: ['d1', 'd2'] })
    const pool = world.kept(await DevicePool.connect('localhost', { transport: () => hub.transport() }))
    const join = (deviceId: string): Promise<DeviceClient> => pool.device(hub.connectionString({ deviceId }))
    const [one, two] = await Promise.all([join('d1'), join('d2')])
    await Promise.all([one.sendTelemetry({ body: '1' }), one.close()])
    await Promise.all([two.sendTelemetry({ body: '2' }), pool.close()])
    expect(await telemetryOf(hub, 2)).toEqual(['1', '2'])
  })

  it('takes nothing more, and waits for a link no longer than a second', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub)
    hub.fault({ on: 'attach', times: Number.POSITIVE_INFINITY, error: { condition: 'amqp:internal-error' } })
    const waiting = device.sendTelemetry({ body: '1' })
    const begun = performance.now()
    const closing = device.close()
    const late = device.sendTelemetry({ body: '2' })
    for (const send of [late, waiting]) {
      const error = await send.catch(failure => failure)
      expect(error).toMatchObject({ code: 'ERR_AMQP_CLOSED', scope: 'connection' })
      expect(isRetryable(error)).toBe(false)
      if (send === late) expect(performance.now() - begun).toBeLessThan(500)
    }
    await closing
    expect(performance.now() - begun).toBeGreaterThan(900)
  })
})
