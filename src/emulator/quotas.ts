/**
 * The quotas of an emulated hub: how many messages a second, a minute and a day it takes, once that is switched on.
 *
 * Rates are buckets that fill up evenly, so that a short burst passes; the count of the day begins at midnight UTC. A
 * real hub delays before it refuses, and counts large messages several times; this one does neither. Pure; time is an
 * argument. Facts: spec-notes/iothub.md, quotas.
 */

import type { ErrorInit } from '../client/options.ts'
import { AmqpCondition, UsageError } from '../errors.ts'

/** What a hub takes. Each number is ≥ 1. */
export interface QuotaOptions {
  /** From all devices. Default 100, as of one unit of S1. */
  readonly telemetryPerSecond?: number | undefined
  /** To all devices. Default 100, as of one unit. */
  readonly commandsPerMinute?: number | undefined
  /** By all devices. Default 100, as of any hub. */
  readonly twinReadsPerSecond?: number | undefined
  /** By all devices. Default 50, as of one unit. */
  readonly twinUpdatesPerSecond?: number | undefined
  /** Both ways. Default 400 000, as of one unit of S1. */
  readonly messagesPerDay?: number | undefined
}

/** The counters of one hub. */
export class Quotas {
  readonly #telemetry: Rate
  readonly #commands: Rate
  readonly #twinReads: Rate
  readonly #twinUpdates: Rate
  readonly #perDay: number
  #day = 0
  #today = 0

  /** @throws {UsageError} if a number is less than 1 */
  constructor(options: QuotaOptions) {
    const { telemetryPerSecond = 100, commandsPerMinute = 100, messagesPerDay = 400_000 } = options
    const { twinReadsPerSecond = 100, twinUpdatesPerSecond = 50 } = options
    const all = { telemetryPerSecond, commandsPerMinute, messagesPerDay, twinReadsPerSecond, twinUpdatesPerSecond }
    for (const [name, value] of Object.entries(all))
      if (!(value >= 1)) throw new UsageError(`IoT Hub emulator: ${name} must be at least 1`)
    this.#telemetry = newRate(telemetryPerSecond, 1000, 'second')
    this.#commands = newRate(commandsPerMinute, 60_000, 'minute')
    this.#twinReads = newRate(twinReadsPerSecond, 1000, 'second')
    this.#twinUpdates = newRate(twinUpdatesPerSecond, 1000, 'second')
    this.#perDay = messagesPerDay
  }

  /** Counts a message of a device. @returns why it is refused, if it is */
  takeTelemetry(now: number): ErrorInit | undefined {
    return this.#take(this.#telemetry, now)
  }

  /** Counts a message to a device. @returns why it is refused, if it is */
  takeCommand(now: number): ErrorInit | undefined {
    return this.#take(this.#commands, now)
  }

  /** Counts a request of a device to its twin. @returns whether there were too many */
  throttlesTwin(kind: 'read' | 'update', now: number): boolean {
    return !passes(kind === 'read' ? this.#twinReads : this.#twinUpdates, now)
  }

  #take(rate: Rate, now: number): ErrorInit | undefined {
    const day = Math.floor(now / 86_400_000)
    if (day !== this.#day) this.#today = 0
    this.#day = day
    if (this.#today >= this.#perDay) {
      const description = `IotHubQuotaExceeded: the hub has taken ${this.#perDay} messages today`
      return { condition: AmqpCondition.resourceLimitExceeded, description }
    }
    if (!passes(rate, now)) {
      const description = `ThrottlingException: the hub takes ${rate.limit} messages a ${rate.unit}`
      return { condition: 'com.microsoft:device-container-throttled', description }
    }
    this.#today++
    return undefined
  }
}

/** A bucket of permits. */
interface Rate {
  readonly limit: number
  readonly periodMs: number
  readonly unit: string
  permits: number
  /** As of when, in ms since 1970. */
  at: number
}

const newRate = (limit: number, periodMs: number, unit: string): Rate => ({
  limit,
  periodMs,
  unit,
  permits: limit,
  at: 0,
})

function passes(rate: Rate, now: number): boolean {
  const gained = (Math.max(now - rate.at, 0) * rate.limit) / rate.periodMs
  rate.permits = Math.min(rate.limit, rate.permits + gained)
  rate.at = now
  if (rate.permits < 1) return false
  rate.permits--
  return true
}
