/** Who decides whether a lost connection is made again, and when: the program, where it says something. */

import { afterEach, describe, expect, test } from 'vitest'
import { type AmqpError, RemoteError, TransportError, UsageError } from '../../src/errors.ts'
import { until } from '../waiting.ts'
import { type Reconnecting, type Reconnection, reconnecting } from './reconnecting.ts'

const opened: AsyncDisposable[] = []
afterEach(async () => {
  for (const resource of opened.splice(0).reverse()) await resource[Symbol.asyncDispose]()
})
async function world(how: Reconnection = {}): Promise<Reconnecting> {
  const made = await reconnecting(how)
  opened.push(made)
  return made
}

const unauthorized = { condition: 'amqp:unauthorized-access' }
const busy = { condition: 'amqp:connection:forced' }

describe('retry', () => {
  test('true makes a connection again that is lost for good by default', async () => {
    const asked: (AmqpError | undefined)[] = []
    const retry = (error: AmqpError | undefined): boolean => asked.push(error) > 0
    const { near, far, state } = await world({ reconnect: { retry } })
    await far[0]?.close({ error: unauthorized })
    await state('restored')
    expect(asked[0]).toBeInstanceOf(RemoteError)
    await near.session()
  })

  test('false ends what would be made again', async () => {
    const { near, far } = await world({ reconnect: { retry: () => false } })
    void far[0]?.close({ error: busy })
    expect(await near.closed).toMatchObject({ by: 'remote', error: busy })
  })

  test('false ends it after an attempt that failed, too', async () => {
    const w = await world({ reconnect: { retry: error => !/refused/.test(error?.message ?? '') } })
    w.refuse(true)
    w.cut()
    expect((await w.near.closed).error?.message).toContain('refused')
    expect(w.states.filter(({ state }) => state === 'connecting')).toHaveLength(1)
  })

  test('a number is the least that is waited', async () => {
    const { near, far, state } = await world({ reconnect: { retry: () => 60 } })
    const began = performance.now()
    void far[0]?.close({ error: busy })
    await state('connecting')
    expect(performance.now() - began).toBeGreaterThan(55)
    await state('restored')
    await near.session()
  })

  test('undefined leaves it to the default', async () => {
    const { near, farEnd, cut, state } = await world({ reconnect: { retry: () => undefined } })
    cut()
    await state('restored')
    void (await farEnd(1)).close({ error: unauthorized })
    expect(await near.closed).toMatchObject({ error: unauthorized })
  })

  test('what is no function is refused', async () => {
    await expect(world({ reconnect: { retry: 5 as never } })).rejects.toThrow(UsageError)
  })
})

describe('reconnect()', () => {
  test('makes the connection anew, and links go on', async () => {
    const { near, far, receiver, state } = await world()
    const sender = await near.sender('q')
    near.reconnect()
    const waits = sender.send({ body: 'x' })
    expect((await state('waiting')).error).toBeInstanceOf(TransportError)
    // While it is being made it is not dropped again.
    near.reconnect()
    await state('restored')
    const received = await (await receiver(1)).receive()
    expect(far).toHaveLength(2)
    await received?.accept()
    expect(await waits).toEqual({ outcome: 'accepted' })
  })

  test('is not counted as a loss, and says why', async () => {
    const { near, states } = await world({ reconnect: { attempts: 2 } })
    for (let times = 1; times <= 5; times++) {
      near.reconnect('for a test')
      await until(() => states.filter(({ state }) => state === 'restored').length === times)
    }
    const waits = states.filter(({ state }) => state === 'waiting')
    expect(waits.map(({ attempt, error }) => [attempt, error?.message])).toEqual(
      Array(5).fill([1, expect.stringMatching(/: for a test$/)]),
    )
  })

  test('leaves losses as they are counted', async () => {
    const { near, cut, states } = await world({ reconnect: { attempts: 2 } })
    const again = async (drop: () => void): Promise<number | undefined> => {
      const count = states.length
      drop()
      const since = (): typeof states => states.slice(count)
      await until(() => since().some(({ state }) => state === 'restored' || state === 'closed'))
      return since()[0]?.attempt
    }
    const change = (): void => near.reconnect()
    expect([await again(cut), await again(change), await again(cut), await again(change)]).toEqual([1, 1, 2, 1])
    cut()
    expect(await near.closed).toMatchObject({ by: 'transport' })
  })

  test('counts from where another line cannot be made', async () => {
    const { near, refuse, states } = await world({ reconnect: { attempts: 3 } })
    refuse(true)
    near.reconnect()
    await near.closed
    expect(states.filter(({ state }) => state === 'waiting').map(({ attempt }) => attempt)).toEqual([1, 2, 3])
  })

  test('is the end of one that is not made again', async () => {
    const { near } = await world({ near: { reconnect: false } })
    near.reconnect()
    expect(await near.closed).toMatchObject({ by: 'transport' })
  })
})
