import { describe, expect, it } from 'vitest'
import { EventLog, type RecordedTelemetry, type TelemetryInit } from '../../src/emulator/telemetry/event-log.ts'
import { UsageError } from '../../src/errors.ts'

const telemetry = (deviceId: string, body = ''): TelemetryInit => ({
  deviceId,
  moduleId: undefined,
  generationId: '1',
  messageId: undefined,
  correlationId: undefined,
  userId: undefined,
  contentType: undefined,
  contentEncoding: undefined,
  properties: new Map(),
  body: new TextEncoder().encode(body),
})

async function take(log: AsyncIterable<RecordedTelemetry>, count: number): Promise<RecordedTelemetry[]> {
  const events: RecordedTelemetry[] = []
  for await (const event of log) if (events.push(event) === count) break
  return events
}

describe('partitions', () => {
  it('keep all events of a device together, numbered without gaps', () => {
    const log = new EventLog({ partitions: 4 })
    const events = Array.from({ length: 40 }, (_, i) => log.append(telemetry(`device${i % 10}`, 'body'), i))
    for (const partition of log.partitionIds) {
      const own = events.filter(event => event.partition === partition)
      expect(own.map(event => event.sequenceNumber)).toEqual(own.map((_, index) => BigInt(index)))
      const offsets = own.map(event => BigInt(event.offset))
      for (let i = 1; i < offsets.length; i++) expect(offsets[i]).toBeGreaterThan(offsets[i - 1] as bigint)
    }
    for (let device = 0; device < 10; device++)
      expect(new Set(events.filter((_, i) => i % 10 === device).map(event => event.partition)).size).toBe(1)
    expect(new Set(events.map(event => event.partition)).size).toBeGreaterThan(1)
  })

  it('are the same ones in every run', () => {
    const [one, other] = [new EventLog(), new EventLog()]
    for (const id of ['a', 'b', 'thermostat-7', 'Gerät'])
      expect(one.append(telemetry(id), 0).partition).toBe(other.append(telemetry(id), 0).partition)
  })

  it('begin at 0', () => {
    const event = new EventLog({ partitions: 1 }).append(telemetry('d'), 1234)
    expect(event).toMatchObject({ partition: '0', sequenceNumber: 0n, offset: '0', enqueuedAt: new Date(1234) })
  })

  it('are 1 to 32', () => {
    for (const partitions of [0, 33, 1.5, Number.NaN]) expect(() => new EventLog({ partitions })).toThrow(UsageError)
    expect(() => new EventLog({ maxEvents: 0 })).toThrow(UsageError)
    expect(() => new EventLog({ maxBytes: 0 })).toThrow(UsageError)
    expect(() => new EventLog({ retentionMs: 0 })).toThrow(UsageError)
  })
})

describe('iteration', () => {
  it('begins with the first event, each time', async () => {
    const log = new EventLog()
    for (const id of ['a', 'b', 'c']) log.append(telemetry(id), 0)
    expect((await take(log, 3)).map(event => event.deviceId)).toEqual(['a', 'b', 'c'])
    expect((await take(log, 2)).map(event => event.deviceId)).toEqual(['a', 'b'])
  })

  it('waits for more, with any number of readers', async () => {
    const log = new EventLog()
    const readers = [take(log, 2), take(log, 2)]
    log.append(telemetry('a'), 0)
    await Promise.resolve()
    log.append(telemetry('b'), 0)
    for (const reader of readers) expect((await reader).map(event => event.deviceId)).toEqual(['a', 'b'])
  })

  it('ends when the log is closed, after what is there', async () => {
    const log = new EventLog()
    log.append(telemetry('a'), 0)
    const reader = take(log, 99)
    log.append(telemetry('b'), 0)
    log.close()
    expect((await reader).length).toBe(2)
  })

  it('skips what was dropped', async () => {
    const log = new EventLog({ maxEvents: 10 })
    const iterator = log[Symbol.asyncIterator]()
    log.append(telemetry('0'), 0)
    expect((await iterator.next()).value?.deviceId).toBe('0')
    for (let i = 1; i < 20; i++) log.append(telemetry(`${i}`), 0)
    expect((await iterator.next()).value?.deviceId).toBe('10')
    expect((await take(log, 10)).map(event => event.deviceId)).toEqual(
      Array.from({ length: 10 }, (_, i) => `${10 + i}`),
    )
  })
})

