/** `fairlead emulator`, installed from the tarball: what it prints serves to connect, and how it ends. Needs `npm run build`. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { DeviceClient } from '../../src/iothub/device-client.ts'

import { provision } from '../../src/iothub/provisioning/provisioning.ts'
import { ServiceClient } from '../../src/iothub/service-client.ts'
import { pause } from '../waiting.ts'

const root = new URL('../../', import.meta.url).pathname
let folder = ''
const running = new Set<ChildProcess>()

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'command-'))
  const packed = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [{ filename }] = JSON.parse(packed)
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'user', type: 'module', private: true }))
  const install = ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', `./${filename}`]
  execFileSync('npm', install, { cwd: folder, stdio: 'ignore' })
}, 60_000)

afterAll(() => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

interface Command {
  readonly child: ChildProcess
  /** All that it has printed, once it has printed that. */
  printed(text: string): Promise<string>
  readonly ended: Promise<{ code: number | null; out: string; err: string }>
}

/** The command, as npm links it. */
function run(...args: string[]): Command {
  const child = spawn(join(folder, 'node_modules/.bin/fairlead'), args, { cwd: folder, timeout: 40_000 })
  running.add(child)
  let [out, err] = ['', '']
  child.stderr.on('data', text => {
    err += text
  })
  const ended = new Promise<{ code: number | null; out: string; err: string }>(resolve => {
    child.on('close', code => {
      running.delete(child)
      resolve({ code, out, err })
    })
  })
  return {
    child,
    ended,
    printed: text =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (out.includes(text)) resolve(out)
        }
        child.stdout.on('data', more => {
          out += more
          look()
        })
        ended.then(() => reject(new Error(`it ended: ${err}`)))
      }),
  }
}

const found = (pattern: RegExp, text: string): string => pattern.exec(text)?.[1] ?? ''

test('prints what is needed to connect, and ends with Ctrl-C', async () => {
  const command = run('emulator', '--port', '0', '--device', 'd1', '--device', 'd2', '--gateway', 'v2')
  const out = await command.printed('Ctrl-C')
  const file = found(/^ +CA +(\S+)$/m, out)
  const tls = { ca: readFileSync(file, 'utf8') }
  for (const name of ['d1', 'd2']) {
    const device = await DeviceClient.connect(found(new RegExp(`^ +device ${name} +(\\S+)$`, 'm'), out), { tls })
    await device.sendTelemetry({ body: 'x' })
    await device.close()
  }
  expect(out).toMatch(/^ +service +HostName=localhost:\d+;SharedAccessKeyName=service;SharedAccessKey=/m)
  expect(out).toMatch(/^ +provisioning +\S+, id scope \w+; nobody is enrolled: --enrol$/m)
  const [host = '', idScope = ''] = found(/^ +provisioning +(.+);/m, out).split(', id scope ')
  const key = Buffer.alloc(32).toString('base64')
  await expect(provision({ host, idScope, registrationId: 'r', key, tls })).rejects.toThrow("registration 'r'")
  command.child.kill('SIGINT')
  expect(await command.ended).toMatchObject({ code: 0, err: '' })
  expect(existsSync(file)).toBe(false)
})

test('--feedback-ms: feedback is there sooner', async () => {
  const command = run('emulator', '--port', '0', '--feedback-ms', '50')
  const out = await command.printed('Ctrl-C')
  const tls = { ca: readFileSync(found(/^ +CA +(\S+)$/m, out), 'utf8') }
  const device = await DeviceClient.connect(found(/^ +device device1 +(\S+)$/m, out), { tls })
  const service = await ServiceClient.connect(found(/^ +service +(\S+)$/m, out), { tls })
  await service.sendToDevice('device1', { body: 'x', messageId: 'm1', ack: 'full' })
  for await (const message of device.messages()) {
    await message.complete()
    break
  }
  for await (const batch of service.feedback({ signal: AbortSignal.timeout(3_000) })) {
    expect(batch.records[0]?.originalMessageId).toBe('m1')
    await batch.complete()
    break
  }
  await Promise.all([device.close(), service.close()])
  command.child.kill('SIGINT')
  expect(await command.ended).toMatchObject({ code: 0 })
})

