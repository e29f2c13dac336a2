/** Connection: the owner of one engine and its driver, at either end. §2.4 */

import type { Open } from '../definitions/performatives.ts'
import { Engine } from '../engine/engine.ts'
import type { EngineEvent } from '../engine/events.ts'
import type { IncomingDelivery } from '../engine/incoming-delivery.ts'
import type { OutgoingDelivery } from '../engine/outgoing-delivery.ts'
import type { SessionEndpoint } from '../engine/session-endpoint.ts'
import { AmqpCondition, type AmqpError, ClosedError, type SaslError } from '../errors.ts'
import { Driver, type DriverOwner } from '../io/driver.ts'
import type { SocketTransport } from '../io/socket.ts'
import type { Transport } from '../io/transport.ts'
import type {
  Closure,
  Connection,
  ConnectionStats,
  IncomingSession,
  Receiver,
  RemoteOpen,
  RequestLink,
  Sender,
  Session,
} from './api.ts'
import type { Transaction } from './api-transactions.ts'
import {
  type AuthenticationOwner,
  authenticationOf,
  ClientAuthentication,
  type Security,
  ServerAuthentication,
} from './authentication.ts'
import type { Coordinator } from './coordinator.ts'
import {
  isHeard,
  printsFrames,
  publish,
  publishCredit,
  publishSettlement,
  type StateMessage,
  traced,
} from './diagnostics.ts'
import { Emitter } from './emitter.ts'
import { IncomingQueue } from './incoming.ts'
import { incomingSession } from './incoming-session.ts'
import { inspectAs } from './inspect.ts'
import { onLinkEvent } from './link-events.ts'
import { abortable, deferred, handled, shared, throwIfAborted, within } from './operation.ts'
import type {
  Abortable,
  ConnectionOptions,
  ErrorInit,
  ReceiverOptions,
  RequestLinkOptions,
  SenderOptions,
  SessionOptions,
  SourceInit,
  TargetInit,
} from './options.ts'
import type { ClientReceiver } from './receiver.ts'
import { attachRequestLink } from './request.ts'
import type { ClientSender } from './sender.ts'
import { ClientSession, type SessionOwner } from './session.ts'
import { statsOf } from './stats.ts'
import { streamingReceiver } from './streaming-receiver.ts'
import { decodeFault, errorFields, openInit, remoteOpen } from './termini.ts'
import { styleOf } from './wire-style.ts'

type ConnectionEvents = { closed: Closure; session: IncomingSession }

/** Connections of this process so far. */
let count = 0

