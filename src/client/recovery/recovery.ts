/**
 * Recovery: makes a lost connection again, host after host, after waits that grow until one lives long enough.
 *
 * It only dials, waits, and tells. What becomes of what was in flight each session and link decides for itself when it is
 * suspended, and when it is attached again; the README has the table.
 */

import { AmqpError, type RemoteError, TransportError } from '../../errors.ts'
import { timerDelay } from '../../io/delay.ts'
import { raise } from '../emitter.ts'
import type { Carrier, Line } from '../line.ts'
import { deferred, shared } from '../operation.ts'
import { isRedirect } from '../redirect.ts'
import {
  type BackOff,
  backOffOf,
  type ConnectionState,
  isLasting,
  type ReconnectOptions,
  type ReopenedConnection,
  waitBefore,
} from './back-off.ts'

/** A way to the peer. */
export interface Route {
  /** Reaches it; the process need not live for it unless `isRefed`. Cancellation drops what there is. */
  dial(signal: AbortSignal | undefined, isRefed: boolean): Promise<Carrier>
  /** Where a redirect leads from here; `undefined` where none is followed. @throws {SaslError} not with this secret */
  redirected(error: RemoteError): Route | undefined
}

/** What a recovery needs of its connection. */
export interface RecoveryOwner {
  /** Opens the connection over a carrier. @throws why that failed; the carrier is dropped then */
  reopen(carrier: Carrier, signal: AbortSignal): Promise<void>
  /** Nothing more is tried. */
  giveUp(error: AmqpError): void
}

/** What is restored on a new line. */
export interface Restorable {
  /** Resolves when it is known of all its links whether they are attached again. @returns how many; −1: it has ended */
  whenRestored(): Promise<number>
}

export class Recovery {
  readonly options: ReconnectOptions
  readonly backOff: BackOff
  /** Whether the first connection has been made. */
  isArmed = false
  readonly #routes: readonly Route[]
  /** Redirects in a row that are followed. */
  readonly #redirects: number
  /** Attempts since the last connection that lived long enough. */
  #attempt = 0
  #openedAt = 0
  /** What the line is dropped with, where another is wanted. */
  #plan: AmqpError | undefined
  /** The line is being changed as wanted: it has not failed. */
  #isChanging = false
  /** Where the connection that was lost led to, as far as redirects know. */
  #last: Route
  #abort: AbortController | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #refed = true

  /** @param routes  at least one  @throws {UsageError} an option is out of range */
  constructor(options: ReconnectOptions, routes: readonly [Route, ...Route[]], redirects: number) {
    this.options = options
    this.backOff = backOffOf(options)
    this.#routes = routes
    this.#redirects = redirects
    this.#last = routes[0]
  }

  /** Whether payload is kept until its outcome is known, since it may have to be sent again. */
  get keepsPayload(): boolean {
    return this.options.resume === true || this.options.resend === true
  }

  /** From now on a loss is mended. @param route  by which the first connection is made */
  arm(route: Route): void {
    this.#last = route
    this.isArmed = true
    if (this.#openedAt > 0) this.opened()
  }

  /** The connection is open. */
  opened(): void {
    // For how long it has been up a change does not matter.
    if (!this.#isChanging) this.#openedAt = performance.now()
    if (this.isArmed) this.#tell({ state: 'connected', attempt: 0, error: undefined })
  }

  /** Whether what ended a connection may be mended by another one. */
  mayMend(error: AmqpError | undefined): boolean {
    return !this.#isLasting(error) || (this.#redirects > 0 && isRedirect(error))
  }

  #isLasting(error: AmqpError | undefined): boolean {
    const verdict = this.#verdict(error)
    return verdict === undefined ? isLasting(error) : verdict === false
  }

  /** What the application says of an error. */
  #verdict(error: AmqpError | undefined): boolean | number | undefined {
    try {
      return this.options.retry?.(error)
    } catch (fault) {
      raise(fault)
      return undefined
    }
  }

  /** The line is about to be dropped with this, since another is wanted: that is no loss to be counted. */
  plan(error: AmqpError): void {
    this.#plan = error
  }

