/** The map of unsettled deliveries in an attach: delivery-tag → delivery state, or null. §2.7.3 */

import type { FieldType } from '../types/composite.ts'
import { Writer } from '../types/writer.ts'
import { type DeliveryState, deliveryStateField } from './delivery-state.ts'
import { deliveryTagField } from './restricted.ts'

/** One entry: the delivery-tag, and the state, if there is one. */
export type UnsettledEntry = readonly [deliveryTag: Uint8Array, state: DeliveryState | undefined]

/** The field `unsettled`: its entries, in order. BORROWS the tags. */
export const unsettledField: FieldType<readonly UnsettledEntry[]> = {
  name: 'map',
  read(reader) {
    const outer = reader.enterMap()
    const entries: UnsettledEntry[] = []
    for (let left = reader.count; left > 0; left -= 2) {
      const tag = deliveryTagField.read(reader)
      entries.push([tag, reader.takeNull() ? undefined : deliveryStateField.read(reader)])
    }
    reader.leave(outer)
    return entries
  },
  write(writer, entries) {
    const begun = writer.open()
    for (const entry of entries) writeEntry(writer, entry)
    writer.closeMap(begun, entries.length * 2)
  },
}

function writeEntry(writer: Writer, [tag, state]: UnsettledEntry): void {
  deliveryTagField.write(writer, tag)
  if (state) deliveryStateField.write(writer, state)
  else writer.writeNull()
}

/** A delivery-tag as a text that can be compared: one character for each byte. */
export const tagText = (tag: Uint8Array): string => String.fromCharCode(...tag)

/** States by the text of their tags; `null` for a delivery without one. */
export const statesByTag = (entries: readonly UnsettledEntry[] = []): Map<string, DeliveryState | null> =>
  new Map(entries.map(([tag, state]) => [tagText(tag), state ?? null]))

/**
 * As many of the entries, from the first on, as fit.
 *
 * @param room  bytes for the whole field
 */
export function fittingEntries(
  all: Iterable<UnsettledEntry>,
  room: number,
): { unsettled: readonly UnsettledEntry[]; incompleteUnsettled: boolean } {
  const unsettled: UnsettledEntry[] = []
  const writer = new Writer()
  for (const entry of all) {
    writeEntry(writer, entry)
    if (mapWidth(writer.offset, unsettled.length + 1) > room) return { unsettled, incompleteUnsettled: true }
    unsettled.push(entry)
  }
  return { unsettled, incompleteUnsettled: false }
}

/** Bytes of a map: constructor, size and count have one byte each, or size and count have four. §1.6.23 */
const mapWidth = (content: number, entries: number): number => content + (content < 0xff && entries * 2 <= 0xff ? 3 : 9)
