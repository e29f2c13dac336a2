/**
 * Frames and sequences of them at which another implementation, rhea 3.0.5, threw, hung, leaked, or did what the standard
 * forbids. Here the peer is told what was wrong, or gets what it asked for. §2.3–2.7 §5.3.2
 */

import { createServer } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { connect } from '../../src/client/connect.ts'
import { saslServer } from '../../src/client/sasl.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { UsageError } from '../../src/errors.ts'
import { accepted, begin, open, read, saslInit } from '../peer/composites.ts'
import { any, failing } from '../peer/script.ts'
import { amqpHeader, concat, frame, fromHex, parseFrames, saslHeader, toHex, type Wire } from '../peer/wire.ts'
import {
  begun,
  opened,
  payloadOf,
  type Scenario,
  scenario,
  sending,
  sides,
  withReceiver,
  withSender,
} from '../support/scenario.ts'
import { pause } from '../waiting.ts'
import { soon } from './soon.ts'
import { talk } from './talk.ts'

const FRAMING = 'amqp:connection:framing-error'
const DECODE = 'amqp:decode-error'
const MESSAGE = fromHex('00537741')
const tag = (n: number): Uint8Array => Uint8Array.of(n)

/** The peer is told, once, and the owner as well. */
function closes(s: Scenario, condition: string): void {
  s.peer.expectClose({ error: failing(condition) }).finished()
  expect(s.event('connection.closed')).toMatchObject({ by: 'local', error: { code: 'ERR_AMQP_PROTOCOL', condition } })
}

describe.each(sides)('§2.3 frames (%s)', role => {
  test.each([
    ['of size 0', '00000000 02000000'],
    ['of size 4', '00000004 02000000'],
    ['of size 7', '00000007 02000000'],
    ['with a doff beyond their end', '00000008 03000000'],
    ['with a doff far beyond their end', '0000000c ff000000 00000000'],
  ])('§2.3.1 %s close the connection with framing-error', (_name, bytes) => {
    const s = opened(scenario({ role }))
    s.peer.sendRaw(bytes)
    closes(s, FRAMING)
  })

  test.each([
    ['that is no described value', '5401'],
    ['that is a list', 'c0020141'],
    ['that is an unknown performative', '005399c00100'],
  ])('§2.3.2 with a body %s close it with decode-error', (_name, body) => {
    const s = opened(scenario({ role }))
    s.peer.sendRaw(frame(0, undefined, fromHex(body)))
    closes(s, DECODE)
  })

  test.each([
    ['without a container-id', '005310 45'],
    ['with null for it', '005310 c0020140'],
    ['that is a map', '005310 c1020141'],
    ['that is a map of pairs', '005310 c104024141 42'],
  ])('§2.7.1 an open %s is refused', (_name, body) => {
    const s = scenario({ role })
    if (role === 'initiator') {
      s.engine.connection.open({ containerId: 'us' })
      s.peer.expectHeader().sendHeader()
    } else s.peer.sendHeader().expectHeader()
    s.peer.sendRaw(frame(0, undefined, fromHex(body)))
    s.peer.expectOpen({ containerId: any, channelMax: any, maxFrameSize: any })
    closes(s, DECODE)
    expect(s.engine.connection.remoteOpen).toBeUndefined()
  })
})

