/**
 * Conversations in which a link is resumed: what a peer says, as either role, and what the end that it says it to has
 * left from before. Tags 1 … 14 are in states of every kind. §3.4.6
 */

import { ACCEPTED, RELEASED } from '../../src/definitions/delivery-state.ts'
import { Engine } from '../../src/engine/engine.ts'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import {
  accepted,
  attach,
  begin,
  detach,
  disposition,
  type Fields,
  flow,
  modified,
  open,
  received,
  rejected,
  released,
  transfer,
} from '../peer/composites.ts'
import { amqpHeader, concat, frame, type Wire } from '../peer/wire.ts'
import { hear } from '../support/pair.ts'
import { message, unsettledMap } from '../support/resuming.ts'

const TAGS = 14
const numbers = Array.from({ length: TAGS }, (_, i) => i + 1)

/** What one end holds unsettled. */
export interface Left {
  readonly incoming: readonly IncomingDelivery[]
  readonly outgoing: readonly OutgoingDelivery[]
}

const head = concat(
  amqpHeader,
  frame(0, open({ containerId: 'peer', maxFrameSize: 1024 })),
  frame(0, begin({ nextOutgoingId: 0, incomingWindow: 5000, outgoingWindow: 5000 })),
)
const attached = (role: 'sender' | 'receiver', fields: Fields = {}): Uint8Array =>
  frame(0, attach({ name: 'l', handle: 0, role, initialDeliveryCount: 0, source: {}, target: {}, ...fields }))
const sent = (fields: Fields, payload?: Uint8Array): Uint8Array => frame(0, transfer({ handle: 0, ...fields }), payload)
const tagged = (id: number, n: number, rest: Fields = {}): Fields => ({
  deliveryId: id,
  deliveryTag: Uint8Array.of(n),
  ...rest,
})
const granted = (linkCredit: number): Uint8Array =>
  frame(
    0,
    flow({
      nextIncomingId: 0,
      incomingWindow: 5000,
      nextOutgoingId: 0,
      outgoingWindow: 5000,
      handle: 0,
      deliveryCount: 0,
      linkCredit,
    }),
  )

/** States of a target, by tag; those that are left out it does not know. */
const AT_TARGET: Record<number, Wire | null> = {
  2: received({ sectionNumber: 1, sectionOffset: 0n }),
  3: accepted(),
  4: null,
  6: received({ sectionNumber: 0, sectionOffset: 100n }),
  7: received({ sectionNumber: 0xffffffff, sectionOffset: 2n ** 64n - 1n }),
  8: rejected({ error: { condition: 'x:y', description: 'no' } }),
  9: modified({ deliveryFailed: true }),
  11: received({ sectionNumber: 2, sectionOffset: 0n }),
  12: released(),
  40: null,
}

/** A peer that receives: its map, credit, outcomes, and the link once more, with a map that is not complete. */
export const resumingReceiver = (): Uint8Array =>
  concat(
    head,
    attached('receiver', { unsettled: unsettledMap(AT_TARGET) }),
    granted(100),
    frame(0, disposition({ role: 'receiver', first: 0, last: 5, settled: true, state: accepted() })),
    frame(0, disposition({ role: 'receiver', first: 6, last: 20, state: released() })),
    frame(0, detach({ handle: 0 })),
    attached('receiver', { unsettled: unsettledMap(AT_TARGET), incompleteUnsettled: true }),
    granted(100),
    frame(0, detach({ handle: 0, closed: true })),
  )

/** A peer that sends: every way to take up a delivery, and the link once more. */
export const resumingSender = (): Uint8Array => {
  const all = unsettledMap(Object.fromEntries(numbers.filter(n => n !== 10).map(n => [n, AT_TARGET[n] ?? null])))
  const at = (sectionNumber: number, sectionOffset: bigint): Wire => received({ sectionNumber, sectionOffset })
  return concat(
    head,
    attached('sender', { unsettled: all }),
    sent(tagged(0, 1, { resume: true }), message(1)),
    sent(tagged(1, 2, { resume: true, state: at(1, 0n), more: true }), message(2).subarray(308, 320)),
    sent({ resume: true }, message(2).subarray(320)),
    sent(tagged(2, 3, { resume: true, settled: true, state: accepted() })),
    sent(tagged(3, 4, { resume: true, state: released() })),
    sent(tagged(4, 5, { resume: true, aborted: true })),
    sent(tagged(5, 6, { resume: true, state: at(0, 20n), more: true }), message(6).subarray(20, 200)),
    sent({ aborted: true }),
    sent(tagged(6, 7, { resume: true, more: true }), message(7).subarray(0, 100)),
    sent({}, message(7).subarray(100)),
    sent(tagged(7, 40, { resume: true, more: true }), message(40)),
    sent({ resume: true }, message(40)),
    sent(tagged(8, 8, { resume: true, state: at(2, 0n) })),
    sent(tagged(9, 41), message(41)),
    frame(0, disposition({ role: 'sender', first: 0, last: 9, settled: true, state: accepted() })),
    frame(0, detach({ handle: 0 })),
    attached('sender', { unsettled: all, incompleteUnsettled: true }),
    sent(tagged(10, 12, { resume: true, settled: true }), message(12)),
    frame(0, detach({ handle: 0, closed: true })),
  )
}

/** An engine to which a peer has said this, and its link. */
function heard<L>(bytes: Uint8Array): { engine: Engine; link: L } {
  const engine = new Engine({})
  engine.connection.open({ containerId: 'left' })
  engine.output(1 << 20, 0)
  engine.receive(concat(head, bytes), 0)
  let link: unknown
  for (const event of hear(engine).events) {
    if (event.type === 'session.begun') event.session.begin()
    if (event.type !== 'link.attached') continue
    if (event.link.role === 'receiver') event.link.useWindow(100)
    else event.link.keepsPayload = true
    event.link.attach({ source: {}, target: {}, rcvSettleMode: 'second' })
    link = event.link
  }
  engine.output(1 << 20, 0)
  return { engine, link: link as L }
}

const begun = attached('sender')
const transfers = concat(
  ...numbers.slice(0, -1).map(n => sent(tagged(n - 1, n), message(n))),
  sent(tagged(TAGS - 1, TAGS, { more: true }), message(TAGS).subarray(0, 200)),
)

/** Deliveries that came before: whole, decided in part, and one in part. */
export function leftIncoming(): Left {
  const { engine, link } = heard<ReceiverEndpoint>(begun)
  engine.receive(transfers, 0)
  for (const [i, delivery] of hear(engine).deliveries.entries())
    if (i % 3 > 0) link.disposition(delivery, i % 3 === 1 ? ACCEPTED : RELEASED)
  engine.receiveEnd(0)
  return { incoming: link.open, outgoing: [] }
}

const asked = concat(attached('receiver'), granted(100))

/** Deliveries that were sent before, and one that was given up when it was sent in part. */
export function leftOutgoing(): Left {
  const { engine, link } = heard<SenderEndpoint>(asked)
  for (const n of numbers.slice(0, 12)) link.transfer(message(n), { deliveryTag: Uint8Array.of(n) })
  engine.output(1 << 20, 0)
  const large = link.transfer(new Uint8Array(200_000), { deliveryTag: Uint8Array.of(13) })
  engine.output(1, 0)
  link.abort(large)
  link.transfer(message(TAGS), { deliveryTag: Uint8Array.of(TAGS) })
  engine.receiveEnd(0)
  return { incoming: [], outgoing: link.open }
}
