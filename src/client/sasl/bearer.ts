/** What OAUTHBEARER and XOAUTH2 have in common: a token, and a refusal that comes as a challenge before the outcome. */

import { SaslError } from '../../errors.ts'
import { decodeUtf8, encodeUtf8 } from '../../types/utf8.ts'
import {
  EMPTY_CHALLENGE,
  isLetIn,
  type Maybe,
  type SaslExchange,
  type SaslServerExchange,
  type SaslStep,
  verdict,
} from './mechanism.ts'

/** A token, or what fetches a fresh one for each attempt. `signal` fires when the connection has ended meanwhile. */
export type TokenSource = string | ((signal: AbortSignal) => Maybe<string>)

/** What decides about a token and whom it is said to be for; '' where that is not said. */
export type TokenCheck = (token: string, user: string) => Maybe<boolean | string>

/**
 * The client's part.
 *
 * @param message  what is sent for a token
 * @param dismissal  answers the server's refusal
 */
export const bearerClient = (
  source: TokenSource,
  signal: AbortSignal,
  message: (token: string) => string,
  dismissal: Uint8Array,
): SaslExchange => new BearerClient(source, signal, message, dismissal)

class BearerClient implements SaslExchange {
  readonly #source: TokenSource
  readonly #signal: AbortSignal
  readonly #message: (token: string) => string
  readonly #dismissal: Uint8Array
  #token = ''
  #refusal: Uint8Array | undefined

  constructor(source: TokenSource, signal: AbortSignal, message: (token: string) => string, dismissal: Uint8Array) {
    this.#source = source
    this.#signal = signal
    this.#message = message
    this.#dismissal = dismissal
  }

  async initial(): Promise<Uint8Array> {
    const token = typeof this.#source === 'string' ? this.#source : await this.#source(this.#signal)
    if (typeof token !== 'string' || bearerToken(`Bearer ${token}`) !== token)
      throw new SaslError('a bearer token is text of printable ASCII, not empty, and does not begin or end with blanks')
    this.#token = token
    return encodeUtf8(this.#message(token))
  }

  respond(challenge: Uint8Array): Uint8Array {
    if (this.#refusal) throw new SaslError('the server sent a second challenge')
    this.#refusal = challenge
    return this.#dismissal
  }

  finish(): void {
    if (this.#refusal) throw new SaslError('the server refused the token, and then took it')
  }

  /** The status in the server's JSON, unless it shows something of the token. */
  failure(): string | undefined {
    const text = this.#refusal && decodeUtf8(this.#refusal, 0, this.#refusal.length)
    const status = text === undefined ? undefined : statusIn(text)
    if (status === undefined || this.#token.includes(status) || status.includes(this.#token)) return undefined
    return `status ${status}`
  }
}

function statusIn(text: string): string | undefined {
  try {
    const { status } = JSON.parse(text) as { status?: unknown }
    return /^[\x21-\x7e]{1,64}$/.test(String(status ?? '')) ? String(status) : undefined
  } catch {
    return undefined
  }
}

/** What was in a client's message. */
export interface BearerCredentials {
  readonly token: string
  readonly user: string
}

/** The server's part: reads the message, asks, and tells the client why not before the outcome does. */
export const bearerServer = (
  read: (message: string) => BearerCredentials | undefined,
  check: TokenCheck,
): SaslServerExchange => new BearerServer(read, check)

class BearerServer implements SaslServerExchange {
  readonly #read: (message: string) => BearerCredentials | undefined
  readonly #check: TokenCheck
  #refused = false

  constructor(read: (message: string) => BearerCredentials | undefined, check: TokenCheck) {
    this.#read = read
    this.#check = check
  }

  async step(response: Uint8Array | undefined): Promise<SaslStep> {
    if (this.#refused) return { outcome: 'auth' }
    if (response === undefined) return EMPTY_CHALLENGE
    const credentials = this.#read(decodeUtf8(response, 0, response.length) ?? '')
    if (!credentials) return this.#refuse('invalid_request')
    const answer = await this.#check(credentials.token, credentials.user)
    return isLetIn(answer) ? verdict(answer, credentials.user || undefined) : this.#refuse('invalid_token')
  }

  #refuse(status: string): SaslStep {
    this.#refused = true
    return { challenge: encodeUtf8(JSON.stringify({ status })) }
  }
}

/** The token behind `Bearer `, whose case does not matter; `undefined` for anything else. */
export const bearerToken = (value: string | undefined): string | undefined =>
  /^bearer +([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)$/i.exec(value ?? '')?.[1]
