/** The HTTPS of back ends, over real TLS on loopback: direct methods and twins, and every way to be refused. */

import type { IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { HubRight } from '../../src/emulator/access.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { ServiceApi } from '../../src/emulator/listening/service-api.ts'
import { createSasToken, parseSasToken } from '../../src/iothub/credentials/sas.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { pause } from '../waiting.ts'
import { ManualClock } from './manual-clock.ts'
import { tokenOf } from './raw-client.ts'

const clock = new ManualClock()
const VERSION = '?api-version=2021-04-12'
let hub: IotHubEmulator
let device: DeviceClient
let token: string

beforeEach(async () => {
  hub = await IotHubEmulator.start({ listen: 'memory', devices: ['d1', 'd 2'.replace(' ', '#')], https: {}, clock })
  hub.addModule('d1', 'm1')
  device = await DeviceClient.connect(hub.connectionString({ deviceId: 'd1' }), { transport: hub.transport() })
  token = await tokenOf(hub, { service: true }, new Date(clock.now() + 3_600_000))
})

afterEach(async () => {
  await device.close()
  await hub.close()
})

interface Answer {
  status: number
  headers: IncomingMessage['headers']
  body: { [key: string]: unknown; Message?: string }
}

function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = {
      host: 'localhost',
      port: hub.httpsPort,
      ca: hub.ca,
      agent: false,
      method,
      path,
      headers: { Authorization: token, ...headers },
    } as const
    const request = httpsRequest(options, response => {
      let text = ''
      response.setEncoding('utf8').on('data', chunk => {
        text += chunk
      })
      response.on('end', () => {
        const { statusCode = 0, headers } = response
        resolve({ status: statusCode, headers, body: JSON.parse(text) })
      })
    })
    request.on('error', reject)
    request.end(typeof body === 'string' || body === undefined ? body : JSON.stringify(body))
  })
}

const invoke = (fields: object, id = 'd1'): Promise<Answer> => ask('POST', `/twins/${id}/methods${VERSION}`, fields)

describe('a direct method', () => {
  it('is called, and its answer comes back', async () => {
    await device.onMethod(({ name, payload }) => ({ status: 201, payload: { name, payload } }))
    const { status, headers, body } = await invoke({ methodName: 'reboot', payload: { after: 5 } })
    expect(status).toBe(200)
    expect(headers['content-type']).toBe('application/json; charset=utf-8')
    expect(body).toEqual({ status: 201, payload: { name: 'reboot', payload: { after: 5 } } })
    expect((await invoke({ methodName: 'm' })).body).toMatchObject({ payload: { payload: null } })
  })

  it('of a module', async () => {
    const who = { deviceId: 'd1', moduleId: 'm1' }
    const module = await DeviceClient.connect(hub.connectionString(who), { transport: hub.transport() })
    await module.onMethod('m', () => ({ status: 7 }))
    expect((await invoke({ methodName: 'm' }, 'd1/modules/m1')).body).toEqual({ status: 7, payload: null })
    await module.close()
  })

  it('of a device that is not there is 404103', async () => {
    const { status, headers, body } = await invoke({ methodName: 'm' })
    expect(status).toBe(404)
    expect(headers['iothub-errorcode']).toBe('DeviceNotOnline')
    expect(JSON.parse(body.Message ?? '')).toMatchObject({
      errorCode: 404_103,
      message: 'Timed out waiting for device to connect.',
    })
    expect(body['ExceptionMessage']).toBe('')
  })

  it('without an answer in time is 504101', async () => {
    let called: () => void = () => {}
    const isCalled = new Promise<void>(resolve => {
      called = resolve
    })
    await device.onMethod(() => {
      called()
      return new Promise<never>(() => {})
    })
    const answer = invoke({ methodName: 'm', responseTimeoutInSeconds: 5 })
    await isCalled
    clock.advance(5000)
    const { status, headers, body } = await answer
    expect(status).toBe(504)
    expect(headers['iothub-errorcode']).toBe('GatewayTimeout')
    expect(JSON.parse(body.Message ?? '')).toMatchObject({ errorCode: 504_101 })
  })

  it('waits for a device as long as it is told to', async () => {
    const answer = invoke({ methodName: 'm', connectTimeoutInSeconds: 300 })
    await pause(50)
    await device.onMethod('m', () => ({ status: 3 }))
    expect((await answer).body).toMatchObject({ status: 3 })
  })

  it.each<[string, unknown]>([
    ['no JSON', '{'],
    ['no object', []],
    ['no name', {}],
    ['a name that is none', { methodName: 5 }],
    ['a response time that is too short', { methodName: 'm', responseTimeoutInSeconds: 4 }],
    ['a response time that is too long', { methodName: 'm', responseTimeoutInSeconds: 301 }],
    ['a connect time that is none', { methodName: 'm', connectTimeoutInSeconds: '5' }],
    ['too large a payload', { methodName: 'm', payload: 'x'.repeat(131_072) }],
  ])('with %s is 400', async (_, body) => {
    const answer = await ask('POST', `/twins/d1/methods${VERSION}`, body)
    expect(answer.status).toBe(400)
    expect(answer.body.Message).toMatch(/^ErrorCode:ArgumentInvalid;[^;]+$/)
  })

  it('with a body without end is 413', async () => {
    const { status } = await ask('POST', `/twins/d1/methods${VERSION}`, 'x'.repeat(1024 * 1024 + 1))
    expect(status).toBe(413)
  })
})

