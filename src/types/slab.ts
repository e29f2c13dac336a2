/**
 * The buffer that results of the codec share: a small result is a view of it, which costs a tenth of bytes of its own.
 *
 * It is cleared first, since every view shows all of it by `buffer`. What was handed out is never written again. A full slab is left to its views, and a new one begins.
 */

import { Writer } from './writer.ts'

const SIZE = 32768
/** Results up to this size are views; larger ones have a buffer of their own. */
const LARGEST_VIEW = 4096

/** Taken away while in use: a getter in a message may well encode another. */
let slab: Writer | undefined

/** A writer for one result, its `mark` set. Unless it is given back by `finish` it is forgotten, with all that is in it. */
export function begin(): Writer {
  // A slab whose buffer was transferred all the same has no bytes left.
  const writer = slab !== undefined && slab.bytes.length > 0 ? slab : new Writer(SIZE, SIZE, true)
  slab = undefined
  writer.mark = writer.offset
  return writer
}

/** What was written since `begin`; the writer is given back. @param own  the result, if it is made already */
export function finish(writer: Writer, own?: Uint8Array): Uint8Array {
  let bytes = own
  if (bytes === undefined && writer.offset - writer.mark <= LARGEST_VIEW) bytes = writer.written()
  else {
    bytes ??= writer.copy()
    writer.offset = writer.mark
  }
  if (writer.bytes.length <= SIZE) slab = writer
  return bytes
}
