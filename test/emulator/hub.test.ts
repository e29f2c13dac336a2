import { afterEach, describe, expect, it } from 'vitest'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import type { IotHubEmulatorOptions } from '../../src/emulator/options.ts'
import { DeliveryError, RemoteError, SaslError } from '../../src/errors.ts'
import type { IotHubOptions } from '../../src/iothub/connection/hub-options.ts'
import { type CloudToDeviceMessage, DeviceClient } from '../../src/iothub/device-client.ts'
import type { FeedbackRecord } from '../../src/iothub/message-mapping.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import { pause } from '../waiting.ts'
import { ManualClock } from './manual-clock.ts'

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

const opened: AsyncDisposable[] = []

afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}

async function next<T>(items: AsyncIterable<T>): Promise<T> {
  for await (const item of items) return item
  throw new Error('there is no item')
}

/** The ways to reach a hub and to log in, all of which must do the same. */
const ways = [
  ['TLS', 'cbs'],
  ['TLS', 'plain'],
  ['memory', 'cbs'],
  ['memory', 'plain'],
] as const

describe.each(ways)('over %s, by %s', (carrier, auth) => {
  const start = async (options: IotHubEmulatorOptions = {}): Promise<IotHubEmulator> =>
    kept(
      await IotHubEmulator.start({
        feedbackBatchMs: 10,
        ...options,
        ...(carrier === 'memory' && { listen: 'memory' }),
      }),
    )
  const reach = (hub: IotHubEmulator): IotHubOptions => ({
    auth,
    ...(carrier === 'memory' ? { transport: hub.transport() } : { tls: { ca: hub.ca } }),
  })
  const connectDevice = async (hub: IotHubEmulator, deviceId = 'device1'): Promise<DeviceClient> =>
    kept(await DeviceClient.connect(hub.connectionString({ deviceId }), reach(hub)))
  const connectService = async (hub: IotHubEmulator): Promise<ServiceClient> =>
    kept(await ServiceClient.connect(hub.connectionString({ service: true }), reach(hub)))

  it('telemetry reaches the log', async () => {
    const hub = await start()
    const device = await connectDevice(hub)
    await device.sendTelemetry({
      body: '{"t":21}',
      properties: { alarm: 'no' },
      messageId: 'm1',
      correlationId: 'c1',
      contentType: 'application/json',
      contentEncoding: 'utf-8',
    })
    const event = await next(hub.telemetry)
    expect(event).toMatchObject({
      deviceId: 'device1',
      moduleId: undefined,
      messageId: 'm1',
      correlationId: 'c1',
      contentType: 'application/json',
      contentEncoding: 'utf-8',
      properties: new Map([['alarm', 'no']]),
      sequenceNumber: 0n,
    })
    expect(text(event.body)).toBe('{"t":21}')
    expect(Math.abs(event.enqueuedAt.getTime() - Date.now())).toBeLessThan(10_000)
  })

  it('telemetry keeps its order, many at once', async () => {
    const hub = await start({ partitions: 1 })
    const device = await connectDevice(hub)
    const count = 1500
    await Promise.all(Array.from({ length: count }, (_, i) => device.sendTelemetry({ body: `${i}` })))
    let expected = 0
    for await (const event of hub.telemetry) {
      expect(text(event.body)).toBe(`${expected++}`)
      if (expected === count) break
    }
  })

  it.each<[string, (message: CloudToDeviceMessage) => Promise<void>, FeedbackRecord['status']]>([
    ['completes', message => message.complete(), 'success'],
    ['rejects', message => message.reject(), 'rejected'],
  ])('a device %s a message, and the service is told', async (_, settle, status) => {
    const hub = await start()
    const [device, service] = await Promise.all([connectDevice(hub), connectService(hub)])
    const expiry = new Date(Math.floor(Date.now() / 1000) * 1000 + 60_000)
    const message = {
      body: 'reboot',
      messageId: 'm1',
      ack: 'full',
      properties: { p: 'v' },
      contentType: 'text/plain',
      expiry,
    } as const
    await service.sendToDevice('device1', message)
    const received = await next(device.messages())
    expect(text(received.body)).toBe('reboot')
    expect(received).toMatchObject({
      messageId: 'm1',
      ack: 'full',
      properties: new Map([['p', 'v']]),
      contentType: 'text/plain',
      expiry,
      to: '/devices/device1/messages/devicebound',
      sequenceNumber: 1n,
      deliveryCount: 0,
      enqueuedTime: expect.any(Date),
    })
    await settle(received)
    const batch = await next(service.feedback())
    expect(batch.records).toMatchObject([{ deviceId: 'device1', originalMessageId: 'm1', status }])
    await batch.complete()
  })

  it('a message abandoned ten times is given up', async () => {
    const hub = await start()
    const [device, service] = await Promise.all([connectDevice(hub), connectService(hub)])
    await service.sendToDevice('device1', { body: 'x', messageId: 'm1', ack: 'negative' })
    const counts: (number | undefined)[] = []
    for await (const message of device.messages()) {
      counts.push(message.deliveryCount)
      await message.abandon()
      if (counts.length === 10) break
    }
    expect(counts).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    const { records } = await next(service.feedback())
    expect(records).toMatchObject([{ status: 'deliveryCountExceeded', originalMessageId: 'm1' }])
  })

  it('a message that nobody fetches expires', async () => {
    const clock = new ManualClock()
    const hub = await start({ clock })
    const service = await connectService(hub)
    await service.sendToDevice('device1', {
      body: 'x',
      messageId: 'm1',
      ack: 'full',
      expiry: new Date(clock.now() + 5000),
    })
    const batch = next(service.feedback())
    clock.advance(5000)
    clock.advance(10)
    expect((await batch).records).toMatchObject([{ status: 'expired', originalMessageId: 'm1' }])
  })

  it('a wrong key is refused', async () => {
    const hub = await start({ devices: ['device1', 'device2'] })
    const right = hub.connectionString({ deviceId: 'device1' })
    const wrong = hub.connectionString({ deviceId: 'device2' }).replace('device2', 'device1')
    expect(wrong).not.toBe(right)
    const error = await DeviceClient.connect(wrong, reach(hub)).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(auth === 'plain' ? SaslError : RemoteError)
    expect(error).toMatchObject(auth === 'plain' ? { outcome: 'auth' } : { condition: 'amqp:unauthorized-access' })
    expect((error as Error).message).toContain('device1')
    for (const secret of [wrong, right].map(s => /SharedAccessKey=([^;]+)/.exec(s)?.[1] ?? ''))
      expect((error as Error).message).not.toContain(secret)
  })

  it('a device that does not exist cannot log in', async () => {
    const hub = await start()
    const unknown = hub.connectionString({ deviceId: 'device1' }).replace('device1', 'nobody')
    await expect(DeviceClient.connect(unknown, reach(hub))).rejects.toMatchObject(
      auth === 'plain' ? { code: 'ERR_AMQP_SASL' } : { condition: 'amqp:unauthorized-access' },
    )
  })

  it('a device that does not exist cannot be sent to', async () => {
    const hub = await start()
    const service = await connectService(hub)
    const error = await service.sendToDevice('nobody', { body: 'x' }).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(DeliveryError)
    expect(error).toMatchObject({ condition: 'amqp:not-found' })
  })

  it('a device that is added later can log in, whatever its name', async () => {
    const hub = await start()
    const deviceId = "my-dev+%e=@#$(a,b):'*!?"
    hub.addDevice(deviceId)
    const device = await connectDevice(hub, deviceId)
    await device.sendTelemetry({ body: 'x' })
    expect(await next(hub.telemetry)).toMatchObject({ deviceId })
    const status = hub.sendToDevice(deviceId, { body: 'y' })
    await (await next(device.messages())).complete()
    expect(await status).toBe('success')
    const service = await connectService(hub)
    await service.sendToDevice(deviceId, { body: 'z' })
    expect(text((await next(device.messages())).body)).toBe('z')
  })

  it('a token that expires ends what it allowed', async () => {
    const clock = new ManualClock()
    const hub = await start({ clock, tokenSkewMs: 0 })
    const options = { ...reach(hub), reconnect: false } as const
    const device = kept(await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), options))
    await device.sendTelemetry({ body: 'x' })
    const loop = next(device.messages()).catch((error: unknown) => error)
    await pause(50)
    // The hub's clock stood still while the client made its token, which lives for an hour from then.
    clock.advance(3_700_000)
    expect(await loop).toMatchObject({ condition: 'amqp:unauthorized-access' })
    if (auth === 'plain') {
      expect(await device.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:unauthorized-access' } })
    } else {
      await expect(device.sendTelemetry({ body: 'y' })).rejects.toMatchObject({ condition: 'amqp:unauthorized-access' })
    }
  })
})

