/** One received message: read lazily, settled once. §2.6.12 */

import { ACCEPTED, type DeliveryState, type Outcome, RELEASED } from '../definitions/delivery-state.ts'
import { type IncomingDelivery, PIECE } from '../engine/incoming-delivery.ts'
import { joined } from '../engine/payload-position.ts'
import type { Share, Untaken } from '../engine/untaken.ts'
import { ClosedError, UsageError } from '../errors.ts'
import { decodeMessage } from '../message/decode.ts'
import type { Message } from '../message/message.ts'
import type { AmqpValue } from '../types/values.ts'
import type { Delivery, Receiver } from './api.ts'
import type { CoordinatedTransaction, Transaction } from './api-transactions.ts'
import { inspectAs } from './diagnostics/inspect.ts'
import { type Deferred, handled } from './operation.ts'
import type { ErrorInit, Transacted } from './options.ts'
import type { ClientReceiver } from './receiver.ts'
import type { ClientSession } from './session.ts'
import { streamOf } from './streaming/incoming-body.ts'
import { errorFields, optionalFields } from './termini.ts'
import { liveTransaction } from './transactions/own-transaction.ts'
import type { ClientTransaction } from './transactions/transaction.ts'

/** What every settlement in mode first returns. */
const DONE: Promise<void> = /* @__PURE__ */ Promise.resolve()

/** Streams of bodies, for the few deliveries that are asked for one. */
const bodies = /* @__PURE__ */ new WeakMap<ClientDelivery, ReadableStream<Uint8Array>>()
/** What a delivery needs of the peer's transaction that it is posted under. */
export interface Posting {
  readonly transaction: CoordinatedTransaction
  /** @throws {TransactionError} it has been rolled back */
  check(): void
  /** §4.4.1 @throws {TransactionError} it has been rolled back  @throws {UsageError} it has been committed */
  decide(delivery: ClientDelivery, outcome: Outcome): void
}

/** Deliveries that nobody has taken and whose link has ended: their owner may drop them without a word. */
const outliving = /* @__PURE__ */ new FinalizationRegistry<() => void>(forget => forget())

export class ClientDelivery implements Delivery {
  static {
    inspectAs(ClientDelivery.prototype, 'Delivery', of => ({
      link: of.#receiver.name,
      bytes: of.#incoming.size,
      state: of.state,
    }))
  }

  readonly receiver: Receiver
  readonly #receiver: ClientReceiver
  readonly #incoming: IncomingDelivery
  /** The transaction of ours that it was acquired under. §4.4.3 */
  acquired: ClientTransaction | undefined
  /** The peer's transaction that it is posted under. §4.4.1 */
  posting: Posting | undefined
  /** The payload, once the session has no use for it any more. */
  #chunks: readonly Uint8Array[] | undefined
  #bytes: Uint8Array | undefined
  #message: Message | undefined

  constructor(receiver: ClientReceiver, incoming: IncomingDelivery) {
    this.receiver = receiver
    this.#receiver = receiver
    this.#incoming = incoming
  }

