#!/usr/bin/env node
/** The command `fairlead`: a demo without a target, and the same job against a real broker or hub with one. */

import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { brokerDemo } from './broker-demo.ts'
import { deviceDemo } from './device-demo.ts'
import { hubDemo } from './hub-demo.ts'
import { Report } from './report.ts'

const HELP = `fairlead: AMQP 1.0 from the wire up

  fairlead demo                       an IoT Hub in this process: telemetry, a command, its feedback, over TLS
  fairlead demo amqps://user:pass@host[:port]/address
                                      sends and receives on any AMQP 1.0 broker
  fairlead demo "HostName=…;DeviceId=…;SharedAccessKey=…"
                                      sends telemetry to an IoT Hub

options
  --ca FILE         trust the certificate authorities in this PEM file (instead of the system's)
  --trace           print every frame, both ways; secrets are left out
  --insecure-auth   allow a user name and password over amqp:// without TLS
  --timeout S       give up after S seconds (default 30)
  --help            this text
`

/** A mistake of whoever typed the command. */
class Misuse extends Error {}

async function run(args: string[]): Promise<void> {
  const { values, positionals } = parse(args)
  const [command, target, ...rest] = positionals
  if (values.help || command === undefined || command === 'help') return void console.log(HELP)
  if (command !== 'demo') throw new Misuse(`there is no command "${command}"`)
  if (rest.length > 0)
    throw new Misuse(`demo takes one target; put a connection string in quotes, since it has semicolons`)
  const seconds = Number(values.timeout ?? 30)
  if (!(seconds > 0)) throw new Misuse(`--timeout takes a number of seconds, not "${values.timeout}"`)
  const report = new Report(values.trace === true)
  const signal = AbortSignal.timeout(seconds * 1000)
  const ca = values.ca === undefined ? undefined : await readCa(values.ca)
  await demo(report, target, ca, values['insecure-auth'] === true, signal)
}

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
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    throw new Misuse(error instanceof Error ? error.message : String(error))
  }
}

async function readCa(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new Misuse(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code ?? error}`)
  }
}

/** Why it failed, outermost first, each reason once. */
function explain(error: unknown): string {
  if (error instanceof DOMException && error.name === 'TimeoutError') return 'it took too long; see --timeout'
  const reasons: string[] = []
  for (let at = error; at instanceof Error; at = at.cause)
    if (!reasons.some(reason => reason.includes((at as Error).message))) reasons.push(at.message)
  const untrusted = reasons.some(reason => /certificate|altname/i.test(reason))
  return (
    (reasons.join('\n  because ') || String(error)) + (untrusted ? '\n  (--ca FILE trusts the authority in FILE)' : '')
  )
}

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
