/**
 * Devices that prove themselves by a certificate, in TLS: without SASL and without tokens, as hubs want it.
 *
 * Facts: spec-notes/iothub.md, X.509.
 */

import type { ConnectionOptions } from 'node:tls'
import { UsageError } from '../../errors.ts'

/** A client certificate and its key, PEM, as `node:tls` takes them. */
export interface X509Credential {
  /** The certificate, followed by those between it and the authority that the hub knows, if there are any. */
  readonly cert: string | Uint8Array
  /** Secret. */
  readonly key: string | Uint8Array
  /** Of an encrypted key. Secret. */
  readonly passphrase?: string | undefined
}

/**
 * Options of TLS with the certificate in them.
 *
 * @param credential  `undefined` when the certificate is in `tls`
 * @throws {UsageError} it is in neither, or given in both
 */
export function withCertificate(
  tls: ConnectionOptions | undefined,
  credential: X509Credential | undefined,
): ConnectionOptions {
  const isInTls = (isGiven(tls?.cert) && isGiven(tls?.key)) || isGiven(tls?.pfx)
  if (credential === undefined) {
    if (isInTls) return { ...tls }
    throw new UsageError('IoT Hub: x509=true needs the certificate and its key, in `tls`: { cert, key } or { pfx }')
  }
  if (isInTls) throw new UsageError('IoT Hub: the certificate is given twice, as `x509` and in `tls`')
  const { cert, key, passphrase } = credential
  const bytes = (value: string | Uint8Array): string | Buffer =>
    typeof value === 'string' ? value : Buffer.from(value)
  return { ...tls, cert: bytes(cert), key: bytes(key), ...(passphrase === undefined ? {} : { passphrase }) }
}

/** @throws {UsageError} the certificate or its key is missing */
export function checkCertificate(credential: X509Credential): void {
  if (!isGiven(credential?.cert) || !isGiven(credential.key))
    throw new UsageError('IoT Hub: `x509` needs { cert, key }, neither of them empty')
}

/** What is empty is as good as none, as where a variable of the environment is not set. */
const isGiven = (value: unknown): boolean => Boolean(value) && (value as { readonly length?: number }).length !== 0
