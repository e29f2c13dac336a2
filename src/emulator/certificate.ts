/**
 * A certificate authority and a server certificate under it, made afresh at each start, so that TLS can be verified in
 * full against an emulator and no private key lies in a repository.
 *
 * ECDSA on P-256, X.509 version 3, for tests on loopback. The key of the authority is dropped as soon as it has signed:
 * whoever trusts it trusts this one certificate. `node:crypto` is loaded on first use. RFC 5280, RFC 5758, RFC 7093.
 */

import type { KeyObject } from 'node:crypto'
import { UsageError } from '../errors.ts'
import {
  bitString,
  booleanTrue,
  explicit,
  implicit,
  integer,
  objectIdentifier,
  octetString,
  pem,
  sequence,
  setOf,
  time,
  utf8String,
} from './der.ts'

/** What {@link createCertificate} makes certificates for. */
export interface CertificateOptions {
  /** DNS names (one leading `*.` allowed) and IP addresses, beside `localhost`, `127.0.0.1` and `::1`. Default: none. */
  readonly hostNames?: readonly string[] | undefined
  /** Days from now, 1 … 825. Default 7. Valid since an hour ago, for clocks that are behind. */
  readonly validDays?: number | undefined
}

/** PEM texts, as `node:tls` takes them. */
export interface Certificate {
  /** The authority, for the `ca` of clients. */
  readonly ca: string
  /** The server certificate, then the authority. */
  readonly cert: string
  /** Private key of the server certificate, PKCS #8. Secret. */
  readonly key: string
}

/**
 * Makes a new authority and a server certificate under it.
 *
 * @throws {UsageError} if a host name is neither an ASCII DNS name nor an IP address, or `validDays` is out of range
 */
export async function createCertificate(options: CertificateOptions = {}): Promise<Certificate> {
  const { hostNames = [], validDays = 7 } = options
  if (!(validDays >= 1 && validDays <= 825)) throw new UsageError('certificate: validDays must be 1 … 825')
  const names = [...new Set(['localhost', '127.0.0.1', '::1', ...hostNames])].map(generalName)
  const { createHash, generateKeyPairSync, randomBytes, sign } = await import('node:crypto')

  const now = Date.now()
  const validity = sequence(time(new Date(now - 3_600_000)), time(new Date(now + validDays * 86_400_000)))
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const server = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  // The name differs from run to run, so that authorities in one trust store are told apart.
  const authorityName = commonName(`fairlead emulator CA ${randomBytes(4).toString('hex')}`)
  const authorityId = keyIdentifier(authority.publicKey)

  const ca = certify(authorityName, authority.publicKey, [
    extension(oid.basicConstraints, true, sequence(booleanTrue(), integer(0))),
    extension(oid.keyUsage, true, bitString(Uint8Array.of(0b0000_0110), 1)), // keyCertSign, cRLSign
    extension(oid.subjectKeyIdentifier, false, octetString(authorityId)),
  ])
  const cert = certify(commonName('fairlead emulator'), server.publicKey, [
    extension(oid.basicConstraints, true, sequence()),
    extension(oid.keyUsage, true, bitString(Uint8Array.of(0b1000_0000), 7)), // digitalSignature
    extension(oid.extendedKeyUsage, false, sequence(objectIdentifier(oid.serverAuth))),
    extension(oid.subjectAltName, false, sequence(...names)),
    extension(oid.subjectKeyIdentifier, false, octetString(keyIdentifier(server.publicKey))),
    extension(oid.authorityKeyIdentifier, false, sequence(implicit(0, authorityId))),
  ])
  return { ca, cert: cert + ca, key: server.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }

  /** A certificate for `subject`, signed by the authority. RFC 5280, 4.1. */
  function certify(subject: Uint8Array, publicKey: KeyObject, extensions: readonly Uint8Array[]): string {
    const algorithm = sequence(objectIdentifier(oid.ecdsaWithSha256))
    // 127 bits, the top one set: positive, never zero, never in need of padding.
    const [first = 0, ...serial] = randomBytes(16)
    const tbs = sequence(
      explicit(0, integer(2)),
      integer((first & 0x7f) | 0x40, ...serial),
      algorithm,
      authorityName,
      validity,
      subject,
      publicKey.export({ type: 'spki', format: 'der' }),
      explicit(3, sequence(...extensions)),
    )
    return pem('CERTIFICATE', sequence(tbs, algorithm, bitString(sign('sha256', tbs, authority.privateKey))))
  }

  /** Leftmost 160 bits of the SHA-256 of the public key: RFC 7093, 2, method 1. */
  function keyIdentifier(publicKey: KeyObject): Uint8Array {
    const spki = publicKey.export({ type: 'spki', format: 'der' })
    const point = spki.subarray(spki.length - 65) // uncompressed, 04 X Y
    return createHash('sha256').update(point).digest().subarray(0, 20)
  }
}

const oid = {
  commonName: '2.5.4.3',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
} as const

function commonName(text: string): Uint8Array {
  return sequence(setOf(sequence(objectIdentifier(oid.commonName), utf8String(text))))
}

function extension(id: string, isCritical: boolean, value: Uint8Array): Uint8Array {
  return sequence(objectIdentifier(id), ...(isCritical ? [booleanTrue()] : []), octetString(value))
}

/** dNSName or iPAddress of a subjectAltName. RFC 5280, 4.2.1.6 */
function generalName(name: string): Uint8Array {
  const address = parseIp(name)
  if (address !== undefined) return implicit(7, address)
  const isDnsName = name.length <= 253 && /^(\*\.)?([\w-]{1,63}\.)*[\w-]{1,63}$/.test(name) && !/^[\d.]+$/.test(name)
  if (!isDnsName) throw new UsageError('certificate: a host name is neither an ASCII DNS name nor an IP address')
  return implicit(2, new TextEncoder().encode(name))
}

/** 4 or 16 bytes; `undefined` if `text` is no IP address. */
function parseIp(text: string): Uint8Array | undefined {
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) {
    const bytes = text.split('.').map(Number)
    return bytes.every(byte => byte <= 255) ? Uint8Array.from(bytes) : undefined
  }
  if (!/^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(text) || !URL.canParse(`http://[${text}]/`)) return undefined
  // The URL parser has checked the text and written it in groups of hex, with '::' at most once.
  const [head = '', tail] = new URL(`http://[${text}]/`).hostname.slice(1, -1).split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail ? tail.split(':') : []
  const zeros = new Array<string>(8 - before.length - after.length).fill('0')
  const groups = [...before, ...zeros, ...after].map(group => Number.parseInt(group, 16))
  return Uint8Array.from(groups.flatMap(group => [group >> 8, group & 0xff]))
}
