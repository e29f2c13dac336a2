/** XOAUTH2: a user name and a bearer token, as Google defined it before RFC 7628; Microsoft takes it, too. */

import { SaslError } from '../../errors.ts'
import { type BearerCredentials, bearerClient, bearerServer, bearerToken, type TokenSource } from './bearer.ts'
import type { Maybe, SaslMechanism, SaslServerMechanism } from './mechanism.ts'

/** @throws {SaslError} for a control character in the user name */
export const xoauth2 = (username: string, token: TokenSource): SaslMechanism => {
  if (/\p{Cc}/u.test(username)) throw new SaslError('an XOAUTH2 user name cannot contain control characters')
  const message = (text: string): string => `user=${username}\x01auth=Bearer ${text}\x01\x01`
  return {
    name: 'XOAUTH2',
    secret: true,
    pipelines: true,
    start: ({ signal }) => bearerClient(token, signal, message, new Uint8Array()),
  }
}

/** Asks `check`. */
export const xoauth2Server = (
  check: (username: string, token: string) => Maybe<boolean | string>,
): SaslServerMechanism => ({
  name: 'XOAUTH2',
  start: () => bearerServer(read, (token, user) => check(user, token)),
})

function read(message: string): BearerCredentials | undefined {
  const [user = '', auth = '', ...rest] = message.split('\x01')
  const token = auth.startsWith('auth=') ? bearerToken(auth.slice('auth='.length)) : undefined
  if (!user.startsWith('user=') || user === 'user=' || token === undefined || rest.join('|') !== '|') return undefined
  return { token, user: user.slice('user='.length) }
}
