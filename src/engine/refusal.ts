/** What the engine does for an owner who has not: where that is impossible, the peer's input must not make it throw. */

import { UsageError } from '../errors.ts'

/** Does something. @returns why it cannot be done: no number is left, or the peer's frames are too small */
export function refusal(answer: () => void): UsageError | undefined {
  try {
    answer()
    return undefined
  } catch (error) {
    if (error instanceof UsageError) return error
    throw error
  }
}
