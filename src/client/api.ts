/**
 * The promise API as interfaces: what `connect()` and `listen()` give. AMQP is symmetric, so both ends get the same.
 *
 * Everything that waits takes a signal and rejects with `signal.reason` when it fires. Every promise settles when the
 * connection, session or link under it ends, with the first cause. `closed` always resolves.
 */

import type { AmqpError } from '../errors.ts'
import type { Transport } from '../io/transport.ts'
import type { EncodedMessage } from '../message/encode.ts'
import type { Message, MessageInit } from '../message/message.ts'
import type { AmqpValue } from '../types/values.ts'
import type {
  Abortable,
  ErrorInit,
  LinkReply,
  ReceiverOptions,
  RequestLinkOptions,
  RequestOptions,
  SenderOptions,
  SendOptions,
  SessionOptions,
  SourceInit,
  TargetInit,
} from './options.ts'
import type { Outcome } from './outcome.ts'

/** Who ended a connection, session or link, and why. */
export interface Closure {
  readonly by: 'local' | 'remote' | 'transport'
  /** `undefined` when it ended without an error. */
  readonly error: AmqpError | undefined
}

/** Typed events, few of them, only for what answers no call. */
export interface Emits<Events> {
  /**
   * Calls `listener` on every event until the result is disposed or the signal fires.
   * A listener that throws, or is async and rejects, does not disturb the others; its error surfaces as an uncaught
   * exception, unless it is a `ClosedError`: what the listener was using has ended, and its `closed` says why.
   */
  on<K extends keyof Events>(type: K, listener: (event: Events[K]) => unknown, options?: Abortable): Disposable
}

/** What the peer said of itself in its open. §2.7.1 */
export interface RemoteOpen {
  readonly containerId: string
  readonly hostname: string | undefined
  readonly maxFrameSize: number
  readonly channelMax: number
  /** Milliseconds; `undefined` when the peer does not watch. */
  readonly idleTimeOut: number | undefined
  readonly offeredCapabilities: readonly string[]
  readonly desiredCapabilities: readonly string[]
  readonly properties: ReadonlyMap<AmqpValue, AmqpValue>
}

/** What is under way on a connection, as it stands when it is asked for. */
export interface ConnectionStats {
  readonly sessions: number
  readonly links: number
  /** Deliveries that we sent and the peer has not settled. */
  readonly unsettledOutgoing: number
  /** Deliveries that we received and have not settled, or the peer has not, in mode second. */
  readonly unsettledIncoming: number
  /** Bytes of messages that wait for credit, window or socket. */
  readonly pendingBytes: number
}

/** A connection, at either end. §2.4 */
export interface Connection extends AsyncDisposable, Emits<{ closed: Closure; session: IncomingSession }> {
  readonly remote: RemoteOpen
  /**
   * Resolves when both ends have opened, which `connect` and `listen` wait for, but for `connect({ pipeline: true })`;
   * rejects when the connection ends first. Forgetting it crashes nothing.
   */
  readonly opened: Promise<void>
  readonly closed: Promise<Closure>
  /** Who authenticated, on the accepting side; `undefined` without SASL or when anonymous. */
  readonly identity: string | undefined
  /** DER of the peer's certificate, where TLS asked for one. */
  readonly peerCertificate: Uint8Array | undefined
  /** What is under way; counted when it is read. */
  readonly stats: ConnectionStats
  /** Begins a session. @throws {ClosedError} if the connection ends first. Cancellation ends the session. §2.5.1 */
  session(options?: SessionOptions): Promise<Session>
  /**
   * Attaches a sender on a session shared by all links opened this way. Without a target, `null`, it is one to the
   * anonymous relay, where the peer has that (capability ANONYMOUS-RELAY): each message names its address in `to`.
   */
  sender(target: string | TargetInit | null, options?: SenderOptions): Promise<Sender>
  /** Attaches a receiver on that same session. */
  receiver(source: string | SourceInit | null, options?: ReceiverOptions): Promise<Receiver>
  /**
   * Attaches a pair of links for requests to a node and its answers, on a session of their own.
   * @throws {RemoteError} the peer refused one of the links
   * @throws {ProtocolError} it made a node for the answers and did not tell its address
   * Cancellation ends the session.
   */
  request(address: string, options?: RequestLinkOptions): Promise<RequestLink>
  /** Sessions that the peer begins. Without a taker, neither here nor by `on('session')`, they are refused. */
  incoming(): AsyncIterable<IncomingSession>
  /** Lets the process live as long as this connection does (the default), or not. A WebSocket holds it either way. */
  ref(): void
  unref(): void
  /**
   * Closes: sends what is queued, waits for the outcomes of what was sent, at most `limits.settleMs`, then for the
   * peer's close, at most `limits.closeMs`. With an error nothing is waited for but the peer's close.
   * Resolves when the transport is gone. Cancellation drops the transport at once.
   */
  close(options?: Abortable & { error?: ErrorInit }): Promise<void>
}

