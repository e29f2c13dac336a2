/** One terminus of a listener's: attached to a link, or alive without one until its time is up. §2.6.4 §3.5.6 */

import type { IncomingDelivery } from '../../engine/incoming-delivery.ts'
import type { LinkEndpoint } from '../../engine/link-endpoint.ts'
import type { OutgoingDelivery } from '../../engine/outgoing-delivery.ts'
import { type AmqpError, ClosedError, LinkCondition, RemoteError } from '../../errors.ts'
import { timerDelay } from '../../io/delay.ts'
import type { Closure } from '../api.ts'
import type { TerminusKey } from '../api-termini.ts'
import type { Deferred } from '../operation.ts'
import type { ClientReceiver } from '../receiver.ts'
import type { ClientSender } from '../sender.ts'
import { type Ends, NOTHING_KEPT, outlives, type Terminus, type Terms } from './keeper.ts'
import type { SuspendedLinks } from './suspended-links.ts'

export type AnyLink = ClientSender | ClientReceiver

/** What has an end that is waited for. */
type Scope = AnyLink['session'] | AnyLink['session']['connection']

export class KeptTerminus implements Terminus {
  readonly key: TerminusKey
  readonly #owner: SuspendedLinks
  ends: Ends
  #terms: Terms = NOTHING_KEPT
  /** What it takes up in the books of its owner; −1 while it has no place there. */
  bytes = -1
  #link: AnyLink | undefined
  /** The session that it was attached on last. */
  #session: AnyLink['session'] | undefined
  #outgoing: ReadonlySet<OutgoingDelivery> = new Set()
  #incoming: readonly IncomingDelivery[] = []
  #cause: AmqpError | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  /** The session or connection whose end it waits for. */
  #scope: Scope | undefined

  constructor(owner: SuspendedLinks, key: TerminusKey, ends: Ends) {
    this.#owner = owner
    this.key = key
    this.ends = ends
  }

  get isDurable(): boolean {
    return this.#terms.durable !== 'none'
  }

  /** It was in the store: nothing is known but its configuration. @param expiresAt  on the clock of `Date.now()` */
  found(terms: Terms, expiresAt: number | undefined): void {
    this.#terms = { ...terms, durable: 'configuration' }
    // Whatever it was attached to went down with another process.
    if (expiresAt !== undefined) this.#arm(expiresAt - Date.now())
    else if (terms.expiryPolicy !== 'never') this.#arm(terms.timeout * 1000)
  }

