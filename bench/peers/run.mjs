/**
 * The comparison: the same work by fairlead, rhea, JSON and msgpackr in one run. Each library of a case has a process
 * of its own; rounds take turns, there and back, so that a slow minute of the machine falls on all of them. A ratio is
 * the median over the rounds of fairlead's rate to the other's, each rate measured against the reference of its own
 * process. Table on stdout, figures in `bench/out.peers.json`, exit status 1 when a floor of `floors.json` is missed.
 *
 *   node bench/peers/run.mjs [--quick] [--case NAME]… [--list]
 *
 * Plain JavaScript, as `../run.mjs`. The libraries are not bundled: they run as their packages have them.
 */

import { execFileSync, fork } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'

const path = name => fileURLToPath(new URL(name, import.meta.url))
/** Among the modules, so that the libraries are found from there. */
const bundle = path('node_modules/.cache/bench/main.mjs')
/** Nothing that a process is asked takes this long; one that does not answer is stopped. */
const LIMIT_MS = 60_000
/** Further runs of a case that misses its floor; the median over the rounds of all of them counts. */
const RETRIES = 2

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    case: { type: 'string', multiple: true },
    list: { type: 'boolean', default: false },
  },
})

/** A round of a loopback case takes seconds. */
const roundsOf = name => (name.startsWith('loopback') ? (options.quick ? 3 : 7) : options.quick ? 5 : 11)

/** A process that measures one case of one library. */
class Subject {
  #name
  #child

  constructor(name, library) {
    this.#name = `${name} of ${library}`
    this.#child = fork(bundle, [name, library])
  }

  ready() {
    return this.#hear('ready')
  }

  async round() {
    const answer = this.#hear('round')
    this.#child.send({ type: 'round' })
    return (await answer).figures
  }

  end() {
    const exit = new Promise(resolve => this.#child.once('exit', resolve))
    this.#child.send({ type: 'end' })
    const timer = setTimeout(() => this.#child.kill(), LIMIT_MS)
    return exit.finally(() => clearTimeout(timer))
  }

  kill() {
    this.#child.kill()
  }

  #hear(type) {
    return new Promise((resolve, reject) => {
      const fail = what => reject(new Error(`${this.#name}: ${what}`))
      const onExit = code => fail(`ended with ${code ?? 'a signal'}`)
      const timer = setTimeout(() => fail('no answer'), LIMIT_MS)
      this.#child.once('exit', onExit)
      this.#child.once('message', message => {
        clearTimeout(timer)
        this.#child.off('exit', onExit)
        if (message.type === type) resolve(message)
        else fail(`answered ${message.type}, not ${type}`)
      })
    })
  }
}

