import { describe, expect, it } from 'vitest'
import { Alarm, systemClock } from '../../src/emulator/clock.ts'
import { ManualClock } from './manual-clock.ts'

function alarmAt(start = 0): { clock: ManualClock; alarm: Alarm; rang: number[] } {
  const clock = new ManualClock(start)
  const rang: number[] = []
  return { clock, alarm: new Alarm(clock, () => rang.push(clock.now())), rang }
}

describe('Alarm', () => {
  it('rings once at its deadline', () => {
    const { clock, alarm, rang } = alarmAt()
    alarm.set(100)
    clock.advance(99)
    expect(rang).toEqual([])
    clock.advance(500)
    expect(rang).toEqual([100])
    expect(clock.timers).toBe(0)
  })

  it('can be moved and called off, with one timer at most', () => {
    const { clock, alarm, rang } = alarmAt()
    alarm.set(100)
    alarm.set(50)
    expect(clock.timers).toBe(1)
    clock.advance(60)
    alarm.set(200)
    alarm.set(undefined)
    clock.advance(1000)
    expect(rang).toEqual([50])
  })

  it('is due at once for a deadline in the past, and can be set to the same one again', () => {
    const { clock, alarm, rang } = alarmAt(1000)
    alarm.set(0)
    expect(rang).toEqual([])
    clock.advance(0)
    alarm.set(0)
    clock.advance(0)
    expect(rang).toEqual([1000, 1000])
  })

  it('waits longer than one timer can', () => {
    const { clock, alarm, rang } = alarmAt()
    const year = 365 * 86_400_000
    alarm.set(year)
    clock.advance(year - 1)
    expect(rang).toEqual([])
    clock.advance(1)
    expect(rang).toEqual([year])
  })
})

it('the system clock tells the time and keeps its timers', async () => {
  expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1000)
  const cancel = systemClock.setTimer(() => expect.unreachable(), 1)
  cancel()
  const keepAlive = setTimeout(() => {}, 1000)
  await new Promise<void>(resolve => systemClock.setTimer(resolve, 1))
  clearTimeout(keepAlive)
})
