/**
 * What a client sends on one link, in the order of its calls, from the call until the hub has answered. It waits while
 * the link, or the connection, is not there; and what a link that was lost had not sent yet goes out on the next.
 *
 * §2.6.12
 */

import type { Sender } from '../../client/api.ts'
import type { Abortable } from '../../client/options.ts'
import { assertAccepted, type Outcome } from '../../client/outcome.ts'
import { ClosedError } from '../../errors.ts'
import { EncodedMessage, encodeMessage } from '../../message/encode.ts'
import type { MessageInit } from '../../message/message.ts'
import type { HubLine } from './hub-line.ts'
import { QueueFullError } from './queue-full-error.ts'
import type { SharedLink } from './shared-link.ts'

/** Whose messages they are. */
export interface OutboxOwner {
  readonly who: string
  readonly line: Pick<HubLine, 'isUp' | 'isHeld' | 'whenOpen' | 'underway'>
  /** Messages that may wait while there is no link. */
  readonly maxQueued: number
  /** It is being closed from this end: nothing new is taken. */
  readonly isClosing: boolean
  /** Whether what may have arrived is sent again. */
  readonly resends: boolean
  /** Whether another link is asked for when one has ended with this. */
  goesOn(error: unknown): boolean
  /** An error as users get it. */
  explained(error: unknown): unknown
}

interface Entry {
  /** The order of the calls. */
  readonly turn: number
  readonly message: EncodedMessage
  readonly options: Abortable
  /** Links that were lost with it. */
  losses: number
  resolve(outcome: Outcome): void
  reject(error: unknown): void
}

export class Outbox {
  readonly #owner: OutboxOwner
  readonly #link: SharedLink<Sender>
  /** In the order of their turns. */
  #waiting: Entry[] = []
  readonly #maxPending: number
  /** The link that was there last. */
  #sender: Sender | undefined
  #lastTurn = 0
  /** Messages that are not answered. */
  #count = 0
  #handing: Promise<void> | undefined

  /** @param maxPending  messages that may wait for credit on a link, at least as many as may wait for the link */
  constructor(owner: OutboxOwner, link: SharedLink<Sender>, maxPending: number) {
    this.#owner = owner
    this.#link = link
    this.#maxPending = maxPending
  }

  /**
   * Sends a message, as it is at the call. While the link, or the connection, is not there it waits, in order.
   *
   * @param messageFormat  as of any message, §2.8.11. Default 0
   * @throws {EncodeError} a value does not fit its field
   * @throws {DeliveryError} the hub did not take it
   * @throws {QueueFullError} too many wait
   * @throws {ClosedError} the link was lost with the message under way, or the client has ended
   *
   * Cancellation: a message that waits is not sent; for one that was, the outcome is unknown.
   */
  async send(message: MessageInit, options: Abortable = {}, messageFormat = 0): Promise<void> {
    const { who, line, maxQueued, isClosing } = this.#owner
    options.signal?.throwIfAborted()
    if (isClosing) throw this.#owner.explained(new ClosedError(who, 'connection'))
    const isDown = this.#link.isDown || !line.isUp
    const waiting = isDown ? this.#count : this.#waiting.length + (this.#sender?.pending ?? 0)
    const limit = isDown ? maxQueued : this.#maxPending
    if (waiting >= limit) throw new QueueFullError(who, limit)
    // Now: who has called may change what it was made of.
    const encoded = new EncodedMessage(encodeMessage(message), messageFormat)
    this.#count++
    try {
      assertAccepted(await this.#outcomeOf(encoded, options))
    } catch (error) {
      throw this.#owner.explained(error)
    } finally {
      this.#count--
    }
  }

  #outcomeOf(message: EncodedMessage, { signal }: Abortable): Promise<Outcome> {
    return new Promise<Outcome>((resolve, reject) => {
      const done = (): void => signal?.removeEventListener('abort', onAbort)
      const entry: Entry = {
        turn: ++this.#lastTurn,
        message,
        options: { signal },
        losses: 0,
        resolve: outcome => {
          done()
          resolve(outcome)
        },
        reject: error => {
          done()
          reject(error)
        },
      }
      // Where it does not wait any more, the sender knows the signal itself.
      const onAbort = (): void => {
        const index = this.#waiting.indexOf(entry)
        if (index < 0) return
        this.#waiting.splice(index, 1)
        entry.reject(signal?.reason)
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#add(entry)
    })
  }

  #add(entry: Entry): void {
    let index = this.#waiting.length
    while (index > 0 && (this.#waiting[index - 1] as Entry).turn > entry.turn) index--
    this.#waiting.splice(index, 0, entry)
    this.#handing ??= this.#hand()
  }

  /** Resolves when nothing waits for a link any more. */
  async handed(): Promise<void> {
    while (this.#handing) await this.#handing
  }

  /** Hands over what waits, as soon as there is a link. */
  async #hand(): Promise<void> {
    const { line } = this.#owner
    while (this.#waiting.length > 0) {
      try {
        await line.whenOpen()
        const sender = await this.#link.get()
        this.#sender = sender
        if (line.isHeld) continue
        for (const entry of this.#waiting.splice(0)) this.#sendOn(sender, entry)
      } catch (error) {
        for (const { reject } of this.#waiting.splice(0)) reject(error)
      }
    }
    this.#handing = undefined
  }

  #sendOn(sender: Sender, entry: Entry): void {
    this.#owner.line.underway(sender.send(entry.message, entry.options)).then(entry.resolve, error => {
      if (!this.#goesOn(error, entry)) return entry.reject(error)
      entry.losses++
      // Until then the link at hand is the one that was lost.
      void sender.closed.then(() => {
        const { signal } = entry.options
        if (signal?.aborted) entry.reject(signal.reason)
        else this.#add(entry)
      })
    })
  }

  /** Whether a message may go out on the next link: nothing of it has left, or it does not matter. */
  #goesOn(error: unknown, { losses }: Entry): boolean {
    if (!(error instanceof ClosedError) || losses >= MAX_LOSSES) return false
    const mayRepeat = error.scope === 'link' || (error.scope === 'delivery' && this.#owner.resends)
    return mayRepeat && this.#owner.goesOn(error)
  }
}

/** A hub that takes links and lets go of them at once would have a message wait for ever. */
const MAX_LOSSES = 10
