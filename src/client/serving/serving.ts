/**
 * What a listener does for its owner: links that peers attach go to handlers, once they are authorised; and connections
 * are left when what is under way on them has come to rest. §2.6.3 §2.6.6
 */

import { AmqpCondition, ClosedError, DecodeError, LinkCondition, ProtocolError } from '../../errors.ts'
import type { Connection, IncomingLink } from '../api.ts'
import type { ClientConnection } from '../connection.ts'
import { handled } from '../operation.ts'
import type { ErrorInit, LinkHandler, ListenOptions } from '../options.ts'
import { ClientReceiver } from '../receiver.ts'
import type { ClientSender } from '../sender.ts'
import type { ClientSession } from '../session.ts'
import { decodeFault } from '../termini.ts'

/** What serving links needs of the listener. */
export interface LinkServer {
  /** Hears what a handler threw. */
  failed(error: Error): void
  isClosing(): boolean
}

/** Accepts the sessions of a connection, and hands their links to the handlers of the options. */
export function serveLinks(connection: Connection, options: ListenOptions, server: LinkServer): void {
  const onLink = async (link: IncomingLink): Promise<void> => {
    if (server.isClosing()) return link.refuse(LEAVING)
    await serveLink(link, options).catch(error => {
      const own = acceptedAs(link)
      // The peer was gone before its link was accepted, or the handler was using it at its end.
      if (error instanceof ClosedError && (!own || own.closure)) return
      const isPeers = error instanceof DecodeError
      const fault = isPeers ? decodeFault(error) : FAILED
      // What the handler has accepted is its to serve no more: its peer must not wait for it.
      if (own) void handled(own.close({ error: fault }))
      else link.refuse(fault)
      if (isPeers) server.failed(peersFault(link, error))
      else server.failed(error instanceof Error ? error : new Error(String(error)))
    })
  }
  connection.on('session', async incoming => {
    const session = await incoming.accept()
    session.on('link', onLink)
  })
}

/** What nobody could read, by the link and the peer that it came from: of the handler it says nothing. */
function peersFault({ name, session }: IncomingLink, error: DecodeError): ProtocolError {
  const { remoteAddress, remote } = session.connection
  const text = `link '${name.slice(0, 60).toWellFormed()}' of ${remoteAddress ?? remote.containerId}: ${error.message}`
  return new ProtocolError(text, AmqpCondition.decodeError, 'link', undefined, error)
}

async function serveLink(link: IncomingLink, { links, authorise }: ListenOptions): Promise<void> {
  const handler = typeof links === 'function' ? links : handlerOf(links ?? {}, link)
  const answer = authorise ? await authorise(link) : true
  if (typeof answer === 'object' && answer !== null) return link.refuse(answer)
  if (answer !== true) return link.refuse(UNAUTHORISED)
  if (!handler) return link.refuse({ condition: AmqpCondition.notFound, description: 'there is nothing here' })
  await handler(link)
}

/** Our end of a link that was accepted. */
const acceptedAs = (link: IncomingLink): ClientSender | ClientReceiver | undefined =>
  [...(link.session as ClientSession).links].find(
    ({ name, endpoint }) => name === link.name && endpoint.role !== link.remoteRole,
  )

const FAILED: ErrorInit = { condition: AmqpCondition.internalError, description: 'the handler of this address failed' }
const UNAUTHORISED: ErrorInit = { condition: AmqpCondition.unauthorizedAccess, description: 'this is not for you' }

function handlerOf(links: Readonly<Record<string, LinkHandler>>, link: IncomingLink): LinkHandler | undefined {
  const { address = '' } = (link.remoteRole === 'sender' ? link.target : link.source) ?? {}
  return Object.hasOwn(links, address) ? links[address] : undefined
}

const LEAVING: ErrorInit = { condition: LinkCondition.detachForced, description: 'this container is closing' }
/** How often a receiver is asked whether its deliveries are settled, in milliseconds. */
const LOOK_MS = 20

/**
 * Closes the links of a connection as they come to rest: a sender when what it sent has its outcome, a receiver when its
 * credit is taken back and its deliveries are settled. Each peer is told by `amqp:link:detach-forced`. Never rejects.
 *
 * @param over  fires when no more may be waited for
 */
export async function leave(connection: ClientConnection, over: AbortSignal): Promise<void> {
  const links = [...connection.sessions].flatMap(session => [...session.links])
  await Promise.all(
    links.map(link => (link instanceof ClientReceiver ? leaveReceiver(link, over) : leaveSender(link)).catch(() => {})),
  )
}

async function leaveSender(sender: ClientSender): Promise<void> {
  await sender.whenSettled()
  await sender.close({ error: LEAVING })
}

async function leaveReceiver(receiver: ClientReceiver, signal: AbortSignal): Promise<void> {
  const { endpoint } = receiver
  await receiver.drain({ signal })
  // From now on credit is granted by hand only.
  endpoint.useWindow(undefined)
  while (endpoint.unsettledCount > 0 && !signal.aborted) await new Promise(resolve => setTimeout(resolve, LOOK_MS))
  await receiver.close({ error: LEAVING })
}
