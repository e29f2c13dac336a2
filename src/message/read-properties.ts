/**
 * Header and properties, read by hand: they come with most messages, and of the properties most are not looked at.
 * The tables in `definitions/sections.ts` say what these functions do; a property test holds them to it. §3.2.1 §3.2.4
 *
 * The header is a few bytes and decoded whole. Of the properties one pass notes where each field is; a field is decoded
 * whenever it is read, and nothing is kept.
 */

import { addressField, type MessageId, messageIdField } from '../definitions/restricted.ts'
import { toJson } from '../types/map.ts'
import type { Reader } from '../types/reader.ts'
import { valueEnd } from '../types/skip.ts'
import type { MessageHeader, PropertiesInit } from './message.ts'

/** Reads the list of a header at the cursor. @throws {DecodeError} §3.2.1 */
export function readHeader(reader: Reader): MessageHeader {
  const outer = reader.enterList()
  const count = reader.count
  if (count > 5) reader.fail(`header has 5 fields, not ${count}`)
  const durable = count > 0 && !reader.takeNull() && reader.readBoolean()
  const priority = count > 1 && !reader.takeNull() ? reader.readUbyte() : 4
  const ttl = count > 2 && !reader.takeNull() ? reader.readUint() : undefined
  const firstAcquirer = count > 3 && !reader.takeNull() && reader.readBoolean()
  const deliveryCount = count > 4 && !reader.takeNull() ? reader.readUint() : 0
  reader.leave(outer)
  return { durable, priority, ttl, firstAcquirer, deliveryCount }
}

/** Reads all properties at the cursor into a plain object. @throws {DecodeError} §3.2.4 */
export function readProperties(reader: Reader): PropertiesInit {
  const outer = reader.enterList()
  const count = reader.count
  if (count > FIELDS) reader.fail(`properties has ${FIELDS} fields, not ${count}`)
  const messageId = count > 0 && !reader.takeNull() ? readMessageId(reader) : undefined
  const userId = count > 1 && !reader.takeNull() ? reader.readBinary() : undefined
  const to = count > 2 && !reader.takeNull() ? readAddress(reader) : undefined
  const subject = count > 3 && !reader.takeNull() ? reader.readString() : undefined
  const replyTo = count > 4 && !reader.takeNull() ? readAddress(reader) : undefined
  const correlationId = count > 5 && !reader.takeNull() ? readMessageId(reader) : undefined
  const contentType = count > 6 && !reader.takeNull() ? reader.readSymbol() : undefined
  const contentEncoding = count > 7 && !reader.takeNull() ? reader.readSymbol() : undefined
  const absoluteExpiryTime = count > 8 && !reader.takeNull() ? reader.readTimestamp() : undefined
  const creationTime = count > 9 && !reader.takeNull() ? reader.readTimestamp() : undefined
  const groupId = count > 10 && !reader.takeNull() ? reader.readString() : undefined
  const groupSequence = count > 11 && !reader.takeNull() ? reader.readUint() : undefined
  const replyToGroupId = count > 12 && !reader.takeNull() ? reader.readString() : undefined
  reader.leave(outer)
  return {
    messageId,
    userId,
    to,
    subject,
    replyTo,
    correlationId,
    contentType,
    contentEncoding,
    absoluteExpiryTime,
    creationTime,
    groupId,
    groupSequence,
    replyToGroupId,
  }
}

const FIELDS = 13

const readAddress = (reader: Reader): string =>
  reader.peek() === 0xa1 ? reader.readString() : addressField.read(reader)

const readMessageId = (reader: Reader): MessageId => {
  const code = reader.peek()
  return code === 0xa1 || code === 0xb1 ? reader.readString() : messageIdField.read(reader)
}

/** The properties of a received message. Getters, so spreading one gives nothing: use `toInit`. */
export class LazyProperties implements PropertiesInit {
  static {
    Object.defineProperty(LazyProperties.prototype, Symbol.for('nodejs.util.inspect.custom'), {
      value(this: LazyProperties) {
        return this.toInit()
      },
    })
  }

  readonly #reader: Reader
  readonly #start: number
  /** Where the list ends. */
  readonly #end: number
  /** Where each field is; 0 if it is absent. */
  readonly #at: number[]

  /** @param start  offset of the list's constructor. @throws {DecodeError} unless it is a list of up to 13 values */
  constructor(reader: Reader, start: number) {
    const bytes = reader.bytes
    reader.reset(bytes, start, bytes.length)
    reader.enterList()
    const { count, end } = reader
    if (count > FIELDS) reader.fail(`properties has ${FIELDS} fields, not ${count}`)
    const at = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    let offset = reader.offset
    for (let i = 0; i < count; i++) {
      if (offset < end && bytes[offset] !== 0x40) at[i] = offset
      offset = valueEnd(bytes, offset, end)
    }
    if (offset !== end) reader.fail(`${end - offset} bytes left over in properties`, offset)
    this.#reader = reader
    this.#start = start
    this.#end = end
    this.#at = at
  }

  /** Puts the cursor on a field. @returns false if that is absent */
  #seek(index: number): boolean {
    const at = this.#at[index] as number
    if (at === 0) return false
    this.#reader.reset(this.#reader.bytes, at, this.#end)
    return true
  }

  get messageId(): MessageId | undefined {
    return this.#seek(0) ? readMessageId(this.#reader) : undefined
  }

  get userId(): Uint8Array | undefined {
    return this.#seek(1) ? this.#reader.readBinary() : undefined
  }

  get to(): string | undefined {
    return this.#seek(2) ? readAddress(this.#reader) : undefined
  }

  get subject(): string | undefined {
    return this.#seek(3) ? this.#reader.readString() : undefined
  }

  get replyTo(): string | undefined {
    return this.#seek(4) ? readAddress(this.#reader) : undefined
  }

  get correlationId(): MessageId | undefined {
    return this.#seek(5) ? readMessageId(this.#reader) : undefined
  }

  get contentType(): string | undefined {
    return this.#seek(6) ? this.#reader.readSymbol() : undefined
  }

  get contentEncoding(): string | undefined {
    return this.#seek(7) ? this.#reader.readSymbol() : undefined
  }

  get absoluteExpiryTime(): Date | undefined {
    return this.#seek(8) ? this.#reader.readTimestamp() : undefined
  }

  get creationTime(): Date | undefined {
    return this.#seek(9) ? this.#reader.readTimestamp() : undefined
  }

  get groupId(): string | undefined {
    return this.#seek(10) ? this.#reader.readString() : undefined
  }

  get groupSequence(): number | undefined {
    return this.#seek(11) ? this.#reader.readUint() : undefined
  }

  get replyToGroupId(): string | undefined {
    return this.#seek(12) ? this.#reader.readString() : undefined
  }

  /** All fields, decoded, in a plain object. @throws {DecodeError} */
  toInit(): PropertiesInit {
    this.#reader.reset(this.#reader.bytes, this.#start, this.#reader.bytes.length)
    return readProperties(this.#reader)
  }

  /** The fields that are there, for `JSON.stringify`. @throws {DecodeError} */
  toJSON(): unknown {
    return toJson(this.toInit())
  }
}