  /** It lies in the receiver until somebody takes it. @returns false when that was one too many */
  wait(): boolean {
    const { link, stream } = this.#incoming
    return stream !== undefined || link.session.connection.untaken.add(this.#incoming)
  }

  /** Nobody has to count it any more: it has been taken, or dropped. */
  leave(): void {
    if (this.#incoming.untaken && this.#incoming.link.session.connection.untaken.remove(this.#incoming))
      this.#receiver.touch()
  }

  /** Its link has ended: it is counted until it is taken, or there no more. */
  outlive(): void {
    const { untaken: share, link } = this.#incoming
    if (share) outliving.register(this, forgetting(link.session.connection.untaken, share))
  }

  /** It stays for as long as a transaction does. @returns the bytes of memory that this takes up */
  keepAlone(): number {
    const { stream } = this.#incoming
    return stream ? PIECE : this.#incoming.keepAlone()
  }

  get deliveryTag(): Uint8Array {
    return this.#incoming.deliveryTag
  }

  get messageFormat(): number {
    return this.#incoming.messageFormat
  }

  get settled(): boolean {
    return this.#incoming.remoteSettled && this.#incoming.localState === undefined
  }

  get chunks(): readonly Uint8Array[] {
    return this.#chunks ?? this.#incoming.chunks
  }

  get bytes(): Uint8Array {
    this.#bytes ??= joined(this.chunks, this.#incoming.size)
    return this.#bytes
  }

  get message(): Message {
    this.#message ??= decodeMessage(this.bytes, this.#incoming.link.session.connection.limits)
    return this.#message
  }

  /** Whether there is nothing left to decide. */
  get isDecided(): boolean {
    return this.#incoming.localState !== undefined || this.state !== 'live'
  }

  get body(): ReadableStream<Uint8Array> {
    let body = bodies.get(this)
    if (!body) {
      body = streamOf(this.message)
      bodies.set(this, body)
    }
    return body
  }

  get state(): 'live' | 'settled' | 'lost' | 'aborted' {
    if (this.#incoming.localSettled || this.#incoming.remoteSettled) return 'settled'
    return this.#receiver.isLost(this.#incoming) && !this.#incoming.kept ? 'lost' : 'live'
  }

  get transaction(): CoordinatedTransaction | undefined {
    return this.posting?.transaction
  }

  accept(options?: Transacted): Promise<void> {
    return this.#settle(ACCEPTED, options)
  }

  release(options?: Transacted): Promise<void> {
    return this.#settle(RELEASED, options)
  }

  reject(error?: ErrorInit, options?: Transacted): Promise<void> {
    try {
      return this.#settle({ type: 'rejected', error: (error && errorFields(error)) as never }, options)
    } catch (fault) {
      return handled(Promise.reject(fault))
    }
  }

  modify(
    change: {
      deliveryFailed?: boolean
      undeliverableHere?: boolean
      messageAnnotations?: Readonly<Record<string, AmqpValue>>
    } = {},
    options?: Transacted,
  ): Promise<void> {
    const state: Outcome = {
      type: 'modified',
      deliveryFailed: change.deliveryFailed === true,
      undeliverableHere: change.undeliverableHere === true,
      messageAnnotations: optionalFields(change.messageAnnotations),
    }
    return this.#settle(state, options)
  }

  /** Tells a state that is nobody's decision on a message: a coordinator's answers, and what it does of itself. */
  tell(state: DeliveryState): void {
    const incoming = this.#incoming
    if (incoming.localSettled || incoming.remoteSettled || this.#receiver.isLost(incoming)) return
    incoming.link.disposition(incoming, state)
    this.#receiver.touch()
  }

  #settle(state: Outcome, options: Transacted | undefined): Promise<void> {
    const incoming = this.#incoming
    const given = options?.transaction ?? (this.acquired?.isLive ? this.acquired : undefined)
    if (given || this.posting) return this.#settleUnder(given, this.posting, state)
    if (incoming.localState) return this.#settledBefore(incoming.localState, state)
    if (this.state === 'lost')
      return handled(Promise.reject(new ClosedError(incoming.link.label, 'link', this.#receiver.cause)))
    try {
      // While the link is being attached again, a decision waits to be told there. §2.6.13
      incoming.link.disposition(incoming, state, incoming.remoteSettled || this.#receiver.isHere(incoming.link))
    } catch (error) {
      return handled(Promise.reject(error))
    }
    // Its link may have been attached again since.
    const receiver = incoming.link.context as ClientReceiver
    receiver.touch()
    if (incoming.localSettled) return DONE
    if (!incoming.stream) this.#chunks = incoming.release()
    return handled(receiver.settlings.wait(incoming, !receiver.isLost(incoming)))
  }

  #settleUnder(given: Transaction | undefined, posting: Posting | undefined, outcome: Outcome): Promise<void> {
    const incoming = this.#incoming
    try {
      const before = incoming.localState
      if (before) {
        const decided = before.type === 'transactional-state' ? before.outcome?.type : before.type
        if (posting) posting.check()
        if (decided === outcome.type) return DONE
        throw new UsageError(`delivery ${incoming.deliveryId} on ${incoming.link.label} was ${decided} before`, '4.4.2')
      }
      if (this.state === 'lost') throw new ClosedError(incoming.link.label, 'link', this.#receiver.cause)
      if (posting) posting.decide(this, outcome)
      else if (given) this.#retire(liveTransaction(given, this.receiver.session), outcome)
      return DONE
    } catch (error) {
      return handled(Promise.reject(error))
    }
  }

  /** §4.4.2 */
  #retire(transaction: ClientTransaction, outcome: Outcome): void {
    const incoming = this.#incoming
    if (this.acquired?.isLive && this.acquired !== transaction)
      throw new UsageError('the delivery was acquired under another transaction', '4.4.2')
    incoming.link.disposition(incoming, transaction.retirement(outcome), false)
    transaction.retire(this)
    this.#receiver.touch()
  }

  /** The outcome in the peer's transaction, as it is told. §4.4.1 */
  decideUnder(txnId: Uint8Array, outcome: Outcome): void {
    this.#incoming.link.disposition(this.#incoming, { type: 'transactional-state', txnId, outcome })
    this.#receiver.touch()
  }

  /** The transaction is over that it was decided on under: the outcome holds, or it is undecided again. §4.4.4 */
  conclude(committed: boolean): void {
    const { localState: state, link, localSettled } = this.#incoming
    if (localSettled || this.#receiver.isLost(this.#incoming) || state?.type !== 'transactional-state') return
    if (committed && state.outcome) link.disposition(this.#incoming, state.outcome)
    else link.revert(this.#incoming)
    this.#receiver.touch()
  }

  /** What it was acquired under is rolled back: the sender has it again. §4.4.4 */
  forsake(): void {
    this.tell(RELEASED)
  }

  /** Deciding the same again changes nothing. */
  #settledBefore(before: DeliveryState, now: DeliveryState): Promise<void> {
    if (before.type === now.type) return (this.#incoming.context as Deferred<void> | undefined)?.promise ?? DONE
    const { deliveryId, link } = this.#incoming
    return handled(
      Promise.reject(new UsageError(`delivery ${deliveryId} on ${link.label} was ${before.type} before`, '2.6.12')),
    )
  }
}

/** Made apart from the delivery, so that it does not keep that alive. */
const forgetting = (untaken: Untaken, share: Share) => (): void => {
  if (untaken.release(share)) (share.session.deref()?.context as ClientSession | undefined)?.touch()
}
