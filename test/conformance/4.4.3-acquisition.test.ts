/** §4.4.3 §4.4.4.3: messages of ours that a scripted controller acquires under its transaction. */

import { describe, expect, test } from 'vitest'
import type { Sender } from '../../src/client/api.ts'
import type { CoordinatorOptions, SenderOptions } from '../../src/client/options.ts'
import type { ClientSender } from '../../src/client/sender.ts'
import { AcquiredMessages } from '../../src/client/transactions/acquired.ts'
import { Acquisition } from '../../src/engine/acquisition.ts'
import { accepted, type Fields, rejected, released, source, target, transactionalState } from '../peer/composites.ts'
import { any, type Expected, failing } from '../peer/script.ts'
import { nul, type Wire } from '../peer/wire.ts'
import { attached, one, rejecting, settled, unknown } from '../support/controller.ts'
import { quiet, scriptedServer } from '../support/scripted-connection.ts'
import { pause } from '../waiting.ts'

/** The resource, a link that the script receives by, and a transaction. */
async function acquiring(options: SenderOptions = {}, asked: Fields = {}, coordinator: CoordinatorOptions = {}) {
  const c = await attached(coordinator)
  await c.control()
  const sender = await c.receiving(options, asked, 0)
  const txnId = await c.declare()
  const properties = { 'txn-id': txnId }
  const state = transactionalState({ txnId })
  return {
    c,
    peer: c.peer,
    sender,
    txnId,
    send: (n = 9) => settled(sender.send({ body: Uint8Array.of(n) })),
    /** Credit up to the n-th delivery, under the transaction. */
    grant: (linkCredit: number, fields: Fields = { properties }) =>
      c.peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit, ...fields }),
    sent: (deliveryId: number, rest: Expected = { state }) => {
      c.peer.expectTransfer({ handle: 1, deliveryId, deliveryTag: any, messageFormat: 0, ...rest }, one)
    },
    retire: (first: number, outcome: Wire = accepted(), isSettled = false) =>
      c.peer.sendDisposition({ first, settled: isSettled, state: transactionalState({ txnId, outcome }) }),
  }
}

async function* pieces(...all: Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const piece of all) {
    yield piece
    await quiet()
  }
}

const open = Symbol('open')
/** What a send has come to by now. */
const now = (promise: Promise<unknown>): Promise<unknown> => Promise.race([promise, quiet().then(() => open)])

/** The sender settles. */
const settles = (first: number, state: Wire | undefined): Expected => ({ role: 'sender', first, settled: true, state })

describe('§4.4.3 what is acquired', () => {
  test('what leaves on that credit, whenever it was sent, and what leaves later, until the discharge', async () => {
    const { c, peer, send, grant, sent, txnId } = await acquiring()
    const outcomes = [send(), send()]
    await quiet()
    peer.nothing()
    grant(1)
    await quiet()
    sent(0)
    // Credit that says nothing of a transaction changes nothing about that.
    grant(3, {})
    await quiet()
    sent(1)
    outcomes.push(send())
    await quiet()
    sent(2)
    grant(4)
    const asked = await c.discharge(txnId)
    c.answered(asked, accepted())
    const [, transaction] = c.log[0] ?? []
    expect(transaction?.acquired.map(({ outcome }) => outcome)).toEqual([undefined, undefined, undefined])
    // The credit is left, and stands outside of any transaction.
    outcomes.push(send())
    await quiet()
    sent(3, {})
    peer.sendDisposition({ first: 0, last: 3, settled: true, state: accepted() })
    expect(await Promise.all(outcomes)).toEqual(Array(4).fill({ outcome: 'accepted' }))
    peer.finished()
  })

  test('none any more after a null', async () => {
    const { c, peer, send, grant, sent } = await acquiring()
    grant(1)
    void send()
    await quiet()
    sent(0)
    grant(2, { properties: { 'txn-id': nul } })
    void send()
    await quiet()
    sent(1, {})
    expect(c.session).toBeDefined()
    peer.finished()
  })

  test('taken back and said again with each flow: what nothing has left under is forgotten', async () => {
    const held = new AcquiredMessages()
    const sender = {} as ClientSender
    for (let i = 0; i < 1000; i++) held.add(sender, new Acquisition(unknown))
    expect(held.count).toBe(1)

    const { peer, send, grant, sent } = await acquiring()
    for (let i = 0; i < 3; i++) {
      grant(i, { properties: { 'txn-id': nul } })
      await quiet()
      grant(i + 1)
      await quiet()
    }
    void send()
    await quiet()
    sent(0)
    peer.finished()
  })

  test('a message of many frames: each says so until the discharge', async () => {
    const { c, peer, sender, grant, txnId } = await acquiring()
    const state = transactionalState({ txnId })
    grant(1, { properties: { 'txn-id': txnId }, incomingWindow: 1 })
    const outcome = settled(sender.send({ body: pieces(Uint8Array.of(1), Uint8Array.of(2)) }))
    await quiet()
    const first = { handle: 1, deliveryId: 0, deliveryTag: any, messageFormat: 0, state, more: true }
    peer.expectTransfer(first, any)
    // Its fate is decided by the discharge; the rest of it follows.
    const asked = await c.discharge(txnId)
    c.answered(asked, accepted())
    peer.sendFlow({ incomingWindow: 100 })
    await quiet()
    await quiet()
    expect(peer.all().every(({ name, fields }) => name === 'transfer' && !fields.state)).toBe(true)
    peer.sendDisposition({ first: 0, settled: true, state: accepted() })
    expect(await outcome).toEqual({ outcome: 'accepted' })
    peer.finished()
  })

  test('said before the link is accepted', async () => {
    const c = await attached()
    await c.control()
    const txnId = await c.declare()
    const taken = new Promise<Sender>(resolve =>
      c.session.on('link', async link => {
        await quiet()
        if (link.remoteRole === 'receiver') resolve(await link.accept())
      }),
    )
    c.peer.sendAttach({ name: 'r', handle: 1, role: 'receiver', source: source({ address: 'a' }), target: target() })
    c.peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit: 1, properties: { 'txn-id': txnId } })
    const outcome = settled((await taken).send({ body: Uint8Array.of(9) }))
    await quiet()
    c.peer.expectAttach({ name: 'r', handle: 1, role: 'sender', source: any, target: any, initialDeliveryCount: 0 })
    const state = transactionalState({ txnId })
    c.peer.expectTransfer({ handle: 1, deliveryId: 0, deliveryTag: any, messageFormat: 0, state }, one)
    const asked = await c.discharge(txnId, true)
    c.peer.expectDisposition(settles(0, released()))
    c.answered(asked, accepted())
    expect(await outcome).toEqual({ outcome: 'released' })
  })
})

