/**
 * The state diagrams of spec-notes/states, made from the engine's tables: a change of a table shows as a changed
 * picture. `vitest -u` writes them anew. §2.4.7 §2.5.5 §2.6.3–6 §5.3.2
 */

import { describe, expect, test } from 'vitest'
import { connectionTransitions, type Legal, legalReceives, legalSends } from '../../src/engine/connection-states.ts'
import { linkTransitions } from '../../src/engine/link-states.ts'
import { saslTransitions } from '../../src/engine/sasl-states.ts'
import { sessionTransitions } from '../../src/engine/session-states.ts'

type Table = { readonly [state: string]: { readonly [input: string]: string } }

const folder = '../../spec-notes/states'

/** `S:CLOSE(ERROR)` as words: a label of mermaid's may not contain a colon. */
const words = (input: string): string =>
  input
    .replace(/^S:/, 'send ')
    .replace(/^R:/, 'receive ')
    .replace(/\(ERROR\)$/, ' with an error')

/** The arrows that join the same two states are drawn as one. */
function diagram(title: string, table: Table): string {
  const states = Object.keys(table)
  const arrows = new Map<string, string[]>()
  for (const [from, row] of Object.entries(table))
    for (const [input, to] of Object.entries(row)) {
      const arrow = `${from} --> ${to}`
      arrows.set(arrow, [...(arrows.get(arrow) ?? []), words(input)])
    }
  const lines = [
    'stateDiagram-v2',
    `    %% ${title}. Made by test/house/states.test.ts from the table: do not edit.`,
    `    [*] --> ${states[0]}`,
    ...[...arrows].map(([arrow, inputs]) => `    ${arrow} : ${inputs.join(' or ')}`),
    ...states.filter(state => Object.keys(table[state] ?? {}).length === 0).map(state => `    ${state} --> [*]`),
  ]
  return `${lines.join('\n')}\n`
}

const machines: [file: string, title: string, table: Table][] = [
  ['connection', 'The connection, §2.4.7', connectionTransitions as Table],
  ['session', 'The session, §2.5.5', sessionTransitions as Table],
  ['link', 'The link, derived from §2.6.3–6', linkTransitions as Table],
  ['sasl', 'The SASL exchange, whoever sends, §5.3.2', saslTransitions as Table],
]

describe.each(machines)('%s.mmd', (file, title, table) => {
  const text = diagram(title, table)

  test('is what the table says', async () => {
    await expect(text).toMatchFileSnapshot(`${folder}/${file}.mmd`)
  })

  test('is what mermaid reads: one arrow a line, no colon or semicolon in a label', () => {
    const [first, comment, ...arrows] = text.trimEnd().split('\n')
    expect(first).toBe('stateDiagram-v2')
    expect(comment).toMatch(/^ {4}%% /)
    for (const arrow of arrows) expect(arrow).toMatch(/^ {4}(\[\*\]|[A-Z_]+) --> (\[\*\]|[A-Z_]+)( : [^:;#{}]+)?$/)
  })

  test('has every arrow of the table', () => {
    const drawn = text.split('\n').flatMap(line => {
      const [, from, to, label = ''] = /^ {4}([A-Z_]+) --> ([A-Z_]+) : (.+)$/.exec(line) ?? []
      return from ? label.split(' or ').map(word => `${from} ${word} ${to}`) : []
    })
    const listed = Object.entries(table).flatMap(([from, row]) =>
      Object.entries(row).map(([input, to]) => `${from} ${words(input)} ${to}`),
    )
    expect(drawn.sort()).toEqual(listed.sort())
  })
})

/** What the second figure of §2.4.7 means by its signs. */
const MEANINGS: Record<Legal, string> = {
  HDR: 'the protocol header',
  OPEN: 'open',
  '*': 'any frame',
  '**': 'any frame that the peer is known to take',
  '-': 'nothing',
}

test('connection-legal.md: what may be sent and received in each state of a connection, §2.4.7', async () => {
  const rows = Object.entries(legalSends).map(([state, sends]) => [
    `\`${state}\``,
    MEANINGS[sends],
    MEANINGS[legalReceives[state as keyof typeof legalReceives]],
  ])
  expect(rows).toHaveLength(14)
  const table = [['State', 'May be sent', 'May be received'], ['---', '---', '---'], ...rows]
  const lines = [
    '# What is legal in each state of a connection',
    '',
    'The second figure of §2.4.7. Made by `test/house/states.test.ts` from `engine/connection-states.ts`: do not edit.',
    'What changes the state is drawn in [connection.mmd](connection.mmd).',
    '',
    ...table.map(cells => `| ${cells.join(' | ')} |`),
  ]
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot(`${folder}/connection-legal.md`)
})
