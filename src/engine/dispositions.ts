/** A peer's disposition: what it says goes to each delivery in its range. §2.7.6 */

import type { Disposition } from '../definitions/performatives.ts'
import { AmqpCondition } from '../errors.ts'
import { isOutcome } from './outcomes.ts'
import type { SessionEndpoint } from './session-endpoint.ts'

/** Takes a disposition from the peer. */
export function receiveDisposition(session: SessionEndpoint, disposition: Disposition): void {
  const { first, settled, state } = disposition
  const last = disposition.last ?? first
  // It says nothing: not worth a walk.
  if (!settled && !state) return
  const isReceiver = disposition.role === 'receiver'
  if (!(isReceiver ? session.outgoing : session.incoming).mayWalk(first, last)) {
    // A state that settles nothing may pass unheard.
    if (settled || (isReceiver && state && isOutcome(state)))
      session.fail(AmqpCondition.resourceLimitExceeded, 'dispositions cover the same deliveries too often', '2.7.6')
    return
  }
  if (isReceiver) session.outgoing.range(first, last, delivery => delivery.link.onDisposition(delivery, disposition))
  else session.incoming.range(first, last, delivery => delivery.link.onDisposition(delivery, disposition))
}
