/**
 * The line of a connection, one after another where it is replaced: when it was lost and is made again, or when the peer
 * does not take a pipelined open. Until there is one that is open, what is begun waits. §2.4 §2.4.2
 */

import { type AmqpError, ClosedError, RemoteError, TransportError } from '../errors.ts'
import type { Closure } from './api.ts'
import { type Carrier, Line, type LineOwner } from './line.ts'
import { type Deferred, deferred, handled, shared } from './operation.ts'
import type { Abortable, ConnectionOptions } from './options.ts'
import { isRefusal, remember, type SecondTry, watch } from './pipeline.ts'
import type { Recovery, RecoveryOwner } from './recovery/recovery.ts'

/** What the lines need of their connection. */
export interface LinesOwner extends LineOwner {
  /** The line is lost, and another will be made: suspends what can go on, and ends what cannot. */
  suspend(closure: Closure): void
  /** Another line is open: begins again what was suspended. @param isBack  whether the connection was open before */
  resume(isBack: boolean): void
  /** A line that was to replace another is lost: ends what was begun on it. */
  endPassing(closure: Closure): void
  /** What is done on a line before anything is resumed there. */
  prepare(line: Line, signal: AbortSignal): Promise<void>
  /** It is over for good. */
  end(closure: Closure): void
}

/** Closed from here. */
const LEFT: Closure = /* @__PURE__ */ Object.freeze({ by: 'local', error: undefined })

export class Lines implements RecoveryOwner {
  line: Line
  /** The line is being replaced. */
  isRemaking = false
  /** It is being closed from this end, so that a loss is its end. */
  isLeaving = false
  /** What is begun before the peer's open goes ahead of that. */
  pipelines = false
  /** Resolves when both ends have opened for the first time. */
  readonly opened: Promise<void>
  readonly #opened = deferred<void>()
  readonly #owner: LinesOwner
  readonly #options: ConnectionOptions
  readonly #containerId: string
  readonly #recovery: Recovery | undefined
  #hasOpened = false
  /** Until it is open, and while it is being made again. */
  #up: Deferred<void> | undefined = quietly()
  #second: SecondTry | undefined
  /** Fires when it is over. */
  readonly #over = new AbortController()
  #refed = true

  /** @throws {UsageError} what cannot be opened with; the transport is left to the caller */
  constructor(
    owner: LinesOwner,
    carrier: Carrier,
    options: ConnectionOptions,
    containerId: string,
    recovery: Recovery | undefined,
  ) {
    this.#owner = owner
    this.#options = options
    this.#containerId = containerId
    this.#recovery = recovery
    this.line = new Line(carrier, options, containerId, owner)
    this.opened = handled(this.#opened.promise)
  }

  /** Starts without waiting. See `ClientConnection.pipeline`. */
  pipeline(pipelines: boolean, second: SecondTry | undefined): void {
    this.pipelines = pipelines
    this.#second = pipelines ? second : undefined
    this.line.launch(pipelines)
    if (this.#second) watch(this.line)
  }

  /** Whether there is none that is open. */
  get isDown(): boolean {
    return this.#up !== undefined
  }

  /** Resolves when there is one that is open. @throws {ClosedError} it is over  Cancellation: stops waiting */
  async whenUp({ signal }: Abortable): Promise<void> {
    // What the engine knows and has not told it tells in this turn.
    if (!this.#up) await undefined
    while (this.#up) await shared(this.#up.promise, signal)
  }

  /** Whether another line would follow this one, as far as can be told before it ends. */
  get survives(): boolean {
    if (this.isLeaving) return false
    return this.#hasOpened ? this.#recovery?.isArmed === true : this.#second !== undefined
  }

  ref(): void {
    this.#refed = true
    this.#recovery?.ref()
    this.line.ref()
  }

  unref(): void {
    this.#refed = false
    this.#recovery?.unref()
    this.line.unref()
  }

  /** The peer's open has come. */
  onOpened(): void {
    if (!this.isRemaking) this.#isUp()
  }

  #isUp(): void {
    const up = this.#up
    this.#up = undefined
    this.isRemaking = false
    this.#hasOpened = true
    this.#recovery?.opened()
    this.#opened.resolve()
    up?.resolve()
  }

  /** The line has ended. */
  onClosed(closure: Closure): void {
    // Of an attempt that failed `reopen` tells.
    if (this.isRemaking) return this.#owner.endPassing(closure)
    const end = (how: Closure): void => this.#owner.end(how)
    if (!this.survives || this.line.isFaulty) return end(this.isLeaving && !this.#hasOpened ? LEFT : closure)
    if (!this.#hasOpened) return isRefusal(closure.error) ? void this.#tryAgain(closure) : end(closure)
    if (closure.by === 'local' || !this.#recovery?.mayMend(closure.error)) return end(closure)
    this.#lose(closure)
    this.#recovery.lost(this, closure.error)
  }

  /** Drops the line, for another to follow. See `Connection.reconnect`. */
  remake(why = 'dropped from this end, to be made again'): void {
    if (this.isRemaking) return
    const error = new TransportError(why)
    this.#recovery?.plan(error)
    this.line.destroy(error)
  }

  #lose(closure: Closure): void {
    this.isRemaking = true
    this.#up ??= quietly()
    this.#owner.suspend(closure)
  }

  /** Everything is asked once more, on a line without pipelining. */
  async #tryAgain(closure: Closure): Promise<void> {
    const { peer, dial } = this.#second as SecondTry
    this.#lose(closure)
    try {
      await this.reopen(await dial(this.#over.signal), this.#over.signal)
      remember(peer)
    } catch (error) {
      this.giveUp(error as AmqpError)
    }
  }

  async reopen(carrier: Carrier, signal: AbortSignal): Promise<void> {
    try {
      signal.throwIfAborted()
      this.line = new Line(carrier, this.#options, this.#containerId, this.#owner)
    } catch (error) {
      carrier.transport.destroy()
      throw error
    }
    const { line } = this
    const isBack = this.#hasOpened
    if (this.#refed) line.ref()
    else line.unref()
    try {
      await line.start(signal)
      if (isBack) await this.#owner.prepare(line, signal)
      signal.throwIfAborted()
      if (line.closure) throw line.closure.error ?? new ClosedError('connection', 'connection', undefined, 'remote')
    } catch (error) {
      line.destroy()
      throw error
    }
    this.#isUp()
    this.#owner.resume(isBack)
  }

  giveUp(error: AmqpError): void {
    const by = error instanceof RemoteError ? 'remote' : error instanceof TransportError ? 'transport' : 'local'
    this.#owner.end({ by, error })
  }

  /** It is over. */
  stop({ error, by }: Closure): void {
    this.#over.abort(error)
    if (this.#hasOpened) this.#recovery?.stop(error)
    this.#opened.reject(error ?? new ClosedError('connection, before it was open,', 'connection'))
    this.#up?.reject(new ClosedError('connection', 'connection', error, by))
    this.#up = undefined
  }
}

/** Nobody may be waiting for it. */
function quietly(): Deferred<void> {
  const waiting = deferred<void>()
  void handled(waiting.promise)
  return waiting
}
