/** The SASL exchange, from both ends. §5.3.2 */

import type { Transitions } from './transitions.ts'

/** `INIT_PIPE`: the client has not waited for the mechanisms. */
export type SaslState = 'START' | 'INIT_PIPE' | 'MECHANISMS' | 'INIT' | 'CHALLENGED' | 'RESPONDED' | 'DONE'

/** The frames, whoever sends them: the server mechanisms, challenge and outcome, the client init and response. */
export type SaslInput = 'MECHANISMS' | 'INIT' | 'CHALLENGE' | 'RESPONSE' | 'OUTCOME'

/** §5.3.2: mechanisms, init, any number of challenges each with its response, outcome. An init may be pipelined. D-047 */
export const saslTransitions: Transitions<SaslState, SaslInput> = {
  START: { MECHANISMS: 'MECHANISMS', INIT: 'INIT_PIPE' },
  INIT_PIPE: { MECHANISMS: 'INIT' },
  MECHANISMS: { INIT: 'INIT' },
  INIT: { CHALLENGE: 'CHALLENGED', OUTCOME: 'DONE' },
  CHALLENGED: { RESPONSE: 'RESPONDED' },
  RESPONDED: { CHALLENGE: 'CHALLENGED', OUTCOME: 'DONE' },
  DONE: {},
}
