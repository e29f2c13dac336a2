/**
 * Whom to log in to a hub as, where, and by what: credentials, and the tokens that are made of them.
 *
 * Facts: spec-notes/iothub.md, SASL, SAS tokens.
 */

import type { CbsToken } from '../../cbs/cbs-session.ts'
import { UsageError } from '../../errors.ts'
import { checkNames } from '../check-names.ts'
import { type HubClock, pause } from '../clock.ts'
import { type ConnectionString, readHost } from './connection-string.ts'
import { createSasToken, isInScope, isSharedAccessKey, parseSasToken, type SasKeyRule } from './sas.ts'
import { checkCertificate, type X509Credential } from './x509.ts'

/** What tokens come from: a key to sign them with, or somebody who makes them. */
export type SasCredential =
  /** Base64. Secret. */
  | { readonly key: string }
  /** Gives a token that is valid now, for what is asked. It may be called again when that one has expired. */
  | { token(request: TokenRequest): string | Promise<string> }

/** What a token is needed for. */
export interface TokenRequest {
  /** As in `SasTokenInit`: the hub or device, or, for reading telemetry, the event hub. */
  readonly resourceUri: string
  readonly keyRule: SasKeyRule
}

/** Where to connect to. An IPv6 address stands without brackets; no port means 5671. */
export interface HostAndPort {
  readonly host: string
  readonly port: number | undefined
}

/** Whom to log in as, and where. */
export interface HubLogin extends HostAndPort {
  /** For error messages, e.g. `device 'd1' of hub 'myhub'`. */
  readonly who: string
  /** What tokens are for, e.g. `myhub.azure-devices.net/devices/d1`; not encoded. */
  readonly resource: string
  /** User name for SASL PLAIN. */
  readonly user: string
  /** Policy that a key belongs to; `undefined` for a device's own. */
  readonly keyName: string | undefined
  /** `x509` without a certificate: it is in the options for TLS. */
  readonly credential: SasCredential | { readonly x509: X509Credential | undefined }
  /** How tokens are signed. Default `'iothub'`. */
  readonly keyRule?: SasKeyRule | undefined
}

/** The label before the first dot of a host, by which a hub is called in user names. */
export function hubNameOf(hostName: string): string {
  return hostName.split('.', 1)[0] ?? hostName
}

/** Takes the port off a host name. @throws {UsageError} if `text` is not a host name, optionally followed by `:port` */
export function splitHost(text: string): HostAndPort {
  const place = readHost(text)
  if (place === undefined) throw new UsageError('IoT Hub: not a host name, optionally followed by :port')
  return place
}

/** @throws {UsageError} these are no credentials at all, as when an environment variable is not set */
export function checkCredentials(credentials: {
  readonly hostName: string
  readonly sas?: SasCredential | undefined
  readonly x509?: X509Credential | undefined
}): void {
  if (typeof credentials !== 'object' || credentials === null)
    throw new UsageError(`IoT Hub: needs a connection string or credentials, not ${credentials}`)
  if (typeof credentials.hostName !== 'string') throw new UsageError('IoT Hub: credentials need a hostName')
  const { sas, x509 } = credentials
  if (sas && x509) throw new UsageError('IoT Hub: `sas` and `x509` exclude each other')
  if (x509) checkCertificate(x509)
  else checkSas(sas)
}

/** @throws {UsageError} it is neither a key nor a source of tokens, or there is something beside the key */
export function checkSas(sas: SasCredential | undefined): void {
  if (!isSource(sas)) throw new UsageError('IoT Hub: credentials need `sas`: { key }, a text, or { token }, a function')
  // A source may be an object of a class, with fields of its own.
  if (sas && !('token' in sas)) checkNames('field of `sas`', sas, { key: 0, token: 0 })
}

function isSource(sas: Partial<{ readonly key: unknown; readonly token: unknown }> | undefined): boolean {
  return typeof sas === 'object' && sas !== null && (typeof sas.key === 'string' || typeof sas.token === 'function')
}

/** The credential in a connection string; a certificate is elsewhere. */
export function credentialOf(fields: ConnectionString): HubLogin['credential'] {
  const { sharedAccessKey, sharedAccessSignature } = fields
  if (sharedAccessKey !== undefined) return { key: sharedAccessKey }
  if (sharedAccessSignature !== undefined) return { token: () => sharedAccessSignature }
  return { x509: undefined }
}

const TOKEN_TYPE = 'servicebus.windows.net:sastoken'

/**
 * A token that is valid from now on; its source is asked anew.
 *
 * @param lifeMs  of one that is made from a key
 * @throws {UsageError} what the source gave is no token, or the key is not base64; or what the source threw
 */
export async function makeToken(
  { who, resource, keyName, keyRule = 'iothub' }: HubLogin,
  credential: SasCredential,
  lifeMs: number,
): Promise<CbsToken> {
  if ('token' in credential) {
    const value = await credential.token({ resourceUri: resource, keyRule })
    const { sr, expiresAt } = parseSasToken(value)
    if (keyRule === 'eventhub' && !isInScope(sr, resource))
      throw new UsageError(`IoT Hub: telemetry needs a token for ${resource}, which is not the one that was given`)
    return { type: TOKEN_TYPE, value, expiresAt }
  }
  if (keyRule === 'iothub' && !isSharedAccessKey(credential.key))
    throw new UsageError(`${who}: the key (SharedAccessKey) is not base64, as when it has been cut off`)
  const expiresAt = new Date(Date.now() + lifeMs)
  const value = await createSasToken({ resourceUri: resource, key: credential.key, keyName, expiresAt, keyRule })
  return { type: TOKEN_TYPE, value, expiresAt }
}

/** As {@link makeToken}, from a source that may be slow, and may never answer. @throws {DOMException} `TimeoutError`, after 30 s */
export async function timelyToken(
  login: HubLogin,
  credential: SasCredential,
  lifeMs: number,
  clock: HubClock,
): Promise<CbsToken> {
  const done = new AbortController()
  const late = pause(clock, TOKEN_MS, done.signal).then(() => {
    throw new DOMException(`${login.who}: no token within ${TOKEN_MS} ms`, 'TimeoutError')
  })
  late.catch(() => {})
  try {
    return await Promise.race([makeToken(login, credential, lifeMs), late])
  } finally {
    done.abort()
  }
}

/** How long a source may take to give a token. */
const TOKEN_MS = 30_000
