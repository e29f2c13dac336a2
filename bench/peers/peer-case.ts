/** What a case of this comparison is, and what its processes and `run.mjs` say to each other. */

import type { Unit } from '../case.ts'
import type { Figures } from '../measure.ts'

/** Case → library → how it is set up. The first library of a case is the one that the others are compared with. */
export type PeerCases = Readonly<Record<string, Readonly<Record<string, () => Unit | Promise<Unit>>>>>

/** From `run.mjs`: time one round, or close and end. */
export type Order = { readonly type: 'round' } | { readonly type: 'end' }

/** To `run.mjs`: set up and warm, or the figures of a round. */
export type Answer = { readonly type: 'ready' } | { readonly type: 'round'; readonly figures: Figures }
