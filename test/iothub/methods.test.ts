/** Direct methods, client and emulator against each other, over memory and once over TLS; and the client alone. */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Connection, Delivery, IncomingLink, Receiver, Sender } from '../../src/client/api.ts'
import { saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import type { Message, MessageInit } from '../../src/message/message.ts'
import { Uuid } from '../../src/types/values.ts'
import { ManualClock } from '../emulator/manual-clock.ts'
import { pause, until } from '../waiting.ts'

const opened: AsyncDisposable[] = []

afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}

/** The warnings of the process that a test causes on purpose. */
function warnings(): string[] {
  const texts: string[] = []
  const spy = vi.spyOn(process, 'emitWarning').mockImplementation(error => void texts.push(String(error)))
  opened.push({ [Symbol.asyncDispose]: async () => spy.mockRestore() })
  return texts
}

async function setUp(
  options = {},
): Promise<{ hub: IotHubEmulator; device: DeviceClient; connect(): Promise<DeviceClient> }> {
  const hub = kept(await IotHubEmulator.start({ listen: 'memory', ...options }))
  const connect = async (): Promise<DeviceClient> =>
    kept(await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), { transport: hub.transport() }))
  return { hub, device: await connect(), connect }
}

describe('a method', () => {
  it('is called with its payload, and its answer comes back', async () => {
    const { hub, device } = await setUp()
    await device.onMethod('add', ({ payload }) => {
      const { a, b } = payload as { a: number; b: number }
      return { status: 200, payload: { sum: a + b } }
    })
    expect(await hub.invokeMethod('device1', 'add', { a: 1, b: 2 })).toEqual({ status: 200, payload: { sum: 3 } })
    expect(await hub.invokeMethod('device1', 'add', { a: 'ä', b: '' })).toEqual({ status: 200, payload: { sum: 'ä' } })
  })

  it('works over TLS', async () => {
    const hub = kept(await IotHubEmulator.start())
    const device = kept(
      await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), { tls: { ca: hub.ca } }),
    )
    await device.onMethod('m', ({ name, payload }) => ({ status: 7, payload: [name, payload] }))
    expect(await hub.invokeMethod('device1', 'm')).toEqual({ status: 7, payload: ['m', null] })
  })

  it('may take its time; others overtake it', async () => {
    const { hub, device } = await setUp()
    let finish: () => void = () => {}
    const slow = new Promise<void>(resolve => {
      finish = resolve
    })
    await device.onMethod('slow', async () => {
      await slow
      return { status: 200, payload: 'slow' }
    })
    await device.onMethod('fast', () => ({ status: 200, payload: 'fast' }))
    const first = hub.invokeMethod('device1', 'slow')
    expect(await hub.invokeMethod('device1', 'fast')).toMatchObject({ payload: 'fast' })
    finish()
    expect(await first).toMatchObject({ payload: 'slow' })
  })

  it('many at once each get their own answer', async () => {
    const { hub, device } = await setUp()
    const ids = new Set<string>()
    await device.onMethod(async ({ name, requestId }) => {
      ids.add(requestId)
      await pause(Math.random() * 5)
      return { status: 200, payload: name }
    })
    const names = Array.from({ length: 250 }, (_, i) => `m${i}`)
    const answers = await Promise.all(names.map(name => hub.invokeMethod('device1', name)))
    expect(answers.map(({ payload }) => payload)).toEqual(names)
    expect(ids.size).toBe(250)
  })

  it('without a handler is 501, unless there is one for the rest', async () => {
    const { hub, device } = await setUp()
    await device.onMethod('known', () => ({ status: 200 }))
    expect(await hub.invokeMethod('device1', 'other')).toEqual({ status: 501, payload: null })
    await device.onMethod(({ name }) => ({ status: 202, payload: name }))
    expect(await hub.invokeMethod('device1', 'other')).toEqual({ status: 202, payload: 'other' })
    expect(await hub.invokeMethod('device1', 'known')).toEqual({ status: 200, payload: null })
    expect(await hub.invokeMethod('device1', '__proto__')).toMatchObject({ status: 202 })
  })

  it.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw new Error('broken')
      },
    ],
    ['rejects', () => Promise.reject(new Error('broken'))],
    ['rejects with what has no text', () => Promise.reject(Object.create(null))],
    ['answers nothing', () => undefined],
    ['answers without a status', () => ({ payload: 1 })],
    ['answers a status that is no int', () => ({ status: 1.5 })],
    ['answers a status that is too large', () => ({ status: 2 ** 31 })],
    ['answers with a slip', () => ({ status: 200, paylod: 1 })],
    ['answers more than 128 KiB', () => ({ status: 200, payload: 'x'.repeat(131_071) })],
    ['answers what JSON cannot say', () => ({ status: 200, payload: 1n })],
  ])('that %s is 500, and a warning', async (_, handler) => {
    const warned = warnings()
    const { hub, device } = await setUp()
    await device.onMethod('m', handler as never)
    expect(await hub.invokeMethod('device1', 'm')).toEqual({ status: 500, payload: null })
    expect(warned).toEqual([expect.stringContaining("method 'm'")])
  })

  it('may answer 128 KiB', async () => {
    const { hub, device } = await setUp()
    await device.onMethod('m', () => ({ status: 200, payload: 'x'.repeat(131_070) }))
    expect(await hub.invokeMethod('device1', 'm')).toMatchObject({ status: 200 })
  })

  it('leaves nothing at the hub when it is answered', async () => {
    const { hub, device } = await setUp()
    await device.onMethod('m', () => ({ status: 200 }))
    const calls: WeakRef<object>[] = []
    for (let i = 0; i < 5; i++) {
      const payload = { i }
      calls.push(new WeakRef(payload))
      await hub.invokeMethod('device1', 'm', payload)
    }
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const left = (): number => calls.filter(call => call.deref() !== undefined).length
    for (let i = 0; i < 50 && left() > 1; i++) {
      await pause(5)
      collect()
    }
    // The last may still be on the stack.
    expect(left()).toBeLessThanOrEqual(1)
  })

  it('has one handler at a time; the last that goes takes the links with it', async () => {
    const { hub, device } = await setUp()
    const first = await device.onMethod('m', () => ({ status: 1 }))
    await expect(device.onMethod('m', () => ({ status: 2 }))).rejects.toMatchObject({ code: 'ERR_AMQP_USAGE' })
    await expect(device.onMethod('n', 5 as never)).rejects.toMatchObject({ code: 'ERR_AMQP_USAGE' })
    first[Symbol.dispose]()
    expect((await first.closed).by).toBe('local')
    await expect(hub.invokeMethod('device1', 'm')).rejects.toMatchObject({ condition: 'amqp:not-found' })
    const second = await device.onMethod('m', () => ({ status: 2 }))
    first[Symbol.dispose]()
    expect(await hub.invokeMethod('device1', 'm')).toMatchObject({ status: 2 })
    second[Symbol.dispose]()
    await device.onMethod(() => ({ status: 3 }))
    await expect(device.onMethod(() => ({ status: 4 }))).rejects.toMatchObject({ code: 'ERR_AMQP_USAGE' })
    expect(await hub.invokeMethod('device1', 'm')).toMatchObject({ status: 3 })
  })

  it('has links again at once when a handler comes as the last one goes', async () => {
    const { hub, device } = await setUp()
    const first = await device.onMethod('m', () => ({ status: 1 }))
    first[Symbol.dispose]()
    const second = await device.onMethod('m', () => ({ status: 2 }))
    await first.closed
    await pause(20)
    const third = await device.onMethod('n', () => ({ status: 3 }))
    expect(third.closed).toBe(second.closed)
    expect(await hub.invokeMethod('device1', 'n')).toMatchObject({ status: 3 })
  })

  it('is lost with the connection, and the registration says so', async () => {
    const { hub, device } = await setUp()
    const registration = await device.onMethod('m', () => ({ status: 1 }))
    await hub.close()
    expect((await registration.closed).by).not.toBe('local')
    await expect(device.onMethod('n', () => ({ status: 1 }))).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
  })
})

