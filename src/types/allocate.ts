/** Bytes for buffers that are written before they are read: not cleared where the platform knows how to leave that out. */

declare const Buffer: { allocUnsafeSlow?(size: number): Uint8Array } | undefined

/** From this size on, clearing costs more than the detour. */
const WORTH_IT = 4096

/** `size` bytes of any content, with a buffer of their own. */
export function allocate(size: number): Uint8Array {
  if (size < WORTH_IT || typeof Buffer === 'undefined' || !Buffer.allocUnsafeSlow) return new Uint8Array(size)
  const made = Buffer.allocUnsafeSlow(size)
  // Not the Buffer itself: its subarray costs several times a plain view's.
  return new Uint8Array(made.buffer, made.byteOffset, size)
}
