/**
 * A connection that is used before it is open: what is asked for leaves in one flight with the open. Where the peer does
 * not take that, a second connection is made without, and what was asked for is asked again there. §2.4.2 D-047
 *
 * Before the peer's open nobody can hold a session or a link, only promises of them: these are what is carried over.
 */

import { type AmqpError, ClosedError, EncodeError, SaslError, TransportError, UsageError } from '../errors.ts'
import { timerDelay } from '../io/delay.ts'
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
import type { ClientConnection } from './connection.ts'
import { inspectAs } from './inspect.ts'
import { abortable, deferred, handled } from './operation.ts'
import type {
  Abortable,
  ErrorInit,
  ReceiverOptions,
  RequestLinkOptions,
  SenderOptions,
  SessionOptions,
  SourceInit,
  TargetInit,
} from './options.ts'

type Events = { closed: Closure; session: IncomingSession }

/** Silence after which a peer is taken to hang on a pipelined open, in milliseconds. */
const SILENCE_MS = 2000

/** Peers that were asked in vain, `host:port`; the oldest are forgotten. */
const refusing = new Set<string>()
const MAX_REFUSING = 256

/** Whether a peer is known not to take a pipelined open. */
export const refusesPipelining = (peer: string): boolean => refusing.has(peer)

function remember(peer: string): void {
  refusing.add(peer)
  for (const oldest of refusing) if (refusing.size > MAX_REFUSING) refusing.delete(oldest)
}

/** How a connection is made again, without pipelining. */
export interface SecondTry {
  /** `host:port` */
  readonly peer: string
  dial(signal: AbortSignal): Promise<ClientConnection>
}

export class PipelinedConnection implements Connection {
  static {
    inspectAs(PipelinedConnection.prototype, 'Connection', of => ({
      remote: of.#opened?.remote.containerId,
      state: of.#opened ? 'opened' : 'opening',
    }))
  }

  readonly opened: Promise<void>
  readonly closed: Promise<Closure>
  readonly #first: ClientConnection
  readonly #pipelines: boolean
  /** Fires when it is closed from this end before it is open. */
  readonly #abort = new AbortController()
  readonly #settled: Promise<ClientConnection>
  /** The one that is open. */
  #opened: ClientConnection | undefined
  #refed = true
  /** The first session, which may be begun early, is another than that of the links. */
  #hasOwnSession = false
  #hasShared = false

  /**
   * @param first  not launched yet
   * @param pipelines  false for a peer that is known to refuse: everything then waits for the open
   * @param second  what to do when it is refused; `undefined` where there is no other way to the peer
   */
  constructor(first: ClientConnection, pipelines: boolean, second: SecondTry | undefined) {
    this.#first = first
    this.#pipelines = pipelines
    first.api = this
    first.line.launch(pipelines)
    this.#settled = handled(this.#settle(pipelines ? second : undefined))
    this.opened = handled(this.#settled.then(() => {}))
    this.closed = this.#settled.then(
      connection => connection.closed,
      error => this.#unopened(error),
    )
  }

  async #settle(second: SecondTry | undefined): Promise<ClientConnection> {
    try {
      if (second) await this.#answered()
      else await this.#first.opened
      return this.#become(this.#first)
    } catch (error) {
      if (!second || this.#abort.signal.aborted || !isRefusal(error)) throw error
    }
    const connection = await second.dial(this.#abort.signal)
    connection.api = this
    remember(second.peer)
    return this.#become(connection)
  }

  #become(connection: ClientConnection): ClientConnection {
    this.#opened = connection
    if (!this.#refed) connection.unref()
    return connection
  }

  /** Waits for the peer's open, as long as it says something. */
  async #answered(): Promise<void> {
    const { line } = this.#first
    const look = (): void => {
      const left = line.heardAt + SILENCE_MS - performance.now()
      if (left <= 0) line.destroy(new TransportError(`a pipelined open: nothing from the peer within ${SILENCE_MS} ms`))
      else timer = setTimeout(look, timerDelay(left))
    }
    let timer = setTimeout(look, timerDelay(SILENCE_MS))
    try {
      await line.opened
    } finally {
      clearTimeout(timer)
    }
  }

