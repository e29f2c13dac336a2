/**
 * What of the telemetry a service wants to read, and where each partition begins. Pure.
 *
 * An offset or a sequence number means something in one partition only. In another it is another place, or none: what
 * lies before it would be passed over. So a place goes with its partition, and is refused where that does not fit.
 */

import type { Abortable } from '../../client/options.ts'
import { UsageError } from '../../errors.ts'
import { checkNames, type Names } from '../check-names.ts'
import { selectorFor, type TelemetryPlace, type TelemetryStart } from './event-mapping.ts'

/** What of the telemetry to read, and how. */
export interface TelemetryOptions extends Abortable {
  /** One partition, e.g. `'0'`. Default: all of them, merged; the order is kept in each. */
  readonly partition?: string | undefined
  /** Default `$Default`. */
  readonly consumerGroup?: string | undefined
  /**
   * Where to begin.
   *
   * - `'start'`, `'end'` and `{ enqueuedAfter }`: there in each partition that is read.
   * - A list of places, one for a partition at most, e.g. the last `position` of each, as stored. It is read once, at the
   *   first `next()`. Partitions without one begin at `otherwise`.
   * - A function, asked for each partition; where it gives nothing, at `otherwise`.
   * - A single place, only together with the `partition` that it is of.
   *
   * Default: `otherwise`.
   */
  readonly from?:
    | TelemetryStart
    | Iterable<TelemetryPlace & { readonly partition: string }>
    | ((partition: string) => TelemetryStart | undefined)
    | undefined
  /**
   * Where partitions begin that `from` says nothing of, with a list, a function or nothing in `from`. Default `'start'`:
   * with the oldest event kept, so that nothing is passed over.
   */
  readonly otherwise?: Exclude<TelemetryStart, TelemetryPlace> | undefined
  /**
   * Read alone: whoever reads the partition in this consumer group with no level, or a level up to this one, loses it.
   * 0 … 2^63 − 1. Default: none; up to five may read a partition so.
   */
  readonly ownerLevel?: number | bigint | undefined
  /** Events of a partition that may be on their way or wait here, 1 … 2^31 − 1. Default 300. */
  readonly credit?: number | undefined
}

const OPTIONS: Names<TelemetryOptions> = {
  signal: 0,
  partition: 0,
  consumerGroup: 0,
  from: 0,
  otherwise: 0,
  ownerLevel: 0,
  credit: 0,
}

/** All but the places. @throws {UsageError} there is no such option, or it is out of range */
export function checkOptions(options: TelemetryOptions): void {
  checkNames('option of telemetry', options, OPTIONS)
  const { ownerLevel, credit, partition } = options
  checkPartition(partition)
  const isLevel = typeof ownerLevel === 'bigint' || Number.isSafeInteger(ownerLevel)
  if (ownerLevel !== undefined && !(isLevel && ownerLevel >= 0 && ownerLevel < 2n ** 63n))
    throw new UsageError('telemetry: ownerLevel must be an integer, 0 … 2^63 − 1')
  if (credit !== undefined && !(Number.isInteger(credit) && credit >= 1 && credit < 2 ** 31))
    throw new UsageError('telemetry: credit must be 1 … 2^31 − 1')
}

/** Where each partition begins. */
export class TelemetryStarts {
  readonly #otherwise: TelemetryStart
  /** The same for all, or of the one that is read. */
  readonly #single: TelemetryStart | undefined
  /** By partition. */
  readonly #places = new Map<string, TelemetryPlace>()
  readonly #asked: ((partition: string) => TelemetryStart | undefined) | undefined

