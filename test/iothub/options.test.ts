/** Slips in options are told before anything is opened, in JavaScript too. */

import { afterEach, describe, expect, it } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { type CloudMessage, cloudMessage, telemetryMessage } from '../../src/iothub/message-mapping.ts'
import { DevicePool } from '../../src/iothub/pool/device-pool.ts'
import { provision } from '../../src/iothub/provisioning/provisioning.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import { World } from './world.ts'

const world = new World()
afterEach(() => world.close())

const key = Buffer.alloc(32, 7).toString('base64')
const DEVICE = `HostName=localhost:1;DeviceId=d1;SharedAccessKey=${key}`
const SERVICE = `HostName=localhost:1;SharedAccessKeyName=service;SharedAccessKey=${key}`
const transport = (): never => {
  throw new Error('was dialled')
}

async function failure(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    cause => cause,
  )
  expect(error).toBeInstanceOf(UsageError)
  return error.message
}

const device = (options: object): Promise<unknown> => DeviceClient.connect(DEVICE, { transport, ...options })
const service = (options: object): Promise<unknown> => ServiceClient.connect(SERVICE, { transport, ...options })
const pool = (options: object): Promise<unknown> => DevicePool.connect('localhost:1', { transport, ...options })
const provisioned = (options: object): Promise<unknown> =>
  provision({ transport, idScope: 's', registrationId: 'r', key, ...options })

describe('names that mean nothing', () => {
  it.each<[string, (options: object) => Promise<unknown>, object]>([
    ['option of DeviceClient.connect named "reconect"', device, { reconect: false }],
    ['option of ServiceClient.connect named "modelId"', service, { modelId: 'm' }],
    ['option of DevicePool.connect named "auth"', pool, { auth: 'plain' }],
    ['option of provision named "registrationID"', provisioned, { registrationID: 'r' }],
    ['option of reconnect named "attemts"', device, { reconnect: { attemts: 1 } }],
    ['option of tokens named "lifems"', device, { tokens: { lifems: 5 } }],
    ['option of tokens named "lifems"', pool, { tokens: { lifems: 5 } }],
  ])('there is no %s', async (named, connect, options) => {
    expect(await failure(connect(options))).toContain(`IoT Hub: there is no ${named}; there are `)
  })

  it('are not those of what is undefined', async () => {
    await expect(device({ reconect: undefined })).rejects.toThrow('was dialled')
  })

  it('of a device of a pool, and of reading telemetry', async () => {
    const hub = await world.hub()
    const shared = world.kept(
      await DevicePool.connect(hub.connectionString({ policy: 'device' }), { transport: () => hub.transport() }),
    )
    expect(await failure(shared.device('d1', { model: 'm' } as object))).toContain(
      'option of DevicePool.device named "model"',
    )
    const { service: client } = await world.service(hub)
    const reading = client.telemetry({ form: 'end' } as object).next()
    expect(await failure(reading)).toContain('option of telemetry named "form"')
  })
})

it.each([device, service])('auth is one of two', async connect => {
  expect(await failure(connect({ auth: 'plian' }))).toBe("IoT Hub: auth is 'cbs' or 'plain'")
})

describe('a slip in the options of a method', () => {
  const slip = { signl: AbortSignal.abort() } as object

  it.each<[string, (client: DeviceClient) => unknown]>([
    ['sendTelemetry', client => client.sendTelemetry({ body: 'x' }, slip)],
    ['sendTelemetryBatch', client => client.sendTelemetryBatch([{ body: 'x' }], slip)],
    ['messages', client => client.messages(slip).next()],
    ['inputs', client => client.inputs(slip).next()],
    ['onMethod', client => client.onMethod('m', () => ({ status: 200 }), slip)],
    ['onMethod', client => client.onMethod(() => ({ status: 200 }), slip)],
    ['twin', client => client.twin(slip)],
    ['update', async client => (await client.twin()).update({ a: 1 }, slip)],
    ['changes', async client => (await client.twin()).changes(slip).next()],
    ['refresh', async client => (await client.twin()).refresh(slip)],
  ])('of a device is told: %s', async (method, call) => {
    const hub = await world.hub()
    hub.addModule('d1', 'm1')
    const { device: client } = await world.moduleOf(hub, 'd1', 'm1')
    const message = `IoT Hub: there is no option of ${method} named "signl"; there are signal`
    expect(await failure((async () => call(client))())).toBe(message)
  })

  it.each<[string, (client: ServiceClient) => Promise<unknown>]>([
    ['sendToDevice', client => client.sendToDevice('d1', { body: 'x' }, slip)],
    ['feedback', client => client.feedback(slip).next()],
    ['fileNotifications', client => client.fileNotifications(slip).next()],
    ['eventHub', client => client.eventHub(slip)],
    ['partitions', client => client.partitions(slip)],
  ])('of a service is told: %s', async (method, call) => {
    const { service: client } = await world.service(await world.hub())
    const message = `IoT Hub: there is no option of ${method} named "signl"; there are signal`
    expect(await failure(call(client))).toBe(message)
  })

  it('is a signal in place of them', async () => {
    const { device: client } = await world.device(await world.hub())
    const sending = client.sendTelemetry({ body: 'x' }, new AbortController().signal as object)
    expect(await failure(sending)).toContain('{ signal }, not the signal itself')
  })
})

