/**
 * A connection to a hub that stays up: made again when it is lost, its `$cbs` links with it, and the tokens of all who
 * use it put anew before any link is restored.
 *
 * Who that is, one identity or the many of a pool, it does not know. Facts: spec-notes/iothub.md, connections, SASL;
 * spec-notes/cbs.md. §2.4
 */

import { CbsSession, type CbsToken } from '../../cbs/cbs-session.ts'
import type { Closure, Connection } from '../../client/api.ts'
import { connect } from '../../client/connect.ts'
import type { ConnectOptions } from '../../client/options.ts'
import type { ConnectionState, ReconnectOptions, ReopenedConnection } from '../../client/recovery/back-off.ts'
import { AmqpCondition, type AmqpError, ClosedError, RemoteError, SaslError } from '../../errors.ts'
import { type HubClock, pause, untilAborted } from '../clock.ts'
import type { IotHubOptions } from './hub-options.ts'
import { hubWebSocket } from './hub-options.ts'
import { type Mending, mendingOf, verdictOn } from './mending.ts'

/** How a line is made. */
export interface LineInit {
  readonly host: string
  readonly port: number | undefined
  /** For error messages. */
  readonly who: string
  readonly sasl: ConnectOptions['sasl']
  readonly tls: ConnectOptions['tls']
  readonly clock: HubClock
  /** Requests to `$cbs` that may be in flight after a return. */
  readonly concurrency?: number | undefined
  /** Links of one session at most. Default: that of any connection. */
  readonly maxLinks?: number | undefined
}

/** Somebody whose token is on a line. */
export interface Claimant {
  /** The connection is another: puts a token on it. What it throws fails the attempt. */
  claim(): Promise<void>
}

export class HubLine {
  readonly connection: Connection
  readonly clock: HubClock
  /** `undefined`: a loss is the end. */
  readonly mending: Mending | undefined
  readonly claimants: Set<Claimant> = new Set()
  /** Resolves when it has ended for good: by whom, and why. */
  readonly closed: Promise<Closure>
  /** Whether there is a connection, as far as is known. */
  isUp = true
  /** It is being closed from this end. */
  isClosing = false
  readonly #concurrency: number
  readonly #doubt: Doubt
  #cbs: Promise<CbsSession> | undefined
  #attaching = new AbortController()
  #failure: AmqpError | undefined
  #closure: Closure | undefined
  #ending: Closure | undefined
  readonly #onEnd = new Set<(closure: Closure) => void>()
  /** Of all who have something to send: resolve when it does not wait for a link any more. */
  readonly queues: Set<() => Promise<unknown>> = new Set()
  #gate: Promise<void> = Promise.resolve()
  /** Nothing new is to be sent: the line is being changed. */
  isHeld = false
  readonly #sending = new Busy()
  readonly #calls = new Busy()

