/** What is asked of a link while it, or what carries it, is being ended from this end: that is over, and no misuse. */

import { expect, test } from 'vitest'
import type { Sender } from '../../src/client/api.ts'
import { joined, settled } from './joined.ts'

const error = { condition: 'amqp:internal-error' }

test.each([
  ['link', { error }],
  ['link', {}],
  ['session', { error }],
  ['session', {}],
  ['connection', { error }],
  ['connection', {}],
] as const)('after the end of the %s, with %j, was asked for', async (what, how) => {
  const links: Sender[] = []
  await using world = await joined({
    onLink: async link => {
      const accepted = await link.accept()
      if (link.remoteRole === 'receiver') links.push(accepted as Sender)
    },
  })
  const session = await world.near.session()
  const sender = await session.sender('q')
  const receiver = await session.receiver('r')
  void settled(links[0]?.send({ body: 'x' }) as Promise<unknown>)
  const delivery = await receiver.receive()
  const closing =
    what === 'connection'
      ? world.near.close(how)
      : what === 'session'
        ? session.end(how)
        : Promise.all([sender.close(how), receiver.close(how)])
  // A turn of promises later its last frame is out, where nothing is waited for.
  await Promise.resolve()
  await new Promise(process.nextTick)
  const sent = await settled(sender.send({ body: 'x' }))
  expect(sent).toMatchObject({ code: 'ERR_AMQP_CLOSED', scope: 'link' })
  expect(await settled(sender.ready())).toMatchObject({ code: 'ERR_AMQP_CLOSED', scope: 'link' })
  const decided = await settled(delivery.accept())
  if (decided !== undefined) expect(decided).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
  await closing
  expect(await settled(sender.send({ body: 'x' }))).toMatchObject({ code: 'ERR_AMQP_CLOSED', scope: 'link' })
})
