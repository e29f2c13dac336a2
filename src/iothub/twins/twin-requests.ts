/**
 * Requests to the twin node and their answers, which find each other by correlation-id; what has none is a
 * notification. Requests go out settled: only the answer says what became of one.
 *
 * Facts: spec-notes/iothub.md, twins.
 */

import type { Closure, Delivery } from '../../client/api.ts'
import type { Abortable } from '../../client/options.ts'
import { AmqpCondition, ClosedError, DecodeError, LinkCondition, RemoteError } from '../../errors.ts'
import type { Message } from '../../message/message.ts'
import { after, type HubClock, systemClock } from '../clock.ts'
import { HubCondition } from '../connection/conditions.ts'
import type { LinkPair } from '../connection/link-pair.ts'
import { readJsonBody } from '../json-body.ts'
import { isJsonObject } from './merge-patch.ts'

/** What is asked of the node. */
export interface TwinRequest {
  readonly operation: 'GET' | 'PATCH' | 'PUT' | 'DELETE'
  readonly resource?: string | undefined
  /** Default: a blank, which is what the SDKs send. */
  readonly body?: Uint8Array | undefined
}

/** A good answer. */
export interface TwinAnswer {
  /** Of what was changed. */
  readonly version: number | undefined
  /** Parsed JSON; `undefined` where there is none. */
  readonly body: unknown
}

interface Pending {
  readonly operation: TwinRequest['operation']
  /** It has left. */
  isSent: boolean
  resolve(answer: TwinAnswer): void
  reject(error: unknown): void
}

/** The requests of one pair of links. */
export class TwinRequests {
  readonly #pair: LinkPair
  readonly #clock: HubClock
  readonly #pending = new Map<string, Pending>()
  #closure: Closure | undefined
  /** The connection was lost, and is being made again. */
  #isLost = false

  /** @param onNotification  told what a notification says; `undefined` where that is no JSON */
  constructor(pair: LinkPair, onNotification: (body: unknown) => void, clock: HubClock = systemClock) {
    this.#pair = pair
    this.#clock = clock
    void this.#receive(onNotification)
    void pair.closed.then(closure => {
      const { by, error } = closure
      this.#closure = closure
      for (const { reject } of [...this.#pending.values()]) reject(new ClosedError('the twin', 'link', error, by))
    })
  }

  /**
   * Asks, and waits for the answer.
   *
   * @throws {RemoteError} the hub answered with an error; its number is in `info`, as `status`
   * @throws {ClosedError} a link ended first
   * @throws {DOMException} `TimeoutError`: no answer came within 30 s; an update may have taken effect
   *
   * Cancellation stops waiting; the request may take effect.
   */
  send({ operation, resource, body }: TwinRequest, { signal }: Abortable): Promise<TwinAnswer> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      if (this.#closure) throw new ClosedError('the twin', 'link', this.#closure.error, this.#closure.by)
      const id = globalThis.crypto.randomUUID()
      // Requests are settled when they leave: one that the hub drops has no answer, ever.
      const late = (): void => pending.reject(new DOMException(`no answer within ${ANSWER_MS} ms`, 'TimeoutError'))
      let cancelLate: (() => void) | undefined
      const limit = (): void => {
        cancelLate = after(this.#clock, ANSWER_MS, late)
      }
      // An update may wait for its links as long as it has to.
      if (operation !== 'PATCH') limit()
      const settled = (): boolean => {
        cancelLate?.()
        signal?.removeEventListener('abort', onAbort)
        return this.#pending.delete(id)
      }
      const cancel = new AbortController()
      const pending: Pending = {
        operation,
        isSent: false,
        resolve: answer => settled() && resolve(answer),
        reject: error => {
          if (!settled()) return
          cancel.abort(error)
          reject(error)
        },
      }
      const onAbort = (): void => pending.reject(signal?.reason)
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#pending.set(id, pending)
      const message = {
        messageAnnotations: { operation, ...(resource !== undefined && { resource }) },
        properties: { correlationId: id },
        body: body ?? BLANK,
      }
      this.#pair.sender.send(message, { signal: cancel.signal }).then(() => {
        if (!this.#pending.has(id)) return
        pending.isSent = true
        if (this.#isLost) pending.reject(lostError())
        else if (operation === 'PATCH') limit()
      }, pending.reject)
    })
  }

  /**
   * The connection was lost: answers that were to come do not. What was not sent waits, if it is an update; the twin is
   * read anew when there is a connection.
   */
  onLost(): void {
    this.#isLost = true
    for (const { operation, isSent, reject } of [...this.#pending.values()])
      if (isSent || operation !== 'PATCH') reject(lostError())
  }

  onBack(): void {
    this.#isLost = false
  }

  async #receive(onNotification: (body: unknown) => void): Promise<void> {
    try {
      for await (const delivery of this.#pair.receiver) {
        // Where it fails the hub sends it again, or the twin is read anew.
        if (!delivery.settled) delivery.accept().catch(() => {})
        this.#take(delivery, onNotification)
      }
    } catch {
      // The link has ended, which `closed` tells.
    }
  }

  #take(delivery: Delivery, onNotification: (body: unknown) => void): void {
    try {
      const { message } = delivery
      const id = message.properties?.correlationId
      if (id === undefined) onNotification(bodyOf(message))
      else this.#answer(String(id), message)
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error
      // Whatever it was, it is lost, and so the same as a notification that says nothing.
      onNotification(undefined)
    }
  }

  #answer(id: string, message: Message): void {
    const pending = this.#pending.get(id)
    const annotations = message.messageAnnotations
    const status = Number(annotations?.get('status') ?? 200)
    const version = Number(annotations?.get('version') ?? undefined)
    const body = bodyOf(message)
    if (!(status >= 200 && status < 300)) return pending?.reject(refusal(status, body))
    pending?.resolve({ version: isVersion(version) ? version : undefined, body })
  }
}

/** Of properties. */
export const isVersion = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

const lostError = (): ClosedError => new ClosedError('the connection of the twin', 'delivery', undefined, 'transport')

/** How long the hub may take, as the SDKs have it for its other answers. */
const ANSWER_MS = 30_000
const BLANK = new TextEncoder().encode(' ')

function bodyOf(message: Message): unknown {
  const json = readJsonBody(message.body)
  return json.isValid ? json.value : undefined
}

/** What the statuses of HTTP are as conditions. */
const conditions: Readonly<Record<number, string | undefined>> = {
  400: HubCondition.argumentError,
  401: AmqpCondition.unauthorizedAccess,
  403: AmqpCondition.notAllowed,
  404: AmqpCondition.notFound,
  412: HubCondition.preconditionFailed,
  413: LinkCondition.messageSizeExceeded,
  429: HubCondition.deviceContainerThrottled,
  503: HubCondition.serverBusy,
  504: HubCondition.timeout,
}

function refusal(status: number, body: unknown): RemoteError {
  const fallback = status >= 400 && status < 500 ? HubCondition.argumentError : AmqpCondition.internalError
  const { message, Message = message }: { message?: unknown; Message?: unknown } = isJsonObject(body)
    ? body
    : { message: body }
  return new RemoteError(`the twin answered ${status}`, 'delivery', {
    condition: conditions[status] ?? fallback,
    description: typeof Message === 'string' ? Message : undefined,
    info: new Map([['status', status]]),
  })
}
