/**
 * The twin node of one device or module in an emulated hub: requests come in on one link, answers and notifications go
 * out on the other.
 *
 * An answer has the correlation-id of its request, in the type it came in; a notification has none, by which clients
 * tell the two apart. A subscription ends with the links that it was made on. Facts: spec-notes/iothub.md, twins.
 */

import type { Receiver, Sender } from '../../client/api.ts'
import type { ErrorInit } from '../../client/options.ts'
import { readJsonBody } from '../../iothub/json-body.ts'
import type { Message, MessageInit } from '../../message/message.ts'
import { type AmqpValue, int, long } from '../../types/values.ts'
import type { EmulatorClock } from '../clock.ts'
import { lockTokenBytes, newLockToken } from '../lock-token.ts'
import { argumentError, receiveAll } from '../message-content.ts'
import type { Quotas } from '../quotas.ts'
import { type TwinChange, TwinDocument, type TwinPatch } from '../twins/twin-document.ts'
import { LinkPair } from './link-pair.ts'

/** An answer, but for the id. */
interface Answer {
  readonly status: number
  /** Of what was changed. */
  readonly version?: number | undefined
  /** Anything that JSON can say; `undefined` for none. */
  readonly body?: unknown
}

/** Answers that may wait for a link to go out on. */
const MAX_HELD = 100

/** One node. */
export class TwinNode {
  readonly document: TwinDocument
  readonly #clock: EmulatorClock
  readonly #quotas: Quotas | undefined
  readonly #links: LinkPair
  /** Whether the device wants to be told of changes. */
  #isSubscribed = false
  #sender: Sender | undefined
  #held: MessageInit[] = []

  constructor(clock: EmulatorClock, quotas?: Quotas) {
    this.#clock = clock
    this.#quotas = quotas
    this.document = new TwinDocument(clock.now())
    this.#links = new LinkPair(() => this.#onLinks())
  }

  /** Sends answers and notifications on a link until it ends. */
  sendAnswers(sender: Sender): void {
    this.#links.setSender(sender)
  }

  /** Takes the requests of a link until it ends. */
  receiveRequests(receiver: Receiver): void {
    this.#links.setReceiver(receiver)
    void receiveAll(receiver, message => this.#take(message))
  }

  /**
   * A back end's patch; a device that has subscribed is told what changed of the desired properties.
   *
   * @param etag  the patch is refused if this is not the twin's
   */
  patch(patch: TwinPatch, etag?: string): TwinChange {
    const change = this.document.patch(patch, this.#clock.now(), etag)
    const { sender } = this.#links
    if (change.ok && patch.desired !== undefined && sender !== undefined && this.#isSubscribed) {
      const { $metadata: _, ...desired } = patch.desired as { readonly [key: string]: unknown }
      send(sender, { body: json({ ...desired, $version: this.document.desiredVersion }) })
    }
    return change
  }

  #take(message: Message): ErrorInit | undefined {
    const correlationId = message.properties?.correlationId
    if (correlationId === undefined) return argumentError('a request needs a correlation-id')
    const { status, version, body } = this.#answer(message)
    const annotations: Record<string, AmqpValue> = { status: int(status) }
    if (version !== undefined) annotations['version'] = long(BigInt(version))
    const answer = { messageAnnotations: annotations, properties: { correlationId } }
    this.#held = [...this.#held, body === undefined ? answer : { ...answer, body: json(body) }].slice(-MAX_HELD)
    this.#sendHeld()
    return undefined
  }

  #answer(message: Message): Answer {
    const annotations = message.messageAnnotations
    const operation = annotations?.get('operation')
    const resource = annotations?.get('resource') ?? undefined
    const wanted = typeof operation === 'string' ? `${operation.toUpperCase()} ${resource ?? ''}`.trim() : ''
    switch (wanted) {
      case 'GET':
        return this.#throttled('read') ?? { status: 200, body: this.document.forDevice() }
      case 'PATCH /properties/reported':
        return this.#throttled('update') ?? this.#patchReported(message)
      case 'PUT /notifications/twin/properties/desired':
        this.#isSubscribed = true
        return { status: 200 }
      case 'DELETE /notifications/twin/properties/desired':
        this.#isSubscribed = false
        return { status: 200 }
      default:
        return { status: 400, body: 'the twin has no such operation or resource' }
    }
  }

  #throttled(kind: 'read' | 'update'): Answer | undefined {
    if (!this.#quotas?.throttlesTwin(kind, this.#clock.now())) return undefined
    return { status: 429, body: 'ThrottlingException: there are too many requests to twins' }
  }

  #patchReported(message: Message): Answer {
    const patch = readJsonBody(message.body)
    if (!patch.isValid) return { status: 400, body: 'the patch is not JSON' }
    const change = this.document.patchReported(patch.value, this.#clock.now())
    if (!change.ok) return { status: change.status, body: change.reason }
    return { status: 200, version: this.document.reportedVersion }
  }

  #onLinks(): void {
    const { sender } = this.#links
    if (this.#sender !== undefined && this.#sender !== sender) this.#isSubscribed = false
    this.#sender = sender
    this.#sendHeld()
  }

  #sendHeld(): void {
    const { sender } = this.#links
    if (sender === undefined) return
    const held = this.#held
    this.#held = []
    for (const message of held) send(sender, message)
  }
}

function send(sender: Sender, message: MessageInit): void {
  // What gets lost shows to the device by the version of the next.
  sender.send(message, { deliveryTag: lockTokenBytes(newLockToken()) }).catch(() => {})
}

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}
