/**
 * The queue of cloud-to-device messages of one device, as a pure state machine: messages wait, are locked while a
 * receiver has them, and end in one of five ways. Time is an argument; there is no timer, no link and no encoding here.
 *
 * ```
 * enqueue ─► waiting ─ take ─► locked ─ complete ─► success
 *              │  ▲              ├────── reject ───► rejected
 *              │  └─ abandon ────┤ (+1; at the limit deliveryCountExceeded)
 *              │  └─ lock ends ──┤ (not counted)
 *              │  └─ release ────┘ (not counted)
 *              └─ time to live ─► expired                         purge ─► purged, from either
 * ```
 *
 * A message that outlives its time while locked is left to its receiver: it expires if the lock ends otherwise than by
 * a verdict. What comes back from a lock stands before everything that was enqueued after it. The queue of feedback
 * batches runs by the same rules. Facts: spec-notes/iothub.md, cloud-to-device life cycle.
 */

/** How a message ended, and so what its sender is told. */
export type FeedbackStatus = 'success' | 'expired' | 'deliveryCountExceeded' | 'rejected' | 'purged'

/** What a queue holds to. */
export interface CommandQueueOptions {
  /** How long a receiver may keep a message, in ms, > 0. Default 60 000. */
  readonly lockMs?: number | undefined
  /** Abandons after which a message is given up, ≥ 1. Default 10. */
  readonly maxDeliveryCount?: number | undefined
  /** How long a message without an expiry of its own lives, in ms, > 0. Default 3 600 000 (1 h). */
  readonly timeToLiveMs?: number | undefined
  /** Messages that may wait or be locked at once. Default 50. */
  readonly maxDepth?: number | undefined
}

/** A message in the queue. Times are in ms since 1970-01-01 UTC. */
export interface QueuedCommand<M> {
  readonly message: M
  /** From 1, in the order enqueued. */
  readonly sequenceNumber: bigint
  readonly enqueuedAt: number
  readonly expiresAt: number
  /** How often it was abandoned. */
  readonly deliveryCount: number
}

/** A message that a receiver has. */
export interface LockedCommand<M> extends QueuedCommand<M> {
  /** Names this lock; never used again. */
  readonly lockToken: string
  readonly lockedUntil: number
}

/** The end of a message. */
export interface CommandEnd<M> {
  readonly command: QueuedCommand<M>
  readonly status: FeedbackStatus
}

/** What became of a verdict. `'lost'`: there is no such lock (any more), and nothing has changed. */
export type Settlement<M> =
  | { readonly result: 'ended'; readonly end: CommandEnd<M> }
  | { readonly result: 'requeued' }
  | { readonly result: 'lost' }

/** One queue. */
export class CommandQueue<M> {
  readonly #lockMs: number
  readonly #maxDeliveryCount: number
  readonly #timeToLiveMs: number
  readonly #maxDepth: number
  readonly #newToken: () => string
  /** In the order of their sequence numbers. */
  #waiting: QueuedCommand<M>[] = []
  /** In the order locked, so in the order in which the locks end. */
  readonly #locked = new Map<string, LockedCommand<M>>()
  #lastSequenceNumber = 0n

  /** @param newToken  makes a lock token, each time another */
  constructor(newToken: () => string, options: CommandQueueOptions = {}) {
    this.#newToken = newToken
    this.#lockMs = options.lockMs ?? 60_000
    this.#maxDeliveryCount = options.maxDeliveryCount ?? 10
    this.#timeToLiveMs = options.timeToLiveMs ?? 3_600_000
    this.#maxDepth = options.maxDepth ?? 50
  }

  /** How many messages there are, waiting or locked. */
  get depth(): number {
    return this.#waiting.length + this.#locked.size
  }

  /** How many messages wait. */
  get waiting(): number {
    return this.#waiting.length
  }

