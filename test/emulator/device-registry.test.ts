import { describe, expect, it } from 'vitest'
import { mayUse, type Principal } from '../../src/emulator/access.ts'
import { DeviceRegistry } from '../../src/emulator/device-registry.ts'
import { UsageError } from '../../src/errors.ts'
import { type HubAddress, parseAddress } from '../../src/iothub/addresses.ts'
import { createSasToken, parseSasToken } from '../../src/iothub/credentials/sas.ts'

const host = 'hub.example'
const expiresAt = new Date(2_000_000_000_000)
const now = expiresAt.getTime() - 1000

function newRegistry(): DeviceRegistry {
  const registry = new DeviceRegistry([host, 'localhost'], { hostName: 'localhost', name: 'eh' })
  registry.addDevice('d')
  registry.addModule('d', 'm')
  registry.addDevice('e')
  return registry
}

function address(text: string): HubAddress {
  const parsed = parseAddress(text)
  if (parsed === undefined) throw new Error(`no address: ${text}`)
  return parsed
}

describe('identities', () => {
  it('have two keys of 32 random bytes each, all different, and a generation of their own', () => {
    const registry = newRegistry()
    const all = [...registry.devices(), registry.module('d', 'm'), registry.policy('service')]
    const keys = all.flatMap(identity => [identity?.primaryKey ?? '', identity?.secondaryKey ?? ''])
    expect(new Set(keys).size).toBe(8)
    for (const key of keys) expect(Buffer.from(key, 'base64')).toHaveLength(32)
    const first = registry.device('d')?.generationId
    registry.removeDevice('d')
    expect(registry.addDevice('d').generationId).not.toBe(first)
  })

  it('are found by exact id only', () => {
    const registry = newRegistry()
    expect(registry.device('D')).toBeUndefined()
    expect(registry.module('d', 'M')).toBeUndefined()
    expect(registry.module('e', 'm')).toBeUndefined()
    expect(registry.device('d')?.modules.get('m')).toBe(registry.module('d', 'm'))
    expect([...registry.devices()].map(device => device.deviceId)).toEqual(['d', 'e'])
  })

  it('can be removed, a device with its modules', () => {
    const registry = newRegistry()
    expect(registry.removeModule('d', 'm')).toBe(true)
    expect(registry.removeModule('d', 'm')).toBe(false)
    expect(registry.removeModule('x', 'm')).toBe(false)
    expect(registry.removeDevice('d')).toBe(true)
    expect(registry.removeDevice('d')).toBe(false)
  })

  it('may be given keys', () => {
    const key = Buffer.alloc(32, 7).toString('base64')
    expect(newRegistry().addDevice('k', { primaryKey: key }).primaryKey).toBe(key)
  })

  it.each<[string, (registry: DeviceRegistry) => unknown]>([
    ['an id taken', registry => registry.addDevice('d')],
    ['a module id taken', registry => registry.addModule('d', 'm')],
    ['a module of no device', registry => registry.addModule('x', 'm')],
    ['an empty id', registry => registry.addDevice('')],
    ['a space', registry => registry.addDevice('a b')],
    ['a letter beyond ASCII', registry => registry.addDevice('gerät')],
    ['a semicolon', registry => registry.addDevice('a;b')],
    ['a slash', registry => registry.addDevice('a/b')],
    ['a line feed', registry => registry.addDevice('a\n')],
    ['129 characters', registry => registry.addDevice('x'.repeat(129))],
    ['a key that is not base64', registry => registry.addDevice('n', { secondaryKey: 'nope!' })],
    ['no host', () => new DeviceRegistry([])],
  ])('refuse %s', (_, run) => {
    const registry = newRegistry()
    expect(() => run(registry)).toThrow(UsageError)
    expect([...registry.devices()]).toHaveLength(2)
  })
})

describe('policies of a new hub', () => {
  it.each([
    ['iothubowner', ['RegistryRead', 'RegistryWrite', 'ServiceConnect', 'DeviceConnect']],
    ['service', ['ServiceConnect']],
    ['device', ['DeviceConnect']],
    ['registryRead', ['RegistryRead']],
    ['registryReadWrite', ['RegistryRead', 'RegistryWrite']],
  ])('%s: %j', (name, rights) => {
    expect(newRegistry().policy(name)).toMatchObject({ name, rights })
  })
})

