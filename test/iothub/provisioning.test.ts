/** Provisioning: the client against the emulator's service, over memory and TLS, and against services that misbehave. */

import { createHmac } from 'node:crypto'
import { inspect } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import type { Connection, Delivery, IncomingLink, Sender } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { sasl, saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { createDeviceAuthority } from '../../src/emulator/certificates/device-authority.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import type { IotHubEmulatorOptions } from '../../src/emulator/options.ts'
import { ProtocolError, SaslError, UsageError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { createSasToken, deriveDeviceKey } from '../../src/iothub/credentials/sas.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { type ProvisionOptions, provision } from '../../src/iothub/provisioning/provisioning.ts'
import { readAnswer } from '../../src/iothub/provisioning/provisioning-message.ts'
import type { Message, MessageInit } from '../../src/message/message.ts'

const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})
function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}
async function start(options: IotHubEmulatorOptions = { listen: 'memory' }): Promise<IotHubEmulator> {
  return kept(await IotHubEmulator.start({ devices: [], ...options }))
}
const key = Buffer.alloc(32, 9).toString('base64')
const quick = { retryAfter: 0 }

describe('a device', () => {
  it('is provisioned by its own key over TLS, and connects to the hub that it is told', async () => {
    const hub = await start({})
    const { key = '' } = hub.provisioning.enrol('dev-1', { deviceId: 'lamp', payload: { room: 7 }, ...quick })
    const { host, idScope } = hub.provisioning
    const tls = { ca: hub.ca }
    const before = Date.now()
    const assigned = await provision({ host, idScope, registrationId: 'dev-1', key, tls })
    expect(assigned).toMatchObject({
      hub: `localhost:${hub.port}`,
      deviceId: 'lamp',
      registrationId: 'dev-1',
      substatus: 'initialAssignment',
      payload: { room: 7 },
    })
    expect(assigned.createdAt?.getTime()).toBeGreaterThanOrEqual(before)
    const device = kept(await DeviceClient.connect(assigned.credentials, { tls }))
    await device.sendTelemetry({ body: 'x' })
    for await (const event of hub.telemetry) {
      expect(event.deviceId).toBe('lamp')
      break
    }
  })

  it.each([Number.POSITIVE_INFINITY, 2 ** 31, 12_345.6])('may have %d ms', async timeoutMs => {
    const hub = await start()
    const { key } = hub.provisioning.enrol('dev-1', quick)
    const { idScope } = hub.provisioning
    const options = { idScope, registrationId: 'dev-1', key, transport: hub.transport(), timeoutMs }
    expect((await provision(options)).hub).toBe('localhost')
  })

  it.each(['h/', 'h@x', 'h\nx', '', 5])('does not take %j for a hub', assignedHub => {
    const state = { status: 'assigned', registrationState: { assignedHub, deviceId: 'd' } }
    const message = { body: new TextEncoder().encode(JSON.stringify(state)) } as unknown as Message
    expect(() => readAnswer(message, 'r')).toThrow(ProtocolError)
  })

  it('is provisioned by the key of its group, or one derived from it', async () => {
    const hub = await start()
    const { key: groupKey = '' } = hub.provisioning.enrolGroup('all', quick)
    const derived = await deriveDeviceKey(groupKey, 'dev-1')
    expect(derived).toBe(createHmac('sha256', Buffer.from(groupKey, 'base64')).update('dev-1').digest('base64'))
    const common = { idScope: hub.provisioning.idScope, registrationId: 'dev-1' }
    for (const proof of [{ groupKey }, { key: derived }]) {
      const assigned = await provision({ ...common, ...proof, transport: hub.transport() })
      expect(assigned.credentials).toEqual({ hostName: 'localhost', deviceId: 'dev-1', sas: { key: derived } })
      expect(inspect(assigned, { depth: 9 })).not.toContain(derived)
      expect(inspect({ ...assigned.credentials })).toContain("sas: { key: '(secret)' }")
      expect(JSON.parse(JSON.stringify(assigned.credentials))).toEqual(assigned.credentials)
      const device = kept(await DeviceClient.connect(assigned.credentials, { transport: hub.transport() }))
      await device.sendTelemetry({ body: 'x' })
    }
  })

  it.each(['own', 'group'] as const)('is provisioned by a certificate, by an enrolment of its %s', async which => {
    const hub = await start({})
    const authority = await createDeviceAuthority()
    const x509 = await authority.issue('dev-1')
    if (which === 'own') hub.provisioning.enrol('dev-1', { thumbprint: x509.thumbprint, ...quick })
    else hub.provisioning.enrolGroup('all', { ca: authority.ca, ...quick })
    const { host, idScope } = hub.provisioning
    const tls = { ca: hub.ca }
    const headers: unknown[] = []
    const trace: ProvisionOptions['trace'] = frame => frame.layer !== 'amqp' && headers.push(frame.body)
    const assigned = await provision({ host, idScope, registrationId: 'dev-1', x509, tls, trace })
    expect(JSON.stringify(headers)).not.toMatch(/sasl/i)
    expect(assigned.credentials.x509).toEqual({ cert: x509.cert, key: x509.key })
    expect(inspect(assigned, { depth: 9 })).not.toContain('PRIVATE KEY')
    const device = kept(await DeviceClient.connect(assigned.credentials, { tls }))
    await device.sendTelemetry({ body: 'x' })
  })

  it('is provisioned over a WebSocket', async () => {
    const hub = await start({ listen: 'memory', webSocket: { server: WebSocketServer } })
    const { key = '' } = hub.provisioning.enrol('dev-1', quick)
    const { host, idScope } = hub.provisioning
    const options = { tls: { ca: hub.ca }, webSocket: { class: WebSocket } }
    const assigned = await provision({ host, idScope, registrationId: 'dev-1', key, ...options })
    kept(await DeviceClient.connect(assigned.credentials, options))
  })

  it('is there already: it keeps its id and gets the proof that it has registered with', async () => {
    const hub = await start()
    hub.addDevice('dev-1')
    hub.provisioning.enrol('dev-1', { key, polls: 0 })
    const { idScope } = hub.provisioning
    for (let i = 0; i < 2; i++) {
      const options = { idScope, registrationId: 'dev-1', key, transport: hub.transport() }
      const { credentials } = await provision(options)
      kept(await DeviceClient.connect(credentials, { transport: hub.transport() }))
    }
  })
})

