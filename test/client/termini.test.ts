/** Sources and targets as the API has them: to the wire, and back at the other end. §3.5 */

import { describe, expect, test } from 'vitest'
import type { IncomingLink } from '../../src/client/api.ts'
import { filters } from '../../src/client/filters.ts'
import type { SourceInit, TargetInit } from '../../src/client/options.ts'
import type { Outcome } from '../../src/client/outcome.ts'
import { targetInit } from '../../src/client/termini.ts'
import { RemoteError, UsageError } from '../../src/errors.ts'
import { AmqpMap } from '../../src/types/map.ts'
import { array, described, symbol, ulong } from '../../src/types/values.ts'
import { joined, settled } from './joined.ts'

/** What the accepting end is told of a link that is attached with these termini. */
async function told(source: SourceInit | string | null, target: TargetInit | string | null): Promise<IncomingLink> {
  let seen: IncomingLink | undefined
  await using ends = await joined({
    onLink: link => {
      seen = link
      const isMade = link.target?.dynamic
      return link.accept(isMade ? { reply: { target: { address: 'made', dynamic: true } } } : {})
    },
  })
  await ends.near.sender(target, { source: source ?? undefined })
  if (!seen) throw new Error('no link came')
  return seen
}

const full: TargetInit = {
  address: 'a',
  lifetime: 'delete-on-close',
  nodeProperties: { 'supported-dist-modes': array('symbol', ['copy', 'move']) },
  durable: 'unsettled-state',
  expiryPolicy: 'never',
  timeout: 30,
  capabilities: ['queue', 'shared'],
}

describe('§3.5.3 §3.5.4 a terminus', () => {
  test.each(['source', 'target'] as const)(
    'a node that was made has an address: without, no %s is accepted',
    async end => {
      let refused: unknown
      await using ends = await joined({
        onLink: async link => {
          refused = await settled(link.accept({ reply: { [end]: { dynamic: true } } }))
          return link.accept({ reply: { [end]: { address: 'made', dynamic: true } } })
        },
      })
      const { near } = ends
      const link = end === 'source' ? await near.receiver({ dynamic: true }) : await near.sender({ dynamic: true })
      expect(link[end]).toMatchObject({ address: 'made', dynamic: true })
      expect(refused).toBeInstanceOf(UsageError)
      expect(String(refused)).toContain(
        `{ reply: { ${end}: { address, dynamic: true } } } (§3.5.${end === 'source' ? 3 : 4})`,
      )
    },
  )

  test('with every field', async () => {
    const source: SourceInit = {
      ...full,
      filter: { 'x:selector': described(symbol('x:selector'), 'a = 1') },
      distributionMode: 'copy',
      outcomes: ['amqp:accepted:list', 'amqp:rejected:list'],
    }
    const link = await told(source, full)
    // Objects that stand for maps have no prototype.
    expect(JSON.parse(JSON.stringify(link.target, bigints))).toEqual(JSON.parse(JSON.stringify(full, bigints)))
    expect(JSON.parse(JSON.stringify(link.source, bigints))).toEqual(JSON.parse(JSON.stringify(source, bigints)))
  })

  test('dynamic, without an address', async () => {
    const link = await told({}, { dynamic: true })
    expect([link.source, link.target]).toEqual([{}, { dynamic: true }])
  })

  test('what says what absence means is not told', async () => {
    const nothing: TargetInit = { durable: 'none', expiryPolicy: 'session-end', timeout: 0, capabilities: [] }
    expect((await told({}, { address: 'a', ...nothing })).target).toEqual({ address: 'a' })
  })

  test('null is a terminus without an address: the anonymous relay', async () => {
    expect((await told('from', null)).target).toEqual({})
  })

  test('a receiver from nowhere in particular', async () => {
    let seen: IncomingLink | undefined
    await using ends = await joined({
      onLink: link => {
        seen = link
        return link.accept()
      },
    })
    const receiver = await ends.near.receiver(null, { target: 'here' })
    expect([seen?.source, seen?.target]).toEqual([{}, { address: 'here' }])
    // Nothing is kept of it, and that is said.
    expect(receiver.source).toEqual({ expiryPolicy: 'link-detach' })
  })

  test.each([
    [{ outcome: 'accepted' }],
    [{ outcome: 'released' }],
    [{ outcome: 'rejected', error: undefined }],
    [{ outcome: 'modified', deliveryFailed: true, undeliverableHere: false, messageAnnotations: new Map() }],
  ] as [Outcome][])('§3.5.3 default-outcome %j', async defaultOutcome => {
    expect((await told({ address: 's', defaultOutcome }, 't')).source).toEqual({ address: 's', defaultOutcome })
  })

  test('§4.5.1 a coordinator is told apart, and nothing is no terminus', () => {
    expect(targetInit({ type: 'coordinator', capabilities: ['amqp:local-transactions'] })).toEqual({
      coordinator: true,
      capabilities: ['amqp:local-transactions'],
    })
    expect(targetInit(undefined)).toBeNull()
  })
})

const bigints = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? `${value}n` : value)

