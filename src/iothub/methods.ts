/**
 * Direct methods, at the device: requests come on one link, handlers answer them, answers go out on the other.
 *
 * A hub calls a device only while it has both links, so they are attached with the first handler, again when they are
 * lost, and closed with the last. Facts: spec-notes/iothub.md, direct methods.
 */

import type { Closure, Delivery, Sender } from '../client/api.ts'
import type { Abortable } from '../client/options.ts'
import { assertAccepted } from '../client/outcome.ts'
import { AmqpCondition, AmqpError, ClosedError, DecodeError, EncodeError, UsageError } from '../errors.ts'
import type { Message, MessageInit, PropertiesInit } from '../message/message.ts'
import { int, Uuid } from '../types/values.ts'
import { checkAbortable, checkNames, type Names } from './check-names.ts'
import type { HubConnection } from './connection/hub-connection.ts'
import type { LinkPair } from './connection/link-pair.ts'
import type { SharedLink } from './connection/shared-link.ts'
import { jsonBytes, readJsonBody } from './json-body.ts'
import { isJsonObject } from './twins/merge-patch.ts'

/** A call of a direct method. */
export interface MethodRequest {
  readonly name: string
  /** Unique among the calls of a hub. */
  readonly requestId: string
  /** Parsed JSON; `null` where the caller gave none. */
  readonly payload: unknown
}

/** The answer to a call. The hub hands both to the caller as they are. */
export interface MethodResponse {
  /** The device's own, an integer of 32 bits; by custom as in HTTP. */
  readonly status: number
  /** Anything that JSON can say, up to 128 KiB. Default `null`. */
  readonly payload?: unknown
}

/**
 * Answers calls. Where it throws, its answer is none, has other fields, or is too large, the caller gets status 500 without a payload, and
 * the process a warning (`process.emitWarning`), which names the method and has the error as its cause. Such a warning
 * says as well that the hub has not taken an answer; its caller waits in vain.
 */
export type MethodHandler = (request: MethodRequest) => MethodResponse | Promise<MethodResponse>

/** A handler in place. Disposing takes it away; with the last one the links go, and the hub calls no more. */
export interface MethodRegistration extends Disposable {
  /** Resolves when calls come no more: the links ended for good, or the connection. Registering a handler tries anew. */
  readonly closed: Promise<Closure>
}

/** The handlers of one device or module, and what serves them. */
export class MethodHandlers {
  readonly #links: SharedLink<LinkPair>
  readonly #handlers = new Map<string, MethodHandler>()
  /** For names that have no handler. */
  #fallback: MethodHandler | undefined
  readonly #served = new WeakSet<LinkPair>()
  readonly #hub: HubConnection
  /** Of the handlers there are, from when calls can come until they cannot. */
  #service: Service | undefined

  constructor(links: SharedLink<LinkPair>, hub: HubConnection) {
    this.#links = links
    this.#hub = hub
  }

