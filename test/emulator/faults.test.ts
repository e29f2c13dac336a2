/** Faults on demand, each as a program meets it: set up in a line, seen by a client, over when it is said to be. */

import { afterEach, describe, expect, it } from 'vitest'
import type { Connection } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { sasl } from '../../src/client/sasl.ts'
import { type EmulatorFault, Faults, type FaultTarget } from '../../src/emulator/faults/faults.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import type { IotHubEmulatorOptions } from '../../src/emulator/options.ts'
import { ClosedError, SaslError, TransportError, UsageError } from '../../src/errors.ts'
import { isRetryable } from '../../src/iothub/connection/conditions.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { provision } from '../../src/iothub/provisioning/provisioning.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import { pause } from '../waiting.ts'

const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})
function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}
async function start(options: IotHubEmulatorOptions = {}): Promise<IotHubEmulator> {
  return kept(await IotHubEmulator.start({ devices: ['d1', 'd2'], listen: 'memory', ...options }))
}
async function dial(hub: IotHubEmulator, deviceId = 'd1', auth: 'cbs' | 'plain' = 'cbs'): Promise<DeviceClient> {
  const reach = hub.port === 0 ? { transport: hub.transport() } : { tls: { ca: hub.ca } }
  // What is struck is looked at, and not mended.
  const options = { ...reach, auth, reconnect: false } as const
  return kept(await DeviceClient.connect(hub.connectionString({ deviceId }), options))
}
const error = { condition: 'com.microsoft:server-busy', description: 'later' }
const busy = { condition: 'com.microsoft:server-busy' }
const body = { body: 'x' }

describe('a connection', () => {
  it.each(['memory', undefined] as const)('is dropped without a close, over %s', async listen => {
    const hub = await start({ listen })
    const device = await dial(hub)
    await device.sendTelemetry(body)
    const fault = hub.fault({ dropAfterBytes: 2000 })
    await expect(device.sendTelemetry({ body: 'x'.repeat(5000) })).rejects.toThrow(ClosedError)
    expect((await device.closed).error).toBeInstanceOf(TransportError)
    expect(fault.strikes).toBe(1)
    // Once, as nothing else was said.
    await (await dial(hub)).sendTelemetry({ body: 'x'.repeat(5000) })
  })

  it('is dropped at once, and each that comes, until the fault is over', async () => {
    const hub = await start()
    const device = await dial(hub)
    const fault = hub.fault({ dropAfterBytes: 0, times: Number.POSITIVE_INFINITY })
    await device.closed
    for (let i = 0; i < 2; i++) await expect(dial(hub)).rejects.toThrow(TransportError)
    expect(fault.strikes).toBe(3)
    fault[Symbol.dispose]()
    await dial(hub)
  })

  it('is counted from when the fault began', async () => {
    const hub = await start()
    const device = await dial(hub)
    await device.sendTelemetry({ body: 'x'.repeat(5000) })
    const fault = hub.fault({ dropAfterBytes: 3000 })
    await device.sendTelemetry({ body: 'x'.repeat(1000) })
    expect(fault.strikes).toBe(0)
    await expect(device.sendTelemetry({ body: 'x'.repeat(3000) })).rejects.toThrow(ClosedError)
  })

  it('is slow, each way, in order; and no more when the fault is over', async () => {
    const hub = await start()
    const device = await dial(hub)
    await device.sendTelemetry(body)
    const slow = hub.fault({ delayMs: 40 })
    const began = performance.now()
    await Promise.all(Array.from({ length: 20 }, (_, i) => device.sendTelemetry({ body: `${i}` })))
    expect(performance.now() - began).toBeGreaterThan(75)
    slow[Symbol.dispose]()
    await device.sendTelemetry({ body: '20' })
    const again = performance.now()
    await device.sendTelemetry({ body: '21' })
    expect(performance.now() - again).toBeLessThan(40)
    const bodies: string[] = []
    for await (const event of hub.telemetry) {
      bodies.push(new TextDecoder().decode(event.body))
      if (bodies.length === 23) break
    }
    expect(bodies).toEqual(['x', ...Array.from({ length: 22 }, (_, i) => `${i}`)])
  })

  it('is closed with an error: the one that there is, and not the next', async () => {
    const hub = await start()
    const device = await dial(hub)
    hub.fault({ on: 'connection', error })
    expect(await device.closed).toMatchObject({ by: 'remote', error: busy })
    await (await dial(hub)).sendTelemetry(body)
  })

  it('is closed with an error: the next, when there is none', async () => {
    const hub = await start()
    const fault = hub.fault({ on: 'connection', error })
    await expect(dial(hub).then(device => device.sendTelemetry(body))).rejects.toMatchObject(busy)
    expect(fault.strikes).toBe(1)
    await (await dial(hub)).sendTelemetry(body)
  })

  it('is told by the device whose token it has, or by the links', async () => {
    const hub = await start()
    const [one, other] = [await dial(hub, 'd1'), await dial(hub, 'd2', 'plain')]
    hub.fault({ on: 'connection', match: 'devices/d2', error })
    expect(await other.closed).toMatchObject({ error: busy })
    await one.sendTelemetry(body)
  })
})

