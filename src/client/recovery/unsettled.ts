/**
 * What a link leaves unsettled, as plain values: a program can keep them, in a file or a database, and give them to a link
 * of the same name, of another connection or another process. §2.6.13
 */

import { type DeliveryState, deliveryStateField, RELEASED } from '../../definitions/delivery-state.ts'
import { IncomingDelivery } from '../../engine/incoming-delivery.ts'
import { OutgoingDelivery } from '../../engine/outgoing-delivery.ts'
import { joined } from '../../engine/payload-position.ts'
import type { ReceiverEndpoint } from '../../engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../engine/sender-endpoint.ts'
import { UsageError } from '../../errors.ts'
import { Reader } from '../../types/reader.ts'
import { Writer } from '../../types/writer.ts'

const NO_BYTES: Uint8Array = /* @__PURE__ */ new Uint8Array(0)

/** A message without an outcome, as its sender leaves it. Bytes are the caller's, and plain. */
export interface UnsettledSend {
  readonly deliveryTag: Uint8Array
  readonly messageFormat: number
  /** A frame of it has been written: the receiver may know of it. */
  readonly hasBegun: boolean
  /** Nobody waits for it any more: the receiver is to forget it. */
  readonly isGivenUp: boolean
  /** Bytes of the encoded message. */
  readonly size: number
  /** The encoded message; `undefined` where it was made while it was sent, so that it cannot be sent again. */
  readonly payload: Uint8Array | undefined
}

/** A message that is not settled, as its receiver leaves it. Bytes are the caller's, and plain. */
export interface UnsettledDelivery {
  readonly deliveryTag: Uint8Array
  readonly messageFormat: number
  /** The encoded message, or what has come of it; nothing where it is decided on: nobody needs it any more. */
  readonly payload: Uint8Array
  /** All of it has come. */
  readonly isComplete: boolean
  /** What was decided, encoded; `undefined` where nothing was. */
  readonly decision: Uint8Array | undefined
}

/** §4.4.1: work under a transaction is the transaction's. */
export const unsettledSends = (deliveries: readonly OutgoingDelivery[]): UnsettledSend[] =>
  deliveries
    .filter(({ state, hasBegun, localState, kept, settled }) => !state && (hasBegun ? !settled : kept && !localState))
    .map(({ deliveryTag, messageFormat, hasBegun, localState, size, kept }) => ({
      deliveryTag: deliveryTag.slice(),
      messageFormat,
      hasBegun,
      isGivenUp: localState !== undefined,
      size,
      payload: kept && joined(kept, size).slice(),
    }))

/** The delivery that a state stands for, to be adopted. @throws {UsageError} it is no such state */
export function restoredSend(link: SenderEndpoint, state: UnsettledSend): OutgoingDelivery {
  const { messageFormat, hasBegun, isGivenUp, size, payload } = state
  const bytes = checkedTag(state.deliveryTag)
  if (payload !== undefined && !(payload instanceof Uint8Array)) throw wrong('payload')
  if (!Number.isInteger(size) || size !== (payload?.length ?? size)) throw wrong('size')
  // The counter's have four bytes: it goes on behind them.
  const tag = bytes.length === 4 ? new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) : bytes
  const delivery = new OutgoingDelivery(link, tag, messageFormat, false, NO_BYTES, 0, 0, [], size, undefined)
  delivery.kept = payload && [payload]
  delivery.hasBegun = hasBegun === true
  delivery.isQueued = false
  if (isGivenUp) delivery.localState = RELEASED
  return delivery
}

export const unsettledDeliveries = (deliveries: readonly IncomingDelivery[]): UnsettledDelivery[] =>
  deliveries
    .filter(({ localSettled, remoteSettled }) => !localSettled && !remoteSettled)
    .map(({ deliveryTag, messageFormat, chunks, size, handedOver, decision }) => ({
      deliveryTag: deliveryTag.slice(),
      messageFormat,
      payload: decision ? NO_BYTES : joined(chunks, size).slice(),
      isComplete: handedOver,
      decision: decision && encoded(decision),
    }))

/** The delivery that a state stands for, to be adopted. @throws {UsageError} it is no such state */
export function restoredDelivery(link: ReceiverEndpoint, state: UnsettledDelivery): IncomingDelivery {
  const { messageFormat, payload, isComplete, decision } = state
  if (!(payload instanceof Uint8Array)) throw wrong('payload')
  const delivery = new IncomingDelivery(link, -1, checkedTag(state.deliveryTag), messageFormat, false, undefined)
  if (payload.length > 0) delivery.chunks.push(payload)
  delivery.size = payload.length
  delivery.handedOver = isComplete === true
  if (!delivery.handedOver) delivery.pinned = payload.length
  if (decision) delivery.localState = deliveryStateField.read(new Reader(decision))
  return delivery
}

function checkedTag(tag: unknown): Uint8Array {
  if (tag instanceof Uint8Array && tag.length <= 32) return tag
  throw wrong('deliveryTag')
}

const wrong = (field: string): UsageError =>
  new UsageError(`unsettled is what \`unsettled()\` of an earlier link gave: \`${field}\` is not`, '2.6.13')

function encoded(state: DeliveryState): Uint8Array {
  const writer = new Writer()
  deliveryStateField.write(writer, state)
  return writer.copy()
}
