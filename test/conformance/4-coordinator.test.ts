/** §4, with §4.4.4: a coordinator of ours and a scripted controller. The other way round is in `4-transactions.test.ts`. */

import { describe, expect, test } from 'vitest'
import type { Delivery } from '../../src/client/api.ts'
import {
  accepted,
  coordinator,
  declare,
  discharge,
  read,
  rejected,
  released,
  transactionalState,
} from '../peer/composites.ts'
import { any, failing } from '../peer/script.ts'
import type { Wire } from '../peer/wire.ts'
import { asMessage, attached, CAPABILITIES, one, rejecting, settled, unknown } from '../support/controller.ts'
import { quiet, scriptedServer } from '../support/scripted-connection.ts'
import { pause } from '../waiting.ts'

describe('§4.2 §4.3 §4.5.3 declare and discharge', () => {
  test('declared, committed; a second discharge finds nothing (§4.5.8)', async () => {
    const c = await (await attached()).control()
    const txnId = await c.declare()
    expect(txnId.length).toBeGreaterThan(0)
    expect(txnId.length).toBeLessThanOrEqual(32)
    c.answered(await c.discharge(txnId, false), accepted())
    c.answered(await c.discharge(txnId, false), rejecting('amqp:transaction:unknown-id'))
    c.answered(await c.discharge(unknown, true), rejecting('amqp:transaction:unknown-id'))
    c.peer.finished()
  })

  test('rolled back', async () => {
    const c = await attached()
    await c.control()
    c.answered(await c.discharge(await c.declare(), true), accepted())
    expect(c.log.map(([what]) => what)).toEqual(['rollback'])
  })

  test('refused by the application: amqp:transaction:rollback', async () => {
    const c = await attached({ commit: () => Promise.reject(new Error('disk full')) })
    await c.control()
    c.answered(await c.discharge(await c.declare()), rejecting('amqp:transaction:rollback'))
    expect(c.log.map(([what]) => what)).toEqual(['commit', 'rollback'])
  })

  test('timed out: amqp:transaction:timeout, for a commit only', async () => {
    const c = await attached({ idleMs: 5 })
    await c.control()
    const [one, two] = [await c.declare(), await c.declare()]
    while (c.log.length < 2) await pause(1)
    c.answered(await c.discharge(one), rejecting('amqp:transaction:timeout'))
    c.answered(await c.discharge(two, true), accepted())
    c.answered(await c.discharge(one), rejecting('amqp:transaction:unknown-id'))
    expect(c.log).toHaveLength(2)
  })

  test.each([
    ['offered', true],
    ['not offered', false],
  ])('a control link right behind open and begin, %s', async (_name, offered) => {
    const { peer } = await scriptedServer({ coordinator: offered }, p =>
      p.sendAttach({ name: 'ctl', handle: 0, role: 'sender', target: coordinator() }),
    )
    await quiet()
    const [attach, next] = peer.all()
    expect([attach?.name, attach?.fields.name?.v]).toEqual(['attach', 'ctl'])
    expect(attach?.fields.target?.t).toBe(offered ? 'described' : undefined)
    expect(next?.name).toBe(offered ? 'flow' : 'detach')
  })

  test('as many as may be open count until they are over, however long the application commits', async () => {
    let commit = (): void => {}
    const c = await attached({ maxTransactions: 1, commit: () => new Promise<void>(resolve => (commit = resolve)) })
    await c.control()
    const asked = await c.discharge(await c.declare())
    const refused = c.post(0, asMessage(declare({})))
    await quiet()
    c.answered(refused, rejecting('amqp:resource-limit-exceeded'))
    commit()
    await quiet()
    c.answered(asked, accepted())
    await c.declare()
  })

  test('a global-id is refused (§4.5.2)', async () => {
    const c = await attached()
    await c.control()
    const id = c.post(0, asMessage(declare({ globalId: 'g' })))
    await quiet()
    c.answered(id, rejecting('amqp:not-implemented'))
  })

  test('a global-id, where it is offered: the application is told, and decides (§4.5.2 §4.5.7)', async () => {
    const told: unknown[] = []
    const c = await attached({
      distributed: true,
      declare: ({ globalId }) => {
        told.push(globalId)
        if (globalId === 'no') throw Object.assign(new Error(), { condition: 'amqp:not-found' })
      },
    })
    await c.control([...CAPABILITIES, 'amqp:distributed-transactions'])
    const txnId = await c.declare({ globalId: 'g' })
    const id = c.post(0, asMessage(declare({ globalId: 'no' })))
    await quiet()
    c.answered(id, rejecting('amqp:not-found'))
    c.answered(await c.discharge(txnId), accepted())
    await c.declare()
    expect(told).toEqual(['g', 'no', undefined])
    expect(c.log[0]?.[1].globalId).toBe('g')
  })

  test('something else is refused', async () => {
    const c = await attached()
    await c.control()
    for (const payload of [one, asMessage({ t: 'string', v: 'declare' }), asMessage(accepted())]) {
      const id = c.post(0, payload)
      await quiet()
      c.answered(id, rejecting('amqp:decode-error'))
    }
    c.peer.finished()
  })

  test('sent settled: the control link ends', async () => {
    const c = await attached()
    await c.control()
    const txnId = await c.declare()
    c.post(0, asMessage(discharge({ txnId })), { settled: true })
    await quiet()
    c.peer.expectDetach({ handle: 0, closed: true, error: failing('amqp:not-allowed') })
    expect(c.log.map(([what]) => what)).toEqual(['rollback'])
  })

  test('a source that does not know rejected: the control link ends with the error', async () => {
    const c = await attached({}, { outcomes: ['amqp:accepted:list', 'amqp:released:list'] })
    await c.control()
    await c.discharge(unknown)
    c.peer.expectDetach({ handle: 0, closed: true, error: failing('amqp:transaction:unknown-id') }).finished()
  })

  test('not offered: refused with not-implemented (§4.5.1)', async () => {
    const { peer } = await scriptedServer()
    peer.sendAttach({ name: 'ctl', handle: 0, role: 'sender', target: coordinator() })
    await quiet()
    peer.expectAttach({ name: 'ctl', handle: 0, role: 'receiver', source: any, maxMessageSize: any })
    peer.expectDetach({ handle: 0, closed: true, error: failing('amqp:not-implemented') }).finished()
  })
})

