/**
 * The answers of an event hub's `$management` node: what it is, and how its partitions stand. Pure. Facts:
 * spec-notes/iothub.md, `$management`.
 */

import type { ErrorInit } from '../../client/options.ts'
import { AmqpCondition, ProtocolError, RemoteError } from '../../errors.ts'
import type { Message } from '../../message/message.ts'
import type { AmqpValue } from '../../types/values.ts'

/** What an event hub is. */
export interface EventHubInfo {
  readonly name: string
  readonly createdAt: Date
  /** The ids of its partitions. */
  readonly partitions: readonly string[]
}

/** How a partition stands. */
export interface PartitionInfo {
  readonly partition: string
  /** Of the oldest event kept. */
  readonly beginSequenceNumber: bigint
  /** Of the newest event; −1 when there never was one. So the others. */
  readonly lastSequenceNumber: bigint
  readonly lastOffset: string
  readonly lastEnqueuedTime: Date
  readonly isEmpty: boolean
}

/** `undefined` when absent or not an integer. */
function statusOf(answer: Message): number | undefined {
  const status = answer.applicationProperties?.get('status-code')
  return typeof status === 'bigint' || Number.isInteger(status) ? Number(status) : undefined
}

/** What is wrong with an answer, if anything is. */
export const checkAnswer = (answer: Message): ErrorInit | undefined =>
  statusOf(answer) === undefined
    ? { condition: AmqpCondition.invalidField, description: 'the answer of $management has no integer status-code' }
    : undefined

/** The map in an answer. @throws {RemoteError} it is a refusal  @throws {ProtocolError} it has none */
export function answerMap(answer: Message, name: string): ReadonlyMap<AmqpValue, AmqpValue> {
  const status = statusOf(answer) ?? 0
  const { body, applicationProperties } = answer
  if (status >= 200 && status <= 299) {
    const value = typeof body === 'object' && 'value' in body ? body.value : undefined
    if (isMap(value)) return value
    throw malformed('has no map')
  }
  const condition = applicationProperties?.get('error-condition')?.toString() ?? conditions.get(status)
  const description = applicationProperties?.get('status-description')
  throw new RemoteError(`$management of event hub '${name}', status ${status}`, 'delivery', {
    condition: condition ?? AmqpCondition.internalError,
    description: typeof description === 'string' ? description : undefined,
    info: new Map([['status-code', status]]),
  })
}

const conditions: ReadonlyMap<number, string> = /* @__PURE__ */ new Map([
  [401, AmqpCondition.unauthorizedAccess],
  [403, AmqpCondition.unauthorizedAccess],
  [404, AmqpCondition.notFound],
])

const isMap = (value: unknown): value is ReadonlyMap<AmqpValue, AmqpValue> =>
  typeof value === 'object' && value !== null && 'get' in value && 'entries' in value

const malformed = (problem: string): ProtocolError =>
  new ProtocolError(`the answer of $management ${problem}`, AmqpCondition.invalidField, 'delivery')

/** What an event hub is. @throws {ProtocolError} that is not what the map says */
export function readInfo(value: ReadonlyMap<AmqpValue, AmqpValue> | undefined): EventHubInfo {
  const ids = listOf(value?.get('partition_ids'))
  const name = value?.get('name')
  const createdAt = value?.get('created_at')
  if (ids === undefined || typeof name !== 'string') throw malformed('lacks what an event hub has')
  return { name, createdAt: createdAt instanceof Date ? createdAt : new Date(0), partitions: ids.map(String) }
}

/** How a partition stands. @throws {ProtocolError} that is not what the map says */
export function readPartition(value: ReadonlyMap<AmqpValue, AmqpValue>): PartitionInfo {
  const text = (key: string): string => {
    const field = value.get(key)
    if (typeof field !== 'string') throw malformed(`lacks ${key}`)
    return field
  }
  const number = (key: string): bigint => {
    const field = value.get(key)
    if (typeof field !== 'bigint' && !Number.isInteger(field)) throw malformed(`lacks ${key}`)
    return BigInt(field as bigint | number)
  }
  const time = value.get('last_enqueued_time_utc')
  const last = number('last_enqueued_sequence_number')
  const isEmpty = value.get('is_partition_empty')
  return {
    partition: text('partition'),
    beginSequenceNumber: number('begin_sequence_number'),
    lastSequenceNumber: last,
    lastOffset: text('last_enqueued_offset'),
    lastEnqueuedTime: time instanceof Date ? time : new Date(0),
    isEmpty: typeof isEmpty === 'boolean' ? isEmpty : last < 0n,
  }
}

/** A list, or an array, of which plain decoding keeps the type. */
function listOf(value: AmqpValue | undefined): readonly unknown[] | undefined {
  if (Array.isArray(value)) return value
  const content = typeof value === 'object' && value !== null && 'value' in value ? value.value : undefined
  const elements =
    typeof content === 'object' && content !== null && 'elements' in content ? content.elements : undefined
  return Array.isArray(elements) ? elements : undefined
}
