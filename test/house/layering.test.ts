/**
 * Imports go down the layers, form no cycle at run time, and reach Node only where it is meant. Types may look up:
 * imports of them vanish when compiled, and events and endpoints name each other (D-008).
 */

import { describe, expect, test } from 'vitest'
import { ENTRIES, exportsOf, type Import, importsOf, SOURCES } from './sources.ts'

const imports = SOURCES.flatMap(importsOf)
const ours = imports.filter(({ to }) => to.startsWith('src/'))
/** The layer of a file: its folder below src, or, at the top, the file itself. */
const layerOf = (path: string): string => path.split('/')[1] ?? ''

/** Layer → the layers that it may import from. Its own always; `framing` and `message` do not see each other. */
const LAYERS: Record<string, readonly string[]> = {
  'errors.ts': [],
  types: ['errors.ts'],
  definitions: ['types', 'errors.ts'],
  framing: ['definitions', 'types', 'errors.ts'],
  message: ['definitions', 'types', 'errors.ts'],
  engine: ['framing', 'definitions', 'types', 'errors.ts'],
  io: ['engine', 'errors.ts'],
  client: ['io', 'engine', 'message', 'definitions', 'types', 'errors.ts'],
  cbs: ['client', 'message', 'types', 'errors.ts'],
  iothub: ['cbs', 'client', 'io', 'message', 'types', 'errors.ts'],
  emulator: ['iothub', 'cbs', 'client', 'io', 'message', 'types', 'errors.ts'],
  cli: ['index.ts', 'codec.ts', 'engine.ts', 'iothub.ts', 'emulator.ts'],
  'codec.ts': ['message', 'framing', 'definitions', 'types', 'errors.ts'],
  'engine.ts': ['engine', 'definitions', 'types', 'errors.ts'],
  'index.ts': ['cbs', 'client', 'io', 'engine', 'message', 'definitions', 'types', 'errors.ts'],
  'iothub.ts': ['iothub', 'client', 'io', 'errors.ts'],
  'emulator.ts': ['emulator', 'errors.ts'],
}

const show = ({ from, to, names }: Import): string => `${from} → ${to} (${names.join(', ')})`

test('the scanner sees imports: many, of every kind, and all lead somewhere', () => {
  expect(SOURCES.length).toBeGreaterThan(100)
  expect(ours.length).toBeGreaterThan(400)
  for (const kind of ['runtime', 'type', 'dynamic'] as const) expect(imports.some(i => i.kind === kind)).toBe(true)
  const paths = new Set(SOURCES.map(({ path }) => path))
  expect(ours.filter(({ to }) => !paths.has(to)).map(show)).toEqual([])
  expect(imports.filter(({ to }) => !to.startsWith('src/') && !to.startsWith('node:')).map(show)).toEqual([])
})

test('every folder has its place among the layers', () => {
  expect([...new Set(SOURCES.map(({ path }) => layerOf(path)))].filter(layer => !(layer in LAYERS))).toEqual([])
})

test('imports go down only', () => {
  const wrong = ours.filter(({ from, to }) => {
    const [layer, other] = [layerOf(from), layerOf(to)]
    return layer !== other && !LAYERS[layer]?.includes(other)
  })
  expect(wrong.filter(i => !EXCEPTIONS.has(`${i.from} → ${i.to}`)).map(show)).toEqual([])
})

/** Exceptions to the rules of layers and of the public API, each with its reason. */
const EXCEPTIONS: ReadonlyMap<string, string> = new Map([
  [
    'src/cli/report.ts → src/client/diagnostics/trace-format.ts',
    'prints frames as the diagnostics do, one text for both',
  ],
])

/** What a hub's addresses, tokens and connection strings look like is one fact with two ends: the emulator is the other. How
 * names are checked is one, too. */
const SHARED_WITH_EMULATOR =
  /^src\/iothub\/(addresses|check-names|json-body|credentials\/(connection-string|sas)|twins\/merge-patch)\.ts$/

test('no exception outlives its reason', () => {
  const all = new Set(ours.map(({ from, to }) => `${from} → ${to}`))
  expect([...EXCEPTIONS.keys()].filter(key => !all.has(key))).toEqual([])
})

