/** Telemetry as services read it: by the redirect of a hub, at the emulator, over memory and TLS. */

import { afterEach, describe, expect, it } from 'vitest'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import type { IotHubEmulatorOptions } from '../../src/emulator/options.ts'
import { ClosedError, RemoteError, UsageError } from '../../src/errors.ts'
import type { IotHubOptions } from '../../src/iothub/connection/hub-options.ts'
import { createSasToken } from '../../src/iothub/credentials/sas.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import type { TelemetryEvent, TelemetryPosition } from '../../src/iothub/telemetry/event-mapping.ts'
import type { TelemetryOptions } from '../../src/iothub/telemetry/telemetry-options.ts'
import { pause } from '../waiting.ts'

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

const opened: AsyncDisposable[] = []

afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}

async function take<T>(items: AsyncIterable<T>, count: number): Promise<T[]> {
  const out: T[] = []
  for await (const item of items) if (out.push(item) === count) break
  return out
}

/** What a loop fails with. */
async function failure(service: ServiceClient, options: TelemetryOptions): Promise<unknown> {
  return service
    .telemetry(options)
    .next()
    .then(
      result => result,
      error => error,
    )
}

const EVENT_HUB_HOST = 'events.example'

/** The ways to the event hub: at the name of the hub and at one of its own, over memory and over TLS. */
const ways: [name: string, IotHubEmulatorOptions][] = [
  ['memory, one host', { listen: 'memory' }],
  ['memory, two hosts', { listen: 'memory', eventHubHostName: EVENT_HUB_HOST }],
  ['TLS, one host', {}],
  ['TLS, two hosts', { eventHubHostName: '127.0.0.1' }],
]

let hosts: string[] = []

async function startHub(options: IotHubEmulatorOptions): Promise<IotHubEmulator> {
  hosts = []
  return kept(await IotHubEmulator.start({ devices: ['a', 'b', 'c', 'd', 'e'], ...options }))
}

function reach(hub: IotHubEmulator): IotHubOptions {
  if (hub.port !== 0) return { tls: { ca: hub.ca } }
  const transport = (host: string) => {
    hosts.push(host)
    return hub.transport()
  }
  return { transport }
}

const serviceOf = async (hub: IotHubEmulator, options: IotHubOptions = {}): Promise<ServiceClient> =>
  kept(await ServiceClient.connect(hub.connectionString({ service: true }), { ...reach(hub), ...options }))

const deviceOf = async (hub: IotHubEmulator, deviceId = 'a'): Promise<DeviceClient> =>
  kept(await DeviceClient.connect(hub.connectionString({ deviceId }), reach(hub)))

/** A hub in memory with one partition and `count` events of device `a`, and a service. */
async function filled(count: number): Promise<{ hub: IotHubEmulator; device: DeviceClient; service: ServiceClient }> {
  const hub = await startHub({ listen: 'memory', partitions: 1, consumerGroups: ['dashboards'] })
  const device = await deviceOf(hub)
  for (let i = 0; i < count; i++) await device.sendTelemetry({ body: `${i}` })
  return { hub, device, service: await serviceOf(hub) }
}

const bodies = (events: readonly TelemetryEvent[]): string => events.map(({ body }) => text(body)).join()

