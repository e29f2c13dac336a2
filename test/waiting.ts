/** How tests wait: for what they look at, or, where nothing is to be seen, for a moment in which it would have come. */

/**
 * Waits so many milliseconds, and then some turns of the event loop: a machine that stands still for a moment has its
 * timers fire before what is ready to be read.
 */
export async function pause(ms = 0): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, ms))
  for (let turns = 20; turns > 0; turns--) await new Promise(setImmediate)
}

/** Waits until something holds; after too long, throws what that was. */
export async function until(what: () => boolean, ms = 15_000): Promise<void> {
  const end = performance.now() + ms
  while (!what()) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 1))
  }
}
