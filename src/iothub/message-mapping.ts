/**
 * What IoT programs exchange, mapped to and from AMQP messages: telemetry, cloud-to-device messages, feedback.
 *
 * System properties go where a hub looks for them: most into the properties section, the creation time, the
 * acknowledgement and some others into application properties, where user properties are too. Values of user properties are strings;
 * others do not survive a hub. Facts: spec-notes/iothub.md, telemetry, cloud-to-device messages, feedback. §3.2
 */

import { AmqpCondition, ProtocolError, UsageError } from '../errors.ts'
import { encodeMessage } from '../message/encode.ts'
import type { Body, Message, MessageInit, PropertiesInit } from '../message/message.ts'
import type { AmqpMap } from '../types/map.ts'
import type { AmqpValue } from '../types/values.ts'
import { commandTo } from './addresses.ts'
import { checkNames, type Names } from './check-names.ts'

/** What any message to a hub may have. */
export interface OutgoingMessage {
  /** Sent as one data section; a string as UTF-8. Bytes are copied at the call. A hub takes 256 KiB with the properties. */
  readonly body: Uint8Array | string
  /**
   * User properties: an object's own keys, or a map such as messages are received with. Those that are undefined are left
   * out. Names of system properties are refused, see `creationTime` and `ack`.
   */
  readonly properties?: Readonly<Record<string, string | undefined>> | ReadonlyMap<string, string> | undefined
  /** At most 128 characters of ASCII. */
  readonly messageId?: string | undefined
  readonly correlationId?: string | undefined
  /** Sent as UTF-8. */
  readonly userId?: string | undefined
  /** MIME type, e.g. `application/json`. ASCII. */
  readonly contentType?: string | undefined
  /** Character set, e.g. `utf-8`. ASCII. */
  readonly contentEncoding?: string | undefined
  readonly creationTime?: Date | undefined
  /** A hub makes nothing of it in telemetry. */
  readonly expiry?: Date | undefined
}

/** A message from a device or module to its hub. */
export interface Telemetry extends OutgoingMessage {
  /** The output of a module that it leaves by. Devices have none. */
  readonly outputName?: string | undefined
  /** The component of the device's model that it is of. */
  readonly component?: string | undefined
  /** Schema of the body, where the hub is to know. */
  readonly schema?: string | undefined
  /** For messages to a security service: `urn:azureiot:Security:SecurityAgent:1`. */
  readonly interfaceId?: string | undefined
}

/** Which ends of a cloud-to-device message produce feedback: success is positive, all others are negative. */
export type Acknowledgement = 'none' | 'positive' | 'negative' | 'full'

/** A message from the cloud to a device. A hub takes 64 KiB. */
export interface CloudMessage extends OutgoingMessage {
  /** Feedback that is wanted; it names the message by `messageId`. Default `'none'`. */
  readonly ack?: Acknowledgement | undefined
  /** When the hub gives up delivering it. Default: the hub's, usually after an hour. */
  readonly expiry?: Date | undefined
}

/** What a device reads in a cloud-to-device message. Absent parts are `undefined`. */
export interface CommandContent {
  /** The bytes of the data sections; of a text body its UTF-8. A view where there is one section. */
  readonly body: Uint8Array
  /** User properties: application properties with string values, less those of the system. */
  readonly properties: ReadonlyMap<string, string>
  /** In text form, whatever type of id it is; likewise `correlationId`. */
  readonly messageId: string | undefined
  readonly correlationId: string | undefined
  readonly userId: string | undefined
  readonly to: string | undefined
  readonly contentType: string | undefined
  readonly contentEncoding: string | undefined
  readonly creationTime: Date | undefined
  readonly expiry: Date | undefined
  readonly ack: Acknowledgement | undefined
  readonly enqueuedTime: Date | undefined
  /** Position in the queue of the device. */
  readonly sequenceNumber: bigint | undefined
  /** How often it was delivered in vain. */
  readonly deliveryCount: number | undefined
  /** The input of a module that it came to; `undefined` for a message from the cloud. */
  readonly inputName: string | undefined
}

