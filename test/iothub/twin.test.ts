/** Twins, client and emulator against each other, over memory and once over TLS; and the client against a scripted hub. */

import { afterEach, describe, expect, it, vi } from 'vitest'
import type { IncomingLink, Sender } from '../../src/client/api.ts'
import { saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import type { DesiredChange, Twin } from '../../src/iothub/twins/twin.ts'
import { EncodedMessage } from '../../src/message/encode.ts'
import type { Message, MessageInit } from '../../src/message/message.ts'
import { int, long } from '../../src/types/values.ts'
import { pause } from '../waiting.ts'

const opened: AsyncDisposable[] = []

afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}

async function setUp(): Promise<{ hub: IotHubEmulator; device: DeviceClient; connect(): Promise<DeviceClient> }> {
  const hub = kept(await IotHubEmulator.start({ listen: 'memory' }))
  const connect = async (): Promise<DeviceClient> =>
    kept(await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), { transport: hub.transport() }))
  return { hub, device: await connect(), connect }
}

async function take(changes: AsyncGenerator<DesiredChange>, count: number): Promise<DesiredChange[]> {
  const taken: DesiredChange[] = []
  while (taken.length < count) {
    const { value, done } = await changes.next()
    if (done) break
    taken.push(value)
  }
  return taken
}

describe('a twin', () => {
  it('begins empty, at version 1', async () => {
    const { device } = await setUp()
    const twin = await device.twin()
    expect(twin).toMatchObject({ desired: {}, desiredVersion: 1, reported: {}, reportedVersion: 1 })
  })

  it('has what was set before, and is one object until its links end', async () => {
    const { hub, device } = await setUp()
    expect(hub.updateDesired('device1', { fw: { v: 2 } })).toBe(2)
    const [twin, same] = await Promise.all([device.twin(), device.twin()])
    expect(same).toBe(twin)
    expect(twin).toMatchObject({ desired: { fw: { v: 2 } }, desiredVersion: 2 })
  })

  it('works over TLS', async () => {
    const hub = kept(await IotHubEmulator.start())
    const device = kept(
      await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), { tls: { ca: hub.ca } }),
    )
    const twin = await device.twin()
    const changes = twin.changes()
    expect(await twin.update({ a: 1 })).toBe(2)
    hub.updateDesired('device1', { b: 2 })
    expect(await take(changes, 1)).toEqual([{ version: 2, patch: { b: 2 }, desired: { b: 2 } }])
  })

  it('takes reported properties: merged, null removes', async () => {
    const { hub, device } = await setUp()
    const twin = await device.twin()
    expect(await twin.update({ fw: { v: 1, at: 'now' }, battery: 80, list: [1, { a: null }], gone: undefined })).toBe(2)
    expect(await twin.update({ fw: { at: null, by: 'me' }, battery: null, never: null })).toBe(3)
    const expected = { fw: { v: 1, by: 'me' }, list: [1, { a: null }] }
    expect(twin.reported).toEqual(expected)
    expect(twin.reportedVersion).toBe(3)
    const { reported } = hub.twin('device1').properties
    expect(reported).toMatchObject({ ...expected, $version: 3 })
  })

  it('keeps updates in order, many at once', async () => {
    const { hub, device } = await setUp()
    const twin = await device.twin()
    const versions = await Promise.all(Array.from({ length: 50 }, (_, i) => twin.update({ [`p${i}`]: i, last: i })))
    expect(versions).toEqual(Array.from({ length: 50 }, (_, i) => i + 2))
    expect(twin.reported).toMatchObject({ p0: 0, p49: 49, last: 49 })
    expect(hub.twin('device1').properties.reported).toMatchObject(twin.reported)
  })

  it('that another client of the device has updated is read again', async () => {
    const { device, connect } = await setUp()
    const other = await (await connect()).twin()
    await other.update({ a: 1 })
    await other.update({ b: 1 })
    const twin = await device.twin()
    expect(twin.reported).toEqual({ a: 1, b: 1 })
  })

  it.each<[string, unknown, object]>([
    ['an array', [], { code: 'ERR_AMQP_USAGE' }],
    ['null', null, { code: 'ERR_AMQP_USAGE' }],
    ['what has no JSON', { a: 1n }, { code: 'ERR_AMQP_USAGE' }],
    ['a key with a dot', { 'a.b': 1 }, { condition: 'com.microsoft:argument-error' }],
    [
      'too much',
      Object.fromEntries(Array.from({ length: 9 }, (_, i) => [i, 'x'.repeat(4096)])),
      { condition: 'amqp:link:message-size-exceeded' },
    ],
  ])('refuses %s', async (_, patch, error) => {
    const { device } = await setUp()
    const twin = await device.twin()
    await expect(twin.update(patch as object)).rejects.toMatchObject(error)
    expect(twin.reportedVersion).toBe(1)
    expect(await twin.update({ fine: true })).toBe(2)
  })

  it('has no prototype to pollute', async () => {
    const { hub, device } = await setUp()
    const twin = await device.twin()
    const changes = twin.changes()
    hub.updateDesired('device1', JSON.parse('{"__proto__":{"polluted":true},"constructor":1}'))
    const [change] = await take(changes, 1)
    expect(Object.hasOwn(change?.desired ?? {}, '__proto__')).toBe(true)
    expect(Object.getPrototypeOf(change?.desired)).toBe(Object.prototype)
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  })
})