describe('a device is refused', () => {
  it.each<[string, Partial<ProvisionOptions>]>([
    ['with a wrong key', { key: Buffer.alloc(32, 8).toString('base64') }],
    ['under a name that is not enrolled', { registrationId: 'dev-2' }],
    ['when it has a certificate and comes with a key', { registrationId: 'dev-3' }],
    ['in another scope', { idScope: '0ne00000000' }],
  ])('%s: SaslError', async (_, options) => {
    const hub = await start()
    hub.provisioning.enrol('dev-1', { key })
    hub.provisioning.enrol('dev-3', { thumbprint: '0'.repeat(64) })
    const { idScope } = hub.provisioning
    const error = await provision({
      idScope,
      registrationId: 'dev-1',
      key,
      transport: hub.transport(),
      ...options,
    }).catch(error => error)
    expect(error).toBeInstanceOf(SaslError)
    const { registrationId = 'dev-1', idScope: scope = idScope } = options
    expect(error.message).toContain(`registration '${registrationId}' in id scope '${scope}': `)
    expect(error.message).toMatch(/; the id scope, the registration id or the key is wrong$/)
  })

  it('when its enrolment is disabled', async () => {
    const hub = await start()
    hub.provisioning.enrol('dev-1', { key, disabled: true })
    const { idScope } = hub.provisioning
    const error = await provision({ idScope, registrationId: 'dev-1', key, transport: hub.transport() }).catch(e => e)
    expect(error).toMatchObject({ code: 'ERR_AMQP_REMOTE', condition: 'amqp:not-allowed' })
    expect(error.info).toEqual(new Map([['status', 'disabled']]))
  })

  it('when its certificate is none of an enrolment', async () => {
    const hub = await start()
    const [authority, other] = await Promise.all([createDeviceAuthority(), createDeviceAuthority()])
    hub.provisioning.enrolGroup('all', { ca: authority.ca })
    const { idScope } = hub.provisioning
    const strangers = [await other.issue('dev-1'), await authority.issue('dev-2')]
    for (const x509 of strangers) {
      const transport = hub.transport({ certificate: x509.cert })
      const error = await provision({ idScope, registrationId: 'dev-1', x509, transport }).catch(error => error)
      expect(error).toMatchObject({ code: 'ERR_AMQP_REMOTE', condition: 'amqp:unauthorized-access' })
      expect([...error.info.keys()]).toEqual(['error-code', 'tracking-id'])
      expect(error.info.get('error-code')).toBe(401_002)
    }
  })

  it('when it has been removed', async () => {
    const hub = await start()
    hub.provisioning.enrol('dev-1', { key })
    hub.provisioning.enrolGroup('all')
    expect(['dev-1', 'all', 'all'].map(name => hub.provisioning.remove(name))).toEqual([true, true, false])
    const options = { idScope: hub.provisioning.idScope, registrationId: 'dev-1', key, transport: hub.transport() }
    await expect(provision(options)).rejects.toThrow(SaslError)
  })
})

