/**
 * Links of a connection that is made again, on the wire, where the peer follows a script. §2.6.13: while unsettled maps
 * are incomplete they are detached and attached, until both ends have told all they have. §2.6.1: what is stolen is gone.
 */

import { expect, test } from 'vitest'
import type { Connection } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ReconnectOptions } from '../../src/client/recovery/back-off.ts'
import type { Transport, TransportSink } from '../../src/io/transport.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { accepted } from '../peer/composites.ts'
import { type Script, scripted } from '../peer/script.ts'
import { concat } from '../peer/wire.ts'
import { tag, unsettledMap } from '../support/resuming.ts'
import { QUICK } from './reconnecting.ts'

/** A client's end of a line whose other end is a script. */
class ScriptedLine implements Transport {
  readonly peer: Script
  #written: Uint8Array[] = []
  #sink: TransportSink | undefined

  constructor() {
    this.peer = scripted({
      receive: bytes => this.#sink?.data(bytes),
      output: () => concat(...this.#written.splice(0)),
    })
  }
  start(sink: TransportSink): void {
    this.#sink = sink
  }
  write(chunks: readonly Uint8Array[]): boolean {
    this.#written.push(...chunks.map(chunk => chunk.slice()))
    return true
  }
  end(): void {
    this.#sink?.end()
  }
  destroy(): void {
    this.#sink?.end()
  }
}

/** Everything that can be done without hearing more. */
const quiet = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate)
}

/** A connection with links that are resumed, and the scripts of the lines that it meets. */
async function resuming(more: ReconnectOptions = {}): Promise<{
  connection: Connection
  peer: Script
  next: () => Promise<Script>
  cut: () => void
}> {
  const lines: ScriptedLine[] = []
  const transport = (): Transport => {
    lines.push(new ScriptedLine())
    return lines.at(-1) as ScriptedLine
  }
  let met = 0
  const next = async (): Promise<Script> => {
    await expect.poll(() => lines.length).toBe(++met)
    await quiet()
    const { peer } = lines[met - 1] as ScriptedLine
    peer.expectHeader().sendHeader()
    await quiet()
    expect(peer.all().map(({ name }) => name)).toEqual(['open'])
    peer.sendOpen()
    return peer
  }
  const connecting = connect({ host: 'h', transport, sasl: false, reconnect: { ...QUICK, resume: true, ...more } })
  const peer = await next()
  return { connection: await connecting, peer, next, cut: () => (lines.at(-1) as ScriptedLine).destroy() }
}

/** The next frames, of which these are the names. */
async function heard(peer: Script, ...names: string[]): Promise<ReturnType<Script['all']>> {
  await quiet()
  const frames = peer.all()
  expect(frames.map(({ name }) => name)).toEqual(names)
  return frames
}

const message = (body: string): Uint8Array => encodeMessage({ body })

test('a sender: resumes what the peer’s map has, detaches when that is settled, and attaches with the rest', async () => {
  const { connection, peer: first, next, cut } = await resuming()
  let peer = first
  const attaching = connection.sender('b', { name: 'l1' })
  await heard(peer, 'begin')
  peer.respondBegin()
  await heard(peer, 'attach')
  peer.respondAttach().sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
  const sender = await attaching
  const sends = [1, 2, 3].map(n => sender.send({ body: `${n}` }, { deliveryTag: tag(n) }))
  await heard(peer, 'transfer', 'transfer', 'transfer')
  cut()

  peer = await next()
  await heard(peer, 'begin')
  peer.respondBegin()
  const [attach] = await heard(peer, 'attach')
  expect(attach?.fields.unsettled).toEqual(unsettledMap({ 1: null, 2: null, 3: null }))
  peer.respondAttach({ unsettled: unsettledMap({ 2: accepted() }), incompleteUnsettled: true })
  sends.push(sender.send({ body: '4' }, { deliveryTag: tag(4) }))
  peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
  const [resumed, detach] = await heard(peer, 'transfer', 'detach')
  expect(resumed?.fields).toMatchObject({ deliveryTag: { v: '02' }, resume: { v: true }, settled: { v: true } })
  expect(detach?.fields.closed).toBeUndefined()
  expect(await sends[1]).toEqual({ outcome: 'accepted' })

  peer.sendDetach({ closed: false })
  const [again] = await heard(peer, 'attach')
  expect(again?.fields).toMatchObject({ name: { v: 'l1' }, unsettled: unsettledMap({ 1: null, 3: null }) })
  peer.respondAttach({ unsettled: unsettledMap({ 1: accepted() }) })
  peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
  const frames = await heard(peer, 'transfer', 'transfer', 'transfer')
  expect(frames.map(({ fields }) => [fields.deliveryTag?.v, fields.resume?.v])).toEqual([
    ['01', true],
    ['03', undefined],
    ['04', undefined],
  ])
  expect(frames.slice(1).map(({ payload }) => [...payload])).toEqual(['3', '4'].map(body => [...message(body)]))
  peer.sendDisposition({ role: 'receiver', first: 1, last: 9, settled: true, state: accepted() })
  expect(await Promise.all(sends)).toEqual(Array(4).fill({ outcome: 'accepted' }))
  ;(connection as unknown as { destroy(): void }).destroy()
})

