/** What a sender answers to a drain, how long a close may take, what a trace shows: found against another library. */

import { expect, test } from 'vitest'
import type { EngineEvent } from '../../src/engine/events.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import { expectEvent, hear, Pair } from '../support/pair.ts'

/** Two open connections and a link from left to right without credit. */
function linked(): { pair: Pair; sender: SenderEndpoint; receiver: ReceiverEndpoint } {
  const pair = new Pair({ trace: true }, { trace: true })
  pair.left.connection.open({ containerId: 'left', idleTimeOut: 1000 })
  pair.right.connection.open({ containerId: 'right', idleTimeOut: 1000 })
  const session = pair.left.connection.session()
  session.begin()
  const sender = session.sender('l1')
  sender.attach({ source: {}, target: { address: 'q' } })
  pair.drive()
  const heard = hear(pair.right)
  expectEvent(heard, 'session.begun').session.begin()
  const { link, attach } = expectEvent(heard, 'link.attached')
  const receiver = link as ReceiverEndpoint
  receiver.useWindow(undefined)
  receiver.attach({ source: attach.source, target: attach.target })
  pair.drive()
  hear(pair.left)
  hear(pair.right)
  return { pair, sender, receiver }
}

const EMPTY_FRAME = Uint8Array.of(0, 0, 0, 8, 2, 0, 0, 0)

const framesOut = (events: EngineEvent[]) =>
  events.flatMap(event => (event.type === 'frame' && event.direction === 'out' ? [event] : []))

test('§2.6.7 the drain flag in a sender’s flow is the last value that the receiver has told', () => {
  const { pair, sender, receiver } = linked()
  receiver.flow(10)
  receiver.drain()
  pair.drive()
  const flows = framesOut(hear(pair.left).events).map(({ body }) => body)
  expect(flows).toMatchObject([{ type: 'flow', deliveryCount: 10, linkCredit: 0, drain: true }])
  expectEvent(hear(pair.right), 'link.drained')
  expect(receiver.credit.linkCredit).toBe(0)

  // Fresh credit without the flag ends it.
  receiver.flow(1)
  pair.drive()
  expect(sender.credit).toMatchObject({ linkCredit: 1, drain: false })
})

test('§2.4.3 a close gives up after closeMs, also when what is queued never gets credit', () => {
  const { pair, sender } = linked()
  const { closeMs } = pair.left.limits
  sender.transfer(Uint8Array.of(1))
  pair.left.connection.close()
  pair.drive()
  // Until then its own heartbeats still leave.
  expect(pair.left.tick(pair.now)).toBe(pair.now + 500)
  pair.left.receive(EMPTY_FRAME, pair.now + closeMs - 1)
  expect(pair.left.tick(pair.now + closeMs - 1)).toBeLessThanOrEqual(pair.now + closeMs)
  expect(pair.left.isDone).toBe(false)
  pair.left.tick(pair.now + closeMs)
  expect(pair.left.isDone).toBe(true)
  expect(expectEvent(hear(pair.left), 'connection.closed')).toMatchObject({
    by: 'transport',
    error: { code: 'ERR_AMQP_TRANSPORT' },
  })
})

test('§2.4.5 a trace shows our empty frames as it shows the peer’s', () => {
  const { pair } = linked()
  pair.now += 600
  pair.drive()
  const empty = (events: EngineEvent[], direction: 'in' | 'out') =>
    events.filter(event => event.type === 'frame' && event.direction === direction && event.body === undefined)
  const { events } = hear(pair.left)
  expect(empty(events, 'out')).toHaveLength(1)
  expect(empty(events, 'in')).toHaveLength(1)
})
