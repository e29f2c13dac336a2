/** Idle time-outs on a clock of our own (§2.4.5): when a heartbeat is due, when the peer is given up. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { IdleTimeout } from '../../src/engine/idle-timeout.ts'

describe('§2.4.5 idle time-out', () => {
  test('neither end watches: nothing is ever due', () => {
    const idle = new IdleTimeout(0, 100)
    expect([idle.expired(1e9), idle.heartbeatDue(1e9), idle.deadline()]).toEqual([false, false, undefined])
  })

  test('we watch: the peer is given up after twice what we announced, counted from its last bytes', () => {
    const idle = new IdleTimeout(1000, 0)
    expect([idle.limitMs, idle.deadline()]).toEqual([2000, 2000])
    expect([idle.expired(1999), idle.expired(2000)]).toEqual([false, true])
    idle.onInput(1500)
    expect([idle.deadline(), idle.expired(2000), idle.expired(3499), idle.expired(3500)]).toEqual([
      3500,
      false,
      false,
      true,
    ])
    idle.onOutput(3000)
    expect(idle.deadline()).toBe(3500)
    expect(idle.heartbeatDue(1e9)).toBe(false)
  })

  test('the peer watches: an empty frame after half of its time without output', () => {
    const idle = new IdleTimeout(0, 0)
    idle.remoteMs = 1000
    expect([idle.deadline(), idle.heartbeatDue(499), idle.heartbeatDue(500)]).toEqual([500, false, true])
    idle.onOutput(500)
    expect([idle.deadline(), idle.heartbeatDue(999), idle.heartbeatDue(1000)]).toEqual([1000, false, true])
    idle.onInput(900)
    expect(idle.heartbeatDue(1000)).toBe(true)
    expect(idle.expired(1e9)).toBe(false)
  })

  test('at the deadline something is due, before it nothing', () => {
    const ms = fc.integer({ min: 0, max: 100_000 })
    fc.assert(
      fc.property(ms, ms, ms, ms, ms, (announced, remote, start, input, output) => {
        const idle = new IdleTimeout(announced, start)
        idle.remoteMs = remote
        idle.onInput(start + input)
        idle.onOutput(start + output)
        const deadline = idle.deadline()
        if (deadline === undefined) {
          expect([announced, remote]).toEqual([0, 0])
          return
        }
        expect(idle.expired(deadline) || idle.heartbeatDue(deadline)).toBe(true)
        expect(idle.expired(deadline - 0.5) || idle.heartbeatDue(deadline - 0.5)).toBe(false)
      }),
    )
  })
})
