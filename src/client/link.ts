/** What senders and receivers have in common: attaching, detaching, closing, ending once. §2.6 */

import type { AttachInit, LinkEndpoint } from '../engine/link-endpoint.ts'
import type { SessionEndpoint } from '../engine/session-endpoint.ts'
import { AmqpCondition, type AmqpError, ClosedError, LinkCondition, ProtocolError } from '../errors.ts'
import { timerDelay } from '../io/delay.ts'
import type { AmqpValue } from '../types/values.ts'
import type { Closure, Session } from './api.ts'
import type { LinkEvents } from './api-events.ts'
import { Emitter } from './emitter.ts'
import type { Terminus } from './keeping/keeper.ts'
import { abortable, type Deferred, deferred, throwIfAborted, within } from './operation.ts'
import type { Abortable, ErrorInit, SourceInit, TargetInit } from './options.ts'
import { backOffOf, waitBefore } from './recovery/back-off.ts'
import type { Recovery } from './recovery/recovery.ts'
import { errorFields, orEmpty, sourceInit, targetInit } from './termini.ts'
import type { Coordinator } from './transactions/coordinator.ts'

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
  /** How a lost connection is made again; none where it is not. */
  readonly recovery: Recovery | undefined
  /** Whether the session goes on over another line. */
  readonly survives: boolean
  /** The session as it is now: another after the connection has been made again. */
  readonly endpoint: SessionEndpoint
  /** The link has ended. */
  forget(link: ClientLink<never>): void
  /** For who traces. */
  tellState(scope: 'link', name: string, state: 'ended', end: Closure): void
}

export abstract class ClientLink<Events extends LinkEvents> extends Emitter<Events> {
  /** Another one each time the link is attached. */
  endpoint: LinkEndpoint
  protected readonly owner: LinkOwner
  /** What outlives it. §2.6.4 */
  terminus: Terminus | undefined
  #closure: Closure | undefined
  /** The link is being closed from this end: nothing new begins. */
  protected isClosing = false
  #closed: Deferred<Closure> | undefined
  #attaching: Deferred<void> | undefined
  #properties: ReadonlyMap<AmqpValue, AmqpValue> | undefined
  /** How it was attached, where it can be attached again. */
  #init: AttachInit | undefined
  /** It has been lost, and is not yet attached again. */
  #isSuspended = false
  #isLeaving = false
  /** `suspended` was told, and `restored` not yet. */
  #isLost = false
  /** Why it was suspended last. */
  #loss: AmqpError | undefined
  /** Times in a row that the peer has forced it off, since when, and what waits for the next attach. */
  #forced = 0
  #attachedAt = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  /** What the last attach for further maps left to be compared, and how many in a row got no further. */
  #left = Number.POSITIVE_INFINITY
  #vain = 0
  /** Who waits for the link to be attached again. */
  #reattached: Deferred<void> | undefined

  /** It was given what an earlier link has left, or nothing in place of it. */
  readonly takesUp: boolean

  constructor(owner: LinkOwner, endpoint: LinkEndpoint, takesUp: boolean) {
    super()
    this.owner = owner
    this.takesUp = takesUp
    this.endpoint = endpoint
    endpoint.context = this
  }

  protected override get eventNames(): readonly string[] {
    return ['closed', 'suspended', 'restored']
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
    return this.#closure !== undefined || (!this.survives && !this.isUsable)
  }

  /** This end has said its last word: on the link, or on what carries it. §2.5.5 */
  protected get isLeft(): boolean {
    const { session } = this.endpoint
    return this.isClosing || this.#isLeaving || (!this.isDown && (session.isEnding || session.connection.isClosing))
  }

  /** Whether the endpoint and what carries it are there. */
  protected get isUsable(): boolean {
    const { hasEnded, session } = this.endpoint
    return !hasEnded && !session.hasEnded && !session.connection.hasEnded
  }

  // ---- a link that is lost and attached again ------------------------------------------------------------------

  /** Told how it is being attached: it can be attached again like that. */
  keep(init: AttachInit): void {
    this.#init = init
  }

  /** Takes that over, before it is attached. @throws {UsageError} it is no such thing §2.6.13 */
  abstract takeUp(): void

  /** Whether it is attached again with what both ends hold unsettled. §2.6.13 */
  get resumes(): boolean {
    return this.mayReattach && (this.takesUp || this.owner.recovery?.options.resume === true)
  }

  /** Whether it can be attached again, on this session or another. */
  protected get mayReattach(): boolean {
    return this.#init !== undefined && !this.#closure && !this.isClosing && !this.#isLeaving
  }

