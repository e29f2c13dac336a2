/** spec-notes: every citation has its row, every row that claims to be done has its citations, every decision exists. */

import { describe, expect, test } from 'vitest'
import { filesBelow, fileText, SOURCES, type SourceFile } from './sources.ts'

const STATUS = ['done', 'partial', 'n/a', 'deviates', 'later']

interface Row {
  readonly section: string
  readonly title: string
  readonly status: string
  readonly sources: readonly string[]
  readonly tests: readonly string[]
  readonly note: string
}

const list = (cell: string, folder: string): string[] =>
  cell === '' ? [] : cell.split(', ').map(path => `${folder}/${path}`)

const rows: readonly Row[] = (fileText('spec-notes/index.md') ?? '')
  .split('\n')
  .filter(line => /^\| \d/.test(line))
  .map(line => {
    const [section = '', title = '', status = '', sources = '', tests = '', note = ''] = line
      .slice(1, -1)
      .split('|')
      .map(cell => cell.trim())
    return { section, title, status, sources: list(sources, 'src'), tests: list(tests, 'test'), note }
  })

const rowOf = new Map(rows.map(row => [row.section, row]))

/** How many subsections each section of the standard has. */
const STANDARD = `
  1 6, 1.1 4, 1.2 4, 1.3 5, 1.6 24,
  2 8, 2.1 3, 2.3 2, 2.4 7, 2.5 6, 2.6 14, 2.7 9, 2.8 19,
  3 5, 3.2 16, 3.3 1, 3.4 6, 3.5 13,
  4 5, 4.4 4, 4.4.4 3, 4.5 8,
  5 3, 5.2 2, 5.3 4, 5.3.3 6`
  .split(',')
  .map(entry => entry.trim().split(' '))
  .flatMap(([parent, count]) => Array.from({ length: Number(count) }, (_, i) => `${parent}.${i + 1}`))

const numbers = (section: string): number[] => section.split('.').map(Number)
const inOrder = (a: string, b: string): number => {
  const [x, y] = [numbers(a), numbers(b)]
  const at = x.findIndex((n, i) => n !== y[i])
  return at < 0 ? x.length - y.length : (x[at] ?? 0) - (y[at] ?? -1)
}

/** The sections that a text cites: `§2.6.7`, and each of `§2.6.7–10` or `§2.8.15–2.8.18`. */
function citations(text: string): Set<string> {
  const found = new Set<string>()
  for (const [, first = '', last] of text.matchAll(/§\s?(\d+(?:\.\d+)*)(?:[–-](\d+(?:\.\d+)*))?/g)) {
    found.add(first)
    if (last === undefined) continue
    const [parent, from, to] = [numbers(first).slice(0, -1), numbers(first).at(-1) ?? 0, numbers(last).at(-1) ?? 0]
    for (let i = from; i <= to; i++) found.add([...parent, i].join('.'))
  }
  return found
}

/** Vectors and tables name their section in a field of its own. */
const textOf = ({ path, text }: SourceFile): string =>
  path.endsWith('.json') ? text.replaceAll('\\u00a7', '§').replace(/"section": "(\d)/g, '"section": "§$1') : text

const TESTS = filesBelow('test', '.ts', '.json').filter(({ path }) => !path.startsWith('test/house/'))
const cited = new Map([...SOURCES, ...TESTS].map(file => [file.path, citations(textOf(file))]))

describe('spec-notes/index.md', () => {
  test('has one row for each section of the standard, in order', () => {
    expect(rows.map(({ section }) => section)).toEqual([...STANDARD].sort(inOrder))
  })

  test('gives each a title and one of the status words', () => {
    expect(rows.filter(({ title, status }) => title === '' || !STATUS.includes(status))).toEqual([])
  })

  test('says what is missing, why there is nothing to do, or which decision', () => {
    const mute = rows.filter(({ status, note }) => status !== 'done' && note === '')
    expect(mute.map(({ section }) => section)).toEqual([])
    const undecided = rows.filter(({ status, note }) => status === 'deviates' && !/D-\d{3}/.test(note))
    expect(undecided.map(({ section }) => section)).toEqual([])
  })

  test.each(rows.filter(({ status }) => status === 'done'))('§$section is done: a source and a test cite it', row => {
    expect(row.sources.length).toBeGreaterThan(0)
    expect(row.tests.length).toBeGreaterThan(0)
  })

  test('names files that exist and cite the section', () => {
    const wrong = rows.flatMap(({ section, sources, tests }) =>
      [...sources, ...tests].filter(path => !cited.get(path)?.has(section)).map(path => `§${section} ${path}`),
    )
    expect(wrong).toEqual([])
  })

  test('claims nothing for what is later or not applicable', () => {
    const claims = rows.filter(
      r => (r.status === 'later' || r.status === 'n/a') && r.sources.length + r.tests.length > 0,
    )
    expect(claims.map(({ section }) => section)).toEqual([])
  })
})

describe('citations', () => {
  test('ranges are read as what they cover', () => {
    expect([...citations('§2.6.7–10, §4.5.5–6 and §1.2.')]).toEqual([
      '2.6.7',
      '2.6.8',
      '2.6.9',
      '2.6.10',
      '4.5.5',
      '4.5.6',
      '1.2',
    ])
  })

  test('there are many, and each has its row', () => {
    const all = [...cited].flatMap(([path, sections]) => [...sections].map(section => [section, path] as const))
    expect(all.length).toBeGreaterThan(500)
    // A whole part may be cited.
    expect(
      all.filter(([section]) => section.includes('.') && !rowOf.has(section)).map(cite => cite.join(' in ')),
    ).toEqual([])
  })

  test('so has each section that an error or a table names', () => {
    const named = SOURCES.flatMap(({ path, text }) =>
      [...text.matchAll(/'([1-5](?:\.\d{1,2}){1,3})'/g)].map(([, section = '']) => [section, path] as const),
    ).filter(([, path]) => /^src\/(types|definitions|framing|message|engine|client)\//.test(path))
    expect(named.length).toBeGreaterThan(60)
    expect(named.filter(([section]) => !rowOf.has(section)).map(cite => cite.join(' in '))).toEqual([])
  })
})

describe('decisions', () => {
  const text = fileText('spec-notes/decisions.md') ?? ''
  const decisions = [...text.matchAll(/^#+ (D-\d{3}) (.*)$/gm)].map(([, number = '', title = '']) => ({
    number,
    title,
  }))

  test('are numbered from D-001 on, each number once', () => {
    const expected = decisions.map((_, i) => `D-${String(i + 1).padStart(3, '0')}`)
    expect(decisions.map(({ number }) => number)).toEqual(expected)
    expect(decisions.length).toBeGreaterThan(10)
    expect(decisions.filter(({ title }) => title.trim() === '')).toEqual([])
  })

  test('exist when they are cited', () => {
    const known = new Set(decisions.map(({ number }) => number))
    const files = [...SOURCES, ...filesBelow('test', '.ts'), ...filesBelow('spec-notes', '.md')]
    const missing = files.flatMap(({ path, text }) =>
      [...new Set(text.match(/\bD-\d{3}\b/g) ?? [])]
        .filter(number => !known.has(number))
        .map(number => `${number} in ${path}`),
    )
    expect(missing).toEqual([])
  })

  test('name tests that exist', () => {
    const named = [...text.matchAll(/`((?:test|src)\/[\w./-]+\.ts)`/g)].map(([, path = '']) => path)
    expect(named.filter(path => fileText(path) === undefined)).toEqual([])
  })
})
