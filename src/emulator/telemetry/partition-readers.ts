/**
 * Who may read a partition of an event hub: at most five readers at a time in a consumer group, or one that owns it,
 * by the highest owner level (its epoch). Pure.
 *
 * Facts: spec-notes/iothub.md, reading telemetry.
 */

import type { ErrorInit } from '../../client/options.ts'
import { AmqpCondition, LinkCondition } from '../../errors.ts'

/** Whether a reader is let in, and who must go for it. */
export type Admission<R> =
  | { readonly ok: true; readonly evicted: readonly R[] }
  | { readonly ok: false; readonly error: ErrorInit }

/** Readers without an owner level. */
const MAX_READERS = 5

/** The readers of one partition in one consumer group. */
export class PartitionReaders<R> {
  readonly #readers = new Set<R>()
  #owner: { readonly reader: R; readonly level: bigint } | undefined

  /**
   * Lets a reader in, or not.
   *
   * @param level  its owner level; `undefined` for a reader that shares
   */
  admit(reader: R, level: bigint | undefined): Admission<R> {
    const owner = this.#owner
    if (level === undefined) {
      if (owner !== undefined) return refused(`a receiver of epoch '${owner.level}' has the partition to itself`)
      if (this.#readers.size >= MAX_READERS) {
        const condition = AmqpCondition.resourceLimitExceeded
        const description = `the partition has ${MAX_READERS} receivers in this consumer group, the most allowed`
        return { ok: false, error: { condition, description } }
      }
      this.#readers.add(reader)
      return { ok: true, evicted: [] }
    }
    if (owner !== undefined && owner.level > level)
      return refused(`a receiver of the higher epoch '${owner.level}' has the partition; this one has '${level}'`)
    const evicted = [...this.#readers, ...(owner === undefined ? [] : [owner.reader])]
    this.#readers.clear()
    this.#owner = { reader, level }
    return { ok: true, evicted }
  }

  /** A reader has gone, or was told to. */
  leave(reader: R): void {
    this.#readers.delete(reader)
    if (this.#owner?.reader === reader) this.#owner = undefined
  }
}

/** What the loser of a contest hears, whether it had the partition or wanted it. */
export const stolenBy = (level: bigint): ErrorInit => ({
  condition: LinkCondition.stolen,
  description: `a receiver of epoch '${level}' has taken the partition over`,
})

function refused(description: string): { ok: false; error: ErrorInit } {
  return { ok: false, error: { condition: LinkCondition.stolen, description } }
}