/** Requests to one node, and their answers. Any number may be in flight. */
export interface RequestLink extends AsyncDisposable {
  readonly address: string
  /** Where answers are sent to: `reply-to` of requests that name no other. */
  readonly replyTo: string
  /** Requests without an answer. */
  readonly pending: number
  /** Answers to nobody, late ones among them: accepted and passed over. */
  readonly unmatched: number
  readonly closed: Promise<Closure>
  /**
   * Sends a request and resolves with its answer, accepted already. A message-id is made up unless there is one; an
   * answer finds its request by the text of its correlation-id, of whatever type, or, without one, of its message-id.
   *
   * @throws {UsageError} a request of that message-id waits already
   * @throws {DeliveryError} the peer did not accept the request
   * @throws {ProtocolError} the answer did not pass `check`
   * @throws {ClosedError} one of the links, their session or the connection ended first; `cause` says why. So does an
   *   answer that cannot be decoded, since it might be anybody's.
   *
   * Cancellation, and `timeoutMs`, forget the request; one that was sent may still take effect.
   */
  send(request: MessageInit, options?: RequestOptions): Promise<Message>
  /** Ends the session with its links. Requests in flight fail with `ClosedError`. */
  close(options?: Abortable): Promise<void>
}

/** A session, at either end. §2.5 */
export interface Session extends AsyncDisposable, Emits<{ closed: Closure; link: IncomingLink }> {
  readonly connection: Connection
  readonly closed: Promise<Closure>
  sender(target: string | TargetInit | null, options?: SenderOptions): Promise<Sender>
  receiver(source: string | SourceInit | null, options?: ReceiverOptions): Promise<Receiver>
  /** Links that the peer attaches. Without a taker they are refused with `amqp:not-found`. */
  incoming(): AsyncIterable<IncomingLink>
  /** Ends the session, as a connection is closed: what was sent gets its outcome first. §2.5.2 */
  end(options?: Abortable & { error?: ErrorInit }): Promise<void>
}

/** A session that the peer has begun and we have not yet answered. §2.5.1 */
export interface IncomingSession {
  readonly connection: Connection
  /** @throws {ClosedError} the peer has ended it meanwhile */
  accept(options?: SessionOptions): Promise<Session>
  /** Begins and ends it at once, with the error. */
  refuse(error: ErrorInit): void
}

/** What an incoming link of either direction has. */
interface IncomingLinkBase {
  readonly session: Session
  readonly name: string
  readonly source: Readonly<SourceInit> | null
  /** `null` for the anonymous relay; a coordinator is shown as `{ capabilities }` with `coordinator` true. */
  readonly target: (Readonly<TargetInit> & { readonly coordinator?: boolean }) | null
  readonly properties: ReadonlyMap<AmqpValue, AmqpValue>
  readonly desiredCapabilities: readonly string[]
  /** How the peer asked to settle. §2.8.2 §2.8.3 */
  readonly sndSettleMode: 'settled' | 'unsettled' | 'mixed'
  readonly rcvSettleMode: 'first' | 'second'
  /** Answers with a null terminus and a closing detach. §2.6.3 */
  refuse(error: ErrorInit): void
}

/**
 * A link that the peer has attached and we have not yet answered: what the peer wants to be. `accept` throws
 * `ClosedError` when the peer has taken it back meanwhile. §2.6.3
 */
export type IncomingLink =
  | (IncomingLinkBase & {
      readonly remoteRole: 'sender'
      /** Attaches our receiver; both termini are echoed unless `reply` says otherwise. */
      accept(options?: ReceiverOptions & { reply?: LinkReply }): Promise<Receiver>
    })
  | (IncomingLinkBase & {
      readonly remoteRole: 'receiver'
      accept(options?: SenderOptions & { reply?: LinkReply }): Promise<Sender>
    })

/** What senders and receivers have in common. §2.6 */
export interface Link extends AsyncDisposable {
  readonly name: string
  readonly session: Session
  /** As negotiated: the source as the sender said it, the target as the receiver said it. §2.6.3 */
  readonly source: Readonly<SourceInit> | null
  readonly target: Readonly<TargetInit> | null
  /** Properties that the peer sent in its attach. */
  readonly properties: ReadonlyMap<AmqpValue, AmqpValue>
  /** Largest message the peer takes, in bytes; `undefined` for no limit. */
  readonly remoteMaxMessageSize: bigint | undefined
  readonly closed: Promise<Closure>
  /** Detaches and keeps the terminus. §2.6.4 */
  detach(options?: Abortable): Promise<void>
  /** Closes the link, as a connection is closed: a sender's messages go first, and get their outcomes. §2.6.6 */
  close(options?: Abortable & { error?: ErrorInit }): Promise<void>
}

