/** The sections of a message: composites for header and properties, descriptors for the rest. §3.2 */

import {
  binaryField,
  booleanField,
  type Composite,
  composite,
  defaulted,
  optional,
  stringField,
  symbolField,
  timestampField,
  ubyteField,
  uintField,
} from '../types/composite.ts'
import { addressField, type MessageId, messageIdField, type SequenceNo } from './restricted.ts'

/** Descriptors of the sections, in the order in which they may occur. §3.2 */
export const Section = {
  header: 0x70,
  deliveryAnnotations: 0x71,
  messageAnnotations: 0x72,
  properties: 0x73,
  applicationProperties: 0x74,
  data: 0x75,
  amqpSequence: 0x76,
  amqpValue: 0x77,
  footer: 0x78,
} as const

/** Symbolic descriptors of the sections. §3.2 */
export const sectionSymbols: Readonly<Record<string, number>> = {
  'amqp:header:list': 0x70,
  'amqp:delivery-annotations:map': 0x71,
  'amqp:message-annotations:map': 0x72,
  'amqp:properties:list': 0x73,
  'amqp:application-properties:map': 0x74,
  'amqp:data:binary': 0x75,
  'amqp:amqp-sequence:list': 0x76,
  'amqp:amqp-value:*': 0x77,
  'amqp:footer:map': 0x78,
}

/** How a message is to be carried. §3.2.1 */
export interface Header {
  readonly type: 'header'
  readonly durable: boolean
  /** 0 … 9, higher first. */
  readonly priority: number
  /** Milliseconds that the message lives. */
  readonly ttl: number | undefined
  readonly firstAcquirer: boolean
  /** Earlier unsuccessful deliveries. */
  readonly deliveryCount: number
}

/** The immutable properties of a message. §3.2.4 */
export interface Properties {
  readonly type: 'properties'
  readonly messageId: MessageId | undefined
  readonly userId: Uint8Array | undefined
  readonly to: string | undefined
  readonly subject: string | undefined
  readonly replyTo: string | undefined
  readonly correlationId: MessageId | undefined
  readonly contentType: string | undefined
  readonly contentEncoding: string | undefined
  readonly absoluteExpiryTime: Date | undefined
  readonly creationTime: Date | undefined
  readonly groupId: string | undefined
  readonly groupSequence: SequenceNo | undefined
  readonly replyToGroupId: string | undefined
}

/** The table of `Header`. §3.2.1 */
export const header: Composite<Header> = /* @__PURE__ */ composite<Header>({
  name: 'header',
  code: Section.header,
  section: '3.2.1',
  fields: {
    durable: defaulted(booleanField, false),
    priority: defaulted(ubyteField, 4),
    ttl: optional(uintField),
    firstAcquirer: defaulted(booleanField, false),
    deliveryCount: defaulted(uintField, 0),
  },
})

/** The table of `Properties`. §3.2.4 */
export const properties: Composite<Properties> = /* @__PURE__ */ composite<Properties>({
  name: 'properties',
  code: Section.properties,
  section: '3.2.4',
  fields: {
    messageId: optional(messageIdField),
    userId: optional(binaryField),
    to: optional(addressField),
    subject: optional(stringField),
    replyTo: optional(addressField),
    correlationId: optional(messageIdField),
    contentType: optional(symbolField),
    contentEncoding: optional(symbolField),
    absoluteExpiryTime: optional(timestampField),
    creationTime: optional(timestampField),
    groupId: optional(stringField),
    groupSequence: optional(uintField),
    replyToGroupId: optional(stringField),
  },
})
