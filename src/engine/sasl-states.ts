/** The SASL exchange, from both ends. §5.3.2 */

import type { Transitions } from './transitions.ts'

export type SaslState = 'START' | 'MECHANISMS' | 'INIT' | 'CHALLENGED' | 'RESPONDED' | 'DONE'

/** The frames, whoever sends them: the server mechanisms, challenge and outcome, the client init and response. */
export type SaslInput = 'MECHANISMS' | 'INIT' | 'CHALLENGE' | 'RESPONSE' | 'OUTCOME'

/** §5.3.2: mechanisms, init, any number of challenges each with its response, outcome. */
export const saslTransitions: Transitions<SaslState, SaslInput> = {
  START: { MECHANISMS: 'MECHANISMS' },
  MECHANISMS: { INIT: 'INIT' },
  INIT: { CHALLENGE: 'CHALLENGED', OUTCOME: 'DONE' },
  CHALLENGED: { RESPONSE: 'RESPONDED' },
  RESPONDED: { CHALLENGE: 'CHALLENGED', OUTCOME: 'DONE' },
  DONE: {},
}
