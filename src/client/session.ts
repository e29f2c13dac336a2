/** Session: links, outgoing and incoming, and the end of both. §2.5 */

import type { Attach } from '../definitions/performatives.ts'
import type { AttachInit } from '../engine/link-endpoint.ts'
import type { ReceiverEndpoint } from '../engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../engine/sender-endpoint.ts'
import type { SessionEndpoint } from '../engine/session-endpoint.ts'
import { AmqpCondition, type AmqpError, ClosedError, type DecodeError } from '../errors.ts'
import { timerDelay } from '../io/delay.ts'
import type { Closure, Connection, IncomingLink, Receiver, Sender, Session } from './api.ts'
import type { Transaction } from './api-transactions.ts'
import { attachFields, checkLink, linkName, windowOf } from './attaching.ts'
import { inspectAs } from './diagnostics/inspect.ts'
import { Emitter } from './emitter.ts'
import type { ClientLink, LinkOwner } from './link.ts'
import { abortable, type Deferred, deferred, handled, throwIfAborted, within } from './operation.ts'
import type {
  Abortable,
  ErrorInit,
  ReceiverOptions,
  SenderOptions,
  SessionOptions,
  SourceInit,
  TargetInit,
} from './options.ts'
import { ClientReceiver } from './receiver.ts'
import type { Recovery, Restorable } from './recovery/recovery.ts'
import { ClientSender } from './sender.ts'
import { IncomingQueue } from './serving/incoming.ts'
import { incomingLink, isGone } from './serving/incoming-link.ts'
import { unanswerable } from './serving/unanswerable.ts'
import { decodeFault, errorFields, optionalFields, orEmpty, sourceFields, targetFields } from './termini.ts'
import type { Coordinator as LocalCoordinator } from './transactions/coordinator.ts'
import type { TransactionController } from './transactions/transaction-controller.ts'

type SessionEvents = { closed: Closure; link: IncomingLink }
type AnyLink = ClientSender | ClientReceiver

/** §4.5.1 */
const NO_COORDINATOR: ErrorInit = { condition: AmqpCondition.notImplemented, description: 'no transactions here' }

/** What a session needs of its connection. */
export interface SessionOwner {
  readonly api: Connection
  touch(): void
  readonly closeMs: number
  readonly settleMs: number
  readonly maxPending: number
  readonly flushed: Set<() => void>
  readonly coordinator: LocalCoordinator | undefined
  /** How a lost connection is made again; none where it is not. */
  readonly recovery: Recovery | undefined
  /** Whether another line would follow this one. */
  readonly survives: boolean
  /** Resolves when the connection is there. @throws {ClosedError} it has ended for good */
  whenUp(options: Abortable): Promise<void>
  /** Why the connection has ended; `undefined` while it lives. */
  readonly closure: Closure | undefined
  forgetSession(session: ClientSession): void
  tellState(scope: 'session' | 'link', name: string, state: 'ended', end: Closure): void
}

export class ClientSession extends Emitter<SessionEvents> implements Session, LinkOwner, Restorable {
  static {
    inspectAs(ClientSession.prototype, 'Session', of => ({
      links: of.#links.size,
      state: of.#closure ? 'ended' : 'open',
    }))
  }

  /** Another one each time the connection is made again. */
  endpoint: SessionEndpoint
  /** It ends with its line, whatever becomes of the connection. */
  isPassing = false
  /** The connection was lost, and is being made again. */
  isSuspended = false
  readonly #owner: SessionOwner
  readonly #links = new Set<AnyLink>()
  readonly #closed = deferred<Closure>()
  #closure: Closure | undefined
  #controller: TransactionController | undefined
  /** Control links of the peer's that came before our begin. */
  readonly #controlLinks: IncomingLink[] = []
  #beginning: Deferred<void> | undefined
  #options: SessionOptions = {}
  #isEnding = false
  /** Who waits to hear what is there again. */
  #restored: Deferred<number> | undefined
  readonly #incoming = new IncomingQueue<IncomingLink>(
    link => {
      if (!this.hears('link')) return false
      this.emit('link', link, error => this.#blame(link, error))
      return true
    },
    link => link.refuse({ condition: AmqpCondition.notFound, description: 'nobody here takes links' }),
  )

