/** What costs a peer few bytes must cost us little time and memory: each of these blocked or filled an end once. */

import { describe, expect, test } from 'vitest'
import { Engine } from '../../src/engine/engine.ts'
import type { Limits } from '../../src/engine/limits.ts'
import { decodeTyped, decodeValue } from '../../src/types/any-reader.ts'
import { encodeValue } from '../../src/types/any-writer.ts'
import { AmqpMap } from '../../src/types/map.ts'
import type { AmqpValue } from '../../src/types/values.ts'
import * as peer from '../peer/composites.ts'
import { frame, fromHex } from '../peer/wire.ts'
import { hear } from '../support/pair.ts'

/** Milliseconds of this process's work that something takes: not of the clock, which other processes move on, too. */
function timed(run: () => void): number {
  const started = process.cpuUsage()
  run()
  const { user, system } = process.cpuUsage(started)
  return (user + system) / 1000
}

const joined = (frames: readonly Uint8Array[]): Uint8Array => Uint8Array.from(frames.flatMap(bytes => [...bytes]))

/** An end whose scripted peer has opened; `take` accepts what the peer has begun and attached. */
function opened(limits: Partial<Limits> = {}, init: object = {}) {
  const engine = new Engine({ limits })
  engine.connection.open({ containerId: 'us' })
  let out: Uint8Array[] = []
  const feed = (...frames: Uint8Array[]) => {
    engine.receive(frames.length === 1 ? (frames[0] as Uint8Array) : joined(frames), 0)
    out = engine.output(1 << 20, 0)
  }
  const take = () => {
    for (const event of hear(engine).events) {
      if (event.type === 'session.begun') event.session.begin({ incomingWindow: 100_000 })
      if (event.type !== 'link.attached') continue
      if (event.link.role === 'receiver') event.link.useWindow(50_000)
      event.link.attach({ source: {}, target: {} })
    }
    out = engine.output(1 << 20, 0)
  }
  feed(fromHex('414d515000010000'), frame(0, peer.open({ containerId: 'p', ...init })))
  return { engine, feed, take, out: () => joined(out) }
}

const begin = (channel: number, fields: object = {}) =>
  frame(
    channel,
    peer.begin({ nextOutgoingId: 0, incomingWindow: 100_000, outgoingWindow: 100_000, handleMax: 65_535, ...fields }),
  )

const attach = (handle: number, fields: object = {}, channel = 0) =>
  frame(
    channel,
    peer.attach({
      name: `l${handle}`,
      handle,
      role: false,
      source: peer.source({}),
      target: peer.target({}),
      initialDeliveryCount: 0,
      ...fields,
    }),
  )

describe('§2.6.2 §2.5.1 handles and channels far apart', () => {
  test('cost what is attached, not what lies between', () => {
    const { engine, feed } = opened()
    const frames = Array.from({ length: 1024 }, (_, channel) => [begin(channel), attach(16_383, {}, channel)])
    const flood = joined(frames.flat())
    const before = process.memoryUsage().heapUsed
    expect(timed(() => feed(flood))).toBeLessThan(500)
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(60 << 20)
    expect(timed(() => feed(fromHex('0000000300000000')))).toBeLessThan(200)
    expect(engine.connection.hasEnded).toBe(true)
  })
})

/** A session with `links` receivers, each of which holds `each` deliveries unsettled. */
function unsettled(links: number, each: number) {
  const end = opened({ maxUnsettled: 1 << 16 })
  end.feed(begin(0))
  end.take()
  end.feed(...Array.from({ length: links }, (_, handle) => attach(handle)))
  end.take()
  const deliveries = Array.from({ length: links * each }, (_, id) =>
    frame(
      0,
      peer.transfer({ handle: id % links, deliveryId: id, deliveryTag: Uint8Array.of(id >> 8, id) }),
      Uint8Array.of(7),
    ),
  )
  end.feed(joined(deliveries))
  const { deliveries: got } = hear(end.engine)
  expect(got).toHaveLength(links * each)
  return { ...end, session: got[0]?.link.session, got }
}

