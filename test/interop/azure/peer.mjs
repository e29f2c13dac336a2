/**
 * Microsoft's SDKs, told what to do by lines of JSON: `{ id, do, … }` on stdin is answered by `{ id, ok }` or
 * `{ id, failed }` on stdout, and what happens meanwhile is told as `{ event, … }`.
 *
 * The certificate is trusted by NODE_EXTRA_CA_CERTS, since the service half takes none. The SDKs are as they were
 * installed; what is redirected is beneath them, see below, by PORTS: `{ amqps, wss, https }`.
 */

import https from 'node:https'
import { createInterface } from 'node:readline'
import tls from 'node:tls'
import iotDevice from 'azure-iot-device'

// Over WebSockets and HTTPS the SDKs know no other port than 443, in provisioning no other than 5671, and the hub is
// where there was room: connections to those two go to its ports instead. Requests of back ends and upgrades to
// WebSockets share 443: the latter bring a way to connect with them.
const ports = JSON.parse(process.env.PORTS)
const { connect } = tls
const portOf = port => ({ 5671: ports.amqps, 443: ports.wss })[port] ?? port
// Whether they come by themselves or among options: Node goes by the latter.
tls.connect = (...given) =>
  connect(...given.map(it => (it?.port === undefined ? portOf(it) : { ...it, port: portOf(it.port) })))
const { request } = https
https.request = (options, ...rest) =>
  options.createConnection ? request(options, ...rest) : request({ ...options, port: ports.https }, ...rest)

const tell = line => process.stdout.write(`${JSON.stringify(line)}\n`)
const complain = error => error && tell({ event: 'error', name: error.name, message: error.message })
const textOf = message => Buffer.from(message.data).toString()
const propertiesOf = ({ properties }) =>
  Object.fromEntries(properties.propertyList.map(({ key, value }) => [key, value]))

let device
let twin
let service
let methods
let registry

/** What is not needed by every case is loaded when it is: the SDKs load slowly. */
async function transportOf(name, way) {
  const { Amqp, AmqpWs } = (await import(name)).default
  return way === 'ws' ? AmqpWs : Amqp
}

function messageOf({ body, properties = {}, ...fields }) {
  const message = Object.assign(new iotDevice.Message(body), fields)
  for (const [key, value] of Object.entries(properties)) message.properties.add(key, value)
  return message
}

/** Each message is settled as its body says. */
const settle = (receiver, message) => {
  const how = { reject: 'reject', abandon: 'abandon' }[textOf(message)] ?? 'complete'
  receiver[how](message, complain)
}

/** What a function comes to that takes a callback. */
const called = call =>
  new Promise((resolve, reject) => {
    call((error, result) => (error ? reject(error) : resolve(result)))
  })

/** The first message is abandoned, so that it comes again. */
function toldTwice(receiver, event) {
  let how = 'abandon'
  receiver.on('error', complain)
  receiver.on('message', message => {
    tell({ event, body: JSON.parse(message.data.toString()) })
    receiver[how](message, complain)
    how = 'complete'
  })
}

