/**
 * What a sender brings with it from an earlier endpoint of its link: deliveries without an outcome. §2.6.13 §3.4.6
 *
 * The table of `resumption.ts` says what becomes of each once the target's map is known. What was never framed has no
 * state yet, and is sent as if nothing had happened.
 */

import type { DeliveryState, Received } from '../definitions/delivery-state.ts'
import { statesByTag, tagText, type UnsettledEntry } from '../definitions/unsettled-map.ts'
import { echoed } from './error-fields.ts'
import { type DeliveryInit, OutgoingDelivery } from './outgoing-delivery.ts'
import { joined, offsetOf } from './payload-position.ts'
import { positionOf, resumption } from './resumption.ts'
import type { SenderEndpoint } from './sender-endpoint.ts'

/** What is to be done now, in this order, and what has to wait for the next attach, or is gone. */
export interface RecoveryPlan {
  readonly queue: readonly OutgoingDelivery[]
  /** One of the maps was incomplete: nothing may be concluded from what it lacks. */
  readonly held: readonly OutgoingDelivery[]
  /** Their payload is not here any more, and the target has not got it. */
  readonly lost: readonly OutgoingDelivery[]
}

/** Behind every payload: where the source can resume one that it has not kept. §3.4.1 */
const NOWHERE: Received = /* @__PURE__ */ Object.freeze({
  type: 'received',
  sectionNumber: 0xffffffff,
  sectionOffset: 0n,
})

/** The state that the source has of a delivery: an outcome, where its owner has given it up. */
const stateAtSource = ({ localState, kept }: OutgoingDelivery): DeliveryState | undefined =>
  localState ?? (kept ? undefined : NOWHERE)

/** What the unsettled map of our attach says. What was sent settled is forgotten as soon as it has begun. */
export function* unsettledAtSource(deliveries: readonly OutgoingDelivery[]): Generator<UnsettledEntry> {
  for (const delivery of deliveries)
    if (delivery.hasBegun && !delivery.settled) yield [delivery.deliveryTag, stateAtSource(delivery)] as const
}

/**
 * Decides on every delivery.
 *
 * @param unsettled  the target's map
 * @param mayCreate  whether both maps are complete, so that what the target's lacks it does not have
 */
export function planRecovery(
  link: SenderEndpoint,
  deliveries: readonly OutgoingDelivery[],
  unsettled: readonly UnsettledEntry[] | undefined,
  mayCreate: boolean,
): RecoveryPlan {
  const states = statesByTag(unsettled)
  const plan = { queue: [] as OutgoingDelivery[], held: [] as OutgoingDelivery[], lost: [] as OutgoingDelivery[] }
  for (const delivery of deliveries) {
    const remote = delivery.hasBegun ? states.get(tagText(delivery.deliveryTag)) : undefined
    if (remote === undefined && !mayCreate) plan.held.push(delivery)
    else decide(link, delivery, remote, mayCreate, plan)
  }
  return plan
}

type Plan = { readonly [K in keyof RecoveryPlan]: OutgoingDelivery[] }

function decide(
  link: SenderEndpoint,
  delivery: OutgoingDelivery,
  remote: DeliveryState | null | undefined,
  mayCreate: boolean,
  plan: Plan,
): void {
  const local = stateAtSource(delivery)
  // Its transaction does not commit without it, and it must not come to stand outside of one. §4.4.1
  if (delivery.state && remote !== undefined) plan.queue.push(notice(link, delivery))
  // A pre-settled delivery may have arrived or not: sending it again would break at-most-once.
  if (delivery.state || (delivery.settled && delivery.hasBegun)) {
    if (!delivery.localState) plan.lost.push(delivery)
    return
  }
  switch (resumption(local, remote)) {
    case 'forget':
      return
    case 'resend':
      return void (delivery.rebind(link, 0) ? plan.queue : plan.lost).push(delivery)
    case 'resume': {
      const position = positionOf(remote)
      const offset = delivery.kept && offsetOf(joined(delivery.kept, delivery.size), position)
      if (offset !== undefined && delivery.rebind(link, offset)) {
        delivery.resumption = {
          state: offset > 0 ? { type: 'received', ...position } : undefined,
          settles: false,
          aborted: false,
        }
        return void plan.queue.push(delivery)
      }
      return abort(link, delivery, mayCreate, plan)
    }
    case 'abort':
      return abort(link, delivery, mayCreate, plan)
    case 'settle':
      delivery.rebind(link, delivery.size)
      delivery.remoteState = remote as DeliveryState
      delivery.resumption = {
        state: echoed(remote as DeliveryState, link.session.connection.remoteMaxFrameSize),
        settles: true,
        aborted: false,
      }
      return void plan.queue.push(delivery)
    case 'restate':
      delivery.rebind(link, delivery.size)
      delivery.resumption = { state: local, settles: false, aborted: false }
      return void plan.queue.push(delivery)
  }
}

/** Has the target forget it; if it is still wanted, it follows as a new delivery, as soon as there may be any. */
function abort(link: SenderEndpoint, delivery: OutgoingDelivery, mayCreate: boolean, plan: Plan): void {
  plan.queue.push(notice(link, delivery))
  if (delivery.localState) return
  if (!delivery.rebind(link, 0)) plan.lost.push(delivery)
  else (mayCreate ? plan.queue : plan.held).push(delivery)
}

const NO_BYTES: Uint8Array = /* @__PURE__ */ new Uint8Array(0)

/** A transfer that has the target forget a delivery. */
function notice(link: SenderEndpoint, { tag, messageFormat }: OutgoingDelivery): OutgoingDelivery {
  const end = new OutgoingDelivery(link, tag, messageFormat, false, NO_BYTES, 0, 0, [], 0, undefined)
  end.becomeNotice()
  return end
}

/**
 * A delivery of a link that is not attached, for `requeue` of its next endpoint.
 *
 * @param payload  kept by reference
 * @throws {UsageError} its tag is in use or too long, or the link does not settle like that
 */
export function heldDelivery(link: SenderEndpoint, payload: Uint8Array, init: DeliveryInit): OutgoingDelivery {
  link.checkInit(init)
  const { deliveryTag, messageFormat = 0, settled = false } = init
  const tag = deliveryTag ?? link.tags.next()
  const { length } = payload
  const delivery = new OutgoingDelivery(link, tag, messageFormat, settled, NO_BYTES, 0, 0, [], length, undefined)
  delivery.kept = [payload]
  if (deliveryTag && !settled) link.tags.use(deliveryTag)
  return delivery
}

/**
 * Queues, as a new delivery, what an earlier endpoint of this link had or what `heldDelivery` has made.
 * @returns false when its payload is not here any more
 */
export function requeue(link: SenderEndpoint, delivery: OutgoingDelivery): boolean {
  if (!delivery.kept) return false
  delivery.rebind(link, 0)
  delivery.hasBegun = false
  delivery.isQueued = true
  if (!link.keepsPayload) delivery.kept = undefined
  if (typeof delivery.tag === 'number' || !delivery.settled) link.tags.use(delivery.tag)
  link.queue.push(delivery)
  link.session.connection.pendingBytes += delivery.size
  link.wake()
  return true
}
