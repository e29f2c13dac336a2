/** Slips in what the emulator is told are told back, in JavaScript too. */

import { afterEach, expect, it } from 'vitest'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { UsageError } from '../../src/errors.ts'
import { createSasToken } from '../../src/iothub/credentials/sas.ts'
import { World } from '../iothub/world.ts'

const world = new World()
afterEach(() => world.close())

it.each([
  [{ device: ['d1'] }, 'option of IotHubEmulator.start named "device"'],
  [{ port: 5671 }, 'option of IotHubEmulator.start named "port"'],
  [{ listen: { prot: 5671 } }, 'option of listen named "prot"'],
  [{ https: { prot: 1 } }, 'option of https named "prot"'],
  [{ webSocket: { server: class {}, prot: 1 } }, 'option of webSocket named "prot"'],
  [{ quotas: { perSecond: 1 } }, 'option of quotas named "perSecond"'],
])('there is no such option: %j', async (options, named) => {
  const starting = IotHubEmulator.start(options as object).then(hub => world.kept(hub))
  await expect(starting).rejects.toThrow(`IoT Hub: there is no ${named}`)
})

it.each([
  ['d1', 'each option of IotHubEmulator.start is in an object, and this is string'],
  [{ devices: 'd1' }, 'option of IotHubEmulator.start named "devices" is a list of texts'],
  [{ devices: [1] }, 'named "devices" is a list of texts'],
  [{ hostName: 5 }, 'named "hostName" is a text'],
  [{ lockMs: '5' }, 'named "lockMs" is a number'],
  [{ https: 8443 }, 'named "https" is an object'],
  [{ https: { port: 70_000 } }, 'option of https named "port" is a port'],
  [{ listen: { port: '5671' } }, 'option of listen named "port" is a port'],
  [{ listen: 5671 }, 'each option of listen is in an object, and this is number'],
  [{ listen: null }, 'each option of listen is in an object, and this is null'],
  [{ webSocket: {} }, 'webSocket needs a server'],
  [{ webSocket: { server: {} } }, 'option of webSocket named "server" is a class'],
  [{ quotas: { messagesPerDay: '5' } }, 'option of quotas named "messagesPerDay" is a number'],
])('an option of another type: %j', async (options, said) => {
  const starting = IotHubEmulator.start(options as never).then(hub => world.kept(hub))
  await expect(starting).rejects.toThrow(UsageError)
  await expect(starting).rejects.toThrow(said)
})

it.each<[string, (hub: IotHubEmulator) => unknown, string]>([
  [
    'invokeMethod',
    hub => hub.invokeMethod('d1', 'm', 1, { timeoutMs: 500 } as never),
    'option of invokeMethod named "time',
  ],
  ['its time', hub => hub.invokeMethod('d1', 'm', 1, { responseTimeoutMs: '5' } as never), 'Ms" is a number'],
  [
    'sendToDevice',
    hub => hub.sendToDevice('d1', { body: 'x' }, { module: 'm' } as never),
    'sendToDevice named "module"',
  ],
  ['a message', hub => hub.sendToDevice('d1', { body: 'x', id: 'm' } as never), 'field of a message named "id"'],
  ['its body', hub => hub.sendToDevice('d1', { body: { a: 1 } } as never), 'named "body" is a text or bytes'],
  ['no body', hub => hub.sendToDevice('d1', {} as never), 'a message needs a body'],
  ['its expiry', hub => hub.sendToDevice('d1', { body: 'x', expiry: 5 } as never), 'named "expiry" is a date'],
  ['twin', hub => hub.twin('d1', { module: 'm' } as never), 'option of twin named "module"'],
  ['its module alone', hub => hub.twin('d1', 'm1' as never), 'option of twin is in an object, and this is string'],
  ['updateDesired', hub => hub.updateDesired('d1', {}, { eTag: 'x' } as never), 'updateDesired named "eTag"'],
  ['a patch', hub => hub.updateDesired('d1', { x: 1n }), "twin of device 'd1': the patch cannot be written as JSON"],
  [
    'connectionString',
    hub => hub.connectionString({ device: 'd1' } as never),
    'field of connectionString named "device"',
  ],
  ['its options', hub => hub.connectionString({ service: true }, { ws: true } as never), 'connectionString named "ws"'],
  ['addDevice', hub => hub.addDevice('d2', { x: 'ca' } as never), 'option of addDevice named "x"'],
  [
    'a registration',
    hub => hub.addDevice('d2', { x509: { thumbprint: 5 } } as never),
    'a thumbprint has 40 hex digits',
  ],
  ['its name', hub => hub.addDevice('d2', { x509: { thumbprint: 'a', ca: 1 } } as never), 'field of x509 named "ca"'],
  ['transport', hub => hub.transport({ cert: 'x' } as never), 'option of transport named "cert"'],
  ['notifyFileUpload', hub => hub.notifyFileUpload({ deviceId: 'd1', uri: 'x' } as never), 'named "uri"'],
  ['enrol', hub => hub.provisioning.enrol('r', { symmetricKey: 'x' } as never), 'enrolment named "symmetricKey"'],
  ['its polls', hub => hub.provisioning.enrol('r', { polls: -1 }), 'named "polls" is a whole number, 0 or more'],
  ['enrolGroup', hub => hub.provisioning.enrolGroup('g', { thumbprint: 'x' } as never), 'a group named "thumbprint"'],
])('a slip in what the hub is told: %s', async (_, call, said) => {
  const hub = await world.hub()
  const calling = (async () => await call(hub))()
  await expect(calling).rejects.toThrow(UsageError)
  await expect(calling).rejects.toThrow(said)
})

it('a slip in a token', async () => {
  const making = createSasToken({ resourceUri: 'h', key: 'AAAA', keyNam: 'service', expiresAt: new Date() } as never)
  await expect(making).rejects.toThrow('IoT Hub: there is no field of createSasToken named "keyNam"')
})

const error = { condition: 'amqp:internal-error' }

it.each([
  [{ on: 'attach', match: 5, error }, 'match is a text'],
  [{ on: 'attach', math: 'd1', error }, 'field of a fault with attach named "math"'],
  [{ on: 'token', match: 'd1' }, 'field of a fault with token named "match"'],
  [{ dropAfterBytes: 5, time: 2 }, 'field of a fault with dropAfterBytes named "time"'],
])('there is no such fault: %j', async (fault, text) => {
  const hub = await world.hub()
  expect(() => hub.fault(fault as never)).toThrow(UsageError)
  expect(() => hub.fault(fault as never)).toThrow(text)
})

it('a connection string is for somebody', async () => {
  const hub = await world.hub()
  expect(() => hub.connectionString({} as never)).toThrow('needs { deviceId }, { policy }')
  expect(() => hub.connectionString(undefined as never)).toThrow(UsageError)
  expect(() => hub.connectionString('d1' as never)).toThrow('needs { deviceId }')
  expect(() => hub.connectionString({ deviceId: undefined } as never)).toThrow('needs { deviceId }')
})