test('§2.7.1 a frame of 2 GiB for a client that announced 65,536: refused from its first bytes, nothing is kept', async () => {
  const heard: Uint8Array[] = []
  const flood = new Uint8Array(1 << 20)
  let sent = 0
  const server = createServer(socket => {
    socket.on('data', bytes => heard.push(bytes)).on('error', () => {})
    socket.write(concat(amqpHeader, frame(0, open({ containerId: 'flood' })), fromHex('80000000 02000000')))
    const pour = () => {
      while (socket.writable && sent < 2048) {
        sent++
        if (!socket.write(flood)) return socket.once('drain', pour)
      }
      return socket
    }
    setTimeout(pour, 20)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const before = process.memoryUsage().rss
  const started = performance.now()
  const near = await connect({ host: '127.0.0.1', port, sasl: false, limits: { closeMs: 200 } })
  expect(await near.closed).toMatchObject({ by: 'local', error: { code: 'ERR_AMQP_PROTOCOL', condition: FRAMING } })
  expect(performance.now() - started).toBeLessThan(1000)
  await pause(300)
  expect(process.memoryUsage().rss - before).toBeLessThan(100 << 20)
  const close = parseFrames(concat(...heard).subarray(8)).frames.at(-1)?.performative as Wire
  expect(read(close)).toMatchObject({ name: 'close', fields: { error: { t: 'described' } } })
  await new Promise(resolve => server.close(resolve))
})

describe.each(sides)('§2.6 transfers (%s)', role => {
  test('§2.7.1 to a peer that takes frames of 32 bytes end: it is taken to take 512', () => {
    const { s, peer, sender } = withSender(role, { open: { maxFrameSize: 32 }, credit: 2 })
    const payload = new Uint8Array(100).fill(7)
    soon(() => {
      sender.transfer(payload)
      peer.expectTransfer({ handle: 0, deliveryId: 0, deliveryTag: any, messageFormat: 0 }, payload)
    })
    soon(() => sender.transfer(new Uint8Array(2000).fill(8)))
    const frames = peer.all()
    expect(frames.map(({ payload }) => payload.length).reduce((a, b) => a + b)).toBe(2000)
    expect(Math.max(...frames.map(({ payload }) => payload.length))).toBeLessThan(512)
    peer.sendDisposition({ first: 0, last: 1, settled: true, state: accepted() })
    expect(s.outcomes()).toHaveLength(2)
  })

  test('§2.7.5 more and aborted together: nothing is delivered, nothing answered, the next message arrives', () => {
    const { s, peer, receiver } = withReceiver(role, { credit: 3 })
    // In its only frame, and in its second.
    peer.sendTransfer({ deliveryId: 0, deliveryTag: tag(0), more: true, aborted: true }, MESSAGE)
    peer.sendTransfer({ deliveryId: 1, deliveryTag: tag(1), more: true }, MESSAGE.subarray(0, 2))
    peer.sendTransfer({ more: true, aborted: true }, MESSAGE.subarray(2))
    peer.nothing()
    expect(s.deliveries()).toEqual([])
    expect(receiver.session.incoming.count).toBe(0)
    peer.sendTransfer({ deliveryId: 2, deliveryTag: tag(2) }, MESSAGE)
    expect(s.deliveries().map(payloadOf)).toEqual([MESSAGE])
    peer.finished()
  })

  test('§2.8.7 §2.8.10 delivery-ids go on behind 2^32 − 1, both ways', () => {
    const out = withSender(role, { ourBegin: { nextOutgoingId: 0xffffffff }, credit: 3 })
    for (let i = 0; i < 3; i++) out.sender.transfer(MESSAGE)
    for (const deliveryId of [0xffffffff, 0, 1])
      out.peer.expectTransfer({ handle: 0, deliveryId, deliveryTag: any, messageFormat: 0 }, MESSAGE)
    out.peer.sendDisposition({ first: 0xffffffff, last: 1, settled: true, state: accepted() }).finished()
    expect(out.s.outcomes()).toHaveLength(3)

    const into = withReceiver(role, { peerBegin: { nextOutgoingId: 0xffffffff }, credit: 3 })
    for (const deliveryId of [0xffffffff, 0, 1])
      into.peer.sendTransfer({ deliveryId, deliveryTag: tag(deliveryId & 7) }, MESSAGE)
    expect(into.s.deliveries().map(({ deliveryId }) => deliveryId)).toEqual([0xffffffff, 0, 1])
    into.peer.finished()
  })

  test('§2.7.4 echo is answered, of the session and of a link', () => {
    const { peer, sender } = withSender(role, { credit: 1 })
    const session = { nextIncomingId: 0, incomingWindow: 2048, nextOutgoingId: 0, outgoingWindow: 0xffffffff }
    peer.sendFlow({ echo: true }).expectFlow(session)
    peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: 4, echo: true })
    peer.expectFlow({ ...session, handle: 0, deliveryCount: 0, linkCredit: 4, available: 0 }).finished()
    expect(sender.credit.linkCredit).toBe(4)
  })
})

