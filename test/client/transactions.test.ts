/** §4: transactions end to end, a controller and a coordinator of ours over memory. */

import { describe, expect, test } from 'vitest'
import type { Connection, Delivery, Receiver, Sender } from '../../src/client/api.ts'
import type { CoordinatedTransaction, Transaction } from '../../src/client/api-transactions.ts'
import { connect } from '../../src/client/connect.ts'
import type { CoordinatorOptions } from '../../src/client/options.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ClosedError, RemoteError, TransactionError, UsageError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { pause, until } from '../waiting.ts'

/** A broker of one message a link: what is posted, by address, and what is sent, by hand. */
interface Broker {
  near: Connection
  far: Connection
  /** What has come, in order, transactions or not. */
  arrived: Delivery[]
  /** What counts: what came outside of transactions, and what has committed. */
  available: unknown[]
  /** Transactions that the application was asked to commit, and that were rolled back. */
  asked: CoordinatedTransaction[]
  undone: CoordinatedTransaction[]
  /** The far ends of our receivers, by address. */
  sources: Map<string, Sender>
  destroy(): void
}

/** How the application decides on what is posted. */
type Decide = (delivery: Delivery) => unknown

async function broker(
  options: CoordinatorOptions = {},
  decide: Decide = delivery => delivery.accept(),
  offered = true,
): Promise<Broker & AsyncDisposable> {
  const [a, b] = memoryPair()
  const asked: CoordinatedTransaction[] = []
  const undone: CoordinatedTransaction[] = []
  const available: unknown[] = []
  const listener = await listen({
    port: null,
    coordinator: offered && {
      ...options,
      commit: async transaction => {
        asked.push(transaction)
        await options.commit?.(transaction)
        for (const { message } of transaction.posted) available.push(message.body)
      },
      rollback: transaction => undone.push(transaction),
    },
  })
  const accepting = listener.accept(b)
  const near = await connect({ host: 'memory', transport: a })
  const far = await accepting
  const arrived: Delivery[] = []
  const sources = new Map<string, Sender>()
  const take = async (receiver: Receiver): Promise<void> => {
    for await (const delivery of receiver) {
      arrived.push(delivery)
      if (!delivery.transaction) available.push(delivery.message.body)
      await decide(delivery)
    }
  }
  far.on('session', async incoming => {
    const session = await incoming.accept()
    session.on('link', async link => {
      if (link.remoteRole === 'sender') await take(await link.accept())
      else sources.set(link.source?.address ?? '', await link.accept())
    })
  })
  return {
    near,
    far,
    arrived,
    available,
    asked,
    undone,
    sources,
    destroy: () => a.destroy(new Error('cable cut')),
    [Symbol.asyncDispose]: () => listener.close(),
  }
}

const settled = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    value => value,
    error => error,
  )

/** A send whose transaction was rolled back: the coordinator's word, or the transaction's end, whichever came first. */
const isUndone = (result: unknown): boolean =>
  (result as { outcome?: string }).outcome === 'released' || (result as TransactionError).fate === 'rolled-back'

