/**
 * The gate: compares the ratios in `out.json` with those in `baseline.json`. Absolute figures decide nothing.
 *
 *   node bench/gate.mjs            fails when a case is slower than its tolerance allows, or below its floor
 *   node bench/gate.mjs --update   takes the ratios of `out.json` as the new baseline; tolerances and floors stay
 */

import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const path = name => fileURLToPath(new URL(name, import.meta.url))
const read = async name => JSON.parse(await readFile(path(name), 'utf8'))

/** One pass of a short case can fall to half of its ratio by noise alone: a quick run finds what has become far slower. */
const QUICK_TOLERANCE = 0.65

/** What of the figures is not as the baseline asks: `{ name, text }` for each fault. Pure. */
export function faultsOf(cases, { tolerance, ratios, floors }, quick = false) {
  const faults = []
  for (const [name, { ratio }] of Object.entries(cases)) {
    const floor = floors[name]
    if (floor !== undefined) {
      if (!(ratio >= floor)) faults.push({ name, text: `${ratio.toPrecision(4)}, below its floor of ${floor}` })
      continue
    }
    const before = ratios[name]
    if (before === undefined) {
      faults.push({ name, text: 'not in the baseline' })
      continue
    }
    const allowed = Math.max(tolerance[name] ?? tolerance.default, quick ? QUICK_TOLERANCE : 0)
    if (!(ratio >= before * (1 - allowed)))
      faults.push({ name, text: `${change(ratio, before)}, where −${(allowed * 100).toFixed(0)} % is allowed` })
  }
  for (const name of [...Object.keys(ratios), ...Object.keys(floors)])
    if (!(name in cases)) faults.push({ name, text: 'in the baseline, but not run' })
  return faults
}

const change = (ratio, before) =>
  `${((ratio / before - 1) * 100).toFixed(0)} % (${ratio.toPrecision(4)}, was ${before.toPrecision(4)})`

/** Judges `out.json`. @returns whether all is well; what is not is printed */
export async function gate() {
  const { cases, quick } = await read('out.json')
  const baseline = await read('baseline.json')
  const faults = faultsOf(cases, baseline, quick)
  for (const [name, { ratio }] of Object.entries(cases)) {
    const before = baseline.ratios[name]
    if (ratio > before * (1 + (baseline.tolerance[name] ?? baseline.tolerance.default)))
      console.log(`faster  ${name}: ${change(ratio, before)}`)
  }
  for (const { name, text } of faults) console.log(`FAIL    ${name}: ${text}`)
  console.log(faults.length === 0 ? 'gate: green' : `gate: ${faults.length} faults`)
  return faults.length === 0
}

/** The cases that would fail now, so that they can be measured again. */
export const suspects = async (cases, quick) => {
  const names = faultsOf(cases, await read('baseline.json'), quick).map(fault => fault.name)
  return names.filter(name => name in cases)
}

async function update() {
  const { cases } = await read('out.json')
  const baseline = await read('baseline.json')
  for (const [name, { ratio }] of Object.entries(cases))
    if (!(name in baseline.floors)) baseline.ratios[name] = Number(ratio.toPrecision(4))
  await writeFile(path('baseline.json'), `${JSON.stringify(baseline, null, 2)}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--update')) await update()
  else process.exitCode = (await gate()) ? 0 : 1
}
