/** Delivery-tags of a link: those of the counter, and those that its owner chooses. §2.6.12 §2.8.7 */

import { expect, test } from 'vitest'
import { DeliveryTags } from '../../src/engine/delivery-tags.ts'
import { UsageError } from '../../src/errors.ts'

const isFree = (tags: DeliveryTags, ...bytes: number[]): boolean => {
  try {
    tags.check(Uint8Array.from(bytes), 'l')
    return true
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError)
    return false
  }
}

test('§2.6.12 a chosen tag is in use until it is freed; bytes count, not the array', () => {
  const tags = new DeliveryTags()
  expect(isFree(tags, 1, 255)).toBe(true)
  tags.free(Uint8Array.of(1, 255))
  tags.use(Uint8Array.of(1, 255))
  tags.use(Uint8Array.of(2))
  tags.free(7)
  expect([isFree(tags, 1, 255), isFree(tags, 1)]).toEqual([false, true])
  tags.free(Uint8Array.of(1, 255))
  expect([isFree(tags, 1, 255), isFree(tags, 2)]).toEqual([true, false])
})

test('§2.8.7 a tag has at most 32 bytes', () => {
  const tags = new DeliveryTags()
  expect(isFree(tags, ...Array(32).fill(0))).toBe(true)
  expect(() => tags.check(new Uint8Array(33), 'l')).toThrow('at most 32 bytes, not 33')
})

test('§2.6.13 the counter goes on behind what is in use of an earlier endpoint’s', () => {
  const tags = new DeliveryTags()
  expect([tags.next(), tags.next()]).toEqual([0, 1])
  tags.use(9)
  tags.use(4)
  expect(tags.next()).toBe(10)
})

test('the counter wraps', () => {
  const tags = new DeliveryTags()
  tags.use(0xffffffff)
  expect([tags.next(), tags.next()]).toEqual([0, 1])
})
