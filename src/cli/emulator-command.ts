/** `fairlead emulator`: an IoT Hub that runs until it is told to stop, and all that is needed to connect to it. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { IotHubEmulator, type IotHubEmulatorOptions, type WebSocketServerClass } from '../emulator.ts'
import { UsageError } from '../index.ts'
import { Misuse } from './misuse.ts'
import { openStateFolder } from './state-folder.ts'

/** The options of the command line, as text. */
export interface EmulatorCommandOptions {
  readonly port?: string | undefined
  readonly device?: readonly string[] | undefined
  readonly enrol?: readonly string[] | undefined
  readonly gateway?: string | undefined
  readonly websocket?: boolean | undefined
  readonly 'websocket-port'?: string | undefined
  readonly 'https-port'?: string | undefined
  readonly 'feedback-ms'?: string | undefined
  readonly state?: string | undefined
}

/**
 * Runs until SIGINT, SIGTERM or SIGHUP.
 *
 * @throws {Misuse} an option is not what it should be, or `ws` is not installed
 * @throws {Error} a port cannot be used; with what may be done about it
 */
export async function emulatorCommand(options: EmulatorCommandOptions): Promise<void> {
  const { device, enrol = [], gateway = 'v1', websocket, 'websocket-port': webSocketPort } = options
  if (gateway !== 'v1' && gateway !== 'v2') throw new Misuse(`--gateway takes v1 or v2, not "${gateway}"`)
  for (const [option, ids = []] of Object.entries({ device, enrol })) {
    const twice = ids.find((id, i) => ids.indexOf(id) !== i)
    if (twice !== undefined) throw new Misuse(`--${option} ${twice} is given twice`)
  }
  const feedbackBatchMs = millisecondsOf('--feedback-ms', options['feedback-ms'])
  const hasWebSocket = websocket === true || webSocketPort !== undefined
  const server = hasWebSocket ? webSocketServer() : undefined
  const ports: Ports = {
    '--port': portOf('--port', options.port, 5671),
    '--websocket-port': portOf('--websocket-port', webSocketPort, 0),
    '--https-port': options['https-port'] === undefined ? undefined : portOf('--https-port', options['https-port'], 0),
  }
  const stopped = new Promise<void>(resolve => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve())
  })
  const folder = options.state === undefined ? undefined : await openStateFolder(options.state)
  let hub: IotHubEmulator | undefined
  let temporary: string | undefined
  try {
    // At once: who is killed has no time to save anything.
    const onAssigned = (): void => {
      try {
        if (hub !== undefined) folder?.save(hub.state(), hub.ca ?? '')
      } catch (error) {
        console.error(`✗ ${(error as Error).message}`)
      }
    }
    const { state } = folder ?? {}
    hub = await start({ devices: device, gateway, feedbackBatchMs, state, onAssigned }, ports, server, options.state)
    if (folder === undefined) temporary = await mkdtemp(join(tmpdir(), 'fairlead-'))
    enrolAll(hub, enrol)
    const ca = folder?.ca ?? join(temporary ?? '', 'ca.pem')
    if (folder === undefined) await writeFile(ca, hub.ca ?? '')
    else folder.save(hub.state(), hub.ca ?? '')
    console.log(summary(hub, ca, options.state))
    await stopped
    folder?.save(hub.state(), hub.ca ?? '')
  } finally {
    await hub?.close()
    folder?.close()
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true })
  }
}

/** Those that are enrolled already keep their keys. */
function enrolAll(hub: IotHubEmulator, ids: readonly string[]): void {
  const enrolled = hub.state().enrolments?.devices ?? {}
  for (const id of ids) {
    try {
      if (!Object.hasOwn(enrolled, id)) hub.provisioning.enrol(id)
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      throw new Misuse(`--enrol: ${error.message.replace('provisioning: ', '')}`)
    }
  }
}

/** What was asked for, by option; 0 for any free port. */
interface Ports {
  readonly '--port': number
  readonly '--websocket-port': number
  readonly '--https-port': number | undefined
}

