/**
 * uAMQP at our emulated hub beyond what the documentation shows for it: every end of a command, direct methods and twins
 * over bare links, WebSockets, tokens that live for seconds, a connection that is lost.
 */

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { watchHubs } from '../support.mjs'
import { done, run } from './harness.mjs'
import { DEVICE, hub } from './hub.mjs'

const DEVICE_EVENTS = `/devices/${DEVICE}/messages/events`
const COMMANDS = `/devices/${DEVICE}/messages/devicebound`
const FEEDBACK = '/messages/serviceBound/feedback'

const command = (id, body = id) => ({
  body,
  properties: { message_id: id, to: COMMANDS },
  applicationProperties: { 'iothub-ack': 'full' },
})

const byEachAuthentication = ['plain', 'cbs'].flatMap(auth => [
  {
    name: `uamqp/hub/${auth}/every-end-of-a-command`,
    async run(t) {
      const { atService, atDevice } = await hub(t, auth, { maxDeliveryCount: 2, feedbackBatchMs: 400 })
      const messages = ['rejected', 'abandoned', 'completed'].map(id => command(id))
      await done(t, { ...atService('/messages/devicebound'), do: 'send', messages })
      // The second comes twice.
      const settle = ['reject', 'release', 'accept', 'modify']
      const job = { ...atDevice(COMMANDS), do: 'receive', count: settle.length, settle, seconds: 8 }
      const received = (await done(t, job)).messages.map(({ message_id }) => message_id)
      assert.deepEqual(received, ['rejected', 'abandoned', 'completed', 'abandoned'])
      // A batch that is released comes again.
      const feedback = { ...atService(FEEDBACK), do: 'receive', count: 2, settle: ['release', 'accept'], seconds: 8 }
      const { messages: batches } = await done(t, feedback)
      for (const { body } of batches) {
        const ends = JSON.parse(body).map(({ originalMessageId, statusCode }) => [originalMessageId, statusCode])
        assert.deepEqual(Object.fromEntries(ends), {
          rejected: 'Rejected',
          completed: 'Success',
          abandoned: 'DeliveryCountExceeded',
        })
      }
    },
  },
  {
    name: `uamqp/hub/${auth}/methods`,
    async run(t) {
      const { emulator, atDevice } = await hub(t, auth)
      const job = { ...atDevice(`/devices/${DEVICE}/methods/devicebound`), do: 'methods', count: 2, status: 207 }
      const answering = done(t, { ...job, seconds: 8 })
      const invoke = payload => emulator.invokeMethod(DEVICE, 'echo', payload, { connectTimeoutMs: 8000 })
      for (const payload of [{ a: [1, 'ä'] }, null]) assert.deepEqual(await invoke(payload), { status: 207, payload })
      assert.deepEqual((await answering).calls, [
        { name: 'echo', payload: '{"a":[1,"ä"]}' },
        { name: 'echo', payload: 'null' },
      ])
    },
  },
  {
    name: `uamqp/hub/${auth}/twin`,
    async run(t) {
      const { emulator, atDevice } = await hub(t, auth)
      emulator.updateDesired(DEVICE, { interval: 10 })
      const job = { ...atDevice(`/devices/${DEVICE}/twin`), do: 'twin', patch: { fw: '1.2' }, seconds: 8 }
      const seeing = done(t, job)
      // It has not subscribed yet when it has reported, and is told of no change before.
      await t.until('the patch', () => emulator.twin(DEVICE).properties.reported.fw === '1.2', 8000)
      let isOver = false
      const watching = seeing.finally(() => {
        isOver = true
      })
      for (let n = 0; !isOver; n++) {
        emulator.updateDesired(DEVICE, { n })
        await Promise.race([watching, delay(50)])
      }
      const { got, reported, subscribed, change } = await watching
      const before = { desired: { interval: 10, $version: 2 }, reported: { $version: 1 } }
      assert.deepEqual([got.status, JSON.parse(got.body)], [200, before])
      assert.deepEqual([reported.status, reported.version], [200, 2])
      assert.equal(subscribed.status, 200)
      const { n, $version } = JSON.parse(change)
      assert.equal($version, n + 3)
    },
  },
])

const overWebSockets = ['plain', 'cbs'].map(auth => ({
  name: `uamqp/hub/${auth}/web-socket`,
  async run(t) {
    const { emulator, atDevice } = await hub(t, auth, { isWebSocket: true })
    const big = 'x'.repeat(60_000)
    const messages = ['small', big].map(body => ({ body }))
    const { states } = await done(t, { ...atDevice(DEVICE_EVENTS), do: 'send', messages })
    assert.deepEqual(states, ['SendComplete', 'SendComplete'])
    const events = emulator.telemetry[Symbol.asyncIterator]()
    for (const { body } of messages) {
      const { value } = await t.wait(events.next(), 'an event')
      assert.equal(Buffer.from(value.body).toString(), body)
    }
    const command = emulator.sendToDevice(DEVICE, { body: big })
    const received = await done(t, { ...atDevice(COMMANDS), do: 'receive', count: 1, seconds: 8 })
    assert.equal(received.messages[0].size, big.length)
    assert.equal(await t.wait(command, 'the end of the command'), 'success')
  },
}))