  /** The connection was lost: from now on it is tried again. */
  lost(owner: RecoveryOwner, error: AmqpError | undefined): void {
    if (performance.now() - this.#openedAt >= this.backOff.stableMs) this.#attempt = 0
    this.#isChanging = this.#plan !== undefined && error?.cause === this.#plan
    const abort = new AbortController()
    this.#abort = abort
    void this.#run(owner, error, abort.signal)
  }

  /** Before anything is restored on a new line: sees that it does not redirect, then has the application prepare it. */
  async prepare(connection: ReopenedConnection, line: Line, signal: AbortSignal): Promise<void> {
    if (this.#redirects > 0) await line.settled(signal)
    const { onReopened } = this.options
    if (!onReopened || line.closure) return
    const over = deferred<never>()
    const abort = new AbortController()
    void line.closed.then(({ error }) => {
      const why = error ?? new TransportError('the connection was lost while it was prepared')
      abort.abort(why)
      over.reject(why)
    })
    try {
      await shared(Promise.race([call(onReopened, connection, abort.signal), over.promise]), signal)
    } finally {
      abort.abort(signal.reason)
    }
  }

  /** Tells when everything is where it was, or has ended. @param isThere  whether the connection has not been lost again */
  async restored(sessions: readonly Restorable[], isThere: () => boolean): Promise<void> {
    if (!this.options.onStateChange) return
    const links = await Promise.all(sessions.map(session => session.whenRestored()))
    if (!isThere()) return
    const alive = links.filter(count => count >= 0)
    const restored = { sessions: alive.length, links: alive.reduce((sum, count) => sum + count, 0) }
    this.#tell({ state: 'restored', attempt: 0, error: undefined, restored })
  }

  /** The connection has ended for good. */
  stop(error: AmqpError | undefined): void {
    this.#abort?.abort(error)
    if (this.isArmed) this.#tell({ state: 'closed', attempt: this.#attempt, error })
  }

  ref(): void {
    this.#refed = true
    this.#timer?.ref()
  }

  unref(): void {
    this.#refed = false
    this.#timer?.unref?.()
  }

  async #run(owner: RecoveryOwner, cause: AmqpError | undefined, signal: AbortSignal): Promise<void> {
    const lost = cause ?? new TransportError('the peer closed the connection')
    let error = lost
    const before = this.#attempt
    if (this.#isChanging) this.#attempt = 0
    for (;;) {
      if (this.#attempt >= this.backOff.attempts) return owner.giveUp(error)
      const attempt = ++this.#attempt
      this.#tell({ state: 'waiting', attempt, error })
      const verdict = this.#verdict(error === lost ? cause : error)
      const least = typeof verdict === 'number' ? verdict : 0
      await this.#wait(Math.max(waitBefore(attempt, this.backOff, Math.random()), least), signal)
      const routes = [...this.#routes]
      let redirects = 0
      const redirect = (from: Route, why: AmqpError): void => {
        const to = isRedirect(why) && redirects++ < this.#redirects ? from.redirected(why) : undefined
        if (to) routes.unshift(to)
      }
      if (error === lost) redirect(this.#last, error)
      for (let route = routes.shift(); route; route = routes.shift()) {
        if (signal.aborted) return
        this.#tell({ state: 'connecting', attempt, error })
        try {
          await owner.reopen(await route.dial(signal, this.#refed), signal)
          this.#last = route
          if (this.#isChanging) this.#attempt = before
          return
        } catch (failure) {
          if (signal.aborted) return
          if (this.#isChanging) this.#attempt += before
          this.#isChanging = false
          error = asAmqpError(failure)
          const left = routes.length
          redirect(route, error)
          if (this.#isLasting(error) && routes.length === left) return owner.giveUp(error)
        }
      }
    }
  }

  #wait(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise(resolve => {
      const done = () => {
        clearTimeout(this.#timer)
        signal.removeEventListener('abort', done)
        resolve()
      }
      if (signal.aborted) return resolve()
      this.#timer = setTimeout(done, timerDelay(ms))
      if (!this.#refed) this.#timer.unref?.()
      signal.addEventListener('abort', done)
    })
  }

  #tell(state: ConnectionState): void {
    try {
      const result: unknown = this.options.onStateChange?.(state)
      if (result instanceof Promise) result.catch(raise)
    } catch (fault) {
      raise(fault)
    }
  }
}

/** What it throws rejects, too: the race with the end of the connection has begun by then. */
const call = async (
  onReopened: NonNullable<ReconnectOptions['onReopened']>,
  connection: ReopenedConnection,
  signal: AbortSignal,
): Promise<unknown> => onReopened(connection, signal)

const asAmqpError = (error: unknown): AmqpError =>
  error instanceof AmqpError
    ? error
    : new TransportError(`cannot connect: ${error instanceof Error ? error.message : String(error)}`, error)
