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
