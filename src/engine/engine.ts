/**
 * Engine: bytes in, events out, bytes out. One engine serves either end of a connection. §2.2 §2.4 §5.3
 *
 * It composes the layers: protocol headers, SASL if any, AMQP. It holds no socket, timer, promise or clock: bytes come
 * by `receive`, time is an argument (monotonic milliseconds), and what happened is pulled with `nextDelivery`,
 * `nextOutcome` and `nextEvent`. Nothing that the peer sends makes it throw.
 */

import type { Performative } from '../definitions/performatives.ts'
import type { SaslPerformative } from '../definitions/sasl.ts'
import {
  AmqpCondition,
  ConnectionCondition,
  DecodeError,
  IdleTimeoutError,
  ProtocolError,
  TransportError,
  UsageError,
} from '../errors.ts'
import { FrameReader, FramingFault } from '../framing/frame-reader.ts'
import type { FrameWriter } from '../framing/frame-writer.ts'
import { AMQP_ID, decodeHeader, encodeHeader, formatHeader, isSupported, SASL_ID } from '../framing/protocol-header.ts'
import { PLAIN_STYLE } from '../types/composite.ts'
import { ConnectionEndpoint, type WireStyle } from './connection-endpoint.ts'
import type { EngineEvent } from './events.ts'
import { IdleTimeout } from './idle-timeout.ts'
import type { IncomingDelivery } from './incoming-delivery.ts'
import { DEFAULT_LIMITS, type Limits } from './limits.ts'
import type { OutgoingDelivery } from './outgoing-delivery.ts'
import { SaslEndpoint, type SaslOwner } from './sasl-endpoint.ts'

/** How an engine is made. */
export interface EngineOptions {
  /** Whether a SASL layer comes first, and which end of it we are. Default `none`. */
  readonly sasl?: 'client' | 'server' | 'none' | undefined
  /** For `sasl: 'server'`: what is offered. */
  readonly mechanisms?: readonly string[] | undefined
  /** For `sasl: 'client'`: an outcome `ok` waits for `sasl.proceed()`, so that the server's proof can be verified. Default false. */
  readonly holdOutcome?: boolean | undefined
  /** For `sasl: 'server'`: accept a peer that begins with the AMQP header. Default true. */
  readonly allowNoSasl?: boolean | undefined
  readonly limits?: Partial<Limits> | undefined
  readonly style?: Partial<WireStyle> | undefined
  /** What errors call the peer, e.g. its host and port. Default: nothing in particular. */
  readonly peer?: string | undefined
  /** Report every frame as an event. Default false. */
  readonly trace?: boolean | undefined
}

/** Which layer the next bytes belong to. */
type Phase = 'sasl-header' | 'sasl' | 'amqp-header' | 'amqp' | 'done'

export class Engine implements SaslOwner {
  readonly connection: ConnectionEndpoint
  readonly sasl: SaslEndpoint | undefined
  readonly limits: Limits
  readonly #reader: FrameReader
  readonly #options: EngineOptions
  #phase: Phase
  #saslHeaderSent = false
  #amqpHeaderSent = false
  /** Bytes received before the peer's open. */
  #early = 0
  #idle: IdleTimeout | undefined
  #startedAt: number | undefined
  #closeBy: number | undefined

  constructor(options: EngineOptions = {}) {
    this.#options = options
    this.limits = { ...DEFAULT_LIMITS, ...withoutUndefined(options.limits) }
    const style: WireStyle = { ...PLAIN_STYLE, omitNextIncomingId: false, ...withoutUndefined(options.style) }
    this.connection = new ConnectionEndpoint(this.limits, style, options.trace === true)
    const role = options.sasl ?? 'none'
    this.sasl = role === 'none' ? undefined : new SaslEndpoint(role, this, options.holdOutcome === true)
    this.#phase = role === 'none' ? 'amqp-header' : 'sasl-header'
    this.#reader = new FrameReader(this.limits.saslFrame, this.limits)
    this.connection.weigh = () => this.#reader.weight
  }

  // ---- the five verbs ------------------------------------------------------------------------------------------

