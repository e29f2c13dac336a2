/**
 * Credit that is taken back while deliveries are under way: whatever is granted, resized and stopped, and however flows
 * and deliveries cross, nothing that had credit when it was sent is refused, and at rest both ends count alike. §2.6.10
 */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ReceiverCredit, SenderCredit } from '../../src/engine/link-credit.ts'
import { patience, runs } from './world.ts'

type Flow = { deliveryCount: number; linkCredit: number; drain: boolean; available: undefined }

/** What may happen, with how much of it. */
const step = fc.tuple(
  fc.constantFrom('grant', 'resize', 'stop', 'drain', 'send', 'consume', 'toSender', 'toReceiver'),
  fc.integer({ min: 1, max: 6 }),
)

test('nothing that had credit when it was sent is refused', patience, () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 0, max: 0xffffffff }), (steps, initial) => {
      const sender = new SenderCredit(initial)
      const receiver = new ReceiverCredit(undefined)
      receiver.onAttach(initial)
      const toSender: Flow[] = []
      const toReceiver: (Flow | 'delivery')[] = []
      let held = 0
      const tell = () => {
        receiver.refill()
        const { deliveryCount, linkCredit, drain } = receiver
        toSender.push({ deliveryCount, linkCredit, drain, available: undefined })
      }
      const answer = () => {
        const { deliveryCount, linkCredit, drain } = sender
        toReceiver.push({ deliveryCount, linkCredit, drain, available: undefined })
      }
      const hear = () => {
        const flow = toSender.shift()
        if (!flow) return
        sender.onFlow(flow)
        if (!sender.drain) return
        sender.consume()
        answer()
      }
      const take = () => {
        const what = toReceiver.shift()
        if (what === 'delivery') {
          expect(receiver.onDelivery()).toBe(true)
          held++
        } else if (what) receiver.onFlow(what)
      }
      for (const [what, count] of steps) {
        for (let i = 0; i < count; i++) {
          if (what === 'send' && sender.linkCredit > 0) {
            sender.onSend()
            toReceiver.push('delivery')
          }
          if (what === 'consume' && held > 0) {
            held--
            receiver.consumed()
          }
          if (what === 'toSender') hear()
          if (what === 'toReceiver') take()
        }
        if (what === 'grant' && receiver.window === undefined) {
          receiver.grant(count)
          tell()
        }
        if (what === 'resize' || what === 'stop') {
          receiver.resize(what === 'stop' ? undefined : count)
          if (what === 'stop') receiver.drain = true
          tell()
        }
        if (what === 'drain' && receiver.linkCredit > 0) {
          receiver.drain = true
          tell()
        }
        expect(Math.min(receiver.linkCredit, receiver.revoked, sender.linkCredit)).toBeGreaterThanOrEqual(0)
      }
      while (toSender.length > 0) hear()
      while (toReceiver.length > 0) take()
      expect([receiver.deliveryCount, receiver.linkCredit]).toEqual([sender.deliveryCount, sender.linkCredit])
    }),
    runs(2000),
  )
})
