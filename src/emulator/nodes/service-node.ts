/**
 * The nodes for back ends in an emulated hub: messages to devices come in, feedback on them goes out.
 *
 * Facts: spec-notes/iothub.md, service links.
 */

import type { Receiver, Sender } from '../../client/api.ts'
import type { ErrorInit } from '../../client/options.ts'
import { AmqpCondition, LinkCondition } from '../../errors.ts'
import { parseAddress } from '../../iothub/addresses.ts'
import type { Message, MessageInit, PropertiesInit } from '../../message/message.ts'
import { Alarm, type EmulatorClock } from '../clock.ts'
import type { CommandQueueOptions, FeedbackStatus, LockedCommand } from '../command-queue.ts'
import { FeedbackBatcher, type FeedbackRecord, feedbackRecord, isReported, parseAcknowledgement } from '../feedback.ts'
import { argumentError, bodyBytes, contentSize, idText, isMessageId, receiveAll } from '../message-content.ts'
import type { Quotas } from '../quotas.ts'
import type { Command, DeviceNode, DeviceNodeIdentity } from './device-node.ts'
import { OutgoingNode } from './outgoing-node.ts'

/** What a {@link ServiceNode} works with. */
export interface ServiceNodeOptions {
  readonly clock: EmulatorClock
  readonly hubName: string
  /** How long feedback may wait to be gathered into a batch, in ms, ≥ 0. */
  readonly feedbackBatchMs: number
  /** How the queue of feedback batches behaves. */
  readonly queue: CommandQueueOptions
  readonly quotas?: Quotas | undefined
  /** The node of a device or module; `undefined` when it is not registered. */
  device(deviceId: string, moduleId: string | undefined): DeviceNode | undefined
}

/** Largest cloud-to-device message, in bytes. */
const MAX_COMMAND_SIZE = 64 * 1024

/** The nodes for back ends, of which a hub has one set. */
export class ServiceNode {
  readonly #options: ServiceNodeOptions
  readonly #batcher: FeedbackBatcher
  readonly #batchAlarm: Alarm
  readonly #feedback: OutgoingNode<readonly FeedbackRecord[]>

  constructor(options: ServiceNodeOptions) {
    this.#options = options
    this.#batcher = new FeedbackBatcher(options.feedbackBatchMs)
    this.#batchAlarm = new Alarm(options.clock, () => this.#sendBatches())
    this.#feedback = new OutgoingNode({
      clock: options.clock,
      queue: { ...options.queue, maxDepth: Number.POSITIVE_INFINITY },
      encode: batch => feedbackMessage(batch, options.hubName),
      onEnd: () => {},
    })
  }

  /** Takes messages to devices from a link until it ends. */
  receiveCommands(receiver: Receiver): void {
    void receiveAll(receiver, message => this.#take(message))
  }

  /** Sends feedback on a link until it ends. */
  sendFeedback(sender: Sender): void {
    this.#feedback.serve(sender)
  }

  /** Reports how a message ended, if its sender asked for that. */
  report({ deviceId, generationId }: DeviceNodeIdentity, command: Command, status: FeedbackStatus): void {
    if (!isReported(command.ack, status)) return
    const originalMessageId = idText(command.properties.messageId) ?? ''
    const now = this.#options.clock.now()
    const record = { originalMessageId, status, deviceId, deviceGenerationId: generationId }
    this.#batcher.add(feedbackRecord(record, now), now)
    this.#sendBatches()
  }

  /** Stops its timers. */
  close(): void {
    this.#batchAlarm.set(undefined)
    this.#feedback.close()
  }

  #sendBatches(): void {
    for (const batch of this.#batcher.take(this.#options.clock.now())) this.#feedback.enqueue(batch)
    this.#batchAlarm.set(this.#batcher.deadline())
  }

  #take(message: Message): ErrorInit | undefined {
    const sent: PropertiesInit = message.properties ?? {}
    const address = sent.to === undefined ? undefined : parseAddress(sent.to)
    if (address?.kind !== 'device-commands') return argumentError("the message's 'to' does not name a device")
    const device = this.#options.device(address.deviceId, address.moduleId)
    if (device === undefined) return { condition: AmqpCondition.notFound, description: 'there is no such device' }

    if (!isMessageId(sent.messageId)) return argumentError('the message-id has more than 128 characters')
    const body = bodyBytes(message.body)
    if (body === undefined) return argumentError('the body is not data')
    const size = contentSize(message, body)
    if (size > MAX_COMMAND_SIZE) {
      const description = `the message has ${size} bytes, more than ${MAX_COMMAND_SIZE}`
      return { condition: LinkCondition.messageSizeExceeded, description }
    }
    const ackText = message.applicationProperties?.get('iothub-ack') ?? undefined
    const ack = ackText === undefined || typeof ackText === 'string' ? parseAcknowledgement(ackText) : undefined
    if (ack === undefined) return argumentError('iothub-ack is none of none, positive, negative and full')

    const refusal = this.#options.quotas?.takeCommand(this.#options.clock.now())
    if (refusal !== undefined) return refusal
    const { messageId, userId, to, correlationId, contentType, contentEncoding, absoluteExpiryTime } = sent
    const properties = { messageId, userId: userId?.slice(), to, correlationId, contentType, contentEncoding }
    const command = { ack, properties, applicationProperties: new Map(message.applicationProperties), body }
    if (device.enqueue(command, absoluteExpiryTime?.getTime())) return undefined
    return { condition: AmqpCondition.resourceLimitExceeded, description: 'the queue of the device is full' }
  }
}

function feedbackMessage(batch: LockedCommand<readonly FeedbackRecord[]>, hubName: string): MessageInit {
  return {
    messageAnnotations: {
      'x-opt-lock-token': batch.lockToken,
      'iothub-enqueuedtime': new Date(batch.enqueuedAt),
    },
    properties: {
      userId: new TextEncoder().encode(hubName),
      contentType: 'application/vnd.microsoft.iothub.feedback.json',
    },
    body: new TextEncoder().encode(JSON.stringify(batch.message)),
  }
}
