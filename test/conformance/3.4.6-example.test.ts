/** The standard's example of a link that is resumed: a sender of ours, tag by tag, against the target's map. §3.4.6 */

import { describe, expect, test } from 'vitest'
import { ACCEPTED, RELEASED } from '../../src/definitions/delivery-state.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'
import { accepted, type Field, released } from '../peer/composites.ts'
import type { Expected, Payload } from '../peer/script.ts'
import type { Wire } from '../peer/wire.ts'
import {
  at,
  givenUp,
  message,
  NOWHERE,
  resume,
  resumedSender,
  SECOND,
  sent,
  transfer,
  unsettledMap,
} from '../support/resuming.ts'
import { sides } from '../support/scenario.ts'

/** Who sends what for one delivery, where the source says one thing and the target another. */
interface Row {
  readonly n: number
  readonly what: string
  readonly left: (n: number) => OutgoingDelivery[]
  readonly source: Wire | null
  /** Absent: the target does not know the delivery. */
  readonly target?: Wire | null
  readonly expected: readonly [Expected, Payload?][]
  /** What its owner hears: an outcome, that it is lost, or nothing. */
  readonly end?: 'accepted' | 'released' | 'lost'
}

const kept = (n: number) => sent(n)
const dropped = (n: number) => sent(n, false)

const ROWS: readonly Row[] = [
  { n: 1, what: 'not known', left: kept, source: null, expected: [[transfer(0, 1), message(1)]] },
  {
    n: 2,
    what: 'a section is there',
    left: kept,
    source: null,
    target: at(1, 0),
    expected: [[resume(0, 2, { state: at(1, 0) }), message(2).subarray(SECOND)]],
  },
  {
    n: 3,
    what: 'accepted there',
    left: kept,
    source: null,
    target: accepted(),
    expected: [[resume(0, 3, { state: accepted(), settled: true })]],
    end: 'accepted',
  },
  { n: 4, what: 'known by its tag', left: kept, source: null, target: null, expected: [[resume(0, 4), message(4)]] },
  { n: 5, what: 'not known, and not kept', left: dropped, source: NOWHERE, expected: [], end: 'lost' },
  {
    n: 6,
    what: 'a part of a section is there',
    left: kept,
    source: null,
    target: at(1, 20),
    expected: [[resume(0, 6, { state: at(1, 20) }), message(6).subarray(SECOND + 20)]],
  },
  {
    n: 7,
    what: 'a part is there, the rest was not kept',
    left: dropped,
    source: NOWHERE,
    target: at(0, 100),
    expected: [[resume(0, 7, { aborted: true })]],
    end: 'lost',
  },
  {
    n: 8,
    what: 'accepted there, not kept',
    left: dropped,
    source: NOWHERE,
    target: accepted(),
    expected: [[resume(0, 8, { state: accepted(), settled: true })]],
    end: 'accepted',
  },
  {
    n: 9,
    what: 'known by its tag, not kept',
    left: dropped,
    source: NOWHERE,
    target: null,
    expected: [[resume(0, 9, { aborted: true })]],
    end: 'lost',
  },
  { n: 10, what: 'given up, not known', left: givenUp, source: released(), expected: [] },
  {
    n: 11,
    what: 'given up, a part is there',
    left: givenUp,
    source: released(),
    target: at(0, 100),
    expected: [[resume(0, 11, { aborted: true })]],
  },
  {
    n: 12,
    what: 'given up, and so it was there',
    left: givenUp,
    source: released(),
    target: released(),
    expected: [[resume(0, 12, { state: released(), settled: true })]],
    end: 'released',
  },
  {
    n: 13,
    what: 'given up, accepted there',
    left: givenUp,
    source: released(),
    target: accepted(),
    expected: [[resume(0, 13, { state: released() })]],
  },
  {
    n: 14,
    what: 'given up, known by its tag',
    left: givenUp,
    source: released(),
    target: null,
    expected: [[resume(0, 14, { aborted: true })]],
  },
]

const maps = ({ n, source, target }: Row): { says: Field; theirs: { unsettled: Wire } } => ({
  says: unsettledMap({ [n]: source }),
  theirs: { unsettled: unsettledMap(target === undefined ? {} : { [n]: target }) },
})

describe.each(sides)('§3.4.6 the example’s delivery-tags (%s)', role => {
  test.each(ROWS)('§3.4.6 $n: $what', row => {
    const left = row.left(row.n)
    const { s, peer, link } = resumedSender(left, { role, ...maps(row) })
    for (const [fields, payload] of row.expected) peer.expectTransfer(fields, payload)
    peer.finished()
    const ends = s.outcomes()
    expect(ends.map(({ remoteState }) => remoteState?.type)).toEqual(row.end && row.end !== 'lost' ? [row.end] : [])
    for (const delivery of ends) expect(delivery).toBe(left[0])
    expect(link.abandoned.length).toBe(row.end === 'lost' ? 1 : 0)
    // Credit is used by every delivery that is framed, whatever becomes of it.
    expect(link.credit.deliveryCount).toBe(row.expected.length)
    expect(s.engine.connection.pendingBytes).toBe(0)
    const isOpen = row.expected.some(([{ settled, aborted }]) => !settled && !aborted)
    expect([link.unsettledCount, link.open.length]).toEqual(isOpen ? [1, 1] : row.end === 'lost' ? [0, 1] : [0, 0])
    if (!isOpen) return
    peer.respondDisposition({ state: row.n === 13 ? released() : accepted() }).finished()
    expect(s.outcomes()).toEqual(left)
    expect(left[0]?.remoteState).toEqual(row.n === 13 ? RELEASED : ACCEPTED)
    expect([link.unsettledCount, link.open]).toEqual([0, []])
  })

  test('§3.4.6 all of them at once, in the order in which they were sent', () => {
    const rows = ROWS.filter(({ n }) => n !== 5)
    const entries = (side: 'source' | 'target') =>
      Object.fromEntries(rows.filter(row => row[side] !== undefined).map(row => [row.n, row[side] as Wire | null]))
    const { peer } = resumedSender(
      rows.flatMap(({ n, left }) => left(n)),
      { role, says: unsettledMap(entries('source')), theirs: { unsettled: unsettledMap(entries('target')) } },
    )
    let id = 0
    for (const [fields, payload] of rows.flatMap(({ expected }) => expected))
      peer.expectTransfer({ ...fields, deliveryId: id++ }, payload)
    peer.finished()
  })
})