describe('a twin', () => {
  it('is read', async () => {
    const { status, headers, body } = await ask('GET', `/twins/d1${VERSION}`)
    expect(status).toBe(200)
    expect(headers.etag).toBe('"AAAAAAAAAAE="')
    expect(body).toEqual(JSON.parse(JSON.stringify(hub.twin('d1'))))
    expect((await ask('GET', `/twins/d1/modules/m1${VERSION}`)).body).toMatchObject({ deviceId: 'd1', moduleId: 'm1' })
    expect((await ask('GET', `/TWINS/${encodeURIComponent('d#2')}${VERSION}`)).body).toMatchObject({ deviceId: 'd#2' })
  })

  it('is patched, and the device is told', async () => {
    const twin = await device.twin()
    const change = twin.changes().next()
    const patch = { tags: { site: 1 }, properties: { desired: { a: 1 }, reported: { no: 1 } } }
    const { status, body } = await ask('PATCH', `/twins/d1${VERSION}`, patch, { 'If-Match': '"AAAAAAAAAAE="' })
    expect(status).toBe(200)
    expect(body).toMatchObject({
      etag: 'AAAAAAAAAAI=',
      tags: { site: 1 },
      properties: { desired: { a: 1, $version: 2 } },
    })
    expect((await change).value).toMatchObject({ version: 2, patch: { a: 1 } })
    expect(twin.reported).toEqual({})
  })

  it.each([['*'], ['"*"'], ['AAAAAAAAAAE=']])('is patched if it matches %s', async match => {
    const { status } = await ask('PATCH', `/twins/d1${VERSION}`, { tags: { a: 1 } }, { 'If-Match': match })
    expect(status).toBe(200)
  })

  it('with another etag is left as it is: 412', async () => {
    const answer = await ask('PATCH', `/twins/d1${VERSION}`, { tags: { a: 1 } }, { 'If-Match': '"AAAAAAAAAAI="' })
    expect(answer.status).toBe(412)
    expect(answer.body.Message).toMatch(/^ErrorCode:PreconditionFailed;/)
    expect(hub.twin('d1').tags).toEqual({})
  })

  it.each<[string, unknown, number]>([
    ['no JSON', '', 400],
    ['an array', [], 400],
    ['properties that are none', { properties: 5 }, 400],
    ['tags that are none', { tags: [] }, 400],
    ['a key with a dot', { properties: { desired: { 'a.b': 1 } } }, 400],
    ['more than fits', { tags: { a: 'x'.repeat(4096), b: 'x'.repeat(4096) } }, 413],
  ])('is not patched with %s', async (_, body, status) => {
    expect((await ask('PATCH', `/twins/d1${VERSION}`, body)).status).toBe(status)
  })
})

