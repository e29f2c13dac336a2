import { readFile } from 'node:fs/promises'
import { afterEach, describe, expect, it } from 'vitest'
import type { Connection, IncomingLink } from '../../src/client/api.ts'
import { saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { DeliveryError, UsageError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'
import { SharedLink } from '../../src/iothub/connection/shared-link.ts'
import { parseConnectionString } from '../../src/iothub/credentials/connection-string.ts'
import { hubNameOf, splitHost } from '../../src/iothub/credentials/login.ts'
import { createSasToken } from '../../src/iothub/credentials/sas.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { DevicePool } from '../../src/iothub/pool/device-pool.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import { EncodedMessage } from '../../src/message/encode.ts'
import { pause } from '../waiting.ts'

const opened: AsyncDisposable[] = []

afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})

function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}

const key = Buffer.alloc(32, 7).toString('base64')
const READ = { kind: 'device', hostName: 'h', deviceId: 'd', sharedAccessKey: key, x509: false } as const
const keyOf = (connectionString: string): string => /SharedAccessKey=([^;]+)/.exec(connectionString)?.[1] ?? ''

async function memoryHub(devices?: string[]): Promise<IotHubEmulator> {
  return kept(await IotHubEmulator.start({ listen: 'memory', feedbackBatchMs: 10, ...(devices && { devices }) }))
}

