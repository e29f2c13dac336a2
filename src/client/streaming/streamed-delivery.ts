/**
 * A delivery that is handed out before it is complete: its sections at once, its body as it comes. §2.6.14
 *
 * One whose body is a value or a sequence is handed out when it is whole, and is then like any other.
 */

import type { IncomingDelivery } from '../../engine/incoming-delivery.ts'
import type { IncomingStream } from '../../engine/incoming-stream.ts'
import { UsageError } from '../../errors.ts'
import { decodeMessage } from '../../message/decode.ts'
import type { Body, Message, MessageHeader, MessageInit, PropertiesInit } from '../../message/message.ts'
import type { AmqpMap } from '../../types/map.ts'
import type { AmqpValue } from '../../types/values.ts'
import { ClientDelivery } from '../delivery.ts'
import { handled } from '../operation.ts'
import type { ErrorInit } from '../options.ts'
import type { ClientReceiver } from '../receiver.ts'
import { IncomingBody } from './incoming-body.ts'

export class StreamedDelivery extends ClientDelivery {
  readonly #body: IncomingBody
  readonly #incoming: IncomingDelivery
  #message: Message | undefined
  /** Bytes of sections that `#message` was made of. */
  #decoded = -1

  constructor(receiver: ClientReceiver, incoming: IncomingDelivery, body: IncomingBody) {
    super(receiver, incoming)
    this.#incoming = incoming
    this.#body = body
  }

  override get chunks(): readonly Uint8Array[] {
    return [this.bytes]
  }

  override get bytes(): Uint8Array {
    if (this.#body.isWhole) return this.#body.around()
    throw new UsageError('a delivery of a streaming receiver is not kept as a whole: read `delivery.body`', '2.6.14')
  }

  override get message(): Message {
    const { aroundSize, isWhole } = this.#body
    if (this.#message && this.#decoded === aroundSize) return this.#message
    const message = decodeMessage(this.#body.around(), this.#incoming.link.session.connection.limits)
    this.#decoded = aroundSize
    this.#message = isWhole ? message : new StreamedMessage(message)
    return this.#message
  }

  override get body(): ReadableStream<Uint8Array> {
    return this.#body.readable
  }

  override get state(): 'live' | 'settled' | 'lost' | 'aborted' {
    return this.#body.isAborted && !this.#incoming.localSettled ? 'aborted' : super.state
  }

  override accept(): Promise<void> {
    return this.#once(() => super.accept())
  }

  override release(): Promise<void> {
    return this.#once(() => super.release())
  }

  override reject(error?: ErrorInit): Promise<void> {
    return this.#once(() => super.reject(error))
  }

  override modify(change?: {
    deliveryFailed?: boolean
    undeliverableHere?: boolean
    messageAnnotations?: Readonly<Record<string, AmqpValue>>
  }): Promise<void> {
    return this.#once(() => super.modify(change))
  }

  /** An aborted delivery is settled, by the sender. What nobody has begun to read is dropped. §2.7.5 */
  #once(settle: () => Promise<void>): Promise<void> {
    if (this.state === 'aborted') return handled(Promise.reject(this.#body.abortedError()))
    const settled = settle()
    this.#body.drop()
    return settled
  }
}

/** The sections of a message whose body is read as a stream. */
class StreamedMessage implements Message {
  static {
    Object.defineProperty(StreamedMessage.prototype, Symbol.for('nodejs.util.inspect.custom'), {
      value(this: StreamedMessage) {
        return this.toJSON()
      },
    })
  }

  readonly #sections: Message

  constructor(sections: Message) {
    this.#sections = sections
  }

  get header(): MessageHeader | undefined {
    return this.#sections.header
  }

  get deliveryAnnotations(): AmqpMap | undefined {
    return this.#sections.deliveryAnnotations
  }

  get messageAnnotations(): AmqpMap | undefined {
    return this.#sections.messageAnnotations
  }

  get properties(): PropertiesInit | undefined {
    return this.#sections.properties
  }

  get applicationProperties(): AmqpMap | undefined {
    return this.#sections.applicationProperties
  }

  get body(): Body {
    throw new UsageError('the body of a delivery of a streaming receiver is read by `delivery.body`', '2.6.14')
  }

  get footer(): AmqpMap | undefined {
    return this.#sections.footer
  }

  toInit(): MessageInit {
    const { body: _, ...sections } = this.#sections.toInit()
    return sections
  }

  toJSON(): unknown {
    const { body: _, ...sections } = this.#sections.toJSON() as Record<string, unknown>
    return sections
  }
}

/** What becomes of a delivery that has begun: it is handed out once, or not at all, and its body ends. */
export interface StreamedCourse {
  handOut(delivery: StreamedDelivery): void
  /** It ended before there was anything to hand out. */
  drop(): void
  ended(): void
}

/** Follows a delivery that has begun; it is handed out when the sections in front of its body are here. §2.6.14 */
export function streamed(
  receiver: ClientReceiver,
  incoming: IncomingDelivery,
  stream: IncomingStream,
  course: StreamedCourse,
): IncomingBody {
  const body = new IncomingBody(incoming, stream, () => receiver.touch())
  const delivery = new StreamedDelivery(receiver, incoming, body)
  let isOut = false
  stream.context = () => {
    body.advance()
    if (body.hasEnded) course.ended()
    if (isOut || !(body.isOpened || body.hasEnded)) return
    isOut = true
    if (body.isOpened && !body.isAborted) course.handOut(delivery)
    else course.drop()
  }
  return body
}
