import { afterEach, describe, expect, it } from 'vitest'
import { connect } from '../../src/client/connect.ts'
import { sasl } from '../../src/client/sasl.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import type { IotHubEmulatorOptions } from '../../src/emulator/options.ts'
import { UsageError } from '../../src/errors.ts'
import { createSasToken } from '../../src/iothub/credentials/sas.ts'
import { type FileNotification, readFileNotification } from '../../src/iothub/file-notifications.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import type { MessageInit } from '../../src/message/message.ts'
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

const upload = {
  deviceId: 'd1',
  blobUri: 'https://account.blob.core.windows.net/files/d1/photo.jpg',
  blobName: 'd1/photo.jpg',
  blobSizeInBytes: 1234,
  lastUpdatedTime: new Date(5000),
}

async function start(options: IotHubEmulatorOptions = {}): Promise<{ hub: IotHubEmulator; service: ServiceClient }> {
  const hub = kept(await IotHubEmulator.start({ listen: 'memory', devices: ['d1'], ...options }))
  const reach = hub.port === 0 ? { transport: hub.transport() } : { tls: { ca: hub.ca } }
  const service = kept(await ServiceClient.connect(hub.connectionString({ service: true }), reach))
  return { hub, service }
}

async function next(notifications: AsyncGenerator<FileNotification>): Promise<FileNotification> {
  const { value, done } = await notifications.next()
  if (done) throw new Error('there is none')
  return value
}

describe.each<[string, IotHubEmulatorOptions]>([
  ['memory', {}],
  ['TLS', { listen: {} }],
])('over %s', (_, options) => {
  it('a notification says which device, and which file; completed, it is gone', async () => {
    const { hub, service } = await start(options)
    hub.notifyFileUpload(upload)
    hub.notifyFileUpload({ ...upload, blobName: 'd1/other.jpg', lastUpdatedTime: undefined })
    const notifications = service.fileNotifications()
    const one = await next(notifications)
    expect(one).toMatchObject(upload)
    expect(Math.abs((one.enqueuedTime?.getTime() ?? 0) - Date.now())).toBeLessThan(10_000)
    await one.complete()
    const other = await next(notifications)
    expect(other.blobName).toBe('d1/other.jpg')
    expect(other.lastUpdatedTime).toEqual(other.enqueuedTime)
    await other.complete()
  })
})

it('one that is abandoned comes again; so does one that nobody settles, after its lock; completed, it does not', async () => {
  const clock = new ManualClock()
  const { hub, service } = await start({ clock })
  hub.notifyFileUpload(upload)
  const notifications = service.fileNotifications()
  await (await next(notifications)).abandon()
  const unsettled = await next(notifications)
  clock.advance(60_000)
  const again = await next(notifications)
  expect(again).toMatchObject(upload)
  await again.complete()
  await unsettled.complete()
  // What is sent later, on the same session, comes later.
  await service.sendToDevice('d1', { body: 'barrier' })
  clock.advance(60_000)
  hub.notifyFileUpload({ ...upload, blobName: 'd1/last.jpg' })
  expect((await next(notifications)).blobName).toBe('d1/last.jpg')
})

it('a notification waits an hour', async () => {
  const clock = new ManualClock()
  const { hub, service } = await start({ clock })
  hub.notifyFileUpload(upload)
  clock.advance(3_600_000)
  hub.notifyFileUpload({ ...upload, blobName: 'd1/later.jpg' })
  expect((await next(service.fileNotifications())).blobName).toBe('d1/later.jpg')
})

it('uploads of unknown devices are a UsageError', async () => {
  const { hub } = await start()
  expect(() => hub.notifyFileUpload({ ...upload, deviceId: 'nobody' })).toThrow(UsageError)
})

it('the loop ends with its client', async () => {
  const { service } = await start()
  const waiting = service.fileNotifications().next()
  await pause(20)
  await service.close()
  expect(await waiting).toEqual({ done: true, value: undefined })
})

it('other clients find what they look for: tag, content type, user, time', async () => {
  const { hub } = await start()
  hub.notifyFileUpload(upload)
  const key = /SharedAccessKey=([^;]+)/.exec(hub.connectionString({ service: true }))?.[1] ?? ''
  const expiresAt = new Date(Date.now() + 60_000)
  const token = await createSasToken({ resourceUri: 'localhost', key, keyName: 'service', expiresAt })
  const connection = kept(
    await connect({
      host: 'localhost',
      transport: hub.transport(),
      sasl: sasl.plain('service@sas.root.localhost', token),
      allowInsecureAuth: true,
    }),
  )
  const receiver = await connection.receiver('/messages/servicebound/fileuploadnotifications')
  const delivery = await receiver.receive()
  const { messageAnnotations, properties, body } = delivery.message
  expect(delivery.deliveryTag).toHaveLength(16)
  expect(properties?.contentType).toBe('application/vnd.microsoft.iothub.filenotification.json')
  expect(new TextDecoder().decode(properties?.userId)).toBe('localhost')
  const enqueued = messageAnnotations?.get('iothub-enqueuedtime') as Date
  expect(JSON.parse(new TextDecoder().decode(body as Uint8Array))).toEqual({
    ...upload,
    lastUpdatedTime: '1970-01-01T00:00:05.000Z',
    enqueuedTimeUtc: enqueued.toISOString(),
  })
})

describe('readFileNotification', () => {
  const read = (body: MessageInit['body']) => readFileNotification(decodeMessage(encodeMessage({ body })))
  const named = { deviceId: 'd', blobUri: 'u', blobName: 'n' }

  it('needs the names alone', () => {
    expect(read(JSON.stringify(named))).toEqual({ ...named })
    expect(read(JSON.stringify({ ...named, blobSizeInBytes: '12', lastUpdatedTime: 'never' }))).toEqual({
      ...named,
      blobSizeInBytes: 12,
    })
  })

  it.each([
    ['no JSON', '{'],
    ['no object', '5'],
    ['nothing', 'null'],
    ['no device', JSON.stringify({ ...named, deviceId: undefined })],
    ['no file', JSON.stringify({ ...named, blobName: 5 })],
  ])('%s is a ProtocolError', (_, body) => {
    expect(() => read(body)).toThrow(expect.objectContaining({ code: 'ERR_AMQP_PROTOCOL' }))
  })
})