describe('§4.4.1 §4.4.4.1 posting', () => {
  test('the outcome in its transaction, and before the discharge is accepted', async () => {
    const c = await attached()
    await c.control()
    await c.posting()
    const txnId = await c.declare()
    const posted = c.post(1, one, { state: transactionalState({ txnId }) })
    const asked = await c.discharge(txnId)
    c.peer.nothing()
    expect(c.arrived[0]?.transaction?.id).toEqual(txnId)
    await c.arrived[0]?.accept()
    await quiet()
    c.answered(posted, transactionalState({ txnId, outcome: accepted() }))
    c.answered(asked, accepted())
    c.peer.finished()
    expect(c.log[0]?.[1].posted).toEqual(c.arrived)
  })

  test('on a link that settles second: the state after the discharge is the outcome', async () => {
    const c = await attached()
    await c.control()
    await c.posting({ rcvSettleMode: 'second' })
    const txnId = await c.declare()
    const first = c.post(1, one, { state: transactionalState({ txnId }) })
    await quiet()
    await c.arrived[0]?.accept()
    await quiet()
    const outcome = accepted()
    c.peer.expectDisposition({ role: 'receiver', first, state: transactionalState({ txnId, outcome }) })
    const asked = await c.discharge(txnId)
    c.peer.expectDisposition({ role: 'receiver', first, state: accepted() })
    c.answered(asked, accepted())
    c.peer.finished()
  })

  test('on another session: the outcome is written first all the same', async () => {
    const c = await attached()
    await c.control()
    c.connection.on('session', async incoming => {
      const session = await incoming.accept()
      session.on('link', async link => link.remoteRole === 'sender' && c.take(await link.accept()))
    })
    c.peer.sendBegin({}, undefined, 1).sendAttach({ name: 'p', handle: 0, role: 'sender' }, undefined, 1)
    await quiet()
    expect(c.peer.all().map(({ name }) => name)).toEqual(['begin', 'attach', 'flow'])
    const txnId = await c.declare()
    const posted = { handle: 0, deliveryId: 0, deliveryTag: one, state: transactionalState({ txnId }) }
    c.peer.sendTransfer(posted, one, 1)
    await c.discharge(txnId)
    c.peer.nothing()
    // Something else is due on the session of the control link, before the outcome is on the other.
    c.post(0, asMessage(discharge({ txnId: unknown })))
    for (let i = 0; i < 20; i++) await Promise.resolve()
    await c.arrived[0]?.accept()
    await quiet()
    const states = c.peer.all().map(({ channel, fields }) => [channel, fields.state && read(fields.state)?.name])
    expect(states).toEqual([
      [0, 'rejected'],
      [1, 'transactionalState'],
      [0, 'accepted'],
    ])
  })

  test('rolled back with no outcome: released', async () => {
    const c = await attached()
    await c.control()
    await c.posting()
    const txnId = await c.declare()
    const first = c.post(1, one, { state: transactionalState({ txnId }) })
    const asked = await c.discharge(txnId, true)
    c.answered(first, released())
    c.answered(asked, accepted())
    expect(await settled(c.arrived[0]?.accept() as Promise<void>)).toMatchObject({ code: 'ERR_AMQP_TRANSACTION' })
  })

  test('under an unknown id: rejected; sent settled, the link ends; neither is handed out', async () => {
    const c = await attached()
    await c.control()
    await c.posting()
    const state = transactionalState({ txnId: unknown })
    const posted = c.post(1, one, { state })
    await quiet()
    c.answered(posted, rejecting('amqp:transaction:unknown-id'))
    c.post(1, one, { state, settled: true })
    await quiet()
    c.peer.expectDetach({ handle: 1, closed: true, error: failing('amqp:transaction:unknown-id') })
    expect(c.arrived).toEqual([])
  })

  test('more than may be kept: rejected; sent settled, the link ends and nothing commits; a discharge makes room', async () => {
    const c = await attached({}, { limits: { maxIncompleteBytes: 1200 } })
    await c.control()
    await c.posting()
    const first = await c.declare()
    const state = transactionalState({ txnId: first })
    for (const _ of [1, 2]) c.post(1, one, { state })
    await quiet()
    expect(c.arrived).toHaveLength(2)
    const beyond = c.post(1, one, { state })
    await quiet()
    c.answered(beyond, rejecting('amqp:resource-limit-exceeded'))
    const asked = await c.discharge(first, true)
    c.peer.expectDisposition({ role: 'receiver', first: 1, last: 2, settled: true, state: released() })
    c.answered(asked, accepted())

    const txnId = await c.declare()
    const again = transactionalState({ txnId })
    for (const _ of [1, 2]) c.post(1, one, { state: again })
    await quiet()
    for (const delivery of c.arrived.slice(2)) await delivery.accept()
    await quiet()
    c.peer.all()
    c.post(1, one, { state: again, settled: true })
    await quiet()
    c.peer.expectDetach({ handle: 1, closed: true, error: failing('amqp:resource-limit-exceeded') })
    c.answered(await c.discharge(txnId), rejecting('amqp:transaction:rollback'))
    expect(c.arrived).toHaveLength(4)
  })

  test('half a message at the discharge: the control link ends with amqp:transaction:rollback', async () => {
    const c = await attached()
    await c.control()
    await c.posting()
    const txnId = await c.declare()
    c.post(1, one, { state: transactionalState({ txnId }), more: true })
    await c.discharge(txnId)
    c.peer.expectDetach({ handle: 0, closed: true, error: failing('amqp:transaction:rollback') })
    expect(c.log.map(([what]) => what)).toEqual(['rollback'])
  })

  test('half a message that is aborted does not count', async () => {
    const c = await attached()
    await c.control()
    await c.posting()
    const txnId = await c.declare()
    c.post(1, one, { state: transactionalState({ txnId }), more: true })
    c.peer.sendTransfer({ handle: 1, aborted: true })
    c.answered(await c.discharge(txnId), accepted())
  })

  test('on the control link: it ends (§4.1)', async () => {
    const c = await attached()
    await c.control()
    const txnId = await c.declare()
    c.post(0, one, { state: transactionalState({ txnId }), settled: true })
    await quiet()
    c.peer.expectDetach({ handle: 0, closed: true, error: failing('amqp:not-allowed') })
  })

  test('the control link is closed: all is rolled back, and its ids are unknown (§4.1)', async () => {
    const c = await attached()
    await c.control()
    await c.posting()
    const txnId = await c.declare()
    const first = c.post(1, one, { state: transactionalState({ txnId }) })
    await quiet()
    c.peer.sendDetach({ handle: 0, closed: true })
    await quiet()
    const names = c.peer.all().map(({ name, fields }) => [name, fields.first?.v ?? fields.handle?.v])
    expect(names.sort()).toEqual([
      ['detach', 0],
      ['disposition', first],
    ])
    expect(c.log.map(([what]) => what)).toEqual(['rollback'])
    const late = c.post(1, one, { state: transactionalState({ txnId }) })
    await quiet()
    c.answered(late, rejecting('amqp:transaction:unknown-id'))
  })
})

