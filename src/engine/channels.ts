/** The channels of a connection, both directions, and the sessions on them. §2.5.1 §2.5.2 */

import { Numbering } from './numbering.ts'
import type { SessionEndpoint } from './session-endpoint.ts'

export class Channels {
  /** By the channels that we send on, and by those of the peer. */
  readonly local: Numbering<SessionEndpoint>
  readonly remote: Numbering<SessionEndpoint>
  /** Sessions that we have begun and ended before the peer's begin came. */
  readonly #endedEarly = new Map<number, SessionEndpoint>()

  constructor(max: number) {
    this.local = new Numbering(max)
    this.remote = new Numbering(max)
  }

  /** What our open announces. The answer to a begin of ours needs a channel as well: it bounds both. §2.7.1 */
  limit(channelMax: number): void {
    this.remote.max = channelMax
    this.local.max = Math.min(this.local.max, channelMax)
  }

  /** @returns −1 when no channel is left */
  assign(session: SessionEndpoint): number {
    return this.local.assign(session, session.initiated === 'remote')
  }

  /** The session that was begun on a channel of ours, though it may have been ended before the answer came. */
  begun(channel: number): SessionEndpoint | undefined {
    return this.local.get(channel) ?? this.#endedEarly.get(channel)
  }

  release(session: SessionEndpoint): void {
    if (session.channel < 0) return
    if (session.remoteChannel < 0 && session.state !== 'UNMAPPED' && session.state !== 'ENDED') {
      // The channel stays taken until the peer's begin and end have come.
      this.#endedEarly.set(session.channel, session)
      return
    }
    this.local.release(session.channel)
  }

  releaseRemote(session: SessionEndpoint): void {
    this.remote.release(session.remoteChannel)
    // The channel may have another session by now, begun since we ended this one.
    if (this.#endedEarly.get(session.channel) !== session) return
    this.#endedEarly.delete(session.channel)
    this.local.release(session.channel)
  }
}
