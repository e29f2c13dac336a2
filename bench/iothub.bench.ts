/**
 * A thousand devices of a pool on one connection, by TLS on the loopback device, with the emulated hub in a second process.
 * One operation is one device: its token, a sender and a receiver attached, a telemetry message out, a command in and
 * completed. What is told besides: how long until all had done so, and the memory of this end for each, when they have.
 */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { IotHubEmulator } from '../src/emulator/iot-hub-emulator.ts'
import type { DeviceClient } from '../src/iothub/device-client.ts'
import { DevicePool } from '../src/iothub/pool/device-pool.ts'
import type { Cases, Unit } from './case.ts'

const DEVICES = 1_000

/** What the processes say to each other. */
type HubMessage =
  | { readonly type: 'hub'; readonly ca: string; readonly connectionStrings: readonly string[] }
  /** A command is to wait for each device, and does. */
  | { readonly type: 'fill' | 'filled' }

const hostOf = (connectionString: string): string => /^HostName=([^;]+)/.exec(connectionString)?.[1] ?? ''

async function poolUnit(): Promise<Unit> {
  const peer = fork(process.argv[1] as string, ['--hub'])
  const heard = async (): Promise<HubMessage> => ((await once(peer, 'message')) as [HubMessage])[0]
  const hub = await heard()
  if (hub.type !== 'hub') throw new Error(`the hub said ${hub.type}`)
  let info = { joinMs: 0, heapBytesPerDevice: 0, bufferBytesPerDevice: 0 }
  return {
    ops: DEVICES,
    bytesPerOp: 1,
    rounds: 3,
    pass: async () => {
      const filled = heard()
      peer.send({ type: 'fill' } satisfies HubMessage)
      await filled
      const before = memory()
      const start = performance.now()
      const pool = await DevicePool.connect(hostOf(hub.connectionStrings[0] ?? ''), { tls: { ca: hub.ca } })
      const devices = await Promise.all(hub.connectionStrings.map(at => joined(pool, at)))
      const joinMs = performance.now() - start
      const after = memory()
      info = {
        joinMs,
        heapBytesPerDevice: (after.heap - before.heap) / DEVICES,
        bufferBytesPerDevice: (after.buffers - before.buffers) / DEVICES,
      }
      await pool.close()
      return devices.length
    },
    info: () => info,
    close: async () => {
      const exit = once(peer, 'exit')
      peer.disconnect()
      const timer = setTimeout(() => peer.kill(), 5_000)
      await exit
      clearTimeout(timer)
    },
  }
}

/** A device that has sent and received. */
async function joined(pool: DevicePool, connectionString: string): Promise<DeviceClient> {
  const device = await pool.device(connectionString)
  const command = device.messages().next()
  await device.sendTelemetry({ body: 'x' })
  await (await command).value?.complete()
  return device
}

const collect = (() => {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
})()

/** What is in use, without what is garbage. */
function memory(): { readonly heap: number; readonly buffers: number } {
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return { heap: heapUsed, buffers: arrayBuffers }
}

/** The process of the hub, which ends with its parent. */
export async function hubMain(): Promise<void> {
  const devices = Array.from({ length: DEVICES }, (_, i) => `d${i}`)
  const hub = await IotHubEmulator.start({ devices })
  const say = (message: HubMessage) => process.send?.(message)
  process.on('message', (message: HubMessage) => {
    if (message.type !== 'fill') return
    for (const id of devices) hub.sendToDevice(id, { body: 'x' }).catch(() => {})
    say({ type: 'filled' })
  })
  process.on('disconnect', () => void hub.close())
  const connectionStrings = devices.map(deviceId => hub.connectionString({ deviceId }))
  say({ type: 'hub', ca: hub.ca ?? '', connectionStrings })
}

export const iotHubCases: Cases = { 'pool-1000.join': poolUnit }
