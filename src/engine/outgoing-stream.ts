/**
 * Messages that are sent while they are made: a delivery that is queued open, extended piece by piece, and finished.
 * §2.6.14
 *
 * Transfers leave with `more` set while it is open. What is queued behind it on its link waits; other links do not.
 * `SenderEndpoint.abort` takes it back like any other delivery. §2.7.5
 */

import type { OutgoingDelivery } from './outgoing-delivery.ts'

/**
 * Adds payload to an open delivery. Nothing happens to one that has been finished, aborted or abandoned.
 *
 * @param pieces  kept by reference until they are framed: they must not change
 */
export function extend(delivery: OutgoingDelivery, pieces: readonly Uint8Array[]): void {
  if (!delivery.isOpen) return
  let added = 0
  for (const piece of pieces) {
    if (piece.length === 0) continue
    delivery.pieces?.push(piece)
    added += piece.length
  }
  delivery.size += added
  delivery.link.session.connection.pendingBytes += added
  delivery.link.wake()
}

/** Adds the last of the payload, and closes the delivery: its next frames are its last. */
export function finish(delivery: OutgoingDelivery, pieces: readonly Uint8Array[] = []): void {
  if (!delivery.isOpen) return
  extend(delivery, pieces)
  delivery.isOpen = false
  delivery.link.wake()
}

/** Bytes of a delivery that are queued and not framed. */
export const unsent = (delivery: OutgoingDelivery): number => delivery.size - delivery.sent
