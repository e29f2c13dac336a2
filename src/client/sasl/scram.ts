/**
 * SCRAM-SHA-1, SCRAM-SHA-256, SCRAM-SHA-512, both ends: each proves to the other that it knows the password, and neither
 * shows it. RFC 5802, RFC 7677; the third by analogy
 *
 * Without channel binding: the client says `n`, the server takes `n` and `y` and refuses `p`. AMQP carries the server's
 * last message as the additional data of its outcome (§5.3.3.5); a client also takes it as a last challenge, which it
 * answers with nothing.
 */

import { SaslError, UsageError } from '../../errors.ts'
import { decodeUtf8, encodeUtf8 } from '../../types/utf8.ts'
import { decodeBase64, encodeBase64 } from './base64.ts'
import type {
  Maybe,
  SaslExchange,
  SaslMechanism,
  SaslServerExchange,
  SaslServerMechanism,
  SaslStep,
} from './mechanism.ts'
import { EMPTY_CHALLENGE } from './mechanism.ts'
import { escapeName, unescapeName } from './names.ts'
import { saslprep } from './saslprep.ts'
import {
  checkIterations,
  DEFAULT_ITERATIONS,
  deriveKeys,
  digest,
  equalBytes,
  HASHES,
  hmac,
  MAX_ITERATIONS,
  MIN_ITERATIONS,
  preparedPassword,
  randomBytes,
  SALT_SIZE,
  type ScramCredentials,
  type ScramHash,
  SIZE,
  saltedPassword,
  xor,
} from './scram-keys.ts'

/** 144 bits, which base64 writes without padding. */
const randomNonce = (): string => encodeBase64(randomBytes(18))

/** What a nonce may consist of: printable ASCII but the comma. */
const NONCE = '[\\x21-\\x2b\\x2d-\\x7e]+'
/** Attributes behind those that the RFC defines; optional, and passed over. */
const EXTENSIONS = '(?:,[A-Za-z]=[^,\\0]+)*'

const CLIENT_FIRST = new RegExp(`^([ny]),(?:a=([^,]+))?,(n=([^,]+),r=(${NONCE})${EXTENSIONS})$`)
const SERVER_FIRST = new RegExp(`^r=(${NONCE}),s=([\\w+/=]+),i=([1-9]\\d*)${EXTENSIONS}$`)
const CLIENT_FINAL = new RegExp(`^(c=([\\w+/=]+),r=(${NONCE})${EXTENSIONS}),p=([\\w+/=]+)$`)
const SERVER_FINAL = new RegExp(`^v=([\\w+/=]+)${EXTENSIONS}$`)
const SERVER_ERROR = /^e=([!-+\--~]{1,64})(?:,|$)/

const mechanismName = (hash: ScramHash): string => `SCRAM-${hash}`
const textOf = (bytes: Uint8Array): string => decodeUtf8(bytes, 0, bytes.length) ?? ''

// ---- the connecting end ----------------------------------------------------------------------------------------

/**
 * The mechanisms, strongest first.
 * @throws {SaslError} name or password is empty, or contains what SASLprep forbids
 */
export const scram = (username: string, password: string): readonly SaslMechanism[] =>
  HASHES.map(hash => scramMechanism(hash, username, password))

/** One of them. @param nonce  other than random only for test vectors */
export function scramMechanism(
  hash: ScramHash,
  username: string,
  password: string,
  nonce: () => string = randomNonce,
): SaslMechanism {
  const name = saslprep(username, 'query')
  if (!name) throw new SaslError('the user name is empty, or contains what SASLprep forbids (RFC 4013)')
  const secret = preparedPassword(password)
  return {
    name: mechanismName(hash),
    secret: false,
    start: () => new ScramClient(hash, name, secret, nonce()),
  }
}

class ScramClient implements SaslExchange {
  readonly #hash: ScramHash
  readonly #password: Uint8Array
  readonly #nonce: string
  readonly #firstBare: string
  /** What the server has to sign with, once we have proved ourselves. */
  #signature: Uint8Array | undefined
  #proved = false

  constructor(hash: ScramHash, name: string, password: Uint8Array, nonce: string) {
    this.#hash = hash
    this.#password = password
    this.#nonce = nonce
    this.#firstBare = `n=${escapeName(name)},r=${nonce}`
  }

  initial(): Uint8Array {
    return encodeUtf8(`n,,${this.#firstBare}`)
  }

