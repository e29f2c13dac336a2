/** The hub as other clients may use it: each rule of the wire by itself, with nothing of `src/iothub` but its tokens. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { CbsSession } from '../../src/cbs/cbs-session.ts'
import type { Connection, Delivery, Link, Receiver, Sender } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ConnectOptions } from '../../src/client/options.ts'
import { sasl } from '../../src/client/sasl.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { lockTokenBytes } from '../../src/emulator/lock-token.ts'
import { createSasToken } from '../../src/iothub/credentials/sas.ts'
import { EncodedMessage } from '../../src/message/encode.ts'
import type { MessageInit, PropertiesInit } from '../../src/message/message.ts'
import { Uuid, uint } from '../../src/types/values.ts'
import { pause } from '../waiting.ts'
import { ManualClock } from './manual-clock.ts'

const text = (bytes: unknown): string => new TextDecoder().decode(bytes as Uint8Array)
const utf8 = (string: string): Uint8Array => new TextEncoder().encode(string)
const TYPE = 'servicebus.windows.net:sastoken'

const clock = new ManualClock()
let hub: IotHubEmulator
let connections: Connection[] = []

beforeEach(async () => {
  hub = await IotHubEmulator.start({ listen: 'memory', devices: ['d1', 'd2'], clock, feedbackBatchMs: 10 })
})

afterEach(async () => {
  await Promise.all(connections.map(connection => connection.close()))
  connections = []
  await hub.close()
})

async function open(options: Partial<ConnectOptions> = {}): Promise<Connection> {
  const connection = await connect({ host: 'localhost', transport: hub.transport(), ...options })
  connections.push(connection)
  return connection
}

type Who = { deviceId: string } | { service: true }

async function tokenOf(who: Who, resourceUri?: string): Promise<string> {
  const key = /SharedAccessKey=([^;]+)/.exec(hub.connectionString(who))?.[1] ?? ''
  const expiresAt = new Date(clock.now() + 3_600_000)
  return 'service' in who
    ? createSasToken({ resourceUri: resourceUri ?? 'localhost', key, keyName: 'service', expiresAt })
    : createSasToken({ resourceUri: resourceUri ?? `localhost/devices/${who.deviceId}`, key, expiresAt })
}

async function put(connection: Connection, value: string, type = TYPE, audience = 'audience'): Promise<void> {
  await using cbs = await CbsSession.attach(connection)
  await cbs.putToken(audience, { type, value, expiresAt: new Date(clock.now()) })
}

async function openAs(...whos: Who[]): Promise<Connection> {
  const connection = await open()
  for (const who of whos) await put(connection, await tokenOf(who))
  return connection
}

const refused = async (link: Promise<Link>): Promise<string | undefined> =>
  link.then(
    () => 'attached',
    (error: { condition?: string }) => error.condition,
  )

async function rejection(
  sender: Sender,
  message: MessageInit | EncodedMessage,
  messageFormat = 0,
): Promise<string | undefined> {
  const outcome = await sender.send(message, { messageFormat })
  return outcome.outcome === 'rejected' ? outcome.error?.condition : outcome.outcome
}

describe('the connection', () => {
  it('looks like that of a real gateway', async () => {
    const { remote } = await open()
    expect(remote.containerId).toMatch(/^DeviceGateway_[0-9a-f]{32}$/)
    expect(remote).toMatchObject({ maxFrameSize: 65_536, channelMax: 8191, idleTimeOut: 240_000 })
  })

  it.each<[string, Partial<ConnectOptions>]>([
    ['ANONYMOUS', { sasl: sasl.anonymous() }],
    ['MSSBCBS', { sasl: sasl.mssbcbs() }],
    ['no SASL', { sasl: false }],
  ])('with %s knows nobody before a token', async (_, options) => {
    const connection = await open(options)
    expect(await refused(connection.sender('/devices/d1/messages/events'))).toBe('amqp:unauthorized-access')
    await put(connection, await tokenOf({ deviceId: 'd1' }))
    expect(await refused(connection.sender('/devices/d1/messages/events'))).toBe('attached')
  })

  it('holds tokens of several devices, and of a service', async () => {
    const connection = await openAs({ deviceId: 'd1' }, { deviceId: 'd2' }, { service: true })
    for (const address of ['/devices/d1/messages/events', '/devices/d2/messages/events', '/messages/devicebound'])
      expect(await refused(connection.sender(address))).toBe('attached')
  })
})

describe('a link', () => {
  it('has the size limit of a hub, and both termini as asked', async () => {
    const connection = await openAs({ deviceId: 'd1' })
    const target = '/devices/d1/messages/events'
    const sender = await connection.sender(target, { source: 'me' })
    expect(sender).toMatchObject({
      remoteMaxMessageSize: 1_048_576n,
      target: { address: target },
      source: { address: 'me' },
    })
    const source = 'amqps://localhost:5671/devices/d1/messages/deviceBound'
    const receiver = await connection.receiver(source, { target: 'me' })
    expect(receiver).toMatchObject({
      remoteMaxMessageSize: 1_048_576n,
      source: { address: source },
      target: { address: 'me' },
    })
  })

  it.each([
    ['devices/d1/messages/events', 'attached'],
    ['amqps://localhost/devices/d1/Messages/Events', 'attached'],
    ['/devices/d2/messages/events', 'amqp:unauthorized-access'],
    ['/devices/D1/messages/events', 'amqp:unauthorized-access'],
    ['/messages/devicebound', 'amqp:unauthorized-access'],
    ['/devices/d1/modules/m/messages/events', 'amqp:unauthorized-access'],
    ['/devices/d1/messages/devicebound', 'amqp:not-allowed'],
    ['/devices/d1/methods/devicebound', 'attached'],
    ['/devices/d1/twin', 'attached'],
    ['/devices/d1/other', 'amqp:not-found'],
    ['eh/ConsumerGroups/$Default/Partitions/0', 'amqp:unauthorized-access'],
    ['', 'amqp:not-found'],
  ])('of a device that sends to %s is %s', async (address, result) => {
    const connection = await openAs({ deviceId: 'd1' })
    expect(await refused(connection.sender(address))).toBe(result)
  })

  it.each([
    ['/messages/servicebound/feedback', 'attached'],
    ['/messages/devicebound', 'amqp:not-allowed'],
    ['/messages/servicebound/filenotifications', 'attached'],
    ['/messages/servicebound/fileUploadNotifications', 'attached'],
    ['/messages/events/ConsumerGroups/$Default/Partitions/0', 'amqp:link:redirect'],
    ['iothub-ehub-localhost/ConsumerGroups/$Default/Partitions/0', 'amqp:unauthorized-access'],
    ['/devices/d1/messages/devicebound', 'amqp:unauthorized-access'],
  ])('of a service that receives from %s is %s', async (address, result) => {
    const connection = await openAs({ service: true })
    expect(await refused(connection.receiver(address))).toBe(result)
  })

  it('to nowhere is refused', async () => {
    const connection = await openAs({ deviceId: 'd1' })
    expect(await refused(connection.sender(null))).toBe('amqp:not-found')
    expect(await refused(connection.sender({}))).toBe('amqp:not-found')
    expect(await refused(connection.receiver({ dynamic: true }))).toBe('amqp:not-implemented')
  })

  it('to a device that does not exist is refused to those who may ask', async () => {
    const connection = await open()
    const key = /SharedAccessKey=([^;]+)/.exec(hub.connectionString({ deviceId: 'd1' }))?.[1] ?? ''
    const expiresAt = new Date(clock.now() + 60_000)
    await put(connection, await createSasToken({ resourceUri: 'localhost/devices/d1', key, expiresAt }))
    expect(await refused(connection.sender('/devices/nobody/messages/events'))).toBe('amqp:unauthorized-access')
  })
})

describe('$cbs', () => {
  it.each<[string, (token: string) => string, number]>([
    ['text that is no token', () => 'hello', 400],
    ['a token that is too long', token => `${token}&x=${'x'.repeat(8192)}`, 400],
    ['another signature', token => token.replace(/sig=./, match => (match === 'sig=A' ? 'sig=B' : 'sig=A')), 401],
    ['another device', token => token.replace('d1', 'd2'), 401],
    ['no known device', token => token.replace('d1', 'd9'), 401],
    ['another host', token => token.replace('localhost', 'elsewhere'), 401],
  ])('refuses %s, and stays', async (_, change, status) => {
    const connection = await open()
    const token = await tokenOf({ deviceId: 'd1' })
    const cbs = await CbsSession.attach(connection)
    const putToken = (value: string): Promise<void> => cbs.putToken('a', { type: TYPE, value, expiresAt: new Date() })
    const error = await putToken(change(token)).catch((error: unknown) => error)
    expect((error as { info: ReadonlyMap<string, number> }).info.get('status-code')).toBe(status)
    await putToken(token)
  })

  it('refuses an expired token', async () => {
    const connection = await open()
    const token = await tokenOf({ deviceId: 'd1' })
    clock.advance(3_600_000 + 300_001)
    await expect(put(connection, token)).rejects.toMatchObject({ condition: 'amqp:unauthorized-access' })
  })

  it('knows two token types, in any case, and no other', async () => {
    const connection = await open()
    const token = await tokenOf({ deviceId: 'd1' })
    await put(connection, token, 'azure-devices.net:SASToken')
    await expect(put(connection, token, 'jwt')).rejects.toThrow('status 400')
  })

  it('has no audience that is too long', async () => {
    const connection = await open()
    const token = await tokenOf({ deviceId: 'd1' })
    await expect(put(connection, token, TYPE, 'x'.repeat(8193))).rejects.toThrow('status 400')
    await put(connection, token, TYPE, 'x'.repeat(8192))
  })

  it('goes by the token, not by the audience', async () => {
    const connection = await open()
    await put(connection, await tokenOf({ deviceId: 'd1' }), TYPE, 'localhost%2Fdevices%2Fd2')
    expect(await refused(connection.sender('/devices/d1/messages/events'))).toBe('attached')
    expect(await refused(connection.sender('/devices/d2/messages/events'))).toBe('amqp:unauthorized-access')
  })

  it('takes a token back by its scope, and with it the links', async () => {
    const connection = await openAs({ deviceId: 'd1' }, { deviceId: 'd2' })
    const [one, two] = await Promise.all(['d1', 'd2'].map(id => connection.sender(`/devices/${id}/messages/events`)))
    const requests = await connection.sender('$cbs')
    await requests.send({
      properties: { messageId: 'x' },
      applicationProperties: { operation: 'delete-token', type: TYPE, name: 'localhost%2Fdevices%2Fd1' },
    })
    expect(await one?.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:unauthorized-access' } })
    expect(await Promise.race([two?.closed, pause(20).then(() => 'open')])).toBe('open')
    expect(await refused(connection.sender('/devices/d1/messages/events'))).toBe('amqp:unauthorized-access')
  })

  describe('answers', () => {
    const request = (token: string, id: PropertiesInit['messageId'], properties: PropertiesInit = {}): MessageInit => ({
      properties: { messageId: id, ...properties },
      applicationProperties: { operation: 'put-token', type: TYPE, name: 'a' },
      body: { value: token },
    })

    it.each<[string, PropertiesInit['messageId']]>([
      ['string', 'id-1'],
      ['ulong', 7n],
      ['uuid', Uuid.parse('3f2504e0-4f89-41d3-9a0c-0305e82c3301')],
      ['binary', Uint8Array.of(1, 2)],
    ])('to an id of type %s with the same', async (_, id) => {
      const session = await (await open()).session()
      const [sender, receiver] = await Promise.all([session.sender('$cbs'), session.receiver('$cbs')])
      expect(await sender.send(request(await tokenOf({ deviceId: 'd1' }), id))).toEqual({ outcome: 'accepted' })
      const delivery = await receiver.receive()
      expect(delivery.message.properties?.correlationId).toEqual(id)
      expect([...(delivery.message.applicationProperties ?? [])]).toEqual([
        ['status-code', 200],
        ['status-description', 'OK'],
      ])
      expect(delivery.deliveryTag).toEqual(Uint8Array.of(1, 0, 0, 0))
      expect(delivery.settled).toBe(false)
      // Int, in its short form: 0x71 or 0x54.
      expect(Buffer.from(delivery.bytes).toString('latin1')).toMatch(/status-code[\x71\x54]/)
      await delivery.accept()
    })

    it('settle the request first, and wait for credit', async () => {
      const session = await (await open()).session()
      const [sender, receiver] = await Promise.all([
        session.sender('$cbs'),
        session.receiver('$cbs', { credit: 'manual' }),
      ])
      await sender.send(request(await tokenOf({ deviceId: 'd1' }), 'x'))
      const answer = receiver.receive()
      expect(await Promise.race([answer, pause(20).then(() => 'waiting')])).toBe('waiting')
      receiver.addCredit(1)
      expect((await answer).message.properties?.correlationId).toBe('x')
    })

    it('wait for a link', async () => {
      const session = await (await open()).session()
      const sender = await session.sender('$cbs')
      await sender.send(request(await tokenOf({ deviceId: 'd1' }), 'x'))
      await pause(20)
      expect((await (await session.receiver('$cbs')).receive()).message.properties?.correlationId).toBe('x')
    })

    it('go to the session that asked, there to the address named, else to the newest link', async () => {
      const connection = await open()
      const [here, elsewhere] = [await connection.session(), await connection.session()]
      const sender = await here.sender('$cbs')
      const receivers: Receiver[] = [
        await here.receiver('$cbs', { target: 'one' }),
        await here.receiver('$cbs', { target: 'two' }),
        await elsewhere.receiver('$cbs', { target: 'one' }),
      ]
      const token = await tokenOf({ deviceId: 'd1' })
      await sender.send(request(token, 'to one', { replyTo: 'one' }))
      await sender.send(request(token, 'to any', { replyTo: 'nowhere' }))
      expect((await receivers[0]?.receive())?.message.properties?.correlationId).toBe('to one')
      expect((await receivers[1]?.receive())?.message.properties?.correlationId).toBe('to any')
    })

    it.each<[string, (init: MessageInit) => MessageInit]>([
      ['no name', init => ({ ...init, applicationProperties: { operation: 'put-token', type: TYPE } })],
      ['another operation', init => ({ ...init, applicationProperties: { operation: 'get', type: TYPE, name: 'a' } })],
      ['no type', init => ({ ...init, applicationProperties: { operation: 'put-token', name: 'a' } })],
      ['no token', init => ({ ...init, body: { value: 1 } })],
    ])('are 400 to a request with %s', async (_, change) => {
      const session = await (await open()).session()
      const [sender, receiver] = await Promise.all([session.sender('$cbs'), session.receiver('$cbs')])
      await sender.send(change(request('token', 'x')))
      expect((await receiver.receive()).message.applicationProperties?.get('status-code')).toBe(400)
    })

    it('do not come to a request without an id, which is rejected', async () => {
      const sender = await (await open()).sender('$cbs')
      expect(await rejection(sender, request('token', undefined))).toBe('amqp:invalid-field')
    })
  })
})

it('bytes that are no message are rejected by every node', async () => {
  const connection = await openAs({ deviceId: 'd1' }, { service: true })
  for (const address of ['$cbs', '/devices/d1/messages/events', '/messages/devicebound']) {
    const sender = await connection.sender(address)
    expect(await rejection(sender, new EncodedMessage(Uint8Array.of(0xff)))).toBe('amqp:decode-error')
  }
})

describe('telemetry', () => {
  const target = '/devices/d1/messages/events'

  it('may have 256 KiB, and no more', async () => {
    const sender = await (await openAs({ deviceId: 'd1' })).sender(target)
    expect(await rejection(sender, { body: new Uint8Array(262_144) })).toBe('accepted')
    expect(await rejection(sender, { body: new Uint8Array(262_145) })).toBe('amqp:link:message-size-exceeded')
    const applicationProperties = { name: 'value' }
    expect(await rejection(sender, { body: new Uint8Array(262_144), applicationProperties })).toBe(
      'amqp:link:message-size-exceeded',
    )
  })

  it('keeps properties that are text, and no others', async () => {
    const sender = await (await openAs({ deviceId: 'd1' })).sender(target)
    await sender.send({
      properties: {
        messageId: Uuid.parse('3f2504e0-4f89-41d3-9a0c-0305e82c3301'),
        correlationId: 5n,
        userId: utf8('u'),
      },
      applicationProperties: { a: 'b', n: 1, 'iothub-creation-time-utc': '2021-04-21T11:30:16Z' },
      body: { data: [utf8('1'), utf8('2')] },
    })
    for await (const event of hub.telemetry) {
      expect(event).toMatchObject({
        messageId: '3f2504e0-4f89-41d3-9a0c-0305e82c3301',
        correlationId: '5',
        userId: utf8('u'),
        properties: new Map([
          ['a', 'b'],
          ['iothub-creation-time-utc', '2021-04-21T11:30:16Z'],
        ]),
        body: utf8('12'),
      })
      break
    }
  })

  it('that is no data, or in a format that is not known, is rejected', async () => {
    const sender = await (await openAs({ deviceId: 'd1' })).sender(target)
    expect(await rejection(sender, { properties: { messageId: 'm'.repeat(128) }, body: utf8('x') })).toBe('accepted')
    expect(await rejection(sender, { properties: { messageId: 'm'.repeat(129) }, body: utf8('x') })).toBe(
      'com.microsoft:argument-error',
    )
    expect(await rejection(sender, { body: { sequence: [[1]] } })).toBe('com.microsoft:argument-error')
    expect(await rejection(sender, { body: utf8('x') }, 0x80013700)).toBe('amqp:decode-error')
    expect(await rejection(sender, { body: utf8('x') }, 0x80013701)).toBe('amqp:not-implemented')
  })

  it('keeps coming past the first credit', async () => {
    const sender = await (await openAs({ deviceId: 'd1' })).sender(target)
    const outcomes = await Promise.all(Array.from({ length: 1800 }, () => sender.send({ body: utf8('x') })))
    expect(outcomes.every(outcome => outcome.outcome === 'accepted')).toBe(true)
  })
})

describe('messages to devices', () => {
  const source = '/devices/d1/messages/devicebound'
  const to = '/devices/d1/messages/deviceBound'
  const attachSender = async (): Promise<Sender> => (await openAs({ service: true })).sender('/messages/devicebound')
  const receive = async (options = {}): Promise<Delivery> =>
    (await (await openAs({ deviceId: 'd1' })).receiver(source, options)).receive()

  it('carry their lock token twice, and what the hub knows', async () => {
    const sender = await attachSender()
    const properties = {
      messageId: 9n,
      to,
      userId: utf8('u'),
      correlationId: 'c',
      contentType: 't/x',
      contentEncoding: 'z',
    }
    await sender.send({ properties, applicationProperties: { 'iothub-ack': 'none', n: uint(1) }, body: utf8('x') })
    const delivery = await receive()
    expect(delivery.settled).toBe(false)
    expect(delivery.deliveryTag.length).toBe(16)
    const { messageAnnotations, properties: got, applicationProperties } = delivery.message
    expect(delivery.deliveryTag).toEqual(lockTokenBytes(String(messageAnnotations?.get('x-opt-lock-token'))))
    expect(messageAnnotations?.get('x-opt-sequence-number')).toBe(1n)
    expect(messageAnnotations?.get('iothub-deliverycount')).toBe(0)
    expect(messageAnnotations?.get('iothub-enqueuedtime')).toEqual(new Date(clock.now()))
    expect(got).toMatchObject({ ...properties, absoluteExpiryTime: new Date(clock.now() + 3_600_000) })
    expect(applicationProperties?.get('iothub-ack')).toBe('none')
    expect(applicationProperties?.get('n')).toBe(1)
  })

  it.each<[string, MessageInit, string]>([
    [
      'of too long a name',
      { properties: { to, messageId: 'm'.repeat(129) }, body: utf8('x') },
      'com.microsoft:argument-error',
    ],
    ['to nobody', { body: utf8('x') }, 'com.microsoft:argument-error'],
    ['to another node', { properties: { to: '/devices/d1/twin' }, body: utf8('x') }, 'com.microsoft:argument-error'],
    ['to an unknown device', { properties: { to: to.replace('d1', 'd9') }, body: utf8('x') }, 'amqp:not-found'],
    [
      'to an unknown module',
      { properties: { to: to.replace('d1', 'd1/modules/m') }, body: utf8('x') },
      'amqp:not-found',
    ],
    ['of structured values', { properties: { to }, body: { value: [1] } }, 'com.microsoft:argument-error'],
    [
      'with an unknown acknowledgement',
      { properties: { to }, applicationProperties: { 'iothub-ack': 'x' }, body: utf8('x') },
      'com.microsoft:argument-error',
    ],
    [
      'with an acknowledgement that is no text',
      { properties: { to }, applicationProperties: { 'iothub-ack': 1 }, body: utf8('x') },
      'com.microsoft:argument-error',
    ],
    ['above 64 KiB', { properties: { to }, body: new Uint8Array(65_537) }, 'amqp:link:message-size-exceeded'],
    ['of 64 KiB', { properties: { to }, body: new Uint8Array(65_536) }, 'accepted'],
    ['of text', { properties: { to }, body: 'text' }, 'accepted'],
  ])('%s are answered as a hub would', async (_, message, result) => {
    expect(await rejection(await attachSender(), message)).toBe(result)
  })

  it('are 50 at most in one queue', async () => {
    const sender = await attachSender()
    const message = { properties: { to }, body: utf8('x') }
    const outcomes = await Promise.all(Array.from({ length: 51 }, () => rejection(sender, message)))
    expect(outcomes).toEqual([...Array<string>(50).fill('accepted'), 'amqp:resource-limit-exceeded'])
    expect(await rejection(sender, { ...message, properties: { to: to.replace('d1', 'd2') } })).toBe('accepted')
  })

  it('wait for credit without being locked', async () => {
    const status = hub.sendToDevice('d1', { body: 'x' })
    const receiver = await (await openAs({ deviceId: 'd1' })).receiver(source, { credit: 'manual' })
    clock.advance(120_000)
    receiver.addCredit(1)
    await (await receiver.receive()).accept()
    expect(await status).toBe('success')
  })

  it('are sent as credit allows, and outlast a drain', async () => {
    const receiver = await (await openAs({ deviceId: 'd1' })).receiver(source, { credit: 'manual' })
    for (const body of ['a', 'b', 'c']) void hub.sendToDevice('d1', { body }).catch(() => {})
    receiver.addCredit(2)
    expect([text((await receiver.receive()).message.body), text((await receiver.receive()).message.body)]).toEqual([
      'a',
      'b',
    ])
    receiver.addCredit(5)
    await receiver.drain()
    receiver.addCredit(1)
    expect(text((await receiver.receive()).message.body)).toBe('c')
  })

  it('may be settled second', async () => {
    const status = hub.sendToDevice('d1', { body: 'x' })
    const delivery = await receive({ settle: 'second' })
    await delivery.accept()
    expect(delivery.state).toBe('settled')
    expect(await status).toBe('success')
  })

  it('may be asked for settled, and are then done with', async () => {
    const status = hub.sendToDevice('d1', { body: 'x' })
    expect((await receive({ sndSettleMode: 'settled' })).settled).toBe(true)
    expect(await status).toBe('success')
  })

  it('that are modified count as abandoned', async () => {
    const status = hub.sendToDevice('d1', { body: 'x' })
    const receiver = await (await openAs({ deviceId: 'd1' })).receiver(source)
    await (await receiver.receive()).modify({ deliveryFailed: true, undeliverableHere: true })
    const again = await receiver.receive()
    expect(again.message.messageAnnotations?.get('iothub-deliverycount')).toBe(1)
    await again.accept()
    expect(await status).toBe('success')
  })
})

describe('feedback', () => {
  it('is JSON, in the name of the hub, under a lock', async () => {
    const service = await openAs({ service: true })
    const commands = await service.sender('/messages/devicebound')
    const to = '/devices/d2/messages/devicebound'
    const properties = { to, messageId: 'm', absoluteExpiryTime: new Date(clock.now() - 1) }
    await commands.send({ properties, applicationProperties: { 'iothub-ack': 'Full' }, body: utf8('x') })
    const receiver = await service.receiver('/messages/serviceBound/feedback')
    clock.advance(10)
    const delivery = await receiver.receive()
    const { properties: got, messageAnnotations, body } = delivery.message
    expect(delivery.deliveryTag.length).toBe(16)
    expect(got).toMatchObject({
      contentType: 'application/vnd.microsoft.iothub.feedback.json',
      userId: utf8('localhost'),
    })
    expect(messageAnnotations?.get('iothub-enqueuedtime')).toEqual(new Date(clock.now()))
    expect(JSON.parse(text(body))).toEqual([
      {
        originalMessageId: 'm',
        enqueuedTimeUtc: new Date(clock.now() - 10).toISOString(),
        statusCode: 'Expired',
        description: 'Expired',
        deviceId: 'd2',
        deviceGenerationId: expect.stringMatching(/^\d+$/),
      },
    ])
    await delivery.release()
    const again = await receiver.receive()
    expect(again.deliveryTag).not.toEqual(delivery.deliveryTag)
    await again.accept()
  })
})
