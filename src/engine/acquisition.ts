/**
 * Transactional acquisition at the source: what leaves a sender between a flow that names a transaction and the
 * discharge of that. §4.4.3
 *
 * The state goes with the first frame of a delivery, whenever that was queued: credit decides what is acquired, not the
 * call. The engine keeps no transactions: whether there is one of that id its owner knows, and hears of the flow first.
 */

import type { TransactionalState } from '../definitions/delivery-state.ts'
import type { Flow } from '../definitions/performatives.ts'
import { tagText } from '../definitions/unsettled-map.ts'
import { AmqpCondition } from '../errors.ts'
import type { OutgoingDelivery } from './outgoing-delivery.ts'
import type { SenderEndpoint } from './sender-endpoint.ts'
import { encodedState } from './transfer-state.ts'

/** What one sender sends under one transaction of the receiver's. */
export class Acquisition {
  readonly state: TransactionalState
  readonly #bytes: Uint8Array | undefined
  /** In the order of their first frames. */
  readonly deliveries: OutgoingDelivery[] = []

  /** @param txnId  is copied */
  constructor(txnId: Uint8Array) {
    this.state = Object.freeze({ type: 'transactional-state', txnId: txnId.slice(), outcome: undefined })
    this.#bytes = encodedState(this.state)
  }

  get txnId(): Uint8Array {
    return this.state.txnId
  }

  /** A delivery is about to begin. One that is posted under a transaction of ours stays under that. */
  take(delivery: OutgoingDelivery): void {
    if (delivery.state) return
    delivery.acquired = this
    delivery.stateBytes = this.#bytes
    this.deliveries.push(delivery)
  }

  /** The transaction is over: frames that are still to come of its deliveries stand outside of it. */
  end(): void {
    for (const delivery of this.deliveries) delivery.stateBytes = undefined
  }
}

/**
 * Takes in what a flow says of a transaction: an id from now on, null from now on none; without the entry all stays as it
 * is, until the discharge. @returns false when it ended the link
 */
export function takeAcquisition(link: SenderEndpoint, { properties }: Flow): boolean {
  if (!properties?.has('txn-id')) return true
  const txnId = properties.get('txn-id')
  if (txnId === null) {
    link.acquisition = undefined
    return true
  }
  const { acquires } = link.session.connection
  if (!acquires || !(txnId instanceof Uint8Array) || txnId.length > 32) {
    if (acquires) link.fail(AmqpCondition.invalidField, 'a txn-id is at most 32 bytes of binary', '4.5.4')
    else link.fail(AmqpCondition.notImplemented, 'no message is acquired under a transaction here', '4.4.3')
    return false
  }
  if (!link.acquisition || tagText(link.acquisition.txnId) !== tagText(txnId)) link.acquisition = new Acquisition(txnId)
  return true
}