test.each(['SIGINT', 'SIGHUP', 'SIGKILL'] as const)('--state: clients outlive a restart, after %s', async signal => {
  const state = join(folder, `state-${signal}`)
  const options = ['emulator', '--device', 'd1', '--state', state]
  const first = run(...options, '--port', '0')
  const out = await first.printed('Ctrl-C')
  expect(out).toContain(`kept in ${state}`)
  const file = found(/^ +CA +(\S+)$/m, out)
  const modes = [state, file, join(state, 'emulator.json')].map(path => statSync(path).mode & 0o777)
  expect([file, ...modes]).toEqual([join(state, 'ca.pem'), 0o700, 0o600, 0o600])
  const port = found(/on localhost:(\d+)/, out)
  const tls = { ca: readFileSync(file, 'utf8') }
  const reconnect = { initialMs: 50, maxMs: 200 }
  const device = await DeviceClient.connect(found(/^ +device d1 +(\S+)$/m, out), { tls, reconnect })
  const service = await ServiceClient.connect(found(/^ +service +(\S+)$/m, out), { tls, reconnect })
  const bodies: string[] = []
  const offsets: bigint[] = []
  const reading = (async () => {
    for await (const { body, offset } of service.telemetry({ from: 'start', signal: AbortSignal.timeout(20_000) })) {
      offsets.push(BigInt(offset))
      if (bodies.push(new TextDecoder().decode(body)) === 3) return
    }
  })()
  await device.sendTelemetry({ body: 'one' })
  await device.sendTelemetry({ body: 'two' })
  while (bodies.length < 2) await new Promise(resolve => setTimeout(resolve, 20))
  first.child.kill(signal)
  await first.ended
  const second = run(...options, '--device', 'd2', '--port', port)
  const again = await second.printed('Ctrl-C')
  const rowsOf = (text: string) => text.match(/^ +(device d1|service|provisioning|CA) .*$/gm)?.map(row => row.trim())
  expect(rowsOf(again)?.map(row => row.replace(/ +/g, ' '))).toEqual(rowsOf(out)?.map(row => row.replace(/ +/g, ' ')))
  expect(again).toContain('device d2')
  await device.sendTelemetry({ body: 'three' })
  await reading
  expect(bodies).toEqual(['one', 'two', 'three'])
  expect(offsets[2]).toBeGreaterThan(offsets[1] ?? 0n)
  await Promise.all([device.close(), service.close()])
  second.child.kill('SIGINT')
  expect(await second.ended).toMatchObject({ code: 0, err: '' })
  // Devices that it has are there without being named.
  const third = run('emulator', '--state', state, '--port', '0')
  expect((await third.printed('Ctrl-C')).match(/device \w+/g)).toEqual(['device d1', 'device d2'])
  third.child.kill('SIGINT')
  await third.ended
})

const ENDS = [
  ['SIGINT', 0],
  ['SIGHUP', 0],
  ['SIGKILL', null],
] as const

