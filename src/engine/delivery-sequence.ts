/** The delivery-ids that the peer gives: one sequence over all links of a session, which begins where it likes. §2.6.12 */

import type { SequenceNo } from '../definitions/restricted.ts'
import { serialAdd } from './serial.ts'

export class DeliverySequence {
  /** The id that comes next; unknown until the first. */
  next: SequenceNo | undefined

  /** A delivery begins. @returns whether its id is the one that is next; only then does the sequence move on */
  take(id: SequenceNo): boolean {
    if (id !== (this.next ?? id)) return false
    this.next = serialAdd(id, 1)
    return true
  }
}
