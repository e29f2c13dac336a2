/**
 * What each subpath weighs with all that it imports, minified and gzipped, against the committed sizes plus a tenth: what
 * is loaded at once, and that with all that it may load when it is first used. And the words that must not occur in
 * either: the proof that nothing of a layer above leaks in. Needs `npm run build`.
 */

import { readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { basename } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { describe, expect, test } from 'vitest'

const root = new URL('../../', import.meta.url).pathname
/** Bytes, min+gzip. Raise one on purpose, in a change of its own; lower it when something became smaller. */
const sizes: Record<string, number> = JSON.parse(readFileSync(`${root}test/house/size.json`, 'utf8'))

const occurs = (text: string, word: string): boolean => (word === NODE ? ofNode.test(text) : text.includes(word))

interface Weighed {
  /** What is loaded with the entry. */
  readonly atOnce: string
  /** That, and what may be loaded later. */
  readonly all: string
}

async function bundled(code: string): Promise<Weighed> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: code, resolveDir: root, loader: 'js', sourcefile: 'entry.js' },
    bundle: true,
    splitting: true,
    outdir: '/',
    minify: true,
    format: 'esm',
    platform: 'neutral',
    target: 'es2022',
    external: ['node:*', ...builtinModules],
    logLevel: 'error',
    legalComments: 'none',
    write: false,
    metafile: true,
  })
  const texts = new Map(outputFiles.map(({ path, text }) => [basename(path), text]))
  const imports = new Map(Object.entries(metafile.outputs).map(([path, output]) => [basename(path), output.imports]))
  const reached = new Set<string>()
  const reach = (name: string): void => {
    if (reached.has(name) || !texts.has(name)) return
    reached.add(name)
    for (const { path, kind } of imports.get(name) ?? []) if (kind === 'import-statement') reach(basename(path))
  }
  reach('stdin.js')
  if (reached.size === 0) throw new Error(`no entry among ${[...texts.keys()].join(', ')}`)
  return { atOnce: [...reached].map(name => texts.get(name)).join(''), all: [...texts.values()].join('') }
}

const whole = (entry: string): string => `export * from './dist/${entry}.js'`

/** A module of Node, with the prefix or, as a build may leave it, without. */
const NODE = 'a module of Node'
const ofNode = new RegExp(`\\b(?:from|import|require)\\s*\\(?\\s*["'](?:node:[\\w/]+|${builtinModules.join('|')})["']`)

/** What is weighed, and the words that must not occur in it. */
const GRAPHS: [name: string, code: string, forbidden: string[]][] = [
  ['./codec', whole('codec'), [NODE, 'setTimeout', 'Promise', 'S:OPEN']],
  [
    './engine',
    whole('engine'),
    [NODE, 'setTimeout', 'Date.now', 'performance', 'queueMicrotask', 'Promise', 'Math.random'],
  ],
  ['.', whole('index'), ['/devices/', 'SharedAccessSignature']],
  ['./iothub', whole('iothub'), ['emulator']],
  ['./emulator', whole('emulator'), []],
  ['encode and decode a message', `export { encodeMessage, decodeMessage } from './dist/codec.js'`, [NODE, 'S:OPEN']],
  ['connect', `export { connect } from './dist/index.js'`, ['/devices/', '$cbs']],
]

/** Behind the name of a graph: with what it may load when that is first used. */
const AND_LATER = ', and what it loads later'

describe.each(GRAPHS)('%s', (name, code, forbidden) => {
  test('is not heavier than it was, plus a tenth', async () => {
    const { atOnce, all } = await bundled(code)
    weigh(name, atOnce)
    // Where nothing is loaded later there is no second number.
    if (all.length > atOnce.length) weigh(`${name}${AND_LATER}`, all)
    else expect(Object.keys(sizes)).not.toContain(`${name}${AND_LATER}`)
  })

  test.each(forbidden)('does not contain %s', async word => {
    expect(occurs((await bundled(code)).all, word)).toBe(false)
  })
})

function weigh(name: string, text: string): void {
  const bytes = gzipSync(text, { level: 9 }).length
  const before = sizes[name]
  if (before === undefined) throw new Error(`${name} weighs ${bytes} bytes; size.json does not know it`)
  expect.soft(bytes, `${name} weighs ${bytes} bytes, ${before} before`).toBeLessThanOrEqual(before * 1.1)
  // A size that has long been undercut guards nothing.
  expect.soft(bytes, `${name} weighs only ${bytes} bytes: lower size.json`).toBeGreaterThan(before * 0.8)
}

test('the sizes are of these', () => {
  const names = GRAPHS.flatMap(([name]) => [name, `${name}${AND_LATER}`])
  expect(Object.keys(sizes).filter(name => !names.includes(name))).toEqual([])
})

test('the words would be found: each occurs in the graph above', async () => {
  const { all } = await bundled(
    `${whole('index')}; export * as hub from './dist/iothub.js'; export * as e from './dist/emulator.js'`,
  )
  // Random numbers come from the crypto global; that they are not drawn otherwise has nowhere to be seen.
  const words = new Set(GRAPHS.flatMap(([, , forbidden]) => forbidden).filter(word => word !== 'Math.random'))
  const unseen = [...words].filter(word => !occurs(all, word))
  expect(unseen).toEqual([])
})