it('bytes bound it as well as events do; the newest event stays, however large', async () => {
  const log = new EventLog({ maxBytes: 10_000 })
  for (let i = 0; i < 100; i++) log.append(telemetry('d1', 'x'.repeat(936)), i)
  log.append(telemetry('d1', 'y'.repeat(50_000)), 100)
  log.close()
  const kept: RecordedTelemetry[] = []
  for await (const event of log) kept.push(event)
  expect(kept.map(({ sequenceNumber }) => sequenceNumber)).toEqual([100n])
})

it.each(['messageId', 'correlationId', 'contentType', 'contentEncoding', 'userId'])('%s counts as well', async key => {
  const log = new EventLog({ maxBytes: 10_000 })
  const long = key === 'userId' ? new Uint8Array(936) : 'i'.repeat(936)
  for (let i = 0; i < 100; i++) log.append({ ...telemetry('d1'), [key]: long }, i)
  log.close()
  let kept = 0
  for await (const _ of log) kept++
  expect(kept).toBeLessThan(20)
})

describe('events grow old', () => {
  it('are gone after their time, for readers old and new, and what was last is still known', async () => {
    let now = 0
    const log = new EventLog({ partitions: 1, retentionMs: 100, now: () => now })
    for (const at of [0, 10, 60]) log.append(telemetry(`d${at}`), at)
    const reader = log[Symbol.asyncIterator]()
    expect((await reader.next()).value?.deviceId).toBe('d0')
    now = 110
    expect((await reader.next()).value?.deviceId).toBe('d60')
    expect(log.at('0', 0n)?.deviceId).toBe('d60')
    expect(log.firstNot('0', () => false)).toBe(2n)
    expect(log.partition('0')).toMatchObject({ beginSequenceNumber: 2n, nextSequenceNumber: 3n })
    now = 160
    expect(log.at('0', 0n)).toBeUndefined()
    const { last, ...state } = log.partition('0') ?? {}
    expect(state).toMatchObject({ beginSequenceNumber: 3n, nextSequenceNumber: 3n })
    expect(last).toMatchObject({ deviceId: 'd60', sequenceNumber: 2n })
    log.close()
    expect((await reader.next()).done).toBe(true)
  })

  it('one by one, however many', () => {
    let now = 0
    const log = new EventLog({ partitions: 4, retentionMs: 1_000, now: () => now })
    for (let i = 0; i < 20_000; i++) {
      now = i
      log.append(telemetry(`d${i % 10}`), i)
      const kept = log.partitionIds
        .map(id => log.partition(id))
        .map(it => Number((it?.nextSequenceNumber ?? 0n) - (it?.beginSequenceNumber ?? 0n)))
      expect(kept.reduce((sum, count) => sum + count)).toBe(Math.min(i + 1, 1_000))
    }
  })
})

describe('a partition', () => {
  it('is read by number, from the oldest kept', () => {
    const log = new EventLog({ partitions: 2, maxEvents: 10 })
    const events = Array.from({ length: 20 }, (_, i) => log.append(telemetry(`device${i % 5}`), i))
    for (const id of log.partitionIds) {
      const own = events.filter(event => event.partition === id)
      const kept = events.slice(10).filter(event => event.partition === id)
      const begin = kept[0]?.sequenceNumber ?? BigInt(own.length)
      expect(log.partition(id)).toMatchObject({
        beginSequenceNumber: begin,
        nextSequenceNumber: BigInt(own.length),
        last: kept.at(-1),
      })
      expect(log.at(id, 0n)).toBe(kept[0])
      for (const event of kept) expect(log.at(id, event.sequenceNumber)).toBe(event)
      expect(log.at(id, BigInt(own.length))).toBeUndefined()
      for (const event of kept)
        expect(log.firstNot(id, other => other.enqueuedAt < event.enqueuedAt)).toBe(event.sequenceNumber)
    }
  })

  it('that is none has nothing', () => {
    const log = new EventLog({ partitions: 2 })
    expect(log.partition('2')).toBeUndefined()
    expect(log.at('2', 0n)).toBeUndefined()
    expect(log.firstNot('2', () => true)).toBe(0n)
  })

  it('tells listeners of what comes, until they have heard enough', () => {
    const log = new EventLog()
    let heard = 0
    const stop = log.onAppend(() => heard++)
    log.append(telemetry('a'), 0)
    stop()
    log.append(telemetry('a'), 0)
    expect(heard).toBe(1)
  })
})