function portOf(option: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (port <= 65_535) return port
  throw new Misuse(`${option} takes a number from 0 (any free port) to 65535, not "${text}"`)
}

function millisecondsOf(option: string, text: string | undefined): number | undefined {
  if (text === undefined || /^\d{1,9}$/.test(text)) return text === undefined ? undefined : Number(text)
  throw new Misuse(`${option} takes a number of milliseconds, 0 to 999999999, not "${text}"`)
}

/** Of the package `ws`, as the folder that the command was typed in has it, or as this package does. */
function webSocketServer(): WebSocketServerClass {
  for (const from of [join(process.cwd(), 'package.json'), import.meta.url]) {
    try {
      const { WebSocketServer } = createRequire(from)('ws') as { WebSocketServer?: WebSocketServerClass }
      if (WebSocketServer !== undefined) return WebSocketServer
    } catch {
      // Not there.
    }
  }
  throw new Misuse('--websocket needs the package ws, which is not installed here: npm install ws')
}

async function start(
  options: IotHubEmulatorOptions,
  ports: Ports,
  server: WebSocketServerClass | undefined,
  folder: string | undefined,
): Promise<IotHubEmulator> {
  const webSocket = server && { server, port: ports['--websocket-port'] }
  const https = ports['--https-port'] === undefined ? undefined : { port: ports['--https-port'] }
  try {
    return await IotHubEmulator.start({ ...options, listen: { port: ports['--port'] }, webSocket, https })
  } catch (error) {
    // Of what it was given, only ids and a state have not been looked at.
    if (error instanceof UsageError) {
      const [, ofState] = /^IoT Hub emulator: state: (.*)/.exec(error.message) ?? []
      if (ofState !== undefined)
        throw new Misuse(`--state ${folder}: emulator.json: ${ofState}; take another folder, or empty this one`)
      throw new Misuse(`--device: ${error.message.replace('device registry: ', '')}`)
    }
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException
    const { message } = error as Error
    const option = message.includes('WebSockets')
      ? '--websocket-port'
      : message.includes('HTTPS')
        ? '--https-port'
        : '--port'
    const what = code === 'EADDRINUSE' ? 'is taken' : code === 'EACCES' ? 'may not be used' : undefined
    if (what) throw new Error(`port ${ports[option]} ${what}; ${option} takes another, 0 any free one`)
    throw error
  }
}

function summary(hub: IotHubEmulator, ca: string, state: string | undefined): string {
  const { devices, enrolments } = hub.state()
  const rows = devices.map(({ deviceId }) => [`device ${deviceId}`, hub.connectionString({ deviceId })])
  rows.push(['service', hub.connectionString({ service: true })])
  if (hub.webSocketPort !== 0)
    rows.push([
      'WebSockets',
      `wss://localhost:${hub.webSocketPort}/$iothub/websocket, as HostName=localhost:${hub.webSocketPort}`,
    ])
  if (hub.httpsPort !== 0) rows.push(['HTTPS', `https://localhost:${hub.httpsPort}, for methods and twins`])
  const { host, idScope } = hub.provisioning
  const enrolled = Object.entries(enrolments?.devices ?? {})
  rows.push([
    'provisioning',
    `${host}, id scope ${idScope}${enrolled.length > 0 ? '' : '; nobody is enrolled: --enrol'}`,
  ])
  for (const [registrationId, { key }] of enrolled)
    rows.push([`enrolled ${registrationId}`, JSON.stringify({ host, idScope, registrationId, key })])
  rows.push(['CA', ca])
  const width = Math.max(...rows.map(([name = '']) => name.length))
  const lines = rows.map(([name = '', text]) => `  ${name.padEnd(width)}  ${text}`)
  return [
    `An IoT Hub in this process, on localhost:${hub.port}, with keys and a certificate ${state === undefined ? 'made for this run' : `kept in ${state}`}`,
    '',
    ...lines,
    '',
    `Trust it by { tls: { ca } }, or for a process by NODE_EXTRA_CA_CERTS=${ca}`,
    'Ctrl-C ends it.',
  ].join('\n')
}
