/** When a lost connection is tried again, how long that waits, and which errors end it. */

import { describe, expect, test } from 'vitest'
import { backOffOf, isLasting, waitBefore } from '../../src/client/recovery/back-off.ts'
import {
  ClosedError,
  IdleTimeoutError,
  ProtocolError,
  RemoteError,
  SaslError,
  TransportError,
  UsageError,
} from '../../src/errors.ts'

test('options have defaults, and no end', () => {
  expect(backOffOf({})).toEqual({ initialMs: 250, maxMs: 30_000, stableMs: 10_000, attempts: Number.POSITIVE_INFINITY })
  expect(backOffOf({ initialMs: 0, maxMs: 1, stableMs: 2, attempts: 3 })).toEqual({
    initialMs: 0,
    maxMs: 1,
    stableMs: 2,
    attempts: 3,
  })
})

test.each([{ initialMs: -1 }, { maxMs: Number.NaN }, { stableMs: '5' as never }, { attempts: -2 }])(
  '%j is refused',
  options => {
    expect(() => backOffOf(options)).toThrow(UsageError)
  },
)

test('the bound doubles up to its own bound; chance takes anything below', () => {
  const backOff = backOffOf({ initialMs: 100, maxMs: 1000 })
  expect([1, 2, 3, 4, 5, 6, 5000].map(attempt => waitBefore(attempt, backOff, 1))).toEqual([
    100, 200, 400, 800, 1000, 1000, 1000,
  ])
  expect(waitBefore(3, backOff, 0)).toBe(0)
  expect(waitBefore(3, backOff, 0.5)).toBe(200)
})

const cause = (code: string): Error => Object.assign(new Error(code), { code })

describe('what lasts', () => {
  test.each([
    [new SaslError('refused', 'auth'), true],
    [new SaslError('no mechanism fits'), true],
    [new SaslError('for good', 'sys-perm'), true],
    [new SaslError('not now', 'sys-temp'), false],
    [new SaslError('not now', 'sys'), false],
    [new RemoteError('c', 'connection', { condition: 'amqp:unauthorized-access' }), true],
    [new RemoteError('c', 'connection', { condition: 'amqp:connection:redirect' }), true],
    [new RemoteError('c', 'connection', { condition: 'amqp:connection:framing-error' }), true],
    [new RemoteError('c', 'connection', { condition: 'amqp:connection:forced' }), false],
    [new RemoteError('c', 'connection', { condition: 'amqp:internal-error' }), false],
    [new ProtocolError('not AMQP', 'amqp:connection:framing-error', 'connection'), true],
    [new TransportError('t', cause('ECONNRESET')), false],
    [new TransportError('t', cause('ECONNREFUSED')), false],
    [new TransportError('t', cause('CERT_HAS_EXPIRED')), true],
    [new TransportError('t', cause('SELF_SIGNED_CERT_IN_CHAIN')), true],
    [new TransportError('t', cause('DEPTH_ZERO_SELF_SIGNED_CERT')), true],
    [new TransportError('t', cause('UNABLE_TO_VERIFY_LEAF_SIGNATURE')), true],
    [new TransportError('t', cause('ERR_TLS_CERT_ALTNAME_INVALID')), true],
    [new TransportError('t'), false],
    [new IdleTimeoutError(5), false],
    [new ClosedError('connection', 'connection'), false],
    [new UsageError('no'), true],
    [new Error('a hook failed'), false],
    [undefined, false],
  ])('%s: %s', (error, lasts) => {
    expect(isLasting(error)).toBe(lasts)
  })
})
