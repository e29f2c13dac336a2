/** uAMQP at our emulated hub: the flows that the documentation of IoT Hub shows for it, by each way to log in. */

import assert from 'node:assert/strict'
import net from 'node:net'
import { IotHubEmulator } from '../../../dist/emulator.js'
import { createSasToken, parseConnectionString } from '../../../dist/iothub.js'
import { Missing } from '../support.mjs'
import { done, pemFile, run } from './harness.mjs'

const HOST = 'localhost'
export const DEVICE = 'device1'
/** Where uAMQP goes when it is given a URL and no authentication object. */
const AMQPS_PORT = 5671

/**
 * A hub, and jobs for whoever uses it.
 *
 * @param options  `seconds`: what a token lives; `isWebSocket`: by WebSockets; the others are those of the hub
 */
export async function hub(t, auth, { seconds = 600, isWebSocket = false, ...hubOptions } = {}) {
  const port = auth === 'url' ? AMQPS_PORT : 0
  if (port !== 0) await assertFree(port)
  const emulator = await IotHubEmulator.start({
    hostName: HOST,
    devices: [DEVICE],
    feedbackBatchMs: 100,
    listen: { port },
    ...(isWebSocket ? { webSocket: { server: await webSocketServer() } } : {}),
    ...hubOptions,
  })
  t.defer(() => emulator.close())
  const ca = pemFile(t, emulator.ca)
  const reach = { host: HOST, port: isWebSocket ? emulator.webSocketPort : emulator.port, ca, auth, isWebSocket }
  const options = auth === 'url' ? { env: { SSL_CERT_FILE: ca } } : {}
  const expiresAt = new Date(Date.now() + seconds * 1000)

  /** A job of somebody at a path of the hub. */
  const jobAt = (path, user, token, audience) => {
    const credentials = auth === 'url' ? `${encodeURIComponent(user)}:${encodeURIComponent(token)}@` : ''
    const address = `amqps://${credentials}${HOST}${path}`
    return { ...reach, address, ...(auth === 'cbs' ? { audience, token } : { user, password: token }) }
  }
  const service = parseConnectionString(emulator.connectionString({ service: true }))
  const device = parseConnectionString(emulator.connectionString({ deviceId: DEVICE }))
  const serviceToken = await createSasToken({
    resourceUri: HOST,
    key: service.sharedAccessKey,
    keyName: service.keyName,
    expiresAt,
  })
  const deviceUri = `${HOST}/devices/${DEVICE}`
  const deviceToken = await createSasToken({ resourceUri: deviceUri, key: device.sharedAccessKey, expiresAt })
  return {
    emulator,
    options,
    service,
    device,
    atService: path => jobAt(path, `service@sas.root.${HOST}`, serviceToken, `https://${HOST}`),
    atDevice: path => jobAt(path, `${DEVICE}@sas.${HOST}`, deviceToken, deviceUri),
  }
}

async function webSocketServer() {
  try {
    return (await import('ws')).WebSocketServer
  } catch {
    throw new Missing('ws (npm ci --prefix test/interop)')
  }
}

/** @throws {Missing} when somebody listens there, which is no fault of ours */
async function assertFree(port) {
  const server = net.createServer()
  await new Promise((resolve, reject) => {
    server.once('error', ({ code }) => reject(new Missing(`a free port ${port} on 127.0.0.1 (${code})`)))
    server.listen(port, '127.0.0.1', resolve)
  })
  await new Promise(resolve => server.close(resolve))
}

const COMMAND = {
  body: 'open the valve',
  properties: { message_id: 'command-1', to: `/devices/${DEVICE}/messages/devicebound` },
  applicationProperties: { 'iothub-ack': 'full', colour: 'grün' },
}

