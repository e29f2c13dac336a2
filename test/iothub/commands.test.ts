/** Messages to devices, and what services hear of them, at the emulator. */

import { afterEach, describe, expect, it } from 'vitest'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import type { IotHubEmulatorOptions } from '../../src/emulator/options.ts'
import { DeliveryError, UsageError } from '../../src/errors.ts'
import { isRetryable } from '../../src/iothub/connection/conditions.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import type { CloudMessage, FeedbackRecord } from '../../src/iothub/message-mapping.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import { ManualClock } from '../emulator/manual-clock.ts'
import { pause } from '../waiting.ts'

const opened: AsyncDisposable[] = []

afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}

async function start(options: IotHubEmulatorOptions = {}) {
  const hub = kept(await IotHubEmulator.start({ listen: 'memory', feedbackBatchMs: 10, ...options }))
  const transport = () => hub.transport()
  const device = kept(await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), { transport }))
  const service = kept(await ServiceClient.connect(hub.connectionString({ service: true }), { transport }))
  return { hub, device, service }
}

async function next<T>(items: AsyncIterable<T>): Promise<T> {
  for await (const item of items) return item
  throw new Error('there is no item')
}

/** When the hub has heard what a client decided: what it sends later, on the same session, comes later. */
const heardFrom = (device: DeviceClient): Promise<void> => device.sendTelemetry({ body: 'barrier' })

/** The records of the next batch, which is completed. */
async function records(service: ServiceClient): Promise<readonly FeedbackRecord[]> {
  const batch = await next(service.feedback())
  await batch.complete()
  return batch.records
}

it('every property of a message reaches the device', async () => {
  const { device, service } = await start()
  const message: CloudMessage = {
    body: 'open',
    properties: { colour: 'grün' },
    messageId: 'm1',
    correlationId: 'c1',
    userId: 'me',
    contentType: 'text/plain',
    contentEncoding: 'utf-8',
    creationTime: new Date(1000),
    expiry: new Date(Math.floor(Date.now() / 1000) * 1000 + 60_000),
    ack: 'full',
  }
  await service.sendToDevice({ deviceId: 'device1' }, message)
  const received = await next(device.messages())
  expect(received).toMatchObject({
    ...message,
    body: new TextEncoder().encode('open'),
    properties: new Map([['colour', 'grün']]),
    to: '/devices/device1/messages/devicebound',
    sequenceNumber: 1n,
    deliveryCount: 0,
    enqueuedTime: expect.any(Date),
  })
})

it('a message may be for a module; one that does not exist is not found', async () => {
  const { service } = await start()
  const sending = service.sendToDevice({ deviceId: 'device1', moduleId: 'm' }, { body: 'x' })
  await expect(sending).rejects.toMatchObject({ code: 'ERR_AMQP_DELIVERY', condition: 'amqp:not-found' })
})

describe('a message that is refused is a DeliveryError, that says whether to try again', () => {
  it.each<[string, string, CloudMessage, string]>([
    ['no such device', 'nobody', { body: 'x' }, 'amqp:not-found'],
    ['too large', 'device1', { body: new Uint8Array(64 * 1024 + 1) }, 'amqp:link:message-size-exceeded'],
  ])('%s: not', async (_, to, message, condition) => {
    const { service } = await start()
    const error = await service.sendToDevice(to, message).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(DeliveryError)
    expect(error).toMatchObject({ condition })
    expect(isRetryable(error)).toBe(false)
  })

  it('queue full: not; and there is room again after one was settled', async () => {
    const { device, service } = await start()
    await Promise.all(Array.from({ length: 50 }, () => service.sendToDevice('device1', { body: 'x' })))
    const error = await service.sendToDevice('device1', { body: 'x' }).catch((error: unknown) => error)
    expect(error).toMatchObject({ code: 'ERR_AMQP_DELIVERY', condition: 'amqp:resource-limit-exceeded' })
    expect(isRetryable(error)).toBe(false)
    await (await next(device.messages())).complete()
    await heardFrom(device)
    await service.sendToDevice('device1', { body: 'x' })
  })
})