describe('changes', () => {
  it('come as patches, with the whole beside them', async () => {
    const { hub, device } = await setUp()
    const twin = await device.twin()
    const changes = twin.changes()
    hub.updateDesired('device1', { a: { b: 1, c: 2 } })
    hub.updateDesired('device1', { a: { b: null }, d: [1] })
    expect(await take(changes, 2)).toEqual([
      { version: 2, patch: { a: { b: 1, c: 2 } }, desired: { a: { b: 1, c: 2 } } },
      { version: 3, patch: { a: { b: null }, d: [1] }, desired: { a: { c: 2 }, d: [1] } },
    ])
    expect(twin).toMatchObject({ desired: { a: { c: 2 }, d: [1] }, desiredVersion: 3 })
  })

  it('reach every loop, each at its own pace, from when it began', async () => {
    const { hub, device } = await setUp()
    const twin = await device.twin()
    const first = twin.changes()
    hub.updateDesired('device1', { n: 1 })
    await vi.waitFor(() => expect(twin.desiredVersion).toBe(2))
    const second = twin.changes()
    for (let n = 2; n <= 100; n++) hub.updateDesired('device1', { n })
    expect((await take(second, 99)).map(({ version }) => version)).toEqual(Array.from({ length: 99 }, (_, i) => i + 3))
    expect((await take(first, 100)).map(({ version }) => version)).toEqual(Array.from({ length: 100 }, (_, i) => i + 2))
  })

  it('of tags are none', async () => {
    const { device } = await setUp()
    const twin = await device.twin()
    await expect(twin.changes({ signal: AbortSignal.timeout(30) }).next()).rejects.toMatchObject({
      name: 'TimeoutError',
    })
  })

  it('end with the client, and fail with the hub', async () => {
    const { hub, device, connect } = await setUp()
    const loop = (await device.twin()).changes().next()
    await device.close()
    expect(await loop).toEqual({ done: true, value: undefined })
    const second = await connect()
    const twin = await second.twin()
    const failing = twin.changes().next()
    failing.catch(() => {})
    await hub.close()
    await expect(failing).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    await expect(twin.changes().next()).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    await expect(twin.update({ a: 1 })).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    await expect(second.twin()).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    expect((await twin.closed).by).not.toBe('local')
  })

  it('go on in a new twin when another client has taken the links', async () => {
    const { hub, device, connect } = await setUp()
    const old = await device.twin()
    const lost = old.changes().next()
    lost.catch(() => {})
    await (await connect()).twin()
    expect(await old.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:link:stolen' } })
    await expect(lost).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    hub.updateDesired('device1', { a: 1 })
    const twin = await device.twin()
    expect(twin).not.toBe(old)
    expect(twin.desired).toEqual({ a: 1 })
  })
})

describe('against a scripted hub', () => {
  interface Hub {
    device: DeviceClient
    links: IncomingLink[]
    requests: Message[]
    /** Sends, on the link to the device. */
    send(message: MessageInit | EncodedMessage): Promise<unknown>
    /** How requests are answered from now on. */
    answer(by: (request: Message) => MessageInit | undefined): void
  }

  const ok = (body?: unknown, annotations = {}): MessageInit => ({
    messageAnnotations: { status: int(200), ...annotations },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const operation = (request: Message): unknown => request.messageAnnotations?.get('operation')
  const document = (desired: object, version: number): object => ({
    desired: { ...desired, $version: version },
    reported: { $version: 1 },
  })
  const push = (patch: object, version: unknown): MessageInit => ({
    body: JSON.stringify({ ...patch, $version: version }),
  })

  async function scripted(): Promise<Hub> {
    const listener = kept(await listen({ sasl: [saslServer.plain(() => true)] }))
    const [transport, theirs] = memoryPair()
    const links: IncomingLink[] = []
    const requests: Message[] = []
    let out: Sender | undefined
    let by: (request: Message) => MessageInit | undefined = request =>
      operation(request) === 'GET' ? ok(document({}, 1)) : ok()
    const onLink = async (link: IncomingLink): Promise<void> => {
      links.push(link)
      if (link.remoteRole === 'receiver') out = await link.accept({ settle: link.sndSettleMode })
      else
        for await (const { message } of await link.accept()) {
          requests.push(message)
          const answer = by(message)
          const correlationId = message.properties?.correlationId
          if (answer) void out?.send({ ...answer, properties: { correlationId } })
        }
    }
    void listener.accept(theirs).then(connection =>
      connection.on('session', incoming => {
        void incoming.accept().then(session => session.on('link', link => void onLink(link)))
      }),
    )
    const credentials = { hostName: 'h', deviceId: 'd', sas: { key: Buffer.alloc(32).toString('base64') } }
    const device = kept(await DeviceClient.connect(credentials, { auth: 'plain', transport }))
    return {
      device,
      links,
      requests,
      send: async message => out?.send(message),
      answer: next => {
        by = next
      },
    }
  }

  it('attaches a pair that settles first, subscribes, reads, patches', async () => {
    const { device, links, requests, answer } = await scripted()
    const twin = await device.twin()
    expect(links.map(link => [link.remoteRole, link.sndSettleMode])).toEqual([
      ['sender', 'settled'],
      ['receiver', 'settled'],
    ])
    expect(links.map(link => (link.remoteRole === 'sender' ? link.target : link.source)?.address)).toEqual([
      '/devices/d/twin',
      '/devices/d/twin',
    ])
    expect(links[0]?.properties.get('com.microsoft:channel-correlation-id')).toMatch(/^twin:[0-9a-f-]{36}$/)
    answer(() => ok(undefined, { version: long(2n) }))
    expect(await twin.update({ fw: '1' })).toBe(2)
    expect(requests.map(request => Object.fromEntries(request.messageAnnotations ?? []))).toEqual([
      { operation: 'PUT', resource: '/notifications/twin/properties/desired' },
      { operation: 'GET' },
      { operation: 'PATCH', resource: '/properties/reported' },
    ])
    expect(requests.map(({ body }) => new TextDecoder().decode(body as Uint8Array))).toEqual([' ', ' ', '{"fw":"1"}'])
    for (const { properties } of requests) expect(properties?.correlationId).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('reads the twin again when a notification shows that others were lost', async () => {
    const { device, send, answer, requests } = await scripted()
    const twin = await device.twin()
    const changes = twin.changes()
    await send(push({ a: 1 }, 2))
    answer(() => ok(document({ a: 2, b: 3, c: 4 }, 5)))
    await send(push({ c: 4 }, 5))
    await send(push({ d: 5 }, 6))
    expect(await take(changes, 3)).toEqual([
      { version: 2, patch: { a: 1 }, desired: { a: 1 } },
      { version: 5, patch: undefined, desired: { a: 2, b: 3, c: 4 } },
      { version: 6, patch: { d: 5 }, desired: { a: 2, b: 3, c: 4, d: 5 } },
    ])
    expect(requests.map(operation)).toEqual(['PUT', 'GET', 'GET'])
  })

  it('passes over notifications that are older than what was read', async () => {
    const { device, send, answer, requests } = await scripted()
    answer(request => {
      if (operation(request) !== 'GET') return ok()
      void send(push({ a: 'old' }, 6))
      void send(push({ a: 'same' }, 7))
      void send(push({ b: 'next' }, 8))
      return ok(document({ a: 'read' }, 7))
    })
    const twin = await device.twin()
    await vi.waitFor(() => expect(twin.desiredVersion).toBe(8))
    expect(twin.desired).toEqual({ a: 'read', b: 'next' })
    answer(() => ok(undefined, { version: long(2n) }))
    await send(push({ a: 'late' }, 8))
    await twin.update({ r: 1 })
    expect(requests.map(operation)).toEqual(['PUT', 'GET', 'PATCH'])
    expect(twin.desired).toEqual({ a: 'read', b: 'next' })
  })

  it.each<[string, MessageInit | EncodedMessage]>([
    ['no version', { body: '{}' }],
    ['a version that is none', push({}, 'x')],
    ['a version without end', { body: '{"$version":1e999}' }],
    ['a version below none', push({}, -1)],
    ['no JSON', { body: '{' }],
    ['bytes that are no message', new EncodedMessage(Uint8Array.of(0xff))],
  ])('reads the twin again after a notification with %s', async (_, notification) => {
    const { device, send, answer } = await scripted()
    const twin = await device.twin()
    answer(() => ok(document({ a: 1 }, 3)))
    await send(notification)
    await vi.waitFor(() => expect(twin).toMatchObject({ desired: { a: 1 }, desiredVersion: 3 }))
  })

  it('keeps some of the notifications that come while it is read, and reads it once more where there were more', async () => {
    const { device, send, answer, requests } = await scripted()
    let version = 2
    answer(request => {
      if (operation(request) !== 'GET') return ok()
      if (version === 2) for (; version < 1000; version++) void send(push({ a: version }, version))
      return ok(document({ a: version }, version))
    })
    const twin = await device.twin()
    await vi.waitFor(() => expect(requests.map(operation)).toEqual(['PUT', 'GET', 'GET']))
    expect(twin.desired).toEqual({ a: 1000 })
  })

  it('an answer whose status is no number is none, and a version that is none is read', async () => {
    const { device, answer, requests } = await scripted()
    const twin = await device.twin()
    answer(() => ({ messageAnnotations: { status: 'fine' } }))
    await expect(twin.update({ a: 1 })).rejects.toMatchObject({ code: 'ERR_AMQP_REMOTE' })
    answer(request => (operation(request) === 'GET' ? ok(document({}, 3)) : ok(undefined, { version: 'abc' })))
    expect(await twin.update({ a: 1 })).toBe(1)
    expect(requests.map(operation)).toEqual(['PUT', 'GET', 'PATCH', 'PATCH', 'GET'])
  })

  it('fails the loops, not the twin, when it cannot be read again', async () => {
    const { device, send, answer } = await scripted()
    const twin = await device.twin()
    const failing = twin.changes().next()
    failing.catch(() => {})
    answer(() => ({ messageAnnotations: { status: int(429) } }))
    await send(push({ a: 1 }, 5))
    await expect(failing).rejects.toMatchObject({ condition: 'com.microsoft:device-container-throttled' })
    const loop = twin.changes()
    answer(() => ok(document({ a: 1, b: 2 }, 6)))
    await send(push({ b: 2 }, 6))
    expect(await take(loop, 1)).toEqual([{ version: 6, patch: undefined, desired: { a: 1, b: 2 } }])
  })

  it.each<[number, unknown, string, string | undefined]>([
    [400, '"bad"', 'com.microsoft:argument-error', 'bad'],
    [401, '', 'amqp:unauthorized-access', undefined],
    [404, '{"message":"no device"}', 'amqp:not-found', 'no device'],
    [412, '{"Message":"stale"}', 'com.microsoft:precondition-failed', 'stale'],
    [418, 'not JSON', 'com.microsoft:argument-error', undefined],
    [429, '7', 'com.microsoft:device-container-throttled', undefined],
    [500, '""', 'amqp:internal-error', ''],
    [502, '', 'amqp:internal-error', undefined],
    [504, '', 'com.microsoft:timeout', undefined],
  ])('status %i is an error by condition', async (status, body, condition, description) => {
    const { device, answer } = await scripted()
    const twin = await device.twin()
    answer(() => ({ messageAnnotations: { status: int(status) }, body: body as string }))
    const error = await twin.update({ a: 1 }).catch((error: unknown) => error)
    expect(error).toMatchObject({ code: 'ERR_AMQP_REMOTE', condition, description })
    expect((error as { info: Map<string, number> }).info.get('status')).toBe(status)
  })

  it.each<[string, MessageInit]>([
    ['204', { messageAnnotations: { status: int(204), version: long(2n) } }],
    ['no status', { messageAnnotations: { version: long(2n) } }],
  ])('%s is success', async (_, message) => {
    const { device, answer } = await scripted()
    const twin = await device.twin()
    answer(() => message)
    expect(await twin.update({ a: 1 })).toBe(2)
    expect(twin.reported).toEqual({ a: 1 })
  })

  it.each([[undefined], [9]])('reads the twin when the version of an update is %s', async version => {
    const { device, answer } = await scripted()
    const twin = await device.twin()
    answer(request =>
      operation(request) === 'GET'
        ? ok({ desired: { $version: 1 }, reported: { a: 1, other: 2, $version: 9 } })
        : ok(undefined, version === undefined ? {} : { version: long(BigInt(version)) }),
    )
    expect(await twin.update({ a: 1 })).toBe(9)
    expect(twin).toMatchObject({ reported: { a: 1, other: 2 }, reportedVersion: 9 })
  })

  it.each([[[]], [{}], [{ desired: {}, reported: {} }], [undefined]])('what is no twin is an error: %j', async body => {
    const { device, answer, links } = await scripted()
    answer(() => ok(body))
    await expect(device.twin()).rejects.toMatchObject({ code: 'ERR_AMQP_PROTOCOL' })
    answer(request => ok(operation(request) === 'GET' ? document({}, 1) : undefined))
    expect(await device.twin()).toMatchObject({ desiredVersion: 1 })
    expect(links).toHaveLength(4)
  })

  it('loops that begin after the links ended fail at once, also when they ended while it was read', async () => {
    const { device, send, answer, links } = await scripted()
    const twin = await device.twin()
    answer(() => undefined)
    await send(push({ a: 1 }, 5))
    await vi.waitFor(() => expect(links).toHaveLength(2))
    for (const { session } of links) void session.end({ error: { condition: 'amqp:internal-error' } })
    await twin.closed
    await pause(20)
    await expect(twin.changes({ signal: AbortSignal.timeout(1000) }).next()).rejects.toMatchObject({
      code: 'ERR_AMQP_CLOSED',
    })
  })

  it('waiting for an answer can be given up', async () => {
    const { device, answer } = await scripted()
    const twin: Twin = await device.twin()
    answer(() => undefined)
    const abort = new AbortController()
    const update = twin.update({ a: 1 }, { signal: abort.signal })
    abort.abort(new Error('enough'))
    await expect(update).rejects.toThrow('enough')
    await expect(twin.update({ a: 1 }, { signal: abort.signal })).rejects.toThrow('enough')
    await expect(twin.refresh({ signal: AbortSignal.timeout(10) })).rejects.toMatchObject({ name: 'TimeoutError' })
  })
})
