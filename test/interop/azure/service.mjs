/** The SDK as a back end of our hub, with our device at the other end. */

import assert from 'node:assert/strict'
import { DEVICE, hub, MODULE, next, sdkService } from './harness.mjs'

export const serviceCases = [
  {
    name: 'azure/service/commands-and-feedback',
    async run(t) {
      const ours = await hub(t)
      const [device, sdk] = await Promise.all([ours.ourDevice(), sdkService(t, ours)])
      await sdk.do('feedback')
      await sdk.do('command', { deviceId: DEVICE, body: 'open', messageId: 'm1', ack: 'full', properties: { p: 'v' } })
      const message = await t.wait(next(device.messages()), 'the command')
      assert.equal(new TextDecoder().decode(message.body), 'open')
      assert.equal(message.messageId, 'm1')
      assert.equal(message.ack, 'full')
      assert.deepEqual([...message.properties], [['p', 'v']])
      await message.complete()
      const { records } = await sdk.next('feedback')
      assert.equal(records.length, 1)
      assert.equal(records[0].originalMessageId, 'm1')
      assert.equal(records[0].statusCode, 'Success')
      const { failed } = await sdk.attempt('command', { deviceId: 'nobody', body: 'x' })
      assert.equal(failed?.name, 'DeviceNotFoundError')
      await sdk.do('close')
    },
  },
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
