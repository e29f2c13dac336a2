/**
 * Who keeps termini of links that are not attached, as a session and its links see it. Without a keeper nothing is kept,
 * and the answer to an attach says so. §2.6.3 §3.5.3–3.5.6
 */

import type { TerminusDurability, TerminusExpiryPolicy } from '../../definitions/restricted.ts'
import type { Source, Target } from '../../definitions/terminus.ts'
import type { AttachInit, LinkEndpoint } from '../../engine/link-endpoint.ts'
import type { OutgoingDelivery } from '../../engine/outgoing-delivery.ts'
import type { Init } from '../../types/composite.ts'
import type { Closure, Connection } from '../api.ts'
import { handled } from '../operation.ts'
import type { LinkReply, TerminusInit } from '../options.ts'
import type { ClientReceiver } from '../receiver.ts'
import type { ClientSender } from '../sender.ts'

/** Both ends of a link, as an attach says them. */
export interface Ends {
  readonly source: AttachInit['source']
  readonly target: AttachInit['target']
}

/** The terminus of one link. */
export interface Terminus {
  /** The link has ended, and its deliveries are about to. */
  onLeft(closure: Closure): void
  /** Whether a delivery lives on without its link. */
  holds(delivery: OutgoingDelivery): boolean
}

/** Of one connection. */
export interface TerminusKeeper {
  /** What is known of a link that the peer attaches. Synchronous: who is offered the link sees it. */
  known(endpoint: LinkEndpoint): Ends | undefined
  /** Loads and saves what is durable, before our attach. Rejects where that fails. */
  prepare(endpoint: LinkEndpoint, ends: Ends): Promise<void>
  /** Takes the link over from whichever had it, with its deliveries. @returns what our attach says of both ends */
  attach(link: ClientSender | ClientReceiver, ends: Ends): Ends
}

const keepers = /* @__PURE__ */ new WeakMap<Connection, TerminusKeeper>()

export const keepTermini = (connection: Connection, keeper: TerminusKeeper): void =>
  void keepers.set(connection, keeper)
export const keeperOf = (connection: Connection): TerminusKeeper | undefined => keepers.get(connection)

/** How long a terminus lives without its link. §3.5.5 §3.5.6 */
export interface Terms {
  readonly durable: TerminusDurability
  readonly expiryPolicy: TerminusExpiryPolicy
  /** Seconds. */
  readonly timeout: number
}

/** It ends with the link. */
export const NOTHING_KEPT: Terms = /* @__PURE__ */ Object.freeze({
  durable: 'none',
  expiryPolicy: 'link-detach',
  timeout: 0,
})

/** Whether a terminus outlives its link at all. */
export const outlives = ({ expiryPolicy, timeout }: Terms): boolean => expiryPolicy !== 'link-detach' || timeout > 0

/** Both ends, with what really holds for ours. A coordinator has no terms. §4.2 */
export function withTerms(role: LinkEndpoint['role'], { source, target }: Ends, terms: Partial<Terms>): Ends {
  if (role === 'sender') return { source: source && { ...source, ...terms }, target }
  if (!target || target.type === 'coordinator') return { source, target }
  return { source, target: { ...target, ...terms } }
}

/**
 * What our attach says of both ends of a link that the peer has attached. What the application says itself of how long its
 * end lives is its word: it may keep it in its own way.
 */
export function answeredEnds(link: ClientSender | ClientReceiver, ends: Ends, { reply = {} }: Answer): Ends {
  const { role } = link.endpoint
  const said = termsIn((role === 'sender' ? reply.source : reply.target) ?? {})
  const keeper = keeperOf(link.session.connection)
  if (!keeper) return withTerms(role, ends, { ...NOTHING_KEPT, ...said })
  const kept = keeper.attach(link, ends)
  return said.durable ? withTerms(role, kept, { durable: said.durable }) : kept
}

/** Options of an answer, as far as they matter here. */
interface Answer {
  readonly reply?: LinkReply
}

function termsIn({ durable, expiryPolicy, timeout }: TerminusInit): Partial<Terms> {
  const said = { durable, expiryPolicy, timeout }
  return Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined))
}

/** Our end, if there is one that can be kept. */
export const ownEnd = (
  role: LinkEndpoint['role'],
  { source, target }: Ends,
): Init<Source> | Init<Target> | undefined =>
  role === 'sender' ? source : target?.type === 'coordinator' ? undefined : target

/** A map did not fit: once what it says has come to its end, the peer is to attach again, with the rest. §2.6.13 */
export function detachWhenDone(sender: ClientSender, flushed: Set<() => void>): void {
  const { endpoint } = sender
  const onFlush = (): void => {
    const isDone = endpoint.isAttached && endpoint.unsettledCount === 0 && endpoint.mayDetach
    if (!isDone && !endpoint.hasEnded) return
    flushed.delete(onFlush)
    if (isDone) void handled(sender.detach())
  }
  flushed.add(onFlush)
  sender.closed.then(() => flushed.delete(onFlush))
}