describe.each(sides)('§2.6 links beside each other (%s)', role => {
  test('§2.6.7 a sender without credit, and one with a delivery unsettled, hold up no other', () => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    const [starved, waiting, free] = [0, 1, 2].map(handle => sending(s, session, { name: `l${handle}`, handle }))
    s.peer.sendFlow({ handle: 1, deliveryCount: 0, linkCredit: 1 })
    s.peer.sendFlow({ handle: 2, deliveryCount: 0, linkCredit: 10 })
    starved?.transfer(MESSAGE)
    waiting?.transfer(MESSAGE)
    waiting?.transfer(MESSAGE)
    for (let i = 0; i < 10; i++) free?.transfer(MESSAGE)
    expect(s.peer.all().map(({ fields }) => fields.handle?.v)).toEqual([1, ...new Array(10).fill(2)])
    s.peer.sendDisposition({ first: 1, last: 10, settled: true, state: accepted() }).finished()
    expect(s.outcomes()).toHaveLength(10)
    expect([starved?.queue.length, waiting?.queue.length, session.outgoing.count]).toEqual([1, 1, 1])
  })

  test('§2.6.6 200 links opened and closed, each on another handle of the peer: none is kept', async () => {
    const s = opened(scenario({ role }))
    const session = begun(s)
    const kept: WeakRef<object>[] = []
    for (let i = 0; i < 200; i++) {
      const name = `l${i}`
      if (role === 'initiator') session.sender(name).attach({ source: {}, target: {} })
      else s.peer.sendAttach({ name, handle: i, role: 'receiver' })
      if (role === 'initiator') s.peer.sendAttach({ name, handle: i, role: 'receiver' })
      const { link } = s.event('link.attached')
      if (role === 'acceptor') link.attach({ source: {}, target: {} })
      expect(link.handle).toBe(0)
      kept.push(new WeakRef(link))
      if (i % 2 === 0) link.close()
      s.peer.all()
      s.peer.sendDetach({ handle: i, closed: true })
      s.peer.all()
      expect(link.state).toBe('CLOSED')
      s.events()
    }
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    for (let i = 0; i < 5; i++) {
      await new Promise(resolve => setImmediate(resolve))
      collect()
    }
    // The latest may still be on the stack.
    expect(kept.filter(ref => ref.deref() !== undefined).length).toBeLessThan(3)
    expect(session.state).toBe('MAPPED')
  })
})

describe('§2.7.1 channel-max', () => {
  test.each(sides)('the peer’s of 0 and ours of 1 both bound the sessions that we begin (%s)', role => {
    for (const [ours, theirs, most] of [
      [undefined, 0, 1],
      [1, undefined, 2],
      [1, 0, 1],
      [0, 5, 1],
      [3, 1, 2],
    ] as const) {
      const s = opened(scenario({ role }), { channelMax: ours }, { channelMax: theirs })
      for (let i = 0; i < most; i++) s.engine.connection.session().begin()
      expect(() => s.engine.connection.session().begin(), `${ours}, ${theirs}`).toThrow(
        expect.objectContaining({ code: 'ERR_AMQP_USAGE', section: '2.5.1' }),
      )
      expect(s.peer.all().map(({ name, channel }) => [name, channel])).toEqual(
        Array.from({ length: most }, (_, i) => ['begin', i]),
      )
    }
  })

  test('a client says so of the session that is too many; the others live', async () => {
    await using listener = await listen({})
    listener.on('connection', connection => connection.on('session', session => session.accept()))
    await using near = await connect({ host: '127.0.0.1', port: listener.port, channelMax: 1 })
    const sessions = [await near.session(), await near.session()]
    await expect(near.session()).rejects.toBeInstanceOf(UsageError)
    await sessions[0]?.end()
    await near.session()
  })

  test.each(sides)('a session of the peer that the peer’s own channel-max leaves no answer to (%s)', role => {
    const s = opened(scenario({ role }), {}, { channelMax: 1 })
    s.peer.sendBegin({}, undefined, 0).sendBegin({}, undefined, 1).nothing()
    // Both channels are spoken for, though neither session is answered.
    expect(() => s.engine.connection.session().begin()).toThrow(expect.objectContaining({ section: '2.5.1' }))
    s.event('session.begun').session.begin()
    s.event('session.begun').session.begin()
    expect(s.peer.all().map(({ name, channel }) => [name, channel])).toEqual([
      ['begin', 0],
      ['begin', 1],
    ])
    s.peer.sendBegin({}, undefined, 2)
    closes(s, 'amqp:not-allowed')
  })

  test('a server whose listener takes every session lives through it', async () => {
    const closures: unknown[] = []
    await using listener = await listen({ limits: { closeMs: 100 } })
    listener.on('connection', connection => {
      connection.on('session', session => session.accept())
      connection.closed.then(closure => closures.push(closure))
    })
    const window = { nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 1 }
    const said = await talk(
      listener.port,
      concat(amqpHeader, frame(0, open({ containerId: 'greedy', channelMax: 0 })), frame(0, begin(window))),
      frame(1, begin(window)),
    )
    expect(closures).toMatchObject([{ by: 'local', error: { condition: 'amqp:not-allowed' } }])
    expect(toHex(said)).toContain(toHex(Buffer.from('amqp:not-allowed')))
  })

  test('a server takes as many as it has announced, and closes the connection at the next', async () => {
    await using listener = await listen({ limits: { maxSessions: 8, closeMs: 100 } })
    let taken = 0
    listener.on('connection', connection =>
      connection.on('session', async session => {
        await session.accept()
        taken++
      }),
    )
    const window = { nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 1 }
    const said = await talk(
      listener.port,
      concat(amqpHeader, frame(0, open({ containerId: 'many' }))),
      concat(...Array.from({ length: 2000 }, (_, i) => frame(i, begin(window)))),
    )
    expect(taken).toBeLessThanOrEqual(8)
    const frames = parseFrames(said.subarray(8)).frames.map(({ performative }) => read(performative as Wire))
    expect(frames.filter(frame => frame?.name === 'begin').length).toBeLessThanOrEqual(8)
    expect(frames[0]).toMatchObject({ name: 'open', fields: { channelMax: { v: 7 } } })
    expect(failing(FRAMING).test(frames.at(-1)?.fields['error'])).toBe(true)
  })
})

