/** What of an emulator outlives a restart: `state()` of one, `start({ state })` of the next. */

import { expect, test } from 'vitest'
import { createCertificate } from '../../src/emulator/certificates/certificate.ts'
import { faultOf } from '../../src/emulator/certificates/certificate-issuer.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import type { EmulatorState } from '../../src/emulator/state.ts'
import { UsageError } from '../../src/errors.ts'
import type { Transport } from '../../src/io/transport.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { provision } from '../../src/iothub/provisioning/provisioning.ts'

const thumbprint = 'AB'.repeat(32)

/** As it comes out of a file. */
async function kept(): Promise<EmulatorState> {
  await using hub = await IotHubEmulator.start({ devices: ['d1'] })
  hub.addModule('d1', 'm1')
  hub.addDevice('d2', { x509: { thumbprint } })
  hub.provisioning.enrol('r1', { deviceId: 'd3', payload: { a: 1 } })
  hub.provisioning.enrolGroup('g1')
  return JSON.parse(JSON.stringify(hub.state()))
}

test('the next hub has the same keys, modules, certificate and id scope, and gives the same state', async () => {
  const state = await kept()
  await using hub = await IotHubEmulator.start({ state })
  expect(JSON.parse(JSON.stringify(hub.state()))).toEqual(state)
  expect(hub.ca).toBe(state.tls?.ca)
  expect(hub.provisioning.idScope).toBe(state.idScope)
  const keyIn = (text: string): string | undefined => /SharedAccessKey=(.*)/.exec(text)?.[1]
  expect(keyIn(hub.connectionString({ deviceId: 'd1' }))).toBe(state.devices[0]?.primaryKey)
  expect(keyIn(hub.connectionString({ deviceId: 'd1', moduleId: 'm1' }))).toBe(state.devices[0]?.modules[0]?.primaryKey)
  expect(keyIn(hub.connectionString({ service: true }))).toBe(state.policies['service']?.primaryKey)
  expect(hub.connectionString({ deviceId: 'd2' })).toContain('x509=true')
  expect(() => hub.connectionString({ deviceId: 'device1' })).toThrow('there is no device')
})

test('devices that are named beside those of the state are added', async () => {
  const state = await kept()
  await using hub = await IotHubEmulator.start({ state, devices: ['d1', 'd3'], listen: 'memory' })
  expect(hub.state().devices.map(({ deviceId }) => deviceId)).toEqual(['d1', 'd2', 'd3'])
  expect(hub.state().devices[0]).toMatchObject({ primaryKey: state.devices[0]?.primaryKey })
})

test('who was enrolled is enrolled at the next hub, by the same key', async () => {
  const state = await kept()
  await using hub = await IotHubEmulator.start({ state, listen: 'memory' })
  const { key } = state.enrolments?.devices['r1'] ?? {}
  const { idScope } = hub.provisioning
  const transport = (): Transport => hub.transport()
  const assigned = await provision({ idScope, registrationId: 'r1', key, transport })
  expect(assigned).toMatchObject({ deviceId: 'd3', payload: { a: 1 } })
  const { key: groupKey } = state.enrolments?.groups['g1'] ?? {}
  expect(await provision({ idScope, registrationId: 'r2', groupKey, transport })).toMatchObject({ deviceId: 'r2' })
})

test('a device that is assigned can be kept before it is told', async () => {
  const told: string[] = []
  const states: (readonly string[])[] = []
  const hub = await IotHubEmulator.start({
    devices: [],
    listen: 'memory',
    onAssigned(deviceId) {
      expect(told).toEqual([])
      states.push([deviceId, ...hub.state().devices.map(device => device.deviceId)])
    },
  })
  const { key } = hub.provisioning.enrol('r1', { deviceId: 'd1', retryAfter: 0 })
  const transport = () => hub.transport()
  const { idScope } = hub.provisioning
  told.push((await provision({ idScope, registrationId: 'r1', key, transport })).deviceId)
  expect([told, states]).toEqual([['d1'], [['d1', 'd1']]])
  await hub.close()
  await expect(IotHubEmulator.start({ onAssigned: 'x' as never })).rejects.toThrow('"onAssigned" is a function')
})

test('a state from before enrolments were kept has none', async () => {
  const { enrolments: _, ...state } = await kept()
  await using hub = await IotHubEmulator.start({ state, listen: 'memory' })
  expect(hub.state().enrolments).toEqual({ devices: {}, groups: {} })
})

test('what is no state, or does not serve any more, is a UsageError', async () => {
  const state = await kept()
  const tls = await createCertificate()
  const [device] = state.devices
  for (const [changed, said] of [
    [null, 'an object is missing'],
    [{}, 'createdAt is no time'],
    [{ ...state, idScope: 'a/b' }, 'idScope is none'],
    [{ ...state, tls: { ca: 'a', cert: 'b' } }, 'tls has not ca, cert and key'],
    [{ ...state, tls: { ca: 'a', cert: 'b', key: 'c' } }, 'not in PEM'],
    [{ ...state, tls: { ...state.tls, key: tls.key } }, 'the key is not that of the certificate'],
    [{ ...state, tls: { ...state.tls, ca: '' } }, 'the CA, the certificate or its key is not in PEM'],
    [{ ...state, devices: [{ ...device, deviceId: 5 }] }, 'a deviceId is no text'],
    [{ ...state, devices: [{ ...device, modules: [{ ...device, moduleId: 5 }] }] }, 'a moduleId is no text'],
    [{ ...state, policies: { service: { primaryKey: '?', secondaryKey: '?' } } }, 'a key is not base64'],
    [{ ...state, policies: { service: 1 } }, 'an object is missing'],
    [{ ...state, devices: {} }, 'devices is no list'],
    [{ ...state, devices: [{ ...device, modules: undefined }] }, 'modules is no list'],
    [{ ...state, devices: [device, device] }, "device 'd1' exists"],
    [{ ...state, enrolments: { devices: {} } }, 'an object is missing'],
    [{ ...state, enrolments: { devices: { r1: { key: '?' } }, groups: {} } }, 'the key is not base64'],
  ] as const) {
    const started = IotHubEmulator.start({ state: changed as unknown as EmulatorState })
    await expect(started).rejects.toThrow(UsageError)
    await expect(started).rejects.toThrow(`IoT Hub emulator: state: `)
    await expect(started).rejects.toThrow(said)
  }
  const later = Date.now() + 8 * 86_400_000
  expect(await faultOf(tls, ['localhost', '127.0.0.1', '::1'], Date.now())).toBeUndefined()
  expect(await faultOf(tls, [], later)).toContain('the certificate ended on')
  const elsewhere = IotHubEmulator.start({ state, hostName: 'hub.example' })
  await expect(elsewhere).rejects.toThrow('the certificate is not for hub.example')
})

test('a device that was disabled is so still, until it is enabled', async () => {
  const before = await IotHubEmulator.start({ devices: ['d1', 'd2'], listen: 'memory' })
  before.enableDevice('d1', false)
  const state: EmulatorState = JSON.parse(JSON.stringify(before.state()))
  await before.close()
  await using hub = await IotHubEmulator.start({ state, listen: 'memory' })
  const join = async (deviceId: string): Promise<void> => {
    const device = await DeviceClient.connect(hub.connectionString({ deviceId }), { transport: hub.transport() })
    await device.close()
  }
  await join('d2')
  await expect(join('d1')).rejects.toMatchObject({ condition: 'amqp:unauthorized-access' })
  hub.enableDevice('d1')
  await join('d1')
  expect(hub.state().devices[0]).not.toHaveProperty('isDisabled')
})
