// A hub over WebSockets, as users of `ws` serve it: the path and sub-protocol of IoT Hub, TLS, both clients, a proxy.
import { createServer } from 'node:https'
import { type AddressInfo, connect as connectSocket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { createCertificate } from '../../src/emulator/certificates/certificate.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { TransportError } from '../../src/errors.ts'
import { webSocketTransport } from '../../src/io/websocket.ts'
import type { IotHubOptions } from '../../src/iothub/connection/hub-options.ts'
import { DeviceClient } from '../../src/iothub/device-client.ts'
import { provision } from '../../src/iothub/provisioning/provisioning.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean()
})

interface ServedHub {
  readonly hub: IotHubEmulator
  readonly options: IotHubOptions
  readonly upgrades: string[]
  /** A connection string with the port of the WebSocket server in it. */
  readonly withPort: (connectionString: string) => string
}

async function webSocketHub(): Promise<ServedHub> {
  const hub = await IotHubEmulator.start({ listen: 'memory', feedbackBatchMs: 10 })
  cleanups.push(() => hub.close())
  const { ca, cert, key } = await createCertificate({ hostNames: ['localhost'] })
  const upgrades: string[] = []
  const https = createServer({ cert, key })
  const server = new WebSocketServer({ server: https, path: '/$iothub/websocket' })
  server.on('connection', (socket, request) => {
    upgrades.push(`${request.url} ${socket.protocol}`)
    hub.accept(webSocketTransport(socket))
  })
  await new Promise<void>(resolve => https.listen(0, '127.0.0.1', resolve))
  cleanups.push(() => {
    for (const socket of server.clients) socket.terminate()
    server.close()
    return new Promise(resolve => https.close(resolve))
  })
  const { port } = https.address() as AddressInfo
  return {
    hub,
    upgrades,
    options: { tls: { ca }, webSocket: { class: WebSocket } },
    withPort: text => text.replace('HostName=localhost', `HostName=localhost:${port}`),
  }
}

describe('over a WebSocket', () => {
  it.each(['cbs', 'plain'] as const)('telemetry, a command and its feedback, by %s', async auth => {
    const { hub, options, upgrades, withPort } = await webSocketHub()
    const device = await DeviceClient.connect(withPort(hub.connectionString({ deviceId: 'device1' })), {
      ...options,
      auth,
    })
    cleanups.push(() => device.close())
    const service = await ServiceClient.connect(withPort(hub.connectionString({ service: true })), {
      ...options,
      auth,
    })
    cleanups.push(() => service.close())
    expect(upgrades).toEqual(Array(2).fill('/$iothub/websocket AMQPWSB10'))

    await device.sendTelemetry({ body: 'x'.repeat(100_000) })
    for await (const event of hub.telemetry) {
      expect(event.deviceId).toBe('device1')
      expect(event.body).toHaveLength(100_000)
      break
    }
    await service.sendToDevice('device1', { body: 'reboot', messageId: 'm1', ack: 'full' })
    for await (const message of device.messages()) {
      await message.complete()
      break
    }
    for await (const batch of service.feedback()) {
      expect(batch.records.map(record => record.status)).toEqual(['success'])
      await batch.complete()
      break
    }
  })

  it('the path may be given, and one that is not served is a TransportError', async () => {
    const { hub, options, upgrades, withPort } = await webSocketHub()
    const to = withPort(hub.connectionString({ deviceId: 'device1' }))
    const path = '/$iothub/websocket?iothub-no-client-cert=true'
    const device = await DeviceClient.connect(to, { ...options, webSocket: { class: WebSocket, path } })
    await device.close()
    expect(upgrades).toEqual([`${path} AMQPWSB10`])
    const error = await DeviceClient.connect(to, { ...options, webSocket: { class: WebSocket, path: '/x' } }).catch(
      e => e,
    )
    expect(error).toBeInstanceOf(TransportError)
    expect(error.message).toContain('400')
  })
})

describe('an emulator that serves AMQP and WebSockets, at two ports', () => {
  it('gives a service its telemetry by the port that the service has', async () => {
    const hub = await IotHubEmulator.start({ webSocket: { server: WebSocketServer } })
    cleanups.push(() => hub.close())
    expect(hub.webSocketPort).not.toBe(hub.port)
    const options = { tls: { ca: hub.ca }, webSocket: { class: WebSocket }, reconnect: false } as const
    const from = hub.connectionString({ service: true }, { webSocket: true })
    const service = await ServiceClient.connect(from, options)
    cleanups.push(() => service.close())
    expect((await service.eventHub()).partitions).toHaveLength(4)
  })

  it('provisions a device to where it can be reached the same way', async () => {
    const hub = await IotHubEmulator.start({ webSocket: { server: WebSocketServer } })
    cleanups.push(() => hub.close())
    const { key } = hub.provisioning.enrol('device1')
    const { idScope } = hub.provisioning
    const options = { tls: { ca: hub.ca }, webSocket: { class: WebSocket } } as const
    const host = `localhost:${hub.webSocketPort}`
    const assigned = await provision({ ...options, host, idScope, registrationId: 'device1', key })
    expect(assigned.hub).toBe(host)
    const device = await DeviceClient.connect(assigned.credentials, options)
    cleanups.push(() => device.close())
    await device.sendTelemetry({ body: 'x' })
  })
})

it('through a proxy, in place of a socket', async () => {
  const hub = await IotHubEmulator.start()
  cleanups.push(() => hub.close())
  const asked: unknown[] = []
  const device = await DeviceClient.connect(hub.connectionString({ deviceId: 'device1' }), {
    tls: { ca: hub.ca },
    proxy: (host, port) => {
      asked.push([host, port])
      return connectSocket(port, '127.0.0.1')
    },
  })
  await device.sendTelemetry({ body: 'x' })
  await device.close()
  expect(asked).toEqual([['localhost', hub.port]])
})
