/** House rules that no linter knows: what the sources may not contain, how long and how introduced a file is. */

import { describe, expect, test } from 'vitest'
import config from '../vitest.config.ts'
import { filesBelow, SOURCES, type SourceFile } from './sources.ts'

const TESTS = filesBelow('test', '.ts')

/** `path:line  text` of each line whose code matches. */
const lines = (files: readonly SourceFile[], pattern: RegExp): string[] =>
  files.flatMap(({ path, code, text }) =>
    code
      .split('\n')
      .flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}  ${text.split('\n')[i]?.trim()}`] : [])),
  )

/** What must not occur, and a line that shows that the pattern would find it. */
const FORBIDDEN: [name: string, pattern: RegExp, example: string][] = [
  ['enum', /\benum\s+\w+\s*\{/, 'export enum A {'],
  ['namespace', /\b(namespace|module)\s+[\w.]+\s*\{/, 'namespace A {'],
  ['default export', /\bexport\s+default\b|\bas\s+default\b/, 'export default 1'],
  ['any', /[:<|&,(]\s*any\b|\bas\s+any\b|\bany\[\]|=>\s*any\b/, 'let a: any'],
  ['non-null !', /[\w)\]]!(?=[.,;:)\]}\s[(]|$)(?!\s*==?)/, 'a!.b'],
  ['eval and new Function', /\bnew\s+Function\b|\beval\s*\(|(?<![.\w])Function\s*\(/, 'new Function()'],
  [
    'parameter property',
    /\bconstructor\s*\((.*,)?\s*(private|public|protected|readonly)\s+\w+\s*[?:]/,
    'constructor(private a: b) {',
  ],
  ['private keyword, where # will do', /^\s+private\s(?!constructor\()/, '  private a = 1'],
  ['debugger', /\bdebugger\b/, 'debugger'],
]

describe.each(FORBIDDEN)('no %s', (_name, pattern, example) => {
  test('the pattern finds an example', () => {
    expect(lines([{ path: 'x', text: example, code: example }], pattern)).toHaveLength(1)
  })

  test('in src', () => {
    expect(lines(SOURCES, pattern)).toEqual([])
  })
})

test('no console outside src/cli', () => {
  expect(
    lines(
      SOURCES.filter(({ path }) => !path.startsWith('src/cli/')),
      /\bconsole\b/,
    ),
  ).toEqual([])
})

test('below io: no clock, timer, promise, random number, socket', () => {
  const below = SOURCES.filter(({ path }) =>
    /^src\/(errors\.ts|(types|definitions|framing|message|engine)\/)/.test(path),
  )
  expect(below.length).toBeGreaterThan(50)
  const pattern =
    /\b(setTimeout|setInterval|setImmediate|queueMicrotask|Promise|async|await|Date\.now|performance|Math\.random|process|crypto|fetch|WebSocket)\b/
  expect(lines(below, pattern)).toEqual([])
})

test('serial numbers meet + and − only in serial.ts (§2.8.10)', () => {
  const names = 'deliveryId|transferId|nextOutgoingId|nextIncomingId|deliveryCount|initialDeliveryCount'
  const pattern = new RegExp(
    `\\b(${names})\\s*([-+<>]=?|\\+\\+|--)(?!>)\\s*[\\w(]|[-+<>]=?\\s+(this\\.|\\w+\\.)*(${names})\\b`,
  )
  expect(pattern.test('a.deliveryId + 1') && pattern.test('1 < nextOutgoingId')).toBe(true)
  const engine = SOURCES.filter(({ path }) => path.startsWith('src/engine/') && !path.endsWith('/serial.ts'))
  // A transfer without an id has −1 in its place: that is no arithmetic.
  const found = lines(engine, pattern).filter(line => !/deliveryId (>=|<) 0\b/.test(line))
  expect(found).toEqual([])
})

test('legality is in the tables: no endpoint compares with < on states, no isServer anywhere', () => {
  expect(lines(SOURCES, /\bisServer\b|\bisClient\b/)).toEqual([])
})

test.each([
  ['sources', SOURCES, 450],
  ['tests', TESTS, 600],
] as const)('%s have at most that many lines', (_what, files, most) => {
  const long = files.map(({ path, text }) => [path, text.trimEnd().split('\n').length] as const)
  expect(long.filter(([, count]) => count > most)).toEqual([])
})

test('each source begins with what it is, in a comment of its own', () => {
  expect(SOURCES.filter(({ text }) => !/^(#!.*\n)?\/\*\*/.test(text)).map(({ path }) => path)).toEqual([])
})

test('files are named in kebab-case, and not utils, helpers, common, manager, impl or base', () => {
  const names = SOURCES.map(({ path }) => path.split('/').at(-1) ?? '')
  expect(names.filter(name => !/^[a-z][a-z0-9]*(-[a-z0-9]+)*\.ts$/.test(name))).toEqual([])
  expect(names.filter(name => /^(utils?|helpers?|common|manager|impl|base)\.ts$/.test(name))).toEqual([])
})

test('one exported class a file', () => {
  const many = SOURCES.filter(({ code }) => (code.match(/^export (abstract )?class /gm) ?? []).length > 1)
  // Taxonomies, two roles of one thing, and a class with the error that it alone throws.
  const EXCEPT = [
    'src/client/authentication.ts',
    'src/engine/link-credit.ts',
    'src/errors.ts',
    'src/framing/frame-reader.ts',
    'src/iothub/connection/hub-connection.ts',
    'src/types/values.ts',
  ]
  expect(many.map(({ path }) => path).filter(path => !EXCEPT.includes(path))).toEqual([])
})

test('no test is skipped, focused or left for later', () => {
  const pattern = /\b(test|it|describe)\.(only|skip|todo|fails)\b|\b(xit|xtest|xdescribe)\b/
  expect(
    lines(
      TESTS.filter(({ path }) => !path.endsWith('/rules.test.ts')),
      pattern,
    ),
  ).toEqual([])
})

test('each source but the commands has its share of coverage demanded, once', () => {
  const globs = Object.keys(config.test?.coverage?.thresholds ?? {}).map(glob => {
    const pattern = glob
      .replaceAll('.', '\\.')
      .replaceAll('**/', '(.*/)?')
      .replace(/(?<![.)])\*/g, '[^/]*')
      .replaceAll('{', '(')
      .replaceAll('}', ')')
    return new RegExp(`^${pattern.replaceAll(',', '|')}$`)
  })
  const demands = SOURCES.filter(({ path }) => !path.startsWith('src/cli/')).map(
    ({ path }) => [path, globs.filter(glob => glob.test(path)).length] as const,
  )
  expect(demands.filter(([, count]) => count !== 1)).toEqual([])
})