describe('the hub', () => {
  it('says at once that a device is not there', async () => {
    const { hub } = await setUp()
    const error = await hub.invokeMethod('device1', 'm').catch((error: unknown) => error)
    expect(error).toMatchObject({ code: 'ERR_AMQP_REMOTE', condition: 'amqp:not-found' })
    expect((error as { info: Map<string, number> }).info.get('error-code')).toBe(404_103)
  })

  it('waits for a device that is on its way, as long as it is told to', async () => {
    const clock = new ManualClock()
    const { hub, device } = await setUp({ clock })
    const call = hub.invokeMethod('device1', 'm', null, { connectTimeoutMs: 1000 })
    const late = hub.invokeMethod('device1', 'm', null, { connectTimeoutMs: 500 })
    clock.advance(500)
    await expect(late).rejects.toMatchObject({ condition: 'amqp:not-found' })
    await device.onMethod('m', () => ({ status: 5 }))
    expect(await call).toEqual({ status: 5, payload: null })
  })

  it('gives up after the time, and drops the answer that comes later', async () => {
    const clock = new ManualClock()
    const { hub, device } = await setUp({ clock })
    const finish: (() => void)[] = []
    await device.onMethod('m', async ({ payload }) => {
      await new Promise<void>(resolve => finish.push(resolve))
      return { status: 200, payload }
    })
    const call = hub.invokeMethod('device1', 'm', 1, { responseTimeoutMs: 5000 })
    await vi.waitFor(() => expect(finish).toHaveLength(1))
    clock.advance(5000)
    const error = await call.catch((error: unknown) => error)
    expect(error).toMatchObject({ condition: 'com.microsoft:timeout' })
    expect((error as { info: Map<string, number> }).info.get('error-code')).toBe(504_101)
    const next = hub.invokeMethod('device1', 'm', 2)
    await vi.waitFor(() => expect(finish).toHaveLength(2))
    for (const resolve of finish) resolve()
    expect(await next).toEqual({ status: 200, payload: 2 })
    expect(clock.timers).toBe(1)
  })

  it('calls the client that came last, and ends the links of the other', async () => {
    const { hub, device, connect } = await setUp()
    const old = await device.onMethod('m', () => ({ status: 1 }))
    const newer = await connect()
    await newer.onMethod('m', () => ({ status: 2 }))
    expect(await old.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:link:stolen' } })
    expect(await hub.invokeMethod('device1', 'm')).toMatchObject({ status: 2 })
    await device.sendTelemetry({ body: 'still here' })
  })

  it('fails calls under way when the device goes', async () => {
    const { hub, device } = await setUp()
    const registration = await device.onMethod('m', () => new Promise<never>(() => {}))
    const call = hub.invokeMethod('device1', 'm')
    call.catch(() => {})
    await pause(20)
    registration[Symbol.dispose]()
    await expect(call).rejects.toMatchObject({ condition: 'amqp:not-found' })
  })

  it('fails calls, waiting or under way, when it is closed', async () => {
    const { hub } = await setUp()
    const waiting = hub.invokeMethod('device1', 'm', null, { connectTimeoutMs: 60_000 })
    const ended = expect(waiting).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    await hub.close()
    await ended
    const second = await setUp()
    await second.device.onMethod('m', () => new Promise<never>(() => {}))
    const call = expect(second.hub.invokeMethod('device1', 'm')).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    await pause(20)
    await second.hub.close()
    await call
  })

  it.each<[string, (hub: IotHubEmulator) => Promise<unknown>]>([
    ['no such device', hub => hub.invokeMethod('nobody', 'm')],
    ['no name', hub => hub.invokeMethod('device1', '')],
    ['no JSON', hub => hub.invokeMethod('device1', 'm', 1n)],
    ['too large', hub => hub.invokeMethod('device1', 'm', 'x'.repeat(131_072))],
    ['no time', hub => hub.invokeMethod('device1', 'm', null, { responseTimeoutMs: 0 })],
    ['negative time', hub => hub.invokeMethod('device1', 'm', null, { connectTimeoutMs: -1 })],
  ])('does not call: %s', async (_, invoke) => {
    const { hub } = await setUp()
    await expect(invoke(hub)).rejects.toMatchObject({ code: 'ERR_AMQP_USAGE' })
  })
})

describe('on the wire the client', () => {
  /** A hub that has the links of the device, and nothing else of a hub. */
  async function scripted(decide = (delivery: Delivery): Promise<void> => delivery.accept()): Promise<{
    device: DeviceClient
    links: IncomingLink[]
    calls(): Promise<Sender>
    answers: Message[]
    /** Of the answers. */
    receiver: Promise<Receiver>
  }> {
    const listener = kept(await listen({ sasl: [saslServer.plain(() => true)] }))
    const [transport, theirs] = memoryPair()
    const links: IncomingLink[] = []
    const answers: Message[] = []
    let attached: (sender: Sender) => void = () => {}
    const sender = new Promise<Sender>(resolve => {
      attached = resolve
    })
    let received: (receiver: Receiver) => void = () => {}
    const receiver = new Promise<Receiver>(resolve => {
      received = resolve
    })
    const onLink = async (link: IncomingLink): Promise<void> => {
      links.push(link)
      if (link.remoteRole === 'receiver') attached(await link.accept())
      else {
        const receiver = await link.accept()
        received(receiver)
        for await (const delivery of receiver) {
          answers.push(delivery.message)
          await decide(delivery)
        }
      }
    }
    void listener.accept(theirs).then((connection: Connection) =>
      connection.on('session', incoming => {
        void incoming.accept().then(session => session.on('link', link => void onLink(link)))
      }),
    )
    const credentials = { hostName: 'h', deviceId: 'd', sas: { key: Buffer.alloc(32).toString('base64') } }
    const device = kept(await DeviceClient.connect(credentials, { auth: 'plain', transport }))
    return { device, links, calls: () => sender, answers, receiver }
  }

  it('attaches a sender and then a receiver, with one id for both', async () => {
    const { device, links } = await scripted()
    await device.onMethod('m', () => ({ status: 1 }))
    expect(links.map(link => link.remoteRole)).toEqual(['sender', 'receiver'])
    expect(links.map(link => (link.remoteRole === 'sender' ? link.target : link.source)?.address)).toEqual([
      '/devices/d/methods/devicebound',
      '/devices/d/methods/devicebound',
    ])
    const ids = links.map(link => link.properties.get('com.microsoft:channel-correlation-id'))
    expect(ids[0]).toMatch(/^methods:[0-9a-f-]{36}$/)
    expect(ids[1]).toBe(ids[0])
    expect(links[0]?.properties.get('com.microsoft:api-version')).toBe('2021-04-12')
  })

  const id = '3f2504e0-4f89-41d3-9a0c-0305e82c3301'
  const call = (init: MessageInit): MessageInit => ({
    properties: { correlationId: Uuid.parse(id) },
    applicationProperties: { 'IoThub-methodname': 'm' },
    body: new TextEncoder().encode('{"a":1}'),
    ...init,
  })

  it.each<[string, MessageInit, number, string]>([
    ['a call', call({}), 200, '{"a":1}'],
    ['a call whose id is text', call({ properties: { correlationId: id } }), 200, '{"a":1}'],
    ['an empty payload', call({ body: '' }), 200, 'null'],
    ['a call whose payload is text', call({ body: { value: '5' } }), 200, '5'],
    ['a payload that is no JSON', call({ body: '{' }), 400, 'null'],
    ['no name', call({ applicationProperties: {} }), 400, 'null'],
  ])('answers %s by uuid, int and data', async (_, message, status, body) => {
    const { device, calls, answers } = await scripted()
    await device.onMethod('m', ({ payload, requestId }) => {
      expect(requestId).toBe(id)
      return { status: 200, payload }
    })
    expect((await (await calls()).send(message)).outcome).toBe('accepted')
    await vi.waitFor(() => expect(answers).toHaveLength(1))
    const [answer] = answers
    expect(answer?.properties?.correlationId).toEqual(Uuid.parse(id))
    expect(answer?.applicationProperties?.get('IoThub-status')).toBe(status)
    expect(new TextDecoder().decode(answer?.body as Uint8Array)).toBe(body)
  })

  it('warns of an answer that the hub does not take', async () => {
    const warned = warnings()
    const { device, calls } = await scripted(delivery => delivery.reject({ condition: 'amqp:internal-error' }))
    await device.onMethod('m', () => ({ status: 200 }))
    await (await calls()).send(call({}))
    await until(() => warned.length === 1)
    expect(warned).toEqual([expect.stringMatching(/not taken the answer of method 'm': .*amqp:internal-error/)])
  })

  it('rejects a call that nobody could answer', async () => {
    const { device, calls } = await scripted()
    await device.onMethod('m', () => ({ status: 200 }))
    expect(await (await calls()).send({ body: 'x' })).toMatchObject({ outcome: 'rejected' })
  })

  it('takes the sender down with the receiver, and attaches both again', async () => {
    const { device, links, calls, receiver } = await scripted()
    const registration = await device.onMethod('m', () => ({ status: 200 }))
    await (await calls()).close({ error: { condition: 'amqp:link:detach-forced' } })
    expect(await registration.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:link:detach-forced' } })
    expect((await (await receiver).closed).by).toBe('remote')
    await device.onMethod('n', () => ({ status: 200 }))
    expect(links.map(link => link.remoteRole)).toEqual(['sender', 'receiver', 'sender', 'receiver'])
  })
})
