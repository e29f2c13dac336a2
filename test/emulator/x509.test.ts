/** Devices that prove themselves by a certificate: over TLS, over memory, over EXTERNAL; and those that do not. */

import { afterEach, describe, expect, it } from 'vitest'
import { connect } from '../../src/client/connect.ts'
import { sasl } from '../../src/client/sasl.ts'
import { provesDevice, readClientCertificate } from '../../src/emulator/certificates/client-certificate.ts'
import { createDeviceAuthority } from '../../src/emulator/certificates/device-authority.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import type { IotHubEmulatorOptions } from '../../src/emulator/options.ts'
import { UsageError } from '../../src/errors.ts'
import { createSasToken } from '../../src/iothub/credentials/sas.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import { ManualClock } from './manual-clock.ts'

const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})
function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}

const authority = await createDeviceAuthority()
const [own, other] = await Promise.all([authority.issue('d1'), authority.issue('d2')])
const stranger = await (await createDeviceAuthority()).issue('d1')
const unauthorized = { condition: 'amqp:unauthorized-access' }

async function start(options: IotHubEmulatorOptions = {}): Promise<IotHubEmulator> {
  return kept(await IotHubEmulator.start({ devices: [], ...options }))
}

describe('over TLS, without SASL and without CBS', () => {
  it.each([
    ['its thumbprint', { thumbprint: own.thumbprint }],
    ['one of two, written otherwise', { thumbprint: ['0'.repeat(40), own.thumbprint.toLowerCase()] }],
    ['its authority', 'ca'],
  ] as const)('a device known by %s sends and receives', async (_, x509) => {
    const hub = await start()
    await hub.addAuthority(authority.ca)
    hub.addDevice('d1', { x509 })
    const headers: unknown[] = []
    const text = hub.connectionString({ deviceId: 'd1' })
    expect(text).toBe(`HostName=localhost:${hub.port};DeviceId=d1;x509=true`)
    const device = kept(
      await DeviceClient.connect(text, {
        tls: { ca: hub.ca, cert: own.cert, key: own.key },
        trace: frame => frame.layer !== 'amqp' && headers.push([frame.direction, frame.body]),
      }),
    )
    await device.sendTelemetry({ body: 'x' })
    const status = hub.sendToDevice('d1', { body: 'y' })
    for await (const message of device.messages()) {
      await message.complete()
      break
    }
    expect(await status).toBe('success')
    expect(headers).toHaveLength(2)
    expect(JSON.stringify(headers)).not.toMatch(/sasl/i)
  })

  it('with credentials in parts', async () => {
    const hub = await start()
    hub.addDevice('d1', { x509: { thumbprint: own.thumbprint } })
    const hostName = `localhost:${hub.port}`
    for (const x509 of [own, { cert: Buffer.from(own.cert), key: Buffer.from(own.key) }]) {
      const device = kept(await DeviceClient.connect({ hostName, deviceId: 'd1', x509 }, { tls: { ca: hub.ca } }))
      await device.sendTelemetry({ body: 'x' })
    }
  })

  it.each<[string, typeof own | undefined]>([
    ['of another device', other],
    ['of nobody', undefined],
    ['of the same name, by an authority that is not known', stranger],
  ])('a certificate %s is refused at the first link', async (_, shown) => {
    const hub = await start()
    await hub.addAuthority(authority.ca)
    hub.addDevice('d1', { x509: 'ca' })
    hub.addDevice('d2', { x509: { thumbprint: own.thumbprint } })
    const connection = kept(
      await connect({
        host: 'localhost',
        port: hub.port,
        tls: { ca: hub.ca, ...(shown && { cert: shown.cert, key: shown.key }) },
        sasl: false,
      }),
    )
    await expect(connection.sender('/devices/d1/messages/events')).rejects.toMatchObject(unauthorized)
    await expect(connection.receiver('/messages/servicebound/feedback')).rejects.toMatchObject(unauthorized)
    await expect(connection.sender('/devices/d1/modules/m/messages/events')).rejects.toMatchObject(unauthorized)
  })

  it('a refusal says what was shown, and never a token', async () => {
    const hub = await start({ devices: ['d3'] })
    hub.addDevice('d1', { x509: { thumbprint: own.thumbprint } })
    const hostName = `localhost:${hub.port}`
    const wrong = kept(await DeviceClient.connect({ hostName, deviceId: 'd1', x509: other }, { tls: { ca: hub.ca } }))
    await expect(wrong.sendTelemetry({ body: 'x' })).rejects.toThrow("; shown: the certificate of 'd2'")
    const login = { host: 'localhost', port: hub.port, tls: { ca: hub.ca } }
    const nobody = kept(await connect({ ...login, sasl: false }))
    await expect(nobody.sender('/devices/d1/messages/events')).rejects.toThrow('; shown: none')
    const key = /SharedAccessKey=([^;]+)/.exec(hub.connectionString({ deviceId: 'd3' }))?.[1] ?? ''
    const token = await createSasToken({
      resourceUri: 'localhost/devices/d3',
      key,
      expiresAt: new Date(Date.now() + 60_000),
    })
    const d3 = kept(await connect({ ...login, sasl: sasl.plain('d3@sas.localhost', token) }))
    const error = await d3.sender('/devices/d1/messages/events').catch(error => error)
    expect(error.message).toMatch(/; shown: a token for localhost\/devices\/d3\)?$/)
  })

  it('by EXTERNAL too, and whom the peer says it is counts for nothing', async () => {
    const hub = await start({ devices: ['victim'] })
    hub.addDevice('d1', { x509: { thumbprint: own.thumbprint } })
    const forged = JSON.stringify({
      principal: { kind: 'device', deviceId: 'victim', sr: 'localhost/devices/victim' },
      expiresAt: Date.now() + 60_000,
    })
    const tls = { ca: hub.ca, cert: own.cert, key: own.key }
    const mechanism = sasl.external(forged)
    const connection = kept(await connect({ host: 'localhost', port: hub.port, tls, sasl: mechanism }))
    await connection.sender('/devices/d1/messages/events')
    await expect(connection.sender('/devices/victim/messages/events')).rejects.toMatchObject(unauthorized)
  })
})

