import { expect, test } from 'vitest'
import { assertAccepted, outcomeOf } from '../../src/client/outcome.ts'
import { DeliveryError } from '../../src/errors.ts'

const thrown = (state: Parameters<typeof outcomeOf>[0]): DeliveryError => {
  const outcome = outcomeOf(state)
  try {
    if (outcome) assertAccepted(outcome)
  } catch (error) {
    return error as DeliveryError
  }
  return expect.unreachable()
}

test('§3.4 assertAccepted says once what became of the delivery', () => {
  const rejected = thrown({
    type: 'rejected',
    error: { condition: 'amqp:not-allowed', description: 'too large', info: undefined },
  } as never)
  expect(rejected).toBeInstanceOf(DeliveryError)
  expect(rejected.message).toBe('delivery rejected by peer: amqp:not-allowed (too large)')
  expect(rejected.condition).toBe('amqp:not-allowed')
  expect(thrown({ type: 'released' }).message).toBe('delivery was released, not accepted')
  expect(thrown({ type: 'rejected', error: undefined }).message).toBe('delivery was rejected, not accepted')
})
