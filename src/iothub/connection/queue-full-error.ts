/** What is refused because too much waits already. */

import { UsageError } from '../../errors.ts'

/**
 * As many messages wait as may: `maxQueued` where the connection or the link was lost, else that and 2,048 at least, for
 * the first link or for credit. This one was not queued; try it again later.
 */
export class QueueFullError extends UsageError {
  override readonly name = 'QueueFullError'
  override readonly code = 'ERR_AMQP_QUEUE_FULL'
  /** How many may wait. */
  readonly limit: number

  constructor(who: string, limit: number) {
    super(`${who}: ${limit} messages wait already`)
    this.limit = limit
  }
}
