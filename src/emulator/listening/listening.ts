/**
 * Where an emulated hub can be reached: a port with TLS, one for WebSockets, transports that are handed to it.
 *
 * What is served there is in `hub.ts`.
 */

import type { TlsOptions } from 'node:tls'
import type { Listener } from '../../client/api.ts'
import { listen } from '../../client/serving/listen.ts'
import type { Transport } from '../../io/transport.ts'
import { type Certificate, createCertificate } from '../certificates/certificate.ts'
import { faultOf } from '../certificates/certificate-issuer.ts'
import { systemClock } from '../clock.ts'
import { withFaults } from '../faults/https-faults.ts'
import type { Hub } from '../hub.ts'
import type { IotHubEmulatorOptions } from '../options.ts'
import { stateError } from '../state.ts'
import { type HttpsListener, listenHttps } from './https-listener.ts'
import { ServiceApi } from './service-api.ts'
import { listenWebSockets, type WebSocketListener } from './websocket-listener.ts'

/** What accepts the connections of a hub. */
export interface Listening {
  /** That made for this run, or kept from an earlier one; `undefined` where there is none. */
  readonly certificate: Certificate | undefined
  /** 0 for a hub in memory. */
  readonly port: number
  /** 0 without. */
  readonly webSocketPort: number
  /** 0 without. */
  readonly httpsPort: number
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
  options: IotHubEmulatorOptions & { readonly hostName: string },
): Promise<Listening> {
  const { hostName, listen: where = {}, webSocket, https } = options
  const hostNames = [hostName, ...(options.eventHubHostName === undefined ? [] : [options.eventHubHostName])]
  const given = where === 'memory' ? undefined : where.tls
  const isOwnTls = given === undefined && (where !== 'memory' || webSocket !== undefined || https !== undefined)
  const certificate = isOwnTls
    ? (options.state?.tls ?? (await createCertificate({ hostNames, validDays: 825 })))
    : undefined
  const fault = certificate && certificate === options.state?.tls && (await faultOf(certificate, hostNames, Date.now()))
  if (fault) throw stateError(fault)
  const identity = given ?? { cert: certificate?.cert, key: certificate?.key }
  // Asked for, not required: devices with keys have none. Whom one proves is asked of each link.
  const tls: TlsOptions = { requestCert: true, rejectUnauthorized: false, ...identity }
  const { host = HOST, port = 0 } = where === 'memory' ? {} : where
  const place = where === 'memory' ? { port: null } : { host, port, tls }
  const listener = await listen({ ...hub.listenOptions(), ...place })
  listener.on('connection', connection => hub.serve(connection))
  // A peer that fails its handshake is the peer's affair.
  listener.on('error', () => {})
  if (where !== 'memory') hub.eventHub.port = listener.port
  const accept = (transport: Transport): void => serve(listener, hub, transport)
  let webSockets: WebSocketListener | undefined
  let api: HttpsListener | undefined
  try {
    webSockets = await openWebSockets(webSocket, tls, accept)
    api = await openApi(hub, identity, options)
  } catch (error) {
    await Promise.all([listener.close(), webSockets?.close()])
    throw error
  }
  return {
    certificate,
    port: where === 'memory' ? 0 : listener.port,
    webSocketPort: webSockets?.port ?? 0,
    httpsPort: api?.port ?? 0,
    accept,
    async close() {
      await listener.close()
      await Promise.all([webSockets?.close(), api?.close()])
    },
  }
}

const HOST = '127.0.0.1'

async function openWebSockets(
  options: IotHubEmulatorOptions['webSocket'],
  tls: TlsOptions,
  accept: (transport: Transport) => void,
): Promise<WebSocketListener | undefined> {
  if (options === undefined) return undefined
  const { server, host = HOST, port = 0 } = options
  return listenWebSockets({ server, host, port, tls }, accept)
}

async function openApi(
  hub: Hub,
  tls: TlsOptions,
  { https, hostName, clock = systemClock }: IotHubEmulatorOptions & { readonly hostName: string },
): Promise<HttpsListener | undefined> {
  if (https === undefined) return undefined
  const api = new ServiceApi({
    hostName,
    now: () => clock.now(),
    authenticate: token => hub.authenticate(token),
    device: (deviceId, moduleId) => hub.device(deviceId, moduleId),
  })
  const { host = HOST, port = 0 } = https
  return listenHttps(
    { host, port, tls },
    withFaults(request => api.handle(request), hub.faults, clock),
  )
}

function serve(listener: Listener, hub: Hub, transport: Transport): void {
  // As above.
  listener.accept(transport).then(
    connection => hub.serve(connection),
    () => {},
  )
}
