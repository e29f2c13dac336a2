/**
 * One case by one library in one process: `main.mjs CASE LIBRARY` sets it up, warms it up and then times a round each
 * time that `run.mjs` says so. `--list` prints the cases with their libraries; `--peer` and `--rhea-peer` are the second
 * process of a loopback case. `run.mjs` bundles this file and starts it; nobody else needs to.
 */

import { peerMain } from '../client.bench.ts'
import { measure, type Plan } from '../measure.ts'
import { codecPeers } from './codec.ts'
import { loopbackPeers, rheaPeerMain } from './loopback.ts'
import type { Answer, Order, PeerCases } from './peer-case.ts'

/**
 * What `measure` calls a round is one stretch; a round of this comparison is one `measure`. It warms up each time: the
 * heap of a process that waits for its turn shrinks, and what makes garbage faster would pay more for that.
 */
const ROUND: Plan = { stretchMs: 20, warmUpMs: 100, minRounds: 1, maxRounds: 7, budgetMs: 150 }
const WARM_UP: Plan = { ...ROUND, warmUpMs: 1_000 }

const cases: PeerCases = { ...codecPeers, ...loopbackPeers }

async function serve(name: string, library: string): Promise<void> {
  const setUp = cases[name]?.[library]
  if (!setUp) throw new Error(`there is no case ${name} of ${library}`)
  const unit = await setUp()
  await measure(unit, WARM_UP)
  const say = (answer: Answer) => process.send?.(answer)
  process.on('message', async (order: Order) => {
    if (order.type === 'round') say({ type: 'round', figures: await measure(unit, ROUND) })
    else {
      await unit.close?.()
      process.disconnect()
    }
  })
  // Without `run.mjs` nobody would end this process, nor the one that it started.
  process.on('disconnect', () => process.exit())
  say({ type: 'ready' })
}

const [what = '--list', library = ''] = process.argv.slice(2)
if (what === '--list') {
  const libraries = Object.entries(cases).map(([name, of]) => [name, Object.keys(of)])
  process.stdout.write(`${JSON.stringify(Object.fromEntries(libraries))}\n`)
} else if (what === '--peer') await peerMain()
else if (what === '--rhea-peer') rheaPeerMain()
else await serve(what, library)
