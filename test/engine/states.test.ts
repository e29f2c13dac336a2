/**
 * The state tables, cell by cell. What is legal is typed in here from the standard's figures (§2.4.7, §2.5.5, §5.3.2)
 * and texts (§2.6.3–6), arrow by arrow; every other cell must be absent. Arrows that we add carry their decision.
 */

import { describe, expect, test } from 'vitest'
import { connectionTransitions, legalReceives, legalSends } from '../../src/engine/connection-states.ts'
import { linkTransitions } from '../../src/engine/link-states.ts'
import { saslTransitions } from '../../src/engine/sasl-states.ts'
import { sessionTransitions } from '../../src/engine/session-states.ts'
import { advance } from '../../src/engine/transitions.ts'

/** `FROM input TO`, one arrow a line. */
const arrows = (text: string): string[] =>
  text
    .trim()
    .split('\n')
    .map(line =>
      line
        .replace(/\/\/.*/, '')
        .trim()
        .replace(/\s+/g, ' '),
    )

const connectionFigure = arrows(`
  START      R:HDR    HDR_RCVD
  START      S:HDR    HDR_SENT
  HDR_RCVD   S:HDR    HDR_EXCH
  HDR_SENT   R:HDR    HDR_EXCH
  HDR_SENT   S:OPEN   OPEN_PIPE
  HDR_EXCH   R:OPEN   OPEN_RCVD
  HDR_EXCH   S:OPEN   OPEN_SENT
  OPEN_PIPE  R:HDR    OPEN_SENT
  OPEN_PIPE  S:CLOSE  OC_PIPE
  OC_PIPE    R:HDR    CLOSE_PIPE
  OPEN_RCVD  S:OPEN   OPENED
  OPEN_SENT  R:OPEN   OPENED
  OPEN_SENT  S:CLOSE  CLOSE_PIPE
  CLOSE_PIPE R:OPEN   CLOSE_SENT
  OPENED     R:CLOSE  CLOSE_RCVD
  OPENED     S:CLOSE  CLOSE_SENT
  CLOSE_RCVD S:CLOSE  END
  CLOSE_SENT R:CLOSE  END
  OPENED     S:CLOSE(ERROR) DISCARDING // the figure's footnote
  DISCARDING R:CLOSE  END              // the same`)

const connectionAdded = arrows(`
  OPEN_PIPE  S:CLOSE(ERROR) OC_PIPE    // D-010: an error before the peer's open
  OPEN_SENT  S:CLOSE(ERROR) DISCARDING // D-010
  CLOSE_RCVD S:CLOSE(ERROR) END        // D-010: the close that answers may carry an error
  DISCARDING R:OPEN   DISCARDING       // D-010: the open that was on its way
  OPEN_RCVD  R:CLOSE  OPEN_RCVD        // D-011: open and close pipelined`)

const sessionFigure = arrows(`
  UNMAPPED   S:BEGIN  BEGIN_SENT
  UNMAPPED   R:BEGIN  BEGIN_RCVD
  BEGIN_SENT R:BEGIN  MAPPED
  BEGIN_RCVD S:BEGIN  MAPPED
  MAPPED     S:END(ERROR) DISCARDING
  MAPPED     S:END    END_SENT
  MAPPED     R:END    END_RCVD
  DISCARDING R:END    ENDED
  END_SENT   R:END    ENDED
  END_RCVD   S:END    ENDED`)

const sessionAdded = arrows(`
  BEGIN_SENT S:END    END_SENT         // D-012: ended before the peer's begin
  BEGIN_SENT S:END(ERROR) DISCARDING   // D-012
  END_SENT   R:BEGIN  END_SENT         // D-012: the begin that was on its way
  DISCARDING R:BEGIN  DISCARDING       // D-012
  BEGIN_RCVD R:END    BEGIN_RCVD       // D-012: begin and end pipelined
  END_RCVD   S:END(ERROR) ENDED        // D-012: the end that answers may carry an error`)

