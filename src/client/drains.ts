/** Who waits for a link to have no credit left, and how each asks for that: once more when the link is another. §2.6.7 */

import { abortable, type Deferred, deferred } from './operation.ts'

export class Drains {
  #waiting: { readonly drained: Deferred<void>; readonly ask: () => void }[] = []

  /** Resolves with `end`. Cancellation stops the waiting. */
  wait(ask: () => void, signal: AbortSignal | undefined): Promise<void> {
    const drained = deferred<void>()
    this.#waiting.push({ drained, ask })
    return abortable(drained, signal, () => {
      this.#waiting = this.#waiting.filter(have => have.drained !== drained)
    })
  }

  /** The link is another: each asks there. */
  askAgain(): void {
    for (const { ask } of [...this.#waiting]) ask()
  }

  end(): void {
    for (const { drained } of this.#waiting.splice(0)) drained.resolve()
  }

  fail(error: unknown): void {
    for (const { drained } of this.#waiting.splice(0)) drained.reject(error)
  }
}