describe('§4.4.1 posting', () => {
  test('committed: provisional outcomes first, then it counts', async () => {
    await using b = await broker()
    const sender = await b.near.sender('q')
    const transaction = await b.near.transaction()
    expect(transaction.id.length).toBeGreaterThan(0)
    expect(transaction.state).toBe('live')
    const outcomes = await Promise.all(['a', 'b'].map(body => sender.send({ body }, { transaction })))
    expect(outcomes).toEqual([{ outcome: 'accepted' }, { outcome: 'accepted' }])
    expect(b.available).toEqual([])
    expect(b.arrived[0]?.transaction?.id).toEqual(transaction.id)
    await transaction.commit()
    expect(transaction.state).toBe('committed')
    expect(b.available).toEqual(['a', 'b'])
    await expect(b.asked[0]?.discharged).resolves.toBe('committed')
    expect(b.undone).toEqual([])
  })

  test('rolled back: it never counts', async () => {
    await using b = await broker()
    const sender = await b.near.sender('q')
    const transaction = await b.near.transaction()
    await sender.send({ body: 'a' }, { transaction })
    await transaction.rollback()
    await transaction.rollback()
    expect(transaction.state).toBe('rolled-back')
    await sender.send({ body: 'outside' })
    expect(b.available).toEqual(['outside'])
    await until(() => b.undone.length === 1)
    expect(b.undone[0]?.posted.map(({ message }) => message.body)).toEqual(['a'])
    await expect(b.undone[0]?.discharged).resolves.toBe('rolled-back')
  })

  test('commit waits until what is posted is on the wire, rollback takes it back', async () => {
    await using b = await broker()
    const sender = await b.near.sender('q')
    const large = new Uint8Array(2 << 20).fill(1)
    const [one, two] = [await b.near.transaction(), await b.near.transaction()]
    const sends = [large, large, 'end'].map(body => sender.send({ body }, { transaction: one }))
    await one.commit()
    expect(b.available).toHaveLength(3)
    await Promise.all(sends)
    const lost = [large, large, 'end'].map(body => settled(sender.send({ body }, { transaction: two })))
    await two.rollback()
    expect(b.available).toHaveLength(3)
    for (const error of await Promise.all(lost))
      expect(error).toMatchObject({ code: 'ERR_AMQP_TRANSACTION', fate: 'rolled-back' })
    expect(await sender.send({ body: 'after' })).toEqual({ outcome: 'accepted' })
  })

  test('what is rejected is told, and commits as what it is', async () => {
    await using b = await broker({}, delivery => delivery.reject({ condition: 'amqp:not-allowed' }))
    const sender = await b.near.sender('q')
    const transaction = await b.near.transaction()
    expect(await sender.send({ body: 'a' }, { transaction })).toMatchObject({
      outcome: 'rejected',
      error: { condition: 'amqp:not-allowed' },
    })
    await transaction.commit()
  })

  test('sent settled and refused by the application: it does not commit (§4.4.4.1)', async () => {
    await using b = await broker({}, delivery => delivery.reject())
    const sender = await b.near.sender('q')
    const transaction = await b.near.transaction()
    await sender.send({ body: 'a' }, { transaction, settled: true })
    const error = await settled(transaction.commit())
    expect(error).toMatchObject({ fate: 'rolled-back', condition: 'amqp:transaction:rollback' })
    expect(b.available).toEqual([])
  })

  test('on several links and sessions, with several transactions at once', async () => {
    await using b = await broker()
    const other = await b.near.session()
    const senders = [await b.near.sender('q1'), await b.near.sender('q2'), await other.sender('q3')]
    const [one, two] = await Promise.all([b.near.transaction(), b.near.transaction()])
    for (const sender of senders) {
      void sender.send({ body: `one ${sender.target?.address}` }, { transaction: one })
      void settled(sender.send({ body: `two ${sender.target?.address}` }, { transaction: two }))
    }
    await Promise.all([one.commit(), two.rollback()])
    expect(b.available.sort()).toEqual(['one q1', 'one q2', 'one q3'])
  })

  test('a receiver that settles second: accept resolves at once on both sides (§4.4.4.1)', async () => {
    await using b = await broker()
    const session = await b.near.session()
    b.far.on('session', () => {})
    const sender = await session.sender('q')
    const transaction = await session.transaction()
    await Promise.all([1, 2, 3].map(i => sender.send({ body: `${i}` }, { transaction })))
    await transaction.commit()
    expect(b.available).toEqual(['1', '2', '3'])
  })
})

