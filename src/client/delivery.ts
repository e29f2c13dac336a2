/** One received message: read lazily, settled once. §2.6.12 */

import { ACCEPTED, type DeliveryState, RELEASED } from '../definitions/delivery-state.ts'
import type { IncomingDelivery } from '../engine/incoming-delivery.ts'
import { joined } from '../engine/payload-position.ts'
import { ClosedError, UsageError } from '../errors.ts'
import { decodeMessage } from '../message/decode.ts'
import type { Message } from '../message/message.ts'
import type { AmqpValue } from '../types/values.ts'
import type { Delivery, Receiver } from './api.ts'
import { inspectAs } from './inspect.ts'
import { type Deferred, deferred, handled } from './operation.ts'
import type { ErrorInit } from './options.ts'
import type { ClientReceiver } from './receiver.ts'
import { errorFields, optionalFields } from './termini.ts'

/** What every settlement in mode first returns. */
const DONE: Promise<void> = /* @__PURE__ */ Promise.resolve()

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
  #bytes: Uint8Array | undefined
  #message: Message | undefined

  constructor(receiver: ClientReceiver, incoming: IncomingDelivery) {
    this.receiver = receiver
    this.#receiver = receiver
    this.#incoming = incoming
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
    return this.#incoming.chunks
  }

  get bytes(): Uint8Array {
    this.#bytes ??= joined(this.#incoming.chunks, this.#incoming.size)
    return this.#bytes
  }

  get message(): Message {
    this.#message ??= decodeMessage(this.bytes, this.#incoming.link.session.connection.limits)
    return this.#message
  }

  get state(): 'live' | 'settled' | 'lost' {
    if (this.#incoming.localSettled || this.#incoming.remoteSettled) return 'settled'
    return this.#receiver.hasEnded ? 'lost' : 'live'
  }

  accept(): Promise<void> {
    return this.#settle(ACCEPTED)
  }

  release(): Promise<void> {
    return this.#settle(RELEASED)
  }

  reject(error?: ErrorInit): Promise<void> {
    try {
      return this.#settle({ type: 'rejected', error: (error && errorFields(error)) as never })
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
  ): Promise<void> {
    return this.#settle({
      type: 'modified',
      deliveryFailed: change.deliveryFailed === true,
      undeliverableHere: change.undeliverableHere === true,
      messageAnnotations: optionalFields(change.messageAnnotations),
    })
  }

  #settle(state: DeliveryState): Promise<void> {
    const incoming = this.#incoming
    if (incoming.localState) return this.#settledBefore(incoming.localState, state)
    if (this.state === 'lost')
      return handled(Promise.reject(new ClosedError(incoming.link.label, 'link', this.#receiver.cause)))
    try {
      incoming.link.disposition(incoming, state)
    } catch (error) {
      return handled(Promise.reject(error))
    }
    this.#receiver.touch()
    if (incoming.localSettled) return DONE
    const settling = deferred<void>()
    incoming.context = settling
    this.#receiver.settling.add(settling)
    return handled(settling.promise)
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
