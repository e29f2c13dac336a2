/**
 * The cases against Qpid Proton, an independent engine (Debian: python3-qpid-proton).
 *
 * `proton/client` is Proton at our `listen()`, `proton/broker` a broker on Proton's engine for our client; the
 * transactions are `proton/coordinator` and `proton/controller`.
 */

import { execFileSync } from 'node:child_process'
import { PYTHON } from './proton/harness.mjs'
import { linkCases } from './proton/links.mjs'
import { transactionCases } from './proton/transactions.mjs'
import { Missing } from './support.mjs'

try {
  execFileSync(PYTHON, ['-c', 'import proton'], { stdio: 'pipe', timeout: 20_000 })
} catch (error) {
  if (error.code === 'ENOENT' || /No module named 'proton'/.test(error.stderr)) throw new Missing('proton')
  throw error
}

export const cases = [...transactionCases, ...linkCases]
