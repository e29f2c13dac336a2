/**
 * Where the faults of a hub strike one connection: at its close, its sessions, its links, what comes on them, and its
 * tokens.
 *
 * By nothing but what any server can do with `Connection`, `Session` and `Link`.
 */

import type { Connection, Delivery, Link, Receiver, Sender, Session } from '../../client/api.ts'
import type { ErrorInit } from '../../client/options.ts'
import type { Outcome } from '../../client/outcome.ts'
import type { Authorisation } from '../authorisation.ts'
import type { Authentication } from '../device-registry.ts'
import { type DeliveryFault, type Faults, type FaultTarget, matches } from './faults.ts'

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
    return instead(receiver, { receive, [Symbol.asyncIterator]: () => passing(receiver, isStruck) })
  }

  /** A sender has been attached. @returns it, that does not send what a fault strikes */
  sender(sender: Sender, address: string): Sender {
    this.link(sender, address)
    const send: Sender['send'] = (message, options) => {
      const fault = this.#faults.delivery(address, 'hub')
      return fault === undefined ? sender.send(message, options) : outcomeOf(fault)
    }
    return instead(sender, { send })
  }

  strike(on: 'connection' | 'session' | 'link', match: string | undefined, error: ErrorInit | undefined): boolean {
    if (this.#isClosed) return false
    if (on === 'connection') {
      if (!matches(match, this.#names())) return false
      // It ends once, whatever else is there.
      this.#isClosed = true
      this.#connection.close(error && { error }).catch(() => {})
      return true
    }
    if (on === 'session') {
      const struck = [...this.#sessions].filter(session => matches(match, this.#names(session)))
      for (const session of struck) {
        this.#sessions.delete(session)
        session.end(error && { error }).catch(() => {})
      }
      return struck.length > 0
    }
    const struck = [...this.#links].filter(([, address]) => matches(match, [address]))
    for (const [link] of struck) {
      this.#links.delete(link)
      link.close(error && { error }).catch(() => {})
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
    const fault = this.#faults.delivery(address, 'client')
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

/** A link with some other ways. */
function instead<L extends Link>(link: L, ways: Readonly<Record<string | symbol, unknown>>): L {
  return new Proxy(link, {
    get(target, key) {
      if (Object.hasOwn(ways, key)) return ways[key]
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** What becomes of a message that was not sent. */
function outcomeOf(fault: DeliveryFault): Promise<Outcome> {
  // Why, nobody asks here.
  if ('error' in fault) return Promise.resolve({ outcome: 'rejected', error: undefined })
  if (fault.outcome === 'released') return Promise.resolve({ outcome: 'released' })
  if (fault.outcome === 'none') return new Promise(() => {})
  const change = { deliveryFailed: true, undeliverableHere: false, messageAnnotations: new Map() }
  return Promise.resolve({ outcome: 'modified', ...change })
}
