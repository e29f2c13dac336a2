/**
 * A device, a service and a pool exchange messages while the hub cuts connections, ends sessions and links, refuses,
 * delays, throttles and lets tokens expire, at random. Nothing that was accepted may be missing, nothing whose completion
 * the hub has confirmed may come again, and at the end nothing may be left over.
 *
 * CHAOS_MESSAGES says how many (`npm run chaos`: 20,000), CHAOS_SEED repeats what was decided by chance.
 */

import { setMaxListeners } from 'node:events'
import { expect, it } from 'vitest'
import type { EmulatorFault } from '../../src/emulator/faults/faults.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { isRetryable } from '../../src/iothub/connection/conditions.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { DevicePool } from '../../src/iothub/pool/device-pool.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import { random } from '../fuzz/mutations.ts'
import { pause, until } from '../waiting.ts'
import { watchLeaks } from './leaks.ts'
import { text } from './world.ts'

const MESSAGES = Number(process.env.CHAOS_MESSAGES ?? 2000)
const SEED = Number(process.env.CHAOS_SEED ?? Date.now() & 0x7fffffff)
const POOLED = 20
const WORKERS = 12

const condition = (name: string): { error: { condition: string } } => ({ error: { condition: name } })
const INTERNAL = condition('amqp:internal-error')
const THROTTLED = condition('com.microsoft:device-container-throttled')

/** What goes wrong next. */
function faultOf(below: (n: number) => number): EmulatorFault {
  const device = `devices/d${below(POOLED + 1)}/`
  const places = [
    device,
    'messages/events',
    'deviceBound',
    'feedback',
    'Partitions',
    '$cbs',
    '/twin',
    '/methods',
    undefined,
  ]
  const match = places[below(places.length)]
  // Twins send settled: what is struck there is never answered, and for that 30 s are waited.
  const sends = ['messages/events', 'messages/deviceBound', '$cbs', '$management'][below(4)]
  const times = 1 + below(3)
  const faults: EmulatorFault[] = [
    { dropAfterBytes: below(4000) },
    { dropAfterBytes: below(4000) },
    { delayMs: 1 + below(8) },
    { on: 'connection', match, ...condition('amqp:connection:forced') },
    { on: 'connection', match, ...THROTTLED },
    { on: 'session', match, ...INTERNAL },
    { on: 'link', match, ...condition('amqp:link:detach-forced') },
    { on: 'link', match, ...INTERNAL },
    { on: 'attach', match, times, ...INTERNAL },
    { on: 'attach', match, times, ...THROTTLED },
    { on: 'delivery', match: sends, times, ...THROTTLED },
    { on: 'delivery', match: sends, times, outcome: 'released' },
    { on: 'expiry', match: below(2) === 0 ? device : undefined },
  ]
  return faults[below(faults.length)] as EmulatorFault
}

