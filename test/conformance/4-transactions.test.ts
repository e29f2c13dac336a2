/** §4: a controller of ours and a scripted coordinator. The other way round is in `4-coordinator.test.ts`. */

import { describe, expect, test } from 'vitest'
import type { Receiver, Sender, Session } from '../../src/client/api.ts'
import type { Transaction } from '../../src/client/api-transactions.ts'
// Here from the start: the frames of a script are looked for after some turns, and loading may take longer.
import '../../src/client/transactions/transaction-controller.ts'
import { ClosedError, TransactionError, UsageError } from '../../src/errors.ts'
import {
  accepted,
  coordinator,
  declare,
  declared,
  discharge,
  error,
  type Fields,
  modified,
  rejected,
  released,
  source,
  target,
  transactionalState,
} from '../peer/composites.ts'
import { any, failing, type Script } from '../peer/script.ts'
import { encode, type Wire } from '../peer/wire.ts'
import { quiet, scriptedClient } from '../support/scripted-connection.ts'

const txnId = Uint8Array.of(7, 7)
const LOCAL = 'amqp:local-transactions'
const MANY = 'amqp:multi-txns-per-ssn'
const WIDE = 'amqp:multi-ssns-per-txn'
const one = Uint8Array.of(0, 0x53, 0x75, 0xa0, 1, 9)

/** A message of one amqp-value section, as bytes. §4.2 §4.3 */
const asMessage = (value: Wire): Uint8Array =>
  encode({ t: 'described', v: { descriptor: { t: 'ulong', v: 0x77n }, value } })

const settled = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    value => value,
    error => error,
  )

const conditions = ['amqp:transaction:unknown-id', 'amqp:transaction:rollback', 'amqp:transaction:timeout'] as const
const refusing = (condition: string): Wire => rejected({ error: error({ condition, description: 'so there' }) })
const provisional = (outcome?: Wire): Wire => transactionalState({ txnId, outcome })

/** The control link is attached for the first transaction, on handle 0. §4.2 */
async function controlled(peer: Script, session: Session, capabilities: string[] = [LOCAL, MANY, WIDE], handle = 0) {
  const declaring = settled(session.transaction())
  await quiet()
  peer.expectAttach({
    name: any,
    handle,
    role: 'sender',
    sndSettleMode: 'unsettled',
    source: source({
      outcomes: ['amqp:accepted:list', 'amqp:rejected:list', 'amqp:released:list', 'amqp:modified:list'],
    }),
    target: coordinator({ capabilities: [LOCAL, MANY, WIDE] }),
    initialDeliveryCount: 0,
  })
  peer.respondAttach({ target: coordinator({ capabilities }) })
  peer.sendFlow({ handle, deliveryCount: 0, linkCredit: 100 })
  await quiet()
  peer.expectTransfer({ handle, deliveryId: any, deliveryTag: any, messageFormat: 0 }, asMessage(declare()))
  // In a list: a promise of a promise would wait for both.
  return [declaring] as const
}

/** A session with a transaction. Control link: handle 0, delivery 0. */
async function begun(theirs: Fields = {}, capabilities?: string[]) {
  const s = await scriptedClient(theirs)
  const [declaring] = await controlled(s.peer, s.session, capabilities)
  s.peer.respondDisposition({ state: declared({ txnId }) })
  return { ...s, transaction: (await declaring) as Transaction }
}

async function sending(peer: Script, session: Session, credit = 100): Promise<Sender> {
  const attaching = session.sender('b', { name: 's', source: 'a' })
  await quiet()
  peer.expectAttach({
    name: 's',
    handle: 1,
    role: 'sender',
    source: source({ address: 'a' }),
    target: target({ address: 'b' }),
    initialDeliveryCount: 0,
  })
  peer.respondAttach()
  if (credit > 0) peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit: credit })
  await quiet()
  return attaching
}

