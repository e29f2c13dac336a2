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

/** How many bytes there are, whatever a subclass says of its length: what is believed and not written would be old memory. */
export const byteCount: (bytes: Uint8Array) => number = /* @__PURE__ */ (() => {
  const prototype: object = Object.getPrototypeOf(Uint8Array.prototype)
  const read = Object.getOwnPropertyDescriptor(prototype, 'length')?.get as (this: Uint8Array) => number
  return (bytes: Uint8Array) => read.call(bytes)
})()
