/** The built package: its public surface, and what a user gets who installs it. Needs `npm run build`. */

import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exportsOf, report } from './declarations.ts'

const root = new URL('../../', import.meta.url).pathname
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const SUBPATHS = Object.keys(manifest.exports).filter(subpath => !subpath.endsWith('.json'))
const entryOf = (subpath: string): string => (subpath === '.' ? 'index' : subpath.slice(2))

test('the subpaths are these', () => {
  expect(SUBPATHS).toEqual(['.', './codec', './engine', './iothub', './emulator'])
})

/** A change of the public surface shows as a diff of these files; `vitest -u` writes them. */
test.each(SUBPATHS)('%s: the public surface is what test/house/api says', async subpath => {
  const text = report(`${manifest.name}${subpath.slice(1)}`, entryOf(subpath))
  expect(text).not.toContain('is not declared in')
  await expect(text).toMatchFileSnapshot(`../house/api/${entryOf(subpath)}.api.md`)
})

describe('installed from the tarball', () => {
  let folder = ''
  const installed = (): string => join(folder, 'node_modules', manifest.name)
  const run = (command: string, args: readonly string[]): string =>
    execFileSync(command, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 50_000 })

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'package-'))
    const packed = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const [{ filename }] = JSON.parse(packed)
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'user', type: 'module', private: true }))
    run('npm', ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', `./${filename}`])
  }, 60_000)

  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  /** The names of values, asked of Node. */
  const valuesOf = (subpath: string, how: 'import' | 'require'): string[] => {
    const id = JSON.stringify(manifest.name + subpath.slice(1))
    const load =
      how === 'import'
        ? `await import(${id})`
        : `(await import('node:module')).createRequire(process.cwd() + '/')(${id})`
    return JSON.parse(
      run(process.execPath, [
        '--no-warnings',
        '--input-type=module',
        '-e',
        `console.log(JSON.stringify(Object.keys(${load})))`,
      ]),
    )
  }

  test.each(SUBPATHS)('%s: import and require() give the same values, those that are declared', subpath => {
    const declared = [...exportsOf(`${entryOf(subpath)}.d.ts`)]
      .filter(([, text]) => /^export (declare )?(abstract )?(const|let|function|class)\b/.test(text))
      .map(([name]) => name)
    const imported = valuesOf(subpath, 'import').sort()
    expect(imported.length).toBeGreaterThan(0)
    expect(
      valuesOf(subpath, 'require')
        .filter(name => name !== '__esModule')
        .sort(),
    ).toEqual(imported)
    // A class that an entry exports as a type only is declared and is no value there.
    expect(imported.filter(name => !declared.includes(name))).toEqual([])
  })

  test('classes are shared between subpaths', () => {
    const name = manifest.name
    const script = `
      const [a, b, c] = await Promise.all([import('${name}'), import('${name}/codec'), import('${name}/engine')])
      console.log(a.UsageError === b.UsageError && b.UsageError === c.UsageError && a.AmqpMap === b.AmqpMap)`
    expect(run(process.execPath, ['--input-type=module', '-e', script]).trim()).toBe('true')
  })

  test('a user’s TypeScript finds the types of every subpath, with skipLibCheck off and no option for libraries', () => {
    const lines = SUBPATHS.map(
      (subpath, i) => `import * as m${i} from '${manifest.name}${subpath.slice(1)}'\nexport type T${i} = typeof m${i}`,
    )
    writeFileSync(
      join(folder, 'user.ts'),
      `${lines.join('\n')}\nimport { connect } from '${manifest.name}'\nexport const wrong: string = connect\n`,
    )
    // Neither `--lib` nor `--types`: the entries name what they need. @types/node is there, as for any user of Node.
    const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022']
    mkdirSync(join(folder, 'node_modules/@types'), { recursive: true })
    for (const name of ['@types/node', 'undici-types'])
      symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
    let output = ''
    try {
      run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...options, 'user.ts'])
    } catch (error) {
      output = String((error as { stdout?: unknown }).stdout)
    }
    // One error, the one that was asked for: had a type not been found, `connect` would be any and nothing be wrong.
    expect(
      output
        .trim()
        .split('\n')
        .filter(line => line.includes('error')),
    ).toEqual([expect.stringMatching(/^user\.ts\(\d+,14\): error TS2322/)])
  })

  test('bin', () => {
    const bin = join(folder, 'node_modules', '.bin', 'fairlead')
    expect(manifest.bin).toEqual({ fairlead: './dist/cli/main.js' })
    expect(readFileSync(join(installed(), 'dist/cli/main.js'), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/)
    expect(run(bin, ['--help'])).toMatch(/fairlead/)
  })

  test('no runtime dependency, nothing but dist, src and the papers', () => {
    const inside = JSON.parse(readFileSync(join(installed(), 'package.json'), 'utf8'))
    for (const kind of ['dependencies', 'peerDependencies', 'optionalDependencies', 'bundleDependencies'])
      expect(inside[kind]).toBeUndefined()
    for (const script of ['preinstall', 'install', 'postinstall', 'prepare'])
      expect(inside.scripts?.[script]).toBeUndefined()
    const ours = readdirSync(join(folder, 'node_modules')).filter(name => !/^(\.|@types$|undici-types$)/.test(name))
    expect(ours).toEqual([manifest.name])
    const papers = ['CHANGELOG.md', 'LICENSE', 'README.md', 'dist', 'package.json', 'spec-notes', 'src']
    expect(readdirSync(installed()).filter(name => !papers.includes(name))).toEqual([])
    expect(readdirSync(installed())).toEqual(expect.arrayContaining(['LICENSE', 'dist', 'package.json', 'src']))
  })

  test('every source map names a source that is there', () => {
    const all = readdirSync(join(installed(), 'dist'), { recursive: true, encoding: 'utf8' })
    const maps = all.filter(name => name.endsWith('.js.map'))
    expect(maps.length).toBeGreaterThan(5)
    for (const name of maps) {
      const path = join(installed(), 'dist', name)
      const { sources } = JSON.parse(readFileSync(path, 'utf8')) as { sources: string[] }
      for (const source of sources) expect(statSync(join(path, '..', source)).isFile()).toBe(true)
    }
  })
})
