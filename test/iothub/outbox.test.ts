/** Messages that wait for their link: what is sent is what it was at the call, and a close sends what is queued. */

import { afterEach, expect, it } from 'vitest'
import { until } from '../waiting.ts'
import { World } from './world.ts'

const world = new World()
afterEach(() => world.close())

const bytes = (body: string): Uint8Array => new TextEncoder().encode(body)

it('what is sent is what it was at the call, however long it waits', async () => {
  const hub = await world.hub()
  const { device, way } = await world.device(hub)
  const sends: Promise<void>[] = []
  const send = (size: number): void => {
    const body = new Uint8Array(size).fill(97)
    const properties = { p: 'a' }
    sends.push(device.sendTelemetry({ body, properties }))
    body.fill(98)
    properties.p = 'b'
  }
  send(1)
  await sends[0]
  send(1)
  send(5000)
  await Promise.all(sends)
  way.bar(true)
  await until(() => way.states.includes('waiting'))
  send(1)
  send(5000)
  way.bar(false)
  await Promise.all(sends)
  let count = 0
  for await (const { body, properties } of hub.telemetry) {
    expect(body.every(byte => byte === 97)).toBe(true)
    expect(properties.get('p')).toBe('a')
    if (++count === sends.length) break
  }
})

it('what has no encoding is refused at the call, whether there is a connection or not', async () => {
  const hub = await world.hub()
  const { device, way } = await world.device(hub)
  way.bar(true)
  await until(() => way.states.includes('waiting'))
  const failure = device.sendTelemetry({ body: bytes('x'), contentType: 'é' })
  await expect(failure).rejects.toMatchObject({ code: 'ERR_AMQP_ENCODE', path: 'properties.contentType' })
})
