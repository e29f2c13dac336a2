/**
 * The built-in event hub of an emulated IoT Hub: redirects to it, and the links on which services read telemetry there.
 *
 * Each link reads one partition from where its filter says, as far as it has credit; what it does with an event changes
 * nothing here. Facts: spec-notes/iothub.md, redirect, reading telemetry. §2.6.7, §2.8.18
 */

import type { IncomingLink, Sender } from '../../client/api.ts'
import type { ErrorInit } from '../../client/options.ts'
import { AmqpCondition, LinkCondition } from '../../errors.ts'
import type { HubAddress } from '../../iothub/addresses.ts'
import type { Entries } from '../../message/message.ts'
import { type AmqpValue, int, long } from '../../types/values.ts'
import type { EmulatorClock } from '../clock.ts'
import type { EventLog } from '../telemetry/event-log.ts'
import { eventMessage } from '../telemetry/event-message.ts'
import { PartitionReaders, stolenBy } from '../telemetry/partition-readers.ts'
import { parseSelector, selectorOf, startOf } from '../telemetry/selector.ts'
import { eventHubInfo, partitionInfo } from './management-node.ts'

/** What an {@link EventHubNode} works with. */
export interface EventHubOptions {
  readonly clock: EmulatorClock
  readonly log: EventLog
  /** As redirects name it. */
  readonly hostName: string
  /** The host of the IoT Hub; may be the same. */
  readonly hubHostName: string
  readonly name: string
  /** Beside `$Default`. */
  readonly consumerGroups: readonly string[]
}

/** Addresses of telemetry on the hub's own host. */
export type RedirectedAddress = Extract<HubAddress, { kind: `telemetry-${string}` }>
/** Whether an address is one of these. */
export const isRedirected = (address: HubAddress): address is RedirectedAddress => address.kind.startsWith('telemetry-')

/** The address of a partition on the event hub's host. */
export type PartitionAddress = Extract<HubAddress, { kind: 'event-hub-partition' }>

/** One link that reads. */
interface Reader {
  sender: Sender | undefined
  /** Why it has to go, told before it was attached. */
  evicted: ErrorInit | undefined
}

/** A link in front of which that many events wait is not given more. */
const MAX_PENDING = 500
const RUNTIME_METRIC = 'com.microsoft:enable-receiver-runtime-metric'

/** One event hub. */
export class EventHubNode {
  readonly name: string
  readonly hostName: string
  /** The port that redirects name; set when it is known. */
  port = 5671
  readonly #options: EventHubOptions
  readonly #createdAt: Date
  readonly #groups: ReadonlySet<string>
  readonly #readers = new Map<string, PartitionReaders<Reader>>()

  constructor(options: EventHubOptions) {
    this.name = options.name
    this.hostName = options.hostName
    this.#options = options
    this.#createdAt = new Date(options.clock.now())
    this.#groups = new Set(['$Default', ...options.consumerGroups].map(name => name.toLowerCase()))
  }

  isNamed(name: string): boolean {
    return name.toLowerCase() === this.name.toLowerCase()
  }

  /** Whether an address belongs to the host that a peer has opened; where both are one host, all do. */
  isServedAt(address: HubAddress, hostname: string | undefined): boolean {
    const { hostName } = this
    const { hubHostName } = this.#options
    if (address.kind === 'cbs' || hostName.toLowerCase() === hubHostName.toLowerCase()) return true
    return address.kind.startsWith('event-hub-') === (hostname?.toLowerCase() === hostName.toLowerCase())
  }

  /** Leads a link here: attaches it with neither terminus and detaches it with the way, as hubs do. */
  async redirect(link: IncomingLink, address: RedirectedAddress): Promise<void> {
    const { hostName } = this
    const options = { reply: { source: null, target: null }, maxMessageSize: 262_144n }
    const attached = await (link.remoteRole === 'sender'
      ? link.accept({ ...options, credit: 'manual' })
      : link.accept(options))
    const info = {
      hostname: hostName,
      'network-host': hostName,
      port: int(this.port),
      // Clients look for this port in the text, whatever the port is.
      address: `amqps://${hostName}:5671/${this.name}${suffixOf(address)}`,
      'com.microsoft:tracking-id': globalThis.crypto.randomUUID(),
    }
    await attached.close({ error: { condition: LinkCondition.redirect, info } })
  }

