/** The twin as other devices speak to it: requests of Microsoft's clients byte for byte, ids of all types, odd requests. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Connection, Delivery, Receiver, Sender } from '../../src/client/api.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { EncodedMessage } from '../../src/message/encode.ts'
import type { Message, MessageInit } from '../../src/message/message.ts'
import { Uuid } from '../../src/types/values.ts'
import { pause } from '../waiting.ts'
import { hex, openAs } from './raw-client.ts'

const ADDRESS = '/devices/d1/twin'
const text = (message: Message): string => new TextDecoder().decode(message.body as Uint8Array)
const NOTIFICATIONS = '/notifications/twin/properties/desired'

let hub: IotHubEmulator
let connection: Connection
let sender: Sender
let receiver: Receiver

beforeEach(async () => {
  hub = await IotHubEmulator.start({ listen: 'memory', devices: ['d1', 'd2'] })
  connection = await openAs(hub, { deviceId: 'd1' })
  sender = await connection.sender(ADDRESS, { settle: 'settled' })
  receiver = await connection.receiver(ADDRESS, { sndSettleMode: 'settled' })
})

afterEach(async () => {
  await connection.close()
  await hub.close()
})

async function ask(message: MessageInit | EncodedMessage): Promise<Delivery> {
  await sender.send(message)
  return receiver.receive()
}

const request = (operation: string, resource?: string, body = ' '): MessageInit => ({
  messageAnnotations: { operation, ...(resource !== undefined && { resource }) },
  properties: { correlationId: 'c1' },
  body,
})
const annotations = ({ message }: Delivery): object => Object.fromEntries(message.messageAnnotations ?? [])

describe('requests of the Node SDK, byte for byte', () => {
  it('GET', async () => {
    const bytes = hex(`00537045 005372 d1 00000014 00000002 a3096f7065726174696f6e a103474554
      005373 d0 0000002f 00000006 40 40 40 40 40 a12461666633313833652d623039612d346532612d396562382d373434646331643231333932
      005375 a00120`)
    hub.updateDesired('d1', { a: 1 })
    const answer = await ask(new EncodedMessage(bytes))
    expect(answer.settled).toBe(true)
    expect(answer.deliveryTag).toHaveLength(16)
    expect(annotations(answer)).toEqual({ status: 200 })
    expect(answer.message.properties?.correlationId).toBe('aff3183e-b09a-4e2a-9eb8-744dc1d21392')
    expect(JSON.parse(text(answer.message))).toEqual({ desired: { a: 1, $version: 2 }, reported: { $version: 1 } })
  })

  it('PATCH', async () => {
    const bytes = hex(`00537045 005372 d1 00000036 00000004 a3096f7065726174696f6e a1055041544348 a3087265736f75726365
      a1142f70726f706572746965732f7265706f72746564
      005373 d0 0000002f 00000006 40 40 40 40 40 a12463313865373037622d373762302d343835352d626533332d626562636263383265626164
      005375 a00a 7b226677223a2231227d`)
    const answer = await ask(new EncodedMessage(bytes))
    expect(annotations(answer)).toEqual({ status: 200, version: 2n })
    expect(answer.message.properties?.correlationId).toBe('c18e707b-77b0-4855-be33-bebcbc82ebad')
    expect(hub.twin('d1').properties.reported).toMatchObject({ fw: '1', $version: 2 })
  })
})

describe('an answer', () => {
  it('has an int for a status and a long for a version, on the wire', async () => {
    const answer = await ask(request('PATCH', '/properties/reported', '{"a":1}'))
    const bytes = Buffer.from(answer.bytes).toString('hex')
    expect(bytes).toContain(`06${Buffer.from('status').toString('hex')}71000000c8`)
    expect(bytes).toContain(`07${Buffer.from('version').toString('hex')}5502`)
  })

  it.each<[string, NonNullable<MessageInit['properties']>['correlationId']]>([
    ['text', 'GetXyz'],
    ['uuid', Uuid.parse('3f2504e0-4f89-41d3-9a0c-0305e82c3301')],
    ['ulong', 7n],
    ['binary', Uint8Array.of(1, 2, 3)],
  ])('has the id of its request, in the type it came in: %s', async (_, correlationId) => {
    const answer = await ask({ ...request('GET'), properties: { correlationId } })
    expect(answer.message.properties?.correlationId).toEqual(correlationId)
  })

  it('to a request that is not settled comes after its outcome', async () => {
    const java = await connection.sender(ADDRESS, { settle: 'unsettled' })
    expect(await java.send(request('GET'))).toMatchObject({ outcome: 'accepted' })
    expect(annotations(await receiver.receive())).toEqual({ status: 200 })
  })

  it('waits for the second link', async () => {
    const other = await openAs(hub, { deviceId: 'd2' })
    const requests = await other.sender('/devices/d2/twin')
    await requests.send({ ...request('PUT', NOTIFICATIONS), properties: { correlationId: 'early' } })
    const answers = await other.receiver('/devices/d2/twin')
    expect((await answers.receive()).message.properties?.correlationId).toBe('early')
    hub.updateDesired('d2', { a: 1 })
    expect(text((await answers.receive()).message)).toBe('{"a":1,"$version":2}')
    await other.close()
  })

  it.each<[string, MessageInit]>([
    ['no operation', { properties: { correlationId: 'c' } }],
    ['an unknown operation', request('POST')],
    ['an unknown resource', request('PATCH', '/properties/desired', '{}')],
    ['a subscription to something else', request('PUT', '/notifications')],
    ['a patch that is no JSON', request('PATCH', '/properties/reported', '{')],
    ['a patch that is empty', request('PATCH', '/properties/reported', '')],
    ['a patch that is no object', request('PATCH', '/properties/reported', '[1]')],
    ['a patch of values', { ...request('PATCH', '/properties/reported'), body: { value: 5 } }],
  ])('to %s is 400, with a text in JSON, which the Node SDK needs', async (_, message) => {
    const answer = await ask(message)
    expect(annotations(answer)).toEqual({ status: 400 })
    expect(JSON.parse(text(answer.message))).toEqual(expect.any(String))
    expect(annotations(await ask(request('GET')))).toEqual({ status: 200 })
  })

  it('there is none without an id', async () => {
    const java = await connection.sender(ADDRESS, { settle: 'unsettled' })
    const { properties: _, ...message } = request('GET')
    expect(await java.send(message)).toMatchObject({
      outcome: 'rejected',
      error: { condition: 'com.microsoft:argument-error' },
    })
  })
})

describe('a notification', () => {
  it('goes to who has subscribed, without an id, until it unsubscribes', async () => {
    hub.updateDesired('d1', { before: 1 })
    expect(annotations(await ask(request('PUT', NOTIFICATIONS)))).toEqual({ status: 200 })
    expect(hub.updateDesired('d1', { fw: { v: 2 }, before: null })).toBe(3)
    const { message, settled } = await receiver.receive()
    expect(settled).toBe(true)
    expect(message.properties?.correlationId).toBeUndefined()
    expect(message.messageAnnotations).toBeUndefined()
    expect(text(message)).toBe('{"fw":{"v":2},"before":null,"$version":3}')
    await ask(request('DELETE', NOTIFICATIONS))
    hub.updateDesired('d1', { x: 1 })
    const answer = await ask(request('GET'))
    expect(answer.message.properties?.correlationId).toBe('c1')
  })

  it('does not go to links that come after those that subscribed', async () => {
    await ask(request('PUT', NOTIFICATIONS))
    const second = await connection.receiver(ADDRESS, { sndSettleMode: 'settled' })
    expect((await receiver.closed).error?.condition).toBe('amqp:link:stolen')
    hub.updateDesired('d1', { a: 1 })
    await sender.send(request('GET'))
    expect((await second.receive()).message.properties?.correlationId).toBe('c1')
  })
})

describe('from behind', () => {
  it('a twin says who it is of, and whether the device is there; it is a copy', async () => {
    expect(hub.twin('d1')).toMatchObject({ deviceId: 'd1', status: 'enabled', connectionState: 'Connected', tags: {} })
    const twin = hub.twin('d2')
    expect(twin).toMatchObject({ deviceId: 'd2', connectionState: 'Disconnected' })
    expect(twin).not.toHaveProperty('moduleId')
    Object.assign(twin.tags, { a: 1 })
    expect(hub.twin('d2').tags).toEqual({})
    await connection.close()
    await pause(10)
    expect(hub.twin('d1').connectionState).toBe('Disconnected')
  })

  it('an update may insist on an etag', () => {
    const { etag } = hub.twin('d1')
    expect(hub.updateDesired('d1', { a: 1 }, { etag })).toBe(2)
    expect(() => hub.updateDesired('d1', { a: 2 }, { etag })).toThrow(
      expect.objectContaining({ code: 'ERR_AMQP_REMOTE', condition: 'com.microsoft:precondition-failed' }),
    )
    expect(hub.twin('d1').properties.desired).toMatchObject({ a: 1, $version: 2 })
  })

  it.each<[string, unknown]>([
    ['an array', []],
    ['nothing', undefined],
    ['what has no JSON', { a: 1n }],
    ['a key with a $', { $a: 1 }],
  ])('an update with %s is a mistake', (_, patch) => {
    expect(() => hub.updateDesired('d1', patch as object)).toThrow(expect.objectContaining({ code: 'ERR_AMQP_USAGE' }))
    expect(() => hub.updateDesired('nobody', {})).toThrow("no device 'nobody'")
    expect(() => hub.twin('nobody')).toThrow("no device 'nobody'")
  })
})
