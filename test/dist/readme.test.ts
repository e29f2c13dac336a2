/**
 * The code of the README, held to the built package: each block is type-checked as a module of its own, and those that
 * are whole programs and need nobody else are run. Needs `npm run build`.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { exportsOf } from './declarations.ts'
import { type Block, blocks, root } from './readme-blocks.ts'

const { connect, sasl } = (await import(join(root, 'dist/index.js'))) as typeof import('../../src/index.ts')

/** What blocks take from blocks and words around them. Besides, all that `fairlead` exports is there by its name. */
const PLACEHOLDERS: Readonly<Record<string, string>> = {
  connection: 'Connection',
  sender: 'Sender',
  other: 'Sender',
  receiver: 'Receiver',
  delivery: 'Delivery',
  bodies: 'Iterable<string>',
  cert: 'string',
  key: 'string',
  renewed: '{ cert: string, key: string }',
  token: 'string',
  expiresAt: 'Date',
  store: '(...what: unknown[]) => Promise<void>',
  mayUse: '(identity: unknown, address: string | undefined) => boolean',
  credentialsFor: '(host: string) => SaslMechanism',
  fetchToken: '(signal: AbortSignal) => Promise<string>',
  freshToken: '(host: string) => Promise<string>',
  freshCbsToken: '() => Promise<{ type: string, value: string, expiresAt: Date }>',
  audience: 'string',
  log: '(...what: unknown[]) => void',
  settledAtLast: '(tag: Uint8Array) => (outcome: unknown) => void',
  device: "import('fairlead/iothub').DeviceClient",
  hub: "import('fairlead/emulator').IotHubEmulator",
  existsSync: "typeof import('node:fs')['existsSync']",
  readFileSync: "typeof import('node:fs')['readFileSync']",
  writeFileSync: "typeof import('node:fs')['writeFileSync']",
  v8: "typeof import('node:v8')",
  createReadStream: "typeof import('node:fs')['createReadStream']",
  writeFile: "typeof import('node:fs/promises')['writeFile']",
}

const word = (name: string): RegExp => new RegExp(`(?<![.\\w$])${name}(?![\\w$])`)
/** Whether a block has a name from elsewhere: it uses it and does not declare it, by `const` or in an import. */
const takes = ({ code }: Block, name: string): boolean =>
  word(name).test(code) &&
  !new RegExp(`(const|let|using) (${name}\\b|{[^}=]*\\b${name}\\b[^}]*} =)|import [^;]*?\\b${name}\\b[^;]*? from`).test(
    code,
  )

const values = [...exportsOf('index.d.ts')].map(([name]) => name)

/** The block as a module, on the lines that it has in the README, counted from its fence. */
function moduleOf(block: Block): string {
  const declared = Object.entries(PLACEHOLDERS).filter(([name]) => takes(block, name))
  const types = declared.map(
    ([name, type]) =>
      `declare const ${name}: ${type.replace(/\b(Connection|Sender|Receiver|Delivery|SaslMechanism)\b/g, "import('fairlead').$1")};`,
  )
  const imported = values.filter(name => takes(block, name))
  return `import { ${imported.join(', ')} } from 'fairlead'; ${types.join(' ')} export {}\n${block.code}\n`
}

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'readme-'))
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'user', type: 'module', private: true }))
  mkdirSync(join(folder, 'node_modules/@types'), { recursive: true })
  symlinkSync(root, join(folder, 'node_modules/fairlead'))
  for (const name of ['@types/node', '@types/ws', 'undici-types', 'ws'])
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
})
const children: ChildProcess[] = []
afterAll(() => {
  for (const child of children) child.kill()
  rmSync(folder, { recursive: true, force: true })
})

test('there are blocks, and each placeholder is for one of them', () => {
  expect(blocks.length).toBeGreaterThan(15)
  expect(Object.keys(PLACEHOLDERS).filter(name => !blocks.some(block => takes(block, name)))).toEqual([])
})

