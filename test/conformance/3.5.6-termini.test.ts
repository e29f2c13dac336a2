/** §2.6.1 §2.6.3 §2.6.4 §3.5.5 §3.5.6: termini of a listener that outlive their links, by a scripted peer. */

import { afterEach, describe, expect, test } from 'vitest'
import type { TerminusOptions, TerminusRecord } from '../../src/client/api-termini.ts'
import { saslServer } from '../../src/client/sasl.ts'
import { accepted, error, received, released, source } from '../peer/composites.ts'
import { any } from '../peer/script.ts'
import { settled } from '../support/controller.ts'
import { type Asked, attachReceiver, attachSender, Keeping, one, type Peer, tag } from '../support/reattaching.ts'
import { unsettledMap } from '../support/resuming.ts'
import { quiet } from '../support/scripted-connection.ts'
import { pause } from '../waiting.ts'

const open: Keeping[] = []
const keeping = (termini: boolean | TerminusOptions = true): Keeping => {
  const k = new Keeping({ termini })
  open.push(k)
  return k
}
afterEach(async () => {
  await Promise.all(open.splice(0).map(k => k.close()))
})

const still = Symbol('still open')
const now = (promise: Promise<unknown> | undefined): Promise<unknown> =>
  Promise.race([promise, quiet().then(() => still)])

const LINK_DETACH: Asked = { expiryPolicy: 'link-detach' }
const CLOSE: Asked = { expiryPolicy: 'connection-close', timeout: 60 }
const NEVER: Asked = { expiryPolicy: 'never' }
const sentIt = { handle: 0, deliveryId: 0, deliveryTag: any, messageFormat: 0 }
const TAG = new Uint8Array(4)

/** One message of ours, sent to the peer's receiver and not answered. */
async function sentOne(k: Keeping, at: Peer, asked: Asked = CLOSE, granted: Asked | undefined = asked) {
  await attachReceiver(at, asked, granted)
  at.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
  const outcome = settled(k.senders.at(-1)?.send({ body: Uint8Array.of(9) }) as Promise<unknown>)
  await quiet()
  at.peer.expectTransfer(sentIt, one)
  return { outcome }
}

/** The map of ours, of one delivery under the tag 0. */
const map = (state: Parameters<typeof unsettledMap>[0][number] = null) => ({
  t: 'map' as const,
  v: [[{ t: 'binary' as const, v: '00000000' }, state ?? { t: 'null' as const, v: null }]] as never,
})

describe('§3.5.3 §3.5.4 what an answer says is true', () => {
  test.each([
    ['nothing is asked', true, {}, {}],
    ['all is asked', true, { durable: 2, ...CLOSE }, CLOSE],
    ['for ever', true, NEVER, NEVER],
    ['for longer than is granted', { maxSeconds: 5 }, CLOSE, { ...CLOSE, timeout: 5 }],
    ['for ever, where nothing is', { maxSeconds: 5 }, NEVER, { ...CLOSE, timeout: 5 }],
    ['where there is no place left', { maxTermini: 0 }, CLOSE, LINK_DETACH],
    ['where there are no bytes left', { maxBytes: 10 }, CLOSE, LINK_DETACH],
    ['where nothing is kept', false, { durable: 1, ...CLOSE }, LINK_DETACH],
    ['where nothing is kept, nor asked', false, {}, LINK_DETACH],
  ] as [string, boolean | TerminusOptions, Asked, Asked][])('%s', async (_name, termini, asked, granted) => {
    const k = keeping(termini)
    const at = await k.connected()
    await attachReceiver(at, asked, granted)
    at.peer.sendDetach({ handle: 0, closed: true })
    await quiet()
    at.peer.expectDetach({ handle: 0, closed: true })
    await attachSender(at, asked, granted)
    at.peer.finished()
  })

  test('what the application says of its own end is its word', async () => {
    for (const termini of [false, true]) {
      const k = keeping(termini)
      k.accepting = { reply: { source: { address: 'a', durable: 'configuration', expiryPolicy: 'never' } as never } }
      await attachReceiver(await k.connected(), {}, { durable: 1, expiryPolicy: 'never' })
    }
  })
})

