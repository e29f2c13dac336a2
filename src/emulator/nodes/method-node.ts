/**
 * The method node of one device or module in an emulated hub: calls go out on one link, answers come in on the other,
 * and find their call by its id.
 *
 * A device can be called while it has both links; when they end, its calls do. An answer that comes after the call's time
 * is taken and dropped. Facts: spec-notes/iothub.md, direct methods.
 */

import type { Receiver, Sender } from '../../client/api.ts'
import type { ErrorInit } from '../../client/options.ts'
import { LinkCondition } from '../../errors.ts'
import { readJsonBody } from '../../iothub/json-body.ts'
import type { Message } from '../../message/message.ts'
import { Uuid } from '../../types/values.ts'
import type { EmulatorClock } from '../clock.ts'
import { lockTokenBytes, newLockToken } from '../lock-token.ts'
import { argumentError, bodyBytes, idText, receiveAll } from '../message-content.ts'
import { LinkPair } from './link-pair.ts'

/** A call. */
export interface MethodCall {
  readonly name: string
  /** Anything that JSON can say; `undefined` becomes `null`. */
  readonly payload: unknown
  /** How long the device may take to answer, in ms, > 0. */
  readonly responseTimeoutMs: number
  /** How long to wait for a device that has no links yet, in ms, ≥ 0. */
  readonly connectTimeoutMs: number
}

/** What became of a call. */
export type MethodResult =
  | { readonly result: 'answered'; readonly status: number; readonly payload: unknown }
  /** The device had no links in time, or went away, or would not have the call. */
  | { readonly result: 'offline' }
  /** It did not answer in time. */
  | { readonly result: 'timeout' }
  /** The hub was closed. */
  | { readonly result: 'closed' }

/** A call that has no answer yet. */
interface Pending {
  readonly sender: Sender
  settle(result: MethodResult): void
}

/** Largest payload, either way, in bytes. */
export const MAX_METHOD_PAYLOAD: number = 128 * 1024

/** One node. */
export class MethodNode {
  readonly #clock: EmulatorClock
  readonly #links: LinkPair
  /** By the text of the correlation-id. */
  readonly #pending = new Map<string, Pending>()
  /** Calls that wait for links. */
  readonly #waiting = new Set<(sender: Sender | undefined) => void>()
  #isClosed = false

  constructor(clock: EmulatorClock) {
    this.#clock = clock
    this.#links = new LinkPair(() => this.#onLinks())
  }

  /** Sends calls on a link until it ends. */
  sendCalls(sender: Sender): void {
    this.#links.setSender(sender)
    // Once for a link, not for each call: what waits for its end is kept as long as it lives.
    void sender.closed.then(() => {
      for (const pending of [...this.#pending.values()])
        if (pending.sender === sender) pending.settle({ result: 'offline' })
    })
  }

  /** Takes the answers of a link until it ends. */
  receiveAnswers(receiver: Receiver): void {
    this.#links.setReceiver(receiver)
    void receiveAll(receiver, message => this.#take(message))
  }

  /** Calls the device. */
  async call(call: MethodCall): Promise<MethodResult> {
    const sender = await this.#online(call.connectTimeoutMs)
    if (sender === undefined) return { result: this.#isClosed ? 'closed' : 'offline' }
    const id = globalThis.crypto.randomUUID()
    return new Promise(resolve => {
      const settle = (result: MethodResult): void => {
        if (!this.#pending.delete(id)) return
        callOff()
        cancel.abort()
        resolve(result)
      }
      const cancel = new AbortController()
      const callOff = this.#clock.setTimer(() => settle({ result: 'timeout' }), call.responseTimeoutMs)
      this.#pending.set(id, { sender, settle })
      const message = {
        properties: { correlationId: Uuid.parse(id) },
        applicationProperties: { 'IoThub-methodname': call.name },
        body: new TextEncoder().encode(JSON.stringify(call.payload ?? null)),
      }
      const isGone = (): void => settle({ result: 'offline' })
      sender
        .send(message, { deliveryTag: lockTokenBytes(newLockToken()), signal: cancel.signal })
        .then(({ outcome }) => outcome === 'accepted' || isGone(), isGone)
    })
  }

  /** Ends every call. */
  close(): void {
    this.#isClosed = true
    for (const resolve of [...this.#waiting]) resolve(undefined)
    for (const { settle } of [...this.#pending.values()]) settle({ result: 'closed' })
  }

  /** Waits for both links. */
  #online(timeoutMs: number): Promise<Sender | undefined> {
    const { sender } = this.#links
    if (sender !== undefined || timeoutMs === 0) return Promise.resolve(sender)
    return new Promise(resolve => {
      const settle = (found: Sender | undefined): void => {
        this.#waiting.delete(settle)
        callOff()
        resolve(found)
      }
      const callOff = this.#clock.setTimer(() => settle(undefined), timeoutMs)
      this.#waiting.add(settle)
    })
  }

  #onLinks(): void {
    const { sender } = this.#links
    if (sender !== undefined) for (const resolve of [...this.#waiting]) resolve(sender)
  }

  #take(message: Message): ErrorInit | undefined {
    const id = idText(message.properties?.correlationId)?.toLowerCase()
    const status = message.applicationProperties?.get('IoThub-status')
    const body = bodyBytes(message.body)
    if (id === undefined) return argumentError('an answer needs a correlation-id')
    if (typeof status !== 'number') return argumentError('IoThub-status is not an int')
    if (body === undefined) return argumentError('the body is not data')
    if (body.length > MAX_METHOD_PAYLOAD) {
      const description = `the payload has ${body.length} bytes, more than ${MAX_METHOD_PAYLOAD}`
      return { condition: LinkCondition.messageSizeExceeded, description }
    }
    const json = readJsonBody(message.body)
    if (!json.isValid) return argumentError('the payload is not JSON')
    this.#pending.get(id)?.settle({ result: 'answered', status, payload: json.value ?? null })
    return undefined
  }
}