/** A receiver on handle 1, with manual credit. */
async function receiving(peer: Script, session: Session, settle: 'first' | 'second' = 'first'): Promise<Receiver> {
  const attaching = session.receiver('a', { name: 'r', target: 'b', credit: 'manual', settle })
  await quiet()
  peer.expectAttach({
    name: 'r',
    handle: 1,
    role: 'receiver',
    rcvSettleMode: settle,
    source: source({ address: 'a' }),
    target: target({ address: 'b' }),
    maxMessageSize: any,
  })
  peer.respondAttach({ initialDeliveryCount: 0 })
  return attaching
}

const flowOf = (fields: Fields) => ({
  nextIncomingId: any,
  incomingWindow: any,
  nextOutgoingId: any,
  outgoingWindow: any,
  handle: 1,
  deliveryCount: any,
  ...fields,
})

/** The controller asks; the coordinator has not answered. */
async function discharging(
  peer: Script,
  ending: Promise<void>,
  fail = false,
  deliveryId = 1,
): Promise<Promise<unknown>[]> {
  const result = settled(ending)
  await quiet()
  peer.expectTransfer(
    { handle: 0, deliveryId, deliveryTag: any, messageFormat: 0 },
    asMessage(discharge({ txnId, fail })),
  )
  return [result]
}

describe('§4.2 declaring', () => {
  test('the control link, the declare and its answer; one link for all of a session', async () => {
    const { session, peer, transaction } = await begun()
    expect(transaction.id).toEqual(txnId)
    const second = session.transaction()
    await quiet()
    peer.expectTransfer({ handle: 0, deliveryId: 1, deliveryTag: any, messageFormat: 0 }, asMessage(declare()))
    peer.respondDisposition({ state: declared({ txnId: Uint8Array.of(8) }) })
    expect((await second).id).toEqual(Uint8Array.of(8))
    peer.finished()
  })

  test.each([
    ['rejected', refusing('amqp:not-allowed'), 'amqp:not-allowed'],
    ['rejected without an error', rejected(), undefined],
    ['released', released(), undefined],
    ['accepted, which is no answer', accepted(), undefined],
  ])('§4.5.5 %s: no transaction', async (_name, state, condition) => {
    const { session, peer } = await scriptedClient()
    const [declaring] = await controlled(peer, session)
    peer.respondDisposition({ state })
    const result = (await declaring) as TransactionError
    expect(result).toBeInstanceOf(TransactionError)
    expect(result).toMatchObject({ fate: 'rolled-back', condition })
    peer.finished()
  })

  test('§4.5.4 a txn-id of more than 32 bytes is none: decode-error', async () => {
    const { session, peer } = await scriptedClient()
    const [declaring] = await controlled(peer, session)
    peer.respondDisposition({ state: declared({ txnId: new Uint8Array(33) }) })
    expect(await declaring).toBeInstanceOf(ClosedError)
    await quiet()
    peer.expectClose({ error: failing('amqp:decode-error') })
  })

  test('§4.5.7 what the coordinator does not offer is not asked of it', async () => {
    const { connection, session, peer, transaction } = await begun({}, [LOCAL])
    expect(await settled(session.transaction())).toMatchObject({ code: 'ERR_AMQP_USAGE', section: '4.5.7' })
    const beginning = connection.session()
    await quiet()
    peer.expectBegin({ nextOutgoingId: 0, incomingWindow: any, outgoingWindow: any, handleMax: any }, undefined, 1)
    peer.sendBegin({ remoteChannel: 1 }, undefined, 1)
    const other = await beginning
    const attaching = other.sender('b', { name: 's', source: 'a' })
    await quiet()
    peer.expectAttach(
      { name: 's', handle: 0, role: 'sender', source: any, target: any, initialDeliveryCount: 0 },
      undefined,
      1,
    )
    peer.respondAttach({}, undefined, 1)
    const sender = await attaching
    expect(await settled(sender.send({ body: 'x' }, { transaction }))).toMatchObject({ section: '4.1' })
    await quiet()
    peer.finished()
  })

  test('§4.5.7 a coordinator that names no capabilities decides for itself', async () => {
    const { session, peer } = await begun({}, [])
    void settled(session.transaction())
    await quiet()
    peer.expectTransfer({ handle: 0, deliveryId: 1, deliveryTag: any, messageFormat: 0 }, asMessage(declare()))
    peer.finished()
  })

  test('the control link is refused: that error, and another attempt with the next transaction', async () => {
    const { session, peer } = await scriptedClient()
    const declaring = settled(session.transaction())
    await quiet()
    const asked = { name: any, handle: 0, role: 'sender', sndSettleMode: any, source: any, target: any }
    peer.expectAttach({ ...asked, initialDeliveryCount: 0 }).respondAttach({ target: undefined })
    peer.sendDetach({ handle: 0, closed: true, error: error({ condition: 'amqp:not-implemented' }) })
    expect(await declaring).toMatchObject({ code: 'ERR_AMQP_REMOTE', condition: 'amqp:not-implemented' })
    await quiet()
    peer.expectDetach({ handle: 0, closed: true })
    await controlled(peer, session)
    peer.finished()
  })
})

