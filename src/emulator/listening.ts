/**
 * Where an emulated hub can be reached: a port with TLS, one for WebSockets, transports that are handed to it.
 *
 * What is served there is in `hub.ts`.
 */

import type { TlsOptions } from 'node:tls'
import type { Listener } from '../client/api.ts'
import { listen } from '../client/listen.ts'
import type { Transport } from '../io/transport.ts'
import { createCertificate } from './certificate.ts'
import type { Hub } from './hub.ts'
import type { EmulatorListenOptions, EmulatorWebSocketOptions } from './iot-hub-emulator.ts'
import { listenWebSockets, type WebSocketListener } from './websocket-listener.ts'

/** What accepts the connections of a hub. */
export interface Listening {
  /** Of the authority that signed the certificate of this run, PEM; `undefined` where there is none. */
  readonly ca: string | undefined
  /** 0 for a hub in memory. */
  readonly port: number
  /** 0 without. */
  readonly webSocketPort: number
  /** Serves the peer of a transport. */
  accept(transport: Transport): void
  /** Stops listening, and closes every connection. */
  close(): Promise<void>
}

/**
 * Begins to listen for a hub.
 *
 * @throws {TransportError} a port is taken or may not be used
 */
export async function listenFor(
  hub: Hub,
  options: {
    readonly hostName: string
    readonly eventHubHostName?: string | undefined
    readonly listen?: EmulatorListenOptions | 'memory' | undefined
    readonly webSocket?: EmulatorWebSocketOptions | undefined
  },
): Promise<Listening> {
  const { hostName, eventHubHostName, listen: where = {}, webSocket } = options
  const given = where === 'memory' ? undefined : where.tls
  const isOwnTls = given === undefined && (where !== 'memory' || webSocket !== undefined)
  const hostNames = eventHubHostName === undefined ? [hostName] : [hostName, eventHubHostName]
  const certificate = isOwnTls ? await createCertificate({ hostNames }) : undefined
  const identity = given ?? { cert: certificate?.cert, key: certificate?.key }
  // Asked for, not required: devices with keys have none. Whom one proves is asked of each link.
  const tls: TlsOptions = { requestCert: true, rejectUnauthorized: false, ...identity }
  const { host = HOST, port = 0 } = where === 'memory' ? {} : where
  const place = where === 'memory' ? { port: null } : { host, port, tls }
  const listener = await listen({ ...hub.listenOptions(), ...place })
  listener.on('connection', connection => hub.serve(connection))
  // A peer that fails its handshake is the peer's affair.
  listener.on('error', () => {})
  const accept = (transport: Transport): void => serve(listener, hub, transport)
  const webSockets = await openWebSockets(webSocket, tls, accept).catch(async error => {
    await listener.close()
    throw error
  })
  if (where !== 'memory') hub.eventHub.port = listener.port
  return {
    ca: certificate?.ca,
    port: where === 'memory' ? 0 : listener.port,
    webSocketPort: webSockets?.port ?? 0,
    accept,
    async close() {
      await listener.close()
      await webSockets?.close()
    },
  }
}

const HOST = '127.0.0.1'

async function openWebSockets(
  options: EmulatorWebSocketOptions | undefined,
  tls: TlsOptions,
  accept: (transport: Transport) => void,
): Promise<WebSocketListener | undefined> {
  if (options === undefined) return undefined
  const { server, host = HOST, port = 0 } = options
  return listenWebSockets({ server, host, port, tls }, accept)
}

function serve(listener: Listener, hub: Hub, transport: Transport): void {
  // As above.
  listener.accept(transport).then(
    connection => hub.serve(connection),
    () => {},
  )
}
