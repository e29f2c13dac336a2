/** Modules: a client with a module id, against the emulator, in all that a device can do and in what only modules can. */

import { afterEach, describe, expect, it } from 'vitest'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { openAs } from '../emulator/raw-client.ts'

const opened: AsyncDisposable[] = []

afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

async function next<T>(items: AsyncIterable<T>): Promise<T> {
  for await (const item of items) return item
  throw new Error('there is no item')
}

const who = { deviceId: 'device1', moduleId: 'm1' }

async function setUp(
  auth: 'cbs' | 'plain' = 'cbs',
): Promise<{ hub: IotHubEmulator; module: DeviceClient; device: DeviceClient }> {
  const hub = kept(await IotHubEmulator.start({ listen: 'memory' }))
  hub.addModule('device1', 'm1')
  const connect = async (of: { deviceId: string; moduleId?: string }): Promise<DeviceClient> =>
    kept(await DeviceClient.connect(hub.connectionString(of), { auth, transport: hub.transport() }))
  return { hub, module: await connect(who), device: await connect({ deviceId: 'device1' }) }
}

it('a device has no outputs', async () => {
  const { device } = await setUp()
  const telemetry = { body: 'x', outputName: 'out1' }
  const refused = { code: 'ERR_AMQP_USAGE', message: expect.stringContaining('outputName') }
  await expect(device.sendTelemetry(telemetry)).rejects.toMatchObject(refused)
  await expect(device.sendTelemetryBatch([{ body: 'x' }, telemetry])).rejects.toMatchObject(refused)
})

describe.each(['cbs', 'plain'] as const)('a module, by %s', auth => {
  it('sends telemetry by an output', async () => {
    const { hub, module } = await setUp(auth)
    await module.sendTelemetry({ body: 'x', outputName: 'out1' })
    const event = await next(hub.telemetry)
    expect(event).toMatchObject({ deviceId: 'device1', moduleId: 'm1' })
    expect(event.properties).toEqual(new Map([['iothub-outputname', 'out1']]))
  })

  it('gets messages of its own, and messages for its inputs', async () => {
    const { hub, module } = await setUp(auth)
    const statuses = Promise.all([
      hub.sendToDevice('device1', { body: 'c2d' }, { moduleId: 'm1' }),
      hub.sendToDevice('device1', { body: 'in', properties: { p: 'v' } }, { moduleId: 'm1', inputName: 'in1' }),
    ])
    const input = await next(module.inputs())
    expect(input).toMatchObject({ inputName: 'in1', properties: new Map([['p', 'v']]) })
    expect(text(input.body)).toBe('in')
    await input.reject()
    const message = await next(module.messages())
    expect(message).toMatchObject({ inputName: undefined, to: '/devices/device1/modules/m1/messages/devicebound' })
    expect(text(message.body)).toBe('c2d')
    await message.complete()
    expect(await statuses).toEqual(['success', 'rejected'])
  })

  it('is called, apart from its device', async () => {
    const { hub, module, device } = await setUp(auth)
    await module.onMethod('m', () => ({ status: 1 }))
    await device.onMethod('m', () => ({ status: 2 }))
    expect(await hub.invokeMethod('device1', 'm', null, { moduleId: 'm1' })).toMatchObject({ status: 1 })
    expect(await hub.invokeMethod('device1', 'm')).toMatchObject({ status: 2 })
    await expect(hub.invokeMethod('device1', 'm', null, { moduleId: 'm2' })).rejects.toThrow("no module 'm2' of device")
  })

  it('has a twin of its own', async () => {
    const { hub, module, device } = await setUp(auth)
    const [mine, its] = await Promise.all([module.twin(), device.twin()])
    const change = mine.changes().next()
    expect(hub.updateDesired('device1', { a: 1 }, { moduleId: 'm1' })).toBe(2)
    expect((await change).value).toMatchObject({ patch: { a: 1 } })
    expect(await mine.update({ r: 1 })).toBe(2)
    expect(its).toMatchObject({ desiredVersion: 1, reportedVersion: 1 })
    expect(hub.twin('device1', { moduleId: 'm1' })).toMatchObject({ ...who, properties: { reported: { r: 1 } } })
    expect(hub.twin('device1').properties.reported).not.toHaveProperty('r')
  })
})

it('a device has no inputs', async () => {
  const { hub, device } = await setUp()
  expect(() => device.inputs()).toThrow(expect.objectContaining({ code: 'ERR_AMQP_USAGE' }))
  await expect(hub.sendToDevice('device1', { body: 'x' }, { inputName: 'i' })).rejects.toMatchObject({
    code: 'ERR_AMQP_USAGE',
  })
  const connection = kept(await openAs(hub, { deviceId: 'device1' }))
  await expect(connection.receiver('/devices/device1/messages/events')).rejects.toMatchObject({
    condition: 'amqp:not-allowed',
  })
})

it('a module may not use the addresses of its device or of another module, nor the device those of a module', async () => {
  const { hub } = await setUp()
  hub.addModule('device1', 'm2')
  const module = kept(await openAs(hub, who))
  for (const address of ['/devices/device1/messages/events', '/devices/device1/modules/m2/messages/events'])
    await expect(module.sender(address)).rejects.toMatchObject({ condition: 'amqp:unauthorized-access' })
  await module.receiver('/devices/device1/modules/m1/messages/events')
  const device = kept(await openAs(hub, { deviceId: 'device1' }))
  await expect(device.sender('/devices/device1/modules/m1/messages/events')).rejects.toMatchObject({
    condition: 'amqp:unauthorized-access',
  })
})

it('modules are added to devices that exist, once', async () => {
  const { hub } = await setUp()
  expect(() => hub.addModule('device1', 'm1')).toThrow("'m1' exists")
  expect(() => hub.addModule('nobody', 'm1')).toThrow('does not exist')
  expect(() => hub.connectionString({ deviceId: 'device1', moduleId: 'm9' })).toThrow(
    "no module 'm9' of device 'device1'",
  )
  expect(hub.connectionString(who)).toMatch(/;DeviceId=device1;ModuleId=m1;SharedAccessKey=/)
})
