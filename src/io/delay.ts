/** Milliseconds as setTimeout takes them. */

/** Above this, setTimeout fires at once. */
const LONGEST = 2 ** 31 - 1

/** A whole number of milliseconds, from 1 to the longest that a timer can wait: who needs longer looks again. */
export const timerDelay = (ms: number): number => Math.min(Math.max(Math.ceil(ms), 1), LONGEST)
