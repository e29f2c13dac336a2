/**
 * Refusals that a token may be to blame for: how many new tokens in a row have been of no use, and so whether another is
 * worth a try. Pure: time is an argument. Facts: spec-notes/iothub.md, staying up.
 */

/** Who has been of use once, may be refused so often in a row; who has not, once. */
const MOST = 5

export class Doubts {
  readonly #forgetMs: number
  #count = 0
  #at = Number.NEGATIVE_INFINITY
  #isTrusted = false

  /** @param forgetMs  how long a doubt lasts, in ms: what a hub has refused it may allow later */
  constructor(forgetMs: number) {
    this.#forgetMs = forgetMs
  }

  /** One more. @param now  in ms, of any monotonic clock */
  add(now: number): void {
    this.#count = this.#countAt(now) + 1
    this.#at = now
  }

  /** What the token stands for was let in. */
  clear(): void {
    this.#count = 0
    this.#isTrusted = true
  }

  /** Whether there are as many as there may be. */
  areEnough(now: number): boolean {
    return this.#countAt(now) >= (this.#isTrusted ? MOST : 1)
  }

  #countAt(now: number): number {
    return now - this.#at > this.#forgetMs ? 0 : this.#count
  }
}
