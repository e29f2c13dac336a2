/** What is refused because too much waits already. */

import { UsageError } from '../../errors.ts'

/** While there was no connection, as many messages were sent as may wait. This one was not queued; try it again later. */
export class QueueFullError extends UsageError {
  override readonly name = 'QueueFullError'
  override readonly code = 'ERR_AMQP_QUEUE_FULL'
  /** How many may wait: `maxQueued`. */
  readonly limit: number

  constructor(who: string, limit: number) {
    super(`${who}: not connected, and ${limit} messages wait already`)
    this.limit = limit
  }
}
