/** Delivery-tags of a sender: those of the counter, and those that its owner chooses. §2.6.12 §2.8.7 */

import { expect, test } from 'vitest'
import { DeliveryTags } from '../../src/engine/delivery-tags.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'

const delivery = (tag: Uint8Array | number, settled = false) => ({ tag, settled }) as OutgoingDelivery

test('§2.6.12 a chosen tag is in use until it is freed; bytes count, not the array', () => {
  const tags = new DeliveryTags()
  expect(tags.has(Uint8Array.of(1, 255))).toBe(false)
  tags.free(Uint8Array.of(1, 255))
  tags.use(Uint8Array.of(1, 255))
  tags.use(Uint8Array.of(2))
  tags.free(7)
  expect([tags.has(Uint8Array.of(1, 255)), tags.has(Uint8Array.of(1))]).toEqual([true, false])
  tags.free(Uint8Array.of(1, 255))
  expect([tags.has(Uint8Array.of(1, 255)), tags.has(Uint8Array.of(2))]).toEqual([false, true])
})

test('§2.6.13 what is adopted takes the place of what was in use; the counter only goes on', () => {
  const tags = new DeliveryTags()
  expect([tags.next(), tags.next()]).toEqual([0, 1])
  tags.use(Uint8Array.of(1))
  tags.adopt([delivery(Uint8Array.of(2)), delivery(9), delivery(4), delivery(Uint8Array.of(3), true)])
  expect([1, 2, 3].map(byte => tags.has(Uint8Array.of(byte)))).toEqual([false, true, false])
  expect(tags.next()).toBe(10)
  tags.adopt([delivery(3)])
  expect([tags.next(), tags.has(Uint8Array.of(2))]).toEqual([11, false])
})

test('the counter wraps', () => {
  const tags = new DeliveryTags()
  tags.adopt([delivery(0xffffffff)])
  expect([tags.next(), tags.next()]).toEqual([0, 1])
})
