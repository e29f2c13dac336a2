/**
 * The cases against uAMQP for Python, Microsoft's client that the documentation of IoT Hub uses (Debian: python3-uamqp).
 *
 * It is a client and nothing else, over TLS and nothing else. `uamqp/hub` are the flows of that documentation against
 * our emulated hub, `uamqp/listener` is what a client may meet at a plain `listen()`.
 */

import { execFileSync } from 'node:child_process'
import { Missing } from './support.mjs'
import { deviceCases } from './uamqp/device.mjs'
import { PYTHON } from './uamqp/harness.mjs'
import { hubCases } from './uamqp/hub.mjs'
import { listenerCases } from './uamqp/listener.mjs'

try {
  execFileSync(PYTHON, ['-c', 'import uamqp'], { stdio: 'pipe', timeout: 20_000 })
} catch (error) {
  // A broken installation is not a missing one.
  if (error.code === 'ENOENT' || /No module named 'uamqp'/.test(error.stderr)) throw new Missing('uamqp')
  throw error
}

export const cases = [...hubCases, ...deviceCases, ...listenerCases]
