/**
 * Claims-based security: hands tokens to a peer through its `$cbs` node, so that links attached later on the same
 * connection are authorised.
 *
 * A request/response exchange over a pair of links, on a session of its own. It follows working draft 11 of AMQP
 * Claims-based Security in the form that Azure's services speak; tokens themselves are made elsewhere, and renewing
 * them in time is the caller's. Facts: spec-notes/cbs.md. §2.6, §3.2
 */

import type { Closure, Connection, Delivery, Receiver, Sender, Session } from '../client/api.ts'
import type { Abortable } from '../client/options.ts'
import { assertAccepted } from '../client/outcome.ts'
import {
  AmqpCondition,
  type AmqpError,
  ClosedError,
  DecodeError,
  ProtocolError,
  RemoteError,
  UsageError,
} from '../errors.ts'
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

/** A request that the peer has not yet answered. */
interface Request {
  readonly audience: string
  /** Settles the promise of the request, once; a failure is given as its error. */
  settle(error?: unknown): void
}

/** The two links to `$cbs` of one connection. Make it with {@link CbsSession.attach}. */
export class CbsSession implements AsyncDisposable {
  readonly #session: Session
  readonly #sender: Sender
  readonly #receiver: Receiver
  readonly #requests = new Map<string, Request>()
  #ended: { readonly error: AmqpError | undefined } | undefined

