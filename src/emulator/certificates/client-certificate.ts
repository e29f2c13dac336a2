/**
 * What a hub reads in the certificate of a client, and when it proves a device: by its thumbprint, or by the authority
 * that signed it and the device id as its common name.
 *
 * TLS has asked for the certificate and seen that the peer has its key; whom it stands for is decided here.
 * `node:crypto` is loaded on first use. Facts: spec-notes/iothub.md, X.509.
 */

import { UsageError } from '../../errors.ts'
import { checkNames } from '../../iothub/check-names.ts'

/** How a device proves itself by a certificate. */
export type X509Registration =
  /** Hex digits of SHA-1 or SHA-256 of the certificate (DER); colons and case do not matter. One or two of them. */
  | { readonly thumbprint: string | readonly [string, string] }
  /** Signed by an authority of the hub, with the device id as its common name. */
  | 'ca'

/** A certificate, read. */
export interface ClientCertificate {
  /** '' without one. */
  readonly commonName: string
  /** SHA-256 and SHA-1, hex in upper case. */
  readonly thumbprints: readonly [sha256: string, sha1: string]
  /** In ms since 1970. */
  readonly validFrom: number
  readonly validTo: number
  /** Whether the authority, PEM, signed it. */
  isSignedBy(authority: string): boolean
}

/**
 * Reads a certificate.
 *
 * @param certificate  DER, or PEM, of which the first certificate counts
 * @throws {UsageError} it is none
 */
export async function readClientCertificate(certificate: Uint8Array | string): Promise<ClientCertificate> {
  const { X509Certificate } = await import('node:crypto')
  try {
    const read = new X509Certificate(certificate)
    return {
      commonName: /^CN=(.*)$/m.exec(read.subject ?? '')?.[1] ?? '',
      thumbprints: [plainHex(read.fingerprint256), plainHex(read.fingerprint)],
      validFrom: Date.parse(read.validFrom),
      validTo: Date.parse(read.validTo),
      isSignedBy: authority => {
        const { publicKey, ca } = new X509Certificate(authority)
        return ca && read.checkIssued(new X509Certificate(authority)) && read.verify(publicKey)
      },
    }
  } catch {
    throw new UsageError('not a certificate in PEM or DER')
  }
}

/**
 * Whether a certificate proves a device. Of one that is known by its thumbprint the dates are not looked at: whoever
 * registered it vouches for it.
 *
 * @param authorities  of the hub, PEM
 * @param now          in ms since 1970
 */
export function provesDevice(
  certificate: ClientCertificate,
  device: { readonly deviceId: string; readonly x509: X509Registration },
  authorities: Iterable<string>,
  now: number,
): boolean {
  const { deviceId, x509 } = device
  if (x509 !== 'ca') return thumbprintsOf(x509).some(thumbprint => certificate.thumbprints.includes(thumbprint))
  return certificate.commonName === deviceId && isTrusted(certificate, authorities, now)
}

/** Whether one of the authorities, PEM, signed the certificate, and it is valid now. */
export function isTrusted(certificate: ClientCertificate, authorities: Iterable<string>, now: number): boolean {
  if (now < certificate.validFrom || now > certificate.validTo) return false
  return [...authorities].some(authority => certificate.isSignedBy(authority))
}

/** @throws {UsageError} a thumbprint is not 40 or 64 hex digits */
export function checkRegistration(x509: X509Registration): void {
  if (x509 === 'ca') return
  if (typeof x509 !== 'object' || !x509?.thumbprint) throw new UsageError("x509 is 'ca' or has a thumbprint")
  checkNames('field of x509', x509, { thumbprint: 0 })
  for (const thumbprint of thumbprintsOf(x509))
    if (!/^([0-9A-F]{40}|[0-9A-F]{64})$/.test(thumbprint))
      throw new UsageError('a thumbprint has 40 hex digits (SHA-1) or 64 (SHA-256)')
}

function thumbprintsOf({ thumbprint }: Exclude<X509Registration, 'ca'>): readonly string[] {
  return [thumbprint].flat().map(plainHex)
}

const plainHex = (text: string): string => String(text).replaceAll(':', '').toUpperCase()
