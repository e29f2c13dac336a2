/** Messages of ours that the peer has acquired under one transaction, until that is over. §4.4.3 §4.4.4.3 */

import { ACCEPTED, type Outcome, RELEASED } from '../../definitions/delivery-state.ts'
import type { Acquisition } from '../../engine/acquisition.ts'
import { isOutcome } from '../../engine/outcomes.ts'
import type { OutgoingDelivery } from '../../engine/outgoing-delivery.ts'
import type { Acquired } from '../api-transactions.ts'
import { outcomeOf } from '../outcome.ts'
import type { ClientSender } from '../sender.ts'

export class AcquiredMessages {
  readonly #by = new Map<Acquisition, ClientSender>()
  /** The last of each sender. */
  readonly #last = new Map<ClientSender, Acquisition>()

  /** One that another follows before anything has left under it is forgotten: a peer may say so with each flow. */
  add(sender: ClientSender, acquisition: Acquisition): void {
    const before = this.#last.get(sender)
    if (before?.deliveries.length === 0) this.#by.delete(before)
    this.#last.set(sender, acquisition)
    this.#by.set(acquisition, sender)
  }

  /** How many are remembered. */
  get count(): number {
    return this.#by.size
  }

  *#all(): Generator<[OutgoingDelivery, ClientSender]> {
    for (const [{ deliveries }, sender] of this.#by) for (const delivery of deliveries) yield [delivery, sender]
  }

  get list(): Acquired[] {
    return [...this.#all()].map(([delivery, sender]) => ({
      sender,
      deliveryTag: delivery.deliveryTag,
      outcome: outcomeOf(outcomeIn(delivery)),
    }))
  }

  /** The discharge has come: what is sent from now on stands outside of the transaction. */
  stop(): void {
    for (const [acquisition, { endpoint }] of this.#by)
      if (endpoint.acquisition === acquisition) endpoint.acquisition = undefined
  }

  /** Whether some are still being sent, or waiting to be aborted. */
  get arePartial(): boolean {
    for (const [{ isQueued }] of this.#all()) if (isQueued) return true
    return false
  }

  /** All of it holds, or everything is back where it came from. */
  conclude(committed: boolean): void {
    this.stop()
    for (const acquisition of this.#by.keys()) acquisition.end()
    for (const [delivery, sender] of this.#all()) {
      if (!committed) takeBack(sender, delivery)
      else if (delivery.context) keep(sender, delivery)
    }
  }
}

/** The outcome in the transaction, or, when that is over, the one that holds. */
const outcomeIn = ({ remoteState: state }: OutgoingDelivery): Outcome | undefined => {
  if (state?.type === 'transactional-state') return state.outcome
  return state && isOutcome(state) ? (state as Outcome) : undefined
}

/** Half of a message is aborted; the frame that says so goes before the answer to the discharge. */
function takeBack(sender: ClientSender, delivery: OutgoingDelivery): void {
  if (delivery.isQueued) sender.endpoint.abort(delivery)
  sender.concludeRetirement(delivery, RELEASED)
}

/** Acquired for good. Without an outcome it is the receiver's to settle, as any other. */
function keep(sender: ClientSender, delivery: OutgoingDelivery): void {
  const { remoteState: state } = delivery
  if (delivery.settled) {
    if (!delivery.isQueued) sender.concludeRetirement(delivery, ACCEPTED)
  } else if (state?.type === 'transactional-state') return
  else if (state && isOutcome(state)) sender.concludeRetirement(delivery, state as Outcome)
  else if (delivery.remoteSettled) sender.concludeRetirement(delivery, undefined)
}
