/**
 * The nodes of one device or module in an emulated hub: telemetry goes into the event log, cloud-to-device messages wait
 * in a queue for its link. Methods and twin have nodes of their own. Facts: spec-notes/iothub.md, device links.
 */

import type { Link, Receiver, Sender } from '../../client/api.ts'
import type { ErrorInit } from '../../client/options.ts'
import type { DeviceNode as DeviceAddressKind } from '../../iothub/addresses.ts'
import type { Message, MessageInit, PropertiesInit } from '../../message/message.ts'
import { type AmqpValue, ubyte, ulong } from '../../types/values.ts'
import type { EmulatorClock } from '../clock.ts'
import type { CommandQueueOptions, FeedbackStatus, LockedCommand } from '../command-queue.ts'
import type { Acknowledgement } from '../feedback.ts'
import { receiveAll } from '../message-content.ts'
import type { Quotas } from '../quotas.ts'
import type { EventLog, SenderAuthentication } from '../telemetry/event-log.ts'
import { readTelemetry } from '../telemetry/telemetry.ts'
import { MethodNode } from './method-node.ts'
import { OutgoingNode } from './outgoing-node.ts'
import { TwinNode } from './twin-node.ts'

/** A cloud-to-device message as it was queued. */
export interface Command {
  readonly ack: Acknowledgement
  /** As sent; `to` and the expiry are the hub's. */
  readonly properties: PropertiesInit
  readonly applicationProperties: ReadonlyMap<AmqpValue, AmqpValue>
  readonly body: Uint8Array
  /** For this input of a module, not for the module itself. */
  readonly inputName?: string | undefined
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

/** One device or module. */
export class DeviceNode {
  /** Direct methods. */
  readonly methods: MethodNode
  /** The twin. */
  readonly twin: TwinNode
  readonly identity: DeviceNodeIdentity
  #links = 0
  readonly #options: DeviceNodeOptions
  readonly #commands: OutgoingNode<Command>
  /** Of a module only. */
  readonly #inputs: OutgoingNode<Command> | undefined

  constructor(identity: DeviceNodeIdentity, options: DeviceNodeOptions) {
    this.identity = identity
    this.#options = options
    this.methods = new MethodNode(options.clock)
    this.twin = new TwinNode(options.clock, options.quotas)
    const queue = (): OutgoingNode<Command> =>
      new OutgoingNode({
        clock: options.clock,
        queue: options.queue,
        encode: commandMessage,
        onEnd: ({ command: { message: command }, status }) => {
          command.onEnd?.(status)
          options.onEnd(identity, command, status)
        },
      })
    this.#commands = queue()
    this.#inputs = identity.moduleId === undefined ? undefined : queue()
  }

  /** Whether the device has a link to any of its addresses. */
  get isConnected(): boolean {
    return this.#links > 0
  }

  /**
   * Takes what the device sends on a link to one of its addresses, until the link ends.
   *
   * @param by  what let it attach the link
   */
  receive(kind: DeviceAddressKind, receiver: Receiver, by?: SenderAuthentication): void {
    this.#count(receiver)
    if (kind === 'device-methods') this.methods.receiveAnswers(receiver)
    else if (kind === 'device-twin') this.twin.receiveRequests(receiver)
    else void receiveAll(receiver, (message, messageFormat) => this.#take(message, messageFormat, receiver, by))
  }

  /** Sends what the device receives from one of its addresses, until the link ends. */
  send(kind: DeviceAddressKind, sender: Sender): void {
    this.#count(sender)
    if (kind === 'device-methods') this.methods.sendCalls(sender)
    else if (kind === 'device-twin') this.twin.sendAnswers(sender)
    else if (kind === 'device-commands') this.#commands.serve(sender)
    else this.#inputs?.serve(sender)
  }

  /**
   * Queues a message for the device, or for an input of the module.
   *
   * @param expiresAt  in ms since 1970; default: the queue's time to live from now
   * @returns false when the queue is full
   */
  enqueue(command: Command, expiresAt?: number): boolean {
    const queue = command.inputName === undefined ? this.#commands : this.#inputs
    return queue?.enqueue(command, expiresAt) ?? false
  }

  /** Removes all messages for the device. @returns how many there were */
  purge(): number {
    return this.#commands.purge()
  }

  /** Stops its timers and ends what waits. */
  close(): void {
    this.#commands.close()
    this.#inputs?.close()
    this.methods.close()
  }

  #count(link: Link): void {
    this.#links++
    void link.closed.then(() => this.#links--)
  }

  #take(
    message: Message,
    messageFormat: number,
    link: Receiver,
    authentication: SenderAuthentication | undefined,
  ): ErrorInit | undefined {
    const telemetry = readTelemetry(message, messageFormat, link.properties.get('com.microsoft:model-id'))
    if (!Array.isArray(telemetry)) return telemetry
    const refusal = this.#options.quotas?.takeTelemetry(this.#options.clock.now())
    if (refusal !== undefined) return refusal
    for (const content of telemetry)
      this.#options.events.append({ ...this.identity, ...content, authentication }, this.#options.clock.now())
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
      ...(message.inputName !== undefined && { 'x-opt-input-name': message.inputName }),
    },
    properties: { ...message.properties, absoluteExpiryTime: new Date(expiresAt) },
    applicationProperties: message.applicationProperties,
    body: message.body,
  }
}
