/**
 * node:net and node:tls sockets as transports: the only code that touches sockets. §5.2 for TLS
 *
 * Both modules are loaded on first use. Writes of one flush leave in one writev.
 */

import type * as Net from 'node:net'
import type { Duplex } from 'node:stream'
import type * as Tls from 'node:tls'
import { TransportError } from '../errors.ts'
import { timerDelay } from './delay.ts'
import { unusable } from './tls-options.ts'
import type { Transport, TransportSink } from './transport.ts'

/** A transport over a socket, with what TLS knows of the peer. */
export interface SocketTransport extends Transport {
  /** DER of the peer's certificate; `undefined` without TLS, or when it showed none. */
  readonly peerCertificate: Uint8Array | undefined
  ref(): void
  unref(): void
}

/** Where and how to connect. */
export interface SocketTarget {
  readonly host: string
  readonly port: number
  /** Options of `tls.connect`, or `undefined` for a plain socket. Verification and SNI are on unless they say otherwise. */
  readonly tls: Tls.ConnectionOptions | undefined
  /** Milliseconds that connecting and the TLS handshake may take together. */
  readonly withinMs: number
  readonly signal?: AbortSignal | undefined
  /** Whether the process lives for it while it connects. Default true. */
  readonly isRefed?: boolean | undefined
  /** A stream that is connected to the host already, in place of a socket of our own. */
  readonly through?: Duplex | undefined
}

/**
 * Connects a socket and, with TLS, waits for the handshake.
 *
 * @throws {TransportError} the peer cannot be reached or its certificate is not trusted; `cause` is the socket's error.
 *   Or it took longer than `withinMs`
 * @throws {UsageError} `node:tls` does not take the options
 * Cancellation: the socket is destroyed; rejects with `signal.reason`.
 */
export async function connectSocket(target: SocketTarget): Promise<SocketTransport> {
  const { host, port, tls, withinMs, signal, through, isRefed = true } = target
  signal?.throwIfAborted()
  if (through && !tls) return socketTransport(through)
  const socket = tls
    ? await openTls(host, port, tls, through)
    : (await import('node:net')).connect({ host, port, noDelay: true })
  await new Promise<void>((resolve, reject) => {
    const ready = tls ? 'secureConnect' : 'connect'
    const settle = (finish: () => void) => {
      clearTimeout(timer)
      socket.off(ready, onReady).off('error', onError).off('close', onClose)
      signal?.removeEventListener('abort', onAbort)
      finish()
    }
    const onReady = () => settle(resolve)
    const onError = (error: Error) =>
      settle(() => reject(new TransportError(`cannot connect to ${host}:${port}: ${reasonOf(error)}`, error)))
    const onClose = () => onError(new Error('the socket closed during the handshake'))
    const giveUp = (reason: unknown) => {
      settle(() => reject(reason))
      socket.on('error', ignore).destroy()
    }
    const onAbort = () => giveUp(signal?.reason)
    const timer = setTimeout(() => {
      const what = tls && !socket.connecting ? 'TLS handshake from' : 'connection to'
      giveUp(new TransportError(`no ${what} ${host}:${port} within ${withinMs} ms`))
    }, timerDelay(withinMs))
    if (!isRefed) {
      socket.unref()
      timer.unref()
    }
    socket.on(ready, onReady).on('error', onError).on('close', onClose)
    signal?.addEventListener('abort', onAbort)
    // It may have fired while the module was being loaded.
    if (signal?.aborted) onAbort()
  })
  return socketTransport(socket)
}

const ignore = (): void => {}

/** What a socket's error says, without what only OpenSSL understands. */
export function reasonOf(error: Error & { code?: unknown; reason?: unknown }): string {
  if (/wrong version number|packet length too long/.test(error.message)) return 'does this port speak TLS?'
  const alert = /SSL alert number (\d+)/.exec(error.message)
  if (alert) return alertText(Number(alert[1]))
  if (error.code === 'EPROTO' && typeof error.reason === 'string') return error.reason
  // Several addresses, none of which answered: the message is empty.
  const text = error.message.trim() || String(error.code ?? error.name)
  return UNKNOWN_AUTHORITY.test(String(error.code)) ? `${text}; trust it by tls: { ca } or NODE_EXTRA_CA_CERTS` : text
}

