/**
 * Faults on demand, so that what a program does about them can be tested: lost connections, slow ones, refused links,
 * rejected messages, tokens that are over.
 *
 * A table of what is to go wrong, and how often; where it strikes is in `connection-faults.ts` and
 * `faulty-transport.ts`. Facts: spec-notes/iothub.md, faults.
 */

import type { ErrorInit } from '../../client/options.ts'
import { UsageError } from '../../errors.ts'
import { checkNames } from '../../iothub/check-names.ts'

/** What is to go wrong. */
export type EmulatorFault =
  /** A connection is dropped, without a close, when so many bytes more have crossed it, both ways together. 0: at once. */
  | (FaultTimes & { readonly dropAfterBytes: number })
  /** Whatever crosses a connection takes so many ms longer, each way, until the fault is disposed of. */
  | { readonly delayMs: number }
  /**
   * The connections, sessions or links that there are, those to `$cbs` too, get a close, end or detach with this error, or
   * with none; if there is none of them, the next that comes.
   */
  | (FaultTimes &
      FaultPlace & { readonly on: 'connection' | 'session' | 'link'; readonly error?: ErrorInit | undefined })
  /** A link is refused, whoever may have it. */
  | (FaultTimes & FaultPlace & { readonly on: 'attach'; readonly error: ErrorInit })
  /** A message is rejected; throttling is that with `com.microsoft:device-container-throttled`. */
  | (FaultTimes & FaultPlace & FaultSide & { readonly on: 'delivery'; readonly error: ErrorInit })
  /** A message is not taken, or, with `'none'`, never settled. */
  | (FaultTimes &
      FaultPlace &
      FaultSide & { readonly on: 'delivery'; readonly outcome: 'released' | 'modified' | 'none' })
  /** A request over HTTPS is refused with this status, 400 … 599. Here `match` is for the path. */
  | (FaultTimes & FaultPlace & { readonly on: 'https'; readonly status: number })
  /** Its connection is dropped, without an answer. */
  | (FaultTimes & FaultPlace & { readonly on: 'https'; readonly drop: true })
  /** It is handled so many ms later. */
  | (FaultTimes & FaultPlace & { readonly on: 'https'; readonly delayMs: number })
  /** A token is refused: status 401 from `$cbs`, or a failed login by SASL PLAIN. */
  | (FaultTimes & { readonly on: 'token' })
  /** At once, the time of every token there is is over. New ones are taken. */
  | (FaultPlace & { readonly on: 'expiry' })

/** How often a fault strikes. */
export interface FaultTimes {
  /** 1 or more; `Infinity`: until it is disposed of. Default 1. All that there is when it begins counts as once. */
  readonly times?: number | undefined
}

/** Where a fault strikes. */
export interface FaultPlace {
  /**
   * Only where this is in the address of the link, e.g. `devices/d1/`; for what has no address, in that of one of its
   * links or in the scope of one of its tokens. Default: anywhere.
   */
  readonly match?: string | undefined
}

/** Whose messages a fault strikes. */
export interface FaultSide {
  /**
   * `'hub'`: what the hub sends on a link. It does not leave: with `'none'` it is lost on its way, else the hub goes on as if
   * the client had settled it so. Default `'client'`: what a client sends.
   */
  readonly from?: 'client' | 'hub' | undefined
}

/** A fault that has been set up. Disposing of it ends it; what it has done is not undone. */
export interface StandingFault extends Disposable {
  /** How often it has struck. */
  readonly strikes: number
}

/** What happens to a message that a fault strikes. */
export type DeliveryFault = { readonly error: ErrorInit } | { readonly outcome: 'released' | 'modified' | 'none' }

/** What happens to a request over HTTPS that a fault strikes. */
export type HttpsFault = { readonly status: number } | { readonly drop: true } | { readonly delayMs: number }

/** What faults can strike as soon as they are set up. */
export interface FaultTarget {
  /** @returns whether there was something that matched */
  strike(on: 'connection' | 'session' | 'link', match: string | undefined, error: ErrorInit | undefined): boolean
  expireTokens(match: string | undefined): boolean
}

/** A transport that is looked after. */
export interface FaultyConnection {
  /** Bytes that have crossed it, both ways. */
  readonly bytes: number
  drop(): void
}

class Standing implements StandingFault {
  readonly fault: EmulatorFault
  strikes = 0
  readonly #faults: Set<Standing>

