/**
 * Claims-based security: hands tokens to a peer through its `$cbs` node, so that links attached later on the same
 * connection are authorised.
 *
 * A request/response exchange over a pair of links, on a session of its own. It follows working draft 11 of AMQP
 * Claims-based Security in the form that Azure's services speak; tokens themselves are made elsewhere, and renewing
 * them in time is the caller's. Facts: spec-notes/cbs.md. §2.6, §3.2
 */

import type { Closure, Connection, RequestLink } from '../client/api.ts'
import type { Abortable, ErrorInit, RequestOptions } from '../client/options.ts'
import { AmqpCondition, RemoteError, UsageError } from '../errors.ts'
import type { Message, MessageInit } from '../message/message.ts'

/** A token to put. */
export interface CbsToken {
  /** What kind it is, in the peer's words, e.g. `servicebus.windows.net:sastoken`. */
  readonly type: string
  /** The token text. Secret. */
  readonly value: string
  /** When it ceases to be valid; told to the peer, not acted on here. */
  readonly expiresAt: Date
}

/** The two links to `$cbs` of one connection. Make it with {@link CbsSession.attach}. */
export class CbsSession implements AsyncDisposable {
  readonly #link: RequestLink

  private constructor(link: RequestLink) {
    this.#link = link
  }

  /**
   * Begins a session and attaches a sender and a receiver to `$cbs`.
   *
   * @param connection  or what `reconnect.onReopened` is given, before anything is restored
   * @param options     `timeoutMs`: how long each answer may take; default: for ever
   *
   * @throws {RemoteError} the peer refused a link, as one without a `$cbs` node does
   * @throws {ClosedError} the connection ended first
   *
   * Cancellation ends the session.
   */
  static async attach(connection: Pick<Connection, 'request'>, options: RequestOptions = {}): Promise<CbsSession> {
    const { signal, timeoutMs } = options
    return new CbsSession(await connection.request(NODE, { signal, timeoutMs, replyTo: REPLY_TO, check }))
  }

  /** Resolves when the links or their session have ended, or the connection for good. */
  get closed(): Promise<Closure> {
    return this.#link.closed
  }

  /**
   * Puts a token for an audience, in place of an earlier one for the same. Any number of requests may be in flight.
   *
   * @param audience  what the token is for, e.g. `myhub.azure-devices.net/devices/dev1`; not empty
   * @throws {UsageError} audience, type or value is empty, or the expiry is no date
   * @throws {RemoteError} the peer refused the token: `amqp:unauthorized-access` for status 401 and 403,
   *   `amqp:not-found` for 404, `amqp:invalid-field` for 400, else `amqp:internal-error`; `description` is the peer's, `info` has `status-code`
   * @throws {DeliveryError} the peer did not accept the request
   * @throws {ProtocolError} the answer has no status
   * @throws {ClosedError} the links, their session or the connection ended first; whether the token holds is unknown
   *
   * Cancellation forgets the request; one that was sent may still take effect.
   */
  async putToken(audience: string, token: CbsToken, options: Abortable = {}): Promise<void> {
    const { signal } = options
    signal?.throwIfAborted()
    checkToken(audience, token)
    const answer = await this.#link.send(putTokenRequest(audience, token), { signal })
    const error = errorOf(audience, answer)
    if (error) throw error
  }

  /** Ends the session with its links. Requests in flight fail with `ClosedError`. Tokens put stay valid. */
  async close(): Promise<void> {
    await this.#link.close()
  }

  /** {@link close} */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

const NODE = '$cbs'
const REPLY_TO = 'cbs'

function checkToken(audience: string, token: CbsToken): void {
  if (audience === '') throw new UsageError('CBS: the audience is empty')
  if (token.type === '') throw new UsageError('CBS: the token type is empty')
  if (token.value === '') throw new UsageError('CBS: the token is empty')
  if (Number.isNaN(token.expiresAt.getTime())) throw new UsageError('CBS: the expiry of the token is not a date')
}

function putTokenRequest(audience: string, token: CbsToken): MessageInit {
  return {
    properties: { to: NODE },
    applicationProperties: {
      operation: 'put-token',
      type: token.type,
      name: audience,
      expiration: token.expiresAt,
    },
    body: { value: token.value },
  }
}

/** `undefined` when absent or not an integer. */
function statusOf(answer: Message): number | undefined {
  const status = answer.applicationProperties?.get('status-code')
  return typeof status === 'bigint' || Number.isInteger(status) ? Number(status) : undefined
}

const check = (answer: Message): ErrorInit | undefined =>
  statusOf(answer) === undefined
    ? { condition: AmqpCondition.invalidField, description: 'the CBS response has no integer status-code' }
    : undefined

/** `undefined` for success. */
function errorOf(audience: string, answer: Message): RemoteError | undefined {
  const status = statusOf(answer) ?? 0
  if (status >= 200 && status <= 299) return undefined
  const said = answer.applicationProperties?.get('status-description')
  const description = typeof said === 'string' ? said : undefined
  const condition = conditions.get(status) ?? AmqpCondition.internalError
  const info = new Map([['status-code', status]])
  return new RemoteError(`token for '${audience}' refused with status ${status}`, 'connection', {
    condition,
    description,
    info,
  })
}

const conditions: ReadonlyMap<number, string> = /* @__PURE__ */ new Map([
  [400, AmqpCondition.invalidField],
  [401, AmqpCondition.unauthorizedAccess],
  [403, AmqpCondition.unauthorizedAccess],
  [404, AmqpCondition.notFound],
])