describe('principalOf', () => {
  const registry = newRegistry()

  it.each([
    [`${host}/devices/d`, { kind: 'device', deviceId: 'd', moduleId: undefined }],
    ['LOCALHOST:15671/devices/d', { kind: 'device', deviceId: 'd', moduleId: undefined }],
    [`${host}/devices/d/messages/events`, { kind: 'device', deviceId: 'd', moduleId: undefined }],
    [`${host}/devices/d/modules/m`, { kind: 'device', deviceId: 'd', moduleId: 'm' }],
  ])('without skn, by sr %s', (sr, expected) => {
    expect(registry.principalOf({ sr, skn: undefined })).toEqual({ ...expected, sr })
  })

  it('with skn, the policy', () => {
    const sr = `${host}/devices/d`
    expect(registry.principalOf({ sr, skn: 'service' })).toMatchObject({ kind: 'service', policy: 'service', sr })
    expect(registry.principalOf({ sr, skn: 'iothubowner' })).toMatchObject({ kind: 'service' })
    expect(registry.principalOf({ sr, skn: 'device' })).toMatchObject({ kind: 'device-policy', policy: 'device' })
  })

  it.each([
    [`${host}/devices/x`, undefined, 'unknown'],
    [`${host}/devices/D`, undefined, 'unknown'],
    [`${host}/devices/d/modules/x`, undefined, 'unknown'],
    [`${host}/devices/d/modules`, undefined, 'unknown'],
    [`${host}/devices`, undefined, 'unknown'],
    [host, undefined, 'unknown'],
    [host, 'nobody', 'unknown'],
    [host, 'constructor', 'unknown'],
    ['elsewhere.example', 'service', 'host'],
    ['elsewhere.example/devices/d', undefined, 'host'],
  ])('nobody for sr %s, skn %s', (sr, skn, expected) => {
    expect(registry.principalOf({ sr, skn })).toBe(expected)
  })
})

describe('authenticate', () => {
  it('takes either key of a device, and the key of no other', async () => {
    const registry = newRegistry()
    const resourceUri = `${host}/devices/d`
    const keys = registry.keysOf({ kind: 'device', deviceId: 'd', moduleId: undefined, sr: resourceUri }) ?? []
    for (const key of keys) {
      const token = await createSasToken({ resourceUri, key, expiresAt })
      expect(await registry.authenticate(token, { now })).toMatchObject({
        ok: true,
        principal: { kind: 'device', deviceId: 'd' },
        token: { expiresAt },
      })
    }
    for (const other of [registry.device('e'), registry.module('d', 'm'), registry.policy('device')]) {
      const token = await createSasToken({ resourceUri, key: other?.primaryKey ?? '', expiresAt })
      expect(await registry.authenticate(token, { now })).toEqual({ ok: false, reason: 'signature' })
    }
  })

  it('takes the key of a policy, under the rule of the host', async () => {
    const registry = new DeviceRegistry([host, 'ns.example'])
    const key = registry.policy('iothubowner')?.primaryKey ?? ''
    const signed = { key, keyName: 'iothubowner', expiresAt }
    const token = await createSasToken({ ...signed, resourceUri: 'sb://ns.example/eh', keyRule: 'eventhub' })
    expect(await registry.authenticate(token, { now, keyRule: 'eventhub' })).toMatchObject({ ok: true })
    expect(await registry.authenticate(token, { now })).toEqual({ ok: false, reason: 'signature' })
  })

  it('says why not', async () => {
    const registry = newRegistry()
    const key = registry.device('d')?.primaryKey ?? ''
    const token = await createSasToken({ resourceUri: `${host}/devices/d`, key, expiresAt })
    expect(await registry.authenticate('nonsense', { now })).toEqual({ ok: false, reason: 'malformed' })
    expect(await registry.authenticate(token, { now: now * 2 })).toEqual({ ok: false, reason: 'expired' })
    registry.removeDevice('d')
    expect(await registry.authenticate(token, { now })).toEqual({ ok: false, reason: 'unknown' })
    const elsewhere = await createSasToken({ resourceUri: 'x.example/devices/d', key, expiresAt })
    expect(await registry.authenticate(elsewhere, { now })).toEqual({ ok: false, reason: 'host' })
  })

  it('recognises a scope however it is encoded', async () => {
    const registry = newRegistry()
    registry.addDevice("it's!")
    const key = registry.device("it's!")?.secondaryKey ?? ''
    const token = await createSasToken({ resourceUri: `${host}/devices/it's!`, key, expiresAt })
    expect(parseSasToken(token).srText).toContain('%27')
    expect(await registry.authenticate(token, { now })).toMatchObject({ ok: true })
  })
})

