/** The fields of a transfer, and its state, encoded once for all that are sent under one transaction. §2.7.5 §4.4.1 */

import { type DeliveryState, deliveryStateField } from '../definitions/delivery-state.ts'
import type { TransferFields } from '../definitions/hot-paths.ts'
import { UsageError } from '../errors.ts'
import { Writer } from '../types/writer.ts'

/** Bytes that the state of a transfer may take: the fields have to fit a small list. */
const MAX_STATE = 128

/** The state encoded last: the messages of one transaction follow each other. */
let encoded: { readonly state: DeliveryState; readonly bytes: Uint8Array } | undefined

/**
 * The bytes of a state; the state must not change.
 *
 * @throws {EncodeError} a field does not fit its type
 * @throws {UsageError} it is too large for a transfer
 */
export function encodedState(state: DeliveryState | undefined): Uint8Array | undefined {
  if (state === undefined) return undefined
  if (encoded?.state === state) return encoded.bytes
  const writer = new Writer()
  deliveryStateField.write(writer, state)
  const bytes = writer.copy()
  if (bytes.length > MAX_STATE)
    throw new UsageError(`a ${state.type} of ${bytes.length} bytes with a transfer`, '2.7.5')
  encoded = { state, bytes }
  return bytes
}

/** One object serves all transfers: the next call overwrites it. */
const fields: TransferFields = {
  handle: 0,
  deliveryId: 0,
  deliveryTag: 0,
  messageFormat: 0,
  settled: false,
  more: false,
  state: undefined,
}

/** The fields of the transfer being framed; `more` is for the caller to set. */
export function transferFields(
  handle: number,
  deliveryId: number,
  deliveryTag: Uint8Array | number,
  messageFormat: number,
  settled: boolean,
  state: Uint8Array | undefined,
): TransferFields {
  fields.handle = handle
  fields.deliveryId = deliveryId
  fields.deliveryTag = deliveryTag
  fields.messageFormat = messageFormat
  fields.settled = settled
  fields.more = false
  fields.state = state
  return fields
}