describe('the hub from behind', () => {
  const memory = async (options: IotHubEmulatorOptions = {}): Promise<IotHubEmulator> =>
    kept(await IotHubEmulator.start({ listen: 'memory', ...options }))
  const connectDevice = async (hub: IotHubEmulator, deviceId = 'device1'): Promise<DeviceClient> =>
    kept(await DeviceClient.connect(hub.connectionString({ deviceId }), { transport: hub.transport() }))

  it('tells the sender how a message ended', async () => {
    const hub = await memory()
    const device = await connectDevice(hub)
    const statuses = ['a', 'b'].map(body => hub.sendToDevice('device1', { body, properties: { p: body } }))
    for await (const message of device.messages()) {
      if (text(message.body) === 'a') await message.reject()
      else {
        expect(message.properties).toEqual(new Map([['p', 'b']]))
        await message.complete()
        break
      }
    }
    expect(await Promise.all(statuses)).toEqual(['rejected', 'success'])
  })

  it('delivers again what a lost device had, once its lock has ended', async () => {
    const clock = new ManualClock()
    const hub = await memory({ clock })
    const status = hub.sendToDevice('device1', { body: 'once more' })
    const first = await connectDevice(hub)
    expect((await next(first.messages())).deliveryCount).toBe(0)
    await first.close()
    const second = await connectDevice(hub)
    const again = next(second.messages())
    await pause(20)
    clock.advance(59_999)
    expect(await Promise.race([again, new Promise(resolve => setTimeout(resolve, 20, 'locked'))])).toBe('locked')
    clock.advance(1)
    const message = await again
    expect(message.deliveryCount).toBe(0)
    await message.complete()
    expect(await status).toBe('success')
  })

  it('ignores a verdict on a lock that has ended', async () => {
    const clock = new ManualClock()
    const hub = await memory({ clock })
    const status = hub.sendToDevice('device1', { body: 'x' })
    const device = await connectDevice(hub)
    const messages = device.messages()
    const late = await next({ [Symbol.asyncIterator]: () => ({ next: () => messages.next() }) })
    clock.advance(60_000)
    const again = (await messages.next()).value
    await late.reject()
    await pause(20)
    await again?.complete()
    expect(await status).toBe('success')
  })

  it('gives up sending when the queue is full or the device is unknown', async () => {
    const hub = await memory()
    for (let i = 0; i < 50; i++) hub.sendToDevice('device1', { body: `${i}` }).catch(() => {})
    await expect(hub.sendToDevice('device1', { body: 'x' })).rejects.toMatchObject({
      condition: 'amqp:resource-limit-exceeded',
    })
    await expect(hub.sendToDevice('nobody', { body: 'x' })).rejects.toMatchObject({ code: 'ERR_AMQP_USAGE' })
  })

  it('fails what waits, and ends telemetry, when it is closed', async () => {
    const hub = await memory()
    const device = await connectDevice(hub)
    const status = expect(hub.sendToDevice('device1', { body: 'x' })).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    await hub.close()
    await status
    for await (const _ of hub.telemetry) expect.unreachable()
    expect((await device.closed).by).not.toBe('local')
    await expect(hub.sendToDevice('device1', { body: 'x' })).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    await hub.close()
  })

  it('shares one queue among the links of a device', async () => {
    const hub = await memory()
    const devices = [await connectDevice(hub), await connectDevice(hub)]
    const received: string[] = []
    const loops = devices.map(async device => {
      for await (const message of device.messages()) {
        received.push(text(message.body))
        await message.complete()
      }
    })
    const bodies = Array.from({ length: 20 }, (_, i) => `${i}`)
    expect(new Set(await Promise.all(bodies.map(body => hub.sendToDevice('device1', { body }))))).toEqual(
      new Set(['success']),
    )
    expect(received.sort()).toEqual([...bodies].sort())
    for (const device of devices) await device.close()
    await Promise.all(loops)
  })

  it.each<[string, IotHubEmulatorOptions]>([
    ['a lock of no time', { lockMs: 0 }],
    ['a delivery count of 0', { maxDeliveryCount: 0 }],
    ['a time to live of no time', { timeToLiveMs: 0 }],
    ['a negative batch time', { feedbackBatchMs: -1 }],
    ['a negative tolerance', { tokenSkewMs: Number.NaN }],
    ['no partition', { partitions: 0 }],
    ['the same device twice', { devices: ['a', 'a'] }],
    ['an invalid device id', { devices: ['a/b'] }],
  ])('does not start with %s', async (_, options) => {
    await expect(IotHubEmulator.start({ listen: 'memory', ...options })).rejects.toMatchObject({
      code: 'ERR_AMQP_USAGE',
    })
  })

  it('makes connection strings only for devices that exist', async () => {
    const hub = await memory()
    expect(() => hub.connectionString({ deviceId: 'nobody' })).toThrow("no device 'nobody'")
    expect(hub.port).toBe(0)
    expect(hub.ca).toBeUndefined()
    expect(hub.connectionString({ service: true })).toMatch(
      /^HostName=localhost;SharedAccessKeyName=service;SharedAccessKey=/,
    )
  })

  it('can be called otherwise', async () => {
    const hub = await memory({ hostName: 'myhub.example' })
    expect(hub.connectionString({ deviceId: 'device1' })).toMatch(/^HostName=myhub\.example;DeviceId=device1;/)
    const device = await connectDevice(hub)
    await device.sendTelemetry({ body: 'x' })
    const plain = { auth: 'plain', transport: hub.transport() } as const
    kept(await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), plain))
  })
})
