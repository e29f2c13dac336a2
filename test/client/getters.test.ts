/** Getters in a message, or in what opens a link, that use the same connection: each frame is whole, each promise settles. */

import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Connection, Sender } from '../../src/client/api.ts'
import { ClosedError } from '../../src/errors.ts'
import type { AmqpValue } from '../../src/types/values.ts'
import { pause } from '../waiting.ts'
import { type Joined, joined, settled } from './joined.ts'

let ends: Joined
let near: Connection
let sender: Sender
let received: unknown[]

beforeEach(async () => {
  received = []
  ends = await joined({
    onLink: async link => {
      if (link.remoteRole !== 'sender') return void (await link.accept())
      for await (const delivery of await link.accept()) {
        received.push([delivery.message.body, delivery.message.applicationProperties?.get('first')])
        await delivery.accept()
      }
    },
  })
  near = ends.near
  sender = await near.sender('q')
  await expect.poll(() => sender.linkCredit).toBeGreaterThan(0)
})
afterEach(() => ends[Symbol.asyncDispose]())

const FIRST = 'A'.repeat(100)

/** A message in the middle of which something is done, between its application properties and the end of its body. */
function meanwhile(act: () => unknown) {
  const value: AmqpValue[] = ['head', 'tail']
  Object.defineProperty(value, '1', {
    enumerable: true,
    get() {
      const done = act()
      if (done instanceof Promise) done.catch(() => {})
      return 'tail'
    },
  })
  return { applicationProperties: { first: FIRST }, body: { value } }
}
const WHOLE = [{ value: ['head', 'tail'] }, FIRST]

describe('while a message is being written', { timeout: 3000 }, () => {
  test('another is sent on the same link: that one first, both whole', async () => {
    expect(await sender.send(meanwhile(() => sender.send({ body: 'inner' })))).toEqual({ outcome: 'accepted' })
    expect(received).toEqual([['inner', undefined], WHOLE])
  })

  test('two more, one within the other', async () => {
    const second = meanwhile(() => sender.send({ body: 'third' }))
    expect(await sender.send(meanwhile(() => sender.send(second)))).toEqual({ outcome: 'accepted' })
    expect(received).toEqual([['third', undefined], WHOLE, WHOLE])
  })

  test.each([
    ['a session is begun', () => near.session()],
    ['a link is attached', () => sender.session.receiver('other')],
    ['a message fails', () => sender.send({ body: { value: {} } } as never)],
    [
      'much is flushed',
      () => Promise.all(Array.from({ length: 90 }, () => sender.send({ body: new Uint8Array(1000) }))),
    ],
  ])('%s', async (_name, act) => {
    expect(await sender.send(meanwhile(act))).toEqual({ outcome: 'accepted' })
    expect(received.at(-1)).toEqual(WHOLE)
    await sender.close()
    expect(await near.close()).toBeUndefined()
  })

  test.each([
    ['the connection is dropped', () => (near as unknown as { destroy(): void }).destroy()],
    ['the session is ended', () => sender.session.end({ error: { condition: 'a:b' } })],
    ['the link is closed', () => sender.close({ error: { condition: 'a:b' } })],
  ])('%s: send rejects, and nothing is queued', async (_name, act) => {
    const sent = settled(sender.send(meanwhile(act)))
    expect(await Promise.race([sent, pause(1000)])).toBeInstanceOf(ClosedError)
    expect(sender.pending).toBe(0)
  })
})

test('while an attach is being written, another frame is: that one first, both whole', async () => {
  const inner: Promise<unknown>[] = []
  const session = await near.session()
  const value: AmqpValue[] = [1]
  Object.defineProperty(value, '0', {
    enumerable: true,
    get() {
      inner.push(near.session())
      return FIRST
    },
  })
  await session.sender('x', { properties: { value } })
  expect(inner.length).toBeGreaterThan(0)
  await Promise.all(inner)
  await near.close()
})