const UNKNOWN_AUTHORITY = /^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_(GET|VERIFY))/

/** Whether a socket's error is that of a certificate that is not trusted, as `node:tls` says it. */
export function isDistrust(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' && (/^(ERR_TLS_CERT|CERT_)/.test(code) || UNKNOWN_AUTHORITY.test(code))
}

/** TLS alerts about certificates. RFC 8446, section 6.2 */
const ALERTS: Readonly<Record<number, string>> = {
  42: 'it is bad',
  43: 'it is of a kind that is not supported',
  44: 'it is revoked',
  45: 'it has expired',
  46: 'for a reason of its own',
  48: 'its authority is unknown there',
  116: 'there is none, and one is required',
}

const alertText = (alert: number): string =>
  ALERTS[alert]
    ? `the peer refused our certificate: ${ALERTS[alert]} (TLS alert ${alert})`
    : `the peer ended the TLS handshake (alert ${alert})`

/** An alert after the handshake of TLS 1.3 comes as an error of the socket, which says it as OpenSSL does. */
const readable = (error: Error & { code?: unknown }): Error =>
  /SSL alert number/.test(error.message)
    ? Object.assign(new Error(reasonOf(error), { cause: error }), { code: error.code })
    : error

async function openTls(
  host: string,
  port: number,
  options: Tls.ConnectionOptions,
  through: Duplex | undefined,
): Promise<Tls.TLSSocket> {
  const [net, tls] = await Promise.all([import('node:net'), import('node:tls')])
  // SNI carries names only, never addresses. RFC 6066
  const servername = net.isIP(host) ? {} : { servername: host }
  const socket = through && { socket: through }
  try {
    return tls.connect({ host, port, ...servername, ...options, ...socket }).setNoDelay(true)
  } catch (error) {
    throw unusable(tls, options, error)
  }
}

/** Wraps a connected socket, or a stream like one. */
export function socketTransport(socket: Duplex): SocketTransport {
  return new Socket(socket)
}

class Socket implements SocketTransport {
  readonly #socket: Duplex
  #error: Error | undefined
  #ending = false
  #remoteAddress: string | undefined

  constructor(socket: Duplex) {
    this.#socket = socket
    // Without a listener an error would be an uncaught exception.
    socket.on('error', error => {
      this.#error ??= readable(error)
    })
  }

  get remoteAddress(): string | undefined {
    const { remoteAddress: host, remotePort: port } = this.#socket as Partial<Net.Socket>
    // Gone with the socket's end: what was read first holds.
    if (host) this.#remoteAddress = `${host.includes(':') ? `[${host}]` : host}:${port}`
    return this.#remoteAddress
  }

  get peerCertificate(): Uint8Array | undefined {
    const socket = this.#socket as Partial<Tls.TLSSocket>
    const raw = socket.getPeerCertificate?.(false)?.raw
    return raw && raw.length > 0 ? raw : undefined
  }

