/**
 * Restricted types: a primitive and the choices it allows, as field types. §2.8.1–13 §3.5
 *
 * Choices are string literals spelled as in the standard; numbers stay on the wire.
 */

import { EncodeError } from '../errors.ts'
import { anyField, type FieldType, stringField, symbolField, ubyteField, uintField } from '../types/composite.ts'
import { type AmqpValue, Uuid, ulong } from '../types/values.ts'

/** A 32-bit serial number, RFC 1982. Arithmetic on it lives in `engine/serial.ts` only. §2.8.10 */
export type SequenceNo = number

/** The role of a link endpoint. §2.8.1 */
export type Role = 'sender' | 'receiver'

/** Whether a sender settles its deliveries itself, never, or as it likes. §2.8.2 */
export type SenderSettleMode = 'unsettled' | 'settled' | 'mixed'

/** Whether a receiver settles at once, or after the sender has. §2.8.3 */
export type ReceiverSettleMode = 'first' | 'second'

/** What of a terminus survives its container's fall. §3.5.5 */
export type TerminusDurability = 'none' | 'configuration' | 'unsettled-state'

/** When the expiry timer of a terminus starts. §3.5.6 */
export type TerminusExpiryPolicy = 'link-detach' | 'session-end' | 'connection-close' | 'never'

/** A message-id or correlation-id: ulong, uuid, binary or string. §3.2.11–14 */
export type MessageId = bigint | Uuid | Uint8Array | string

const choice = <C extends string>(name: string, source: FieldType<number>, choices: readonly C[]): FieldType<C> => ({
  name,
  read(reader) {
    const start = reader.offset
    const value = source.read(reader)
    return choices[value] ?? reader.fail(`${value} is not a ${name}`, start)
  },
  write(writer, value) {
    const index = choices.indexOf(value)
    if (index < 0) throw new EncodeError(`${String(value)} is not a ${name}`)
    source.write(writer, index)
  },
})

/** A boolean on the wire: true is receiver. §2.8.1 */
export const roleField: FieldType<Role> = {
  name: 'role',
  read: reader => (reader.readBoolean() ? 'receiver' : 'sender'),
  write: (writer, role) => writer.writeBoolean(role === 'receiver'),
}

/** A ubyte on the wire. §2.8.2 */
export const senderSettleModeField: FieldType<SenderSettleMode> = /* @__PURE__ */ choice(
  'sender-settle-mode',
  ubyteField,
  ['unsettled', 'settled', 'mixed'],
)

/** A ubyte on the wire. §2.8.3 */
export const receiverSettleModeField: FieldType<ReceiverSettleMode> = /* @__PURE__ */ choice(
  'receiver-settle-mode',
  ubyteField,
  ['first', 'second'],
)

/** A uint on the wire. §3.5.5 */
export const durabilityField: FieldType<TerminusDurability> = /* @__PURE__ */ choice('terminus-durability', uintField, [
  'none',
  'configuration',
  'unsettled-state',
])

const EXPIRY_POLICIES: readonly TerminusExpiryPolicy[] = ['link-detach', 'session-end', 'connection-close', 'never']

/** A symbol on the wire. §3.5.6 */
export const expiryPolicyField: FieldType<TerminusExpiryPolicy> = {
  name: 'terminus-expiry-policy',
  read(reader) {
    const start = reader.offset
    const name = reader.readSymbol() as TerminusExpiryPolicy
    if (!EXPIRY_POLICIES.includes(name)) reader.fail('not a terminus-expiry-policy', start)
    return name
  },
  write: (writer, value) => writer.writeSymbol(value),
}

/** An address; the standard leaves its type open and defines one form, string. §3.2.15 */
export const addressField: FieldType<string> = {
  name: 'address',
  // Some peers write addresses as symbols.
  read: reader => (reader.peek() === 0xa3 || reader.peek() === 0xb3 ? reader.readSymbol() : reader.readString()),
  write: stringField.write,
}

/** The four kinds of message-id, told apart by their constructors. §3.2.11–14 */
export const messageIdField: FieldType<MessageId> = {
  name: 'message-id',
  read(reader) {
    switch (reader.peek()) {
      case 0xa1:
      case 0xb1:
        return reader.readString()
      case 0x44:
      case 0x53:
      case 0x80:
        return reader.readUlong()
      case 0x98:
        return reader.readUuid()
      case 0xa0:
      case 0xb0:
        return reader.readBinary()
      default:
        return reader.fail('expected a message-id: string, ulong, uuid or binary')
    }
  },
  write(writer, id) {
    if (typeof id === 'bigint') writer.writeUlong(ulong(id).value)
    else if (typeof id === 'string') writer.writeString(id)
    else if (id instanceof Uuid) writer.writeUuid(id.bytes)
    else if (id instanceof Uint8Array) writer.writeBinary(id)
    else throw new EncodeError('a message-id is a string, bigint, Uuid or Uint8Array')
  },
}

const shortBinary = (name: string): FieldType<Uint8Array> => ({
  name,
  read(reader) {
    const start = reader.offset
    const bytes = reader.readBinary()
    if (bytes.length > 32) reader.fail(`a ${name} has at most 32 bytes, not ${bytes.length}`, start)
    return bytes
  },
  write(writer, bytes) {
    if (bytes.length > 32) throw new EncodeError(`a ${name} has at most 32 bytes, not ${bytes.length}`)
    writer.writeBinary(bytes)
  },
})

/** At most 32 bytes. §2.8.7 */
export const deliveryTagField: FieldType<Uint8Array> = /* @__PURE__ */ shortBinary('delivery-tag')

/** At most 32 bytes. §4.5.4 */
export const transactionIdField: FieldType<Uint8Array> = /* @__PURE__ */ shortBinary('transaction-id')

/** An IETF language tag, unchecked. §2.8.12 */
export const localeField: FieldType<string> = symbolField

/** A `*` position of which nothing more is required. */
export const anything: FieldType<AmqpValue> = anyField

/** The port for plain connections. §2.8.19 */
export const PORT = 5672
/** The port for TLS. §2.8.19 */
export const SECURE_PORT = 5671
/** The least max-frame-size that a peer may have. §2.8.19 */
export const MIN_MAX_FRAME_SIZE = 512
