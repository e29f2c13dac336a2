/** Wire profiles, for old or strict peers, in the engine's words. §1.4 */

import type { WireStyle } from '../engine/connection-endpoint.ts'
import type { WireProfile } from './options.ts'

/** A wire profile in the engine's words. */
export const styleOf = (profile: WireProfile = {}): Partial<WireStyle> => ({
  complete: profile.completePerformatives === true,
  arrays: profile.symbolArrays === true,
  omitNextIncomingId: profile.omitNextIncomingId === true,
})