const jobs = {
  /** So that what comes next does not take as long. */
  async load({ names }) {
    for (const name of names) await import(name)
  },

  /** By a connection string, for a certificate with `x509`, or by a token that was made elsewhere. */
  async openDevice({ connectionString, token, x509, renewal, isModule = false, way = 'tcp' }) {
    const Transport = await transportOf('azure-iot-device-amqp', way)
    const Client = isModule ? iotDevice.ModuleClient : iotDevice.Client
    device =
      token === undefined
        ? Client.fromConnectionString(connectionString, Transport)
        : Client.fromSharedAccessSignature(token, Transport)
    device.on('error', complain)
    device.on('disconnect', ({ transportObj: error }) => tell({ event: 'disconnect', name: error?.name }))
    if (x509) await device.setOptions(x509)
    if (renewal) await device.setOptions({ tokenRenewal: renewal })
    await device.open()
  },

  async reopen() {
    await device.open()
  },

  async putToken({ token }) {
    await called(done => device.updateSharedAccessSignature(token, done))
  },

  async receive() {
    device.on('message', message => {
      tell({
        event: 'message',
        body: textOf(message),
        messageId: message.messageId,
        ack: message.ack,
        to: message.to,
        contentType: message.contentType,
        properties: propertiesOf(message),
      })
      settle(device, message)
    })
  },

  async receiveInputs() {
    device.on('inputMessage', (input, message) => {
      tell({ event: 'input', input, body: textOf(message), properties: propertiesOf(message) })
      settle(device, message)
    })
  },

  /** One after the other, or with `isAtOnce` all at once. */
  async send({ messages, output, isAtOnce = false }) {
    const sent = []
    for (const init of messages) {
      const message = messageOf(init)
      const sending = output === undefined ? device.sendEvent(message) : device.sendOutputEvent(output, message)
      sent.push(sending)
      if (!isAtOnce) await sending
    }
    await Promise.all(sent)
  },

  async onMethod({ name, status, payload }) {
    const answer = (request, response) => {
      tell({ event: 'method', name: request.methodName, payload: request.payload })
      response.send(status, payload ?? request.payload).catch(complain)
    }
    if (device.onDeviceMethod) device.onDeviceMethod(name, answer)
    else device.onMethod(name, answer)
  },

  async getTwin() {
    twin = await device.getTwin()
    twin.on('properties.desired', desired => tell({ event: 'desired', desired }))
    return twin.properties
  },

  async report({ patch }) {
    await called(done => twin.properties.reported.update(patch, done))
  },

  /** Registers, and says what it has been assigned. */
  async provision({ host, idScope, registrationId, key, x509, payload, way }) {
    const { default: sdk } = await import('azure-iot-provisioning-device')
    const Transport = await transportOf('azure-iot-provisioning-device-amqp', way)
    const { SymmetricKeySecurityClient } = await import('azure-iot-security-symmetric-key')
    const { X509Security } = await import('azure-iot-security-x509')
    const security = x509 ? new X509Security(registrationId, x509) : new SymmetricKeySecurityClient(registrationId, key)
    const client = sdk.ProvisioningDeviceClient.create(host, idScope, new Transport(), security)
    if (payload !== undefined) client.setProvisioningPayload(payload)
    return await client.register()
  },

  async openService({ connectionString, token, httpsConnectionString, way = 'tcp' }) {
    const { default: sdk } = await import('azure-iothub')
    const Transport = await transportOf('azure-iothub', way)
    service =
      token === undefined
        ? sdk.Client.fromConnectionString(connectionString, Transport)
        : sdk.Client.fromSharedAccessSignature(token, Transport)
    service.on('disconnect', ({ reason }) => tell({ event: 'disconnect', name: reason?.condition ?? reason?.name }))
    await service.open()
    if (httpsConnectionString === undefined) return
    methods = sdk.Client.fromConnectionString(httpsConnectionString)
    registry = sdk.Registry.fromConnectionString(httpsConnectionString)
  },

  async command({ deviceId, ...init }) {
    await service.send(deviceId, messageOf(init))
  },

  async feedback() {
    toldTwice(await called(done => service.getFeedbackReceiver(done)), 'feedback')
  },

  async files() {
    toldTwice(await called(done => service.getFileNotificationReceiver(done)), 'file')
  },

  async invoke({ deviceId, moduleId, params }) {
    const { result } =
      moduleId === undefined
        ? await methods.invokeDeviceMethod(deviceId, params)
        : await methods.invokeDeviceMethod(deviceId, moduleId, params)
    return result
  },

  async readTwin({ deviceId, moduleId }) {
    const { responseBody } =
      moduleId === undefined ? await registry.getTwin(deviceId) : await registry.getModuleTwin(deviceId, moduleId)
    return plain(responseBody)
  },

  async updateTwin({ deviceId, moduleId, patch, etag }) {
    const { responseBody } =
      moduleId === undefined
        ? await registry.updateTwin(deviceId, patch, etag)
        : await registry.updateModuleTwin(deviceId, moduleId, patch, etag)
    return plain(responseBody)
  },

  /** Reads so many events from the event hub, from the oldest on, and what it says of itself. */
  async readEvents({ connectionString, count, way }) {
    const { EventHubConsumerClient, earliestEventPosition } = await import('@azure/event-hubs')
    const { default: webSocket } = await import('ws')
    const options = way === 'ws' ? { webSocketOptions: { webSocket } } : {}
    const client = new EventHubConsumerClient('$Default', connectionString, options)
    const { partitionIds } = await client.getEventHubProperties()
    const events = []
    await new Promise((resolve, reject) => {
      client.subscribe(
        {
          async processEvents(batch) {
            for (const { body, properties, systemProperties } of batch)
              events.push({ body, properties, systemProperties })
            if (events.length >= count) resolve()
          },
          async processError(error) {
            reject(error)
          },
        },
        { startPosition: earliestEventPosition, maxWaitTimeInSeconds: 1 },
      )
    })
    await client.close()
    return { partitionIds, events }
  },

  async close() {
    await device?.close()
    await service?.close()
  },
}

/** A twin, without what the SDK has put in. */
const plain = ({ deviceId, moduleId, etag, version, tags, properties, connectionState }) => ({
  deviceId,
  moduleId,
  etag,
  version,
  tags,
  properties,
  connectionState,
})

for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: name, ...job } = JSON.parse(line)
  jobs[name](job).then(
    ok => tell({ id, ok: ok ?? null }),
    ({ constructor: { name }, message, condition, responseBody: body }) =>
      tell({ id, failed: { name, message, condition, body } }),
  )
}
process.exit(0)