describe('§4.4.4.3 the end of an acquisition', () => {
  test.each([false, true])('retired and committed: the outcome holds (settled by the controller: %s)', async before => {
    const { c, peer, send, grant, sent, retire, txnId } = await acquiring()
    grant(2)
    const outcomes = [send(), send()]
    await quiet()
    sent(0)
    sent(1)
    retire(0, accepted(), before)
    retire(1, rejected(), before)
    expect(await now(outcomes[0] as Promise<unknown>)).toBe(open)
    const asked = await c.discharge(txnId)
    if (!before) {
      peer.expectDisposition(settles(0, accepted()))
      peer.expectDisposition(settles(1, rejected()))
    }
    c.answered(asked, accepted())
    expect(await Promise.all(outcomes)).toMatchObject([{ outcome: 'accepted' }, { outcome: 'rejected' }])
    const [, transaction] = c.log[0] ?? []
    expect(transaction?.acquired.map(({ outcome }) => outcome?.outcome)).toEqual(['accepted', 'rejected'])
    peer.finished()
  })

  test('rolled back: acquisition and outcome, whatever was decided; all is back at the source', async () => {
    const { c, peer, send, grant, sent, retire, txnId } = await acquiring()
    grant(3)
    const outcomes = [send(), send(), send()]
    await quiet()
    for (const id of [0, 1, 2]) sent(id)
    retire(0)
    retire(1, accepted(), true)
    await quiet()
    const asked = await c.discharge(txnId, true)
    peer.expectDisposition(settles(0, released()))
    peer.expectDisposition(settles(2, released()))
    c.answered(asked, accepted())
    expect(await Promise.all(outcomes)).toEqual(Array(3).fill({ outcome: 'released' }))
    expect(c.log.map(([what]) => what)).toEqual(['rollback'])
    peer.finished()
  })

  test.each(['commit', 'rollback'])('sent settled: %s decides', async end => {
    const { c, peer, send, grant, sent, txnId } = await acquiring({}, { sndSettleMode: 'settled' })
    grant(1)
    const outcome = send()
    await quiet()
    sent(0, { state: transactionalState({ txnId }), settled: true })
    expect(await now(outcome)).toBe(open)
    c.answered(await c.discharge(txnId, end === 'rollback'), accepted())
    expect(await outcome).toEqual({ outcome: end === 'commit' ? 'accepted' : 'released' })
    peer.finished()
  })

  test.each(['commit', 'rollback'])('settled by the controller without an outcome, %s: the default', async end => {
    const { c, peer, send, grant, sent, txnId } = await acquiring(
      {},
      { source: source({ address: 'a', defaultOutcome: accepted() }) },
    )
    grant(1)
    const outcome = send()
    await quiet()
    sent(0)
    peer.sendDisposition({ first: 0, settled: true })
    expect(await now(outcome)).toBe(open)
    c.answered(await c.discharge(txnId, end === 'rollback'), accepted())
    expect(await outcome).toEqual({ outcome: end === 'commit' ? 'accepted' : 'released' })
    peer.finished()
  })

  test('rolled back in the middle of a message: it is aborted before the answer', async () => {
    const { c, peer, sender, grant, txnId } = await acquiring()
    grant(1, { properties: { 'txn-id': txnId }, incomingWindow: 1 })
    const outcome = settled(sender.send({ body: pieces(Uint8Array.of(1), Uint8Array.of(2)) }))
    await quiet()
    peer.expectTransfer({ handle: 1, deliveryId: 0, deliveryTag: any, messageFormat: 0, state: any, more: true }, any)
    const asked = await c.discharge(txnId, true)
    // The frame that says so needs the session's window.
    peer.nothing().sendFlow({ incomingWindow: 1 })
    await quiet()
    peer.expectTransfer({ handle: 1, aborted: true })
    c.answered(asked, accepted())
    expect(await outcome).toEqual({ outcome: 'released' })
    peer.finished()
  })

  test('the application refuses the commit: as a rollback', async () => {
    const refusing = { commit: () => Promise.reject(new Error('full')) }
    const { c, peer, send, grant, sent, retire, txnId } = await acquiring({}, {}, refusing)
    grant(1)
    const outcome = send()
    await quiet()
    sent(0)
    retire(0)
    const asked = await c.discharge(txnId)
    peer.expectDisposition(settles(0, released()))
    c.answered(asked, rejecting('amqp:transaction:rollback'))
    expect(await outcome).toEqual({ outcome: 'released' })
  })

  test('the control link ends: rolled back, and what is sent from then on is outside (§4.1)', async () => {
    const { peer, send, grant, sent } = await acquiring()
    grant(2)
    const outcome = send()
    await quiet()
    sent(0)
    peer.sendDetach({ handle: 0, closed: true })
    await quiet()
    expect(await outcome).toEqual({ outcome: 'released' })
    expect(
      peer
        .all()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['detach', 'disposition'])
    void send()
    await quiet()
    sent(1, {})
  })
})