describe.each(ways)('over %s', (_, options) => {
  it('an event has what the device sent, and what the hub says of it', async () => {
    const hub = await startHub(options)
    const device = await deviceOf(hub)
    const before = Date.now()
    await device.sendTelemetry({
      body: '{"t":21}',
      properties: { alarm: 'no' },
      messageId: 'm1',
      correlationId: 'c1',
      userId: 'u1',
      contentType: 'application/json',
      contentEncoding: 'utf-8',
      creationTime: new Date(5000),
    })
    const service = await serviceOf(hub)
    const [event] = await take(service.telemetry(), 1)
    expect(event).toEqual({
      body: expect.any(Uint8Array),
      properties: new Map([['alarm', 'no']]),
      messageId: 'm1',
      correlationId: 'c1',
      userId: 'u1',
      contentType: 'application/json',
      contentEncoding: 'utf-8',
      creationTime: new Date(5000),
      deviceId: 'a',
      moduleId: undefined,
      generationId: expect.stringMatching(/^\d+$/),
      authentication: { scope: 'device', type: 'sas', issuer: 'iothub' },
      source: 'Telemetry',
      modelId: undefined,
      component: undefined,
      enqueuedTime: expect.any(Date),
      partition: expect.stringMatching(/^[0-3]$/),
      sequenceNumber: 0n,
      offset: '0',
      position: { partition: event?.partition, offset: '0' },
    })
    expect(text(event?.body ?? new Uint8Array())).toBe('{"t":21}')
    expect(event?.enqueuedTime.getTime()).toBeGreaterThanOrEqual(before)
    if (options.listen === 'memory')
      expect(hosts).toEqual(['localhost', 'localhost', options.eventHubHostName ?? 'localhost'])
  })

  it('all partitions come merged, each in its order; so does what is sent later', async () => {
    const hub = await startHub(options)
    const names = ['a', 'b', 'c', 'd', 'e']
    const devices = await Promise.all(names.map(name => deviceOf(hub, name)))
    const service = await serviceOf(hub)
    const reading = take(service.telemetry({ credit: 2 }), 100)
    for (let i = 0; i < 20; i++) await Promise.all(devices.map(device => device.sendTelemetry({ body: `${i}` })))
    const events = await reading
    for (const name of names)
      expect(bodies(events.filter(({ deviceId }) => deviceId === name))).toBe(
        Array.from({ length: 20 }, (_, i) => i).join(),
      )
    expect(new Set(events.map(({ partition }) => partition)).size).toBeGreaterThan(1)
  })

  it('$management tells of the event hub and its partitions', async () => {
    const hub = await startHub(options)
    const service = await serviceOf(hub)
    const info = await service.eventHub()
    expect(info).toEqual({
      name: 'iothub-ehub-localhost',
      createdAt: expect.any(Date),
      partitions: ['0', '1', '2', '3'],
    })
    expect(Math.abs(info.createdAt.getTime() - Date.now())).toBeLessThan(10_000)
    const empty = {
      beginSequenceNumber: 0n,
      lastSequenceNumber: -1n,
      lastOffset: '-1',
      lastEnqueuedTime: new Date(0),
      isEmpty: true,
    }
    expect(await service.partitions()).toEqual(info.partitions.map(partition => ({ partition, ...empty })))
    const device = await deviceOf(hub)
    for (let i = 0; i < 3; i++) await device.sendTelemetry({ body: 'x' })
    const events = await take(service.telemetry(), 3)
    const filledOne = (await service.partitions()).filter(({ isEmpty }) => !isEmpty)
    expect(filledOne).toEqual([
      {
        partition: events[2]?.partition,
        beginSequenceNumber: 0n,
        lastSequenceNumber: 2n,
        lastOffset: events[2]?.offset,
        lastEnqueuedTime: events[2]?.enqueuedTime,
        isEmpty: false,
      },
    ])
  })
})