  /**
   * Takes bytes from the peer. Never throws for what is in them.
   *
   * @param bytes  must not change any more: payloads of deliveries are views of it
   * @param now  monotonic milliseconds
   */
  receive(bytes: Uint8Array, now: number): void {
    if (this.#phase === 'done' || bytes.length === 0) return
    this.#startedAt ??= now
    this.#idle?.onInput(now)
    if (!this.connection.remoteOpen) this.#early += bytes.length
    // An end that answers an open says what it takes after it has read that.
    if (this.#phase === 'amqp') this.#reader.maxFrameSize = this.connection.maxFrameSize
    this.#reader.push(bytes)
    this.#read()
    if (!this.connection.remoteOpen && this.#early > this.limits.preAuthBytes && !this.connection.hasEnded)
      this.#fault(
        AmqpCondition.resourceLimitExceeded,
        `more than ${this.limits.preAuthBytes} bytes before open`,
        '2.4.1',
      )
  }

  /** The transport has ended: nothing more will come. With an error when it broke. */
  receiveEnd(_now: number, cause?: unknown): void {
    if (this.#phase === 'done') return
    this.#phase = 'done'
    const why = cause instanceof Error ? `: ${cause.message}` : ''
    this.connection.ended(
      'transport',
      new TransportError(`the transport${this.#to} ended before the connection was closed${why}`, cause),
    )
    this.connection.state = 'END'
  }

  /** The next event, the oldest first. */
  nextEvent(): EngineEvent | undefined {
    return this.connection.events.shift()
  }

  /** The next complete delivery. Take these before events: a detach comes after what was received before it. */
  nextDelivery(): IncomingDelivery | undefined {
    return this.connection.deliveries.shift()
  }

  /** The next outgoing delivery whose outcome is known: settled, or, when it was sent settled, framed. */
  nextOutcome(): OutgoingDelivery | undefined {
    return this.connection.outcomes.shift()
  }

  /**
   * The bytes to be sent now.
   *
   * @param maxBytes  about how much the transport takes; control frames may exceed it
   * @returns chunks that are the caller's: they will not change
   */
  output(maxBytes: number, now: number): Uint8Array[] {
    this.#startedAt ??= now
    this.#frameHeaders()
    if (this.#isPiping) this.connection.frameOutput(maxBytes)
    else if (this.#phase === 'amqp') {
      this.connection.frameOutput(maxBytes)
      this.#afterOpen(now)
      if (this.writer.pending === 0 && this.#idle?.heartbeatDue(now) && this.connection.state === 'OPENED')
        this.#heartbeat()
    }
    if (this.writer.pending > 0) this.#idle?.onOutput(now)
    return this.writer.take()
  }

  /** An empty frame, so that the peer hears something. §2.4.5 */
  #heartbeat(): void {
    this.writer.frame(0, 0, 8)
    if (this.tracing)
      this.emit({ type: 'frame', direction: 'out', layer: 'amqp', channel: 0, body: undefined, payload: 0 })
  }

  /** Whether `output` would give something, heartbeats aside. */
  get hasOutput(): boolean {
    if (this.writer.pending > 0 || this.#headersDue) return true
    return (this.#phase === 'amqp' || this.#isPiping) && this.connection.hasOutput
  }

  /**
   * Looks at the clock: gives up a silent peer, a handshake or a close that takes too long.
   * @param blocked  the transport takes nothing at present, heartbeats neither. Default false
   * @returns when to call again at the latest, on the clock of `now`; `undefined` for never
   */
  tick(now: number, blocked = false): number | undefined {
    if (this.#phase === 'done') return undefined
    this.#startedAt ??= now
    // From our close on, also while what is queued in front of it waits for a peer that gives no credit.
    if (this.connection.isClosing) {
      this.#closeBy ??= now + this.limits.closeMs
      if (now >= this.#closeBy) {
        this.connection.closeNow()
        this.#giveUp(
          new TransportError(`the connection${this.#to} could not be closed within ${this.limits.closeMs} ms`),
        )
        return undefined
      }
      if (this.connection.state !== 'OPENED') return this.#closeBy
    }
    if (!this.connection.remoteOpen && !this.connection.hasEnded) {
      const header = this.#early === 0
      const { headerOnlyMs, handshakeMs } = this.limits
      const limit = header ? Math.min(headerOnlyMs, handshakeMs) : handshakeMs
      if (now - this.#startedAt >= limit) {
        const what = header ? 'protocol header' : 'open'
        this.#giveUp(new TransportError(`no ${what} from ${this.#options.peer ?? 'the peer'} within ${limit} ms`))
        return undefined
      }
      return this.#startedAt + limit
    }
    this.#afterOpen(now)
    if (this.#idle?.expired(now)) {
      this.#giveUp(new IdleTimeoutError(this.#idle.limitMs, this.#options.peer))
      return undefined
    }
    const due = this.#idle?.deadline(blocked)
    return this.#closeBy === undefined ? due : Math.min(this.#closeBy, due ?? this.#closeBy)
  }

  /** Whether the connection is over and everything has been pulled: the transport may be dropped. */
  get isDone(): boolean {
    return this.#phase === 'done' || this.connection.isDone
  }

  // ---- layers --------------------------------------------------------------------------------------------------

  get writer(): FrameWriter {
    return this.connection.writer
  }

  get tracing(): boolean {
    return this.connection.tracing
  }

  emit(event: EngineEvent): void {
    this.connection.emit(event)
  }

  #afterOpen(now: number): void {
    const { localOpen, remoteOpen } = this.connection
    if (this.#idle || !remoteOpen || !localOpen) return
    this.#idle = new IdleTimeout(localOpen.idleTimeOut ?? 0, now)
    this.#idle.remoteMs = remoteOpen.idleTimeOut ?? 0
  }

  /**
   * Sends AMQP from now on without waiting for the peer's header and open: our header, our open, and of what follows
   * that which every peer takes, frames of 512 bytes on channel 0. To a SASL server it goes behind the init, before the
   * outcome is known: not for a mechanism by which the server has to prove itself first. §2.4.2 D-047
   *
   * @throws {UsageError} for a SASL server; for a client before its init
   */
  pipeline(): void {
    if (this.sasl && !this.sasl.hasInit) throw new UsageError('a SASL client pipelines behind its init', '5.3.2')
    this.connection.pipelines = true
  }

  /** Whether AMQP is being sent, and its header has not been answered. */
  get #isPiping(): boolean {
    return this.connection.pipelines && this.#amqpHeaderSent && this.#phase !== 'amqp' && this.#phase !== 'done'
  }

  get #headersDue(): boolean {
    if (this.#phase === 'sasl-header' && !this.#saslHeaderSent) return this.sasl?.role === 'client'
    if (this.connection.pipelines && !this.#amqpHeaderSent && this.#phase !== 'done') return this.#opensFirst
    return this.#phase === 'amqp-header' && !this.#amqpHeaderSent && this.#opensFirst
  }

  /** Whether we send the AMQP header unasked: a server of SASL waits for its client. */
  get #opensFirst(): boolean {
    return this.connection.localOpen !== undefined && this.sasl?.role !== 'server'
  }

  #frameHeaders(): void {
    if (!this.#headersDue) return
    if (this.#phase === 'sasl-header' && !this.#saslHeaderSent) this.#sendHeader(SASL_ID)
    else this.#sendHeader(AMQP_ID)
  }

  #sendHeader(id: number): void {
    const bytes = encodeHeader(id)
    this.writer.raw(bytes)
    if (id === SASL_ID) this.#saslHeaderSent = true
    else {
      this.#amqpHeaderSent = true
      this.connection.onHeader('S:HDR')
    }
    this.#traceHeader('out', bytes)
  }

  #traceHeader(direction: 'in' | 'out', bytes: Uint8Array): void {
    const header = this.tracing ? decodeHeader(bytes, 0) : undefined
    if (header)
      this.emit({ type: 'frame', direction, layer: 'header', channel: 0, body: formatHeader(header), payload: 0 })
  }

  /** Reads as far as the bytes go. */
  #read(): void {
    const reader = this.#reader
    try {
      while (!this.connection.isDone && this.#phase !== 'done') {
        // Either end decides in its own time: what follows waits.
        if (this.#phase === 'sasl' && this.#isDeciding) return
        const item = reader.next()
        if (item === undefined) return
        if (item === 'header') this.#onHeader(reader.header)
        else if (item === 'payload') this.connection.receivePayload(reader.payload as Uint8Array, reader.payloadLeft)
        else this.#onFrame()
      }
    } catch (error) {
      if (error instanceof FramingFault) this.#fault(ConnectionCondition.framingError, error.message, '2.3.1', error)
      else if (error instanceof DecodeError) this.#fault(AmqpCondition.decodeError, error.message, '1.6', error)
      // A fault of ours must not become the owner's exception: the connection is given up, and says why.
      else this.#fault(AmqpCondition.internalError, `internal error: ${(error as Error).message}`, '2.8.15', error)
    }
  }

  get #isDeciding(): boolean {
    if (this.sasl?.role === 'client') return this.sasl.isHeld
    const state = this.sasl?.state
    return state === 'INIT' || state === 'RESPONDED' || state === 'DONE'
  }

  #onFrame(): void {
    const reader = this.#reader
    const { channel, body, payload, payloadLeft } = reader
    if (this.tracing) this.#traceIn()
    if (this.#phase === 'sasl') this.sasl?.receive(body as SaslPerformative | undefined)
    else this.connection.receive(channel, body as Performative | undefined, payload, payloadLeft)
    // From the open on, frames may be as large as we have promised to take.
    if (body?.type === 'open') reader.maxFrameSize = this.connection.maxFrameSize
  }

  #traceIn(): void {
    const { channel, body, payload, payloadLeft } = this.#reader
    const layer = this.#phase === 'sasl' ? 'sasl' : 'amqp'
    this.emit({ type: 'frame', direction: 'in', layer, channel, body, payload: (payload?.length ?? 0) + payloadLeft })
  }

  #onHeader(bytes: Uint8Array): void {
    const header = decodeHeader(bytes, 0)
    this.#traceHeader('in', bytes)
    if (header && this.#phase === 'sasl-header' && isSupported(header, SASL_ID)) return this.#beginSasl()
    const mayskip = this.sasl?.role === 'server' && this.#options.allowNoSasl !== false
    if (header && isSupported(header, AMQP_ID) && (this.#phase === 'amqp-header' || mayskip)) return this.#beginAmqp()
    // §2.2: answer with the header that we do support, and close the transport.
    if (!this.#saslHeaderSent && !this.#amqpHeaderSent)
      this.#sendHeader(this.#phase === 'sasl-header' ? SASL_ID : AMQP_ID)
    const expected = this.#phase === 'sasl-header' ? 'AMQP 3 1.0.0' : 'AMQP 0 1.0.0'
    const found = header ? formatHeader(header) : 'something that is not an AMQP header'
    this.#giveUp(
      new ProtocolError(
        `${this.#options.peer ?? 'peer'} answered ${found}, where ${expected} is expected`,
        ConnectionCondition.framingError,
        'connection',
        '2.2',
      ),
    )
  }

  #beginSasl(): void {
    if (!this.#saslHeaderSent) this.#sendHeader(SASL_ID)
    this.#phase = 'sasl'
    this.#reader.expectHeader = false
    this.#reader.expectType = 1
    if (this.sasl?.role === 'server') this.sasl.mechanisms(this.#options.mechanisms ?? ['ANONYMOUS'])
  }

  #beginAmqp(): void {
    this.connection.onHeader('R:HDR')
    if (!this.#amqpHeaderSent) this.#sendHeader(AMQP_ID)
    this.#phase = 'amqp'
    this.#reader.expectHeader = false
    this.#reader.expectType = 0
    this.#reader.maxFrameSize = this.connection.maxFrameSize
  }

  /** For the SASL endpoint: its first frame is about to be written. */
  beforeSasl(): void {
    if (!this.#saslHeaderSent) this.#sendHeader(SASL_ID)
  }

  /** For the SASL endpoint: the exchange succeeded. */
  saslDone(): void {
    this.#phase = 'amqp-header'
    this.#reader.expectHeader = true
    // What a pipelining peer has sent in the meantime.
    if (this.sasl?.role === 'server' || this.#options.holdOutcome) this.#read()
  }

  /** For the SASL endpoint: the peer broke its rules. */
  saslFailed(condition: string, description: string, section: string): void {
    this.#giveUp(new ProtocolError(this.#said(description), condition, 'connection', section))
  }

  get #to(): string {
    return this.#options.peer ? ` to ${this.#options.peer}` : ''
  }

  /** What is told here, and not to the peer. */
  #said(description: string): string {
    return this.#options.peer ? `${this.#options.peer}: ${description}` : description
  }

  /** Bytes that cannot be understood: above the SASL layer the peer is told. */
  #fault(condition: string, description: string, section: string, cause?: unknown): void {
    if (this.#phase !== 'amqp') {
      this.#giveUp(new ProtocolError(this.#said(description), condition, 'connection', section, cause))
      return
    }
    this.connection.fail(condition, description, section, cause)
    // Where the next frame begins is not known any more: nothing further is read.
    this.#phase = 'done'
    this.connection.state = 'END'
  }

  /** Ends without a word to the peer: it would not understand, or is not there. */
  #giveUp(error: ProtocolError | TransportError | IdleTimeoutError): void {
    if (error.code === 'ERR_AMQP_PROTOCOL') this.emit({ type: 'protocol.error', error })
    this.connection.ended(error.code === 'ERR_AMQP_PROTOCOL' ? 'local' : 'transport', error)
    this.#phase = 'done'
    this.connection.state = 'END'
  }
}

function withoutUndefined<T extends object>(given: T | undefined): Partial<T> {
  return Object.fromEntries(Object.entries(given ?? {}).filter(([, value]) => value !== undefined)) as Partial<T>
}
