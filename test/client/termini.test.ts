/** Sources and targets as the API has them: to the wire, and back at the other end. §3.5 */

import { describe, expect, test } from 'vitest'
import type { IncomingLink } from '../../src/client/api.ts'
import type { SourceInit, TargetInit } from '../../src/client/options.ts'
import type { Outcome } from '../../src/client/outcome.ts'
import { targetInit } from '../../src/client/termini.ts'
import { described, symbol } from '../../src/types/values.ts'
import { joined } from './joined.ts'

/** What the accepting end is told of a link that is attached with these termini. */
async function told(source: SourceInit | string | null, target: TargetInit | string | null): Promise<IncomingLink> {
  let seen: IncomingLink | undefined
  await using ends = await joined({
    onLink: link => {
      seen = link
      return link.accept()
    },
  })
  await ends.near.sender(target, { source: source ?? undefined })
  if (!seen) throw new Error('no link came')
  return seen
}

const full: TargetInit = {
  address: 'a',
  nodeProperties: { 'lifetime-policy': described(43n, []) },
  durable: 'unsettled-state',
  expiryPolicy: 'never',
  timeout: 30,
  capabilities: ['queue', 'shared'],
}

describe('§3.5.3 §3.5.4 a terminus', () => {
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
    expect([seen?.source, seen?.target, receiver.source]).toEqual([{}, { address: 'here' }, {}])
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
