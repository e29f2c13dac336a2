import { describe, expect, it } from 'vitest'
import {
  AmqpCondition,
  ConnectionCondition,
  LinkCondition,
  SessionCondition,
  TransactionCondition,
} from '../../src/errors.ts'
import {
  describeCondition,
  HubCondition,
  hubConditions,
  isRetryable,
  isThrottling,
} from '../../src/iothub/conditions.ts'

const named = [
  ...Object.values(AmqpCondition),
  ...Object.values(ConnectionCondition),
  ...Object.values(SessionCondition),
  ...Object.values(LinkCondition),
  ...Object.values(TransactionCondition),
  ...Object.values(HubCondition),
]

describe('hub conditions', () => {
  it('§2.8.15–18 §4.5.8 every condition with a name has a row, and every row a name', () => {
    expect(Object.keys(hubConditions).sort()).toEqual([...named].sort())
  })

  it.each([
    // What the Node, C# and Java device SDKs agree on.
    ['amqp:internal-error', true],
    ['amqp:link:detach-forced', true],
    ['com.microsoft:timeout', true],
    ['com.microsoft:device-container-throttled', true],
    ['amqp:not-found', false],
    ['amqp:unauthorized-access', false],
    ['amqp:resource-limit-exceeded', false],
    ['amqp:link:message-size-exceeded', false],
    ['amqp:not-allowed', false],
    // What two of the three retry.
    ['amqp:connection:forced', true],
    ['amqp:resource-locked', true],
    // Ours: following is not retrying, and a link stolen is not stolen back.
    ['amqp:link:redirect', false],
    ['amqp:connection:redirect', false],
    ['amqp:link:stolen', false],
    // What the Event Hubs clients retry.
    ['com.microsoft:server-busy', true],
    ['com.microsoft:entity-disabled', false],
    // No condition at all: the socket dropped.
    [undefined, true],
    ['example:unheard-of', false],
    ['constructor', false],
    ['__proto__', false],
  ])('%s retryable: %s', (condition, expected) => {
    expect(isRetryable(condition)).toBe(expected)
  })

  it('each has a meaning; unknown ones have none', () => {
    for (const condition of named) expect(describeCondition(condition)?.meaning).not.toBe('')
    expect(describeCondition('toString')).toBeUndefined()
  })

  it('two ask for less traffic, and both are retryable', () => {
    expect(named.filter(isThrottling)).toEqual([HubCondition.deviceContainerThrottled, HubCondition.serverBusy])
    expect(named.filter(isThrottling).every(isRetryable)).toBe(true)
    expect(isThrottling(undefined)).toBe(false)
  })
})
