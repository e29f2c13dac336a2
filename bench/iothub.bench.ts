/**
 * Devices of a pool, over memory, with the emulated hub in the same process. One operation is one device: its token, a
 * sender and a receiver attached, a message out. Memory is that of both ends: `heapBytes` per device that is connected.
 */

import { IotHubEmulator } from '../src/emulator/iot-hub-emulator.ts'
import { DevicePool } from '../src/iothub/device-pool.ts'
import type { Cases, Unit } from './case.ts'

const DEVICES = 200

async function poolUnit(): Promise<Unit> {
  const ids = Array.from({ length: DEVICES }, (_, i) => `d${i}`)
  const hub = await IotHubEmulator.start({ listen: 'memory', devices: ids })
  let heapBytes = 0
  return {
    ops: DEVICES,
    bytesPerOp: 1,
    pass: async () => {
      const before = process.memoryUsage().heapUsed
      const pool = await DevicePool.connect('localhost', { transport: () => hub.transport() })
      const join = async (deviceId: string): Promise<number> => {
        const device = await pool.device(hub.connectionString({ deviceId }))
        const loop = device.messages()
        const message = loop.next()
        await device.sendTelemetry({ body: 'x' })
        void message.catch(() => {})
        return 1
      }
      const joined = await Promise.all(ids.map(join))
      // What was collected meanwhile is missing, what is garbage already is in it: the median over the passes is told.
      heapBytes = (process.memoryUsage().heapUsed - before) / DEVICES
      await pool.close()
      return joined.length
    },
    info: () => ({ heapBytes }),
    close: () => hub.close(),
  }
}

export const iotHubCases: Cases = { 'pool.join': poolUnit }
