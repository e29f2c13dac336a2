/**
 * Transfer, disposition and flow, written by hand: the performatives whose number grows with messages. §2.7.4–6
 *
 * Their meaning is the table in `performatives.ts`; a property test proves that bytes and values are the same, and the
 * bench that it is worth it.
 */

import { fieldsField } from '../types/composite.ts'
import type { Reader } from '../types/reader.ts'
import type { Writer } from '../types/writer.ts'
import { ACCEPTED, type DeliveryState, deliveryStateField, RELEASED } from './delivery-state.ts'
import type { Disposition, Flow, Transfer } from './performatives.ts'
import { deliveryTagField, receiverSettleModeField } from './restricted.ts'

const optionalUint = (reader: Reader): number | undefined => (reader.takeNull() ? undefined : reader.readUint())

const flag = (reader: Reader): boolean => !reader.takeNull() && reader.readBoolean()

/** Accepted and released have no fields: the shared values serve. §3.4.2 §3.4.4 */
function readState(reader: Reader): DeliveryState {
  const { bytes, offset } = reader
  if (offset + 4 <= reader.end && bytes[offset] === 0x00 && bytes[offset + 1] === 0x53 && bytes[offset + 3] === 0x45) {
    const code = bytes[offset + 2]
    if (code === 0x24 || code === 0x26) {
      reader.offset = offset + 4
      return code === 0x24 ? ACCEPTED : RELEASED
    }
  }
  return deliveryStateField.read(reader)
}

/** Reads the list of a transfer. BORROWS the delivery-tag. §2.7.5 @throws {DecodeError} */
export function readTransfer(reader: Reader): Transfer {
  const outer = reader.enterList()
  const count = reader.count
  if (count > 11) reader.fail(`transfer has 11 fields, not ${count}`)
  if (count < 1 || reader.takeNull()) reader.fail('transfer lacks the mandatory handle')
  const value: Transfer = {
    type: 'transfer',
    handle: reader.readUint(),
    deliveryId: count > 1 ? optionalUint(reader) : undefined,
    deliveryTag: count > 2 && !reader.takeNull() ? deliveryTagField.read(reader) : undefined,
    messageFormat: count > 3 ? optionalUint(reader) : undefined,
    settled: count > 4 && !reader.takeNull() ? reader.readBoolean() : undefined,
    more: count > 5 && flag(reader),
    rcvSettleMode: count > 6 && !reader.takeNull() ? receiverSettleModeField.read(reader) : undefined,
    state: count > 7 && !reader.takeNull() ? readState(reader) : undefined,
    resume: count > 8 && flag(reader),
    aborted: count > 9 && flag(reader),
    batchable: count > 10 && flag(reader),
  }
  reader.leave(outer)
  return value
}

/** Reads the list of a disposition. §2.7.6 @throws {DecodeError} */
export function readDisposition(reader: Reader): Disposition {
  const outer = reader.enterList()
  const count = reader.count
  if (count > 6) reader.fail(`disposition has 6 fields, not ${count}`)
  if (count < 1 || reader.takeNull()) reader.fail('disposition lacks the mandatory role')
  const role = reader.readBoolean() ? 'receiver' : 'sender'
  if (count < 2 || reader.takeNull()) reader.fail('disposition lacks the mandatory first')
  const value: Disposition = {
    type: 'disposition',
    role,
    first: reader.readUint(),
    last: count > 2 ? optionalUint(reader) : undefined,
    settled: count > 3 && flag(reader),
    state: count > 4 && !reader.takeNull() ? readState(reader) : undefined,
    batchable: count > 5 && flag(reader),
  }
  reader.leave(outer)
  return value
}

/** Reads the list of a flow. §2.7.4 @throws {DecodeError} */
export function readFlow(reader: Reader): Flow {
  const outer = reader.enterList()
  const count = reader.count
  if (count > 11) reader.fail(`flow has 11 fields, not ${count}`)
  if (count < 4) reader.fail('flow lacks a mandatory field')
  const nextIncomingId = optionalUint(reader)
  const value: Flow = {
    type: 'flow',
    nextIncomingId,
    incomingWindow: reader.readUint(),
    nextOutgoingId: reader.readUint(),
    outgoingWindow: reader.readUint(),
    handle: count > 4 ? optionalUint(reader) : undefined,
    deliveryCount: count > 5 ? optionalUint(reader) : undefined,
    linkCredit: count > 6 ? optionalUint(reader) : undefined,
    available: count > 7 ? optionalUint(reader) : undefined,
    drain: count > 8 && flag(reader),
    echo: count > 9 && flag(reader),
    properties: count > 10 && !reader.takeNull() ? fieldsField.read(reader) : undefined,
  }
  reader.leave(outer)
  return value
}

