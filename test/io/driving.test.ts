/** The driver over a transport that a test holds in its hands: time-outs, late bytes, faults on every path, one end only. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Engine, type EngineOptions } from '../../src/engine/engine.ts'
import type { EngineEvent } from '../../src/engine/events.ts'
import { TransportError } from '../../src/errors.ts'
import { Driver, type DriverOwner } from '../../src/io/driver.ts'
import type { Transport, TransportSink } from '../../src/io/transport.ts'
import { begin, close, open } from '../peer/composites.ts'
import { amqpHeader, concat, frame } from '../peer/wire.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** Lets what is due in this turn happen, then time pass. */
async function pass(ms = 0): Promise<void> {
  await turn()
  vi.advanceTimersByTime(ms)
  await turn()
}

/** A transport that puts down what happens to it. */
class Wire implements Transport {
  sink: TransportSink = { data: () => {}, drain: () => {}, end: () => {} }
  log: string[] = []
  written: Uint8Array[] = []

  start(sink: TransportSink): void {
    this.sink = sink
  }
  takes = true
  write(chunks: readonly Uint8Array[]): boolean {
    this.written.push(...chunks.map(chunk => chunk.slice()))
    return this.takes
  }
  end(): void {
    this.log.push('end')
  }
  destroy(error?: Error): void {
    this.log.push(`destroy${error ? ` ${error.message}` : ''}`)
  }
}

interface Driven {
  engine: Engine
  driver: Driver
  wire: Wire
  events: EngineEvent[]
  /** What the owner does with an event, besides of putting it down. */
  owner: { onEvent: (event: EngineEvent) => void }
}

async function driven(options: EngineOptions = {}): Promise<Driven> {
  const engine = new Engine(options)
  const wire = new Wire()
  const events: EngineEvent[] = []
  const owner = { onEvent: (_event: EngineEvent): void => {} }
  const hears: DriverOwner = {
    onDelivery: () => {},
    onOutcome: () => {},
    onFlush: () => {},
    onEvent: event => {
      events.push(event)
      owner.onEvent(event)
    },
  }
  const driver = new Driver(engine, wire, hears)
  engine.connection.open({ containerId: 'us' })
  driver.start()
  await pass()
  return { engine, driver, wire, events, owner }
}

const OPENING = concat(amqpHeader, frame(0, open({ containerId: 'peer' })))

async function opened(options: EngineOptions = {}): Promise<Driven> {
  const ends = await driven(options)
  ends.wire.sink.data(OPENING)
  await pass()
  expect(ends.events.map(({ type }) => type)).toEqual(['connection.opened'])
  ends.events.length = 0
  ends.wire.written.length = 0
  return ends
}

const closed = ({ events }: Driven): { by: string; error: unknown }[] =>
  events.flatMap(event => (event.type === 'connection.closed' ? [{ by: event.by, error: event.error }] : []))

describe('time', () => {
  test('§2.2 a peer that sends no header is given up by the timer alone', async () => {
    const ends = await driven({ limits: { headerOnlyMs: 100 } })
    await pass(99)
    expect(closed(ends)).toEqual([])
    await pass(1)
    expect(closed(ends)).toHaveLength(1)
    expect(ends.wire.log).toEqual(['end'])
  })

  test('§2.4.5 heartbeats leave at half of what the peer has announced, again and again', async () => {
    const ends = await driven()
    ends.wire.sink.data(concat(amqpHeader, frame(0, open({ containerId: 'peer', idleTimeOut: 1000 }))))
    await pass()
    ends.wire.written.length = 0
    await pass(1600)
    expect(ends.wire.written.map(chunk => chunk.length)).toEqual([8, 8, 8])
  })

  test('§2.4.5 a heartbeat that is due while the transport takes nothing waits for it, without timers', async () => {
    const ends = await driven()
    ends.wire.sink.data(concat(amqpHeader, frame(0, open({ containerId: 'peer', idleTimeOut: 1000 }))))
    await pass()
    ends.wire.takes = false
    await pass(600)
    ends.wire.written.length = 0
    const spy = vi.spyOn(globalThis, 'setTimeout')
    for (let i = 0; i < 20; i++) await pass(50)
    expect(spy.mock.calls.length).toBeLessThan(3)
    spy.mockRestore()
    expect(ends.wire.written).toEqual([])
    ends.wire.takes = true
    ends.wire.sink.drain()
    await pass()
    expect(ends.wire.written.map(chunk => chunk.length)).toEqual([8])
    await pass(600)
    expect(ends.wire.written.map(chunk => chunk.length)).toEqual([8, 8])
  })

  test('a transport that does not end after a close is destroyed after closeMs', async () => {
    const ends = await opened({ limits: { closeMs: 100 } })
    ends.engine.connection.close()
    ends.driver.touch()
    await pass()
    ends.wire.sink.data(frame(0, close()))
    await pass(99)
    expect([closed(ends), ends.wire.log]).toEqual([[{ by: 'local', error: undefined }], ['end']])
    await pass(1)
    expect(ends.wire.log).toEqual(['end', 'destroy'])
  })

  test('a transport that ends in time is not', async () => {
    const ends = await opened({ limits: { closeMs: 100 } })
    ends.engine.connection.close()
    ends.driver.touch()
    await pass()
    ends.wire.sink.data(frame(0, close()))
    ends.wire.sink.end(undefined)
    await pass(1000)
    expect(ends.wire.log).toEqual(['end'])
    expect(vi.getTimerCount()).toBe(0)
  })

  test('the timer of a connection that keeps no process alive keeps none when it is armed anew', async () => {
    const spy = vi.spyOn(globalThis, 'setTimeout')
    const ends = await driven()
    const refs = (): boolean | undefined => (spy.mock.results.at(-1)?.value as NodeJS.Timeout | undefined)?.hasRef()
    expect(refs()).toBe(true)
    ends.driver.unref()
    expect(refs()).toBe(false)
    ends.driver.ref()
    expect(refs()).toBe(true)
    ends.driver.unref()
    const armed = spy.mock.calls.length
    ends.wire.sink.data(concat(amqpHeader, frame(0, open({ containerId: 'peer', idleTimeOut: 20 }))))
    await pass(30)
    expect(spy.mock.calls.length).toBeGreaterThan(armed)
    expect(refs()).toBe(false)
  })
})