  constructor(owner: SessionOwner, endpoint: SessionEndpoint) {
    super()
    this.#owner = owner
    this.endpoint = endpoint
    endpoint.context = this
  }

  get api(): Session {
    return this
  }

  get connection(): Connection {
    return this.#owner.api
  }

  get closed(): Promise<Closure> {
    return this.#closed.promise
  }

  get hasEnded(): boolean {
    if (this.#closure || this.isSuspended) return this.#closure !== undefined
    return this.endpoint.hasEnded || (this.endpoint.connection.hasEnded && !this.survives)
  }

  get recovery(): Recovery | undefined {
    return this.#owner.recovery
  }

  get closure(): Closure | undefined {
    return this.#closure ?? this.#owner.closure
  }

  get closeMs(): number {
    return this.#owner.closeMs
  }

  get settleMs(): number {
    return this.#owner.settleMs
  }

  touch(): void {
    this.#owner.touch()
  }

  /** Sends our begin; with `wait`, waits for the peer's. */
  async begin(options: SessionOptions, wait: boolean): Promise<void> {
    this.checkOpen(options)
    this.#options = options
    this.#sendBegin()
    for (const link of this.#controlLinks.splice(0)) this.#onControlLink(link)
    this.touch()
    if (!wait) return
    this.#beginning = deferred()
    await abortable(this.#beginning, options.signal, () => {
      this.#isEnding = true
      if (this.isSuspended) return this.onClosed({ by: 'local', error: undefined })
      if (this.endpoint.maySend) this.endpoint.end()
      this.touch()
    })
  }

  #sendBegin(): void {
    const { incomingWindow, handleMax, properties } = this.#options
    this.endpoint.begin({ incomingWindow, handleMax, properties: optionalFields(properties) } as never)
  }