const linkText = arrows(`
  UNATTACHED  S:ATTACH ATTACH_SENT     // §2.6.3
  UNATTACHED  R:ATTACH ATTACH_RCVD     // §2.6.3
  ATTACH_SENT R:ATTACH ATTACHED        // §2.6.3
  ATTACH_RCVD S:ATTACH ATTACHED        // §2.6.3
  ATTACHED    S:DETACH DETACH_SENT     // §2.6.4
  ATTACHED    R:DETACH DETACH_RCVD     // §2.6.4
  DETACH_SENT R:DETACH DETACHED        // §2.6.4
  DETACH_RCVD S:DETACH DETACHED        // §2.6.4
  ATTACHED    S:CLOSE  CLOSE_SENT      // §2.6.6
  ATTACHED    R:CLOSE  CLOSE_RCVD      // §2.6.6
  CLOSE_SENT  R:CLOSE  CLOSED          // §2.6.6
  CLOSE_RCVD  S:CLOSE  CLOSED          // §2.6.6
  ATTACHED    S:CLOSE(ERROR) DISCARDING // §2.6.5
  DISCARDING  R:CLOSE  CLOSED          // §2.6.5
  DISCARDING  R:DETACH CLOSED          // §2.6.5: any detach ends it
  DETACH_RCVD S:CLOSE  CLOSED          // §2.6.6: answered with a closing one`)

const linkAdded = arrows(`
  ATTACH_SENT S:DETACH DETACH_SENT     // D-013: a detach may follow before the answer has come
  ATTACH_SENT S:CLOSE  CLOSE_SENT      // D-013
  ATTACH_SENT S:CLOSE(ERROR) DISCARDING // D-013
  DETACH_SENT R:ATTACH DETACH_SENT     // D-013: the attach that was on its way
  CLOSE_SENT  R:ATTACH CLOSE_SENT      // D-013
  DISCARDING  R:ATTACH DISCARDING      // D-013
  ATTACH_RCVD R:DETACH ATTACH_RCVD     // D-013: attach and detach pipelined
  ATTACH_RCVD R:CLOSE  ATTACH_RCVD     // D-013
  DETACH_RCVD S:CLOSE(ERROR) CLOSED    // D-013: with an error
  CLOSE_RCVD  S:CLOSE(ERROR) CLOSED    // D-013
  DETACH_SENT R:CLOSE  CLOSED          // D-014: a closing and a plain detach cross
  CLOSE_SENT  R:DETACH CLOSED          // D-014`)

const saslFigure = arrows(`
  START      MECHANISMS MECHANISMS
  MECHANISMS INIT       INIT
  INIT       CHALLENGE  CHALLENGED
  CHALLENGED RESPONSE   RESPONDED
  RESPONDED  CHALLENGE  CHALLENGED
  INIT       OUTCOME    DONE
  RESPONDED  OUTCOME    DONE`)

const machines: [string, object, states: string, inputs: string, figure: string[], added: string[]][] = [
  [
    '§2.4.6–7 connection',
    connectionTransitions,
    `START HDR_RCVD HDR_SENT HDR_EXCH OPEN_PIPE OC_PIPE OPEN_RCVD OPEN_SENT CLOSE_PIPE OPENED CLOSE_RCVD CLOSE_SENT
     DISCARDING END`,
    'R:HDR S:HDR R:OPEN S:OPEN R:CLOSE S:CLOSE S:CLOSE(ERROR)',
    connectionFigure,
    connectionAdded,
  ],
  [
    '§2.5.5 session',
    sessionTransitions,
    'UNMAPPED BEGIN_SENT BEGIN_RCVD MAPPED END_SENT END_RCVD DISCARDING ENDED',
    'S:BEGIN R:BEGIN S:END S:END(ERROR) R:END',
    sessionFigure,
    sessionAdded,
  ],
  [
    '§2.6.3–6 link',
    linkTransitions,
    `UNATTACHED ATTACH_SENT ATTACH_RCVD ATTACHED DETACH_SENT CLOSE_SENT DISCARDING DETACH_RCVD CLOSE_RCVD DETACHED
     CLOSED`,
    'S:ATTACH R:ATTACH S:DETACH R:DETACH S:CLOSE R:CLOSE S:CLOSE(ERROR)',
    linkText,
    linkAdded,
  ],
  [
    '§5.3.2 SASL',
    saslTransitions,
    'START INIT_PIPE MECHANISMS INIT CHALLENGED RESPONDED DONE',
    'MECHANISMS INIT CHALLENGE RESPONSE OUTCOME',
    saslFigure,
    arrows(`
  START      INIT       INIT_PIPE      // D-047: the client does not wait for the mechanisms
  INIT_PIPE  MECHANISMS INIT           // D-047`),
  ],
]

