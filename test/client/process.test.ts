/** `receiver.process`: so many at a time, settled by what the handler does, ended by signal, link or error. */

import { afterEach, describe, expect, test, vi } from 'vitest'
import type { Connection, Delivery, Receiver, Sender } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ReceiverOptions } from '../../src/client/options.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { ClosedError, UsageError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { pause, until } from '../waiting.ts'

const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map(what => what.close()))
})

async function linked(options: ReceiverOptions = {}): Promise<{ near: Connection; receiver: Receiver; far: Sender }> {
  const [a, b] = memoryPair()
  const listener = await listen({ port: null })
  open.push(listener)
  const accepting = listener.accept(b)
  const near = await connect({ host: 'memory', transport: a })
  open.push(near)
  const far = new Promise<Sender>(resolve =>
    accepting.then(connection =>
      connection.on('session', async incoming => {
        const session = await incoming.accept()
        session.on('link', async link => {
          if (link.remoteRole === 'receiver') resolve(await link.accept())
        })
      }),
    ),
  )
  const receiver = await near.receiver('q', options)
  return { near, receiver, far: await far }
}

const outcomes = async (sends: Promise<{ outcome: string }>[]): Promise<string[]> =>
  (await Promise.all(sends)).map(({ outcome }) => outcome)

describe.each<[string, ReceiverOptions]>([
  ['a window', {}],
  ['manual credit', { credit: 'manual' }],
  ['settling second', { credit: 'manual', settle: 'second' }],
])('with %s', (_, options) => {
  test('so many at a time, and no more under way', async () => {
    const { receiver, far } = await linked(options)
    let running = 0
    let most = 0
    const seen: unknown[] = []
    const stop = new AbortController()
    const processing = receiver.process(
      async delivery => {
        most = Math.max(most, ++running)
        seen.push(delivery.message.body)
        await pause(1)
        running--
      },
      { concurrency: 3, signal: stop.signal },
    )
    await pause(10)
    expect(far.linkCredit).toBe(3)
    const sends = Array.from({ length: 20 }, (_, i) => far.send({ body: `m${i}` }))
    await pause(1)
    // Credit comes back with settlement only.
    expect(far.pending).toBeGreaterThan(10)
    expect(await outcomes(sends)).toEqual(Array(20).fill('accepted'))
    expect([most, seen]).toEqual([3, Array.from({ length: 20 }, (_, i) => `m${i}`)])
    stop.abort(new Error('done'))
    await expect(processing).rejects.toThrow('done')
    await pause(10)
    expect(far.linkCredit).toBe(0)
  })

  test('one at a time unless said otherwise; what the handler has settled stays so', async () => {
    const { receiver, far } = await linked(options)
    let running = 0
    const processing = receiver.process(async delivery => {
      expect(++running).toBe(1)
      await pause(1)
      if (delivery.message.body === 'reject') await delivery.reject({ condition: 'amqp:not-allowed' })
      if (delivery.message.body === 'release') void delivery.release()
      running--
    })
    expect(await outcomes(['x', 'reject', 'release'].map(body => far.send({ body })))).toEqual([
      'accepted',
      'rejected',
      'released',
    ])
    expect(await far.send({ body: 'settled' }, { settled: true })).toEqual({ outcome: 'accepted' })
    await receiver.close()
    await processing
  })

  test('§3.4.5 a handler that throws: modified as failed, told to onError, and on it goes', async () => {
    const { receiver, far } = await linked(options)
    const errors: [unknown, Delivery][] = []
    const processing = receiver.process(
      delivery => {
        if (delivery.message.body === 'reject') void delivery.reject()
        if (delivery.message.body !== 'good') throw new RangeError('bad')
      },
      { onError: (error, delivery) => errors.push([error, delivery]) },
    )
    const bad = await far.send({ body: 'bad' })
    expect(bad).toMatchObject({ outcome: 'modified', deliveryFailed: true, undeliverableHere: false })
    expect(await outcomes(['good', 'reject', 'good'].map(body => far.send({ body })))).toEqual([
      'accepted',
      'rejected',
      'accepted',
    ])
    expect(errors.map(([error, delivery]) => [error, delivery.message.body])).toEqual([
      [new RangeError('bad'), 'bad'],
      [new RangeError('bad'), 'reject'],
    ])
    await receiver.close()
    await processing
  })
})

test('what a window had brought before is worked off first, and no more comes meanwhile', async () => {
  const { receiver, far } = await linked({ credit: { window: 20 } })
  const sends = Array.from({ length: 15 }, (_, i) => far.send({ body: `m${i}` }))
  await pause(10)
  const credit: number[] = []
  const processing = receiver.process(
    async () => {
      await pause(2)
      credit.push(far.linkCredit)
    },
    { concurrency: 2 },
  )
  expect(await outcomes(sends)).toEqual(Array(15).fill('accepted'))
  await pause(10)
  expect(credit.slice(0, 13)).toEqual(Array(13).fill(0))
  expect(far.linkCredit).toBe(2)
  await receiver.close()
  await processing
})