describe('refused are', () => {
  it.each([
    ['GET', '/', 404, 'ResourceNotFound'],
    ['GET', '//', 404, 'ResourceNotFound'],
    ['GET', '/twins', 404, 'ResourceNotFound'],
    ['GET', '/twins/d1/other', 404, 'ResourceNotFound'],
    ['GET', '/twins/d1/modules', 404, 'ResourceNotFound'],
    ['GET', '/twins/d1/modules/m1/x/y', 404, 'ResourceNotFound'],
    ['GET', '/twins/%zz', 404, 'ResourceNotFound'],
    ['GET', `/twins/nobody${VERSION}`, 404, 'DeviceNotFound'],
    ['POST', `/twins/nobody/methods${VERSION}`, 404, 'DeviceNotFound'],
    ['GET', `/twins/d1/modules/m9${VERSION}`, 404, 'ModuleNotFound'],
    ['GET', '/twins/d1', 400, 'ArgumentNull'],
    ['GET', '/twins/d1?api-version=', 400, 'ArgumentNull'],
    ['DELETE', `/twins/d1${VERSION}`, 405, 'MethodNotAllowed'],
    ['GET', `/twins/d1/methods${VERSION}`, 405, 'MethodNotAllowed'],
  ])('%s %s: %i', async (method, path, status, code) => {
    const answer = await ask(method, path)
    expect(answer.status).toBe(status)
    expect(answer.headers['iothub-errorcode']).toBe(code)
    expect(answer.body).toEqual({
      Message: expect.stringMatching(new RegExp(`^ErrorCode:${code};[^;]+$`)),
      ExceptionMessage: expect.stringMatching(/^Tracking ID:[0-9a-f]{32}-G:0-TimeStamp:/),
    })
  })

  const key = (who: Parameters<IotHubEmulator['connectionString']>[0]): string =>
    /SharedAccessKey=([^;]+)/.exec(hub.connectionString(who))?.[1] ?? ''

  const policyToken = (policy: string): Promise<string> => {
    const expiresAt = new Date(clock.now() + 60_000)
    return createSasToken({ resourceUri: 'localhost', key: key({ policy }), keyName: policy, expiresAt })
  }

  it.each<[string, () => Promise<string> | string, string]>([
    ['no token', () => '', 'the header Authorization is missing'],
    ['a text that is no token', () => 'Bearer x', 'the token is malformed'],
    [
      'the token of a device',
      () => tokenOf(hub, { deviceId: 'd1' }, new Date(clock.now() + 60_000)),
      'that of a device',
    ],
    ['a token that has expired', () => tokenOf(hub, { service: true }, new Date(clock.now() - 600_000)), 'has expired'],
    [
      'a token for something else',
      () =>
        createSasToken({
          resourceUri: 'localhost/twins/d2',
          key: key({ service: true }),
          keyName: 'service',
          expiresAt: new Date(clock.now() + 60_000),
        }),
      'the token does not cover this resource',
    ],
    [
      'a token by another key',
      () =>
        createSasToken({
          resourceUri: 'localhost',
          key: key({ deviceId: 'd1' }),
          keyName: 'service',
          expiresAt: new Date(clock.now() + 60_000),
        }),
      'the signature matches neither',
    ],
    ['a policy without the right', () => policyToken('registryRead'), 'the policy has not the right ServiceConnect'],
    ['a policy of devices', () => policyToken('device'), 'the policy has not the right ServiceConnect'],
  ])('%s: 401, and why', async (_, make, why) => {
    const Authorization = await make()
    const { status, headers, body } = await ask('GET', `/twins/d1${VERSION}`, undefined, { Authorization })
    expect(status).toBe(401)
    expect(body.Message).toMatch(/^ErrorCode:IotHubUnauthorizedAccess;Unauthorized: [^;]+$/)
    expect(body.Message).toContain(why)
    expect(body.Message).not.toContain('sig=')
    expect(headers['iothub-errorcode']).toBe('IotHubUnauthorizedAccess')
  })

  it('a policy without ServiceConnect: 401', async () => {
    const rights = ['RegistryRead', 'RegistryWrite'] as const
    const api = (more: readonly HubRight[]): ServiceApi =>
      new ServiceApi({
        hostName: 'h',
        now: () => 0,
        authenticate: async () => ({
          ok: true,
          principal: { kind: 'service', policy: 'p', rights: [...rights, ...more], sr: 'h' },
          token: parseSasToken(token),
        }),
        device: () => undefined,
      })
    const request = { method: 'GET', url: `/twins/d1${VERSION}`, authorization: token, ifMatch: undefined, body: '' }
    expect((await api([]).handle(request)).status).toBe(401)
    expect((await api(['ServiceConnect']).handle(request)).status).toBe(404)
  })

  it('a token for the path alone is enough', async () => {
    const Authorization = await createSasToken({
      resourceUri: 'localhost/twins/d1',
      key: key({ service: true }),
      keyName: 'service',
      expiresAt: new Date(clock.now() + 60_000),
    })
    expect((await ask('GET', `/twins/d1${VERSION}`, undefined, { Authorization })).status).toBe(200)
  })
})

