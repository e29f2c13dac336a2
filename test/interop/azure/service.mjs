/** The SDK as a back end of our hub, with our device at the other end. */

import assert from 'node:assert/strict'
import { DEVICE, hub, MODULE, next, sdkService } from './harness.mjs'

const WAYS = ['tcp', 'ws']

const overBoth = WAYS.flatMap(way => [
  {
    name: `azure/service/${way}/commands-and-feedback`,
    async run(t) {
      const ours = await hub(t, { maxDeliveryCount: 2 })
      const [device, sdk] = await Promise.all([ours.ourDevice(), sdkService(t, ours, { way })])
      await sdk.do('feedback')
      const messages = device.messages()[Symbol.asyncIterator]()
      const nextMessage = async () => (await t.wait(messages.next(), 'a command')).value
      const feedbackOf = async () => {
        const { body: records } = await sdk.next('feedback')
        return records.map(({ originalMessageId, deviceId, statusCode }) => [originalMessageId, deviceId, statusCode])
      }
      await sdk.do('command', { deviceId: DEVICE, body: 'open', messageId: 'm1', ack: 'full', properties: { p: 'v' } })
      const message = await nextMessage()
      assert.equal(new TextDecoder().decode(message.body), 'open')
      assert.equal(message.messageId, 'm1')
      assert.equal(message.ack, 'full')
      assert.deepEqual([...message.properties], [['p', 'v']])
      await message.complete()
      // It abandons the first batch, and has it again.
      for (let i = 0; i < 2; i++) assert.deepEqual(await feedbackOf(), [['m1', DEVICE, 'Success']])
      await sdk.do('command', { deviceId: DEVICE, body: 'x', messageId: 'm2', ack: 'negative' })
      await (await nextMessage()).reject()
      assert.deepEqual(await feedbackOf(), [['m2', DEVICE, 'Rejected']])
      await sdk.do('command', { deviceId: DEVICE, body: 'x', messageId: 'm3', ack: 'full' })
      for (let i = 0; i < 2; i++) await (await nextMessage()).abandon()
      assert.deepEqual(await feedbackOf(), [['m3', DEVICE, 'DeliveryCountExceeded']])
      const { failed } = await sdk.attempt('command', { deviceId: 'nobody', body: 'x' })
      assert.equal(failed?.name, 'DeviceNotFoundError')
      await sdk.do('close')
      assert.deepEqual(sdk.errors(), [])
    },
  },
  {
    name: `azure/service/${way}/file-notifications`,
    async run(t) {
      const ours = await hub(t)
      const sdk = await sdkService(t, ours, { way })
      await sdk.do('files')
      const upload = {
        deviceId: DEVICE,
        blobUri: `https://account.blob.example/container/${DEVICE}/a%20b.jpg`,
        blobName: `${DEVICE}/a b.jpg`,
        blobSizeInBytes: 4096,
      }
      ours.emulator.notifyFileUpload({ ...upload, lastUpdatedTime: new Date('2026-01-02T03:04:05.678Z') })
      for (let i = 0; i < 2; i++) {
        const { enqueuedTimeUtc, lastUpdatedTime, ...told } = (await sdk.next('file')).body
        assert.deepEqual(told, upload)
        assert.equal(new Date(lastUpdatedTime).getTime(), Date.UTC(2026, 0, 2, 3, 4, 5, 678))
        assert.ok(Math.abs(new Date(enqueuedTimeUtc).getTime() - Date.now()) < 60_000, enqueuedTimeUtc)
      }
      await sdk.do('close')
      assert.deepEqual(sdk.errors(), [])
    },
  },
])

export const serviceCases = [
  ...overBoth,
  {
    name: 'azure/service/methods',
    async run(t) {
      const ours = await hub(t)
      const sdk = await sdkService(t, ours)
      const params = { methodName: 'add', payload: { a: 1, b: 2 } }
      const offline = await sdk.attempt('invoke', { deviceId: DEVICE, params })
      assert.match(offline.failed?.body, /404103/)
      const unknown = await sdk.attempt('invoke', { deviceId: 'nobody', params })
      assert.equal(unknown.failed?.name, 'DeviceNotFoundError')
      const device = await ours.ourDevice()
      await device.onMethod('add', ({ payload }) => ({ status: 200, payload: payload.a + payload.b }))
      assert.deepEqual(await sdk.do('invoke', { deviceId: DEVICE, params }), { status: 200, payload: 3 })
      const module = await ours.ourDevice({ deviceId: DEVICE, moduleId: MODULE })
      await module.onMethod(({ name }) => ({ status: 201, payload: name }))
      assert.deepEqual(await sdk.do('invoke', { deviceId: DEVICE, moduleId: MODULE, params }), {
        status: 201,
        payload: 'add',
      })
      await device.onMethod('hang', () => new Promise(() => {}))
      const late = { methodName: 'hang', responseTimeoutInSeconds: 5 }
      const { failed } = await sdk.attempt('invoke', { deviceId: DEVICE, params: late })
      assert.equal(failed?.name, 'GatewayTimeoutError')
      assert.match(failed.body, /504101/)
      await sdk.do('close')
    },
  },
  {
    name: 'azure/service/twins',
    async run(t) {
      const ours = await hub(t)
      const [device, sdk] = await Promise.all([ours.ourDevice(), sdkService(t, ours)])
      const twin = await device.twin()
      const changes = twin.changes()
      await twin.update({ fw: 1 })
      const read = await sdk.do('readTwin', { deviceId: DEVICE })
      assert.equal(read.deviceId, DEVICE)
      assert.equal(read.properties.reported.fw, 1)
      const patch = { tags: { site: 'x' }, properties: { desired: { interval: 5 } } }
      const updated = await sdk.do('updateTwin', { deviceId: DEVICE, patch, etag: read.etag })
      assert.equal(updated.properties.desired.interval, 5)
      assert.deepEqual(updated.tags, { site: 'x' })
      const { version, patch: seen } = await t.wait(next(changes), 'the change')
      assert.deepEqual({ version, seen }, { version: 2, seen: { interval: 5 } })
      const stale = await sdk.attempt('updateTwin', { deviceId: DEVICE, patch, etag: read.etag })
      assert.equal(stale.failed?.name, 'InvalidEtagError')
      await sdk.do('updateTwin', { deviceId: DEVICE, patch, etag: '*' })
      await sdk.do('updateTwin', { deviceId: DEVICE, moduleId: MODULE, patch, etag: '*' })
      assert.equal(ours.emulator.twin(DEVICE, { moduleId: MODULE }).properties.desired.interval, 5)
      assert.equal((await sdk.do('readTwin', { deviceId: DEVICE, moduleId: MODULE })).moduleId, MODULE)
      await sdk.do('close')
    },
  },
]
