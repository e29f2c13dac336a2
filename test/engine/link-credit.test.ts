/** Link flow control (§2.6.7–10): the rules of the text, each once, and two ends that exchange them. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ReceiverCredit, SenderCredit } from '../../src/engine/link-credit.ts'
import { serialAdd } from '../../src/engine/serial.ts'

const MAX = 0xffffffff

describe('§2.6.7 the sender', () => {
  test('link-credit is delivery-count(rcv) + link-credit(rcv) − delivery-count(snd)', () => {
    const credit = new SenderCredit(MAX - 1)
    credit.onFlow({ deliveryCount: MAX - 1, linkCredit: 10, drain: false })
    expect(credit.linkCredit).toBe(10)
    for (let i = 0; i < 3; i++) credit.onSend()
    expect([credit.deliveryCount, credit.linkCredit]).toEqual([1, 7])
    // The receiver has seen only one of the three.
    credit.onFlow({ deliveryCount: MAX, linkCredit: 5, drain: false })
    expect(credit.linkCredit).toBe(3)
    credit.onFlow({ deliveryCount: MAX, linkCredit: 1, drain: false })
    expect(credit.linkCredit).toBe(0)
  })

  test('a receiver that does not know the delivery-count yet means the initial one', () => {
    const credit = new SenderCredit(50)
    credit.onFlow({ deliveryCount: undefined, linkCredit: 4, drain: false })
    expect(credit.linkCredit).toBe(4)
    credit.onSend()
    credit.onFlow({ deliveryCount: undefined, linkCredit: 4, drain: false })
    expect([credit.linkCredit, credit.initialDeliveryCount]).toEqual([3, 50])
  })

  test('a flow without link-credit changes nothing', () => {
    const credit = new SenderCredit()
    credit.onFlow({ deliveryCount: 0, linkCredit: 4, drain: true })
    credit.onFlow({ deliveryCount: 0, linkCredit: undefined, drain: false })
    expect([credit.linkCredit, credit.drain]).toEqual([4, true])
  })

  test('§2.6.8 drain: what is left is used up at once, across the wrap', () => {
    const credit = new SenderCredit(MAX - 2)
    credit.onFlow({ deliveryCount: MAX - 2, linkCredit: 10, drain: true })
    credit.onSend()
    expect(credit.consume()).toBe(9)
    expect([credit.linkCredit, credit.deliveryCount]).toEqual([0, 7])
    expect(credit.consume()).toBe(0)
    expect(credit.deliveryCount).toBe(7)
  })
})

describe('§2.6.7 the receiver', () => {
  test('a window: filled, used, filled again at half', () => {
    const credit = new ReceiverCredit(4)
    credit.onAttach(MAX)
    expect(credit.isLow).toBe(true)
    credit.refill()
    expect([credit.linkCredit, credit.isLow]).toEqual([4, false])
    expect([credit.onDelivery(), credit.onDelivery()]).toEqual([true, true])
    expect([credit.deliveryCount, credit.linkCredit, credit.held]).toEqual([1, 2, 2])
    // Two are held and not consumed: they take up the window.
    expect(credit.isLow).toBe(false)
    credit.consumed()
    credit.consumed()
    expect(credit.isLow).toBe(true)
    credit.refill()
    expect(credit.linkCredit).toBe(4)
    credit.consumed()
    expect(credit.held).toBe(0)
  })

  test('by hand: nothing is granted but what is asked for', () => {
    const credit = new ReceiverCredit(undefined)
    expect(credit.isLow).toBe(false)
    credit.refill()
    expect([credit.linkCredit, credit.onDelivery()]).toEqual([0, false])
    credit.grant(1)
    credit.grant(2)
    expect(credit.linkCredit).toBe(3)
    expect([credit.onDelivery(), credit.deliveryCount, credit.linkCredit]).toEqual([true, 1, 2])
    credit.grant(MAX)
    expect(credit.linkCredit).toBe(0x7fffffff)
  })

  test('a delivery without credit is refused and counted nowhere', () => {
    const credit = new ReceiverCredit(undefined)
    credit.onAttach(9)
    expect(credit.onDelivery()).toBe(false)
    expect([credit.deliveryCount, credit.linkCredit, credit.held]).toEqual([9, 0, 0])
  })

  test('available is the sender’s, and counts down as messages come', () => {
    const credit = new ReceiverCredit(10)
    credit.onAttach(0)
    credit.refill()
    credit.onFlow({ deliveryCount: 0, available: 2 })
    for (let i = 0; i < 3; i++) credit.onDelivery()
    expect(credit.available).toBe(0)
    credit.onFlow({ deliveryCount: undefined, available: 7 })
    expect(credit.available).toBe(7)
  })

  test('§2.6.8 drain is over when the sender’s delivery-count has used the credit up', () => {
    const credit = new ReceiverCredit(10)
    credit.onAttach(MAX - 1)
    credit.refill()
    credit.drain = true
    credit.onDelivery()
    expect(credit.onFlow({ deliveryCount: MAX, available: 0 })).toBe(false)
    expect([credit.drain, credit.isLow]).toEqual([true, false])
    credit.refill()
    expect(credit.linkCredit).toBe(9)
    expect(credit.onFlow({ deliveryCount: serialAdd(MAX, 9), available: 0 })).toBe(true)
    expect([credit.linkCredit, credit.drain, credit.deliveryCount]).toEqual([0, false, 8])
    expect(credit.onFlow({ deliveryCount: 8, available: 0 })).toBe(false)
  })

  test('a sender that reports less than has arrived is not believed', () => {
    const credit = new ReceiverCredit(10)
    credit.onAttach(5)
    credit.refill()
    credit.onDelivery()
    credit.onFlow({ deliveryCount: 5, available: undefined })
    expect([credit.deliveryCount, credit.linkCredit]).toEqual([6, 9])
  })
})

test('§2.6.7 two ends, delayed at will: never a delivery without credit, the same credit at rest', () => {
  const step = fc.oneof(
    fc.constantFrom('send' as const, 'arrive' as const, 'hear' as const, 'consume' as const, 'drain' as const),
    fc.integer({ min: 1, max: 5 }),
  )
  const start = fc.oneof(fc.constantFrom(0, MAX - 2, MAX), fc.integer({ min: 0, max: MAX }))
  const window = fc.option(fc.integer({ min: 1, max: 10 }), { nil: undefined })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), start, window, (steps, first, size) => {
      const sender = new SenderCredit(first)
      const receiver = new ReceiverCredit(size)
      receiver.onAttach(first)
      const flows: Parameters<SenderCredit['onFlow']>[0][] = []
      // What the sender says travels in order with its deliveries.
      const wire: ('delivery' | { deliveryCount: number; available: undefined })[] = []
      const tell = (): void => {
        receiver.refill()
        flows.push({ deliveryCount: receiver.deliveryCount, linkCredit: receiver.linkCredit, drain: receiver.drain })
      }
      const hear = (): void => {
        const flow = flows.shift()
        if (!flow) return
        sender.onFlow(flow)
        if (!sender.drain) return
        sender.consume()
        wire.push({ deliveryCount: sender.deliveryCount, available: undefined })
      }
      const arrive = (): void => {
        const item = wire.shift()
        if (item === 'delivery') expect(receiver.onDelivery()).toBe(true)
        else if (item) receiver.onFlow(item)
      }
      for (const step of steps) {
        if (typeof step === 'number') {
          if (!receiver.drain && size === undefined) receiver.grant(step)
          tell()
        } else if (step === 'drain') {
          receiver.drain = receiver.linkCredit > 0
          tell()
        } else if (step === 'send' && sender.linkCredit > 0) {
          sender.onSend()
          wire.push('delivery')
        } else if (step === 'arrive') arrive()
        else if (step === 'hear') hear()
        else if (step === 'consume') receiver.consumed()
        expect(Math.min(sender.linkCredit, receiver.linkCredit, receiver.held)).toBeGreaterThanOrEqual(0)
      }
      for (let i = 0; i < 3; i++) {
        tell()
        while (flows.length > 0) hear()
        while (wire.length > 0) arrive()
      }
      expect([receiver.drain, sender.drain && sender.linkCredit > 0]).toEqual([false, false])
      expect(sender.deliveryCount).toBe(receiver.deliveryCount)
      tell()
      hear()
      expect(sender.linkCredit).toBe(receiver.linkCredit)
    }),
  )
})
