/**
 * The conditions that an IoT Hub or its Event Hubs endpoint sends, what each means there, and whether trying again can
 * help. One table, and functions that read it; how often and how soon to retry is the caller's.
 *
 * The verdicts are those that Microsoft's device SDKs share. Where they differ, a condition is retryable when the cause
 * lies in the service and passes by itself. Facts: spec-notes/iothub.md, errors.
 */

import { AmqpError, type AnyAmqpError, type ClosedError } from '../../errors.ts'

/** What a condition means on a hub. */
export interface ConditionInfo {
  /** The same request, on a fresh link or connection if need be, may succeed later. */
  readonly retryable: boolean
  /** One phrase, for a log line. */
  readonly meaning: string
}

/** The conditions of Microsoft's services, beyond those of the standard (§2.8.15–18). */
export const HubCondition = {
  timeout: 'com.microsoft:timeout',
  messageLockLost: 'com.microsoft:message-lock-lost',
  iotHubNotFound: 'com.microsoft:iot-hub-not-found-error',
  iotHubSuspended: 'com.microsoft:iot-hub-suspended',
  argumentError: 'com.microsoft:argument-error',
  argumentOutOfRange: 'com.microsoft:argument-out-of-range',
  deviceAlreadyExists: 'com.microsoft:device-already-exists',
  deviceContainerThrottled: 'com.microsoft:device-container-throttled',
  quotaExceeded: 'com.microsoft:quota-exceeded',
  preconditionFailed: 'com.microsoft:precondition-failed',
  linkCreationConflict: 'com.microsoft:link-creation-conflict',
  serverBusy: 'com.microsoft:server-busy',
  operationCancelled: 'com.microsoft:operation-cancelled',
  containerClose: 'com.microsoft:container-close',
  entityDisabled: 'com.microsoft:entity-disabled',
  authFailed: 'com.microsoft:auth-failed',
  partitionNotOwned: 'com.microsoft:partition-not-owned',
  publisherRevoked: 'com.microsoft:publisher-revoked',
} as const

/**
 * What a condition means on a hub.
 *
 * @param condition  symbol text, e.g. `amqp:not-found`; case-sensitive
 * @returns `undefined` for one that no hub is known to send
 */
export function describeCondition(condition: string): ConditionInfo | undefined {
  return Object.hasOwn(hubConditions, condition) ? hubConditions[condition] : undefined
}

/**
 * Whether trying again can help; on a fresh link or connection, if need be.
 *
 * @param error  what a client threw, or the condition of it. `undefined`: the peer gave no condition, as when a socket
 *   drops, which is retryable. An unknown condition is not; nor is what is no error of this package, except for a
 *   `TimeoutError` of the platform. An end that nobody gave a reason for is retryable, as long as the client goes on: what
 *   one rejects with that was closed or given up is not.
 */
export function isRetryable(error: unknown): boolean {
  if (error === undefined) return true
  if (typeof error === 'string') return describeCondition(error)?.retryable === true
  if (error instanceof AmqpError) return isRetryableError(error as AnyAmqpError)
  return typeof error === 'object' && error !== null && 'name' in error && error.name === 'TimeoutError'
}

/** What clients that have ended for good reject with: whatever the reason was, they will not come back. */
const finalErrors = new WeakSet<ClosedError>()

/** Marks an error as that of a client, or a connection, that is not made again. */
export function asFinal(error: ClosedError): ClosedError {
  finalErrors.add(error)
  return error
}

/**
 * Whether the hub is asking for less traffic, so that a retry should wait seconds rather than milliseconds.
 *
 * @param error  as for {@link isRetryable}
 */
export function isThrottling(error: unknown): boolean {
  const condition = error instanceof AmqpError ? error.condition : error
  return condition === HubCondition.deviceContainerThrottled || condition === HubCondition.serverBusy
}

function isRetryableError(error: AnyAmqpError): boolean {
  switch (error.code) {
    case 'ERR_AMQP_TRANSPORT':
      return !isDistrust(error.cause)
    case 'ERR_AMQP_IDLE_TIMEOUT':
    case 'ERR_AMQP_QUEUE_FULL':
      return true
    case 'ERR_AMQP_CLOSED':
      return !finalErrors.has(error) && isRetryable(error.cause)
    case 'ERR_AMQP_SASL':
      return error.outcome === 'sys-temp'
    case 'ERR_AMQP_DELIVERY':
      // Released or modified: the hub could not take it just then.
      return error.outcome.outcome === 'rejected' ? isKnownRetryable(error) : true
    case 'ERR_AMQP_REMOTE':
    case 'ERR_AMQP_TRANSACTION':
      return isKnownRetryable(error)
    default:
      return false
  }
}

/** Whether a host could not be reached since its certificate is not trusted: so it will be the next time. */
function isDistrust(cause: unknown): boolean {
  const code = (cause as { readonly code?: unknown } | undefined)?.code
  return typeof code === 'string' && /^(ERR_TLS_CERT|CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_(GET|VERIFY))/.test(code)
}

