/** Runs Qpid Proton, one Python process for each thing that it does. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connect } from '../../../dist/index.js'

/** Debian's own: its packages are not seen by another. */
export const PYTHON = '/usr/bin/python3'
const SCRIPTS = fileURLToPath(new URL('.', import.meta.url))

/**
 * Starts a job, and ends it with the case.
 *
 * @param script  `peer.py`: a broker, or a controller of transactions; `client.py`: one link of a client
 * @returns what its line says
 */
export async function run(t, job, script = 'peer.py') {
  const child = spawn('timeout', ['--kill-after=1', '15', PYTHON, '-u', join(SCRIPTS, script)])
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
  child.stdin.on('error', () => {})
  child.stdin.end(JSON.stringify(job))
  const said = new Promise((resolve, reject) => {
    child.stdout.on('data', chunk => {
      output += chunk
      const [, json] = /^OK (.*)\n/m.exec(output) ?? []
      if (json !== undefined) resolve(JSON.parse(json))
    })
    exited.then(([code, signal]) => reject(new Error(`Proton gave no result (${signal ?? code}): ${output}${errors}`)))
  })
  said.catch(() => {})
  const result = await t.wait(said, `Proton's ${job.do}`, 15_000)
  // A client closes its connection; ended before that it would look like a failure of ours.
  if (script === 'client.py') await t.wait(exited, `the end of Proton's ${job.do}`)
  return result
}

/** A connection of ours to Proton's broker. */
export async function atBroker(t, options = {}) {
  const { port } = await run(t, { do: 'broker' })
  const connection = await connect({ host: '127.0.0.1', port, ...options })
  t.defer(() => connection.close())
  return connection
}