test.each(ENDS)(
  '--enrol: after %s the next of --state has the same registration, and the device',
  async (signal, code) => {
    const state = join(folder, `enrolled-${signal}`)
    const options = ['emulator', '--device', 'd1', '--enrol', 'lamp-7', '--state', state]
    const first = run(...options, '--port', '0')
    const out = await first.printed('Ctrl-C')
    const registration = /^ +enrolled lamp-7 +(\{.*)$/m
    const file = found(/^ +CA +(\S+)$/m, out)
    const tls = { ca: readFileSync(file, 'utf8') }
    const assigned = await provision({ ...JSON.parse(found(registration, out)), tls })
    expect(assigned.deviceId).toBe('lamp-7')
    first.child.kill(signal)
    expect(await first.ended).toMatchObject({ code, err: '' })
    expect(existsSync(join(state, 'emulator.lock'))).toBe(signal === 'SIGKILL')
    const second = run(...options, '--enrol', 'lamp-8', '--port', found(/on localhost:(\d+)/, out))
    const again = await second.printed('Ctrl-C')
    expect(JSON.parse(found(registration, again))).toEqual(JSON.parse(found(registration, out)))
    expect(again).toContain('enrolled lamp-8')
    await (await DeviceClient.connect(assigned.credentials, { tls })).close()
    second.child.kill('SIGINT')
    expect(await second.ended).toMatchObject({ code: 0, err: '' })
  },
)

test('--state: a folder is of one emulator at a time; what a dead one has left is taken over', async () => {
  const state = join(folder, 'locked')
  const lock = join(state, 'emulator.lock')
  mkdirSync(state)
  for (const left of [`${await deadPid()}\n`, '', '?', undefined]) {
    if (left !== undefined) writeFileSync(lock, left)
    const command = run('emulator', '--port', '0', '--state', state)
    await command.printed('Ctrl-C')
    expect(readFileSync(lock, 'utf8')).not.toBe(left)
    const { code, err } = await run('emulator', '--port', '0', '--state', state).ended
    expect(code).toBe(1)
    expect(err).toContain(`✗ --state ${state}: process ${readFileSync(lock, 'utf8').trim()} has this folder`)
    expect(err).toContain(`remove ${lock}`)
    command.child.kill('SIGINT')
    expect(await command.ended).toMatchObject({ code: 0, err: '' })
    expect(readdirSync(state).sort()).toEqual(['ca.pem', 'emulator.json'])
  }
})

/** The number of a process that has ended. */
async function deadPid(): Promise<number | undefined> {
  const dead = spawn(process.execPath, ['-e', ''])
  await new Promise(resolve => dead.once('close', resolve))
  return dead.pid
}

test('--state: of many that find what a dead one has left, one takes it over, and has the lock', async () => {
  const state = join(folder, 'raced')
  const lock = join(state, 'emulator.lock')
  mkdirSync(state)
  for (let round = 0; round < 4; round++) {
    writeFileSync(lock, `${await deadPid()}\n`)
    const commands = Array.from({ length: 4 }, () => run('emulator', '--port', '0', '--state', state))
    const ends = commands.map(async command => {
      const running = command.printed('Ctrl-C').then(() => command)
      return Promise.race([running, command.ended])
    })
    const results = await Promise.all(ends)
    const survivors = results.filter(result => 'child' in result)
    expect(survivors.map(({ child }) => `${child.pid}\n`)).toEqual([readFileSync(lock, 'utf8')])
    for (const result of results)
      if (!('child' in result)) expect(result.err).toContain(`process ${survivors[0]?.child.pid} has this folder`)
    survivors[0]?.child.kill('SIGINT')
    await survivors[0]?.ended
    expect(readdirSync(state).sort()).toEqual(['ca.pem', 'emulator.json'])
  }
})

test('--state: while one removes what a dead one has left, another waits, and looks again', async () => {
  const state = join(folder, 'waiting')
  const lock = join(state, 'emulator.lock')
  mkdirSync(state)
  writeFileSync(lock, `${await deadPid()}\n`)
  writeFileSync(`${lock}.old`, `${process.pid}\n`)
  const command = run('emulator', '--port', '0', '--state', state)
  await pause(700)
  expect(readdirSync(state).filter(file => !file.endsWith('.part'))).toEqual(['emulator.lock', 'emulator.lock.old'])
  writeFileSync(lock, `${process.pid}\n`)
  rmSync(`${lock}.old`)
  expect((await command.ended).err).toContain(`process ${process.pid} has this folder`)
  expect(readdirSync(state)).toEqual(['emulator.lock'])
  // Who died over that is no hindrance.
  for (const left of [lock, `${lock}.old`, `${lock}.old.old`]) writeFileSync(left, `${await deadPid()}\n`)
  const next = run('emulator', '--port', '0', '--state', state)
  await next.printed('Ctrl-C')
  expect(readFileSync(lock, 'utf8')).toBe(`${next.child.pid}\n`)
  // Somebody has removed the lock, and it is another's by now.
  writeFileSync(lock, `${process.pid}\n`)
  next.child.kill('SIGINT')
  await next.ended
  expect(readdirSync(state).sort()).toEqual(['ca.pem', 'emulator.json', 'emulator.lock'])
})

test('--state: what was being written by one that was killed is no hindrance, and is removed', async () => {
  const state = join(folder, 'parts')
  mkdirSync(state)
  for (const part of ['emulator.json.part', 'emulator.json.a-1.part', 'ca.pem.a-1.part'])
    writeFileSync(join(state, part), '{')
  const command = run('emulator', '--port', '0', '--state', state)
  await command.printed('Ctrl-C')
  command.child.kill('SIGINT')
  expect(await command.ended).toMatchObject({ code: 0, err: '' })
  expect(readdirSync(state).sort()).toEqual(['ca.pem', 'emulator.json'])
})

test('--state: a folder of something else, or none, is misuse, and is left as it is', async () => {
  const at = (name: string, text?: string): string => {
    mkdirSync(join(folder, name))
    if (text !== undefined) writeFileSync(join(folder, name, 'emulator.json'), text)
    return name
  }
  writeFileSync(join(folder, at('other'), 'notes.txt'), 'mine')
  const foreign = 'take another folder'
  const holds = (name: string): string[] => readdirSync(join(folder, name))
  for (const [name, said] of [
    ['other', 'holds something else (notes.txt)'],
    ['package.json', '--state package.json: is no folder'],
    ['/proc/nowhere', '--state /proc/nowhere: the folder that it is to be in is not there'],
    [at('torn', '{'), 'emulator.json is not of this command'],
    [at('empty', 'null'), foreign],
    [at('foreign', '{"name":"x"}'), foreign],
    [at('keys', '{"createdAt":1,"idScope":"a","policies":{"service":{"primaryKey":"?"}},"devices":[]}'), foreign],
    [
      at('tls', '{"createdAt":1,"idScope":"a","policies":{},"devices":[],"tls":{"ca":"a","cert":"b","key":"c"}}'),
      'certificate or its key is not in PEM',
    ],
  ] as const) {
    const { code, err } = await run('emulator', '--port', '0', '--state', name).ended
    expect([name, code]).toEqual([name, 2])
    expect(err).toContain(`--state ${name}: `)
    expect(err).toContain(said)
  }
  expect(readFileSync(join(folder, 'torn/emulator.json'), 'utf8')).toBe('{')
  expect([holds('other'), holds('torn'), holds('foreign')]).toEqual([
    ['notes.txt'],
    ['emulator.json'],
    ['emulator.json'],
  ])
})

test('--websocket listens with the ws of the folder; without one it says so', async () => {
  const without = await run('emulator', '--port', '0', '--websocket').ended
  expect(without).toMatchObject({ code: 2 })
  expect(without.err).toContain('npm install ws')

  mkdirSync(join(folder, 'node_modules'), { recursive: true })
  symlinkSync(join(root, 'node_modules/ws'), join(folder, 'node_modules/ws'))
  const command = run('emulator', '--port', '0', '--websocket-port', '0')
  const out = await command.printed('Ctrl-C')
  const tls = { ca: readFileSync(found(/^ +CA +(\S+)$/m, out), 'utf8') }
  const webSocketHost = found(/as HostName=(\S+)$/m, out)
  const text = found(/^ +device device1 +(\S+)$/m, out).replace(/HostName=[^;]+/, `HostName=${webSocketHost}`)
  const device = await DeviceClient.connect(text, { tls, webSocket: { class: WebSocket } })
  await device.sendTelemetry({ body: 'x' })
  await device.close()
  command.child.kill('SIGTERM')
  expect(await command.ended).toMatchObject({ code: 0 })
})

test('a port that is taken: said, with what to do about it', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => taken.once('listening', resolve))
  const { port } = taken.address() as { port: number }
  for (const option of ['--port', '--https-port']) {
    const { code, err } = await run('emulator', '--port', '0', option, `${port}`).ended
    expect(code).toBe(1)
    expect(err).toContain(`✗ port ${port} is taken; ${option} takes another, 0 any free one`)
  }
  await new Promise(resolve => taken.close(resolve))
})