describe('§2.6.4 §2.6.13 a source that outlives its link', () => {
  test('the connection is cut: the send stays open, and the outcome that the peer has decides it', async () => {
    const k = keeping()
    const first = await k.connected()
    const { outcome } = await sentOne(k, first)
    first.cut()
    expect(await now(outcome)).toBe(still)
    expect(k.links[0]?.resumes).toBe(false)
    const next = await k.connected()
    await attachReceiver(next, CLOSE, CLOSE, { unsettled: map(accepted()) }, { unsettled: map() })
    expect(k.links[1]?.resumes).toBe(true)
    next.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
    await quiet()
    next.peer.expectTransfer({ ...sentIt, deliveryTag: TAG, settled: true, resume: true, state: accepted() })
    expect(await outcome).toEqual({ outcome: 'accepted' })
    next.peer.finished()
  })

  test('what the peer has never got is sent again, and what was never sent follows', async () => {
    const k = keeping()
    const first = await k.connected()
    const { outcome } = await sentOne(k, first)
    first.peer.sendFlow({ handle: 0, deliveryCount: 1, linkCredit: 0 })
    const second = settled(k.senders[0]?.send({ body: Uint8Array.of(9) }) as Promise<unknown>)
    await quiet()
    first.cut()
    await quiet()
    const next = await k.connected()
    await attachReceiver(next, CLOSE, CLOSE, {}, { unsettled: map() })
    next.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
    await quiet()
    next.peer.expectTransfer({ ...sentIt, deliveryTag: TAG }, one)
    next.peer.expectTransfer({ ...sentIt, deliveryId: 1, deliveryTag: Uint8Array.of(0, 0, 0, 1) }, one)
    next.peer.sendDisposition({ first: 0, last: 1, settled: true, state: released() })
    expect(await Promise.all([outcome, second])).toEqual(Array(2).fill({ outcome: 'released' }))
  })

  test.each(['detach', 'end'])('%s without a close of the connection, and back on it', async how => {
    const k = keeping()
    const at = await k.connected()
    const { outcome } = await sentOne(k, at)
    if (how === 'detach') at.peer.sendDetach({ handle: 0, closed: false })
    else at.peer.sendEnd()
    await quiet()
    if (how === 'detach') at.peer.expectDetach({ handle: 0 })
    else {
      at.peer.expectEnd().sendBegin()
      await quiet()
      at.peer.all()
    }
    expect(await now(outcome)).toBe(still)
    await attachReceiver(at, CLOSE, CLOSE, { unsettled: map(released()) }, { unsettled: map() })
    at.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
    expect(await outcome).toEqual({ outcome: 'released' })
  })

  test('a send that is given up in between is not sent again', async () => {
    const k = keeping()
    const first = await k.connected()
    await attachReceiver(first, CLOSE, CLOSE)
    const given = new AbortController()
    const { signal } = given
    const never = settled(k.senders[0]?.send({ body: Uint8Array.of(9) }, { signal }) as Promise<unknown>)
    first.cut()
    await quiet()
    given.abort(new Error('no more'))
    expect(await never).toMatchObject({ message: 'no more' })
    const next = await k.connected()
    await attachReceiver(next, CLOSE, CLOSE, {}, { unsettled: unsettledMap({}) })
    next.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
    await quiet()
    next.peer.finished()
  })

  test('what is sent settled, or made while it is sent, is lost with its link', async () => {
    const k = keeping()
    const first = await k.connected()
    await attachReceiver(first, CLOSE, CLOSE)
    first.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
    async function* body() {
      yield Uint8Array.of(1)
      await new Promise(() => {})
    }
    const made = settled(k.senders[0]?.send({ body: body() }) as Promise<unknown>)
    await quiet()
    first.cut()
    expect(await made).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
  })

  test('§2.6.13 a map that does not fit: what is known is settled, then we detach, for the rest to be told', async () => {
    const k = keeping()
    const small = { maxFrameSize: 512 }
    const first = await k.connected('c1', small)
    await attachReceiver(first, CLOSE, CLOSE)
    first.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 100 })
    const outcomes = Array.from({ length: 80 }, () =>
      settled(k.senders[0]?.send({ body: Uint8Array.of(9) }) as Promise<unknown>),
    )
    await quiet()
    first.cut()
    await quiet()
    let at = await k.connected('c1', small)
    const unsettled = map(accepted())
    const incomplete = { unsettled: any, incompleteUnsettled: true }
    await attachReceiver(at, CLOSE, CLOSE, { unsettled }, incomplete)
    at.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 100 })
    await quiet()
    at.peer.expectTransfer({ ...sentIt, deliveryTag: TAG, settled: true, resume: true, state: accepted() })
    expect(await outcomes[0]).toEqual({ outcome: 'accepted' })
    // Nothing is new before the maps are complete.
    at.peer.expectDetach({ handle: 0 }).sendDetach({ handle: 0, closed: false }).finished()
    expect(await now(outcomes[1])).toBe(still)
    // The others are known to the peer, all of them, so that our map becomes shorter each time.
    for (let tries = 0; tries < 5; tries++) {
      at.cut()
      await quiet()
      at = await k.connected('c1')
      const all = Array.from({ length: 79 }, (_, i) => [
        { t: 'binary' as const, v: `000000${(i + 1).toString(16).padStart(2, '0')}` },
        accepted(),
      ])
      await attachReceiver(at, CLOSE, CLOSE, { unsettled: { t: 'map', v: all as never } }, { unsettled: any })
      at.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 100 })
      await quiet()
      if ((await now(outcomes[79])) !== still) break
    }
    expect(await Promise.all(outcomes)).toEqual(Array(80).fill({ outcome: 'accepted' }))
  })

  test('§2.6.3 recovered by name alone: the source that there is is told, by us and to the application', async () => {
    const k = keeping()
    const first = await k.connected()
    await sentOne(k, first)
    first.cut()
    await quiet()
    const next = await k.connected()
    await attachReceiver(next, {}, CLOSE, { source: undefined }, { unsettled: map() })
    expect(k.links[1]?.source).toMatchObject({ address: 'a', timeout: 60 })
  })
})

