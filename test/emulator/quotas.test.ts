import { describe, expect, it } from 'vitest'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import type { IotHubEmulatorOptions } from '../../src/emulator/options.ts'
import { Quotas } from '../../src/emulator/quotas.ts'
import { UsageError } from '../../src/errors.ts'
import { isRetryable, isThrottling } from '../../src/iothub/connection/conditions.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import { ManualClock } from './manual-clock.ts'

const DAY = 86_400_000
const THROTTLED = 'com.microsoft:device-container-throttled'

/** How many of `count` pass at one time. */
const passing = (count: number, take: () => unknown): number =>
  Array.from({ length: count }, take).filter(refusal => refusal === undefined).length

describe('rates', () => {
  it('let a burst pass, then so many a second', () => {
    const quotas = new Quotas({ telemetryPerSecond: 10 })
    const at = (ms: number, count: number): number => passing(count, () => quotas.takeTelemetry(DAY + ms))
    expect(at(0, 20)).toBe(10)
    expect(at(99, 5)).toBe(0)
    expect(at(100, 5)).toBe(1)
    expect(at(600, 50)).toBe(5)
    expect(at(60_000, 50)).toBe(10)
    expect(quotas.takeTelemetry(DAY + 60_000)).toEqual({
      condition: THROTTLED,
      description: 'ThrottlingException: the hub takes 10 messages a second',
    })
  })

  it('of commands are by the minute, and apart from those of telemetry', () => {
    const quotas = new Quotas({ telemetryPerSecond: 1, commandsPerMinute: 6 })
    expect(passing(9, () => quotas.takeCommand(DAY))).toBe(6)
    expect(passing(9, () => quotas.takeTelemetry(DAY))).toBe(1)
    expect(passing(9, () => quotas.takeCommand(DAY + 10_000))).toBe(1)
  })

  it('are those of a hub of one unit, unless told otherwise', () => {
    const quotas = new Quotas({})
    expect(passing(500, () => quotas.takeTelemetry(DAY))).toBe(100)
    expect(passing(500, () => quotas.takeCommand(DAY))).toBe(100)
  })

  it('a clock that goes back gains nothing', () => {
    const quotas = new Quotas({ telemetryPerSecond: 1 })
    expect(passing(2, () => quotas.takeTelemetry(DAY + 5000))).toBe(1)
    expect(passing(2, () => quotas.takeTelemetry(DAY + 1000))).toBe(0)
  })
})

it('the day counts both ways, only what was taken, and ends at midnight UTC', () => {
  const quotas = new Quotas({ messagesPerDay: 5, commandsPerMinute: 1 })
  expect(passing(3, () => quotas.takeTelemetry(2 * DAY - 2))).toBe(3)
  expect(passing(3, () => quotas.takeCommand(2 * DAY - 2))).toBe(1)
  expect(passing(3, () => quotas.takeTelemetry(2 * DAY - 1))).toBe(1)
  expect(quotas.takeTelemetry(2 * DAY - 1)).toMatchObject({ condition: 'amqp:resource-limit-exceeded' })
  expect(passing(9, () => quotas.takeTelemetry(2 * DAY))).toBe(5)
})

it('numbers below 1 are a UsageError', async () => {
  const twins = ['twinReadsPerSecond', 'twinUpdatesPerSecond']
  for (const name of ['telemetryPerSecond', 'commandsPerMinute', 'messagesPerDay', ...twins])
    for (const value of [0, -1, Number.NaN]) expect(() => new Quotas({ [name]: value })).toThrow(UsageError)
  await expect(IotHubEmulator.start({ listen: 'memory', quotas: { messagesPerDay: 0 } })).rejects.toThrow(UsageError)
})

describe('a hub', () => {
  async function start(quotas: IotHubEmulatorOptions['quotas']) {
    const clock = new ManualClock()
    const hub = await IotHubEmulator.start({ listen: 'memory', clock, quotas })
    const transport = () => hub.transport()
    const device = await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), { transport })
    const service = await ServiceClient.connect(hub.connectionString({ service: true }), { transport })
    const close = () => Promise.all([device.close(), service.close()]).then(() => hub.close())
    return { clock, device, service, [Symbol.asyncDispose]: close }
  }

  const conditions = (sendings: Promise<void>[]): Promise<unknown[]> =>
    Promise.all(sendings.map(sending => sending.catch((error: unknown) => error)))

  it('refuses what comes too fast, so that it is tried again later', async () => {
    await using setup = await start(true)
    const { clock, device, service } = setup
    const errors = await conditions(Array.from({ length: 101 }, () => device.sendTelemetry({ body: 'x' })))
    expect(errors.slice(0, 100)).toEqual(Array(100).fill(undefined))
    expect(errors[100]).toMatchObject({ code: 'ERR_AMQP_DELIVERY', condition: THROTTLED })
    expect(isRetryable(errors[100]) && isThrottling(errors[100])).toBe(true)
    clock.advance(10)
    await device.sendTelemetry({ body: 'x' })
    const to = 'device1'
    const sent = await conditions(Array.from({ length: 60 }, () => service.sendToDevice(to, { body: 'x' })))
    // A full queue is no matter of speed.
    expect(sent.slice(50)).toMatchObject(Array(10).fill({ condition: 'amqp:resource-limit-exceeded' }))
    const more = await conditions(Array.from({ length: 41 }, () => service.sendToDevice(to, { body: 'x' })))
    expect(more[40]).toMatchObject({ condition: THROTTLED })
  })

  it('refuses requests to twins that come too fast, each kind by itself', async () => {
    await using setup = await start({ twinReadsPerSecond: 3, twinUpdatesPerSecond: 2 })
    const { clock, device } = setup
    const twin = await device.twin()
    for (let i = 0; i < 2; i++) await twin.refresh()
    const refused = { condition: THROTTLED, info: new Map([['status', 429]]) }
    await expect(twin.refresh()).rejects.toMatchObject(refused)
    for (let i = 0; i < 2; i++) await twin.update({ i })
    await expect(twin.update({ i: 2 })).rejects.toMatchObject(refused)
    clock.advance(500)
    await twin.update({ i: 2 })
    await twin.refresh()
  })

  it('refuses nothing unless it is told to', async () => {
    await using setup = await start(undefined)
    const { device } = setup
    const errors = await conditions(Array.from({ length: 300 }, () => device.sendTelemetry({ body: 'x' })))
    expect(errors.every(error => error === undefined)).toBe(true)
  })
})