describe('§4.3 discharging', () => {
  test('commit: accepted', async () => {
    const { peer, transaction } = await begun()
    const [commit] = await discharging(peer, transaction.commit())
    expect(transaction.state).toBe('discharging')
    peer.respondDisposition()
    expect(await commit).toBeUndefined()
    expect(transaction.state).toBe('committed')
    peer.finished()
  })

  test.each(conditions)('§4.5.8 commit: rejected with %s', async condition => {
    const { peer, transaction } = await begun()
    const [commit] = await discharging(peer, transaction.commit())
    peer.respondDisposition({ state: refusing(condition) })
    expect(await commit).toMatchObject({ code: 'ERR_AMQP_TRANSACTION', fate: 'rolled-back', condition })
    expect(transaction.state).toBe('rolled-back')
  })

  test.each([
    ['accepted', accepted()],
    ['rejected, which it may not be', refusing('amqp:transaction:unknown-id')],
  ])('rollback: %s', async (_name, state) => {
    const { peer, transaction } = await begun()
    const [rollback] = await discharging(peer, transaction.rollback(), true)
    peer.respondDisposition({ state })
    expect(await rollback).toBeUndefined()
    expect(transaction.state).toBe('rolled-back')
    peer.finished()
  })

  test('commit: neither accepted nor rejected, and nobody knows', async () => {
    const { peer, transaction } = await begun()
    const [commit] = await discharging(peer, transaction.commit())
    peer.respondDisposition({ state: released() })
    expect(await commit).toMatchObject({ fate: 'unknown' })
  })

  test.each([
    ['with an error: refused', { error: error({ condition: 'amqp:transaction:rollback' }) }, 'rolled-back'],
    ['without: nobody knows', {}, 'unknown'],
  ])('the control link is ended in answer to a commit, %s', async (_name, fields, fate) => {
    const { peer, transaction } = await begun()
    const [commit] = await discharging(peer, transaction.commit())
    peer.sendDetach({ handle: 0, closed: true, ...fields })
    expect(await commit).toMatchObject({ code: 'ERR_AMQP_TRANSACTION', fate })
    expect(transaction.state).toBe(fate)
  })

  test('the wire is cut: rolled back before the discharge, unknown behind it, rolled back behind a rollback', async () => {
    for (const [end, fate] of [
      [undefined, 'rolled-back'],
      ['commit', 'unknown'],
      ['rollback', 'rolled-back'],
    ] as const) {
      const { peer, transaction, cut } = await begun()
      const [result] = end ? await discharging(peer, transaction[end](), end === 'rollback') : []
      cut()
      await quiet()
      expect(transaction.state).toBe(fate)
      if (end === 'commit') expect(await result).toMatchObject({ fate: 'unknown', scope: undefined })
      if (end === 'rollback') expect(await result).toBeUndefined()
    }
  })

  test('no credit on the control link when the wire is cut: the discharge never left', async () => {
    const { peer, transaction, cut } = await begun()
    peer.sendFlow({ handle: 0, deliveryCount: 1, linkCredit: 0 })
    await quiet()
    const commit = settled(transaction.commit())
    await quiet()
    peer.nothing()
    cut()
    expect(await commit).toMatchObject({ fate: 'rolled-back' })
  })
})

