/**
 * The nodes of one device or module in an emulated hub: telemetry goes into the event log, cloud-to-device messages wait
 * in a queue for its link.
 *
 * Methods and twin have addresses of their own and are not here. Facts: spec-notes/iothub.md, device links.
 */

import type { Receiver, Sender } from '../client/api.ts'
import type { ErrorInit } from '../client/options.ts'
import { AmqpCondition, LinkCondition } from '../errors.ts'
import type { Message, MessageInit, PropertiesInit } from '../message/message.ts'
import { type AmqpValue, ubyte, ulong } from '../types/values.ts'
import type { EmulatorClock } from './clock.ts'
import type { CommandQueueOptions, FeedbackStatus, LockedCommand } from './command-queue.ts'
import type { EventLog } from './event-log.ts'
import type { Acknowledgement } from './feedback.ts'
import { bodyBytes, contentSize, idText, receiveAll, stringProperties } from './message-content.ts'
import { OutgoingNode } from './outgoing-node.ts'
import type { Quotas } from './quotas.ts'

/** A cloud-to-device message as it was queued. */
export interface Command {
  readonly ack: Acknowledgement
  /** As sent; `to` and the expiry are the hub's. */
  readonly properties: PropertiesInit
  readonly applicationProperties: ReadonlyMap<AmqpValue, AmqpValue>
  readonly body: Uint8Array
  /** Told how it ended, whatever `ack` says. */
  readonly onEnd?: ((status: FeedbackStatus) => void) | undefined
}

/** Whose node it is. */
export interface DeviceNodeIdentity {
  readonly deviceId: string
  /** `undefined` for the device itself. */
  readonly moduleId: string | undefined
  readonly generationId: string
}

/** What a {@link DeviceNode} works with. */
export interface DeviceNodeOptions {
  readonly clock: EmulatorClock
  readonly events: EventLog
  readonly quotas?: Quotas | undefined
  readonly queue: CommandQueueOptions
  /** Told of each message that has ended. */
  onEnd(identity: DeviceNodeIdentity, command: Command, status: FeedbackStatus): void
}

/** Largest telemetry message, in bytes. */
const MAX_TELEMETRY_SIZE = 256 * 1024

/** One device or module. */
export class DeviceNode {
  readonly #identity: DeviceNodeIdentity
  readonly #options: DeviceNodeOptions
  readonly #commands: OutgoingNode<Command>

  constructor(identity: DeviceNodeIdentity, options: DeviceNodeOptions) {
    this.#identity = identity
    this.#options = options
    this.#commands = new OutgoingNode({
      clock: options.clock,
      queue: options.queue,
      encode: commandMessage,
      onEnd: ({ command: { message: command }, status }) => {
        command.onEnd?.(status)
        options.onEnd(identity, command, status)
      },
    })
  }

  /** Takes the telemetry of a link until it ends. */
  receiveTelemetry(receiver: Receiver): void {
    void receiveAll(receiver, (message, messageFormat) => this.#take(message, messageFormat))
  }

  /** Sends cloud-to-device messages on a link until it ends. */
  sendCommands(sender: Sender): void {
    this.#commands.serve(sender)
  }

  /**
   * Queues a message for the device.
   *
   * @param expiresAt  in ms since 1970; default: the queue's time to live from now
   * @returns false when the queue is full
   */
  enqueue(command: Command, expiresAt?: number): boolean {
    return this.#commands.enqueue(command, expiresAt)
  }

  /** Removes all messages for the device. @returns how many there were */
  purge(): number {
    return this.#commands.purge()
  }

  /** Stops its timer. */
  close(): void {
    this.#commands.close()
  }

  #take(message: Message, messageFormat: number): ErrorInit | undefined {
    if (messageFormat !== 0)
      return { condition: AmqpCondition.notImplemented, description: 'batches are not supported' }
    const body = bodyBytes(message.body)
    if (body === undefined) return { condition: AmqpCondition.invalidField, description: 'the body is not data' }
    const size = contentSize(message, body)
    if (size > MAX_TELEMETRY_SIZE) {
      const description = `the message has ${size} bytes, more than ${MAX_TELEMETRY_SIZE}`
      return { condition: LinkCondition.messageSizeExceeded, description }
    }
    const refusal = this.#options.quotas?.takeTelemetry(this.#options.clock.now())
    if (refusal !== undefined) return refusal
    const { messageId, correlationId, userId, contentType, contentEncoding } = message.properties ?? {}
    this.#options.events.append(
      {
        ...this.#identity,
        messageId: idText(messageId),
        correlationId: idText(correlationId),
        userId: userId?.slice(),
        contentType,
        contentEncoding,
        properties: stringProperties(message),
        body,
      },
      this.#options.clock.now(),
    )
    return undefined
  }
}

function commandMessage(command: LockedCommand<Command>): MessageInit {
  const { message, lockToken, sequenceNumber, enqueuedAt, expiresAt, deliveryCount } = command
  return {
    messageAnnotations: {
      'x-opt-lock-token': lockToken,
      'x-opt-sequence-number': ulong(sequenceNumber),
      'iothub-enqueuedtime': new Date(enqueuedAt),
      'iothub-deliverycount': ubyte(deliveryCount),
    },
    properties: { ...message.properties, absoluteExpiryTime: new Date(expiresAt) },
    applicationProperties: message.applicationProperties,
    body: message.body,
  }
}
