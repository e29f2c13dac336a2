/** SessionEndpoint: begin and end, the links on it, its windows, and the deliveries of all its links by id. §2.5 */

import type { DeliveryState } from '../definitions/delivery-state.ts'
import { writeDisposition } from '../definitions/hot-paths.ts'
import type { Attach, Begin, Detach, End, Flow, Performative, Transfer } from '../definitions/performatives.ts'
import type { Role, SequenceNo } from '../definitions/restricted.ts'
import {
  AmqpCondition,
  type AmqpError,
  ConnectionCondition,
  ProtocolError,
  RemoteError,
  SessionCondition,
  UsageError,
} from '../errors.ts'
import type { Init } from '../types/composite.ts'
import type { ConnectionEndpoint } from './connection-endpoint.ts'
import { DeliverySequence } from './delivery-sequence.ts'
import { DispositionRuns, dispositionOf } from './disposition-runs.ts'
import { receiveDisposition } from './dispositions.ts'
import { type ErrorFields, echoed, fitted } from './error-fields.ts'
import type { EndedBy } from './events.ts'
import type { IncomingDelivery } from './incoming-delivery.ts'
import { KeptBytes } from './kept-bytes.ts'
import { LinkNames } from './link-names.ts'
import { Numbering } from './numbering.ts'
import type { OutgoingDelivery } from './outgoing-delivery.ts'
import { ReceiverEndpoint } from './receiver-endpoint.ts'
import { refusal } from './refusal.ts'
import { SenderEndpoint } from './sender-endpoint.ts'
import { serialAdd } from './serial.ts'
import { SessionDeliveries } from './session-deliveries.ts'
import { type SessionInput, type SessionState, sessionTransitions } from './session-states.ts'
import { DEFAULT_INCOMING_WINDOW, OUTGOING_WINDOW, SessionWindow } from './session-window.ts'
import { advance } from './transitions.ts'

type LinkEnd = SenderEndpoint | ReceiverEndpoint

/** What `begin` may be given. Transfer-ids and delivery-ids begin at `nextOutgoingId`: any number, default 0. §2.5.6 */
export type BeginInit = Omit<Init<Begin>, 'type' | 'remoteChannel' | 'outgoingWindow'>

export class SessionEndpoint {
  readonly connection: ConnectionEndpoint
  readonly initiated: 'local' | 'remote'
  state: SessionState = 'UNMAPPED'
  /** Our channel, −1 before begin and after end. */
  channel = -1
  /** The peer's channel. */
  remoteChannel = -1
  window: SessionWindow = new SessionWindow(DEFAULT_INCOMING_WINDOW)
  /** Unsettled deliveries, by delivery-id. §2.6.12 */
  readonly outgoing: SessionDeliveries<OutgoingDelivery> = new SessionDeliveries()
  readonly incoming: SessionDeliveries<IncomingDelivery> = new SessionDeliveries()
  /** The peer's delivery-ids, over all its links. */
  readonly incomingIds: DeliverySequence = new DeliverySequence()
  /** Senders that wait for the peer's window to open. */
  readonly blocked: SenderEndpoint[] = []
  /** On the connection's list of sessions with something to write. */
  isDue = false
  /** The end has been reported, or is about to be. */
  hasEnded = false
  /** For the owner. */
  context: unknown
  readonly kept: KeptBytes
  /** Complete deliveries that wait for whoever takes them. */
  untaken = 0
  /** For what must not keep it alive. */
  readonly weakly: WeakRef<SessionEndpoint> = new WeakRef(this)
  readonly #handles: Numbering<LinkEnd>
  readonly #remoteHandles: Numbering<LinkEnd>
  readonly #names: LinkNames<LinkEnd>
  #nextDeliveryId: SequenceNo = 0
  readonly #dispositions = new DispositionRuns()
  #flowLinks: LinkEnd[] = []
  #sessionFlow = false
  #pendingEnd: { error: ErrorFields | undefined } | undefined