describe('§4.4.1 §4.4.4.1 posting', () => {
  test('the state on every frame, and the discharge behind the last', async () => {
    const { session, peer, transaction } = await begun({ maxFrameSize: 512 })
    const sender = await sending(peer, session, 0)
    const send = sender.send({ body: new Uint8Array(900) }, { transaction })
    const commit = settled(transaction.commit())
    await quiet()
    peer.nothing()
    expect(transaction.state).toBe('discharging')
    peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit: 1 })
    await quiet()
    const frames = peer.all()
    expect(frames.map(({ name, fields }) => [name, fields.handle?.v, fields.more?.v])).toEqual([
      ['transfer', 1, true],
      ['transfer', 1, undefined],
      ['transfer', 0, undefined],
    ])
    const state = (frame: (typeof frames)[number] | undefined) => frame?.fields.state && encode(frame.fields.state)
    expect(state(frames[0])).toEqual(encode(provisional()))
    expect(state(frames[1])).toEqual(encode(provisional()))
    expect(frames[2]?.payload).toEqual(asMessage(discharge({ txnId, fail: false })))
    peer.sendDisposition({ first: 1, settled: true, state: provisional(accepted()) })
    peer.sendDisposition({ first: 2, settled: true, state: accepted() })
    expect(await send).toEqual({ outcome: 'accepted' })
    expect(await commit).toBeUndefined()
    await quiet()
    peer.finished()
  })

  test('not settled by the resource: the outcome is told at once, and settled when it holds', async () => {
    const { session, peer, transaction } = await begun()
    const sender = await sending(peer, session)
    const send = sender.send({ body: Uint8Array.of(9) }, { transaction })
    await quiet()
    const posted = { handle: 1, deliveryId: 1, deliveryTag: any, messageFormat: 0, state: provisional() }
    peer.expectTransfer(posted, one)
    // In the transaction, and nothing decided.
    peer.respondDisposition({ settled: false, state: provisional() })
    await quiet()
    peer.respondDisposition({ settled: false, state: provisional(modified()) })
    expect(await send).toMatchObject({ outcome: 'modified' })
    await quiet()
    peer.nothing()
    const [commit] = await discharging(peer, transaction.commit(), false, 2)
    peer.respondDisposition()
    await commit
    await quiet()
    peer.expectDisposition({ role: 'sender', first: 1, settled: true, state: modified() }).finished()
  })

  test('sent settled: flag and state together; rolled back with nothing to settle', async () => {
    const { session, peer, transaction } = await begun()
    const sender = await sending(peer, session)
    await sender.send({ body: Uint8Array.of(9) }, { transaction, settled: true })
    const posted = { handle: 1, deliveryId: 1, deliveryTag: any, messageFormat: 0, settled: true, state: provisional() }
    peer.expectTransfer(posted, one)
    const [rollback] = await discharging(peer, transaction.rollback(), true, 2)
    peer.respondDisposition()
    await rollback
    await quiet()
    peer.finished()
  })

  test('no outcome when the control link ends: the send rejects, and the delivery is settled without one', async () => {
    const { session, peer, transaction } = await begun()
    const sender = await sending(peer, session)
    const send = settled(sender.send({ body: Uint8Array.of(9) }, { transaction }))
    await quiet()
    peer.expectTransfer({ handle: 1, deliveryId: 1, deliveryTag: any, messageFormat: 0, state: provisional() }, one)
    peer.sendDetach({ handle: 0, closed: true, error: error({ condition: 'amqp:transaction:timeout' }) })
    expect(await send).toMatchObject({ fate: 'rolled-back', condition: 'amqp:transaction:timeout' })
    expect(transaction.state).toBe('rolled-back')
    await quiet()
    const names = peer.all().map(({ name, fields }) => [name, fields.first?.v ?? fields.handle?.v, fields.state])
    expect(names.sort()).toEqual([
      ['detach', 0, undefined],
      ['disposition', 1, undefined],
    ])
    const [again] = await controlled(peer, session)
    peer.respondDisposition({ state: declared({ txnId }) })
    expect(((await again) as Transaction).state).toBe('live')
  })

  test('rolled back while it waits for credit: it is never sent', async () => {
    const { session, peer, transaction } = await begun()
    const sender = await sending(peer, session, 0)
    const send = settled(sender.send({ body: 'x' }, { transaction }))
    const [rollback] = await discharging(peer, transaction.rollback(), true)
    expect(await send).toMatchObject({ fate: 'rolled-back' })
    peer.respondDisposition()
    await rollback
    peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit: 10 })
    await quiet()
    peer.finished()
  })
})

