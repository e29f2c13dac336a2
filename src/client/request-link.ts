/**
 * Requests and their answers over a pair of links, on a session of their own: what ends one of them ends the others, and
 * nothing else. Answers find their requests by correlation-id, whatever order they come in. §2.6 §3.2.4
 */

import { AmqpCondition, type AmqpError, ClosedError, DecodeError, ProtocolError, UsageError } from '../errors.ts'
import { timerDelay } from '../io/delay.ts'
import type { Message, MessageInit } from '../message/message.ts'
import type { Closure, Delivery, Receiver, RequestLink, Sender } from './api.ts'
import { inspectAs } from './diagnostics/inspect.ts'
import { checkTimeout, deferred, handled, shared } from './operation.ts'
import type { Abortable, ErrorInit, RequestLinkOptions, RequestOptions } from './options.ts'
import { assertAccepted } from './outcome.ts'
import type { ClientReceiver } from './receiver.ts'
import type { ClientSession } from './session.ts'

/** A request that has no answer yet. Settled once. */
interface Pending {
  settle(answer: Message | undefined, error?: unknown): void
  /** Settles it with the error, and takes back what is not sent. */
  give(reason: unknown): void
  /** The peer has the request. */
  isAccepted: boolean
}

export class ClientRequestLink implements RequestLink {
  static {
    inspectAs(ClientRequestLink.prototype, 'RequestLink', of => ({
      address: of.address,
      replyTo: of.replyTo,
      pending: of.pending,
    }))
  }

  readonly address: string
  unmatched = 0
  readonly #session: ClientSession
  readonly #sender: Sender
  readonly #receiver: ClientReceiver
  readonly #options: RequestLinkOptions
  readonly #pending = new Map<string, Pending>()
  readonly #closed = deferred<Closure>()
  #closure: Closure | undefined

