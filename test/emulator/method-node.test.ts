/** Direct methods as other devices speak them: frames of Microsoft's clients, links in any order, answers of any kind. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Connection, Delivery, Receiver, Sender } from '../../src/client/api.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { EncodedMessage } from '../../src/message/encode.ts'
import type { MessageInit } from '../../src/message/message.ts'
import { int, Uuid, uint } from '../../src/types/values.ts'
import { hex, openAs } from './raw-client.ts'

const ADDRESS = '/devices/d1/methods/deviceBound'
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (bytes: unknown): string => new TextDecoder().decode(bytes as Uint8Array)

let hub: IotHubEmulator
let connection: Connection

beforeEach(async () => {
  hub = await IotHubEmulator.start({ listen: 'memory', devices: ['d1', 'd2'] })
  connection = await openAs(hub, { deviceId: 'd1' })
})

afterEach(async () => {
  await connection.close()
  await hub.close()
})

const id = (value: string): { properties: { [key: string]: string } } => ({
  properties: { 'com.microsoft:channel-correlation-id': value },
})

async function online(): Promise<{ sender: Sender; receiver: Receiver }> {
  const sender = await connection.sender(ADDRESS)
  return { sender, receiver: await connection.receiver(ADDRESS) }
}

describe('a call', () => {
  it('has a uuid, a name and a data section, and a tag of 16 bytes', async () => {
    const { receiver } = await online()
    hub.invokeMethod('d1', 'reboot', { after: 5 }).catch(() => {})
    const delivery = await receiver.receive()
    const { message } = delivery
    expect(message.properties?.correlationId).toBeInstanceOf(Uuid)
    expect([...(message.applicationProperties ?? [])]).toEqual([['IoThub-methodname', 'reboot']])
    expect(text(message.body)).toBe('{"after":5}')
    expect(delivery.deliveryTag).toHaveLength(16)
    expect(delivery.settled).toBe(false)
  })

  it('comes settled where the device asks for that', async () => {
    await connection.sender(ADDRESS)
    const receiver = await connection.receiver(ADDRESS, { sndSettleMode: 'settled' })
    hub.invokeMethod('d1', 'm').catch(() => {})
    expect((await receiver.receive()).settled).toBe(true)
  })

  it('that came settled fails when the link goes', async () => {
    await connection.sender(ADDRESS)
    const receiver = await connection.receiver(ADDRESS, { sndSettleMode: 'settled' })
    const call = hub.invokeMethod('d1', 'm')
    call.catch(() => {})
    await receiver.receive()
    await receiver.close()
    await expect(call).rejects.toMatchObject({ condition: 'amqp:not-found' })
  })

  it.each(['released', 'rejected', 'modified'] as const)('that is %s has found nobody', async outcome => {
    const { receiver } = await online()
    const call = hub.invokeMethod('d1', 'm')
    const delivery = await receiver.receive()
    if (outcome === 'released') void delivery.release()
    else if (outcome === 'rejected') void delivery.reject()
    else void delivery.modify({})
    await expect(call).rejects.toMatchObject({ condition: 'amqp:not-found' })
  })

  it('waits for credit, and is called off when its time is over', async () => {
    await connection.sender(ADDRESS)
    const receiver = await connection.receiver(ADDRESS, { credit: 'manual' })
    await expect(hub.invokeMethod('d1', 'm', 1, { responseTimeoutMs: 20 })).rejects.toMatchObject({
      condition: 'com.microsoft:timeout',
    })
    const call = hub.invokeMethod('d1', 'm', 2)
    call.catch(() => {})
    receiver.addCredit(10)
    expect(text((await receiver.receive()).message.body)).toBe('2')
  })

  it('is possible once both links are there, in either order', async () => {
    const receiver = await connection.receiver(ADDRESS)
    await expect(hub.invokeMethod('d1', 'm')).rejects.toMatchObject({ condition: 'amqp:not-found' })
    const call = hub.invokeMethod('d1', 'm', null, { connectTimeoutMs: 5000 })
    const sender = await connection.sender(ADDRESS)
    const { correlationId } = (await receiver.receive()).message.properties ?? {}
    await sender.send({ properties: { correlationId }, applicationProperties: { 'IoThub-status': int(1) }, body: '3' })
    expect(await call).toEqual({ status: 1, payload: 3 })
    await sender.close()
    await expect(hub.invokeMethod('d1', 'm')).rejects.toMatchObject({ condition: 'amqp:not-found' })
  })
})

describe('an answer', () => {
  const call = async (): Promise<{ sender: Sender; request: Delivery; result: Promise<unknown>; uuid: Uuid }> => {
    const { sender, receiver } = await online()
    const result = hub.invokeMethod('d1', 'm', null, { responseTimeoutMs: 2000 })
    result.catch(() => {})
    const request = await receiver.receive()
    return { sender, request, result, uuid: request.message.properties?.correlationId as Uuid }
  }

  it('of the Node SDK is understood, byte for byte', async () => {
    const { sender, result, uuid } = await call()
    // Constructor 0x71 for the status, header and properties of empty fields.
    const bytes = hex(`
      005370 45 005373 d0 0000001a 00000006 40 40 40 40 40 98 ${Buffer.from(uuid.bytes).toString('hex')}
      005374 d1 00000018 00000002 a1 0d 496f546875622d737461747573 71 000000c8
      005375 a0 0b 7b226f6b223a747275657d`)
    expect(await sender.send(new EncodedMessage(bytes))).toMatchObject({ outcome: 'accepted' })
    expect(await result).toEqual({ status: 200, payload: { ok: true } })
  })

  it('may come settled, with the id as text, with an empty body', async () => {
    const { sender, result, uuid } = await call()
    const properties = { correlationId: uuid.toString().toUpperCase() }
    await sender.send({ properties, applicationProperties: { 'IoThub-status': int(204) } }, { settled: true })
    expect(await result).toEqual({ status: 204, payload: null })
  })

  it('to nobody is taken and dropped', async () => {
    const { sender, result, uuid } = await call()
    const answer = (correlationId: Uuid, status: number): MessageInit => ({
      properties: { correlationId },
      applicationProperties: { 'IoThub-status': int(status) },
      body: utf8('null'),
    })
    expect(await sender.send(answer(new Uuid(new Uint8Array(16)), 1))).toMatchObject({ outcome: 'accepted' })
    expect(await sender.send(answer(uuid, 2))).toMatchObject({ outcome: 'accepted' })
    expect(await sender.send(answer(uuid, 3))).toMatchObject({ outcome: 'accepted' })
    expect(await result).toEqual({ status: 2, payload: null })
  })

  it.each<[string, (uuid: Uuid) => MessageInit, string]>([
    ['no id', () => ({ applicationProperties: { 'IoThub-status': int(1) } }), 'com.microsoft:argument-error'],
    ['no status', uuid => ({ properties: { correlationId: uuid } }), 'com.microsoft:argument-error'],
    ['a text for a status', uuid => with_(uuid, '200'), 'com.microsoft:argument-error'],
    ['no JSON', uuid => ({ ...with_(uuid, uint(1)), body: '{' }), 'com.microsoft:argument-error'],
    ['no data', uuid => ({ ...with_(uuid, int(1)), body: { value: 5 } }), 'com.microsoft:argument-error'],
    [
      'too much',
      uuid => ({ ...with_(uuid, int(1)), body: new Uint8Array(131_073) }),
      'amqp:link:message-size-exceeded',
    ],
  ])('with %s is rejected, and the call goes on', async (_, message, condition) => {
    const { sender, result, uuid } = await call()
    expect(await sender.send(message(uuid))).toMatchObject({ outcome: 'rejected', error: { condition } })
    await sender.send(with_(uuid, int(9)))
    expect(await result).toMatchObject({ status: 9 })
  })

  const with_ = (correlationId: Uuid, status: unknown): MessageInit => ({
    properties: { correlationId },
    applicationProperties: { 'IoThub-status': status as string },
  })
})

describe('the newest links win', () => {
  const ended = async (link: Receiver | Sender): Promise<string | undefined> =>
    Promise.race([
      link.closed.then(({ error }) => error?.condition),
      new Promise<string>(resolve => setTimeout(resolve, 30, 'stays')),
    ])

  it.each(['sender', 'receiver'] as const)('a %s of another pair ends both halves of the old one', async role => {
    const sender = await connection.sender(ADDRESS, id('methods:1'))
    const receiver = await connection.receiver(ADDRESS, id('methods:1'))
    const first = await connection[role](ADDRESS, id('methods:2'))
    expect(await ended(sender)).toBe('amqp:link:stolen')
    expect(await ended(receiver)).toBe('amqp:link:stolen')
    await expect(hub.invokeMethod('d1', 'm')).rejects.toMatchObject({ condition: 'amqp:not-found' })
    const second = await connection[role === 'sender' ? 'receiver' : 'sender'](ADDRESS, id('methods:2'))
    const newer = (role === 'sender' ? second : first) as Receiver
    hub.invokeMethod('d1', 'm').catch(() => {})
    await newer.receive()
  })

  it('a link of the same pair, or without an id, replaces its half only', async () => {
    const sender = await connection.sender(ADDRESS, id('methods:1'))
    const receiver = await connection.receiver(ADDRESS, id('methods:1'))
    const second = await connection.receiver(ADDRESS, id('1'))
    expect(await ended(receiver)).toBe('amqp:link:stolen')
    const third = await connection.receiver(ADDRESS)
    expect(await ended(second)).toBe('amqp:link:stolen')
    expect(await ended(sender)).toBe('stays')
    expect(await ended(third)).toBe('stays')
  })

  it('of one device only', async () => {
    const { sender, receiver } = await online()
    const other = await openAs(hub, { deviceId: 'd2' })
    await other.sender('/devices/d2/methods/devicebound')
    await other.receiver('/devices/d2/methods/devicebound')
    expect(await ended(sender)).toBe('stays')
    expect(await ended(receiver)).toBe('stays')
    await other.close()
  })
})
