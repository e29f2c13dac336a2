/** The nine performatives: the bodies of AMQP frames. §2.7 */

import {
  booleanField,
  type Composite,
  composite,
  compositeField,
  defaulted,
  fieldsField,
  mandatory,
  optional,
  stringField,
  symbols,
  uintField,
  ulongField,
  ushortField,
} from '../types/composite.ts'
import type { AmqpMap } from '../types/map.ts'
import { type DeliveryState, deliveryStateField } from './delivery-state.ts'
import { type ErrorValue, error } from './error.ts'
import {
  deliveryTagField,
  type ReceiverSettleMode,
  type Role,
  receiverSettleModeField,
  roleField,
  type SenderSettleMode,
  type SequenceNo,
  senderSettleModeField,
} from './restricted.ts'
import { type Coordinator, type Source, sourceField, type Target, targetField } from './terminus.ts'
import { type UnsettledEntry, unsettledField } from './unsettled-map.ts'

/** Negotiates the connection; the first frame each way. §2.7.1 */
export interface Open {
  readonly type: 'open'
  readonly containerId: string
  /** The host the peer is addressed as. */
  readonly hostname: string | undefined
  /** Largest frame its sender can take, in bytes; at least 512. */
  readonly maxFrameSize: number
  /** Highest channel number that may be used. */
  readonly channelMax: number
  /** Silence after which its sender gives up, in milliseconds. §2.4.5 */
  readonly idleTimeOut: number | undefined
  readonly outgoingLocales: readonly string[]
  readonly incomingLocales: readonly string[]
  readonly offeredCapabilities: readonly string[]
  readonly desiredCapabilities: readonly string[]
  readonly properties: AmqpMap | undefined
}

/** Begins a session on a channel. §2.7.2 */
export interface Begin {
  readonly type: 'begin'
  /** The channel of the begin that this one answers; absent when it initiates. */
  readonly remoteChannel: number | undefined
  readonly nextOutgoingId: SequenceNo
  /** In transfer frames. */
  readonly incomingWindow: number
  readonly outgoingWindow: number
  readonly handleMax: number
  readonly offeredCapabilities: readonly string[]
  readonly desiredCapabilities: readonly string[]
  readonly properties: AmqpMap | undefined
}

/** Attaches a link to a session. §2.7.3 */
export interface Attach {
  readonly type: 'attach'
  readonly name: string
  readonly handle: number
  /** The role of the end that sends this. */
  readonly role: Role
  readonly sndSettleMode: SenderSettleMode
  readonly rcvSettleMode: ReceiverSettleMode
  readonly source: Source | undefined
  readonly target: Target | Coordinator | undefined
  /** Delivery-tag → delivery state of what this end holds unsettled. */
  readonly unsettled: readonly UnsettledEntry[] | undefined
  readonly incompleteUnsettled: boolean
  /** Must be set by a sender. */
  readonly initialDeliveryCount: SequenceNo | undefined
  /** In bytes; 0 or absent: no limit. */
  readonly maxMessageSize: bigint | undefined
  readonly offeredCapabilities: readonly string[]
  readonly desiredCapabilities: readonly string[]
  readonly properties: AmqpMap | undefined
}

/** Updates the flow state of a session and, with a handle, of a link. §2.7.4 */
export interface Flow {
  readonly type: 'flow'
  readonly nextIncomingId: SequenceNo | undefined
  readonly incomingWindow: number
  readonly nextOutgoingId: SequenceNo
  readonly outgoingWindow: number
  readonly handle: number | undefined
  readonly deliveryCount: SequenceNo | undefined
  readonly linkCredit: number | undefined
  readonly available: number | undefined
  readonly drain: boolean
  /** Ask the peer for its own state. */
  readonly echo: boolean
  readonly properties: AmqpMap | undefined
}

/** Carries a message, or a part of one. §2.7.5 */
export interface Transfer {
  readonly type: 'transfer'
  readonly handle: number
  /** Set on the first frame of a delivery. */
  readonly deliveryId: SequenceNo | undefined
  readonly deliveryTag: Uint8Array | undefined
  readonly messageFormat: number | undefined
  readonly settled: boolean | undefined
  /** More frames of this delivery follow. */
  readonly more: boolean
  readonly rcvSettleMode: ReceiverSettleMode | undefined
  readonly state: DeliveryState | undefined
  readonly resume: boolean
  readonly aborted: boolean
  readonly batchable: boolean
}

/** Tells the state of a range of deliveries. §2.7.6 */
export interface Disposition {
  readonly type: 'disposition'
  /** The role of the end that sends this. */
  readonly role: Role
  readonly first: SequenceNo
  /** Absent: the same as first. */
  readonly last: SequenceNo | undefined
  readonly settled: boolean
  readonly state: DeliveryState | undefined
  readonly batchable: boolean
}

/** Detaches a link endpoint from the session. §2.7.7 */
export interface Detach {
  readonly type: 'detach'
  readonly handle: number
  /** The link is closed, not only detached. */
  readonly closed: boolean
  readonly error: ErrorValue | undefined
}

/** Ends a session. §2.7.8 */
export interface End {
  readonly type: 'end'
  readonly error: ErrorValue | undefined
}

