/**
 * Shared access signatures: making, reading and verifying `SharedAccessSignature sr=…&sig=…&se=…[&skn=…]`, and the
 * scope that one covers.
 *
 * The signature is HMAC-SHA256 over the `sr` text as it stands in the token, a line feed, and the `se` text. Producers
 * percent-encode `sr` in different ways, so nothing is re-encoded before the text itself has been tried. `node:crypto`
 * is loaded on first use, which is why signing and verifying are asynchronous. Facts: spec-notes/iothub.md, SAS tokens.
 */

import { UsageError } from '../../errors.ts'
import { checkNames, type Names } from '../check-names.ts'

/**
 * How a key text becomes HMAC key bytes: an IoT Hub host decodes the base64, an Event Hubs host takes the text itself
 * as UTF-8. The same key signs differently on the two.
 */
export type SasKeyRule = 'iothub' | 'eventhub'

/** What {@link createSasToken} signs. */
export interface SasTokenInit {
  /** Raw, not percent-encoded, e.g. `myhub.azure-devices.net/devices/dev1`. Not empty. */
  readonly resourceUri: string
  /** Key text; base64 under the rule `'iothub'`. Secret. */
  readonly key: string
  /** Policy that the key belongs to; leave out for an identity's own key. */
  readonly keyName?: string | undefined
  /** Written in whole seconds, rounded down; 1970 or later. */
  readonly expiresAt: Date
  /** Default `'iothub'`. */
  readonly keyRule?: SasKeyRule | undefined
}

/** The parts of a token. */
export interface SasToken {
  /** Resource URI, percent-decoded. */
  readonly sr: string
  /** The same as it stood in the token; what was signed. */
  readonly srText: string
  /** Base64 of the HMAC, percent-decoded. */
  readonly signature: string
  /** Expiry in seconds since 1970-01-01 UTC. */
  readonly se: number
  /** The same as a date. */
  readonly expiresAt: Date
  /** Policy name; `undefined` when signed with an identity's own key. */
  readonly skn: string | undefined
}

/** How {@link verifySasToken} judges. */
export type SasVerification = ({ readonly key: string } | { readonly keys: readonly string[] }) & {
  /** Wall clock in ms since 1970-01-01 UTC. Default: now. */
  readonly now?: number | undefined
  /** Default `'iothub'`. */
  readonly keyRule?: SasKeyRule | undefined
  /** How long after its expiry a token is still taken, in ms, ≥ 0. Default 300 000 (5 min). */
  readonly skewMs?: number | undefined
}

/** A verdict; `keyIndex` says which of the given keys signed. `'expired'` is said only of a token signed correctly. */
export type SasVerdict =
  | { readonly ok: true; readonly token: SasToken; readonly keyIndex: number }
  | { readonly ok: false; readonly reason: 'malformed' | 'signature' | 'expired' }

/**
 * Signs a token. Its text is byte for byte what Microsoft's Node SDK makes of the same input.
 *
 * @throws {UsageError} if the resource is empty, a text is not well-formed Unicode, the expiry is no date or before
 *   1970, the key is not base64 under the rule `'iothub'`, or there is no such field
 */
export async function createSasToken(init: SasTokenInit): Promise<string> {
  checkNames('field of createSasToken', init, TOKEN)
  const { resourceUri, key, keyName, expiresAt, keyRule = 'iothub' } = init
  if (typeof resourceUri !== 'string' || resourceUri === '')
    throw new UsageError('SAS token: the resource URI is empty, or no text')
  if (!(expiresAt instanceof Date)) throw new UsageError('SAS token: expiresAt must be a Date')
  const se = Math.floor(expiresAt.getTime() / 1000)
  if (!(se >= 0)) throw new UsageError('SAS token: expiresAt must be a date in 1970 or later')
  const sr = encodeStrict(resourceUri)
  const signature = await hmac(keyBytes(key, keyRule), `${sr}\n${se}`)
  const skn = keyName === undefined ? '' : `&skn=${encodeStrict(keyName)}`
  return `SharedAccessSignature sr=${sr}&sig=${encodeStrict(signature)}${skn}&se=${se}`
}

