import { afterEach, expect, it } from 'vitest'
import { ClosedError } from '../../src/errors.ts'
import { isRetryable } from '../../src/iothub/connection/conditions.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { DevicePool } from '../../src/iothub/pool/device-pool.ts'
import { World } from './world.ts'

const world = new World()
afterEach(() => world.close())

/** What each of these rejects with. */
const failures = (...uses: readonly Promise<unknown>[]): Promise<unknown[]> =>
  Promise.all(uses.map(use => use.then(() => 'it went well').catch(error => error)))

const allOf = (device: DeviceClient): Promise<unknown>[] => [
  device.sendTelemetry({ body: 'x' }),
  device.messages().next(),
  device.twin(),
  device.onMethod('m', () => ({ status: 200 })),
]

it('a device that was given up says why, whatever is asked of it, and that it is for good', async () => {
  const hub = await world.hub()
  const { device, way } = await world.device(hub, { reconnect: { attempts: 2 } })
  const twin = await device.twin()
  const changes = twin.changes().next()
  const waiting = device.messages().next()
  waiting.catch(() => {})
  await device.sendTelemetry({ body: '0' })
  way.bar(true)
  const closure = await device.closed
  expect(closure).toMatchObject({ by: 'transport', error: { code: 'ERR_AMQP_TRANSPORT' } })
  for (const error of await failures(...allOf(device), waiting, changes, twin.update({ a: 1 }), twin.refresh())) {
    expect(error).toBeInstanceOf(ClosedError)
    expect(error).toMatchObject({ scope: 'connection', cause: closure.error })
    expect(isRetryable(error)).toBe(false)
  }
})

it('so does a service', async () => {
  const hub = await world.hub()
  const { service, way } = await world.service(hub, { reconnect: { attempts: 2 } })
  await service.sendToDevice('d1', { body: '0' })
  way.bar(true)
  const { error: cause } = await service.closed
  expect(cause).toMatchObject({ code: 'ERR_AMQP_TRANSPORT' })
  const uses = [
    service.sendToDevice('d1', { body: '1' }),
    service.feedback().next(),
    service.fileNotifications().next(),
  ]
  for (const error of await failures(...uses, service.eventHub(), service.telemetry().next())) {
    expect(error).toMatchObject({ code: 'ERR_AMQP_CLOSED', cause })
    expect(isRetryable(error)).toBe(false)
  }
})

it('one that was closed from this end is not worth another try', async () => {
  const hub = await world.hub()
  const { device } = await world.device(hub)
  const twin = await device.twin()
  const during = device.close()
  const uses = (): Promise<unknown>[] => [
    device.sendTelemetry({ body: 'x' }),
    device.twin(),
    device.onMethod('m', () => ({ status: 200 })),
    twin.update({ a: 1 }),
  ]
  const early = failures(device.onMethod('n', () => ({ status: 200 })))
  await during
  for (const error of [...(await early), ...(await failures(...uses()))]) {
    expect(error).toMatchObject({
      code: 'ERR_AMQP_CLOSED',
      message: "device 'd1' of hub 'localhost' is closed, from this end",
    })
    expect(isRetryable(error)).toBe(false)
  }
  // Loops end.
  expect(await device.messages().next()).toMatchObject({ done: true })
})

it('neither are devices of a pool that has ended, nor the pool', async () => {
  const hub = await world.hub()
  const pool = world.kept(
    await DevicePool.connect(hub.connectionString({ policy: 'device' }), {
      transport: hub.transport(),
    }),
  )
  const device = await pool.device('d1')
  hub.fault({ dropAfterBytes: 0 })
  const closure = await pool.closed
  await device.closed
  for (const error of await failures(...allOf(device), pool.device('d2'))) {
    expect(error).toMatchObject({ code: 'ERR_AMQP_CLOSED', cause: closure.error })
    expect(isRetryable(error)).toBe(false)
  }
})

it('a certificate that is not trusted is wrong for good', async () => {
  const hub = await world.hub({ listen: undefined })
  const connectionString = hub.connectionString({ deviceId: 'd1' })
  const [error] = await failures(DeviceClient.connect(connectionString))
  expect(error).toMatchObject({ code: 'ERR_AMQP_TRANSPORT' })
  expect((error as Error).message).toMatch(/certificate.*tls: \{ ca \}.*NODE_EXTRA_CA_CERTS/)
  expect(isRetryable(error)).toBe(false)
  const port = hub.port
  const device = world.kept(
    await DeviceClient.connect(connectionString, { tls: { ca: hub.ca }, reconnect: { initialMs: 1 } }),
  )
  await hub.close()
  await world.hub({ listen: { port } })
  const { by, error: cause } = await device.closed
  expect(by).toBe('transport')
  for (const error of await failures(...allOf(device))) {
    expect(error).toMatchObject({ code: 'ERR_AMQP_CLOSED', cause })
    expect(isRetryable(error)).toBe(false)
  }
})

it('what waits for its link when the client ends says so, too, and not what became of the link', async () => {
  const hub = await world.hub()
  const { device, way } = await world.device(hub, { reconnect: false })
  const uses = failures(...allOf(device))
  way.cut()
  for (const error of await uses) {
    expect(error).toMatchObject({ code: 'ERR_AMQP_CLOSED', cause: { code: 'ERR_AMQP_TRANSPORT' } })
    expect(isRetryable(error)).toBe(false)
  }
  const other = await world.device(hub)
  hub.fault({ on: 'attach', times: Number.POSITIVE_INFINITY, error: { condition: 'amqp:internal-error' } })
  const waiting = other.device.sendTelemetry({ body: '1' }).catch(error => error)
  hub.fault({ on: 'connection', error: { condition: 'amqp:not-allowed' } })
  const { error: cause } = await other.device.closed
  expect(await waiting).toMatchObject({ code: 'ERR_AMQP_CLOSED', cause })
  expect(isRetryable(await waiting)).toBe(false)
})
