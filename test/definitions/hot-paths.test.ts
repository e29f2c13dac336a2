/** The hand-written transfer, disposition and flow against their tables: same bytes, same values, same faults. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ACCEPTED, type DeliveryState, deliveryStateField, RELEASED } from '../../src/definitions/delivery-state.ts'
import {
  putTransfer,
  readDisposition,
  readFlow,
  readTransfer,
  TRANSFER_ROOM,
  type TransferFields,
  transferWidth,
  writeDisposition,
} from '../../src/definitions/hot-paths.ts'
import { disposition, flow, transfer } from '../../src/definitions/performatives.ts'
import { DecodeError } from '../../src/errors.ts'
import { type Composite, type CompositeStyle, fields, PLAIN_STYLE } from '../../src/types/composite.ts'
import { Reader } from '../../src/types/reader.ts'
import { Writer } from '../../src/types/writer.ts'
import { comparable } from './standard.ts'

const COMPLETE: CompositeStyle = { complete: true, arrays: true }

/** The seams of the encodings, and anything. */
const uint = fc.oneof(
  fc.constantFrom(0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff),
  fc.integer({ min: 0, max: 0xffffffff }),
)
const tag = fc.uint8Array({ maxLength: 32 })
const properties = fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), fc.oneof(fc.string(), fc.boolean())).map(fields)

const state: fc.Arbitrary<DeliveryState> = fc.oneof(
  fc.constant(ACCEPTED),
  fc.constant(RELEASED),
  fc.record({ type: fc.constant('accepted' as const) }),
  fc.record({ type: fc.constant('rejected' as const), error: fc.constant(undefined) }),
  fc.record({
    type: fc.constant('rejected' as const),
    error: fc.record({
      type: fc.constant('error' as const),
      condition: fc.constant('amqp:not-found'),
      description: fc.option(fc.string(), { nil: undefined }),
      info: fc.option(properties, { nil: undefined }),
    }),
  }),
  fc.record({
    type: fc.constant('modified' as const),
    deliveryFailed: fc.boolean(),
    undeliverableHere: fc.boolean(),
    messageAnnotations: fc.option(properties, { nil: undefined }),
  }),
  fc.record({
    type: fc.constant('received' as const),
    sectionNumber: uint,
    sectionOffset: fc.bigInt(0n, 2n ** 64n - 1n),
  }),
  fc.record({
    type: fc.constant('transactional-state' as const),
    txnId: tag,
    outcome: fc.constantFrom(undefined, ACCEPTED, RELEASED),
  }),
)

const transferInit = fc.record(
  {
    handle: uint,
    deliveryId: uint,
    deliveryTag: tag,
    messageFormat: uint,
    settled: fc.boolean(),
    more: fc.boolean(),
    rcvSettleMode: fc.constantFrom('first' as const, 'second' as const),
    state,
    resume: fc.boolean(),
    aborted: fc.boolean(),
    batchable: fc.boolean(),
  },
  { requiredKeys: ['handle'] },
)

const dispositionInit = fc.record(
  {
    role: fc.constantFrom('sender' as const, 'receiver' as const),
    first: uint,
    last: uint,
    settled: fc.boolean(),
    state,
    batchable: fc.boolean(),
  },
  { requiredKeys: ['role', 'first'] },
)

const flowInit = fc.record(
  {
    nextIncomingId: uint,
    incomingWindow: uint,
    nextOutgoingId: uint,
    outgoingWindow: uint,
    handle: uint,
    deliveryCount: uint,
    linkCredit: uint,
    available: uint,
    drain: fc.boolean(),
    echo: fc.boolean(),
    properties,
  },
  { requiredKeys: ['incomingWindow', 'nextOutgoingId', 'outgoingWindow'] },
)

/** What came of reading: the value and where it ended, or that it was refused. */
function outcome(read: (reader: Reader) => unknown, bytes: Uint8Array): unknown {
  const reader = new Reader(bytes)
  try {
    const value = read(reader)
    return { value: comparable(value), end: reader.offset }
  } catch (error) {
    if (error instanceof DecodeError) return 'DecodeError'
    throw error
  }
}

/** The list behind the three bytes of the descriptor. */
function listOf<T>(table: Composite<T>, value: unknown, style = PLAIN_STYLE): Uint8Array {
  const writer = new Writer()
  table.write(writer, value as never, style)
  return writer.copy().slice(3)
}

const pairs = [
  ['transfer', transfer, readTransfer, transferInit],
  ['disposition', disposition, readDisposition, dispositionInit],
  ['flow', flow, readFlow, flowInit],
] as const