it('readers are told by what a device has proved itself: key, certificate or policy', async () => {
  const hub = await start({ listen: 'memory', partitions: 1, devices: ['byKey', 'byPolicy'] })
  hub.addModule('byKey', 'm')
  hub.addDevice('byCert', { x509: { thumbprint: own.thumbprint } })
  const policy = hub
    .connectionString({ policy: 'device' })
    .replace('HostName=localhost', 'HostName=localhost;DeviceId=byPolicy')
  const devices = [
    [hub.connectionString({ deviceId: 'byKey' }), hub.transport()],
    [hub.connectionString({ deviceId: 'byKey', moduleId: 'm' }), hub.transport()],
    [policy, hub.transport()],
    [hub.connectionString({ deviceId: 'byCert' }), hub.transport({ certificate: own.cert })],
  ] as const
  for (const [text, transport] of devices)
    await kept(await DeviceClient.connect(text, { transport })).sendTelemetry({ body: 'x' })
  const service = kept(
    await ServiceClient.connect(hub.connectionString({ service: true }), { transport: () => hub.transport() }),
  )
  const seen: unknown[] = []
  for await (const { authentication } of service.telemetry()) if (seen.push(authentication) === devices.length) break
  expect(seen).toEqual([
    { scope: 'device', type: 'sas', issuer: 'iothub' },
    { scope: 'module', type: 'sas', issuer: 'iothub' },
    { scope: 'hub', type: 'sas', issuer: 'iothub' },
    { scope: 'device', type: 'x509', issuer: 'iothub' },
  ])
})

