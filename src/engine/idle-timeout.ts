/**
 * Idle time-outs, both ways, as deadlines on a clock that is passed in. Pure arithmetic, milliseconds. §2.4.5
 *
 * What is announced as idle-time-out is half of what is enforced, as the standard advises; the peer's is kept by an
 * empty frame whenever half of it has passed without output.
 */

/** A peer that wants to hear from us more often than this would have us do little else. D-045 */
export const LEAST_REMOTE_MS = 20

export class IdleTimeout {
  /** What we announced; 0: we do not watch. */
  readonly announcedMs: number
  /** What the peer announced; 0: it does not watch. */
  remoteMs = 0
  #lastInput: number
  #lastOutput: number

  constructor(announcedMs: number, now: number) {
    this.announcedMs = announcedMs
    this.#lastInput = now
    this.#lastOutput = now
  }

  /** Silence after which the peer is given up: twice what we announced. */
  get limitMs(): number {
    return 2 * this.announcedMs
  }

  onInput(now: number): void {
    this.#lastInput = now
  }

  onOutput(now: number): void {
    this.#lastOutput = now
  }

  /** Whether an empty frame is due. */
  heartbeatDue(now: number): boolean {
    return this.remoteMs > 0 && now - this.#lastOutput >= this.remoteMs / 2
  }

  /** Whether the peer has been silent for too long. */
  expired(now: number): boolean {
    return this.announcedMs > 0 && now - this.#lastInput >= this.limitMs
  }

  /** When one of the two is next due; `undefined` for never. @param silent  nothing can be sent, so no frame is due */
  deadline(silent = false): number | undefined {
    const heartbeat = this.remoteMs > 0 && !silent ? this.#lastOutput + this.remoteMs / 2 : Number.POSITIVE_INFINITY
    const expiry = this.announcedMs > 0 ? this.#lastInput + this.limitMs : Number.POSITIVE_INFINITY
    const earliest = Math.min(heartbeat, expiry)
    return earliest === Number.POSITIVE_INFINITY ? undefined : earliest
  }
}