describe('a session or a link', () => {
  it('a session is ended with an error', async () => {
    const hub = await start()
    const device = await dial(hub)
    await device.sendTelemetry(body)
    hub.fault({ on: 'session', match: 'messages/events', error })
    await expect(device.sendTelemetry(body)).rejects.toMatchObject({ cause: busy })
  })

  it('a link is detached with an error, and the next use attaches it again', async () => {
    const hub = await start()
    const device = await dial(hub)
    await device.sendTelemetry(body)
    const loop = device.messages().next()
    await pause(20)
    hub.fault({ on: 'link', match: '/devices/d1/messages/deviceBound', error })
    await expect(loop).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED', cause: busy })
    await device.sendTelemetry(body)
    void hub.sendToDevice('d1', body).catch(() => {})
    expect((await device.messages().next()).done).toBe(false)
  })

  it('the next link is detached, when none matches yet; as often as is said', async () => {
    const hub = await start()
    const device = await dial(hub)
    const fault = hub.fault({ on: 'link', match: 'messages/events', error, times: 2 })
    // The detach may come before or behind the disposition.
    for (let i = 0; i < 2; i++) await device.sendTelemetry(body).catch(() => {})
    await expect.poll(() => fault.strikes).toBe(2)
    await pause(20)
    await device.sendTelemetry(body)
    expect(fault.strikes).toBe(2)
  })

  it('a link is refused, whoever may have it; another is not', async () => {
    const hub = await start()
    const device = await dial(hub)
    const fault = hub.fault({ on: 'attach', match: 'D1/MESSAGES/EVENTS', error, times: 2 })
    await (await dial(hub, 'd2')).sendTelemetry(body)
    for (let i = 0; i < 2; i++) await expect(device.sendTelemetry(body)).rejects.toMatchObject(busy)
    await device.sendTelemetry(body)
    expect(fault.strikes).toBe(2)
  })
})