  async respond(challenge: Uint8Array): Promise<Uint8Array> {
    if (this.#proved) throw this.#failed('the server sent a challenge after it had proved itself')
    if (this.#signature === undefined) return encodeUtf8(await this.#prove(textOf(challenge)))
    this.#verify(challenge)
    return new Uint8Array()
  }

  finish(additionalData: Uint8Array | undefined): void {
    if (!this.#proved) this.#verify(additionalData ?? new Uint8Array())
  }

  /** The answer to the server's first message. @throws {SaslError} */
  async #prove(serverFirst: string): Promise<string> {
    const hash = this.#hash
    this.#refuseError(serverFirst)
    const [, nonce = '', salt64 = '', count = ''] = SERVER_FIRST.exec(serverFirst) ?? []
    const salt = decodeBase64(salt64)
    if (!salt || salt.length === 0)
      throw this.#failed(
        serverFirst.startsWith('m=')
          ? 'the server demands an extension of SCRAM that is not known here'
          : 'the first message of the server is not understood',
      )
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length)
      throw this.#failed('the nonce of the server does not continue ours')
    const iterations = Number(count)
    if (iterations < MIN_ITERATIONS || iterations > MAX_ITERATIONS)
      throw this.#failed(`the server asks for ${count.slice(0, 16)} iterations; ${BOUNDS} are taken`)
    const { clientKey, storedKey, serverKey } = await deriveKeys(
      hash,
      await saltedPassword(hash, this.#password, salt, iterations),
    )
    const withoutProof = `c=${encodeBase64(encodeUtf8('n,,'))},r=${nonce}`
    const exchange = encodeUtf8(`${this.#firstBare},${serverFirst},${withoutProof}`)
    const proof = xor(clientKey, await hmac(hash, storedKey, exchange))
    this.#signature = await hmac(hash, serverKey, exchange)
    return `${withoutProof},p=${encodeBase64(proof)}`
  }

  /** The server's last message, which has to be there before it is believed. @throws {SaslError} */
  #verify(bytes: Uint8Array): void {
    const serverFinal = textOf(bytes)
    this.#refuseError(serverFinal)
    const signature = decodeBase64(SERVER_FINAL.exec(serverFinal)?.[1] ?? '')
    if (!this.#signature || !signature || !equalBytes(this.#signature, signature))
      throw this.#failed('the server has not proved that it knows the password')
    this.#proved = true
  }

  #failed(why: string, outcome?: 'auth'): SaslError {
    return new SaslError(`authentication by SASL ${mechanismName(this.#hash)} failed: ${why}`, outcome)
  }

  #refuseError(message: string): void {
    const error = SERVER_ERROR.exec(message)?.[1]
    if (error !== undefined) throw this.#failed(`the server refuses: ${error}`, 'auth')
  }
}

const BOUNDS = `${MIN_ITERATIONS} … ${MAX_ITERATIONS}`

// ---- the accepting end -----------------------------------------------------------------------------------------

/**
 * Finds what is kept of a user's password for that hash; `undefined` for a user who is not known.
 *
 * @param username  prepared by SASLprep
 */
export type ScramLookup = (username: string, hash: ScramHash) => Maybe<ScramCredentials | undefined>

/** How SCRAM is offered. What is said of users who are not known must look like what is said of those who are. */
export interface ScramServerOptions {
  /** Those that there are credentials for: a client picks the strongest. Default: all, strongest first. */
  readonly hashes?: readonly ScramHash[] | undefined
  /** What your users' credentials have; default 65,536. */
  readonly iterations?: number | undefined
  /** Bytes of your users' salts, 1 … 64; default 16. */
  readonly saltSize?: number | undefined
  /** What the salts of unknown users are made of. Default: random, once a process; one of your own survives restarts. */
  readonly secret?: Uint8Array | undefined
}

/** @throws {UsageError} an option is out of range */
export function scramServer(lookup: ScramLookup, options: ScramServerOptions = {}): readonly SaslServerMechanism[] {
  const { hashes = HASHES, iterations = DEFAULT_ITERATIONS, saltSize = SALT_SIZE } = options
  checkIterations(iterations)
  if (!Number.isInteger(saltSize) || saltSize < 1 || saltSize > SIZE['SHA-512'])
    throw new UsageError(`saltSize is 1 … ${SIZE['SHA-512']} bytes, not ${saltSize}`)
  if (hashes.length === 0 || hashes.some(hash => !HASHES.includes(hash)))
    throw new UsageError(`hashes are among ${HASHES.join(', ')}`)
  const decoy: Decoy = { iterations, saltSize, secret: options.secret }
  return hashes.map(hash => scramServerMechanism(hash, lookup, decoy))
}