describe.each(pairs)('§2.7 %s, read', (_name, table: Composite<unknown>, fast, init: fc.Arbitrary<object>) => {
  test('any subset of fields: the same value, with the same keys in the same order', () => {
    fc.assert(
      fc.property(init, fc.boolean(), (value, complete) => {
        const bytes = listOf(table, value, complete ? COMPLETE : PLAIN_STYLE)
        const [ours, meant] = [fast(new Reader(bytes)), table.read(new Reader(bytes))]
        expect(comparable(ours)).toStrictEqual(comparable(meant))
        expect(Object.keys(ours)).toEqual(Object.keys(meant as object))
        expect(outcome(fast, bytes)).toStrictEqual(outcome(r => table.read(r), bytes))
      }),
      { numRuns: 500 },
    )
  })

  test('bytes changed, cut or added: the same value, or both refuse', () => {
    const change = fc.record({ at: fc.nat(), to: fc.integer({ min: 0, max: 255 }), cut: fc.nat({ max: 20 }) })
    let refused = 0
    fc.assert(
      fc.property(init, change, (value, { at, to, cut }) => {
        const bytes = listOf(table, value, COMPLETE)
        bytes[at % bytes.length] = to
        const given = bytes.slice(0, cut === 0 ? Math.max(bytes.length - (to % bytes.length), 0) : bytes.length)
        const meant = outcome(r => table.read(r), given)
        if (meant === 'DecodeError') refused++
        expect(outcome(fast, given)).toStrictEqual(meant)
      }),
      { numRuns: 2000 },
    )
    expect(refused).toBeGreaterThan(100)
  })

  test('more fields than there are, and none', () => {
    for (const list of ['45', 'c00100', `c0${'0d0c'}${'40'.repeat(12)}`, 'c0020140', '40', 'c10100']) {
      const bytes = new Uint8Array(Buffer.from(list, 'hex'))
      expect(outcome(fast, bytes)).toBe('DecodeError')
      expect(outcome(r => table.read(r), bytes)).toBe('DecodeError')
    }
  })
})

const ordinary: fc.Arbitrary<TransferFields> = fc.record({
  handle: uint,
  deliveryId: fc.oneof(fc.constant(-1), uint),
  deliveryTag: fc.oneof(tag, uint),
  messageFormat: uint,
  settled: fc.boolean(),
  more: fc.boolean(),
  state: fc.option(
    fc.uint8Array({ maxLength: 32 }).map(txnId => {
      const writer = new Writer()
      deliveryStateField.write(writer, { type: 'transactional-state', txnId, outcome: undefined })
      return writer.copy()
    }),
    { nil: undefined },
  ),
})

/** What `TransferFields` say, as the table's fields. */
function spelledOut({ deliveryId, deliveryTag, messageFormat, ...rest }: TransferFields): object {
  // Flags that are not set are left out; `settled: false` would be written by the table, being an answer of its own.
  const state = rest.state && deliveryStateField.read(new Reader(rest.state))
  const flags = { ...rest, state, settled: rest.settled || undefined }
  if (deliveryId < 0) return flags
  const bytes = typeof deliveryTag === 'number' ? Buffer.alloc(4) : deliveryTag
  if (typeof deliveryTag === 'number') (bytes as Buffer).writeUInt32BE(deliveryTag)
  return { ...flags, deliveryId, deliveryTag: new Uint8Array(bytes), messageFormat }
}

describe('§2.7.5 putTransfer', () => {
  test('the bytes of the table, the width that was said, and nothing beside them', () => {
    fc.assert(
      fc.property(ordinary, fc.nat({ max: 40 }), (t, offset) => {
        const width = transferWidth(t)
        const bytes = new Uint8Array(offset + width + 8).fill(0xee)
        expect(putTransfer(bytes, offset, t)).toBe(offset + width)
        const writer = new Writer()
        transfer.write(writer, spelledOut(t))
        expect(bytes.slice(offset, offset + width)).toEqual(writer.copy())
        expect([...bytes.subarray(0, offset), ...bytes.subarray(offset + width)].every(byte => byte === 0xee)).toBe(
          true,
        )
      }),
      { numRuns: 2000 },
    )
  })

  test('TRANSFER_ROOM holds a frame header and the widest transfer', () => {
    const widest = {
      handle: 2 ** 32 - 1,
      deliveryId: 2 ** 32 - 1,
      messageFormat: 2 ** 32 - 1,
      settled: true,
      more: true,
      state: undefined,
    }
    expect(8 + transferWidth({ ...widest, deliveryTag: new Uint8Array(32) })).toBeLessThanOrEqual(TRANSFER_ROOM)
  })
})

describe('§2.7.6 writeDisposition', () => {
  test('the bytes of the table', () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        uint,
        fc.oneof(fc.constant(undefined), uint),
        fc.boolean(),
        fc.option(state, { nil: undefined }),
        (receiver, first, to, settled, state) => {
          const last = to ?? first
          const [fast, slow] = [new Writer(), new Writer()]
          writeDisposition(fast, receiver, first, last, settled, state)
          const role = receiver ? ('receiver' as const) : ('sender' as const)
          disposition.write(slow, { role, first, last: last === first ? undefined : last, settled, state })
          expect(fast.copy()).toEqual(slow.copy())
        },
      ),
      { numRuns: 1000 },
    )
  })
})

test('the shared states are frozen, and read without making new ones (§3.4.2 §3.4.4)', () => {
  expect(Object.isFrozen(ACCEPTED) && Object.isFrozen(RELEASED)).toBe(true)
  const read = (state: DeliveryState) =>
    readDisposition(new Reader(listOf(disposition, { role: 'receiver', first: 0, state }))).state
  expect(read(ACCEPTED)).toBe(ACCEPTED)
  expect(read(RELEASED)).toBe(RELEASED)
})