/** Writes a disposition, descriptor included. §2.7.6 */
export function writeDisposition(
  writer: Writer,
  receiver: boolean,
  first: number,
  last: number,
  settled: boolean,
  state: DeliveryState | undefined,
): void {
  writer.writeDescriptor(0x15)
  const begun = writer.open()
  writer.writeBoolean(receiver)
  writer.writeUint(first)
  let count = 2
  if (last !== first || settled || state) {
    if (last === first) writer.writeNull()
    else writer.writeUint(last)
    count = 3
  }
  if (settled || state) {
    if (settled) writer.writeBoolean(true)
    else writer.writeNull()
    count = 4
  }
  if (state) {
    deliveryStateField.write(writer, state)
    count = 5
  }
  writer.closeList(begun, count)
}

const uintWidth = (value: number): number => (value === 0 ? 1 : value < 0x100 ? 2 : 5)

/** The most bytes that `putTransfer` may need: frame header, descriptor, list, fields, but for the state. */
export const TRANSFER_ROOM = 72

/** The fields of a transfer that the ordinary data path sets. */
export interface TransferFields {
  handle: number
  /** −1 on frames after the first of a delivery: id, tag and format are then left out. */
  deliveryId: number
  /** The tag, or the number whose four bytes it is. */
  deliveryTag: Uint8Array | number
  messageFormat: number
  settled: boolean
  more: boolean
  /** The state as it is encoded, at most 128 bytes; on every frame of the delivery. §4.4.1 */
  state?: Uint8Array | undefined
}

/** Bytes that the transfer needs, frame header excluded. */
export function transferWidth(t: TransferFields): number {
  let width = 3 + 3 + uintWidth(t.handle)
  const count = fieldCount(t)
  if (t.deliveryId >= 0)
    width +=
      uintWidth(t.deliveryId) +
      2 +
      (typeof t.deliveryTag === 'number' ? 4 : t.deliveryTag.length) +
      uintWidth(t.messageFormat)
  else if (count > 1) width += 3
  return width + (t.state ? t.state.length + 3 : Math.max(count - 4, 0))
}

const fieldCount = (t: TransferFields): number => (t.state ? 8 : t.more ? 6 : t.settled ? 5 : t.deliveryId >= 0 ? 4 : 1)

function putUint(bytes: Uint8Array, offset: number, value: number): number {
  if (value === 0) {
    bytes[offset] = 0x43
    return offset + 1
  }
  if (value < 0x100) {
    bytes[offset] = 0x52
    bytes[offset + 1] = value
    return offset + 2
  }
  bytes[offset] = 0x70
  return putU32(bytes, offset + 1, value)
}

function putU32(bytes: Uint8Array, offset: number, value: number): number {
  bytes[offset] = value >>> 24
  bytes[offset + 1] = value >>> 16
  bytes[offset + 2] = value >>> 8
  bytes[offset + 3] = value
  return offset + 4
}

/** Writes a transfer, descriptor included, at `offset`, where `transferWidth` bytes are free. @returns its end. §2.7.5 */
export function putTransfer(bytes: Uint8Array, offset: number, t: TransferFields): number {
  const count = fieldCount(t)
  bytes[offset] = 0x00
  bytes[offset + 1] = 0x53
  bytes[offset + 2] = 0x14
  bytes[offset + 3] = 0xc0
  bytes[offset + 5] = count
  let at = putUint(bytes, offset + 6, t.handle)
  if (t.deliveryId >= 0) {
    at = putUint(bytes, at, t.deliveryId)
    at = putTag(bytes, at, t.deliveryTag)
    at = putUint(bytes, at, t.messageFormat)
  } else if (count > 1) {
    bytes[at++] = 0x40
    bytes[at++] = 0x40
    bytes[at++] = 0x40
  }
  if (count > 4) bytes[at++] = t.settled ? 0x41 : 0x40
  if (count > 5) bytes[at++] = t.more ? 0x41 : 0x40
  if (t.state) {
    // Between them stands the settle mode, which the link has said.
    bytes[at++] = 0x40
    bytes.set(t.state, at)
    at += t.state.length
  }
  bytes[offset + 4] = at - offset - 5
  return at
}

function putTag(bytes: Uint8Array, offset: number, tag: Uint8Array | number): number {
  bytes[offset] = 0xa0
  if (typeof tag === 'number') {
    bytes[offset + 1] = 4
    return putU32(bytes, offset + 2, tag)
  }
  bytes[offset + 1] = tag.length
  bytes.set(tag, offset + 2)
  return offset + 2 + tag.length
}