describe('§4.4.3 what is refused', () => {
  const refused = (condition: string): Expected => ({ handle: 1, closed: true, error: failing(condition) })

  test('an unknown transaction, a discharged one, one that timed out: the link ends', async () => {
    for (const which of ['unknown', 'discharged', 'timed out']) {
      const { c, peer, grant, send, txnId } = await acquiring({}, {}, which === 'timed out' ? { idleMs: 1 } : {})
      if (which === 'discharged') c.answered(await c.discharge(txnId), accepted())
      while (which === 'timed out' && c.log.length === 0) await pause(2)
      const outcome = send()
      grant(1, { properties: { 'txn-id': which === 'unknown' ? unknown : txnId } })
      await quiet()
      peer.expectDetach(refused(which === 'timed out' ? 'amqp:transaction:timeout' : 'amqp:transaction:unknown-id'))
      peer.sendDetach({ handle: 1 }).finished()
      expect(await outcome).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    }
  })

  test.each([
    ['text', 'text'],
    ['33 bytes', new Uint8Array(33)],
  ])('what is no txn-id: %s (§4.5.4)', async (_name, value) => {
    const { peer, grant } = await acquiring()
    grant(1, { properties: { 'txn-id': value } })
    await quiet()
    peer.expectDetach(refused('amqp:invalid-field'))
  })

  test('an outcome outside of the transaction, and one in another: the link ends; the discharge decides', async () => {
    for (const inAnother of [false, true]) {
      const { c, peer, send, grant, sent, txnId } = await acquiring()
      grant(1)
      const outcome = send()
      await quiet()
      sent(0)
      const other = await c.declare()
      const state = inAnother ? transactionalState({ txnId: other, outcome: accepted() }) : accepted()
      peer.sendDisposition({ first: 0, settled: true, state })
      await quiet()
      peer.expectDetach(refused('amqp:not-allowed'))
      c.answered(await c.discharge(txnId, true), accepted())
      expect(await outcome).toEqual({ outcome: 'released' })
    }
  })

  test('where nobody coordinates: not-implemented, also right behind the attach', async () => {
    const { peer, session } = await scriptedServer()
    session.on('link', link => link.refuse({ condition: 'amqp:not-found' }))
    const flow = { handle: 0, deliveryCount: 0, linkCredit: 20, properties: { 'txn-id': unknown } }
    peer.together(() => {
      peer.sendAttach({ name: 'r', handle: 0, role: 'receiver' }).sendFlow(flow)
    })
    await quiet()
    peer.expectAttach({ name: 'r', handle: 0, role: 'sender', initialDeliveryCount: 0 })
    peer.expectDetach({ handle: 0, closed: true, error: failing('amqp:not-implemented') }).finished()
  })
})
