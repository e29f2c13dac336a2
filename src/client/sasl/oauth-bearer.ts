/** OAUTHBEARER: an OAuth 2 bearer token. RFC 7628 */

import {
  type BearerCredentials,
  bearerClient,
  bearerServer,
  bearerToken,
  type TokenCheck,
  type TokenSource,
} from './bearer.ts'
import type { SaslMechanism, SaslServerMechanism } from './mechanism.ts'
import { escapeName, unescapeName } from './names.ts'

/** Between and behind the pairs of a message; alone it answers a refusal. */
const SEPARATOR = '\x01'

/** Host and port, which the RFC leaves optional, are not said: the init frame names the host. §5.3.3.2 */
export const oauthBearer = (token: TokenSource, authorizationId = ''): SaslMechanism => {
  const header = authorizationId === '' ? 'n,,' : `n,a=${escapeName(authorizationId)},`
  const message = (text: string): string => `${header}${SEPARATOR}auth=Bearer ${text}${SEPARATOR}${SEPARATOR}`
  return {
    name: 'OAUTHBEARER',
    secret: true,
    pipelines: true,
    start: ({ signal }) => bearerClient(token, signal, message, Uint8Array.of(1)),
  }
}

/** Asks `check` about the token and whom its owner wants to act as; '' for nobody in particular. */
export const oauthBearerServer = (check: TokenCheck): SaslServerMechanism => ({
  name: 'OAUTHBEARER',
  start: () => bearerServer(read, check),
})

function read(message: string): BearerCredentials | undefined {
  const [header = '', ...pairs] = message.split(SEPARATOR)
  const [isHeader, escaped] = /^[ny],(?:a=([^,]+))?,$/.exec(header) ?? []
  const user = escaped === undefined ? '' : unescapeName(escaped)
  const given = pairs.slice(0, -2)
  const isWhole = pairs.length > 2 && pairs.slice(-2).join('') === '' && given.every(pair => /^[A-Za-z]+=/.test(pair))
  if (isHeader === undefined || user === undefined || !isWhole) return undefined
  const values = given.filter(pair => pair.startsWith('auth=')).map(pair => pair.slice('auth='.length))
  const token = values.length === 1 ? bearerToken(values[0]) : undefined
  return token === undefined ? undefined : { token, user }
}
