/**
 * WebSockets as transports, over the standard class or one like it: bytes go out and come in as binary messages, whose
 * boundaries mean nothing. The class does RFC 6455; nothing of that is here. OASIS AMQP WebSocket Binding 1.0.
 *
 * The standard class cannot be read slower, dropped at once, or kept from holding the process; that of the package `ws`
 * can do the first two.
 */

import { TransportError, UsageError } from '../errors.ts'
import { timerDelay } from './delay.ts'
import { reasonOf } from './socket.ts'
import type { Transport, TransportSink } from './transport.ts'

/** What is used of a WebSocket: the standard class has it, and that of `ws`, at either end. */
export interface WebSocketLike {
  readonly readyState: number
  readonly protocol: string
  readonly bufferedAmount: number
  binaryType: string
  /** The bytes lie in memory that is not shared, as the standard class wants it. */
  send(bytes: Uint8Array & { readonly buffer: ArrayBuffer }): void
  close(code?: number): void
  addEventListener(type: 'open', listener: () => void): void
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void
  addEventListener(type: 'error', listener: (event: object) => void): void
  addEventListener(type: 'close', listener: (event: { readonly code: number; readonly reason: string }) => void): void
  /** Only `ws`: drops the socket at once. */
  terminate?(): void
  /** Only `ws`: reads no more until `resume`. */
  pause?(): void
  resume?(): void
}

/**
 * A class that makes WebSockets. Any but the standard one is given a third argument as `ws` takes it: what `tls` holds,
 * and that nothing is to be compressed.
 */
export type WebSocketClass = new (
  url: string,
  protocols: string[],
  options: import('node:tls').ConnectionOptions & { readonly perMessageDeflate?: boolean },
) => WebSocketLike

/** Where and how to open a WebSocket. */
export interface WebSocketTarget {
  readonly host: string
  readonly port: number
  /** With the leading slash, and a query if there is one. */
  readonly path: string
  /** Options for `wss:`, or `undefined` for `ws:`. */
  readonly tls: import('node:tls').ConnectionOptions | undefined
  /** The peer must choose one of these. */
  readonly protocols: readonly string[]
  /** Default: the standard class, where there is one. */
  readonly class: WebSocketClass | undefined
  /** Milliseconds that connecting may take, handshakes included. */
  readonly withinMs: number
  readonly signal?: AbortSignal | undefined
}

/** Bytes that may wait in the WebSocket before `write` says that it has enough. */
const HIGH_WATER = 1 << 20
/** Some peers have a fixed buffer for a message: 256 KiB, at the least that is known. */
const MAX_MESSAGE = 64 << 10
/** Milliseconds between looks at what still waits, at first and at most. There is no event for it. */
const FIRST_LOOK = 1
const LAST_LOOK = 64

const OPEN = 1
const NORMAL = 1000
const UNSUPPORTED_DATA = 1003
const NO_STATUS = 1005

/**
 * Opens a WebSocket.
 *
 * @throws {UsageError} there is no class for it, or it takes no such target, protocols or TLS options
 * @throws {TransportError} the host cannot be reached, refuses the upgrade, or takes none of the sub-protocols; or it
 *   took longer than `withinMs`. `cause` is the class's own error, where it tells one
 * Cancellation: the WebSocket is dropped; rejects with `signal.reason`.
 */
export async function connectWebSocket(target: WebSocketTarget): Promise<Transport> {
  const { host, port, protocols, withinMs, signal } = target
  signal?.throwIfAborted()
  const socket = construct(target)
  const peer = `${host}:${port}`
  const transport = new WebSocketTransport(socket, peer)
  await new Promise<void>((resolve, reject) => {
    let isSettled = false
    const settle = (finish: () => void) => {
      if (isSettled) return
      isSettled = true
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      finish()
    }
    const giveUp = (reason: unknown) =>
      settle(() => {
        reject(reason)
        transport.destroy()
      })
    const onAbort = () => giveUp(signal?.reason)
    const timer = setTimeout(
      () => giveUp(new TransportError(`no WebSocket from ${peer} within ${withinMs} ms`)),
      timerDelay(withinMs),
    )
    signal?.addEventListener('abort', onAbort)
    socket.addEventListener('open', () => {
      if (protocols.includes(socket.protocol)) settle(resolve)
      else giveUp(new TransportError(`${peer} took none of the WebSocket sub-protocols ${protocols.join(', ')}`))
    })
    const fail = (why: string) =>
      giveUp(new TransportError(`cannot open a WebSocket to ${peer}: ${why}`, transport.fault))
    // Some classes tell an error and nothing more, others the end alone.
    socket.addEventListener('error', () => fail(transport.fault ? reasonOf(transport.fault) : 'no reason given'))
    socket.addEventListener('close', ({ code }) => fail(`closed with code ${code}`))
  })
  return transport
}

