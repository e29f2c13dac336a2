/** Sender: encodes at the call, waits for credit in order, resolves with the outcome. §2.6.7 §2.6.12 */

import type { OutgoingDelivery } from '../engine/outgoing-delivery.ts'
import { COPY_BELOW, type DeliveryInit, type SenderEndpoint } from '../engine/sender-endpoint.ts'
import { UsageError } from '../errors.ts'
import { EncodedMessage, writeMessage } from '../message/encode.ts'
import type { MessageInit } from '../message/message.ts'
import type { Closure, Sender } from './api.ts'
import { inspectAs } from './inspect.ts'
import { ClientLink, type LinkOwner } from './link.ts'
import { abortable, type Deferred, deferred, throwIfAborted } from './operation.ts'
import type { Abortable, SendOptions } from './options.ts'
import { ACCEPTED_OUTCOME, type Outcome, outcomeOf } from './outcome.ts'

type SenderEvents = { closed: Closure; credit: { linkCredit: number; drain: boolean } }

/** What a sent message waits with: the context of its delivery. */
interface PendingSend {
  resolve(outcome: Outcome): void
  reject(error: unknown): void
  /** Stops listening to the signal. */
  detach: (() => void) | undefined
}

/** What a delivery becomes that is settled without an outcome, where the source names no default. D-017 */
const UNSAID: Outcome = { outcome: 'released' }

export class ClientSender extends ClientLink<SenderEvents> implements Sender {
  static {
    inspectAs(ClientSender.prototype, 'Sender', of => {
      const { state, ...link } = of.summary
      return { ...link, linkCredit: of.linkCredit, state }
    })
  }

  declare readonly endpoint: SenderEndpoint
  readonly #maxPending: number
  #waiters: Deferred<void>[] = []
  /** Sends whose promise is not settled, and who waits until there are none. */
  #unsettled = 0
  #allSettled: Deferred<void> | undefined

  constructor(owner: LinkOwner, endpoint: SenderEndpoint, maxPending: number) {
    super(owner, endpoint)
    this.#maxPending = maxPending
  }

  get linkCredit(): number {
    return this.endpoint.credit.linkCredit
  }

  get pending(): number {
    return this.endpoint.queue.length
  }

  send(message: MessageInit | EncodedMessage, options: SendOptions = {}): Promise<Outcome> {
    let delivery: OutgoingDelivery
    try {
      if (this.isOver || this.isClosing) throw this.closedError()
      if (options.signal?.aborted) throw options.signal.reason
      if (this.pending >= this.#maxPending)
        throw new UsageError(
          `${this.endpoint.label} has ${this.pending} messages waiting; \`ready()\` tells when there is room`,
        )
      if (typeof message !== 'object' || message === null)
        throw new UsageError('a message is an object such as { body: … }', '3.2')
      delivery = this.#queue(message, options)
    } catch (error) {
      return Promise.reject(error)
    }
    const outcome = new Promise<Outcome>((resolve, reject) => {
      const pending: PendingSend = { resolve, reject, detach: undefined }
      delivery.context = pending
      this.#unsettled++
      if (options.signal) this.#watch(delivery, pending, options.signal)
    })
    // Not earlier: this may flush at once, and a message that is sent settled then has its outcome.
    this.owner.touch()
    return outcome
  }

  /** Whether it was attached without a target address: each message says where it goes. §3.2.4 */
  relays = false

  /** Encodes a message and queues it, or changes nothing. */
  #queue(message: MessageInit | EncodedMessage, options: SendOptions): OutgoingDelivery {
    const { endpoint } = this
    const init: DeliveryInit = {
      deliveryTag: options.deliveryTag,
      messageFormat: options.messageFormat,
      settled: options.settled ?? endpoint.sndSettleMode === 'settled',
    }
    if (message instanceof EncodedMessage) {
      this.#checkSize(message.bytes.length)
      return endpoint.transfer(message.bytes, {
        ...init,
        messageFormat: options.messageFormat ?? message.messageFormat,
      })
    }
    if (this.relays && !message.properties?.to)
      throw new UsageError(
        `${endpoint.label} has no target: each message says where it goes, in properties.to`,
        '3.2.4',
      )
    const writer = endpoint.beginMessage(init)
    const start = writer.offset - writer.mark
    try {
      const splices = writeMessage(writer, message, COPY_BELOW)
      let size = writer.offset - writer.mark - start
      if (splices) for (const splice of splices) size += splice.bytes.length
      this.#checkSize(size)
      return endpoint.commitMessage(init, splices)
    } catch (error) {
      endpoint.cancelMessage()
      throw error
    }
  }