describe('feedback', () => {
  it('comes for those ends that were asked for, and no others', async () => {
    const { device, service } = await start()
    const acks = ['none', 'positive', 'negative', 'full'] as const
    for (const ack of acks) await service.sendToDevice('device1', { body: 'c', messageId: `complete-${ack}`, ack })
    for (const ack of acks) await service.sendToDevice('device1', { body: 'r', messageId: `reject-${ack}`, ack })
    let count = 0
    for await (const message of device.messages()) {
      await (message.messageId?.startsWith('complete') ? message.complete() : message.reject())
      if (++count === 8) break
    }
    const heard: string[] = []
    while (heard.length < 4)
      heard.push(...(await records(service)).map(({ originalMessageId, status }) => `${originalMessageId} ${status}`))
    expect(heard.sort()).toEqual([
      'complete-full success',
      'complete-positive success',
      'reject-full rejected',
      'reject-negative rejected',
    ])
  })

  it('comes in batches: at once when 64 wait, else 15 s after the first', async () => {
    const clock = new ManualClock()
    const { device, service } = await start({ clock, feedbackBatchMs: 15_000 })
    const settle = async (from: number, to: number): Promise<void> => {
      for (let i = from; i < to; i++)
        await service.sendToDevice('device1', { body: '', messageId: `${i}`, ack: 'full' })
      let count = from
      for await (const message of device.messages()) {
        await message.complete()
        if (++count === to) break
      }
      await heardFrom(device)
    }
    await settle(0, 40)
    clock.advance(10_000)
    await settle(40, 70)
    expect((await records(service)).map(({ originalMessageId }) => originalMessageId)).toEqual(
      Array.from({ length: 64 }, (_, i) => `${i}`),
    )
    const rest = records(service)
    clock.advance(14_999)
    expect(await Promise.race([rest, pause(30).then(() => 'waiting')])).toBe('waiting')
    clock.advance(1)
    expect((await rest).map(({ originalMessageId }) => originalMessageId)).toEqual(
      Array.from({ length: 6 }, (_, i) => `${64 + i}`),
    )
  })

  it('a message that comes too late expires at once; the default is an hour', async () => {
    const clock = new ManualClock()
    const { device, service } = await start({ clock, feedbackBatchMs: 0 })
    await service.sendToDevice('device1', {
      body: 'x',
      messageId: 'late',
      ack: 'full',
      expiry: new Date(clock.now() - 1),
    })
    expect(await records(service)).toMatchObject([{ originalMessageId: 'late', status: 'expired' }])
    await service.sendToDevice('device1', { body: 'x', messageId: 'usual', ack: 'negative' })
    clock.advance(3_599_999)
    const abort = AbortSignal.timeout(50)
    const heard = next(service.feedback({ signal: abort })).catch(() => 'nothing')
    expect(await heard).toBe('nothing')
    clock.advance(1)
    expect(await records(service)).toMatchObject([{ originalMessageId: 'usual', status: 'expired' }])
    await service.sendToDevice('device1', { body: 'last' })
    expect((await next(device.messages())).sequenceNumber).toBe(3n)
  })

  it('of a queue that was emptied: those that wait, and those that the device has', async () => {
    const { hub, device, service } = await start()
    const held = next(device.messages())
    for (const messageId of ['a', 'b', 'c'])
      await service.sendToDevice('device1', { body: 'x', messageId, ack: 'full' })
    const message = await held
    expect(hub.purgeMessages('device1')).toBe(3)
    await message.complete()
    const heard = await records(service)
    expect(heard.map(({ originalMessageId, status }) => `${originalMessageId} ${status}`).sort()).toEqual([
      'a purged',
      'b purged',
      'c purged',
    ])
    expect(hub.purgeMessages('device1')).toBe(0)
    expect(() => hub.purgeMessages('nobody')).toThrow(UsageError)
  })

  it.each([
    [10, undefined],
    [12, 12],
  ])(
    'that nobody settles comes again after its lock; abandoned %d times, it is dropped',
    async (most, maxDeliveryCount) => {
      const clock = new ManualClock()
      const { device, service } = await start({ clock, feedbackBatchMs: 0, maxDeliveryCount })
      await service.sendToDevice('device1', { body: 'x', messageId: 'm', ack: 'full' })
      await (await next(device.messages())).complete()
      // Received, and left unsettled.
      await next(service.feedback())
      clock.advance(60_000)
      let count = 0
      for await (const batch of service.feedback()) {
        expect(batch.records).toMatchObject([{ originalMessageId: 'm' }])
        await batch.abandon()
        if (++count === most) break
      }
      await service.sendToDevice('device1', { body: 'barrier' })
      clock.advance(60_000)
      const again = next(service.feedback({ signal: AbortSignal.timeout(50) })).catch(() => 'nothing')
      expect(await again).toBe('nothing')
    },
  )
})
