/** What a case is, to the harness that times it. */

/** A case that is set up: `pass` does the same work each time. */
export interface Unit {
  /** Operations of one pass: values, frames or messages. */
  readonly ops: number
  /** Bytes that one operation encodes, decodes or carries, on average. */
  readonly bytesPerOp: number
  /** Rounds that are enough for a case that takes seconds. Default: those of the plan. */
  readonly rounds?: number
  /**
   * Does all operations once.
   * @returns a checksum over what came out, the same for every pass: work that was not done cannot match it
   */
  pass(): number | Promise<number>
  /** What is worth telling besides the time, per operation, e.g. `cpuUsSender`. */
  info?(): Readonly<Record<string, number>>
  close?(): Promise<void>
}

/** Name → how it is set up. */
export type Cases = Readonly<Record<string, () => Unit | Promise<Unit>>>

/** Adds to a checksum, so that order matters. */
export const mix = (sum: number, value: number): number => (Math.imul(sum, 31) + value) | 0
