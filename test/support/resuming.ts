/** Links that are resumed against a scripted peer: what is left of an earlier connection, and the way to the next. §2.6.13 */

import { expect } from 'vitest'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { AttachInit } from '../../src/engine/link-endpoint.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import type { SessionEndpoint } from '../../src/engine/session-endpoint.ts'
import { encodeMessage } from '../../src/message/encode.ts'
import { type Field, type Fields, received, source, target } from '../peer/composites.ts'
import { any, type Expected, type Script } from '../peer/script.ts'
import { concat, toHex, type Wire } from '../peer/wire.ts'
import { begun, opened, type Scenario, type Side, scenario, withReceiver, withSender } from './scenario.ts'

export const tag = (n: number): Uint8Array => Uint8Array.of(n)

/** The wire's map of unsettled deliveries: by tag, null for no state. */
export const unsettledMap = (entries: Record<number, Wire | null>): Wire => ({
  t: 'map',
  v: Object.entries(entries).map(([n, state]) => [
    { t: 'binary', v: toHex(tag(Number(n))) },
    state ?? { t: 'null', v: null },
  ]),
})

/** A message of two sections: 300 bytes of data, and some of its number. */
export const message = (n: number): Uint8Array =>
  encodeMessage({ body: { data: [new Uint8Array(300).fill(n), new Uint8Array(80).fill(n + 100)] } })

/** How links are resumed: who attaches first, and what either says. */
export interface Resuming {
  readonly role?: Side
  readonly ours?: AttachInit
  /** Fields of the peer's attach. */
  readonly theirs?: Fields
  /** What our map is expected to say. */
  readonly says: Field | undefined
  /** Our map is expected not to fit. */
  readonly incomplete?: boolean
  readonly open?: Fields
  readonly credit?: number
}

interface Resumed<L> {
  readonly s: Scenario
  readonly peer: Script
  readonly session: SessionEndpoint
  readonly link: L
}

/** Attaches a link that has been prepared by `adopt`. */
export function attached(
  s: Scenario,
  link: SenderEndpoint | ReceiverEndpoint,
  { ours = {}, theirs = {}, says, incomplete }: Resuming,
  [handle, channel]: readonly [number, number] = [0, 0],
): void {
  const expected: Expected = {
    name: link.name,
    handle,
    role: link.role,
    sndSettleMode: ours.sndSettleMode,
    rcvSettleMode: ours.rcvSettleMode,
    source: source({ address: 'a' }),
    target: target({ address: 'b' }),
    unsettled: says,
    incompleteUnsettled: incomplete,
    ...(link.role === 'sender' ? { initialDeliveryCount: 0 } : { maxMessageSize: any }),
  }
  link.attach({ source: { address: 'a' }, target: { address: 'b' }, ...ours })
  s.peer.expectAttach(expected, undefined, channel)
  if (link.initiated === 'local') s.peer.respondAttach(theirs, undefined, channel)
}

/** A sender on a connection of its own that takes over what another has left. */
export function resumedSender(left: readonly OutgoingDelivery[], how: Resuming): Resumed<SenderEndpoint> {
  const s = opened(scenario({ role: how.role ?? 'initiator' }), {}, how.open)
  const session = begun(s)
  let link: SenderEndpoint
  if (s.side === 'initiator') link = session.sender('l1')
  else {
    s.peer.sendAttach({ name: 'l1', role: 'receiver', ...how.theirs })
    link = s.event('link.attached').link as SenderEndpoint
  }
  link.keepsPayload = true
  link.adopt(left)
  attached(s, link, how)
  s.events()
  if (how.credit !== 0) s.peer.sendFlow({ handle: 0, deliveryCount: 0, linkCredit: how.credit ?? 100 })
  return { s, peer: s.peer, session, link }
}

