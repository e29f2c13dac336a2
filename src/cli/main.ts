#!/usr/bin/env node
/** The command `fairlead`: a demo, the same job against a real broker or hub, and an IoT Hub that runs until it is stopped. */

import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { brokerDemo } from './broker-demo.ts'
import { deviceDemo } from './device-demo.ts'
import { emulatorCommand } from './emulator-command.ts'
import { hubDemo } from './hub-demo.ts'
import { Misuse } from './misuse.ts'
import { Report } from './report.ts'

const HELP = `fairlead: AMQP 1.0 from the wire up

  fairlead demo                       an IoT Hub in this process: telemetry, a command, its feedback, over TLS
  fairlead demo amqps://user:pass@host[:port]/address
                                      sends and receives on any AMQP 1.0 broker
  fairlead demo "HostName=…;DeviceId=…;SharedAccessKey=…"
                                      sends telemetry to an IoT Hub
  fairlead emulator                   an IoT Hub until Ctrl-C; prints connection strings and the CA to trust

options of demo
  --ca FILE         trust the certificate authorities in this PEM file (instead of the system's)
  --trace           print every frame, both ways; secrets are left out
  --insecure-auth   allow a user name and password over amqp:// without TLS
  --timeout S       give up after S seconds (default 30)

options of emulator
  --port N            listen on 127.0.0.1:N (default 5671; 0: any free port)
  --device ID         a device that exists; may be given again (default device1)
  --gateway v1|v2     which kind of gateway it looks like (default v1)
  --enrol ID          a device that may ask for its hub by provision; may be given again; prints what that takes
  --state DIR         keep keys and CA in this folder: started again with it, it is the same hub to its clients
  --websocket         WebSockets too; needs the package ws
  --websocket-port N  and where (default any free port; clients of Microsoft's know only 443)
  --https-port N      HTTPS too, on 127.0.0.1:N, by which back ends call methods and change twins
  --feedback-ms N     feedback is gathered for so long before back ends get it (default 15000)

options of both
  --version         prints the version
  --help            this text
`

async function run(args: string[]): Promise<void> {
  const { values, positionals } = parse(args)
  const [command, target, ...rest] = positionals
  if (values.version) return void console.log(await version())
  if (values.help || command === undefined || command === 'help') return void console.log(HELP)
  if (command === 'emulator') return runEmulator(values, target)
  if (command !== 'demo') throw new Misuse(`there is no command "${command}"`)
  refuseOptions('demo', values, EMULATOR_OPTIONS)
  if (rest.length > 0)
    throw new Misuse(`demo takes one target; put a connection string in quotes, since it has semicolons`)
  const seconds = Number(values.timeout ?? 30)
  if (!(seconds > 0)) throw new Misuse(`--timeout takes a number of seconds, not "${values.timeout}"`)
  const report = new Report(values.trace === true)
  const signal = AbortSignal.timeout(seconds * 1000)
  const ca = values.ca === undefined ? undefined : await readCa(values.ca)
  try {
    await demo(report, target, ca, values['insecure-auth'] === true, signal)
  } catch (error) {
    if (error instanceof Misuse) throw error
    throw new Failure(explain(error) + advice(error, ca !== undefined))
  }
}

async function runEmulator(values: ReturnType<typeof parse>['values'], target: string | undefined): Promise<void> {
  if (target !== undefined) throw new Misuse(`emulator takes options only; a device is --device ${target}`)
  refuseOptions('emulator', values, DEMO_OPTIONS)
  await emulatorCommand(values)
}

const DEMO_OPTIONS = ['ca', 'trace', 'insecure-auth', 'timeout'] as const
const EMULATOR_OPTIONS = [
  'port',
  'device',
  'enrol',
  'gateway',
  'websocket',
  'websocket-port',
  'https-port',
  'feedback-ms',
  'state',
] as const