  async #unopened(error: unknown): Promise<Closure> {
    const { by, error: why } = await this.#first.closed
    return this.#abort.signal.aborted ? { by: 'local', error: undefined } : { by, error: (error as AmqpError) ?? why }
  }

  /** The open connection. Cancellation stops the waiting. */
  #wait({ signal }: Abortable): Promise<ClientConnection> {
    const waiting = deferred<ClientConnection>()
    this.#settled.then(waiting.resolve, waiting.reject)
    return abortable(waiting, signal, () => {})
  }

  /** Asks the first connection, and, where that is refused for its pipelining, the second. */
  async #ask<T>(isEarly: boolean, options: Abortable, what: (of: ClientConnection) => Promise<T>): Promise<T> {
    options.signal?.throwIfAborted()
    if (this.#opened) return what(this.#opened)
    if (!isEarly || !this.#pipelines) return what(await this.#wait(options))
    try {
      return await what(this.#first)
    } catch (error) {
      if (options.signal?.aborted || error instanceof UsageError || error instanceof EncodeError) throw error
      const opened = await this.#wait(options)
      if (opened === this.#first) throw error
      return what(opened)
    }
  }

  session(options: SessionOptions = {}): Promise<Session> {
    return this.#begin(options, connection => connection.session(options))
  }

  transaction(options: Abortable = {}): Promise<Transaction> {
    return this.#ask(false, options, connection => connection.transaction(options))
  }

  request(address: string, options: RequestLinkOptions = {}): Promise<RequestLink> {
    return this.#begin(options, connection => connection.request(address, options))
  }

  #begin<T>(options: Abortable, what: (of: ClientConnection) => Promise<T>): Promise<T> {
    // Every peer has one channel; whether it has two is in its open. §2.4.1
    const isEarly = !this.#hasOwnSession && !this.#hasShared
    this.#hasOwnSession = true
    return this.#ask(isEarly, options, what)
  }

  sender(target: string | TargetInit | null, options: SenderOptions = {}): Promise<Sender> {
    return this.#link(options, connection => connection.sender(target, options))
  }

  receiver(source: string | SourceInit | null, options: ReceiverOptions = {}): Promise<Receiver> {
    return this.#link(options, connection => connection.receiver(source, options))
  }

  #link<T>(options: Abortable, what: (of: ClientConnection) => Promise<T>): Promise<T> {
    const isEarly = this.#hasShared || !this.#hasOwnSession
    this.#hasShared ||= isEarly
    return this.#ask(isEarly, options, what)
  }

  on<K extends keyof Events>(type: K, listener: (event: Events[K]) => unknown, options: Abortable = {}): Disposable {
    if (this.#opened) return this.#opened.on(type, listener, options)
    const off = new AbortController()
    const signal = options.signal ? AbortSignal.any([options.signal, off.signal]) : off.signal
    this.#settled.then(
      connection => connection.on(type, listener, { signal }),
      () => this.closed.then(closure => type === 'closed' && !signal.aborted && listener(closure as Events[K])),
    )
    return { [Symbol.dispose]: () => off.abort() }
  }

  incoming(): AsyncIterable<IncomingSession, undefined> {
    return this.#opened?.incoming() ?? this.#incoming()
  }

  async *#incoming(): AsyncGenerator<IncomingSession, undefined> {
    const opened = await this.#settled.catch(() => undefined)
    if (opened) yield* opened.incoming()
    return undefined
  }

  get #current(): ClientConnection {
    return this.#opened ?? this.#first
  }

  get remote(): RemoteOpen {
    return this.#current.remote
  }

  get id(): number {
    return this.#current.id
  }

  get remoteAddress(): string | undefined {
    return this.#current.remoteAddress
  }

  get identity(): string | undefined {
    return this.#current.identity
  }

  get peerCertificate(): Uint8Array | undefined {
    return this.#current.peerCertificate
  }

  get stats(): ConnectionStats {
    return this.#current.stats
  }

  ref(): void {
    this.#refed = true
    this.#current.ref()
  }

  unref(): void {
    this.#refed = false
    this.#current.unref()
  }

  async close(options: Abortable & { error?: ErrorInit } = {}): Promise<void> {
    options.signal?.throwIfAborted()
    if (this.#opened) return this.#opened.close(options)
    this.#abort.abort(new ClosedError('connection', 'connection', undefined, 'local'))
    await this.#first.close(options)
    // It may have become open just now, the second one too.
    await this.#settled.then(
      connection => connection.close(options),
      () => {},
    )
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/**
 * Whether another try may help: not when the peer has judged the identity, since asking again shows the secret again and
 * counts as a second failure, and not when the mistake is here.
 */
function isRefusal(error: unknown): boolean {
  if (error instanceof SaslError) return error.outcome !== undefined && error.outcome !== 'auth'
  return !(error instanceof UsageError || error instanceof EncodeError)
}
