/**
 * A certificate authority with its key, in memory, and the certificates that it signs.
 *
 * ECDSA on P-256, X.509 version 3, for tests on loopback. `node:crypto` is loaded on first use. RFC 5280, RFC 5758,
 * RFC 7093.
 */

import type { KeyObject } from 'node:crypto'
import { UsageError } from '../../errors.ts'
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

type Crypto = typeof import('node:crypto')

/** A certificate and its key, PEM. */
export interface IssuedCertificate {
  readonly cert: string
  /** PKCS #8. Secret. */
  readonly key: string
}

/** An authority. Make it with {@link CertificateIssuer.create}. */
export class CertificateIssuer {
  /** The certificate of the authority, PEM. */
  readonly ca: string
  readonly #crypto: Crypto
  readonly #name: Uint8Array
  readonly #keys: { readonly publicKey: KeyObject; readonly privateKey: KeyObject }
  readonly #id: Uint8Array

  private constructor(crypto: Crypto, name: string, validDays: number) {
    this.#crypto = crypto
    this.#name = commonName(name)
    this.#keys = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' })
    this.#id = keyIdentifier(crypto, this.#keys.publicKey)
    this.ca = this.#certify(this.#name, this.#keys.publicKey, validDays, [
      extension(oid.basicConstraints, true, sequence(booleanTrue(), integer(0))),
      extension(oid.keyUsage, true, bitString(Uint8Array.of(0b0000_0110), 1)), // keyCertSign, cRLSign
      extension(oid.subjectKeyIdentifier, false, octetString(this.#id)),
    ])
  }

  /**
   * Makes an authority.
   *
   * @param name       its common name is this and eight hex digits, so that authorities in one trust store are told apart
   * @param validDays  days from now, 1 … 825; valid since an hour ago, for clocks that are behind
   * @throws {UsageError} if `validDays` is out of range
   */
  static async create(name: string, validDays: number): Promise<CertificateIssuer> {
    const crypto = await import('node:crypto')
    return new CertificateIssuer(crypto, `${name} ${crypto.randomBytes(4).toString('hex')}`, validDays)
  }

  /**
   * Signs a certificate, with a key made for it.
   *
   * @param subject     its common name
   * @param validDays   as for the authority
   * @param extensions  beside those of every end entity; see {@link extension}
   * @throws {UsageError} if `validDays` is out of range
   */
  issue(subject: string, validDays: number, extensions: readonly Uint8Array[]): IssuedCertificate {
    const keys = this.#crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const cert = this.#certify(commonName(subject), keys.publicKey, validDays, [
      extension(oid.basicConstraints, true, sequence()),
      extension(oid.keyUsage, true, bitString(Uint8Array.of(0b1000_0000), 7)), // digitalSignature
      ...extensions,
      extension(oid.subjectKeyIdentifier, false, octetString(keyIdentifier(this.#crypto, keys.publicKey))),
      extension(oid.authorityKeyIdentifier, false, sequence(implicit(0, this.#id))),
    ])
    return { cert, key: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }
  }

  /** RFC 5280, 4.1. */
  #certify(subject: Uint8Array, publicKey: KeyObject, validDays: number, extensions: readonly Uint8Array[]): string {
    if (!(validDays >= 1 && validDays <= 825)) throw new UsageError('certificate: validDays must be 1 … 825')
    const { randomBytes, sign } = this.#crypto
    const now = Date.now()
    const algorithm = sequence(objectIdentifier(oid.ecdsaWithSha256))
    // 127 bits, the top one set: positive, never zero, never in need of padding.
    const [first = 0, ...serial] = randomBytes(16)
    const tbs = sequence(
      explicit(0, integer(2)),
      integer((first & 0x7f) | 0x40, ...serial),
      algorithm,
      this.#name,
      sequence(time(new Date(now - 3_600_000)), time(new Date(now + validDays * 86_400_000))),
      subject,
      publicKey.export({ type: 'spki', format: 'der' }),
      explicit(3, sequence(...extensions)),
    )
    return pem('CERTIFICATE', sequence(tbs, algorithm, bitString(sign('sha256', tbs, this.#keys.privateKey))))
  }
}

/**
 * Looks at a certificate that was made before.
 *
 * @returns what is wrong with it; `undefined` for nothing
 */
export async function faultOf(
  { cert, key }: IssuedCertificate,
  hostNames: readonly string[],
  now: number,
): Promise<string | undefined> {
  const { createPrivateKey, X509Certificate } = await import('node:crypto')
  try {
    const certificate = new X509Certificate(cert)
    if (!certificate.checkPrivateKey(createPrivateKey(key))) return 'the key is not that of the certificate'
    if (Date.parse(certificate.validTo) <= now) return `the certificate ended on ${certificate.validTo}`
    const isFor = (name: string) => (/^[\d.]+$|:/.test(name) ? certificate.checkIP(name) : certificate.checkHost(name))
    const other = hostNames.find(name => !isFor(name))
    return other === undefined ? undefined : `the certificate is not for ${other}`
  } catch {
    return 'the certificate or its key is not in PEM'
  }
}

/** An extension of a certificate. @param value  DER */
export function extension(id: string, isCritical: boolean, value: Uint8Array): Uint8Array {
  return sequence(objectIdentifier(id), ...(isCritical ? [booleanTrue()] : []), octetString(value))
}

const oid = {
  commonName: '2.5.4.3',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
} as const

function commonName(text: string): Uint8Array {
  return sequence(setOf(sequence(objectIdentifier(oid.commonName), utf8String(text))))
}

/** Leftmost 160 bits of the SHA-256 of the public key: RFC 7093, 2, method 1. */
function keyIdentifier(crypto: Crypto, publicKey: KeyObject): Uint8Array {
  const spki = publicKey.export({ type: 'spki', format: 'der' })
  const point = spki.subarray(spki.length - 65) // uncompressed, 04 X Y
  return crypto.createHash('sha256').update(point).digest().subarray(0, 20)
}
