/** The emulator's own WebSockets: by CBS, PLAIN and a certificate, and what is refused at the upgrade. */

import { once } from 'node:events'
import { request } from 'node:https'
import { createServer } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { createDeviceAuthority } from '../../src/emulator/certificates/device-authority.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { TransportError } from '../../src/errors.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'

const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})
function kept<T extends AsyncDisposable>(resource: T): T {
  opened.push(resource)
  return resource
}

const start = async (): Promise<IotHubEmulator> =>
  kept(await IotHubEmulator.start({ listen: 'memory', webSocket: { server: WebSocketServer } }))
const webSocket = { class: WebSocket }

describe('a device and a service over WebSockets', () => {
  it.each(['cbs', 'plain'] as const)('by %s', async auth => {
    const hub = await start()
    const options = { tls: { ca: hub.ca }, webSocket, auth }
    const text = hub.connectionString({ deviceId: 'device1' }, { webSocket: true })
    expect(text).toContain(`HostName=localhost:${hub.webSocketPort};`)
    const device = kept(await DeviceClient.connect(text, options))
    const service = kept(
      await ServiceClient.connect(hub.connectionString({ service: true }, { webSocket: true }), options),
    )
    await device.sendTelemetry({ body: 'x'.repeat(200_000) })
    await service.sendToDevice('device1', { body: 'reboot' })
    for await (const message of device.messages()) {
      expect(new TextDecoder().decode(message.body)).toBe('reboot')
      await message.complete()
      break
    }
  })

  it('by a certificate; the wrong one is refused', async () => {
    const hub = await start()
    const authority = await createDeviceAuthority()
    const [own, other] = await Promise.all([authority.issue('d'), authority.issue('e')])
    hub.addDevice('d', { x509: { thumbprint: own.thumbprint } })
    const text = hub.connectionString({ deviceId: 'd' }, { webSocket: true })
    const dial = async ({ cert, key }: typeof own): Promise<DeviceClient> =>
      kept(await DeviceClient.connect(text, { tls: { ca: hub.ca, cert, key }, webSocket }))
    await (await dial(own)).sendTelemetry({ body: 'x' })
    await expect((await dial(other)).sendTelemetry({ body: 'x' })).rejects.toMatchObject({
      condition: 'amqp:unauthorized-access',
    })
  })
})

describe('an upgrade', () => {
  it.each([
    ['the path of a hub', '/$iothub/websocket', ['AMQPWSB10'], 'AMQPWSB10'],
    ['a query, and others beside the sub-protocol', '/$iothub/websocket?a=b', ['amqp', 'AMQPWSB10'], 'AMQPWSB10'],
    ['an encoded $', '/%24iothub/websocket', ['AMQPWSB10'], 'AMQPWSB10'],
    ['the path of Event Hubs', '/$servicebus/websocket/', ['AMQPWSB10'], 'AMQPWSB10'],
    ['another path', '/other', ['AMQPWSB10'], 'Unexpected server response: 404'],
    ['another sub-protocol', '/$iothub/websocket', ['amqp'], 'Unexpected server response: 400'],
    ['no sub-protocol', '/$iothub/websocket', [], 'Unexpected server response: 400'],
  ])('with %s', async (_, path, protocols, result) => {
    const hub = await start()
    const socket = new WebSocket(`wss://localhost:${hub.webSocketPort}${path}`, protocols, { ca: hub.ca })
    const chosen = await new Promise(resolve => {
      socket.on('open', () => resolve(socket.protocol)).on('error', error => resolve(error.message))
    })
    expect(chosen).toBe(result)
    expect(socket.extensions).toBe('')
    socket.terminate()
  })

  it('that is refused leaves no socket behind, also where the peer does not close its side', async () => {
    const hub = await start()
    const ca = hub.ca === undefined ? {} : { ca: hub.ca }
    const options = { port: hub.webSocketPort, ...ca, servername: 'localhost', allowHalfOpen: true }
    const socket = connectTls(options)
    const upgrade = 'connection: upgrade\r\nupgrade: websocket\r\nhost: localhost\r\n'
    socket.write(`GET /other HTTP/1.1\r\n${upgrade}\r\n`)
    let heard = ''
    socket.on('data', data => {
      heard += data
    })
    await once(socket, 'end')
    expect(heard).toContain('404 Not Found')
    // What is written now reaches nobody.
    const failed = new Promise(resolve => socket.on('error', resolve).on('close', resolve))
    const writing = setInterval(() => socket.write('x'), 5)
    await Promise.race([failed, new Promise((_, reject) => setTimeout(reject, 2000, new Error('still there')))])
    clearInterval(writing)
    socket.destroy()
  })

  it('is all there is: other requests get 426', async () => {
    const hub = await start()
    const status = await new Promise(resolve => {
      request({ host: 'localhost', port: hub.webSocketPort, ca: hub.ca }, ({ statusCode }) => resolve(statusCode)).end()
    })
    expect(status).toBe(426)
  })
})

it('a port that is taken is said to be, and nothing is left listening', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => taken.once('listening', resolve))
  const { port } = taken.address() as { port: number }
  const error = await IotHubEmulator.start({ webSocket: { server: WebSocketServer, port } }).catch(error => error)
  expect(error).toBeInstanceOf(TransportError)
  expect(error.message).toContain(`cannot listen on 127.0.0.1:${port} for WebSockets`)
  await new Promise(resolve => taken.close(resolve))
})

it('closing drops sockets that are upgraded and those that are not yet', async () => {
  const hub = await start()
  const socket = new WebSocket(`wss://localhost:${hub.webSocketPort}/$iothub/websocket`, 'AMQPWSB10', { ca: hub.ca })
  await new Promise(resolve => socket.once('open', resolve))
  const ended = new Promise(resolve => socket.once('close', resolve))
  await hub.close()
  await ended
})
