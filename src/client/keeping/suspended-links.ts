/**
 * Termini of a listener's links, which outlive these as long as their policies say: by whom, name and direction, with
 * the deliveries that have not come to an end. §2.6.1 §2.6.3 §2.6.4 §3.5.6
 *
 * What lives on in this process are the very deliveries: sends stay open, what was handed over may still be decided, and
 * a link that is attached again adopts them. What is to survive the process is its configuration, in a store.
 */

import type { IncomingDelivery } from '../../engine/incoming-delivery.ts'
import type { LinkEndpoint } from '../../engine/link-endpoint.ts'
import { UsageError } from '../../errors.ts'
import type { Connection } from '../api.ts'
import type { TerminusKey, TerminusOptions, TerminusRecord } from '../api-termini.ts'
import { isGone } from '../serving/incoming-link.ts'
import { sourceFields, sourceInit, targetFields, targetInit } from '../termini.ts'
import { type Ends, NOTHING_KEPT, outlives, ownEnd, type TerminusKeeper, type Terms, withTerms } from './keeper.ts'
import { type AnyLink, KeptTerminus } from './kept-terminus.ts'

const DEFAULTS = { maxTermini: 1000, maxDeliveries: 100_000, maxBytes: 64 << 20 }

export class SuspendedLinks {
  readonly #options: TerminusOptions
  readonly #limits: typeof DEFAULTS
  readonly #failed: (error: Error) => void
  readonly #termini = new Map<string, KeptTerminus>()
  /** Who waits for the end of a session or connection. */
  readonly #waiting = new WeakMap<object, Set<KeptTerminus>>()
  /** By whom the store is being used, for each terminus. */
  readonly #storing = new Map<string, Promise<void>>()
  /** Termini that outlive their links, and what they keep. */
  #kept = 0
  deliveries = 0
  bytes = 0
  isClosed = false

