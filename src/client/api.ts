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
import type { Emits, LinkEvents, SenderEvents } from './api-events.ts'
import type { CoordinatedTransaction, Transaction } from './api-transactions.ts'
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
  Transacted,
  TransactionOptions,
} from './options.ts'
import type { Outcome } from './outcome.ts'
import type { UnsettledDelivery, UnsettledSend } from './recovery/unsettled.ts'

/** Who ended a connection, session or link, and why. */
export interface Closure {
  readonly by: 'local' | 'remote' | 'transport'
  /** `undefined` when it ended without an error. */
  readonly error: AmqpError | undefined
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
  /** Unique in this process, from 1 on: as traces and diagnostics name it. */
  readonly id: number
  readonly remote: RemoteOpen
  /** Resolves when both ends have opened, with `pipeline` after `connect`; rejects when it ends first. */
  readonly opened: Promise<void>
  /** Resolves when it has ended for good: with `reconnect` not when it is lost. */
  readonly closed: Promise<Closure>
  /** Who authenticated, on the accepting side; `undefined` without SASL or when anonymous. */
  readonly identity: string | undefined
  /** `host:port` that the peer connects from, or is connected to; `undefined` where the transport does not say. */
  readonly remoteAddress: string | undefined
  /** DER of the peer's certificate, where TLS asked for one. */
  readonly peerCertificate: Uint8Array | undefined
  /** What is under way; counted when it is read. */
  readonly stats: ConnectionStats
  /**
   * Begins a session. @throws {RemoteError} it is refused  @throws {ClosedError} the connection ends first. Cancellation
   * ends the session. §2.5.1
   */
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
  /** Declares a transaction on that same session. See `Session.transaction`. */
  transaction(options?: TransactionOptions): Promise<Transaction>
  /** Sessions that the peer begins. Without a taker, neither here nor by `on('session')`, they are refused. */
  incoming(): AsyncIterable<IncomingSession>
  /** Lets the process live as long as this connection does (the default), or not. A WebSocket holds it either way. */
  ref(): void
  unref(): void
  /**
   * With `reconnect`: drops the line at once and makes another, as after a loss; without it that is the end. It is not
   * counted: neither waits nor `attempts` grow by it, unless another line cannot be made.
   *
   * @param why  for the message of what fails with it, and of `onStateChange`
   */
  reconnect(why?: string): void
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
  /**
   * Declares a transaction with the peer's coordinator, over a control link that the session's transactions share and
   * that is attached for the first of them. §4.2
   *
   * @throws {TransactionError} the coordinator refused
   * @throws {RemoteError} the peer has no coordinator
   * @throws {UsageError} the coordinator allows one transaction at a time, and there is one, or knows no global ones
   * @throws {ClosedError} the session ended first
   * Cancellation: a transaction that is declared all the same is rolled back.
   */
  transaction(options?: TransactionOptions): Promise<Transaction>
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
  /** A terminus of an earlier link of this name lives on, with `listen({ termini })`: accepting goes on with it. §2.6.3 */
  readonly resumes: boolean
  readonly source: Readonly<SourceInit> | null
  /** `null` for the anonymous relay. */
  readonly target: Readonly<TargetInit> | null
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
 * `ClosedError` when the peer has taken it back meanwhile, and `UsageError` where the peer asks for a node of our making,
 * `dynamic`, and `reply` does not say its address. §2.6.3 §3.5.3 §3.5.4
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
  /**
   * Closes the link, as a connection is closed: a sender's messages go first, and get their outcomes; a receiver's credit
   * is taken back, and what nobody has taken is released, what is under way included (§2.6.10). Either waits for the
   * peer no longer than `limits.settleMs`, then for its detach no longer than `limits.closeMs`. With an error only the
   * detach is waited for. §2.6.6
   */
  close(options?: Abortable & { error?: ErrorInit }): Promise<void>
}

/**
 * A message whose body is made while it is sent. The sections in front of it, and the footer, are encoded at the call;
 * each piece of the body becomes a data section, and leaves in transfers of its own.
 *
 * The source is pulled when the message is the next of its link, and only while less than 256 KiB of it are queued:
 * the receiver's credit, the session's window and the socket hold it back. A piece below 4 KiB is copied; a larger one
 * must not change until the promise settles. Messages sent later on the same link wait until it is complete; other links
 * do not. Closing the link does not wait longer for it than `limits.settleMs` and `limits.closeMs` say.
 *
 * Where the source throws, the signal fires, or a piece is no `Uint8Array`, the message is taken back: removed when
 * nothing of it has been sent, else aborted (§2.7.5), and the promise rejects with that error. A receiver that decides
 * before all of it has come ends it the same way, unless it accepts, and the promise resolves with the outcome. In each
 * case, and when the link ends, the source is left: its iterator's `return()` is called, or its reader cancelled.
 */