  /** A link is about to be attached to it. What it has kept goes on there. */
  attach(link: AnyLink, ends: Ends, terms: Terms, isResumed: boolean): void {
    this.#rest()
    this.ends = ends
    this.#terms = terms
    this.#link = link
    this.#session = link.session
    link.terminus = this
    const { endpoint } = link
    if (endpoint.role === 'sender') endpoint.keepsPayload = outlives(terms)
    this.#count(-1)
    if (!isResumed) return
    if (endpoint.role === 'receiver') endpoint.adopt(this.#incoming)
    else {
      endpoint.adopt([...this.#outgoing])
      ;(link as ClientSender).takeOver(this.#outgoing)
    }
    this.#outgoing = new Set()
    this.#incoming = []
  }

  /**
   * The link is attached again, maybe on another connection, while this end knows nothing of its end: it is stolen. §2.6.1
   * @returns false when it was being closed: there is nothing to go on with
   */
  giveUp(): boolean {
    const link = this.#link
    if (!link) return true
    const { endpoint, session } = link
    if (endpoint.isClosed) return false
    endpoint.steal(true)
    const error = { condition: LinkCondition.stolen, description: 'the name was attached again' }
    link.onClosed({ by: 'remote', error: new RemoteError(endpoint.label, 'link', error) })
    // What it has to say of that leaves on its own connection.
    ;(session as unknown as { touch(): void }).touch()
    return true
  }

  holds(delivery: OutgoingDelivery): boolean {
    return this.#outgoing.has(delivery)
  }

  onLeft(closure: Closure): void {
    const link = this.#link
    if (!link) return
    this.#link = undefined
    const { endpoint } = link
    this.#cause = new ClosedError(endpoint.label, 'link', closure.error, closure.by)
    const isDue = startsWith(this.#terms, endpoint)
    const isOver = endpoint.isClosed || !outlives(this.#terms) || (isDue && this.#terms.timeout === 0)
    if (endpoint.role === 'sender') this.#outgoing = new Set(endpoint.open.filter(isKeepable))
    else this.#keepIncoming(link as ClientReceiver, endpoint.open, isOver)
    if (isOver || !this.#owner.hasRoom(this.#outgoing.size + this.#incoming.length)) return this.#end()
    this.#count(1)
    if (isDue) this.start()
    else if (this.#terms.expiryPolicy !== 'never') this.#wait()
  }

  #keepIncoming(link: ClientReceiver, open: readonly IncomingDelivery[], isOver: boolean): void {
    const kept = new Set(isOver ? [] : this.#owner.fitting(open.filter(isUndisturbed)))
    for (const delivery of open) {
      delivery.kept = kept.has(delivery)
      link.settlings.leave(delivery, this.#cause)
    }
    this.#incoming = [...kept]
  }

  #count(sign: 1 | -1): void {
    this.#owner.deliveries += sign * (this.#outgoing.size + this.#incoming.length)
    for (const { handedOver, pinned } of this.#incoming) if (!handedOver) this.#owner.bytes += sign * pinned
  }

  /** Until the session that it was attached on last has ended, or the connection. */
  #wait(): void {
    const session = this.#session
    if (!session) return
    this.#scope = this.#terms.expiryPolicy === 'session-end' ? session : session.connection
    this.#owner.whenClosed(this.#scope, this)
  }

  /** Nothing of what would end it may happen any more. */
  #rest(): void {
    clearTimeout(this.#timer)
    if (this.#scope) this.#owner.stopWaiting(this.#scope, this)
    this.#scope = undefined
  }

  /** Its time begins to run. */
  start(): void {
    const { timeout } = this.#terms
    if (timeout === 0) return this.expire()
    this.#owner.note(this, Date.now() + timeout * 1000)
    this.#arm(timeout * 1000)
  }

  #arm(ms: number): void {
    const until = performance.now() + ms
    const onTimer = (): void => (performance.now() < until ? this.#arm(until - performance.now()) : this.expire())
    clearTimeout(this.#timer)
    this.#timer = setTimeout(onTimer, timerDelay(ms))
    this.#timer.unref?.()
  }

  /** Nobody has attached to it in time, or the listener is closed. */
  expire(): void {
    if (this.#link) return
    this.#count(-1)
    this.#end()
  }

  /** Its deliveries are lost. */
  #end(): void {
    this.#rest()
    const [outgoing, incoming] = [this.#outgoing, this.#incoming]
    this.#outgoing = new Set()
    this.#incoming = []
    for (const delivery of outgoing) (delivery.link.context as ClientSender).lose(delivery, this.#cause as AmqpError)
    for (const delivery of incoming) {
      delivery.kept = false
      ;(delivery.context as Deferred<void> | undefined)?.reject(this.#cause)
    }
    this.#owner.forget(this)
  }
}

/** Whether the expiry timer starts as the link ends. §3.5.6 */
function startsWith({ expiryPolicy }: Terms, { session }: LinkEndpoint): boolean {
  if (expiryPolicy === 'link-detach') return true
  if (expiryPolicy === 'never') return false
  return session.connection.hasEnded || (expiryPolicy === 'session-end' && session.hasEnded)
}

/**
 * What can be sent again, or said again. What was made while it was sent cannot, nor may what was sent settled; work under
 * a transaction stands or falls with that, not with its link. D-051
 */
const isKeepable = ({ kept, state, acquired, settled, hasBegun, remoteState }: OutgoingDelivery): boolean =>
  kept !== undefined && !state && !acquired && !(settled && hasBegun) && remoteState?.type !== 'transactional-state'

const isUndisturbed = ({ localState, remoteState }: IncomingDelivery): boolean =>
  localState?.type !== 'transactional-state' && remoteState?.type !== 'transactional-state'
