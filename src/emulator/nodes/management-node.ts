/**
 * The `$management` node of an emulated event hub, as one connection sees it: what the hub is, and how each partition
 * stands. Facts: spec-notes/iothub.md, `$management`.
 */

import type { Delivery, Receiver, Sender } from '../../client/api.ts'
import { AmqpCondition, DecodeError } from '../../errors.ts'
import type { Entries } from '../../message/message.ts'
import { type AmqpValue, array, int, long, symbol } from '../../types/values.ts'
import { AnswerLinks, serveEach } from './answer-links.ts'
import type { EventHubNode } from './event-hub-node.ts'

interface Answer {
  readonly status: number
  readonly description: string
  readonly condition?: string
  readonly value?: ReadonlyMap<AmqpValue, AmqpValue>
}

/** The node, for one connection. */
export class ManagementNode {
  readonly #eventHub: EventHubNode
  readonly #answers = new AnswerLinks()

  constructor(eventHub: EventHubNode) {
    this.#eventHub = eventHub
  }

  /** Answers the requests of a link until it ends. */
  receiveRequests(receiver: Receiver): Promise<void> {
    return serveEach(receiver, delivery => this.#serve(delivery))
  }

  /** Sends answers on a link until it ends. */
  sendAnswers(sender: Sender): void {
    this.#answers.add(sender)
  }

  async #serve(delivery: Delivery): Promise<void> {
    const request = readable(delivery)
    const id = request?.properties?.messageId
    if (request === undefined || id === undefined) {
      await delivery.reject({ condition: request ? AmqpCondition.invalidField : AmqpCondition.decodeError })
      return
    }
    // Some clients take an answer that comes before the disposition for an error.
    await delivery.accept()
    const text = (key: string): string | undefined => textOf(request.applicationProperties?.get(key))
    const answer = this.#answer(text('operation'), text('type'), text('name'), text('partition'))
    const { status, description, condition, value } = answer
    const applicationProperties: Entries = {
      'status-code': int(status),
      'status-description': description,
      'error-condition': condition === undefined ? undefined : symbol(condition),
    }
    const message = { properties: { correlationId: id }, applicationProperties, ...(value && { body: { value } }) }
    this.#answers.send({ session: delivery.receiver.session, replyTo: request.properties?.replyTo, message })
  }

  #answer(
    operation: string | undefined,
    type: string | undefined,
    name: string | undefined,
    partition: string | undefined,
  ): Answer {
    if (operation !== 'READ') return failure(501, AmqpCondition.notImplemented, 'the operation is not READ')
    if (name === undefined || !this.#eventHub.isNamed(name))
      return failure(404, AmqpCondition.notFound, `there is no event hub '${name}'`)
    if (type === 'com.microsoft:eventhub') return ok(this.#eventHub.describe())
    if (type !== 'com.microsoft:partition') return failure(400, 'com.microsoft:argument-error', 'the type is not known')
    const value = partition === undefined ? undefined : this.#eventHub.describePartition(partition)
    if (value === undefined) return failure(400, 'com.microsoft:argument-out-of-range', 'there is no such partition')
    return ok(value)
  }
}

/** What `$management` says of an event hub. */
export const eventHubInfo = (
  name: string,
  createdAt: Date,
  partitions: readonly string[],
): ReadonlyMap<AmqpValue, AmqpValue> =>
  new Map<AmqpValue, AmqpValue>([
    ['name', name],
    ['type', 'com.microsoft:eventhub'],
    ['created_at', createdAt],
    ['partition_count', int(partitions.length)],
    ['partition_ids', array('string', partitions)],
  ])

/** What it says of a partition, except for the event hub's name. */
export const partitionInfo = (
  name: string,
  partition: string,
  state: {
    readonly begin: bigint
    readonly last: bigint
    readonly offset: string
    readonly enqueuedAt: Date
    readonly now: Date
    readonly isEmpty: boolean
  },
): ReadonlyMap<AmqpValue, AmqpValue> =>
  new Map<AmqpValue, AmqpValue>([
    ['name', name],
    ['type', 'com.microsoft:partition'],
    ['partition', partition],
    ['begin_sequence_number', long(state.begin)],
    ['last_enqueued_sequence_number', long(state.last)],
    ['last_enqueued_offset', state.offset],
    ['last_enqueued_time_utc', state.enqueuedAt],
    ['runtime_info_retrieval_time_utc', state.now],
    ['is_partition_empty', state.isEmpty],
  ])

const ok = (value: ReadonlyMap<AmqpValue, AmqpValue>): Answer => ({ status: 200, description: 'OK', value })

const failure = (status: number, condition: string, description: string): Answer => ({ status, description, condition })

/** `undefined` for bytes that are no message. */
function readable(delivery: Delivery) {
  try {
    const { properties, applicationProperties } = delivery.message
    void properties?.messageId
    return { properties, applicationProperties }
  } catch (error) {
    if (error instanceof DecodeError) return undefined
    throw error
  }
}

/** Some clients send what is text as bytes. */
function textOf(value: AmqpValue | undefined): string | undefined {
  if (value instanceof Uint8Array) return new TextDecoder().decode(value)
  return typeof value === 'string' ? value : undefined
}