describe('reading begins', () => {
  it.each<[string, (events: readonly TelemetryEvent[]) => TelemetryOptions['from'], string]>([
    ['with the oldest event, unless it is told otherwise', () => undefined, '0,1,2,3,4'],
    ['with the oldest event', () => 'start', '0,1,2,3,4'],
    ['behind a position', events => events[2]?.position, '3,4'],
    ['behind a position that JSON kept', e => JSON.parse(JSON.stringify(e[2]?.position)) as TelemetryPosition, '3,4'],
    ['at an offset', events => ({ offset: events[2]?.offset ?? '', inclusive: true }), '2,3,4'],
    ['behind a sequence number', () => ({ sequenceNumber: 1n }), '2,3,4'],
    ['at a sequence number', () => ({ sequenceNumber: 1, inclusive: true }), '1,2,3,4'],
    ['where a function of the partition says', events => partition => events[Number(partition) + 3]?.position, '4'],
    ['with the oldest event, where the function says nothing', () => () => undefined, '0,1,2,3,4'],
  ])('%s', async (_, from, expected) => {
    const { service } = await filled(5)
    const events = await take(service.telemetry(), 5)
    const options = { from: from(events), partition: '0' }
    expect(bodies(await take(service.telemetry(options), expected.split(',').length))).toBe(expected)
  })

  it('with what comes', async () => {
    const { device, service } = await filled(3)
    let isRead = false
    const reading = take(service.telemetry({ from: 'end' }), 1).finally(() => {
      isRead = true
    })
    // When it begins to read is not seen from here.
    for (; !isRead; await pause(5)) await device.sendTelemetry({ body: 'new' })
    expect(bodies(await reading)).toBe('new')
  })

  it('behind a time', async () => {
    const { device, service } = await filled(2)
    await pause(5)
    const enqueuedAfter = new Date()
    await pause(5)
    await device.sendTelemetry({ body: 'later' })
    expect(bodies(await take(service.telemetry({ from: { enqueuedAfter } }), 1))).toBe('later')
  })

  it.each<[string, TelemetryOptions]>([
    ['a start that is none', { from: 'middle' as never }],
    ['a start that is no time', { from: { enqueuedAfter: new Date(Number.NaN) } }],
    ['an offset with a quote in it', { from: { offset: "1' or '1" } }],
    ['a sequence number that is no integer', { from: { sequenceNumber: 1.5 } }],
    ['a negative owner level', { ownerLevel: -1 }],
    ['an owner level that is no integer', { ownerLevel: 0.5 }],
    ['no credit', { credit: 0 }],
    ['an offset that is none', { from: { partition: '2', offset: 'zz' } as never }],
    ['an offset that is none, of a function', { from: () => ({ offset: 'zz' }) }],
    ['an empty partition', { partition: '' }],
  ])('nowhere: %s is a UsageError', async (_, options) => {
    const { service } = await filled(0)
    expect(await failure(service, { partition: '0', ...options })).toBeInstanceOf(UsageError)
  })

  it.each<[string, TelemetryOptions, string]>([
    ['a partition that is none', { partition: '4' }, 'com.microsoft:argument-out-of-range'],
    ['a consumer group that is none', { consumerGroup: 'nobody' }, 'amqp:not-found'],
    ['an offset beyond the last', { from: { offset: '99999' } }, 'com.microsoft:argument-error'],
    ['a sequence number beyond the next', { from: { sequenceNumber: 9 } }, 'com.microsoft:argument-error'],
  ])('nowhere: %s', async (_, options, condition) => {
    const { service } = await filled(3)
    const error = await failure(service, { partition: '0', ...options })
    expect(error).toBeInstanceOf(RemoteError)
    expect(error).toMatchObject({ condition })
  })
})

