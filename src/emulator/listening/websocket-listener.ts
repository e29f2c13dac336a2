/**
 * WebSockets for an emulated hub: an HTTPS server that upgrades at the paths of a hub, with the sub-protocol that its
 * clients know. What RFC 6455 asks for is done by a class that the user gives: that of the package `ws`.
 *
 * `node:https` is loaded on first use. Facts: spec-notes/iothub.md, WebSocket.
 */

import type { IncomingMessage } from 'node:http'
import type { Server } from 'node:https'
import type { Duplex } from 'node:stream'
import type { TLSSocket, TlsOptions } from 'node:tls'
import { TransportError } from '../../errors.ts'
import type { Transport } from '../../io/transport.ts'
import { type WebSocketLike, webSocketTransport } from '../../io/websocket.ts'
import { showing } from './memory.ts'

/** What is used of the class `WebSocketServer` of `ws`. */
export type WebSocketServerClass = new (options: {
  readonly noServer: true
  readonly perMessageDeflate: false
  readonly maxPayload: number
  readonly handleProtocols: () => string
}) => {
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer, upgraded: (socket: WebSocketLike) => void): void
}

/** A server for WebSockets. */
export interface WebSocketListener {
  readonly port: number
  /** Stops listening and drops every socket. */
  close(): Promise<void>
}

/**
 * Listens for WebSockets over TLS.
 *
 * @param accepted  is handed a transport for each, with the certificate that the peer showed
 * @throws {TransportError} the port is taken or may not be used
 */
export async function listenWebSockets(
  options: {
    readonly server: WebSocketServerClass
    readonly host: string
    readonly port: number
    readonly tls: TlsOptions
  },
  accepted: (transport: Transport) => void,
): Promise<WebSocketListener> {
  const { server: WebSocketServer, host, port, tls } = options
  const { createServer } = await import('node:https')
  const upgrader = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_PAYLOAD,
    handleProtocols: () => PROTOCOL,
  })
  const sockets = new Set<Duplex>()
  const server = createServer(tls, (_, response) => response.writeHead(426, { connection: 'close' }).end())
  server.on('connection', (socket: Duplex) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // A peer that goes away is the peer's affair.
    socket.on('error', () => {})
    const refusal = refusalOf(request)
    // A peer that does not close its side would keep the socket for ever.
    if (refusal !== undefined)
      socket.end(`HTTP/1.1 ${refusal}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`, () => socket.destroy())
    else upgrader.handleUpgrade(request, socket, head, upgraded => accepted(transportOf(upgraded, request)))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', error => {
      reject(new TransportError(`cannot listen on ${host}:${port} for WebSockets: ${error.message}`, error))
    })
    server.listen(port, host, resolve)
  })
  return {
    port: portOf(server),
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

/** The name from before there was a standard: clients of hubs know no other. */
const PROTOCOL = 'AMQPWSB10'
/** Bytes of one WebSocket message. Clients cut at 256 KiB or less; a peer without a token may send what it likes. */
const MAX_PAYLOAD = 4 << 20
/** Of a hub, and of its Event Hubs endpoint. */
const PATHS = ['/$iothub/websocket', '/$servicebus/websocket']

/** The status line of an upgrade that is not for us. A query does not matter: one SDK sends one. */
function refusalOf({ url = '', headers }: IncomingMessage): string | undefined {
  const path = url
    .replace(/[?#].*$/, '')
    .replace(/%24/g, '$')
    .replace(/\/$/, '')
  if (!PATHS.includes(path.toLowerCase())) return '404 Not Found'
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map(name => name.trim())
  return offered.includes(PROTOCOL) ? undefined : '400 Bad Request'
}

function transportOf(upgraded: WebSocketLike, { socket }: IncomingMessage): Transport {
  const raw = (socket as Partial<TLSSocket>).getPeerCertificate?.(false)?.raw
  const certificate = raw && raw.length > 0 ? raw : undefined
  return showing(webSocketTransport(upgraded), certificate, `${socket.remoteAddress}:${socket.remotePort}`)
}

function portOf(server: Server): number {
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}