describe('§4.4.2 retirement', () => {
  /** A receiver with `count` deliveries, and what became of them at the far end. */
  async function given(b: Broker, count: number, settle: 'first' | 'second' = 'first') {
    const receiver = await b.near.receiver('s', { settle })
    await until(() => b.sources.has('s'))
    const source = b.sources.get('s') as Sender
    const outcomes: unknown[] = []
    for (let i = 0; i < count; i++)
      void source.send({ body: `${i}` }).then(
        outcome => outcomes.push(outcome.outcome),
        error => outcomes.push(error),
      )
    const deliveries: Delivery[] = []
    while (deliveries.length < count) deliveries.push(await receiver.receive())
    return { receiver, deliveries, outcomes }
  }

  test.each(['first', 'second'] as const)('committed: the outcomes hold from then on (%s)', async settle => {
    await using b = await broker()
    const { deliveries, outcomes } = await given(b, 4, settle)
    const transaction = await b.near.transaction()
    const [one, two, three, four] = deliveries
    await one?.accept({ transaction })
    await one?.accept({ transaction })
    await two?.release({ transaction })
    await three?.reject({ condition: 'amqp:not-allowed' }, { transaction })
    await four?.modify({ deliveryFailed: true }, { transaction })
    expect(await settled(one?.release({ transaction }) as Promise<void>)).toBeInstanceOf(UsageError)
    expect(one?.state).toBe('live')
    await pause(5)
    expect(outcomes).toEqual([])
    await transaction.commit()
    await until(() => outcomes.length === 4)
    expect(outcomes).toEqual(['accepted', 'released', 'rejected', 'modified'])
    expect(b.asked[0]?.retired.map(({ outcome }) => outcome.outcome)).toEqual(outcomes)
    expect(b.asked[0]?.retired[0]?.sender).toBe(b.sources.get('s'))
    await until(() => deliveries.every(({ state }) => state === 'settled'))
  })

  test.each(['first', 'second'] as const)('rolled back: live again, and free to be retired anew (%s)', async settle => {
    await using b = await broker()
    const { deliveries, outcomes } = await given(b, 2, settle)
    const transaction = await b.near.transaction()
    for (const delivery of deliveries) await delivery.accept({ transaction })
    await transaction.rollback()
    expect(deliveries.map(({ state }) => state)).toEqual(['live', 'live'])
    expect(outcomes).toEqual([])
    const again = await b.near.transaction()
    await deliveries[0]?.release({ transaction: again })
    await deliveries[1]?.accept()
    await again.commit()
    await until(() => outcomes.length === 2)
    expect(outcomes.sort()).toEqual(['accepted', 'released'])
  })

  test('the commit is refused by the application: rolled back, with its condition and no more', async () => {
    await using b = await broker({
      commit: () => {
        throw Object.assign(new Error('secret'), { condition: 'amqp:resource-locked' })
      },
    })
    const { deliveries, outcomes } = await given(b, 1)
    const sender = await b.near.sender('q')
    const transaction = await b.near.transaction()
    await sender.send({ body: 'a' }, { transaction })
    await deliveries[0]?.accept({ transaction })
    const error = (await settled(transaction.commit())) as TransactionError
    expect(error).toBeInstanceOf(TransactionError)
    expect(error).toMatchObject({ fate: 'rolled-back', condition: 'amqp:resource-locked' })
    expect(error.message).not.toContain('secret')
    expect(b.available).toEqual([])
    expect(deliveries[0]?.state).toBe('live')
    await deliveries[0]?.accept()
    await until(() => outcomes.length === 1)
  })
})

