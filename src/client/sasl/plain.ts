/** PLAIN: user name and password as they are, in UTF-8. RFC 4616 */

import { SaslError } from '../../errors.ts'
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

/** What decides about a name and a password. */
export type PlainCheck = (username: string, password: string) => Maybe<boolean | string>

/** TLS is required unless `allowInsecureAuth`. @throws {SaslError} for a NUL in either */
export const plain = (username: string, password: string): SaslMechanism => {
  if (username.includes('\0') || password.includes('\0'))
    throw new SaslError('a PLAIN user name or password cannot contain NUL')
  return {
    name: 'PLAIN',
    secret: true,
    pipelines: true,
    start: () => oneMessage('PLAIN', () => encodeUtf8(`\0${username}\0${password}`)),
  }
}

/** Asks `check`. A peer that wants to act as somebody else is refused. */
export const plainServer = (check: PlainCheck): SaslServerMechanism => ({
  name: 'PLAIN',
  start: () => ({ step: response => step(response, check) }),
})

async function step(response: Uint8Array | undefined, check: PlainCheck): Promise<SaslStep> {
  if (response === undefined) return EMPTY_CHALLENGE
  const parts = decodeUtf8(response, 0, response.length)?.split('\0')
  const [authzid, username, password] = parts ?? []
  if (parts?.length !== 3 || username === undefined || password === undefined) return { outcome: 'auth' }
  if (authzid !== '' && authzid !== username) return { outcome: 'auth' }
  return verdict(await check(username, password), username)
}
