/**
 * What a pipelined open needs besides being sent: who is known not to take it, how long a silence means that, and which
 * failures another try may mend. §2.4.2 D-047
 */

import { EncodeError, SaslError, TransportError, UsageError } from '../errors.ts'
import { timerDelay } from '../io/delay.ts'
import type { Carrier, Line } from './line.ts'

/** Silence after which a peer is taken to hang on a pipelined open, in milliseconds. */
const SILENCE_MS = 2000

/** Peers that were asked in vain, `host:port`; the oldest are forgotten. */
const refusing = new Set<string>()
const MAX_REFUSING = 256

/** Whether a peer is known not to take a pipelined open. */
export const refusesPipelining = (peer: string): boolean => refusing.has(peer)

export function remember(peer: string): void {
  refusing.add(peer)
  for (const oldest of refusing) if (refusing.size > MAX_REFUSING) refusing.delete(oldest)
}

/** How the peer is reached once more, to be asked without pipelining. */
export interface SecondTry {
  /** `host:port` */
  readonly peer: string
  dial(signal: AbortSignal): Promise<Carrier>
}

/** Drops a line that is not opened by the peer and on which nothing more comes. */
export function watch(line: Line): void {
  const look = (): void => {
    const left = line.heardAt + SILENCE_MS - performance.now()
    if (left <= 0) line.destroy(new TransportError(`a pipelined open: nothing from the peer within ${SILENCE_MS} ms`))
    else timer = setTimeout(look, timerDelay(left))
  }
  let timer = setTimeout(look, timerDelay(SILENCE_MS))
  const done = (): void => clearTimeout(timer)
  line.opened.then(done, done)
}

/**
 * Whether another try may help: not when the peer has judged the identity, since asking again shows the secret again and
 * counts as a second failure, and not when the mistake is here.
 */
export function isRefusal(error: unknown): boolean {
  if (error instanceof SaslError) return error.outcome !== undefined && error.outcome !== 'auth'
  return !(error instanceof UsageError || error instanceof EncodeError)
}
