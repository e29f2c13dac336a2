/**
 * The gate: compares the ratios in `out.json` with those in `baseline.json`. Absolute figures decide nothing.
 *
 *   node bench/gate.mjs            fails when a case is slower than its tolerance allows, or below its floor
 *   node bench/gate.mjs --update   takes the ratios of `out.json` as the new baseline; floors stay
 */

import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const path = name => fileURLToPath(new URL(name, import.meta.url))
const read = async name => JSON.parse(await readFile(path(name), 'utf8'))

/** @returns whether all is well; what is not is printed */
export async function gate() {
  const { cases } = await read('out.json')
  const { tolerance, ratios, floors } = await read('baseline.json')
  const faults = []
  const faster = []
  for (const [name, figures] of Object.entries(cases)) {
    const before = ratios[name]
    if (before === undefined) {
      faults.push(`${name} is not in the baseline: run with --update`)
      continue
    }
    const change = figures.ratio / before - 1
    const allowed = tolerance[name.split('-')[0]] ?? tolerance.default
    const text = `${name}: ${(change * 100).toFixed(0)} % (${figures.ratio.toPrecision(4)}, was ${before.toPrecision(4)})`
    if (change < -allowed) faults.push(`${text}, where ${(-allowed * 100).toFixed(0)} % is allowed`)
    else if (change > allowed) faster.push(text)
  }
  for (const [name, floor] of Object.entries(floors)) {
    const ratio = cases[name]?.ratio
    if (ratio === undefined || ratio < floor)
      faults.push(
        `${name}: ${ratio?.toPrecision(4) ?? 'not run'}, below its floor of ${floor} messages per reference unit`,
      )
  }
  for (const name of Object.keys(ratios))
    if (!(name in cases)) faults.push(`${name} is in the baseline and was not run`)
  for (const text of faster) console.log(`faster  ${text}`)
  for (const text of faults) console.log(`FAIL    ${text}`)
  console.log(faults.length === 0 ? 'gate: green' : `gate: ${faults.length} faults`)
  return faults.length === 0
}

async function update() {
  const { cases } = await read('out.json')
  const baseline = await read('baseline.json')
  for (const [name, figures] of Object.entries(cases)) baseline.ratios[name] = Number(figures.ratio.toPrecision(4))
  await writeFile(path('baseline.json'), `${JSON.stringify(baseline, null, 2)}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--update')) await update()
  else process.exitCode = (await gate()) ? 0 : 1
}
