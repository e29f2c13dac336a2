/** When tokens are renewed, by a clock that is moved: in time, one at a time, again after a failure, and no more after the end. */

import { expect, it, test, vi } from 'vitest'
import { after, pause, systemClock } from '../../src/iothub/clock.ts'
import { type RenewalInit, renewalDelay, TokenRenewal } from '../../src/iothub/credentials/token-renewal.ts'
import { ManualClock } from '../emulator/manual-clock.ts'

const DAY = 86_400_000
const NOW = 1_800_000_000_000

/** Lets promises that are resolved have their say. */
const turns = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await undefined
}

function world(init: Partial<RenewalInit> = {}): { clock: ManualClock; renewal: TokenRenewal; calls: number[] } {
  const clock = new ManualClock(NOW)
  const calls: number[] = []
  const renewal: TokenRenewal = new TokenRenewal({
    clock,
    marginMs: undefined,
    spread: 0,
    renew: async () => {
      calls.push(clock.now() - NOW)
      renewal.renewed(new Date(clock.now() + 100_000))
    },
    failed: () => undefined,
    ...init,
  })
  return { clock, renewal, calls }
}

it.each([
  // 15 % of the life, or five minutes
  [100_000, undefined, 0, 85_000],
  [3_600_000, undefined, 0, 3_300_000],
  [30 * DAY, undefined, 0, 30 * DAY - 300_000],
  [100_000, 30_000, 0, 70_000],
  [100_000, 0, 0, 100_000],
  // A margin that is longer than the life, and a life that is shorter than any sense.
  [100_000, 200_000, 0, 1000],
  [1000, 5000, 0, 500],
  // Earlier by chance
  [100_000, undefined, 0.2, 68_000],
])('a life of %i ms with a margin of %s ms, %s early, is renewed after %i ms', (life, margin, early, expected) => {
  expect(renewalDelay(life, margin, early)).toBe(expected)
})

it('renews again and again, each time before the end', async () => {
  const { clock, renewal, calls } = world()
  renewal.renewed(new Date(NOW + 100_000))
  for (let i = 0; i < 3; i++) {
    clock.advance(84_999)
    await turns()
    expect(calls).toHaveLength(i)
    clock.advance(1)
    await turns()
  }
  expect(calls).toEqual([85_000, 170_000, 255_000])
  expect(clock.timers).toBe(1)
})

it('waits longer than a timer can', async () => {
  const { clock, renewal, calls } = world()
  renewal.renewed(new Date(NOW + 100 * DAY))
  clock.advance(100 * DAY - 300_001)
  await turns()
  expect(calls).toEqual([])
  clock.advance(1)
  await turns()
  expect(calls).toEqual([100 * DAY - 300_000])
})

it('renews once for all who ask', async () => {
  let finish: () => void = () => {}
  let running = 0
  const renew = vi.fn(async () => {
    expect(++running).toBe(1)
    await new Promise<void>(resolve => {
      finish = resolve
    })
    running--
  })
  const { clock, renewal } = world({ renew })
  renewal.renewed(new Date(NOW + 100_000))
  clock.advance(85_000)
  const all = Promise.all([renewal.renew(), renewal.renew()])
  const afresh = renewal.renewAfresh()
  await turns()
  expect(renew).toHaveBeenCalledTimes(1)
  finish()
  await all
  await turns()
  // For a connection of which the first does not know.
  expect(renew).toHaveBeenCalledTimes(2)
  finish()
  await afresh
})

