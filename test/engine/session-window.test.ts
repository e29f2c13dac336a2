/** Session flow control (§2.5.6): the rules of the text, each once, and two ends that exchange them. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { serialAdd } from '../../src/engine/serial.ts'
import { OUTGOING_WINDOW, SessionWindow } from '../../src/engine/session-window.ts'

const MAX = 0xffffffff

describe('§2.5.6 session window', () => {
  test('begin gives the peer’s initial state', () => {
    const window = new SessionWindow(10, 7)
    expect([window.nextOutgoingId, window.initialOutgoingId, window.nextIncomingId, window.incomingWindow]).toEqual([
      7,
      7,
      undefined,
      10,
    ])
    window.onBegin({ nextOutgoingId: 100, incomingWindow: 5, outgoingWindow: 6 })
    expect([window.nextIncomingId, window.remoteIncomingWindow, window.remoteOutgoingWindow]).toEqual([100, 5, 6])
  })

  test('sending a transfer: next-outgoing-id up, remote-incoming-window down', () => {
    const window = new SessionWindow(10, MAX)
    window.onBegin({ nextOutgoingId: 0, incomingWindow: 2, outgoingWindow: 0 })
    expect([window.onTransferSent(), window.onTransferSent()]).toEqual([MAX, 0])
    expect([window.nextOutgoingId, window.remoteIncomingWindow]).toEqual([1, 0])
  })

  test('receiving a transfer: next-incoming-id up, both windows down, none beyond what was announced', () => {
    const window = new SessionWindow(2)
    window.onBegin({ nextOutgoingId: MAX, incomingWindow: 0, outgoingWindow: 1 })
    expect(window.onTransferReceived()).toBe(true)
    expect([window.nextIncomingId, window.incomingWindow, window.remoteOutgoingWindow]).toEqual([0, 1, 0])
    expect(window.onTransferReceived()).toBe(true)
    expect([window.nextIncomingId, window.incomingWindow, window.remoteOutgoingWindow]).toEqual([1, 0, 0])
    expect(window.onTransferReceived()).toBe(false)
    expect([window.nextIncomingId, window.incomingWindow]).toEqual([1, 0])
    window.refill()
    expect(window.onTransferReceived()).toBe(true)
  })

  test('receiving a flow: remote-incoming-window is next-incoming-id(flow) + incoming-window(flow) − next-outgoing-id', () => {
    const window = new SessionWindow(10, MAX - 1)
    window.onBegin({ nextOutgoingId: 0, incomingWindow: 9, outgoingWindow: 0 })
    for (let i = 0; i < 4; i++) window.onTransferSent()
    // Two of the four have arrived there: 2^32 - 2 + 2 = 0 is next, five more may come, two are on their way.
    window.onFlow({ nextIncomingId: 0, incomingWindow: 5, nextOutgoingId: 30, outgoingWindow: 8 })
    expect(window.remoteIncomingWindow).toBe(3)
    expect([window.nextIncomingId, window.remoteOutgoingWindow]).toEqual([30, 8])
    window.onFlow({ nextIncomingId: 0, incomingWindow: 1, nextOutgoingId: 30, outgoingWindow: 8 })
    expect(window.remoteIncomingWindow).toBe(0)
  })

  test('a flow without next-incoming-id counts from initial-outgoing-id, or from what is known to have arrived (D-015)', () => {
    const flow = { nextIncomingId: undefined, incomingWindow: 5, nextOutgoingId: 0, outgoingWindow: 0 }
    const window = new SessionWindow(10, 100)
    window.onBegin({ nextOutgoingId: 0, incomingWindow: 5, outgoingWindow: 0 })
    for (let i = 0; i < 3; i++) window.onTransferSent()
    window.onFlow(flow)
    expect(window.remoteIncomingWindow).toBe(2)
    window.acknowledge(101)
    window.onFlow(flow)
    expect(window.remoteIncomingWindow).toBe(4)
    window.acknowledge(100)
    window.onFlow(flow)
    expect(window.remoteIncomingWindow).toBe(4)
    window.onFlow({ ...flow, nextIncomingId: 103 })
    expect(window.remoteIncomingWindow).toBe(5)
    window.onFlow(flow)
    expect(window.remoteIncomingWindow).toBe(5)
  })

  test('is low when half of it is used', () => {
    const window = new SessionWindow(5)
    window.onBegin({ nextOutgoingId: 0, incomingWindow: 0, outgoingWindow: 0 })
    const low = [0, 1, 2, 3].map(() => window.onTransferReceived() && window.isLow)
    expect(low).toEqual([false, false, true, true])
    window.refill()
    expect([window.isLow, window.incomingWindow]).toEqual([false, 5])
  })

  test('two ends, flows and transfers delayed at will: never a transfer without room, the same window at rest', () => {
    const step = fc.constantFrom('send' as const, 'arrive' as const, 'flow' as const, 'hear' as const)
    const id = fc.oneof(fc.constantFrom(0, MAX - 3, MAX), fc.integer({ min: 0, max: MAX }))
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), id, fc.integer({ min: 1, max: 20 }), (steps, first, size) => {
        const [sender, receiver] = [new SessionWindow(1, first), new SessionWindow(size, 0)]
        sender.onBegin({ nextOutgoingId: 0, incomingWindow: size, outgoingWindow: OUTGOING_WINDOW })
        receiver.onBegin({ nextOutgoingId: first, incomingWindow: 1, outgoingWindow: OUTGOING_WINDOW })
        let [sent, arrived] = [0, 0]
        const flows: Parameters<SessionWindow['onFlow']>[0][] = []
        const announce = (): void => {
          receiver.refill()
          flows.push({
            nextIncomingId: receiver.nextIncomingId,
            incomingWindow: receiver.incomingWindow,
            nextOutgoingId: 0,
            outgoingWindow: OUTGOING_WINDOW,
          })
        }
        const take = (): void => {
          expect(receiver.onTransferReceived()).toBe(true)
          expect(receiver.nextIncomingId).toBe(serialAdd(first, ++arrived))
        }
        for (const step of steps) {
          if (step === 'send' && sender.remoteIncomingWindow > 0) {
            expect(sender.onTransferSent()).toBe(serialAdd(first, sent++))
          } else if (step === 'arrive' && arrived < sent) take()
          else if (step === 'flow') announce()
          else if (step === 'hear') {
            const flow = flows.shift()
            if (flow) sender.onFlow(flow)
          }
          expect(sender.remoteIncomingWindow).toBeGreaterThanOrEqual(0)
        }
        while (arrived < sent) take()
        announce()
        for (const flow of flows) sender.onFlow(flow)
        expect(sender.remoteIncomingWindow).toBe(receiver.incomingWindow)
      }),
    )
  })
})