describe('§4.4.2 §4.4.4.2 retirement', () => {
  async function delivered(count: number, settle: 'first' | 'second' = 'first') {
    const s = await begun()
    const receiver = await receiving(s.peer, s.session, settle)
    receiver.addCredit(count)
    await quiet()
    s.peer.expectFlow(flowOf({ linkCredit: count }))
    const deliveries = []
    for (let i = 0; i < count; i++) {
      s.peer.sendTransfer({ handle: 1, deliveryId: i, deliveryTag: Uint8Array.of(i) }, one)
      deliveries.push(await receiver.receive())
    }
    return { ...s, receiver, deliveries }
  }

  test('one disposition for a range, unsettled; settled when it holds', async () => {
    const { peer, transaction, deliveries } = await delivered(3)
    for (const delivery of deliveries) await delivery.accept({ transaction })
    await quiet()
    peer.expectDisposition({ role: 'receiver', first: 0, last: 2, state: provisional(accepted()) })
    const [commit] = await discharging(peer, transaction.commit())
    peer.respondDisposition()
    await commit
    await quiet()
    peer.expectDisposition({ role: 'receiver', first: 0, last: 2, settled: true, state: accepted() }).finished()
    expect(deliveries.map(({ state }) => state)).toEqual(['settled', 'settled', 'settled'])
  })

  test('in mode second the sender settles, when it holds', async () => {
    const { peer, transaction, deliveries } = await delivered(1, 'second')
    await deliveries[0]?.release({ transaction })
    await quiet()
    peer.expectDisposition({ role: 'receiver', first: 0, state: provisional(released()) })
    const [commit] = await discharging(peer, transaction.commit())
    peer.respondDisposition()
    await commit
    await quiet()
    peer.expectDisposition({ role: 'receiver', first: 0, state: released() })
    peer.sendDisposition({ role: 'sender', first: 0, settled: true })
    expect(deliveries[0]?.state).toBe('settled')
  })

  test('rolled back: nothing is said, and the next decision is free', async () => {
    const { peer, transaction, deliveries } = await delivered(1)
    await deliveries[0]?.accept({ transaction })
    await quiet()
    peer.expectDisposition({ role: 'receiver', first: 0, state: provisional(accepted()) })
    const [rollback] = await discharging(peer, transaction.rollback(), true)
    peer.respondDisposition()
    await rollback
    await quiet()
    peer.nothing()
    expect(deliveries[0]?.state).toBe('live')
    await deliveries[0]?.release()
    await quiet()
    peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: released() }).finished()
  })

  test('the resource settles before the discharge: nothing is left to say, rolled back or not', async () => {
    const { peer, transaction, deliveries } = await delivered(1)
    await deliveries[0]?.accept({ transaction })
    await quiet()
    peer.expectDisposition({ role: 'receiver', first: 0, state: provisional(accepted()) })
    peer.sendDisposition({ role: 'sender', first: 0, settled: true, state: provisional(accepted()) })
    const [rollback] = await discharging(peer, transaction.rollback(), true)
    peer.respondDisposition()
    await rollback
    await quiet()
    peer.finished()
    expect(deliveries[0]?.state).toBe('settled')
  })
})