describe('what cannot be is a UsageError', () => {
  const common = { idScope: 's', registrationId: 'r', key }
  it.each<[string, object]>([
    ['no proof', { ...common, key: undefined }],
    ['two proofs', { ...common, groupKey: key }],
    ['a key that is not base64', { ...common, key: '?' }],
    ['a group key that is not base64', { ...common, key: undefined, groupKey: '?' }],
    ['no scope', { ...common, idScope: undefined }],
    ['a registration with a slash', { ...common, registrationId: 'a/b' }],
    ['no time', { ...common, timeoutMs: 0 }],
    ['a time that is no number', { ...common, timeoutMs: '5000' }],
    ['a host that is none', { ...common, host: 'a b' }],
  ])('%s', async (_, options) => {
    await expect(provision(options as never)).rejects.toThrow(UsageError)
  })

  it('a key that was cut off: the error says whose', async () => {
    const provisioning = provision({ ...common, key: key.slice(0, -3) })
    await expect(provisioning).rejects.toThrow("registration 'r': `key` is not base64")
  })

  it.each<[string, (hub: IotHubEmulator) => unknown]>([
    ['a registration with a slash', hub => hub.provisioning.enrol('a/b')],
    ['a key', hub => hub.provisioning.enrol('a', { key: '?' })],
    ['a key of a group', hub => hub.provisioning.enrolGroup('a', { key: '?' })],
    ['a thumbprint', hub => hub.provisioning.enrol('a', { thumbprint: '?' })],
    ['a device that cannot be', hub => hub.provisioning.enrol('a', { deviceId: 'a b' })],
    ['a payload', hub => hub.provisioning.enrol('a', { payload: { x: 1n } })],
  ])('enrolling %s', async (_, enrol) => {
    const hub = await start()
    expect(() => enrol(hub)).toThrow(UsageError)
  })

  it('a payload that is not JSON', async () => {
    const hub = await start()
    hub.provisioning.enrol('r', { key })
    const options = { ...common, idScope: hub.provisioning.idScope, transport: hub.transport(), payload: { a: 1n } }
    await expect(provision(options)).rejects.toThrow(UsageError)
  })
})

