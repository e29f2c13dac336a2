// What both fuzz tests do to bytes, from a seeded generator.

/** Integers below `n`, the same ones for the same seed (mulberry32). */
export function random(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

/** Bytes with up to four things done to them: changed, flipped, cut, dropped, doubled, filled. */
export function mutate(bytes: Uint8Array, below: (n: number) => number): Uint8Array {
  let out = bytes.slice()
  for (let times = below(4); times >= 0; times--) {
    const at = below(out.length || 1)
    switch (below(6)) {
      case 0:
        out[at] = below(256)
        break
      case 1:
        out[at] = (out[at] ?? 0) ^ (1 << below(8))
        break
      case 2:
        out = out.slice(0, at)
        break
      case 3:
        out = new Uint8Array([...out.slice(0, at), ...out.slice(at + 1 + below(8))])
        break
      case 4:
        out = new Uint8Array([...out.slice(0, at), ...out.slice(below(out.length || 1)).slice(0, 64), ...out.slice(at)])
        break
      default:
        out.fill([0, 0xff, 0x7f, 0x80][below(4)] ?? 0, at, at + 4)
    }
  }
  return out
}
