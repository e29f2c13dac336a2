/**
 * What the engine tells its owner, to be pulled with `nextEvent()`: one member per happening, named scope.verb.
 *
 * Deliveries and outcomes are many and have queues of their own: `nextDelivery()`, `nextOutcome()`. When a connection
 * or session ends, what lies beneath has ended too, without an event of its own.
 */

import type { Attach, Begin, Open } from '../definitions/performatives.ts'
import type { SaslCode } from '../definitions/sasl.ts'
import type { AmqpError, ProtocolError } from '../errors.ts'
import type { IncomingDelivery } from './incoming-delivery.ts'
import type { IncomingStream } from './incoming-stream.ts'
import type { ReceiverEndpoint } from './receiver-endpoint.ts'
import type { SenderEndpoint } from './sender-endpoint.ts'
import type { SessionEndpoint } from './session-endpoint.ts'

/** Which end brought it about; `transport` when the bytes stopped coming. */
export type EndedBy = 'local' | 'remote' | 'transport'

/** Frames and headers that crossed, when the engine was made with `trace`. */
export interface FrameEvent {
  readonly type: 'frame'
  readonly direction: 'in' | 'out'
  readonly layer: 'header' | 'sasl' | 'amqp'
  readonly channel: number
  /** The performative, the text of a header, or undefined for an empty frame. Contains secrets. */
  readonly body: unknown
  /** Bytes of payload that lie in the frame. */
  readonly payload: number
}

/** Anything that the engine tells but deliveries and outcomes. */
export type EngineEvent =
  /** To a client: choose one and call `sasl.init`. §5.3.3.1 */
  | { readonly type: 'sasl.mechanisms'; readonly mechanisms: readonly string[] }
  /** To a server: answer with `sasl.challenge` or `sasl.outcome`. §5.3.3.2 */
  | {
      readonly type: 'sasl.init'
      readonly mechanism: string
      readonly initialResponse: Uint8Array | undefined
      readonly hostname: string | undefined
    }
  /** To a client: answer with `sasl.respond`. §5.3.3.3 */
  | { readonly type: 'sasl.challenge'; readonly challenge: Uint8Array }
  /** To a server. §5.3.3.4 */
  | { readonly type: 'sasl.response'; readonly response: Uint8Array }
  /** To a client; anything but `ok` ends the connection. §5.3.3.5 */
  | { readonly type: 'sasl.outcome'; readonly code: SaslCode; readonly additionalData: Uint8Array | undefined }
  /** The peer's open. An end that has not sent its own answers with `open`. §2.4.1 */
  | { readonly type: 'connection.opened'; readonly open: Open }
  /** The last event of all. What is in `output()` may still be sent. */
  | { readonly type: 'connection.closed'; readonly by: EndedBy; readonly error: AmqpError | undefined }
  /** The peer's begin: an answer, or, for a session with `initiated: 'remote'`, to be answered. §2.5.1 */
  | { readonly type: 'session.begun'; readonly session: SessionEndpoint; readonly begin: Begin }
  | {
      readonly type: 'session.ended'
      readonly session: SessionEndpoint
      readonly by: EndedBy
      readonly error: AmqpError | undefined
    }
  /** The peer's attach: an answer, or, for a link with `initiated: 'remote'`, to be answered. §2.6.3 */
  | { readonly type: 'link.attached'; readonly link: SenderEndpoint | ReceiverEndpoint; readonly attach: Attach }
  | {
      readonly type: 'link.detached'
      readonly link: SenderEndpoint | ReceiverEndpoint
      readonly by: EndedBy
      /** Closed, as against detached with its terminus kept. */
      readonly closed: boolean
      readonly error: AmqpError | undefined
    }
  /** A receiver's flow changed what a sender may send. §2.6.7 */
  | { readonly type: 'link.flow'; readonly link: SenderEndpoint }
  /** A drain that we asked for is over. §2.6.7 */
  | { readonly type: 'link.drained'; readonly link: ReceiverEndpoint }
  /** More of a delivery that was handed out incomplete has come, or its end; once until its stream is asked. §2.6.14 */
  | { readonly type: 'delivery.continued'; readonly delivery: IncomingDelivery; readonly stream: IncomingStream }
  /**
   * The sender settled a delivery that we had decided on in mode second, or that it took up, gave up or had forgotten
   * when the link was resumed. §2.6.12 §2.6.13
   */
  | { readonly type: 'delivery.settled'; readonly delivery: IncomingDelivery }
  /** The peer broke the standard and was told so; the end of the scope follows. */
  | { readonly type: 'protocol.error'; readonly error: ProtocolError }
  | FrameEvent