describe('§2.6.4 §2.6.13 a target that outlives its link', () => {
  /** One message, with the application, and nothing decided. */
  async function gotOne(k: Keeping, asked: Asked = CLOSE) {
    const at = await k.connected()
    await attachSender(at, asked, asked)
    at.peer.sendTransfer({ handle: 0, deliveryId: 0, deliveryTag: tag(1) }, one)
    await quiet()
    return { at, delivery: k.arrived[0] }
  }
  const again = { unsettled: unsettledMap({ 1: null }) }

  test('decided while there is no link: told when it is attached again', async () => {
    const k = keeping()
    const { at, delivery } = await gotOne(k)
    at.cut()
    await quiet()
    expect(delivery?.state).toBe('live')
    const accepting = settled(delivery?.accept() as Promise<unknown>)
    expect(await now(accepting)).toBe(still)
    const next = await k.connected()
    await attachSender(next, CLOSE, CLOSE, again, { unsettled: unsettledMap({ 1: accepted() }) })
    const state = accepted()
    next.peer.sendTransfer({ handle: 0, deliveryId: 0, deliveryTag: tag(1), resume: true, settled: true, state })
    expect(await accepting).toBeUndefined()
    expect([k.arrived.length, delivery?.state]).toEqual([1, 'settled'])
  })

  test('decided when it is attached again: on the new link', async () => {
    const k = keeping()
    const { at, delivery } = await gotOne(k)
    at.cut()
    await quiet()
    const next = await k.connected()
    const place = received({ sectionNumber: 1, sectionOffset: 0n })
    await attachSender(next, CLOSE, CLOSE, again, { unsettled: unsettledMap({ 1: place }) })
    next.peer.sendTransfer({ handle: 0, deliveryId: 0, deliveryTag: tag(1), resume: true, state: place })
    await quiet()
    expect(k.arrived).toHaveLength(1)
    next.peer.all()
    const releasing = delivery?.release()
    await quiet()
    next.peer.expectDisposition({ role: 'receiver', first: 0, state: released() })
    next.peer.sendDisposition({ role: 'sender', first: 0, settled: true, state: released() })
    await releasing
    expect(delivery?.state).toBe('settled')
  })

  test('the peer knows of nothing any more: it is settled', async () => {
    const k = keeping()
    const { at, delivery } = await gotOne(k)
    const accepting = delivery?.accept()
    await quiet()
    at.cut()
    await quiet()
    const next = await k.connected()
    await attachSender(next, CLOSE, CLOSE, {}, { unsettled: unsettledMap({ 1: accepted() }) })
    await accepting
    expect(delivery?.state).toBe('settled')
  })

  test('half of a message goes on where it was', async () => {
    const k = keeping()
    const first = await k.connected()
    await attachSender(first, CLOSE, CLOSE)
    first.peer.sendTransfer({ handle: 0, deliveryId: 0, deliveryTag: tag(1), more: true }, one.subarray(0, 4))
    await quiet()
    first.cut()
    await quiet()
    const next = await k.connected()
    const place = received({ sectionNumber: 0, sectionOffset: 4n })
    await attachSender(next, CLOSE, CLOSE, again, { unsettled: unsettledMap({ 1: place }) })
    const rest = { handle: 0, deliveryId: 0, deliveryTag: tag(1), resume: true, state: place }
    next.peer.sendTransfer(rest, one.subarray(4))
    await quiet()
    expect(k.arrived.map(({ bytes }) => [...bytes])).toEqual([[...one]])
  })

  test('too much of half messages: dropped, and sent again', async () => {
    const k = keeping({ maxBytes: 3000 })
    const first = await k.connected()
    await attachSender(first, CLOSE, CLOSE)
    first.peer.sendTransfer({ handle: 0, deliveryId: 0, deliveryTag: tag(1), more: true }, new Uint8Array(9000))
    await quiet()
    first.cut()
    await quiet()
    await attachSender(await k.connected(), CLOSE, CLOSE, again, { unsettled: unsettledMap({}) })
  })
})

