/**
 * One identity at a hub, as the device and the service client use it: how it proves who it is, for as long as it is
 * connected, and links that are attached when first used, shared by all who use them, and attached again when lost.
 *
 * It authenticates by CBS, by SASL PLAIN, where user names have the form that hubs expect, or by a certificate in TLS. It
 * has a connection of its own, or shares one with others. Facts: spec-notes/iothub.md, SASL, SAS tokens, CBS. §2.6.3, §5.3
 */

import type { CbsToken } from '../../cbs/cbs-session.ts'
import type { Closure, Connection, Delivery, Receiver, RequestLink } from '../../client/api.ts'
import type { Abortable, ReceiverOptions, RequestLinkOptions, SourceInit } from '../../client/options.ts'
import type { SaslMechanism } from '../../client/sasl/mechanism.ts'
import { sasl } from '../../client/sasl.ts'
import { type AmqpError, ClosedError, UsageError } from '../../errors.ts'
import { type HubClock, pause, systemClock, untilAborted } from '../clock.ts'
import { Doubts } from '../credentials/doubts.ts'
import { type HubLogin, makeToken, timelyToken } from '../credentials/login.ts'
import { marginOf, TokenRenewal } from '../credentials/token-renewal.ts'
import { withCertificate } from '../credentials/x509.ts'
import { asFinal, isRetryable } from './conditions.ts'
import { type Claimant, HubLine } from './hub-line.ts'
import { attachProperties, checkHubOptions, type IotHubOptions } from './hub-options.ts'
import { attachLinkPair, type LinkPair, type LinkPairInit } from './link-pair.ts'
import { castsDoubt, delayBefore, isOfLink, isRefusal, lostConnection, type Mending, UNMENDED } from './mending.ts'
import { Outbox, type OutboxOwner } from './outbox.ts'
import { type LinkCare, SharedLink } from './shared-link.ts'

/** Where links are attached: on a connection, or on sessions of somebody's choice. */
export type LinkHost = Pick<Connection, 'sender' | 'receiver'>

/** What a hub connection that shares its line gets from whoever owns that. */
export interface SharedLine {
  readonly line: HubLine
  readonly host: LinkHost
  /** It is over. */
  leave(): void
}

/** A connection to a hub, authenticated. Make it with {@link HubConnection.open} or {@link HubConnection.join}. */
export class HubConnection implements AsyncDisposable, LinkCare, Claimant, OutboxOwner {
  /** Resolves when it has ended for good: by whom, and why. */
  readonly closed: Promise<Closure>
  readonly line: HubLine
  readonly #login: HubLogin
  readonly #options: IotHubOptions
  readonly #shared: SharedLine | undefined
  /** None with a certificate. */
  readonly #renewal: TokenRenewal | undefined
  readonly #taken = new Set<SharedLink<{ readonly closed: Promise<Closure>; close(): Promise<void> }>>()
  readonly #queues: (() => Promise<void>)[] = []
  readonly #over = new AbortController()
  #end: (closure: Closure) => void = () => {}
  readonly #forget: () => void
  #failure: AmqpError | undefined
  #closure: Closure | undefined
  #isClosing = false
  /** That a link was refused though the token should do. */
  readonly #doubts: Doubts
  #doubting: Promise<boolean> | undefined

