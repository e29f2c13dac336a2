/**
 * What a message is, to give and to get: header, annotations, properties, application properties, body, footer. §3.2
 *
 * Types only. `encode.ts` turns a `MessageInit` into bytes, `decode.ts` turns bytes into a `Message`.
 */

import type { MessageId } from '../definitions/restricted.ts'
import type { AmqpMap } from '../types/map.ts'
import type { AmqpValue } from '../types/values.ts'

/**
 * The application data of a message. §3.2.6–8
 *
 * - `Uint8Array`: one data section;
 * - `string`: an amqp-value section that holds a string;
 * - `{ data }`: a data section for each item, at least one;
 * - `{ sequence }`: an amqp-sequence section for each list, at least one;
 * - `{ value }`: an amqp-value section that holds any value; text in it is received as plain `string`.
 */
export type Body =
  | Uint8Array
  | string
  | { readonly data: readonly Uint8Array[] }
  | { readonly sequence: readonly (readonly AmqpValue[])[] }
  | { readonly value: AmqpValue }

/** How a message is to be carried; fields equal to their default are not sent. §3.2.1 */
export interface HeaderInit {
  /** Must survive a crash of an intermediary. Default false. */
  readonly durable?: boolean | undefined
  /** 0 … 255, higher first; most peers tell ten levels apart. Default 4. */
  readonly priority?: number | undefined
  /** Milliseconds that the message lives, 0 … 2^32 − 1. Default: for ever. */
  readonly ttl?: number | undefined
  /** No other link has acquired it before. Default false. */
  readonly firstAcquirer?: boolean | undefined
  /** Earlier unsuccessful deliveries, 0 … 2^32 − 1. Default 0. */
  readonly deliveryCount?: number | undefined
}

/** The standard properties, which no intermediary changes. §3.2.4 */
export interface PropertiesInit {
  readonly messageId?: MessageId | undefined
  /** The identity of the user that made the message; a peer may check it. */
  readonly userId?: Uint8Array | undefined
  /** The address of the node that the message is for. */
  readonly to?: string | undefined
  readonly subject?: string | undefined
  /** The address of the node that takes replies. */
  readonly replyTo?: string | undefined
  readonly correlationId?: MessageId | undefined
  /** MIME type of a data body. ASCII. */
  readonly contentType?: string | undefined
  /** What was done to a data body, e.g. `gzip`. ASCII. */
  readonly contentEncoding?: string | undefined
  readonly absoluteExpiryTime?: Date | undefined
  readonly creationTime?: Date | undefined
  readonly groupId?: string | undefined
  /** Position in the group: a serial number, 0 … 2^32 − 1. */
  readonly groupSequence?: number | undefined
  readonly replyToGroupId?: string | undefined
}

/**
 * The entries of a map section. An object gives its own enumerable keys, those with the value `undefined` left out:
 * as strings in application properties, as symbols in annotations. A map gives its entries as they are, except that
 * string keys become symbols in annotations.
 */
export type Entries = Readonly<Record<string, AmqpValue | undefined>> | ReadonlyMap<AmqpValue, AmqpValue>

/**
 * A message to send. A section that is left out is not sent, except that a missing body is sent as no bytes. Names of
 * sections, and of fields in header and properties, that mean nothing are refused. §3.2
 */
export interface MessageInit {
  readonly header?: HeaderInit | undefined
  /** For the next node only. Keys are symbols, or ulongs of the standard's own. §3.2.2 */
  readonly deliveryAnnotations?: Entries | undefined
  /** For every node on the way. Keys as in `deliveryAnnotations`. §3.2.3 */
  readonly messageAnnotations?: Entries | undefined
  readonly properties?: PropertiesInit | undefined
  /** Keys are strings; values are of simple types: no list, map, array or described value. §3.2.5 */
  readonly applicationProperties?: Entries | undefined
  readonly body?: Body | undefined
  /** Hashes, signatures and the like. Keys as in `deliveryAnnotations`. §3.2.9 */
  readonly footer?: Entries | undefined
}

/** The header of a received message, with the defaults of absent fields. §3.2.1 */
export interface MessageHeader extends HeaderInit {
  readonly durable: boolean
  readonly priority: number
  readonly ttl: number | undefined
  readonly firstAcquirer: boolean
  readonly deliveryCount: number
}

/**
 * A message that was received. Sections are located when it is made and decoded when they are read: reading one may
 * throw `DecodeError`. Absent sections are `undefined`. Binaries are views of the bytes that were decoded.
 */
export interface Message {
  readonly header: MessageHeader | undefined
  readonly deliveryAnnotations: AmqpMap | undefined
  readonly messageAnnotations: AmqpMap | undefined
  /** Getters that decode when read: spreading gives nothing, see `toInit()`. */
  readonly properties: PropertiesInit | undefined
  readonly applicationProperties: AmqpMap | undefined
  /** Of a message without a body: no bytes. */
  readonly body: Body
  readonly footer: AmqpMap | undefined
  /** All sections, decoded, to send on or to keep. Binaries stay views. @throws {DecodeError} */
  toInit(): MessageInit
  /** All sections, decoded, for `JSON.stringify` and the console. @throws {DecodeError} */
  toJSON(): unknown
}
