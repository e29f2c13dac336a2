/**
 * Delivery states: what a receiver has decided about a delivery, or how far it got. §3.4 §4.5.5–6
 *
 * Terminal states are outcomes: accepted, rejected, released, modified, and declared for a coordinator.
 */

import {
  type Archetype,
  archetype,
  booleanField,
  type Composite,
  composite,
  compositeField,
  defaulted,
  exact,
  fieldsField,
  mandatory,
  optional,
  uintField,
  ulongField,
} from '../types/composite.ts'
import type { AmqpMap } from '../types/map.ts'
import { type ErrorValue, error } from './error.ts'
import { transactionIdField } from './restricted.ts'

/** How much of a partly received message is safe. §3.4.1 */
export interface Received {
  readonly type: 'received'
  /** Section within the message, from 0. */
  readonly sectionNumber: number
  /** Bytes of that section. */
  readonly sectionOffset: bigint
}

/** The message was processed. §3.4.2 */
export interface Accepted {
  readonly type: 'accepted'
}

/** The message is invalid and will not be tried again. §3.4.3 */
export interface Rejected {
  readonly type: 'rejected'
  readonly error: ErrorValue | undefined
}

/** The message was not and will not be processed here; it may go elsewhere. §3.4.4 */
export interface Released {
  readonly type: 'released'
}

/** As released, with changes. §3.4.5 */
export interface Modified {
  readonly type: 'modified'
  /** Count this as a failed delivery. */
  readonly deliveryFailed: boolean
  /** Do not deliver it to this link again. */
  readonly undeliverableHere: boolean
  /** To be merged into the message's annotations. */
  readonly messageAnnotations: AmqpMap | undefined
}

/** A coordinator's answer to declare. §4.5.5 */
export interface Declared {
  readonly type: 'declared'
  readonly txnId: Uint8Array
}

/** The state of a delivery inside a transaction. §4.5.6 */
export interface TransactionalState {
  readonly type: 'transactional-state'
  readonly txnId: Uint8Array
  /** What the delivery's outcome will be if the transaction commits. */
  readonly outcome: Outcome | undefined
}

/** The states of §3.4 that end a delivery. */
export type Outcome = Accepted | Rejected | Released | Modified

/** Any state a delivery can be in on the wire. */
export type DeliveryState = Outcome | Received | Declared | TransactionalState

/** The table of `Received`. §3.4.1 */
export const received: Composite<Received> = /* @__PURE__ */ composite<Received>({
  name: 'received',
  code: 0x23,
  section: '3.4.1',
  fields: { sectionNumber: mandatory(uintField), sectionOffset: mandatory(ulongField) },
})

/** The table of `Accepted`. §3.4.2 */
export const accepted: Composite<Accepted> = /* @__PURE__ */ composite<Accepted>({
  name: 'accepted',
  code: 0x24,
  section: '3.4.2',
  fields: {},
})

/** The table of `Rejected`. §3.4.3 */
export const rejected: Composite<Rejected> = /* @__PURE__ */ composite<Rejected>({
  name: 'rejected',
  code: 0x25,
  section: '3.4.3',
  fields: { error: optional(/* @__PURE__ */ compositeField(error)) },
})

/** The table of `Released`. §3.4.4 */
export const released: Composite<Released> = /* @__PURE__ */ composite<Released>({
  name: 'released',
  code: 0x26,
  section: '3.4.4',
  fields: {},
})

/** The table of `Modified`. §3.4.5 */
export const modified: Composite<Modified> = /* @__PURE__ */ composite<Modified>({
  name: 'modified',
  code: 0x27,
  section: '3.4.5',
  fields: {
    deliveryFailed: defaulted(booleanField, false),
    undeliverableHere: defaulted(booleanField, false),
    messageAnnotations: optional(/* @__PURE__ */ exact(fieldsField)),
  },
})

/** Outcomes only, for the fields that require one. §3.5.3 */
export const outcomeField: Archetype<Outcome> = /* @__PURE__ */ archetype<Outcome>('outcome', [
  accepted,
  rejected,
  released,
  modified,
])

/** The table of `Declared`. §4.5.5 */
export const declared: Composite<Declared> = /* @__PURE__ */ composite<Declared>({
  name: 'declared',
  code: 0x33,
  section: '4.5.5',
  fields: { txnId: mandatory(transactionIdField) },
})

/** The table of `TransactionalState`. §4.5.6 */
export const transactionalState: Composite<TransactionalState> = /* @__PURE__ */ composite<TransactionalState>({
  name: 'transactional-state',
  code: 0x34,
  section: '4.5.6',
  fields: { txnId: mandatory(transactionIdField), outcome: optional(outcomeField) },
})

/** Any state, as the fields of transfer and disposition have it. §3.4 */
export const deliveryStateField: Archetype<DeliveryState> = /* @__PURE__ */ archetype<DeliveryState>('delivery-state', [
  received,
  accepted,
  rejected,
  released,
  modified,
  declared,
  transactionalState,
])

/** Accepted, shared: it has no fields, and no delivery needs its own. §3.4.2 */
export const ACCEPTED: Accepted = /* @__PURE__ */ Object.freeze({ type: 'accepted' as const })
/** Released, shared as `ACCEPTED` is. §3.4.4 */
export const RELEASED: Released = /* @__PURE__ */ Object.freeze({ type: 'released' as const })
