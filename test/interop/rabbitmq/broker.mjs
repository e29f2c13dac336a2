/**
 * RabbitMQ with its plugin for AMQP 1.0, for the time of one run: free ports on the loopback interface, all that it
 * writes in one temporary folder, every process of it in a group that this one can end. No service is touched.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { certificate, freePort } from '../support.mjs'

/** Where Debian has it: what is in the PATH insists on the user of the service. */
const SERVER = '/usr/lib/rabbitmq/bin/rabbitmq-server'
export const isInstalled = () => existsSync(SERVER)

export const USER = 'tester'
export const PASSWORD = 's3cret'
/** What it announces as idle-time-out, in seconds; short enough to be seen at work, long enough for a busy machine. */
export const HEARTBEAT_S = 4

/** It takes 5 s on an idle machine. */
const START_MS = 90_000
const STOP_MS = 15_000

/** Ends a group of processes by the id of the one that we started. @returns whether it was there */
function signal(child, name) {
  try {
    return process.kill(-child.pid, name)
  } catch {
    return false
  }
}

/** Asks a group to end, waits for its first process, and ends what is left. */
async function end(child, exited) {
  signal(child, 'SIGTERM')
  await Promise.race([exited, delay(STOP_MS, undefined, { ref: false })])
  signal(child, 'SIGKILL')
}

/**
 * Starts a broker.
 *
 * @param tell  is told what is waited for
 * @returns its ports, its log, and `stop`
 */
export async function startBroker(tell) {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-rabbitmq-'))
  const inside = name => join(folder, name)
  const [plain, tls, epmd, dist] = await Promise.all([freePort(), freePort(), freePort(), freePort()])
  const { key, cert } = certificate()
  writeFileSync(inside('key.pem'), key, { mode: 0o600 })
  writeFileSync(inside('cert.pem'), cert)
  writeFileSync(inside('enabled_plugins'), '[rabbitmq_amqp1_0].\n')
  writeFileSync(
    inside('rabbitmq.conf'),
    [
      `listeners.tcp.1 = 127.0.0.1:${plain}`,
      `listeners.ssl.1 = 127.0.0.1:${tls}`,
      `ssl_options.certfile = ${inside('cert.pem')}`,
      `ssl_options.keyfile = ${inside('key.pem')}`,
      'ssl_options.verify = verify_none',
      'auth_mechanisms.1 = PLAIN',
      `default_user = ${USER}`,
      `default_pass = ${PASSWORD}`,
      `heartbeat = ${HEARTBEAT_S}`,
      'amqp1_0.default_user = none',
      'amqp1_0.default_vhost = /',
      // A full disk of the machine is no affair of these cases.
      'disk_free_limit.absolute = 1MB',
      '',
    ].join('\n'),
  )
  const env = {
    PATH: process.env.PATH,
    LANG: 'C.UTF-8',
    HOME: folder,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    ERL_EPMD_PORT: `${epmd}`,
    ERL_CRASH_DUMP_SECONDS: '0',
    RABBITMQ_NODENAME: `fairlead-${process.pid}@localhost`,
    RABBITMQ_DIST_PORT: `${dist}`,
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_CONFIG_FILE: inside('rabbitmq.conf'),
    RABBITMQ_ADVANCED_CONFIG_FILE: inside('none.config'),
    RABBITMQ_ENABLED_PLUGINS_FILE: inside('enabled_plugins'),
    RABBITMQ_GENERATED_CONFIG_DIR: inside('generated'),
    RABBITMQ_MNESIA_BASE: inside('mnesia'),
    RABBITMQ_LOG_BASE: inside('log'),
    RABBITMQ_PID_FILE: inside('pid'),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1} +S 2:2',
  }
  // A group each: what they start in turn ends with them. Without an epmd Erlang would leave one running.
  const names = spawn('epmd', ['-address', '127.0.0.1', '-port', `${epmd}`], { env, detached: true, stdio: 'ignore' })
  const server = spawn(SERVER, [], { cwd: folder, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = [names, server].map(child => once(child, 'exit').catch(() => {}))
  let output = ''
  for (const stream of [server.stdout, server.stderr]) stream.setEncoding('utf8').on('data', text => (output += text))

  /** However this process ends. */
  const kill = () => {
    for (const child of [server, names]) signal(child, 'SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  process.once('exit', kill)
  const log = () => {
    const file = inside(`log/${env.RABBITMQ_NODENAME}.log`)
    return existsSync(file) ? readFileSync(file, 'utf8') : ''
  }
  const stop = async () => {
    await end(server, exited[1])
    await end(names, exited[0])
    process.off('exit', kill)
    rmSync(folder, { recursive: true, force: true })
  }

  const started = Date.now()
  let hasExited = false
  for (const one of exited) one.then(() => (hasExited = true))
  // It says so when its listeners are up.
  while (!/completed with \d+ plugins/.test(output)) {
    const seconds = Math.round((Date.now() - started) / 1000)
    tell(`starting RabbitMQ: ${seconds} s`)
    if (hasExited || seconds * 1000 > START_MS) {
      const reason = `RabbitMQ did not start within ${seconds} s: ${output.slice(-2000)}${log().slice(-2000)}`
      await stop()
      throw new Error(reason)
    }
    await delay(100)
  }
  return { plain, tls, log, stop }
}