test('no cycles at run time', () => {
  const edges = new Map<string, string[]>()
  for (const { from, to, kind } of ours) if (kind !== 'type') edges.set(from, [...(edges.get(from) ?? []), to])
  const done = new Set<string>()
  const cycles: string[] = []
  const walk = (path: string, trail: string[]): void => {
    if (trail.includes(path)) cycles.push([...trail.slice(trail.indexOf(path)), path].join(' → '))
    if (trail.includes(path) || done.has(path)) return
    for (const next of edges.get(path) ?? []) walk(next, [...trail, path])
    done.add(path)
  }
  for (const path of edges.keys()) walk(path, [])
  expect(cycles).toEqual([])
})

test('no file but the entries only re-exports: no barrels', () => {
  const barrels = SOURCES.filter(({ path, code }) => {
    if (path.split('/').length === 2) return false
    const statements = code.split('\n').filter(line => /^\S/.test(line) && !/^[}/*]/.test(line))
    return (
      statements.length > 0 &&
      statements.every(
        line =>
          /^export .*(from|\{)/.test(line) &&
          !/^export (const|function|class|interface|abstract|async|type \w+ =)/.test(line),
      )
    )
  })
  expect(barrels.map(({ path }) => path)).toEqual([])
})

describe('Node', () => {
  /** The only files whose code may load a module of Node. */
  const MAY =
    /^src\/(io\/socket|iothub\/credentials\/sas|emulator\/(certificates\/c(lient-certificate|ertificate-issuer)|listening\/(https|websocket)-listener)|client\/diagnostics\/diagnostics|cli\/[\w-]+)\.ts$/
  /** Types of Node may be named from io up: they vanish. Below, the compiler is told of none. */
  const BELOW = ['errors.ts', 'types', 'definitions', 'framing', 'message', 'engine', 'codec.ts', 'engine.ts']
  const node = imports.filter(({ to }) => to.startsWith('node:'))

  test('is loaded where the layout says, and nowhere else', () => {
    expect(node.length).toBeGreaterThan(3)
    expect(node.filter(({ from, kind }) => kind !== 'type' && !MAY.test(from)).map(show)).toEqual([])
  })

  test('is not even named below io', () => {
    expect(node.filter(({ from }) => BELOW.includes(layerOf(from))).map(show)).toEqual([])
  })

  test('is loaded on first use, except by the command line and diagnostics', () => {
    const eager = node.filter(
      ({ from, kind }) => kind === 'runtime' && !/^src\/(cli|client\/diagnostics\/diagnostics\.ts)/.test(from),
    )
    expect(eager.map(show)).toEqual([])
  })
})

describe('cbs, iothub, emulator and cli use what any user can', () => {
  const PUBLIC = new Map(ENTRIES.map(entry => [entry, exportsOf(`src/${entry}.ts`)]))
  const isPublic = (path: string, name: string): boolean =>
    [...PUBLIC.values()].some(entry => [...entry.values()].some(d => d.path === path && d.name === name))

  test('the entries export something', () => {
    for (const entry of PUBLIC.values()) expect(entry.size).toBeGreaterThan(3)
    expect(isPublic('src/client/connect.ts', 'connect')).toBe(true)
    expect(isPublic('src/engine/fifo.ts', 'Fifo')).toBe(false)
  })

  test.each(['cbs', 'iothub', 'emulator', 'cli'])(
    '%s: every name it takes from elsewhere is exported by an entry',
    layer => {
      const foreign = ours.filter(({ from, to }) => layerOf(from) === layer && layerOf(to) !== layer)
      expect(foreign.length).toBeGreaterThan(0)
      const hidden = foreign
        .filter(({ from, to }) => !EXCEPTIONS.has(`${from} → ${to}`))
        .filter(({ to }) => layer !== 'emulator' || !SHARED_WITH_EMULATOR.test(to))
        .flatMap(({ from, to, names }) =>
          names
            .filter(name => name !== '*' && to.split('/').length > 2 && !isPublic(to, name))
            .map(name => `${from} takes ${name} from ${to}`),
        )
      expect(hidden).toEqual([])
    },
  )
})
