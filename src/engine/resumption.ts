/**
 * What becomes of a delivery that one or both ends still hold unsettled when a link is resumed. §2.6.13 §3.4.6
 *
 * The source decides, by what it has itself and by what the target's map says. Rows are those of the standard's example;
 * the numbers are its delivery-tags.
 */

import type { DeliveryState } from '../definitions/delivery-state.ts'
import { isOutcome } from './outcomes.ts'

/** A place in the payload. §3.4.1 */
export interface Position {
  readonly sectionNumber: number
  readonly sectionOffset: bigint
}

/**
 * - `resend`: as a new delivery, without `resume`, since the target does not know it (1, 5)
 * - `forget`: nothing is owed any more (10)
 * - `resume`: the payload from where the target asks for it (2, 4, 6)
 * - `abort`: the target asks for what is not there any more (7, 9), or the source wants no more of it (11, 14)
 * - `settle`: the target's outcome, which the source takes as its own (3, 8, 12)
 * - `restate`: the source's outcome, which is not the target's and holds (13)
 */
export type Resumption = 'resend' | 'forget' | 'resume' | 'abort' | 'settle' | 'restate'

/**
 * What the source does about one delivery.
 *
 * @param local  the source's state: an outcome, the earliest place it can send from, or `undefined` for the beginning
 * @param remote  the target's state: `undefined` when its map lacks the delivery, `null` when it knows of it and has
 *   nothing
 */
export function resumption(local: DeliveryState | undefined, remote: DeliveryState | null | undefined): Resumption {
  const ours = local && isOutcome(local) ? local : undefined
  if (remote === undefined) return ours ? 'forget' : 'resend'
  if (remote !== null && isOutcome(remote)) return ours && ours.type !== remote.type ? 'restate' : 'settle'
  if (ours) return 'abort'
  return isBefore(positionOf(remote), positionOf(local)) ? 'abort' : 'resume'
}

const START: Position = { sectionNumber: 0, sectionOffset: 0n }

/** Where a state says that the payload is to be resumed; a state that says nothing means the beginning. */
export const positionOf = (state: DeliveryState | null | undefined): Position =>
  state?.type === 'received' ? state : START

/** Whether `a` lies before `b`. */
const isBefore = (a: Position, b: Position): boolean =>
  a.sectionNumber === b.sectionNumber ? a.sectionOffset < b.sectionOffset : a.sectionNumber < b.sectionNumber
