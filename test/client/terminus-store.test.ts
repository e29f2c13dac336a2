/** What the store of a listener's termini is left with: never more than is kept, and the last word. §3.5.5 */

import { afterEach, describe, expect, test } from 'vitest'
import type { TerminusOptions, TerminusRecord } from '../../src/client/api-termini.ts'
import { source } from '../peer/composites.ts'
import { attachReceiver, Keeping } from '../support/reattaching.ts'
import { quiet } from '../support/scripted-connection.ts'

const DURABLE = { durable: 1, expiryPolicy: 'never' }

/** A store whose calls take as long as they are told to. */
class SlowStore {
  readonly records = new Map<string, TerminusRecord>()
  /** Called before each change; it is made when that resolves. */
  before: (change: 'set' | 'delete') => unknown = () => {}

  readonly store = {
    get: async ({ name }: { name: string }) => this.records.get(name),
    set: async ({ name }: { name: string }, record: TerminusRecord) => {
      await this.before('set')
      this.records.set(name, record)
    },
    delete: async ({ name }: { name: string }) => {
      await this.before('delete')
      this.records.delete(name)
    },
  }
}

let keeping: Keeping | undefined
afterEach(() => keeping?.close())

function listening(slow: SlowStore, options: TerminusOptions = {}): Keeping {
  keeping = new Keeping({ termini: { store: slow.store, ...options } })
  return keeping
}

describe('the store of termini', () => {
  test('has no record of a terminus for which there is no place', async () => {
    const slow = new SlowStore()
    const at = await listening(slow, { maxTermini: 1 }).connected()
    await attachReceiver(at, DURABLE, DURABLE)
    const further = { name: 'm', handle: 1 }
    await attachReceiver(at, DURABLE, { expiryPolicy: 'link-detach' }, further, further)
    expect([...slow.records.keys()]).toEqual(['l'])
  })

  test('has no record of a link whose peer was gone before it was attached', async () => {
    const slow = new SlowStore()
    const at = await listening(slow).connected()
    let go = (): void => {}
    slow.before = change => change === 'set' && new Promise<void>(resolve => (go = resolve))
    at.peer.sendAttach({ name: 'l', handle: 0, role: 'receiver', source: source({ address: 'a', ...DURABLE }) })
    await quiet()
    at.cut()
    await quiet()
    go()
    await quiet()
    expect([...slow.records.keys()]).toEqual([])
  })

  test('is told one thing after the other, so that a slow deletion does not take what came behind it', async () => {
    const slow = new SlowStore()
    const at = await listening(slow).connected()
    await attachReceiver(at, DURABLE, DURABLE)
    let go = (): void => {}
    slow.before = change => change === 'delete' && new Promise<void>(resolve => (go = resolve))
    at.peer.sendDetach({ handle: 0, closed: true })
    await quiet()
    at.peer.expectDetach({ handle: 0, closed: true })
    at.peer.sendAttach({ name: 'l', handle: 0, role: 'receiver', source: source({ address: 'a', ...DURABLE }) })
    await quiet()
    go()
    await quiet()
    expect(at.peer.all().map(({ name }) => name)).toEqual(['attach'])
    expect([...slow.records.keys()]).toEqual(['l'])
  })
})