describe('§4.4.2 §4.4.4.2 retirement', () => {
  /** One delivery of ours, sent. */
  async function sent() {
    const c = await attached()
    await c.control()
    const sender = await c.receiving()
    const outcome = settled(sender.send({ body: Uint8Array.of(9) }))
    await quiet()
    c.peer.expectTransfer({ handle: 1, deliveryId: 0, deliveryTag: any, messageFormat: 0 }, one)
    const retire = (txnId: Uint8Array, settledToo = false, of: Wire = accepted()) =>
      c.peer.sendDisposition({ first: 0, settled: settledToo, state: transactionalState({ txnId, outcome: of }) })
    return { c, outcome, retire, told: () => Promise.race([outcome, quiet()]) }
  }

  test.each([false, true])(
    'committed: the outcome holds, and is settled (by the controller before: %s)',
    async before => {
      const { c, outcome, retire, told } = await sent()
      const txnId = await c.declare()
      retire(txnId, before)
      expect(await told()).toBeUndefined()
      const asked = await c.discharge(txnId)
      if (!before) c.peer.expectDisposition({ role: 'sender', first: 0, settled: true, state: accepted() })
      c.answered(asked, accepted())
      expect(await outcome).toEqual({ outcome: 'accepted' })
      c.peer.finished()
      expect(c.log[0]?.[1].retired).toMatchObject([{ outcome: { outcome: 'accepted' } }])
    },
  )

  test('rolled back, not settled: as before, and free', async () => {
    const { c, outcome, retire, told } = await sent()
    const txnId = await c.declare()
    retire(txnId)
    c.answered(await c.discharge(txnId, true), accepted())
    expect(await told()).toBeUndefined()
    c.peer.sendDisposition({ first: 0, settled: true, state: rejected() })
    expect(await outcome).toMatchObject({ outcome: 'rejected' })
    c.peer.finished()
  })

  test('rolled back and settled: the default outcome', async () => {
    const { c, outcome, retire } = await sent()
    const txnId = await c.declare()
    retire(txnId, true)
    c.answered(await c.discharge(txnId, true), accepted())
    expect(await outcome).toEqual({ outcome: 'released' })
    c.peer.finished()
  })

  test('under two transactions: the control link ends with amqp:transaction:rollback', async () => {
    const { c, retire } = await sent()
    const [a, b] = [await c.declare(), await c.declare()]
    retire(a)
    retire(b)
    await quiet()
    c.peer.expectDetach({ handle: 0, closed: true, error: failing('amqp:transaction:rollback') })
    expect(c.log.map(([what]) => what)).toEqual(['rollback', 'rollback'])
  })

  test('under one after the other: the second counts', async () => {
    const { c, outcome, retire } = await sent()
    const [a, b] = [await c.declare(), await c.declare()]
    retire(a)
    c.answered(await c.discharge(a, true), accepted())
    retire(b, false, released())
    const asked = await c.discharge(b)
    c.peer.expectDisposition({ role: 'sender', first: 0, settled: true, state: released() })
    c.answered(asked, accepted())
    expect(await outcome).toEqual({ outcome: 'released' })
  })

  test('under an unknown id: the link that it came by ends', async () => {
    const { c, outcome, retire } = await sent()
    retire(unknown)
    await quiet()
    c.peer
      .expectDetach({ handle: 1, closed: true, error: failing('amqp:transaction:unknown-id') })
      .sendDetach({ handle: 1 })
    expect(await outcome).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
  })
})

test('§4.4 work under a transaction where nobody coordinates: unknown-id', async () => {
  const { peer, session } = await scriptedServer()
  const arrived: Delivery[] = []
  session.on('link', async link => {
    if (link.remoteRole === 'sender') for await (const delivery of await link.accept()) arrived.push(delivery)
  })
  peer.sendAttach({ name: 'p', handle: 0, role: 'sender' })
  await quiet()
  peer.all()
  const state = transactionalState({ txnId: unknown })
  peer.sendTransfer({ handle: 0, deliveryId: 0, deliveryTag: Uint8Array.of(0), state }, one)
  await quiet()
  peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: rejecting('amqp:transaction:unknown-id') })
  peer.finished()
  expect(arrived).toEqual([])
})
