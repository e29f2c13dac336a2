/** The built-in event hub as other clients may use it: each rule of the wire by itself, with nothing of `src/iothub` but its tokens. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { CbsSession } from '../../src/cbs/cbs-session.ts'
import type { Connection, Delivery, Receiver } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { filters } from '../../src/client/filters.ts'
import type { ConnectOptions, ReceiverOptions } from '../../src/client/options.ts'
import { sasl } from '../../src/client/sasl.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import type { IotHubEmulatorOptions } from '../../src/emulator/options.ts'
import { RemoteError, UsageError } from '../../src/errors.ts'
import { createSasToken, type SasKeyRule } from '../../src/iothub/credentials/sas.ts'
import type { PropertiesInit } from '../../src/message/message.ts'
import { type AmqpValue, Described, int, long, symbol, Uuid, ulong } from '../../src/types/values.ts'
import { ManualClock } from './manual-clock.ts'
import { openAs } from './raw-client.ts'

const text = (bytes: unknown): string => new TextDecoder().decode(bytes as Uint8Array)
const TYPE = 'servicebus.windows.net:sastoken'
const EVENT_HUB = 'iothub-ehub-localhost'
const PARTITION = `${EVENT_HUB}/ConsumerGroups/$Default/Partitions/0`

const clock = new ManualClock(1_700_000_000_000)
let hub: IotHubEmulator
let opened: AsyncDisposable[] = []

beforeEach(async () => {
  hub = await start({})
})

afterEach(async () => {
  for (const resource of opened.reverse()) await resource[Symbol.asyncDispose]()
  opened = []
})

async function start(options: IotHubEmulatorOptions): Promise<IotHubEmulator> {
  const started = await IotHubEmulator.start({ listen: 'memory', devices: ['d1'], partitions: 1, clock, ...options })
  opened.push(started)
  return started
}

async function open(options: Partial<ConnectOptions> = {}): Promise<Connection> {
  const connection = await connect({ host: 'localhost', transport: hub.transport(), ...options })
  opened.push(connection)
  return connection
}

const keyOf = (connectionString: string): string => /SharedAccessKey=([^;]+)/.exec(connectionString)?.[1] ?? ''
const serviceKey = (): string => keyOf(hub.connectionString({ service: true }))

async function put(connection: Connection, resourceUri: string, keyRule: SasKeyRule): Promise<void> {
  const expiresAt = new Date(clock.now() + 3_600_000)
  const value = await createSasToken({ resourceUri, key: serviceKey(), keyName: 'service', expiresAt, keyRule })
  await using cbs = await CbsSession.attach(connection)
  await cbs.putToken('audience', { type: TYPE, value, expiresAt })
}

async function openEventHub(): Promise<Connection> {
  const connection = await open()
  await put(connection, `sb://localhost/${EVENT_HUB}`, 'eventhub')
  return connection
}

async function openHub(): Promise<Connection> {
  const connection = await open()
  await put(connection, 'localhost', 'iothub')
  return connection
}

/** Sends telemetry as device `d1`, a second apart. */
async function fill(...bodies: string[]): Promise<void> {
  const connection = await open()
  const expiresAt = new Date(clock.now() + 3_600_000)
  const key = keyOf(hub.connectionString({ deviceId: 'd1' }))
  const value = await createSasToken({ resourceUri: 'localhost/devices/d1', key, expiresAt })
  await using cbs = await CbsSession.attach(connection)
  await cbs.putToken('audience', { type: TYPE, value, expiresAt })
  const sender = await connection.sender('/devices/d1/messages/events')
  for (const body of bodies) {
    await sender.send({ body: new TextEncoder().encode(body) })
    clock.advance(1000)
  }
}

