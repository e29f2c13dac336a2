/**
 * Line: what belongs to one network connection, and is replaced when that is lost: engine, driver, transport,
 * authentication. §2.4
 *
 * It tells what happens on it to the connection that it carries, and how its opening came out to whoever started it.
 */

import { Engine } from '../engine/engine.ts'
import type { EngineEvent } from '../engine/events.ts'
import type { IncomingDelivery } from '../engine/incoming-delivery.ts'
import type { OutgoingDelivery } from '../engine/outgoing-delivery.ts'
import { type AmqpError, ClosedError, type SaslError, TransportError } from '../errors.ts'
import { Driver, type DriverOwner } from '../io/driver.ts'
import type { SocketTransport } from '../io/socket.ts'
import type { Transport } from '../io/transport.ts'
import type { Closure } from './api.ts'
import {
  type AuthenticationOwner,
  authenticationOf,
  ClientAuthentication,
  type Security,
  ServerAuthentication,
} from './authentication.ts'
import { isHeard, printsFrames } from './diagnostics/diagnostics.ts'
import { abortable, deferred, handled, within } from './operation.ts'
import type { ConnectionOptions } from './options.ts'
import { announcesClose, CLOSE_MS } from './redirect.ts'
import { openInit } from './termini.ts'
import { styleOf } from './wire-style.ts'

/** Something that carries a connection, and what is known of it. */
export interface Carrier {
  readonly transport: Transport
  /** The host that it leads to; empty at the accepting end. */
  readonly host: string
  /** What errors call the peer, where it has an address. */
  readonly peer: string | undefined
  /** Nobody else can read it. */
  readonly secure: boolean
  /** Nothing lies between it and TCP, so that a server that speaks TLS would answer with an alert. */
  readonly bare?: boolean | undefined
  readonly security: Security
}

/** Who hears what happens on a line. What one that has been replaced still has to tell is only for traces. */
export interface LineOwner extends DriverOwner {
  readonly line: Line
}

export class Line implements DriverOwner, AuthenticationOwner {
  readonly engine: Engine
  readonly peer: string | undefined
  /** Resolves when both ends have opened. */
  readonly opened: Promise<void>
  /** How it ended; `undefined` while it lives. */
  closure: Closure | undefined
  /** Resolves when it has ended. */
  readonly closed: Promise<Closure>
  readonly #carrier: Carrier
  readonly #transport: Transport
  readonly #owner: LineOwner
  readonly #driver: Driver
  readonly #authentication: ClientAuthentication | ServerAuthentication | undefined
  readonly #opened = deferred<void>()
  readonly #closed = deferred<Closure>()
  readonly #abort = new AbortController()
  /** Why authentication failed. */
  #saslError: SaslError | undefined

