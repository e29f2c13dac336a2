/**
 * What becomes of what a hub has sent: decisions of those who got it, and of the client itself where nobody could read it.
 * What is decided on a link that was lost comes again on the next.
 */

import type { Delivery } from '../../client/api.ts'
import { AmqpCondition, ClosedError } from '../../errors.ts'
import type { HubConnection } from './hub-connection.ts'

/** Waits for a decision. @throws {ClosedError} the link ended first; worth another try where the client attaches it again */
export async function settled(hub: Pick<HubConnection, 'explained'>, decision: Promise<void>): Promise<void> {
  try {
    await decision
  } catch (error) {
    throw hub.explained(error)
  }
}

/** Has a hub drop what would come again and again. Where the link is lost it does come again, and is rejected then. */
export async function rejectUnreadable(delivery: Delivery): Promise<void> {
  try {
    await delivery.reject({ condition: AmqpCondition.decodeError })
  } catch (error) {
    if (!(error instanceof ClosedError)) throw error
  }
}