  /** @param failed  hears of what the store throws */
  constructor(options: TerminusOptions, failed: (error: Error) => void) {
    const { maxTermini, maxDeliveries, maxBytes } = options
    this.#options = options
    this.#limits = {
      maxTermini: maxTermini ?? DEFAULTS.maxTermini,
      maxDeliveries: maxDeliveries ?? DEFAULTS.maxDeliveries,
      maxBytes: maxBytes ?? DEFAULTS.maxBytes,
    }
    this.#failed = failed
  }

  /** What links of one connection see. */
  of(connection: Connection): TerminusKeeper {
    return {
      known: endpoint => this.#termini.get(idOf(keyOf(connection, endpoint)))?.ends,
      prepare: (endpoint, ends) => this.#prepare(keyOf(connection, endpoint), endpoint, ends),
      attach: (link, ends) => this.#attach(keyOf(connection, link.endpoint), link, ends),
    }
  }

  async #prepare(key: TerminusKey, endpoint: LinkEndpoint, ends: Ends): Promise<void> {
    const { store } = this.#options
    if (!store) return
    const id = idOf(key)
    const record = this.#termini.has(id) ? undefined : await this.#inOrder(id, () => store.get(key))
    const isOver = record?.expiresAt !== undefined && record.expiresAt <= Date.now()
    if (record && !isOver && !this.#termini.has(id) && !this.isClosed) {
      const found = { source: sourceFields(record.source), target: targetFields(record.target) }
      const terminus = new KeptTerminus(this, key, found)
      this.#termini.set(id, terminus)
      terminus.found(this.#granted(terminus, ownEnd(key.role, found) ?? {}, 0), record.expiresAt)
    }
    if (!asksDurable(key.role, ends)) return
    await this.#inOrder(id, () => store.set(key, recordOf(ends, undefined)))
    // The peer is gone, and nothing here would ever forget it again.
    if (isGone(endpoint) && !this.#termini.has(id) && !this.isClosed) await this.#inOrder(id, () => store.delete(key))
  }

  /** What is done to one record is done one after the other, whatever each takes: the last word holds. */
  async #inOrder<T>(id: string, act: () => T | PromiseLike<T>): Promise<T> {
    const before = this.#storing.get(id)
    const done = before ? before.then(act) : (async () => act())()
    const settled = done.then(
      () => {},
      () => {},
    )
    this.#storing.set(id, settled)
    try {
      return await done
    } finally {
      if (this.#storing.get(id) === settled) this.#storing.delete(id)
    }
  }

  #attach(key: TerminusKey, link: AnyLink, asked: Ends): Ends {
    const id = idOf(key)
    let terminus = this.#termini.get(id)
    if (terminus && !terminus.giveUp()) {
      this.forget(terminus)
      terminus = undefined
    }
    const { role } = key
    const source = role === 'sender' ? (asked.source ?? terminus?.ends.source) : asked.source
    const target = role === 'receiver' ? (asked.target ?? terminus?.ends.target) : asked.target
    const own = ownEnd(role, { source, target })
    if (!own) return { source, target }
    const isResumed = terminus !== undefined
    terminus ??= new KeptTerminus(this, key, { source, target })
    this.#termini.set(id, terminus)
    const terms = this.#granted(terminus, own, link.endpoint.keptBytes + key.name.length)
    // There was no place for it: what has been stored beforehand is not kept.
    if (terms.durable === 'none' && asksDurable(role, { source, target })) this.#store(key, store => store.delete(key))
    const ends = withTerms(role, { source, target }, terms)
    terminus.attach(link, ends, terms, isResumed)
    return ends
  }

  /** What is granted of what is asked for: true, whatever it is. §3.5.3 §3.5.4 */
  #granted(terminus: KeptTerminus, asked: Partial<{ [K in keyof Terms]: Terms[K] | undefined }>, bytes: number): Terms {
    const { maxSeconds, store } = this.#options
    const { durable = 'none', expiryPolicy = 'session-end', timeout = 0 } = asked
    const isEndless = expiryPolicy === 'never' && maxSeconds !== undefined
    const terms: Terms = {
      // A crash between two changes would lose the unsettled state: it is kept, and not promised as durable.
      durable: store && durable !== 'none' ? 'configuration' : 'none',
      expiryPolicy: isEndless ? 'connection-close' : expiryPolicy,
      timeout: isEndless ? maxSeconds : Math.min(timeout, maxSeconds ?? timeout),
    }
    this.#release(terminus)
    if (!outlives(terms)) return terms
    if (this.#kept >= this.#limits.maxTermini || this.bytes + bytes > this.#limits.maxBytes) return NOTHING_KEPT
    this.#kept++
    this.bytes += bytes
    terminus.bytes = bytes
    return terms
  }

  #release(terminus: KeptTerminus): void {
    if (terminus.bytes < 0) return
    this.#kept--
    this.bytes -= terminus.bytes
    terminus.bytes = -1
  }

  /** Whether so many more deliveries may be kept. */
  hasRoom(deliveries: number): boolean {
    return !this.isClosed && this.deliveries + deliveries <= this.#limits.maxDeliveries
  }

  /** Drops the parts of messages that are too much to keep: they are sent again. */
  fitting(deliveries: readonly IncomingDelivery[]): IncomingDelivery[] {
    let left = this.#limits.maxBytes - this.bytes
    return deliveries.filter(({ handedOver, pinned }) => {
      if (handedOver) return true
      left -= pinned
      return left >= 0
    })
  }

  /** Calls a terminus when a session or connection has ended, once for each, however often it asks. */
  whenClosed(scope: { readonly closed: Promise<unknown> }, terminus: KeptTerminus): void {
    const known = this.#waiting.get(scope)
    if (known) return void known.add(terminus)
    const waiting = new Set([terminus])
    this.#waiting.set(scope, waiting)
    scope.closed.then(() => {
      for (const each of [...waiting]) each.start()
    })
  }

  stopWaiting(scope: object, terminus: KeptTerminus): void {
    this.#waiting.get(scope)?.delete(terminus)
  }

  /** It has expired, or its link is closed. */
  forget(terminus: KeptTerminus): void {
    const id = idOf(terminus.key)
    this.#release(terminus)
    if (this.#termini.get(id) !== terminus) return
    this.#termini.delete(id)
    if (terminus.isDurable && !this.isClosed) this.#store(terminus.key, store => store.delete(terminus.key))
  }

  /** Says in the store when it expires. */
  note(terminus: KeptTerminus, expiresAt: number | undefined): void {
    if (terminus.isDurable) {
      const record = recordOf(terminus.ends, expiresAt)
      this.#store(terminus.key, store => store.set(terminus.key, record))
    }
  }

  #store(key: TerminusKey, act: (store: NonNullable<TerminusOptions['store']>) => unknown): void {
    const { store } = this.#options
    if (!store) return
    // What a store throws is told; nobody waits for it here.
    this.#inOrder(idOf(key), () => act(store)).catch(error =>
      this.#failed(error instanceof Error ? error : new Error(String(error))),
    )
  }

  /** How many termini there are, those of attached links included. */
  get size(): number {
    return this.#termini.size
  }

  /** The listener is closed: nothing is kept any longer but what is in the store. */
  close(): void {
    this.isClosed = true
    for (const terminus of [...this.#termini.values()]) terminus.expire()
    this.#termini.clear()
  }
}

const keyOf = (connection: Connection, { name, role }: LinkEndpoint): TerminusKey => ({
  containerId: connection.remote.containerId,
  identity: connection.identity,
  name,
  role,
})

const idOf = ({ containerId, identity, name, role }: TerminusKey): string =>
  JSON.stringify([identity ?? null, containerId, role, name])

const asksDurable = (role: TerminusKey['role'], ends: Ends): boolean => {
  const { durable = 'none' } = ownEnd(role, ends) ?? {}
  return durable !== 'none'
}

const recordOf = ({ source, target }: Ends, expiresAt: number | undefined): TerminusRecord => ({
  source: sourceInit(source as never),
  target: targetInit(target as never),
  expiresAt,
})

/** @throws {UsageError} an option is unknown or out of range */
export function checkTermini(options: boolean | TerminusOptions | undefined): void {
  if (typeof options !== 'object') return
  for (const name of Object.keys(options))
    if (!['maxTermini', 'maxDeliveries', 'maxBytes', 'maxSeconds', 'store'].includes(name))
      throw new UsageError(`there is no option of termini named ${JSON.stringify(name)}`)
  for (const name of ['maxTermini', 'maxDeliveries', 'maxBytes', 'maxSeconds'] as const) {
    const value = options[name]
    if (value !== undefined && !(value >= 0))
      throw new UsageError(`termini.${name} is a number from 0 on, not ${value}`)
  }
}