test('what an incoming link says of its termini is made once, when somebody asks, and is its own', async () => {
  const link = await told({ address: 's' }, 't')
  expect(Object.keys(link)).toEqual(expect.arrayContaining(['source', 'target']))
  expect([link.source, link.target]).toEqual([{ address: 's' }, { address: 't' }])
  expect(link.source).toBe(link.source)
  expect({ ...link }.target).toBe(link.target)
})

describe('§3.5.7 §3.5.8 filters and distribution modes', () => {
  test.each([
    [
      'selector',
      filters.selector("room = 'lab'"),
      'apache.org:selector-filter:string',
      0x468c00000004n,
      "room = 'lab'",
    ],
    ['directBinding', filters.directBinding('k'), 'apache.org:legacy-amqp-direct-binding:string', 0x468c00000000n, 'k'],
    [
      'topicBinding',
      filters.topicBinding('a.#'),
      'apache.org:legacy-amqp-topic-binding:string',
      0x468c00000001n,
      'a.#',
    ],
    ['noLocal', filters.noLocal(), 'apache.org:no-local-filter:list', 0x468c00000003n, []],
  ] as const)('%s: under its name, described by its number', async (_name, filter, name, code, value) => {
    const { source } = await told({ address: 'a', filter }, 't')
    expect(Object.keys(source?.filter ?? {})).toEqual([name])
    expect(source?.filter?.[name]).toEqual(described(code, value))
  })

  test('headersBinding, joined with another, and one of a name of its own', async () => {
    const own = { 'com.example:size': described(symbol('com.example:size'), 5), 'x:none': null }
    const filter = { ...filters.headersBinding({ 'x-match': 'all', room: 'lab' }), ...filters.noLocal(), ...own }
    const { source } = await told({ address: 'a', filter }, 't')
    const got = source?.filter ?? {}
    expect(Object.keys(got)).toEqual([
      'apache.org:legacy-amqp-headers-binding:map',
      'apache.org:no-local-filter:list',
      'com.example:size',
      'x:none',
    ])
    const headers = (got['apache.org:legacy-amqp-headers-binding:map'] as { value: AmqpMap }).value
    expect([...headers]).toEqual([
      ['x-match', 'all'],
      ['room', 'lab'],
    ])
  })

  test('what is neither described nor null is refused, and nothing is sent', async () => {
    await expect(told({ address: 'a', filter: { f: 'text' } }, 't')).rejects.toThrow(UsageError)
    expect(() => filters.selector('')).toThrow(UsageError)
    expect(() => filters.topicBinding(5 as never)).toThrow(UsageError)
  })
})

describe('§3.5.9 dynamic nodes', () => {
  test.each([
    ['§3.5.10', 'delete-on-close', 0x2bn],
    ['§3.5.11', 'delete-on-no-links', 0x2cn],
    ['§3.5.12', 'delete-on-no-messages', 0x2dn],
    ['§3.5.13', 'delete-on-no-links-or-messages', 0x2en],
  ] as const)('%s %s: asked for by its type, by number or by name', async (_section, lifetime, code) => {
    expect((await told({}, { dynamic: true, lifetime })).target).toEqual({ dynamic: true, lifetime })
    for (const descriptor of [ulong(code), symbol(`amqp:${lifetime}:list`)])
      expect(
        (await told({}, { dynamic: true, nodeProperties: { 'lifetime-policy': described(descriptor, []) } })).target,
      ).toEqual({ dynamic: true, lifetime })
  })

  test('a policy that is none of these is told as it is, and none is made up', async () => {
    const nodeProperties = { 'lifetime-policy': described(symbol('com.example:for-an-hour'), []) }
    const { target } = await told({}, { dynamic: true, nodeProperties })
    expect(target?.lifetime).toBeUndefined()
    expect(target?.nodeProperties).toEqual(nodeProperties)
    await expect(told({}, { dynamic: true, lifetime: 'for ever' as never })).rejects.toThrow('delete-on-close')
  })

  test('the address comes with the answer', async () => {
    await using ends = await joined({
      onLink: link => link.accept({ reply: { source: { address: 'made-1', dynamic: true } } }),
    })
    const receiver = await ends.near.receiver({ dynamic: true, lifetime: 'delete-on-no-links' })
    expect(receiver.source).toEqual({ address: 'made-1', dynamic: true, expiryPolicy: 'link-detach' })
  })
})

test('§3.5.3 a default outcome keeps its error and its annotations', async () => {
  const info = new AmqpMap([[symbol('a'), 1]])
  const error = new RemoteError('x', 'delivery', { condition: 'amqp:not-found', description: 'gone', info })
  const rejected = (await told({ defaultOutcome: { outcome: 'rejected', error } }, 't')).source?.defaultOutcome
  expect(rejected).toMatchObject({ outcome: 'rejected', error: { condition: 'amqp:not-found', description: 'gone' } })
  const modified: Outcome = {
    outcome: 'modified',
    deliveryFailed: true,
    undeliverableHere: false,
    messageAnnotations: new AmqpMap([[symbol('x-opt-a'), 1]]),
  }
  const back = (await told({ defaultOutcome: modified }, 't')).source?.defaultOutcome as typeof modified
  expect([...back.messageAnnotations]).toEqual([[symbol('x-opt-a'), 1]])
})
