/**
 * What is mended, and when: verdicts on what ended a connection or a link of a hub, and the waits before the next try.
 * Pure: chance is an argument. Facts: spec-notes/iothub.md, conditions.
 */

import type { ReconnectOptions } from '../../client/recovery/back-off.ts'
import {
  AmqpCondition,
  type AmqpError,
  ClosedError,
  IdleTimeoutError,
  RemoteError,
  TransportError,
  UsageError,
} from '../../errors.ts'
import { checkNames, type Names } from '../check-names.ts'
import { describeCondition, HubCondition, isRetryable, isThrottling } from './conditions.ts'

/** How a client of a hub stays up: connections and links that were lost are made again. */
export interface HubReconnectOptions
  extends Pick<ReconnectOptions, 'initialMs' | 'maxMs' | 'stableMs' | 'attempts' | 'resend' | 'onStateChange'> {
  /** The least wait after the hub has asked for less traffic, in ms. Default 5,000. */
  readonly throttledMs?: number | undefined
}

/** The options with their defaults. */
export interface Mending {
  readonly initialMs: number
  readonly maxMs: number
  readonly stableMs: number
  readonly attempts: number
  readonly throttledMs: number
}

/** For the waits of renewals where nothing else is mended. */
export const UNMENDED: Mending = { initialMs: 250, maxMs: 30_000, stableMs: 0, attempts: 0, throttledMs: 5_000 }

/** @throws {UsageError} there is no such option, or it is out of range */
export function mendingOf(options: HubReconnectOptions): Mending {
  if (typeof options !== 'object' || options === null)
    throw new UsageError('IoT Hub: reconnect is an object of options, {} for the defaults, or false')
  const { initialMs = 250, maxMs = 30_000, stableMs = 10_000, throttledMs = 5_000 } = options
  const { attempts = Number.POSITIVE_INFINITY } = options
  checkNames('option of reconnect', options, RECONNECT)
  const mending = { initialMs, maxMs, stableMs, attempts, throttledMs }
  for (const [name, value] of Object.entries(mending))
    if (typeof value !== 'number' || !(value >= 0))
      throw new UsageError(`IoT Hub: reconnect.${name} is a number from 0 on`)
  return mending
}

const RECONNECT: Names<HubReconnectOptions> = {
  initialMs: 0,
  maxMs: 0,
  stableMs: 0,
  attempts: 0,
  resend: 0,
  onStateChange: 0,
  throttledMs: 0,
}

/**
 * How long to wait before a try, in ms: anything up to a bound that doubles; after throttling no less than its wait.
 *
 * @param attempt  from 1
 * @param chance  0 … 1, drawn anew each time
 */
export function delayBefore(attempt: number, error: unknown, mending: Mending, chance: number): number {
  const { initialMs, maxMs, throttledMs } = mending
  const wait = chance * Math.min(maxMs, initialMs * 2 ** Math.min(attempt - 1, 40))
  // Those who were throttled together do not come back together.
  return isThrottling(error) ? throttledMs * (1 + chance) + wait : wait
}

/** Conditions that a hub has for a token that is over, and for a device that is not allowed any more, or not there. */
const DOUBTFUL: ReadonlySet<string | undefined> = new Set([
  AmqpCondition.unauthorizedAccess,
  AmqpCondition.notFound,
  HubCondition.authFailed,
])

/** Whether a new token may mend it: if it does not, the hub refuses the token, and says why. */
export const castsDoubt = (error: unknown): boolean =>
  (error instanceof RemoteError || error instanceof ClosedError) && DOUBTFUL.has(error.condition)

/** Whether it was not the link alone that ended, but its connection, at the peer's word. */
export function lostConnection(error: unknown): boolean {
  let at = error
  while (at instanceof ClosedError) at = at.cause
  return at instanceof RemoteError && at.scope === 'connection'
}

/** Whether an error is of a link, or of what carries it, and not of a message or an argument. */
export function isOfLink(error: unknown): error is AmqpError {
  if (error instanceof ClosedError || error instanceof TransportError || error instanceof IdleTimeoutError) return true
  return error instanceof RemoteError && error.scope !== 'delivery'
}

/** Whether the hub has refused a token for good. What else may go wrong with one is tried again. */
export const isRefusal = (error: unknown): boolean => error instanceof RemoteError && !isRetryable(error)

/**
 * What to make of what ended a connection, or an attempt at one.
 *
 * @returns as `ReconnectOptions.retry`: `undefined` where nothing is known of a hub
 */
export function verdictOn(error: unknown, mending: Mending, chance: number): boolean | number | undefined {
  if (isThrottling(error)) return delayBefore(1, error, mending, chance)
  return error instanceof RemoteError ? describeCondition(error.condition)?.retryable : undefined
}
