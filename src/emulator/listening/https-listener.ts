/**
 * The HTTPS listener of an emulated hub: requests in, JSON out. `node:https` is loaded on first use.
 *
 * What is served is in `service-api.ts`. It is meant for loopback: bodies are bounded, times are Node's.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { TransportError } from '../../errors.ts'
import type { ApiHandler } from '../faults/https-faults.ts'
import type { ApiResponse } from './service-api.ts'

/** Where to listen. */
export interface HttpsOptions {
  readonly host: string
  /** 0 for any free one. */
  readonly port: number
  readonly tls: TlsOptions
}

/** A listener. */
export interface HttpsListener {
  readonly port: number
  /** Stops listening and drops every connection. */
  close(): Promise<void>
}

/**
 * Begins to listen.
 *
 * @throws {TransportError} the port is taken or may not be used
 */
export async function listenHttps({ host, port, tls }: HttpsOptions, handle: ApiHandler): Promise<HttpsListener> {
  const { createServer } = await import('node:https')
  const server = createServer({ ...tls }, (request, response) => {
    void serve(request, response, handle)
  })
  // Beneath TLS: the server itself does not know those that have not shaken hands.
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  // A peer that fails its handshake is the peer's affair.
  server.on('tlsClientError', () => {})
  server.on('clientError', (_, socket) => socket.destroy())
  await new Promise<void>((resolve, reject) => {
    server.once('error', cause =>
      reject(new TransportError(`cannot listen on ${host}:${port} for HTTPS: ${cause.message}`, cause)),
    )
    server.listen(port, host, resolve)
  })
  const address = server.address()
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

/** Largest body, in bytes: more than a twin or a payload may have. */
const MAX_BODY = 1024 * 1024

async function serve(request: IncomingMessage, response: ServerResponse, handle: ApiHandler): Promise<void> {
  try {
    const body = await readBody(request)
    if (body === undefined) return answer(response, { status: 413, body: TOO_LARGE, headers: { Connection: 'close' } })
    const { method = '', url = '/', headers } = request
    const { authorization, 'if-match': ifMatch } = headers
    const handled = await handle({ method, url, authorization, ifMatch, body })
    if (handled === undefined) response.destroy()
    else answer(response, handled)
  } catch {
    // The peer has gone.
    response.destroy()
  }
}

const TOO_LARGE = { Message: `ErrorCode:RequestEntityTooLarge;the body has more than ${MAX_BODY} bytes` }

function answer(response: ServerResponse, { status, headers, body }: ApiResponse): void {
  response.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8', ...headers })
  response.end(JSON.stringify(body))
}

/** `undefined` where it is too large; the rest is not read then. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > MAX_BODY) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
