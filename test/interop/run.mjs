/**
 * Runs fairlead, as built in `dist/`, against other AMQP 1.0 implementations over loopback sockets.
 *
 *   node test/interop/run.mjs [--allow-missing] [names…]
 *
 * A name picks the cases whose path begins with it: `rhea`, `rhea/server`, `rhea/client/sends/outcomes`. Cases run one
 * after the other, so that what is printed belongs to one of them. Fails when a case fails, when a name picks nothing,
 * and, without `--allow-missing`, when a peer or a tool is not there; one that has to be built must be named for that.
 */

import { existsSync } from 'node:fs'
import { Missing, Trial } from './support.mjs'

/** Each peer: how to get its cases, and what to do when that fails for want of it. */
const peers = [
  { name: 'rhea', remedy: 'npm ci --prefix test/interop', load: () => import('./rhea.mjs') },
  { name: 'uamqp', remedy: 'apt-get install python3-uamqp', load: () => import('./uamqp.mjs') },
  { name: 'azure', remedy: 'npm ci --prefix test/interop', load: () => import('./azure.mjs') },
  { name: 'proton', remedy: 'apt-get install python3-qpid-proton', load: () => import('./proton.mjs') },
  { name: 'rabbitmq', remedy: 'apt-get install rabbitmq-server', load: () => import('./rabbitmq.mjs') },
  // Has to be built: it may be missing unless it is named.
  {
    name: 'cyrus',
    remedy: 'bash test/interop/cyrus/build.sh; sasl2-bin',
    load: () => import('./cyrus.mjs'),
    isOptional: true,
  },
]

const CASE_MS = 20_000
/** What is shown of a failed comparison: large objects would bury the rest. */
const REPORT_LINES = 20

const allowMissing = process.argv.includes('--allow-missing')
const names = process.argv.slice(2).filter(argument => !argument.startsWith('--'))

if (!existsSync(new URL('../../dist/index.js', import.meta.url))) {
  console.log('dist/index.js is missing: npm run build')
  process.exit(1)
}

const missing = new Set()
const cases = []
const peerOf = name => name.split('/')[0]
let unknown = names
for (const peer of peers) {
  if (names.length > 0 && !names.some(name => peerOf(name) === peer.name)) continue
  try {
    const loaded = await peer.load()
    cases.push(...loaded.cases.map(one => ({ ...one, peer: loaded })))
  } catch (error) {
    const isMissing =
      error instanceof Missing || (error.code === 'ERR_MODULE_NOT_FOUND' && error.message.includes(`'${peer.name}'`))
    if (!isMissing) throw error
    if (peer.isOptional && names.length === 0) console.log(`left out: ${peer.name} (${peer.remedy})`)
    else missing.add(`${peer.name} (${peer.remedy})`)
    unknown = unknown.filter(name => peerOf(name) !== peer.name)
  }
}

const isPicked = ({ name }, pick) => name === pick || name.startsWith(`${pick}/`)
const picked = names.length === 0 ? cases : cases.filter(one => names.some(name => isPicked(one, name)))
unknown = unknown.filter(name => !cases.some(one => isPicked(one, name)))

/** What nobody awaited or caught, in the library or in a peer, fails the case that runs. */
let running
for (const event of ['uncaughtException', 'unhandledRejection'])
  process.on(event, error => (running ? running.fail(error) : Promise.reject(error)))

/** What takes a while, on a terminal. */
const tell = text => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}
for (const [name, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
])
  process.once(name, () => process.exit(status))

let passed = 0
let failed = 0
/** The peer that runs, where it is one that has to be started, and why it does not. */
let up
let failure
for (const [index, { name, run, peer }] of picked.entries()) {
  if (peer.start && up !== peer) {
    up = peer
    failure = await peer.start(tell).catch(error => error)
    tell('')
  }
  const started = performance.now()
  running = new Trial(CASE_MS)
  const { error, lacks } = failure && up === peer ? { error: failure } : await running.run(run)
  const took = `${Math.round(performance.now() - started)} ms`
  if (lacks) {
    missing.add(lacks)
    console.log(`skip ${name}: ${lacks} is missing`)
  } else if (error) {
    failed++
    console.log(`FAIL ${name}: ${reasonOf(error)} (${took})`)
  } else {
    passed++
    console.log(`ok ${name} (${took})`)
  }
  if (up && picked[index + 1]?.peer !== up) {
    await up.stop?.()
    up = undefined
  }
}

/** An assertion's report, else the message and the first line of the stack that is not Node's. */
function reasonOf(error) {
  if (error?.code === 'ERR_ASSERTION') return error.message.split('\n').slice(0, REPORT_LINES).join('\n     ')
  const at = String(error?.stack)
    .split('\n')
    .find(line => line.includes('/test/interop/') && !line.includes('support.mjs'))
  const cause = error?.cause instanceof Error ? `, because of ${error.cause.name}: ${error.cause.message}` : ''
  return `${error?.name}: ${error?.message ?? error}${cause}${at ? `\n     ${at.trim()}` : ''}`
}

for (const name of unknown) console.log(`no case is called ${name}`)
for (const what of missing) console.log(`missing: ${what}`)
console.log(`${passed} passed, ${failed} failed`)
const isFine = failed === 0 && unknown.length === 0 && (allowMissing || missing.size === 0)
process.exitCode = isFine ? 0 : 1

// Every case has closed what it opened; what is left would be a leak, ours or the peer's.
setTimeout(() => {
  const left = process.getActiveResourcesInfo().filter(name => name !== 'PipeWrap' && name !== 'TTYWrap')
  console.log(`still open 3 s after the last case: ${left.join(', ')}`)
  process.exit(1)
}, 3000).unref()