  constructor(
    address: string,
    on: { session: ClientSession; sender: Sender; receiver: ClientReceiver },
    options: RequestLinkOptions,
  ) {
    this.address = address
    this.#session = on.session
    this.#sender = on.sender
    this.#receiver = on.receiver
    this.#options = options
    for (const { closed } of [on.sender, on.receiver, on.session]) void closed.then(closure => this.#onClosed(closure))
    on.receiver.on('suspended', () => this.#onSuspended())
    void this.#receive(on.receiver)
  }

  get replyTo(): string {
    return this.#options.replyTo ?? this.#receiver.source?.address ?? ''
  }

  /**
   * The link for answers is lost, with its connection or without, and is attached again. What is not sent waits, unless it
   * names a node that was made for the answers and is no more. Of what was taken the answer is lost, unless links are
   * resumed.
   */
  #onSuspended(): void {
    const isResumed = this.#session.recovery?.options.resume === true
    const error = new ClosedError(
      `the request link to '${this.address}' lost the link for its answers: the request`,
      'delivery',
    )
    for (const { isAccepted, give } of [...this.#pending.values()])
      if (!this.#options.replyTo || (isAccepted && !isResumed)) give(error)
  }

  get pending(): number {
    return this.#pending.size
  }

  get closed(): Promise<Closure> {
    return this.#closed.promise
  }

  async send(request: MessageInit, options: RequestOptions = {}): Promise<Message> {
    const { signal, timeoutMs = this.#options.timeoutMs } = options
    signal?.throwIfAborted()
    checkTimeout(timeoutMs)
    if (this.#closure) throw this.#closedError()
    // A node that is made for the answers is another on each connection.
    if (!this.#options.replyTo && this.#receiver.isDown) await shared(this.#receiver.whenAttached(), signal)
    const messageId = request.properties?.messageId ?? globalThis.crypto.randomUUID()
    const key = keyOf(messageId)
    if (this.#pending.has(key))
      throw new UsageError(`a request with the message-id ${messageId} waits already`, '3.2.4')
    const cancel = new AbortController()
    return new Promise<Message>((resolve, reject) => {
      const settle = (answer: Message | undefined, error?: unknown): void => {
        if (!this.#pending.delete(key)) return
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        if (answer) resolve(answer)
        else reject(error)
      }
      const give = (reason: unknown): void => {
        settle(undefined, reason)
        cancel.abort(reason)
      }
      const onAbort = (): void => give(signal?.reason)
      const late = (): void => give(new DOMException(`no answer within ${timeoutMs} ms`, 'TimeoutError'))
      const timer = timeoutMs === undefined ? undefined : setTimeout(late, timerDelay(timeoutMs))
      signal?.addEventListener('abort', onAbort, { once: true })
      const pending: Pending = { settle, give, isAccepted: false }
      this.#pending.set(key, pending)
      const properties = { replyTo: this.replyTo, ...request.properties, messageId }
      this.#sender
        .send({ ...request, properties }, { signal: cancel.signal })
        .then(outcome => {
          assertAccepted(outcome)
          pending.isAccepted = true
        })
        .catch(error => settle(undefined, error))
    })
  }

  async #receive(receiver: Receiver): Promise<void> {
    try {
      for await (const delivery of receiver) await this.#onAnswer(delivery)
    } catch {
      // The link has ended; `closed` tells why, and has failed what was pending.
    }
  }

  async #onAnswer(delivery: Delivery): Promise<void> {
    let request: Pending | undefined
    try {
      request = this.#requestOf(delivery.message)
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error
      // Which request it answers cannot be read, so none can be left waiting for it.
      void handled(delivery.reject({ condition: AmqpCondition.decodeError }))
      await this.#fail(
        new ProtocolError(
          `an answer of '${this.address}' cannot be decoded`,
          AmqpCondition.decodeError,
          'link',
          undefined,
          error,
        ),
      )
      return
    }
    if (!request) {
      // A late answer, or nobody's: sent again, it would be no better.
      this.unmatched++
      void handled(delivery.accept())
      return
    }
    let wrong: ErrorInit | undefined
    try {
      wrong = this.#options.check?.(delivery.message)
    } catch (error) {
      void handled(delivery.accept())
      return request.settle(undefined, error)
    }
    if (wrong) {
      void handled(delivery.reject(wrong))
      const { condition, description = 'an answer is not as it should be' } = wrong
      return request.settle(undefined, new ProtocolError(description, condition, 'delivery'))
    }
    void handled(delivery.accept())
    request.settle(delivery.message)
  }

  /** By correlation-id; where that is missing by message-id, as some peers answer. */
  #requestOf({ properties, applicationProperties }: Message): Pending | undefined {
    // Looked at, so that what cannot be decoded is found here.
    void applicationProperties
    const id = properties?.correlationId ?? properties?.messageId
    return id === undefined ? undefined : this.#pending.get(keyOf(id))
  }

  async #fail(error: AmqpError): Promise<void> {
    this.#onClosed({ by: 'local', error })
    await this.#session.end({ error: { condition: error.condition ?? AmqpCondition.internalError } })
  }

  #onClosed(closure: Closure): void {
    if (this.#closure) return
    this.#closure = closure
    for (const { settle } of [...this.#pending.values()]) settle(undefined, this.#closedError())
    // Whichever of the three ended, the others serve nothing any more.
    if (closure.by !== 'local') void handled(this.#session.end())
    this.#closed.resolve(closure)
  }

  #closedError(): ClosedError {
    return new ClosedError(`the request link to '${this.address}'`, 'link', this.#closure?.error, this.#closure?.by)
  }

  async close(options: Abortable = {}): Promise<void> {
    this.#onClosed({ by: 'local', error: undefined })
    await this.#session.end(options)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** The text of an id: a peer may send one back in another type that has the same. */
function keyOf(id: { toString(): string } | Uint8Array): string {
  const text = id instanceof Uint8Array ? textOf(id) : id.toString()
  return UUID.test(text) ? text.toLowerCase() : text
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return `0x${Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')}`
  }
}
