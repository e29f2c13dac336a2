/** A session that the peer has begun, for whoever accepts or refuses it. §2.5.1 */

import type { Connection, IncomingSession } from '../api.ts'
import type { ErrorInit, SessionOptions } from '../options.ts'
import type { ClientSession } from '../session.ts'
import { errorFields } from '../termini.ts'

export const incomingSession = (connection: Connection, session: ClientSession): IncomingSession => ({
  connection,
  accept: async (options: SessionOptions = {}) => {
    await session.begin(options, false)
    return session
  },
  refuse: (error: ErrorInit) => {
    const { endpoint } = session
    if (endpoint.state === 'BEGIN_RCVD' && !session.hasEnded) {
      endpoint.begin()
      endpoint.end(errorFields(error))
    }
    session.touch()
  },
})
