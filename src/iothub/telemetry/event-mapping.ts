/**
 * Telemetry as services read it: events, the places where reading may begin, and the selectors that say so to an event
 * hub. Facts: spec-notes/iothub.md, reading telemetry, events. §3.5.8
 */

import { UsageError } from '../../errors.ts'
import type { Message } from '../../message/message.ts'
import type { AmqpValue } from '../../types/values.ts'
import { type CommandContent, readCommand } from '../message-mapping.ts'

/**
 * The place of an event. A plain value, which JSON keeps: store the last of each partition, and give them back as `from`
 * to read on behind them.
 */
export interface TelemetryPosition {
  readonly partition: string
  readonly offset: string
}

/** How a device or module had proved who it is. */
export interface TelemetryAuthentication {
  /** `hub`, `device` or `module`: whose key or certificate it was. */
  readonly scope: string | undefined
  /** `sas`, `symkey` or `x509` */
  readonly type: string | undefined
  readonly issuer: string | undefined
}

/** What a device or module sent, as the hub tells it. Absent parts are `undefined`. */
export interface TelemetryEvent
  extends Omit<
    CommandContent,
    'to' | 'ack' | 'expiry' | 'deliveryCount' | 'enqueuedTime' | 'sequenceNumber' | 'inputName'
  > {
  readonly deviceId: string | undefined
  readonly moduleId: string | undefined
  /** Differs between a device and a later one of the same id. */
  readonly generationId: string | undefined
  readonly authentication: TelemetryAuthentication | undefined
  /** What made the event: `Telemetry`, or what else the hub routes here, e.g. `twinChangeEvents`. */
  readonly source: string | undefined
  /** Model of the device, as it announced that (annotation `dt-dataschema`). */
  readonly modelId: string | undefined
  /** Component that the event is of (annotation `dt-subject`). */
  readonly component: string | undefined
  /** When the hub took it. */
  readonly enqueuedTime: Date
  readonly partition: string
  /** Number in its partition, without gaps. */
  readonly sequenceNumber: bigint
  /** Place in its partition. */
  readonly offset: string
  /** Its place, to be stored. */
  readonly position: TelemetryPosition
}

/** Where to begin reading a partition. */
export type TelemetryStart =
  /** With the oldest event kept, or with what comes from now on. */
  | 'start'
  | 'end'
  /** With the first event that the hub took later. */
  | { readonly enqueuedAfter: Date }
  | TelemetryPlace

/** A place in one partition, and in no other: behind an event, or, inclusively, with it. */
export type TelemetryPlace = {
  /** Of which partition. Reading it in another is refused. */
  readonly partition?: string | undefined
  readonly inclusive?: boolean | undefined
} & ({ readonly offset: string } | { readonly sequenceNumber: bigint | number })

/**
 * The selector for a place.
 *
 * @returns `undefined` where none is needed
 * @throws {UsageError} this is no such place
 */
export function selectorFor(start: TelemetryStart): string {
  if (start === 'start') return `${OFFSET} > '-1'`
  if (start === 'end') return `${OFFSET} > '@latest'`
  if (typeof start !== 'object' || start === null) throw wrongStart()
  if ('offset' in start) {
    if (typeof start.offset !== 'string' || !/^(?=.*\d|@latest$)[\w.:@+=/-]+$/.test(start.offset))
      throw new UsageError(
        'telemetry: `offset` in `from` is the text that an event has as its offset; its number is `sequenceNumber`',
      )
    return `${OFFSET} ${start.inclusive ? '>=' : '>'} '${start.offset}'`
  }
  if ('sequenceNumber' in start) {
    const { sequenceNumber } = start
    if (typeof sequenceNumber !== 'bigint' && !Number.isSafeInteger(sequenceNumber))
      throw new UsageError('telemetry: a sequence number is an integer')
    return `amqp.annotation.x-opt-sequence-number ${start.inclusive ? '>=' : '>'} '${sequenceNumber}'`
  }
  const time = 'enqueuedAfter' in start && start.enqueuedAfter instanceof Date ? start.enqueuedAfter.getTime() : NaN
  if (Number.isNaN(time)) throw wrongStart()
  return `amqp.annotation.x-opt-enqueued-time > '${time}'`
}

/**
 * Reads an event.
 *
 * @returns `undefined` if it lacks its place, or has a body that is neither bytes nor text: no hub sends that
 * @throws {DecodeError} its bytes are not valid
 */
export function readEvent(message: Message, partition: string): TelemetryEvent | undefined {
  const content = readCommand(message)
  const annotations = message.messageAnnotations
  const sequenceNumber = annotations?.get('x-opt-sequence-number')
  const enqueued = annotations?.get('x-opt-enqueued-time') ?? annotations?.get('iothub-enqueuedtime')
  const text = (name: string): string | undefined => textOf(annotations?.get(name))
  const offset = text('x-opt-offset')
  if (content === undefined || offset === undefined) return undefined
  if (typeof sequenceNumber !== 'bigint' || !(enqueued instanceof Date)) return undefined
  const { body, properties, messageId, correlationId, userId, contentType, contentEncoding, creationTime } = content
  return {
    body,
    properties,
    messageId,
    correlationId,
    userId,
    contentType,
    contentEncoding,
    creationTime,
    deviceId: text('iothub-connection-device-id'),
    moduleId: text('iothub-connection-module-id'),
    generationId: text('iothub-connection-auth-generation-id'),
    authentication: authenticationOf(text('iothub-connection-auth-method')),
    source: text('iothub-message-source'),
    modelId: text('dt-dataschema'),
    component: text('dt-subject'),
    enqueuedTime: enqueued,
    partition,
    sequenceNumber,
    offset,
    position: { partition, offset },
  }
}

const OFFSET = 'amqp.annotation.x-opt-offset'

const wrongStart = (): UsageError =>
  new UsageError(
    "telemetry: `from` is 'start', 'end', { offset }, { sequenceNumber }, { enqueuedAfter }, a function that gives one, or " +
      'a list of positions, one per partition',
  )

const textOf = (value: AmqpValue | undefined): string | undefined => (typeof value === 'string' ? value : undefined)

/** JSON, so far; what is not is left out. */
function authenticationOf(json: string | undefined): TelemetryAuthentication | undefined {
  if (json === undefined) return undefined
  try {
    const { scope, type, issuer } = JSON.parse(json) as Record<string, AmqpValue>
    return { scope: textOf(scope), type: textOf(type), issuer: textOf(issuer) }
  } catch {
    return undefined
  }
}
