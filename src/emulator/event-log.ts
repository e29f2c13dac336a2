/**
 * The telemetry of an emulated hub: an append-only log, divided into partitions by device, that any number of readers
 * follow at their own pace. It keeps the events in memory, up to a limit.
 *
 * Facts: spec-notes/iothub.md, event annotations.
 */

import { UsageError } from '../errors.ts'

/** What a device sent. */
export interface TelemetryInit {
  readonly deviceId: string
  /** `undefined` when the device itself sent it. */
  readonly moduleId: string | undefined
  /** Which of its lives the device or module was in; see `DeviceIdentity`. */
  readonly generationId: string
  readonly messageId: string | undefined
  readonly correlationId: string | undefined
  readonly userId: Uint8Array | undefined
  readonly contentType: string | undefined
  readonly contentEncoding: string | undefined
  /** Application properties with string values: the others do not survive a hub. */
  readonly properties: ReadonlyMap<string, string>
  /**
   * What the hub tells of it besides whose it is: `dt-subject`, the component, `dt-dataschema`, the model, and
   * `iothub-interface-id`, as far as the device gave them.
   */
  readonly annotations?: ReadonlyMap<string, string> | undefined
  readonly body: Uint8Array
}

/** An event of the log. */
export interface TelemetryEvent extends TelemetryInit {
  /** Which partition it is in, `'0'` to the number of partitions − 1. */
  readonly partition: string
  /** Position in the partition, from 0, without gaps. */
  readonly sequenceNumber: bigint
  /** Bytes before it in the partition, as decimal text. */
  readonly offset: string
  readonly enqueuedAt: Date
}

/** What a log holds to. */
export interface EventLogOptions {
  /** 1 … 32. Default 4. */
  readonly partitions?: number | undefined
  /**
   * Events kept, ≥ 1; at twice as many all older ones are dropped, and readers that are behind skip them.
   * Default 100 000.
   */
  readonly maxEvents?: number | undefined
  /** Bytes kept, by bodies and properties, ≥ 1; dropped as with `maxEvents`. Default 128 MiB. */
  readonly maxBytes?: number | undefined
}

interface Partition {
  nextSequenceNumber: bigint
  nextOffset: bigint
}

/** One log. Iterating it gives the events from the oldest kept, then waits for more until the log is closed. */
export class EventLog implements AsyncIterable<TelemetryEvent, undefined> {
  readonly #partitions: readonly Partition[]
  readonly #maxEvents: number
  readonly #maxBytes: number
  /** Of `#events`. */
  #bytes = 0
  #events: TelemetryEvent[] = []
  /** How many events were dropped before the first of `#events`. */
  #dropped = 0
  #closed = false
  #readers: (() => void)[] = []

  /** @throws {UsageError} if an option is out of range */
  constructor(options: EventLogOptions = {}) {
    const { partitions = 4, maxEvents = 100_000, maxBytes = 128 << 20 } = options
    if (!(Number.isInteger(partitions) && partitions >= 1 && partitions <= 32))
      throw new UsageError('event log: partitions must be 1 … 32')
    if (!(maxEvents >= 1)) throw new UsageError('event log: maxEvents must be at least 1')
    if (!(maxBytes >= 1)) throw new UsageError('event log: maxBytes must be at least 1')
    this.#partitions = Array.from({ length: partitions }, () => ({ nextSequenceNumber: 0n, nextOffset: 0n }))
    this.#maxEvents = maxEvents
    this.#maxBytes = maxBytes
  }

  /** The ids of the partitions. */
  get partitionIds(): readonly string[] {
    return this.#partitions.map((_, index) => `${index}`)
  }

  /**
   * Adds an event to the partition of its device.
   *
   * @param now  ms since 1970-01-01 UTC
   */
  append(init: TelemetryInit, now: number): TelemetryEvent {
    const index = hash(init.deviceId) % this.#partitions.length
    const partition = this.#partitions[index] as Partition
    const event: TelemetryEvent = {
      ...init,
      partition: `${index}`,
      sequenceNumber: partition.nextSequenceNumber,
      offset: partition.nextOffset.toString(),
      enqueuedAt: new Date(now),
    }
    partition.nextSequenceNumber += 1n
    const size = sizeOf(init)
    partition.nextOffset += BigInt(size)
    this.#bytes += size
    this.#events.push(event)
    this.#trim()
    this.#wake()
    return event
  }

  /** Ends every iteration once it has given what is there. */
  close(): void {
    this.#closed = true
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TelemetryEvent, undefined, undefined> {
    for (let next = 0; ; ) {
      next = Math.max(next, this.#dropped)
      const event = this.#events[next - this.#dropped]
      if (event !== undefined) {
        next++
        yield event
      } else if (this.#closed) {
        return
      } else {
        await new Promise<void>(resolve => this.#readers.push(resolve))
      }
    }
  }

  /** Drops in batches, so that a full log does not move all its events at each append. */
  #trim(): void {
    if (this.#events.length < this.#maxEvents * 2 && this.#bytes < this.#maxBytes * 2) return
    let surplus = Math.max(this.#events.length - this.#maxEvents, 0)
    for (let i = 0; i < surplus; i++) this.#bytes -= sizeOf(this.#events[i] as TelemetryEvent)
    // The newest stays, however large.
    for (; this.#bytes > this.#maxBytes && surplus < this.#events.length - 1; surplus++)
      this.#bytes -= sizeOf(this.#events[surplus] as TelemetryEvent)
    this.#events = this.#events.slice(surplus)
    this.#dropped += surplus
  }

  #wake(): void {
    const readers = this.#readers
    this.#readers = []
    for (const resume of readers) resume()
  }
}

/** FNV-1a over UTF-16 code units: the same device gets the same partition in every run. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0
  return value
}

/** What the event takes in the partition: its body and property texts, plus a constant for the rest. */
function sizeOf(init: TelemetryInit): number {
  let size = 64 + init.body.length
  for (const [name, value] of init.properties) size += name.length + value.length
  return size
}
