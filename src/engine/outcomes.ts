/** Which delivery states end a delivery. §3.4 §4.5.5 */

import type { DeliveryState } from '../definitions/delivery-state.ts'

/** Whether a state is terminal: an outcome of §3.4, or the answer to a declare. */
export const isOutcome = ({ type }: DeliveryState): boolean =>
  type === 'accepted' || type === 'rejected' || type === 'released' || type === 'modified' || type === 'declared'
