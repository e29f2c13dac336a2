/** Telemetry in full: system properties, batches, sizes; client against emulator, and other clients' bytes. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import type { RecordedTelemetry } from '../../src/emulator/telemetry/event-log.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { BATCH_FORMAT, type Telemetry, telemetryBatch, telemetryMessage } from '../../src/iothub/message-mapping.ts'
import { EncodedMessage, encodeMessage } from '../../src/message/encode.ts'
import { hex, openAs } from '../emulator/raw-client.ts'

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

let hub: IotHubEmulator
let device: DeviceClient

beforeEach(async () => {
  hub = await IotHubEmulator.start({ listen: 'memory', partitions: 1, devices: ['dev1'] })
  device = await DeviceClient.connect(hub.connectionString({ deviceId: 'dev1' }), {
    transport: hub.transport(),
    modelId: 'dtmi:com:example:Thermostat;1',
  })
})

afterEach(async () => {
  await device.close()
  await hub.close()
})

async function events(count: number): Promise<RecordedTelemetry[]> {
  const seen: RecordedTelemetry[] = []
  for await (const event of hub.telemetry) if (seen.push(event) === count) break
  return seen
}

describe('system properties', () => {
  const telemetry = {
    body: '{}',
    messageId: 'm',
    correlationId: 'c',
    userId: 'u',
    contentType: 'application/json',
    contentEncoding: 'utf-8',
    creationTime: new Date(0),
    expiry: new Date(1000),
    component: 'thermostat1',
    schema: 's',
    interfaceId: 'urn:azureiot:Security:SecurityAgent:1',
    properties: { p: 'v' },
  } satisfies Telemetry

  it('arrive, each in its place', async () => {
    await device.sendTelemetry(telemetry)
    const [event] = await events(1)
    expect(event).toMatchObject({
      messageId: 'm',
      correlationId: 'c',
      contentType: 'application/json',
      contentEncoding: 'utf-8',
    })
    expect(text(event?.userId ?? new Uint8Array())).toBe('u')
    expect(event?.properties).toEqual(
      new Map([
        ['p', 'v'],
        ['iothub-creation-time-utc', '1970-01-01T00:00:00.000Z'],
        ['iothub-message-schema', 's'],
      ]),
    )
    expect(event?.annotations).toEqual(
      new Map([
        ['dt-dataschema', 'dtmi:com:example:Thermostat;1'],
        ['dt-subject', 'thermostat1'],
        ['iothub-interface-id', 'urn:azureiot:Security:SecurityAgent:1'],
      ]),
    )
  })

  it('that are not given are not sent', () => {
    expect(telemetryMessage({ body: '' })).not.toHaveProperty('messageAnnotations')
    expect(telemetryMessage({ body: '' })).not.toHaveProperty('applicationProperties')
    expect(telemetryMessage({ body: '', component: 'x' }).messageAnnotations).toMatchObject({ 'dt-subject': 'x' })
  })

  it.each(['outputName', 'component', 'schema', 'interfaceId'])('%s is a string', name => {
    expect(() => telemetryMessage({ body: '', [name]: 5 } as never)).toThrow(`${name} is not a string`)
  })

  it.each(['iothub-outputname', 'iothub-message-schema'])('%s is no user property', name => {
    expect(() => telemetryMessage({ body: '', properties: { [name]: 'x' } })).toThrow("is the system's")
  })
})

describe('a batch', () => {
  it('is taken apart, in order, each message with its own properties', async () => {
    await device.sendTelemetryBatch([
      { body: '1', messageId: 'a', properties: { p: '1' } },
      { body: '', component: 'c' },
      { body: '3', contentType: 'text/plain' },
    ])
    const seen = await events(3)
    expect(seen.map(({ body }) => text(body))).toEqual(['1', '', '3'])
    expect(seen.map(({ messageId }) => messageId)).toEqual(['a', undefined, undefined])
    expect(seen[0]?.properties).toEqual(new Map([['p', '1']]))
    expect(seen[1]?.annotations?.get('dt-subject')).toBe('c')
    expect(seen[2]).toMatchObject({ contentType: 'text/plain', deviceId: 'dev1', sequenceNumber: 2n })
  })

  it('of one message is one', async () => {
    await device.sendTelemetryBatch([{ body: 'only' }])
    expect(text((await events(1))[0]?.body ?? new Uint8Array())).toBe('only')
  })

  it('is taken as a whole or not at all', async () => {
    const half = { body: new Uint8Array(128 * 1024) }
    await device.sendTelemetryBatch([half, half])
    await expect(device.sendTelemetryBatch([half, half, { body: 'x' }])).rejects.toMatchObject({
      condition: 'amqp:link:message-size-exceeded',
    })
    await device.sendTelemetry({ body: 'after' })
    expect((await events(3)).map(({ body }) => body.length)).toEqual([131_072, 131_072, 5])
  })

  it.each([[[]], [undefined], ['x'], [[{}]], [[{ body: 'x' }, { body: 5 }]]])('%j is none', async batch => {
    await expect(device.sendTelemetryBatch(batch as never)).rejects.toMatchObject({ code: 'ERR_AMQP_USAGE' })
  })

  it.each<[string, Uint8Array[], string]>([
    ['bytes that are no message', [encodeMessage({ body: 'x' }), Uint8Array.of(0xff)], 'amqp:decode-error'],
    ['a value', [encodeMessage({ body: { value: 5 } })], 'com.microsoft:argument-error'],
    ['nothing', [new Uint8Array()], 'com.microsoft:argument-error'],
  ])('with %s is rejected', async (_, data, condition) => {
    const connection = await openAs(hub, { deviceId: 'dev1' })
    const sender = await connection.sender('/devices/dev1/messages/events')
    const outcome = await sender.send({ body: { data } }, { messageFormat: BATCH_FORMAT })
    expect(outcome).toMatchObject({ outcome: 'rejected', error: { condition } })
    expect(await sender.send({ body: { value: [1] } }, { messageFormat: BATCH_FORMAT })).toMatchObject({
      error: { condition: 'com.microsoft:argument-error' },
    })
    await connection.close()
  })

  it('is a message of data sections that are messages', () => {
    const bytes = Buffer.from(encodeMessage(telemetryBatch([{ body: 'a' }, { body: 'b' }]))).toString('hex')
    // Each: a data section of 10 bytes; in it empty properties and a data section.
    const section = (letter: string): string => `005375a00a00537345005375a001${Buffer.from(letter).toString('hex')}`
    expect(bytes).toBe(section('a') + section('b'))
  })
})

describe('sizes', () => {
  it('256 KiB with the properties', async () => {
    await device.sendTelemetry({ body: new Uint8Array(256 * 1024 - 4), properties: { ab: 'cd' } })
    await expect(
      device.sendTelemetry({ body: new Uint8Array(256 * 1024 - 3), properties: { ab: 'cd' } }),
    ).rejects.toMatchObject({ condition: 'amqp:link:message-size-exceeded' })
    await device.sendTelemetry({ body: 'still attached' })
  })
})

it('of the Node SDK, byte for byte', async () => {
  const bytes =
    hex(`00537045005373d00000005600000008983f2504e04f8941d39a0c0305e82c330140a11d2f646576696365732f646576312f6d65
    7373616765732f6576656e74734040a104636f7272a3106170706c69636174696f6e2f6a736f6ea3057574662d38005374d10000000a000000
    02a10170a10176005375a0026869`)
  const connection = await openAs(hub, { deviceId: 'dev1' })
  const sender = await connection.sender('/devices/dev1/messages/events')
  expect(await sender.send(new EncodedMessage(bytes))).toMatchObject({ outcome: 'accepted' })
  const [event] = await events(1)
  expect(event).toMatchObject({
    messageId: '3f2504e0-4f89-41d3-9a0c-0305e82c3301',
    correlationId: 'corr',
    contentType: 'application/json',
    contentEncoding: 'utf-8',
    properties: new Map([['p', 'v']]),
  })
  expect(text(event?.body ?? new Uint8Array())).toBe('hi')
  await connection.close()
})
