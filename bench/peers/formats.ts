/**
 * One message in four formats: what each library takes, how it makes bytes of it, and what it reads back from them.
 *
 * All of them start from the same ring and go from values to bytes and back to values, each through its public
 * functions, none with options. Dates come back as `Date` and bodies as bytes, for that is what an application needs:
 * JSON, which has neither, carries base64 and ISO texts, and turns them back itself. `read` looks at one value of each
 * section; its sums must be the same in every format.
 */

import { pack, unpack } from 'msgpackr'
import container, { type Message as RheaMessage } from 'rhea'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import type { MessageInit } from '../../src/message/message.ts'
import type { AmqpMap } from '../../src/types/map.ts'
import { mix } from '../case.ts'

const { message: rhea } = container

/** A library, with what it calls a message and what it calls bytes. */
export interface Format<Out, Bytes extends Uint8Array, In> {
  /** The message of the corpus as the library takes it. Done once, not measured. */
  prepare(message: MessageInit): Out
  encode(message: Out): Uint8Array
  /** Bytes in a buffer of their own, of the class that `decode` is made for. Done once, not measured. */
  own(bytes: Uint8Array): Bytes
  /** Every section and every field, as JavaScript values. */
  decode(bytes: Bytes): In
  readonly read: { readonly telemetry: (message: In) => number; readonly data: (message: In) => number }
}

const telemetrySum = (ttl: unknown, device: unknown, to: unknown, at: unknown, sequence: unknown, body: Uint8Array) => {
  let sum = mix(Number(ttl), String(device).length)
  sum = mix(sum, String(to).length)
  sum = mix(sum, (at as Date).getTime())
  sum = mix(sum, Number(sequence))
  return mix(sum, body[17] as number)
}

const dataSum = (body: Uint8Array): number => mix(body.length, body[body.length - 1] as number)

const ownArray = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes)
const ownBuffer = (bytes: Uint8Array): Buffer => Buffer.from(new Uint8Array(bytes).buffer)

export const fairleadFormat: Format<MessageInit, Uint8Array, MessageInit> = {
  prepare: message => message,
  encode: encodeMessage,
  own: ownArray,
  decode: bytes => decodeMessage(bytes).toInit(),
  read: {
    telemetry: ({ header, messageAnnotations, properties, applicationProperties, body }) =>
      telemetrySum(
        header?.ttl,
        (messageAnnotations as AmqpMap).get('x-opt-device-id'),
        properties?.to,
        properties?.creationTime,
        (applicationProperties as AmqpMap).get('sequence'),
        body as Uint8Array,
      ),
    data: message => dataSum(message.body as Uint8Array),
  },
}

/** rhea has header and properties side by side, in snake case; what is undefined would be written as null. */
export function toRhea({
  header,
  messageAnnotations,
  properties,
  applicationProperties,
  body,
}: MessageInit): RheaMessage {
  const { messageId, to, correlationId, contentType, contentEncoding, creationTime } = properties ?? {}
  const fields = {
    durable: header?.durable,
    ttl: header?.ttl,
    message_annotations: messageAnnotations,
    message_id: messageId,
    to,
    correlation_id: correlationId,
    content_type: contentType,
    content_encoding: contentEncoding,
    creation_time: creationTime,
    application_properties: applicationProperties,
  }
  const given = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
  return { ...given, body: rhea.data_section(ownBuffer(body as Uint8Array)) }
}

export const rheaFormat: Format<RheaMessage, Buffer, RheaMessage> = {
  prepare: toRhea,
  encode: message => rhea.encode(message),
  own: ownBuffer,
  // The typings have the names of the fields only, not the class.
  decode: bytes => rhea.decode(bytes) as unknown as RheaMessage,
  read: {
    telemetry: message =>
      telemetrySum(
        message.ttl,
        message.message_annotations?.['x-opt-device-id'],
        message.to,
        message.creation_time,
        message.application_properties?.['sequence'],
        message.body.content,
      ),
    data: message => dataSum(message.body.content),
  },
}

/** What the formats without a schema carry: the message of the corpus, its sections as plain objects. */
interface Plain {
  header?: { ttl: number }
  messageAnnotations?: Record<string, unknown>
  properties?: { to: string; creationTime: unknown }
  applicationProperties?: Record<string, unknown>
  body: Uint8Array
}

const asPlain = (message: MessageInit): Plain => message as unknown as Plain

const readPlain = {
  telemetry: ({ header, messageAnnotations, properties, applicationProperties, body }: Plain) =>
    telemetrySum(
      header?.ttl,
      messageAnnotations?.['x-opt-device-id'],
      properties?.to,
      properties?.creationTime,
      applicationProperties?.['sequence'],
      body,
    ),
  data: (message: Plain) => dataSum(message.body),
}

export const jsonFormat: Format<Plain, Buffer, Plain> = {
  prepare: message => ({ ...asPlain(message), body: ownBuffer(message.body as Uint8Array) }),
  encode: message => Buffer.from(JSON.stringify({ ...message, body: (message.body as Buffer).toString('base64') })),
  own: ownBuffer,
  decode: bytes => {
    const message = JSON.parse(bytes.toString()) as Plain
    message.body = Buffer.from(message.body as unknown as string, 'base64')
    const { messageAnnotations: annotations, properties } = message
    if (annotations) annotations['x-opt-enqueued-time'] = new Date(annotations['x-opt-enqueued-time'] as string)
    if (properties) properties.creationTime = new Date(properties.creationTime as string)
    return message
  },
  read: readPlain,
}

export const msgpackrFormat: Format<Plain, Buffer, Plain> = {
  prepare: message => ({ ...asPlain(message), body: ownBuffer(message.body as Uint8Array) }),
  encode: pack,
  own: ownBuffer,
  decode: unpack,
  read: readPlain,
}
