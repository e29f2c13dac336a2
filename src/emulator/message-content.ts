/**
 * What the nodes of an emulated hub read in a message: its body as bytes, ids as text, its size as a hub counts it; and
 * the loop in which they take messages from a link.
 *
 * §3.2
 */

import type { Receiver } from '../client/api.ts'
import type { ErrorInit } from '../client/options.ts'
import { AmqpCondition, DecodeError } from '../errors.ts'
import { HubCondition } from '../iothub/connection/conditions.ts'
import type { Body, Message, PropertiesInit } from '../message/message.ts'

/**
 * Settles every delivery of a link as `take` says, until the link ends.
 *
 * @param take  returns why the message is rejected, or nothing to accept it. What it throws rejects the message too.
 */
export async function receiveAll(
  receiver: Receiver,
  take: (message: Message, messageFormat: number) => ErrorInit | undefined,
): Promise<void> {
  try {
    for await (const delivery of receiver) {
      const refusal = attempt(() => take(delivery.message, delivery.messageFormat))
      await (refusal === undefined ? delivery.accept() : delivery.reject(refusal))
    }
  } catch {
    // The link has ended, and with it what there was to do.
  }
}

/** The bytes of a body, copied, so that what they came in can be freed; `undefined` for one of structured values. */
export function bodyBytes(body: Body): Uint8Array | undefined {
  const pieces = bodyPieces(body)
  if (pieces === undefined) return undefined
  const bytes = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0))
  let offset = 0
  for (const piece of pieces) {
    bytes.set(piece, offset)
    offset += piece.length
  }
  return bytes
}

/** Body, ids and application properties, in bytes: about what a hub holds against its limits. */
export function contentSize(message: Message, body: Uint8Array): number {
  const { messageId, correlationId, userId, contentType, contentEncoding } = message.properties ?? {}
  let size = body.length + (userId?.length ?? 0)
  for (const text of [idText(messageId), idText(correlationId), contentType, contentEncoding]) size += textSize(text)
  for (const [name, value] of message.applicationProperties ?? []) {
    size += textSize(String(name)) + (value instanceof Uint8Array ? value.length : textSize(String(value)))
  }
  return size
}

/** What a hub calls wrong arguments by. */
export function argumentError(description: string): ErrorInit {
  return { condition: HubCondition.argumentError, description }
}

/** Whether a hub takes a message id. */
export function isMessageId(id: PropertiesInit['messageId']): boolean {
  return (idText(id)?.length ?? 0) <= 128
}

/** A message id or correlation id as text, whatever its type. */
export function idText(id: PropertiesInit['messageId']): string | undefined {
  return id instanceof Uint8Array ? new TextDecoder().decode(id) : id?.toString()
}

/** The application properties that have string names and values; a hub drops the others. */
export function stringProperties(message: Message): ReadonlyMap<string, string> {
  const out = new Map<string, string>()
  for (const [name, value] of message.applicationProperties ?? []) {
    if (typeof name === 'string' && typeof value === 'string') out.set(name, value)
  }
  return out
}

function attempt(take: () => ErrorInit | undefined): ErrorInit | undefined {
  try {
    return take()
  } catch (error) {
    const isBadMessage = error instanceof DecodeError
    return { condition: isBadMessage ? AmqpCondition.decodeError : AmqpCondition.internalError }
  }
}

function bodyPieces(body: Body): readonly Uint8Array[] | undefined {
  if (body instanceof Uint8Array) return [body]
  if (typeof body === 'string') return [new TextEncoder().encode(body)]
  if ('data' in body) return body.data
  if (!('value' in body)) return undefined
  if (body.value instanceof Uint8Array) return [body.value]
  return typeof body.value === 'string' ? [new TextEncoder().encode(body.value)] : undefined
}

function textSize(text: string | undefined): number {
  return text === undefined ? 0 : new TextEncoder().encode(text).length
}
