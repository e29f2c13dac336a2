/**
 * The cases against Cyrus SASL, the other implementation of SCRAM, as Qpid Proton uses it: client and server.
 *
 * Debian's Proton is built without Cyrus: `test/interop/cyrus/build.sh` builds one that has it, and says what it needs.
 * Another is found by its folder in `PROTON_CYRUS_LIB`. python3-qpid-proton, sasl2-bin and libsasl2-modules are Debian's.
 */

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connect, listen, SaslError, sasl, saslServer, scramCredentials } from '../../dist/index.js'
import { freePort, Missing, settled } from './support.mjs'

/** Debian's own: its packages are not seen by another. */
const PYTHON = '/usr/bin/python3'
const SCRIPT = fileURLToPath(new URL('cyrus/peer.py', import.meta.url))
const LIBRARY = process.env.PROTON_CYRUS_LIB ?? fileURLToPath(new URL('cyrus/lib', import.meta.url))
const env = { ...process.env, LD_LIBRARY_PATH: LIBRARY }

try {
  const script = 'from proton import SASL; print(SASL.extended())'
  const extended = execFileSync(PYTHON, ['-c', script], { stdio: 'pipe', timeout: 20_000, env })
  if (!String(extended).includes('True')) throw new Missing('Proton with Cyrus SASL')
  execFileSync('saslpasswd2', ['-h'], { stdio: 'pipe' })
} catch (error) {
  if (error.code === 'ENOENT' || /No module named 'proton'/.test(error.stderr)) throw new Missing('Proton, sasl2-bin')
  // Its help is an error status.
  if (error instanceof Missing || !/usage/i.test(String(error.stderr ?? ''))) throw error
}

const USER = 'user'
/** Proton's client takes passwords as they are, Cyrus prepares them by SASLprep: this one is the same either way. */
const PASSWORD = 'pässwörd€'
const HASHES = ['SHA-1', 'SHA-256', 'SHA-512']

/** Starts the peer; `said(word)` waits for a line of it. */
function peer(t, job) {
  const child = spawn('timeout', ['--kill-after=1', '15', PYTHON, '-u', SCRIPT], { env })
  const exited = once(child, 'close')
  t.defer(async () => {
    child.kill('SIGTERM')
    await exited.catch(() => {})
  })
  let output = ''
  let errors = ''
  child.stderr.on('data', chunk => {
    errors += chunk
  })
  const found = word => new RegExp(`^${word} (.*)\\n`, 'm').exec(output)?.[1]
  const said = word =>
    t.wait(
      new Promise((resolve, reject) => {
        const look = () => found(word) !== undefined && resolve(JSON.parse(found(word)))
        look()
        child.stdout.on('data', look)
        exited.then(() => reject(new Error(`Proton ended without ${word}: ${output}${errors}`)), reject)
      }),
      `Proton's ${word}`,
      12_000,
    )
  child.stdout.on('data', chunk => {
    output += chunk
  })
  child.stdin.on('error', () => {})
  child.stdin.end(JSON.stringify(job))
  return { said }
}

/** Proton's server, which knows one user. */
async function theirServer(t, mechanisms) {
  const configuration = mkdtempSync(join(tmpdir(), 'fairlead-cyrus-'))
  t.defer(() => rmSync(configuration, { recursive: true }))
  const database = join(configuration, 'sasldb2')
  const lines = [
    'pwcheck_method: auxprop',
    'auxprop_plugin: sasldb',
    `sasldb_path: ${database}`,
    `mech_list: ${mechanisms}`,
  ]
  writeFileSync(join(configuration, 'peer.conf'), `${lines.join('\n')}\n`)
  execFileSync('saslpasswd2', ['-c', '-p', '-f', database, '-u', hostname(), USER], { input: PASSWORD })
  const port = await freePort()
  const { said } = peer(t, { do: 'serve', port, mechanisms, configuration })
  await said('LISTENING')
  return { port, said }
}

const theirs = HASHES.map(hash => ({
  name: `cyrus/server/SCRAM-${hash}`,
  async run(t) {
    const mechanism = `SCRAM-${hash}`
    const { port, said } = await theirServer(t, mechanism)
    const to = { host: '127.0.0.1', port }
    const connection = await t.wait(connect({ ...to, sasl: sasl.scram(USER, PASSWORD) }), 'our connect')
    assert.equal((await said('OPEN')).mechanism, mechanism)
    await connection.close()
    // The same name and password, typed in another way.
    const typed = sasl.scram(USER, PASSWORD.normalize('NFD'))
    await (await t.wait(connect({ ...to, sasl: typed }), 'our second connect')).close()
    const { error } = await settled(t.wait(connect({ ...to, sasl: sasl.scram(USER, 'wrong') }), 'our refused connect'))
    assert.ok(error instanceof SaslError, String(error))
    assert.equal(error.outcome, 'auth')
  },
}))

const ours = HASHES.map(hash => ({
  name: `cyrus/client/SCRAM-${hash}`,
  async run(t) {
    const kept = await scramCredentials(PASSWORD, { hash })
    const listener = await listen({
      sasl: saslServer.scram(user => (user === USER ? kept : undefined), { hashes: [hash] }),
      allowNoSasl: false,
    })
    t.defer(() => listener.close())
    const failures = []
    listener.on('error', error => failures.push(error))
    const connected = new Promise(resolve => listener.on('connection', resolve))
    const job = { do: 'connect', port: listener.port, user: USER, mechanisms: `SCRAM-${hash}` }
    const { said } = peer(t, { ...job, password: PASSWORD })
    assert.equal((await t.wait(connected, 'a connection from Proton')).identity, USER)
    assert.equal((await said('OPEN')).mechanism, `SCRAM-${hash}`)
    assert.deepEqual(failures, [])
    for (const wrong of [{ password: 'wrong' }, { user: 'nobody', password: PASSWORD }]) {
      const { name } = await peer(t, { ...job, ...wrong }).said('FAILED')
      assert.equal(name, 'amqp:unauthorized-access')
    }
    assert.deepEqual(
      failures.map(error => error.outcome),
      ['auth', 'auth'],
    )
  },
}))

export const cases = [...theirs, ...ours]
