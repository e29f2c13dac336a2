/** What the begin of a session and the attaches of its links make us keep, counted against a limit of the connection. */

import { AmqpCondition } from '../errors.ts'
import type { ConnectionEndpoint } from './connection-endpoint.ts'

/** Memory that a session or a link takes up, whatever its begin or attach says. */
const OWN = 1024

/** Of one session. */
export class KeptBytes {
  readonly #connection: ConnectionEndpoint
  #bytes = 0

  constructor(connection: ConnectionEndpoint) {
    this.#connection = connection
  }

  /** Counts the frame being read. @returns its bytes, or 0 when that was one too many, and the connection is over */
  add(): number {
    const connection = this.#connection
    const bytes = connection.weigh() + OWN
    this.release(-bytes)
    const { maxLinkBytes } = connection.limits
    if (connection.linkBytes <= maxLinkBytes) return bytes
    const why = `sessions and links take up more than ${maxLinkBytes} bytes`
    connection.fail(AmqpCondition.resourceLimitExceeded, why, '2.8.15')
    return 0
  }

  /** Lets go of a link, or by default of all. */
  release(bytes: number = this.#bytes): void {
    this.#bytes -= bytes
    this.#connection.linkBytes -= bytes
  }
}