  #checkSize(size: number): void {
    const max = this.endpoint.remoteMaxMessageSize
    if (max > 0n && size > max)
      throw new UsageError(
        `a message of ${size} bytes is too large for ${this.endpoint.label}, which takes ${max}`,
        '2.7.3',
      )
  }

  #watch(delivery: OutgoingDelivery, pending: PendingSend, signal: AbortSignal): void {
    const onAbort = () => {
      this.#done(delivery)
      this.endpoint.abort(delivery)
      this.owner.touch()
      pending.reject(signal.reason)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    pending.detach = () => signal.removeEventListener('abort', onAbort)
  }

  async ready(options: Abortable = {}): Promise<void> {
    throwIfAborted(options)
    if (this.closure) throw this.closedError()
    if (this.pending * 2 < this.#maxPending) return
    const waiter = deferred<void>()
    this.#waiters.push(waiter)
    this.owner.flushed.add(this.#onFlush)
    await abortable(waiter, options.signal, () => {
      this.#waiters = this.#waiters.filter(have => have !== waiter)
    })
  }

  /** A delivery's outcome is known. */
  onOutcome(delivery: OutgoingDelivery): void {
    const pending = this.#done(delivery)
    pending?.resolve(delivery.settled ? ACCEPTED_OUTCOME : this.#outcome(delivery))
  }

  /** A send is over. @returns what it waited with, the first time */
  #done(delivery: OutgoingDelivery): PendingSend | undefined {
    const pending = delivery.context as PendingSend | undefined
    if (!pending) return undefined
    delivery.context = undefined
    pending.detach?.()
    if (--this.#unsettled === 0) {
      this.#allSettled?.resolve()
      this.#allSettled = undefined
    }
    return pending
  }

  protected get isBusy(): boolean {
    return this.#unsettled > 0
  }

  /** Resolves when no send waits for its outcome. */
  whenSettled(): Promise<void> {
    if (this.#unsettled === 0) return Promise.resolve()
    this.#allSettled ??= deferred()
    return this.#allSettled.promise
  }

  #outcome(delivery: OutgoingDelivery): Outcome {
    return outcomeOf(delivery.remoteState) ?? outcomeOf(this.endpoint.remoteSource?.defaultOutcome) ?? UNSAID
  }

  /** The receiver's flow has changed the credit. */
  onFlow(): void {
    if (this.hears('credit')) this.emit('credit', { linkCredit: this.linkCredit, drain: this.endpoint.credit.drain })
  }

  /** The queue may have become shorter. */
  readonly #onFlush = (): void => {
    if (this.#waiters.length > 0 && this.pending * 2 >= this.#maxPending) return
    this.owner.flushed.delete(this.#onFlush)
    for (const waiter of this.#waiters.splice(0)) waiter.resolve()
  }

  protected ended(): void {
    const error = this.closedError()
    const { endpoint } = this
    const open = new Set([...endpoint.abandoned.splice(0), ...endpoint.queue, ...endpoint.unsettled()])
    for (const delivery of open) this.#done(delivery)?.reject(error)
    this.owner.flushed.delete(this.#onFlush)
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error)
  }
}
