/** A streaming receiver on a session of its own, whose window is its memory and nobody else's. §2.5.6 §2.6.14 */

import type { Connection, Receiver } from '../api.ts'
import type { ReceiverOptions, SourceInit } from '../options.ts'

/** Transfer frames that may lie here unread: 4 MiB, with frames of the default size. */
const WINDOW = 64

/** Begins the session, attaches the receiver, and ends the session with it. Cancellation ends both. */
export async function streamingReceiver(
  connection: Pick<Connection, 'session'>,
  source: string | SourceInit | null,
  options: ReceiverOptions,
): Promise<Receiver> {
  const session = await connection.session({ incomingWindow: WINDOW, signal: options.signal })
  const leave = () => {
    session.end().catch(() => {})
  }
  try {
    const receiver = await session.receiver(source, options)
    receiver.closed.then(leave)
    return receiver
  } catch (error) {
    leave()
    throw error
  }
}