  /** @throws {UsageError} a place is none, does not fit what is read, or there are two of one partition; `otherwise` is of no use */
  constructor({ partition, from, otherwise }: TelemetryOptions) {
    if (otherwise !== undefined && !fitsAny(otherwise))
      throw new UsageError("telemetry: `otherwise` is 'start', 'end' or { enqueuedAfter }, which fit any partition")
    this.#otherwise = otherwise ?? 'start'
    if (typeof from === 'function') this.#asked = from
    else if (isList(from)) for (const place of from) this.#add(place)
    else if (from !== undefined) {
      this.#single = singleOf(from, partition)
      if (otherwise !== undefined)
        throw new UsageError('telemetry: `otherwise` goes with a list or a function in `from`; this one says it of all')
    }
  }

  #add(place: TelemetryPlace): void {
    checkPartition(place?.partition)
    if (typeof place !== 'object' || place === null || place.partition === undefined || !isPlace(place))
      throw new UsageError(
        'telemetry: a list in `from` is of positions, { partition, offset }; of a Map give its values()',
      )
    selectorFor(place)
    if (this.#places.has(place.partition))
      throw new UsageError(`telemetry: \`from\` has two places in partition '${place.partition}'; give the last`)
    this.#places.set(place.partition, place)
  }

  /** @throws {UsageError} there is a place in a partition that is none */
  checkPartitions(partitions: readonly string[]): void {
    for (const partition of this.#places.keys())
      if (!partitions.includes(partition))
        throw new UsageError(`telemetry: \`from\` has a place in partition '${partition}', of ${quoted(partitions)}`)
  }

  /** @throws {UsageError} what a function gave is no place, or one of another partition; or what it threw */
  of(partition: string): TelemetryStart {
    const start = this.#single ?? this.#places.get(partition) ?? this.#asked?.(partition) ?? this.#otherwise
    return fitting(start, partition)
  }
}

/** @throws {UsageError} it is none, or not of the partition that is read */
function singleOf(from: TelemetryStart, partition: string | undefined): TelemetryStart {
  selectorFor(from)
  if (partition !== undefined || !isPlace(from)) return partition === undefined ? from : fitting(from, partition)
  const { partition: own } = from
  checkPartition(own)
  const of = own === undefined ? 'of no partition' : `of partition '${own}'`
  throw new UsageError(
    `telemetry: \`from\` is a place ${of}, but all partitions are read, and each has places of its own; ` +
      `give \`partition: '${own ?? '…'}'\`, or a list of positions, the last of each partition`,
  )
}

/** @throws {UsageError} it is none, or of another partition */
function fitting(start: TelemetryStart, partition: string): TelemetryStart {
  selectorFor(start)
  if (isPlace(start)) checkPartition(start.partition)
  if (isPlace(start) && start.partition !== undefined && start.partition !== partition)
    throw new UsageError(
      `telemetry: \`from\` is a place of partition '${start.partition}', and means nothing in partition '${partition}', ` +
        'which is read; give the last position in that one',
    )
  return start
}

/** @throws {UsageError} it is there, but as no text */
function checkPartition(partition: unknown): void {
  if (partition !== undefined && typeof partition !== 'string')
    throw new UsageError(`telemetry: a partition is a text, e.g. '0', and this is ${describe(partition)}`)
}

const describe = (value: unknown): string => (typeof value === 'number' ? `the number ${value}` : typeof value)

/** Whether it is a beginning in any partition. */
function fitsAny(start: unknown): boolean {
  if (start === 'start' || start === 'end') return true
  if (typeof start !== 'object' || start === null || isPlace(start as TelemetryStart)) return false
  const { enqueuedAfter } = start as { readonly enqueuedAfter?: unknown }
  return enqueuedAfter instanceof Date && !Number.isNaN(enqueuedAfter.getTime())
}

const isPlace = (start: TelemetryStart): start is TelemetryPlace =>
  typeof start === 'object' && ('offset' in start || 'sequenceNumber' in start)

const isList = (from: unknown): from is Iterable<TelemetryPlace & { readonly partition: string }> =>
  typeof from === 'object' && from !== null && Symbol.iterator in from

const quoted = (texts: readonly string[]): string => texts.map(text => `'${text}'`).join(', ')