  /** The peer has answered our begin; to refuse it, it ends the session in the same breath. */
  onBegun(): void {
    queueMicrotask(() => this.#beginning?.resolve())
    for (const link of [...this.#links]) link.reattach()
    this.#tellRestored()
  }

  // ---- a session that outlives its connection ------------------------------------------------------------------

  /** Whether it goes on over another line. */
  get survives(): boolean {
    return !this.isPassing && this.endpoint.initiated === 'local' && !this.#isEnding && this.#owner.survives
  }

  /** The line is lost: ends what cannot be begun again on another. */
  endMortal(closure: Closure): void {
    if (!this.survives) return this.onClosed(closure)
    for (const link of [...this.#links]) if (!link.survives) link.onClosed(closure)
  }

  suspend(closure: Closure): void {
    const { hasEnded, remoteChannel } = this.endpoint
    if (!this.isSuspended && !hasEnded && remoteChannel >= 0)
      this.tellState('session', String(remoteChannel), 'ended', closure)
    this.isSuspended = true
    this.#controlLinks.length = 0
    for (const link of [...this.#links]) link.suspend(closure)
  }

  /** The connection is there again: begins again; links are attached when the peer has answered. */
  resume(endpoint: SessionEndpoint): void {
    this.endpoint = endpoint
    endpoint.context = this
    this.isSuspended = false
    try {
      this.#sendBegin()
    } catch (error) {
      return this.onClosed({ by: 'local', error: error as AmqpError })
    }
    this.touch()
  }

  whenRestored(): Promise<number> {
    this.#restored = deferred()
    return this.#restored.promise
  }

  /** A link is attached again, or has ended. */
  #tellRestored(): void {
    const links = [...this.#links]
    if (this.#closure) this.#restored?.resolve(-1)
    else if (!links.some(link => link.isDown)) this.#restored?.resolve(links.length)
  }

  async #whenUp(options: Abortable): Promise<void> {
    await this.#owner.whenUp(options)
    this.checkOpen(options)
  }

  /** Whether nothing can be attached just now. */
  get #isDown(): boolean {
    return this.isSuspended || this.endpoint.connection.hasEnded
  }

  async sender(target: string | TargetInit | null, options: SenderOptions = {}): Promise<Sender> {
    this.checkOpen(options)
    checkLink('sender', target, options)
    if (this.#isDown) await this.#whenUp(options)
    const sender = this.newSender(this.endpoint.sender(options.name ?? linkName(target)), options)
    sender.relays = target === null
    this.attach(sender, {
      ...attachFields(options),
      sndSettleMode: options.settle ?? 'mixed',
      source: sourceFields(options.source ?? {}),
      target: targetFields(target),
    })
    await sender.attached(options)
    return sender
  }

  async receiver(source: string | SourceInit | null, options: ReceiverOptions = {}): Promise<Receiver> {
    this.checkOpen(options)
    checkLink('receiver', source, options)
    if (this.#isDown) await this.#whenUp(options)
    const receiver = this.newReceiver(this.endpoint.receiver(options.name ?? linkName(source)), options)
    this.attach(receiver, {
      ...attachFields(options),
      sndSettleMode: options.sndSettleMode,
      rcvSettleMode: options.settle,
      source: sourceFields(source),
      target: targetFields(options.target ?? {}),
    })
    await receiver.attached(options)
    return receiver
  }

  async transaction(options: Parameters<Session['transaction']>[0] = {}): Promise<Transaction> {
    this.checkOpen(options)
    if (!this.#controller) {
      const { TransactionController } = await import('./transactions/transaction-controller.ts')
      this.checkOpen(options)
      this.#controller ??= new TransactionController(this)
    }
    if (this.#isDown) await this.#whenUp(options)
    return this.#controller.declare(options)
  }

  newSender(endpoint: SenderEndpoint, options: SenderOptions): ClientSender {
    const { unsettled, maxPending = this.#owner.maxPending } = options
    endpoint.keepsPayload = this.recovery?.keepsPayload === true || unsettled !== undefined
    return this.#adopt(new ClientSender(this, endpoint, maxPending, unsettled))
  }

  newReceiver(endpoint: ReceiverEndpoint, options: ReceiverOptions): ClientReceiver {
    const window = windowOf(options)
    endpoint.isStreaming = options.streaming === true
    endpoint.useWindow(window)
    return this.#adopt(new ClientReceiver(this, endpoint, options.unsettled))
  }

  #adopt<L extends AnyLink>(link: L): L {
    this.#links.add(link)
    return link
  }

  /** @param own  of an answer: what the application has put into it */
  attach(link: AnyLink, init: AttachInit, own?: AttachInit): void {
    // Work under a transaction does not outlive its control link, nor does that.
    const mayReattach = this.survives || link.takesUp
    if (mayReattach && link.endpoint.initiated === 'local' && init.target?.type !== 'coordinator') link.keep(init)
    try {
      link.takeUp()
      link.endpoint.attach(init)
    } catch (error) {
      this.#links.delete(link)
      link.terminus?.onLeft({ by: 'local', error: undefined })
      // Its name is free again.
      this.endpoint.releaseLink(link.endpoint)
      if (own === undefined) throw error
      const fault = unanswerable(link.endpoint, own, error)
      this.touch()
      throw fault
    }
    this.touch()
  }

  /** @throws {ClosedError} it has ended, or is being ended */
  checkOpen(options: Abortable): void {
    throwIfAborted(options)
    // The engine knows first: what it tells in one turn, listeners hear in order.
    const { label, connection, isEnding } = this.endpoint
    if (this.hasEnded || (isEnding && !this.isSuspended))
      throw new ClosedError(label, 'session', this.#closure ? this.#closure.error : connection.cause, this.#closure?.by)
  }

  incoming(): AsyncIterable<IncomingLink, undefined> {
    return this.#incoming
  }

  protected override get eventNames(): readonly string[] {
    return ['closed', 'link']
  }

  protected override onListener(type: keyof SessionEvents): void {
    if (type === 'link') this.#incoming.offer()
  }

  /** The peer's attach: the answer to ours, or a link to be answered. */
  onAttached(endpoint: SenderEndpoint | ReceiverEndpoint, attach: Attach): void {
    const link = endpoint.context as AnyLink | undefined
    if (link) {
      link.onAttached(orEmpty(attach.properties))
      return this.#tellRestored()
    }
    const incoming = incomingLink(this, endpoint, attach)
    if (attach.target?.type !== 'coordinator') this.#incoming.push(incoming, () => isGone(endpoint))
    else if (this.endpoint.maySend) this.#onControlLink(incoming)
    else this.#controlLinks.push(incoming)
  }

  /** Not the application's to take: a coordinator answers in states that no application can. §4.2 */
  #onControlLink(link: IncomingLink): void {
    if (this.coordinator) this.coordinator.serve(link)
    else link.refuse(NO_COORDINATOR)
  }

  /** Whoever took the link could not read what came by it: the link ends, and its peer hears why. §2.6.5 */
  #blame(of: IncomingLink, fault: DecodeError): void {
    const error = decodeFault(fault)
    of.refuse(error)
    for (const link of this.#links)
      if (link.name === of.name && link.endpoint.role !== of.remoteRole) void handled(link.close({ error }))
  }

  async end(options: Abortable & { error?: ErrorInit } = {}): Promise<void> {
    throwIfAborted(options)
    if (this.#closure) return
    this.#isEnding = true
    if (!options.error && !this.isSuspended) await within(this.whenSettled(), this.settleMs, options.signal)
    if (this.#closure) return
    if (this.isSuspended) return this.onClosed({ by: 'local', error: undefined })
    if (this.endpoint.maySend) {
      try {
        this.endpoint.end(options.error && errorFields(options.error))
      } catch {
        // Ending already: there is only the waiting left.
      }
    }
    this.touch()
    const ended = deferred<void>()
    this.closed.then(() => ended.resolve())
    const timer = setTimeout(() => {
      this.endpoint.abandon()
      this.touch()
      this.onClosed({ by: 'local', error: undefined })
    }, timerDelay(this.closeMs))
    this.closed.then(() => clearTimeout(timer))
    await abortable(ended, options.signal, () => {
      this.endpoint.abandon()
      this.touch()
    })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.end()
  }

  /** The session has ended, or the connection under it has. */
  onClosed(closure: Closure): void {
    if (this.#closure) return
    this.#closure = closure
    this.#owner.forgetSession(this)
    // It was told already, unless it goes down with the connection.
    const { hasEnded, remoteChannel } = this.endpoint
    if (!this.isSuspended && !hasEnded && remoteChannel >= 0)
      this.tellState('session', String(remoteChannel), 'ended', closure)
    for (const link of [...this.#links]) link.onClosed(closure)
    this.#beginning?.reject(
      closure.error ?? new ClosedError(`${this.endpoint.label}, while it was being begun,`, 'session'),
    )
    this.#beginning?.promise.catch(() => {})
    this.#tellRestored()
    this.#incoming.end()
    this.#closed.resolve(closure)
    this.emit('closed', closure)
  }

  get links(): ReadonlySet<AnyLink> {
    return this.#links
  }

  /** Before a close: resolves when nothing that was sent waits for its outcome, and gives back what nobody has taken. */
  async whenSettled(): Promise<void> {
    await Promise.all([...this.#links].map(link => link.whenSettled()))
    for (const link of this.#links) if (link instanceof ClientReceiver) link.releaseBuffered()
  }

  forget(link: ClientLink<never>): void {
    this.#links.delete(link as unknown as AnyLink)
    this.#tellRestored()
  }

  tellState(scope: 'session' | 'link', name: string, state: 'ended', end: Closure): void {
    this.#owner.tellState(scope, name, state, end)
  }

  get coordinator(): LocalCoordinator | undefined {
    return this.#owner.coordinator
  }

  get flushed(): Set<() => void> {
    return this.#owner.flushed
  }
}