  start(sink: TransportSink): void {
    const socket = this.#socket
    socket.on('data', bytes => sink.data(bytes))
    socket.on('drain', () => sink.drain())
    let ended = false
    const end = () => {
      if (!ended) sink.end(this.#error)
      ended = true
    }
    // Having ended our side we wait for what we wrote to leave, not only for the peer's end.
    socket.on('end', () => {
      if (!this.#ending) end()
    })
    socket.on('close', () => {
      end()
      sink.over?.()
    })
    if (socket.destroyed) queueMicrotask(end)
  }

  write(chunks: readonly Uint8Array[]): boolean {
    const socket = this.#socket
    if (!socket.writable) return true
    socket.cork()
    for (const chunk of chunks) socket.write(chunk)
    socket.uncork()
    return !socket.writableNeedDrain
  }

  end(): void {
    this.#ending = true
    if (this.#socket.writable) this.#socket.end()
  }

  destroy(error?: Error): void {
    this.#socket.destroy(error)
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  ref(): void {
    ;(this.#socket as Partial<Net.Socket>).ref?.()
  }

  unref(): void {
    ;(this.#socket as Partial<Net.Socket>).unref?.()
  }
}

/** A listening socket. */
export interface SocketListener {
  readonly port: number
  /** What the handshakes to come use; `undefined` without TLS. @throws {UsageError} it takes none; nothing changes then */
  readonly setSecureContext: ((options: Tls.SecureContextOptions) => void) | undefined
  /** Stops accepting; connections live on. */
  close(): Promise<void>
}

/**
 * Listens, plain or with TLS, and hands every connected peer to `accepted`; handshakes that fail go to `failed`.
 *
 * @throws {TransportError} the address cannot be used
 * @throws {UsageError} `node:tls` does not take the options
 */
export async function listenSocket(
  options: {
    readonly host: string
    readonly port: number
    readonly tls: Tls.TlsOptions | undefined
    readonly maxConnections?: number | undefined
    /** Milliseconds that a TLS handshake may take. */
    readonly handshakeMs: number
  },
  accepted: (transport: SocketTransport) => void,
  failed: (error: Error) => void,
): Promise<SocketListener> {
  const { host, port, tls, handshakeMs, maxConnections } = options
  /** Sockets in their TLS handshake, by their peers' addresses: nobody else would close them. */
  const shaking = new Map<string, Net.Socket>()
  const module = tls && (await import('node:tls'))
  const attempt = <T>(context: Tls.SecureContextOptions, act: (module: typeof Tls) => T): T => {
    try {
      return act(module as typeof Tls)
    } catch (error) {
      throw unusable(module as typeof Tls, context, error)
    }
  }
  const server: Net.Server = tls
    ? attempt(tls, ({ createServer }) =>
        createServer({ handshakeTimeout: timerDelay(handshakeMs), ...tls }).on('secureConnection', socket => {
          shaking.delete(peerOf(socket))
          accepted(socketTransport(socket.setNoDelay(true)))
        }),
      )
    : (await import('node:net')).createServer({ noDelay: true }, socket => accepted(socketTransport(socket)))
  if (tls)
    server
      .on('connection', (socket: Net.Socket) => {
        const peer = peerOf(socket)
        shaking.set(peer, socket)
        socket.once('close', () => shaking.get(peer) === socket && shaking.delete(peer))
      })
      .on('tlsClientError', (error: Error, socket: Tls.TLSSocket) => {
        const from = socketTransport(socket).remoteAddress
        // A handshake that takes too long is told and not ended.
        socket.destroy()
        failed(new TransportError(`TLS handshake${from ? ` with ${from}` : ''} failed: ${reasonOf(error)}`, error))
      })
  if (maxConnections !== undefined) {
    server.maxConnections = maxConnections
    server.on('drop', () => failed(new TransportError(`a connection was dropped: ${maxConnections} are open`)))
  }
  await new Promise<void>((resolve, reject) => {
    const onError = (error: Error) =>
      reject(new TransportError(`cannot listen on ${host}:${port}: ${error.message}`, error))
    server.once('error', onError)
    server.listen(port, host, () => {
      server.off('error', onError)
      server.on('error', failed)
      resolve()
    })
  })
  const address = server.address()
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    setSecureContext: tls && (context => attempt(context, () => (server as Tls.Server).setSecureContext(context))),
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        for (const socket of shaking.values()) socket.destroy()
      }),
  }
}

/** The socket beneath TLS has the same. */
const peerOf = ({ remoteAddress, remotePort }: Net.Socket): string => `${remoteAddress} ${remotePort}`
