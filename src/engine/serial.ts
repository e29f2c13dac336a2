/** Serial number arithmetic: 32 bits that wrap. The only place where sequence-nos meet +, − and <. RFC 1982, §2.8.10 */

import type { SequenceNo } from '../definitions/restricted.ts'

/** `count` after `a`; `count` may be negative. */
export const serialAdd = (a: SequenceNo, count: number): SequenceNo => (a + count) >>> 0

/** How far `a` is after `b`: −2^31 … 2^31 − 1. */
export const serialDistance = (a: SequenceNo, b: SequenceNo): number => (a - b) | 0

/** Whether `a` comes before `b`. */
export const serialLess = (a: SequenceNo, b: SequenceNo): boolean => ((a - b) | 0) < 0

/** The later of two. */
export const serialMax = (a: SequenceNo, b: SequenceNo): SequenceNo => (serialLess(a, b) ? b : a)
