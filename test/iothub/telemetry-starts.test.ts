/** Where reading telemetry begins: places go with their partitions, and all partitions are read on from where they were. */

import { afterEach, describe, expect, it } from 'vitest'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { UsageError } from '../../src/errors.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import type { TelemetryPosition } from '../../src/iothub/telemetry/event-mapping.ts'
import { checkOptions, type TelemetryOptions, TelemetryStarts } from '../../src/iothub/telemetry/telemetry-options.ts'

const opened: AsyncDisposable[] = []

afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}

/** One device for each of four partitions. */
const ids = ['p3', 'p4', 'p1', 'p2']

async function world(): Promise<{ service: ServiceClient; send: (to: number, body: string) => Promise<void> }> {
  const hub = kept(await IotHubEmulator.start({ listen: 'memory', devices: ids, partitions: 4 }))
  const transport = () => hub.transport()
  const connect = (deviceId: string) => DeviceClient.connect(hub.connectionString({ deviceId }), { transport })
  const devices = await Promise.all(ids.map(async id => kept(await connect(id))))
  const service = kept(await ServiceClient.connect(hub.connectionString({ service: true }), { transport }))
  return { service, send: async (to, body) => devices[to]?.sendTelemetry({ body }) }
}

const failure = (service: ServiceClient, options: TelemetryOptions): Promise<Error> =>
  service
    .telemetry(options)
    .next()
    .then(
      () => new Error('none'),
      error => error,
    )

describe('reading all partitions', () => {
  it('goes on behind the last position of each, stored as JSON, and loses nothing', async () => {
    const { service, send } = await world()
    // A long event has the offset of one partition run away from those of the others.
    await send(0, 'x'.repeat(9_000))
    await send(0, 'second')
    for (let i = 0; i < 20; i++) for (const to of [1, 2]) await send(to, `${to}: ${i}`)

    const seen: string[] = []
    const positions = new Map<string, TelemetryPosition>()
    const read = async (count: number, from: TelemetryOptions['from']): Promise<void> => {
      for await (const { partition, sequenceNumber, position } of service.telemetry({ from })) {
        seen.push(`${partition}/${sequenceNumber}`)
        positions.set(partition, position)
        if (--count === 0) break
      }
    }
    await read(11, 'start')
    await send(3, 'the first in its partition')
    const stored = JSON.stringify([...positions.values()])
    await read(32, JSON.parse(stored) as TelemetryPosition[])
    expect(seen.length).toBe(43)
    expect(new Set(seen).size).toBe(43)
  })

  it('begins at `otherwise` where nothing is said of a partition', async () => {
    const { service, send } = await world()
    for (const to of [0, 1]) for (const body of ['old', 'new']) await send(to, body)
    const enqueuedAfter = new Date(Date.now() + 60_000)
    const first = await service.telemetry({ partition: '0' }).next()
    const from = [first.value?.position].filter(position => position !== undefined)
    const { value } = await service.telemetry({ from, otherwise: { enqueuedAfter } }).next()
    expect([value?.partition, value?.sequenceNumber]).toEqual(['0', 1n])
  })

  it('from one position is a UsageError that names the partition, and says what to do', async () => {
    const { service } = await world()
    const error = await failure(service, { from: { partition: '1', offset: '0' } })
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toBe(
      "telemetry: `from` is a place of partition '1', but all partitions are read, and each has places of its own; " +
        "give `partition: '1'`, or a list of positions, the last of each partition",
    )
    expect((await failure(service, { from: { sequenceNumber: 3 } })).message).toContain('is a place of no partition')
  })

  it('from a place in a partition that is none is a UsageError', async () => {
    const { service } = await world()
    const error = await failure(service, { from: [{ partition: '7', offset: '0' }] })
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toBe("telemetry: `from` has a place in partition '7', of '0', '1', '2', '3'")
  })
})

it.each<[string, TelemetryOptions]>([
  ['a place', { partition: '0', from: { partition: '1', offset: '0' } }],
  ['what a function gives', { from: () => ({ partition: '1', offset: '0' }) }],
])('%s of another partition than the one that is read is a UsageError that names both', (_, options) => {
  const begin = () => new TelemetryStarts(options).of('0')
  expect(begin).toThrow(UsageError)
  expect(begin).toThrow("is a place of partition '1', and means nothing in partition '0'")
})

it('a number for the partition is a UsageError, also where a function gives it', () => {
  expect(() => checkOptions({ partition: 0 } as object)).toThrow(
    "telemetry: a partition is a text, e.g. '0', and this is",
  )
  const from = (): never => ({ partition: 0, offset: '1' }) as never
  expect(() => new TelemetryStarts({ from }).of('0')).toThrow('this is the number 0')
})

it.each<[string, TelemetryOptions, unknown]>([
  ['its place in a list', { partition: '1', from: new Set([{ partition: '1', offset: '5' }]) }, '5'],
  ['its own place', { partition: '1', from: { partition: '1', offset: '5' } }, '5'],
  ['a place of no partition', { partition: '1', from: { offset: '5' } }, '5'],
  ['a place that JSON kept', { from: JSON.parse('[{"partition":"1","offset":"5"}]') }, '5'],
  ['what a function gives', { from: partition => ({ partition, offset: '5' }) }, '5'],
  ['the start, where a list has others only', { from: [{ partition: '0', offset: '5' }] }, 'start'],
  ['`otherwise`, where a list has others only', { from: [], otherwise: 'end' }, 'end'],
  ['`otherwise`, where a function gives nothing', { from: () => undefined, otherwise: 'end' }, 'end'],
  ['`otherwise`, where nothing is said', { otherwise: 'end' }, 'end'],
])('a partition begins at %s', (_, options, expected) => {
  const start = new TelemetryStarts(options).of('1')
  expect(typeof start === 'object' && 'offset' in start ? start.offset : start).toBe(expected)
})

it.each<[string, unknown, string]>([
  ['two places of one partition', { from: [1, 2].map(i => ({ partition: '0', offset: `${i}` })) }, "in partition '0'"],
  ['a Map', { from: new Map([['0', { partition: '0', offset: '1' }]]) }, 'values()'],
  ['a list of places of no partition', { from: [{ offset: '1' }] }, 'positions'],
  ['a list of nothing', { from: [null] }, 'positions'],
  ['a list of times', { from: [{ partition: '0', enqueuedAfter: new Date() }] }, 'positions'],
  ['a list with an offset that is none', { from: [{ partition: '0', offset: 'zz' }] }, 'offset'],
  ['`otherwise` that is a place', { otherwise: { offset: '1' } }, 'otherwise'],
  ['`otherwise` that is none', { from: [], otherwise: 'middle' }, '`otherwise` is'],
  ['`otherwise` that is no time', { otherwise: { enqueuedAfter: new Date(Number.NaN) } }, '`otherwise` is'],
  ['`otherwise` beside the same for all', { from: 'start', otherwise: 'end' }, '`otherwise` goes with'],
  ['a number for the partition of a place', { from: [{ partition: 0, offset: '1' }] }, 'this is the number 0'],
  ['a number for that of the only place', { from: { partition: 0, offset: '1' } }, 'this is the number 0'],
])('%s is a UsageError', (_, options, message) => {
  expect(() => new TelemetryStarts(options as TelemetryOptions)).toThrow(UsageError)
  expect(() => new TelemetryStarts(options as TelemetryOptions)).toThrow(message)
})
