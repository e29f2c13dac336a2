/** Many links at one hub: what each costs does not grow with the others. */

import { expect, test } from 'vitest'
import type { Sender } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { OutgoingNode } from '../../src/emulator/nodes/outgoing-node.ts'
import { ManualClock } from './manual-clock.ts'

test('a connection may have 64 links to $cbs, all at once or one after the other', async () => {
  await using hub = await IotHubEmulator.start({ listen: 'memory', devices: ['d1'] })
  await using connection = await connect({ host: 'localhost', transport: hub.transport() })
  const attempts = Array.from({ length: 70 }, () => connection.receiver('$cbs'))
  const links = await Promise.allSettled(attempts)
  const receivers = links.flatMap(link => (link.status === 'fulfilled' ? [link.value] : []))
  expect(receivers).toHaveLength(64)
  for (const link of links.slice(64))
    expect(link).toMatchObject({ reason: { condition: 'amqp:resource-limit-exceeded' } })
  await receivers[0]?.close()
  await using again = await connection.receiver('$cbs')
  expect(again.source?.address).toBe('$cbs')
})

test('20,000 links that end at once leave a queue in no time', async () => {
  const node = new OutgoingNode<string>({
    clock: new ManualClock(),
    queue: {},
    encode: () => ({ body: '' }),
    onEnd: () => {},
  } as never)
  let end = (): void => {}
  const closed = new Promise<void>(resolve => {
    end = resolve
  })
  const link = (): Sender => ({ closed, on: () => {}, linkCredit: 0, pending: 0 }) as unknown as Sender
  for (let i = 0; i < 20_000; i++) node.serve(link())
  const started = process.cpuUsage()
  end()
  await new Promise(resolve => setImmediate(resolve))
  const { user, system } = process.cpuUsage(started)
  expect((user + system) / 1000).toBeLessThan(200)
  node.close()
})