/** Sends messages. §2.6 */
export interface Sender extends Link, Emits<{ closed: Closure; credit: { linkCredit: number; drain: boolean } }> {
  /** Deliveries that the receiver still allows. §2.6.7 */
  readonly linkCredit: number
  /** Messages queued here and not yet on the wire. */
  readonly pending: number
  /**
   * Encodes now, waits for credit, window and socket in order, and resolves with the outcome.
   * A body below 4 KiB is copied; a larger binary body must not change until the promise settles.
   *
   * @returns what the receiver decided; for a settled send `accepted`, once handed over
   * @throws {EncodeError} a value does not fit; nothing was sent
   * @throws {UsageError} `maxPending` messages are waiting already, or the tag is in use
   * @throws {ClosedError} the link ended first; `cause` says why. The outcome of a message already sent is unknown.
   *
   * Cancellation: a queued message is removed; one partly sent is aborted (§2.7.5); for one fully sent the promise
   * rejects and the outcome is unknown.
   */
  send(message: MessageInit | EncodedMessage, options?: SendOptions): Promise<Outcome>
  /** Resolves when fewer than half of `maxPending` messages wait, so that producers can pace themselves. */
  ready(options?: Abortable): Promise<void>
}

/**
 * Receives messages. Iterating is receiving; leaving the loop stops granting credit and releases nothing. The loop ends
 * when the link is closed from this end, or, where the peer had attached it, by the peer; it throws `ClosedError` when
 * the link ends otherwise.
 */
export interface Receiver extends Link, AsyncIterable<Delivery, undefined>, Emits<{ closed: Closure }> {
  /** The next delivery. @throws {ClosedError} when the link ends. Cancellation loses nothing. */
  receive(options?: Abortable): Promise<Delivery>
  /** Grants credit for `count` more deliveries, 1 … 2^31. @throws {UsageError} unless credit is manual. §2.6.7 */
  addCredit(count: number): void
  /** Uses up or cancels the credit that is out: resolves when the sender has none left. §2.6.7 */
  drain(options?: Abortable): Promise<void>
}

/** One message on a link, to be settled once. §2.6.12 */
export interface Delivery {
  readonly receiver: Receiver
  readonly deliveryTag: Uint8Array
  readonly messageFormat: number
  /** Sent settled: nothing to decide. */
  readonly settled: boolean
  /** Decoded when read. Reading it or one of its fields throws `DecodeError` where the bytes are not valid. */
  readonly message: Message
  /** The payload as it came, in pieces, not copied. */
  readonly chunks: readonly Uint8Array[]
  /** The payload in one piece, joined once, when first read. */
  readonly bytes: Uint8Array
  /** `lost`: the link ended before this delivery was settled. */
  readonly state: 'live' | 'settled' | 'lost'
  /**
   * Each settles the delivery once; doing it again is a no-op if the outcome is the same.
   * They resolve at once, or, on a link that settles second, when the sender has settled.
   *
   * @throws {ClosedError} the link ended first
   * @throws {UsageError} the delivery was settled otherwise
   */
  accept(): Promise<void>
  release(): Promise<void>
  reject(error?: ErrorInit): Promise<void>
  modify(change: {
    deliveryFailed?: boolean
    undeliverableHere?: boolean
    messageAnnotations?: Readonly<Record<string, AmqpValue>>
  }): Promise<void>
}

/** Accepts connections. */
export interface Listener
  extends AsyncDisposable,
    AsyncIterable<Connection, undefined>,
    Emits<{ connection: Connection; error: Error }> {
  /** The port that is listened on; 0 when it listens on none. */
  readonly port: number
  /** Serves one peer over any transport: a memory pair, a WebSocket. The connection goes to the caller alone. */
  accept(transport: Transport): Promise<Connection>
  /**
   * New handshakes use this certificate and key; connections that stand go on as they are.
   * @throws {UsageError} it does not listen with TLS
   * @throws what `node:tls` throws for a certificate that is none; the old one stays
   */
  setSecureContext(options: import('node:tls').SecureContextOptions): void
  /**
   * Stops listening and closes every connection. With `graceMs` links are closed as they come to rest first, with
   * `amqp:link:detach-forced`: credit is taken back, what was sent gets its outcome; and a connection when it has none.
   */
  close(options?: { graceMs?: number }): Promise<void>
}