  constructor(fault: EmulatorFault, faults: Set<Standing>) {
    this.fault = fault
    this.#faults = faults
    faults.add(this)
  }

  /** Counts a strike; the last one ends it. */
  struck(): void {
    this.strikes++
    if (this.strikes >= (('times' in this.fault && this.fault.times) || 1)) this.#faults.delete(this)
  }

  [Symbol.dispose](): void {
    this.#faults.delete(this)
  }
}

/** The faults of one hub. */
export class Faults {
  readonly #standing = new Set<Standing>()
  readonly #targets = new Set<FaultTarget>()
  readonly #transports = new Set<FaultyConnection>()
  /** Bytes of a connection when a fault began; those that came later began at 0. */
  readonly #counted = new WeakMap<Standing, Map<FaultyConnection, number>>()

  /** @throws {UsageError} a number is out of range, or there is no such fault */
  add(fault: EmulatorFault): StandingFault {
    checkFault(fault)
    const standing = new Standing(fault, this.#standing)
    if ('dropAfterBytes' in fault) {
      this.#counted.set(standing, new Map([...this.#transports].map(it => [it, it.bytes])))
      for (const transport of this.#transports) this.crossed(transport)
    } else if ('on' in fault) this.#strikeNow(standing, fault)
    return standing
  }

  /** Looks after what can be struck. @returns a function that ends it */
  watch(target: FaultTarget): () => void {
    this.#targets.add(target)
    return () => this.#targets.delete(target)
  }

  /** Looks after a transport. @returns a function that ends it */
  watchTransport(transport: FaultyConnection): () => void {
    this.#transports.add(transport)
    return () => this.#transports.delete(transport)
  }

  /** How long what crosses a transport is held, in ms. */
  get delayMs(): number {
    let delay = 0
    for (const { fault } of this.#standing) if ('delayMs' in fault && !('on' in fault)) delay += fault.delayMs
    return delay
  }

  /** Bytes that may still cross a transport before it is dropped. */
  bytesLeft(transport: FaultyConnection): number {
    let left = Number.POSITIVE_INFINITY
    for (const standing of this.#standing) left = Math.min(left, this.#left(standing, transport))
    return left
  }

  /** Bytes have crossed a transport: drops it if that was enough. */
  crossed(transport: FaultyConnection): void {
    for (const standing of this.#standing) {
      if (this.#left(standing, transport) > 0) continue
      standing.struck()
      transport.drop()
      return
    }
  }

  /** Why a link is refused, if it is. */
  attach(address: string): ErrorInit | undefined {
    const standing = this.#next('attach', address)
    return standing && 'error' in standing.fault ? standing.fault.error : undefined
  }

  /** What happens to a message instead, if anything does. */
  delivery(address: string, from: 'client' | 'hub'): DeliveryFault | undefined {
    return this.#next('delivery', address, from)?.fault as DeliveryFault | undefined
  }

  /** What happens to a request instead, if anything does. */
  https(url: string): HttpsFault | undefined {
    return this.#next('https', url)?.fault as HttpsFault | undefined
  }

  /** Whether a token is refused. */
  token(): boolean {
    return this.#next('token', '') !== undefined
  }

  /** Something has come that may be struck. */
  arrived(target: FaultTarget): void {
    for (const standing of this.#standing) {
      const { fault } = standing
      if (!('on' in fault)) continue
      if (fault.on !== 'connection' && fault.on !== 'session' && fault.on !== 'link') continue
      if (target.strike(fault.on, fault.match, fault.error)) standing.struck()
    }
  }

  #strikeNow(standing: Standing, fault: Extract<EmulatorFault, { on: string }>): void {
    let isStruck = false
    for (const target of this.#targets) {
      if (fault.on === 'expiry') isStruck = target.expireTokens(fault.match) || isStruck
      else if (fault.on === 'connection' || fault.on === 'session' || fault.on === 'link')
        isStruck = target.strike(fault.on, fault.match, fault.error) || isStruck
    }
    if (isStruck) standing.struck()
    // It has no later.
    if (fault.on === 'expiry') standing[Symbol.dispose]()
  }

  /** The oldest fault of a kind that fits, its strike counted. */
  #next(on: string, address: string, from?: 'client' | 'hub'): Standing | undefined {
    for (const standing of this.#standing) {
      const { fault } = standing
      if (!('on' in fault) || fault.on !== on) continue
      if (fault.on === 'delivery' && (fault.from ?? 'client') !== from) continue
      if ('match' in fault && !matches(fault.match, [address])) continue
      standing.struck()
      return standing
    }
    return undefined
  }

  #left(standing: Standing, transport: FaultyConnection): number {
    const { fault } = standing
    if (!('dropAfterBytes' in fault)) return Number.POSITIVE_INFINITY
    return fault.dropAfterBytes - (transport.bytes - (this.#counted.get(standing)?.get(transport) ?? 0))
  }
}

/** Whether a fault is meant for something that goes by these texts. */
export function matches(match: string | undefined, texts: Iterable<string>): boolean {
  if (match === undefined) return true
  const wanted = match.toLowerCase()
  return [...texts].some(text => text.toLowerCase().includes(wanted))
}

const PLACES: readonly string[] = ['connection', 'session', 'link', 'attach', 'delivery', 'token', 'expiry', 'https']
/** What may be said of a fault beside its kind. */
const FIELDS: Readonly<Record<string, Readonly<Record<string, 0>>>> = {
  dropAfterBytes: { dropAfterBytes: 0, times: 0 },
  delayMs: { delayMs: 0 },
  connection: { on: 0, match: 0, times: 0, error: 0 },
  session: { on: 0, match: 0, times: 0, error: 0 },
  link: { on: 0, match: 0, times: 0, error: 0 },
  attach: { on: 0, match: 0, times: 0, error: 0 },
  delivery: { on: 0, match: 0, times: 0, error: 0, outcome: 0, from: 0 },
  https: { on: 0, match: 0, times: 0, status: 0, drop: 0, delayMs: 0 },
  token: { on: 0, times: 0 },
  expiry: { on: 0, match: 0 },
}
const MAY_HAVE_ERROR: readonly string[] = ['connection', 'session', 'link']

function checkFault(fault: EmulatorFault): void {
  const { dropAfterBytes, on, error, outcome, from, times = 1, ...rest } = fault as Partial<Record<string, unknown>>
  const { status, drop, delayMs, match } = rest
  const isCount = (value: unknown): boolean => typeof value === 'number' && value >= 0
  const kinds = on === 'https' ? [on, dropAfterBytes] : [dropAfterBytes, delayMs, on]
  if (kinds.filter(it => it !== undefined).length !== 1)
    throw new UsageError('fault: one of `dropAfterBytes`, `delayMs` and `on`')
  if (dropAfterBytes !== undefined && !isCount(dropAfterBytes))
    throw new UsageError('fault: dropAfterBytes is a number of bytes, 0 or more')
  if (delayMs !== undefined && !isCount(delayMs)) throw new UsageError('fault: delayMs is 0 or more')
  if (!(isCount(times) && (times as number) >= 1)) throw new UsageError('fault: times is 1 or more')
  if (on !== undefined && !PLACES.includes(on as string))
    throw new UsageError(`fault: \`on\` is one of ${PLACES.join(', ')}`)
  const kind = (on ?? (delayMs === undefined ? 'dropAfterBytes' : 'delayMs')) as string
  checkNames(`field of a fault with ${kind}`, fault, FIELDS[kind] ?? {})
  if (match !== undefined && typeof match !== 'string') throw new UsageError('fault: match is a text')
  if (on === undefined) return
  const hasError = typeof (error as Partial<ErrorInit> | undefined)?.condition === 'string'
  const mayLack = MAY_HAVE_ERROR.includes(on as string) && error === undefined
  if ((on === 'attach' || MAY_HAVE_ERROR.includes(on as string)) && !hasError && !mayLack)
    throw new UsageError('fault: an error with a condition is missing')
  if (on === 'delivery' && hasError === (outcome !== undefined))
    throw new UsageError('fault: on a delivery, either `error` or `outcome`')
  if (from !== undefined && from !== 'client' && from !== 'hub')
    throw new UsageError("fault: `from` is 'client' or 'hub'")
  if (on !== 'https') return
  if ([status, drop, delayMs].filter(it => it !== undefined).length !== 1)
    throw new UsageError('fault: on https, one of `status`, `drop` and `delayMs`')
  if (
    status !== undefined &&
    !(isCount(status) && Number.isInteger(status) && (status as number) >= 400 && (status as number) <= 599)
  )
    throw new UsageError('fault: status is 400 to 599')
  if (drop !== undefined && drop !== true) throw new UsageError('fault: drop is true')
}