  /** @throws {UsageError} what cannot be opened with; the transport is left to the caller */
  constructor(carrier: Carrier, options: ConnectionOptions, containerId: string, owner: LineOwner) {
    const { transport, host, peer, secure, security } = carrier
    this.#carrier = carrier
    this.#transport = transport
    this.#owner = owner
    this.peer = peer
    this.engine = new Engine({
      sasl: security.role,
      mechanisms: security.role === 'server' ? security.mechanisms.map(have => have.name) : undefined,
      holdOutcome: true,
      allowNoSasl: security.role === 'server' ? security.allowNoSasl : undefined,
      limits: options.limits,
      style: styleOf(options.wireProfile),
      peer,
      trace: options.trace !== undefined || isHeard('frame') || printsFrames(),
    })
    const hostname = options.hostname ?? host
    this.#authentication = authenticationOf(this, security, {
      hostname,
      secure,
      peerCertificate: this.peerCertificate,
      signal: this.#abort.signal,
    })
    this.#driver = new Driver(this.engine, transport, this)
    this.opened = handled(this.#opened.promise)
    this.closed = this.#closed.promise
    this.engine.connection.open(
      openInit({ ...options, hostname: options.hostname ?? (host || undefined) }, containerId),
    )
  }

  /** Starts without waiting. @param pipelines  whether to send what may be sent before the peer answers. §2.4.2 */
  launch(pipelines: boolean): void {
    try {
      if (pipelines && this.#authentication instanceof ClientAuthentication) this.#authentication.pipeline()
      else if (pipelines) this.engine.pipeline()
    } catch (error) {
      this.destroy()
      throw error
    }
    this.#driver.start()
  }

  /** Starts, and waits for the peer's open. Cancellation drops the transport. */
  async start(signal: AbortSignal | undefined): Promise<void> {
    this.launch(false)
    try {
      await abortable(this.#opened, signal, () => this.destroy())
    } catch (error) {
      if (!this.#carrier.bare || !(error instanceof TransportError) || !this.#driver.endedUnheard) throw error
      const what = 'ended the connection before the AMQP header; if this is a TLS port, use amqps://'
      throw new TransportError(`${this.peer} ${what}`, error.cause ?? error)
    }
  }

  /** Waits, where the peer has announced in its open that a close with the reason follows. */
  async settled(signal: AbortSignal | undefined): Promise<void> {
    const { remoteOpen } = this.engine.connection
    if (remoteOpen && announcesClose(remoteOpen.properties)) await within(this.closed, CLOSE_MS, signal)
  }

  get identity(): string | undefined {
    return this.#authentication instanceof ServerAuthentication ? this.#authentication.identity : undefined
  }

  get peerCertificate(): Uint8Array | undefined {
    return (this.#transport as Partial<SocketTransport>).peerCertificate
  }

  get remoteAddress(): string | undefined {
    return this.#transport.remoteAddress ?? this.peer
  }

  /** When the peer was last heard, on the clock of `performance.now()`. */
  get heardAt(): number {
    return this.#driver.heardAt
  }

  /** Whether it was a fault at this end that ended it, not the transport: the same would happen again. */
  get isFaulty(): boolean {
    return this.#driver.isFaulty
  }

  touch(): void {
    this.#driver.touch()
  }

  /** Drops the transport at once. */
  destroy(error?: AmqpError): void {
    this.#driver.destroy(error)
  }

  ref(): void {
    this.#driver.ref()
    ;(this.#transport as Partial<SocketTransport>).ref?.()
  }

  unref(): void {
    this.#driver.unref()
    ;(this.#transport as Partial<SocketTransport>).unref?.()
  }

  /** Authentication failed. A server's outcome still leaves; a client has nothing more to say. */
  fail(error: SaslError): void {
    this.#saslError = error
    this.engine.connection.ended('local', error)
    this.engine.receiveEnd(performance.now())
    this.touch()
  }

  // ---- what the driver tells -----------------------------------------------------------------------------------

  onDelivery(delivery: IncomingDelivery): void {
    this.#owner.onDelivery(delivery)
  }

  onOutcome(delivery: OutgoingDelivery): void {
    this.#owner.onOutcome(delivery)
  }

  onFlush(): void {
    this.#owner.onFlush()
  }

  onEvent(event: EngineEvent): void {
    if (this.#owner.line !== this && event.type !== 'frame') return
    switch (event.type) {
      case 'sasl.mechanisms':
      case 'sasl.init':
      case 'sasl.challenge':
      case 'sasl.response':
      case 'sasl.outcome':
        return this.#authentication?.onEvent(event)
      case 'connection.opened':
        this.#owner.onEvent(event)
        return this.#opened.resolve()
      case 'connection.closed': {
        const error = this.#saslError ?? event.error
        this.closure = { by: event.by, error }
        this.#owner.onEvent({ ...event, error })
        this.#opened.reject(error ?? new ClosedError('connection, before it was open,', 'connection'))
        this.#closed.resolve(this.closure)
        return this.#abort.abort(error)
      }
      default:
        return this.#owner.onEvent(event)
    }
  }
}
