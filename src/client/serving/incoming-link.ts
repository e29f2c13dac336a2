/** A link that the peer has attached, for whoever accepts or refuses it. §2.6.3 */

import type { Attach } from '../../definitions/performatives.ts'
import type { Source, Target } from '../../definitions/terminus.ts'
import type { AttachInit, LinkEndpoint } from '../../engine/link-endpoint.ts'
import type { ReceiverEndpoint } from '../../engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../engine/sender-endpoint.ts'
import { ClosedError, UsageError } from '../../errors.ts'
import type { IncomingLink, Session } from '../api.ts'
import { attachFields } from '../attaching.ts'
import { answeredEnds, type Ends, keeperOf, type TerminusKeeper } from '../keeping/keeper.ts'
import type { Abortable, ErrorInit, LinkReply, ReceiverOptions, SenderOptions } from '../options.ts'
import type { ClientReceiver } from '../receiver.ts'
import type { ClientSender } from '../sender.ts'
import { endsOf, errorFields, optionalFields, orEmpty, sourceFields, targetFields, withTermini } from '../termini.ts'

/** What an incoming link needs of its session. */
export interface AcceptingSession {
  readonly api: Session
  touch(): void
  /** @throws {ClosedError} it has ended */
  checkOpen(options: Abortable): void
  newSender(endpoint: SenderEndpoint, options: SenderOptions): ClientSender
  newReceiver(endpoint: ReceiverEndpoint, options: ReceiverOptions): ClientReceiver
  /** @param own  of an answer: what the application has put into it */
  attach(link: ClientSender | ClientReceiver, init: AttachInit, own: AttachInit): void
}

/** Whether a link of the peer's is there no more, or what carried it is not. */
export const isGone = ({ hasEnded, session }: LinkEndpoint): boolean =>
  hasEnded || session.hasEnded || session.connection.hasEnded

export function incomingLink(
  session: AcceptingSession,
  endpoint: SenderEndpoint | ReceiverEndpoint,
  attach: Attach,
): IncomingLink {
  const keeper = keeperOf(session.api.connection)
  const known = keeper?.known(endpoint)
  const ends = {
    source: attach.source ?? (known?.source as Source | undefined),
    target: attach.target ?? (known?.target as Target | undefined),
  }
  const base = {
    session: session.api,
    name: attach.name,
    resumes: known !== undefined,
    properties: orEmpty(attach.properties),
    desiredCapabilities: attach.desiredCapabilities,
    sndSettleMode: attach.sndSettleMode,
    rcvSettleMode: attach.rcvSettleMode,
    refuse: (error: ErrorInit) => {
      if (endpoint.state === 'ATTACH_RCVD' && !isGone(endpoint)) endpoint.refuse(errorFields(error))
      session.touch()
    },
  }
  if (endpoint.role === 'receiver')
    return withTermini(ends, {
      ...base,
      remoteRole: 'sender',
      accept: async (options: ReceiverOptions & { reply?: LinkReply } = {}) => {
        check(session, endpoint, options)
        checkMade(endpoint, endsOf(attach, options))
        if (keeper) await prepared(keeper, session, endpoint, attach, options)
        const receiver = session.newReceiver(endpoint, options)
        accept(session, receiver, attach, options, {
          sndSettleMode: attach.sndSettleMode,
          rcvSettleMode: options.settle ?? attach.rcvSettleMode,
        })
        return receiver
      },
    })
  return withTermini(ends, {
    ...base,
    remoteRole: 'receiver',
    accept: async (options: SenderOptions & { reply?: LinkReply } = {}) => {
      check(session, endpoint, options)
      checkMade(endpoint, endsOf(attach, options))
      if (keeper) await prepared(keeper, session, endpoint, attach, options)
      const sender = session.newSender(endpoint, options)
      const sndSettleMode = options.settle ?? attach.sndSettleMode
      accept(session, sender, attach, options, { sndSettleMode, rcvSettleMode: attach.rcvSettleMode })
      return sender
    },
  })
}

function check(session: AcceptingSession, endpoint: LinkEndpoint, options: Abortable): void {
  session.checkOpen(options)
  if (isGone(endpoint)) throw new ClosedError(endpoint.label, 'link', undefined, 'remote')
}

/** A node that was asked for is made by whoever accepts the link, and has its address from there. §3.5.3 §3.5.4 */
function checkMade({ role, label }: LinkEndpoint, { source, target }: Ends): void {
  const [end, name, section] = role === 'sender' ? [source, 'source', '3.5.3'] : [target, 'target', '3.5.4']
  if (!end || end.type === 'coordinator' || !end.dynamic || typeof end.address === 'string') return
  throw new UsageError(
    `${label} asks for a node to be made: accept it with its address, { reply: { ${name}: { address, dynamic: true } } }`,
    section,
  )
}

async function prepared(
  keeper: TerminusKeeper,
  session: AcceptingSession,
  endpoint: LinkEndpoint,
  attach: Attach,
  options: Abortable & { reply?: LinkReply },
): Promise<void> {
  await keeper.prepare(endpoint, endsOf(attach, options))
  check(session, endpoint, options)
}

/** Attaches our end of a link that the peer has initiated; both termini are echoed unless the reply says otherwise. */
function accept(
  session: AcceptingSession,
  link: ClientSender | ClientReceiver,
  attach: Attach,
  options: (SenderOptions | ReceiverOptions) & { reply?: LinkReply },
  modes: AttachInit,
): void {
  const { reply = {} } = options
  const own: AttachInit = {
    ...attachFields(options),
    ...modes,
    source: reply.source ? sourceFields(reply.source) : undefined,
    target: reply.target ? targetFields(reply.target) : undefined,
    properties: optionalFields(reply.properties ?? options.properties),
    offeredCapabilities: reply.offeredCapabilities,
  }
  session.attach(link, { ...own, ...answeredEnds(link, endsOf(attach, options), options) }, own)
  link.onAttached(orEmpty(attach.properties))
}
