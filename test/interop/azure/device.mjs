/** The SDK as a device or module of our hub. */

import assert from 'node:assert/strict'
import { DEVICE, hub, invoke, MODULE, sdkDevice } from './harness.mjs'

const text = bytes => new TextDecoder().decode(bytes)

const WAYS = ['tcp', 'ws']

/** The same for a device and for a module, but for the place. */
const ofBoth = WAYS.flatMap(way => ['device', 'module'].map(kind => ({ way, kind }))).flatMap(({ way, kind }) => {
  const isModule = kind === 'module'
  const at = isModule ? { moduleId: MODULE } : {}
  return [
    {
      name: `azure/${kind}/${way}/telemetry`,
      async run(t) {
        const ours = await hub(t)
        const sdk = await sdkDevice(t, ours, { isModule, way })
        const message = {
          body: '{"t":21}',
          messageId: '3f2504e0-4f89-41d3-9a0c-0305e82c3301',
          correlationId: 'c1',
          contentType: 'application/json',
          contentEncoding: 'utf-8',
          properties: { colour: 'grün' },
        }
        await sdk.do('send', { messages: [message, { body: 'second' }] })
        const event = await ours.nextEvent()
        assert.equal(event.deviceId, DEVICE)
        assert.equal(event.moduleId, at.moduleId)
        assert.equal(text(event.body), message.body)
        for (const name of ['messageId', 'correlationId', 'contentType', 'contentEncoding'])
          assert.equal(event[name], message[name])
        assert.deepEqual([...event.properties], [['colour', 'grün']])
        await sdk.do('close')
        assert.deepEqual(sdk.errors(), [])
      },
    },
    {
      name: `azure/${kind}/${way}/methods`,
      async run(t) {
        const ours = await hub(t)
        const sdk = await sdkDevice(t, ours, { isModule, way })
        await sdk.do('onMethod', { name: 'echo', status: 200 })
        assert.deepEqual(await invoke(ours.emulator, 'echo', { a: [1, 'ä', null] }, at), {
          status: 200,
          payload: { a: [1, 'ä', null] },
        })
        assert.deepEqual(await sdk.next('method'), { event: 'method', name: 'echo', payload: { a: [1, 'ä', null] } })
        // One after the other, and many at once.
        for (let i = 0; i < 5; i++) assert.equal((await invoke(ours.emulator, 'echo', i, at)).payload, i)
        const many = Array.from({ length: 50 }, (_, i) => i + 1)
        const answers = await Promise.all(many.map(i => invoke(ours.emulator, 'echo', i, at)))
        assert.deepEqual(
          answers.map(({ payload }) => payload),
          many,
        )
        await sdk.do('close')
        assert.deepEqual(sdk.errors(), [])
      },
    },
    {
      name: `azure/${kind}/${way}/twin`,
      async run(t) {
        const ours = await hub(t)
        ours.emulator.updateDesired(DEVICE, { interval: 10 }, at)
        const sdk = await sdkDevice(t, ours, { isModule, way })
        const twin = await sdk.do('getTwin')
        assert.deepEqual(twin, { desired: { interval: 10, $version: 2 }, reported: { $version: 1 } })
        // The first event is what it has read.
        assert.deepEqual((await sdk.next('desired')).desired, { interval: 10, $version: 2 })
        await sdk.do('report', { patch: { fw: { v: 1, at: 'now' } } })
        await sdk.do('report', { patch: { fw: { at: null } } })
        const { reported } = ours.emulator.twin(DEVICE, at).properties
        assert.deepEqual(reported.fw, { v: 1 })
        assert.equal(reported.$version, 3)
        ours.emulator.updateDesired(DEVICE, { interval: null, mode: 'eco' }, at)
        assert.deepEqual((await sdk.next('desired')).desired, { interval: null, mode: 'eco', $version: 3 })
        // It does not say why.
        const { failed } = await sdk.attempt('report', { patch: { 'a.b': 1 } })
        assert.equal(failed?.message, 'could not update twin reported properties')
        await sdk.do('report', { patch: { still: 'here' } })
        await sdk.do('close')
        assert.deepEqual(sdk.errors(), [])
      },
    },
    {
      name: `azure/${kind}/${way}/all-at-once`,
      async run(t) {
        const ours = await hub(t)
        const sdk = await sdkDevice(t, ours, { isModule, way })
        await sdk.do('getTwin')
        await sdk.next('desired')
        await sdk.do('onMethod', { name: 'echo', status: 200 })
        // Rhea repeats the attach properties of the twin on the links that follow.
        await sdk.do('send', { messages: [{ body: 'x' }] })
        assert.equal((await invoke(ours.emulator, 'echo', 1, at)).payload, 1)
        ours.emulator.updateDesired(DEVICE, { a: 1 }, at)
        assert.deepEqual((await sdk.next('desired')).desired, { a: 1, $version: 2 })
        assert.equal(ours.emulator.twin(DEVICE, at).connectionState, 'Connected')
        await sdk.do('close')
        await t.until('the device to be gone', () => ours.emulator.twin(DEVICE, at).connectionState === 'Disconnected')
        assert.deepEqual(sdk.errors(), [])
      },
    },
  ]
})

const ofOne = WAYS.flatMap(way => [
  {
    name: `azure/device/${way}/commands`,
    async run(t) {
      const ours = await hub(t, { maxDeliveryCount: 2 })
      const sdk = await sdkDevice(t, ours, { way })
      await sdk.do('receive')
      const send = (body, fields) => ours.emulator.sendToDevice(DEVICE, { body, ...fields })
      const status = send('open', { messageId: 'm1', properties: { p: 'v' }, contentType: 'text/plain' })
      const { body, messageId, properties, contentType, to } = await sdk.next('message')
      assert.deepEqual(
        { body, messageId, properties, contentType, to },
        {
          body: 'open',
          messageId: 'm1',
          properties: { p: 'v' },
          contentType: 'text/plain',
          to: `/devices/${DEVICE}/messages/devicebound`,
        },
      )
      assert.equal(await t.wait(status, 'the end of the command'), 'success')
      assert.equal(await t.wait(send('reject'), 'a rejection'), 'rejected')
      assert.equal(await t.wait(send('abandon'), 'two abandons'), 'deliveryCountExceeded')
      await sdk.do('close')
      assert.deepEqual(sdk.errors(), [])
    },
  },
  {
    name: `azure/module/${way}/inputs-and-outputs`,
    async run(t) {
      const ours = await hub(t, { maxDeliveryCount: 2 })
      const sdk = await sdkDevice(t, ours, { isModule: true, way })
      await sdk.do('receiveInputs')
      const options = { moduleId: MODULE, inputName: 'in1' }
      const send = (body, fields) => ours.emulator.sendToDevice(DEVICE, { body, ...fields }, options)
      const status = send('x', { properties: { p: 'v' } })
      assert.deepEqual(await sdk.next('input'), { event: 'input', input: 'in1', body: 'x', properties: { p: 'v' } })
      assert.equal(await t.wait(status, 'the end of the input'), 'success')
      assert.equal(await t.wait(send('reject'), 'a rejection'), 'rejected')
      assert.equal(await t.wait(send('abandon'), 'two abandons'), 'deliveryCountExceeded')
      await sdk.do('send', { messages: [{ body: 'y' }], output: 'out1' })
      const event = await ours.nextEvent()
      assert.deepEqual([...event.properties], [['iothub-outputname', 'out1']])
      await sdk.do('close')
      assert.deepEqual(sdk.errors(), [])
    },
  },
])

export const deviceCases = [...ofBoth, ...ofOne]