/** An error whose sender gave no reason is not worth another try, unlike an end without one. */
const isKnownRetryable = ({ condition }: AmqpError): boolean => condition !== undefined && isRetryable(condition)

/** Every condition known, by symbol text. Read it through {@link describeCondition}, which ignores inherited keys. */
export const hubConditions: Readonly<Record<string, ConditionInfo>> = {
  // §2.8.15
  'amqp:internal-error': { retryable: true, meaning: 'the hub failed' },
  'amqp:not-found': { retryable: false, meaning: 'no such device or address; for a settlement, the lock is lost' },
  'amqp:unauthorized-access': { retryable: false, meaning: 'no valid token or right for this address' },
  'amqp:decode-error': { retryable: false, meaning: 'the hub could not decode what it got' },
  'amqp:resource-limit-exceeded': { retryable: false, meaning: 'quota spent, or the queue of the device is full' },
  'amqp:not-allowed': { retryable: false, meaning: 'operation not valid here' },
  'amqp:invalid-field': { retryable: false, meaning: 'a field has a value the hub refuses' },
  'amqp:not-implemented': { retryable: false, meaning: 'the hub does not support this' },
  'amqp:resource-locked': { retryable: true, meaning: 'another operation holds the resource' },
  'amqp:precondition-failed': { retryable: false, meaning: 'the entity is not in the state required' },
  'amqp:resource-deleted': { retryable: false, meaning: 'the entity was deleted' },
  'amqp:illegal-state': { retryable: false, meaning: 'not allowed in the present state' },
  'amqp:frame-size-too-small': { retryable: false, meaning: 'the frame size agreed on is too small' },
  // §2.8.16
  'amqp:connection:forced': { retryable: true, meaning: 'the hub closed the connection on its own account' },
  'amqp:connection:framing-error': { retryable: true, meaning: 'the hub read an invalid frame' },
  'amqp:connection:redirect': { retryable: false, meaning: 'connect elsewhere; follow it instead' },
  // §2.8.17
  'amqp:session:window-violation': { retryable: true, meaning: 'a session window was overrun' },
  'amqp:session:errant-link': { retryable: true, meaning: 'input on a link that had been detached' },
  'amqp:session:handle-in-use': { retryable: true, meaning: 'a link handle was used twice' },
  'amqp:session:unattached-handle': { retryable: true, meaning: 'a frame for a handle with no link' },
  // §2.8.18
  'amqp:link:detach-forced': { retryable: true, meaning: 'the hub closed the link on its own account' },
  'amqp:link:transfer-limit-exceeded': { retryable: true, meaning: 'more transfers than the link had credit for' },
  'amqp:link:message-size-exceeded': { retryable: false, meaning: 'the message is too large' },
  'amqp:link:redirect': { retryable: false, meaning: 'attach elsewhere; follow it instead' },
  // Two holders that both retry would take the link from each other for ever.
  'amqp:link:stolen': { retryable: false, meaning: 'another client took the link over' },
  // §4.5.8
  'amqp:transaction:unknown-id': { retryable: false, meaning: 'no such transaction' },
  'amqp:transaction:rollback': { retryable: true, meaning: 'the transaction was rolled back' },
  'amqp:transaction:timeout': { retryable: true, meaning: 'the transaction took too long' },
  // IoT Hub
  'com.microsoft:timeout': { retryable: true, meaning: 'the hub ran out of time' },
  'com.microsoft:message-lock-lost': {
    retryable: false,
    meaning: 'the message was settled after its lock had expired',
  },
  'com.microsoft:iot-hub-not-found-error': { retryable: false, meaning: 'no such hub' },
  'com.microsoft:iot-hub-suspended': { retryable: false, meaning: 'the hub is suspended' },
  'com.microsoft:argument-error': { retryable: false, meaning: 'an argument is invalid' },
  'com.microsoft:argument-out-of-range': { retryable: false, meaning: 'an argument is out of range' },
  'com.microsoft:device-already-exists': { retryable: false, meaning: 'a device of that id exists' },
  'com.microsoft:device-container-throttled': { retryable: true, meaning: 'too much traffic; slow down' },
  'com.microsoft:quota-exceeded': { retryable: false, meaning: 'the quota of the hub is spent' },
  'com.microsoft:precondition-failed': { retryable: false, meaning: 'the entity has another version (ETag)' },
  'com.microsoft:link-creation-conflict': { retryable: true, meaning: 'a link of this kind is being made already' },
  // Event Hubs
  'com.microsoft:server-busy': { retryable: true, meaning: 'the service is busy; slow down' },
  'com.microsoft:operation-cancelled': { retryable: true, meaning: 'the service cancelled the operation' },
  'com.microsoft:container-close': { retryable: true, meaning: 'the entity is moving to another node' },
  'com.microsoft:entity-disabled': { retryable: false, meaning: 'the entity is disabled' },
  'com.microsoft:auth-failed': { retryable: false, meaning: 'no valid token for the entity' },
  'com.microsoft:partition-not-owned': { retryable: true, meaning: 'the partition is moving to another node' },
  'com.microsoft:publisher-revoked': { retryable: false, meaning: 'the publisher was revoked' },
}