const byEachAuthentication = ['plain', 'cbs', 'url'].flatMap(auth => [
  {
    name: `uamqp/hub/${auth}/command-and-feedback`,
    async run(t) {
      const { atService, atDevice, options } = await hub(t, auth)
      const sent = await done(t, { ...atService('/messages/devicebound'), do: 'send', messages: [COMMAND] }, options)
      assert.deepEqual(sent.states, ['SendComplete'])

      const commands = { ...atDevice(`/devices/${DEVICE}/messages/devicebound`), do: 'receive', count: 1, seconds: 8 }
      const [command, ...others] = (await done(t, commands, options)).messages
      assert.deepEqual(others, [])
      assert.equal(command.body, 'open the valve')
      assert.equal(command.message_id, 'command-1')
      assert.equal(command.to, COMMAND.properties.to)
      assert.equal(command.applicationProperties.colour, 'grün')
      assert.equal(command.wasSettled, false)

      const feedback = { ...atService('/messages/serviceBound/feedback'), do: 'receive', count: 1, seconds: 8 }
      const [batch] = (await done(t, feedback, options)).messages
      assert.equal(batch.content_type, 'application/vnd.microsoft.iothub.feedback.json')
      assert.equal(batch.user_id, HOST)
      const records = JSON.parse(batch.body)
      assert.equal(records.length, 1)
      assert.equal(records[0].originalMessageId, 'command-1')
      assert.equal(records[0].statusCode, 'Success')
      assert.equal(records[0].deviceId, DEVICE)
    },
  },
  {
    name: `uamqp/hub/${auth}/telemetry`,
    async run(t) {
      const { emulator, atDevice, options } = await hub(t, auth)
      const message = {
        body: '{"temperature":21.5}',
        properties: { message_id: 'reading-1', content_type: 'application/json', correlation_id: 'run-7' },
        applicationProperties: { alarm: 'no', unit: '°C' },
      }
      const sent = await done(
        t,
        { ...atDevice(`/devices/${DEVICE}/messages/events`), do: 'send', messages: [message] },
        options,
      )
      assert.deepEqual(sent.states, ['SendComplete'])
      const events = emulator.telemetry[Symbol.asyncIterator]()
      const { value: event } = await t.wait(events.next(), 'the event')
      assert.equal(event.deviceId, DEVICE)
      assert.equal(Buffer.from(event.body).toString(), message.body)
      assert.equal(event.messageId, 'reading-1')
      assert.equal(event.correlationId, 'run-7')
      assert.equal(event.contentType, 'application/json')
      assert.deepEqual(Object.fromEntries(event.properties), message.applicationProperties)
    },
  },
  ...['plain', 'cbs'].map(there => ({
    name: `uamqp/hub/${auth}/telemetry-by-redirect/${there}`,
    async run(t) {
      const { emulator, atDevice, atService, service, options } = await hub(t, auth)
      const messages = ['a', 'b', 'c'].map(body => ({ body, applicationProperties: { letter: body } }))
      const path = `/devices/${DEVICE}/messages/events`
      await done(t, { ...atDevice(path), do: 'send', messages }, options)
      const { value: first } = await t.wait(emulator.telemetry[Symbol.asyncIterator]().next(), 'the event')
      const suffix = `/ConsumerGroups/$Default/Partitions/${first.partition}`
      const job = {
        ...atService(`/messages/events${suffix}`),
        do: 'telemetry',
        there,
        keyName: service.keyName,
        key: service.sharedAccessKey,
        selector: "amqp.annotation.x-opt-sequence-number > '0'",
        count: 2,
        seconds: 8,
      }
      const { redirect, events, management } = await done(t, job, options)
      assert.deepEqual(redirect, {
        hostname: HOST,
        network_host: HOST,
        port: emulator.port,
        address: `amqps://${HOST}:5671/iothub-ehub-${HOST}${suffix}`,
      })
      assert.deepEqual(
        events.map(({ body, applicationProperties: { letter } }) => [body, letter]),
        [
          ['b', 'b'],
          ['c', 'c'],
        ],
      )
      const { annotations } = events[0]
      assert.equal(annotations['iothub-connection-device-id'], DEVICE)
      assert.equal(annotations['x-opt-sequence-number'], 1)
      assert.match(annotations['x-opt-offset'], /^[1-9]\d*$/)
      assert.equal(management.name, `iothub-ehub-${HOST}`)
      assert.equal(management.partition_count, 4)
      assert.deepEqual(management.partition_ids, ['0', '1', '2', '3'])
    },
  })),
  {
    name: `uamqp/hub/${auth}/unknown-device`,
    async run(t) {
      const { atService, options } = await hub(t, auth)
      const to = '/devices/nobody/messages/devicebound'
      const messages = [{ ...COMMAND, properties: { ...COMMAND.properties, to } }]
      const sent = await done(t, { ...atService('/messages/devicebound'), do: 'send', messages }, options)
      assert.deepEqual(sent.states, ['SendFailed'])
      assert.equal(sent.outcomes[0].condition, 'amqp:not-found')
    },
  },
  {
    name: `uamqp/hub/${auth}/address-of-another`,
    async run(t) {
      const { atDevice, options } = await hub(t, auth)
      const { failed } = await run(
        t,
        { ...atDevice('/messages/devicebound'), do: 'send', messages: [COMMAND] },
        options,
      )
      assert.equal(failed?.name, 'LinkDetach')
      assert.match(failed.message, /unauthorized|no token covers/i)
    },
  },
])

const refused = [
  {
    name: 'uamqp/hub/plain/wrong-token',
    async run(t) {
      const { atService } = await hub(t, 'plain')
      const job = atService('/messages/devicebound')
      const password = job.password.replace(/sig=..../, 'sig=AAAA')
      const { failed } = await run(t, { ...job, password, do: 'send', messages: [COMMAND] })
      // All that uAMQP says of a SASL outcome.
      assert.equal(failed?.name, 'ConnectionClose')
    },
  },
]

export const hubCases = [...byEachAuthentication, ...refused]