/** Closes the connection. §2.7.9 */
export interface Close {
  readonly type: 'close'
  readonly error: ErrorValue | undefined
}

/** The body of an AMQP frame. */
export type Performative = Open | Begin | Attach | Flow | Transfer | Disposition | Detach | End | Close

const MAX_UINT = 0xffffffff

/** The table of `Open`. §2.7.1 */
export const open: Composite<Open> = /* @__PURE__ */ composite<Open>({
  name: 'open',
  code: 0x10,
  section: '2.7.1',
  fields: {
    containerId: mandatory(stringField),
    hostname: optional(stringField),
    maxFrameSize: defaulted(uintField, MAX_UINT),
    channelMax: defaulted(ushortField, 0xffff),
    idleTimeOut: optional(uintField),
    outgoingLocales: symbols,
    incomingLocales: symbols,
    offeredCapabilities: symbols,
    desiredCapabilities: symbols,
    properties: optional(fieldsField),
  },
})

/** The table of `Begin`. §2.7.2 */
export const begin: Composite<Begin> = /* @__PURE__ */ composite<Begin>({
  name: 'begin',
  code: 0x11,
  section: '2.7.2',
  fields: {
    remoteChannel: optional(ushortField),
    nextOutgoingId: mandatory(uintField),
    incomingWindow: mandatory(uintField),
    outgoingWindow: mandatory(uintField),
    handleMax: defaulted(uintField, MAX_UINT),
    offeredCapabilities: symbols,
    desiredCapabilities: symbols,
    properties: optional(fieldsField),
  },
})

/** The table of `Attach`. §2.7.3 */
export const attach: Composite<Attach> = /* @__PURE__ */ composite<Attach>({
  name: 'attach',
  code: 0x12,
  section: '2.7.3',
  fields: {
    name: mandatory(stringField),
    handle: mandatory(uintField),
    role: mandatory(roleField),
    sndSettleMode: defaulted(senderSettleModeField, 'mixed'),
    rcvSettleMode: defaulted(receiverSettleModeField, 'first'),
    source: optional(sourceField),
    target: optional(targetField),
    unsettled: optional(unsettledField),
    incompleteUnsettled: defaulted(booleanField, false),
    initialDeliveryCount: optional(uintField),
    maxMessageSize: optional(ulongField),
    offeredCapabilities: symbols,
    desiredCapabilities: symbols,
    properties: optional(fieldsField),
  },
})

/** The table of `Flow`. §2.7.4 */
export const flow: Composite<Flow> = /* @__PURE__ */ composite<Flow>({
  name: 'flow',
  code: 0x13,
  section: '2.7.4',
  fields: {
    nextIncomingId: optional(uintField),
    incomingWindow: mandatory(uintField),
    nextOutgoingId: mandatory(uintField),
    outgoingWindow: mandatory(uintField),
    handle: optional(uintField),
    deliveryCount: optional(uintField),
    linkCredit: optional(uintField),
    available: optional(uintField),
    drain: defaulted(booleanField, false),
    echo: defaulted(booleanField, false),
    properties: optional(fieldsField),
  },
})

/** The table of `Transfer`. §2.7.5 */
export const transfer: Composite<Transfer> = /* @__PURE__ */ composite<Transfer>({
  name: 'transfer',
  code: 0x14,
  section: '2.7.5',
  fields: {
    handle: mandatory(uintField),
    deliveryId: optional(uintField),
    deliveryTag: optional(deliveryTagField),
    messageFormat: optional(uintField),
    settled: optional(booleanField),
    more: defaulted(booleanField, false),
    rcvSettleMode: optional(receiverSettleModeField),
    state: optional(deliveryStateField),
    resume: defaulted(booleanField, false),
    aborted: defaulted(booleanField, false),
    batchable: defaulted(booleanField, false),
  },
})

/** The table of `Disposition`. §2.7.6 */
export const disposition: Composite<Disposition> = /* @__PURE__ */ composite<Disposition>({
  name: 'disposition',
  code: 0x15,
  section: '2.7.6',
  fields: {
    role: mandatory(roleField),
    first: mandatory(uintField),
    last: optional(uintField),
    settled: defaulted(booleanField, false),
    state: optional(deliveryStateField),
    batchable: defaulted(booleanField, false),
  },
})

/** The table of `Detach`. §2.7.7 */
export const detach: Composite<Detach> = /* @__PURE__ */ composite<Detach>({
  name: 'detach',
  code: 0x16,
  section: '2.7.7',
  fields: {
    handle: mandatory(uintField),
    closed: defaulted(booleanField, false),
    error: optional(/* @__PURE__ */ compositeField(error)),
  },
})

/** The table of `End`. §2.7.8 */
export const end: Composite<End> = /* @__PURE__ */ composite<End>({
  name: 'end',
  code: 0x17,
  section: '2.7.8',
  fields: { error: optional(/* @__PURE__ */ compositeField(error)) },
})

/** The table of `Close`. §2.7.9 */
export const close: Composite<Close> = /* @__PURE__ */ composite<Close>({
  name: 'close',
  code: 0x18,
  section: '2.7.9',
  fields: { error: optional(/* @__PURE__ */ compositeField(error)) },
})