describe('§3.5.6 when it expires', () => {
  const WITHIN_SESSION: Asked = {}
  const ends = (k: Keeping, at: Peer, how: 'detach' | 'end' | 'cut' | 'close') => {
    void k
    if (how === 'detach') at.peer.sendDetach({ handle: 0, closed: false })
    else if (how === 'end') at.peer.sendEnd()
    else if (how === 'close') at.peer.sendClose()
    else at.cut()
    return quiet()
  }

  test.each([
    ['link-detach', 'detach', true],
    ['session-end', 'detach', false],
    ['session-end', 'end', true],
    ['session-end', 'cut', true],
    ['connection-close', 'detach', false],
    ['connection-close', 'end', false],
    ['connection-close', 'close', true],
    ['connection-close', 'cut', true],
    ['never', 'detach', false],
    ['never', 'end', false],
    ['never', 'cut', false],
  ] as const)('%s, time-out 0, by %s: at once is %s', async (expiryPolicy, how, isOver) => {
    const k = keeping()
    const at = await k.connected()
    const { outcome } = await sentOne(k, at, { expiryPolicy }, expiryPolicy === 'session-end' ? {} : { expiryPolicy })
    await ends(k, at, how)
    if (isOver) expect(await now(outcome)).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    else expect(await now(outcome)).toBe(still)
  })

  test('session-end: detached before, it goes when the session does', async () => {
    const k = keeping()
    const at = await k.connected()
    const { outcome } = await sentOne(k, at, WITHIN_SESSION)
    await ends(k, at, 'detach')
    expect(await now(outcome)).toBe(still)
    await ends(k, at, 'end')
    expect(await now(outcome)).toMatchObject({ code: 'ERR_AMQP_CLOSED', scope: 'link' })
  })

  test('session-end: attached on another session meanwhile, the first one’s end changes nothing', async () => {
    const k = keeping()
    const at = await k.connected()
    const { outcome } = await sentOne(k, at, WITHIN_SESSION)
    await ends(k, at, 'detach')
    at.peer.expectDetach({ handle: 0 }).sendBegin({}, undefined, 1)
    await quiet()
    at.peer.all()
    at.peer.sendAttach({ name: 'l', handle: 0, role: 'receiver', source: source({ address: 'a' }) }, undefined, 1)
    await quiet()
    at.peer.sendDetach({ handle: 0, closed: false }, undefined, 1)
    await quiet()
    await ends(k, at, 'end')
    expect(await now(outcome)).toBe(still)
    at.peer.sendEnd({}, undefined, 1)
    expect(await now(outcome)).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
  })

  test('the time-out runs from then on, and anew after each time that it was attached', async () => {
    const k = keeping()
    const terms: Asked = { expiryPolicy: 'link-detach', timeout: 1 }
    const first = await k.connected()
    const { outcome } = await sentOne(k, first, terms)
    first.cut()
    await pause(600)
    const next = await k.connected()
    await attachReceiver(next, terms, terms, { unsettled: map() }, { unsettled: map() })
    await pause(600)
    expect(await now(outcome)).toBe(still)
    next.peer.sendDetach({ handle: 0, closed: false })
    await pause(700)
    expect(await now(outcome)).toBe(still)
    expect(await outcome).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    // Nothing is left of it.
    await attachReceiver(await k.connected(), terms, terms)
    expect(k.links.at(-1)?.resumes).toBe(false)
  })

  test('what was received may be decided until then', async () => {
    const k = keeping()
    const terms: Asked = { expiryPolicy: 'connection-close', timeout: 1 }
    const at = await k.connected()
    await attachSender(at, terms, terms)
    at.peer.sendTransfer({ handle: 0, deliveryId: 0, deliveryTag: tag(1) }, one)
    at.peer.sendTransfer({ handle: 0, deliveryId: 1, deliveryTag: tag(2) }, one)
    await quiet()
    const [a, b] = k.arrived
    at.cut()
    await quiet()
    const accepting = settled(a?.accept() as Promise<unknown>)
    await pause(1100)
    expect(await accepting).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    expect(b?.state).toBe('lost')
    expect(await settled(b?.accept() as Promise<unknown>)).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
  })

  test('§2.6.6 closed, by either end, nothing is kept', async () => {
    const k = keeping()
    const first = await k.connected()
    const { outcome } = await sentOne(k, first, NEVER)
    first.peer.sendDetach({ handle: 0, closed: true })
    expect(await outcome).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
    first.peer.all()
    const again = await sentOne(k, await k.connected(), NEVER)
    expect(k.links[1]?.resumes).toBe(false)
    void k.senders[1]?.close({ error: { condition: 'x:y' } }).catch(() => {})
    await pause(0)
    await k.close()
    expect(await again.outcome).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
  })

  test('the listener is closed: nothing is kept', async () => {
    const k = keeping()
    const at = await k.connected()
    const { outcome } = await sentOne(k, at, NEVER)
    at.cut()
    expect(await now(outcome)).toBe(still)
    await k.close()
    expect(await outcome).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
  })

  test('more deliveries than may be kept: lost', async () => {
    const k = keeping({ maxDeliveries: 0 })
    const at = await k.connected()
    const { outcome } = await sentOne(k, at)
    at.cut()
    expect(await outcome).toMatchObject({ code: 'ERR_AMQP_CLOSED' })
  })
})

