/** The state of a transfer: encoded once, bounded, and what recovery makes of a message posted under a transaction. */

import { describe, expect, test } from 'vitest'
import type { TransactionalState } from '../../src/definitions/delivery-state.ts'
import { encodedState, transferFields } from '../../src/engine/transfer-state.ts'
import { UsageError } from '../../src/errors.ts'
import { fields } from '../../src/types/composite.ts'
import { hear, Pair } from '../support/pair.ts'

const state = (txnId: Uint8Array): TransactionalState => ({ type: 'transactional-state', txnId, outcome: undefined })

describe('§4.4.1 encodedState', () => {
  test('the same state gives the same bytes, another its own', () => {
    const [one, two] = [state(Uint8Array.of(1)), state(Uint8Array.of(2))]
    const bytes = encodedState(one)
    expect(encodedState(one)).toBe(bytes)
    expect(encodedState(two)).not.toEqual(bytes)
    expect(encodedState(undefined)).toBeUndefined()
    expect(transferFields(1, 2, 3, 4, true, bytes)).toEqual({
      handle: 1,
      deliveryId: 2,
      deliveryTag: 3,
      messageFormat: 4,
      settled: true,
      more: false,
      state: bytes,
    })
  })

  test('one that leaves no room for the other fields is refused', () => {
    const messageAnnotations = fields({ 'x-opt-a': 'a'.repeat(200) })
    const modified = { type: 'modified', deliveryFailed: false, undeliverableHere: false, messageAnnotations } as const
    expect(() => encodedState(modified)).toThrow(UsageError)
  })
})

/** Two engines with a session each, and a sender on the left. */
function linked(adopt?: Parameters<import('../../src/engine/sender-endpoint.ts').SenderEndpoint['adopt']>[0]) {
  const pair = new Pair()
  pair.left.connection.open({ containerId: 'left' })
  pair.right.connection.open({ containerId: 'right' })
  const session = pair.left.connection.session()
  session.begin()
  const sender = session.sender('l')
  sender.keepsPayload = true
  if (adopt) sender.adopt(adopt)
  sender.attach({ source: { address: 'a' }, target: { address: 'b' } })
  pair.drive()
  for (const event of hear(pair.right).events) {
    if (event.type === 'session.begun') event.session.begin()
    if (event.type === 'link.attached') event.link.attach({ source: { address: 'a' }, target: { address: 'b' } })
  }
  pair.drive()
  return { pair, sender }
}

test('§4.4.1 a message posted under a transaction is not taken up on another link: it would stand outside of it', () => {
  const { sender } = linked()
  const posted = sender.transfer(Uint8Array.of(1), { state: state(Uint8Array.of(1)) })
  const plain = sender.transfer(Uint8Array.of(2))
  const again = linked([posted, plain])
  expect(again.sender.abandoned).toEqual([posted])
  expect([...again.sender.queue]).toEqual([plain])
})