describe('§2.7.2 §2.7.3 what begins and attaches make us keep', () => {
  const fieldsOf = (length: number) => Object.fromEntries(Array.from({ length }, (_, i) => [`p${i}`, null]))
  const condition = (engine: Engine) =>
    hear(engine).events.flatMap(event => (event.type === 'protocol.error' ? [event.error.condition] : []))

  test('many elements without a byte are not read at all', () => {
    const array = (count: number) => Uint8Array.of(0xf0, 0, 0, 0, 5, 0, 0, count >> 8, count, 0x45)
    expect(decodeValue(array(256))).toMatchObject({ value: { elements: { length: 256 } } })
    expect(() => decodeValue(array(257))).toThrow('more than 1048576 elements')
  })

  test('is counted by what it takes up, and bounded', () => {
    const { engine, feed, take } = opened({ maxLinkBytes: 1 << 20 })
    feed(begin(0))
    take()
    const flood = Array.from({ length: 100 }, (_, handle) => attach(handle, { properties: fieldsOf(2000) }))
    // 16 KiB on the wire, eight times that in memory.
    let taken = 0
    for (; !engine.connection.hasEnded; taken++) feed(flood[taken] as Uint8Array)
    expect(taken).toBe(8)
    expect(condition(engine)).toEqual(['amqp:resource-limit-exceeded'])
  })

  test('is let go when links are detached and sessions end', () => {
    const { engine, feed, take } = opened({ maxLinkBytes: 1 << 20 })
    const properties = fieldsOf(2000)
    for (let i = 0; i < 20; i++) {
      feed(begin(0, { properties }))
      take()
      for (let handle = 0; handle < 3; handle++) feed(attach(handle, { properties }))
      take()
      feed(frame(0, peer.detach({ handle: 0, closed: true })), attach(0, { properties }))
      expect(engine.connection.linkBytes).toBeGreaterThan(400_000)
      feed(frame(0, peer.end({})))
      expect([engine.connection.linkBytes, condition(engine)]).toEqual([0, []])
    }
  })

  test('begins count, too, and links that say nothing', () => {
    const { engine, feed, take } = opened({ maxLinkBytes: 100_000 })
    feed(begin(0))
    take()
    let links = 0
    for (; !engine.connection.hasEnded; links++) feed(attach(links))
    expect(links).toBeGreaterThan(20)
    expect(links).toBeLessThan(100)
    const other = opened({ maxLinkBytes: 10_000 })
    other.feed(begin(0, { properties: fieldsOf(2000) }))
    expect(condition(other.engine)).toEqual(['amqp:resource-limit-exceeded'])
  })
})

describe('§2.6.14 messages in pieces of a byte', () => {
  test('are put together in buffers, which are counted', () => {
    const { engine, feed, take } = opened()
    feed(begin(0), attach(0))
    take()
    const whole = frame(
      0,
      peer.transfer({ handle: 0, deliveryId: 0, deliveryTag: Uint8Array.of(1), more: true }),
      new Uint8Array(20_000),
    )
    feed(whole.slice(0, whole.length - 20_000))
    for (let i = 0; i < 20_000; i++) engine.receive(new Uint8Array(1), 0)
    const large = new Uint8Array(2048)
    feed(frame(0, peer.transfer({ handle: 0 }), large))
    const [delivery] = hear(engine).deliveries
    expect(delivery?.size).toBe(22_048)
    expect(delivery?.chunks.length).toBeLessThan(15)
  })
})

describe('§2.4.5 an idle-time-out that cannot be kept', () => {
  test.each([1, 19])('%i ms: the peer is told so', idleTimeOut => {
    const { engine } = opened({}, { idleTimeOut })
    expect(hear(engine).events).toMatchObject([
      { type: 'protocol.error', error: { condition: 'amqp:not-allowed' } },
      { type: 'connection.closed' },
    ])
  })

  test.each([0, 20])('%i ms is kept', idleTimeOut => {
    expect(opened({}, { idleTimeOut }).engine.connection.hasEnded).toBe(false)
  })
})

describe('§2.6.4 links that end', () => {
  test('leave what they hold unsettled, at a price that does not grow with what others hold', () => {
    const { engine, feed, session } = unsettled(2000, 10)
    const detaches = Array.from({ length: 2000 }, (_, handle) => frame(0, peer.detach({ handle, closed: true })))
    const flood = joined(detaches)
    expect(timed(() => feed(flood))).toBeLessThan(700)
    expect(session?.incoming.count).toBe(0)
    const left = hear(engine).events.flatMap(event => (event.type === 'link.detached' ? [event.link] : []))
    expect(left.map(link => (link.role === 'receiver' ? link.open.map(({ deliveryId }) => deliveryId) : []))).toEqual(
      Array.from({ length: 2000 }, (_, link) => Array.from({ length: 10 }, (_, i) => link + 2000 * i)),
    )
  })
})

describe('§2.6.3 links that nobody takes', () => {
  test('are refused at a price that does not grow with how many are refused', () => {
    const { engine, feed, take } = opened()
    feed(begin(0))
    take()
    const flood = joined(Array.from({ length: 16_000 }, (_, handle) => attach(handle)))
    feed(flood)
    const links = hear(engine).events.flatMap(event => (event.type === 'link.attached' ? [event.link] : []))
    expect(links).toHaveLength(16_000)
    expect(timed(() => links.forEach(link => void link.refuse({ condition: 'amqp:not-found' })))).toBeLessThan(1000)
    expect(engine.output(1 << 22, 0).length).toBeGreaterThan(0)
  })
})

