/** Runs uAMQP, one Python process for each thing that a client does, and listens for it. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { listen, saslServer } from '../../../dist/index.js'
import { certificate } from '../support.mjs'

/** Debian's own: its packages are not seen by another. */
export const PYTHON = '/usr/bin/python3'

const SCRIPT = fileURLToPath(new URL('peer.py', import.meta.url))
/** uAMQP tries some failures again for ever, so each run ends by itself; longer than a case may take is no use. */
const RUN_S = 15

/** uAMQP takes certificates from files only. */
export function pemFile(t, pem) {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-uamqp-'))
  t.defer(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'ca.pem')
  writeFileSync(file, pem)
  return file
}

/**
 * Starts a job of `peer.py`, and ends it with the case at the latest.
 *
 * @returns a promise of what its line says: `{ ok }`, or `{ failed: { name, message } }`
 */
export function run(t, job, { env = {} } = {}) {
  const child = spawn('timeout', ['--kill-after=1', `${RUN_S}`, PYTHON, '-u', SCRIPT], {
    env: { ...process.env, ...env },
  })
  const exited = once(child, 'close')
  t.defer(async () => {
    // `timeout` passes it on to Python.
    child.kill('SIGTERM')
    await exited.catch(() => {})
  })
  let output = ''
  let errors = ''
  child.stdout.on('data', chunk => {
    output += chunk
  })
  child.stderr.on('data', chunk => {
    errors += chunk
  })
  child.stdin.on('error', () => {})
  child.stdin.end(JSON.stringify(job))
  const result = exited.then(([code, signal]) => {
    // The line decides, whatever the status: uAMQP may crash when all is done.
    const [, word, json] = /^(OK|FAILED) (.*)$/m.exec(output) ?? []
    if (word === undefined) throw new Error(`uAMQP gave no result (${signal ?? code}): ${output}${errors}`)
    return word === 'OK' ? { ok: JSON.parse(json) } : { failed: JSON.parse(json) }
  })
  result.catch(() => {})
  return t.wait(result, `uAMQP's ${job.do}`, (RUN_S + 2) * 1000)
}

/** Runs a job that has to succeed. */
export async function done(t, job, options) {
  const { ok, failed } = await run(t, job, options)
  assert.equal(failed, undefined)
  return ok
}

const USER = 'tester'
const PASSWORD = 'pässwörd €'

/** Our `listen()`, for TLS and SASL PLAIN, and what a job needs to reach it. */
export async function ourServer(t, { onError = error => t.fail(error), ...options } = {}) {
  const { key, cert } = certificate()
  const listener = await listen({
    tls: { key, cert },
    sasl: [saslServer.plain((user, password) => user === USER && password === PASSWORD)],
    ...options,
  })
  t.defer(() => listener.close())
  listener.on('error', onError)
  const reach = {
    host: 'localhost',
    port: listener.port,
    ca: pemFile(t, cert),
    auth: 'plain',
    user: USER,
    password: PASSWORD,
    address: 'amqps://localhost/q',
  }
  return { listener, reach }
}

/** The next connection to our listener. */
export const connected = (t, listener) =>
  t.wait(new Promise(resolve => listener.on('connection', resolve)), 'a connection to our listener', 12_000)

/** The first link that uAMQP attaches, accepted. */
export async function linked(t, listener, options) {
  const connection = await connected(t, listener)
  const incoming = await t.wait(
    new Promise(resolve => connection.on('session', async session => (await session.accept()).on('link', resolve))),
    'a link from uAMQP',
  )
  return { connection, incoming, link: await incoming.accept(options) }
}

/** Bytes in which a piece that is lost, doubled or moved shows; `peer.py` makes the same. */
export function patterned(size) {
  const bytes = Buffer.alloc(size)
  for (let i = 0; i < size; i += 4) bytes.writeUInt32BE(Math.imul(i, 2654435761) >>> 0, i)
  return bytes
}

export const sha256 = bytes => createHash('sha256').update(bytes).digest('hex')