it('tries again after a failure, when it is told to, and counts', async () => {
  const attempts: number[] = []
  let fails = 3
  const { clock, renewal, calls } = world({
    renew: async () => {
      calls.push(clock.now() - NOW)
      if (fails-- > 0) throw new Error('no')
      renewal.renewed(new Date(clock.now() + 100_000))
    },
    failed: (_, attempt) => {
      attempts.push(attempt)
      return attempt * 100
    },
  })
  renewal.renewed(new Date(NOW + 100_000))
  for (const ms of [85_000, 100, 200, 300]) {
    clock.advance(ms)
    await turns()
  }
  expect(calls).toEqual([85_000, 85_100, 85_300, 85_600])
  expect(attempts).toEqual([1, 2, 3])
  fails = 1
  await expect(renewal.renew()).rejects.toThrow('no')
  expect(attempts).toEqual([1, 2, 3, 1])
})

it('gives up where it is told to', async () => {
  const { clock, renewal } = world({ renew: () => Promise.reject(new Error('no')) })
  renewal.renewed(new Date(NOW + 100_000))
  clock.advance(85_000)
  await turns()
  expect(clock.timers).toBe(0)
})

it('does not mind by how much the clock is wrong, and whether it is set', async () => {
  // Two hours fast: every token seems to be over. They are not renewed in a frenzy.
  const { clock, renewal, calls } = world({
    renew: async () => {
      calls.push(clock.now() - NOW)
      renewal.renewed(new Date(clock.now() - 3_600_000))
    },
  })
  renewal.renewed(new Date(NOW - 3_600_000))
  for (let i = 0; i < 10; i++) {
    clock.advance(60_000)
    await turns()
  }
  expect(calls).toHaveLength(10)
})

it('asks a source that has only one token now and then, not at once', async () => {
  const only = new Date(NOW + 3_600_000)
  const { clock, renewal, calls } = world({
    renew: async () => {
      calls.push(clock.now() - NOW)
      renewal.renewed(only)
    },
  })
  renewal.renewed(only)
  for (let i = 0; i < 3600; i++) {
    clock.advance(1000)
    await turns()
  }
  expect(calls[0]).toBe(3_300_000)
  expect(calls.length).toBeGreaterThan(3)
  expect(calls.length).toBeLessThan(20)
})

it('spreads the renewals of many', () => {
  const due = Array.from({ length: 200 }, () => {
    const { clock, renewal, calls } = world({ spread: 0.25 })
    renewal.renewed(new Date(NOW + 100_000))
    let ms = 0
    while (calls.length === 0) {
      clock.advance(1000)
      ms += 1000
    }
    return ms
  })
  expect(Math.min(...due)).toBeGreaterThanOrEqual(63_750)
  expect(Math.max(...due)).toBeLessThanOrEqual(85_000)
  expect(Math.max(...due) - Math.min(...due)).toBeGreaterThan(10_000)
})

it('leaves no timer behind, nor begins one', async () => {
  let fail: (error: Error) => void = () => {}
  const renew = (): Promise<void> =>
    new Promise((_, reject) => {
      fail = reject
    })
  const { clock, renewal } = world({ renew, failed: () => 1 })
  renewal.renewed(new Date(NOW + 100_000))
  const flight = renewal.renew()
  renewal.stop()
  fail(new Error('late'))
  await expect(flight).rejects.toThrow('late')
  renewal.renewed(new Date(NOW + 200_000))
  expect(clock.timers).toBe(0)
})

test('a pause ends when it is over, or with its signal, and leaves nothing behind', async () => {
  const clock = new ManualClock()
  let isOver = false
  void pause(clock, 100).then(() => {
    isOver = true
  })
  clock.advance(99)
  await turns()
  expect(isOver).toBe(false)
  clock.advance(1)
  await turns()
  expect(isOver).toBe(true)
  const abort = new AbortController()
  const waiting = pause(clock, 100, abort.signal)
  expect(clock.timers).toBe(1)
  abort.abort()
  await waiting
  expect(clock.timers).toBe(0)
  await pause(clock, 100, abort.signal)
})

test('the clock of this machine', async () => {
  await pause(systemClock, 1)
  const cancel = after(systemClock, 5, () => expect.unreachable())
  cancel()
  await pause(systemClock, 10)
  expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1000)
})
