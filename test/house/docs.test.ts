/** Every symbol that a user can import has a doc comment that says something. */

import { describe, expect, test } from 'vitest'
import { type Declared, ENTRIES, exportsOf, sourceAt } from './sources.ts'

/**
 * The comment directly in front of the declaration. For the thing that a file is named for, the paragraph at the head
 * of the file, when it begins with the name.
 */
function docOf({ name, path }: Declared): string {
  const { text } = sourceAt(path)
  const declared = new RegExp(
    `(/\\*\\*(?:[^*]|\\*(?!/))*\\*/\\n)?export (?:declare )?(?:abstract )?(?:async )?(?:const|let|function\\*?|class|interface|type) ${name}\\b`,
  ).exec(text)
  if (!declared) throw new Error(`${name} is not declared in ${path}`)
  return declared[1] ?? new RegExp(`^/\\*\\*\\s+(\\* )?${name}: [^]*?\\*/`).exec(text)?.[0] ?? ''
}

/** What is left of a comment without its stars, tags and sections. */
const words = (doc: string): string[] => doc.replace(/§[\d.–-]+|@\w+|[/*]/g, ' ').match(/[A-Za-z]{2,}/g) ?? []

describe.each(ENTRIES)('%s', entry => {
  const symbols = [...exportsOf(`src/${entry}.ts`).values()]

  test('has symbols', () => {
    expect(symbols.length).toBeGreaterThan(3)
  })

  test('each has a doc comment, and not only a section', () => {
    const bare = symbols.filter(symbol => words(docOf(symbol)).length === 0)
    expect(bare.map(({ name, path }) => `${name} in ${path}`)).toEqual([])
  })
})