describe('a message', () => {
  it('is rejected: throttled, twice', async () => {
    const hub = await start()
    const device = await dial(hub)
    const throttled = { condition: 'com.microsoft:device-container-throttled' }
    using fault = hub.fault({ on: 'delivery', match: 'messages/events', error: throttled, times: 2 })
    for (let i = 0; i < 2; i++) await expect(device.sendTelemetry(body)).rejects.toMatchObject(throttled)
    await device.sendTelemetry(body)
    expect(fault.strikes).toBe(2)
  })

  it('of a service, to its commands', async () => {
    const hub = await start()
    const service = kept(
      await ServiceClient.connect(hub.connectionString({ service: true }), { transport: hub.transport() }),
    )
    hub.fault({ on: 'delivery', match: '/messages/deviceBound', error })
    await expect(service.sendToDevice('d1', body)).rejects.toMatchObject(busy)
    await service.sendToDevice('d1', body)
  })

  it.each(['released', 'modified'] as const)('is %s', async outcome => {
    const hub = await start()
    const device = await dial(hub)
    hub.fault({ on: 'delivery', match: 'messages/events', outcome })
    await expect(device.sendTelemetry(body)).rejects.toMatchObject({ code: 'ERR_AMQP_DELIVERY', outcome: { outcome } })
    await device.sendTelemetry(body)
  })

  it('is never settled', async () => {
    const hub = await start()
    const device = await dial(hub)
    hub.fault({ on: 'delivery', match: 'messages/events', outcome: 'none' })
    const lost = device.sendTelemetry(body).then(
      () => 'settled',
      () => 'failed',
    )
    await device.sendTelemetry(body)
    expect(await Promise.race([lost, 'waiting'])).toBe('waiting')
    hub.fault({ dropAfterBytes: 0 })
    expect(await lost).toBe('failed')
  })

  it('of a device that is being provisioned: it is asked again', async () => {
    const hub = await start()
    const { key = '' } = hub.provisioning.enrol('r', { retryAfter: 0 })
    const { idScope } = hub.provisioning
    const info = { 'retry-after': 0 }
    const fault = hub.fault({ on: 'delivery', match: '/registrations/r', error: { ...error, info }, times: 3 })
    await provision({ idScope, registrationId: 'r', key, transport: hub.transport() })
    expect(fault.strikes).toBe(3)
    hub.fault({ on: 'attach', match: '/registrations/r', error })
    await expect(provision({ idScope, registrationId: 'r', key, transport: hub.transport() })).rejects.toMatchObject(
      busy,
    )
  })
})

describe('a message of the hub', () => {
  it('to a device is lost, and comes again after its lock', async () => {
    const hub = await start({ lockMs: 100 })
    const device = await dial(hub)
    const fault = hub.fault({ on: 'delivery', from: 'hub', match: 'd1/messages/deviceBound', outcome: 'none' })
    const status = hub.sendToDevice('d1', body)
    const began = performance.now()
    const { value } = await device.messages().next()
    expect(performance.now() - began).toBeGreaterThan(95)
    expect(fault.strikes).toBe(1)
    await value?.complete()
    expect(await status).toBe('success')
  })

  it.each([
    ['rejected', { error }, 'rejected'],
    ['abandoned', { outcome: 'released', times: 10 }, 'deliveryCountExceeded'],
    ['abandoned, as modified', { outcome: 'modified', times: 10 }, 'deliveryCountExceeded'],
  ] as const)('is %s in the name of the device', async (_, how, end) => {
    const hub = await start()
    const device = await dial(hub)
    const loop = device.messages().next()
    // What devices send is left alone.
    hub.fault({ on: 'delivery', from: 'hub', match: 'd1/messages', ...how })
    await device.sendTelemetry(body)
    expect(await hub.sendToDevice('d1', body)).toBe(end)
    const status = hub.sendToDevice('d1', body)
    await (await loop).value?.complete()
    expect(await status).toBe('success')
  })

  it('a lost change of a twin shows by the next', async () => {
    const hub = await start()
    const changes = (await (await dial(hub)).twin()).changes()
    hub.fault({ on: 'delivery', from: 'hub', match: '/twin', outcome: 'none' })
    hub.updateDesired('d1', { a: 1 })
    hub.updateDesired('d1', { b: 2 })
    expect((await changes.next()).value).toMatchObject({ patch: undefined, desired: { a: 1, b: 2 } })
  })

  it('a call that is refused has found nobody; a lost one has no answer', async () => {
    const hub = await start()
    await (await dial(hub)).onMethod('m', () => ({ status: 200 }))
    hub.fault({ on: 'delivery', from: 'hub', match: '/methods', error })
    await expect(hub.invokeMethod('d1', 'm')).rejects.toMatchObject({ condition: 'amqp:not-found' })
    hub.fault({ on: 'delivery', from: 'hub', match: '/methods', outcome: 'none' })
    const lost = hub.invokeMethod('d1', 'm', null, { responseTimeoutMs: 50 })
    await expect(lost).rejects.toMatchObject({ condition: 'com.microsoft:timeout' })
    expect((await hub.invokeMethod('d1', 'm')).status).toBe(200)
  })

  it('events and feedback are lost as well', async () => {
    const hub = await start({ lockMs: 100, feedbackBatchMs: 0, partitions: 1 })
    const service = kept(
      await ServiceClient.connect(hub.connectionString({ service: true }), { transport: () => hub.transport() }),
    )
    const device = await dial(hub)
    for (const text of ['0', '1']) await device.sendTelemetry({ body: text })
    hub.fault({ on: 'delivery', from: 'hub', match: 'Partitions/0', outcome: 'none' })
    for await (const event of service.telemetry()) {
      expect(new TextDecoder().decode(event.body)).toBe('1')
      break
    }
    const fault = hub.fault({ on: 'delivery', from: 'hub', match: '/feedback', outcome: 'none' })
    await service.sendToDevice('d1', { ...body, messageId: 'm', ack: 'full' })
    await (await device.messages().next()).value?.complete()
    for await (const { records } of service.feedback()) {
      expect(records).toMatchObject([{ originalMessageId: 'm', status: 'success' }])
      break
    }
    expect(fault.strikes).toBe(1)
  })
})

