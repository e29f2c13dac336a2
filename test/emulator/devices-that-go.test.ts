/** Devices that are removed or disabled while they are connected, and what becomes of their clients. */

import { afterEach, describe, expect, it } from 'vitest'
import { createDeviceAuthority } from '../../src/emulator/certificates/device-authority.ts'
import { UsageError } from '../../src/errors.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { DevicePool } from '../../src/iothub/pool/device-pool.ts'
import { World } from '../iothub/world.ts'
import { pause } from '../waiting.ts'

const world = new World()
afterEach(() => world.close())

describe.each(['cbs', 'plain'] as const)('by %s', auth => {
  it('a device that is removed is told, and comes back only as another', async () => {
    const hub = await world.hub({ devices: ['d1', 'd2'] })
    const { device } = await world.device(hub, { auth })
    const { device: other } = await world.device(hub, { auth }, 'd2')
    const loop = device.messages().next()
    for (const it of [device, other]) await it.sendTelemetry({ body: 'x' })
    const old = hub.connectionString({ deviceId: 'd1' })
    hub.removeDevice('d1')
    await expect(loop).rejects.toThrow()
    expect((await device.closed).error).toBeDefined()
    await other.sendTelemetry({ body: 'x' })
    expect(() => hub.connectionString({ deviceId: 'd1' })).toThrow(UsageError)
    expect(() => hub.removeDevice('d1')).toThrow(UsageError)
    hub.addDevice('d1')
    await expect(DeviceClient.connect(old, { transport: hub.transport(), auth })).rejects.toThrow()
    await (await world.device(hub, { auth })).device.sendTelemetry({ body: 'x' })
    const generations = new Set<string>()
    for await (const { deviceId, generationId } of hub.telemetry) {
      if (deviceId === 'd1') generations.add(generationId)
      if (generations.size === 2) break
    }
  })

  it('a device that is disabled is refused until it is enabled, and has what was sent meanwhile', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub, { auth })
    await device.sendTelemetry({ body: 'x' })
    hub.enableDevice('d1', false)
    await expect(device.sendTelemetry({ body: 'x' })).rejects.toThrow()
    // A link is asked for when it is used.
    await device.sendTelemetry({ body: 'x' }).catch(() => {})
    expect((await device.closed).error).toBeDefined()
    const text = hub.connectionString({ deviceId: 'd1' })
    await expect(DeviceClient.connect(text, { transport: hub.transport(), auth })).rejects.toThrow()
    const status = hub.sendToDevice('d1', { body: 'x' })
    hub.enableDevice('d1')
    const { device: again } = await world.device(hub, { auth })
    await (await again.messages().next()).value?.complete()
    expect(await status).toBe('success')
    expect(() => hub.enableDevice('d9')).toThrow(UsageError)
  })
})

it('in a pool by a policy the others go on', async () => {
  const hub = await world.hub({ devices: ['d1', 'd2', 'd3'] })
  const options = { transport: () => hub.transport(), reconnect: { initialMs: 1, maxMs: 5 } }
  const pool = world.kept(await DevicePool.connect(hub.connectionString({ policy: 'device' }), options))
  const [one, two, three] = await Promise.all(['d1', 'd2', 'd3'].map(id => pool.device(id)))
  for (const device of [one, two, three]) await device?.sendTelemetry({ body: 'x' })
  hub.removeDevice('d1')
  hub.enableDevice('d2', false)
  // What is sent before that is known is lost with the link.
  await pause(20)
  await expect(one?.sendTelemetry({ body: 'x' })).rejects.toMatchObject({ condition: 'amqp:not-found' })
  await expect(two?.sendTelemetry({ body: 'x' })).rejects.toMatchObject({ condition: 'amqp:unauthorized-access' })
  await three?.sendTelemetry({ body: 'x' })
  hub.enableDevice('d2')
  await two?.sendTelemetry({ body: 'x' })
})

it('a certificate of a disabled device proves nothing', async () => {
  const hub = await world.hub()
  const { cert, thumbprint } = await (await createDeviceAuthority()).issue('d2')
  hub.addDevice('d2', { x509: { thumbprint } })
  const text = hub.connectionString({ deviceId: 'd2' })
  const transport = (): ReturnType<typeof hub.transport> => hub.transport({ certificate: cert })
  const device = world.kept(await DeviceClient.connect(text, { transport, reconnect: false }))
  await device.sendTelemetry({ body: 'x' })
  hub.enableDevice('d2', false)
  const condition = 'amqp:unauthorized-access'
  await expect(device.sendTelemetry({ body: 'x' })).rejects.toMatchObject({ condition })
  await expect(device.sendTelemetry({ body: 'x' })).rejects.toMatchObject({ condition })
  hub.enableDevice('d2')
  await device.sendTelemetry({ body: 'x' })
})