describe('readers', () => {
  it('in consumer groups of their own do not disturb each other', async () => {
    const { service } = await filled(2)
    const own = service.telemetry({ partition: '0', consumerGroup: 'Dashboards', ownerLevel: 1 })
    expect(text((await own.next()).value?.body ?? new Uint8Array())).toBe('0')
    expect(bodies(await take(service.telemetry({ partition: '0', ownerLevel: 0 }), 2))).toBe('0,1')
    expect(text((await own.next()).value?.body ?? new Uint8Array())).toBe('1')
    await own.return(undefined)
  })

  it('of a partition are five; one that leaves makes room', async () => {
    const { service } = await filled(1)
    const readers = Array.from({ length: 5 }, () => service.telemetry({ partition: '0' }))
    for (const reader of readers) await reader.next()
    expect(await failure(service, { partition: '0' })).toMatchObject({ condition: 'amqp:resource-limit-exceeded' })
    await readers[0]?.return(undefined)
    expect(bodies(await take(service.telemetry({ partition: '0' }), 1))).toBe('0')
    for (const reader of readers) await reader.return(undefined)
  })

  it('with an owner level take over from those below and from those without', async () => {
    const { service } = await filled(1)
    const losers = [service.telemetry({ partition: '0' }), service.telemetry({ partition: '0' })]
    for (const reader of losers) await reader.next()
    for (const ownerLevel of [0, 0n, 7]) {
      const waiting = losers.map(loser => loser.next().catch((error: unknown) => error))
      const winner = service.telemetry({ partition: '0', ownerLevel })
      await winner.next()
      for (const error of await Promise.all(waiting)) {
        expect(error).toBeInstanceOf(ClosedError)
        expect(error).toMatchObject({ condition: 'amqp:link:stolen', cause: { condition: 'amqp:link:stolen' } })
      }
      losers.splice(0, losers.length, winner)
    }
    for (const ownerLevel of [6, undefined]) {
      const error = await failure(service, { partition: '0', ownerLevel })
      expect(error).toBeInstanceOf(RemoteError)
      expect(error).toMatchObject({ condition: 'amqp:link:stolen' })
    }
    for (const loser of losers) await loser.return(undefined)
    expect(bodies(await take(service.telemetry({ partition: '0' }), 1))).toBe('0')
  })

  it('of all partitions lose them all together', async () => {
    const hub = await startHub({ listen: 'memory' })
    const [one, other] = [await serviceOf(hub), await serviceOf(hub)]
    const losing = one.telemetry({ ownerLevel: 1 }).next()
    await pause(30)
    const winning = other.telemetry({ ownerLevel: 2, partition: '3' }).next()
    await expect(losing).rejects.toMatchObject({ condition: 'amqp:link:stolen' })
    await other.close()
    expect(await winning).toEqual({ done: true, value: undefined })
    const again = one.telemetry({ ownerLevel: 0 }).next()
    await pause(30)
    await one.close()
    expect(await again).toEqual({ done: true, value: undefined })
  })

  it('end with the signal, at once, and lose nothing', async () => {
    const { device, service } = await filled(0)
    for (const partition of ['0', undefined]) {
      const abort = new AbortController()
      const reading = service.telemetry({ partition, signal: abort.signal }).next()
      await pause(30)
      abort.abort(new Error('enough'))
      await expect(reading).rejects.toThrow('enough')
    }
    await device.sendTelemetry({ body: 'x' })
    expect(bodies(await take(service.telemetry(), 1))).toBe('x')
  })

  it('go on after the connection to the event hub was lost, from where they were', async () => {
    const hub = await startHub({ listen: 'memory', partitions: 1 })
    const ends: (() => void)[] = []
    const service = await serviceOf(hub, {
      transport: () => {
        const transport = hub.transport()
        ends.push(() => transport.destroy())
        return transport
      },
    })
    const device = await deviceOf(hub)
    await device.sendTelemetry({ body: '0' })
    const reader = service.telemetry({ partition: '0' })
    const { value: first } = await reader.next()
    const next = reader.next()
    ends[1]?.()
    await device.sendTelemetry({ body: '1' })
    const { value: second } = await next
    expect([first?.sequenceNumber, second?.sequenceNumber]).toEqual([0n, 1n])
    expect(ends.length).toBe(3)
  })

  it('fail when it is lost, where nothing is mended, and may go on from the position that they had', async () => {
    const hub = await startHub({ listen: 'memory', partitions: 1 })
    const ends: (() => void)[] = []
    const service = await serviceOf(hub, {
      reconnect: false,
      transport: () => {
        const transport = hub.transport()
        ends.push(() => transport.destroy())
        return transport
      },
    })
    const device = await deviceOf(hub)
    await device.sendTelemetry({ body: '0' })
    const reader = service.telemetry({ partition: '0' })
    const { value: first } = await reader.next()
    const lost = reader.next()
    ends[1]?.()
    await expect(lost).rejects.toBeInstanceOf(ClosedError)
    await device.sendTelemetry({ body: '1' })
    const from = first?.position
    expect(bodies(await take(service.telemetry({ partition: '0', from }), 1))).toBe('1')
    expect(ends.length).toBe(3)
  })
})