/** TypeScript as strictly as a user may; JavaScript as it is printed, by the types of what it imports. */
test.each([
  ['ts', '--strict'],
  ['js', '--strict false --allowJs --checkJs'],
] as const)('every block of %s compiles against the declarations of the package', (language, flags) => {
  const own = blocks.filter(block => block.language === language)
  const fileOf = ({ line }: Block): string => `README-${line}.${language === 'ts' ? 'ts' : 'mjs'}`
  for (const block of own)
    writeFileSync(join(folder, fileOf(block)), language === 'ts' ? moduleOf(block) : `\n${block.code}\n`)
  const options = ['--noEmit', ...flags.split(' '), '--module', 'nodenext', '--target', 'es2022']
  let output = ''
  try {
    execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...options, ...own.map(fileOf)], {
      cwd: folder,
      encoding: 'utf8',
    })
  } catch (error) {
    output = String((error as { stdout?: unknown }).stdout)
  }
  // By the lines of the README.
  const faults = output.replace(
    /README-(\d+)\.(?:ts|mjs)\((\d+),/g,
    (_, at, line) => `README.md(${Number(at) + Number(line) - 1},`,
  )
  expect(faults).toBe('')
})

/** Runs a module, TypeScript's own syntax not being in it. */
function run(code: string): { child: ChildProcess; said: () => string; ended: Promise<number | null> } {
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { cwd: folder, timeout: 40_000 })
  children.push(child)
  let out = ''
  const hear = (text: unknown): void => {
    out += text
  }
  child.stdout?.on('data', hear)
  child.stderr?.on('data', hear)
  return { child, said: () => out, ended: new Promise(resolve => child.on('close', resolve)) }
}

/** The one whole program that has this in it. */
function program(mark: string): string {
  const found = blocks.filter(({ code }) => code.startsWith('import') && code.includes(mark))
  expect(found).toHaveLength(1)
  return found[0]?.code ?? ''
}

const freePort = (): Promise<number> =>
  new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })

async function until(holds: () => boolean, said: () => string): Promise<void> {
  for (let i = 0; i < 200 && !holds(); i++) await new Promise(resolve => setTimeout(resolve, 50))
  expect(holds(), said()).toBe(true)
}

test.each(['createDeviceAuthority()', 'hub.provisioning.enrol(', 'hub.fault('])(
  '%s … runs as it stands',
  async mark => {
    const { said, ended } = run(`${program(mark)}\nprocess.exit(0)`)
    expect([await ended, said()]).toEqual([0, ''])
  },
)

test('the two engines carry a message, and print what the comments say', async () => {
  const { said, ended } = run(program("from 'fairlead/engine'"))
  expect([await ended, said()]).toEqual([0, 'hello\naccepted\n'])
})

test('the program of the IoT Hub runs to its end, and prints what its comments say', async () => {
  const { said, ended } = run(program('feedbackBatchMs'))
  const [code, lines] = [await ended, said().trim().split('\n')]
  expect([code, lines[0], lines.at(-1)]).toEqual([0, 'd1 {"temperature":21.5}', 'success'])
  expect(lines.slice(1, -1).join(' ')).toMatch(/^d1 \{ *partition: '\d+', *offset: '\d+'/)
})

test('the program that accepts takes a message from the client that is named behind it', async () => {
  const port = await freePort()
  const code = program('for await (const connection of listener)')
  expect(code).toContain('port: 5672')
  const { child, said } = run(`${code.replace('port: 5672', `port: ${port}`)}`)
  let connection: Awaited<ReturnType<typeof connect>> | undefined
  for (let i = 0; i < 100 && !connection; i++) {
    connection = await connect(`amqp://ann:secret@127.0.0.1:${port}`, { allowInsecureAuth: true }).catch(
      () => undefined,
    )
    if (!connection) await new Promise(resolve => setTimeout(resolve, 50))
  }
  if (!connection) throw new Error(`nobody listens: ${said()}`)
  const sender = await connection.sender('q1')
  expect(await sender.send({ body: 'hello' })).toMatchObject({ outcome: 'accepted' })
  await connection.close()
  await until(() => said().includes('hello'), said)
  child.kill()
})

test('the program that keeps credentials lets in who has the password', async () => {
  const { child, said } = run(`${program('scramCredentials')}\nconsole.log(\`port \${listener.port}\`)`)
  await until(() => /port \d+/.test(said()), said)
  const port = Number(/port (\d+)/.exec(said())?.[1])
  const open = (password: string) => connect({ host: '127.0.0.1', port, tls: false, sasl: sasl.scram('ann', password) })
  const connection = await open('secret')
  await connection.close()
  await expect(open('wrong')).rejects.toThrow(/auth/)
  child.kill()
})