describe.each(machines)('%s', (_name, table, stateText, inputText, figure, added) => {
  const states = stateText.split(/\s+/)
  const inputs = inputText.split(' ')
  const cells = states.flatMap(state => inputs.map(input => [state, input] as const))
  const legal = new Map([...figure, ...added].map(line => [line.split(' ').slice(0, 2).join(' '), line.split(' ')[2]]))

  test('has these states and no other', () => {
    expect(Object.keys(table).sort()).toEqual([...states].sort())
    for (const row of Object.values(table)) for (const input of Object.keys(row)) expect(inputs).toContain(input)
  })

  test('no arrow is given twice, each joins two states', () => {
    expect(legal.size).toBe(figure.length + added.length)
    for (const line of [...figure, ...added]) {
      const [from = '', input = '', to = ''] = line.split(' ')
      expect([states.includes(from), inputs.includes(input), states.includes(to)]).toEqual([true, true, true])
    }
  })

  test.each(cells)('%s, %s', (state, input) => {
    expect(advance(table as never, state as never, input as never)).toBe(legal.get(`${state} ${input}`))
  })

  test('every state can be reached, and from every state the end', () => {
    const ends = states.filter(state => ![...legal.keys()].some(key => key.startsWith(`${state} `)))
    expect(ends.length).toBeGreaterThan(0)
    const reach = (from: string): Set<string> => {
      const seen = new Set([from])
      for (const state of seen) for (const [key, to = ''] of legal) if (key.startsWith(`${state} `)) seen.add(to)
      return seen
    }
    expect([...reach(states[0] ?? '')].sort()).toEqual([...states].sort())
    for (const state of states) expect(ends.some(end => reach(state).has(end))).toBe(true)
  })
})

test('there are 14 × 7 cells for the connection, 18 arrows in its figure and 2 from its footnote', () => {
  expect(Object.keys(connectionTransitions)).toHaveLength(14)
  expect(connectionFigure).toHaveLength(20)
})

/** §2.4.7, the second figure: state, legal sends, legal receives. */
const legalFigure = `
  START       HDR   HDR
  HDR_RCVD    HDR   OPEN
  HDR_SENT    OPEN  HDR
  HDR_EXCH    OPEN  OPEN
  OPEN_RCVD   OPEN  *
  OPEN_SENT   **    OPEN
  OPEN_PIPE   **    HDR
  CLOSE_PIPE  -     OPEN
  OC_PIPE     -     HDR
  OPENED      *     *
  CLOSE_RCVD  *     -
  CLOSE_SENT  -     *
  DISCARDING  -     *
  END         -     -`

test('§2.4.7 legal sends and receives', () => {
  const rows = arrows(legalFigure).map(line => line.split(' '))
  expect(Object.entries(legalSends).sort()).toEqual(rows.map(([state, sends]) => [state, sends]).sort())
  expect(Object.entries(legalReceives).sort()).toEqual(rows.map(([state, , receives]) => [state, receives]).sort())
})