  /**
   * Adds a message at the end.
   *
   * @param expiresAt  in ms since 1970; may be past already. Default: the queue's time to live from now.
   * @returns `undefined` when the queue is full
   */
  enqueue(message: M, now: number, expiresAt: number = now + this.#timeToLiveMs): QueuedCommand<M> | undefined {
    if (this.depth >= this.#maxDepth) return undefined
    this.#lastSequenceNumber += 1n
    const command = { message, sequenceNumber: this.#lastSequenceNumber, enqueuedAt: now, expiresAt, deliveryCount: 0 }
    this.#waiting.push(command)
    return command
  }

  /** Locks the first message that waits and has not expired. `undefined` if there is none. */
  take(now: number): LockedCommand<M> | undefined {
    const index = this.#waiting.findIndex(command => command.expiresAt > now)
    const [command] = index < 0 ? [] : this.#waiting.splice(index, 1)
    if (command === undefined) return undefined
    const locked = { ...command, lockToken: this.#newToken(), lockedUntil: now + this.#lockMs }
    this.#locked.set(locked.lockToken, locked)
    return locked
  }

  /** The receiver is done with the message. */
  complete(lockToken: string, now: number): Settlement<M> {
    return this.#end(lockToken, now, 'success')
  }

  /** The receiver will not have the message, ever. */
  reject(lockToken: string, now: number): Settlement<M> {
    return this.#end(lockToken, now, 'rejected')
  }

  /** The receiver cannot handle the message now: it counts, and comes again unless this was once too often. */
  abandon(lockToken: string, now: number): Settlement<M> {
    const command = this.#unlock(lockToken, now)
    if (command === undefined) return { result: 'lost' }
    const counted = { ...command, deliveryCount: command.deliveryCount + 1 }
    if (counted.deliveryCount >= this.#maxDeliveryCount)
      return { result: 'ended', end: { command: counted, status: 'deliveryCountExceeded' } }
    if (counted.expiresAt <= now) return { result: 'ended', end: { command: counted, status: 'expired' } }
    this.#requeue(counted)
    return { result: 'requeued' }
  }

  /** The message was locked for a receiver that it did not leave for: it waits as if it had not been taken. */
  release(lockToken: string): void {
    const locked = this.#locked.get(lockToken)
    if (locked === undefined) return
    this.#locked.delete(lockToken)
    this.#requeue(unlocked(locked))
  }

  /** Lets time pass: ends locks, then removes what has expired. @returns the expired, oldest first */
  advance(now: number): readonly CommandEnd<M>[] {
    for (const locked of this.#locked.values()) {
      if (locked.lockedUntil > now) break
      this.#locked.delete(locked.lockToken)
      this.#requeue(unlocked(locked))
    }
    const expired = this.#waiting.filter(command => command.expiresAt <= now)
    if (expired.length > 0) this.#waiting = this.#waiting.filter(command => command.expiresAt > now)
    return expired.map(command => ({ command, status: 'expired' }))
  }

  /** When {@link advance} next has something to do, in ms since 1970; `undefined` for never. */
  deadline(): number | undefined {
    let earliest: number | undefined
    for (const { lockedUntil } of this.#locked.values()) {
      earliest = lockedUntil
      break
    }
    for (const { expiresAt } of this.#waiting) if (!(expiresAt >= (earliest ?? Infinity))) earliest = expiresAt
    return earliest
  }

  /** Removes every message, waiting or locked. @returns them, oldest first */
  purge(): readonly CommandEnd<M>[] {
    for (const locked of this.#locked.values()) this.#requeue(unlocked(locked))
    const purged = this.#waiting
    this.#waiting = []
    this.#locked.clear()
    return purged.map(command => ({ command, status: 'purged' }))
  }

  #end(lockToken: string, now: number, status: FeedbackStatus): Settlement<M> {
    const command = this.#unlock(lockToken, now)
    return command === undefined ? { result: 'lost' } : { result: 'ended', end: { command, status } }
  }

  #unlock(lockToken: string, now: number): QueuedCommand<M> | undefined {
    const locked = this.#locked.get(lockToken)
    if (locked === undefined || locked.lockedUntil <= now) return undefined
    this.#locked.delete(lockToken)
    return unlocked(locked)
  }

  #requeue(command: QueuedCommand<M>): void {
    const after = this.#waiting.findIndex(other => other.sequenceNumber > command.sequenceNumber)
    this.#waiting.splice(after < 0 ? this.#waiting.length : after, 0, command)
  }
}

function unlocked<M>(locked: LockedCommand<M>): QueuedCommand<M> {
  const { lockToken: _, lockedUntil: __, ...command } = locked
  return command
}
