/**
 * File upload notifications, as back ends read them. Facts: spec-notes/iothub.md, file upload notifications.
 */

import { AmqpCondition, ProtocolError } from '../errors.ts'
import type { Message } from '../message/message.ts'
import { readJsonBody } from './message-mapping.ts'

/** A file that a device has uploaded. */
export interface FileUploadRecord {
  readonly deviceId: string
  /** Where it is. */
  readonly blobUri: string
  /** Its name in the container. */
  readonly blobName: string
  /** In bytes; `undefined` where the hub does not say, as the two times. */
  readonly blobSizeInBytes: number | undefined
  readonly lastUpdatedTime: Date | undefined
  /** When the hub made the notification. */
  readonly enqueuedTime: Date | undefined
}

/** A notification, to be settled once. Until then the hub keeps it locked, for a minute. */
export interface FileNotification extends FileUploadRecord {
  /** Done: the hub removes it. @throws {ClosedError} the link ended first; it will come again */
  complete(): Promise<void>
  /** Not now: it comes again, to this or another receiver. @throws {ClosedError} as above */
  abandon(): Promise<void>
}

/**
 * Reads a notification.
 *
 * @throws {ProtocolError} the body is not a JSON object that names device and file
 * @throws {DecodeError} its bytes are not valid AMQP
 */
export function readFileNotification(message: Message): FileUploadRecord {
  const record = readJsonBody(message)
  if (typeof record !== 'object' || record === null) throw malformed('is no JSON object')
  const fields = record as Readonly<Record<string, unknown>>
  const text = (name: string): string => {
    const value = fields[name]
    if (typeof value !== 'string') throw malformed(`has no ${name}`)
    return value
  }
  const time = (name: string): Date | undefined => {
    const date = new Date(typeof fields[name] === 'string' ? fields[name] : Number.NaN)
    return Number.isNaN(date.getTime()) ? undefined : date
  }
  const { blobSizeInBytes: bytes } = fields
  const size = typeof bytes === 'number' || typeof bytes === 'string' ? Number(bytes) : Number.NaN
  return {
    deviceId: text('deviceId'),
    blobUri: text('blobUri'),
    blobName: text('blobName'),
    blobSizeInBytes: Number.isNaN(size) ? undefined : size,
    lastUpdatedTime: time('lastUpdatedTime'),
    enqueuedTime: time('enqueuedTimeUtc'),
  }
}

function malformed(problem: string): ProtocolError {
  return new ProtocolError(`the file upload notification ${problem}`, AmqpCondition.decodeError, 'delivery')
}
