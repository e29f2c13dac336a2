/** Frames of ours as events, for whoever traces: their fields in the standard's order, whatever order they were given in. */

import type { TransferFields } from '../definitions/hot-paths.ts'
import type { Performative } from '../definitions/performatives.ts'
import { frameBody } from '../definitions/registry.ts'
import type { Init } from '../types/composite.ts'
import type { FrameEvent } from './events.ts'
import type { OutgoingDelivery } from './outgoing-delivery.ts'

/** A performative as it was given for writing. */
export type Outgoing = Init<Performative> & { readonly type: Performative['type'] }

/** The event for a frame that is being written; `payload` is the bytes behind the performative. */
export function outgoingFrame(channel: number, value: Outgoing, payload: number): FrameEvent {
  const given = value as Record<string, unknown>
  const body: Record<string, unknown> = { type: value.type }
  for (const { key } of frameBody.named(value.type).fields) body[key] = given[key]
  return { type: 'frame', direction: 'out', layer: 'amqp', channel, body, payload }
}

/** The transfer that the ordinary data path writes. §2.7.5 */
export function transferOf(fields: TransferFields, delivery: OutgoingDelivery): Outgoing {
  const first = fields.deliveryId >= 0
  return {
    type: 'transfer',
    handle: fields.handle,
    deliveryId: first ? fields.deliveryId : undefined,
    deliveryTag: first ? delivery.deliveryTag : undefined,
    messageFormat: first ? fields.messageFormat : undefined,
    settled: fields.settled || undefined,
    more: fields.more,
    state: delivery.state ?? (fields.state && delivery.acquired?.state),
  }
}
