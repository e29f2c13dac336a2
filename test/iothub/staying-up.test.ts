/** Clients that stay up: connections and links that are lost are made again, and what was wanted of them goes on. */

import { afterEach, describe, expect, it } from 'vitest'
import type { Receiver } from '../../src/client/api.ts'
import { saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ClosedError, RemoteError, UsageError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'
import { isRetryable } from '../../src/iothub/connection/conditions.ts'
import { QueueFullError } from '../../src/iothub/connection/queue-full-error.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { pause, until } from '../waiting.ts'
import { QUICK, telemetryOf, text, World } from './world.ts'

const world = new World()
afterEach(() => world.close())

const throttled = { condition: 'com.microsoft:device-container-throttled' }
const internal = { condition: 'amqp:internal-error' }

describe('a connection that is lost', () => {
  it('is made again, and telemetry that was sent meanwhile arrives in order', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub)
    await device.sendTelemetry({ body: '0' })
    way.bar(true)
    await until(() => way.states.includes('waiting'))
    const sends = [1, 2, 3].map(i => device.sendTelemetry({ body: `${i}` }))
    await until(() => way.dialled.length > 3)
    way.bar(false)
    await Promise.all(sends)
    expect(await telemetryOf(hub, 4)).toEqual(['0', '1', '2', '3'])
    expect(way.states).toContain('restored')
  })

  it('what was on its way rejects, as worth another try', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub)
    await device.sendTelemetry({ body: '0' })
    hub.fault({ on: 'delivery', outcome: 'none' })
    const lost = device.sendTelemetry({ body: '1' }).catch(error => error)
    await pause(20)
    way.cut()
    expect(await lost).toMatchObject({ code: 'ERR_AMQP_CLOSED', scope: 'delivery' })
    expect(isRetryable(await lost)).toBe(true)
  })

  it('what was on its way is sent again, where that is asked for', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub, { reconnect: { resend: true } })
    await device.sendTelemetry({ body: '0' })
    hub.fault({ on: 'delivery', outcome: 'none' })
    const again = device.sendTelemetry({ body: '1' })
    await pause(20)
    way.cut()
    await again
  })

  it('no more wait than may, and what is refused may be tried again', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub, { maxQueued: 2 })
    await device.sendTelemetry({ body: '0' })
    way.bar(true)
    await until(() => way.states.includes('waiting'))
    const sends = [device.sendTelemetry({ body: '1' }), device.sendTelemetry({ body: '2' })]
    const refused = await device.sendTelemetry({ body: '3' }).catch(error => error)
    expect(refused).toBeInstanceOf(QueueFullError)
    expect(refused).toBeInstanceOf(UsageError)
    expect(refused).toMatchObject({ name: 'QueueFullError', code: 'ERR_AMQP_QUEUE_FULL' })
    expect(refused).toBeInstanceOf(UsageError)
    expect(refused.limit).toBe(2)
    expect(isRetryable(refused)).toBe(true)
    way.bar(false)
    await Promise.all(sends)
    await device.sendTelemetry({ body: '3' })
    expect(await telemetryOf(hub, 4)).toEqual(['0', '1', '2', '3'])
  })

  it('a service goes on with commands, feedback and file notifications', async () => {
    const hub = await world.hub()
    const { service, way } = await world.service(hub)
    const { device } = await world.device(hub)
    const feedback = service.feedback()
    const [batch, file] = [feedback.next(), service.fileNotifications().next()]
    await service.sendToDevice('d1', { body: '0' })
    await way.lose()
    await service.sendToDevice('d1', { body: '1', messageId: 'm1', ack: 'full' })
    for await (const message of device.messages()) {
      await message.complete()
      if (text(message.body) === '1') break
    }
    expect((await batch).value?.records[0]).toMatchObject({ status: 'success', originalMessageId: 'm1' })
    hub.notifyFileUpload({ deviceId: 'd1', blobName: 'f', blobUri: 'u', blobSizeInBytes: 1 })
    expect((await file).value).toMatchObject({ blobName: 'f' })
  })

  it('a device goes on with messages, methods, and the inputs of a module', async () => {
    const hub = await world.hub()
    hub.addModule('d1', 'm1')
    const { device, way } = await world.device(hub)
    const module = await world.moduleOf(hub, 'd1', 'm1')
    const registration = await device.onMethod('double', ({ payload }) => ({
      status: 200,
      payload: Number(payload) * 2,
    }))
    const [message, input] = [device.messages().next(), module.device.inputs().next()]
    expect(await hub.invokeMethod('d1', 'double', 4)).toMatchObject({ payload: 8 })
    await Promise.all([way.lose(), module.way.lose()])
    await until(() => way.states.includes('restored') && module.way.states.includes('restored'))
    expect(await hub.invokeMethod('d1', 'double', 5)).toMatchObject({ payload: 10 })
    const statuses = [
      hub.sendToDevice('d1', { body: 'x' }),
      hub.sendToDevice('d1', { body: 'y' }, { moduleId: 'm1', inputName: 'i' }),
    ]
    await (await message).value?.complete()
    expect((await input).value?.inputName).toBe('i')
    await (await input).value?.complete()
    expect(await Promise.all(statuses)).toEqual(['success', 'success'])
    registration[Symbol.dispose]()
    expect(await registration.closed).toMatchObject({ by: 'local' })
  })

  it('a twin tells what has changed meanwhile, and goes on', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub)
    const twin = await device.twin()
    const changes = twin.changes()
    hub.updateDesired('d1', { a: 1 })
    expect((await changes.next()).value).toMatchObject({ patch: { a: 1 } })
    way.bar(true)
    await until(() => way.states.includes('waiting'))
    hub.updateDesired('d1', { b: 2 })
    hub.updateDesired('d1', { c: 3 })
    const update = twin.update({ seen: true })
    way.bar(false)
    expect((await changes.next()).value).toMatchObject({ patch: undefined, desired: { a: 1, b: 2, c: 3 } })
    expect(await update).toBe(2)
    hub.updateDesired('d1', { d: 4 })
    expect((await changes.next()).value).toMatchObject({ patch: { d: 4 } })
    expect(hub.twin('d1').properties.reported).toMatchObject({ seen: true })
    expect(await device.twin()).toBe(twin)
  })

  it('a question to the twin whose answer is lost rejects, and nothing hangs', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub)
    const twin = await device.twin()
    hub.fault({ on: 'delivery', match: '/twin', outcome: 'none' })
    const lost = twin.update({ a: 1 }).catch(error => error)
    await pause(20)
    way.cut()
    expect(await lost).toBeInstanceOf(ClosedError)
    expect(await twin.update({ a: 2 })).toBeGreaterThan(1)
  })

  it('telemetry is read on behind the last event', async () => {
    const hub = await world.hub({ partitions: 2 })
    const { service, way } = await world.service(hub)
    const { device } = await world.device(hub)
    const reader = service.telemetry()
    const seen: string[] = []
    for (let i = 0; i < 12; i++) {
      await device.sendTelemetry({ body: `${i}` })
      seen.push(text((await reader.next()).value?.body ?? new Uint8Array()))
      if (i % 4 === 3) way.cut()
    }
    expect(seen).toEqual(Array.from({ length: 12 }, (_, i) => `${i}`))
    await reader.return(undefined)
  })

  it('what comes from the end on is not missed, though nothing had come before', async () => {
    const hub = await world.hub({ partitions: 1 })
    const { service, way } = await world.service(hub)
    const { device } = await world.device(hub)
    await device.sendTelemetry({ body: 'old' })
    const reading = service.telemetry({ partition: '0', from: 'end' }).next()
    await until(() => way.dialled.length === 2)
    await pause(50)
    way.bar(true)
    await pause(20)
    await device.sendTelemetry({ body: 'new' })
    way.bar(false)
    expect(text((await reading).value?.body ?? new Uint8Array())).toBe('new')
  })

  it('closing while it is lost ends everything at once', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub)
    const [loop, twin] = [device.messages().next(), await device.twin()]
    const changes = twin.changes().next()
    const { closed } = await device.onMethod('m', () => ({ status: 200 }))
    way.bar(true)
    await until(() => way.states.includes('waiting'))
    const sending = device.sendTelemetry({ body: 'x' }).catch(error => error)
    await device.close()
    expect(await loop).toEqual({ done: true, value: undefined })
    expect(await changes).toEqual({ done: true, value: undefined })
    expect(await sending).toBeInstanceOf(ClosedError)
    expect(await closed).toMatchObject({ by: 'local' })
    expect(await device.closed).toMatchObject({ by: 'local' })
    expect(way.states.at(-1)).toBe('closed')
  })

  it('is given up after so many attempts, and everything ends', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub, { reconnect: { attempts: 2 } })
    const loop = device.messages().next()
    const twin = await device.twin()
    await device.sendTelemetry({ body: 'x' })
    way.bar(true)
    await expect(loop).rejects.toThrow(ClosedError)
    expect((await device.closed).by).toBe('transport')
    expect((await twin.closed).by).toBe('transport')
    expect(way.dialled).toHaveLength(3)
    await expect(device.sendTelemetry({ body: 'y' })).rejects.toThrow(ClosedError)
  })

  it('is the end, where nothing is to be made again', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub, { reconnect: false })
    way.cut()
    expect((await device.closed).by).toBe('transport')
    expect(way.dialled).toHaveLength(1)
  })

  it('a hub that is closed with a condition that lasts ends the client, with that', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub)
    await device.sendTelemetry({ body: 'x' })
    hub.fault({ on: 'connection', error: { condition: 'com.microsoft:iot-hub-suspended' } })
    expect(await device.closed).toMatchObject({ error: { condition: 'com.microsoft:iot-hub-suspended' } })
    expect(way.dialled).toHaveLength(1)
  })

  it('a hub that throttles is left alone for a while', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub, { reconnect: { throttledMs: 100 } })
    await device.sendTelemetry({ body: '0' })
    const began = performance.now()
    hub.fault({ on: 'connection', error: throttled })
    await until(() => way.states.includes('waiting'))
    await device.sendTelemetry({ body: '1' })
    expect(performance.now() - began).toBeGreaterThan(95)
  })
})

