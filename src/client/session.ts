/** Session: links, outgoing and incoming, and the end of both. §2.5 */

import type { Attach } from '../definitions/performatives.ts'
import type { Source, Target } from '../definitions/terminus.ts'
import type { AttachInit, LinkEndpoint } from '../engine/link-endpoint.ts'
import type { ReceiverEndpoint } from '../engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../engine/sender-endpoint.ts'
import type { SessionEndpoint } from '../engine/session-endpoint.ts'
import { AmqpCondition, ClosedError, type DecodeError, UsageError } from '../errors.ts'
import { timerDelay } from '../io/delay.ts'
import type { Closure, Connection, IncomingLink, Receiver, Sender, Session } from './api.ts'
import type { Transaction } from './api-transactions.ts'
import type { Coordinator as LocalCoordinator } from './coordinator.ts'
import { Emitter } from './emitter.ts'
import { IncomingQueue } from './incoming.ts'
import { inspectAs } from './inspect.ts'
import { answeredEnds, keeperOf, type TerminusKeeper } from './keeper.ts'
import type { ClientLink, LinkOwner } from './link.ts'
import { abortable, type Deferred, deferred, handled, throwIfAborted, within } from './operation.ts'
import type {
  Abortable,
  ErrorInit,
  LinkReply,
  ReceiverOptions,
  SenderOptions,
  SessionOptions,
  SourceInit,
  TargetInit,
} from './options.ts'
import { ClientReceiver } from './receiver.ts'
import { ClientSender } from './sender.ts'
import {
  decodeFault,
  endsOf,
  errorFields,
  linkName,
  optionalFields,
  orEmpty,
  sourceFields,
  sourceInit,
  targetFields,
  targetInit,
} from './termini.ts'
import { TransactionController } from './transaction-controller.ts'
import { unanswerable } from './unanswerable.ts'

type SessionEvents = { closed: Closure; link: IncomingLink }
type AnyLink = ClientSender | ClientReceiver

/** Deliveries that a receiver keeps coming, unless said otherwise. */
const DEFAULT_WINDOW = 100

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
  /** Why the connection has ended; `undefined` while it lives. */
  readonly closure: Closure | undefined
  forgetSession(session: ClientSession): void
  tellState(scope: 'session' | 'link', name: string, state: 'ended', end: Closure): void
}

export class ClientSession extends Emitter<SessionEvents> implements Session, LinkOwner {
  static {
    inspectAs(ClientSession.prototype, 'Session', of => ({
      links: of.#links.size,
      state: of.#closure ? 'ended' : 'open',
    }))
  }

