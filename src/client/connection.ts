/** Connection: sessions over a line, at either end; where that is made again, over one line after another. §2.4 */

import type { Open } from '../definitions/performatives.ts'
import type { Engine } from '../engine/engine.ts'
import type { EngineEvent } from '../engine/events.ts'
import type { IncomingDelivery } from '../engine/incoming-delivery.ts'
import type { OutgoingDelivery } from '../engine/outgoing-delivery.ts'
import type { SessionEndpoint } from '../engine/session-endpoint.ts'
import { AmqpCondition, type AmqpError, ClosedError } from '../errors.ts'
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
  isHeard,
  publish,
  publishCredit,
  publishSettlement,
  type StateMessage,
  traced,
} from './diagnostics/diagnostics.ts'
import { inspectAs } from './diagnostics/inspect.ts'
import { statsOf } from './diagnostics/stats.ts'
import { Emitter } from './emitter.ts'
import type { Carrier, Line } from './line.ts'
import { Lines, type LinesOwner } from './lines.ts'
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
import type { SecondTry } from './pipeline.ts'
import type { ClientReceiver } from './receiver.ts'
import type { Recovery } from './recovery/recovery.ts'
import { attachRequestLink } from './request.ts'
import type { ClientSender } from './sender.ts'
import { IncomingQueue } from './serving/incoming.ts'
import { incomingSession } from './serving/incoming-session.ts'
import { ClientSession, type SessionOwner } from './session.ts'
import { streamingReceiver } from './streaming/streaming-receiver.ts'
import { decodeFault, errorFields, remoteOpen } from './termini.ts'
import type { Coordinator } from './transactions/coordinator.ts'

type ConnectionEvents = { closed: Closure; session: IncomingSession }

/** Connections of this process so far. */
let count = 0

export class ClientConnection extends Emitter<ConnectionEvents> implements Connection, LinesOwner, SessionOwner {
  static {
    inspectAs(ClientConnection.prototype, 'Connection', of => ({
      containerId: of.#containerId,
      remote: of.#remote?.containerId,
      state: of.#closure ? 'ended' : of.#remote ? (of.#lines.isDown ? 'reconnecting' : 'open') : 'opening',
    }))
  }

