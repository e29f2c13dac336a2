/** A link, or a pair, that several use, and that is attached again where it has ended and that can be mended. */

import type { Closure } from '../../client/api.ts'
import type { Abortable } from '../../client/options.ts'
import { ClosedError } from '../../errors.ts'
import { untilAborted } from '../clock.ts'

/** Who decides whether a link is attached again, and when. */
export interface LinkCare {
  /** Whose link it is, for error messages. */
  readonly who: string
  /** Whether what a link ended with is such that those who use it wait for another. */
  goesOn(error: unknown): boolean
  /**
   * Waits as long as it should before the next try, and does what has to be done for it.
   *
   * @param error    what the link ended with, or was refused with
   * @param attempt  ends and refusals in a row, from 1
   * @returns false: there is no next
   */
  mend(error: unknown, attempt: number): Promise<boolean>
  /** A link was attached. */
  attached(): void
  /** How long a link lives, in ms, that has its next end count as the first. */
  readonly stableMs: number
}

/** Attached on first use, and again on the next use after it has ended. */
export class SharedLink<L extends { readonly closed: Promise<Closure> }> {
  readonly #attach: () => Promise<L>
  readonly #care: LinkCare | undefined
  #current: Promise<L> | undefined
  /** It was lost or refused, and is not attached again: who uses it waits. */
  isDown = false
  #ends = 0
  #lost: Closure | undefined

  /** @param care  without it, a link that is refused is asked for once */
  constructor(attach: () => Promise<L>, care?: LinkCare) {
    this.#attach = attach
    this.#care = care
  }

  /** Hands over the link that is attached or being attached, to be closed: the next use attaches another. */
  take(): Promise<L> | undefined {
    const taken = this.#current
    this.#current = undefined
    return taken
  }

  /**
   * The link, attached.
   *
   * @throws {RemoteError} the peer refused it, for good
   * @throws {ClosedError} the connection has ended
   *
   * Cancellation stops waiting; the attach goes on for whoever else asks.
   */
  get(options: Abortable = {}): Promise<L> {
    this.#current ??= this.#open()
    return untilAborted(this.#current, options.signal)
  }

  #open(): Promise<L> {
    const opening = this.#attached()
    const forget = (): void => {
      if (this.#current === opening) this.#current = undefined
    }
    opening.then(link => {
      this.isDown = false
      const attachedAt = performance.now()
      void link.closed.then(closure => {
        if (this.#care && performance.now() - attachedAt >= this.#care.stableMs) this.#ends = 0
        if (this.#current === opening) this.#lost = closure
        this.isDown = this.#care !== undefined
        forget()
      })
    }, forget)
    return opening
  }

  async #attached(): Promise<L> {
    const care = this.#care
    if (!care) return this.#attach()
    const lost = this.#lost
    this.#lost = undefined
    // What cannot be mended is asked for once more all the same: somebody uses it. What was tried as often as it may be
    // is not: those who go on by themselves would ask without end, and without a wait.
    if (lost && lost.by !== 'local' && !(await care.mend(lost.error, ++this.#ends)) && care.goesOn(lost.error)) {
      this.#ends = 0
      throw new ClosedError(`a link of ${care.who}`, 'link', lost.error, lost.by)
    }
    for (;;) {
      try {
        const link = await this.#attach()
        care.attached()
        return link
      } catch (error) {
        this.isDown = true
        if (!(await care.mend(error, ++this.#ends))) throw error
      }
    }
  }
}