  /**
   * Puts a handler in place and waits for the links.
   *
   * @param name  `undefined` for all names that have no handler of their own
   * @throws {UsageError} there is one already, or it is no function; there is no such option
   * @throws {RemoteError} the hub refused a link
   * @throws {ClosedError} the connection ended first
   */
  async add(name: string | undefined, handler: MethodHandler, options: Abortable): Promise<MethodRegistration> {
    checkAbortable('onMethod', options)
    if (typeof handler !== 'function') throw new UsageError('onMethod: needs a function that answers calls')
    if (name === undefined ? this.#fallback : this.#handlers.has(name))
      throw new UsageError(
        `onMethod: ${name === undefined ? 'other methods' : `method '${name}'`} has a handler already`,
      )
    if (name === undefined) this.#fallback = handler
    else this.#handlers.set(name, handler)
    try {
      const { closed } = this.#serve(await this.#links.get(options))
      return { closed, [Symbol.dispose]: () => this.#remove(name, handler) }
    } catch (error) {
      this.#remove(name, handler)
      throw this.#hub.explained(error)
    }
  }

  #remove(name: string | undefined, handler: MethodHandler): void {
    if (name === undefined) {
      if (this.#fallback !== handler) return
      this.#fallback = undefined
    } else {
      if (this.#handlers.get(name) !== handler) return
      this.#handlers.delete(name)
    }
    if (this.#handlers.size > 0 || this.#fallback) return
    this.#service = undefined
    this.#links
      .take()
      ?.then(pair => pair.close())
      .catch(() => {})
  }

  #serve(pair: LinkPair): Service {
    this.#service ??= newService()
    const service = this.#service
    if (this.#served.has(pair)) return service
    this.#served.add(pair)
    const handle = (delivery: Delivery): Promise<void> => this.#hub.line.answering(this.#handle(delivery, pair.sender))
    // How the links ended is told by `closed`.
    pair.receiver.process(handle, { concurrency: CONCURRENCY }).catch(() => {})
    void pair.closed.then(closure => this.#onLinksEnded(closure, service))
    return service
  }

  /** Attaches them again, while there is somebody to answer. */
  async #onLinksEnded(closure: Closure, service: Service): Promise<void> {
    const end = (how: Closure): void => {
      if (this.#service === service) this.#service = undefined
      service.end(how)
    }
    if (this.#service !== service || closure.by === 'local' || !this.#hub.goesOn(closure.error)) return end(closure)
    try {
      this.#serve(await this.#links.get())
    } catch (error) {
      end(error instanceof AmqpError ? { by: closure.by, error } : closure)
    }
  }

  async #handle(delivery: Delivery, sender: Sender): Promise<void> {
    const request = readRequest(delivery)
    if (request === undefined) return delivery.reject({ condition: AmqpCondition.invalidField })
    const { correlationId, method } = request
    const response = method === undefined ? { status: 400 } : await this.#call(method)
    await answer(sender, correlationId, response, method?.name)
  }

  async #call(request: MethodRequest): Promise<MethodResponse> {
    const handler = this.#handlers.get(request.name) ?? this.#fallback
    if (handler === undefined) return { status: 501 }
    try {
      const response = await handler(request)
      if (!isJsonObject(response) || !isInt(response.status))
        throw new UsageError('it must return { status, payload }, status an int')
      checkNames('field of the answer of a method', response, RESPONSE)
      return response
    } catch (error) {
      warn(`the handler of method '${request.name}' failed`, error)
      return { status: 500 }
    }
  }
}

const RESPONSE: Names<MethodResponse> = { status: 0, payload: 0 }

/** Calls can come. */
interface Service {
  readonly closed: Promise<Closure>
  end(closure: Closure): void
}

function newService(): Service {
  let end: (closure: Closure) => void = () => {}
  const closed = new Promise<Closure>(resolve => {
    end = resolve
  })
  return { closed, end }
}

/** Calls that are handled at a time; more wait at the hub. */
const CONCURRENCY = 100

interface ReadRequest {
  readonly correlationId: PropertiesInit['correlationId']
  /** `undefined`: the payload is no JSON, or there is no name. */
  readonly method: MethodRequest | undefined
}

/** `undefined` where nobody can be answered. */
function readRequest(delivery: Delivery): ReadRequest | undefined {
  try {
    const { properties, applicationProperties, body }: Message = delivery.message
    const id = properties?.correlationId
    if (id === undefined) return undefined
    const name = applicationProperties?.get('IoThub-methodname')
    const json = readJsonBody(body)
    const isValid = typeof name === 'string' && json.isValid
    const method = isValid ? { name, requestId: String(id), payload: json.value ?? null } : undefined
    return { correlationId: correlationOf(id), method }
  } catch (error) {
    if (error instanceof DecodeError) return undefined
    throw error
  }
}

/** Answers name their request by a uuid, also one that came as text. */
function correlationOf(id: NonNullable<PropertiesInit['correlationId']>): typeof id {
  try {
    return typeof id === 'string' ? Uuid.parse(id) : id
  } catch (error) {
    if (error instanceof EncodeError) return id
    throw error
  }
}

async function answer(
  sender: Sender,
  correlationId: PropertiesInit['correlationId'],
  response: MethodResponse,
  method: string | undefined,
): Promise<void> {
  const message = (status: number, body: Uint8Array): MessageInit => ({
    properties: { correlationId },
    applicationProperties: { 'IoThub-status': int(status) },
    body,
  })
  let init: MessageInit
  try {
    const payload = jsonBytes(response.payload, "a method's payload")
    if (payload.length > MAX_PAYLOAD)
      throw new UsageError(`its payload has ${payload.length} bytes, more than the ${MAX_PAYLOAD} that a hub takes`)
    init = message(response.status, payload)
  } catch (error) {
    warn(`the handler of method '${method}' failed`, error)
    init = message(500, jsonBytes(null, 'null'))
  }
  try {
    assertAccepted(await sender.send(init))
  } catch (error) {
    // With the link the calls are gone that were made on it.
    if (!(error instanceof ClosedError)) warn(`the hub has not taken the answer of method '${method}'`, error)
  }
}

/** Of an answer, in bytes of JSON: what a hub takes. */
const MAX_PAYLOAD = 131_072

function isInt(value: unknown): value is number {
  return Number.isInteger(value) && Math.abs((value as number) + 0.5) < 2 ** 31
}

function warn(what: string, cause: unknown): void {
  globalThis.process?.emitWarning(new Error(`${what}: ${textOf(cause)}`, { cause }))
}

/** Not everything that is thrown has a text. */
function textOf(value: unknown): string {
  try {
    return value instanceof Error ? value.message : String(value)
  } catch {
    return typeof value
  }
}