export class ClientConnection
  extends Emitter<ConnectionEvents>
  implements Connection, DriverOwner, SessionOwner, AuthenticationOwner
{
  static {
    inspectAs(ClientConnection.prototype, 'Connection', of => ({
      containerId: of.#containerId,
      remote: of.#remote?.containerId,
      state: of.#closure ? 'ended' : of.#remote ? 'open' : 'opening',
    }))
  }

  readonly id: number = ++count
  /** What users know it as. */
  api: Connection = this
  readonly engine: Engine
  readonly peer: string | undefined
  readonly opened: Promise<void>
  readonly flushed: Set<() => void> = new Set()
  readonly coordinator: Coordinator | undefined
  readonly #driver: Driver
  readonly #transport: Transport
  readonly #options: ConnectionOptions
  readonly #opened = deferred<void>()
  readonly #closed = deferred<Closure>()
  readonly #abort = new AbortController()
  readonly #sessions = new Set<ClientSession>()
  readonly #authentication: ClientAuthentication | ServerAuthentication | undefined
  #closure: Closure | undefined
  #remote: RemoteOpen | undefined
  #shared: Promise<Session> | undefined
  #saslError: SaslError | undefined
  readonly #containerId: string
  readonly #incoming = new IncomingQueue<IncomingSession>(
    session => {
      if (!this.hears('session')) return false
      this.emit('session', session, error => void handled(this.close({ error: decodeFault(error) })))
      return true
    },
    session => session.refuse({ condition: AmqpCondition.notAllowed, description: 'nobody here takes sessions' }),
  )

  constructor(
    transport: Transport,
    options: ConnectionOptions & {
      host: string
      peer?: string | undefined
      coordinates?: (owner: ClientConnection) => Coordinator
    },
    security: Security,
    secure: boolean,
  ) {
    super()
    this.#transport = transport
    this.#options = options
    this.peer = options.peer
    this.#containerId = options.containerId ?? globalThis.crypto.randomUUID()
    this.coordinator = options.coordinates?.(this)
    this.engine = new Engine({
      sasl: security.role,
      mechanisms: security.role === 'server' ? security.mechanisms.map(have => have.name) : undefined,
      holdOutcome: true,
      allowNoSasl: security.role === 'server' ? security.allowNoSasl : undefined,
      limits: options.limits,
      style: styleOf(options.wireProfile),
      peer: options.peer,
      trace: options.trace !== undefined || isHeard('frame') || printsFrames(),
    })
    const { peerCertificate } = this
    const hostname = options.hostname ?? options.host
    this.#authentication = authenticationOf(this, security, {
      hostname,
      secure,
      peerCertificate,
      signal: this.#abort.signal,
    })
    this.#driver = new Driver(this.engine, transport, this)
    this.opened = this.#opened.promise
    this.opened.catch(() => {})
  }

  /** Starts, and waits for the peer's open. Cancellation drops the transport, and so does what cannot be opened with. */
  async start(options: Abortable): Promise<void> {
    this.launch(false)
    await abortable(this.#opened, options.signal, () => this.#driver.destroy())
  }

  /** Starts without waiting. @param pipelines  whether to send what may be sent before the peer answers. §2.4.2 */
  launch(pipelines: boolean): void {
    try {
      this.engine.connection.open(openInit(this.#options, this.#containerId))
      if (pipelines && this.#authentication instanceof ClientAuthentication) this.#authentication.pipeline()
      else if (pipelines) this.engine.pipeline()
    } catch (error) {
      this.#driver.destroy()
      throw error
    }
    this.#driver.start()
  }

  get remote(): RemoteOpen {
    if (!this.#remote) throw new ClosedError('a connection that is not open', 'connection', this.#closure?.error)
    return this.#remote
  }

  get closed(): Promise<Closure> {
    return this.#closed.promise
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

  get closeMs(): number {
    return this.engine.limits.closeMs
  }

  get settleMs(): number {
    return this.engine.limits.settleMs
  }

  get maxPending(): number {
    return this.engine.limits.maxPending
  }

  get closure(): Closure | undefined {
    return this.#closure
  }

  touch(): void {
    this.#driver.touch()
  }

  // ---- sessions ------------------------------------------------------------------------------------------------

  async session(options: SessionOptions = {}): Promise<Session> {
    throwIfAborted(options)
    this.#checkOpen()
    const session = this.#adopt(this.engine.connection.session())
    await session.begin(options, true)
    return session
  }

  async sender(target: string | TargetInit | null, options: SenderOptions = {}): Promise<Sender> {
    return (await this.#sharedSession(options)).sender(target, options)
  }

  async receiver(source: string | SourceInit | null, options: ReceiverOptions = {}): Promise<Receiver> {
    if (options.streaming) return streamingReceiver(this, source, options)
    return (await this.#sharedSession(options)).receiver(source, options)
  }

  request(address: string, options: RequestLinkOptions = {}): Promise<RequestLink> {
    return attachRequestLink(this, address, options)
  }

  async transaction(options: Abortable = {}): Promise<Transaction> {
    return (await this.#sharedSession(options)).transaction(options)
  }

  /** The session of all links that are opened on the connection itself; begun again after it has ended. */
  #sharedSession(options: Abortable): Promise<Session> {
    throwIfAborted(options)
    if (!this.#shared) {
      const begun = this.#remote ? this.session() : this.#early()
      this.#shared = begun
      const forget = () => {
        if (this.#shared === begun) this.#shared = undefined
      }
      begun.then(session => session.closed.then(forget), forget)
    }
    return shared(this.#shared, options.signal)
  }

  /** A session whose links need not wait for the peer's begin, nor for its open. §2.4.2 */
  async #early(): Promise<Session> {
    this.#checkOpen()
    const session = this.#adopt(this.engine.connection.session())
    await session.begin({}, false)
    return session
  }

  #adopt(endpoint: SessionEndpoint): ClientSession {
    const session = new ClientSession(this, endpoint)
    this.#sessions.add(session)
    return session
  }

  get sessions(): ReadonlySet<ClientSession> {
    return this.#sessions
  }

  get stats(): ConnectionStats {
    return statsOf(this.#sessions, this.engine.connection.pendingBytes)
  }

  forgetSession(session: ClientSession): void {
    this.#sessions.delete(session)
  }

  incoming(): AsyncIterable<IncomingSession, undefined> {
    return this.#incoming
  }

  protected override get eventNames(): readonly string[] {
    return ['closed', 'session']
  }

  override on<K extends keyof ConnectionEvents>(
    type: K,
    listener: (event: ConnectionEvents[K]) => unknown,
    options?: Abortable,
  ): Disposable {
    const subscription = super.on(type, listener, options)
    if (type === 'session') this.#incoming.offer()
    return subscription
  }

  #checkOpen(): void {
    if (this.#closure) throw new ClosedError('connection', 'connection', this.#closure.error, this.#closure.by)
  }

  // ---- closing -------------------------------------------------------------------------------------------------

  async close(options: Abortable & { error?: ErrorInit } = {}): Promise<void> {
    throwIfAborted(options)
    if (this.#closure) return
    if (!options.error) await within(this.#whenSettled(), this.settleMs, options.signal)
    await this.closeNow(options)
  }

  async #whenSettled(): Promise<void> {
    await Promise.all([...this.#sessions].map(session => session.whenSettled()))
  }

  /** Closes without waiting for outcomes. */
  async closeNow(options: Abortable & { error?: ErrorInit } = {}): Promise<void> {
    if (this.#closure) return
    const { connection } = this.engine
    if (!connection.isClosing && !connection.hasEnded) connection.close(options.error && errorFields(options.error))
    this.touch()
    const closed = deferred<void>()
    this.closed.then(() => closed.resolve())
    await abortable(closed, options.signal, () => this.#driver.destroy())
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Drops the transport at once; everything that waits fails with the error. */
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

  // ---- what the engine tells -----------------------------------------------------------------------------------

  onDelivery(delivery: IncomingDelivery): void {
    ;(delivery.link.context as ClientReceiver | undefined)?.onDelivery(delivery)
  }

  onOutcome(delivery: OutgoingDelivery): void {
    if (isHeard('settlement')) publishSettlement(this.#label, delivery)
    ;(delivery.link.context as ClientSender | undefined)?.onOutcome(delivery)
  }

  onFlush(): void {
    for (const tell of this.flushed) tell()
  }

  onEvent(event: EngineEvent): void {
    switch (event.type) {
      case 'frame':
        return traced(this.#label, event, this.#options.trace)
      case 'connection.opened':
        return this.#onOpened(event.open)
      case 'connection.closed':
        return this.#onClosed({ by: event.by, error: this.#saslError ?? event.error })
      case 'session.begun':
        this.tellState('session', String(event.session.remoteChannel), 'opened')
        return this.#onBegun(event.session)
      case 'session.ended':
        this.tellState('session', String(event.session.remoteChannel), 'ended', event)
        return (event.session.context as ClientSession | undefined)?.onClosed({ by: event.by, error: event.error })
      case 'link.attached':
        this.tellState('link', event.link.name, 'opened')
        return (event.link.session.context as ClientSession | undefined)?.onAttached(event.link, event.attach)
      case 'link.detached':
        this.tellState('link', event.link.name, 'ended', event)
        return onLinkEvent(event)
      case 'link.flow':
        if (isHeard('credit')) publishCredit(this.#label, event.link)
        return onLinkEvent(event)
      case 'link.drained':
      case 'delivery.continued':
      case 'delivery.settled':
        return onLinkEvent(event)
      case 'protocol.error':
        return
      default:
        this.#authentication?.onEvent(event)
    }
  }

  /** When the peer was last heard, on the clock of `performance.now()`. */
  get heardAt(): number {
    return this.#driver.heardAt
  }

  /** Whether the peer ended the transport before it had sent a whole protocol header. */
  get endedUnheard(): boolean {
    return this.#driver.endedUnheard
  }

  get #label(): { connection: string; id: number } {
    return { connection: this.#containerId, id: this.id }
  }

  /** Tells whoever listens that something has opened or ended. */
  tellState(scope: StateMessage['scope'], name: string, state: StateMessage['state'], end?: Closure): void {
    if (!isHeard('state')) return
    publish('state', { ...this.#label, scope, name, state, by: end?.by, error: end?.error })
  }

  #onOpened(open: Open): void {
    this.tellState('connection', open.containerId, 'opened')
    this.#remote = remoteOpen(open)
    this.#opened.resolve()
  }

  #onBegun(endpoint: SessionEndpoint): void {
    const session = endpoint.context as ClientSession | undefined
    if (session) return session.onBegun()
    // Links that the peer attaches right behind its begin belong to the session that will answer it.
    const incoming = this.#adopt(endpoint)
    const offer = incomingSession(this.api, incoming, () => this.#checkOpen())
    this.#incoming.push(offer, () => incoming.hasEnded)
  }

  #onClosed(closure: Closure): void {
    if (this.#closure) return
    this.#closure = closure
    this.tellState('connection', this.#remote?.containerId ?? '', 'ended', closure)
    for (const session of [...this.#sessions]) session.onClosed(closure)
    this.#opened.reject(closure.error ?? new ClosedError('connection, before it was open,', 'connection'))
    this.#incoming.end()
    this.#abort.abort(closure.error)
    this.#closed.resolve(closure)
    this.emit('closed', closure)
  }
}