describe('credentials', () => {
  it('may be given in parts: a key', async () => {
    const hub = await memoryHub()
    const sas = { key: keyOf(hub.connectionString({ deviceId: 'device1' })) }
    const credentials = { hostName: 'localhost:1', deviceId: 'device1', sas }
    const device = kept(await DeviceClient.connect(credentials, { transport: hub.transport() }))
    await device.sendTelemetry({ body: 'x' })
    const policy = {
      hostName: 'localhost',
      keyName: 'service',
      sas: { key: keyOf(hub.connectionString({ service: true })) },
    }
    const service = kept(await ServiceClient.connect(policy, { transport: hub.transport() }))
    await service.sendToDevice('device1', { body: 'x' })
  })

  it.each(['cbs', 'plain'] as const)('may be given in parts: a source of tokens, by %s', async auth => {
    const hub = await memoryHub()
    let asked = 0
    const token = (): Promise<string> => {
      asked++
      return createSasToken({
        resourceUri: 'localhost/devices/device1',
        key: keyOf(hub.connectionString({ deviceId: 'device1' })),
        expiresAt: new Date(Date.now() + 60_000),
      })
    }
    const credentials = { hostName: 'localhost', deviceId: 'device1', sas: { token } }
    const device = kept(await DeviceClient.connect(credentials, { auth, transport: hub.transport() }))
    await device.sendTelemetry({ body: 'x' })
    expect(asked).toBe(1)
  })

  it('may be a token in a connection string', async () => {
    const hub = await memoryHub()
    const token = await createSasToken({
      resourceUri: 'localhost/devices/device1',
      key: keyOf(hub.connectionString({ deviceId: 'device1' })),
      expiresAt: new Date(Date.now() + 60_000),
    })
    const text = `HostName=localhost;DeviceId=device1;SharedAccessSignature=${token}`
    kept(await DeviceClient.connect(text, { transport: hub.transport() }))
  })

  it.each<[string, () => Promise<unknown>]>([
    ["a service's for a device", () => DeviceClient.connect(`HostName=h;SharedAccessKeyName=p;SharedAccessKey=${key}`)],
    ["a device's for a service", () => ServiceClient.connect(`HostName=h;DeviceId=d;SharedAccessKey=${key}`)],
    ['a certificate', () => DeviceClient.connect('HostName=h;DeviceId=d;x509=true')],
    ['a key that is not base64', () => DeviceClient.connect('HostName=h;DeviceId=d;SharedAccessKey=?')],
    ['a host that is none', () => DeviceClient.connect({ hostName: 'a b', deviceId: 'd', sas: { key } })],
    ['a token that is none', () => DeviceClient.connect({ hostName: 'h', deviceId: 'd', sas: { token: () => 'x' } })],
  ])('are refused: %s', async (_, connect) => {
    await expect(connect()).rejects.toThrow(UsageError)
  })

  it('with a key that was cut off: the error says whose', async () => {
    const cut = key.slice(0, -3)
    for (const [connecting, who] of [
      [DeviceClient.connect(`HostName=h.x;DeviceId=d;SharedAccessKey=${cut}`), "device 'd' of hub 'h'"],
      [ServiceClient.connect({ hostName: 'h', keyName: 'p', sas: { key: cut } }), "policy 'p' of hub 'h'"],
    ] as const)
      await expect(connecting).rejects.toThrow(
        `${who}: the key (SharedAccessKey) is not base64, as when it has been cut`,
      )
  })

  it('may be what a connection string was read as, with its port', async () => {
    const hub = await memoryHub()
    const dialled: string[] = []
    const transport = (host: string): Transport => {
      dialled.push(host)
      return hub.transport()
    }
    const fields = parseConnectionString(hub.connectionString({ deviceId: 'device1' }))
    const device = kept(await DeviceClient.connect(fields, { transport }))
    await device.sendTelemetry({ body: 'x' })
    const policy = parseConnectionString(hub.connectionString({ policy: 'iothubowner' }))
    const service = kept(await ServiceClient.connect(policy, { transport }))
    await service.sendToDevice('device1', { body: 'x' })
    const pool = kept(await DevicePool.connect(policy, { transport }))
    await (await pool.device(fields)).sendTelemetry({ body: 'x' })
    expect(dialled).toEqual(['localhost', 'localhost', 'localhost'])
    // Where it cannot be dialled, the error names the port.
    await expect(DeviceClient.connect({ ...fields, port: 1 })).rejects.toThrow(':1')
    await expect(ServiceClient.connect({ ...policy, port: 1 })).rejects.toThrow(':1')
    await expect(DevicePool.connect({ ...policy, port: 1 })).rejects.toThrow(':1')
  })

  it.each<[string, () => Promise<unknown>, string]>([
    [
      'of a service',
      () => DeviceClient.connect({ ...READ, kind: 'service', keyName: 'p' } as never),
      'DeviceId is missing',
    ],
    ['of a device', () => ServiceClient.connect(READ as never), 'DeviceId is for devices'],
    ['a host with a port', () => DeviceClient.connect({ ...READ, hostName: 'h:0' }), 'HostName must be a host name'],
    ['no host', () => DeviceClient.connect({ ...READ, hostName: undefined } as never), 'HostName is missing'],
    ['no text', () => DeviceClient.connect({ ...READ, deviceId: 5 } as never), 'DeviceId must be a text'],
    [
      'another key',
      () => DeviceClient.connect({ ...READ, sas: { key } } as never),
      "`sas` does not go with the fields of a connection string (kind: 'device'); write { hostName, deviceId, sas }",
    ],
    [
      'a certificate',
      () => DeviceClient.connect({ ...READ, x509: { cert: 'c', key: 'k' } } as never),
      '`x509` does not go with',
    ],
    ['what means nothing', () => DeviceClient.connect({ ...READ, foo: 1 } as never), 'string named "foo"'],
    [
      'a port beside',
      () => DeviceClient.connect({ hostName: 'h', port: 1, deviceId: 'd', sas: { key } } as never),
      '"port"',
    ],
    [
      'a device',
      () => ServiceClient.connect({ hostName: 'h', deviceId: 'd', keyName: 'p', sas: { key } } as never),
      '"deviceId"',
    ],
  ])('as a connection string was read, but changed: %s', async (_, connect, said) => {
    await expect(connect()).rejects.toThrow(UsageError)
    await expect(connect()).rejects.toThrow(said)
  })

  it('that fail to come fail the connect', async () => {
    const sas = { token: () => Promise.reject(new Error('the vault is shut')) }
    await expect(DeviceClient.connect({ hostName: 'h', deviceId: 'd', sas })).rejects.toThrow('the vault is shut')
  })

  const source = { token: () => 'SharedAccessSignature sr=h&sig=x&se=4000000000' }

  it.each<[string, object]>([
    ['no device', { sas: source }],
    ['an empty device', { deviceId: '', sas: source }],
    ['a device that is no text', { deviceId: 5, sas: source }],
    ['an empty module', { deviceId: 'd', moduleId: '', sas: source }],
    ['an id that has no UTF-8', { deviceId: '\ud800', sas: source }],
    ['a key that is no text', { deviceId: 'd', sas: { key: 5 } }],
    ['a token instead of its source', { deviceId: 'd', sas: { token: 'SharedAccessSignature sr=h&sig=x&se=1' } }],
  ])('that have %s are refused before anything is connected', async (_, credentials) => {
    let dialled = 0
    const transport = (): never => {
      dialled++
      throw new Error('dialled')
    }
    const connecting = DeviceClient.connect({ hostName: 'h', ...credentials } as never, { transport })
    await expect(connecting).rejects.toThrow(UsageError)
    expect(dialled).toBe(0)
  })

  it.each<[string, object]>([
    ['no policy', { sas: source }],
    ['a certificate', { keyName: 'service', x509: { cert: 'c', key: 'k' } }],
  ])('of a service that have %s are refused', async (_, credentials) => {
    await expect(ServiceClient.connect({ hostName: 'h', ...credentials } as never)).rejects.toThrow(UsageError)
  })

  it('name hosts with and without ports', () => {
    expect(splitHost('h.example')).toEqual({ host: 'h.example', port: undefined })
    expect(splitHost('h.example:8883')).toEqual({ host: 'h.example', port: 8883 })
    expect(splitHost('[::1]:8883')).toEqual({ host: '::1', port: 8883 })
    for (const text of ['', 'a:b:c', 'h:x', '::1', 'a/b']) expect(() => splitHost(text)).toThrow(UsageError)
    expect(hubNameOf('myhub.azure-devices.net')).toBe('myhub')
    expect(hubNameOf('localhost')).toBe('localhost')
  })
})

