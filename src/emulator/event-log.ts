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
export interface RecordedTelemetry extends TelemetryInit {
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
  /** Bytes kept, by bodies and texts, ≥ 1; dropped as with `maxEvents`. Default 128 MiB. */
  readonly maxBytes?: number | undefined
}

/** What a log says of one of its partitions. */
export interface PartitionState {
  /** Of the oldest event kept; when there is none, that of the next. */
  readonly beginSequenceNumber: bigint
  /** What the next event will have. */
  readonly nextSequenceNumber: bigint
  /** The newest event; `undefined` when there never was one. */
  readonly last: RecordedTelemetry | undefined
}

interface Partition {
  readonly id: string
  nextSequenceNumber: bigint
  nextOffset: bigint
  /** Those of `#events` that are in it. */
  events: RecordedTelemetry[]
}

/** One log. Iterating it gives the events from the oldest kept, then waits for more until the log is closed. */
export class EventLog implements AsyncIterable<RecordedTelemetry, undefined> {
  readonly #partitions: readonly Partition[]
  readonly #maxEvents: number
  readonly #maxBytes: number
  /** Of `#events`. */
  #bytes = 0
  #events: RecordedTelemetry[] = []
  /** How many events were dropped before the first of `#events`. */
  #dropped = 0
  #closed = false
  #readers: (() => void)[] = []
  readonly #listeners = new Set<() => void>()

  /** @throws {UsageError} if an option is out of range */
  constructor(options: EventLogOptions = {}) {
    const { partitions = 4, maxEvents = 100_000, maxBytes = 128 << 20 } = options
    if (!(Number.isInteger(partitions) && partitions >= 1 && partitions <= 32))
      throw new UsageError('event log: partitions must be 1 … 32')
    if (!(maxEvents >= 1)) throw new UsageError('event log: maxEvents must be at least 1')
    if (!(maxBytes >= 1)) throw new UsageError('event log: maxBytes must be at least 1')
    this.#partitions = Array.from({ length: partitions }, (_, index) => ({
      id: `${index}`,
      nextSequenceNumber: 0n,
      nextOffset: 0n,
      events: [],
    }))
    this.#maxEvents = maxEvents
    this.#maxBytes = maxBytes
  }

  /** The ids of the partitions. */
  get partitionIds(): readonly string[] {
    return this.#partitions.map(({ id }) => id)
  }

  /**
   * Adds an event to the partition of its device.
   *
   * @param now  ms since 1970-01-01 UTC
   */
  append(init: TelemetryInit, now: number): RecordedTelemetry {
    const partition = this.#partitions[hash(init.deviceId) % this.#partitions.length] as Partition
    const event: RecordedTelemetry = {
      ...init,
      partition: partition.id,
      sequenceNumber: partition.nextSequenceNumber,
      offset: partition.nextOffset.toString(),
      enqueuedAt: new Date(now),
    }
    partition.nextSequenceNumber += 1n
    const size = sizeOf(init)
    partition.nextOffset += BigInt(size)
    this.#bytes += size
    this.#events.push(event)
    partition.events.push(event)
    this.#trim()
    this.#wake()
    for (const listener of this.#listeners) listener()
    return event
  }

  /** How a partition stands; `undefined` if there is none of that id. */
  partition(id: string): PartitionState | undefined {
    const partition = this.#partition(id)
    if (partition === undefined) return undefined
    const { events, nextSequenceNumber } = partition
    return { beginSequenceNumber: beginOf(partition), nextSequenceNumber, last: events.at(-1) }
  }

  /** The first event of a partition that is numbered `sequenceNumber` or higher and still kept, if there is one. */
  at(id: string, sequenceNumber: bigint): RecordedTelemetry | undefined {
    const partition = this.#partition(id)
    if (partition === undefined) return undefined
    const index = sequenceNumber - beginOf(partition)
    return partition.events[index < 0n ? 0 : Number(index)]
  }

  /**
   * Where in a partition to begin reading.
   *
   * @param isBefore  true of the events to pass over, which stand before all others
   * @returns the sequence number of the first event that is not passed over; that of the next, if there is none
   */
  firstNot(id: string, isBefore: (event: RecordedTelemetry) => boolean): bigint {
    const partition = this.#partition(id)
    if (partition === undefined) return 0n
    const { events } = partition
    let [low, high] = [0, events.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isBefore(events[middle] as RecordedTelemetry)) low = middle + 1
      else high = middle
    }
    return beginOf(partition) + BigInt(low)
  }

  /** Calls `listener` after each event that is added. @returns a function that ends this */
  onAppend(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Ends every iteration once it has given what is there. */
  close(): void {
    this.#closed = true
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<RecordedTelemetry, undefined, undefined> {
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
    for (let i = 0; i < surplus; i++) this.#bytes -= sizeOf(this.#events[i] as RecordedTelemetry)
    // The newest stays, however large.
    for (; this.#bytes > this.#maxBytes && surplus < this.#events.length - 1; surplus++)
      this.#bytes -= sizeOf(this.#events[surplus] as RecordedTelemetry)
    for (const partition of this.#partitions) {
      const kept = this.#events.findIndex((event, index) => index >= surplus && event.partition === partition.id)
      const from = kept < 0 ? partition.nextSequenceNumber : (this.#events[kept] as RecordedTelemetry).sequenceNumber
      partition.events = partition.events.slice(Number(from - beginOf(partition)))
    }
    this.#events = this.#events.slice(surplus)
    this.#dropped += surplus
  }

  #partition(id: string): Partition | undefined {
    return this.#partitions.find(partition => partition.id === id)
  }

  #wake(): void {
    const readers = this.#readers
    this.#readers = []
    for (const resume of readers) resume()
  }
}

/** Sequence numbers have no gaps, so the number of events kept tells that of the oldest. */
function beginOf({ events, nextSequenceNumber }: Partition): bigint {
  return nextSequenceNumber - BigInt(events.length)
}

/** FNV-1a over UTF-16 code units: the same device gets the same partition in every run. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0
  return value
}

/** What the event takes in the partition: its body and all its texts, plus a constant for the rest. */
function sizeOf(init: TelemetryInit): number {
  const { body, userId, deviceId, moduleId, messageId, correlationId, contentType, contentEncoding } = init
  let size = 64 + body.length + (userId?.length ?? 0)
  for (const text of [deviceId, moduleId, messageId, correlationId, contentType, contentEncoding])
    size += text?.length ?? 0
  for (const [name, value] of init.properties) size += name.length + value.length
  return size
}