  constructor(connection: ConnectionEndpoint, initiated: 'local' | 'remote') {
    this.connection = connection
    this.initiated = initiated
    this.#names = new LinkNames(connection.linkNames)
    this.kept = new KeptBytes(connection)
    this.#handles = new Numbering(0xffffffff)
    this.#remoteHandles = new Numbering(connection.limits.maxLinks - 1)
  }

  /** For messages: `session 0`. */
  get label(): string {
    return `session ${this.channel < 0 ? this.remoteChannel : this.channel}`
  }

  /** Whether our frames may be sent: begun, and not ended by us, nor is the connection over. §2.5.5 */
  get maySend(): boolean {
    const { state } = this
    return (state === 'MAPPED' || state === 'BEGIN_SENT' || state === 'END_RCVD') && !this.connection.hasEnded
  }

  /** Whether our end was sent, and the peer's is not here yet. §2.5.5 */
  get isEnding(): boolean {
    return this.state === 'END_SENT' || this.state === 'DISCARDING'
  }

  /** Begins the session, or answers the peer's begin. @throws {UsageError} §2.5.1 */
  begin(init: Partial<BeginInit> = {}): void {
    const next = this.#check('S:BEGIN', 'begin')
    this.channel = this.connection.channels.assign(this)
    if (this.channel < 0) throw new UsageError('no channel left for another session', '2.5.1')
    const { nextIncomingId, remoteIncomingWindow, remoteOutgoingWindow } = this.window
    this.window = new SessionWindow(init.incomingWindow ?? DEFAULT_INCOMING_WINDOW, init.nextOutgoingId)
    this.#nextDeliveryId = this.window.nextOutgoingId
    Object.assign(this.window, { nextIncomingId, remoteIncomingWindow, remoteOutgoingWindow })
    this.#remoteHandles.max = Math.min(init.handleMax ?? 0xffffffff, this.connection.limits.maxLinks - 1)
    // The answer to an attach of ours needs a handle as well. §2.7.2
    this.#handles.max = Math.min(this.#handles.max, this.#remoteHandles.max)
    try {
      this.control('begin', {
        ...init,
        type: 'begin',
        remoteChannel: this.initiated === 'remote' ? this.remoteChannel : undefined,
        nextOutgoingId: this.window.nextOutgoingId,
        incomingWindow: this.window.incomingWindow,
        outgoingWindow: OUTGOING_WINDOW,
        handleMax: this.#remoteHandles.max,
      })
    } catch (error) {
      this.connection.channels.release(this)
      throw error
    }
    this.state = next
  }

  /** A sender on this session, to be attached. @throws {UsageError} the name is in use, §2.6.1. §2.6.3 */
  sender(name: string): SenderEndpoint {
    return this.#names.claim(new SenderEndpoint(this, name, 'local'))
  }

  /** A receiver on this session, to be attached. @throws {UsageError} the name is in use, §2.6.1. §2.6.3 */
  receiver(name: string): ReceiverEndpoint {
    return this.#names.claim(new ReceiverEndpoint(this, name, 'local'))
  }