async function refusal(attach: Promise<unknown>): Promise<RemoteError> {
  const error = await attach.then(
    () => 'attached',
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(RemoteError)
  return error as RemoteError
}

async function bodiesOf(receiver: Receiver, count: number): Promise<string> {
  const bodies: string[] = []
  for (let i = 0; i < count; i++) {
    const delivery = await receiver.receive()
    bodies.push(text(delivery.message.body))
    await delivery.accept()
  }
  return bodies.join()
}

describe('a redirect', () => {
  const places: [string, string][] = [
    ['/messages/events/ConsumerGroups/dashboards/Partitions/3', '/ConsumerGroups/dashboards/Partitions/3'],
    ['/messages/events/$management', '/$management'],
    ['messages/events/', ''],
  ]

  it.each(places)('of %s names host, port and address', async (address, suffix) => {
    const error = await refusal((await openHub()).receiver(address))
    expect(error.condition).toBe('amqp:link:redirect')
    expect([...(error.info ?? [])].map(([key]) => key)).toEqual(
      ['hostname', 'network-host', 'port', 'address', 'com.microsoft:tracking-id'].map(symbol),
    )
    expect(error.redirect).toEqual({
      hostname: 'localhost',
      networkHost: 'localhost',
      port: 5671,
      address: `amqps://localhost:5671/${EVENT_HUB}${suffix}`,
    })
  })

  it('of senders is the same', async () => {
    expect((await refusal((await openHub()).sender('/messages/events/$management'))).redirect).toBeDefined()
    expect((await refusal((await openHub()).sender('/messages/events/ConsumerGroups/g/Partitions/0'))).condition).toBe(
      'amqp:not-allowed',
    )
  })

  it('names the port that is listened on, and the event hub a name of its own where it has one', async () => {
    hub = await start({ listen: {}, eventHubHostName: 'events.example' })
    const { redirect } = await refusal((await openHub()).receiver('/messages/events/$management'))
    expect(redirect).toMatchObject({ hostname: 'events.example', port: hub.port })
    expect(redirect?.address).toBe(`amqps://events.example:5671/${EVENT_HUB}/$management`)
  })

  it('comes in an attach with neither terminus, and a detach that closes', async () => {
    const frames: unknown[] = []
    const connection = await open({
      trace: ({ direction, body }) => direction === 'in' && frames.push(body),
    })
    await put(connection, 'localhost', 'iothub')
    frames.length = 0
    await refusal(connection.receiver('/messages/events/$management'))
    const links = frames.filter(frame => /attach|detach/.test((frame as { type: string }).type))
    expect(links).toMatchObject([
      { type: 'attach', role: 'sender', source: undefined, target: undefined },
      { type: 'detach', closed: true, error: { condition: 'amqp:link:redirect' } },
    ])
  })
})

describe('tokens', () => {
  it.each<[string, SasKeyRule, string]>([
    ['sb://localhost/iothub-ehub-localhost', 'eventhub', 'attached'],
    ['localhost/iothub-ehub-localhost/ConsumerGroups', 'eventhub', 'attached'],
    ['amqps://localhost/iothub-ehub-localhost/ConsumerGroups/$Default/Partitions/0', 'eventhub', 'attached'],
    ['sb://localhost/', 'eventhub', 'attached'],
    ['localhost', 'iothub', 'amqp:unauthorized-access'],
  ])('for %s by the rule %s: %s', async (resourceUri, keyRule, result) => {
    const connection = await open()
    await put(connection, resourceUri, keyRule)
    const attached = connection.receiver(PARTITION).then(
      () => 'attached',
      (error: { condition: string }) => error.condition,
    )
    expect(await attached).toBe(result)
  })

  it('of the event hub open nothing at the hub', async () => {
    const error = await refusal((await openEventHub()).receiver('/messages/events/$management'))
    expect(error.condition).toBe('amqp:unauthorized-access')
  })

  it.each<[string, SasKeyRule]>([
    [`sb://localhost/${EVENT_HUB}`, 'iothub'],
    ['localhost', 'eventhub'],
    ['sb://localhost/other', 'eventhub'],
  ])('for %s by the rule %s are refused', async (resourceUri, keyRule) => {
    await expect(put(await open(), resourceUri, keyRule)).rejects.toThrow('401')
  })

  it('of the hub may have the scheme of the event hub', async () => {
    const connection = await open()
    await put(connection, 'sb://localhost/messages/events/$management', 'iothub')
    expect((await refusal(connection.sender('/messages/events/$management'))).condition).toBe('amqp:link:redirect')
  })

  it('are not needed with the name and key of a policy, by PLAIN', async () => {
    const plain = (user: string, password: string): Promise<Connection> =>
      open({ sasl: sasl.plain(user, password), allowInsecureAuth: true })
    const connection = await plain('service', serviceKey())
    await connection.receiver(PARTITION)
    expect((await refusal(connection.receiver('/messages/events/$management'))).condition).toBe(
      'amqp:unauthorized-access',
    )
    for (const [user, password] of [
      ['service', 'x'],
      ['nobody', serviceKey()],
    ] as const)
      await expect(plain(user, password)).rejects.toMatchObject({ code: 'ERR_AMQP_SASL' })
  })

  it('are made by clients of event hubs from a connection string', async () => {
    const parts = (text: string): Map<string, string> =>
      new Map(text.split(';').map(part => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]))
    expect(Object.fromEntries(parts(hub.connectionString({ eventHub: true })))).toEqual({
      Endpoint: 'sb://localhost/',
      SharedAccessKeyName: 'service',
      SharedAccessKey: serviceKey(),
      EntityPath: EVENT_HUB,
    })
    hub = await start({ listen: {}, eventHubHostName: 'events.example' })
    expect(parts(hub.connectionString({ eventHub: true })).get('Endpoint')).toBe(`sb://events.example:${hub.port}/`)
  })

  it('and hosts go together where there are two', async () => {
    hub = await start({ eventHubHostName: 'events.example' })
    const atHub = await open()
    await put(atHub, `events.example/${EVENT_HUB}`, 'eventhub')
    expect((await refusal(atHub.receiver(PARTITION))).condition).toBe('amqp:not-found')
    const there = await open({ hostname: 'events.example' })
    await put(there, `events.example/${EVENT_HUB}`, 'eventhub')
    await put(there, 'localhost', 'iothub')
    await there.receiver(PARTITION)
    expect((await refusal(there.receiver('/messages/servicebound/feedback'))).condition).toBe('amqp:not-found')
  })
})

