/**
 * ConnectionEndpoint: open and close, channels, what is written when. §2.4
 *
 * Control frames are encoded at the call, in order. Transfers, flows and dispositions are framed in `frameOutput`, so
 * that what they say is what holds when they leave; detach, end and close wait there for what is queued beneath them.
 */

import type { ErrorValue } from '../definitions/error.ts'
import type { Begin, Close, Open, Performative } from '../definitions/performatives.ts'
import { frameBody } from '../definitions/registry.ts'
import { MIN_MAX_FRAME_SIZE } from '../definitions/restricted.ts'
import {
  AmqpCondition,
  type AmqpError,
  ConnectionCondition,
  ProtocolError,
  RemoteError,
  UsageError,
} from '../errors.ts'
import { FrameWriter } from '../framing/frame-writer.ts'
import type { CompositeStyle, Init } from '../types/composite.ts'
import { Writer } from '../types/writer.ts'
import { Channels } from './channels.ts'
import { type ConnectionState, connectionTransitions, legalReceives, legalSends } from './connection-states.ts'
import { type EarlyFrame, EarlyFrames } from './early-frames.ts'
import { type ErrorFields, fitted } from './error-fields.ts'
import type { EndedBy, EngineEvent } from './events.ts'
import { Fifo } from './fifo.ts'
import { type Outgoing, outgoingFrame } from './frame-trace.ts'
import { LEAST_REMOTE_MS } from './idle-timeout.ts'
import type { IncomingDelivery } from './incoming-delivery.ts'
import type { Limits } from './limits.ts'
import type { NameHolders } from './link-names.ts'
import type { OutgoingDelivery } from './outgoing-delivery.ts'
import { Postponed } from './postponed.ts'
import { refusal } from './refusal.ts'
import type { SenderEndpoint } from './sender-endpoint.ts'
import { SessionEndpoint } from './session-endpoint.ts'
import { advance } from './transitions.ts'
import { Untaken } from './untaken.ts'

/** What `open` may be given. */
export type OpenInit = Omit<Init<Open>, 'type' | 'containerId'> & { readonly containerId: string }

/** Quirks for old or strict peers. */
export interface WireStyle extends CompositeStyle {
  /** Leave next-incoming-id out of every flow, as one gateway does. */
  readonly omitNextIncomingId: boolean
}

/** Bytes that one link may write before the next has its turn. */
const QUANTUM = 64 << 10
/** What we say when `open` sets nothing. */
export const DEFAULT_MAX_FRAME_SIZE = 65_536

export class ConnectionEndpoint {
  readonly limits: Limits
  readonly style: WireStyle
  /** Whether frames are reported as events. */
  readonly tracing: boolean
  state: ConnectionState = 'START'
  readonly writer: FrameWriter = new FrameWriter()
  /** Complete deliveries and settled outcomes, to be pulled. */
  readonly deliveries: Fifo<IncomingDelivery> = new Fifo()
  readonly outcomes: Fifo<OutgoingDelivery> = new Fifo()
  readonly events: Fifo<EngineEvent> = new Fifo()
  /** Senders that have something to send and may. */
  readonly ready: Fifo<SenderEndpoint> = new Fifo()
  /** Senders whose receivers drain: asked again whenever transfers have been framed, so that an owner may still send. */
  readonly draining: Fifo<SenderEndpoint> = new Fifo()
  /** Bytes of payload queued and not framed. */
  pendingBytes = 0
  /** Deliveries posted under a transaction that have not come to their end. §4.4.1 */
  readonly partialPostings: Set<IncomingDelivery> = new Set()
  /** The owner keeps transactions of the peer's, under which it may acquire what is sent here. §4.4.3 */
  acquires = false
  /** Of all its sessions. §2.6.1 */
  readonly linkNames: NameHolders = { sender: new Map(), receiver: new Map() }
  /** Memory that partly received messages keep alive. */
  incompleteBytes = 0
  /** Memory that the peer's sessions and links take up, and how much the frame being read takes. */
  linkBytes = 0
  weigh: () => number = () => 0
  /** Our open, and the peer's. */
  localOpen: OpenInit | undefined
  remoteOpen: Open | undefined
  remoteMaxFrameSize: number = MIN_MAX_FRAME_SIZE
  /** Why it ended; the first cause wins. */
  cause: AmqpError | undefined
  hasEnded = false
  readonly channels: Channels
  /** Complete deliveries that their owner keeps until somebody takes them. */
  readonly untaken: Untaken
  /** Whether frames may leave before the peer's open, as far as every peer takes them. §2.4.2 */
  pipelines = false
  readonly #early: EarlyFrames = new EarlyFrames()
  #due: SessionEndpoint[] = []
  /** Detaches and ends that are to be written when nothing is in their way. */
  readonly postponed: Postponed = new Postponed()
  #closing: { readonly error: ErrorFields | undefined } | undefined
  #openSent = false
  #payloadSession: SessionEndpoint | undefined