it.each(['link', 'session', 'connection'] as const)('a %s may end without an error', async on => {
  const hub = await start()
  const device = await dial(hub)
  await device.sendTelemetry(body)
  const loop = device.messages().next()
  await pause(20)
  hub.fault({ on, ...(on === 'link' && { match: 'deviceBound' }) })
  const reason = await loop.catch((error: unknown) => error)
  expect(reason).toMatchObject({ code: 'ERR_AMQP_CLOSED', condition: undefined })
  // Over one transport, the end of the connection is that of the client.
  expect(isRetryable(reason)).toBe(on !== 'connection')
})

describe('tokens', () => {
  it('are refused, by CBS and by PLAIN', async () => {
    const hub = await start()
    hub.fault({ on: 'token', times: 2 })
    await expect(dial(hub)).rejects.toMatchObject({ condition: 'amqp:unauthorized-access' })
    await expect(dial(hub, 'd1', 'plain')).rejects.toThrow(SaslError)
    await dial(hub)
  })

  it('expire on demand: CBS loses its links, PLAIN its connection; new ones are taken', async () => {
    const hub = await start()
    const [one, other, third] = [await dial(hub, 'd1'), await dial(hub, 'd2', 'plain'), await dial(hub, 'd2')]
    for (const device of [one, other, third]) await device.sendTelemetry(body)
    const loop = one.messages().next()
    await pause(20)
    const unauthorized = { condition: 'amqp:unauthorized-access' }
    expect(hub.fault({ on: 'expiry', match: 'devices/d1' }).strikes).toBe(1)
    await expect(loop).rejects.toMatchObject({ cause: unauthorized })
    await expect(one.sendTelemetry(body)).rejects.toMatchObject(unauthorized)
    await other.sendTelemetry(body)
    expect(hub.fault({ on: 'expiry' }).strikes).toBe(1)
    expect(await other.closed).toMatchObject({ by: 'remote', error: unauthorized })
    await (await dial(hub, 'd2', 'plain')).sendTelemetry(body)
  })

  it('a connection keeps its links when its token is renewed in time', async () => {
    const hub = await start()
    const device = await dial(hub)
    await device.sendTelemetry(body)
    expect(hub.fault({ on: 'expiry', match: 'devices/d9' }).strikes).toBe(0)
    await device.sendTelemetry(body)
  })
})

