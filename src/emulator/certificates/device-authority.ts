/**
 * An authority for the certificates of devices, for tests: nobody needs openssl to try X.509 against an emulator.
 *
 * RFC 5280. What an emulator makes of a certificate is in `client-certificate.ts`.
 */

import { checkShape } from '../check-shape.ts'
import { CertificateIssuer, extension } from './certificate-issuer.ts'
import { readClientCertificate } from './client-certificate.ts'
import { objectIdentifier, sequence } from './der.ts'

/** A certificate for a client, and its key, as `node:tls` takes them. */
export interface DeviceCertificate {
  /** PEM. */
  readonly cert: string
  /** PEM, PKCS #8. Secret. */
  readonly key: string
  /** SHA-256 of the certificate, 64 hex digits in upper case: what a device is registered by. */
  readonly thumbprint: string
}

/** An authority that signs certificates of devices. */
export interface DeviceAuthority {
  /** Its own certificate, PEM. */
  readonly ca: string
  /**
   * Signs a certificate.
   *
   * @param commonName  the id of the device, or its registration id
   * @param options     `validDays`: days from now, 1 … 825, default 7
   * @throws {UsageError} if `validDays` is out of range
   */
  issue(commonName: string, options?: { readonly validDays?: number | undefined }): Promise<DeviceCertificate>
}

/** Makes a new authority for certificates of devices. Its key lives as long as the object. */
export async function createDeviceAuthority(): Promise<DeviceAuthority> {
  const issuer = await CertificateIssuer.create('fairlead device CA', 825)
  return {
    ca: issuer.ca,
    async issue(commonName, options = {}) {
      checkShape('option of issue', options, { validDays: 'number' })
      const { validDays = 7 } = options
      const issued = issuer.issue(commonName, validDays, [
        extension(EXTENDED_KEY_USAGE, false, sequence(objectIdentifier(CLIENT_AUTH))),
      ])
      const { thumbprints } = await readClientCertificate(issued.cert)
      return { ...issued, thumbprint: thumbprints[0] }
    },
  }
}

const EXTENDED_KEY_USAGE = '2.5.29.37'
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