/** As `resumedSender`, for a receiver; it has granted `credit`, by hand. */
export function resumedReceiver(left: readonly IncomingDelivery[], how: Resuming): Resumed<ReceiverEndpoint> {
  const s = opened(scenario({ role: how.role ?? 'initiator' }), {}, how.open)
  const session = begun(s)
  let link: ReceiverEndpoint
  if (s.side === 'initiator') link = session.receiver('l1')
  else {
    s.peer.sendAttach({ name: 'l1', role: 'sender', ...how.theirs })
    link = s.event('link.attached').link as ReceiverEndpoint
  }
  link.useWindow(undefined)
  link.adopt(left)
  attached(s, link, how)
  if (how.credit !== 0) {
    link.flow(how.credit ?? 10)
    s.peer.expectFlow(granted(how.credit ?? 10))
  }
  return { s, peer: s.peer, session, link }
}

/** A flow of which only the link's credit matters. */
export const granted = (linkCredit: number, deliveryCount = 0): Expected => ({
  nextIncomingId: any,
  incomingWindow: any,
  nextOutgoingId: any,
  outgoingWindow: any,
  handle: 0,
  deliveryCount,
  linkCredit,
})

/** What the first connection sends before it is cut. */
export interface Before {
  readonly role?: Side
  readonly keepsPayload?: boolean
  readonly ours?: AttachInit
  /** Frames that the peer's window takes. */
  readonly frames?: number
}

/** A sender whose connection is cut after `act`. @returns what it left */
export function leftBySender(
  act: (link: SenderEndpoint, peer: Script) => void,
  before: Before = {},
): OutgoingDelivery[] {
  const { s, peer, sender } = withSender(before.role ?? 'initiator', {
    ...(before.ours ? { ours: before.ours } : {}),
    open: { maxFrameSize: 512 },
  })
  peer.sendFlow({ incomingWindow: before.frames ?? 2048, handle: 0, deliveryCount: 0, linkCredit: 100 })
  sender.keepsPayload = before.keepsPayload ?? true
  act(sender, peer)
  peer.all()
  s.engine.receiveEnd(0)
  return sender.open
}

/** A receiver whose connection is cut after `act`. @returns what it left, and who had it */
export function leftByReceiver(
  act: (link: ReceiverEndpoint, peer: Script, s: Scenario) => void,
  before: Before = {},
): { left: IncomingDelivery[]; link: ReceiverEndpoint } {
  const ours = before.ours ?? {}
  const theirs = ours.rcvSettleMode === 'second' ? { rcvSettleMode: 1 } : {}
  const { s, peer, receiver } = withReceiver(before.role ?? 'initiator', { ours, theirs, credit: 100 })
  act(receiver, peer, s)
  s.engine.receiveEnd(0)
  return { left: receiver.open, link: receiver }
}

export const at = (sectionNumber: number, sectionOffset: number | bigint): Wire =>
  received({ sectionNumber, sectionOffset })
/** How our map says that the payload is not here any more. */
export const NOWHERE: Wire = at(0xffffffff, 0)
/** The second section begins here. */
export const SECOND: number = 308

export const transfer = (id: number, n: number, rest: Expected = {}): Expected => ({
  handle: 0,
  deliveryId: id,
  deliveryTag: tag(n),
  messageFormat: 0,
  ...rest,
})
export const resume = (id: number, n: number, rest: Expected = {}): Expected =>
  transfer(id, n, { resume: true, ...rest })

/** Sent, whole, and without an answer. */
export const sent = (n: number, keepsPayload = true): OutgoingDelivery[] =>
  leftBySender(link => link.transfer(message(n), { deliveryTag: tag(n) }), { keepsPayload })

/** Framed in part, and given up before the next frame could say so. */
export const givenUp = (n: number): OutgoingDelivery[] =>
  leftBySender(
    (link, peer) => {
      const delivery = link.transfer(concat(message(n), message(n)), { deliveryTag: tag(n) })
      peer.all()
      expect(link.abort(delivery)).toBe('aborted')
    },
    { frames: 1 },
  )