describe('a link that is lost', () => {
  it('is attached again for who waits for messages', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub)
    const loop = device.messages().next()
    await device.sendTelemetry({ body: '0' })
    hub.fault({ on: 'link', match: 'deviceBound', error: internal })
    await pause(20)
    const status = hub.sendToDevice('d1', { body: 'x' })
    await (await loop).value?.complete()
    expect(await status).toBe('success')
    expect(way.dialled).toHaveLength(1)
  })

  it('is attached again when it is refused for a while, and what is sent waits', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub)
    const refusals = hub.fault({ on: 'attach', match: 'messages/events', error: internal, times: 3 })
    await device.sendTelemetry({ body: '0' })
    expect(refusals.strikes).toBe(3)
  })

  it('is left alone for a while when it is throttled', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub, { reconnect: { throttledMs: 100 } })
    hub.fault({ on: 'attach', match: 'messages/events', error: throttled })
    const began = performance.now()
    await device.sendTelemetry({ body: '0' })
    expect(performance.now() - began).toBeGreaterThan(95)
  })

  it('what waits for it is bounded, too', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub, { maxQueued: 2 })
    const fault = hub.fault({
      on: 'attach',
      match: 'messages/events',
      error: internal,
      times: Number.POSITIVE_INFINITY,
    })
    const sends = [device.sendTelemetry({ body: '0' }), device.sendTelemetry({ body: '1' })]
    await until(() => fault.strikes > 1)
    await expect(device.sendTelemetry({ body: '2' })).rejects.toThrow(QueueFullError)
    fault[Symbol.dispose]()
    await Promise.all(sends)
    expect(await telemetryOf(hub, 2)).toEqual(['0', '1'])
  })

  it('what it had not sent yet goes out on the next, in order; what it had rejects', async () => {
    const links: Receiver[] = []
    const sasl = [saslServer.plain(() => 'd1')]
    const hub = world.kept(
      await listen({
        port: null,
        sasl,
        links: async link => {
          if (link.remoteRole === 'sender') links.push(await link.accept({ credit: 'manual' }))
        },
      }),
    )
    const transport = (): Transport => {
      const [ours, theirs] = memoryPair()
      void hub.accept(theirs)
      return ours
    }
    const sas = { key: Buffer.alloc(32).toString('base64') }
    const credentials = { hostName: 'localhost', deviceId: 'd1', sas }
    const device = world.kept(await DeviceClient.connect(credentials, { transport, auth: 'plain', reconnect: QUICK }))
    const send = (body: string): Promise<unknown> =>
      device.sendTelemetry({ body }).then(
        () => 'sent',
        (error: ClosedError) => error,
      )
    const sends = ['0', '1', '2', '3', '4', '5'].map(send)
    await until(() => links.length === 1)
    links[0]?.addCredit(2)
    for (let i = 0; i < 2; i++) await links[0]?.receive()
    void links[0]?.close({ error: internal })
    // What comes just when the others find out goes behind them.
    const late = Promise.race(sends).then(() => send('late'))
    await until(() => links.length === 2)
    links[1]?.addCredit(2)
    for (const expected of ['2', '3']) {
      const delivery = await links[1]?.receive()
      expect(text(delivery?.message.body as Uint8Array)).toBe(expected)
      if (expected === '2') await delivery?.accept()
    }
    void links[1]?.close({ error: internal })
    await until(() => links.length === 3)
    links[2]?.addCredit(10)
    for (const expected of ['4', '5', 'late']) {
      const delivery = await links[2]?.receive()
      expect(text(delivery?.message.body as Uint8Array)).toBe(expected)
      await delivery?.accept()
    }
    const lost = expect.objectContaining({ scope: 'delivery', condition: internal.condition })
    expect(await Promise.all([...sends, late])).toEqual([lost, lost, 'sent', lost, 'sent', 'sent', 'sent'])
  })

  it('what it had sent goes out again where that is wanted', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub, { reconnect: { resend: true } })
    const fault = hub.fault({ on: 'delivery', outcome: 'none' })
    const send = device.sendTelemetry({ body: '0' })
    await until(() => fault.strikes === 1)
    hub.fault({ on: 'link', error: internal })
    await send
    expect(await telemetryOf(hub, 1)).toEqual(['0'])
  })

  it('a hub that takes links and lets go of them at once is not asked for ever', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub)
    const fault = hub.fault({ on: 'link', match: 'messages/events', error: internal, times: Number.POSITIVE_INFINITY })
    await expect(device.sendTelemetry({ body: '0' })).rejects.toThrow(ClosedError)
    expect(fault.strikes).toBeLessThan(20)
  })

  it('what waits for another may be cancelled', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub)
    hub.fault({ on: 'attach', match: 'messages/events', error: internal, times: Number.POSITIVE_INFINITY })
    const cancel = new AbortController()
    const sends = ['0', '1', '2'].map(body =>
      device.sendTelemetry({ body }, body === '1' ? { signal: cancel.signal } : {}),
    )
    await pause(20)
    cancel.abort(new Error('enough'))
    await expect(sends[1]).rejects.toThrow('enough')
    const ends = Promise.allSettled(sends)
    await device.close()
    expect((await ends).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    await expect(device.sendTelemetry({ body: 'x' }, { signal: cancel.signal })).rejects.toThrow('enough')
  })

  it('with a condition that lasts fails its use', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub)
    hub.fault({ on: 'attach', match: 'messages/events', error: { condition: 'amqp:not-allowed' } })
    await expect(device.sendTelemetry({ body: '0' })).rejects.toMatchObject({ condition: 'amqp:not-allowed' })
    await device.sendTelemetry({ body: '1' })
  })

  it('that another has taken over is not taken back', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub)
    const loop = device.messages().next()
    await device.sendTelemetry({ body: '0' })
    hub.fault({ on: 'link', match: 'deviceBound', error: { condition: 'amqp:link:stolen' } })
    await expect(loop).rejects.toMatchObject({ condition: 'amqp:link:stolen' })
  })

  it.each(['/methods', '/twin'])('of a pair, %s, is attached again without being asked', async match => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub)
    await device.onMethod('m', () => ({ status: 201 }))
    const twin = await device.twin()
    const changes = twin.changes()
    const change = changes.next()
    hub.fault({ on: 'link', match, error: internal })
    hub.updateDesired('d1', { a: 1 })
    expect((await change).value).toMatchObject({ desired: { a: 1 } })
    await until(() => twin.desiredVersion === 2)
    expect(await twin.update({ r: 1 })).toBe(2)
    for (;;) {
      const answer = await hub.invokeMethod('d1', 'm').catch((error: RemoteError) => error)
      if (!(answer instanceof RemoteError)) {
        expect(answer.status).toBe(201)
        break
      }
      await pause(1)
    }
    expect(way.dialled).toHaveLength(1)
  })

  it('of a twin, forced off, is attached again, and the twin catches up', async () => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub)
    const twin = await device.twin()
    const changes = twin.changes()
    const fault = hub.fault({ on: 'link', match: '/twin', error: { condition: 'amqp:link:detach-forced' }, times: 1 })
    expect(fault.strikes).toBe(1)
    await pause(100)
    hub.updateDesired('d1', { a: 1 })
    expect((await changes.next()).value).toMatchObject({ patch: { a: 1 }, desired: { a: 1 } })
    expect(await twin.update({ b: 1 })).toBe(2)
    expect(way.dialled).toHaveLength(1)
  })

  it('all links of a device that are refused at once doubt its token once, not each', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub)
    const { closed } = await device.onMethod('m', () => ({ status: 200 }))
    const ended: string[] = []
    void closed.then(() => ended.push('methods'))
    const twin = await device.twin()
    void twin.closed.then(() => ended.push('twin'))
    const loop = device.messages().next()
    await device.sendTelemetry({ body: '0' })
    const unauthorized = { condition: 'amqp:unauthorized-access' }
    const refusals = hub.fault({ on: 'attach', error: unauthorized, times: 4 })
    hub.fault({ on: 'expiry' })
    await until(() => refusals.strikes === 4)
    await device.sendTelemetry({ body: '1' })
    const status = hub.sendToDevice('d1', { body: 'x' })
    await (await loop).value?.complete()
    expect(await status).toBe('success')
    expect(ended).toEqual([])
  })

  it('of a pair that is refused for good ends methods and twin', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub)
    const { closed } = await device.onMethod('m', () => ({ status: 200 }))
    const twin = await device.twin()
    const change = twin.changes().next()
    const gone = { condition: 'amqp:not-allowed' }
    hub.fault({ on: 'attach', error: gone, times: 2 })
    hub.fault({ on: 'link', match: '/methods', error: internal })
    hub.fault({ on: 'link', match: '/twin', error: internal })
    expect(await closed).toMatchObject({ error: gone })
    expect(await twin.closed).toMatchObject({ error: gone })
    await expect(change).rejects.toMatchObject({ condition: 'amqp:not-allowed' })
    // Whoever asks tries anew.
    expect(await device.twin()).not.toBe(twin)
  })

  it.each([1, 2, 40])('with its session, on another, whatever the hub sends %i turns after', async turns => {
    const hub = await world.hub()
    const { device, way } = await world.device(hub)
    const loop = device.messages().next()
    await device.sendTelemetry({ body: '0' })
    hub.fault({ on: 'session', match: 'messages/events', error: internal })
    for (; turns > 0; turns--) await new Promise(setImmediate)
    const status = hub.sendToDevice('d1', { body: 'x' })
    await (await loop).value?.complete()
    expect(await status).toBe('success')
    await device.sendTelemetry({ body: '1' })
    expect(way.dialled).toHaveLength(1)
  })
})