describe('what a hub sees', () => {
  /** A hub that lets everybody in by PLAIN and shows what it saw. */
  async function observe(
    connect: (port: number) => Promise<AsyncDisposable>,
  ): Promise<{ users: string[]; hosts: unknown[] }> {
    const users: string[] = []
    const hosts: unknown[] = []
    const {
      cert,
      key: privateKey,
      ca,
    } = await (await import('../../src/emulator/certificates/certificate.ts')).createCertificate()
    trusted = ca
    const plain = saslServer.plain(username => users.push(username) > 0)
    const listener = kept(await listen({ sasl: [plain], tls: { cert, key: privateKey } }))
    const served = new Promise(resolve => listener.on('connection', resolve))
    listener.on('connection', connection => hosts.push(connection.remote.hostname))
    kept(await connect(listener.port))
    await served
    return { users, hosts }
  }
  let trusted = ''

  it('in PLAIN: a device, a module, a device under a policy, a service', async () => {
    const tls = (): { auth: 'plain'; tls: { ca: string } } => ({ auth: 'plain', tls: { ca: trusted } })
    const gateway = (port: number): string => `GatewayHostName=localhost:${port};SharedAccessKey=${key}`
    const hub = 'HostName=myhub.example'
    const strings: [string, (port: number) => string][] = [
      ['dev@sas.myhub', port => `${hub};DeviceId=dev;${gateway(port)}`],
      ['dev/modules/mod@sas.myhub', port => `${hub};DeviceId=dev;ModuleId=mod;${gateway(port)}`],
      ['pol@sas.root.myhub', port => `${hub};DeviceId=dev;SharedAccessKeyName=pol;${gateway(port)}`],
    ]
    for (const [user, text] of strings) {
      const { users, hosts } = await observe(port => DeviceClient.connect(text(port), tls()))
      expect(users).toEqual([user])
      expect(hosts).toEqual(['localhost'])
    }
    const service = (port: number): string =>
      `HostName=localhost:${port};SharedAccessKeyName=service;SharedAccessKey=${key}`
    const { users } = await observe(port => ServiceClient.connect(service(port), tls()))
    expect(users).toEqual(['service@sas.root.localhost'])
  })
})