describe('gateways', () => {
  const open = async (hub: IotHubEmulator): Promise<{ connection: Connection; flows: unknown[]; sasl: unknown[] }> => {
    const flows: unknown[] = []
    const frames: unknown[] = []
    const connection = kept(
      await connect({
        host: 'h',
        transport: hub.transport(),
        sasl: sasl.mssbcbs(),
        trace: ({ direction, layer, body }) => {
          if (direction === 'out') return
          if (layer === 'sasl') frames.push(body)
          if (layer === 'amqp' && (body as { type?: string } | undefined)?.type === 'flow') flows.push(body)
        },
      }),
    )
    await connection.request('$cbs', { replyTo: 'cbs' })
    await expect.poll(() => flows.length).toBeGreaterThan(0)
    return { connection, flows, sasl: frames }
  }

  it('v1', async () => {
    const { connection, flows, sasl } = await open(await start())
    expect(connection.remote.containerId).toMatch(/^DeviceGateway_[0-9a-f]{32}$/)
    expect(connection.remote).toMatchObject({ hostname: 'localhost', maxFrameSize: 65_536, channelMax: 8191 })
    expect(sasl[0]).toMatchObject({ saslServerMechanisms: ['EXTERNAL', 'MSSBCBS', 'ANONYMOUS', 'PLAIN'] })
    expect(new TextDecoder().decode((sasl[1] as { additionalData?: Uint8Array }).additionalData)).toBe('Welcome!')
    expect((flows[0] as { nextIncomingId?: number }).nextIncomingId).toBeTypeOf('number')
  })

  it('v2, with which a client can send more than the window is wide', async () => {
    const hub = await start({ gateway: 'v2' })
    const { connection, flows, sasl } = await open(hub)
    expect(connection.remote.containerId).toMatch(/^[0-9a-f]{32}$/)
    expect(connection.remote).toMatchObject({ maxFrameSize: 65_535, channelMax: 1024, idleTimeOut: 240_000 })
    expect(connection.remote.hostname).toBe('')
    expect(sasl[0]).toMatchObject({ saslServerMechanisms: ['PLAIN', 'ANONYMOUS', 'MSSBCBS', 'EXTERNAL'] })
    expect((sasl[1] as { additionalData?: Uint8Array }).additionalData).toBeUndefined()
    expect((flows[0] as { nextIncomingId?: number }).nextIncomingId).toBeUndefined()
    const device = await dial(hub)
    for (let i = 0; i < 12; i++) await Promise.all(Array.from({ length: 1000 }, () => device.sendTelemetry(body)))
  })

  it('there is no third', async () => {
    await expect(start({ gateway: 'v3' as never })).rejects.toThrow(UsageError)
  })
})

describe('what is no fault', () => {
  it.each<[string, unknown]>([
    ['nothing', {}],
    ['two at once', { dropAfterBytes: 1, delayMs: 1 }],
    ['bytes below 0', { dropAfterBytes: -1 }],
    ['a delay that is none', { delayMs: Number.NaN }],
    ['no times', { on: 'token', times: 0 }],
    ['nowhere', { on: 'moon' }],
    ['no error', { on: 'attach' }],
    ['an error that is none', { on: 'link', error: {} }],
    ['neither end', { on: 'delivery', outcome: 'none', from: 'moon' }],
    ['https with nothing', { on: 'https' }],
    ['https with two', { on: 'https', status: 500, drop: true }],
    ['a good status', { on: 'https', status: 200 }],
    ['a status that is none', { on: 'https', status: '503' }],
    ['half a drop', { on: 'https', drop: false }],
    ['bytes of https', { on: 'https', status: 500, dropAfterBytes: 1 }],
    ['an error without a condition', { on: 'attach', error: {} }],
    ['a delivery with neither', { on: 'delivery' }],
    ['a delivery with both', { on: 'delivery', outcome: 'none', error }],
  ])('%s: UsageError', (_, fault) => {
    expect(() => new Faults().add(fault as EmulatorFault)).toThrow(UsageError)
  })

  it('a target that is not watched any more is not struck', () => {
    const faults = new Faults()
    let strikes = 0
    const strike = (): boolean => ++strikes > 0
    const target: FaultTarget = { strike, expireTokens: strike }
    const unwatch = faults.watch(target)
    faults.add({ on: 'link', error })
    unwatch()
    faults.add({ on: 'link', error })
    expect(strikes).toBe(1)
  })
})
