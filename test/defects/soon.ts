import { expect } from 'vitest'

/** Milliseconds: far above what is needed, far below what was taken. */
const SOON = 200

/** Runs it, and fails when it took long: time of the processor, which a busy machine does not lengthen. */
export function soon<T>(what: () => T): T {
  const started = process.cpuUsage()
  try {
    return what()
  } finally {
    const { user, system } = process.cpuUsage(started)
    expect((user + system) / 1000).toBeLessThan(SOON)
  }
}