describe('§2.6.1 names, over all connections of a container', () => {
  const STOLEN = error({ condition: 'amqp:link:stolen', description: 'the name was attached again' })

  test('attached on another connection, a link is stolen with all that was on it', async () => {
    const k = keeping()
    const first = await k.connected()
    const { outcome } = await sentOne(k, first)
    const next = await k.connected()
    await attachReceiver(next, CLOSE, CLOSE, { unsettled: map(accepted()) }, { unsettled: map() })
    first.peer.expectDetach({ handle: 0, closed: true, error: STOLEN })
    expect(await k.senders[0]?.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:link:stolen' } })
    // What the first one still says of it is let pass.
    first.peer.sendDisposition({ first: 0, settled: true, state: released() }).sendDetach({ handle: 0 })
    expect(await now(outcome)).toBe(still)
    next.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
    expect(await outcome).toEqual({ outcome: 'accepted' })
    first.peer.finished()
  })

  test('on another session of the same connection, too', async () => {
    const k = keeping()
    const at = await k.connected()
    const { outcome } = await sentOne(k, at)
    at.peer.sendBegin({}, undefined, 1)
    await quiet()
    at.peer.all()
    const attach = { name: 'l', handle: 0, role: 'receiver', source: source({ address: 'a' }) }
    at.peer.sendAttach({ ...attach, unsettled: map(accepted()) }, undefined, 1)
    await quiet()
    expect(at.peer.all().map(({ name, channel }) => [name, channel])).toEqual([
      ['detach', 0],
      ['attach', 1],
    ])
    at.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 }, undefined, 1)
    expect(await outcome).toEqual({ outcome: 'accepted' })
  })

  test.each(['queued behind a detach', 'detached and not answered'])('while it is leaving: %s', async how => {
    const k = keeping()
    const first = await k.connected()
    const { outcome } = await sentOne(k, first)
    if (how.startsWith('queued')) {
      first.peer.sendFlow({ handle: 0, deliveryCount: 1, linkCredit: 0 })
      settled(k.senders[0]?.send({ body: 'x' }) as Promise<unknown>)
    }
    void k.senders[0]?.detach()
    await quiet()
    const next = await k.connected()
    const fields = { unsettled: map(accepted()) }
    await attachReceiver(next, CLOSE, CLOSE, fields, { unsettled: any })
    first.peer.sendDisposition({ first: 0, settled: true, state: released() })
    next.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
    expect(await outcome).toEqual({ outcome: 'accepted' })
  })

  test('nobody else’s: another container, another user, the other direction', async () => {
    const k = new Keeping({
      sasl: [saslServer.plain(() => true)],
      allowNoSasl: true,
    })
    open.push(k)
    const first = await k.connected()
    await sentOne(k, first, NEVER)
    await attachReceiver(await k.connected('c2'), NEVER, NEVER)
    first.peer.nothing()
    expect(k.links.map(({ resumes }) => resumes)).toEqual([false, false])
    const third = await k.connected()
    await attachSender(third, NEVER, NEVER)
    expect(k.links[2]?.resumes).toBe(false)
  })

  test('a link that nothing is kept of is stolen all the same', async () => {
    const k = keeping({ maxTermini: 0 })
    const first = await k.connected()
    await attachReceiver(first, {}, LINK_DETACH)
    await attachReceiver(await k.connected(), {}, LINK_DETACH, {}, { unsettled: any })
    first.peer.expectDetach({ handle: 0, closed: true, error: STOLEN })
  })
})