function refuseOptions(command: string, values: Readonly<Record<string, unknown>>, options: readonly string[]): void {
  const wrong = options.find(option => values[option] !== undefined)
  if (wrong !== undefined) throw new Misuse(`${command} has no option --${wrong}`)
}

/** The demo failed, and how; for whoever reads it. */
class Failure extends Error {}

async function demo(
  report: Report,
  target: string | undefined,
  ca: string | undefined,
  insecure: boolean,
  signal: AbortSignal,
): Promise<void> {
  if (target === undefined) return hubDemo(report, signal)
  if (/^amqps?:\/\//i.test(target)) {
    if (!URL.canParse(target))
      throw new Misuse('the target is not a URL; percent-encode what is special in user name and password')
    return brokerDemo(report, target, { ca, allowInsecureAuth: insecure }, signal)
  }
  if (/HostName=/.test(target)) return deviceDemo(report, target, ca, signal)
  throw new Misuse('the target is neither amqp://…, amqps://… nor a connection string with HostName=')
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        ca: { type: 'string' },
        trace: { type: 'boolean' },
        'insecure-auth': { type: 'boolean' },
        timeout: { type: 'string' },
        port: { type: 'string' },
        device: { type: 'string', multiple: true },
        enrol: { type: 'string', multiple: true },
        gateway: { type: 'string' },
        websocket: { type: 'boolean' },
        'websocket-port': { type: 'string' },
        'https-port': { type: 'string' },
        'feedback-ms': { type: 'string' },
        state: { type: 'string' },
        version: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    const unknown = /^Unknown option '([^']*)'/.exec(text)
    throw new Misuse(unknown ? `there is no option ${unknown[1]}` : (text.split('\n')[0] as string))
  }
}

async function readCa(file: string): Promise<string> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    throw new Misuse(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code ?? error}`)
  }
  // Node takes any text, and then trusts nobody.
  const [first] = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(text) ?? []
  try {
    if (first !== undefined && new X509Certificate(first)) return text
  } catch {
    // Said below.
  }
  throw new Misuse(`${file} has no certificate in PEM (-----BEGIN CERTIFICATE-----)`)
}

/** Of the package that this file is in: beside its folder when built, and as source. */
async function version(): Promise<string> {
  const manifest: { version: string } = JSON.parse(
    await readFile(new URL('../../package.json', import.meta.url), 'utf8'),
  )
  return manifest.version
}

/** Why it failed, outermost first, each reason once. */
function explain(error: unknown): string {
  if (error instanceof DOMException && error.name === 'TimeoutError') return 'it took too long; see --timeout'
  const reasons: string[] = []
  for (let at = error; at instanceof Error; at = at.cause)
    if (!reasons.some(reason => reason.includes((at as Error).message))) reasons.push(at.message)
  return reasons.join('\n  because ') || String(error)
}

/** What whoever typed the command may do about it. */
function advice(error: unknown, hasCa: boolean): string {
  const codes: unknown[] = []
  for (let at = error; at instanceof Error; at = at.cause) codes.push((at as NodeJS.ErrnoException).code)
  if (codes.includes('ERR_TLS_CERT_ALTNAME_INVALID')) return '\n  (the certificate is for another host name)'
  const untrusted = codes.some(code => UNTRUSTED.has(String(code)))
  return untrusted && !hasCa ? '\n  (--ca FILE trusts the authority in FILE)' : ''
}

/** What Node calls a certificate whose authority it does not know. */
const UNTRUSTED: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'CERT_UNTRUSTED',
])

// Whoever reads our output may stop early: `fairlead demo --trace | head`.
process.stdout.on('error', () => process.exit(0))

run(process.argv.slice(2)).then(
  () => process.exit(0),
  error => {
    console.error(`\n✗ ${explain(error)}`)
    if (error instanceof Misuse) console.error('\nSee fairlead --help.')
    process.exit(error instanceof Misuse ? 2 : 1)
  },
)
