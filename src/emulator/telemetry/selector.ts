/**
 * Where a reader of telemetry wants to begin: the selector that clients of event hubs put into the filter of their
 * source, one comparison of an annotation with a number.
 *
 * Clients write the filter under three descriptors and under any key, so what is looked at is the text. Pure. Facts:
 * spec-notes/iothub.md, reading telemetry. §3.5.8
 */

import type { SourceInit } from '../../client/options.ts'
import { AmqpSymbol, Described } from '../../types/values.ts'
import type { EventLog } from './event-log.ts'

/** What a selector asks for. */
export type StartPosition =
  | { readonly by: 'latest' }
  | {
      readonly by: 'offset' | 'sequenceNumber' | 'enqueuedTime'
      /** For times in ms since 1970. */
      readonly value: bigint
      readonly isInclusive: boolean
    }

/**
 * Reads the text of a selector, e.g. `amqp.annotation.x-opt-offset > '-1'`.
 *
 * @returns `undefined` for any text that an event hub does not know
 */
export function parseSelector(text: string): StartPosition | undefined {
  const match = /^\s*amqp\.annotation\.x-opt-([a-z-]+)\s*(>=?)\s*('?)(@latest|-?\d{1,19})\3\s*$/i.exec(text)
  const [, name = '', operator, , value = ''] = match ?? []
  const by = Object.hasOwn(annotations, name.toLowerCase()) ? annotations[name.toLowerCase()] : undefined
  if (by === undefined) return undefined
  if (value.startsWith('@')) return by === 'enqueuedTime' ? undefined : { by: 'latest' }
  return { by, value: BigInt(value), isInclusive: operator === '>=' }
}

/** The text of the selector in a source, if it has one under a descriptor that clients use. */
export function selectorOf(source: Readonly<SourceInit> | null): string | undefined {
  for (const filter of Object.values(source?.filter ?? {})) {
    if (!(filter instanceof Described) || typeof filter.value !== 'string') continue
    const { descriptor } = filter
    const known = descriptor instanceof AmqpSymbol ? descriptor.name === SELECTOR : codes.some(c => c === descriptor)
    if (known) return filter.value
  }
  return undefined
}

/**
 * The sequence number at which a reader begins.
 *
 * @param position  `undefined`: with the oldest event
 * @returns a text that says what is wrong, for an offset or number that the partition has not come to
 */
export function startOf(log: EventLog, partition: string, position: StartPosition | undefined): bigint | string {
  const { beginSequenceNumber = 0n, nextSequenceNumber = 0n, nextOffset = 0n, last } = log.partition(partition) ?? {}
  if (position === undefined) return beginSequenceNumber
  if (position.by === 'latest') return nextSequenceNumber
  const { by, value, isInclusive } = position
  const isBefore = (at: bigint): boolean => (isInclusive ? at < value : at <= value)
  switch (by) {
    case 'offset':
      // Without an event, the offset may be of one that a hub before this one had.
      if (value > BigInt(last?.offset ?? nextOffset))
        return `the offset '${value}' is beyond the last, '${last?.offset ?? -1}'`
      return log.firstNot(partition, event => isBefore(BigInt(event.offset)))
    case 'sequenceNumber':
      // What has not come yet may be waited for by its number, but no further.
      if (value > nextSequenceNumber)
        return `the sequence number '${value}' is beyond the last, '${nextSequenceNumber - 1n}'`
      return log.firstNot(partition, event => isBefore(event.sequenceNumber))
    case 'enqueuedTime':
      return log.firstNot(partition, event => isBefore(BigInt(event.enqueuedAt.getTime())))
  }
}

const annotations: Readonly<Record<string, Exclude<StartPosition['by'], 'latest'> | undefined>> = {
  offset: 'offset',
  'sequence-number': 'sequenceNumber',
  'enqueued-time': 'enqueuedTime',
  enqueuedtimeutc: 'enqueuedTime',
}

const SELECTOR = 'apache.org:selector-filter:string'
const codes: readonly unknown[] = [0x0000_468c_0000_0004n, 0x0000_0013_7000_000an]
