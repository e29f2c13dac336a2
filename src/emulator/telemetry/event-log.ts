/**
 * The telemetry of an emulated hub: an append-only log, divided into partitions by device, that any number of readers
 * follow at their own pace. It keeps the events in memory, up to limits of count, bytes and age.
 *
 * Facts: spec-notes/iothub.md, event annotations.
 */

import { UsageError } from '../../errors.ts'
import { Tail } from './tail.ts'

/** How a device had proved who it is when it attached its link. */
export interface SenderAuthentication {
  /** `hub`: by the key of a policy; else by its own. */
  readonly scope: 'hub' | 'device' | 'module'
  readonly type: 'sas' | 'x509'
}

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
  /** Default: a token, by its own key. */
  readonly authentication?: SenderAuthentication | undefined
  /** As the message says; a hub makes nothing of the two. */
  readonly to?: string | undefined
  readonly expiry?: Date | undefined
  readonly body: Uint8Array
}

/** An event of the log. */
export interface RecordedTelemetry extends TelemetryInit {
  /** Which partition it is in, `'0'` to the number of partitions − 1. */
  readonly partition: string
  /** Position in the partition, from 0, or from more for a hub with a state, without gaps. */
  readonly sequenceNumber: bigint
  /** Bytes before it in the partition, as decimal text; more for a hub with a state. */
  readonly offset: string
  readonly enqueuedAt: Date
}

/** What a log holds to. */
export interface EventLogOptions {
  /** 1 … 32. Default 4. */
  readonly partitions?: number | undefined
  /** Events kept, ≥ 1; older ones are dropped, and readers that are behind skip them. Default 100 000. */
  readonly maxEvents?: number | undefined
  /** Bytes kept, by bodies and texts, ≥ 1; the newest event stays, however large. Default 128 MiB. */
  readonly maxBytes?: number | undefined
  /** How long an event is kept, in ms, > 0. Default: for ever. */
  readonly retentionMs?: number | undefined
  /** The time by which they age, in ms since 1970. Default: that of this machine. */
  readonly now?: (() => number) | undefined
  /** What the first event of each partition has. Default: both 0. */
  readonly begin?: LogStart | undefined
}

/** Both ≥ 0. */
export interface LogStart {
  readonly offset: bigint
  readonly sequenceNumber: bigint
}

/** What a log says of one of its partitions. */
export interface PartitionState {
  /** Of the oldest event kept; when there is none, that of the next. */
  readonly beginSequenceNumber: bigint
  /** What the next event will have. */
  readonly nextSequenceNumber: bigint
  /** What the next event will have. */
  readonly nextOffset: bigint
  /** The newest event; `undefined` when there never was one. */
  readonly last: RecordedTelemetry | undefined
}

interface Partition {
  readonly id: string
  nextSequenceNumber: bigint
  nextOffset: bigint
  /** Those that are kept. */
  readonly events: Tail<RecordedTelemetry>
  /** Kept or not. */
  last: RecordedTelemetry | undefined
}

/** One log. Iterating it gives the events from the oldest kept, then waits for more until the log is closed. */
export class EventLog implements AsyncIterable<RecordedTelemetry, undefined> {
  readonly #partitions: readonly Partition[]
  readonly #maxEvents: number
  readonly #maxBytes: number
  readonly #retentionMs: number
  readonly #now: () => number
  /** Of `#events`. */
  #bytes = 0
  readonly #events = new Tail<RecordedTelemetry>()
  /** How many events were dropped before the first of `#events`. */
  #dropped = 0
  #closed = false
  #readers: (() => void)[] = []
  readonly #listeners = new Set<() => void>()

  /** @throws {UsageError} if an option is out of range */
  constructor(options: EventLogOptions = {}) {
    const {
      partitions = 4,
      maxEvents = 100_000,
      maxBytes = 128 << 20,
      retentionMs = Number.POSITIVE_INFINITY,
      begin = { offset: 0n, sequenceNumber: 0n },
    } = options
    if (!(Number.isInteger(partitions) && partitions >= 1 && partitions <= 32))
      throw new UsageError('event log: partitions must be 1 … 32')
    if (!(maxEvents >= 1)) throw new UsageError('event log: maxEvents must be at least 1')
    if (!(maxBytes >= 1)) throw new UsageError('event log: maxBytes must be at least 1')
    if (!(retentionMs > 0)) throw new UsageError('event log: retentionMs must be greater than 0')
    this.#partitions = Array.from({ length: partitions }, (_, index) => ({
      id: `${index}`,
      nextSequenceNumber: begin.sequenceNumber,
      nextOffset: begin.offset,
      events: new Tail<RecordedTelemetry>(),
      last: undefined,
    }))
    this.#maxEvents = maxEvents
    this.#maxBytes = maxBytes
    this.#retentionMs = retentionMs
    this.#now = options.now ?? Date.now
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
    partition.last = event
    this.#trim(now)
    this.#wake()
    for (const listener of this.#listeners) listener()
    return event
  }

  /** How a partition stands; `undefined` if there is none of that id. */
  partition(id: string): PartitionState | undefined {
    const partition = this.#partition(id)
    if (partition === undefined) return undefined
    const { nextSequenceNumber, nextOffset, last } = partition
    return { beginSequenceNumber: beginOf(partition), nextSequenceNumber, nextOffset, last }
  }

  /** The first event of a partition that is numbered `sequenceNumber` or higher and still kept, if there is one. */
  at(id: string, sequenceNumber: bigint): RecordedTelemetry | undefined {
    const partition = this.#partition(id)
    if (partition === undefined) return undefined
    const index = sequenceNumber - beginOf(partition)
    return partition.events.at(index < 0n ? 0 : Number(index))
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
      if (isBefore(events.at(middle) as RecordedTelemetry)) low = middle + 1
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
      this.#trim(this.#now())
      next = Math.max(next, this.#dropped)
      const event = this.#events.at(next - this.#dropped)
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

  /** Drops what is too old, or too much. */
  #trim(now: number): void {
    for (;;) {
      const oldest = this.#events.at(0)
      if (oldest === undefined) return
      const isTooMuch = this.#events.length > this.#maxEvents || this.#bytes > this.#maxBytes
      const isTooOld = now - oldest.enqueuedAt.getTime() >= this.#retentionMs
      if (!isTooOld && !(isTooMuch && this.#events.length > 1)) return
      this.#events.shift()
      this.#dropped++
      this.#bytes -= sizeOf(oldest)
      this.#partitions.find(({ id }) => id === oldest.partition)?.events.shift()
    }
  }

  /** As it stands now. */
  #partition(id: string): Partition | undefined {
    this.#trim(this.#now())
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
  const { body, userId, deviceId, moduleId, messageId, correlationId, contentType, contentEncoding, to } = init
  let size = 64 + body.length + (userId?.length ?? 0)
  for (const text of [deviceId, moduleId, messageId, correlationId, contentType, contentEncoding, to])
    size += text?.length ?? 0
  for (const [name, value] of init.properties) size += name.length + value.length
  return size
}