  /** Whether it outlives what carries it. */
  get survives(): boolean {
    return this.mayReattach && this.owner.survives
  }

  /** Nothing can be sent or settled on it just now, and it will be attached again. */
  get isDown(): boolean {
    if (this.#isSuspended) return true
    if (this.survives && !this.isUsable) return true
    return this.mayReattach && this.isReattaching && !this.endpoint.isAttached
  }

  protected get loss(): AmqpError | undefined {
    return this.#loss
  }

  /** What carries it is gone, or the peer has forced it off: it waits to be attached again. */
  suspend(closure: Closure): void {
    if (!this.survives) return this.onClosed(closure)
    this.#suspend(closure)
    if (this.#isLost) return
    this.#isLost = true
    this.emit('suspended', closure as Events['suspended'])
  }

  #suspend(closure: Closure): void {
    if (!this.#isSuspended) this.#tellEnd(closure)
    this.#isSuspended = true
    this.#loss = closure.error
    this.suspended(new ClosedError(`the connection of ${this.endpoint.label}`, 'connection', closure.error, closure.by))
  }

  /** Whether it waits to be attached, on the session as it is now. */
  get needsAttach(): boolean {
    const { endpoint, session } = { endpoint: this.endpoint, session: this.owner.endpoint }
    return this.#isSuspended && !this.#closure && (endpoint.hasEnded || endpoint.session !== session)
  }

  /** Attaches again, under the same name. §2.6.4 */
  reattach(): void {
    if (!this.needsAttach || !this.owner.endpoint.maySend) return
    try {
      this.endpoint = this.renewed()
      this.endpoint.context = this
      this.endpoint.attach(this.#init ?? {})
    } catch (error) {
      if (this.endpoint.session === this.owner.endpoint) this.owner.endpoint.releaseLink(this.endpoint)
      return this.onClosed({ by: 'local', error: error as AmqpError })
    }
    this.owner.touch()
  }

  /** The endpoint has been detached, or is gone: one that came before the present one does not matter. */
  onDetached(endpoint: LinkEndpoint, closed: boolean, closure: Closure): void {
    if (endpoint !== this.endpoint) return
    if (this.mayReattach && this.isReattaching && !closed && !closure.error) {
      this.#suspend(closure)
      return this.#nextMaps(closure)
    }
    const isForced = closure.by === 'remote' && closure.error?.condition === LinkCondition.detachForced
    if (this.survives && isForced && this.#mayTryAgain()) return this.suspend(closure)
    this.onClosed(closure)
  }

  /**
   * Attaches again for what the maps have left out: at once where that has got further, and else later each time. A peer
   * whose map is never complete would be asked without end. §2.6.13
   */
  #nextMaps(closure: Closure): void {
    const { comparedCount } = this
    const isFurther = comparedCount < this.#left
    this.#left = comparedCount
    if (isFurther) return this.reattach()
    const backOff = this.owner.recovery?.backOff ?? backOffOf({})
    if (++this.#vain > backOff.attempts) return this.onClosed(closure)
    this.#later(waitBefore(this.#vain, backOff, Math.random()))
  }

  /** Sets the time of the next attach. @returns false when there have been too many */
  #mayTryAgain(): boolean {
    const { backOff, options } = this.owner.recovery ?? {}
    if (!backOff || options?.reattach === false) return false
    if (performance.now() - this.#attachedAt >= backOff.stableMs) this.#forced = 0
    if (++this.#forced > backOff.attempts) return false
    this.#later(waitBefore(this.#forced, backOff, Math.random()))
    return true
  }

  #later(ms: number): void {
    this.#timer = setTimeout(() => this.reattach(), timerDelay(ms))
    // What keeps the process alive is the connection.
    this.#timer.unref?.()
  }

  /** Sorts what was under way: what is kept, and what fails with the error. May come again before the next attach. */
  protected abstract suspended(error: AmqpError): void
  /** A new endpoint on the session, with what the present one had. */
  protected abstract renewed(): LinkEndpoint
  /** It is attached again: what was kept goes on. */
  protected abstract onReattached(): void
  /** It has to be detached and attached again, for what did not fit into the maps. §2.6.13 */
  protected abstract get isReattaching(): boolean
  /** Deliveries that the two ends have still to compare. */
  protected abstract get comparedCount(): number

  /** Resolves when it is attached again. @throws {ClosedError} it has ended */
  whenAttached(): Promise<void> {
    if (!this.isDown) return Promise.resolve()
    this.#reattached ??= deferred()
    return this.#reattached.promise
  }

  /** Bytes that wait here for the link to be attached again. */
  get heldBytes(): number {
    return 0
  }

  // ---- its end -------------------------------------------------------------------------------------------------

  /** Why the link has ended; `undefined` while it lives. */
  get closure(): Closure | undefined {
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
      this.#isLeaving = true
      this.#closeEndpoint()
    })
  }

  /** The peer's attach has come. */
  onAttached(properties: ReadonlyMap<AmqpValue, AmqpValue>): void {
    this.#properties = properties
    if (this.#closure) return
    if (this.endpoint.refused) return this.#awaitDetach()
    this.#attachedAt = performance.now()
    if (!this.isReattaching) {
      this.#left = Number.POSITIVE_INFINITY
      this.#vain = 0
    }
    if (this.#isSuspended || this.takesUp) {
      this.#isSuspended = false
      this.onReattached()
      this.#reattached?.resolve()
      this.#reattached = undefined
    }
    if (this.#isLost && !this.isReattaching) {
      this.#isLost = false
      this.emit('restored', undefined as Events['restored'])
    }
    this.#attaching?.resolve()
  }

  /** A refused link is attached for a moment only: its detach says why. Some peers mean no refusal, and send none. §2.6.3 */
  #awaitDetach(): void {
    const ms = this.owner.closeMs
    this.#timer = setTimeout(() => {
      const { label, role } = this.endpoint
      const what = `the peer attached ${label} without a ${role === 'sender' ? 'target' : 'source'}, which refuses it`
      const error = new ProtocolError(
        `${what}, and no detach came within ${ms} ms`,
        AmqpCondition.invalidField,
        'link',
        '2.6.3',
      )
      this.#closeEndpoint({ condition: AmqpCondition.invalidField, description: error.message })
      this.onClosed({ by: 'local', error })
    }, timerDelay(ms))
  }