it('a transport that is used up is not asked for more, and says so where it should be', async () => {
  const hub = await world.hub()
  const connectionString = hub.connectionString({ deviceId: 'd1' })
  const device = world.kept(await DeviceClient.connect(connectionString, { transport: hub.transport() }))
  hub.fault({ dropAfterBytes: 0 })
  expect((await device.closed).by).toBe('transport')
  const wrong = DeviceClient.connect(connectionString, { transport: hub.transport(), reconnect: {} })
  await expect(wrong).rejects.toThrow(UsageError)
})

it('over TLS, clients stay up as well', async () => {
  const hub = await world.hub({ listen: undefined })
  const tls = { ca: hub.ca }
  const device = world.kept(
    await DeviceClient.connect(hub.connectionString({ deviceId: 'd1' }), { tls, reconnect: { initialMs: 1 } }),
  )
  device.unref()
  device.ref()
  const loop = device.messages().next()
  await device.sendTelemetry({ body: '0' })
  hub.fault({ dropAfterBytes: 0 })
  // What is on its way when the connection breaks has an unknown fate.
  const send = (): Promise<void> =>
    device.sendTelemetry({ body: '1' }).catch(error => {
      expect(error).toBeInstanceOf(ClosedError)
      return send()
    })
  await send()
  void hub.sendToDevice('d1', { body: 'x' }).catch(() => {})
  expect(text((await loop).value?.body ?? new Uint8Array())).toBe('x')
})