  private constructor(connection: Connection, init: LineInit, mending: Mending | undefined, doubt: Doubt) {
    this.connection = connection
    this.clock = init.clock
    this.mending = mending
    this.#concurrency = init.concurrency ?? 1
    this.#doubt = doubt
    this.closed = connection.closed.then(closure =>
      this.#failure === undefined ? closure : { by: 'remote', error: this.#failure },
    )
    connection.on('closed', closure => {
      this.#ending = closure
    })
    void this.closed.then(closure => {
      this.#closure = closure
      this.isUp = false
      for (const listener of [...this.#onEnd]) listener(closure)
    })
  }

  /**
   * Connects.
   *
   * @throws {SaslError} the login was refused
   * @throws {TransportError} the host cannot be reached, or its certificate is not trusted
   * @throws {UsageError} an option is out of range
   */
  static async open(init: LineInit, options: IotHubOptions): Promise<HubLine> {
    const { host, port, who, sasl, tls, maxLinks } = init
    const { transport, webSocket, proxy, signal, trace } = options
    const wanted = reconnectOptions(options)
    const mending = wanted === false ? undefined : mendingOf(wanted)
    const doubt: Doubt = { at: Number.NEGATIVE_INFINITY }
    let line: HubLine | undefined
    const { initialMs, maxMs, stableMs, attempts, resend, onStateChange } = wanted || {}
    const reconnect: ReconnectOptions | false = mending
      ? {
          ...{ initialMs, maxMs, stableMs, attempts, resend },
          // Who uses a link has to know: a twin subscribes anew, and what waits is counted.
          reattach: false,
          retry: error => line?.failure === undefined && verdict(error, mending, doubt),
          onReopened: (connection, cancel) => line?.onReopened(connection, cancel),
          onStateChange: state => {
            line?.onState(state)
            return onStateChange?.(state)
          },
        }
      : false
    const reached = transport === undefined ? { tls, webSocket: hubWebSocket(webSocket), proxy } : undefined
    const given = typeof transport === 'function' ? (): ReturnType<typeof transport> => transport(host) : transport
    const connection = await connect({
      ...{ host, port, sasl, signal, trace, reconnect },
      ...(maxLinks !== undefined && { limits: { maxLinks } }),
      ...(reached ?? { transport: typeof given === 'function' && !mending ? given() : given }),
    }).catch(error => {
      throw named(error, who)
    })
    line = new HubLine(connection, init, mending, doubt)
    return line
  }

  /**
   * Calls back when it has ended for good, or soon where it has. Unlike `closed` it forgets who went before.
   *
   * @returns a function that calls it off
   */
  onEnd(listener: (closure: Closure) => void): () => void {
    if (this.#closure) void this.closed.then(listener)
    else this.#onEnd.add(listener)
    return () => this.#onEnd.delete(listener)
  }

  /** How it has ended for good: known before anything on it rejects, which `closed` tells later. */
  get ending(): Closure | undefined {
    return this.#ending && this.#failure ? { by: 'remote', error: this.#failure } : this.#ending
  }

  /** Why it was given up from this end, though nobody wanted it closed. */
  get failure(): AmqpError | undefined {
    return this.#failure
  }

  /**
   * Puts a token, by the links to `$cbs` that there are, or by new ones.
   *
   * @throws as `CbsSession.attach` and `putToken`, and `TimeoutError` where no answer comes
   */
  async putToken(audience: string, token: CbsToken, signal?: AbortSignal): Promise<void> {
    if (!this.#cbs) {
      if (this.#closure) throw new ClosedError('the connection', 'connection', this.#closure.error, this.#closure.by)
      // While it is made again there are none, and those to come are for everybody.
      if (!this.isUp) throw new ClosedError('the connection, which is being made again,', 'connection')
      this.#cbs = this.#keep(
        CbsSession.attach(this.connection, { signal: this.#attaching.signal, timeoutMs: ANSWER_MS }),
      )
    }
    const cbs = await untilAborted(this.#cbs, signal)
    await cbs.putToken(audience, token, { signal })
  }

  /** Waits while the line is being changed, so that nothing is on its way then; keeps the order of those who wait. */
  whenOpen(): Promise<void> {
    return this.#gate
  }

  /** Counts what is on its way, and soon answered. */
  underway<T>(sending: Promise<T>): Promise<T> {
    return this.#sending.during(sending)
  }

  /** Counts calls that somebody here is to answer, who may take his time. */
  answering<T>(call: Promise<T>): Promise<T> {
    return this.#calls.during(call)
  }

  /**
   * Makes the connection anew, for a login that is about to expire, once what is on its way has got through.
   *
   * @param patienceMs  how long calls are waited for
   */
  async refresh(patienceMs: number): Promise<void> {
    if (!this.mending) return
    await this.#calls.quiet(this.clock, patienceMs)
    let open: () => void = () => {}
    this.isHeld = true
    this.#gate = new Promise(resolve => {
      open = resolve
    })
    try {
      const quiet = [this.#sending, this.#calls].map(busy => busy.quiet(this.clock, Math.min(QUIET_MS, patienceMs)))
      await Promise.all(quiet)
      this.connection.reconnect('made anew from this end, to log in by a new token before the old one expires')
    } finally {
      this.isHeld = false
      open()
    }
  }

  /** Waits until what is queued is on its way, a second at most; not while the connection is lost. */
  async flush(queues: Iterable<() => Promise<unknown>>): Promise<void> {
    if (!this.isUp) return
    const done = new AbortController()
    void Promise.all(Array.from(queues, queue => queue())).then(() => done.abort())
    await pause(this.clock, FLUSH_MS, done.signal)
  }

  /** Gives it up: the hub wants nothing more to do with whoever uses it. */
  fail(error: AmqpError): void {
    this.#failure ??= error
    this.connection.close().catch(() => {})
  }

  /** Sends what is queued, then closes the connection. */
  async close(): Promise<void> {
    this.isClosing = true
    await this.flush(this.queues)
    await this.connection.close()
  }

  /** @internal Puts all tokens on a connection, before anything else is done there. */
  async onReopened(connection: ReopenedConnection, signal: AbortSignal): Promise<void> {
    if (this.claimants.size === 0) return
    const opening = this.#keep(CbsSession.attach(connection, { signal, timeoutMs: ANSWER_MS }))
    this.#cbs = opening
    await opening
    const waiting = [...this.claimants]
    const work = async (): Promise<void> => {
      for (let next = waiting.shift(); next && !signal.aborted; next = waiting.shift()) await next.claim()
    }
    await Promise.all(Array.from({ length: this.#concurrency }, work))
    // Without them some tokens are missing: the next attempt may have better luck.
    if (this.#cbs !== opening) throw new ClosedError('the pair of links to $cbs', 'link')
  }

  /** @internal */
  onState({ state }: ConnectionState): void {
    if (state === 'waiting' && this.isUp) {
      this.isUp = false
      this.#dropCbs()
    } else if (state === 'connected') {
      this.#doubt.at = performance.now()
      this.isUp = true
    }
  }

  /** Links to `$cbs` are not restored: tokens come first, and the links with them. */
  #dropCbs(): void {
    this.#attaching.abort(new ClosedError('the connection', 'connection'))
    this.#attaching = new AbortController()
    this.#cbs?.then(cbs => cbs.close()).catch(() => {})
    this.#cbs = undefined
  }

  #keep(opening: Promise<CbsSession>): Promise<CbsSession> {
    const forget = (): void => {
      if (this.#cbs === opening) this.#cbs = undefined
    }
    opening.then(cbs => cbs.closed.then(forget), forget)
    return opening
  }
}

/** Counts what is going on. */
class Busy {
  #count = 0
  #onQuiet: () => void = () => {}

  async during<T>(work: Promise<T>): Promise<T> {
    this.#count++
    try {
      return await work
    } finally {
      if (--this.#count === 0) this.#onQuiet()
    }
  }

  /** Waits until nothing is, so long at most. One at a time. */
  async quiet(clock: HubClock, ms: number): Promise<void> {
    if (this.#count === 0) return
    const quiet = new AbortController()
    this.#onQuiet = () => quiet.abort()
    await pause(clock, ms, quiet.signal)
    this.#onQuiet = () => {}
  }
}

/** When the last connection was made that a hub might doubt. */
interface Doubt {
  at: number
}

/** How long an answer of `$cbs` may take, and what is on its way before a refresh, in ms. */
const ANSWER_MS = 30_000
const QUIET_MS = 5_000
/** As outcomes are waited for before a close. */
const FLUSH_MS = 1_000

/**
 * A hub also closes a connection whose token has expired, as not authorised. If it is the token, a new login mends it; if
 * it is not, that is refused, or the next connection is closed as well.
 */
function verdict(error: AmqpError | undefined, mending: Mending, doubt: Doubt): boolean | number | undefined {
  if (!(error instanceof RemoteError) || error.condition !== AmqpCondition.unauthorizedAccess)
    return verdictOn(error, mending, Math.random())
  // What `$cbs` refused has a status; what a connection was closed with has none.
  if (error.info?.has('status-code')) return false
  return performance.now() - doubt.at >= mending.stableMs
}

/** By default a loss is mended, unless there is but one transport. */
export function reconnectOptions({
  reconnect,
  transport,
}: IotHubOptions): Exclude<IotHubOptions['reconnect'], undefined> {
  return reconnect ?? (typeof transport === 'object' ? false : {})
}

/** A refusal of SASL says nothing of who was refused. */
function named(error: unknown, who: string): unknown {
  return error instanceof SaslError ? new SaslError(`${who}: ${error.message}`, error.outcome, error) : error
}
