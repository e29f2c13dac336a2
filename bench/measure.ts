/**
 * Times one unit against the reference, in turns, and takes medians.
 *
 * A round is a short stretch of passes between two of reference units, whose mean it is compared with. A slow moment of
 * the machine then falls on both, and the ratio of a case is the median of the ratios of its rounds.
 */

import type { Unit } from './case.ts'
import { referenceUnit } from './reference.ts'

export interface Plan {
  /** Time for a stretch, at least one pass. */
  readonly stretchMs: number
  readonly warmUpMs: number
  readonly minRounds: number
  readonly maxRounds: number
  /** No further round is begun after this time, once there are `minRounds`. */
  readonly budgetMs: number
}

export const FULL: Plan = { stretchMs: 10, warmUpMs: 500, minRounds: 9, maxRounds: 101, budgetMs: 2_500 }
export const QUICK: Plan = { stretchMs: 10, warmUpMs: 300, minRounds: 5, maxRounds: 61, budgetMs: 1_000 }

/** What one process found out about one case. */
export interface Figures {
  readonly nsPerOp: number
  readonly opsPerSecond: number
  readonly mbPerSecond: number
  /** Operations done in the time of one reference unit. */
  readonly ratio: number
  /** Reference units per second: how fast the machine was. */
  readonly reference: number
  readonly rounds: number
  readonly bytesPerOp: number
  readonly checksum: number
  readonly info: Readonly<Record<string, number>>
}

export async function measure(unit: Unit, plan: Plan): Promise<Figures> {
  const checksum = await unit.pass()
  const passes = await warmUp(unit, plan, checksum)
  const rates: number[] = []
  const references: number[] = []
  const ratios: number[] = []
  const infos: Readonly<Record<string, number>>[] = []
  const begun = performance.now()
  let before = timeReference(plan.stretchMs)
  while (rates.length < plan.maxRounds) {
    if (rates.length >= (unit.rounds ?? plan.minRounds) && performance.now() - begun > plan.budgetMs) break
    const rate = await timePasses(unit, passes, checksum)
    const after = timeReference(plan.stretchMs)
    const reference = (before + after) / 2
    before = after
    references.push(reference)
    rates.push(rate)
    ratios.push(rate / reference)
    if (unit.info) infos.push(unit.info())
  }
  const opsPerSecond = median(rates)
  return {
    nsPerOp: 1e9 / opsPerSecond,
    opsPerSecond,
    mbPerSecond: (opsPerSecond * unit.bytesPerOp) / 1e6,
    ratio: median(ratios),
    reference: median(references),
    rounds: rates.length,
    bytesPerOp: unit.bytesPerOp,
    checksum,
    info: medians(infos),
  }
}

/** Runs both until they are compiled. @returns passes that fill a stretch */
async function warmUp(unit: Unit, plan: Plan, checksum: number): Promise<number> {
  timeReference(plan.warmUpMs / 4)
  const begun = performance.now()
  let fastest = Number.POSITIVE_INFINITY
  do {
    const start = performance.now()
    expectSame(await unit.pass(), checksum)
    fastest = Math.min(fastest, performance.now() - start)
  } while (performance.now() - begun < plan.warmUpMs)
  return Math.max(Math.round(plan.stretchMs / fastest), 1)
}

/** Reference units per second. */
function timeReference(forMs: number): number {
  let sum = referenceUnit()
  let units = 0
  const start = performance.now()
  let now = start
  while (now - start < forMs) {
    for (let i = 0; i < 32; i++) sum = (sum + referenceUnit()) | 0
    units += 32
    now = performance.now()
  }
  consumed = sum
  return (units * 1000) / (now - start)
}

/** Where the reference's results go, so that they are results. */
export let consumed = 0

/** Operations per second. */
async function timePasses(unit: Unit, passes: number, checksum: number): Promise<number> {
  const start = performance.now()
  for (let i = 0; i < passes; i++) {
    const sum = unit.pass()
    // No turn of the event loop inside a synchronous case.
    expectSame(typeof sum === 'number' ? sum : await sum, checksum)
  }
  return (passes * unit.ops * 1000) / (performance.now() - start)
}

function expectSame(sum: number, checksum: number): void {
  if (sum !== checksum) throw new Error(`a pass came to ${sum}, the first one to ${checksum}: not the same work`)
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? 0
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2
}

function medians(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const out: Record<string, number> = {}
  for (const key of Object.keys(all[0] ?? {})) out[key] = median(all.map(one => one[key] ?? 0))
  return out
}