describe('its end', () => {
  test('the signal stops taking and waits for those that run; what comes late waits for whoever asks', async () => {
    const { receiver, far } = await linked({ credit: 'manual' })
    const stop = new AbortController()
    let finish = (): void => {}
    let handlerSignal: AbortSignal | undefined
    const processing = receiver.process(
      (_, signal) => {
        handlerSignal = signal
        return new Promise<void>(resolve => {
          finish = resolve
        })
      },
      { signal: stop.signal },
    )
    const sends = [far.send({ body: 'a' }), far.send({ body: 'b' })]
    await pause(10)
    stop.abort(new Error('stop'))
    let over = false
    processing.catch(() => {
      over = true
    })
    await pause(10)
    expect([over, handlerSignal?.aborted]).toEqual([false, false])
    finish()
    await expect(processing).rejects.toThrow('stop')
    expect(await sends[0]).toEqual({ outcome: 'accepted' })
    receiver.addCredit(1)
    const next = await receiver.receive()
    expect(next.message.body).toBe('b')
    await next.accept()
    await sends[1]
    await expect(receiver.process(() => {}, { signal: stop.signal })).rejects.toThrow('stop')
  })

  test('the link ends: handlers are told, and waited for; normal from this end, a failure from the other', async () => {
    for (const end of ['here', 'there', 'connection'] as const) {
      const { near, receiver, far } = await linked()
      const told: unknown[] = []
      let handled = 0
      const processing = receiver.process(
        (_, signal) =>
          new Promise<void>(resolve => {
            handled++
            signal.addEventListener('abort', () => {
              told.push(signal.reason)
              setTimeout(resolve, 20)
            })
          }),
        { concurrency: 2 },
      )
      const sends = [far.send({ body: 'a' }), far.send({ body: 'b' })]
      for (const send of sends) send.catch(() => {})
      await until(() => handled === 2)
      const result = processing.then(
        () => 'normal',
        error => error,
      )
      if (end === 'here') await receiver.close()
      else if (end === 'there') await far.close({ error: { condition: 'amqp:link:detach-forced' } })
      else near.close({ error: { condition: 'amqp:internal-error' } }).catch(() => {})
      const why = await result
      expect(told).toHaveLength(2)
      for (const reason of told) expect(reason).toBeInstanceOf(ClosedError)
      if (end === 'there') expect(why).toMatchObject({ code: 'ERR_AMQP_CLOSED', condition: 'amqp:link:detach-forced' })
      else expect(why).toBe('normal')
    }
  })

  test('onError throws: no more is taken, and that is the cause', async () => {
    const { receiver, far } = await linked()
    const processing = receiver.process(
      () => {
        throw new Error('handler')
      },
      {
        onError: error => {
          throw new Error(`fatal: ${(error as Error).message}`)
        },
      },
    )
    const rejecting = expect(processing).rejects.toThrow('fatal: handler')
    expect(await far.send({ body: 'a' })).toMatchObject({ outcome: 'modified' })
    await rejecting
    far.send({ body: 'b' }).catch(() => {})
    await pause(10)
    expect(far.pending).toBe(1)
  })

  test('nobody wants to know: a warning of the process', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const { receiver, far } = await linked()
    const processing = receiver.process(() => Promise.reject(new RangeError('unheard')))
    await far.send({ body: 'a' })
    expect(warned.mock.calls.map(([warning]) => warning)).toEqual([new RangeError('unheard')])
    warned.mockRestore()
    await receiver.close()
    await processing
  })

  test('while it runs nobody else takes; afterwards they may', async () => {
    const { receiver } = await linked({ credit: 'manual' })
    for (const concurrency of [0, 1.5, Number.NaN])
      await expect(receiver.process(() => {}, { concurrency })).rejects.toThrow(UsageError)
    const stop = new AbortController()
    const processing = receiver.process(() => {}, { signal: stop.signal })
    for (const use of [
      () => receiver.receive(),
      () => receiver.get(),
      () => receiver.drain(),
      () => receiver.process(() => {}),
      () => receiver[Symbol.asyncIterator]().next(),
    ])
      await expect(use()).rejects.toThrow(UsageError)
    expect(() => receiver.addCredit(1)).toThrow(UsageError)
    stop.abort(new Error('over'))
    await expect(processing).rejects.toThrow('over')
    receiver.addCredit(1)
  })

  test('a receiver that is closed already', async () => {
    const { receiver } = await linked()
    await receiver.close()
    await expect(receiver.process(() => {})).rejects.toThrow(ClosedError)
  })
})
