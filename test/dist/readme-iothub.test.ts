/**
 * The programs of the README for IoT Hub, as they are printed: files of their own, run by Node at the same time, against
 * `fairlead emulator` as it is started there, with what that prints. Needs `npm run build`.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { blocks, lines, root } from './readme-blocks.ts'

const folder = mkdtempSync(join(tmpdir(), 'readme-iothub-'))
const children = new Set<ChildProcess>()

interface Running {
  readonly child: ChildProcess
  /** Waits until this is in what it has printed, on either stream. */
  until(text: string): Promise<void>
  readonly said: () => string
  readonly ended: Promise<number | null>
}

function run(file: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
  // A shell that runs the tests with other certificates is not to be of help here.
  const { NODE_EXTRA_CA_CERTS: _, ...inherited } = process.env
  const child = spawn(process.execPath, [file, ...args], {
    cwd: folder,
    env: { ...inherited, ...env },
    timeout: 60_000,
  })
  children.add(child)
  let out = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', text => {
      out += text
    })
  const ended = new Promise<number | null>(resolve => {
    child.on('close', code => {
      children.delete(child)
      resolve(code)
    })
  })
  return {
    child,
    ended,
    said: () => out,
    async until(text) {
      for (let i = 0; i < 400 && !out.includes(text) && children.has(child); i++)
        await new Promise(resolve => setTimeout(resolve, 50))
      expect(out).toContain(text)
    },
  }
}

beforeAll(() => {
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'user', type: 'module', private: true }))
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(root, join(folder, 'node_modules/fairlead'))
  for (const { code } of blocks) {
    const name = /^\/\/ (\w+\.mjs): /.exec(code)?.[1]
    if (name !== undefined) writeFileSync(join(folder, name), `${code}\n`)
  }
})

afterAll(() => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

test('a service that gets no feedback says so, and ends', { timeout: 60_000 }, async () => {
  const emulator = run(join(root, 'dist/cli/main.js'), ['emulator', '--port', '0', '--device', 'd1'])
  await emulator.until('Ctrl-C')
  const printed = (what: RegExp): string => what.exec(emulator.said())?.[1] ?? ''
  // As it is printed, but for its patience.
  const text = readFileSync(join(folder, 'service.mjs'), 'utf8')
  expect(text).toContain('60_000')
  writeFileSync(join(folder, 'impatient.mjs'), text.replace('60_000', '1_000'))
  const service = run('impatient.mjs', [], {
    NODE_EXTRA_CA_CERTS: printed(/NODE_EXTRA_CA_CERTS=(\S+)/),
    IOTHUB_SERVICE_CONNECTION_STRING: printed(/^ +service +(\S+)$/m),
  })
  expect([await service.ended, service.said()]).toEqual([
    1,
    'no feedback in time: the device has not taken the command, or another program has the feedback\n',
  ])
  emulator.child.kill('SIGINT')
  expect(await emulator.ended).toBe(0)
})

test('the terminal blocks show connection strings as the emulator prints them, with a port', () => {
  const shown = lines.filter(line => line.startsWith('    export IOTHUB_')).join('\n')
  expect(shown.match(/HostName=localhost:5671;/g)).toHaveLength(2)
  expect(shown).not.toContain('HostName=localhost;')
})

test('device, service and caller do their work, and end on their own or by Ctrl-C', { timeout: 60_000 }, async () => {
  const [, command] =
    lines.map(line => /^ {4}npx fairlead (emulator .*--https-port .*)$/.exec(line)).find(Boolean) ?? []
  // As it is printed, but for ports that may be taken here: 0 is any free one.
  const args = `${command} --port 0`.split(' ').map(word => (/^\d+$/.test(word) ? '0' : word))
  const emulator = run(join(root, 'dist/cli/main.js'), args)
  await emulator.until('Ctrl-C')
  const printed = (what: RegExp): string => what.exec(emulator.said())?.[1] ?? ''
  const trust = { NODE_EXTRA_CA_CERTS: printed(/NODE_EXTRA_CA_CERTS=(\S+)/) }
  const forService = { ...trust, IOTHUB_SERVICE_CONNECTION_STRING: printed(/^ +service +(\S+)$/m) }

  const device = run('device.mjs', [], { ...trust, IOTHUB_DEVICE_CONNECTION_STRING: printed(/^ +device d1 +(\S+)$/m) })
  const service = run('service.mjs', [], forService)
  await device.until('telemetry every 1000 ms')
  const caller = run('call.mjs', [], { ...forService, IOTHUB_HTTPS: printed(/^ +HTTPS +(\S+),/m) })
  expect([await caller.ended, caller.said()]).toEqual([0, 'answer: { status: 200, payload: { blinked: 3 } }\n'])
  await device.until('telemetry every 200 ms')

  expect([await service.ended, service.said().split('\n').slice(-2)]).toEqual([0, ['feedback: success', '']])
  expect(service.said()).toMatch(/^telemetry: d1 \{"temperature":20\.\d+\} \{ partition: '\d', offset: '\d+' \}$/m)
  const placesIn = (text: string): string[] => text.match(/\{ partition: '\d', offset: '\d+' \}/g) ?? []
  const stored = JSON.parse(readFileSync(join(folder, 'positions.json'), 'utf8')) as { offset: string }[]
  expect(stored.map(({ offset }) => offset)).toEqual([
    /offset: '(\d+)'/.exec(placesIn(service.said()).at(-1) ?? '')?.[1],
  ])
  const reader = run('service.mjs', [], forService)
  await reader.until('telemetry: d1')
  reader.child.kill('SIGINT')
  device.child.kill('SIGINT')
  expect([await reader.ended, await device.ended]).toEqual([0, 0])
  expect(reader.said()).not.toContain('feedback')
  // It has gone on behind what the first had read.
  expect(placesIn(reader.said()).filter(place => placesIn(service.said()).includes(place))).toEqual([])
  const said = device.said().trim().split('\n')
  expect(said).toEqual(
    expect.arrayContaining(['command: light on', 'telemetry every 1000 ms', 'telemetry every 200 ms']),
  )
  // Nothing went wrong on the way, either.
  expect(said.filter(line => !/^(command|telemetry every)/.test(line))).toEqual([])
  emulator.child.kill('SIGINT')
  expect(await emulator.ended).toBe(0)
})