const median = numbers => {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Adds the rounds of one run of a case to `rounds`: of each round, the figures by library. */
async function measure(name, libraries, rounds) {
  const subjects = new Map()
  try {
    // One after the other: two that warm up at once would compile for each other's noise.
    for (const library of libraries) {
      progress(`${name}: ${library} warms up`)
      const subject = new Subject(name, library)
      subjects.set(library, subject)
      await subject.ready()
    }
    for (let round = 1; round <= roundsOf(name); round++) {
      progress(`${name}: round ${round} of ${roundsOf(name)}`)
      const figures = {}
      for (const library of round % 2 ? libraries : libraries.toReversed())
        figures[library] = await subjects.get(library).round()
      rounds.push(figures)
    }
    for (const subject of subjects.values()) await subject.end()
  } finally {
    for (const subject of subjects.values()) subject.kill()
  }
}

/** The rounds of a case as one: medians by library, and what fairlead does for one operation of the other. */
function combine(name, libraries, rounds) {
  const sums = new Set(rounds.flatMap(round => libraries.map(library => round[library].checksum)))
  if (sums.size !== 1) throw new Error(`${name}: the libraries came to different checksums: not the same work`)
  const results = {}
  for (const library of libraries) {
    const of = read => median(rounds.map(round => read(round[library])))
    const ratios = rounds.map(round => round[libraries[0]].ratio / round[library].ratio)
    results[library] = {
      nsPerOp: of(figures => figures.nsPerOp),
      opsPerSecond: of(figures => figures.opsPerSecond),
      bytesPerOp: rounds[0][library].bytesPerOp,
      ratio: median(ratios),
      lowest: Math.min(...ratios),
      highest: Math.max(...ratios),
      rounds: rounds.length,
      info: Object.fromEntries(
        Object.keys(rounds[0][library].info).map(key => [key, of(figures => figures.info[key])]),
      ),
    }
  }
  return results
}

const HEAD = ['case', 'library', 'ns/op', 'ops/s', 'bytes', 'fairlead ×', 'from … to', 'floor', '']

function rowsOf(name, results, floors) {
  return Object.entries(results).map(([library, figures], at) => [
    at === 0 ? name : '',
    library,
    Math.round(figures.nsPerOp).toLocaleString('en-GB'),
    Math.round(figures.opsPerSecond).toLocaleString('en-GB'),
    figures.bytesPerOp.toFixed(0),
    at === 0 ? '' : figures.ratio.toPrecision(3),
    at === 0 ? '' : `${figures.lowest.toPrecision(3)} … ${figures.highest.toPrecision(3)}`,
    String(floors[library]?.[name] ?? ''),
    Object.entries(figures.info)
      .map(([key, value]) => `${key} ${value.toFixed(2)}`)
      .join(', '),
  ])
}

function printTable(rows) {
  const widths = HEAD.map((_, at) => Math.max(...rows.map(cells => cells[at].length)))
  for (const cells of rows) {
    const padded = cells.map((text, at) => (at < 2 || at === 8 ? text.padEnd(widths[at]) : text.padStart(widths[at])))
    console.log(padded.join('  ').trimEnd())
  }
}

/** The floors that a case misses: `{ name, text }`. */
const missed = (name, results, floors) =>
  Object.entries(floors)
    .filter(([library, of]) => of[name] !== undefined && !(results[library]?.ratio >= of[name]))
    .map(([library, of]) => `${name}: ${results[library]?.ratio.toPrecision(3)} × ${library}, floor ${of[name]}`)

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

if (!existsSync(path('node_modules/rhea'))) throw new Error('first: npm ci --prefix bench/peers')
await build({
  entryPoints: [path('main.ts')],
  outfile: bundle,
  bundle: true,
  external: ['rhea', 'msgpackr'],
  format: 'esm',
  platform: 'node',
  target: 'node20',
  sourcemap: true,
  logLevel: 'warning',
})
const all = JSON.parse(execFileSync(process.execPath, [bundle, '--list'], { encoding: 'utf8' }))
if (options.list) for (const [name, libraries] of Object.entries(all)) console.log(`${name}: ${libraries.join(', ')}`)
else process.exitCode = await run()

async function run() {
  const chosen = options.case ?? Object.keys(all)
  const unknown = chosen.filter(name => !(name in all))
  if (unknown.length > 0) throw new Error(`no case ${unknown.join(', ')}; there are ${Object.keys(all).join(', ')}`)
  const floors = JSON.parse(await readFile(path('floors.json'), 'utf8'))
  // A floor of a case that is gone, or of a library that no longer takes part, would never be missed.
  for (const [library, of] of Object.entries(floors))
    for (const name of Object.keys(of))
      if (!all[name]?.includes(library)) throw new Error(`floors.json: there is no case ${name} of ${library}`)
  const begun = performance.now()
  const cases = {}
  const faults = []
  for (const name of chosen) {
    const rounds = []
    for (let attempt = 0; attempt <= RETRIES; attempt++) {
      await measure(name, all[name], rounds)
      cases[name] = combine(name, all[name], rounds)
      // Noise goes away when it is measured again, a slower program does not.
      if (missed(name, cases[name], floors).length === 0) break
    }
    faults.push(...missed(name, cases[name], floors))
  }
  progress('')
  printTable([HEAD, ...chosen.flatMap(name => rowsOf(name, cases[name], floors))])
  const { dependencies: versions } = JSON.parse(await readFile(path('package.json'), 'utf8'))
  const libraries = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  const seconds = ((performance.now() - begun) / 1000).toFixed(0)
  console.log(`\nnode ${process.version}, ${libraries.join(', ')}, ${seconds} s in all`)
  const out = { node: process.version, cpu: cpus()[0]?.model, quick: options.quick, versions, cases }
  await writeFile(path('../out.peers.json'), `${JSON.stringify(out, null, 2)}\n`)
  for (const fault of faults) console.log(`FAIL    ${fault}`)
  console.log(faults.length === 0 ? 'floors: kept' : `floors: ${faults.length} missed`)
  return faults.length === 0 ? 0 : 1
}