  constructor(limits: Limits, style: WireStyle, tracing: boolean) {
    this.limits = limits
    this.style = style
    this.tracing = tracing
    this.channels = new Channels(limits.maxSessions - 1)
    this.untaken = new Untaken(limits)
  }

  /** Sends our open, as soon as the headers have been exchanged. @throws {UsageError} the second time. §2.4.1 */
  open(init: OpenInit): void {
    if (this.localOpen) throw new UsageError('the connection has been opened already', '2.4.1')
    const size = init.maxFrameSize ?? DEFAULT_MAX_FRAME_SIZE
    if (size < MIN_MAX_FRAME_SIZE)
      throw new UsageError(`max-frame-size is at least ${MIN_MAX_FRAME_SIZE}, not ${size}`, '2.7.1')
    const channelMax = Math.min(init.channelMax ?? 0xffff, this.limits.maxSessions - 1)
    const value = { ...init, maxFrameSize: size, channelMax }
    // What cannot be encoded is said now, not when the headers have been exchanged.
    frameBody.named('open').write(new Writer(), { ...value, type: 'open' }, this.style)
    this.localOpen = value
    this.channels.limit(channelMax)
  }

  /** Closes: what is queued goes first, unless there is an error. @throws {UsageError} when it is closing. §2.4.3 */
  close(error?: ErrorFields): void {
    if (this.isClosing || this.hasEnded) throw new UsageError('the connection is closing already', '2.4.3')
    if (!this.localOpen) throw new UsageError('the connection has not been opened', '2.4.1')
    const fields = error && fitted(error, this.remoteMaxFrameSize)
    if (error) this.#abandon()
    this.#closing = { error: fields }
  }

  /** A session, to be begun. §2.5.1 */
  session(): SessionEndpoint {
    return new SessionEndpoint(this, 'local')
  }

  /** Gives up what is queued in front of a close that waits, and frames the close if that is legal. */
  closeNow(): void {
    this.#abandon()
    this.postponed.clear()
    this.frameOutput(0)
  }

  /** Largest frame that we have promised to take. */
  get maxFrameSize(): number {
    return this.localOpen?.maxFrameSize ?? DEFAULT_MAX_FRAME_SIZE
  }

  get idleTimeOut(): number {
    return this.localOpen?.idleTimeOut ?? 0
  }

  /** Whether nothing more may be written or will be read. */
  get isDone(): boolean {
    return this.state === 'END'
  }

  /** Whether a close of ours waits, to be framed or to be answered. */
  get isClosing(): boolean {
    const { state } = this
    return this.#closing !== undefined || (legalSends[state] === '-' && state !== 'END')
  }

  emit(event: EngineEvent): void {
    this.events.push(event)
  }

  // ---- writing -------------------------------------------------------------------------------------------------

