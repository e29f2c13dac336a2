/** MSSBCBS, Microsoft's: nothing is proved here, but later, by CBS. No initial response, no challenge. */

import { oneMessage, type SaslMechanism, type SaslServerMechanism } from './mechanism.ts'

/** Leaves it to CBS. */
export const mssbcbs = (): SaslMechanism => ({
  name: 'MSSBCBS',
  secret: false,
  pipelines: true,
  start: () => oneMessage('MSSBCBS', () => undefined),
})

/** Lets everybody in, to authenticate by CBS. */
export const mssbcbsServer = (): SaslServerMechanism => ({
  name: 'MSSBCBS',
  start: () => ({ step: () => ({ outcome: 'ok' }) }),
})