describe('a partition', () => {
  const source = (filter: Readonly<Record<string, AmqpValue>>, address = PARTITION) => ({ address, filter })

  it.each<[string, (selector: string) => Readonly<Record<string, AmqpValue>>]>([
    ['a symbol', selector => ({ 'apache.org:selector-filter:string': new Described(symbol(NAME), selector) })],
    ["the registry's number", selector => filters.selector(selector)],
    ["the engine of .NET's number", selector => ({ 'jms-selector': new Described(ulong(0x137000000an), selector) })],
  ])('takes a selector under %s', async (_, filter) => {
    await fill('a', 'b')
    const receiver = await (await openEventHub()).receiver(
      source(filter("amqp.annotation.x-opt-sequence-number > '0'")),
    )
    expect(await bodiesOf(receiver, 1)).toBe('b')
  })
  const NAME = 'apache.org:selector-filter:string'

  it('passes over filters of other kinds, and refuses a selector that it cannot follow', async () => {
    await fill('a')
    const connection = await openEventHub()
    expect(await bodiesOf(await connection.receiver(source(filters.directBinding('x'))), 1)).toBe('a')
    const error = await refusal(connection.receiver(source(filters.selector("colour = 'red'"))))
    expect(error.condition).toBe('com.microsoft:argument-error')
  })

  it.each([
    ['another event hub', 'other/ConsumerGroups/$Default/Partitions/0', 'amqp:unauthorized-access'],
    ['no consumer group', `${EVENT_HUB}/ConsumerGroups/nobody/Partitions/0`, 'amqp:not-found'],
    ['no partition', `${EVENT_HUB}/ConsumerGroups/$Default/Partitions/1`, 'com.microsoft:argument-out-of-range'],
  ])('is not %s', async (_, address, condition) => {
    expect((await refusal((await openEventHub()).receiver(address))).condition).toBe(condition)
  })

  it('of another event hub is not there, for whoever may ask', async () => {
    const connection = await open()
    await put(connection, 'sb://localhost', 'eventhub')
    const error = await refusal(connection.receiver('other/ConsumerGroups/$Default/Partitions/0'))
    expect(error.condition).toBe('amqp:not-found')
  })

  it('is not sent to', async () => {
    expect((await refusal((await openEventHub()).sender(PARTITION))).condition).toBe('amqp:not-allowed')
  })

  it('is spelt in any way', async () => {
    await fill('a')
    const connection = await openEventHub()
    for (const address of [`/${PARTITION}`, `amqps://localhost:5671/${PARTITION}`, PARTITION.replace('$Def', '$def')])
      expect(await bodiesOf(await connection.receiver(address), 1)).toBe('a')
  })

  it('gives events with annotations of the types that clients expect', async () => {
    await fill('a', 'bb')
    const receiver = await (await openEventHub()).receiver(PARTITION)
    await (await receiver.receive()).accept()
    const { message, settled }: Delivery = await receiver.receive()
    expect(settled).toBe(false)
    expect([...(message.messageAnnotations ?? [])]).toEqual(
      Object.entries({
        'x-opt-sequence-number': 1n,
        'x-opt-offset': '67',
        'x-opt-enqueued-time': new Date(clock.now() - 1000),
        'x-opt-partition-key': 'd1',
        'iothub-connection-device-id': 'd1',
        'iothub-connection-auth-generation-id': '638000000000000001',
        'iothub-connection-auth-method': '{"scope":"device","type":"sas","issuer":"iothub"}',
        'iothub-enqueuedtime': new Date(clock.now() - 1000),
        'iothub-message-source': 'Telemetry',
      }).map(([key, value]) => [symbol(key), value]),
    )
  })

  it('gives what the device said of model, component and interface, and its own properties', async () => {
    const device = await openAs(hub, { deviceId: 'd1' })
    opened.push(device)
    const properties = { 'com.microsoft:model-id': 'dtmi:x;1' }
    const sender = await device.sender('/devices/d1/messages/events', { properties })
    const expiry = new Date(1_700_000_900_000)
    await sender.send({
      messageAnnotations: { 'dt-subject': 'lamp', 'iothub-interface-id': 'urn:x', 'x-opt-offset': 'mine' },
      properties: { messageId: 'm', to: '/devices/d1/messages/events', absoluteExpiryTime: expiry },
      body: new Uint8Array(1),
    })
    const { message } = await (await (await openEventHub()).receiver(PARTITION)).receive()
    const annotation = (name: string): unknown => message.messageAnnotations?.get(name)
    expect(['dt-dataschema', 'dt-subject', 'iothub-interface-id'].map(annotation)).toEqual([
      'dtmi:x;1',
      'lamp',
      'urn:x',
    ])
    expect(annotation('x-opt-offset')).toBe('0')
    const { messageId, to, absoluteExpiryTime } = message.properties ?? {}
    expect({ messageId, to, absoluteExpiryTime }).toEqual({
      messageId: 'm',
      to: '/devices/d1/messages/events',
      absoluteExpiryTime: expiry,
    })
  })

  it('keeps events for a day, unless told otherwise', async () => {
    await fill('a', 'b')
    clock.advance(86_400_000 - 1500)
    const connection = await openEventHub()
    expect(await bodiesOf(await connection.receiver(PARTITION), 1)).toBe('b')
    clock.advance(1000)
    const late = await (await openEventHub()).receiver(PARTITION, { credit: 'manual' })
    late.addCredit(1)
    expect(await late.get()).toBeUndefined()
    hub = await start({ retentionMs: 500 })
    await fill('a')
    expect(await (await (await openEventHub()).receiver(PARTITION, { credit: 'manual' })).get()).toBeUndefined()
    await expect(start({ retentionMs: 0 })).rejects.toThrow(UsageError)
  })

  it.each<[string, ReceiverOptions['sndSettleMode'], boolean]>([
    ['settled, if the client wants that', 'settled', true],
    ['unsettled otherwise', 'mixed', false],
  ])('sends %s', async (_, sndSettleMode, settled) => {
    await fill('a')
    const receiver = await (await openEventHub()).receiver(PARTITION, { sndSettleMode })
    expect((await receiver.receive()).settled).toBe(settled)
  })

  it('gives no more than there is credit for, and stays the same whatever becomes of it', async () => {
    await fill(...'abcdef')
    const connection = await openEventHub()
    const receiver = await connection.receiver(PARTITION, { credit: 'manual' })
    for (const count of [2, 1, 3]) {
      receiver.addCredit(count)
      for (let i = 0; i < count; i++) await (await receiver.receive()).release()
    }
    expect(await receiver.get()).toBeUndefined()
    expect(await bodiesOf(await connection.receiver(PARTITION), 6)).toBe('a,b,c,d,e,f')
  })

  it('takes a large credit, and thousands of events', async () => {
    await fill(...Array.from({ length: 2000 }, (_, i) => `${i}`))
    const receiver = await (await openEventHub()).receiver(PARTITION, { credit: { window: 100_000 } })
    const bodies = (await bodiesOf(receiver, 2000)).split(',')
    expect(bodies).toEqual(Array.from({ length: 2000 }, (_, i) => `${i}`))
  })

  it('says how far it has got, with each event, to a client that asks', async () => {
    await fill('a', 'b')
    const name = 'com.microsoft:enable-receiver-runtime-metric'
    const receiver = await (await openEventHub()).receiver(PARTITION, { desiredCapabilities: [name] })
    const { message } = await receiver.receive()
    expect(Object.fromEntries([...(message.deliveryAnnotations ?? [])].map(([k, v]) => [String(k), v]))).toEqual({
      last_enqueued_sequence_number: 1n,
      last_enqueued_offset: '67',
      last_enqueued_time_utc: new Date(clock.now() - 1000),
      runtime_info_retrieval_time_utc: new Date(clock.now()),
    })
  })

  it.each<[string, AmqpValue, string | undefined]>([
    ['a long', long(5n), undefined],
    ['an int', int(5), undefined],
    ['a text', '5', 'com.microsoft:argument-error'],
  ])('takes as epoch %s', async (_, epoch, condition) => {
    const attached = (await openEventHub()).receiver(PARTITION, { properties: { 'com.microsoft:epoch': epoch } })
    if (condition === undefined) await attached
    else expect((await refusal(attached)).condition).toBe(condition)
  })

  it('that was taken over closes the link of the loser', async () => {
    const connection = await openEventHub()
    const loser = await connection.receiver(PARTITION)
    await connection.receiver(PARTITION, { properties: { 'com.microsoft:epoch': long(0n) } })
    expect(await loser.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:link:stolen' } })
  })
})

it('a reader that is taken over before it is attached is closed, too', async () => {
  const connection = await openEventHub()
  const [loser, winner] = await Promise.all([
    connection.receiver(PARTITION),
    connection.receiver(PARTITION, { properties: { 'com.microsoft:epoch': long(0n) } }),
  ])
  expect(await loser.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:link:stolen' } })
  await fill('a')
  expect(await bodiesOf(winner, 1)).toBe('a')
})

describe('$management', () => {
  const read = { operation: 'READ', name: EVENT_HUB, type: 'com.microsoft:eventhub' }

  it.each<[string, PropertiesInit['messageId']]>([
    ['string', 'id-1'],
    ['ulong', 7n],
    ['uuid', Uuid.parse('3f2504e0-4f89-41d3-9a0c-0305e82c3301')],
  ])('answers an id of type %s with the same, after it has settled the request', async (_, messageId) => {
    const order: string[] = []
    const connection = await open({
      trace: ({ direction, body }) => direction === 'in' && order.push((body as { type?: string })?.type ?? ''),
    })
    await put(connection, `sb://localhost/${EVENT_HUB}`, 'eventhub')
    const session = await connection.session()
    const receiver = await session.receiver('$management', { target: '$management' })
    const sender = await session.sender('$management', { source: '$management' })
    order.length = 0
    const request = { properties: { messageId }, applicationProperties: read, body: { value: null } }
    expect(await sender.send(request)).toEqual({ outcome: 'accepted' })
    const { message } = await receiver.receive()
    expect(order.filter(type => type === 'disposition' || type === 'transfer')).toEqual(['disposition', 'transfer'])
    expect(message.properties?.correlationId).toEqual(messageId)
    expect([...(message.applicationProperties ?? [])]).toEqual([
      ['status-code', 200],
      ['status-description', 'OK'],
    ])
  })

  it.each<[string, Record<string, string>, number, string]>([
    ['another operation', { operation: 'WRITE' }, 501, 'amqp:not-implemented'],
    ['another event hub', { name: 'other' }, 404, 'amqp:not-found'],
    ['another type', { type: 'com.microsoft:topic' }, 400, 'com.microsoft:argument-error'],
    ['no partition', { type: 'com.microsoft:partition' }, 400, 'com.microsoft:argument-out-of-range'],
    [
      'no such partition',
      { type: 'com.microsoft:partition', partition: '7' },
      400,
      'com.microsoft:argument-out-of-range',
    ],
  ])('refuses %s by a status', async (_, change, status, condition) => {
    await using link = await (await openEventHub()).request('$management', { replyTo: 'me' })
    const { applicationProperties } = await link.send({ applicationProperties: { ...read, ...change } })
    expect(applicationProperties?.get('status-code')).toBe(status)
    expect(applicationProperties?.get('error-condition')).toEqual(symbol(condition))
  })

  it('rejects what it cannot answer', async () => {
    const sender = await (await openEventHub()).sender('$management')
    const outcome = await sender.send({ applicationProperties: read })
    expect(outcome).toMatchObject({ outcome: 'rejected', error: { condition: 'amqp:invalid-field' } })
  })

  it('has the types that clients expect', async () => {
    await fill('a')
    await using link = await (await openEventHub()).request('$management', { replyTo: 'me' })
    const hex = async (request: Record<string, string>): Promise<string> => {
      const { body } = await link.send({ applicationProperties: { ...read, ...request } })
      const value = (body as { value: ReadonlyMap<string, unknown> }).value
      return JSON.stringify([...value], (_, field) => (typeof field === 'bigint' ? `${field}n` : field))
    }
    expect(await hex({})).toContain('"partition_count",1],["partition_ids",{"type":"array"')
    expect(await hex({ type: 'com.microsoft:partition', partition: '0' })).toContain(
      '["begin_sequence_number","0n"],["last_enqueued_sequence_number","0n"],["last_enqueued_offset","0"]',
    )
  })
})