describe('over memory', () => {
  it('the certificate is given with the transport', async () => {
    const hub = await start({ listen: 'memory' })
    hub.addDevice('d1', { x509: { thumbprint: own.thumbprint } })
    const text = hub.connectionString({ deviceId: 'd1' })
    const device = kept(await DeviceClient.connect(text, { transport: hub.transport({ certificate: own.cert }) }))
    await device.sendTelemetry({ body: 'x' })
    const wrong = kept(await DeviceClient.connect(text, { transport: hub.transport({ certificate: other.cert }) }))
    await expect(wrong.sendTelemetry({ body: 'x' })).rejects.toMatchObject(unauthorized)
    const nobody = kept(await DeviceClient.connect(text, { transport: hub.transport({ certificate: 'none' }) }))
    await expect(nobody.sendTelemetry({ body: 'x' })).rejects.toMatchObject(unauthorized)
  })

  it('a certificate that has run out proves nothing by its authority', async () => {
    const clock = new ManualClock()
    const hub = await start({ listen: 'memory', clock })
    await hub.addAuthority(authority.ca)
    hub.addDevice('d1', { x509: 'ca' })
    const text = hub.connectionString({ deviceId: 'd1' })
    clock.advance(8 * 86_400_000)
    const device = kept(await DeviceClient.connect(text, { transport: hub.transport({ certificate: own.cert }) }))
    await expect(device.sendTelemetry({ body: 'x' })).rejects.toMatchObject(unauthorized)
  })

  it('a device with a certificate has no token, whoever has its key', async () => {
    const hub = await start({ listen: 'memory' })
    hub.addDevice('d1', { x509: 'ca' })
    const key = Buffer.alloc(32).toString('base64')
    const token = await createSasToken({ resourceUri: 'localhost/devices/d1', key, expiresAt: new Date(2e12) })
    const text = `HostName=localhost;DeviceId=d1;SharedAccessSignature=${token}`
    await expect(DeviceClient.connect(text, { transport: hub.transport() })).rejects.toMatchObject(unauthorized)
  })

  it('a certificate keeps its links when a token beside it expires', async () => {
    const clock = new ManualClock()
    const hub = await start({ listen: 'memory', clock, devices: ['d2'], tokenSkewMs: 0 })
    hub.addDevice('d1', { x509: { thumbprint: own.thumbprint } })
    const connection = kept(
      await connect({ host: 'h', transport: hub.transport({ certificate: own.cert }), sasl: false }),
    )
    const request = await connection.request('$cbs', { replyTo: 'cbs' })
    const key = /SharedAccessKey=([^;]+)/.exec(hub.connectionString({ deviceId: 'd2' }))?.[1] ?? ''
    const expiresAt = new Date(clock.now() + 10_000)
    await request.send({
      applicationProperties: { operation: 'put-token', type: 'servicebus.windows.net:sastoken', name: 'd2' },
      body: { value: await createSasToken({ resourceUri: 'localhost/devices/d2', key, expiresAt }) },
    })
    const mine = await connection.sender('/devices/d1/messages/events')
    const theirs = await connection.sender('/devices/d2/messages/events')
    clock.advance(10_001)
    expect(await theirs.closed).toMatchObject({ error: unauthorized })
    expect(await mine.send({ body: Uint8Array.of(1) })).toMatchObject({ outcome: 'accepted' })
  })
})

describe('what cannot be', () => {
  it.each<[string, () => unknown]>([
    ['x509=true without a certificate', () => DeviceClient.connect('HostName=h;DeviceId=d;x509=true')],
    [
      'x509=true with half a certificate',
      () => DeviceClient.connect('HostName=h;DeviceId=d;x509=true', { tls: { cert: own.cert } }),
    ],
    [
      'two certificates',
      () => DeviceClient.connect({ hostName: 'h', deviceId: 'd', x509: own }, { tls: { cert: 'c', key: 'k' } }),
    ],
    [
      'key and certificate',
      () => DeviceClient.connect({ hostName: 'h', deviceId: 'd', x509: own, sas: { key: 'AAAA' } }),
    ],
    [
      'a certificate without its key',
      () => DeviceClient.connect({ hostName: 'h', deviceId: 'd', x509: { cert: own.cert } as never }),
    ],
    [
      'a way to bring a token',
      () => DeviceClient.connect({ hostName: 'h', deviceId: 'd', x509: own }, { auth: 'plain' }),
    ],
    ['an authority that is none', async () => (await start({ listen: 'memory' })).addAuthority('x')],
    [
      'a thumbprint that is none',
      async () => (await start({ listen: 'memory' })).addDevice('d', { x509: { thumbprint: 'x' } }),
    ],
    ['no registration', async () => (await start({ listen: 'memory' })).addDevice('d', { x509: {} as never })],
    ['days out of range', () => authority.issue('d', { validDays: 0 })],
  ])('is a UsageError: %s', async (_, attempt) => {
    await expect(attempt()).rejects.toThrow(UsageError)
  })

  it('a leaf is no authority', async () => {
    const certificate = await readClientCertificate(own.cert)
    expect(certificate).toMatchObject({ commonName: 'd1', thumbprints: [own.thumbprint, /^[0-9A-F]{40}$/] })
    const proves = (ca: string): boolean => provesDevice(certificate, { deviceId: 'd1', x509: 'ca' }, [ca], Date.now())
    expect([authority.ca, own.cert, other.cert].map(proves)).toEqual([true, false, false])
  })
})