it('each host must have a certificate of its own name, whatever `servername` the hub was given', async () => {
  const hub = await startHub({ eventHubHostName: '127.0.0.1' })
  const names: string[] = []
  const checkServerIdentity = (name: string): undefined => void names.push(name)
  const service = await serviceOf(hub, { tls: { ca: hub.ca, servername: 'localhost', checkServerIdentity } })
  await service.eventHub()
  expect(names).toEqual(['localhost', '127.0.0.1'])
})

describe('credentials', () => {
  const tokenFor = (hub: IotHubEmulator, resourceUri: string, keyRule: 'iothub' | 'eventhub'): Promise<string> => {
    const key = /SharedAccessKey=([^;]+)/.exec(hub.connectionString({ service: true }))?.[1] ?? ''
    const expiresAt = new Date(Date.now() + 60_000)
    return createSasToken({ resourceUri, key, keyName: 'service', expiresAt, keyRule })
  }

  it('may be tokens, made for each of the two hosts by its rule', async () => {
    const hub = await startHub({ listen: 'memory', eventHubHostName: EVENT_HUB_HOST })
    const asked: unknown[] = []
    const token = (request: { resourceUri: string; keyRule: 'iothub' | 'eventhub' }): Promise<string> => {
      asked.push(request)
      return tokenFor(hub, request.resourceUri, request.keyRule)
    }
    const credentials = { hostName: 'localhost', keyName: 'service', sas: { token } }
    const service = kept(await ServiceClient.connect(credentials, reach(hub)))
    expect((await service.eventHub()).partitions.length).toBe(4)
    expect(asked).toEqual([
      { resourceUri: 'localhost', keyRule: 'iothub' },
      { resourceUri: `sb://${EVENT_HUB_HOST}/iothub-ehub-localhost`, keyRule: 'eventhub' },
    ])
  })

  it('that are for the hub alone do not read telemetry', async () => {
    const hub = await startHub({ listen: 'memory' })
    const token = await tokenFor(hub, 'localhost/messages', 'iothub')
    const credentials = { hostName: 'localhost', keyName: 'service', sas: { token: () => token } }
    const service = kept(await ServiceClient.connect(credentials, reach(hub)))
    expect(await failure(service, {})).toMatchObject({ code: 'ERR_AMQP_USAGE' })
  })

  it('signed by the rule of the other host are refused', async () => {
    const hub = await startHub({ listen: 'memory' })
    const token = ({ resourceUri, keyRule }: { resourceUri: string; keyRule: string }): Promise<string> =>
      tokenFor(hub, resourceUri, keyRule === 'iothub' || hosts.length > 1 ? 'iothub' : 'eventhub')
    const credentials = { hostName: 'localhost', keyName: 'service', sas: { token } }
    const service = kept(await ServiceClient.connect(credentials, reach(hub)))
    hosts.push('', '')
    expect(await failure(service, {})).toMatchObject({ condition: 'amqp:unauthorized-access' })
  })

  it('over a transport that leads to the hub alone, telemetry is a UsageError', async () => {
    const hub = await startHub({ listen: 'memory' })
    const service = await serviceOf(hub, { transport: hub.transport() })
    expect(await failure(service, {})).toMatchObject({ code: 'ERR_AMQP_USAGE' })
    await service.sendToDevice('a', { body: 'x' })
  })
})
