/**
 * The arithmetic of SCRAM, by the platform's Web Crypto: salted passwords, keys, proofs. RFC 5802, section 3; RFC 7677
 *
 * Policy (D-035): 4,096 iterations at least, for every hash, and 1,000,000 at most.
 */

import { SaslError, UsageError } from '../../errors.ts'
import { encodeUtf8 } from '../../types/utf8.ts'
import { saslprep } from './saslprep.ts'

/** The hash of a SCRAM mechanism. */
export type ScramHash = 'SHA-1' | 'SHA-256' | 'SHA-512'

/** What a server keeps of a password: enough to verify it, not enough to log in with. RFC 5802, section 3 */
export interface ScramCredentials {
  readonly salt: Uint8Array
  /** How often the hash is applied; 4,096 … 1,000,000. */
  readonly iterations: number
  readonly storedKey: Uint8Array
  readonly serverKey: Uint8Array
}

/** Strongest first. */
export const HASHES: readonly ScramHash[] = ['SHA-512', 'SHA-256', 'SHA-1']
/** Bytes of each hash. */
export const SIZE: { readonly [hash in ScramHash]: number } = { 'SHA-512': 64, 'SHA-256': 32, 'SHA-1': 20 }
/** Fewer make a password cheap to guess for whoever has seen one exchange. RFC 7677, section 4 */
export const MIN_ITERATIONS = 4096
/** More are a server's way to keep us busy: these take about a second of one core. */
export const MAX_ITERATIONS = 1_000_000
/** What is derived here unless said otherwise: some 20 ms of one core, at each login of the client. */
export const DEFAULT_ITERATIONS = 65_536
/** Bytes of a salt that is made here. */
export const SALT_SIZE = 16

/**
 * Derives what a server keeps of a password, for `saslServer.scram`. Do it once, when the password is set, and store
 * the result: one for each hash that is offered.
 *
 * @param password  not empty; prepared by SASLprep (RFC 4013), so that it may be typed in any Unicode spelling
 * @param options  `hash`, default `SHA-256`; `iterations`, 4,096 … 1,000,000, default 65,536; `salt`, default 16 random
 *   bytes
 * @throws {UsageError} iterations out of range
 * @throws {SaslError} the password is empty, or contains what SASLprep forbids
 */
export async function scramCredentials(
  password: string,
  options: {
    readonly hash?: ScramHash | undefined
    readonly iterations?: number | undefined
    readonly salt?: Uint8Array | undefined
  } = {},
): Promise<ScramCredentials> {
  const { hash = 'SHA-256', iterations = DEFAULT_ITERATIONS, salt = randomBytes(SALT_SIZE) } = options
  if (!HASHES.includes(hash)) throw new UsageError(`a SCRAM hash is one of ${HASHES.join(', ')}`)
  checkIterations(iterations)
  const salted = await saltedPassword(hash, preparedPassword(password), salt, iterations)
  const { storedKey, serverKey } = await deriveKeys(hash, salted)
  return { salt, iterations, storedKey, serverKey }
}

/** @throws {UsageError} */
export function checkIterations(iterations: number): void {
  if (!Number.isInteger(iterations) || iterations < MIN_ITERATIONS || iterations > MAX_ITERATIONS)
    throw new UsageError(`SCRAM iterations are ${MIN_ITERATIONS} … ${MAX_ITERATIONS}, not ${iterations}`)
}

/** The bytes of a password. @throws {SaslError} */
export function preparedPassword(password: string): Uint8Array {
  const prepared = saslprep(password, 'stored')
  if (!prepared) throw new SaslError('the password is empty, or contains what SASLprep forbids (RFC 4013)')
  return encodeUtf8(prepared)
}

/** `Hi(password, salt, iterations)`. */
export async function saltedPassword(
  hash: ScramHash,
  password: Uint8Array,
  salt: Uint8Array,
  iterations: number,
): Promise<Uint8Array> {
  const key = await crypto.subtle.importKey('raw', password, 'PBKDF2', false, ['deriveBits'])
  const bits = await crypto.subtle.deriveBits({ name: 'PBKDF2', hash, salt, iterations }, key, SIZE[hash] * 8)
  return new Uint8Array(bits)
}

/** The three keys of a salted password. */
export async function deriveKeys(
  hash: ScramHash,
  salted: Uint8Array,
): Promise<{ clientKey: Uint8Array; storedKey: Uint8Array; serverKey: Uint8Array }> {
  const clientKey = await hmac(hash, salted, encodeUtf8('Client Key'))
  const serverKey = await hmac(hash, salted, encodeUtf8('Server Key'))
  return { clientKey, storedKey: await digest(hash, clientKey), serverKey }
}

/** `HMAC(key, bytes)`. */
export async function hmac(hash: ScramHash, secret: Uint8Array, bytes: Uint8Array): Promise<Uint8Array> {
  const key = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash }, false, ['sign'])
  return new Uint8Array(await crypto.subtle.sign('HMAC', key, bytes))
}

/** `H(bytes)`. */
export const digest = async (hash: ScramHash, bytes: Uint8Array): Promise<Uint8Array> =>
  new Uint8Array(await crypto.subtle.digest(hash, bytes))

/** Bytes of two arrays of one length, combined. */
export const xor = (a: Uint8Array, b: Uint8Array): Uint8Array => a.map((byte, i) => byte ^ (b[i] ?? 0))

/** Whether two arrays are equal; how long it takes tells nothing but their lengths. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length
  for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0)
  return difference === 0
}

/** Bytes that nobody can guess. */
export const randomBytes = (count: number): Uint8Array => crypto.getRandomValues(new Uint8Array(count))