describe('links', () => {
  it('feedback that cannot be read is rejected, and ends the loop', async () => {
    const outcomes: string[] = []
    const { transport } = await scriptedTransport(async link => {
      if (link.remoteRole !== 'receiver') return
      const sender = await link.accept()
      for (const message of [{ body: '{' }, new EncodedMessage(Uint8Array.of(0xff)), { body: '[]' }])
        void sender
          .send(message)
          .then(({ outcome }) => outcomes.push(outcome))
          .catch(() => {})
    })
    const credentials = { hostName: 'h', keyName: 'p', sas: { key } }
    const service = kept(await ServiceClient.connect(credentials, { auth: 'plain', transport }))
    await expect(service.feedback().next()).rejects.toMatchObject({ code: 'ERR_AMQP_PROTOCOL' })
    await expect(service.feedback().next()).rejects.toMatchObject({ code: 'ERR_AMQP_DECODE' })
    const batch = (await service.feedback().next()).value
    expect(batch?.records).toEqual([])
    await batch?.complete()
    await pause(20)
    expect(outcomes).toEqual(['rejected', 'rejected', 'accepted'])
  })

  /** A hub that does with links what the test says, and needs no authentication but PLAIN. */
  async function scripted(onLink: (link: IncomingLink) => void): Promise<{ device: DeviceClient; server: Connection }> {
    const { transport, serving } = await scriptedTransport(onLink)
    const credentials = { hostName: 'h', deviceId: 'd', sas: { key } }
    const device = kept(await DeviceClient.connect(credentials, { auth: 'plain', transport }))
    return { device, server: await serving }
  }

  async function scriptedTransport(
    onLink: (link: IncomingLink) => void,
  ): Promise<{ transport: Transport; serving: Promise<Connection> }> {
    const listener = kept(await listen({ sasl: [saslServer.plain(() => true)] }))
    const [transport, theirs] = memoryPair()
    const serving = listener.accept(theirs).then(connection => {
      connection.on('session', incoming => {
        void incoming.accept().then(session => session.on('link', onLink))
      })
      return connection
    })
    return { transport, serving }
  }

  it('are attached when first used, once, and say which client it is', async () => {
    const seen: IncomingLink[] = []
    const { device } = await scripted(async link => {
      seen.push(link)
      if (link.remoteRole === 'sender') for await (const delivery of await link.accept()) await delivery.accept()
    })
    expect(seen).toEqual([])
    await Promise.all(Array.from({ length: 10 }, (_, i) => device.sendTelemetry({ body: `${i}` })))
    expect(seen.map(link => link.target?.address)).toEqual(['/devices/d/messages/events'])
    const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'))
    expect(seen[0]?.properties.get('com.microsoft:client-version')).toBe(`fairlead/${version}`)
  })

  it('are attached again on the next use after the hub has detached them', async () => {
    let attached = 0
    const { device } = await scripted(async link => {
      if (link.remoteRole !== 'sender') return
      const receiver = await link.accept()
      attached++
      for await (const delivery of receiver) {
        await delivery.accept()
        if (attached === 1) void receiver.close({ error: { condition: 'amqp:link:detach-forced' } })
      }
    })
    await device.sendTelemetry({ body: '1' })
    await pause(20)
    await device.sendTelemetry({ body: '2' })
    expect(attached).toBe(2)
  })

  it('that are refused fail the use, and are tried again on the next', async () => {
    let tries = 0
    const { device } = await scripted(link => {
      tries++
      link.refuse({ condition: 'amqp:unauthorized-access', description: 'Token Invalid.' })
    })
    for (let i = 0; i < 2; i++)
      await expect(device.sendTelemetry({ body: 'x' })).rejects.toMatchObject({ condition: 'amqp:unauthorized-access' })
    expect(tries).toBe(2)
  })

  it.each(['released', 'rejected', 'modified'] as const)('telemetry that is %s is a DeliveryError', async outcome => {
    const { device } = await scripted(async link => {
      if (link.remoteRole !== 'sender') return
      for await (const delivery of await link.accept()) {
        if (outcome === 'released') await delivery.release()
        else if (outcome === 'rejected') await delivery.reject({ condition: 'com.microsoft:quota-exceeded' })
        else await delivery.modify({ deliveryFailed: true })
      }
    })
    const error = await device.sendTelemetry({ body: 'x' }).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(DeliveryError)
    expect(error).toMatchObject({
      outcome: { outcome },
      condition: outcome === 'rejected' ? 'com.microsoft:quota-exceeded' : undefined,
    })
  })

  it('a message that no program could read is rejected and passed over', async () => {
    const outcomes: string[] = []
    const { device } = await scripted(async link => {
      if (link.remoteRole !== 'receiver') return
      const sender = await link.accept()
      const readable = { body: new TextEncoder().encode('readable') }
      for (const message of [{ body: { value: 5 } }, new EncodedMessage(Uint8Array.of(0xff)), readable])
        void sender
          .send(message)
          .then(outcome => outcomes.push(outcome.outcome))
          .catch(() => {})
    })
    for await (const message of device.messages()) {
      expect(new TextDecoder().decode(message.body)).toBe('readable')
      await message.complete()
      break
    }
    await pause(20)
    expect(outcomes).toEqual(['rejected', 'rejected', 'accepted'])
  })
})

