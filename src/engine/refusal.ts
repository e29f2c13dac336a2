/** What the engine does for an owner who has not: where that is impossible, the peer's input must not make it throw. */

import { EncodeError, UsageError } from '../errors.ts'

/**
 * Does something.
 * @returns why it cannot be done: no number is left, the peer's frames are too small, or what it said cannot be written
 */
export function refusal(answer: () => void): UsageError | EncodeError | undefined {
  try {
    answer()
    return undefined
  } catch (error) {
    if (error instanceof UsageError || error instanceof EncodeError) return error
    throw error
  }
}
