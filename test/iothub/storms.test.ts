/** Hubs that take a link and end it at once, again and again: how often clients come back, and when they give up. */

import { afterEach, describe, expect, it } from 'vitest'
import type { StandingFault } from '../../src/emulator/faults/faults.ts'
import type { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { ClosedError } from '../../src/errors.ts'
import { isRetryable } from '../../src/iothub/connection/conditions.ts'
import { QueueFullError } from '../../src/iothub/connection/queue-full-error.ts'
import { pause, until } from '../waiting.ts'
import { text, World } from './world.ts'

const world = new World()
afterEach(() => world.close())

/** Ends each link whose address has this in it as soon as it is there. */
const endAtOnce = (hub: IotHubEmulator, match: string, condition: string): StandingFault =>
  hub.fault({ on: 'link', match, error: { condition }, times: Number.POSITIVE_INFINITY })

describe('a link that ends as soon as it is attached', () => {
  it.each(['cbs', 'plain'] as const)('by %s, is asked for after waits that grow', async auth => {
    const hub = await world.hub()
    const { device } = await world.device(hub, { auth, reconnect: { initialMs: 20, maxMs: 1000 } })
    const ends = endAtOnce(hub, 'devicebound', 'amqp:internal-error')
    const reading = device.messages().next()
    reading.catch(() => {})
    await pause(400)
    expect(ends.strikes).toBeGreaterThan(1)
    expect(ends.strikes).toBeLessThan(40)
    await device.close()
    expect(await reading).toEqual({ done: true, value: undefined })
  })

  it.each(['amqp:unauthorized-access', 'amqp:not-found'])(
    'by PLAIN, as %s ends the loop: no token mends it',
    async condition => {
      const hub = await world.hub()
      const { device } = await world.device(hub, { auth: 'plain' })
      const ends = endAtOnce(hub, 'devicebound', condition)
      const error = await device
        .messages()
        .next()
        .catch(error => error)
      expect(error).toBeInstanceOf(ClosedError)
      expect(error.condition).toBe(condition)
      expect(ends.strikes).toBe(1)
      await device.sendTelemetry({ body: 'still here' })
    },
  )

  it('by PLAIN, what was on its way when the hub closed the connection is worth another try', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub, { auth: 'plain' })
    await device.sendTelemetry({ body: '0' })
    hub.fault({ on: 'delivery', outcome: 'none' })
    const lost = device.sendTelemetry({ body: '1' }).catch(error => error)
    await pause(20)
    hub.fault({ on: 'connection', error: { condition: 'amqp:unauthorized-access' } })
    expect(isRetryable(await lost)).toBe(true)
    await device.sendTelemetry({ body: '2' })
  })

  it('is given up after so many attempts in a row, by loops and handlers; the next use begins anew', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub, { reconnect: { attempts: 3 } })
    const messages = endAtOnce(hub, 'messages/devicebound', 'amqp:internal-error')
    const error = await device
      .messages()
      .next()
      .catch(error => error)
    expect(error).toBeInstanceOf(ClosedError)
    expect(error.condition).toBe('amqp:internal-error')
    expect(messages.strikes).toBe(4)
    const methods = endAtOnce(hub, 'methods/devicebound', 'amqp:internal-error')
    const { closed } = await device.onMethod('m', () => ({ status: 200 }))
    expect((await closed).error?.condition).toBe('amqp:internal-error')
    await until(() => methods.strikes >= 4)
    await pause(50)
    expect(methods.strikes).toBeLessThan(10)
  })
})

it('a link that is attached again reads on', async () => {
  const hub = await world.hub()
  const { device } = await world.device(hub, { reconnect: { attempts: 3 } })
  hub.fault({ on: 'link', match: 'messages/devicebound', error: { condition: 'amqp:internal-error' }, times: 3 })
  const reading = device.messages().next()
  void hub.sendToDevice('d1', { body: 'hello' }).catch(() => {})
  expect(text((await reading).value?.body ?? new Uint8Array())).toBe('hello')
})

describe('a link that the hub detaches by force', () => {
  const forced = { condition: 'amqp:link:detach-forced' }

  it('of a twin is subscribed anew, and what changed meanwhile is told', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub)
    const twin = await device.twin()
    const changes = twin.changes()
    hub.fault({ on: 'link', match: 'twin', error: forced })
    hub.updateDesired('d1', { a: 1 })
    expect((await changes.next()).value?.desired).toEqual({ a: 1 })
    hub.updateDesired('d1', { b: 2 })
    expect((await changes.next()).value?.desired).toEqual({ a: 1, b: 2 })
  })

  it('fails an update of the twin that has no answer yet', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub)
    const twin = await device.twin()
    hub.fault({ on: 'delivery', match: 'twin', outcome: 'none' })
    const update = twin.update({ a: 1 }).catch(error => error)
    await pause(20)
    hub.fault({ on: 'link', match: 'twin', error: forced })
    const error = await update
    expect(error).toBeInstanceOf(ClosedError)
    expect(isRetryable(error)).toBe(true)
    expect(await twin.update({ a: 2 })).toBeGreaterThan(1)
  })

  it('has no more wait for it than may', async () => {
    const hub = await world.hub()
    const { device } = await world.device(hub, { maxQueued: 2 })
    await device.sendTelemetry({ body: '0' })
    using _ = hub.fault({ on: 'attach', match: 'messages/events', error: forced, times: Number.POSITIVE_INFINITY })
    hub.fault({ on: 'link', match: 'messages/events', error: forced })
    await pause(20)
    const sends = Array.from({ length: 5 }, (_, i) => device.sendTelemetry({ body: `${i}` }).catch(error => error))
    const refused = await Promise.all(sends.slice(2))
    for (const error of refused) expect(error).toBeInstanceOf(QueueFullError)
  })
})
