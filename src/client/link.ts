/** What senders and receivers have in common: attaching, detaching, closing, ending once. §2.6 */

import type { LinkEndpoint } from '../engine/link-endpoint.ts'
import { type AmqpError, ClosedError } from '../errors.ts'
import { timerDelay } from '../io/delay.ts'
import type { AmqpValue } from '../types/values.ts'
import type { Closure, Session } from './api.ts'
import type { Coordinator } from './coordinator.ts'
import { Emitter } from './emitter.ts'
import type { Terminus } from './keeper.ts'
import { abortable, type Deferred, deferred, throwIfAborted, within } from './operation.ts'
import type { Abortable, ErrorInit, SourceInit, TargetInit } from './options.ts'
import { errorFields, orEmpty, sourceInit, targetInit } from './termini.ts'

/** What a link needs of its session. */
export interface LinkOwner {
  readonly api: Session
  /** Something may be due for sending. */
  touch(): void
  /** Who wants to know that something was written, so that queues are shorter. */
  readonly flushed: Set<() => void>
  /** Milliseconds that a close may take. */
  readonly closeMs: number
  /** Milliseconds that outcomes are waited for before a close. */
  readonly settleMs: number
  /** Whoever keeps the peer's transactions; none where they are not offered. §4.5 */
  readonly coordinator: Coordinator | undefined
  /** The link has ended. */
  forget(link: ClientLink<never>): void
  /** For who traces. */
  tellState(scope: 'link', name: string, state: 'ended', end: Closure): void
}

export abstract class ClientLink<Events extends { closed: Closure }> extends Emitter<Events> {
  readonly endpoint: LinkEndpoint
  protected readonly owner: LinkOwner
  /** What outlives it. §2.6.4 */
  terminus: Terminus | undefined
  #closure: Closure | undefined
  /** The link is being closed from this end: nothing new begins. */
  protected isClosing = false
  #closed: Deferred<Closure> | undefined
  #attaching: Deferred<void> | undefined
  #properties: ReadonlyMap<AmqpValue, AmqpValue> | undefined

  constructor(owner: LinkOwner, endpoint: LinkEndpoint) {
    super()
    this.owner = owner
    this.endpoint = endpoint
    endpoint.context = this
  }

  protected override get eventNames(): readonly string[] {
    return ['closed']
  }

  get name(): string {
    return this.endpoint.name
  }

  get session(): Session {
    return this.owner.api
  }

  get properties(): ReadonlyMap<AmqpValue, AmqpValue> {
    return this.#properties ?? orEmpty(undefined)
  }

  get remoteMaxMessageSize(): bigint | undefined {
    return this.endpoint.remoteMaxMessageSize || undefined
  }

  get closed(): Promise<Closure> {
    this.#closed ??= deferred()
    if (this.#closure) this.#closed.resolve(this.#closure)
    return this.#closed.promise
  }

  /** It has ended, or what carries it has: told here already, or about to be. */
  protected get isOver(): boolean {
    const { hasEnded, session } = this.endpoint
    return this.#closure !== undefined || hasEnded || session.hasEnded || session.connection.hasEnded
  }

  /** Why the link has ended; `undefined` while it lives. */
  protected get closure(): Closure | undefined {
    return this.#closure
  }

  get source(): Readonly<SourceInit> | null {
    return sourceInit(this.endpoint.remoteSource)
  }

  get target(): Readonly<TargetInit> | null {
    return targetInit(this.endpoint.remoteTarget)
  }

  /** What the console shows. */
  protected get summary(): { name: string; source: unknown; target: unknown; state: string } {
    const { name, source, target } = this
    const state = this.#closure ? 'ended' : 'open'
    return { name, source: source?.address ?? source, target: target?.address ?? target, state }
  }

  /** Waits for the peer's attach. Cancellation closes the link. */
  attached(options: Abortable): Promise<void> {
    this.#attaching = deferred()
    return abortable(this.#attaching, options.signal, () => {
      this.#closeEndpoint()
    })
  }

  /** The peer's attach has come. */
  onAttached(properties: ReadonlyMap<AmqpValue, AmqpValue>): void {
    this.#properties = properties
    // A refused link is attached for a moment only: its detach says why.
    if (!this.endpoint.refused) this.#attaching?.resolve()
  }

  /** The link has ended, or what carries it has. The first cause wins. */
  onClosed(closure: Closure): void {
    if (this.#closure) return
    this.#closure = closure
    this.owner.forget(this as unknown as ClientLink<never>)
    // It was told already, unless it goes down with what carries it.
    if (!this.endpoint.hasEnded && this.endpoint.remoteHandle >= 0)
      this.owner.tellState('link', this.name, 'ended', closure)
    this.#attaching?.reject(
      closure.error ?? new ClosedError(`${this.endpoint.label}, while it was being attached,`, 'link'),
    )
    this.#attaching?.promise.catch(() => {})
    this.#closed?.resolve(closure)
    this.terminus?.onLeft(closure)
    this.ended(closure)
    this.emit('closed', closure as Events['closed'])
  }

  /** Settles what waits on this link. */
  protected abstract ended(closure: Closure): void

  /** The error for using the link after its end. */
  protected closedError(): AmqpError {
    if (!this.#closure && this.isClosing) return new ClosedError(this.endpoint.label, 'link', undefined, 'local')
    const { label, session } = this.endpoint
    const cause = this.#closure ? this.#closure.error : session.connection.cause
    return new ClosedError(label, 'link', cause, this.#closure?.by)
  }

  async detach(options: Abortable = {}): Promise<void> {
    throwIfAborted(options)
    if (this.#closure) return
    if (this.endpoint.isAttached && !this.isOver) this.endpoint.detach()
    await this.#leave(options)
  }

  async close(options: Abortable & { error?: ErrorInit } = {}): Promise<void> {
    throwIfAborted(options)
    if (this.#closure) return
    // What has been sent gets its outcome first, unless something is wrong.
    if (!options.error && this.isBusy) await this.#settle(options)
    if (this.#closure) return
    this.#closeEndpoint(options.error)
    await this.#leave(options)
  }

  /** Waits for what is under way, and no longer than a close may take. */
  async #settle({ signal }: Abortable): Promise<void> {
    this.isClosing = true
    this.owner.touch()
    await within(this.beforeClose(), this.owner.settleMs, signal)
  }

  /** What a close waits for, while nothing new begins. */
  protected beforeClose(): Promise<void> {
    return this.whenSettled()
  }

  /** Whether something is under way that a close waits for. */
  protected abstract get isBusy(): boolean

  /** Resolves when nothing that was sent waits for its outcome. */
  abstract whenSettled(): Promise<void>

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #closeEndpoint(error?: ErrorInit): void {
    const { endpoint } = this
    if (!this.isOver && (endpoint.isAttached || endpoint.state === 'ATTACH_SENT'))
      endpoint.close(error && errorFields(error))
    this.owner.touch()
  }

  /** Waits for the peer's detach, and no longer than a close may take. */
  #leave(options: Abortable): Promise<void> {
    this.owner.touch()
    const left = deferred<void>()
    this.closed.then(() => left.resolve())
    // First what is queued is given up, then the peer.
    const timer = setTimeout(() => {
      this.endpoint.abandonQueue()
      this.owner.touch()
      this.onClosed({ by: 'local', error: undefined })
    }, timerDelay(this.owner.closeMs))
    left.promise.then(
      () => clearTimeout(timer),
      () => clearTimeout(timer),
    )
    return abortable(left, options.signal, () => {
      this.endpoint.abandonQueue()
      this.owner.touch()
    })
  }
}
