/**
 * The unit of the gate: a fixed kernel, a hash and a copy loop, run in the same process as the case, in turn with it.
 *
 * What slows this process down, a busy machine or a slow one, slows both; their ratio moves much less than either.
 * Changing anything here makes every ratio in `baseline.json` void.
 */

const SIZE = 16 << 10

const from = /* @__PURE__ */ Uint8Array.from({ length: SIZE }, (_, i) => (i * 131 + (i >> 5)) & 0xff)
const to = /* @__PURE__ */ new Uint8Array(SIZE)

/** One reference unit: FNV-1a over 16 KiB, each byte copied on the way, and one bulk copy. @returns the hash */
export function referenceUnit(): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < SIZE; i++) {
    const byte = from[i] as number
    hash = Math.imul(hash ^ byte, 0x01000193)
    to[i] = byte ^ hash
  }
  to.set(from)
  return hash ^ (to[hash & (SIZE - 1)] as number)
}
