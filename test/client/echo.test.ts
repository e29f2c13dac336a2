/** What a peer says of its termini, echoed by an accept or a refusal: each value as it came, type and all. §2.6.3 §3.5.8 */

import { afterEach, beforeEach, expect, test } from 'vitest'
import type { IncomingLink, Listener } from '../../src/client/api.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { talk } from '../defects/talk.ts'
import { attach, begin, close, type Fields, open, read } from '../peer/composites.ts'
import { amqpHeader, concat, frame, parseFrames, type Wire } from '../peer/wire.ts'

let listener: Listener
let onLink: (link: IncomingLink) => unknown
beforeEach(async () => {
  listener = await listen()
  listener.on('connection', connection =>
    connection.on('session', async incoming => (await incoming.accept()).on('link', link => onLink(link))),
  )
})
afterEach(() => listener.close())

/** Every type whose values JavaScript knows by another's name, at the top and within. */
const TYPED: Fields = {
  uint: { t: 'uint', v: 5 },
  uint0: { t: 'uint', v: 0 },
  ubyte: { t: 'ubyte', v: 5 },
  short: { t: 'short', v: -5 },
  int: { t: 'int', v: 5 },
  ulong: { t: 'ulong', v: 5n },
  huge: { t: 'ulong', v: 2n ** 64n - 1n },
  long: { t: 'long', v: 5n },
  float: { t: 'float', v: 2 },
  double: { t: 'double', v: 2 },
  symbol: { t: 'symbol', v: 'a' },
  timestamp: { t: 'timestamp', v: 2n ** 62n },
  described: { t: 'described', v: { descriptor: { t: 'ulong', v: 7n }, value: { t: 'uint', v: 9 } } },
  list: {
    t: 'list',
    v: [
      { t: 'ushort', v: 1 },
      {
        t: 'map',
        v: [
          [
            { t: 'string', v: 'k' },
            { t: 'byte', v: 1 },
          ],
        ],
      },
    ],
  },
  array: { t: 'array', v: { of: 'uint', descriptors: [], elements: [{ t: 'uint', v: 1 }] } },
}
const FILTER: Fields = { f: { t: 'described', v: { descriptor: { t: 'symbol', v: 'f' }, value: { t: 'uint', v: 9 } } } }
const LIFETIME: Fields = {
  'lifetime-policy': { t: 'described', v: { descriptor: { t: 'ulong', v: 0x2bn }, value: { t: 'list', v: [] } } },
}

const ends = (filter: Fields, nodes: Fields) => {
  const both = { dynamic: true, dynamicNodeProperties: nodes, capabilities: ['c1', 'c2'] }
  const defaultOutcome = {
    t: 'described',
    v: {
      descriptor: { t: 'ulong', v: 0x27n },
      value: {
        t: 'list',
        v: [
          { t: 'null', v: null },
          { t: 'null', v: null },
          {
            t: 'map',
            v: [
              [
                { t: 'symbol', v: 'x-a' },
                { t: 'uint', v: 3 },
              ],
            ],
          },
        ],
      },
    },
  } satisfies Wire
  return { source: { address: 'a', ...both, filter, defaultOutcome }, target: { address: 't', ...both } }
}

/** What is attached, and what comes back for it. */
async function echo(role: string, filter: Fields, nodes: Fields) {
  const asked = attach({
    name: 'l',
    handle: 0,
    role,
    ...ends(filter, nodes),
    initialDeliveryCount: role === 'sender' ? 0 : undefined,
  })
  const said = await talk(
    listener.port,
    concat(
      amqpHeader,
      frame(0, open({ containerId: 'peer' })),
      frame(0, begin({ nextOutgoingId: 0, incomingWindow: 100, outgoingWindow: 100 })),
      frame(0, asked),
    ),
    frame(0, close()),
  )
  const frames = parseFrames(said.subarray(8)).frames.map(({ performative }) => performative && read(performative))
  return { asked: read(asked)?.fields, answer: frames.find(each => each?.name === 'attach')?.fields }
}

const listOf = (terminus: Wire | undefined) => read(terminus as Wire)?.fields
/** What is said of our own end: time-out and durability have this value by default. §3.5.3 */
const NOTHING_KEPT = { expiryPolicy: { t: 'symbol', v: 'link-detach' } }

test.each(['sender', 'receiver'])('accepting a %s echoes both termini with every type', async role => {
  onLink = link => link.accept()
  const { asked, answer } = await echo(role, TYPED, { ...TYPED, ...LIFETIME })
  const [own, other] = role === 'sender' ? (['target', 'source'] as const) : (['source', 'target'] as const)
  expect(answer?.[other]).toEqual(asked?.[other])
  expect(listOf(answer?.[own])).toEqual({ ...listOf(asked?.[own]), ...NOTHING_KEPT })
})

test('refusing a link echoes the terminus of the peer, and has no other', async () => {
  onLink = link => link.refuse({ condition: 'amqp:not-found' })
  const { asked, answer } = await echo('sender', TYPED, TYPED)
  expect(answer?.['source']).toEqual(asked?.['source'])
  expect(answer?.['target']).toBeUndefined()
})

test('a reply made from what the link says keeps the types of its maps', async () => {
  onLink = link =>
    link.accept({ reply: { source: { ...link.source, address: 'b' }, target: { ...link.target, address: 'u' } } })
  const { asked, answer } = await echo('sender', FILTER, TYPED)
  const { defaultOutcome: _, ...rest } = listOf(asked?.['source']) ?? {}
  expect(listOf(answer?.['source'])).toMatchObject({ ...rest, address: { t: 'string', v: 'b' } })
  const address = { t: 'string', v: 'u' }
  expect(listOf(answer?.['target'])).toEqual({ ...listOf(asked?.['target']), address, ...NOTHING_KEPT })
})

test('what stands for a map of the peer’s cannot be changed', async () => {
  let error: unknown
  onLink = link => {
    try {
      Object.assign(link.source?.filter ?? {}, { g: null })
    } catch (thrown) {
      error = thrown
    }
    return link.accept()
  }
  await echo('sender', FILTER, {})
  expect(error).toBeInstanceOf(TypeError)
})