/** What became of a cloud-to-device message. */
export interface FeedbackRecord {
  readonly deviceId: string
  /** `messageId` of the message. */
  readonly originalMessageId: string
  readonly status: FeedbackStatus
  readonly description: string
  /** When it came to this end. */
  readonly enqueuedTime: Date
  readonly deviceGenerationId: string
}

/** How a cloud-to-device message may end; `'purged'`: an operator emptied the queue. */
export type FeedbackStatus = 'success' | 'expired' | 'deliveryCountExceeded' | 'rejected' | 'purged'

/**
 * The AMQP message for telemetry.
 *
 * @throws {UsageError} if there is no body or a field that means nothing, if a user property has a system property's name or is no string, or a time
 *   is no date
 */
export function telemetryMessage(telemetry: Telemetry): MessageInit {
  const { applicationProperties, ...init } = hubMessage(telemetry, TELEMETRY)
  const { outputName, component, schema, interfaceId } = telemetry
  for (const [name, value] of Object.entries({ outputName, component, schema, interfaceId }))
    if (value !== undefined && typeof value !== 'string') throw new UsageError(`message: ${name} is not a string`)
  if (outputName !== undefined) applicationProperties.set(OUTPUT_NAME, outputName)
  if (schema !== undefined) applicationProperties.set(SCHEMA, schema)
  const annotations = { 'dt-subject': component, 'iothub-interface-id': interfaceId }
  return {
    ...init,
    ...((component ?? interfaceId) !== undefined && { messageAnnotations: annotations }),
    ...(applicationProperties.size > 0 && { applicationProperties }),
  }
}

/**
 * The AMQP message for a batch of telemetry, in which each message is a data section. It is sent by
 * {@link BATCH_FORMAT}.
 *
 * @throws {UsageError} the batch is empty, or as {@link telemetryMessage}
 * @throws {EncodeError} a value of a message does not fit
 */
export function telemetryBatch(batch: readonly Telemetry[]): MessageInit {
  if (!Array.isArray(batch) || batch.length === 0) throw new UsageError('batch: needs an array of messages, not empty')
  return { body: { data: batch.map(telemetry => encodeMessage(telemetryMessage(telemetry))) } }
}

/** The message-format by which a hub knows a batch. §2.8.11 */
export const BATCH_FORMAT = 0x80013700

const FIELDS: Names<OutgoingMessage> = {
  body: 0,
  properties: 0,
  messageId: 0,
  correlationId: 0,
  userId: 0,
  contentType: 0,
  contentEncoding: 0,
  creationTime: 0,
  expiry: 0,
}
const TELEMETRY: Names<Telemetry> = { ...FIELDS, outputName: 0, component: 0, schema: 0, interfaceId: 0 }
const CLOUD: Names<CloudMessage> = { ...FIELDS, ack: 0 }

/** The part that all messages have. */
function hubMessage(
  message: OutgoingMessage,
  fields: Names<OutgoingMessage>,
): MessageInit & { readonly applicationProperties: Map<string, string> } {
  if (typeof message !== 'object' || message === null)
    throw new UsageError('message: needs an object such as { body: … }')
  if (typeof message.body !== 'string' && !(message.body instanceof Uint8Array))
    throw new UsageError('message: needs a body, text or bytes; an object becomes one by JSON.stringify')
  checkNames('field of a message', message, fields)
  const { body, messageId, correlationId, userId, contentType, contentEncoding, creationTime, expiry } = message
  const applicationProperties = userProperties(message.properties)
  if (creationTime !== undefined) applicationProperties.set(CREATION_TIME, isoTime(creationTime, 'creationTime'))
  if (expiry !== undefined) isoTime(expiry, 'expiry')
  return {
    properties: {
      messageId,
      correlationId,
      userId: userId === undefined ? undefined : new TextEncoder().encode(userId),
      contentType,
      contentEncoding,
      absoluteExpiryTime: expiry,
    },
    applicationProperties,
    body: typeof body === 'string' ? new TextEncoder().encode(body) : body,
  }
}