const EVENT_HUB = 'iothub-ehub-localhost'
/** Seconds; a token's life is up to one less, since its end is rounded down. It is renewed about every second. */
const RENEWAL = { life: 3, window: 2 }

const renewed = [
  {
    name: 'uamqp/hub/cbs/renewal',
    async run(t) {
      const seen = watchHubs(t)
      const { emulator, atDevice, atService, device, service } = await hub(t, 'cbs', { tokenSkewMs: 0 })
      // A device sends, and a back end reads from the event hub: two lives and more of their tokens.
      const bodies = Array.from({ length: 26 }, (_, i) => `${i}`)
      const sending = done(t, {
        ...atDevice(DEVICE_EVENTS),
        do: 'sendSlowly',
        messages: bodies.map(body => ({ body })),
        interval: 0.25,
        auth: 'renewing-device',
        key: device.sharedAccessKey,
        ...RENEWAL,
      })
      const { value: first } = await t.wait(emulator.telemetry[Symbol.asyncIterator]().next(), 'an event', 8000)
      const reading = done(t, {
        ...atService(`/${EVENT_HUB}/ConsumerGroups/$Default/Partitions/${first.partition}`),
        do: 'receive',
        count: bodies.length,
        seconds: 12,
        auth: 'renewing-policy',
        audience: `sb://localhost/${EVENT_HUB}`,
        keyName: service.keyName,
        key: service.sharedAccessKey,
        ...RENEWAL,
      })
      const [, { messages }] = await Promise.all([sending, reading])
      assert.deepEqual(
        messages.map(({ body }) => body),
        bodies,
      )
      assert.equal(seen.connections, 2)
      // The first, and one a second; the end of a run may come before the last.
      assert.ok(seen.tokens >= 10, `${seen.tokens} tokens`)
    },
  },
]

const notRenewed = {
  name: 'uamqp/hub/expired',
  async run(t) {
    const seen = watchHubs(t)
    // At the same time, since it takes long.
    const failures = { plain: 'ConnectionClose', cbs: 'LinkDetach' }
    const clients = Object.entries(failures).map(async ([auth, failure]) => {
      const { emulator, atDevice } = await hub(t, auth, { tokenSkewMs: 0, seconds: 3 })
      const messages = Array.from({ length: 20 }, (_, i) => ({ body: `${i}` }))
      const { failed } = await run(t, { ...atDevice(DEVICE_EVENTS), do: 'sendSlowly', interval: 0.25, messages })
      assert.equal(failed?.name, failure)
      assert.match(failed.message, /UnauthorizedAccess: the token has expired/)
      const { value: first } = await t.wait(emulator.telemetry[Symbol.asyncIterator]().next(), 'an event')
      assert.equal(Buffer.from(first.body).toString(), '0')
    })
    await Promise.all(clients)
    assert.equal(seen.connections, clients.length)
  },
}

const lost = ['plain', 'cbs'].flatMap(auth => [
  {
    name: `uamqp/hub/${auth}/drop-while-it-sends`,
    async run(t) {
      const seen = watchHubs(t)
      const { emulator, atDevice } = await hub(t, auth)
      const messages = Array.from({ length: 20 }, (_, i) => ({ body: `${i}` }))
      const job = { ...atDevice(DEVICE_EVENTS), do: 'sendSlowly', interval: 0.05, messages, isStubborn: true }
      const sending = done(t, job)
      const events = emulator.telemetry[Symbol.asyncIterator]()
      const nextBody = async () => Buffer.from((await t.wait(events.next(), 'an event', 8000)).value.body).toString()
      const bodies = new Set([await nextBody()])
      emulator.fault({ dropAfterBytes: 0 })
      // It says so, once, and does nothing about it: a new client of the program's goes on.
      assert.deepEqual((await sending).failures, ['MessageHandlerError'])
      while (bodies.size < messages.length) bodies.add(await nextBody())
      assert.equal(seen.connections, 2)
    },
  },
  {
    name: `uamqp/hub/${auth}/drop-while-it-receives`,
    async run(t) {
      const seen = watchHubs(t)
      const { emulator, atDevice } = await hub(t, auth, { lockMs: 500 })
      const job = { ...atDevice(COMMANDS), do: 'receive', count: 2, seconds: 10 }
      const receiving = done(t, { ...job, isStubborn: true })
      assert.equal(await t.wait(emulator.sendToDevice(DEVICE, { body: 'before' }), 'a command', 8000), 'success')
      emulator.fault({ dropAfterBytes: 0 })
      assert.equal(await t.wait(emulator.sendToDevice(DEVICE, { body: 'after' }), 'a command', 8000), 'success')
      const { messages, failures } = await receiving
      assert.deepEqual(
        messages.map(({ body }) => body),
        ['before', 'after'],
      )
      assert.deepEqual(failures, ['MessageHandlerError'])
      assert.equal(seen.connections, 2)
    },
  },
])

export const deviceCases = [...byEachAuthentication, ...overWebSockets, ...renewed, notRenewed, ...lost]
