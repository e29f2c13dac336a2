import { describe, expect, it } from 'vitest'
import type { Principal } from '../../src/emulator/access.ts'
import { Authorisation } from '../../src/emulator/authorisation.ts'
import { DeviceRegistry } from '../../src/emulator/device-registry.ts'
import { checkPlain, readIdentity } from '../../src/emulator/plain-login.ts'
import { type HubAddress, parseAddress } from '../../src/iothub/addresses.ts'
import { createSasToken } from '../../src/iothub/credentials/sas.ts'
import { ManualClock } from './manual-clock.ts'

const HOST = 'myhub.azure-devices.net'

function addressOf(text: string): HubAddress {
  const address = parseAddress(text)
  if (address === undefined) throw new Error(`no address: ${text}`)
  return address
}

const device = (deviceId: string): Principal => ({
  kind: 'device',
  deviceId,
  moduleId: undefined,
  sr: `${HOST}/devices/${deviceId}`,
})
const telemetryOf = (deviceId: string): HubAddress => addressOf(`/devices/${deviceId}/messages/events`)

describe('the tokens of a connection', () => {
  it('allow nothing but $cbs before the first', () => {
    const authorisation = new Authorisation(new ManualClock(), 0, () => expect.unreachable())
    expect(authorisation.allows(addressOf('$cbs'))).toBe(true)
    expect(authorisation.allows(telemetryOf('a'))).toBe(false)
    expect(authorisation.isEmpty).toBe(true)
  })

  it('add up', () => {
    const clock = new ManualClock()
    const authorisation = new Authorisation(clock, 0, () => {})
    authorisation.grant(device('a'), new Date(clock.now() + 1000))
    authorisation.grant(device('b'), new Date(clock.now() + 2000))
    expect(['a', 'b', 'c'].map(id => authorisation.allows(telemetryOf(id)))).toEqual([true, true, false])
    clock.advance(1000)
    expect(['a', 'b', 'c'].map(id => authorisation.allows(telemetryOf(id)))).toEqual([false, true, false])
  })

  it('are replaced by later ones of the same identity', () => {
    const clock = new ManualClock()
    const lost: number[] = []
    const authorisation = new Authorisation(clock, 0, () => lost.push(clock.now()))
    const start = clock.now()
    authorisation.grant(device('a'), new Date(start + 1000))
    authorisation.grant(device('a'), new Date(start + 5000))
    clock.advance(2000)
    expect(lost).toEqual([])
    expect(authorisation.allows(telemetryOf('a'))).toBe(true)
    clock.advance(3000)
    expect(lost).toEqual([start + 5000])
    expect(authorisation.isEmpty).toBe(true)
  })

  it('hold a little longer, by the tolerance', () => {
    const clock = new ManualClock()
    const authorisation = new Authorisation(clock, 300, () => {})
    authorisation.grant(device('a'), new Date(clock.now() - 100))
    clock.advance(199)
    expect(authorisation.allows(telemetryOf('a'))).toBe(true)
    clock.advance(1)
    expect(authorisation.allows(telemetryOf('a'))).toBe(false)
  })

  it('can be taken back, by exactly their scope', () => {
    const clock = new ManualClock()
    let lost = 0
    const authorisation = new Authorisation(clock, 0, () => lost++)
    authorisation.grant(device('a'), new Date(clock.now() + 1000))
    authorisation.revoke(HOST)
    expect(authorisation.allows(telemetryOf('a'))).toBe(true)
    authorisation.revoke(`amqps://${HOST.toUpperCase()}:5671/devices/a`)
    expect(authorisation.allows(telemetryOf('a'))).toBe(false)
    expect(lost).toBe(2)
    expect(clock.timers).toBe(0)
  })

  it('leave no timer behind', () => {
    const clock = new ManualClock()
    const authorisation = new Authorisation(clock, 0, () => {})
    authorisation.grant(device('a'), new Date(clock.now() + 1000))
    authorisation.close()
    expect(clock.timers).toBe(0)
    expect(authorisation.allows(telemetryOf('a'))).toBe(false)
  })
})

describe('SASL PLAIN', () => {
  const registry = new DeviceRegistry([HOST])
  const { primaryKey } = registry.addDevice('dev@1')
  const module = registry.addModule('dev@1', 'mod')
  const policyKey = registry.policy('service')?.primaryKey ?? ''
  const now = Date.now()
  const expiresAt = new Date(Math.floor(now / 1000) * 1000 + 60_000)
  const sign = (resourceUri: string, key: string, keyName?: string): Promise<string> =>
    createSasToken({ resourceUri, key, keyName, expiresAt })
  const login = (username: string, password: string, at = now): Promise<string | false> =>
    checkPlain(registry, 'MyHub', username, password, { now: at, skewMs: 0 })

  it('lets in devices, modules and policies', async () => {
    const deviceToken = await sign(`${HOST}/devices/dev@1`, primaryKey)
    const identity = await login('dev@1@sas.myhub', deviceToken)
    expect(readIdentity(identity || undefined)).toEqual({ principal: device('dev@1'), expiresAt })
    expect(await login('dev%401@sas.myhub', deviceToken)).not.toBe(false)
    const moduleToken = await sign(`${HOST}/devices/dev@1/modules/mod`, module.primaryKey)
    expect(await login('dev@1/modules/mod@sas.myhub', moduleToken)).not.toBe(false)
    const policyToken = await sign(HOST, policyKey, 'service')
    const policy = await login('service@sas.root.myhub', policyToken)
    expect(readIdentity(policy || undefined)?.principal).toMatchObject({ kind: 'service', policy: 'service' })
  })

  it('keeps out everybody else', async () => {
    const deviceToken = await sign(`${HOST}/devices/dev@1`, primaryKey)
    const policyToken = await sign(HOST, policyKey, 'service')
    const wrong: [string, string][] = [
      ['other@sas.myhub', deviceToken],
      ['dev@1@sas.otherhub', deviceToken],
      ['dev@1@sas.root.myhub', deviceToken],
      ['dev@1@myhub', deviceToken],
      ['service@sas.myhub', policyToken],
      ['device@sas.root.myhub', policyToken],
      ['dev@1@sas.myhub', await sign(`${HOST}/devices/dev@1`, policyKey)],
      ['dev@1@sas.myhub', 'password'],
      ['', ''],
      ['%@sas.myhub', deviceToken],
    ]
    for (const [username, password] of wrong) expect(await login(username, password)).toBe(false)
    expect(await login('dev@1@sas.myhub', deviceToken, expiresAt.getTime() + 1)).toBe(false)
  })

  it('leaves no identity where it was not used', () => {
    expect(readIdentity(undefined)).toBeUndefined()
  })
})
