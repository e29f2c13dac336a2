/** Detaches and ends that wait: all at once, or those of one link's name. §2.6.1 §2.6.4 */

import { describe, expect, test } from 'vitest'
import { Postponed } from '../../src/engine/postponed.ts'

const thing = (done: string[], what: string) => {
  const own = { isReady: true, frameDetach: () => own.isReady && done.push(what) > 0 }
  return own
}

const link = (done: string[], what: string, session: object, name: string, role = 'sender') =>
  Object.assign(thing(done, what), { session, role, name })

describe('Postponed', () => {
  test('frames what is ready, once, in the order in which it came', () => {
    const done: string[] = []
    const postponed = new Postponed()
    const session = {}
    const late = thing(done, 'end')
    late.isReady = false
    postponed.add(late)
    postponed.addLink(link(done, 'a', session, 'x'))
    postponed.addLink(link(done, 'b', session, 'x'))
    postponed.addLink(link(done, 'c', session, 'y'))
    postponed.frame()
    expect([done.join(), postponed.size]).toEqual(['a,b,c', 1])
    late.isReady = true
    postponed.frame()
    expect([done.join(), postponed.size]).toEqual(['a,b,c,end', 0])
  })

  test('§2.6.1 by name: of the same role only, on whatever session', () => {
    const done: string[] = []
    const postponed = new Postponed()
    const [one, other] = [{}, {}]
    const waits = link(done, 'waits', one, 'x')
    waits.isReady = false
    postponed.addLink(waits)
    postponed.addLink(link(done, 'mine', one, 'x'))
    postponed.addLink(link(done, 'role', one, 'x', 'receiver'))
    postponed.addLink(link(done, 'name', one, 'y'))
    postponed.addLink(link(done, 'session', other, 'x'))
    postponed.frameNamed(link(done, '', one, 'x'))
    postponed.frameNamed(link(done, '', one, 'z'))
    expect([done.join(), postponed.size]).toEqual(['mine,session', 3])
    waits.isReady = true
    postponed.frameNamed(link(done, '', one, 'x'))
    expect([done.join(), postponed.size]).toEqual(['mine,session,waits', 2])
    postponed.clear()
    postponed.frameNamed(link(done, '', one, 'y'))
    postponed.frame()
    expect([done.join(), postponed.size]).toEqual(['mine,session,waits', 0])
  })
})
