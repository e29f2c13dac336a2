/**
 * A certificate authority and a server certificate under it, made afresh at each start, so that TLS can be verified in
 * full against an emulator and no private key lies in a repository.
 *
 * For tests on loopback. The key of the authority is dropped as soon as it has signed: whoever trusts it trusts this one
 * certificate. RFC 5280.
 */

import { UsageError } from '../../errors.ts'
import { CertificateIssuer, extension } from './certificate-issuer.ts'
import { implicit, objectIdentifier, sequence } from './der.ts'

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
  const names = [...new Set(['localhost', '127.0.0.1', '::1', ...hostNames])].map(generalName)
  const issuer = await CertificateIssuer.create('fairlead emulator CA', validDays)
  const { cert, key } = issuer.issue('fairlead emulator', validDays, [
    extension(oid.extendedKeyUsage, false, sequence(objectIdentifier(oid.serverAuth))),
    extension(oid.subjectAltName, false, sequence(...names)),
  ])
  return { ca: issuer.ca, cert: cert + issuer.ca, key }
}

const oid = { subjectAltName: '2.5.29.17', extendedKeyUsage: '2.5.29.37', serverAuth: '1.3.6.1.5.5.7.3.1' } as const

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