  /**
   * Attaches a link that reads a partition, or refuses it.
   *
   * @param attached  is handed the link, and gives what to send on
   * @returns that, if it was attached
   */
  async serve(
    link: IncomingLink & { readonly remoteRole: 'receiver' },
    address: PartitionAddress,
    maxMessageSize: bigint,
    attached: (sender: Sender) => Sender,
  ): Promise<Sender | undefined> {
    const start = this.#start(link, address)
    const epoch = link.properties.get('com.microsoft:epoch') ?? undefined
    const level = typeof epoch === 'number' && Number.isInteger(epoch) ? BigInt(epoch) : epoch
    const isLevel = level === undefined || typeof level === 'bigint'
    if (typeof start !== 'bigint' || !isLevel) {
      link.refuse(typeof start === 'bigint' ? argumentError('com.microsoft:epoch is not a long') : start)
      return undefined
    }
    const readers = this.#readersOf(address)
    const reader: Reader = { sender: undefined, evicted: undefined }
    const admission = readers.admit(reader, level)
    if (!admission.ok) {
      link.refuse(admission.error)
      return undefined
    }
    for (const other of admission.evicted) evict(other, stolenBy(level ?? 0n))
    try {
      const isMetered = link.desiredCapabilities.includes(RUNTIME_METRIC)
      const sender = await link.accept({
        settle: link.sndSettleMode,
        maxMessageSize,
        reply: isMetered ? { offeredCapabilities: [RUNTIME_METRIC] } : {},
      })
      reader.sender = sender
      if (reader.evicted !== undefined) evict(reader, reader.evicted)
      const handed = attached(sender)
      const end = this.#feed(handed, address.partition, start, isMetered)
      void sender.closed.then(() => {
        end()
        readers.leave(reader)
      })
      return handed
    } catch (error) {
      readers.leave(reader)
      throw error
    }
  }

  /** What `$management` says of the event hub. */
  describe(): ReadonlyMap<AmqpValue, AmqpValue> {
    return eventHubInfo(this.name, this.#createdAt, this.#options.log.partitionIds)
  }

  /** What it says of a partition; `undefined` if there is none of that id. */
  describePartition(id: string): ReadonlyMap<AmqpValue, AmqpValue> | undefined {
    const { log, clock } = this.#options
    const state = log.partition(id)
    if (state === undefined) return undefined
    const { beginSequenceNumber: begin, nextSequenceNumber, last } = state
    return partitionInfo(this.name, id, {
      begin,
      last: nextSequenceNumber - 1n,
      offset: last?.offset ?? '-1',
      enqueuedAt: last?.enqueuedAt ?? new Date(0),
      now: new Date(clock.now()),
      isEmpty: begin === nextSequenceNumber,
    })
  }

  /** Sends what there is and what comes, for as long as the result has not been called. */
  #feed(sender: Sender, partition: string, start: bigint, isMetered: boolean): () => void {
    const { log } = this.#options
    let next = start
    let isOver = false
    let isWaiting = false
    const pump = (): void => {
      while (!isOver && sender.linkCredit > sender.pending) {
        if (sender.pending >= MAX_PENDING) {
          if (isWaiting) return
          isWaiting = true
          const resume = (): void => {
            isWaiting = false
            pump()
          }
          sender.ready().then(resume, () => {})
          return
        }
        const event = log.at(partition, next)
        if (event === undefined) return
        next = event.sequenceNumber + 1n
        const message = eventMessage(event)
        const deliveryAnnotations = isMetered ? this.#metrics(partition) : undefined
        sender.send(deliveryAnnotations ? { ...message, deliveryAnnotations } : message).catch(() => {})
      }
    }
    const unsubscribe = log.onAppend(pump)
    sender.on('credit', pump)
    pump()
    return () => {
      isOver = true
      unsubscribe()
    }
  }

  #metrics(partition: string): Entries {
    const { log, clock } = this.#options
    const last = log.partition(partition)?.last
    return {
      last_enqueued_sequence_number: long(last?.sequenceNumber ?? -1n),
      last_enqueued_offset: last?.offset ?? '-1',
      last_enqueued_time_utc: last?.enqueuedAt ?? new Date(0),
      runtime_info_retrieval_time_utc: new Date(clock.now()),
    }
  }

  /** Where the link begins; or why it is refused. */
  #start(link: IncomingLink, { eventHub, consumerGroup, partition }: PartitionAddress): bigint | ErrorInit {
    const { log } = this.#options
    if (!this.isNamed(eventHub)) return notFound(`there is no event hub '${eventHub}'`)
    if (!this.#groups.has(consumerGroup.toLowerCase())) return notFound(`there is no consumer group '${consumerGroup}'`)
    const ids = log.partitionIds
    if (!ids.includes(partition)) {
      const description = `there is no partition '${partition}'; they are 0 to ${ids.length - 1}`
      return { condition: 'com.microsoft:argument-out-of-range', description }
    }
    const selector = selectorOf(link.source)
    const position = selector === undefined ? undefined : parseSelector(selector)
    if (selector !== undefined && position === undefined)
      return argumentError('the selector is not one of an event hub')
    const start = startOf(log, partition, position)
    return typeof start === 'string' ? argumentError(start) : start
  }

  #readersOf({ consumerGroup, partition }: PartitionAddress): PartitionReaders<Reader> {
    const key = `${consumerGroup.toLowerCase()}/${partition}`
    const readers = this.#readers.get(key) ?? new PartitionReaders<Reader>()
    this.#readers.set(key, readers)
    return readers
  }
}

function evict(reader: Reader, error: ErrorInit): void {
  reader.evicted = error
  reader.sender?.close({ error }).catch(() => {})
}

function suffixOf(address: RedirectedAddress): string {
  if (!('partition' in address)) return address.kind === 'telemetry-root' ? '' : '/$management'
  return `/ConsumerGroups/${address.consumerGroup}/Partitions/${address.partition}`
}

const notFound = (description: string): ErrorInit => ({ condition: AmqpCondition.notFound, description })

const argumentError = (description: string): ErrorInit => ({ condition: 'com.microsoft:argument-error', description })