describe('after the end', () => {
  test('bytes, touches and a second end are nothing', async () => {
    const ends = await opened()
    ends.driver.destroy()
    expect(closed(ends)).toHaveLength(1)
    ends.wire.sink.data(frame(0, begin({ nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 1 })))
    ends.driver.touch()
    ends.driver.destroy(new TransportError('again'))
    ends.wire.sink.end(undefined)
    await pass(100_000)
    expect([ends.events.length, ends.wire.log, ends.wire.written]).toEqual([1, ['destroy'], []])
    expect(vi.getTimerCount()).toBe(0)
  })

  test('a flush that was due is none', async () => {
    const ends = await opened()
    ends.engine.connection.session().begin()
    ends.driver.touch()
    ends.driver.touch()
    ends.driver.destroy()
    await pass()
    expect(ends.wire.written).toEqual([])
  })

  test('destroyed by its owner in the middle of an event: what else was in the chunk is not answered', async () => {
    const ends = await opened()
    ends.owner.onEvent = event => {
      if (event.type === 'session.begun') ends.driver.destroy()
    }
    ends.wire.sink.data(frame(0, begin({ nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 1 })))
    await pass(100_000)
    expect([ends.wire.log, ends.wire.written, vi.getTimerCount()]).toEqual([['destroy'], [], 0])
  })

  test('a transport that ends with an error says so; the first bytes tell whether it was heard at all', async () => {
    const [silent, heard] = [await driven(), await opened()]
    silent.wire.sink.end(new Error('reset'))
    heard.wire.sink.end(new Error('reset'))
    for (const ends of [silent, heard]) {
      expect(closed(ends)).toMatchObject([{ by: 'transport', error: { code: 'ERR_AMQP_TRANSPORT' } }])
      expect(String(closed(ends)[0]?.error)).toContain('reset')
    }
    expect([silent.driver.endedUnheard, heard.driver.endedUnheard]).toEqual([true, false])
  })
})

describe('faults that nobody expects', () => {
  const boom = new Error('boom')
  const throwing = (): never => {
    throw boom
  }

  test.each([
    ['receive', (ends: Driven) => ends.wire.sink.data(amqpHeader)],
    ['receiveEnd', (ends: Driven) => ends.wire.sink.end(undefined)],
    ['output', (ends: Driven) => ends.driver.touch()],
    ['tick', (ends: Driven) => ends.driver.touch()],
  ] as const)('an engine whose %s throws: closed once, by the transport, with the cause', async (verb, use) => {
    const ends = await opened()
    vi.spyOn(ends.engine, verb).mockImplementation(throwing)
    use(ends)
    await pass()
    expect(closed(ends)).toMatchObject([{ by: 'transport', error: { code: 'ERR_AMQP_TRANSPORT', cause: boom } }])
    expect(ends.wire.log).toEqual(['destroy boom'])
  })

  test('an engine that throws only when the timer asks for the next deadline', async () => {
    const ends = await opened({ limits: { handshakeMs: 1e6 } })
    const { tick } = ends.engine
    let calls = 0
    vi.spyOn(ends.engine, 'tick').mockImplementation(now => {
      if (++calls === 2) throwing()
      return tick.call(ends.engine, now)
    })
    await pass(1e6)
    expect(ends.wire.log).toEqual(['destroy boom'])
  })

  test('an owner that throws', async () => {
    const ends = await opened()
    ends.owner.onEvent = event => {
      if (event.type === 'session.begun') throwing()
    }
    ends.wire.sink.data(frame(0, begin({ nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 1 })))
    expect(closed(ends)).toMatchObject([{ by: 'transport', error: { cause: boom } }])
  })

  test('an owner that throws something that is no error, at the end as well', async () => {
    const ends = await opened()
    let throws = 2
    ends.owner.onEvent = () => {
      if (throws-- > 0) throw 'no error'
    }
    ends.wire.sink.data(frame(0, begin({ nextOutgoingId: 0, incomingWindow: 1, outgoingWindow: 1 })))
    const last = closed(ends).at(-1)
    expect(last).toMatchObject({ by: 'transport', error: { code: 'ERR_AMQP_TRANSPORT' } })
    expect(String(last?.error)).toContain('no error')
    expect(ends.wire.log).toEqual(['destroy'])
  })
})
