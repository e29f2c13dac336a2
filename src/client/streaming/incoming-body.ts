/**
 * IncomingBody: the payload of a delivery that is handed out before it is complete, and the web stream of its body.
 * §2.6.14
 *
 * The sections in front of the body are read at once: the delivery is handed out behind them. From there on bytes are
 * taken when the stream is read, and only then; what is not taken takes up the session's window.
 */

import type { IncomingDelivery } from '../../engine/incoming-delivery.ts'
import type { IncomingStream } from '../../engine/incoming-stream.ts'
import { type AmqpError, DeliveryError, UsageError } from '../../errors.ts'
import type { Message } from '../../message/message.ts'
import { SectionScanner } from '../../message/section-scanner.ts'
import { type Deferred, deferred } from '../operation.ts'

export class IncomingBody {
  readonly #incoming: IncomingDelivery
  readonly #stream: IncomingStream
  readonly #scanner: SectionScanner
  readonly #touch: () => void
  #readable: ReadableStream<Uint8Array> | undefined
  /** Data that came with the last of the opening. */
  #ready: Uint8Array[] = []
  /** The bytes are not a message. */
  #fault: unknown
  /** The link ended before the delivery did. */
  #lost: AmqpError | undefined
  #waiting: Deferred<void> | undefined
  #isCancelled = false

  /** @param touch  something may be due for sending */
  constructor(incoming: IncomingDelivery, stream: IncomingStream, touch: () => void) {
    this.#incoming = incoming
    this.#stream = stream
    this.#touch = touch
    this.#scanner = new SectionScanner(incoming.link.session.connection.limits.maxMessageSize)
  }

  /** Whether the sections in front of the body are there, so that the delivery can be handed out. */
  get isOpened(): boolean {
    return this.#fault !== undefined || this.#scanner.isPastOpening || this.#stream.ended === 'complete'
  }

  /** Whether the peer gave the delivery up. §2.7.5 */
  get isAborted(): boolean {
    return this.#stream.ended === 'aborted'
  }

  /** Whether its end has come, in a way that the end of the link changes nothing about. */
  get hasEnded(): boolean {
    return this.#stream.ended === 'complete' || this.isAborted
  }

  /** Whether it can only be decoded whole: its body is a value or a sequence. */
  get isWhole(): boolean {
    return this.#scanner.isOpaque
  }

  /** More has come, or the end. */
  advance(): void {
    while (this.#fault === undefined && !this.#scanner.isPastOpening) {
      const piece = this.#stream.next()
      if (!piece) break
      this.#scan(piece)
    }
    if (this.#stream.isRead && this.isWhole) this.#checkEnd()
    this.#touchIfDue()
    this.#waiting?.resolve()
  }

  /** The link has ended. What is complete stays readable. */
  fail(error: AmqpError): void {
    if (this.#stream.ended === 'complete') return
    this.#lost = error
    this.#waiting?.resolve()
  }

  /** Nobody will read it, unless somebody has begun to. */
  drop(): void {
    if (this.#readable) return
    this.#stream.discard()
    this.#touchIfDue()
  }

  /** Sections in front of the body; behind its end, the footer as well. @throws {DecodeError} */
  around(): Uint8Array {
    if (this.#fault !== undefined && this.#scanner.bodyCode === 0) throw this.#fault
    if (this.#fault !== undefined && this.isWhole) throw this.#fault
    return this.#scanner.around()
  }

  get aroundSize(): number {
    return this.#scanner.aroundSize
  }

  /** The body, to be read once. @throws {UsageError} it is a value or a sequence */
  get readable(): ReadableStream<Uint8Array> {
    if (this.isWhole) throw notData()
    // Nothing is taken ahead of a read: what waits, waits where the sender can see it.
    this.#readable ??= new ReadableStream<Uint8Array>(
      { pull: controller => this.#pull(controller), cancel: () => this.#cancel() },
      { highWaterMark: 0 },
    )
    return this.#readable
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    while (!this.#isCancelled) {
      const piece = this.#ready.length > 0 || this.#fault !== undefined ? undefined : this.#stream.next()
      if (piece) this.#ready = this.#scan(piece)
      this.#touchIfDue()
      if (this.#ready.length > 0) {
        for (const data of this.#ready.splice(0)) controller.enqueue(data)
        return
      }
      if (this.#stream.isRead && this.#fault === undefined) this.#checkEnd()
      if (this.#fault !== undefined) throw this.#fault
      if (this.isAborted) throw this.abortedError()
      if (this.#lost) throw this.#lost
      if (this.#stream.ended === 'complete' && this.#stream.isRead) return controller.close()
      if (piece) continue
      this.#waiting = deferred()
      await this.#waiting.promise
    }
  }

  #cancel(): void {
    this.#isCancelled = true
    this.#ready = []
    this.#stream.discard()
    this.#touchIfDue()
    this.#waiting?.resolve()
  }

  /** The error of a delivery that the peer gave up. §2.7.5 */
  abortedError(): DeliveryError {
    const { deliveryId, link } = this.#incoming
    return new DeliveryError(`delivery ${deliveryId} on ${link.label} was aborted by the sender`, {
      outcome: 'aborted',
    })
  }

  /** Where the bytes are no message, the rest of them is not wanted. */
  #scan(piece: Uint8Array): Uint8Array[] {
    try {
      const data = this.#scanner.push(piece)
      this.#ready = data
      return data
    } catch (error) {
      this.#fault = error
      this.#stream.discard()
      return []
    }
  }

  #checkEnd(): void {
    if (this.#stream.ended !== 'complete') return
    try {
      this.#scanner.end()
    } catch (error) {
      this.#fault ??= error
    }
  }

  #touchIfDue(): void {
    if (this.#incoming.link.session.isDue) this.#touch()
  }
}

/** The body of a message that is here as a whole, as a stream. @throws {UsageError} it is a value or a sequence */
export function streamOf({ body }: Message): ReadableStream<Uint8Array> {
  if (body instanceof Uint8Array) return streamOfPieces([body])
  if (typeof body === 'object' && 'data' in body) return streamOfPieces(body.data)
  throw notData()
}

function streamOfPieces(pieces: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  let at = 0
  return new ReadableStream<Uint8Array>(
    {
      pull: controller => {
        while (pieces[at]?.length === 0) at++
        const piece = pieces[at++]
        if (piece) controller.enqueue(piece)
        else controller.close()
      },
    },
    { highWaterMark: 0 },
  )
}

const notData = (): UsageError => new UsageError('only data can be read as a stream: read `message.body`', '3.2.6')
