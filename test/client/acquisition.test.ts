/** §4.4.3 §4.5.2: a controller and a coordinator of ours: messages acquired under a transaction, and global ones. */

import { describe, expect, test } from 'vitest'
import type { Receiver, Sender } from '../../src/client/api.ts'
import type { CoordinatedTransaction } from '../../src/client/api-transactions.ts'
import { UsageError } from '../../src/errors.ts'
import { symbol } from '../../src/types/values.ts'
import { pause } from '../waiting.ts'
import { joined, settled } from './joined.ts'

const open = Symbol('open')
const now = (promise: Promise<unknown>): Promise<unknown> => Promise.race([promise, pause(5).then(() => open)])

async function both() {
  const over: [string, CoordinatedTransaction][] = []
  const senders: Sender[] = []
  const ends = await joined({
    far: {
      coordinator: {
        commit: transaction => over.push(['commit', transaction]),
        rollback: transaction => over.push(['rollback', transaction]),
      },
    },
    onLink: async link => {
      if (link.remoteRole === 'receiver') senders.push(await link.accept())
    },
  })
  const receiver = await ends.near.receiver('q', { credit: 'manual' })
  const [sender] = senders
  if (!sender) throw new Error('no link came')
  const take = async (n: number, of: Receiver = receiver) => {
    const taken = []
    for (let i = 0; i < n; i++) taken.push(await of.receive())
    return taken
  }
  return { ends, receiver, over, take, send: (body: string) => settled(sender.send({ body })) }
}

describe('§4.4.3 acquisition, both ends', () => {
  test('committed: what was accepted is gone, what was rejected too, what was not decided may still be', async () => {
    const { ends, receiver, over, take, send } = await both()
    await using _ = ends
    const outcomes = [send('a'), send('b'), send('c')]
    const transaction = await ends.near.transaction()
    receiver.addCredit(5, { transaction })
    const [a, b, c] = await take(3)
    await a?.accept()
    await b?.reject({ condition: 'x:y' })
    expect(await now(outcomes[0] as Promise<unknown>)).toBe(open)
    await transaction.commit()
    expect(await Promise.all(outcomes.slice(0, 2))).toMatchObject([{ outcome: 'accepted' }, { outcome: 'rejected' }])
    expect(over[0]?.[1].acquired.map(({ outcome }) => outcome?.outcome)).toEqual(['accepted', 'rejected', undefined])
    expect(await now(outcomes[2] as Promise<unknown>)).toBe(open)
    await c?.release()
    expect(await outcomes[2]).toEqual({ outcome: 'released' })
  })

  test('rolled back: everything is released, and sent again under the next transaction', async () => {
    const { ends, receiver, take, send, over } = await both()
    await using _ = ends
    const outcomes = [send('a'), send('b')]
    const first = await ends.near.transaction()
    receiver.addCredit(2, { transaction: first })
    const [a, b] = await take(2)
    await a?.accept()
    await first.rollback()
    expect(await Promise.all(outcomes)).toEqual([{ outcome: 'released' }, { outcome: 'released' }])
    expect([a?.state, b?.state]).toEqual(['settled', 'settled'])
    const again = send('a')
    const second = await ends.near.transaction()
    receiver.addCredit(1, { transaction: second })
    const [more] = await take(1)
    await more?.accept()
    await second.commit()
    expect(await again).toEqual({ outcome: 'accepted' })
    expect(over.map(([what]) => what)).toEqual(['rollback', 'commit'])
  })
})

describe('§4.5.2 §4.5.7 global transactions', () => {
  test('where they are offered: the coordinator is told the id', async () => {
    const told: unknown[] = []
    await using ends = await joined({
      far: { coordinator: { distributed: true, declare: ({ globalId }) => told.push(globalId) } },
    })
    const globalId = new Map([[symbol('xid'), Uint8Array.of(1, 2)]])
    const transaction = await ends.near.transaction({ globalId })
    await transaction.commit()
    await (await ends.near.transaction()).commit()
    expect([...(told[0] as Map<unknown, unknown>)]).toEqual([[symbol('xid'), Uint8Array.of(1, 2)]])
    expect(told[1]).toBeUndefined()
  })

  test('where they are not: refused here, and nothing is sent', async () => {
    let declared = 0
    await using ends = await joined({ far: { coordinator: { declare: () => declared++ } } })
    await expect(ends.near.transaction({ globalId: 'g' })).rejects.toThrow(UsageError)
    await expect(ends.near.transaction({ globalId: 'g' })).rejects.toThrow('no global-id')
    expect(declared).toBe(0)
  })
})