  /** The link has ended, or what carries it has. The first cause wins. */
  onClosed(closure: Closure): void {
    if (this.#closure) return
    this.#closure = closure
    clearTimeout(this.#timer)
    this.owner.forget(this as unknown as ClientLink<never>)
    if (!this.#isSuspended) this.#tellEnd(closure)
    this.#attaching?.reject(
      closure.error ?? new ClosedError(`${this.endpoint.label}, while it was being attached,`, 'link'),
    )
    this.#attaching?.promise.catch(() => {})
    this.#reattached?.reject(this.closedError())
    this.#closed?.resolve(closure)
    this.terminus?.onLeft(closure)
    this.ended(closure)
    this.emit('closed', closure as Events['closed'])
  }

  /** Tells that it is not attached any more. It was told already, unless it goes down with what carries it. */
  #tellEnd(closure: Closure): void {
    if (!this.endpoint.hasEnded && this.endpoint.remoteHandle >= 0)
      this.owner.tellState('link', this.name, 'ended', closure)
  }

  /** Settles what waits on this link. */
  protected abstract ended(closure: Closure): void

  /** The error for using the link after its end. */
  protected closedError(): AmqpError {
    if (!this.#closure && this.isLeft) return new ClosedError(this.endpoint.label, 'link', undefined, 'local')
    const { label, session } = this.endpoint
    const cause = this.#closure ? this.#closure.error : session.connection.cause
    return new ClosedError(label, 'link', cause, this.#closure?.by)
  }

  async detach(options: Abortable = {}): Promise<void> {
    throwIfAborted(options)
    if (this.#closure) return
    if (this.isDown) return this.#forsake()
    if (this.endpoint.isAttached && !this.isOver) this.endpoint.detach()
    await this.#leave(options)
  }

  async close(options: Abortable & { error?: ErrorInit } = {}): Promise<void> {
    throwIfAborted(options)
    if (this.#closure) return
    if (this.isDown) return this.#forsake()
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

  /** Nobody can be told: what there is at the peer stays as it is. */
  #forsake(): void {
    this.#isLeaving = true
    if (this.isUsable && this.endpoint.state === 'ATTACH_SENT') this.endpoint.close()
    this.onClosed({ by: 'local', error: undefined })
    this.owner.touch()
  }

  #closeEndpoint(error?: ErrorInit): void {
    const { endpoint } = this
    if (this.isDown) return this.#forsake()
    if (!this.isOver && (endpoint.isAttached || endpoint.state === 'ATTACH_SENT'))
      endpoint.close(error && errorFields(error))
    this.owner.touch()
  }

  /** Waits for the peer's detach, and no longer than a close may take. */
  #leave(options: Abortable): Promise<void> {
    this.#isLeaving = true
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
