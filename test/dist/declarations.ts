/** The emitted declarations as text: what each entry exports, and how it is declared. */

import { readFileSync } from 'node:fs'
import { posix } from 'node:path'

const dist = new URL('../../dist/', import.meta.url)
const cache = new Map<string, Map<string, string>>()

const read = (path: string): string => readFileSync(new URL(path, dist), 'utf8')

/** Top-level statements of a file, comments taken out, by the name that each exports. */
function statementsOf(path: string): Map<string, string> {
  const cached = cache.get(path)
  if (cached) return cached
  const text = read(path)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '')
    .replace(/^\s*\n/gm, '')
  const found = new Map<string, string>()
  for (const statement of text.split(/^(?=[a-z])/m)) {
    const name = /^(?:export )?(?:declare )?(?:abstract )?(?:const|let|function|class|interface|type) (\w+)/.exec(
      statement,
    )?.[1]
    // Overloads of a function share a name.
    if (name) found.set(name, `${found.get(name) ?? ''}${statement.trim()}\n`)
  }
  cache.set(path, found)
  return found
}

/** What a file exports: name → declaration. */
export function exportsOf(path: string, typesOnly = false): Map<string, string> {
  const text = read(path).replace(/\/\*[\s\S]*?\*\//g, '')
  const found = new Map<string, string>()
  const isType = (declaration: string): boolean => !/^(export )?(declare )?(const|let|function)\b/.test(declaration)
  for (const [name, declaration] of statementsOf(path))
    if (declaration.startsWith('export ') && (!typesOnly || isType(declaration))) found.set(name, declaration)
  for (const [, type, names, from = ''] of text.matchAll(/^export\s+(type\s+)?(\*|\{[^}]*\})\s+from\s+'([^']+)'/gm)) {
    const target = posix.join(posix.dirname(path), from).replace(/\.(ts|js)$/, '.d.ts')
    const inner = exportsOf(target, names === '*' && type !== undefined)
    if (names === '*') for (const [name, declaration] of inner) found.set(name, declaration)
    for (const part of names === '*' ? [] : (names ?? '').slice(1, -1).split(',')) {
      const [name = '', as = name] = part
        .trim()
        .replace(/^type\s+/, '')
        .split(/\s+as\s+/)
      if (name !== '') found.set(as, inner.get(name) ?? `// ${name} is not declared in ${target}\n`)
    }
  }
  return found
}

/** The report of one entry: every export by name, with its declaration. */
export function report(subpath: string, entry: string): string {
  const exported = [...exportsOf(`${entry}.d.ts`)].sort(([a], [b]) => (a < b ? -1 : 1))
  const declarations = exported.map(([, declaration]) => declaration.replace(/^export (declare )?/gm, ''))
  return `# ${subpath}\n\n${exported.length} exports\n\n\`\`\`ts\n${declarations.join('\n')}\`\`\`\n`
}
