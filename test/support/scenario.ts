/** A scripted peer and an engine under test, in either role, on a virtual clock; and the way to a working link. */

import { expect } from 'vitest'
import type { OpenInit } from '../../src/engine/connection-endpoint.ts'
import { Engine, type EngineOptions } from '../../src/engine/engine.ts'
import type { EngineEvent } from '../../src/engine/events.ts'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { AttachInit } from '../../src/engine/link-endpoint.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import type { BeginInit, SessionEndpoint } from '../../src/engine/session-endpoint.ts'
import { type Fields, source, target } from '../peer/composites.ts'
import { any, type Expected, type Script, scripted } from '../peer/script.ts'
import { concat } from '../peer/wire.ts'

/** Who connects, begins and attaches: the engine under test, or the peer. */
export type Side = 'initiator' | 'acceptor'
export const sides: readonly Side[] = ['initiator', 'acceptor']

/** What an event must be, besides of its type. */
type EventOf<T extends EngineEvent['type']> = Extract<EngineEvent, { type: T }>

export class Scenario {
  readonly side: Side
  readonly engine: Engine
  readonly peer: Script
  now = 0

  constructor(side: Side, options: EngineOptions) {
    this.side = side
    this.engine = new Engine(options)
    this.peer = scripted({
      receive: bytes => {
        this.engine.receive(bytes, this.now)
        // As whoever drives it does.
        this.engine.tick(this.now)
      },
      output: () => concat(...this.engine.output(1 << 30, this.now)),
    })
    this.engine.tick(0)
  }

  /** Lets time pass; the clock is looked at when it has. */
  pass(ms: number): void {
    this.now += ms
    this.engine.tick(this.now)
  }

  /** The events there are. */
  events(): EngineEvent[] {
    const events: EngineEvent[] = []
    for (let event = this.engine.nextEvent(); event; event = this.engine.nextEvent()) events.push(event)
    return events
  }

  /** Events up to the first of this type, which is given. */
  event<T extends EngineEvent['type']>(type: T): EventOf<T> {
    const passed: string[] = []
    for (let event = this.engine.nextEvent(); event; event = this.engine.nextEvent()) {
      if (event.type === type) return event as EventOf<T>
      passed.push(event.type)
    }
    throw new Error(`no ${type} among ${passed.join(', ') || 'no events'}`)
  }

  deliveries(): IncomingDelivery[] {
    const deliveries: IncomingDelivery[] = []
    for (let d = this.engine.nextDelivery(); d; d = this.engine.nextDelivery()) deliveries.push(d)
    return deliveries
  }

  outcomes(): OutgoingDelivery[] {
    const outcomes: OutgoingDelivery[] = []
    for (let o = this.engine.nextOutcome(); o; o = this.engine.nextOutcome()) outcomes.push(o)
    return outcomes
  }
}

export const scenario = (options: { role: Side } & EngineOptions): Scenario => {
  const { role, ...rest } = options
  return new Scenario(role, rest)
}

/** What the engine says when nothing else is asked for. */
export const OUR_OPEN: Expected = { containerId: 'us', maxFrameSize: 65_536, channelMax: 1023 }
export const OUR_BEGIN: Expected = {
  nextOutgoingId: 0,
  incomingWindow: 2048,
  outgoingWindow: 0xffffffff,
  handleMax: 16_383,
}

/** Opens the connection. §2.4.1 */
export function opened(s: Scenario, ours: Partial<OpenInit> = {}, theirs: Fields = {}): Scenario {
  const init = { containerId: 'us', ...ours }
  const expected: Expected = { ...OUR_OPEN }
  for (const field of ['maxFrameSize', 'channelMax', 'idleTimeOut'] as const) {
    const value = ours[field]
    if (value !== undefined) expected[field] = value
  }
  if (s.side === 'initiator') {
    s.engine.connection.open(init)
    s.peer.expectHeader().sendHeader().expectOpen(expected).respondOpen(theirs)
  } else {
    s.peer.sendHeader().expectHeader().sendOpen(theirs)
    s.engine.connection.open(init)
    s.peer.expectOpen(expected)
  }
  s.event('connection.opened')
  return s
}

/** Begins a session on the channel of that number at both ends. §2.5.1 */
export function begun(s: Scenario, ours: Partial<BeginInit> = {}, theirs: Fields = {}, channel = 0): SessionEndpoint {
  const expected: Expected = { ...OUR_BEGIN }
  if (ours.incomingWindow !== undefined) expected.incomingWindow = ours.incomingWindow
  if (ours.handleMax !== undefined) expected.handleMax = ours.handleMax
  if (ours.nextOutgoingId !== undefined) expected.nextOutgoingId = ours.nextOutgoingId
  if (s.side === 'initiator') {
    const session = s.engine.connection.session()
    session.begin(ours)
    s.peer.expectBegin(expected, undefined, channel).respondBegin(theirs, undefined, channel)
    s.event('session.begun')
    return session
  }
  s.peer.sendBegin(theirs, undefined, channel)
  const { session } = s.event('session.begun')
  session.begin(ours)
  s.peer.expectBegin({ remoteChannel: channel, ...expected }, undefined, channel)
  return session
}