test('a receiver: attaches again when the peer, whose map was incomplete, detaches', async () => {
  const { connection, peer: first, next, cut } = await resuming()
  let peer = first
  const attaching = connection.receiver('a', { name: 'l1', settle: 'second' })
  await heard(peer, 'begin')
  peer.respondBegin()
  await heard(peer, 'attach')
  peer.respondAttach()
  const receiver = await attaching
  await heard(peer, 'flow')
  for (const n of [1, 2])
    peer.sendTransfer({ deliveryId: n - 1, deliveryTag: tag(n), messageFormat: 0 }, message(`${n}`))
  const [one, two] = [await receiver.receive(), await receiver.receive()]
  cut()
  await quiet()
  const decided = [one.accept(), two.accept()]

  peer = await next()
  await heard(peer, 'begin')
  peer.respondBegin()
  const [attach] = await heard(peer, 'attach')
  expect(attach?.fields.unsettled).toEqual(unsettledMap({ 1: accepted(), 2: accepted() }))
  peer.respondAttach({ unsettled: unsettledMap({ 1: null }), incompleteUnsettled: true })
  await heard(peer, 'flow')
  peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(1), settled: true, resume: true, state: accepted() })
  await decided[0]
  expect([one.state, two.state]).toEqual(['settled', 'live'])

  peer.sendDetach({ closed: false })
  const [, again] = await heard(peer, 'detach', 'attach')
  expect(again?.fields.unsettled).toEqual(unsettledMap({ 2: accepted() }))
  // Both maps are complete, and the peer's lacks the delivery: it is settled there.
  peer.respondAttach({ unsettled: unsettledMap({}) })
  await decided[1]
  expect(two.state).toBe('settled')
  expect(await Promise.race([receiver.closed, 'attached'])).toBe('attached')
  ;(connection as unknown as { destroy(): void }).destroy()
})

test('a receiver: a peer that detaches where both maps were complete has ended the link', async () => {
  const { connection, peer } = await resuming()
  const attaching = connection.receiver('a', { name: 'l1' })
  await heard(peer, 'begin')
  peer.respondBegin()
  await heard(peer, 'attach')
  peer.respondAttach()
  const receiver = await attaching
  peer.sendDetach({ closed: false })
  expect(await receiver.closed).toMatchObject({ by: 'remote' })
  ;(connection as unknown as { destroy(): void }).destroy()
})

test('§2.6.1 a link that is stolen has ended, and is not attached again', async () => {
  const { connection, peer: first, next, cut } = await resuming()
  const attaching = connection.sender('b', { name: 'n' })
  await heard(first, 'begin')
  first.respondBegin()
  await heard(first, 'attach')
  first.respondAttach()
  const sender = await attaching
  first.sendAttach({ name: 'n', handle: 1, role: 'receiver' })
  expect(await sender.closed).toMatchObject({ by: 'remote', error: { condition: 'amqp:link:stolen' } })
  cut()
  const peer = await next()
  await heard(peer, 'begin')
  peer.respondBegin()
  await heard(peer)
  ;(connection as unknown as { destroy(): void }).destroy()
})

test('a peer whose map is never complete is asked ever more seldom; when it is, the message is sent', async () => {
  const { connection, peer: first, next, cut } = await resuming({ initialMs: 40, maxMs: 40 })
  const attaching = connection.sender('a', { name: 'l1' })
  await heard(first, 'begin')
  first.respondBegin()
  await heard(first, 'attach')
  first.respondAttach()
  const sender = await attaching
  first.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
  const sent = sender.send({ body: '1' }, { deliveryTag: tag(1) })
  await heard(first, 'transfer')
  cut()

  const peer = await next()
  await heard(peer, 'begin')
  peer.respondBegin()
  let attaches = 0
  /** The names of the next frames; a detach is answered. */
  const heardNext = async (): Promise<readonly string[]> => {
    await quiet()
    const names = peer.all().map(({ name }) => name)
    if (names.includes('detach')) peer.sendDetach({ closed: false })
    return names
  }
  const until = performance.now() + 300
  while (performance.now() < until) {
    if (!(await heardNext()).includes('attach')) continue
    peer.respondAttach({ unsettled: unsettledMap({ 9: null }), incompleteUnsettled: true })
    attaches++
  }
  // The first two follow at once, and then some twenty milliseconds lie between them.
  expect(attaches).toBeGreaterThan(2)
  expect(attaches).toBeLessThan(60)
  await expect.poll(heardNext).toEqual(['attach'])
  peer.respondAttach({ unsettled: unsettledMap({}) })
  peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 10 })
  await heard(peer, 'transfer')
  peer.sendDisposition({ role: 'receiver', first: 0, settled: true, state: accepted() })
  expect(await sent).toEqual({ outcome: 'accepted' })
  ;(connection as unknown as { destroy(): void }).destroy()
})