it(`${MESSAGES} messages, seed ${SEED}`, async () => {
  console.log(`chaos: ${MESSAGES} messages, CHAOS_SEED=${SEED}`)
  using leaks = watchLeaks()
  const below = random(SEED)
  const ids = Array.from({ length: POOLED + 1 }, (_, i) => `d${i}`)
  const hub = await IotHubEmulator.start({
    ...{ listen: 'memory', devices: ids, lockMs: 400, maxDeliveryCount: 100, feedbackBatchMs: 5, tokenSkewMs: 0 },
  })
  const reconnect = { initialMs: 2, maxMs: 40, throttledMs: 15, stableMs: 20 }
  const options = { transport: () => hub.transport(), reconnect }
  const solo = await DeviceClient.connect(hub.connectionString({ deviceId: 'd0' }), options)
  const service = await ServiceClient.connect(hub.connectionString({ service: true }), options)
  const pool = await DevicePool.connect('localhost', { ...options, concurrency: 4, linksPerSession: 10 })
  const pooled = ids.slice(1).map(deviceId => pool.device(hub.connectionString({ deviceId })))
  const devices = [solo, ...(await Promise.all(pooled))]
  const ended: string[] = []
  for (const [i, device] of devices.entries()) void device.closed.then(({ error }) => ended.push(`d${i}: ${error}`))
  void service.closed.then(({ error }) => ended.push(`service: ${error}`))

  const violations: string[] = []
  const [sent, read] = [new Set<string>(), new Set<string>()]
  const [commanded, completed] = [new Set<string>(), new Set<string>()]
  const twin = await solo.twin()
  await solo.onMethod('echo', ({ payload }) => ({ status: 200, payload }))
  const stop = new AbortController()
  const { signal } = stop
  // One for all loops.
  setMaxListeners(0, signal)
  const background = [
    (async () => {
      for await (const event of service.telemetry({ signal })) read.add(text(event.body))
    })(),
    (async () => {
      for await (const batch of service.feedback({ signal })) {
        for (const { status, originalMessageId } of batch.records)
          if (status === 'success') completed.add(originalMessageId)
          else violations.push(`${originalMessageId} ended as ${status}`)
        await batch.complete().catch(() => {})
      }
    })(),
    ...devices.map(async device => {
      for await (const { messageId = '', complete } of device.messages({ signal })) {
        if (completed.has(messageId)) violations.push(`${messageId} came again`)
        await complete().catch(() => {})
      }
    }),
  ].map(loop => loop.catch(error => signal.aborted || violations.push(`a loop failed: ${error}`)))

  /** Sends until it is accepted, each time under another name. @returns that */
  const insist = async (name: string, send: (name: string) => Promise<void>): Promise<string> => {
    for (let i = 0; ; i++) {
      try {
        await send(`${name}.${i}`)
        return `${name}.${i}`
      } catch (error) {
        // A queue that is full is worth waiting for, here.
        const isFull = (error as { condition?: string }).condition === 'amqp:resource-limit-exceeded'
        if (!isFull && !isRetryable(error)) violations.push(`${name}: ${error}`)
        await pause(2)
      }
    }
  }
  let next = 0
  let strikes = 0
  const work = async (): Promise<void> => {
    // On a fast machine there is more to do until enough has gone wrong.
    while (next < MESSAGES || strikes <= MESSAGES / 100) {
      const i = next++
      const which = below(devices.length)
      const device = devices[which] as DeviceClient
      if (i % 2 === 0) sent.add(await insist(`t${i}`, body => device.sendTelemetry({ body })))
      else
        commanded.add(
          await insist(`c${i}`, messageId => service.sendToDevice(`d${which}`, { body: 'x', messageId, ack: 'full' })),
        )
      if (i % 50 === 0) hub.updateDesired('d0', { i })
    }
  }
  let isChaos = true
  const chaos = (async () => {
    while (isChaos) {
      const fault = hub.fault(faultOf(below))
      await pause(5 + below(40))
      strikes += fault.strikes
      fault[Symbol.dispose]()
    }
  })()
  await Promise.all(Array.from({ length: WORKERS }, work))
  isChaos = false
  await chaos

  const missing = (of: Set<string>, among: Set<string>): string[] => [...of].filter(name => !among.has(name))
  await until(() => missing(sent, read).length === 0 && missing(commanded, completed).length === 0, 10_000).catch(
    () => {},
  )
  const found = { telemetry: missing(sent, read), commands: missing(commanded, completed), violations, ended }
  expect(found).toEqual({ telemetry: [], commands: [], violations: [], ended: [] })
  expect(sent.size + commanded.size).toBe(next)
  const desired = hub.twin('d0').properties.desired as { readonly i?: number }
  // A question that the hub has dropped is asked again after 30 s.
  await until(() => twin.desired.i === desired.i, 40_000)
  expect(await hub.invokeMethod('d0', 'echo', 7)).toMatchObject({ status: 200, payload: 7 })
  expect(strikes).toBeGreaterThan(MESSAGES / 200)

  stop.abort(new Error('enough'))
  await Promise.all(background)
  await Promise.all([solo.close(), service.close(), pool.close()])
  await Promise.all(devices.map(device => device.closed))
  await hub.close()
  await until(() => leaks.timers().length <= 1).catch(() => {})
  // The one is that of `until` itself.
  expect(leaks.timers().slice(1)).toEqual([])
  expect(leaks.listeners()).toBe(0)
}, 600_000)
