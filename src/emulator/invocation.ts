/**
 * Calling a device's method from behind the hub: what may be asked, and what becomes of a call as promises have it.
 *
 * Facts: spec-notes/iothub.md, direct methods.
 */

import { AmqpCondition, ClosedError, RemoteError, UsageError } from '../errors.ts'
import { HubCondition } from '../iothub/connection/conditions.ts'
import type { Shape } from './check-shape.ts'
import { MAX_METHOD_PAYLOAD, type MethodCall, type MethodNode } from './nodes/method-node.ts'

/** How a method is called. */
export interface InvokeMethodOptions {
  /** Call a module of the device. */
  readonly moduleId?: string | undefined
  /** How long the device may take to answer, in ms, > 0. Default 30 000. */
  readonly responseTimeoutMs?: number | undefined
  /** How long to wait for a device that is not there, in ms, ≥ 0. Default 0. */
  readonly connectTimeoutMs?: number | undefined
}

/** Of their types. */
export const INVOKE_OPTIONS: Shape<InvokeMethodOptions> = {
  moduleId: 'text',
  responseTimeoutMs: 'number',
  connectTimeoutMs: 'number',
}

/** What a device answered. */
export interface MethodAnswer {
  /** The device's own. */
  readonly status: number
  /** Parsed JSON. */
  readonly payload: unknown
}

/** The codes of a hub for calls that came to nothing. */
export const METHOD_ERRORS = {
  offline: { errorCode: 404_103, message: 'Timed out waiting for device to connect.' },
  timeout: { errorCode: 504_101, message: 'Timed out waiting for the response from device.' },
} as const

/**
 * Calls a method and waits for the answer.
 *
 * @param who  for errors, e.g. `device 'd1'`
 * @throws {UsageError} no name, a payload that JSON cannot say or that is too large, a time out of range
 * @throws {RemoteError} `amqp:not-found`, error-code 404103: the device is not there, or went away;
 *   `com.microsoft:timeout`, error-code 504101: it did not answer in time
 * @throws {ClosedError} the hub was closed first
 */
export async function invokeMethod(
  node: MethodNode,
  who: string,
  name: string,
  payload: unknown,
  { responseTimeoutMs = 30_000, connectTimeoutMs = 0 }: InvokeMethodOptions,
): Promise<MethodAnswer> {
  const call: MethodCall = { name, payload, responseTimeoutMs, connectTimeoutMs }
  const wrong = checkCall(call)
  if (wrong !== undefined) throw new UsageError(`IoT Hub emulator: ${wrong}`)
  const answer = await node.call(call)
  if (answer.result === 'answered') return { status: answer.status, payload: answer.payload }
  if (answer.result === 'closed') throw new ClosedError('the hub', 'connection')
  const { errorCode, message } = METHOD_ERRORS[answer.result]
  throw new RemoteError(`method '${name}' of ${who}`, 'delivery', {
    condition: answer.result === 'offline' ? AmqpCondition.notFound : HubCondition.timeout,
    description: message,
    info: new Map([['error-code', errorCode]]),
  })
}

/** What is wrong with a call, if something is. */
export function checkCall({ name, payload, responseTimeoutMs, connectTimeoutMs }: MethodCall): string | undefined {
  if (typeof name !== 'string' || name === '') return 'a method needs a name'
  if (!(responseTimeoutMs > 0 && responseTimeoutMs <= MAX_MS)) return `responseTimeoutMs must be above 0, to ${MAX_MS}`
  if (!(connectTimeoutMs >= 0 && connectTimeoutMs <= MAX_MS)) return `connectTimeoutMs must be 0 … ${MAX_MS}`
  const size = jsonSize(payload)
  if (size === undefined) return 'the payload cannot be written as JSON'
  if (size > MAX_METHOD_PAYLOAD) return `the payload has ${size} bytes, more than ${MAX_METHOD_PAYLOAD}`
  return undefined
}

const MAX_MS = 3_600_000

function jsonSize(value: unknown): number | undefined {
  try {
    const text = JSON.stringify(value ?? null)
    return text === undefined ? undefined : new TextEncoder().encode(text).length
  } catch {
    return undefined
  }
}
