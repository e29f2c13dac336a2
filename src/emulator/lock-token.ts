/**
 * Lock tokens: the GUID by which a hub names a delivery, as text in an annotation and as bytes in the delivery tag.
 *
 * The bytes are in .NET's order: the first three fields little-endian, the rest as written. Receivers written in C#
 * insist on 16 of them. Facts: spec-notes/iothub.md, cloud-to-device messages.
 */

/** A new token, 8-4-4-4-12 hex digits in lower case. */
export function newLockToken(): string {
  return globalThis.crypto.randomUUID()
}

/**
 * The 16 bytes of a token.
 *
 * @param token  8-4-4-4-12 hex digits
 */
export function lockTokenBytes(token: string): Uint8Array {
  const digits = token.replaceAll('-', '')
  return Uint8Array.from(NET_ORDER, index => Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16))
}

const NET_ORDER: readonly number[] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]
