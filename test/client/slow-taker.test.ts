/** Receivers whose deliveries nobody takes: what lies there is bounded in bytes, and their senders wait. §2.5.6 */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import type { IncomingLink, Receiver } from '../../src/client/api.ts'
import { pause } from '../waiting.ts'
import { joined } from './joined.ts'

const SIZE = 10_000
const COUNT = 200
/** Small frames and a small window, so that a session's window is 64 KiB. */
const NEAR = { maxFrameSize: 4096, limits: { maxBufferedBytes: 100_000 } }

/** A receiver at the near end of a source that has `COUNT` messages, and how many of them have left. */
async function slow(how: { settled?: boolean; limits?: object } = {}) {
  let sent = 0
  const ends = await joined({
    near: { ...NEAR, limits: { ...NEAR.limits, ...how.limits } },
    onLink: async (link: IncomingLink) => {
      if (link.remoteRole !== 'receiver') return link.accept()
      const sender = await link.accept()
      if (link.source?.address !== 'big') return sender.send({ body: 'small' })
      for (let i = 0; i < COUNT; i++)
        void sender.send({ body: new Uint8Array(SIZE) }, { settled: how.settled === true }).then(
          () => sent++,
          () => {},
        )
      return sender
    },
  })
  const session = await ends.near.session({ incomingWindow: 16 })
  const receiver = await session.receiver('big', { credit: { window: COUNT } })
  const { untaken } = (receiver as unknown as { endpoint: { session: { connection: { untaken: { bytes: number } } } } })
    .endpoint.session.connection
  return { ends, session, receiver, untaken, sent: () => sent }
}

async function takeAll(receiver: Receiver): Promise<number> {
  let taken = 0
  for await (const delivery of receiver) {
    expect(delivery.bytes.length).toBeGreaterThan(SIZE)
    await delivery.accept()
    if (++taken % 10 === 0) await pause()
    if (taken === COUNT) break
  }
  return taken
}

test('the sender waits when the limit is reached, and goes on as deliveries are taken', async () => {
  const { ends, receiver, untaken, sent } = await slow({ settled: true })
  await using _ = ends
  await pause(100)
  const before = sent()
  expect(before).toBeGreaterThan(2)
  expect(before).toBeLessThan(30)
  expect(untaken.bytes).toBeGreaterThan(100_000)
  expect(untaken.bytes).toBeLessThan(300_000)
  expect(await takeAll(receiver)).toBe(COUNT)
  expect(sent()).toBe(COUNT)
  expect(untaken.bytes).toBe(0)
})

test('links of other sessions go on meanwhile', async () => {
  const { ends } = await slow()
  await using _ = ends
  await pause(50)
  const other = await (await ends.near.session()).receiver('small')
  expect((await other.receive()).message.body).toBe('small')
})

test('with process, what waits for a handler is counted until it has one', async () => {
  const { ends, receiver, untaken } = await slow()
  await using _ = ends
  let handled = 0
  let most = 0
  const done = receiver.process(
    async () => {
      most = Math.max(most, untaken.bytes)
      await pause()
      if (++handled === COUNT) void receiver.close()
    },
    { concurrency: 50 },
  )
  await done
  expect(handled).toBe(COUNT)
  expect(most).toBeLessThan(300_000)
  expect(untaken.bytes).toBe(0)
})

test.each(['close', 'detach'])('nothing is counted after %s', async verb => {
  const { ends, receiver, untaken } = await slow()
  await using _ = ends
  await pause(50)
  expect(untaken.bytes).toBeGreaterThan(100_000)
  await receiver[verb as 'close']()
  expect(untaken.bytes).toBe(0)
})

test('what was not settled is dropped when the sender has ended the link', async () => {
  const { ends, receiver, untaken } = await slow()
  await using _ = ends
  await pause(50)
  await ends.sessions[0]?.end({ error: { condition: 'amqp:internal-error' } })
  await receiver.closed
  expect(untaken.bytes).toBe(0)
})

/** What a sender has settled can be taken when its link has ended. */
async function left() {
  const { ends, receiver, untaken } = await slow({ settled: true })
  await pause(50)
  await ends.sessions[0]?.end({ error: { condition: 'amqp:internal-error' } })
  await receiver.closed
  expect(untaken.bytes).toBeGreaterThan(100_000)
  return { ends, receiver, untaken }
}

test('what was settled is counted until it is taken', async () => {
  const { ends, receiver, untaken } = await left()
  await using _ = ends
  for (let before = untaken.bytes; before > 0; before = untaken.bytes) {
    expect((await receiver.receive()).bytes.length).toBeGreaterThan(SIZE)
    expect(untaken.bytes).toBeLessThan(before)
  }
})

test('or until its owner has dropped it', async () => {
  const { ends, untaken } = await left()
  await using _ = ends
  setFlagsFromString('--expose-gc')
  const gc: () => void = runInNewContext('gc')
  for (let i = 0; i < 100 && untaken.bytes > 0; i++) {
    gc()
    await pause(10)
  }
  expect(untaken.bytes).toBe(0)
})

test('a peer that fills many windows beyond maxIncompleteBytes loses the link that goes too far', async () => {
  const { ends, session, receiver } = await slow({ settled: true, limits: { maxIncompleteBytes: 1 } })
  await using _ = ends
  expect((await receiver.closed).error?.condition).toBe('amqp:resource-limit-exceeded')
  const other = await session.receiver('small')
  expect((await other.receive()).message.body).toBe('small')
})