describe('§4.3 the end', () => {
  test('disposal rolls back what is not committed, and only that', async () => {
    await using b = await broker()
    const sender = await b.near.sender('q')
    {
      await using transaction = await b.near.transaction()
      await sender.send({ body: 'lost' }, { transaction })
    }
    {
      await using transaction = await b.near.transaction()
      await sender.send({ body: 'kept' }, { transaction })
      await transaction.commit()
    }
    expect(b.available).toEqual(['kept'])
    expect(b.undone).toHaveLength(1)
  })

  test('work and discharges afterwards are refused', async () => {
    await using b = await broker()
    const sender = await b.near.sender('q')
    const receiver = await b.near.receiver('s', { credit: 'manual' })
    const transaction = await b.near.transaction()
    await transaction.commit()
    expect(await settled(sender.send({ body: 'x' }, { transaction }))).toBeInstanceOf(UsageError)
    expect(() => receiver.addCredit(1, { transaction })).toThrow(UsageError)
    expect(await settled(transaction.commit())).toBeInstanceOf(UsageError)
    expect(await settled(transaction.rollback())).toBeInstanceOf(UsageError)
    const gone = await b.near.transaction()
    await gone.rollback()
    expect(await settled(gone.commit())).toBeInstanceOf(TransactionError)
    expect(await settled(sender.send({ body: 'x' }, { transaction: gone }))).toBeInstanceOf(TransactionError)
    const made = { id: transaction.id } as Transaction
    expect(await settled(sender.send({ body: 'x' }, { transaction: made }))).toBeInstanceOf(UsageError)
    expect(b.available).toEqual([])
  })

  test('a transaction of another connection is refused', async () => {
    await using b = await broker()
    await using c = await broker()
    const transaction = await b.near.transaction()
    const sender = await c.near.sender('q')
    expect(await settled(sender.send({ body: 'x' }, { transaction }))).toBeInstanceOf(UsageError)
  })

  test('not offered: not-implemented; offered again after a lost control link', async () => {
    await using none = await broker({}, undefined, false)
    const error = await settled(none.near.transaction())
    expect(error).toBeInstanceOf(RemoteError)
    expect(error).toMatchObject({ condition: 'amqp:not-implemented', scope: 'link' })
  })

  test('the application refuses to begin one, and there is a limit', async () => {
    let refuse = true
    await using b = await broker({
      maxTransactions: 2,
      declare: () => {
        if (refuse) throw Object.assign(new Error(), { condition: 'amqp:unauthorized-access' })
      },
    })
    expect(await settled(b.near.transaction())).toMatchObject({
      code: 'ERR_AMQP_TRANSACTION',
      condition: 'amqp:unauthorized-access',
    })
    refuse = false
    const first = await b.near.transaction()
    await b.near.transaction()
    expect(await settled(b.near.transaction())).toMatchObject({ condition: 'amqp:resource-limit-exceeded' })
    await first.rollback()
    await b.near.transaction()
  })

  test.each(['declare', 'commit'] as const)('what %s throws by mistake is told to the listener, too', async hook => {
    const [a, b] = memoryPair()
    let thrown: unknown = new TypeError('x is undefined')
    const coordinator = { [hook]: () => Promise.reject(thrown) }
    await using listener = await listen({ port: null, links: {}, coordinator })
    const heard: Error[] = []
    listener.on('error', error => heard.push(error))
    const accepting = listener.accept(b)
    await using near = await connect({ host: 'memory', transport: a })
    await accepting
    const attempt = async () => (await near.transaction()).commit()
    const condition = hook === 'commit' ? 'amqp:transaction:rollback' : 'amqp:internal-error'
    const error = (await settled(attempt())) as Error
    expect(error).toMatchObject({ code: 'ERR_AMQP_TRANSACTION', condition })
    expect(error.message).toContain(`the ${hook} failed`)
    expect(heard).toEqual([thrown])
    thrown = 'no error at all'
    await settled(attempt())
    expect(heard.pop()?.message).toBe(thrown)
    thrown = Object.assign(new Error('sold out'), { condition: 'amqp:precondition-failed' })
    expect(await settled(attempt())).toMatchObject({ condition: 'amqp:precondition-failed' })
    expect(heard).toHaveLength(1)
  })

  test('options of the coordinator are checked', async () => {
    for (const coordinator of [{ idleMs: 0 }, { maxTransactions: -1 }, { idleMs: Number.NaN }])
      expect(await settled(listen({ port: null, coordinator }))).toBeInstanceOf(UsageError)
  })

  test('time-out: work and commit are refused with it, rollback is not (§4.5.8)', async () => {
    await using b = await broker({ idleMs: 30 })
    const sender = await b.near.sender('q')
    const [one, two] = [await b.near.transaction(), await b.near.transaction()]
    await sender.send({ body: 'a' }, { transaction: one })
    await until(() => b.undone.length === 2)
    expect(await sender.send({ body: 'b' }, { transaction: one })).toMatchObject({
      outcome: 'rejected',
      error: { condition: 'amqp:transaction:timeout' },
    })
    expect(await settled(one.commit())).toMatchObject({ fate: 'rolled-back', condition: 'amqp:transaction:timeout' })
    await two.rollback()
    expect(b.available).toEqual([])
    expect(b.undone).toHaveLength(2)
  })

  test('time-out while a commit waits for an outcome that never comes', async () => {
    await using b = await broker({ idleMs: 30 }, () => {})
    const sender = await b.near.sender('q')
    const transaction = await b.near.transaction()
    const send = settled(sender.send({ body: 'a' }, { transaction }))
    expect(await settled(transaction.commit())).toMatchObject({ condition: 'amqp:transaction:timeout' })
    // Rolled back, the coordinator lets go of it: released, or the transaction's own end, whichever came first.
    expect(isUndone(await send)).toBe(true)
    expect(await settled(b.arrived[0]?.accept() as Promise<void>)).toBeInstanceOf(TransactionError)
  })

  test('signals: a declare given up is rolled back, a commit given up takes its course', async () => {
    let go = (): void => {}
    const gate = new Promise<void>(resolve => {
      go = resolve
    })
    let declared = 0
    await using b = await broker({
      declare: () => {
        declared++
        return gate
      },
      commit: () => pause(20),
    })
    const abort = new AbortController()
    const declaring = settled(b.near.transaction({ signal: abort.signal }))
    await until(() => declared === 1)
    abort.abort(new Error('enough'))
    expect(await declaring).toMatchObject({ message: 'enough' })
    go()
    await until(() => b.undone.length === 1)
    const transaction = await b.near.transaction()
    expect(await settled(transaction.commit({ signal: AbortSignal.timeout(5) }))).toMatchObject({
      name: 'TimeoutError',
    })
    expect(transaction.state).toBe('discharging')
    await until(() => transaction.state === 'committed')
  })

  test('given up while a message waits for credit: the transaction is as it was', async () => {
    await using b = await broker()
    b.far.on('session', () => {})
    const session = await b.near.session()
    const transaction = await session.transaction()
    const sender = await session.sender('q')
    const big = settled(sender.send({ body: new Uint8Array(4 << 20) }, { transaction }))
    expect(await settled(transaction.commit({ signal: AbortSignal.abort(new Error('no')) }))).toMatchObject({
      message: 'no',
    })
    expect(transaction.state).toBe('live')
    await transaction.commit()
    expect(await big).toEqual({ outcome: 'accepted' })
  })
})