describe('mayUse', () => {
  const registry = newRegistry()
  const principal = (sr: string, skn?: string): Principal => {
    const found = registry.principalOf({ sr, skn })
    if (typeof found === 'string') throw new Error(found)
    return found
  }

  it.each([
    // A device and a module keep to their own addresses.
    [`${host}/devices/d`, undefined, '$cbs', true],
    [`${host}/devices/d`, undefined, '/devices/d/messages/events', true],
    [`${host}/devices/d`, undefined, '/devices/d/twin', true],
    [`${host}/devices/d`, undefined, '/devices/D/twin', false],
    [`${host}/devices/d`, undefined, '/devices/e/twin', false],
    [`${host}/devices/d`, undefined, '/devices/d/modules/m/twin', false],
    [`${host}/devices/d`, undefined, '/messages/devicebound', false],
    [`${host}/devices/d`, undefined, '/messages/serviceBound/feedback', false],
    [`${host}/devices/d/messages/events`, undefined, '/devices/d/messages/events', true],
    [`${host}/devices/d/messages/events`, undefined, '/devices/d/twin', false],
    [`${host}/devices/d/modules/m`, undefined, '/devices/d/modules/m/methods/devicebound', true],
    [`${host}/devices/d/modules/m`, undefined, '/devices/d/twin', false],
    // DeviceConnect reaches any device in scope, and nothing of the service's.
    [host, 'device', '/devices/d/messages/devicebound', true],
    [`${host}/devices`, 'device', '/devices/d/modules/m/twin', true],
    [`${host}/devices/d`, 'device', '/devices/e/twin', false],
    [host, 'device', '/messages/devicebound', false],
    // ServiceConnect the other way round.
    [host, 'service', '/messages/devicebound', true],
    [host, 'service', '/messages/servicebound/feedback', true],
    [host, 'service', '/messages/servicebound/filenotifications', true],
    [host, 'service', '/messages/events/', true],
    [host, 'service', '/messages/events/$management', true],
    [host, 'service', '/messages/events/ConsumerGroups/$Default/Partitions/0', true],
    [host, 'service', '/devices/d/twin', false],
    [host, 'iothubowner', '/devices/d/twin', true],
    [host, 'iothubowner', '/messages/devicebound', true],
    [host, 'registryReadWrite', '/messages/devicebound', false],
    [host, 'iothubowner', '0ne/registrations/r', false],
    // Narrower scopes, in both families of spelling.
    [`${host}/devicebound`, 'service', '/messages/devicebound', true],
    [`${host}/messages/deviceBound`, 'service', '/messages/devicebound', true],
    [`${host}/messages/devicebound`, 'service', '/messages/servicebound/feedback', false],
    [`${host}/servicebound/feedback`, 'service', '/messages/servicebound/feedback', true],
    [
      `${host}/messages/servicebound/filenotifications`,
      'service',
      '/messages/servicebound/fileuploadnotifications',
      true,
    ],
    [`${host}/messages/events`, 'service', '/messages/events/ConsumerGroups/g/Partitions/1', true],
    [`${host}/messages/events`, 'service', '/messages/devicebound', false],
    // The Event Hubs side.
    ['sb://localhost/eh', 'service', 'eh/ConsumerGroups/$Default/Partitions/0', true],
    ['sb://localhost/eh', 'service', 'other/ConsumerGroups/$Default/Partitions/0', false],
    ['sb://localhost/eh', 'service', '$management', true],
    ['sb://localhost/eh', 'service', 'eh/$management', true],
    ['sb://localhost/eh', 'service', 'other/$management', false],
    ['sb://localhost/eh', 'device', '$management', false],
    // A token for one of the two says nothing at the other.
    ['localhost', 'service', 'eh/ConsumerGroups/$Default/Partitions/0', false],
    ['localhost', 'service', '$management', false],
    ['sb://localhost', 'service', '/messages/devicebound', false],
  ])('sr %s, skn %s → %s: %s', (sr, skn, text, expected) => {
    expect(mayUse(principal(sr, skn), address(text))).toBe(expected)
  })
})
