/** The command, as it is built: what it prints, and the code it ends with. Needs `npm run build`. */

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Listener } from '../../src/client/api.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { createCertificate } from '../../src/emulator/certificates/certificate.ts'

const root = new URL('../../', import.meta.url).pathname
const MAIN = join(root, 'dist/cli/main.js')

interface Ended {
  code: number | null
  out: string
  err: string
}

function run(...args: string[]): Promise<Ended> {
  return new Promise(resolve => {
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'], timeout: 30_000 })
    const ended: Ended = { code: null, out: '', err: '' }
    child.stdout.on('data', text => {
      ended.out += text
    })
    child.stderr.on('data', text => {
      ended.err += text
    })
    child.on('close', code => resolve({ ...ended, code }))
  })
}

let folder = ''
let listener: Listener
let ca = ''
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cli-'))
  const certificate = await createCertificate({ hostNames: ['example.org'] })
  ca = join(folder, 'ca.pem')
  writeFileSync(ca, certificate.ca)
  listener = await listen({ host: '127.0.0.2', tls: { cert: certificate.cert, key: certificate.key } })
  listener.on('error', () => {})
})
afterAll(async () => {
  await listener.close()
  rmSync(folder, { recursive: true, force: true })
})

test('--version is the package’s', async () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  expect(await run('--version')).toEqual({ code: 0, out: `${version}\n`, err: '' })
})

test('a target that is none is misuse, not a failure', async () => {
  const { code, err } = await run('demo', 'foo')
  expect(code).toBe(2)
  expect(err).toContain('✗ the target is neither amqp://…')
  expect(err).toContain('See fairlead --help.')
})

test('an option that is unknown is named, in a line', async () => {
  const { code, err } = await run('demo', '--fast')
  expect(code).toBe(2)
  expect(err.trim().split('\n')).toEqual(['✗ there is no option --fast', '', 'See fairlead --help.'])
})

describe('--ca', () => {
  const url = (): string => `amqps://127.0.0.2:${listener.port}/q`

  test('a file without a certificate is a mistake, and said to be', async () => {
    for (const text of ['hello', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n']) {
      const file = join(folder, 'not.pem')
      writeFileSync(file, text)
      const { code, err } = await run('demo', url(), '--ca', file)
      expect(code).toBe(2)
      expect(err).toContain('not.pem has no certificate in PEM')
    }
  })

  test('is advised when the authority is unknown and none was given', async () => {
    const { code, err } = await run('demo', url())
    expect(code).toBe(1)
    expect(err).toContain('--ca FILE trusts')
  })

  test('is not advised for another host name: that is what is said', async () => {
    const { code, err } = await run('demo', url(), '--ca', ca)
    expect(code).toBe(1)
    expect(err).not.toContain('--ca FILE')
    expect(err).toContain('another host name')
  })
})
