/**
 * One case in one process: `main.js NAME [--quick]` prints its figures as a line of JSON. `--list` names the cases,
 * `--peer` is the second process of a loopback case, `--hub` that of a pool. `run.mjs` bundles this file and starts it; nobody else needs to.
 */

import type { Cases } from './case.ts'
import { clientCases, peerMain } from './client.bench.ts'
import { codecCases } from './codec.bench.ts'
import { engineCases } from './engine.bench.ts'
import { framingCases } from './framing.bench.ts'
import { hubMain, iotHubCases } from './iothub.bench.ts'
import { FULL, measure, QUICK } from './measure.ts'
import { messageCases } from './message.bench.ts'

const cases: Cases = { ...codecCases, ...framingCases, ...messageCases, ...engineCases, ...clientCases, ...iotHubCases }

async function runCase(name: string, quick: boolean): Promise<void> {
  const setUp = cases[name]
  if (!setUp) throw new Error(`there is no case ${name}`)
  const unit = await setUp()
  try {
    process.stdout.write(`${JSON.stringify(await measure(unit, quick ? QUICK : FULL))}\n`)
  } finally {
    await unit.close?.()
  }
}

const [what = '--list', ...rest] = process.argv.slice(2)
if (what === '--list') process.stdout.write(`${JSON.stringify(Object.keys(cases))}\n`)
else if (what === '--peer') await peerMain()
else if (what === '--hub') await hubMain()
else await runCase(what, rest.includes('--quick'))
