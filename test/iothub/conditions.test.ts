import { describe, expect, it } from 'vitest'
import {
  AmqpCondition,
  ClosedError,
  ConnectionCondition,
  DecodeError,
  DeliveryError,
  IdleTimeoutError,
  LinkCondition,
  ProtocolError,
  RemoteError,
  SaslError,
  SessionCondition,
  TransactionCondition,
  TransactionError,
  TransportError,
  UsageError,
} from '../../src/errors.ts'
import {
  describeCondition,
  HubCondition,
  hubConditions,
  isRetryable,
  isThrottling,
} from '../../src/iothub/connection/conditions.ts'

const named = [
  ...Object.values(AmqpCondition),
  ...Object.values(ConnectionCondition),
  ...Object.values(SessionCondition),
  ...Object.values(LinkCondition),
  ...Object.values(TransactionCondition),
  ...Object.values(HubCondition),
]

const remote = (condition: string): RemoteError => new RemoteError('the link', 'link', { condition })
const delivery = (outcome: string, condition?: string): DeliveryError =>
  new DeliveryError('not accepted', { outcome }, condition)

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
    expect(named.filter(condition => isThrottling(condition))).toEqual([
      HubCondition.deviceContainerThrottled,
      HubCondition.serverBusy,
    ])
    expect(named.filter(condition => isThrottling(condition)).every(condition => isRetryable(condition))).toBe(true)
    expect(isThrottling(undefined)).toBe(false)
    expect(isThrottling(remote('com.microsoft:server-busy'))).toBe(true)
    expect(isThrottling(remote('amqp:internal-error'))).toBe(false)
  })
})

describe('errors', () => {
  it.each<[string, unknown, boolean]>([
    ['the peer ended a link for a reason that passes', remote('amqp:link:detach-forced'), true],
    ['the peer ended a link for one that does not', remote('amqp:unauthorized-access'), false],
    ['a link was stolen', new ClosedError('the link', 'link', remote('amqp:link:stolen'), 'remote'), false],
    ['a connection ended with the hub’s reason', new ClosedError('it', 'link', remote('amqp:connection:forced')), true],
    ['a socket broke', new ClosedError('it', 'connection', new TransportError('reset'), 'transport'), true],
    ['a link ended without a word', new ClosedError('the link', 'link', undefined, 'remote'), true],
    ['no connection', new TransportError('refused'), true],
    ['a certificate that is not trusted', new TransportError('no', { code: 'CERT_HAS_EXPIRED' }), false],
    ['a silent peer', new IdleTimeoutError(60_000), true],
    ['a refused login', new SaslError('no', 'auth'), false],
    ['a login refused for now', new SaslError('no', 'sys-temp'), true],
    ['a message released', delivery('released'), true],
    ['a message modified', delivery('modified'), true],
    ['a message rejected', delivery('rejected', 'amqp:not-found'), false],
    ['a message rejected for now', delivery('rejected', 'com.microsoft:device-container-throttled'), true],
    ['a message rejected for no reason', delivery('rejected'), false],
    [
      'a transaction that took too long',
      new TransactionError('no', 'rolled-back', { condition: 'amqp:transaction:timeout' }),
      true,
    ],
    ['a mistake of the caller', new UsageError('no'), false],
    ['bytes that cannot be read', new DecodeError('no', 5), false],
    ['a breach of the standard', new ProtocolError('no', 'amqp:internal-error', 'link'), false],
    ['a time limit', AbortSignal.abort(new DOMException('late', 'TimeoutError')).reason, true],
    ['a cancellation', AbortSignal.abort().reason, false],
    ['any other error', new Error('x'), false],
    ['no error', null, false],
  ])('%s retryable: %s', (_, error, expected) => {
    expect(isRetryable(error)).toBe(expected)
  })
})
