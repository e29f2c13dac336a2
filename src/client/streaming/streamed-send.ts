/**
 * StreamedSend: one message whose body is made while it is sent. §2.6.14 §3.2.6
 *
 * A loop of its own pulls the source, only while little is queued and the message is the next of its link: credit,
 * window and socket hold it back through the queue.
 */

import type { DeliveryInit, OutgoingDelivery } from '../../engine/outgoing-delivery.ts'
import { extend, finish, unsent } from '../../engine/outgoing-stream.ts'
import { COPY_BELOW, type SenderEndpoint } from '../../engine/sender-endpoint.ts'
import { EncodeError, UsageError } from '../../errors.ts'
import { type EncodedMessage, encodeAround, encodeData } from '../../message/encode.ts'
import type { MessageInit } from '../../message/message.ts'
import type { StreamedInit } from '../api.ts'
import { checkSize } from '../check-send.ts'
import type { LinkOwner } from '../link.ts'
import { type Deferred, deferred } from '../operation.ts'

/** Bytes that may be queued when the source is asked for more. */
const ENOUGH = 256 << 10

/** What gives the pieces. */
interface Source {
  next(): Promise<IteratorResult<unknown, unknown>>
  /** Nothing more is wanted. */
  leave(): unknown
}

/** Whether the body of a message is made while it is sent. */
export function isStreamed(message: MessageInit | StreamedInit | EncodedMessage): message is StreamedInit {
  const body: unknown = (message as Partial<StreamedInit>).body
  if (typeof body !== 'object' || body === null || body instanceof Uint8Array) return false
  return Symbol.asyncIterator in body || 'getReader' in body
}

export class StreamedSend {
  readonly delivery: OutgoingDelivery
  readonly #endpoint: SenderEndpoint
  readonly #owner: LinkOwner
  readonly #source: Source
  readonly #footer: Uint8Array
  #isLeft = false
  #isExhausted = false
  #room: Deferred<void> | undefined

  /**
   * Queues the message, its body still open.
   * @throws {EncodeError} a section does not fit
   * @throws {UsageError} the link cannot send, or the stream is locked
   */
  constructor(endpoint: SenderEndpoint, message: StreamedInit, init: DeliveryInit, owner: LinkOwner) {
    this.#endpoint = endpoint
    this.#owner = owner
    const { opening, footer } = encodeAround(message)
    this.#footer = footer
    checkSize(this.#endpoint, opening.length + footer.length)
    endpoint.checkSendable(init)
    this.#source = sourceOf(message.body)
    this.delivery = endpoint.transfer(opening, { ...init, isOpen: true })
  }

  /** Sends the body to its end, or until it is left. @throws what the source throws, or that a piece cannot be sent */
  async run(): Promise<void> {
    let size = unsent(this.delivery) + this.#footer.length
    let isEmpty = true
    for (;;) {
      await this.#untilWanted()
      if (this.#isLeft) return
      const { done, value } = await this.#next()
      if (this.#isLeft) return
      if (done) break
      if (!(value instanceof Uint8Array))
        throw new EncodeError(`a piece of a body is a Uint8Array, not a ${typeof value}`, 'body')
      if (value.length === 0) continue
      const section = encodeData(value, COPY_BELOW)
      for (const part of section) size += part.length
      checkSize(this.#endpoint, size)
      extend(this.delivery, section)
      isEmpty = false
      this.#owner.touch()
    }
    // §3.2 asks for a body: one without bytes, where the source gave none.
    finish(this.delivery, isEmpty ? [...encodeData(NOTHING, COPY_BELOW), this.#footer] : [this.#footer])
    this.#owner.touch()
  }

  async #next(): Promise<IteratorResult<unknown, unknown>> {
    try {
      const result = await this.#source.next()
      if (result.done) this.#isExhausted = true
      return result
    } catch (error) {
      this.#isExhausted = true
      throw error
    }
  }

  /** Nothing more is to be sent: what is not finished is removed or aborted (§2.7.5), and the source is told. */
  leave(): void {
    if (this.#isLeft) return
    this.#isLeft = true
    this.#owner.flushed.delete(this.#onFlush)
    this.#room?.resolve()
    if (this.delivery.isOpen) this.#endpoint.abort(this.delivery)
    if (this.#isExhausted) return
    this.#isExhausted = true
    // A source that is busy answers when it is done, or never: nobody waits.
    new Promise(resolve => resolve(this.#source.leave())).catch(() => {})
  }

  get #isWanted(): boolean {
    return this.#isLeft || (unsent(this.delivery) < ENOUGH && this.#endpoint.queue.peek() === this.delivery)
  }

  async #untilWanted(): Promise<void> {
    while (!this.#isWanted) {
      this.#room = deferred()
      this.#owner.flushed.add(this.#onFlush)
      await this.#room.promise
    }
  }

  readonly #onFlush = (): void => {
    if (!this.#isWanted) return
    this.#owner.flushed.delete(this.#onFlush)
    this.#room?.resolve()
  }
}

const NOTHING: Uint8Array = /* @__PURE__ */ new Uint8Array(0)

function sourceOf(body: AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>): Source {
  if ('getReader' in body) {
    if (body.locked) throw new UsageError('the stream of the body is being read by somebody else')
    const reader = body.getReader()
    return { next: () => reader.read() as Promise<IteratorResult<unknown, unknown>>, leave: () => reader.cancel() }
  }
  const iterator = body[Symbol.asyncIterator]()
  return { next: () => iterator.next(), leave: () => iterator.return?.() }
}