/** How a link is attached. */
export interface LinkSetting {
  readonly name?: string
  /** The number of the handle at both ends. Default 0. */
  readonly handle?: number
  readonly ours?: AttachInit
  readonly theirs?: Fields
  readonly channel?: number
}

function attach(s: Scenario, link: SenderEndpoint | ReceiverEndpoint, setting: LinkSetting): void {
  const { name = 'l1', handle = 0, ours = {}, theirs = {}, channel = 0 } = setting
  const isSender = link.role === 'sender'
  const modes = { sndSettleMode: ours.sndSettleMode, rcvSettleMode: ours.rcvSettleMode }
  const expected: Expected = {
    name,
    handle,
    role: link.role,
    ...modes,
    source: source({ address: 'a' }),
    target: target({ address: 'b' }),
    ...(isSender ? { initialDeliveryCount: link.credit.deliveryCount } : { maxMessageSize: any }),
  }
  link.attach({ source: { address: 'a' }, target: { address: 'b' }, ...ours })
  s.peer.expectAttach(expected, undefined, channel)
  if (s.side === 'initiator') s.peer.respondAttach(theirs, undefined, channel)
}

/** What the peer's attach leads to, where it comes first. */
function asked(s: Scenario, role: 'sender' | 'receiver', setting: LinkSetting): SenderEndpoint | ReceiverEndpoint {
  const { name = 'l1', handle = 0, theirs = {}, channel = 0 } = setting
  s.peer.sendAttach({ name, handle, role, ...theirs }, undefined, channel)
  return s.event('link.attached').link
}

/** A sender of ours, attached; without credit. §2.6.3 */
export function sending(s: Scenario, session: SessionEndpoint, setting: LinkSetting = {}): SenderEndpoint {
  const link =
    s.side === 'initiator' ? session.sender(setting.name ?? 'l1') : (asked(s, 'receiver', setting) as SenderEndpoint)
  attach(s, link, setting)
  if (s.side === 'initiator') s.event('link.attached')
  return link
}

/** A receiver of ours, attached; credit is manual, and none given. §2.6.3 */
export function receiving(s: Scenario, session: SessionEndpoint, setting: LinkSetting = {}): ReceiverEndpoint {
  const link =
    s.side === 'initiator' ? session.receiver(setting.name ?? 'l1') : (asked(s, 'sender', setting) as ReceiverEndpoint)
  link.useWindow(undefined)
  attach(s, link, setting)
  if (s.side === 'initiator') s.event('link.attached')
  return link
}

/** An engine with an open connection, a session and a sender. */
export function withSender(
  role: Side,
  setting: LinkSetting & { open?: Fields; begin?: Fields; ourBegin?: Partial<BeginInit>; credit?: number } = {},
): { s: Scenario; peer: Script; session: SessionEndpoint; sender: SenderEndpoint } {
  const s = opened(scenario({ role }), {}, setting.open)
  const session = begun(s, setting.ourBegin, setting.begin)
  const sender = sending(s, session, setting)
  if (setting.credit)
    s.peer.sendFlow({ handle: 0, deliveryCount: sender.credit.deliveryCount, linkCredit: setting.credit })
  s.events()
  return { s, peer: s.peer, session, sender }
}

/** An engine with an open connection, a session and a receiver. */
export function withReceiver(
  role: Side,
  setting: LinkSetting & {
    open?: Partial<OpenInit>
    begin?: Partial<BeginInit>
    peerBegin?: Fields
    credit?: number
  } = {},
): { s: Scenario; peer: Script; session: SessionEndpoint; receiver: ReceiverEndpoint } {
  const s = opened(scenario({ role }), setting.open)
  const session = begun(s, setting.begin, setting.peerBegin)
  const receiver = receiving(s, session, setting)
  if (setting.credit) {
    receiver.flow(setting.credit)
    s.peer.expectFlow({
      nextIncomingId: session.window.nextIncomingId,
      incomingWindow: session.window.incomingWindowSize,
      nextOutgoingId: 0,
      outgoingWindow: 0xffffffff,
      handle: setting.handle ?? 0,
      deliveryCount: receiver.credit.deliveryCount,
      linkCredit: setting.credit,
    })
  }
  return { s, peer: s.peer, session, receiver }
}

/** The whole payload of a delivery. */
export const payloadOf = (delivery: IncomingDelivery | undefined): Uint8Array => concat(...(delivery?.chunks ?? []))

/** In a comparison: this very endpoint. Comparing its fields would walk through the whole engine. */
export const same = (endpoint: object): unknown => expect.toSatisfy((value: unknown) => value === endpoint)
