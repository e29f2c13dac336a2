/**
 * The source tree as the house tests see it: files, code without comments and strings, imports, exports. Read with a
 * scanner of a few lines, because the compiler has no API to ask.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'

const root = new URL('../../', import.meta.url)

/** A file of the repository, or `undefined`. */
export function fileText(path: string): string | undefined {
  try {
    return readFileSync(new URL(path, root), 'utf8')
  } catch {
    return undefined
  }
}

export interface SourceFile {
  /** From the repository's root, with `/`. */
  readonly path: string
  readonly text: string
  /** The text with the inside of comments and strings blanked out; lines stay where they are. */
  readonly code: string
}

/** All files below a folder whose name ends so; installed packages excepted. */
export function filesBelow(folder: string, ...endings: readonly string[]): SourceFile[] {
  return readdirSync(new URL(`${folder}/`, root), { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && endings.some(ending => entry.name.endsWith(ending)))
    .map(entry => posix.relative(root.pathname, posix.join(entry.parentPath, entry.name)))
    .filter(path => !path.includes('node_modules/'))
    .sort()
    .map(path => {
      const text = fileText(path) ?? ''
      return { path, text, code: path.endsWith('.ts') ? blanked(text) : text }
    })
}

/** A comment, a string or a regular expression; of templates only the text between the holes. */
const OPAQUE =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|(?<=[(,=:[!&|?{};\n]\s*)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*|`(?:\\[\s\S]|\$\{(?:[^{}`]|\{[^{}]*\}|`[^`]*`)*\}|[^`\\])*`/g

function blanked(text: string): string {
  return text.replace(OPAQUE, found => {
    if (!found.startsWith('`')) return found[0] + found.slice(1, -1).replace(/[^\n]/g, ' ') + found.slice(-1)
    // What stands in the holes of a template is code.
    return found.replace(
      /(\$\{(?:[^{}`]|\{[^{}]*\}|`[^`]*`)*\})|[^\n`]/g,
      (all, hole?: string) => hole ?? ' '.repeat(all.length),
    )
  })
}

export interface Import {
  readonly from: string
  /** A path from the root for files of ours, else the specifier: `node:net`. */
  readonly to: string
  /** `type` vanishes when compiled: `import type`, `export type`, `import('…')` in the place of a type. */
  readonly kind: 'runtime' | 'type' | 'dynamic'
  /** The names that are taken, as the other file has them; `*` for all. */
  readonly names: readonly string[]
  /** As this file gives them on, when it is an `export … from`. */
  readonly exported: readonly string[] | undefined
}

const STATIC = /^(import|export)\s+(type\s+)?(?:([^;'"]*?)\s+from\s+)?'([^']+)'/gm
const DYNAMIC = /(typeof\s+)?\bimport\(\s*'([^']+)'\s*\)(\.\w+)?/g

export function importsOf({ path, text }: SourceFile): Import[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
  const target = (to: string): string => (to.startsWith('.') ? posix.join(posix.dirname(path), to) : to)
  const found: Import[] = []
  for (const [, verb = '', type, clause = '', to = ''] of code.matchAll(STATIC)) {
    const pairs = namesIn(clause)
    found.push({
      from: path,
      to: target(to),
      kind: type ? 'type' : 'runtime',
      names: pairs.map(([name]) => name),
      exported: verb === 'export' ? pairs.map(([, as]) => as) : undefined,
    })
  }
  for (const [all, typeOf, to = '', member] of code.matchAll(DYNAMIC)) {
    const isType =
      typeOf !== undefined || (member !== undefined && !code.includes(`(await ${all.replace(member, '')})`))
    found.push({ from: path, to: target(to), kind: isType ? 'type' : 'dynamic', names: ['*'], exported: undefined })
  }
  return found
}

/** `{ a, type B as C }`, `* as x`, `*`, `x`. */
function namesIn(clause: string): [name: string, as: string][] {
  const braces = /\{([\s\S]*)\}/.exec(clause)
  if (!braces) return clause === '' ? [] : [['*', '*']]
  return (braces[1] ?? '')
    .split(',')
    .map(part => part.trim().replace(/^type\s+/, ''))
    .filter(part => part !== '')
    .map(part => part.split(/\s+as\s+/))
    .map(([name = '', as = name]) => [name, as])
}

export const SOURCES: readonly SourceFile[] = filesBelow('src', '.ts')
export const sourceAt = (path: string): SourceFile => {
  const found = SOURCES.find(source => source.path === path)
  if (!found) throw new Error(`no file ${path}`)
  return found
}

/** The entries of package.json#exports. */
export const ENTRIES = ['index', 'codec', 'engine', 'iothub', 'emulator'] as const

const DECLARED = /^export (?:declare )?(?:abstract )?(?:async )?(?:const|let|function\*?|class|interface|type) (\w+)/gm

export interface Declared {
  readonly name: string
  readonly path: string
  /** A class, an interface or a type. */
  readonly isType: boolean
}

/** What a file exports, each by the file that declares it. `export *` is followed; `export type *` for types only. */
export function exportsOf(path: string): Map<string, Declared> {
  const source = sourceAt(path)
  const found = new Map<string, Declared>()
  for (const [statement, name = ''] of source.code.matchAll(DECLARED))
    found.set(name, { name, path, isType: /\b(class|interface|type)\b/.test(statement) })
  for (const { to, kind, names, exported } of importsOf(source)) {
    if (!exported) continue
    const inner = exportsOf(to)
    names.forEach((name, i) => {
      if (name !== '*') found.set(exported[i] ?? name, inner.get(name) ?? { name, path: to, isType: kind === 'type' })
      else for (const [key, declared] of inner) if (kind !== 'type' || declared.isType) found.set(key, declared)
    })
  }
  return found
}