describe('§3.5.5 what is durable', () => {
  function memory() {
    const records = new Map<string, TerminusRecord>()
    const log: string[] = []
    const keyOf = (key: { containerId: string; name: string; role: string }) =>
      `${key.containerId} ${key.role} ${key.name}`
    return {
      records,
      log,
      store: {
        get: async (key: never) => records.get(keyOf(key)),
        set: async (key: never, record: TerminusRecord) => {
          log.push('set')
          records.set(keyOf(key), record)
        },
        delete: async (key: never) => {
          log.push('delete')
          records.delete(keyOf(key))
        },
      },
    }
  }
  const DURABLE: Asked = { durable: 2, expiryPolicy: 'never' }
  const CONFIGURED: Asked = { durable: 1, expiryPolicy: 'never' }

  test('with a store: the configuration, which is what is said, and it survives the listener', async () => {
    const { store, records } = memory()
    const before = keeping({ store })
    const at = await before.connected()
    await attachReceiver(at, DURABLE, CONFIGURED)
    expect([...records]).toMatchObject([['c1 sender l', { source: { address: 'a', expiryPolicy: 'never' } }]])
    at.cut()
    await before.close()
    const after = keeping({ store })
    const next = await after.connected()
    await attachReceiver(next, {}, CONFIGURED, { source: undefined }, { unsettled: unsettledMap({}) })
    next.peer.sendDetach({ handle: 0, closed: true })
    await quiet()
    expect(records.size).toBe(0)
    await attachReceiver(await after.connected(), {}, {})
  })

  test('not asked for: not stored', async () => {
    const { store, log } = memory()
    const k = keeping({ store })
    await attachReceiver(await k.connected(), CLOSE, CLOSE)
    expect(log).toEqual([])
  })

  test('the time that is left counts in the next process, too', async () => {
    const { store, records } = memory()
    const terms = { durable: 1, expiryPolicy: 'link-detach', timeout: 60 }
    const before = keeping({ store })
    const at = await before.connected()
    await attachReceiver(at, terms, terms)
    at.cut()
    await quiet()
    const [record] = records.values()
    expect(Number(record?.expiresAt) - Date.now()).toBeGreaterThan(50_000)
    await before.close()
    for (const [key, value] of records) records.set(key, { ...value, expiresAt: Date.now() - 1 })
    const after = keeping({ store })
    await attachReceiver(await after.connected(), {}, {})
    expect(after.links[0]?.resumes).toBe(false)
  })

  test('a store that fails: the attach is refused, and the listener hears', async () => {
    const store = { get: () => Promise.reject(new Error('disk')), set: () => {}, delete: () => {} }
    const k = keeping({ store })
    const { peer } = await k.connected()
    peer.sendAttach({ name: 'l', handle: 0, role: 'receiver' })
    await quiet()
    expect(peer.all().map(({ name }) => name)).toEqual(['attach', 'detach'])
    expect(k.errors.map(({ message }) => message)).toEqual(['disk'])
  })
})
