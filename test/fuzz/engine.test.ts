/**
 * Any bytes, in any chunks, to either end of the engine, end in events or in one protocol error and a close frame:
 * never a throw, never a hang, never more memory than the limits allow.
 *
 * Inputs are conversations that really happened, with bytes changed, dropped, doubled and cut at random places, and
 * pure noise. The seed is printed on failure; FUZZ_RUNS sets how many.
 */

import { expect, test } from 'vitest'
import { ACCEPTED } from '../../src/definitions/delivery-state.ts'
import { Engine, type EngineOptions } from '../../src/engine/engine.ts'
import type { EngineEvent } from '../../src/engine/events.ts'
import type { IncomingStream } from '../../src/engine/incoming-stream.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import { AmqpCondition, UsageError } from '../../src/errors.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { hear, Pair } from '../support/pair.ts'
import { mutate, random } from './mutations.ts'
import { type Left, leftIncoming, leftOutgoing, resumingReceiver, resumingSender } from './resumption.ts'

const RUNS = Number(process.env.FUZZ_RUNS ?? 4000)
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() & 0x7fffffff)

/** What each end says in a conversation with sessions, links both ways, messages, settlement and closing. */
function conversation(sasl: boolean): { left: Uint8Array; right: Uint8Array } {
  const said: { left: Uint8Array[]; right: Uint8Array[] } = { left: [], right: [] }
  const pair = new Pair(sasl ? { sasl: 'client' } : {}, sasl ? { sasl: 'server', mechanisms: ['PLAIN'] } : {})
  const { left, right } = pair
  const output = { left: left.output.bind(left), right: right.output.bind(right) }
  left.output = (max, now) => {
    const chunks = output.left(max, now)
    said.left.push(...chunks.map(chunk => chunk.slice()))
    return chunks
  }
  right.output = (max, now) => {
    const chunks = output.right(max, now)
    said.right.push(...chunks.map(chunk => chunk.slice()))
    return chunks
  }
  left.connection.open({ containerId: 'left', maxFrameSize: 1024, idleTimeOut: 1000 })
  right.connection.open({ containerId: 'right', maxFrameSize: 1024 })
  pair.drive()
  if (sasl) {
    left.sasl?.init('PLAIN', Uint8Array.of(0, 117, 0, 112), 'host')
    pair.drive()
    right.sasl?.outcome('ok')
    pair.drive()
  }
  const session = left.connection.session()
  session.begin()
  const sender = session.sender('out')
  sender.attach({ source: { address: 'a' }, target: { address: 'b' } })
  const receiver = session.receiver('in')
  receiver.useWindow(10)
  receiver.attach({ source: { address: 'c' }, target: { address: 'd' } })
  pair.drive()
  for (const event of hear(right).events) {
    if (event.type === 'session.begun') event.session.begin()
    if (event.type !== 'link.attached') continue
    if (event.link.role === 'receiver') event.link.useWindow(5)
    event.link.attach({ source: event.attach.source, target: event.attach.target })
  }
  pair.drive()
  const payload = encodeMessage({
    properties: { messageId: 'm', to: 'x' },
    applicationProperties: { a: 1, b: 'two', c: 3n },
    body: new Uint8Array(3000),
  })
  for (let i = 0; i < 4; i++) sender.transfer(payload)
  pair.drive()
  for (const delivery of hear(right).deliveries) {
    ;(delivery.link as ReceiverEndpoint).disposition(delivery, ACCEPTED)
    delivery.link.consumed()
  }
  pair.drive()
  sender.close()
  pair.drive()
  session.end()
  pair.drive()
  left.connection.close()
  pair.drive()
  const join = (chunks: Uint8Array[]) => new Uint8Array(Buffer.concat(chunks))
  return { left: join(said.left), right: join(said.right) }
}

/**
 * Does something as the owner of an engine. A verb may say that it cannot be done, e.g. since a peer whose handle-max
 * is 0 leaves no handle: that is a `UsageError` to the owner, and no other error is allowed.
 */
function owner(act: () => void): void {
  try {
    act()
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
  }
}

/** What the next link takes over, if any does: a link, or what one has left. */
type Resumed = { left: Left | SenderEndpoint | ReceiverEndpoint } | undefined

function adopt(link: SenderEndpoint | ReceiverEndpoint, resumed: Exclude<Resumed, undefined>): void {
  const { left } = resumed
  if (link.role === 'sender') {
    link.keepsPayload = true
    link.adopt('outgoing' in left ? left.outgoing : left.role === 'sender' ? left.open : [])
  } else link.adopt('incoming' in left ? left.incoming : left.role === 'receiver' ? left.open : [])
  resumed.left = link
}