test.each([
  [['emulator', '--port', 'x'], '--port takes a number from 0 (any free port) to 65535, not "x"'],
  [['emulator', '--port', '70000'], '--port takes a number'],
  [['emulator', '--websocket-port', '-1'], '--websocket-port'],
  [['emulator', '--https-port', '-1'], '--https-port'],
  [['emulator', '--gateway', 'v3'], '--gateway takes v1 or v2, not "v3"'],
  [['emulator', '--device', 'a b', '--port', '0'], "--device: 'a b' is no device id, which has 1 … 128 ASCII letters"],
  [['emulator', '--device', 'a', '--device', 'b', '--device', 'a', '--port', '0'], '--device a is given twice'],
  [['emulator', '--enrol', 'a', '--enrol', 'a', '--port', '0'], '--enrol a is given twice'],
  [['emulator', '--enrol', 'a/b', '--port', '0'], "--enrol: 'a/b' is no registration id, which has 1 … 128 ASCII"],
  [['emulator', '--feedback-ms', '1s'], '--feedback-ms takes a number of milliseconds, 0 to 999999999, not "1s"'],
  [['emulator', 'd1'], 'a device is --device d1'],
  [['emulator', '--trace'], 'emulator has no option --trace'],
  [['demo', '--port', '1'], 'demo has no option --port'],
])('%j is misuse', async (args, said) => {
  const { code, err } = await run(...args).ended
  expect(code).toBe(2)
  expect(err).toContain(said)
  expect(err).toContain('See fairlead --help.')
})

test('--help tells of it', async () => {
  const command = run('--help')
  expect(await command.printed('fairlead emulator')).toMatch(/--device ID[\s\S]*--enrol ID/)
  expect(await command.ended).toMatchObject({ code: 0 })
})
