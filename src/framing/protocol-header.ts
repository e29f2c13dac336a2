/** Protocol headers: eight bytes that say which layer and version follows. §2.2 §5.2 §5.3.1 */

/** What a header announces. */
export interface ProtocolHeader {
  /** 0 AMQP, 2 TLS, 3 SASL. */
  readonly id: number
  readonly major: number
  readonly minor: number
  readonly revision: number
}

/** Protocol-id of AMQP itself. §2.2 */
export const AMQP_ID = 0
/** Protocol-id of the SASL layer. §5.3.1 */
export const SASL_ID = 3

/** The eight bytes of version 1.0.0 of a layer, new each time. §2.2 §2.8.19 §5.3.4 */
export const encodeHeader = (id: number): Uint8Array => Uint8Array.of(0x41, 0x4d, 0x51, 0x50, id, 1, 0, 0)

/** Reads a header at `offset`, where eight bytes are. @returns `undefined` when they do not begin with `AMQP` */
export function decodeHeader(bytes: Uint8Array, offset: number): ProtocolHeader | undefined {
  if (bytes[offset] !== 0x41 || bytes[offset + 1] !== 0x4d || bytes[offset + 2] !== 0x51 || bytes[offset + 3] !== 0x50)
    return undefined
  const [id = 0, major = 0, minor = 0, revision = 0] = bytes.subarray(offset + 4, offset + 8)
  return { id, major, minor, revision }
}

/** Whether we speak what the header announces: version 1.0.0. §2.2 */
export const isSupported = (header: ProtocolHeader, id: number): boolean =>
  header.id === id && header.major === 1 && header.minor === 0 && header.revision === 0

/** For messages and traces: `AMQP 0 1.0.0`. */
export const formatHeader = (h: ProtocolHeader): string => `AMQP ${h.id} ${h.major}.${h.minor}.${h.revision}`