describe('the service', () => {
  /** Logs in as a device and attaches both links of another address. */
  async function links(hub: IotHubEmulator, as: string): Promise<Connection> {
    const address = `${hub.provisioning.idScope}/registrations/dev-1`
    const token = await createSasToken({
      resourceUri: address,
      key,
      keyName: as,
      expiresAt: new Date(Date.now() + 60_000),
    })
    return kept(await connect({ host: 'h', transport: hub.transport(), sasl: sasl.plain(address, token) }))
  }

  it('has links for the registration that was proved, and for no other; and the hub none for it', async () => {
    const hub = await start({ listen: 'memory', devices: ['dev-1'] })
    hub.provisioning.enrol('dev-1', { key })
    const connection = await links(hub, 'registration')
    const { idScope } = hub.provisioning
    await connection.receiver(`${idScope}/registrations/dev-1`)
    for (const address of [
      `${idScope}/registrations/dev-2`,
      '0ne/registrations/dev-1',
      '/devices/dev-1/messages/events',
    ])
      await expect(connection.sender(address)).rejects.toMatchObject({ condition: 'amqp:unauthorized-access' })
    await expect(links(hub, 'service')).rejects.toThrow(SaslError)
    const nobody = kept(await connect({ host: 'h', transport: hub.transport(), sasl: false }))
    await expect(nobody.sender(`${idScope}/registrations/dev-1`)).rejects.toMatchObject({
      condition: 'amqp:unauthorized-access',
    })
  })

  it('answers with the id of the request, as it came, tells how long to wait, and rejects what it does not know', async () => {
    const hub = await start()
    hub.provisioning.enrol('dev-1', { key, retryAfter: 3 })
    const connection = await links(hub, 'registration')
    const address = `amqps://localhost/${hub.provisioning.idScope}/registrations/dev-1`
    const receiver = await connection.receiver(address)
    const sender = await connection.sender(address)
    const ask = (type: string, id?: string): MessageInit => ({
      properties: { correlationId: 'c1' },
      applicationProperties: { 'iotdps-operation-type': type, ...(id && { 'iotdps-operation-id': id }) },
      body: { value: '' },
    })
    expect(await sender.send(ask('iotdps-register'))).toEqual({ outcome: 'accepted' })
    const { message } = await receiver.receive()
    expect(message.properties?.correlationId).toBe('c1')
    expect(message.applicationProperties?.get('retry-after')).toBe(3)
    const { operationId, status } = JSON.parse(new TextDecoder().decode(message.body as Uint8Array))
    expect(status).toBe('assigning')
    for (const [request, condition, errorCode] of [
      [ask('iotdps-dance'), 'amqp:not-allowed', 400_004],
      [ask('iotdps-get-operationstatus', `${operationId}x`), 'amqp:not-found', 404_201],
      [ask('iotdps-get-operationstatus'), 'amqp:not-found', 404_201],
    ] as const) {
      const outcome = await sender.send(request)
      expect(outcome).toMatchObject({ outcome: 'rejected', error: { condition } })
      const { description = '' } = (outcome as unknown as { error: { description?: string } }).error
      expect(JSON.parse(description)).toMatchObject({ errorCode, trackingId: expect.any(String) })
    }
    await sender.send(ask('iotdps-get-operationstatus', operationId))
    const answer = JSON.parse(new TextDecoder().decode((await receiver.receive()).message.body as Uint8Array))
    expect(answer).toMatchObject({ status: 'assigned', registrationState: { assignedHub: 'localhost' } })
  })
})

it('cancellation gives up, before and while', async () => {
  const hub = await start()
  hub.provisioning.enrol('dev-1', { key, retryAfter: 60 })
  const options = { idScope: hub.provisioning.idScope, registrationId: 'dev-1', key }
  const signal = AbortSignal.abort(new Error('never'))
  await expect(provision({ ...options, transport: hub.transport(), signal })).rejects.toThrow('never')
  const abort = new AbortController()
  const trace: ProvisionOptions['trace'] = ({ direction, payload }) => {
    if (direction === 'in' && payload > 0) setTimeout(() => abort.abort(new Error('enough')), 20)
  }
  const waiting = provision({ ...options, transport: hub.transport(), signal: abort.signal, trace })
  await expect(waiting).rejects.toThrow('enough')
})

