/**
 * Where the faults of a hub strike one connection: at its close, its sessions, its links, what comes on them, and its
 * tokens.
 *
 * By nothing but what any server can do with `Connection`, `Session` and `Link`.
 */

import type { Connection, Delivery, Link, Receiver, Session } from '../client/api.ts'
import type { ErrorInit } from '../client/options.ts'
import type { Authorisation } from './authorisation.ts'
import type { Authentication } from './device-registry.ts'
import { type Faults, type FaultTarget, matches } from './faults.ts'

/** One connection, as faults see it. */
export class ConnectionFaults implements FaultTarget {
  readonly #connection: Connection
  readonly #authorisation: Authorisation
  readonly #faults: Faults
  readonly #sessions = new Set<Session>()
  readonly #links = new Map<Link, string>()
  #isClosed = false

  constructor(connection: Connection, authorisation: Authorisation, faults: Faults) {
    this.#connection = connection
    this.#authorisation = authorisation
    this.#faults = faults
    const unwatch = faults.watch(this)
    void connection.closed.then(() => {
      this.#isClosed = true
      unwatch()
    })
    faults.arrived(this)
  }

  /** A session has begun. */
  session(session: Session): void {
    this.#sessions.add(session)
    void session.closed.then(() => this.#sessions.delete(session))
    this.#faults.arrived(this)
  }

  /** A link has been attached. */
  link(link: Link, address: string): void {
    this.#links.set(link, address)
    void link.closed.then(() => this.#links.delete(link))
    this.#faults.arrived(this)
  }

  /** Why a link is refused, if it is. */
  attach(address: string): ErrorInit | undefined {
    return this.#faults.attach(address)
  }

  /** What is said of a token, before it is looked at. */
  token(): Authentication | undefined {
    return this.#faults.token() ? { ok: false, reason: 'signature' } : undefined
  }

  /** A receiver has been attached. @returns it, without the deliveries that a fault has struck */
  receiver(receiver: Receiver, address: string): Receiver {
    this.link(receiver, address)
    const receive = async (options?: Parameters<Receiver['receive']>[0]): Promise<Delivery> => {
      for (;;) {
        const delivery = await receiver.receive(options)
        if (!(await this.#isStruck(delivery, address))) return delivery
      }
    }
    const isStruck = (delivery: Delivery): Promise<boolean> => this.#isStruck(delivery, address)
    return new Proxy(receiver, {
      get(target, key) {
        if (key === 'receive') return receive
        if (key === Symbol.asyncIterator) return () => passing(target, isStruck)
        const value: unknown = Reflect.get(target, key, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }

  strike(on: 'connection' | 'session' | 'link', match: string | undefined, error: ErrorInit): boolean {
    if (this.#isClosed) return false
    if (on === 'connection') {
      if (!matches(match, this.#names())) return false
      // It ends once, whatever else is there.
      this.#isClosed = true
      this.#connection.close({ error }).catch(() => {})
      return true
    }
    if (on === 'session') {
      const struck = [...this.#sessions].filter(session => matches(match, this.#names(session)))
      for (const session of struck) {
        this.#sessions.delete(session)
        session.end({ error }).catch(() => {})
      }
      return struck.length > 0
    }
    const struck = [...this.#links].filter(([, address]) => matches(match, [address]))
    for (const [link] of struck) {
      this.#links.delete(link)
      link.close({ error }).catch(() => {})
    }
    return struck.length > 0
  }

  expireTokens(match: string | undefined): boolean {
    if (this.#authorisation.isEmpty || !matches(match, this.#names())) return false
    this.#authorisation.expireAll()
    return true
  }

  /** What the connection, or one of its sessions, goes by: the addresses of its links, the scopes of its tokens. */
  #names(session?: Session): readonly string[] {
    const addresses = [...this.#links].flatMap(([link, address]) =>
      session === undefined || link.session === session ? address : [],
    )
    return session === undefined ? [...addresses, ...this.#authorisation.scopes] : addresses
  }

  async #isStruck(delivery: Delivery, address: string): Promise<boolean> {
    const fault = this.#faults.delivery(address)
    if (fault === undefined) return false
    if ('error' in fault) await delivery.reject(fault.error)
    else if (fault.outcome === 'released') await delivery.release()
    else if (fault.outcome === 'modified') await delivery.modify({ deliveryFailed: true })
    return true
  }
}

async function* passing(
  receiver: Receiver,
  isStruck: (delivery: Delivery) => Promise<boolean>,
): AsyncGenerator<Delivery, undefined, undefined> {
  for await (const delivery of receiver) if (!(await isStruck(delivery))) yield delivery
}
