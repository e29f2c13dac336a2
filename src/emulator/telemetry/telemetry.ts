/**
 * Telemetry as it comes to an emulated hub: single messages, and batches, taken apart. Pure.
 *
 * Facts: spec-notes/iothub.md, telemetry.
 */

import type { ErrorInit } from '../../client/options.ts'
import { AmqpCondition, LinkCondition } from '../../errors.ts'
import { decodeMessage } from '../../message/decode.ts'
import type { Body, Message } from '../../message/message.ts'
import type { AmqpValue } from '../../types/values.ts'
import { argumentError, bodyBytes, contentSize, idText, isMessageId, stringProperties } from '../message-content.ts'
import type { TelemetryInit } from './event-log.ts'

/** Telemetry, without whose it is. */
export type TelemetryContent = Omit<TelemetryInit, 'deviceId' | 'moduleId' | 'generationId' | 'authentication'>

/** Largest telemetry message, or batch, in bytes. */
const MAX_SIZE = 256 * 1024
/** Each data section is a message. */
const BATCH_FORMAT = 0x80013700

/**
 * The telemetry in a message: one, or what a batch has.
 *
 * @param modelId  as the link says it; anything but a text is none
 * @returns or why the hub takes nothing of it
 * @throws {DecodeError} the bytes of a message in a batch are not valid
 */
export function readTelemetry(
  message: Message,
  messageFormat: number,
  modelId: AmqpValue | undefined,
): TelemetryContent[] | ErrorInit {
  const messages = messageFormat === 0 ? [message] : messageFormat === BATCH_FORMAT ? unpack(message.body) : undefined
  if (messages === undefined)
    return { condition: AmqpCondition.notImplemented, description: `message-format ${messageFormat} is not supported` }
  if (messages.length === 0) return argumentError('the batch is empty')
  const telemetry: TelemetryContent[] = []
  let size = 0
  for (const one of messages) {
    const body = bodyBytes(one.body)
    if (body === undefined) return argumentError('the body is not data')
    if (!isMessageId(one.properties?.messageId)) return argumentError('the message-id has more than 128 characters')
    size += contentSize(one, body)
    telemetry.push(readContent(one, body, modelId))
  }
  if (size <= MAX_SIZE) return telemetry
  const description = `the message has ${size} bytes, more than ${MAX_SIZE}`
  return { condition: LinkCondition.messageSizeExceeded, description }
}

function readContent(message: Message, body: Uint8Array, modelId: AmqpValue | undefined): TelemetryContent {
  const { messageId, correlationId, userId, contentType, contentEncoding, to, absoluteExpiryTime } =
    message.properties ?? {}
  const annotations = new Map<string, string>()
  if (typeof modelId === 'string') annotations.set('dt-dataschema', modelId)
  for (const name of ['dt-subject', 'iothub-interface-id']) {
    const value = message.messageAnnotations?.get(name)
    if (typeof value === 'string') annotations.set(name, value)
  }
  return {
    messageId: idText(messageId),
    correlationId: idText(correlationId),
    userId: userId?.slice(),
    contentType,
    contentEncoding,
    properties: stringProperties(message),
    annotations,
    to,
    expiry: absoluteExpiryTime,
    body,
  }
}

/** The messages of a batch; one of nothing is none. */
function unpack(body: Body): readonly Message[] {
  if (body instanceof Uint8Array) return body.length === 0 ? [] : [decodeMessage(body)]
  return typeof body === 'object' && 'data' in body ? body.data.map(bytes => decodeMessage(bytes)) : []
}
