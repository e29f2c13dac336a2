import { describe, expect, test } from 'vitest'
import type { Connection, Receiver, Sender } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { assertAccepted } from '../../src/client/outcome.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'

/** Accepts every session and link, and hands out the far ends of links. */
function takeAll(connection: Connection, onReceiver: (r: Receiver) => void, onSender: (s: Sender) => void = () => {}) {
  connection.on('session', async incoming => {
    const session = await incoming.accept()
    session.on('link', async link => {
      if (link.remoteRole === 'sender') onReceiver(await link.accept())
      else onSender(await link.accept())
    })
  })
}

describe('connect and listen over TCP', () => {
  test('a message there, its outcome back', async () => {
    await using listener = await listen({})
    const bodies: unknown[] = []
    listener.on('connection', connection =>
      takeAll(connection, async receiver => {
        for await (const delivery of receiver) {
          bodies.push(delivery.message.body)
          await delivery.accept()
        }
      }),
    )
    await using connection = await connect(`amqp://127.0.0.1:${listener.port}`)
    const sender = await connection.sender('q1')
    assertAccepted(await sender.send({ body: 'hello' }))
    assertAccepted(await sender.send({ body: new Uint8Array(1 << 20).fill(7) }))
    expect(bodies[0]).toBe('hello')
    expect((bodies[1] as Uint8Array).length).toBe(1 << 20)
    await sender.close()
  })
})

/** Counts how often a transport is written to. */
function counting(transport: Transport): { transport: Transport; writes: () => number } {
  let writes = 0
  return {
    transport: {
      start: sink => transport.start(sink),
      write: chunks => {
        writes++
        return transport.write(chunks)
      },
      end: () => transport.end(),
      destroy: error => transport.destroy(error),
    },
    writes: () => writes,
  }
}

test('100,000 messages by for await … accept(): fewer than one transport write per 50 messages at each end', async () => {
  const N = 100_000
  const [a, b] = memoryPair()
  const near = counting(a)
  const far = counting(b)
  await using listener = await listen({})
  const accepting = listener.accept(far.transport)
  const connection = await connect({ host: 'memory', transport: near.transport })
  let received = 0
  const done = new Promise<void>(resolve => {
    accepting.then(server =>
      takeAll(server, async receiver => {
        for await (const delivery of receiver) {
          await delivery.accept()
          if (++received === N) resolve()
        }
      }),
    )
  })
  const sender = await connection.sender('q')
  const sends: Promise<unknown>[] = []
  for (let i = 0; i < N; i++) {
    if (sender.pending >= 1000) await sender.ready()
    sends.push(sender.send({ body: Uint8Array.of(i, i >> 8, i >> 16) }))
  }
  await Promise.all(sends)
  await done
  expect(near.writes()).toBeLessThan(N / 50)
  expect(far.writes()).toBeLessThan(N / 50)
  await connection.close()
})
