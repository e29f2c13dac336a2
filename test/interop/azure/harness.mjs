/** A hub of ours over TLS and HTTPS, and the SDK in a process of its own. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { WebSocketServer } from 'ws'
import { IotHubEmulator } from '../../../dist/emulator.js'
import { DeviceClient, ServiceClient } from '../../../dist/iothub.js'

export const DEVICE = 'device1'
export const MODULE = 'module1'

const SCRIPT = fileURLToPath(new URL('peer.mjs', import.meta.url))
/** The SDK loads slowly, and its close may wait. */
const JOB_MS = 12_000

/**
 * A hub with a device and a module of it. Methods and twins of back ends go by HTTPS; that and the WebSockets have ports
 * of their own.
 */
export async function hub(t, options = {}) {
  const emulator = await IotHubEmulator.start({
    devices: [DEVICE],
    feedbackBatchMs: 50,
    https: {},
    webSocket: { server: WebSocketServer },
    ...options,
  })
  emulator.addModule(DEVICE, MODULE)
  t.defer(() => emulator.close())
  const tls = { ca: emulator.ca }
  const kept = async client => {
    const opened = await client
    t.defer(() => opened.close())
    return opened
  }
  const events = emulator.telemetry[Symbol.asyncIterator]()
  return {
    emulator,
    /** Telemetry, in order, each event once. */
    nextEvent: async () => (await t.wait(events.next(), 'an event')).value,
    ourDevice: (who = { deviceId: DEVICE }) => kept(DeviceClient.connect(emulator.connectionString(who), { tls })),
    ourService: () => kept(ServiceClient.connect(emulator.connectionString({ service: true }), { tls })),
  }
}

/** What a connection string is for the SDK: over WebSockets and HTTPS it takes a port for a part of the name. */
export const withoutPort = text => text.replace(/((?:^|;)HostName=[^:;]+):\d+/, '$1')

/**
 * The SDK as a device or module of the hub, over TCP or WebSockets.
 *
 * @param options  `x509`: the certificate of the device and its key; `token`: instead of a key; `renewal`: how long its
 *   tokens live, and when they are renewed
 */
export async function sdkDevice(
  t,
  { emulator },
  { isModule = false, way = 'tcp', deviceId = DEVICE, ...options } = {},
) {
  const peer = startPeer(t, emulator)
  const who = isModule ? { deviceId, moduleId: MODULE } : { deviceId }
  const text = emulator.connectionString(who)
  const connectionString = way === 'ws' ? withoutPort(text) : text
  await peer.do('openDevice', { connectionString, isModule, way, ...options })
  return peer
}

/** The SDK as a back end of the hub; `token` instead of a key. */
export async function sdkService(t, { emulator }, { way = 'tcp', token } = {}) {
  const peer = startPeer(t, emulator)
  const text = emulator.connectionString({ service: true })
  const httpsConnectionString = withoutPort(text)
  const connectionString = way === 'ws' ? httpsConnectionString : text
  await peer.do('openService', { connectionString, httpsConnectionString, token, way })
  return peer
}

/** The SDKs, in a process that nothing has been asked of yet. */
export function startPeer(t, emulator) {
  const folder = mkdtempSync(join(tmpdir(), 'fairlead-azure-'))
  t.defer(() => rmSync(folder, { recursive: true }))
  const ca = join(folder, 'ca.pem')
  writeFileSync(ca, emulator.ca)
  const ports = { amqps: emulator.port, wss: emulator.webSocketPort, https: emulator.httpsPort }
  const child = spawn(process.execPath, [SCRIPT], {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: ca, PORTS: JSON.stringify(ports) },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const closed = once(child, 'close')
  closed.catch(() => {})
  t.defer(async () => {
    child.kill('SIGKILL')
    await closed
  })
  let errors = ''
  child.stderr.on('data', chunk => {
    errors += chunk
  })
  child.stdin.on('error', () => {})

  const answers = new Map()
  const events = []
  const waiting = []
  createInterface({ input: child.stdout }).on('line', line => {
    const said = JSON.parse(line)
    if (said.event === undefined) return answers.get(said.id)?.(said)
    const waiter = waiting.findIndex(({ event }) => event === said.event)
    if (waiter < 0) events.push(said)
    else waiting.splice(waiter, 1)[0].resolve(said)
  })
  void closed.then(([code, signal]) => {
    for (const answer of answers.values())
      answer({ failed: { name: 'Exit', message: `the SDK ended (${signal ?? code}): ${errors}` } })
  })

  let lastId = 0
  /** What a job comes to: `{ ok }` or `{ failed }`. */
  const attempt = (name, job = {}) => {
    const id = ++lastId
    const answer = new Promise(resolve => answers.set(id, resolve))
    child.stdin.write(`${JSON.stringify({ id, do: name, ...job })}\n`)
    return t.wait(answer, `the SDK's ${name}`, JOB_MS)
  }
  return {
    attempt,
    /** The result of a job that has to succeed. */
    async do(name, job) {
      const { ok, failed } = await attempt(name, job)
      if (failed) throw new Error(`${name}: ${failed.name}: ${failed.message} ${failed.body ?? ''}`)
      return ok
    },
    /** The next event of that name. */
    next(event) {
      const at = events.findIndex(said => said.event === event)
      if (at >= 0) return Promise.resolve(events.splice(at, 1)[0])
      return t.wait(new Promise(resolve => waiting.push({ event, resolve })), `an event '${event}' of the SDK`, JOB_MS)
    },
    /** What it has complained of. */
    errors: () => events.filter(({ event }) => event === 'error'),
  }
}

/** The next item of something that goes on. */
export async function next(items) {
  for await (const item of items) return item
  throw new Error('it ended')
}

/** Calls a method until the device takes calls: the SDK does not say when it does. */
export async function invoke(emulator, name, payload, options = {}) {
  return emulator.invokeMethod(DEVICE, name, payload, { connectTimeoutMs: 8000, ...options })
}