/** How the users look who are not known. */
interface Decoy {
  readonly iterations: number
  readonly saltSize: number
  readonly secret?: Uint8Array | undefined
}

/** One of them. @param nonce  other than random only for test vectors */
export const scramServerMechanism = (
  hash: ScramHash,
  lookup: ScramLookup,
  decoy: Decoy = { iterations: DEFAULT_ITERATIONS, saltSize: SALT_SIZE },
  nonce: () => string = randomNonce,
): SaslServerMechanism => ({
  name: mechanismName(hash),
  start: () => new ScramServer(hash, lookup, decoy, nonce()),
})

/** What was agreed on in the first two messages. */
interface Attempt {
  readonly username: string
  readonly isKnown: boolean
  readonly credentials: ScramCredentials
  /** The part of the client's first message that `c` repeats. */
  readonly bindingHeader: string
  readonly nonce: string
  /** Both first messages, as they are signed. */
  readonly firsts: string
}

const REFUSED: SaslStep = { outcome: 'auth' }

class ScramServer implements SaslServerExchange {
  readonly #hash: ScramHash
  readonly #lookup: ScramLookup
  readonly #decoy: Decoy
  readonly #nonce: string
  #attempt: Attempt | undefined

  constructor(hash: ScramHash, lookup: ScramLookup, decoy: Decoy, nonce: string) {
    this.#hash = hash
    this.#lookup = lookup
    this.#decoy = decoy
    this.#nonce = nonce
  }

  step(response: Uint8Array | undefined): Maybe<SaslStep> {
    if (response === undefined) return EMPTY_CHALLENGE
    return this.#attempt ? this.#decide(this.#attempt, textOf(response)) : this.#greet(textOf(response))
  }

  async #greet(clientFirst: string): Promise<SaslStep> {
    const [, flag, authzid, bare = '', escaped = '', clientNonce] = CLIENT_FIRST.exec(clientFirst) ?? []
    const username = saslprep(unescapeName(escaped) ?? '', 'query')
    if (flag === undefined || !username) return REFUSED
    // Nobody acts as somebody else.
    if (authzid !== undefined && unescapeName(authzid) !== username) return REFUSED
    const fake = await this.#fake(username)
    const found = await this.#lookup(username, this.#hash)
    const credentials = found ?? fake
    const nonce = `${clientNonce}${this.#nonce}`
    const serverFirst = `r=${nonce},s=${encodeBase64(credentials.salt)},i=${credentials.iterations}`
    this.#attempt = {
      username,
      isKnown: found !== undefined,
      credentials,
      bindingHeader: encodeBase64(encodeUtf8(clientFirst.slice(0, -bare.length))),
      nonce,
      firsts: `${bare},${serverFirst}`,
    }
    return { challenge: encodeUtf8(serverFirst) }
  }

  async #decide(attempt: Attempt, clientFinal: string): Promise<SaslStep> {
    const { credentials, username } = attempt
    const [, withoutProof, binding, nonce, proof64 = ''] = CLIENT_FINAL.exec(clientFinal) ?? []
    const proof = decodeBase64(proof64)
    if (binding !== attempt.bindingHeader || nonce !== attempt.nonce || proof?.length !== SIZE[this.#hash])
      return REFUSED
    const exchange = encodeUtf8(`${attempt.firsts},${withoutProof}`)
    const clientKey = xor(proof, await hmac(this.#hash, credentials.storedKey, exchange))
    const isProved = equalBytes(await digest(this.#hash, clientKey), credentials.storedKey)
    const signature = await hmac(this.#hash, credentials.serverKey, exchange)
    if (!isProved || !attempt.isKnown) return REFUSED
    return { outcome: 'ok', identity: username, additionalData: encodeUtf8(`v=${encodeBase64(signature)}`) }
  }

  /** The same for a name each time, so that asking twice does not tell who is known. */
  async #fake(username: string): Promise<ScramCredentials> {
    const { iterations, saltSize, secret = processSecret() } = this.#decoy
    const bytes = await hmac('SHA-512', secret, encodeUtf8(`${this.#hash},${username}`))
    const key = bytes.slice(0, SIZE[this.#hash])
    return { salt: bytes.slice(0, saltSize), iterations, storedKey: key, serverKey: key }
  }
}

let processWide: Uint8Array | undefined

function processSecret(): Uint8Array {
  processWide ??= randomBytes(32)
  return processWide
}
