/** Whose fault it is that a peer's attach cannot be answered, and what becomes of the session then. §2.6.3 */

import { attach } from '../../definitions/performatives.ts'
import type { AttachInit, LinkEndpoint } from '../../engine/link-endpoint.ts'
import { refusal } from '../../engine/refusal.ts'
import { AmqpCondition, ClosedError } from '../../errors.ts'
import { Writer } from '../../types/writer.ts'

/**
 * What to throw for an attach that could not be sent in answer to a peer's: the error itself where the application asked
 * for what cannot be encoded, or for more than a frame of our own size holds. Otherwise it is what the peer said (a name
 * that its own frames cannot hold, a filter whose values have no encoding here): the session ends, and the application
 * hears that as `ClosedError`, as of any end that the peer causes.
 *
 * @param own  what the application put into the answer, without what it echoes
 */
export function unanswerable(link: LinkEndpoint, own: AttachInit, error: unknown): unknown {
  const { session } = link
  if (link.state !== 'ATTACH_RCVD' || !session.maySend || !fits(own, session.connection.maxFrameSize)) return error
  const why = error instanceof Error ? error.message : String(error)
  session.fail(AmqpCondition.notAllowed, `attach cannot be answered: ${why}`, '2.6.3')
  return new ClosedError(link.label, 'link', error, 'local')
}

function fits(own: AttachInit, maxFrameSize: number): boolean {
  const writer = new Writer()
  const write = () => attach.write(writer, { ...own, type: 'attach', name: '', handle: 0, role: 'sender' } as never)
  return refusal(write) === undefined && writer.offset < maxFrameSize
}