  private constructor(session: Session, sender: Sender, receiver: Receiver) {
    this.#session = session
    this.#sender = sender
    this.#receiver = receiver
    for (const { closed } of [sender, receiver, session]) void closed.then(closure => this.#onClosed(closure))
    void this.#receive()
  }

  /**
   * Begins a session and attaches a sender and a receiver to `$cbs`.
   *
   * @throws {RemoteError} the peer refused a link, as one without a `$cbs` node does
   * @throws {ClosedError} the connection ended first
   *
   * Cancellation ends the session.
   */
  static async attach(connection: Connection, options: Abortable = {}): Promise<CbsSession> {
    const { signal } = options
    const session = await connection.session({ signal })
    try {
      const [sender, receiver] = await Promise.all([
        session.sender(NODE, { signal, settle: 'unsettled', source: { address: REPLY_TO } }),
        session.receiver(NODE, { signal, target: { address: REPLY_TO } }),
      ])
      return new CbsSession(session, sender, receiver)
    } catch (error) {
      session.end().catch(ignore)
      throw error
    }
  }

  /**
   * Puts a token for an audience, in place of an earlier one for the same. Any number of requests may be in flight.
   *
   * @param audience  what the token is for, e.g. `myhub.azure-devices.net/devices/dev1`; not empty
   * @throws {UsageError} audience, type or value is empty, or the expiry is no date
   * @throws {RemoteError} the peer refused the token: `amqp:unauthorized-access` for status 401 and 403,
   *   `amqp:not-found` for 404, else `amqp:internal-error`; `description` is the peer's, `info` has `status-code`
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
    if (this.#ended !== undefined) throw this.#closedError()
    const id = globalThis.crypto.randomUUID()
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => settle(signal?.reason)
      const settle = (error?: unknown): void => {
        if (!this.#requests.delete(id)) return
        signal?.removeEventListener('abort', onAbort)
        if (error === undefined) resolve()
        else reject(error)
      }
      this.#requests.set(id, { audience, settle })
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#sender
        .send(putTokenRequest(id, audience, token), { signal })
        .then(assertAccepted)
        .catch(settle)
    })
  }

  /** Ends the session with its links. Requests in flight fail with `ClosedError`. Tokens put stay valid. */
  async close(): Promise<void> {
    this.#onClosed({ by: 'local', error: undefined })
    await this.#session.end()
  }

  /** {@link close} */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #receive(): Promise<void> {
    try {
      for await (const delivery of this.#receiver) await this.#onDelivery(delivery)
    } catch {
      // The link has ended; `closed` tells why, and has failed what was pending.
    }
  }

  async #onDelivery(delivery: Delivery): Promise<void> {
    let response: Response
    try {
      response = readResponse(delivery.message)
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error
      // Which request it answers cannot be read, so none can be left waiting for it.
      await delivery.reject({ condition: AmqpCondition.decodeError })
      await this.#fail(
        new ProtocolError('a CBS response cannot be decoded', AmqpCondition.decodeError, 'link', undefined, error),
      )
      return
    }
    const request = this.#requests.get(response.id ?? '')
    if (request === undefined) {
      await delivery.accept()
      return
    }
    if (response.status === undefined) {
      const problem = 'the CBS response has no integer status-code'
      await delivery.reject({ condition: AmqpCondition.invalidField, description: problem })
      request.settle(new ProtocolError(problem, AmqpCondition.invalidField, 'delivery'))
      return
    }
    await delivery.accept()
    request.settle(errorOf(request.audience, response.status, response.description))
  }

  async #fail(error: AmqpError): Promise<void> {
    this.#onClosed({ by: 'local', error })
    await this.#session.end({ error: { condition: error.condition ?? AmqpCondition.internalError } })
  }

  #onClosed(closure: Closure): void {
    if (this.#ended !== undefined) return
    this.#ended = { error: closure.error }
    for (const request of [...this.#requests.values()]) request.settle(this.#closedError())
    // Whichever of the three ended, the others serve nothing any more.
    if (closure.by !== 'local') this.#session.end().catch(ignore)
  }

  #closedError(): ClosedError {
    return new ClosedError('the CBS session', 'session', this.#ended?.error)
  }
}

const NODE = '$cbs'
const REPLY_TO = 'cbs'

const ignore = (): void => {}

function checkToken(audience: string, token: CbsToken): void {
  if (audience === '') throw new UsageError('CBS: the audience is empty')
  if (token.type === '') throw new UsageError('CBS: the token type is empty')
  if (token.value === '') throw new UsageError('CBS: the token is empty')
  if (Number.isNaN(token.expiresAt.getTime())) throw new UsageError('CBS: the expiry of the token is not a date')
}

function putTokenRequest(id: string, audience: string, token: CbsToken): MessageInit {
  return {
    properties: { messageId: id, to: NODE, replyTo: REPLY_TO },
    applicationProperties: {
      operation: 'put-token',
      type: token.type,
      name: audience,
      expiration: token.expiresAt,
    },
    body: { value: token.value },
  }
}

/** What of a response matters. */
interface Response {
  /** Which request it answers; `undefined` when it does not say. */
  readonly id: string | undefined
  /** `undefined` when absent or not an integer. */
  readonly status: number | undefined
  readonly description: string | undefined
}

/** @throws {DecodeError} */
function readResponse(message: Message): Response {
  const correlationId = message.properties?.correlationId
  const status = message.applicationProperties?.get('status-code')
  const description = message.applicationProperties?.get('status-description')
  // Ids are sent as strings. A peer may send one back in another type that has the same text.
  const id = correlationId instanceof Uint8Array ? new TextDecoder().decode(correlationId) : correlationId?.toString()
  return {
    id: id?.toLowerCase(),
    status: typeof status === 'bigint' || Number.isInteger(status) ? Number(status) : undefined,
    description: typeof description === 'string' ? description : undefined,
  }
}

/** `undefined` for success. */
function errorOf(audience: string, status: number, description: string | undefined): RemoteError | undefined {
  if (status >= 200 && status <= 299) return undefined
  const condition = conditions.get(status) ?? AmqpCondition.internalError
  const info = new Map([['status-code', status]])
  return new RemoteError(`token for '${audience}' refused with status ${status}`, 'connection', {
    condition,
    description,
    info,
  })
}

const conditions: ReadonlyMap<number, string> = /* @__PURE__ */ new Map([
  [401, AmqpCondition.unauthorizedAccess],
  [403, AmqpCondition.unauthorizedAccess],
  [404, AmqpCondition.notFound],
])