describe('§4.1 what is lost is rolled back', () => {
  test('the connection, with work under way: pending sends and later calls say so', async () => {
    await using b = await broker({}, () => {})
    const sender = await b.near.sender('q')
    const transaction = await b.near.transaction()
    const send = settled(sender.send({ body: 'a' }, { transaction }))
    const outside = settled(sender.send({ body: 'b' }))
    await until(() => b.arrived.length === 2)
    b.destroy()
    expect(await send).toMatchObject({ code: 'ERR_AMQP_TRANSACTION', fate: 'rolled-back' })
    expect(await outside).toBeInstanceOf(ClosedError)
    expect(transaction.state).toBe('rolled-back')
    await transaction.rollback()
    expect(await settled(transaction.commit())).toMatchObject({ fate: 'rolled-back' })
    await until(() => b.undone.length === 1)
    expect(await settled(b.near.transaction())).toBeInstanceOf(ClosedError)
  })

  test('the connection, with the discharge under way: nobody knows', async () => {
    await using b = await broker({ commit: () => pause(50) })
    const sender = await b.near.sender('q')
    const transaction = await b.near.transaction()
    await sender.send({ body: 'a' }, { transaction })
    const commit = settled(transaction.commit())
    await until(() => b.asked.length === 1)
    b.destroy()
    expect(await commit).toMatchObject({ code: 'ERR_AMQP_TRANSACTION', fate: 'unknown' })
    expect(transaction.state).toBe('unknown')
    expect(await settled(transaction.rollback())).toMatchObject({ fate: 'unknown' })
    // The application had begun to make it hold.
    await expect(b.asked[0]?.discharged).resolves.toBe('committed')
    expect(b.undone).toEqual([])
  })

  test('the connection, while declaring', async () => {
    let asked = false
    await using b = await broker({
      declare: () => {
        asked = true
        return new Promise(() => {})
      },
    })
    const declaring = settled(b.near.transaction())
    await until(() => asked)
    b.destroy()
    expect(await declaring).toBeInstanceOf(ClosedError)
  })

  test('the connection, during a rollback: it is rolled back', async () => {
    await using b = await broker()
    const transaction = await b.near.transaction()
    const rollback = settled(transaction.rollback())
    b.destroy()
    expect(await rollback).toBeUndefined()
    expect(transaction.state).toBe('rolled-back')
  })

  test('the session of the control link: work on other sessions is rolled back, too', async () => {
    await using b = await broker({}, () => {})
    const session = await b.near.session()
    const transaction = await session.transaction()
    const sender = await b.near.sender('q')
    const send = settled(sender.send({ body: 'a' }, { transaction }))
    await until(() => b.arrived.length === 1)
    await session.end()
    expect(isUndone(await send)).toBe(true)
    expect(transaction.state).toBe('rolled-back')
    await until(() => b.undone.length === 1)
    await sender.close()
  })

  test('the link of a message that has no outcome: the commit becomes a rollback', async () => {
    await using b = await broker({}, () => {})
    const sender = await b.near.sender('q')
    const transaction = await b.near.transaction()
    const send = settled(sender.send({ body: 'a' }, { transaction }))
    await until(() => b.arrived.length === 1)
    await b.arrived[0]?.receiver.close({ error: { condition: 'amqp:link:detach-forced' } })
    expect(await send).toBeInstanceOf(ClosedError)
    expect(await settled(transaction.commit())).toMatchObject({ code: 'ERR_AMQP_TRANSACTION', fate: 'rolled-back' })
    await until(() => b.undone.length === 1)
    expect(b.available).toEqual([])
  })

  test('the whole connection closed from here: the peer rolls back', async () => {
    await using b = await broker()
    const sender = await b.near.sender('q')
    const transaction = await b.near.transaction()
    await sender.send({ body: 'a' }, { transaction })
    await b.near.close()
    expect(transaction.state).toBe('rolled-back')
    await until(() => b.undone.length === 1)
    expect(b.available).toEqual([])
  })
})
