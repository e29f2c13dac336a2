/** Tokens of clients: renewed on the links that there are, or by another connection; refused, late, wrong. */

import { afterEach, describe, expect, it } from 'vitest'
import type { TracedFrame } from '../../src/client/options.ts'
import type { ConnectionState } from '../../src/client/recovery/back-off.ts'
import type { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { ClosedError, RemoteError, SaslError, UsageError } from '../../src/errors.ts'
import { isRetryable } from '../../src/iothub/connection/conditions.ts'
import { createSasToken } from '../../src/iothub/credentials/sas.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { pause, until } from '../waiting.ts'
import { keyOf, QUICK, telemetryOf, Way, World } from './world.ts'

const world = new World()
afterEach(() => world.close())

/** A hub whose tokens end when they say. */
const strict = (): Promise<IotHubEmulator> => world.hub({ tokenSkewMs: 0, lockMs: 500 })

/** Lives a bit over a second, since tokens have whole ones, and is renewed soon. */
const SHORT = { lifeMs: 2500, marginMs: 2300 } as const

/** A source of tokens, and how it is to be. */
class Source {
  asked = 0
  lifeMs = 3_600_000
  /** Until it is resolved nothing is given. */
  gate: Promise<void> = Promise.resolve()
  failure: Error | undefined
  readonly #key: string

  constructor(hub: IotHubEmulator, deviceId = 'd1') {
    this.#key = keyOf(hub.connectionString({ deviceId }))
  }

  readonly token = async (): Promise<string> => {
    this.asked++
    await this.gate
    if (this.failure) throw this.failure
    const expiresAt = new Date(Date.now() + this.lifeMs)
    return createSasToken({ resourceUri: 'localhost/devices/d1', key: this.#key, expiresAt })
  }
}

async function sourced(
  hub: IotHubEmulator,
  more: Parameters<Way['options']>[0] = {},
): Promise<{ source: Source; device: DeviceClient; way: Way }> {
  const [source, way] = [new Source(hub), new Way(hub)]
  const credentials = { hostName: 'localhost', deviceId: 'd1', sas: source }
  return { source, device: world.kept(await DeviceClient.connect(credentials, way.options(more))), way }
}

/** What links were asked for, by their targets. */
function counting(): { trace: (frame: TracedFrame) => void; attached: string[] } {
  const attached: string[] = []
  const trace = ({ direction, body }: TracedFrame): void => {
    const { target, name } = (body ?? {}) as { target?: { address?: string }; name?: string }
    if (direction === 'out' && name !== undefined && target?.address && target.address !== 'cbs')
      attached.push(target.address)
  }
  return { trace, attached }
}

describe('by CBS', () => {
  it('is renewed in time, on the links that there are, and nothing is lost', async () => {
    const hub = await strict()
    const { trace, attached } = counting()
    const { device, way } = await world.device(hub, { tokens: SHORT, trace })
    const began = performance.now()
    let sent = 0
    for (; performance.now() - began < 3500; sent++) {
      await device.sendTelemetry({ body: `${sent}` })
      await pause(20)
    }
    expect(await telemetryOf(hub, sent)).toEqual(Array.from({ length: sent }, (_, i) => `${i}`))
    // One connection, one pair of links to $cbs, one of telemetry: neither was lost nor made again.
    expect(way.dialled).toHaveLength(1)
    expect(attached).toEqual(['$cbs', '/devices/d1/messages/events'])
  })

  it('asks a source anew, once at a time, and holds what it has where that fails', async () => {
    const hub = await strict()
    const { source, device } = await sourced(hub, { tokens: { marginMs: 3_599_900 } })
    // The margin is almost the life: it is asked after a second.
    source.failure = new Error('the vault is shut')
    await until(() => source.asked >= 2)
    await device.sendTelemetry({ body: '0' })
    // Again, after a second at least.
    source.failure = undefined
    await until(() => source.asked === 3)
    await device.sendTelemetry({ body: '1' })
    expect(await telemetryOf(hub, 2)).toEqual(['0', '1'])
  })

  it('is put anew when the hub lets go of links as not authorised', async () => {
    const hub = await strict()
    const { source, device, way } = await sourced(hub)
    const loop = device.messages().next()
    await device.sendTelemetry({ body: '0' })
    hub.fault({ on: 'expiry' })
    await device.sendTelemetry({ body: '1' }).catch(error => expect(error).toBeInstanceOf(ClosedError))
    await device.sendTelemetry({ body: '2' })
    const status = hub.sendToDevice('d1', { body: 'x' })
    await (await loop).value?.complete()
    expect(await status).toBe('success')
    expect(source.asked).toBeLessThanOrEqual(3)
    expect(way.dialled).toHaveLength(1)
  })

  it('a message that cannot be settled, since its link went, comes again: that is worth another try', async () => {
    const hub = await strict()
    const { source, device } = await sourced(hub)
    const loop = device.messages()
    const status = hub.sendToDevice('d1', { body: 'x' })
    const first = (await loop.next()).value
    const next = loop.next()
    hub.fault({ on: 'expiry' })
    await until(() => source.asked === 2)
    const error = await first?.complete().catch(reason => reason)
    expect(error).toBeInstanceOf(ClosedError)
    expect(isRetryable(error)).toBe(true)
    await (await next).value?.complete()
    expect(await status).toBe('success')
  })

  it('feedback that cannot be settled, since its link is not there any more, is worth another try', async () => {
    const hub = await strict()
    const { device } = await sourced(hub)
    let asked = 0
    const trace = ({ direction, body }: TracedFrame): void => {
      const { source } = (body ?? {}) as { source?: { address?: string } }
      if (direction === 'out' && source?.address?.endsWith('feedback')) asked++
    }
    const { service } = await world.service(hub, { trace })
    await service.sendToDevice('d1', { body: 'x', messageId: 'm', ack: 'full' })
    await (await device.messages().next()).value?.complete()
    const batch = (await service.feedback().next()).value
    const next = service.feedback().next()
    hub.fault({ on: 'link', match: 'feedback', error: { condition: 'amqp:not-found' } })
    await until(() => asked === 2)
    for (const decide of ['complete', 'abandon'] as const)
      expect(isRetryable(await batch?.[decide]().catch(reason => reason))).toBe(true)
    await (await next).value?.complete()
  })

  it('that is refused when it is renewed ends the client, with the reason', async () => {
    const hub = await strict()
    const { device } = await sourced(hub)
    const loop = device.messages().next()
    await device.sendTelemetry({ body: '0' })
    hub.fault({ on: 'token', times: Number.POSITIVE_INFINITY })
    hub.fault({ on: 'expiry' })
    const refused = { condition: 'amqp:unauthorized-access' }
    await expect(loop).rejects.toMatchObject(refused)
    const { by, error } = await device.closed
    expect([by, error]).toEqual(['remote', expect.any(RemoteError)])
    expect(error).toMatchObject(refused)
    await expect(device.sendTelemetry({ body: 'x' })).rejects.toMatchObject(refused)
    await expect(device.messages().next()).rejects.toMatchObject(refused)
  })

  it('is put on each connection, before its links', async () => {
    const hub = await strict()
    const { trace, attached } = counting()
    const { source, device, way } = await sourced(hub, { trace })
    await device.sendTelemetry({ body: '0' })
    await way.lose()
    await device.sendTelemetry({ body: '1' })
    expect(source.asked).toBe(2)
    expect(attached).toEqual(['$cbs', '/devices/d1/messages/events', '$cbs', '/devices/d1/messages/events'])
    expect(await telemetryOf(hub, 2)).toEqual(['0', '1'])
  })

  it('that is refused on another connection ends the client, with the reason', async () => {
    const hub = await strict()
    const { device, way } = await sourced(hub)
    const waits = way.states
    hub.fault({ on: 'token', times: Number.POSITIVE_INFINITY })
    way.cut()
    expect(await device.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:unauthorized-access' } })
    expect(waits.at(-1)).toBe('closed')
  })

  it('of a source that fails for a while is waited for', async () => {
    const hub = await strict()
    const { source, device, way } = await sourced(hub)
    source.failure = new Error('the vault is shut')
    way.cut()
    await until(() => source.asked >= 3)
    source.failure = undefined
    await device.sendTelemetry({ body: '0' })
    expect(await telemetryOf(hub, 1)).toEqual(['0'])
  })

  it('that is under way when the connection is lost is not put twice', async () => {
    const hub = await strict()
    const { source, device, way } = await sourced(hub)
    const loop = device.messages().next()
    await device.sendTelemetry({ body: '0' })
    let open: () => void = () => {}
    source.gate = new Promise(resolve => {
      open = resolve
    })
    hub.fault({ on: 'expiry' })
    await until(() => source.asked === 2)
    way.cut()
    await until(() => way.dialled.length === 2)
    // The attempt waits for the renewal that is under way, and does its own behind it.
    await pause(20)
    expect(source.asked).toBe(2)
    open()
    await device.sendTelemetry({ body: '1' })
    expect(source.asked).toBe(3)
    const status = hub.sendToDevice('d1', { body: 'x' })
    await (await loop).value?.complete()
    expect(await status).toBe('success')
  })

  it('is renewed where nothing is made again, too', async () => {
    const hub = await strict()
    const { device } = await world.device(hub, { tokens: SHORT, reconnect: false })
    await pause(2700)
    await device.sendTelemetry({ body: '0' })
  })
})

describe('by PLAIN', () => {
  it('another connection is made before it expires, and nothing is lost', async () => {
    const hub = await strict()
    const { device, way } = await world.device(hub, { auth: 'plain', tokens: SHORT })
    const status = hub.sendToDevice('d1', { body: 'x' })
    const held = (await device.messages().next()).value
    const began = performance.now()
    let sent = 0
    for (; performance.now() - began < 3000; sent++) {
      await device.sendTelemetry({ body: `${sent}` })
      await pause(2)
    }
    expect(way.dialled.length).toBeGreaterThan(2)
    // The hub has closed none.
    // One more may be on its way.
    const begun = way.states.filter(state => state === 'waiting').length
    expect([way.dialled.length - 1, way.dialled.length]).toContain(begun)
    expect(await telemetryOf(hub, sent)).toEqual(Array.from({ length: sent }, (_, i) => `${i}`))
    // It was lost with its connection, and comes again when its lock is over.
    await expect(held?.complete()).rejects.toThrow(ClosedError)
    const completing = (async () => {
      for await (const message of device.messages()) await message.complete().catch(() => {})
    })()
    expect(await status).toBe('success')
    await device.close()
    await completing
  })

  it('that is renewed is no loss: however often, it is not given up, and the log says what it is', async () => {
    const hub = await strict()
    const way = new Way(hub)
    const told: [number, string | undefined][] = []
    const onStateChange = ({ state, attempt, error }: ConnectionState): unknown =>
      state === 'waiting' && told.push([attempt, error?.message])
    const reconnect = { ...QUICK, stableMs: 60_000, attempts: 1, onStateChange }
    const options = { transport: way.dial, auth: 'plain', tokens: SHORT, reconnect } as const
    world.kept(await DeviceClient.connect(hub.connectionString({ deviceId: 'd1' }), options))
    await until(() => told.length >= 3)
    const why = expect.stringMatching(/: made anew from this end, to log in by a new token before the old one expires$/)
    expect(told).toEqual(told.map(() => [1, why]))
  })

  it('another connection is made when calls and questions have been answered', async () => {
    const hub = await strict()
    const { device, way } = await world.device(hub, { auth: 'plain', tokens: { lifeMs: 4000, marginMs: 2000 } })
    const twin = await device.twin()
    let isCalled = false
    await device.onMethod('slow', async () => {
      isCalled = true
      await pause(700)
      return { status: 200 }
    })
    // The renewal falls into the call.
    await pause(1600)
    const answer = hub.invokeMethod('d1', 'slow')
    await until(() => isCalled)
    // So that there is always a question on its way.
    hub.fault({ delayMs: 15 })
    let updates = 0
    const updating = (async () => {
      for (; way.dialled.length === 1; updates++) await twin.update({ updates })
    })()
    expect(await answer).toEqual({ status: 200, payload: null })
    await updating
    expect(updates).toBeGreaterThan(1)
    expect(await twin.update({ last: true })).toBe(updates + 2)
  })

  it('a call that takes too long is not waited for', async () => {
    const hub = await strict()
    const { device, way } = await world.device(hub, { auth: 'plain', tokens: { lifeMs: 3000, marginMs: 1600 } })
    await device.onMethod('endless', () => new Promise(() => {}))
    const call = hub.invokeMethod('d1', 'endless')
    await expect(call).rejects.toThrow(RemoteError)
    await until(() => way.dialled.length === 2)
    await device.sendTelemetry({ body: '0' })
  })

  it('the hub closes the connection as not authorised, and another is made with a new token', async () => {
    const hub = await strict()
    const { source, device, way } = await sourced(hub, { auth: 'plain', reconnect: { stableMs: 0 } })
    await device.sendTelemetry({ body: '0' })
    hub.fault({ on: 'expiry' })
    await until(() => way.dialled.length === 2)
    await device.sendTelemetry({ body: '1' })
    expect(source.asked).toBe(2)
  })

  it('that is refused ends the client, with the reason', async () => {
    const hub = await strict()
    const { device } = await sourced(hub, { auth: 'plain' })
    await device.sendTelemetry({ body: '0' })
    hub.fault({ on: 'token' })
    hub.fault({ on: 'expiry' })
    expect((await device.closed).error).toBeInstanceOf(SaslError)
    await expect(device.sendTelemetry({ body: 'x' })).rejects.toThrow(ClosedError)
  })

  it('a hub that closes what it has just let in is not asked for ever', async () => {
    const hub = await strict()
    const { device, way } = await sourced(hub, { auth: 'plain' })
    hub.fault({ on: 'connection', error: { condition: 'amqp:unauthorized-access' }, times: Number.POSITIVE_INFINITY })
    expect(await device.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:unauthorized-access' } })
    expect(way.dialled.length).toBeLessThan(4)
  })
})

it.each([
  { tokens: { lifeMs: 999 } },
  { tokens: { lifeMs: Number.NaN } },
  { tokens: { marginMs: -1 } },
  { maxQueued: -1 },
  { reconnect: { throttledMs: -1 } },
  { reconnect: { initialMs: 'x' as never } },
  { reconnect: { resume: true } as never },
  { reconnect: true as never },
])('options are checked: %j', async options => {
  const hub = await world.hub()
  const connecting = DeviceClient.connect(hub.connectionString({ deviceId: 'd1' }), {
    transport: () => hub.transport(),
    ...options,
  })
  await expect(connecting).rejects.toThrow(UsageError)
})