/**
 * The AMQP message that carries a cloud message to a device.
 *
 * @param deviceId  raw, not empty
 * @param moduleId  for a module of the device; raw, not empty
 * @throws {UsageError} as {@link telemetryMessage}; also if feedback is wanted and there is no `messageId` to name the
 *   message by, or `ack` is none of the four
 */
export function cloudMessage(deviceId: string, message: CloudMessage, moduleId?: string): MessageInit {
  const { properties, applicationProperties, body } = hubMessage(message, CLOUD)
  const { ack } = message
  if (ack !== undefined) {
    if (!acknowledgements.includes(ack))
      throw new UsageError(`message: ack must be one of ${acknowledgements.join(', ')}`)
    if (ack !== 'none' && !message.messageId) throw new UsageError('message: feedback needs a messageId')
    applicationProperties.set(ACK, ack)
  }
  return {
    properties: { ...properties, to: commandTo(deviceId, moduleId) },
    ...(applicationProperties.size > 0 && { applicationProperties }),
    body,
  }
}

/**
 * Reads a cloud-to-device message.
 *
 * @returns `undefined` if its body is neither bytes nor text, which no hub delivers
 * @throws {DecodeError} its bytes are not valid
 */
export function readCommand(message: Message): CommandContent | undefined {
  const body = bodyBytes(message.body)
  if (body === undefined) return undefined
  const properties: PropertiesInit = message.properties ?? {}
  const { userId, to, contentType, contentEncoding } = properties
  const { applicationProperties, messageAnnotations } = message
  return {
    body,
    properties: readUserProperties(applicationProperties),
    messageId: idText(properties.messageId),
    correlationId: idText(properties.correlationId),
    userId: userId && new TextDecoder().decode(userId),
    to,
    contentType,
    contentEncoding,
    creationTime: dateOf(applicationProperties?.get(CREATION_TIME)),
    expiry: properties.absoluteExpiryTime,
    ack: acknowledgements.find(known => known === applicationProperties?.get(ACK)),
    enqueuedTime: dateOf(messageAnnotations?.get('iothub-enqueuedtime')),
    sequenceNumber: bigintOf(messageAnnotations?.get('x-opt-sequence-number')),
    deliveryCount: numberOf(messageAnnotations?.get('iothub-deliverycount')),
    inputName: textOf(messageAnnotations?.get('x-opt-input-name')),
  }
}

/**
 * Reads a batch of feedback.
 *
 * @throws {ProtocolError} the body is not a JSON array of records
 * @throws {DecodeError} its bytes are not valid AMQP
 */
export function readFeedback(message: Message): readonly FeedbackRecord[] {
  const records = readJsonBody(message)
  if (!Array.isArray(records)) throw malformed('is not a JSON array')
  return records.map(readRecord)
}

/** The JSON in a body; `undefined` where there is none. @throws {DecodeError} the bytes are not valid AMQP */
export function readJsonBody(message: Message): unknown {
  const body = bodyBytes(message.body)
  return body && parseJson(new TextDecoder().decode(body))
}

/** The creation time, as a hub and its back ends look for it. */
const CREATION_TIME = 'iothub-creation-time-utc'
const ACK = 'iothub-ack'
const OUTPUT_NAME = 'iothub-outputname'
const SCHEMA = 'iothub-message-schema'
const systemNames: readonly string[] = [CREATION_TIME, ACK, OUTPUT_NAME, SCHEMA]

const acknowledgements: readonly Acknowledgement[] = ['none', 'positive', 'negative', 'full']
const statuses: readonly FeedbackStatus[] = ['success', 'expired', 'deliveryCountExceeded', 'rejected', 'purged']