  /** Writes a frame; before the connection is open it is kept, unless every peer takes it and that is wanted. */
  control(channel: number, name: Performative['type'], value: object, payload: readonly Uint8Array[] = []): void {
    if (legalSends[this.state] === '-') return
    const write = (w: Writer): void => {
      frameBody.named(name).write(w, value as never, this.style)
      for (const piece of payload) w.raw(piece)
    }
    const size = payload.reduce((sum, piece) => sum + piece.length, 0)
    const trace = this.tracing ? () => this.traceOut(channel, value as Performative, size) : undefined
    if (!this.#maySend) {
      this.#early.add(channel, this.remoteOpen ? this.remoteMaxFrameSize : 0xffffffff, write, trace)
      this.#pipe()
      return
    }
    this.writer.frame(0, channel, this.remoteMaxFrameSize, write)
    trace?.()
  }

  /** Whether frames that every peer takes leave now, though its open has not come. §2.4.2 §2.4.7 */
  get #mayPipe(): boolean {
    return this.pipelines && legalSends[this.state] === '**'
  }

  /** Channel 0 and 512 bytes: what every peer takes. §2.4.1 */
  #pipe(): void {
    if (this.#mayPipe) this.#early.release(this.writer, MIN_MAX_FRAME_SIZE, 0)
  }

  get #maySend(): boolean {
    return this.state === 'OPENED' || this.state === 'CLOSE_RCVD'
  }

  /** A session has flows or dispositions to write. */
  sessionDue(session: SessionEndpoint): void {
    if (session.isDue) return
    session.isDue = true
    this.#due.push(session)
  }

  /** Whether `frameOutput` would write something. */
  get hasOutput(): boolean {
    return (
      this.writer.pending > 0 ||
      this.#due.length > 0 ||
      this.ready.length > 0 ||
      this.draining.length > 0 ||
      this.postponed.size > 0 ||
      this.#closing !== undefined ||
      (this.localOpen !== undefined && !this.#openSent)
    )
  }

  /** Frames what is due, until `maxBytes` are pending. */
  frameOutput(maxBytes: number): void {
    this.#frameOpen()
    if (this.#maySend) {
      this.#frameDue()
      this.#frameTransfers(maxBytes)
      for (const sender of this.draining.drain()) if (!sender.finishDrain()) this.draining.push(sender)
      this.#frameDue()
      this.postponed.frame()
    } else if (this.#mayPipe) this.#frameDue()
    if (this.#closing) this.#frameClose(this.#closing.error)
  }

  #frameOpen(): void {
    if (!this.localOpen || this.#openSent) return
    if (legalSends[this.state] !== 'OPEN' || (this.state === 'HDR_SENT' && !this.pipelines)) return
    const next = advance(connectionTransitions, this.state, 'S:OPEN')
    if (next === undefined) return
    const isEarly = next === 'OPEN_PIPE'
    const max = this.remoteOpen ? this.remoteMaxFrameSize : isEarly ? MIN_MAX_FRAME_SIZE : 0xffffffff
    const value = { ...this.localOpen, type: 'open' as const }
    const why = refusal(() => this.writer.frame(0, 0, max, w => frameBody.named('open').write(w, value, this.style)))
    // One that not every peer takes waits for the headers.
    if (why && isEarly) return
    if (this.tracing && !why) this.traceOut(0, value, 0)
    this.#openSent = true
    // The peer has said that it cannot take an open as large as ours: there is nothing that could be said to it.
    this.state = why ? 'END' : next
    if (why) return this.ended('local', why)
    this.#afterOpens()
  }

  #frameDue(): void {
    const due = this.#due
    if (due.length === 0) return
    this.#due = []
    for (const session of due) {
      session.isDue = false
      session.frameDue()
    }
  }

  #frameTransfers(maxBytes: number): void {
    while (this.ready.length > 0 && this.writer.pending < maxBytes) {
      const sender = this.ready.shift() as SenderEndpoint
      sender.isReady = false
      sender.frameTransfers(Math.min(QUANTUM, maxBytes - this.writer.pending))
      sender.wake()
    }
  }

  /** Writes our close if nothing queued is in its way. @returns whether it is written */
  #frameClose(error: ErrorFields | undefined): boolean {
    if (this.postponed.size > 0 && !error && this.#maySend) return false
    if (!error && this.#maySend) for (const session of this.channels.local) if (!session.isIdle) return false
    const next = advance(connectionTransitions, this.state, error ? 'S:CLOSE(ERROR)' : 'S:CLOSE')
    if (next === undefined) return false
    this.writer.frame(0, 0, 0xffffffff, w =>
      frameBody.named('close').write(w, { type: 'close', error: error as never }, this.style),
    )
    if (this.tracing) this.traceOut(0, { type: 'close', error: error as ErrorValue | undefined }, 0)
    this.#closing = undefined
    this.state = next
    if (next === 'END') this.ended('remote', this.cause)
    return true
  }

  // ---- reading -------------------------------------------------------------------------------------------------

  /** The headers: `R:HDR` or `S:HDR`. */
  onHeader(input: 'R:HDR' | 'S:HDR'): void {
    this.state = advance(connectionTransitions, this.state, input) ?? this.state
  }

  /** One AMQP frame. */
  receive(channel: number, body: Performative | undefined, payload: Uint8Array | undefined, left: number): void {
    this.#payloadSession = undefined
    if (body === undefined) return
    if (body.type === 'close') return this.#onClose(body)
    if (body.type === 'open') return this.#onOpen(body)
    const legal = legalReceives[this.state]
    // §2.4.6: incoming frames are discarded after a close that an error triggered, or that an error followed.
    if (this.state === 'DISCARDING' || legal === '-' || this.hasEnded) return
    if (legal !== '*') return this.fail(AmqpCondition.illegalState, `${body.type} in state ${this.state}`, '2.4.7')
    if (body.type === 'begin') return this.#onBegin(channel, body)
    const session = this.channels.remote.get(channel)
    if (!session) {
      this.fail(ConnectionCondition.framingError, `${body.type} on channel ${channel}, on which no session is`, '2.5.1')
      return
    }
    session.receive(body, payload, left)
    if (left > 0) this.#payloadSession = session
  }

  /** A further piece of the payload of the frame just received. */
  receivePayload(piece: Uint8Array, left: number): void {
    this.#payloadSession?.payloadLink?.onPayload(piece, left)
  }

  #onOpen(open: Open): void {
    const next = advance(connectionTransitions, this.state, 'R:OPEN')
    if (next === undefined) return this.fail(AmqpCondition.illegalState, `open in state ${this.state}`, '2.4.7')
    this.state = next
    if (next === 'DISCARDING' || this.remoteOpen) return
    this.remoteOpen = open
    // §2.7.1: a peer that says less than 512 must still take 512.
    this.remoteMaxFrameSize = Math.max(open.maxFrameSize, MIN_MAX_FRAME_SIZE)
    this.channels.local.max = Math.min(this.channels.local.max, open.channelMax)
    const { idleTimeOut } = open
    if (idleTimeOut && idleTimeOut < LEAST_REMOTE_MS)
      return this.fail(AmqpCondition.notAllowed, `an idle-time-out of ${idleTimeOut} ms is too short`, '2.4.5')
    this.emit({ type: 'connection.opened', open })
    this.#afterOpens()
  }

  #afterOpens(): void {
    if (this.state !== 'OPENED') return this.#pipe()
    // At once: what is written from now on comes behind.
    const left = this.#early.release(this.writer, this.remoteMaxFrameSize, this.channels.local.max)
    if (left) return this.#misfit(left)
    if (this.#closeReceived) this.#onClose(this.#closeReceived)
  }

  /** What was to be sent is beyond what the peer now says it takes: nothing that comes behind it can be. §2.4.1 */
  #misfit({ size, channel }: EarlyFrame): void {
    const what = size > this.remoteMaxFrameSize ? `frames of ${this.remoteMaxFrameSize} bytes, not of ${size}` : ''
    const why = what || `channels up to ${this.channels.local.max}, not ${channel}`
    this.ended('local', new UsageError(`the peer takes ${why}`, '2.4.1'))
    this.postponed.clear()
    this.#frameClose(undefined)
  }

  /** A close that came before our open was sent. */
  #closeReceived: Close | undefined

  #onClose(close: Close): void {
    const next = advance(connectionTransitions, this.state, 'R:CLOSE')
    if (next === undefined) return this.fail(AmqpCondition.illegalState, `close in state ${this.state}`, '2.4.7')
    this.state = next
    const error = close.error && new RemoteError('connection closed by peer', 'connection', close.error)
    if (next === 'OPEN_RCVD') {
      this.#closeReceived = close
      if (!this.localOpen) this.open({ containerId: '' })
      return
    }
    this.cause ??= error
    if (next === 'END') return this.ended('local', this.cause)
    // Answered at once: what is queued has nobody to read it.
    this.#abandon()
    this.postponed.clear()
    this.#closing = undefined
    this.#frameClose(undefined)
  }

  #onBegin(channel: number, begin: Begin): void {
    if (channel > this.channels.remote.max)
      return this.fail(
        ConnectionCondition.framingError,
        `channel ${channel} above channel-max ${this.channels.remote.max}`,
        '2.7.1',
      )
    if (this.channels.remote.get(channel))
      return this.fail(AmqpCondition.notAllowed, `begin on channel ${channel}, which is in use`, '2.5.1')
    let session: SessionEndpoint | undefined
    if (begin.remoteChannel === undefined) {
      if (!this.channels.local.hasRoom)
        return this.fail(AmqpCondition.notAllowed, 'begin of one session more than channel-max allows', '2.7.1')
      this.channels.local.owed++
      session = new SessionEndpoint(this, 'remote')
    } else session = this.channels.begun(begin.remoteChannel)
    if (!session)
      return this.fail(
        AmqpCondition.notAllowed,
        `begin answers channel ${begin.remoteChannel}, on which nothing was begun`,
        '2.5.1',
      )
    this.channels.remote.set(channel, session)
    if (session.kept.add() > 0) session.onBegin(channel, begin)
  }

  /** The peer broke a rule of the connection: it is told so, and everything is discarded until its close. §2.4.6 */
  fail(condition: string, description: string, section: string, cause?: unknown): void {
    const error = new ProtocolError(description, condition, 'connection', section, cause)
    if (this.hasEnded) return
    this.cause ??= error
    this.emit({ type: 'protocol.error', error })
    this.#abandon()
    this.postponed.clear()
    if (!this.localOpen) this.localOpen = { containerId: '' }
    this.#closing = { error: fitted({ type: 'error', condition, description: error.message }, this.remoteMaxFrameSize) }
    this.frameOutput(0)
    this.ended('local', error)
  }

  /** Reports the end, once. */
  ended(by: EndedBy, error: AmqpError | undefined): void {
    if (this.hasEnded) return
    this.hasEnded = true
    this.cause ??= error
    this.#abandon()
    this.emit({ type: 'connection.closed', by, error: this.cause })
  }

  #abandon(): void {
    // Those, too, that have ended from here only, and hold what they had received.
    for (const session of new Set([...this.channels.local, ...this.channels.remote])) session.abandon()
    this.ready.drain()
  }

  // ---- tracing -------------------------------------------------------------------------------------------------

  /** Reports a frame of ours. */
  traceOut(channel: number, value: Outgoing, payload: number): void {
    this.emit(outgoingFrame(channel, value, payload))
  }
}