  /** Ends the session when what is queued on it is framed, or at once with an error. @throws {UsageError} §2.5.2 §2.5.4 */
  end(error?: ErrorFields): void {
    if (this.#pendingEnd) throw new UsageError(`${this.label} is ending already`, '2.5.2')
    this.#check('S:END', 'end')
    const fields = error && fitted(error, this.connection.remoteMaxFrameSize)
    if (error) for (const link of this.#handles) link.abandonQueue()
    this.#pendingEnd = { error: fields }
    this.connection.postponed.add(this)
  }

  /** Writes the postponed end, if nothing is in its way. @returns whether it is off the list */
  frameDetach(): boolean {
    const pending = this.#pendingEnd
    if (!pending) return true
    if (!this.isIdle) return false
    const next = advance(sessionTransitions, this.state, pending.error ? 'S:END(ERROR)' : 'S:END')
    this.#pendingEnd = undefined
    if (next === undefined) return true
    this.control('end', { type: 'end', error: pending.error as never })
    this.state = next
    this.connection.channels.release(this)
    if (next === 'ENDED') this.#finish('local', undefined)
    return true
  }

  // ---- what its links ask of it --------------------------------------------------------------------------------

  /** Writes a frame on our channel, in the order of the calls. */
  control(name: Performative['type'], value: object, payload?: readonly Uint8Array[]): void {
    this.connection.control(this.channel, name, value, payload)
  }

  assignHandle(link: { initiated: 'local' | 'remote' }): number {
    return this.#handles.assign(link as LinkEnd, link.initiated === 'remote')
  }

  releaseRemoteHandle(link: { remoteHandle: number; keptBytes: number }): void {
    this.#remoteHandles.release(link.remoteHandle)
    this.kept.release(link.keptBytes)
    link.remoteHandle = -1
  }

  releaseLink(link: { handle: number; name: string; role: Role }): void {
    this.#names.release(link, link)
    if (link.handle >= 0) this.#handles.release(link.handle)
    link.handle = -1
  }

  nextDeliveryId(): SequenceNo {
    const id = this.#nextDeliveryId
    this.#nextDeliveryId = serialAdd(id, 1)
    return id
  }

  /** A flow for the link is to be written; its fields are taken when it is. §2.7.4 */
  flowDue(link: LinkEnd): void {
    if (link.flowDue) return
    link.flowDue = true
    this.#flowLinks.push(link)
    this.connection.sessionDue(this)
  }

  /** The session's window is to be announced. §2.5.6 */
  windowDue(): void {
    this.#sessionFlow = true
    this.connection.sessionDue(this)
  }

  /** A disposition is to be written. §2.7.6 */
  dispositionDue(receiver: boolean, id: SequenceNo, settled: boolean, state: DeliveryState | undefined): void {
    if (this.#dispositions.add(receiver, id, settled, state)) this.connection.sessionDue(this)
  }

  /** Our settlement of what we sent is to be written, with the state that the receiver told. §2.8.3 */
  settlementDue(id: SequenceNo, state: DeliveryState | undefined): void {
    this.dispositionDue(false, id, true, echoed(state, this.connection.remoteMaxFrameSize))
  }

  /** Writes the flows and dispositions that are due. */
  frameDue(): void {
    const { connection, channel } = this
    if (!this.maySend) {
      this.#flowLinks = []
      this.#dispositions.take()
      return
    }
    const links = this.#flowLinks
    this.#flowLinks = []
    for (const link of links) {
      link.flowDue = false
      if (link.isAttached || link.state === 'ATTACH_SENT') this.#frameFlow(link)
    }
    if (this.#sessionFlow) this.#frameFlow(undefined)
    for (const run of this.#dispositions.take()) {
      connection.writer.frame(0, channel, connection.remoteMaxFrameSize, writer =>
        writeDisposition(writer, run.receiver, run.first, run.last, run.settled, run.state),
      )
      if (connection.tracing) connection.traceOut(channel, dispositionOf(run), 0)
    }
  }

  #frameFlow(link: LinkEnd | undefined): void {
    this.window.refill()
    this.#sessionFlow = false
    const receiver = link?.role === 'receiver' ? link : undefined
    receiver?.credit.refill()
    const known = link?.role === 'sender' || (receiver && receiver.state !== 'ATTACH_SENT')
    this.control('flow', {
      type: 'flow',
      nextIncomingId: this.connection.style.omitNextIncomingId ? undefined : this.window.nextIncomingId,
      incomingWindow: this.window.incomingWindow,
      nextOutgoingId: this.window.nextOutgoingId,
      outgoingWindow: OUTGOING_WINDOW,
      handle: link?.handle,
      deliveryCount: known ? link?.credit.deliveryCount : undefined,
      linkCredit: link?.credit.linkCredit,
      available: link?.role === 'sender' ? link.queue.length : undefined,
      drain: link?.credit.drain === true,
      echo: receiver?.credit.isStopping === true,
      properties: receiver?.flowProperties,
    })
  }

  // ---- what the peer sends -------------------------------------------------------------------------------------

  /** The peer's begin. §2.7.2 */
  onBegin(channel: number, begin: Begin): void {
    const next = advance(sessionTransitions, this.state, 'R:BEGIN')
    if (next === undefined)
      return this.connection.fail(AmqpCondition.illegalState, `begin for ${this.label} in state ${this.state}`, '2.5.5')
    this.state = next
    this.remoteChannel = channel
    this.window.onBegin(begin)
    this.#handles.max = Math.min(this.#handles.max, begin.handleMax)
    if (next === 'MAPPED' || next === 'BEGIN_RCVD')
      this.connection.emit({ type: 'session.begun', session: this, begin })
  }

  /** A frame on the peer's channel; `payload` and `left` belong to a transfer. */
  receive(body: Performative, payload: Uint8Array | undefined, left: number): void {
    if (body.type === 'end') return this.#onEnd(body)
    if (this.isEnding) return
    switch (body.type) {
      case 'transfer':
        return this.#onTransfer(body, payload, left)
      case 'disposition':
        return receiveDisposition(this, body)
      case 'flow':
        return this.#onFlow(body)
      case 'attach':
        return this.#onAttach(body)
      case 'detach':
        return this.#onDetach(body)
      default:
        return this.connection.fail(AmqpCondition.notAllowed, `${body.type} on the channel of ${this.label}`, '2.5')
    }
  }

  #onTransfer(transfer: Transfer, payload: Uint8Array | undefined, left: number): void {
    this.payloadLink = undefined
    if (!this.window.onTransferReceived())
      return this.fail(
        SessionCondition.windowViolation,
        `transfer beyond the incoming-window of ${this.window.incomingWindowSize}`,
        '2.5.6',
      )
    if (this.window.isLow) this.windowDue()
    const link = this.#remoteHandles.get(transfer.handle)
    if (!link) return this.#unattached(transfer.handle, 'transfer')
    if (link.role === 'sender')
      return this.fail(AmqpCondition.notAllowed, `transfer to ${link.label}, which sends`, '2.7.5')
    if (left > 0) this.payloadLink = link
    link.onTransfer(transfer, payload, left)
  }

  /** Where further pieces of the frame being read go. */
  payloadLink: ReceiverEndpoint | undefined

  #onFlow(flow: Flow): void {
    this.window.onFlow(flow)
    if (flow.handle !== undefined) {
      const link = this.#remoteHandles.get(flow.handle)
      if (!link) return this.#unattached(flow.handle, 'flow')
      link.onFlow(flow)
    } else if (flow.echo) this.windowDue()
    if (this.window.remoteIncomingWindow > 0 && this.blocked.length > 0)
      for (const sender of this.blocked.splice(0)) {
        sender.isBlocked = false
        sender.wake()
      }
  }

  #onAttach(attach: Attach): void {
    if (attach.handle > this.#remoteHandles.max)
      return this.connection.fail(
        ConnectionCondition.framingError,
        `handle ${attach.handle} above handle-max ${this.#remoteHandles.max}`,
        '2.7.2',
      )
    if (this.#remoteHandles.get(attach.handle))
      return this.fail(SessionCondition.handleInUse, `handle ${attach.handle} is in use`, '2.6.2')
    const role = attach.role === 'sender' ? 'receiver' : 'sender'
    let link = this.#names.answered(role, attach.name)
    if (!link) {
      if (!this.#handles.hasRoom)
        return this.fail(AmqpCondition.notAllowed, 'attach of one link more than handle-max allows', '2.7.2')
      this.#handles.owed++
      link = new (role === 'sender' ? SenderEndpoint : ReceiverEndpoint)(this, attach.name, 'remote')
    }
    this.#remoteHandles.set(attach.handle, link)
    this.#names.take(link)
    link.keptBytes = this.kept.add()
    if (link.keptBytes > 0) link.onRemoteAttach(attach)
  }

  #onDetach(detach: Detach): void {
    const link = this.#remoteHandles.get(detach.handle)
    if (!link) return this.#unattached(detach.handle, 'detach')
    link.onRemoteDetach(detach)
  }

  #unattached(handle: number, what: string): void {
    this.fail(SessionCondition.unattachedHandle, `${what} for handle ${handle}, to which nothing is attached`, '2.6.2')
  }

  #onEnd(end: End): void {
    const mine = this.isEnding
    const next = advance(sessionTransitions, this.state, 'R:END')
    if (next === undefined)
      return this.connection.fail(AmqpCondition.illegalState, `end for ${this.label} in state ${this.state}`, '2.5.5')
    this.connection.channels.releaseRemote(this)
    this.kept.release()
    const error = end.error && new RemoteError(`${this.label} ended by peer`, 'session', end.error)
    // It left before we had answered its begin: the answer is owed all the same.
    if (next === 'BEGIN_RCVD' && !this.#answer()) return
    this.state = next === 'BEGIN_RCVD' ? 'END_RCVD' : next
    this.#finish(mine ? 'local' : 'remote', error)
    if (mine) return
    this.control('end', { type: 'end' })
    this.state = 'ENDED'
    this.connection.channels.release(this)
  }

  /** The peer broke a rule of the session: it is told so, and the session discards until the peer's end. §2.5.4 */
  fail(condition: string, description: string, section: string): void {
    const error = new ProtocolError(`${this.label}: ${description}`, condition, 'session', section)
    this.connection.emit({ type: 'protocol.error', error })
    this.payloadLink = undefined
    this.#pendingEnd = undefined
    if (this.state === 'BEGIN_RCVD' && !this.#answer()) return
    const next = advance(sessionTransitions, this.state, 'S:END(ERROR)')
    if (next !== undefined) {
      this.control('end', {
        type: 'end',
        error: fitted({ type: 'error', condition, description: error.message }, this.connection.remoteMaxFrameSize),
      })
      this.state = next
      this.connection.channels.release(this)
    }
    this.#finish('local', error)
  }

  /** Begins for an owner who has not. The peer may have left us no channel. */
  #answer(): boolean {
    const why = refusal(() => this.begin())
    if (why) this.connection.fail(AmqpCondition.notAllowed, `begin cannot be answered: ${why.message}`, '2.5.1')
    return why === undefined
  }

  /** Reports the end, the first time. */
  #finish(by: EndedBy, error: AmqpError | undefined): void {
    if (this.hasEnded) return
    this.hasEnded = true
    this.abandon()
    for (const link of [...this.#handles, ...this.#remoteHandles]) this.#names.release(link, link)
    this.connection.emit({ type: 'session.ended', session: this, by, error })
  }

  /** Whether nothing that is queued on it can still be framed. */
  get isIdle(): boolean {
    if (this.state !== 'MAPPED') return true
    for (const link of this.#handles) if (!link.mayDetach) return false
    return true
  }

  /** Everything queued on the session will not be sent. */
  abandon(): void {
    for (const link of this.#handles) link.abandonQueue()
    for (const link of this.#remoteHandles) if (link.handle < 0) link.abandonQueue()
  }

  #check(input: SessionInput, verb: string): SessionState {
    const { connection } = this
    // In front of a close that waits the peer's begin is still answered; a session of ours would come too late.
    const isLate = input === 'S:BEGIN' && this.initiated === 'local' && connection.isClosing
    const isOver = connection.hasEnded || isLate
    const next = isOver ? undefined : advance(sessionTransitions, this.state, input)
    if (next === undefined) throw new UsageError(`cannot ${verb} ${this.label} in state ${this.state}`, '2.5.5')
    return next
  }
}