  readonly endpoint: SessionEndpoint
  readonly #owner: SessionOwner
  readonly #links = new Set<AnyLink>()
  readonly #closed = deferred<Closure>()
  #closure: Closure | undefined
  #controller: TransactionController | undefined
  /** Control links of the peer's that came before our begin. */
  readonly #controlLinks: IncomingLink[] = []
  #beginning: Deferred<void> | undefined
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
    return this.#closure !== undefined || this.endpoint.hasEnded || this.endpoint.connection.hasEnded
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
    this.#checkOpen(options)
    this.endpoint.begin({
      incomingWindow: options.incomingWindow,
      handleMax: options.handleMax,
      properties: optionalFields(options.properties),
    } as never)
    for (const link of this.#controlLinks.splice(0)) this.#onControlLink(link)
    this.touch()
    if (!wait) return
    this.#beginning = deferred()
    await abortable(this.#beginning, options.signal, () => {
      if (this.endpoint.maySend) this.endpoint.end()
      this.touch()
    })
  }

  /** The peer has answered our begin; to refuse it, it ends the session in the same breath. */
  onBegun(): void {
    queueMicrotask(() => this.#beginning?.resolve())
  }

  async sender(target: string | TargetInit | null, options: SenderOptions = {}): Promise<Sender> {
    this.#checkOpen(options)
    checkTerminus('sender', 'target', target)
    const sender = this.#newSender(this.endpoint.sender(options.name ?? linkName(target)), options)
    sender.relays = target === null
    this.#attach(sender, {
      ...attachFields(options),
      sndSettleMode: options.settle ?? 'mixed',
      source: sourceFields(options.source ?? {}),
      target: targetFields(target),
    })
    await sender.attached(options)
    return sender
  }

  async receiver(source: string | SourceInit | null, options: ReceiverOptions = {}): Promise<Receiver> {
    this.#checkOpen(options)
    checkTerminus('receiver', 'source', source)
    const receiver = this.#newReceiver(this.endpoint.receiver(options.name ?? linkName(source)), options)
    this.#attach(receiver, {
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
    this.#checkOpen(options)
    this.#controller ??= new TransactionController(this)
    return this.#controller.declare(options)
  }

  #newSender(endpoint: SenderEndpoint, options: SenderOptions): ClientSender {
    return this.#adopt(new ClientSender(this, endpoint, options.maxPending ?? this.#owner.maxPending))
  }

  #newReceiver(endpoint: ReceiverEndpoint, options: ReceiverOptions): ClientReceiver {
    const { credit } = options
    checkCredit(credit)
    endpoint.isStreaming = options.streaming === true
    const window = credit === 'manual' ? undefined : (credit?.window ?? (options.streaming ? 1 : DEFAULT_WINDOW))
    endpoint.useWindow(window)
    return this.#adopt(new ClientReceiver(this, endpoint))
  }

  #adopt<L extends AnyLink>(link: L): L {
    this.#links.add(link)
    return link
  }

  /** @param own  of an answer: what the application has put into it */
  #attach(link: AnyLink, init: AttachInit, own?: AttachInit): void {
    try {
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

  #checkOpen(options: Abortable): void {
    throwIfAborted(options)
    // The engine knows first: what it tells in one turn, listeners hear in order.
    const { label, connection } = this.endpoint
    if (this.hasEnded)
      throw new ClosedError(label, 'session', this.#closure ? this.#closure.error : connection.cause, this.#closure?.by)
  }

  incoming(): AsyncIterable<IncomingLink, undefined> {
    return this.#incoming
  }

  protected override get eventNames(): readonly string[] {
    return ['closed', 'link']
  }

  override on<K extends keyof SessionEvents>(
    type: K,
    listener: (event: SessionEvents[K]) => unknown,
    options?: Abortable,
  ): Disposable {
    const subscription = super.on(type, listener, options)
    if (type === 'link') this.#incoming.offer()
    return subscription
  }

  /** The peer's attach: the answer to ours, or a link to be answered. */
  onAttached(endpoint: SenderEndpoint | ReceiverEndpoint, attach: Attach): void {
    const link = endpoint.context as AnyLink | undefined
    if (link) return link.onAttached(orEmpty(attach.properties))
    const incoming = this.#incomingLink(endpoint, attach)
    if (attach.target?.type !== 'coordinator') this.#incoming.push(incoming, () => endpoint.hasEnded)
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

  #incomingLink(endpoint: SenderEndpoint | ReceiverEndpoint, attach: Attach): IncomingLink {
    const keeper = keeperOf(this.connection)
    const known = keeper?.known(endpoint)
    const base = {
      session: this,
      name: attach.name,
      resumes: known !== undefined,
      source: sourceInit(attach.source ?? (known?.source as Source | undefined)),
      target: targetInit(attach.target ?? (known?.target as Target | undefined)),
      properties: orEmpty(attach.properties),
      desiredCapabilities: attach.desiredCapabilities,
      sndSettleMode: attach.sndSettleMode,
      rcvSettleMode: attach.rcvSettleMode,
      refuse: (error: ErrorInit) => {
        if (endpoint.state === 'ATTACH_RCVD' && !this.hasEnded) endpoint.refuse(errorFields(error))
        this.touch()
      },
    }
    if (endpoint.role === 'receiver')
      return {
        ...base,
        remoteRole: 'sender',
        accept: async (options: ReceiverOptions & { reply?: LinkReply } = {}) => {
          this.#checkIncoming(endpoint, options)
          if (keeper) await this.#prepared(keeper, endpoint, attach, options)
          const receiver = this.#newReceiver(endpoint, options)
          this.#accept(receiver, attach, options, {
            sndSettleMode: attach.sndSettleMode,
            rcvSettleMode: options.settle ?? attach.rcvSettleMode,
          })
          return receiver
        },
      }
    return {
      ...base,
      remoteRole: 'receiver',
      accept: async (options: SenderOptions & { reply?: LinkReply } = {}) => {
        this.#checkIncoming(endpoint, options)
        if (keeper) await this.#prepared(keeper, endpoint, attach, options)
        const sender = this.#newSender(endpoint, options)
        const sndSettleMode = options.settle ?? attach.sndSettleMode
        this.#accept(sender, attach, options, { sndSettleMode, rcvSettleMode: attach.rcvSettleMode })
        return sender
      },
    }
  }

  #checkIncoming(endpoint: LinkEndpoint, options: Abortable): void {
    this.#checkOpen(options)
    if (endpoint.hasEnded) throw new ClosedError(endpoint.label, 'link', undefined, 'remote')
  }

  async #prepared(keeper: TerminusKeeper, endpoint: LinkEndpoint, attach: Attach, options: object): Promise<void> {
    await keeper.prepare(endpoint, endsOf(attach, options))
    this.#checkIncoming(endpoint, options)
  }

  /** Attaches our end of a link that the peer has initiated; both termini are echoed unless the reply says otherwise. */
  #accept(
    link: AnyLink,
    attach: Attach,
    options: (SenderOptions | ReceiverOptions) & { reply?: LinkReply },
    modes: AttachInit,
  ): void {
    const { reply = {} } = options
    const own: AttachInit = {
      ...attachFields(options),
      ...modes,
      source: reply.source ? sourceFields(reply.source) : undefined,
      target: reply.target ? targetFields(reply.target) : undefined,
      properties: optionalFields(reply.properties ?? options.properties),
      offeredCapabilities: reply.offeredCapabilities,
    }
    this.#attach(link, { ...own, ...answeredEnds(link, endsOf(attach, options), options) }, own)
    link.onAttached(orEmpty(attach.properties))
  }

  async end(options: Abortable & { error?: ErrorInit } = {}): Promise<void> {
    throwIfAborted(options)
    if (this.#closure) return
    if (!options.error) await within(this.whenSettled(), this.settleMs, options.signal)
    if (this.#closure) return
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
    if (!hasEnded && remoteChannel >= 0) this.tellState('session', String(remoteChannel), 'ended', closure)
    for (const link of [...this.#links]) link.onClosed(closure)
    this.#beginning?.reject(
      closure.error ?? new ClosedError(`${this.endpoint.label}, while it was being begun,`, 'session'),
    )
    this.#beginning?.promise.catch(() => {})
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

const attachFields = (options: SenderOptions | ReceiverOptions): AttachInit => ({
  properties: optionalFields(options.properties),
  maxMessageSize: options.maxMessageSize,
  desiredCapabilities: options.desiredCapabilities,
})

function checkTerminus(who: string, what: string, terminus: unknown): void {
  if (typeof terminus === 'string' || typeof terminus === 'object') return
  throw new UsageError(`a ${who} needs a ${what}: an address, an object, or null for none; not ${typeof terminus}`)
}

function checkCredit(credit: unknown): void {
  if (credit === undefined || credit === 'manual') return
  const window = (credit as { window?: unknown } | null)?.window
  if (Number.isInteger(window) && (window as number) > 0 && (window as number) <= 0x7fffffff) return
  throw new UsageError("credit is 'manual' or { window: n }, n from 1 to 2^31 − 1")
}