export interface StreamedInit extends Omit<MessageInit, 'body'> {
  readonly body: AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>
}

/** Sends messages. §2.6 */
export interface Sender extends Link, Emits<SenderEvents> {
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
   * @throws {ClosedError} the link ended first; `cause` says why. `scope` is `delivery` where some of the message had
   *   left, and its outcome is unknown; `link` where nothing had
   * @throws {TransactionError} the transaction that it was sent under was lost or rolled back first
   *
   * Cancellation: a queued message is removed; one partly sent is aborted (§2.7.5); for one fully sent the promise
   * rejects and the outcome is unknown.
   *
   * A body that is an async iterable or a `ReadableStream` is sent while it is made, each piece as a data section
   * (§3.2.6 §2.6.14): see `StreamedInit`.
   */
  send(message: MessageInit | StreamedInit | EncodedMessage, options?: SendOptions): Promise<Outcome>
  /** Resolves when fewer than half of `maxPending` messages wait, so that producers can pace themselves. */
  ready(options?: Abortable): Promise<void>
  /**
   * Messages without an outcome, to be kept and given to the next link of this name: as it stands, and after the end as it
   * was then, where the link was attached with `unsettled`. Those under a transaction, or of a body that is being made and
   * has not begun, are not among them. Copies. §2.6.13
   */
  unsettled(): readonly UnsettledSend[]
  /** What the link was attached with, and what becomes of it. Forgetting an outcome crashes nothing. */
  readonly resumed: readonly ResumedSend[]
}

/** A message of an earlier link. */
export interface ResumedSend {
  readonly deliveryTag: Uint8Array
  /** As `send` resolves. @throws {ClosedError} the link ended first, or the message cannot be sent again */
  readonly outcome: Promise<Outcome>
}

/**
 * Receives messages. Iterating is receiving; leaving the loop stops granting credit and releases nothing. The loop ends
 * when the link is closed from this end, or, where the peer had attached it, by the peer; it throws `ClosedError` when
 * the link ends otherwise.
 */
export interface Receiver extends Link, AsyncIterable<Delivery, undefined>, Emits<LinkEvents> {
  /** The next delivery. @throws {ClosedError} when the link ends. Cancellation loses nothing. */
  receive(options?: Abortable): Promise<Delivery>
  /**
   * Grants credit for `count` more deliveries, 1 … 2^31 − 1. With a transaction the peer is asked to acquire what it sends
   * under it, from now until the discharge, which takes back what credit is left. §2.6.7 §4.4.3
   *
   * @throws {UsageError} unless credit is manual; the link acquires under another transaction
   */
  addCredit(count: number, options?: Transacted): void
  /** Uses up or cancels the credit that is out: resolves when the sender has none left. §2.6.7 */
  drain(options?: Abortable): Promise<void>
  /**
   * One message if there is one: what waits here already, else what the sender has, asked by a flow that drains. With
   * `credit: 'manual'` it grants one credit where none is out; credit of a window, or granted before, is drained with it,
   * and what that brings waits here for the next call.
   *
   * @returns `undefined` when the sender has nothing
   * @throws {ClosedError} when the link ends
   * Cancellation loses nothing: a message that comes all the same waits here. A sender that never answers a drain is
   * waited for until then.
   * @see §2.6.8
   */
  get(options?: Abortable): Promise<Delivery | undefined>
  /** Messages that are not settled, as `Sender.unsettled`; none that is streamed. Copies. §2.6.13 */
  unsettled(): readonly UnsettledDelivery[]
  /**
   * Takes all credit back. Resolves when the sender has confirmed it; what was under way by then is still handed out,
   * and nothing more comes. From then on credit is manual: `addCredit` starts the link again.
   *
   * @throws {ClosedError} when the link ends first
   * Cancellation stops the waiting, not the stopping.
   * @see §2.6.10
   */
  stop(options?: Abortable): Promise<void>
  /**
   * Calls `handler` for every delivery, `concurrency` of them at a time, which is also how many are under way or waiting:
   * credit comes back when a delivery is settled. One is accepted when its handler returns, unless the handler has
   * settled it. Where a handler throws, its delivery is modified as failed (§3.4.5), so that the sender counts the
   * attempt; the error goes to `onError`, and nothing else happens.
   *
   * The handler's signal fires when the link ends. While this runs, `receive`, `get`, `drain`, `addCredit` and loops over
   * the receiver are refused; afterwards credit is manual, as after `stop()`.
   *
   * @returns resolves when the link has ended as a loop over the receiver would, and every handler has returned
   * @throws {ClosedError} the link ended otherwise
   * @throws {UsageError} `process` runs already, or `concurrency` is out of range
   * Cancellation takes credit back, waits for the handlers that run, and rejects with `signal.reason`.
   */
  process(handler: (delivery: Delivery, signal: AbortSignal) => unknown, options?: ProcessOptions): Promise<void>
}