function userProperties(properties: OutgoingMessage['properties'] = {}): Map<string, string> {
  if (
    typeof properties !== 'object' ||
    properties === null ||
    Symbol.iterator in properties !== properties instanceof Map
  )
    throw new UsageError('message: properties are an object such as { name: value }, or a Map')
  const out = new Map<string, string>()
  for (const [name, value] of properties instanceof Map ? properties : Object.entries(properties)) {
    if (typeof name !== 'string') throw new UsageError('message: the name of a property is not a string')
    if (systemNames.includes(name)) throw new UsageError(`message: property '${name}' is the system's; use its field`)
    if (value === undefined) continue
    if (typeof value !== 'string') throw new UsageError(`message: property '${name}' is not a string`)
    out.set(name, value)
  }
  return out
}

function readUserProperties(section: AmqpMap | undefined): ReadonlyMap<string, string> {
  const out = new Map<string, string>()
  for (const [name, value] of section ?? []) {
    if (typeof name === 'string' && typeof value === 'string' && !systemNames.includes(name)) out.set(name, value)
  }
  return out
}

function bodyBytes(body: Body): Uint8Array | undefined {
  if (body instanceof Uint8Array) return body
  if (typeof body === 'string') return new TextEncoder().encode(body)
  if ('data' in body) return join(body.data)
  if (!('value' in body)) return undefined
  const { value } = body
  if (value instanceof Uint8Array) return value
  return typeof value === 'string' ? new TextEncoder().encode(value) : undefined
}

function join(pieces: readonly Uint8Array[]): Uint8Array {
  const [only] = pieces
  if (only !== undefined && pieces.length === 1) return only
  const joined = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0))
  let offset = 0
  for (const piece of pieces) {
    joined.set(piece, offset)
    offset += piece.length
  }
  return joined
}

function idText(id: PropertiesInit['messageId']): string | undefined {
  return id instanceof Uint8Array ? new TextDecoder().decode(id) : id?.toString()
}

function isoTime(time: Date, name: string): string {
  if (!(time instanceof Date) || Number.isNaN(time.getTime())) throw new UsageError(`message: ${name} is not a date`)
  return time.toISOString()
}

/** A timestamp, or ISO 8601 text, which is UTC even where it does not say so. */
function dateOf(value: unknown): Date | undefined {
  const date = typeof value === 'string' ? new Date(/(z|[+-]\d\d:?\d\d)$/i.test(value) ? value : `${value}Z`) : value
  return date instanceof Date && !Number.isNaN(date.getTime()) ? date : undefined
}

function bigintOf(value: AmqpValue | undefined): bigint | undefined {
  return typeof value === 'bigint' ? value : undefined
}

function textOf(value: AmqpValue | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function numberOf(value: AmqpValue | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function readRecord(record: unknown): FeedbackRecord {
  if (typeof record !== 'object' || record === null) throw malformed('has a record that is no object')
  const fields = record as Readonly<Record<string, unknown>>
  const text = (name: string): string => (typeof fields[name] === 'string' ? fields[name] : '')
  const status = readStatus(text('statusCode')) ?? readStatus(text('description'))
  const enqueuedTime = dateOf(text('enqueuedTimeUtc'))
  if (status === undefined) throw malformed('has a record without a known status')
  if (enqueuedTime === undefined) throw malformed('has a record without a time')
  return {
    deviceId: text('deviceId'),
    originalMessageId: text('originalMessageId'),
    status,
    description: text('description'),
    enqueuedTime,
    deviceGenerationId: text('deviceGenerationId'),
  }
}

function readStatus(text: string): FeedbackStatus | undefined {
  return statuses.find(status => status.toLowerCase() === text.toLowerCase())
}

function malformed(problem: string): ProtocolError {
  return new ProtocolError(`the feedback batch ${problem}`, AmqpCondition.decodeError, 'delivery')
}