describe('cancellation', () => {
  it('of a loop loses no message', async () => {
    const hub = await memoryHub()
    const device = kept(
      await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), { transport: hub.transport() }),
    )
    const abort = new AbortController()
    const loop = device.messages({ signal: abort.signal }).next()
    setTimeout(() => abort.abort(new Error('enough')), 20)
    await expect(loop).rejects.toThrow('enough')
    const status = hub.sendToDevice('device1', { body: 'x' })
    for await (const message of device.messages()) {
      await message.complete()
      break
    }
    expect(await status).toBe('success')
  })

  it('of an attach leaves it to the others', async () => {
    let resolve: (link: never) => void = () => {}
    const link = new SharedLink(
      () =>
        new Promise<never>(yes => {
          resolve = yes
        }),
    )
    const abort = new AbortController()
    const one = link.get({ signal: abort.signal })
    const other = link.get()
    abort.abort(new Error('enough'))
    await expect(one).rejects.toThrow('enough')
    await expect(link.get({ signal: abort.signal })).rejects.toThrow('enough')
    const attached = { closed: new Promise(() => {}) }
    resolve(attached as never)
    expect(await other).toBe(attached)
    expect(await link.get({ signal: new AbortController().signal })).toBe(attached)
  })

  it('before connecting connects nowhere', async () => {
    const signal = AbortSignal.abort(new Error('no'))
    await expect(DeviceClient.connect(`HostName=h;DeviceId=d;SharedAccessKey=${key}`, { signal })).rejects.toThrow('no')
  })
})

it('a loop ends when the client is closed', async () => {
  const hub = await memoryHub()
  const device = await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), {
    transport: hub.transport(),
  })
  const service = await ServiceClient.connect(hub.connectionString({ service: true }), { transport: hub.transport() })
  const loops = Promise.all([device.messages().next(), service.feedback().next()])
  await pause(20)
  await Promise.all([device.close(), service.close()])
  expect(await loops).toEqual([
    { done: true, value: undefined },
    { done: true, value: undefined },
  ])
  expect(await device.closed).toMatchObject({ by: 'local' })
  await expect(device.sendTelemetry({ body: 'x' })).rejects.toMatchObject({ code: 'ERR_AMQP_CLOSED' })
})

it('feedback that is abandoned comes again', async () => {
  const hub = await memoryHub()
  const device = kept(
    await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), { transport: hub.transport() }),
  )
  const service = kept(
    await ServiceClient.connect(hub.connectionString({ service: true }), { transport: hub.transport() }),
  )
  await service.sendToDevice('device1', { body: 'x', messageId: 'm', ack: 'positive' })
  for await (const message of device.messages()) {
    await message.complete()
    break
  }
  let seen = 0
  for await (const batch of service.feedback()) {
    expect(batch.records).toMatchObject([{ originalMessageId: 'm', status: 'success' }])
    if (++seen === 1) await batch.abandon()
    else {
      await batch.complete()
      break
    }
  }
  expect(seen).toBe(2)
})

describe('what JavaScript may pass', () => {
  it.each([[undefined], [null], [5], [{}], [{ hostName: 'h', deviceId: 'd' }]])(
    'credentials %j: UsageError',
    async it => {
      for (const client of [DeviceClient, ServiceClient])
        await expect(client.connect(it as never)).rejects.toMatchObject({ code: 'ERR_AMQP_USAGE' })
    },
  )

  it.each([[undefined], ['x'], [{}], [{ body: { temperature: 21 } }]])('a message %j: UsageError', async message => {
    const hub = await memoryHub()
    const device = kept(
      await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), { transport: hub.transport() }),
    )
    await expect(device.sendTelemetry(message as never)).rejects.toMatchObject({ code: 'ERR_AMQP_USAGE' })
    const service = kept(
      await ServiceClient.connect(hub.connectionString({ service: true }), { transport: hub.transport() }),
    )
    await expect(service.sendToDevice('device1', message as never)).rejects.toMatchObject({ code: 'ERR_AMQP_USAGE' })
  })
})