  private constructor(line: HubLine, login: HubLogin, options: IotHubOptions, shared?: SharedLine) {
    this.line = line
    this.#login = login
    this.#options = options
    this.#shared = shared
    this.#doubts = new Doubts(line.mending?.maxMs ?? 0)
    if (!('x509' in login.credential))
      this.#renewal = new TokenRenewal({
        clock: line.clock,
        marginMs: options.tokens?.marginMs,
        spread: shared ? SPREAD : 0,
        renew: () => this.#renew(),
        failed: (error, attempt) => this.#renewalFailed(error, attempt),
      })
    this.closed = new Promise(resolve => {
      this.#end = resolve
    })
    this.#forget = line.onEnd(closure => this.#ended(closure))
    void this.closed.then(() => this.#leave())
  }

  /**
   * Connects and authenticates.
   *
   * @throws {SaslError} PLAIN was refused
   * @throws {RemoteError} CBS refused the token
   * @throws {TransportError} the host cannot be reached, or its certificate is not trusted
   * @throws {UsageError} the key is not base64, what the provider gave is no token, or an option is out of range
   *
   * Cancellation drops the connection.
   */
  static async open(
    login: HubLogin,
    options: IotHubOptions = {},
    clock: HubClock = systemClock,
  ): Promise<HubConnection> {
    const { tls, transport, signal } = options
    signal?.throwIfAborted()
    checkHubOptions(options)
    const { credential, host, port, who } = login
    const auth = authOf(credential, options)
    const init = { host, port, who, clock }
    if ('x509' in credential) {
      // Over a transport that is given, whoever made it has shown the certificate.
      const security = transport ? true : withCertificate(tls, credential.x509)
      return new HubConnection(await HubLine.open({ ...init, sasl: false, tls: security }, options), login, options)
    }
    const token = await untilAborted(makeToken(login, credential, lifeOf(options)), signal)
    let hub: HubConnection | undefined
    const password = async (): Promise<SaslMechanism> => {
      const next = hub ? await timelyToken(login, credential, lifeOf(options), clock) : token
      if (hub) hub.#renewal?.renewed(next.expiresAt)
      return sasl.plain(login.user, next.value)
    }
    const mechanism = auth === 'plain' ? password : sasl.anonymous()
    hub = new HubConnection(await HubLine.open({ ...init, sasl: mechanism, tls: tls ?? true }, options), login, options)
    if (auth === 'cbs') return hub.#begin(token)
    hub.#renewal?.renewed(token.expiresAt)
    return hub
  }

  /**
   * Authenticates one more identity on a line that is there, by CBS.
   *
   * @throws as {@link HubConnection.open}; {UsageError} it has a certificate
   *
   * Cancellation leaves the line as it is.
   */
  static async join(shared: SharedLine, login: HubLogin, options: IotHubOptions): Promise<HubConnection> {
    const { credential } = login
    if ('x509' in credential)
      throw new UsageError(`${login.who}: a certificate is shown once for a connection, and cannot share one`)
    const token = await untilAborted(makeToken(login, credential, lifeOf(options)), options.signal)
    return new HubConnection(shared.line, login, options, shared).#begin(token)
  }

  /** Puts the first token. */
  async #begin(token: CbsToken): Promise<HubConnection> {
    try {
      await this.#put(token, this.#options.signal)
      this.line.claimants.add(this)
      return this
    } catch (error) {
      // An event hub, which has a connection of its own, is connected to anew.
      if (this.#shared && this.withEnd(error) !== error) asFinal(error as ClosedError)
      this.close().catch(() => {})
      throw error
    }
  }

  /** For error messages. */
  get who(): string {
    return this.#login.who
  }

  /** How what is lost is mended; `undefined`: not at all. */
  get mending(): Mending | undefined {
    return this.line.mending
  }

  get stableMs(): number {
    return this.mending?.stableMs ?? 0
  }

  get clock(): HubClock {
    return this.line.clock
  }

  /** Fires when it is over. */
  get over(): AbortSignal {
    return this.#over.signal
  }

  // ---- links -----------------------------------------------------------------------------------------------------

  /** Sends to `address`. @param properties  of the attach, besides the client's version */
  sender(address: string, properties: Readonly<Record<string, string>> = {}): Outbox {
    const all = { ...attachProperties, ...properties }
    const maxPending = Math.max(this.maxQueued, MAX_PENDING)
    const link = this.#link(() => this.#host.sender(address, { properties: all, maxPending }))
    const outbox = new Outbox(this, link, maxPending)
    const queue = (): Promise<void> => outbox.handed()
    this.#queues.push(queue)
    this.line.queues.add(queue)
    return outbox
  }

  /** A receiver from `address`, that keeps `window` deliveries coming. */
  receiver(address: string, window: number): SharedLink<Receiver> {
    return this.#link(() => this.#host.receiver(address, { credit: { window }, properties: attachProperties }))
  }

  /** A sender and a receiver of one address. */
  pair(init: Omit<LinkPairInit, 'properties'>): SharedLink<LinkPair> {
    return this.#link(() => attachLinkPair(this.#host, { ...init, properties: attachProperties }))
  }

  #link<L extends { readonly closed: Promise<Closure>; close(): Promise<void> }>(
    attach: () => Promise<L>,
  ): SharedLink<L> {
    const link = new SharedLink(
      () => (this.#over.signal.aborted ? Promise.reject(this.#closedError()) : attach()),
      this,
    )
    this.#taken.add(link)
    return link
  }

  get #host(): LinkHost {
    return this.#shared?.host ?? this.line.connection
  }

  /** A receiver of the caller's own, attached now. Errors and cancellation as with `Connection.receiver`. */
  attachReceiver(source: string | SourceInit, options: ReceiverOptions): Promise<Receiver> {
    const properties = { ...attachProperties, ...options.properties }
    return this.#host.receiver(source, { ...options, properties })
  }

  /** A pair of links for requests. Errors and cancellation as with `Connection.request`. */
  request(address: string, options: RequestLinkOptions): Promise<RequestLink> {
    return this.line.connection.request(address, options)
  }

  get maxQueued(): number {
    return this.#options.maxQueued ?? MAX_QUEUED
  }

  get resends(): boolean {
    const { reconnect } = this.#options
    return reconnect !== false && reconnect?.resend === true
  }

  /**
   * What arrives on a link, until this connection is closed at this end. A link that is lost is attached again.
   *
   * @throws {RemoteError} the link was refused
   * @throws {ClosedError} the link or the connection ended otherwise, for good
   *
   * Cancellation loses nothing: what is on its way is given to the next who asks.
   */
  async *deliveries(
    link: SharedLink<Receiver>,
    options: Abortable = {},
  ): AsyncGenerator<Delivery, undefined, undefined> {
    for (;;) {
      try {
        const receiver = await link.get(options)
        try {
          for (;;) yield await receiver.receive(options)
        } catch (error) {
          if (!(error instanceof ClosedError) || !this.goesOn(error)) throw error
        }
      } catch (error) {
        const known = this.explained(error)
        if (this.isClosing && known instanceof ClosedError) return
        throw known
      }
    }
  }

  // ---- what is mended --------------------------------------------------------------------------------------------

  /** Whether another link is asked for when one has ended with this. */
  goesOn(error: unknown): boolean {
    if (this.mending === undefined || this.#over.signal.aborted) return false
    return isRetryable(error) || (castsDoubt(error) && this.#hasToken)
  }

  /** By PLAIN, and with a certificate, there is nothing that could be said again. */
  get #hasToken(): boolean {
    return this.#renewal !== undefined && this.line.claimants.has(this)
  }

  async mend(error: unknown, attempt: number): Promise<boolean> {
    const { mending } = this
    if (!mending || !this.goesOn(error) || attempt > mending.attempts) return false
    if (castsDoubt(error)) {
      if (!(await this.doubtToken())) return false
    }
    await pause(this.clock, delayBefore(attempt, error, mending, Math.random()), this.#over.signal)
    return !this.#over.signal.aborted
  }

  /** Puts a new token, one for all who are refused at a time. @returns false: there have been enough of no use */
  doubtToken(): Promise<boolean> {
    const doubt = async (): Promise<boolean> => {
      if (this.#doubts.areEnough(performance.now())) return false
      // Whether a failure is for good the renewal itself knows: what fails is tried again, or ends this connection.
      await this.#renewal?.renew().then(
        () => this.#doubts.add(performance.now()),
        () => {},
      )
      return true
    }
    this.#doubting ??= doubt().finally(() => {
      this.#doubting = undefined
    })
    return this.#doubting
  }

  attached(): void {
    this.#doubts.clear()
  }

  /** The connection is another: a new token, before its links are restored. */
  async claim(): Promise<void> {
    try {
      await this.#renewal?.renewAfresh()
    } catch (error) {
      // With others on the line, one that fails is its own affair.
      if (!this.#shared) throw error
    }
  }

  async #put(token: CbsToken, signal?: AbortSignal): Promise<void> {
    await this.line.putToken(this.#login.resource, token, signal)
    this.#renewal?.renewed(token.expiresAt)
  }

  /** What PLAIN has said cannot be taken back: there it takes another connection. */
  async #renew(): Promise<void> {
    const { credential } = this.#login
    if ('x509' in credential) return
    if (this.#options.auth === 'plain') await this.line.refresh(patienceOf(this.#options))
    else await this.#put(await timelyToken(this.#login, credential, lifeOf(this.#options), this.clock))
  }

  /** A renewal has failed. @returns when to try again, in ms; `undefined` where the hub has refused for good */
  #renewalFailed(error: unknown, attempt: number): number | undefined {
    if (isRefusal(error)) {
      this.fail(error as AmqpError)
      return undefined
    }
    return Math.max(delayBefore(attempt, error, this.mending ?? UNMENDED, Math.random()), 1_000)
  }

  /** Ends it: the hub refuses whom it stands for. */
  fail(error: AmqpError): void {
    if (this.#over.signal.aborted) return
    this.#failure ??= error
    if (!this.#shared) return this.line.fail(error)
    this.#ended({ by: 'remote', error })
  }

  /** An error as users get it: of what was closed with this connection, why that has ended. */
  explained(error: unknown): unknown {
    const known = this.withEnd(error)
    if (known !== error || !(error instanceof ClosedError)) return known
    // Of the token, which is renewed, a user need not know: it is worth another try. So it is by PLAIN, by a connection.
    const isRenewed = this.#hasToken || (this.#renewal !== undefined && lostConnection(error))
    const isPassing = castsDoubt(error) && isRenewed && this.mending !== undefined && !this.#over.signal.aborted
    return isPassing
      ? new ClosedError(`a link of ${this.who}, which needs a new token,`, 'link', undefined, 'remote')
      : error
  }

  // ---- its end ---------------------------------------------------------------------------------------------------

  /** An error of something closed or refused, with the reason of the end of this connection, if that has ended for good. */
  withEnd(error: unknown): unknown {
    if (!isOfLink(error)) return error
    if (!this.#failure && !this.#closure && !this.line.ending && !this.isClosing) return error
    // That it may have arrived is worth knowing still.
    return error instanceof ClosedError && error.scope === 'delivery' && !this.#failure
      ? asFinal(error)
      : this.#closedError()
  }

  #closedError(): ClosedError {
    const { by, error } = this.#failure
      ? { by: 'remote' as const, error: this.#failure }
      : (this.#closure ?? this.line.ending ?? { by: 'local', error: undefined })
    return asFinal(new ClosedError(this.who, 'connection', error, by))
  }

  #ended(closure: Closure): void {
    if (this.#over.signal.aborted) return
    this.#closure = closure
    this.#renewal?.stop()
    this.line.claimants.delete(this)
    for (const queue of this.#queues) this.line.queues.delete(queue)
    this.#forget()
    this.#over.abort(closure.error)
    this.#end(closure)
  }

  /** Closes what it has of a line that others go on using. */
  async #leave(): Promise<void> {
    if (!this.#shared) return
    this.#shared.leave()
    const links = [...this.#taken].map(link => link.take())
    await Promise.all(links.map(link => link?.then(it => it.close()).catch(() => {})))
  }

  /** Whether it is being closed from this end. */
  get isClosing(): boolean {
    return this.#isClosing || this.line.isClosing
  }

  /** Lets the process live as long as the connection does (the default), or not. */
  ref(): void {
    this.line.connection.ref()
  }

  unref(): void {
    this.line.connection.unref()
  }

  /** Sends what is queued, closes the connection and waits for the peer to do so. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#renewal?.stop()
    if (!this.#shared) return this.line.close()
    this.#shared.leave()
    await this.line.flush(this.#queues)
    if (this.#over.signal.aborted) return
    const leaving = this.#leave()
    this.#ended({ by: 'local', error: undefined })
    await leaving
  }

  /** {@link close} */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

const MAX_QUEUED = 1_000
/** As of any sender. */
const MAX_PENDING = 2_048
/** Renewals of many on one connection are this part of a token's life apart. */
const SPREAD = 0.25
const TOKEN_LIFE_MS = 3_600_000

const lifeOf = ({ tokens }: IotHubOptions): number => tokens?.lifeMs ?? TOKEN_LIFE_MS

/** How long a refresh may wait for calls: the token holds as long as that, and much longer. */
function patienceOf({ tokens }: IotHubOptions): number {
  const lifeMs = tokens?.lifeMs ?? TOKEN_LIFE_MS
  return Math.min(marginOf(lifeMs, tokens?.marginMs) / 4, 30_000)
}

function authOf(credential: HubLogin['credential'], { auth }: IotHubOptions): 'cbs' | 'plain' {
  if (auth !== undefined && 'x509' in credential)
    throw new UsageError('IoT Hub: a device with a certificate has no token, and so no `auth`')
  return auth ?? 'cbs'
}
