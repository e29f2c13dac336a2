/** Errors that are to be sent: checked when they are given, and cut to what the peer's frames can hold. §2.8.14 */

import { ACCEPTED, type DeliveryState, deliveryStateField, RELEASED } from '../definitions/delivery-state.ts'
import { type ErrorValue, error as errorTable } from '../definitions/error.ts'
import { UsageError } from '../errors.ts'
import type { Init } from '../types/composite.ts'
import { Writer } from '../types/writer.ts'
import { refusal } from './refusal.ts'

/** An error to be sent. §2.8.14 */
export type ErrorFields = Init<ErrorValue> & { readonly condition: string }

/** Bytes of a frame that are left for what is around the error. */
const FRAME_REST = 128
/** Bytes that what is around it takes at most. */
const LEAST_REST = 64

/**
 * The error as it can be sent. One that is too long for a frame loses its info, and then the end of its description:
 * that something ends matters more than every word of why.
 *
 * @throws {EncodeError} a field does not fit its type
 * @throws {UsageError} the condition alone does not fit a frame of the peer's
 */
export function fitted(fields: ErrorFields, maxFrameSize: number): ErrorFields {
  const room = maxFrameSize - FRAME_REST
  const { condition, description } = fields
  if (sizeOf(fields) <= room) return fields
  const short: ErrorFields = { type: 'error', condition, description }
  if (sizeOf(short) <= room) return short
  // A character takes at most three bytes of UTF-8 per UTF-16 unit.
  const units = Math.max(Math.floor((room - condition.length - FRAME_REST) / 3), 0)
  const cut: ErrorFields = { type: 'error', condition, description: (description ?? '').slice(0, units).toWellFormed() }
  if (units > 0 || sizeOf(cut) <= maxFrameSize - LEAST_REST) return cut
  throw new UsageError(
    `a condition of ${condition.length} characters does not fit the peer's frames of ${maxFrameSize}`,
    '2.3.1',
  )
}

/**
 * A delivery state as it can be sent: its error cut to fit, the rest checked.
 *
 * @throws {EncodeError} a field does not fit its type
 * @throws {UsageError} it does not fit a frame of the peer's
 */
export function fittedState(state: DeliveryState, maxFrameSize: number): DeliveryState {
  if (state === ACCEPTED || state === RELEASED) return state
  if (state.type === 'rejected' && state.error)
    return { type: 'rejected', error: fitted(state.error, maxFrameSize) as ErrorValue }
  const writer = new Writer()
  deliveryStateField.write(writer, state)
  if (writer.offset > maxFrameSize - FRAME_REST)
    throw new UsageError(
      `a ${state.type} of ${writer.offset} bytes does not fit the peer's frames of ${maxFrameSize}`,
      '2.3.1',
    )
  return state
}

/** A state that the peer has told, to be said back to it: nothing, where we cannot write it, or not into its frames. */
export function echoed(state: DeliveryState | undefined, maxFrameSize: number): DeliveryState | undefined {
  let fitting: DeliveryState | undefined
  if (state)
    refusal(() => {
      fitting = fittedState(state, maxFrameSize)
    })
  return fitting
}

function sizeOf(fields: ErrorFields): number {
  const writer = new Writer()
  errorTable.write(writer, fields)
  return writer.offset
}
