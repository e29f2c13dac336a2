/** Outcomes as data: what became of a message. §3.4 */

import type { DeliveryState } from '../definitions/delivery-state.ts'
import type { ErrorValue } from '../definitions/error.ts'
import { AmqpError, DeliveryError, RemoteError } from '../errors.ts'
import type { AmqpValue } from '../types/values.ts'

/** What became of a sent message. Released and modified are answers, not failures. §3.4.2–5 */
export type Outcome =
  | { readonly outcome: 'accepted' }
  | { readonly outcome: 'rejected'; readonly error: AmqpError | undefined }
  | { readonly outcome: 'released' }
  | {
      readonly outcome: 'modified'
      readonly deliveryFailed: boolean
      readonly undeliverableHere: boolean
      readonly messageAnnotations: ReadonlyMap<AmqpValue, AmqpValue>
    }

export const ACCEPTED_OUTCOME: Outcome = /* @__PURE__ */ Object.freeze({ outcome: 'accepted' as const })
const RELEASED_OUTCOME: Outcome = /* @__PURE__ */ Object.freeze({ outcome: 'released' as const })

/** The outcome that a terminal delivery state says; `undefined` for a state that is not terminal. */
export function outcomeOf(state: DeliveryState | undefined): Outcome | undefined {
  switch (state?.type) {
    case 'accepted':
      return ACCEPTED_OUTCOME
    case 'released':
      return RELEASED_OUTCOME
    case 'rejected':
      return { outcome: 'rejected', error: state.error && rejectionOf(state.error) }
    case 'modified':
      return {
        outcome: 'modified',
        deliveryFailed: state.deliveryFailed,
        undeliverableHere: state.undeliverableHere,
        messageAnnotations: state.messageAnnotations ?? new Map(),
      }
    default:
      return undefined
  }
}

const rejectionOf = (error: ErrorValue): AmqpError => new RemoteError('delivery rejected by peer', 'delivery', error)

/**
 * Makes anything but `accepted` an error, for those who want it.
 *
 * @throws {DeliveryError} with the outcome, and the condition of a rejection
 */
export function assertAccepted(outcome: Outcome): asserts outcome is Extract<Outcome, { outcome: 'accepted' }> {
  if (outcome.outcome === 'accepted') return
  const error = outcome.outcome === 'rejected' ? outcome.error : undefined
  const why = error instanceof AmqpError ? error.message : `delivery was ${outcome.outcome}, not accepted`
  throw new DeliveryError(why, outcome, error?.condition)
}
