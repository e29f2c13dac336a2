/**
 * Header and properties, written by hand: they come with most messages. The tables in `definitions/sections.ts` say what
 * these functions do, a property test holds them to it, and when a value does not fit, the table says why. §3.2.1 §3.2.4
 */

import { type MessageId, messageIdField } from '../definitions/restricted.ts'
import { header as headerTable, properties as propertiesTable, Section } from '../definitions/sections.ts'
import { EncodeError } from '../errors.ts'
import { encodeErrorWithin } from '../types/encode-path.ts'
import { Writer } from '../types/writer.ts'
import { checkHeader, checkProperties } from './check-names.ts'
import type { HeaderInit, PropertiesInit } from './message.ts'

/** Writes a header section. @throws {EncodeError} §3.2.1 */
export function writeHeader(writer: Writer, init: HeaderInit): void {
  try {
    checkHeader(init)
    writer.writeDescriptor(Section.header)
    const begun = writer.open()
    writer.closeList(begun, writeHeaderFields(writer, init))
  } catch (error) {
    throw explain('header', error, () => headerTable.write(new Writer(), init))
  }
}

/** Writes a properties section. @throws {EncodeError} §3.2.4 */
export function writeProperties(writer: Writer, init: PropertiesInit): void {
  try {
    checkProperties(init)
    writer.writeDescriptor(Section.properties)
    const begun = writer.open()
    writer.closeList(begun, writePropertiesFields(writer, init))
  } catch (error) {
    throw explain('properties', error, () => propertiesTable.write(new Writer(), init))
  }
}

/** The error of the table, which knows the field; the one at hand if the table has none. */
function explain(section: string, error: unknown, write: () => void): unknown {
  try {
    write()
  } catch (better) {
    return encodeErrorWithin(section, better)
  }
  return encodeErrorWithin(section, error)
}

/** Nulls for the fields from `count` up to `index`, which is about to be written. @returns how many fields there are then */
function pad(writer: Writer, count: number, index: number): number {
  for (; count < index; count++) writer.u8(0x40)
  return index + 1
}

/** @returns the number of fields written: up to the last one that says something */
function writeHeaderFields(writer: Writer, init: HeaderInit): number {
  const { durable, priority, ttl, firstAcquirer, deliveryCount } = init
  let count = 0
  if (durable !== undefined && durable !== null && durable !== false) {
    count = 1
    writer.writeBoolean(durable)
  }
  if (priority !== undefined && priority !== null && priority !== 4) {
    count = pad(writer, count, 1)
    writer.writeUbyte(checked(priority, 0xff))
  }
  if (ttl !== undefined && ttl !== null) {
    count = pad(writer, count, 2)
    writer.writeUint(checked(ttl, 0xffffffff))
  }
  if (firstAcquirer !== undefined && firstAcquirer !== null && firstAcquirer !== false) {
    count = pad(writer, count, 3)
    writer.writeBoolean(firstAcquirer)
  }
  if (deliveryCount !== undefined && deliveryCount !== null && deliveryCount !== 0) {
    count = pad(writer, count, 4)
    writer.writeUint(checked(deliveryCount, 0xffffffff))
  }
  return count
}

/** @returns as `writeHeaderFields` */
function writePropertiesFields(writer: Writer, init: PropertiesInit): number {
  const { messageId, userId, to, subject, replyTo, correlationId, contentType, contentEncoding } = init
  const { absoluteExpiryTime, creationTime, groupId, groupSequence, replyToGroupId } = init
  let count = 0
  if (messageId !== undefined && messageId !== null) {
    count = 1
    writeMessageId(writer, messageId)
  }
  if (userId !== undefined && userId !== null) {
    count = pad(writer, count, 1)
    writer.writeBinary(userId)
  }
  if (to !== undefined && to !== null) {
    count = pad(writer, count, 2)
    writer.writeString(to)
  }
  if (subject !== undefined && subject !== null) {
    count = pad(writer, count, 3)
    writer.writeString(subject)
  }
  if (replyTo !== undefined && replyTo !== null) {
    count = pad(writer, count, 4)
    writer.writeString(replyTo)
  }
  if (correlationId !== undefined && correlationId !== null) {
    count = pad(writer, count, 5)
    writeMessageId(writer, correlationId)
  }
  if (contentType !== undefined && contentType !== null) {
    count = pad(writer, count, 6)
    writer.writeSymbol(contentType)
  }
  if (contentEncoding !== undefined && contentEncoding !== null) {
    count = pad(writer, count, 7)
    writer.writeSymbol(contentEncoding)
  }
  if (absoluteExpiryTime !== undefined && absoluteExpiryTime !== null) {
    count = pad(writer, count, 8)
    writer.writeTimestamp(absoluteExpiryTime)
  }
  if (creationTime !== undefined && creationTime !== null) {
    count = pad(writer, count, 9)
    writer.writeTimestamp(creationTime)
  }
  if (groupId !== undefined && groupId !== null) {
    count = pad(writer, count, 10)
    writer.writeString(groupId)
  }
  if (groupSequence !== undefined && groupSequence !== null) {
    count = pad(writer, count, 11)
    writer.writeUint(checked(groupSequence, 0xffffffff))
  }
  if (replyToGroupId !== undefined && replyToGroupId !== null) {
    count = pad(writer, count, 12)
    writer.writeString(replyToGroupId)
  }
  return count
}

function writeMessageId(writer: Writer, id: MessageId): void {
  if (typeof id === 'string') writer.writeString(id)
  else messageIdField.write(writer, id)
}

function checked(value: number, max: number): number {
  if (!Number.isInteger(value) || value < 0 || value > max) throw new EncodeError(`${String(value)} is out of range`)
  return value
}