describe('§2.7.6 dispositions over all there is', () => {
  const disposition = (first: number, last: number, settled: boolean, state?: peer.Field) =>
    frame(0, peer.disposition({ role: false, first, last, settled, state }))
  const received = peer.received({ sectionNumber: 0, sectionOffset: 0n })

  test('that settle nothing pass unheard when they come too often', () => {
    const { engine, feed, got } = unsettled(10, 2000)
    const flood = joined(new Array(3000).fill(disposition(0, 0x7fffffff, false, received)))
    expect(timed(() => feed(flood))).toBeLessThan(500)
    expect(got[19_999]?.remoteState?.type).toBe('received')
    feed(disposition(3, 3, true))
    expect(hear(engine).events).toMatchObject([{ type: 'delivery.settled', delivery: { deliveryId: 3 } }])
  })

  test('that settle what is settled already end the session', () => {
    const { engine, feed, session } = unsettled(10, 2000)
    feed(disposition(1, 19_998, true))
    expect(session?.incoming.count).toBe(2)
    hear(engine)
    const flood = joined(new Array(3000).fill(disposition(1, 19_998, true)))
    expect(timed(() => feed(flood))).toBeLessThan(500)
    expect(hear(engine).events).toMatchObject([
      { type: 'protocol.error', error: { condition: 'amqp:resource-limit-exceeded' } },
      { type: 'session.ended' },
    ])
  })

  test('a peer that settles what comes, a thousand at a time, is never short of steps', () => {
    const { engine, feed } = unsettled(10, 2000)
    for (let first = 0; first < 20_000; first += 1000) feed(disposition(first, first + 999, true))
    expect(hear(engine).events.every(event => event.type === 'delivery.settled')).toBe(true)
  })
})

describe('§1.6.23 maps as keys of maps', () => {
  /** `depth` maps, each the only key of the next. */
  const nested = (inner: AmqpValue, depth: number): AmqpValue => {
    let value = inner
    for (let i = 0; i < depth; i++) value = AmqpMap.fromFlat([value, null])
    return value
  }

  test('the innermost is walked once, not once for each level', () => {
    const value = nested(new Array<AmqpValue>(300_000).fill(null), 60)
    let bytes: Uint8Array = new Uint8Array()
    expect(timed(() => void (bytes = encodeValue(value)))).toBeLessThan(1200)
    expect(timed(() => void decodeValue(bytes))).toBeLessThan(1200)
    expect(timed(() => void decodeTyped(bytes))).toBeLessThan(1200)
  })

  test('§1.6.23 two keys that are equal all the same are found, at any depth', () => {
    const twice = (): AmqpValue => AmqpMap.fromFlat([nested(['a', 1], 3), 1, nested(['a', 1], 3), 2])
    expect(() => encodeValue(twice())).toThrow('the same key twice')
    expect(() => encodeValue(nested(twice(), 2))).toThrow('the same key twice')
    const same = encodeValue(AmqpMap.fromFlat([nested(['a', 1], 3), 1, nested(['a', 2], 3), 2]))
    same[same.lastIndexOf(2, same.length - 3)] = 1
    expect(() => decodeValue(same)).toThrow('the same key twice')
    expect(() => decodeTyped(same)).toThrow('the same key twice')
  })

  test('what is written after a map with such keys knows nothing of them', () => {
    const list: AmqpValue[] = ['a']
    const map = (): AmqpValue => AmqpMap.fromFlat([list, 1, ['b'], 2])
    encodeValue(map())
    list[0] = 'b'
    expect(() => encodeValue(map())).toThrow('the same key twice')
    list[0] = 'c'
    expect(encodeValue(map()).length).toBeGreaterThan(0)
  })
})

describe('§1.6.23 long keys', () => {
  test('two that differ are two, however they were chosen', () => {
    // Two binaries with the same value of a 64-bit hash that stood for long keys once.
    const key = (hex: string) => fromHex(hex + '07'.repeat(200))
    const one = key(
      'a297dd9c6c1ddb4078f19dd7e34aadc6973eaccd0455726e60fe6d1ce2d0f3ad8f95c565d50b737fdefe6dd9b9daead41d44992b0f75d35a52f9f84b2962bc2676f20bee2c100e22dad16490fde1d4b3',
    )
    const other = key(
      '8e5ef3876c1ddb4078f19dd7e34aadc6616103a10455726e82c1862cba32df9f8f95c5658fa35252a40670f4b9daead4f9fadf03639e996f4e68e4422962bc2676f20bee2c100e22dad16490fde1d4b3',
    )
    const map = decodeValue(
      encodeValue(
        new Map([
          [one, 1],
          [other, 2],
        ]),
      ),
    ) as AmqpMap
    expect([map.get(one), map.get(other)]).toEqual([1, 2])
    expect(map.get(new Uint8Array(300))).toBeUndefined()
  })
})
