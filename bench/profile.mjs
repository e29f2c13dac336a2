/** What a CPU profile says: the functions with the most time of their own, one table for each process. */

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

const TOP = 20

/** Prints every profile in a folder. */
export async function printProfiles(folder) {
  for (const file of (await readdir(folder)).filter(name => name.endsWith('.cpuprofile')).sort()) {
    const path = join(folder, file)
    console.log(`\n${path}`)
    printProfile(JSON.parse(await readFile(path, 'utf8')))
  }
}

function printProfile({ nodes, samples, timeDeltas }) {
  const byId = new Map(nodes.map(node => [node.id, node]))
  const times = new Map()
  let total = 0
  for (const [at, id] of samples.entries()) {
    const name = nameOf(byId.get(id).callFrame)
    if (name === '(idle)') continue
    const time = timeDeltas[at]
    times.set(name, (times.get(name) ?? 0) + time)
    total += time
  }
  const sorted = [...times].sort(([, a], [, b]) => b - a).slice(0, TOP)
  for (const [name, time] of sorted) console.log(`${((time / total) * 100).toFixed(1).padStart(6)} %  ${name}`)
}

/** Function and line; lines are those of the bundle, whose functions are called as in the source. */
function nameOf({ functionName, url, lineNumber }) {
  const file = url.split('/').at(-1)
  return `${functionName || '(anonymous)'}${file ? `  ${file}:${lineNumber + 1}` : ''}`
}