/** Answers what the peer begins. */
function answer(engine: Engine, event: EngineEvent, streaming: boolean, resumed: Resumed): void {
  if (event.type === 'sasl.mechanisms') engine.sasl?.init('PLAIN', Uint8Array.of(0, 117, 0, 112), 'h')
  if (event.type === 'sasl.init') engine.sasl?.outcome('ok')
  if (event.type === 'session.begun' && event.session.state === 'BEGIN_RCVD' && !engine.connection.hasEnded)
    event.session.begin()
  if (event.type === 'link.attached' && event.link.state === 'ATTACH_RCVD' && event.link.session.maySend) {
    if (event.link.role === 'receiver') {
      event.link.useWindow(50)
      event.link.isStreaming = streaming
    }
    if (resumed) adopt(event.link, resumed)
    event.link.attach({ source: event.attach.source, target: event.attach.target })
  }
}

/** Feeds bytes to one end, which answers and settles as an owner would. */
function feed(options: EngineOptions, bytes: Uint8Array, below: (n: number) => number, resumed?: Resumed): void {
  const engine = new Engine(options)
  engine.connection.open({ containerId: 'victim', maxFrameSize: 4096 })
  let now = 0
  let errors = 0
  let closed = 0
  const streaming = below(2) === 0
  const streams: IncomingStream[] = []
  for (let at = 0; at < bytes.length; ) {
    const width = 1 + below(below(3) === 0 ? 16 : 4096)
    engine.output(1 << 16, now)
    engine.receive(bytes.slice(at, at + width), now++)
    at += width
    const heard = hear(engine)
    for (const event of heard.events) {
      if (event.type === 'protocol.error') {
        // A fault of ours, which the engine has caught.
        if (event.error.condition === AmqpCondition.internalError) throw event.error
        if (event.error.scope === 'connection') errors++
      }
      if (event.type === 'connection.closed') closed++
      if (closed > 0 || engine.isDone) continue
      owner(() => answer(engine, event, streaming, resumed))
    }
    // Some are read as they come, some later, some never.
    for (const stream of streams) if (below(3) === 0) stream.next()
    for (const delivery of heard.deliveries) {
      owner(() => {
        if (delivery.stream) streams.push(delivery.stream)
        if (!delivery.localState && !delivery.link.hasEnded) delivery.link.disposition(delivery, ACCEPTED)
        delivery.link.consumed()
        if (below(20) === 0) delivery.link.stop()
      })
    }
  }
  engine.output(1 << 16, now)
  engine.tick(now + 1_000_000)
  engine.output(1 << 16, now)
  engine.receiveEnd(now)
  closed += hear(engine).events.filter(event => event.type === 'connection.closed').length
  if (closed > 0) {
    // What was not complete is dropped; the rest is let go of when it has been read.
    for (const stream of streams) while (stream.next()) {}
    expect(engine.connection.incompleteBytes).toBe(0)
    for (const stream of streams) expect(stream.isRead).toBe(true)
  }
  expect(errors).toBeLessThanOrEqual(1)
  expect(closed).toBeLessThanOrEqual(1)
  expect(engine.connection.pendingBytes).toBeGreaterThanOrEqual(0)
}

test(`${RUNS} broken conversations, seed ${SEED}`, { timeout: 20_000 + RUNS * 5 }, () => {
  const plain = conversation(false)
  const secured = conversation(true)
  expect(plain.left.length).toBeGreaterThan(10_000)
  const cases: [EngineOptions, Uint8Array, (() => Left)?][] = [
    [{}, plain.left],
    [{}, plain.right],
    [{ sasl: 'server', mechanisms: ['PLAIN'] }, secured.left],
    [{ sasl: 'client' }, secured.right],
    [{}, resumingSender(), leftIncoming],
    [{}, resumingReceiver(), leftOutgoing],
  ]
  for (let run = 0; run < RUNS; run++) {
    const seed = (SEED + run) | 0
    const below = random(seed)
    const [options, bytes, left] = cases[below(cases.length)] as (typeof cases)[number]
    const noise = below(20) === 0
    const input = noise
      ? Uint8Array.from({ length: below(300) }, (_, i) => (i < 4 ? (bytes[i] ?? 0) : below(256)))
      : mutate(bytes, below)
    try {
      feed(options, input, below, left && { left: left() })
    } catch (error) {
      throw new Error(`seed ${seed}: ${error}`, { cause: error })
    }
  }
})

/** Whole, they do what they are there for: otherwise breaking them would prove nothing. */
test('the conversations that resume links', () => {
  for (const [bytes, left, role] of [
    [resumingSender(), leftIncoming, 'receiver'],
    [resumingReceiver(), leftOutgoing, 'sender'],
  ] as const) {
    const before = left()
    const open = [...before.incoming, ...before.outgoing]
    expect(open.length).toBeGreaterThan(12)
    const resumed = { left: before as Left | SenderEndpoint | ReceiverEndpoint }
    // Byte by byte, so that there is time to answer; nothing is streamed or stopped.
    feed({}, bytes, n => (n === 4096 ? 0 : n - 1), resumed)
    const last = resumed.left as SenderEndpoint | ReceiverEndpoint
    expect([last.role, last.state]).toEqual([role, 'CLOSED'])
    // Taken up by a link of the new connection.
    expect(open.filter(({ link }) => link.session === last.session).length).toBeGreaterThan(5)
  }
})
