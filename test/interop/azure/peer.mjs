/**
 * Microsoft's SDK, told what to do by lines of JSON: `{ id, do, … }` on stdin is answered by `{ id, ok }` or
 * `{ id, failed }` on stdout, and what happens meanwhile is told as `{ event, … }`.
 *
 * The certificate is trusted by NODE_EXTRA_CA_CERTS, since the service half takes none; HTTPS_PORT is where HTTPS goes.
 */

import https from 'node:https'
import { createInterface } from 'node:readline'
import iotDevice from 'azure-iot-device'
import { Amqp } from 'azure-iot-device-amqp'
import iotHub from 'azure-iothub'

// The SDK knows no other port than 443.
const { request } = https
https.request = (options, ...rest) => request({ ...options, port: process.env.HTTPS_PORT }, ...rest)

const tell = line => process.stdout.write(`${JSON.stringify(line)}\n`)
const textOf = message => Buffer.from(message.data).toString()
const propertiesOf = ({ properties }) =>
  Object.fromEntries(properties.propertyList.map(({ key, value }) => [key, value]))

let device
let twin
let service
let methods
let registry

const jobs = {
  async openDevice({ connectionString, isModule = false }) {
    const { Client, ModuleClient } = iotDevice
    device = (isModule ? ModuleClient : Client).fromConnectionString(connectionString, Amqp)
    device.on('error', error => tell({ event: 'error', message: error.message }))
    await device.open()
  },

  /** Commands, each settled as its body says. */
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
      const settle = { reject: 'reject', abandon: 'abandon' }[textOf(message)] ?? 'complete'
      device[settle](message, error => error && tell({ event: 'error', message: error.message }))
    })
  },

  async receiveInputs() {
    device.on('inputMessage', (input, message) => {
      tell({ event: 'input', input, body: textOf(message), properties: propertiesOf(message) })
      device.complete(message, () => {})
    })
  },

  async send({ messages, output }) {
    for (const { body, properties = {}, ...fields } of messages) {
      const message = Object.assign(new iotDevice.Message(body), fields)
      for (const [key, value] of Object.entries(properties)) message.properties.add(key, value)
      if (output === undefined) await device.sendEvent(message)
      else await device.sendOutputEvent(output, message)
    }
  },

  async onMethod({ name, status, payload }) {
    const answer = (request, response) => {
      tell({ event: 'method', name: request.methodName, payload: request.payload })
      response.send(status, payload ?? request.payload).catch(error => tell({ event: 'error', message: error.message }))
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
    await new Promise((resolve, reject) => {
      twin.properties.reported.update(patch, error => (error ? reject(error) : resolve()))
    })
  },

  async openService({ connectionString, httpsConnectionString }) {
    service = iotHub.Client.fromConnectionString(connectionString)
    await service.open()
    methods = iotHub.Client.fromConnectionString(httpsConnectionString)
    registry = iotHub.Registry.fromConnectionString(httpsConnectionString)
  },

  async command({ deviceId, body, properties = {}, ...fields }) {
    const message = Object.assign(new iotDevice.Message(body), fields)
    for (const [key, value] of Object.entries(properties)) message.properties.add(key, value)
    await service.send(deviceId, message)
  },

  async feedback() {
    const receiver = await new Promise((resolve, reject) => {
      service.getFeedbackReceiver((error, result) => (error ? reject(error) : resolve(result)))
    })
    receiver.on('message', message => {
      tell({ event: 'feedback', records: JSON.parse(message.data.toString()) })
      receiver.complete(message, () => {})
    })
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
    error => tell({ id, failed: { name: error.constructor.name, message: error.message, body: error.responseBody } }),
  )
}
process.exit(0)