it.each([
  ['maxQueued', { maxQueued: '5' }],
  ['tokens.lifeMs', { tokens: { lifeMs: '5000' } }],
  ['tokens.marginMs', { tokens: { marginMs: '5' } }],
])('a text is no number: %s', async (name, options) => {
  expect(await failure(device(options))).toContain(`IoT Hub: ${name} is `)
})

it('fields of credentials that mean nothing are told', async () => {
  const sas = { key, keyname: 'p' }
  expect(await failure(DeviceClient.connect({ hostName: 'h', deviceId: 'd', sas }))).toContain('`sas` named "keyname"')
  const slip = { hostName: 'h', keyname: 'p' }
  expect(await failure(DevicePool.connect(slip, { transport }))).toContain('field of credentials named "keyname"')
})

it('a source of tokens may have fields of its own', async () => {
  class Vault {
    readonly key = 'of the vault'
    readonly name = 'v'
    token(): string {
      throw new Error(`${this.name} was asked`)
    }
  }
  await expect(
    DeviceClient.connect({ hostName: 'h', deviceId: 'd', sas: new Vault() }, { transport }),
  ).rejects.toThrow()
  const connecting = DeviceClient.connect({ hostName: 'h', deviceId: 'd', sas: new Vault() }, { transport })
  await expect(connecting).rejects.not.toThrow(UsageError)
})

describe('a certificate', () => {
  const x509 = 'HostName=localhost:1;DeviceId=d1;x509=true'

  it.each<[string, object]>([
    ['empty', { cert: '', key: '' }],
    ['null', { cert: null, key: null }],
    ['a pfx of no bytes', { pfx: new Uint8Array() }],
    ['one half', { cert: 'c', key: '' }],
  ])('that is none is told: %s, in tls', async (_, tls) => {
    expect(await failure(DeviceClient.connect(x509, { tls }))).toContain('needs the certificate and its key')
  })

  it.each([{ cert: '', key: '' }, { cert: 'c' }, null])('that is none is told: %j, as x509', async credential => {
    const text = '`x509` needs { cert, key }'
    const some = { hostName: 'h', deviceId: 'd', x509: credential as never }
    if (credential) expect(await failure(DeviceClient.connect(some, { transport }))).toContain(text)
    expect(await failure(provisioned({ key: undefined, x509: credential }))).toContain(text)
  })
})

it('provisioning without options is told so', async () => {
  const bare = provision as unknown as () => Promise<unknown>
  expect(await failure(bare())).toBe('IoT Hub: each option of provision is in an object, and this is undefined')
})

it.each([{}, { token: 'SharedAccessSignature sr=h&sig=x&se=1' }])(
  'a pool has a key or a source of tokens',
  async sas => {
    const connecting = DevicePool.connect({ hostName: 'localhost:1', sas: sas as never }, { transport })
    expect(await failure(connecting)).toContain('{ token }, a function')
  },
)

it('tokens are not renewed before they are made', async () => {
  expect(await failure(device({ tokens: { lifeMs: 1000, marginMs: 5000 } }))).toContain('tokens.marginMs, 5000')
})

it('fields of messages that mean nothing are told', () => {
  const slip = { body: 'x', contenttype: 'application/json' }
  const text = 'IoT Hub: there is no field of a message named "contenttype"'
  expect(() => telemetryMessage(slip)).toThrow(text)
  expect(() => cloudMessage('d1', slip)).toThrow(text)
  const near = { body: 'x', expiresAt: new Date(0) } as object as CloudMessage
  expect(() => cloudMessage('d1', near)).toThrow('"expiresAt"; there are body, properties, messageId,')
  expect(() => cloudMessage('d1', near)).toThrow('creationTime, expiry, ack')
  expect(() => cloudMessage('d1', { body: 'x', outputName: 'o' } as object as CloudMessage)).toThrow('"outputName"')
  expect(() => telemetryMessage({ body: 'x', outputName: 'o' })).not.toThrow()
})