function construct(target: WebSocketTarget): WebSocketLike {
  const { host, port, path, tls, protocols } = target
  const standard = (globalThis as { WebSocket?: WebSocketClass }).WebSocket
  const Class = target.class ?? standard
  if (Class === undefined)
    throw new UsageError('this platform has no WebSocket, as Node before 22: give a class as `webSocket.class`')
  if (Class === standard && tls !== undefined && Object.keys(tls).length > 0)
    throw new UsageError('the standard WebSocket takes no TLS options: give a class that does as `webSocket.class`')
  const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`
  const url = `${tls ? 'wss' : 'ws'}://${authority}${path}`
  try {
    // The standard class would take options for something else one day.
    return Class === standard
      ? Reflect.construct(Class, [url, [...protocols]])
      : new Class(url, [...protocols], { ...tls, perMessageDeflate: false })
  } catch (error) {
    // A path may hold a key.
    const why = error instanceof Error ? error.message.replaceAll(path, '/…') : 'no reason given'
    throw new UsageError(`the WebSocket class refuses ${authority} with ${protocols.join(', ')}: ${why}`)
  }
}

/**
 * A transport over an open WebSocket, e.g. one that the server of `ws` has accepted, for `Listener.accept`.
 *
 * Which sub-protocol was agreed on is the business of whoever accepted it: `amqp`, or `AMQPWSB10` for clients of IoT Hub.
 * A message is read as a whole, of any size that the class lets in (`maxPayload` of `ws`).
 *
 * @param socket  belongs to the transport from now on; its `binaryType` is set
 */
export function webSocketTransport(socket: WebSocketLike): Transport {
  return new WebSocketTransport(socket, 'the peer')
}

class WebSocketTransport implements Transport {
  /** What the class told of what went wrong. */
  fault: Error | undefined
  readonly #socket: WebSocketLike
  readonly #peer: string
  #sink: TransportSink | undefined
  /** What came before there was anybody to take it. */
  #early: Uint8Array[] | undefined = []
  #ending = false
  #ended = false
  #error: Error | undefined
  #look: ReturnType<typeof setTimeout> | undefined

  constructor(socket: WebSocketLike, peer: string) {
    this.#socket = socket
    this.#peer = peer
    socket.binaryType = 'arraybuffer'
    socket.addEventListener('message', ({ data }) => this.#onMessage(data))
    socket.addEventListener('error', event => {
      const { error, message } = event as { error?: unknown; message?: string }
      this.fault ??= error instanceof Error ? error : new Error(message || 'no reason given')
    })
    socket.addEventListener('close', ({ code, reason }) => this.#onClose(code, reason))
  }

  start(sink: TransportSink): void {
    this.#sink = sink
    queueMicrotask(() => {
      const early = this.#early ?? []
      this.#early = undefined
      for (const bytes of early) sink.data(bytes)
      if (this.#ended) sink.end(this.#error)
    })
  }

  write(chunks: readonly Uint8Array[]): boolean {
    const socket = this.#socket
    if (this.#ending || this.#ended || socket.readyState !== OPEN) return true
    for (const chunk of chunks)
      for (let at = 0; at < chunk.length; at += MAX_MESSAGE)
        socket.send(chunk.subarray(at, at + MAX_MESSAGE) as Uint8Array & { readonly buffer: ArrayBuffer })
    if (socket.bufferedAmount < HIGH_WATER) return true
    if (this.#look === undefined) this.#lookIn(FIRST_LOOK)
    return false
  }

  #lookIn(ms: number): void {
    this.#look = setTimeout(() => {
      this.#look = undefined
      if (this.#ended) return
      if (this.#socket.bufferedAmount >= HIGH_WATER / 2) this.#lookIn(Math.min(2 * ms, LAST_LOOK))
      else this.#sink?.drain()
    }, ms)
    // The socket holds the process, or nothing does.
    this.#look.unref?.()
  }

  end(): void {
    if (this.#ending) return
    this.#ending = true
    this.#socket.close(NORMAL)
  }

  destroy(error?: Error): void {
    this.#ending = true
    if (this.#socket.terminate) this.#socket.terminate()
    else this.#socket.close()
    this.#finish(error)
  }

  pause(): void {
    this.#socket.pause?.()
  }

  resume(): void {
    this.#socket.resume?.()
  }

  #onMessage(data: unknown): void {
    if (this.#ending || this.#ended) return
    if (typeof data === 'string') return this.#refuseText()
    const bytes = ArrayBuffer.isView(data)
      ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      : new Uint8Array(data as ArrayBuffer)
    if (this.#early) this.#early.push(bytes)
    else this.#sink?.data(bytes)
  }

  #refuseText(): void {
    this.#ending = true
    try {
      this.#socket.close(UNSUPPORTED_DATA)
    } catch {
      // The standard class sends no such code.
      this.#socket.close()
    }
    this.#finish(new TransportError(`${this.#peer} sent text over the WebSocket; AMQP goes in binary messages`))
  }

  #onClose(code: number, reason: string): void {
    if (this.#ending || code === NORMAL || code === NO_STATUS) return this.#finish(undefined)
    const why = reason || this.fault?.message
    this.#finish(
      new TransportError(`the WebSocket to ${this.#peer} ended with code ${code}${why ? `: ${why}` : ''}`, this.fault),
    )
  }

  #finish(error: Error | undefined): void {
    if (this.#ended) return
    this.#ended = true
    this.#error = error
    clearTimeout(this.#look)
    // Before that, `start` tells.
    if (this.#early === undefined) queueMicrotask(() => this.#sink?.end(error))
  }
}