/**
 * The key of a device, derived from that of its enrolment group, as the Device Provisioning Service does it.
 *
 * @param groupKey        base64
 * @param registrationId  as the device will give it
 * @returns base64. Secret
 * @throws {UsageError} if the key is not base64
 */
export async function deriveDeviceKey(groupKey: string, registrationId: string): Promise<string> {
  return hmac(keyBytes(groupKey, 'iothub'), registrationId)
}

/**
 * Reads a token without verifying it. Pairs may come in any order; unknown ones are passed over.
 *
 * @throws {UsageError} naming the part that is missing, given twice or malformed; never quoting the token
 */
export function parseSasToken(text: string): SasToken {
  const read = readToken(text)
  if (typeof read === 'string') throw new UsageError(`SAS token: ${read}`)
  return read.token
}

/**
 * Verifies signature and expiry; comparison takes constant time. Scope is another question: {@link isInScope}.
 *
 * The `sr` text as received is tried first, then the other spellings that clients are known to sign. A spelling is
 * tried only if it decodes to the same resource, so a signature never carries over to another one.
 *
 * @param text  the token; anything at all, it need not be well-formed
 * @throws {UsageError} if a key is not base64 under the rule `'iothub'`, or `skewMs` is negative
 */
export async function verifySasToken(text: string, verification: SasVerification): Promise<SasVerdict> {
  const { now = Date.now(), keyRule = 'iothub', skewMs = 300_000 } = verification
  if (!(skewMs >= 0)) throw new UsageError('SAS token: skewMs must not be negative')
  const keys = ('keys' in verification ? verification.keys : [verification.key]).map(key => keyBytes(key, keyRule))
  const read = readToken(text)
  if (typeof read === 'string') return { ok: false, reason: 'malformed' }
  const { token, seText } = read
  for (const srText of spellings(token)) {
    for (const [keyIndex, key] of keys.entries()) {
      if (!(await isEqual(await hmac(key, `${srText}\n${seText}`), token.signature))) continue
      if (now - skewMs > token.expiresAt.getTime()) return { ok: false, reason: 'expired' }
      return { ok: true, token, keyIndex }
    }
  }
  return { ok: false, reason: 'signature' }
}

/**
 * Whether a token for `sr` covers `resource`: a prefix by whole path segments, so `h/a` covers `h/a/b` but not `h/ab`.
 *
 * Scheme and port are left aside. Host and fixed segments compare without regard to case; device and module ids
 * (after `devices/` and, below it, `modules/`) compare exactly.
 *
 * @param sr        percent-decoded, as in {@link SasToken.sr}
 * @param resource  percent-decoded, beginning with the host
 */
export function isInScope(sr: string, resource: string): boolean {
  const scope = splitResource(sr)
  const asked = splitResource(resource)
  if (scope.host === '' || scope.host !== asked.host) return false
  return scope.segments.every((segment, index) => segment === asked.segments[index])
}

/**
 * Takes a resource URI apart for comparison: the host without scheme and port and in lower case, then the segments of
 * the path, lower case where they are no device or module ids. Empty segments are dropped.
 *
 * @param uri  percent-decoded
 */
