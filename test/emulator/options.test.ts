/** Slips in what the emulator is told are told back, in JavaScript too. */

import { afterEach, expect, it } from 'vitest'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { UsageError } from '../../src/errors.ts'
import { World } from '../iothub/world.ts'

const world = new World()
afterEach(() => world.close())

it.each([
  [{ device: ['d1'] }, 'option of IotHubEmulator.start named "device"'],
  [{ port: 5671 }, 'option of IotHubEmulator.start named "port"'],
  [{ listen: { prot: 5671 } }, 'option of listen named "prot"'],
])('there is no such option: %j', async (options, named) => {
  const starting = IotHubEmulator.start(options as object).then(hub => world.kept(hub))
  await expect(starting).rejects.toThrow(`IoT Hub: there is no ${named}`)
})

const error = { condition: 'amqp:internal-error' }

it.each([
  [{ on: 'attach', match: 5, error }, 'match is a text'],
  [{ on: 'attach', math: 'd1', error }, 'field of a fault with attach named "math"'],
  [{ on: 'token', match: 'd1' }, 'field of a fault with token named "match"'],
  [{ dropAfterBytes: 5, time: 2 }, 'field of a fault with dropAfterBytes named "time"'],
])('there is no such fault: %j', async (fault, text) => {
  const hub = await world.hub()
  expect(() => hub.fault(fault as never)).toThrow(UsageError)
  expect(() => hub.fault(fault as never)).toThrow(text)
})

it('a connection string is for somebody', async () => {
  const hub = await world.hub()
  expect(() => hub.connectionString({} as never)).toThrow('needs { deviceId }, { policy }')
  expect(() => hub.connectionString({ deviceId: undefined } as never)).toThrow('needs { deviceId }')
})
