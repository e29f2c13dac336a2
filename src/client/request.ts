/**
 * Opens a request link: a session of its own and the two links, attached at once. What serves them is loaded in the
 * meantime, by whoever asks for the first. §2.6 §3.2.4
 */

import { AmqpCondition, ProtocolError } from '../errors.ts'
import type { Connection, RequestLink } from './api.ts'
import { checkTimeout, handled } from './operation.ts'
import type { RequestLinkOptions } from './options.ts'
import type { ClientReceiver } from './receiver.ts'
import type { ClientSession } from './session.ts'

/** Begins a session, and attaches the two links. Whatever fails ends the session. */
export async function attachRequestLink(
  connection: Pick<Connection, 'session'>,
  address: string,
  options: RequestLinkOptions,
): Promise<RequestLink> {
  const { signal, replyTo } = options
  checkTimeout(options.timeoutMs)
  const session = (await connection.session({ signal })) as ClientSession
  try {
    const [sender, receiver, { ClientRequestLink }] = await Promise.all([
      session.sender(address, { signal, settle: 'unsettled', source: replyTo }),
      replyTo === undefined
        ? session.receiver({ dynamic: true }, { signal })
        : session.receiver(address, { signal, target: replyTo }),
      import('./request-link.ts'),
    ])
    if (!(replyTo ?? receiver.source?.address))
      throw new ProtocolError(
        `the peer made a node for the answers of '${address}' and did not tell its address`,
        AmqpCondition.invalidField,
        'link',
        '3.5.3',
      )
    return new ClientRequestLink(address, { session, sender, receiver: receiver as ClientReceiver }, options)
  } catch (error) {
    void handled(session.end())
    throw error
  }
}
