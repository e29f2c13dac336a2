/** EXTERNAL: the transport has proved who the peer is, usually by a client certificate. RFC 4422, appendix A */

import { decodeUtf8, encodeUtf8 } from '../../types/utf8.ts'
import {
  EMPTY_CHALLENGE,
  type Maybe,
  oneMessage,
  type SaslMechanism,
  type SaslServerMechanism,
  type SaslStep,
  verdict,
} from './mechanism.ts'

/** What decides about a certificate, DER, and whom its owner wants to act as; '' for nobody else. */
export type ExternalCheck = (certificate: Uint8Array, authorizationId: string) => Maybe<boolean | string>

/** @param authorizationId  act as somebody else */
export const external = (authorizationId = ''): SaslMechanism => ({
  name: 'EXTERNAL',
  secret: false,
  pipelines: true,
  start: () => oneMessage('EXTERNAL', () => encodeUtf8(authorizationId)),
})

/** Asks `check`; a peer without a certificate is refused. */
export const externalServer = (check: ExternalCheck): SaslServerMechanism => ({
  name: 'EXTERNAL',
  start: ({ peerCertificate }) => ({ step: response => step(response, peerCertificate, check) }),
})

async function step(
  response: Uint8Array | undefined,
  certificate: Uint8Array | undefined,
  check: ExternalCheck,
): Promise<SaslStep> {
  if (response === undefined) return EMPTY_CHALLENGE
  const authorizationId = decodeUtf8(response, 0, response.length)
  if (!certificate || authorizationId === undefined) return { outcome: 'auth' }
  return verdict(await check(certificate, authorizationId), authorizationId || undefined)
}
