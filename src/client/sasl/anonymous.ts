/** ANONYMOUS: everybody. RFC 4505 */

import { encodeUtf8 } from '../../types/utf8.ts'
import { oneMessage, type SaslMechanism, type SaslServerMechanism } from './mechanism.ts'

/** @param trace  text for the server's log */
export const anonymous = (trace = ''): SaslMechanism => ({
  name: 'ANONYMOUS',
  secret: false,
  pipelines: true,
  start: () => oneMessage('ANONYMOUS', () => encodeUtf8(trace)),
})

/** Lets everybody in. */
export const anonymousServer = (): SaslServerMechanism => ({
  name: 'ANONYMOUS',
  start: () => ({ step: () => ({ outcome: 'ok' }) }),
})
