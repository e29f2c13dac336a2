/**
 * A queue with links: sends what waits in a {@link CommandQueue} to whichever receiver has credit, and turns outcomes
 * into verdicts. Cloud-to-device messages and feedback batches both leave the hub through one of these.
 *
 * A message is locked when a link has credit for it, not before, so its lock does not run while it waits here. When a
 * link ends, the locks of what it carried run on; what it could not carry any more waits for another. §2.6.7, §3.4
 */

import type { Sender } from '../../client/api.ts'
import type { Outcome } from '../../client/outcome.ts'
import { ClosedError, EncodeError } from '../../errors.ts'
import type { MessageInit } from '../../message/message.ts'
import { Alarm, type EmulatorClock } from '../clock.ts'
import {
  type CommandEnd,
  CommandQueue,
  type CommandQueueOptions,
  type LockedCommand,
  type Settlement,
} from '../command-queue.ts'
import { lockTokenBytes, newLockToken } from '../lock-token.ts'

/** What an {@link OutgoingNode} works with. */
export interface OutgoingNodeOptions<M> {
  readonly clock: EmulatorClock
  readonly queue: CommandQueueOptions
  /** The AMQP message for a delivery. */
  encode(command: LockedCommand<M>): MessageInit
  /** Told of each message that has ended. */
  onEnd(end: CommandEnd<M>): void
}

/** One queue and its links. */
export class OutgoingNode<M> {
  readonly #options: OutgoingNodeOptions<M>
  readonly #queue: CommandQueue<M>
  readonly #alarm: Alarm
  /** The next one to be served first. */
  readonly #links = new Set<Sender>()
  #isClosed = false

  constructor(options: OutgoingNodeOptions<M>) {
    this.#options = options
    this.#queue = new CommandQueue(newLockToken, options.queue)
    this.#alarm = new Alarm(options.clock, () => this.#pump())
  }

  /** Serves a link until it ends. Links at the same time compete. */
  serve(sender: Sender): void {
    this.#links.add(sender)
    sender.on('credit', () => this.#pump())
    void sender.closed.then(() => this.#links.delete(sender))
    this.#pump()
  }

  /**
   * Queues a message.
   *
   * @param expiresAt  in ms since 1970; default: the queue's time to live from now
   * @returns false when the queue is full
   */
  enqueue(message: M, expiresAt?: number): boolean {
    const isQueued = this.#queue.enqueue(message, this.#options.clock.now(), expiresAt) !== undefined
    this.#pump()
    return isQueued
  }

  /** Removes all messages, also those that a receiver has. @returns how many there were */
  purge(): number {
    const purged = this.#queue.purge()
    for (const end of purged) this.#options.onEnd(end)
    this.#pump()
    return purged.length
  }

  /** Stops; what is queued stays unsent. */
  close(): void {
    this.#isClosed = true
    this.#alarm.set(undefined)
  }

  #pump(): void {
    if (this.#isClosed) return
    const now = this.#options.clock.now()
    for (const end of this.#queue.advance(now)) this.#options.onEnd(end)
    for (let link = this.#nextLink(); link !== undefined; link = this.#nextLink()) {
      const command = this.#queue.take(now)
      if (command === undefined) break
      this.#send(link, command)
    }
    this.#alarm.set(this.#queue.deadline())
  }

  /** A link with credit to spare; the others move up. */
  #nextLink(): Sender | undefined {
    if (this.#queue.waiting === 0) return undefined
    for (const link of this.#links) {
      if (link.linkCredit <= link.pending) continue
      this.#links.delete(link)
      this.#links.add(link)
      return link
    }
    return undefined
  }

  #send(link: Sender, command: LockedCommand<M>): void {
    const { lockToken } = command
    link.send(this.#options.encode(command), { deliveryTag: lockTokenBytes(lockToken) }).then(
      outcome => this.#settle(lockToken, outcome.outcome),
      error => {
        // What cannot be encoded would fail every time.
        if (error instanceof EncodeError) return this.#settle(lockToken, 'rejected')
        // One that never left the hub waits, but not for this link. Of any other the lock runs on.
        if (!(error instanceof ClosedError) || error.scope === 'delivery') return
        this.#links.delete(link)
        this.#queue.release(lockToken)
        this.#pump()
      },
    )
  }

  #settle(lockToken: string, outcome: Outcome['outcome']): void {
    if (this.#isClosed) return
    const settlement = this.#verdict(lockToken, outcome)
    if (settlement.result === 'ended') this.#options.onEnd(settlement.end)
    this.#pump()
  }

  #verdict(lockToken: string, outcome: Outcome['outcome']): Settlement<M> {
    const now = this.#options.clock.now()
    if (outcome === 'accepted') return this.#queue.complete(lockToken, now)
    if (outcome === 'rejected') return this.#queue.reject(lockToken, now)
    return this.#queue.abandon(lockToken, now)
  }
}