describe('a service of another kind', () => {
  type Script = (delivery: Delivery, answer: (message: MessageInit) => void) => unknown

  /** A service that does with each request, in order, what the test says; with the last of them once more, and again. */
  async function scripted(...scripts: Script[]): Promise<{ result: Promise<unknown>; asked: unknown[] }> {
    const listener = kept(
      await listen({
        port: null,
        sasl: [saslServer.plain(() => true)],
        links: async (link: IncomingLink) => {
          if (link.remoteRole === 'receiver') {
            answers = await link.accept()
            return
          }
          for await (const delivery of await link.accept()) {
            asked.push(delivery.message.applicationProperties?.get('iotdps-operation-type'))
            const script = scripts.length > 1 ? scripts.shift() : scripts[0]
            const correlationId = delivery.message.properties?.correlationId
            // Nobody may want to know any more.
            const answer = (message: MessageInit): void => {
              answers?.send({ properties: { correlationId }, ...message }).catch(() => {})
            }
            await script?.(delivery, answer)
          }
        },
      }),
    )
    let answers: Sender | undefined
    const asked: unknown[] = []
    const [transport, theirs] = memoryPair()
    listener.accept(theirs).catch(() => {})
    const result = provision({ idScope: 's', registrationId: 'r', key, transport, timeoutMs: 1000 })
    return { result: result.catch(error => error), asked }
  }

  const says =
    (body: unknown, applicationProperties: Record<string, string | number> = {}): Script =>
    async (delivery, answer) => {
      await delivery.accept()
      answer({ body: new TextEncoder().encode(JSON.stringify(body)), applicationProperties })
    }
  const rejects =
    (condition: string, description?: string, info: Record<string, number> = { 'retry-after': 0 }): Script =>
    delivery =>
      delivery.reject({ condition, description, info })
  const done = says({ status: 'Assigned', registrationState: { assignedHub: 'h', deviceId: 'd' } })

  it('is asked again when it failed or is throttled, and as long as it is at it', async () => {
    const { result, asked } = await scripted(
      rejects('amqp:internal-error'),
      rejects('amqp:not-allowed', JSON.stringify({ errorCode: 429_001 })),
      says({ operationId: 'o', status: 'assigning' }, { 'Retry-After': '0' }),
      rejects('com.microsoft:device-container-throttled'),
      says({ operationId: 'o', status: 'Registering' }, { 'retry-after': 0 }),
      done,
    )
    expect(await result).toMatchObject({ hub: 'h', deviceId: 'd', createdAt: undefined, substatus: undefined })
    const [register, status] = ['iotdps-register', 'iotdps-get-operationstatus']
    expect(asked).toEqual([register, register, register, status, status, status])
  })

  it('that answers somebody else first', async () => {
    const { result } = await scripted(async (delivery, answer) => {
      await delivery.accept()
      answer({ properties: { correlationId: 'other' }, body: '{}' })
      await done(delivery, answer)
    })
    expect(await result).toMatchObject({ deviceId: 'd' })
  })

  it.each<[string, Script, object, object]>([
    [
      'fails, with an error of its own',
      says({ status: 'failed', registrationState: { errorCode: 404_004, errorMessage: 'no hub' } }),
      { code: 'ERR_AMQP_REMOTE', condition: 'amqp:not-found', description: 'no hub' },
      { status: 'failed', 'error-code': 404_004 },
    ],
    [
      'fails, without a reason',
      says({ status: 'failed', registrationState: null }),
      { code: 'ERR_AMQP_REMOTE', condition: 'amqp:internal-error' },
      { status: 'failed' },
    ],
    [
      'rejects, with an error of its own',
      rejects('amqp:unauthorized-access', '{"errorCode":401002,"trackingId":"t","message":"no"}'),
      { code: 'ERR_AMQP_REMOTE', condition: 'amqp:unauthorized-access', description: 'no' },
      { 'error-code': 401_002, 'tracking-id': 't' },
    ],
    [
      'rejects in words of its own',
      rejects('amqp:not-found', 'who is that?'),
      { code: 'ERR_AMQP_REMOTE', condition: 'amqp:not-found', description: 'who is that?' },
      {},
    ],
  ])('that %s', async (_, script, expected, info) => {
    const { result } = await scripted(script)
    const error = (await result) as { info: ReadonlyMap<string, unknown> }
    expect(error).toMatchObject(expected)
    expect(Object.fromEntries(error.info)).toEqual(info)
  })

  it.each<[string, Script, string]>([
    ['is assigned to nowhere', says({ status: 'assigned', registrationState: {} }), 'ERR_AMQP_PROTOCOL'],
    ['goes on without an id', says({ status: 'assigning' }), 'ERR_AMQP_PROTOCOL'],
    ['stands nowhere', says({}), 'ERR_AMQP_PROTOCOL'],
    ['is no object', says('yes'), 'ERR_AMQP_PROTOCOL'],
    ['is released', delivery => delivery.release(), 'ERR_AMQP_DELIVERY'],
    ['is rejected without a reason', delivery => delivery.reject(), 'ERR_AMQP_DELIVERY'],
  ])('whose answer %s', async (_, script, code) => {
    const { result } = await scripted(script)
    expect(await result).toMatchObject({ code })
  })

  it.each<[string, Script]>([
    ['never answers', delivery => delivery.accept()],
    ['is never done', says({ operationId: 'o', status: 'assigning' }, { 'retry-after': 0 })],
    ['wants to be asked much later', says({ operationId: 'o', status: 'assigning' }, { 'retry-after': 1e9 })],
    ['always fails', rejects('amqp:internal-error')],
  ])('that %s, is given up in time', async (_, script) => {
    const { result, asked } = await scripted(script)
    expect(await result).toMatchObject({ name: 'TimeoutError' })
    expect(asked.length).toBeLessThan(30)
  })
})
