import { expect, test } from 'vitest'
import { connect } from '../../src/client/connect.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { memoryPair } from '../../src/io/memory.ts'

test('§2.8.2 every settled send resolves, also the one whose bytes make the connection flush at once', async () => {
  const [near, far] = memoryPair()
  await using listener = await listen({})
  const accepting = listener.accept(far)
  const connection = await connect({ host: 'memory', transport: near })
  const server = await accepting
  server.on('session', async incoming => {
    const session = await incoming.accept()
    session.on('link', async link => {
      if (link.remoteRole !== 'sender') return
      for await (const _ of await link.accept({ credit: { window: 1000 } })) void _
    })
  })
  const sender = await connection.sender('q', { settle: 'settled' })
  await expect.poll(() => sender.linkCredit).toBeGreaterThan(0)
  // 64 KiB are pending after the 64th, 128th … of one turn: those flush inside `send`.
  const body = new Uint8Array(1024)
  let resolved = 0
  for (let i = 0; i < 256; i++) sender.send({ body }).then(() => resolved++)
  await expect.poll(() => resolved).toBe(256)
  await connection.close()
})
