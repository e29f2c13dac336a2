/**
 * When the token of one identity is renewed: some time before it expires, on demand, and again after a failure. One
 * renewal at a time; what it consists of is its owner's.
 *
 * What counts is how long a token has left when it is made, from then on by a clock that nobody sets: how far the wall
 * clock of this machine is off, and whether somebody corrects it, does not matter. Facts: spec-notes/cbs.md
 */

import { after, type HubClock } from '../clock.ts'

/** How long tokens live, and when they are renewed. */
export interface TokenOptions {
  /** How long a token lives that is made from a key, in ms, 1 s … 365 days. Default 3,600,000: an hour. */
  readonly lifeMs?: number | undefined
  /** How long before its end it is renewed, in ms, ≥ 0. Default 15 % of its life, five minutes at most. */
  readonly marginMs?: number | undefined
}

/** What a renewal needs. */
export interface RenewalInit {
  readonly clock: HubClock
  readonly marginMs: number | undefined
  /** The part of a life by which renewals are early at random, so that those of many do not fall together. 0 … 1 */
  readonly spread: number
  /** Has a new token made and takes it to where it counts, then calls {@link TokenRenewal.renewed}. */
  renew(): Promise<void>
  /** A renewal on schedule has failed. @returns how long to wait before the next, in ms; `undefined`: there is none */
  failed(error: unknown, attempt: number): number | undefined
}

export class TokenRenewal {
  readonly #init: RenewalInit
  #flight: Promise<void> | undefined
  #cancel: (() => void) | undefined
  #expiresAt = Number.NEGATIVE_INFINITY
  /** Failures in a row. */
  #attempt = 0
  #isOver = false

  constructor(init: RenewalInit) {
    this.#init = init
  }

  /** A token holds from now on: sets the time of the next. */
  renewed(expiresAt: Date): void {
    this.#attempt = 0
    const { clock, marginMs, spread } = this.#init
    const at = expiresAt.getTime()
    const lifeMs = at - clock.now()
    // One that is over already, by a clock that is fast, holds all the same.
    if (lifeMs <= 0) return this.#schedule(AGAIN_MS)
    // Whoever gives the same again has no other yet.
    if (at <= this.#expiresAt) return this.#schedule(Math.max(Math.min(AGAIN_MS, lifeMs / 2), SHORTEST_MS))
    this.#expiresAt = at
    this.#schedule(renewalDelay(lifeMs, marginMs, spread * Math.random()))
  }

  /**
   * Renews now; who asks while a renewal is under way gets that.
   *
   * @throws what the renewal failed with; it is tried again on schedule
   */
  renew(): Promise<void> {
    this.#flight ??= this.#fly().finally(() => {
      this.#flight = undefined
    })
    return this.#flight
  }

  /** Renews once whatever is under way has come to its end, well or badly: for a connection that it is not meant for. */
  async renewAfresh(): Promise<void> {
    await this.#flight?.catch(() => {})
    await this.renew()
  }

  /** No more renewals, and no timer. */
  stop(): void {
    this.#isOver = true
    this.#cancel?.()
  }

  async #fly(): Promise<void> {
    this.#cancel?.()
    try {
      await this.#init.renew()
    } catch (error) {
      const wait = this.#isOver ? undefined : this.#init.failed(error, ++this.#attempt)
      if (wait !== undefined) this.#schedule(wait)
      throw error
    }
  }

  #schedule(delayMs: number): void {
    this.#cancel?.()
    if (this.#isOver) return
    this.#cancel = after(this.#init.clock, delayMs, () => {
      this.renew().catch(() => {})
    })
  }
}

/** How soon to ask for a token again where the last was no newer. */
const AGAIN_MS = 60_000
const LONGEST_MARGIN_MS = 300_000
/** Whatever the margin, hubs are not flooded with tokens. */
const SHORTEST_MS = 1_000

/**
 * How long after it was made a token is renewed, in ms. Pure.
 *
 * @param early  part of the rest by which it is earlier, 0 … 1
 */
export function renewalDelay(lifeMs: number, marginMs: number | undefined, early: number): number {
  return Math.max((lifeMs - marginOf(lifeMs, marginMs)) * (1 - early), Math.min(SHORTEST_MS, lifeMs / 2))
}

/** How long before its end a token is renewed, in ms. Pure. */
export function marginOf(lifeMs: number, marginMs: number | undefined): number {
  return marginMs ?? Math.min(lifeMs * 0.15, LONGEST_MARGIN_MS)
}
