/**
 * What the Device Provisioning Service is asked and what it answers, between messages and their parts. Pure.
 *
 * Facts: spec-notes/iothub.md, provisioning.
 */

import { AmqpCondition, ProtocolError, RemoteError, UsageError } from '../../errors.ts'
import type { Message, MessageInit } from '../../message/message.ts'
import { HubCondition } from '../connection/conditions.ts'
import { readHost } from '../credentials/connection-string.ts'

/** What a device says of itself. */
export interface Registration {
  readonly registrationId: string
  readonly payload: unknown
}

/** Where a registration stands, as far as it is assigned; other fields as they come. */
export interface RegistrationState {
  readonly assignedHub: string
  readonly deviceId: string
  readonly [field: string]: unknown
}

/** What the service has said. */
export type ProvisioningAnswer =
  | { readonly status: 'assigned'; readonly state: RegistrationState }
  /** Ask again, with this id. `retryAfterMs` is `undefined` where the service does not say. */
  | { readonly status: 'assigning'; readonly operationId: string; readonly retryAfterMs: number | undefined }

/** Asks to be registered. @throws {UsageError} the payload is not JSON */
export function registerMessage(registration: Registration, force: boolean, correlationId: string): MessageInit {
  return {
    properties: { correlationId },
    applicationProperties: { 'iotdps-operation-type': 'iotdps-register', 'iotdps-forceRegistration': force },
    body: new TextEncoder().encode(json(registration)),
  }
}

function json(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch {
    throw new UsageError('provisioning: the payload is not JSON')
  }
}

/** Asks how an operation goes. */
export function statusMessage(operationId: string, correlationId: string): MessageInit {
  return {
    properties: { correlationId },
    applicationProperties: {
      'iotdps-operation-type': 'iotdps-get-operationstatus',
      'iotdps-operation-id': operationId,
    },
    body: { value: '' },
  }
}

/**
 * Reads an answer.
 *
 * @throws {RemoteError} the registration has come to another end
 * @throws {ProtocolError} it cannot be understood
 */
export function readAnswer(message: Message, registrationId: string): ProvisioningAnswer {
  const answer = readJson(bodyText(message))
  if (answer === undefined) throw misunderstood('the body is not a JSON object')
  const status = textOf(answer['status'])?.toLowerCase()
  const state = asObject(answer['registrationState']) ?? {}
  if (status === 'assigned') {
    const hub = textOf(state['assignedHub'])
    if (hub === undefined || !readHost(hub) || !textOf(state['deviceId']))
      throw misunderstood('it names no hub or no device')
    return { status, state: state as RegistrationState }
  }
  if (status === 'assigning' || status === 'registering') {
    const operationId = textOf(answer['operationId'])
    if (!operationId) throw misunderstood('it has no operationId')
    return { status: 'assigning', operationId, retryAfterMs: retryAfterOf(message.applicationProperties) }
  }
  if (status === undefined) throw misunderstood('it has no status')
  const errorCode = numberOf(state['errorCode'])
  throw new RemoteError(`registration '${registrationId}' is ${status}`, 'delivery', {
    condition: status === 'disabled' ? AmqpCondition.notAllowed : conditionOf(errorCode),
    description: textOf(state['errorMessage']),
    info: infoOf({ status, 'error-code': errorCode, 'tracking-id': textOf(answer['trackingId']) }),
  })
}

/** What is known of a request that the service has rejected. */
export interface Refusal {
  readonly error: RemoteError
  /** Whether asking again can help. */
  readonly isPassing: boolean
  readonly retryAfterMs: number | undefined
}

/** Reads a rejection: its description is JSON. */
export function readRefusal(
  rejection: { readonly condition: string | undefined; readonly description?: string | undefined } & {
    readonly info?: ReadonlyMap<unknown, unknown> | undefined
  },
  registrationId: string,
): Refusal {
  const said = readJson(rejection.description ?? '') ?? {}
  const errorCode = numberOf(said['errorCode'])
  const condition = rejection.condition ?? conditionOf(errorCode)
  const error = new RemoteError(`registration '${registrationId}' was refused`, 'delivery', {
    condition,
    description: textOf(said['message']) ?? rejection.description,
    info: infoOf({ 'error-code': errorCode, 'tracking-id': textOf(said['trackingId']) }),
  })
  const isThrottled = errorCode !== undefined && Math.floor(errorCode / 1000) === 429
  const isPassing = PASSING.includes(condition) || isThrottled || (errorCode !== undefined && errorCode >= 500_000)
  return { error, isPassing, retryAfterMs: retryAfterOf(rejection.info) }
}

/** `value` if it is text. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

const PASSING: readonly string[] = [
  AmqpCondition.internalError,
  HubCondition.deviceContainerThrottled,
  HubCondition.timeout,
  HubCondition.serverBusy,
]

/** Of an error code, HTTP status × 1000 + n. */
function conditionOf(errorCode: number | undefined): string {
  const status = errorCode === undefined ? 0 : Math.floor(errorCode / 1000)
  if (status === 401 || status === 403) return AmqpCondition.unauthorizedAccess
  if (status === 404) return AmqpCondition.notFound
  if (status === 429) return HubCondition.deviceContainerThrottled
  if (status >= 400 && status < 500) return AmqpCondition.notAllowed
  return AmqpCondition.internalError
}

/** Seconds, in one of two spellings and of whatever type. */
function retryAfterOf(properties: ReadonlyMap<unknown, unknown> | undefined): number | undefined {
  for (const [name, value] of properties ?? []) {
    if (String(name).toLowerCase() !== 'retry-after') continue
    const seconds = Number(value)
    return seconds >= 0 && Number.isFinite(seconds) ? seconds * 1000 : undefined
  }
  return undefined
}

function infoOf(values: Readonly<Record<string, unknown>>): ReadonlyMap<string, unknown> {
  return new Map(Object.entries(values).filter(([, value]) => value !== undefined))
}

function bodyText({ body }: Message): string {
  if (typeof body === 'string') return body
  if (body instanceof Uint8Array) return new TextDecoder().decode(body)
  if ('data' in body) return body.data.map(part => new TextDecoder().decode(part)).join('')
  return 'value' in body ? (textOf(body.value) ?? '') : ''
}

function readJson(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return asObject(JSON.parse(text))
  } catch {
    return undefined
  }
}

function asObject(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
}

const numberOf = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined)

function misunderstood(why: string): ProtocolError {
  return new ProtocolError(
    `provisioning: an answer cannot be understood: ${why}`,
    AmqpCondition.invalidField,
    'delivery',
  )
}
