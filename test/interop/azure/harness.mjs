/** A hub of ours over TLS and HTTPS, and the SDK in a process of its own. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { WebSocketServer } from 'ws'
import { IotHubEmulator } from '../../../dist/emulator.js'
import { createSasToken, DeviceClient, parseConnectionString, ServiceClient } from '../../../dist/iothub.js'

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
 * @param options  `x509`: the certificate of the device and its key; `makeToken`: instead of a key, called when the SDK is
 *   loaded; `renewal`: how long its tokens live, and when they are renewed
 */
export async function sdkDevice(t, { emulator }, options = {}) {
  const { isModule = false, way = 'tcp', deviceId = DEVICE, makeToken, x509, renewal } = options
  const peer = startPeer(t, emulator)
  const token = await tokenOf(peer, makeToken, ['azure-iot-device-amqp'])
  const who = isModule ? { deviceId, moduleId: MODULE } : { deviceId }
  const text = emulator.connectionString(who)
  const connectionString = way === 'ws' ? withoutPort(text) : text
  await peer.do('openDevice', { connectionString, isModule, way, token, x509, renewal })
  return peer
}

/** The SDK as a back end of the hub; `makeToken` as above. */
export async function sdkService(t, { emulator }, { way = 'tcp', makeToken } = {}) {
  const peer = startPeer(t, emulator)
  const token = await tokenOf(peer, makeToken, ['azure-iothub'])
  const text = emulator.connectionString({ service: true })
  const httpsConnectionString = withoutPort(text)
  const connectionString = way === 'ws' ? httpsConnectionString : text
  await peer.do('openService', { connectionString, httpsConnectionString, token, way })
  return peer
}

/** A token made elsewhere, of a device, module or back end, as the SDK takes it for this way. */
export async function tokenFor(emulator, who, way, seconds) {
  const text = emulator.connectionString(who)
  const {
    hostName,
    port,
    sharedAccessKey: key,
    keyName,
  } = parseConnectionString(way === 'ws' ? withoutPort(text) : text)
  const authority = port === undefined ? hostName : `${hostName}:${port}`
  const { deviceId, moduleId } = who
  const path = [deviceId && `/devices/${deviceId}`, moduleId && `/modules/${moduleId}`].join('')
  const resourceUri = `${authority}${path}`
  return await createSasToken({ resourceUri, key, keyName, expiresAt: new Date(Date.now() + seconds * 1000) })
}

/** A token that lives for seconds is made when the SDK has been loaded: that may take as long. */
async function tokenOf(peer, makeToken, names) {
  if (makeToken !== undefined) await peer.do('load', { names })
  return await makeToken?.()
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

  const all = name => events.filter(({ event }) => event === name)
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
    /** What nobody has asked for of the events of that name. */
    all,
    /** What it has complained of. */
    errors: () => all('error'),
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

/** Has the SDK take all that a hub sends to a device or module. */
export async function takeAll(sdk, { isModule = false } = {}) {
  await sdk.do(isModule ? 'receiveInputs' : 'receive')
  await sdk.do('onMethod', { name: 'echo', status: 200 })
  await sdk.do('getTwin')
  await sdk.next('desired')
}

/** That all of it works, both ways. @param mark  tells this time from others */
export async function exercise(t, { emulator, nextEvent }, sdk, mark, { isModule = false, deviceId = DEVICE } = {}) {
  const at = isModule ? { moduleId: MODULE } : {}
  await sdk.do('send', { messages: [{ body: mark }] })
  const event = await nextEvent()
  assert.deepEqual([event.deviceId, new TextDecoder().decode(event.body)], [deviceId, mark])
  const place = isModule ? { ...at, inputName: 'in' } : at
  const command = emulator.sendToDevice(deviceId, { body: mark }, place)
  assert.equal((await sdk.next(isModule ? 'input' : 'message')).body, mark)
  assert.equal(await t.wait(command, 'the end of a command'), 'success')
  const answer = await emulator.invokeMethod(deviceId, 'echo', mark, { connectTimeoutMs: 8000, ...at })
  assert.deepEqual(answer, { status: 200, payload: mark })
  assert.equal((await sdk.next('method')).payload, mark)
  // Once this is done the SDK has subscribed to the changes, too: it asks for one after the other.
  await sdk.do('report', { patch: { mark } })
  assert.equal(emulator.twin(deviceId, at).properties.reported.mark, mark)
  const $version = emulator.updateDesired(deviceId, { mark }, at)
  assert.deepEqual((await sdk.next('desired')).desired, { mark, $version })
}