describe.each(sides)('§2.7.2 handle-max (%s)', role => {
  test('the peer’s of 0 and ours of 1 both bound the links that we attach', () => {
    for (const [ours, theirs, most] of [
      [undefined, 0, 1],
      [1, undefined, 2],
      [0, 5, 1],
      [3, 1, 2],
    ] as const) {
      const s = opened(scenario({ role }))
      const session = begun(s, { handleMax: ours }, { handleMax: theirs })
      for (let i = 0; i < most; i++) session.sender(`l${i}`).attach({ source: {}, target: {} })
      expect(() => session.sender('more').attach({ source: {}, target: {} }), `${ours}, ${theirs}`).toThrow(
        expect.objectContaining({ code: 'ERR_AMQP_USAGE', section: '2.6.2' }),
      )
      expect(s.peer.all()).toHaveLength(most)
    }
  })

  test('a link of the peer that its own handle-max leaves no answer to ends the session', () => {
    const s = opened(scenario({ role }))
    const session = begun(s, {}, { handleMax: 1 })
    s.peer.sendAttach({ name: 'a', handle: 0 }).sendAttach({ name: 'b', handle: 1 }).nothing()
    // Both handles are spoken for, though neither link is answered.
    expect(() => session.sender('ours').attach({ source: {}, target: {} })).toThrow(
      expect.objectContaining({ section: '2.6.2' }),
    )
    for (let i = 0; i < 2; i++) s.event('link.attached').link.attach({ source: {}, target: {} })
    expect(s.peer.all().map(({ name, fields }) => [name, fields.handle?.v])).toEqual([
      ['attach', 0],
      ['attach', 1],
    ])
    s.peer
      .sendAttach({ name: 'c', handle: 2 })
      .expectEnd({ error: failing('amqp:not-allowed') })
      .finished()
  })
})

describe('§5.3.2 SASL and open sent in one piece', () => {
  const OPEN = frame(0, open({ containerId: 'eager', maxFrameSize: 512 }))
  const BEGIN = frame(0, begin({ nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 1 }))
  const CLOSE = fromHex('0000000c 02000000 00531845')

  test.each([
    ['ANONYMOUS', new Uint8Array(0)],
    ['PLAIN', new TextEncoder().encode('\0u\0p')],
  ])('%s: the server answers all of it', async (mechanism, initialResponse) => {
    await using listener = await listen({
      sasl: [
        saslServer.anonymous(),
        // Decides later than everything has come.
        saslServer.plain(() => new Promise(resolve => setTimeout(() => resolve(true), 30))),
      ],
    })
    listener.on('connection', connection => connection.on('session', session => session.accept()))
    const init = frame(0, saslInit({ mechanism, initialResponse }), undefined, 1)
    const said = await talk(listener.port, concat(saslHeader, init, amqpHeader, OPEN, BEGIN, CLOSE))
    const { frames: sasl } = parseFrames(said.subarray(8, said.length - rest(said).length))
    expect(toHex(said.subarray(0, 8))).toBe(toHex(saslHeader))
    expect(sasl.map(({ performative }) => read(performative as Wire)?.name)).toEqual(['saslMechanisms', 'saslOutcome'])
    const amqp = parseFrames(rest(said).subarray(8)).frames
    expect(amqp.map(({ performative }) => read(performative as Wire)?.name)).toEqual(['open', 'close'])
  })

  /** From the AMQP header on. */
  function rest(said: Uint8Array): Uint8Array {
    const at = Buffer.from(said).indexOf(Buffer.from(amqpHeader), 8)
    expect(at).toBeGreaterThan(8)
    return said.subarray(at)
  }
})
