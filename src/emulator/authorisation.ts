/**
 * What one connection to an emulated hub is authorised for: the tokens put on it, or the one it logged in with, until
 * they expire.
 *
 * Every attach is judged against the whole set. Which address a principal may use is decided in `access.ts`; whether a
 * token is genuine was decided before it came here. Facts: spec-notes/iothub.md, CBS.
 */

import type { HubAddress } from '../iothub/addresses.ts'
import { isInScope } from '../iothub/credentials/sas.ts'
import { mayUse, type Principal } from './access.ts'
import { Alarm, type EmulatorClock } from './clock.ts'

/** One token that holds. */
interface Grant {
  readonly principal: Principal
  /** In ms since 1970, tolerance included. */
  readonly until: number
}

/** The tokens of one connection. */
export class Authorisation {
  readonly #clock: EmulatorClock
  readonly #skewMs: number
  readonly #onLost: () => void
  readonly #grants = new Map<string, Grant>()
  readonly #alarm: Alarm

  /**
   * @param skewMs  how long after its expiry a token still holds, ≥ 0
   * @param onLost  called when a token has expired or was revoked: ask {@link allows} again
   */
  constructor(clock: EmulatorClock, skewMs: number, onLost: () => void) {
    this.#clock = clock
    this.#skewMs = skewMs
    this.#onLost = onLost
    this.#alarm = new Alarm(clock, () => this.#expire())
  }

  /** Whether no token holds. */
  get isEmpty(): boolean {
    return this.#grants.size === 0
  }

  /** Adds a token, in place of an earlier one of the same principal for the same scope. */
  grant(principal: Principal, expiresAt: Date): void {
    this.#grants.set(keyOf(principal), { principal, until: expiresAt.getTime() + this.#skewMs })
    this.#setAlarm()
  }

  /** Takes back the tokens for exactly this scope. @param sr  percent-decoded */
  revoke(sr: string): void {
    for (const [key, { principal }] of this.#grants) {
      if (isInScope(sr, principal.sr) && isInScope(principal.sr, sr)) this.#grants.delete(key)
    }
    this.#setAlarm()
    this.#onLost()
  }

  /** Takes back the tokens of a device and its modules. */
  forget(deviceId: string): void {
    for (const [key, { principal }] of this.#grants)
      if (principal.kind === 'device' && principal.deviceId === deviceId) this.#grants.delete(key)
    this.#setAlarm()
    this.#onLost()
  }

  /** Whether a token that holds now covers the address. */
  allows(address: HubAddress): boolean {
    return address.kind === 'cbs' || this.principalFor(address) !== undefined
  }

  /** Whose token that is. */
  principalFor(address: HubAddress): Principal | undefined {
    const now = this.#clock.now()
    for (const { principal, until } of this.#grants.values())
      if (until > now && mayUse(principal, address)) return principal
    return undefined
  }

  /** What the tokens are for, percent-decoded. */
  get scopes(): readonly string[] {
    return [...this.#grants.values()].map(({ principal }) => principal.sr)
  }

  /** As if the time of every token were over. */
  expireAll(): void {
    this.#grants.clear()
    this.#setAlarm()
    this.#onLost()
  }

  /** Forgets everything and stops the timer. */
  close(): void {
    this.#grants.clear()
    this.#alarm.set(undefined)
  }

  #expire(): void {
    const now = this.#clock.now()
    for (const [key, { until }] of this.#grants) if (until <= now) this.#grants.delete(key)
    this.#setAlarm()
    this.#onLost()
  }

  #setAlarm(): void {
    let earliest: number | undefined
    for (const { until } of this.#grants.values()) earliest = Math.min(until, earliest ?? until)
    this.#alarm.set(earliest)
  }
}

function keyOf(principal: Principal): string {
  return principal.kind === 'device'
    ? JSON.stringify([principal.kind, principal.deviceId, principal.moduleId])
    : JSON.stringify([principal.kind, principal.policy, principal.sr.toLowerCase()])
}
