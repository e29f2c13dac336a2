/**
 * As much DER (ITU-T X.690) as an X.509 certificate needs: one function per type, each returning fresh bytes.
 *
 * Writing only. Values come from this package, never from a peer.
 */

/**
 * Tag, length and contents.
 *
 * @param tag       identifier octet, e.g. 0x30
 * @param contents  written one after the other
 */
export function tlv(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of contents) length += part.length
  const sizeBytes: number[] = []
  if (length >= 0x80) {
    for (let rest = length; rest > 0; rest >>>= 8) sizeBytes.unshift(rest & 0xff)
    sizeBytes.unshift(0x80 | sizeBytes.length)
  } else {
    sizeBytes.push(length)
  }
  const bytes = new Uint8Array(1 + sizeBytes.length + length)
  bytes[0] = tag
  bytes.set(sizeBytes, 1)
  let offset = 1 + sizeBytes.length
  for (const part of contents) {
    bytes.set(part, offset)
    offset += part.length
  }
  return bytes
}

/** SEQUENCE of the given elements. */
export function sequence(...elements: readonly Uint8Array[]): Uint8Array {
  return tlv(0x30, ...elements)
}

/** SET of one element, which is the only size that needs no sorting. */
export function setOf(element: Uint8Array): Uint8Array {
  return tlv(0x31, element)
}

/** BOOLEAN TRUE. FALSE is a default wherever it occurs in a certificate, and DER omits defaults. */
export function booleanTrue(): Uint8Array {
  return tlv(0x01, Uint8Array.of(0xff))
}

/**
 * INTEGER from big-endian two's complement.
 *
 * @param bytes  as short as the value allows: neither nine leading zero bits nor nine leading one bits
 */
export function integer(...bytes: readonly number[]): Uint8Array {
  return tlv(0x02, Uint8Array.from(bytes))
}

/**
 * BIT STRING.
 *
 * @param unusedBits  0 … 7, at the end of the last byte
 */
export function bitString(bytes: Uint8Array, unusedBits = 0): Uint8Array {
  return tlv(0x03, Uint8Array.of(unusedBits), bytes)
}

/** OCTET STRING. */
export function octetString(bytes: Uint8Array): Uint8Array {
  return tlv(0x04, bytes)
}

/** OBJECT IDENTIFIER from dotted text, e.g. `2.5.29.17`. */
export function objectIdentifier(text: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number)
  const bytes: number[] = []
  for (const arc of [first * 40 + second, ...rest]) {
    const groups = [arc & 0x7f]
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80)
    bytes.push(...groups)
  }
  return tlv(0x06, Uint8Array.from(bytes))
}

/** UTF8String. */
export function utf8String(text: string): Uint8Array {
  return tlv(0x0c, new TextEncoder().encode(text))
}

/** UTCTime to 2049, GeneralizedTime from 2050 on, both in whole seconds of UTC: RFC 5280, 4.1.2.5. */
export function time(date: Date): Uint8Array {
  const digits = `${date
    .toISOString()
    .slice(0, 19)
    .replace(/[^0-9]/g, '')}Z`
  const isShort = date.getUTCFullYear() < 2050
  return tlv(isShort ? 0x17 : 0x18, new TextEncoder().encode(isShort ? digits.slice(2) : digits))
}

/** `[number] EXPLICIT`: a context tag around a whole element. */
export function explicit(number: number, element: Uint8Array): Uint8Array {
  return tlv(0xa0 | number, element)
}

/** `[number] IMPLICIT` of a primitive type: a context tag in place of its own. */
export function implicit(number: number, contents: Uint8Array): Uint8Array {
  return tlv(0x80 | number, contents)
}

/** PEM text: RFC 7468. */
export function pem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
