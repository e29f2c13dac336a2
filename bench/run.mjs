/**
 * Runs the bench: bundles `main.ts`, starts one process per case, and takes medians over passes through all cases, so
 * that a slow minute of the machine does not fall on one case alone. Table on stdout, figures in `out.json`.
 *
 *   node bench/run.mjs [--quick] [--passes N] [--case NAME]… [--profile NAME] [--list]
 *
 * Plain JavaScript, because the oldest Node that we support does not run TypeScript. After a run of all cases the gate
 * decides the exit status.
 */

import { spawn } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'
import { gate, suspects } from './gate.mjs'
import { printProfiles } from './profile.mjs'

const path = name => fileURLToPath(new URL(name, import.meta.url))
const bundle = path('.build/main.mjs')
const profiles = path('.build/profiles')
/** No case takes this long; a process that does is stopped. */
const LIMIT_MS = 120_000
/** Further processes for a case that would fail the gate; the median of all of them counts. */
const RETRIES = 2

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    passes: { type: 'string' },
    case: { type: 'string', multiple: true },
    profile: { type: 'string' },
    list: { type: 'boolean', default: false },
  },
})

/** Runs the bundle with arguments. @returns what it printed, parsed */
function start(args, nodeArgs = []) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...nodeArgs, bundle, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    let out = ''
    child.stdout.setEncoding('utf8').on('data', text => {
      out += text
    })
    const timer = setTimeout(() => child.kill(), LIMIT_MS)
    child.on('error', reject)
    child.on('close', code => {
      clearTimeout(timer)
      if (code === 0) resolve(JSON.parse(out))
      else reject(new Error(`${args.join(' ')} ended with ${code ?? 'a signal'}`))
    })
  })
}

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

const median = numbers => {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** The figures of several processes as one: medians, and how far the ratios were apart. */
function combine(runs) {
  const of = key => median(runs.map(run => run[key]))
  const ratios = runs.map(run => run.ratio)
  const info = Object.fromEntries(
    Object.keys(runs[0].info).map(key => [key, median(runs.map(run => run.info[key] ?? 0))]),
  )
  if (runs.some(run => run.checksum !== runs[0].checksum)) throw new Error('two processes came to different checksums')
  return {
    nsPerOp: of('nsPerOp'),
    opsPerSecond: of('opsPerSecond'),
    mbPerSecond: of('mbPerSecond'),
    ratio: of('ratio'),
    spread: (Math.max(...ratios) - Math.min(...ratios)) / median(ratios),
    reference: of('reference'),
    bytesPerOp: runs[0].bytesPerOp,
    checksum: runs[0].checksum,
    processes: runs.length,
    info,
  }
}

const HEAD = ['case', 'ns/op', 'ops/s', 'MB/s', 'ratio', 'spread', 'checksum', '']

function row(name, figures) {
  const info = Object.entries(figures.info).map(([key, value]) => `${key} ${value.toFixed(2)}`)
  return [
    name,
    figures.nsPerOp.toFixed(figures.nsPerOp < 100 ? 1 : 0),
    Math.round(figures.opsPerSecond).toLocaleString('en-GB'),
    figures.mbPerSecond.toFixed(0),
    figures.ratio.toPrecision(4),
    `${(figures.spread * 100).toFixed(0)} %`,
    (figures.checksum >>> 0).toString(16).padStart(8, '0'),
    info.join(', '),
  ]
}

function printTable(results) {
  const rows = [HEAD, ...Object.entries(results).map(([name, figures]) => row(name, figures))]
  const widths = HEAD.map((_, at) => Math.max(...rows.map(cells => cells[at].length)))
  const last = HEAD.length - 1
  for (const cells of rows) {
    const padded = cells.map((text, at) =>
      at === 0 ? text.padEnd(widths[at]) : at === last ? text : text.padStart(widths[at]),
    )
    console.log(padded.join('  ').trimEnd())
  }
}

await build({
  entryPoints: [path('main.ts')],
  outfile: bundle,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  sourcemap: true,
  logLevel: 'warning',
})
const all = await start(['--list'])

if (options.list) console.log(all.join('\n'))
else if (options.profile) await profile(options.profile)
else process.exitCode = await run()

async function run() {
  const chosen = options.case ?? all
  const unknown = chosen.filter(name => !all.includes(name))
  if (unknown.length > 0) throw new Error(`no case ${unknown.join(', ')}; there are ${all.join(', ')}`)
  const passes = Number(options.passes ?? (options.quick ? 1 : 3))
  const begun = performance.now()
  const runs = Object.fromEntries(chosen.map(name => [name, []]))
  const measure = async (names, label) => {
    for (const name of names) {
      progress(`${label}: ${name}`)
      runs[name].push(await start(options.quick ? [name, '--quick'] : [name]))
    }
  }
  const combined = () => Object.fromEntries(chosen.map(name => [name, combine(runs[name])]))
  for (let pass = 1; pass <= passes; pass++) await measure(chosen, `pass ${pass} of ${passes}`)
  // Noise goes away when it is measured again, a slower program does not.
  const again = options.case ? [] : await suspects(combined(), options.quick)
  for (let retry = 0; retry < RETRIES; retry++) await measure(again, 'again')
  progress('')
  const results = combined()
  printTable(results)
  const reference = median(Object.values(results).map(figures => figures.reference))
  const seconds = ((performance.now() - begun) / 1000).toFixed(0)
  console.log(`\nreference ${Math.round(reference).toLocaleString('en-GB')} units/s, ${seconds} s in all`)
  const out = { node: process.version, cpu: cpus()[0]?.model, quick: options.quick, passes, cases: results }
  await writeFile(path('out.json'), `${JSON.stringify(out, null, 2)}\n`)
  if (options.case) return 0
  if (again.length > 0) console.log(`measured again: ${again.join(', ')}`)
  return (await gate()) ? 0 : 1
}

/** One case alone under the CPU profiler, with every process that it starts. */
async function profile(name) {
  await rm(profiles, { recursive: true, force: true })
  await mkdir(profiles, { recursive: true })
  const args = options.quick ? [name, '--quick'] : [name]
  const figures = await start(args, ['--cpu-prof', `--cpu-prof-dir=${profiles}`])
  printTable({ [name]: combine([figures]) })
  await printProfiles(profiles)
}