/** How deliveries are handled. */
export interface ProcessOptions extends Abortable {
  /** Deliveries handled at a time, 1 … 2^31 − 1. Default 1. */
  concurrency?: number | undefined
  /**
   * Told what a handler threw. Default: a warning of the process (`process.emitWarning`). Throwing ends the processing:
   * no more is taken, handlers that run are waited for, and `process` rejects with what was thrown.
   */
  onError?: ((error: unknown, delivery: Delivery) => void) | undefined
}

/** One message on a link, to be settled once. §2.6.12 */
export interface Delivery {
  readonly receiver: Receiver
  readonly deliveryTag: Uint8Array
  readonly messageFormat: number
  /** Sent settled: nothing to decide. */
  readonly settled: boolean
  /**
   * Decoded when read. Reading it or one of its fields throws `DecodeError` where the bytes are not valid. On a
   * streaming receiver it has the sections in front of the body, and the footer once the body has been read; its `body`
   * throws `UsageError`, and `toInit()` and `toJSON()` leave it out. A body that is no data is there as a whole.
   */
  readonly message: Message
  /** The payload as it came, in pieces, not copied. @throws {UsageError} on a streaming receiver, unless whole */
  readonly chunks: readonly Uint8Array[]
  /** The payload in one piece, joined once, when first read. @throws {UsageError} as `chunks` */
  readonly bytes: Uint8Array
  /**
   * The bytes of the data sections, to be read once. Pieces are views of what arrived. On a streaming receiver
   * (`ReceiverOptions.streaming`) they may be read while transfers still arrive, and the sender is held back as long as
   * they are not: read it to the end, cancel it, or settle the delivery. Settling it before `body` is first used drops
   * what is left. The stream fails with `DeliveryError` when the sender aborts the delivery (§2.7.5), with `ClosedError`
   * when the link ends first, with `DecodeError` when the bytes are no message.
   *
   * @throws {UsageError} the body is a value or a sequence: `message.body` has it
   * @see §2.6.14
   */
  readonly body: ReadableStream<Uint8Array>
  /** `lost`: the link ended before this delivery was settled. `aborted`: the sender gave it up half-way. §2.7.5 */
  readonly state: 'live' | 'settled' | 'lost' | 'aborted'
  /** What the peer has posted this under, where this end is the coordinator: it counts once that commits. §4.4.1 */
  readonly transaction: CoordinatedTransaction | undefined
  /**
   * Each settles the delivery once; doing it again is a no-op if the outcome is the same.
   * They resolve at once, or, on a link that settles second, when the sender has settled.
   *
   * With a transaction the delivery is retired under it, and they resolve at once: the outcome holds when the
   * transaction commits, and when it is rolled back the delivery is live again. One that was acquired under a
   * transaction is retired under the same. §4.4.2 §4.4.3
   *
   * @throws {ClosedError} the link ended first
   * @throws {UsageError} the delivery was settled otherwise, or its transaction is another or over
   * @throws {TransactionError} the transaction, also the peer's, has been rolled back
   */
  accept(options?: Transacted): Promise<void>
  release(options?: Transacted): Promise<void>
  reject(error?: ErrorInit, options?: Transacted): Promise<void>
  modify(
    change: {
      deliveryFailed?: boolean
      undeliverableHere?: boolean
      messageAnnotations?: Readonly<Record<string, AmqpValue>>
    },
    options?: Transacted,
  ): Promise<void>
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
   * @throws {UsageError} it does not listen with TLS; a certificate that is none: the old one stays
   */
  setSecureContext(options: import('node:tls').SecureContextOptions): void
  /**
   * Stops listening and closes every connection. With `graceMs` links are closed as they come to rest first, with
   * `amqp:link:detach-forced`: credit is taken back, what was sent gets its outcome; and a connection when it has none.
   */
  close(options?: { graceMs?: number }): Promise<void>
}
