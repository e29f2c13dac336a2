/** Who decides whether a lost connection is made again, and when: the program, where it says something. */

import { afterEach, describe, expect, test } from 'vitest'
import { type AmqpError, RemoteError, TransportError, UsageError } from '../../src/errors.ts'
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

  test('is the end of one that is not made again', async () => {
    const { near } = await world({ near: { reconnect: false } })
    near.reconnect()
    expect(await near.closed).toMatchObject({ by: 'transport' })
  })
})
