/** The code of the README: every block that is marked as TypeScript or JavaScript. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A block of code. */
export interface Block {
  /** Of its opening fence in the README, from 1. */
  readonly line: number
  readonly language: 'ts' | 'js'
  readonly code: string
}

export const root = new URL('../../', import.meta.url).pathname

export const lines: readonly string[] = readFileSync(join(root, 'README.md'), 'utf8').split('\n')

export const blocks: readonly Block[] = lines.flatMap((fence, i) => {
  const language = /^```(ts|js)$/.exec(fence)?.[1] as Block['language'] | undefined
  if (language === undefined) return []
  return [{ line: i + 1, language, code: lines.slice(i + 1, lines.indexOf('```', i)).join('\n') }]
})