describe('§4.4.3 §4.4.4.3 acquisition', () => {
  async function acquired() {
    const s = await begun()
    const receiver = await receiving(s.peer, s.session)
    receiver.addCredit(3, { transaction: s.transaction })
    await quiet()
    const properties = { 'txn-id': txnId }
    s.peer.expectFlow(flowOf({ linkCredit: 3, properties }))
    s.peer.sendTransfer({ handle: 1, deliveryId: 0, deliveryTag: Uint8Array.of(0), state: provisional() }, one)
    return { ...s, receiver, properties, delivery: await receiver.receive() }
  }

  /** The credit that is left is taken back first. */
  async function ended(s: Awaited<ReturnType<typeof acquired>>, end: 'commit' | 'rollback') {
    const ending = settled(s.transaction[end]())
    await quiet()
    s.peer.expectFlow(flowOf({ linkCredit: 2, drain: true, properties: s.properties }))
    s.peer.sendFlow({ handle: 1, deliveryCount: 3, linkCredit: 0, drain: true })
    await quiet()
    const fail = end === 'rollback'
    const asked = { handle: 0, deliveryId: 1, deliveryTag: any, messageFormat: 0 }
    s.peer.expectTransfer(asked, asMessage(discharge({ txnId, fail }))).respondDisposition()
    expect(await ending).toBeUndefined()
    await quiet()
  }

  test('what is acquired is retired under the same transaction, unasked', async () => {
    const s = await acquired()
    await s.delivery.accept()
    await quiet()
    s.peer.expectDisposition({ role: 'receiver', first: 0, state: provisional(accepted()) })
    await ended(s, 'commit')
    s.peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: accepted() })
    s.receiver.addCredit(1)
    await quiet()
    s.peer.expectFlow(flowOf({ linkCredit: 1 })).finished()
  })

  test('rolled back: acquisition and outcome are undone', async () => {
    const s = await acquired()
    await s.delivery.accept()
    await quiet()
    s.peer.expectDisposition({ role: 'receiver', first: 0, state: provisional(accepted()) })
    await ended(s, 'rollback')
    s.peer.expectDisposition({ role: 'receiver', first: 0, settled: true, state: released() }).finished()
    expect(s.delivery.state).toBe('settled')
  })

  test('under another transaction it is neither acquired nor retired', async () => {
    const s = await acquired()
    const declaring = s.session.transaction()
    await quiet()
    s.peer.expectTransfer({ handle: 0, deliveryId: 1, deliveryTag: any, messageFormat: 0 }, asMessage(declare()))
    s.peer.respondDisposition({ state: declared({ txnId: Uint8Array.of(8) }) })
    const transaction = await declaring
    expect(() => s.receiver.addCredit(1, { transaction })).toThrow(UsageError)
    expect(await settled(s.delivery.accept({ transaction }))).toMatchObject({ section: '4.4.2' })
    await quiet()
    s.peer.finished()
  })

  test('refused by the peer, as not every link can: the link is lost, the transaction lives', async () => {
    const s = await acquired()
    s.peer.sendDetach({ handle: 1, closed: true, error: error({ condition: 'amqp:not-implemented' }) })
    await quiet()
    s.peer.expectDetach({ handle: 1, closed: true })
    const [commit] = await discharging(s.peer, s.transaction.commit())
    s.peer.respondDisposition()
    expect(await commit).toBeUndefined()
  })
})