  readonly id: number = ++count
  readonly flushed: Set<() => void> = new Set()
  readonly coordinator: Coordinator | undefined
  readonly recovery: Recovery | undefined
  readonly #options: ConnectionOptions
  readonly #closed = deferred<Closure>()
  readonly #sessions = new Set<ClientSession>()
  #closure: Closure | undefined
  #remote: RemoteOpen | undefined
  #shared: Promise<Session> | undefined
  readonly #lines: Lines
  readonly #containerId: string
  readonly #incoming = new IncomingQueue<IncomingSession>(
    session => {
      if (!this.hears('session')) return false
      this.emit('session', session, error => void handled(this.close({ error: decodeFault(error) })))
      return true
    },
    session => session.refuse({ condition: AmqpCondition.notAllowed, description: 'nobody here takes sessions' }),
  )

  /**
   * @param recovery  makes the connection again when it is lost; without it a loss is the end
   * @throws {UsageError} what cannot be opened with; the transport is left to the caller
   */
  constructor(
    carrier: Carrier,
    options: ConnectionOptions & { coordinates?: (owner: ClientConnection) => Coordinator },
    recovery?: Recovery,
  ) {
    super()
    this.#options = options
    this.recovery = recovery
    this.#containerId = options.containerId ?? globalThis.crypto.randomUUID()
    this.coordinator = options.coordinates?.(this)
    this.#lines = new Lines(this, carrier, options, this.#containerId, recovery)
  }

  /**
   * Starts without waiting, and sends what may be sent before the peer answers. §2.4.2
   * @param second  what to do when the peer does not take that; `undefined` where there is no other way to it
   */
  pipeline(pipelines: boolean, second: SecondTry | undefined): void {
    this.#lines.pipeline(pipelines, second)
  }

  get api(): Connection {
    return this
  }

  get line(): Line {
    return this.#lines.line
  }

  get engine(): Engine {
    return this.line.engine
  }

  get opened(): Promise<void> {
    return this.#lines.opened
  }

  get remote(): RemoteOpen {
    if (!this.#remote) throw new ClosedError('a connection that is not open', 'connection', this.#closure?.error)
    return this.#remote
  }

  get closed(): Promise<Closure> {
    return this.#closed.promise
  }

  get identity(): string | undefined {
    return this.line.identity
  }

  get peerCertificate(): Uint8Array | undefined {
    return this.line.peerCertificate
  }

  get remoteAddress(): string | undefined {
    return this.line.remoteAddress
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
    this.line.touch()
  }

  // ---- sessions ------------------------------------------------------------------------------------------------

  async session(options: SessionOptions = {}): Promise<Session> {
    throwIfAborted(options)
    this.#checkOpen()
    if (!this.#mayBegin) await this.whenUp(options)
    this.#checkOpen()
    return this.#begin(options, true)
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

  async transaction(options: Parameters<Session['transaction']>[0] = {}): Promise<Transaction> {
    if (this.#lines.isDown) await this.whenUp(options)
    return (await this.#sharedSession(options)).transaction(options)
  }

  /** The session of all links that are opened on the connection itself; begun again after it has ended. */
  #sharedSession(options: Abortable): Promise<Session> {
    throwIfAborted(options)
    if (!this.#shared) {
      // Its links need not wait for the peer's begin, nor for its open. §2.4.2
      const begun = this.#lines.isDown && this.#mayBegin ? this.#begin({}, false) : this.session()
      this.#shared = begun
      const forget = () => {
        if (this.#shared === begun) this.#shared = undefined
      }
      begun.then(session => session.closed.then(forget), forget)
    }
    return shared(this.#shared, options.signal)
  }

  async #begin(options: SessionOptions, wait: boolean, passing = false): Promise<ClientSession> {
    if (!passing) this.#checkOpen()
    const session = this.#adopt(this.engine.connection.session())
    session.isPassing = passing
    await session.begin(options, wait)
    return session
  }

  /** Whether a session can be begun now: before the open one, since every peer has one channel. §2.4.1 */
  get #mayBegin(): boolean {
    const { isDown, isRemaking, pipelines } = this.#lines
    if (isDown) return pipelines && !isRemaking && this.#sessions.size === 0
    return !this.survives || !this.engine.connection.hasEnded
  }

  whenUp(options: Abortable): Promise<void> {
    return this.#lines.whenUp(options)
  }

  get survives(): boolean {
    return this.#lines.survives
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

  protected override onListener(type: keyof ConnectionEvents): void {
    if (type === 'session') this.#incoming.offer()
  }

  /** @throws {ClosedError} nothing can be begun any more; the engine knows before listeners have heard */
  #checkOpen(): void {
    if (this.#closure) throw new ClosedError('connection', 'connection', this.#closure.error, this.#closure.by)
    const { hasEnded, isClosing, cause } = this.engine.connection
    if (isClosing || (hasEnded && !this.survives)) throw new ClosedError('connection', 'connection', cause)
  }

  // ---- closing -------------------------------------------------------------------------------------------------

  async close(options: Abortable & { error?: ErrorInit } = {}): Promise<void> {
    throwIfAborted(options)
    if (this.#closure) return
    this.#lines.isLeaving = true
    if (!options.error && !this.#lines.isRemaking) await within(this.#whenSettled(), this.settleMs, options.signal)
    await this.closeNow(options)
  }

  async #whenSettled(): Promise<void> {
    await Promise.all([...this.#sessions].map(session => session.whenSettled()))
  }

  /** Closes without waiting for outcomes. */
  async closeNow(options: Abortable & { error?: ErrorInit } = {}): Promise<void> {
    if (this.#closure) return
    this.#lines.isLeaving = true
    if (this.#lines.isRemaking) return this.end({ by: 'local', error: undefined })
    const { connection } = this.engine
    if (!connection.isClosing && !connection.hasEnded) connection.close(options.error && errorFields(options.error))
    this.touch()
    const closed = deferred<void>()
    this.closed.then(() => closed.resolve())
    await abortable(closed, options.signal, () => this.line.destroy())
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Drops the transport at once; everything that waits fails with the error. */
  destroy(error?: AmqpError): void {
    this.#lines.isLeaving = true
    if (this.#lines.isRemaking) this.end({ by: 'transport', error })
    this.line.destroy(error)
  }

  reconnect(why?: string): void {
    this.#lines.remake(why)
  }

  ref(): void {
    this.#lines.ref()
  }

  unref(): void {
    this.#lines.unref()
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
        return this.#closure ? undefined : this.#lines.onClosed({ by: event.by, error: event.error })
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
      default:
        return
    }
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
    this.#lines.onOpened()
  }

  #onBegun(endpoint: SessionEndpoint): void {
    const session = endpoint.context as ClientSession | undefined
    if (session) return session.onBegun()
    // Links that the peer attaches right behind its begin belong to the session that will answer it.
    const incoming = this.#adopt(endpoint)
    const offer = incomingSession(this, incoming)
    this.#incoming.push(offer, () => incoming.hasEnded)
  }

  // ---- a line that is lost, and another ------------------------------------------------------------------------

  suspend(closure: Closure): void {
    if (this.#remote) this.tellState('connection', this.#remote.containerId, 'ended', closure)
    // What cannot survive has ended before anything is said of what can: transactions decide on their messages.
    for (const session of [...this.#sessions]) session.endMortal(closure)
    for (const session of [...this.#sessions]) session.suspend(closure)
  }

  resume(isBack: boolean): void {
    const { line, recovery } = this
    const sessions = [...this.#sessions].filter(session => session.isSuspended)
    for (const session of sessions) session.resume(this.engine.connection.session())
    if (isBack) void recovery?.restored(sessions, () => this.line === line && !line.closure)
  }

  endPassing(closure: Closure): void {
    const { remoteOpen: open } = this.engine.connection
    if (open) this.tellState('connection', open.containerId, 'ended', closure)
    for (const session of [...this.#sessions]) if (!session.isSuspended) session.onClosed(closure)
  }

  prepare(line: Line, signal: AbortSignal): Promise<void> {
    const session = (options: SessionOptions = {}): Promise<Session> => this.#begin(options, true, true)
    const { remote, remoteAddress } = this
    const request = (address: string, options: RequestLinkOptions = {}): Promise<RequestLink> =>
      attachRequestLink({ session }, address, options)
    return this.recovery?.prepare({ remote, remoteAddress, session, request }, line, signal) ?? Promise.resolve()
  }

  end(closure: Closure): void {
    if (this.#closure) return
    this.#closure = closure
    if (!this.#lines.isRemaking) this.tellState('connection', this.#remote?.containerId ?? '', 'ended', closure)
    for (const session of [...this.#sessions]) session.onClosed(closure)
    this.#lines.stop(closure)
    this.#incoming.end()
    this.#closed.resolve(closure)
    this.emit('closed', closure)
  }
}