export function splitResource(uri: string): { readonly host: string; readonly segments: readonly string[] } {
  const [authority = '', ...path] = uri.replace(/^[a-z][a-z0-9+.-]*:\/\//i, '').split('/')
  const host = authority.replace(/^([^:]*|\[.*\]):\d+$/, '$1').toLowerCase()
  const segments: string[] = []
  for (const segment of path) {
    if (segment === '') continue
    const below = segments[0] === 'devices' ? segments.length : 0
    const isId = below === 1 || (below === 3 && segments[2] === 'modules')
    segments.push(isId ? segment : segment.toLowerCase())
  }
  return { host, segments }
}

/** Whether `text` can be the key of a hub: base64, padded, not empty. */
export function isSharedAccessKey(text: string): boolean {
  return typeof text === 'string' && text !== '' && text.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(text)
}

const TOKEN: Names<SasTokenInit> = { resourceUri: 0, key: 0, keyName: 0, expiresAt: 0, keyRule: 0 }

/** Of a token, in characters. Those of hubs have some hundred; of one without bounds all spellings would be tried. */
const MAX_LENGTH = 8192

/** The parts, or what is wrong with the text, in words that quote nothing of it. */
function readToken(text: string): { readonly token: SasToken; readonly seText: string } | string {
  if (typeof text !== 'string') return 'it is no text'
  if (text.length > MAX_LENGTH) return `it has more than ${MAX_LENGTH} characters`
  const pairText = /^\s*SharedAccessSignature\s+(\S+)\s*$/.exec(text)?.[1]
  if (pairText === undefined) return "expected 'SharedAccessSignature', a blank, and pairs without blanks"
  const pairs = new Map<string, string>()
  for (const pair of pairText.split('&')) {
    const equals = pair.indexOf('=')
    const name = pair.slice(0, Math.max(equals, 0))
    if (name !== 'sr' && name !== 'sig' && name !== 'se' && name !== 'skn') continue
    if (pairs.has(name)) return `${name} is given twice`
    pairs.set(name, pair.slice(equals + 1))
  }
  const srText = pairs.get('sr')
  const sigText = pairs.get('sig')
  const seText = pairs.get('se')
  const sknText = pairs.get('skn')
  if (!srText) return 'sr is missing'
  if (!sigText) return 'sig is missing'
  if (!seText) return 'se is missing'
  const expiresAt = new Date(Number(seText) * 1000)
  if (!/^\d+$/.test(seText) || Number.isNaN(expiresAt.getTime())) return 'se is not a time in seconds'
  const signature = decode(sigText)
  const skn = sknText ? decode(sknText) : ''
  if (signature === undefined || skn === undefined) return 'sig or skn is not percent-encoded text'
  // Clients that do not encode sr leave a '%' of a device id as it is.
  const sr = decode(srText) ?? srText
  return { token: { sr, srText, signature, se: Number(seText), expiresAt, skn: skn || undefined }, seText }
}

/** What may have been signed for this resource: the text received, then each known way of encoding it. */
function spellings({ sr, srText }: SasToken): Iterable<string> {
  const candidates = new Set([srText])
  try {
    const plain = encodeURIComponent(sr)
    const upper = plain.replace(/[!'()*]/g, toHex)
    candidates.add(encodeStrict(sr)).add(plain).add(upper)
    for (const text of [plain, upper]) candidates.add(text.replace(/%../g, hex => hex.toLowerCase()))
  } catch {
    // Not well-formed Unicode: no client encodes it, only the text received can match.
  }
  candidates.add(sr)
  for (const candidate of candidates) {
    if (candidate !== srText && (decode(candidate) ?? candidate) !== sr) candidates.delete(candidate)
  }
  return candidates
}

/** `encodeURIComponent` plus `! ' ( ) *` in lower-case hex, which is how the Node SDK spells them. */
function encodeStrict(text: string): string {
  try {
    return encodeURIComponent(text).replace(/[!'()*]/g, character => toHex(character).toLowerCase())
  } catch (cause) {
    if (cause instanceof URIError) throw new UsageError('SAS token: resource or key name is not well-formed Unicode')
    throw cause
  }
}

function toHex(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

function keyBytes(key: string, rule: SasKeyRule): Uint8Array {
  if (typeof key !== 'string') throw new UsageError('SAS token: the key is no text')
  if (rule === 'eventhub') return new TextEncoder().encode(key)
  if (!isSharedAccessKey(key)) throw new UsageError('SAS token: the key is not base64')
  return Buffer.from(key, 'base64')
}

async function hmac(key: Uint8Array, text: string): Promise<string> {
  const { createHmac } = await import('node:crypto')
  return createHmac('sha256', key).update(text, 'utf8').digest('base64')
}

async function isEqual(expected: string, given: string): Promise<boolean> {
  const { timingSafeEqual } = await import('node:crypto')
  const [left, right] = [Buffer.from(expected), Buffer.from(given)]
  return left.length === right.length && timingSafeEqual(left, right)
}