describe('faults', () => {
  it('a request is refused with a status, once; others are not', async () => {
    const fault = hub.fault({ on: 'https', match: '/twins/d1?', status: 429 })
    expect((await invoke({ methodName: 'm' })).status).toBe(404)
    const { status, headers, body } = await ask('GET', `/twins/d1${VERSION}`)
    expect({ status, code: headers['iothub-errorcode'] }).toEqual({ status: 429, code: 'ThrottlingException' })
    expect(body.Message).toMatch(/^ErrorCode:ThrottlingException;/)
    expect((await ask('GET', `/twins/d1${VERSION}`)).status).toBe(200)
    expect(fault.strikes).toBe(1)
    hub.fault({ on: 'https', status: 418 })
    hub.fault({ on: 'https', status: 500 })
    for (const code of ['ArgumentInvalid', 'ServerError'])
      expect((await ask('GET', `/twins/d1${VERSION}`)).headers['iothub-errorcode']).toBe(code)
  })

  it('a connection is dropped', async () => {
    hub.fault({ on: 'https', drop: true, times: 2 })
    for (let i = 0; i < 2; i++) await expect(ask('GET', `/twins/d1${VERSION}`)).rejects.toThrow('socket hang up')
    expect((await ask('GET', `/twins/d1${VERSION}`)).status).toBe(200)
  })

  it('a request takes longer, and nothing else does', async () => {
    const before = clock.timers
    hub.fault({ on: 'https', delayMs: 1000 })
    await device.sendTelemetry({ body: 'x' })
    const slow = ask('GET', `/twins/d1${VERSION}`)
    while (clock.timers === before) await pause(1)
    expect((await ask('GET', `/twins/d1${VERSION}`)).status).toBe(200)
    expect(await Promise.race([slow, 'waiting'])).toBe('waiting')
    clock.advance(1000)
    expect((await slow).status).toBe(200)
  })
})

describe('the listener', () => {
  it('is not there unless it is asked for', async () => {
    const other = await IotHubEmulator.start({ listen: 'memory' })
    expect(other).toMatchObject({ httpsPort: 0, ca: undefined })
    await other.close()
  })

  it('fails the start where its port is taken, and leaves nothing listening', async () => {
    const start = IotHubEmulator.start({ https: { port: hub.httpsPort } })
    await expect(start).rejects.toMatchObject({ code: 'ERR_AMQP_TRANSPORT' })
  })

  it('survives peers that speak something else', async () => {
    const socket = connect({ port: hub.httpsPort, host: 'localhost', ca: hub.ca ?? '' })
    socket.write('AMQP\0\u0001\0\0')
    await new Promise(resolve => socket.on('close', resolve).on('error', () => {}))
    const plain = (await import('node:net')).connect(hub.httpsPort, '127.0.0.1').end('x')
    await new Promise(resolve =>
      plain
        .on('close', resolve)
        .on('error', () => {})
        .resume(),
    )
    expect((await ask('GET', `/twins/d1${VERSION}`)).status).toBe(200)
  })

  it('does not wait for peers that say nothing', async () => {
    const silent = connect({ port: hub.httpsPort, host: 'localhost', ca: hub.ca ?? '' }).resume()
    await new Promise(resolve => silent.on('secureConnect', resolve))
    const mute = (await import('node:net')).connect(hub.httpsPort, '127.0.0.1').resume()
    await new Promise(resolve => mute.on('connect', resolve))
    const dropped = [silent, mute].map(
      socket => new Promise(resolve => socket.on('close', resolve).on('error', () => {})),
    )
    await hub.close()
    await Promise.all(dropped)
  })

  it('drops its connections when the hub is closed', async () => {
    await device.onMethod(() => new Promise<never>(() => {}))
    const lost = invoke({ methodName: 'm' }).then(
      ({ status }) => status,
      (error: { code?: string }) => error.code,
    )
    await pause(50)
    await hub.close()
    expect(['ECONNRESET', 503]).toContain(await lost)
  })
})
