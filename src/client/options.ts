/** Options of connections, sessions and links: units, ranges and defaults. */

import type { Limits } from '../engine/limits.ts'
import type { ProxyHook } from '../io/proxy.ts'
import type { Transport } from '../io/transport.ts'
import type { WebSocketClass } from '../io/websocket.ts'
import type { Message } from '../message/message.ts'
import type { AmqpValue } from '../types/values.ts'
import type { IncomingLink } from './api.ts'
import type { TerminusOptions } from './api-termini.ts'
import type { CoordinatedTransaction, Transaction } from './api-transactions.ts'
import type { Outcome } from './outcome.ts'
import type { ReconnectOptions } from './recovery/back-off.ts'
import type { UnsettledDelivery, UnsettledSend } from './recovery/unsettled.ts'
import type { Maybe, SaslMechanism, SaslServerMechanism } from './sasl/mechanism.ts'

/** An operation that can be cancelled: it rejects with `signal.reason`, untouched. */
export interface Abortable {
  signal?: AbortSignal | undefined
}

/** An error to send to the peer. §2.8.14 */
export interface ErrorInit {
  /** A symbol such as `amqp:not-found`; see `AmqpCondition` and its siblings. */
  condition: string
  /** For people. */
  description?: string | undefined
  /** For programs; own keys, sent as symbols. */
  info?: Readonly<Record<string, AmqpValue>> | undefined
}

/** What both ends of a connection may choose. §2.7.1 */
export interface ConnectionOptions extends Abortable {
  /** Identifies this end to the peer. Default: random. */
  containerId?: string | undefined
  /** The host the peer is addressed as. Default: the host connected to. */
  hostname?: string | undefined
  /** Largest frame we take, in bytes, 512 … 2^32 − 1. Default 65,536. */
  maxFrameSize?: number | undefined
  /**
   * Highest channel number, 0 … 65,535: one less than the sessions at once, whoever begins them.
   * Default `limits.maxSessions − 1`.
   */
  channelMax?: number | undefined
  /**
   * The idle-time-out that we announce, in milliseconds, 0 … 2^32 − 1; 0 for none. The silence that is borne is twice as
   * long, as §2.4.5 advises: a minute by default, after which the peer is given up. Default 30,000.
   */
  idleTimeOut?: number | undefined
  desiredCapabilities?: readonly string[] | undefined
  offeredCapabilities?: readonly string[] | undefined
  /** Connection properties; keys are sent as symbols. */
  properties?: Readonly<Record<string, AmqpValue>> | undefined
  limits?: Partial<Limits> | undefined
  /** Quirks for a peer that needs them. Default: none. */
  wireProfile?: WireProfile | undefined
  /** Sees every frame and header, both ways, before it is acted on. For tracing; must not throw. */
  trace?: ((frame: TracedFrame) => void) | undefined
}

/**
 * How this end coordinates the peer's transactions: local ones, any number at a time, on all sessions of the
 * connection. §4.5.7
 *
 * A delivery posted under one comes as any other, with `Delivery.transaction`; what is decided on it is told as its
 * provisional outcome. A commit waits until all are decided, then for `commit`, and is then accepted. §4.4.1 §4.4.4
 */
export interface CoordinatorOptions {
  /** Milliseconds without work after which a transaction is rolled back. Default 60,000. */
  idleMs?: number | undefined
  /** Transactions of one connection that may be open at once. Default 100. */
  maxTransactions?: number | undefined
  /**
   * Offers `amqp:distributed-transactions`: a controller may name a global transaction, which `declare` is then told as
   * `transaction.globalId`, to take part in it or to refuse. What the id is, and who decides with it, is not AMQP's to
   * say. Default false: a global-id is refused with `amqp:not-implemented`. §4.5.2 §4.5.7
   */
  distributed?: boolean | undefined
  /**
   * Before a transaction begins. What it throws refuses it: an error with a `condition` with that; any other with
   * `amqp:internal-error`, and the listener's `on('error')` hears of it.
   */
  declare?: ((transaction: CoordinatedTransaction) => unknown) | undefined
  /**
   * Makes the work hold, all or none. What it throws rolls the transaction back: an error with a `condition` with that;
   * any other with `amqp:transaction:rollback`, and the listener's `on('error')` hears of it.
   */
  commit?: ((transaction: CoordinatedTransaction) => unknown) | undefined
  /** After a rollback: asked for, by time-out, or as the control link ended. What it throws is an uncaught exception. */
  rollback?: ((transaction: CoordinatedTransaction) => unknown) | undefined
}

/** Other ways to write the same frames, for old or strict peers. Each is off unless it is true. */
export interface WireProfile {
  /** Write the fields that may be left out, as nulls and defaults; for peers that count on their places. §1.4 */
  completePerformatives?: boolean | undefined
  /** Write a single capability or outcome as an array of one, for peers that know only arrays there. §1.4 */
  symbolArrays?: boolean | undefined
  /** Leave next-incoming-id out of every flow, for peers that misread it. Against §2.7.4: the others may mind. */
  omitNextIncomingId?: boolean | undefined
}

/** One frame or protocol header as it crossed the wire. Secrets are in it: redact before printing. */
export interface TracedFrame {
  readonly direction: 'in' | 'out'
  readonly layer: 'header' | 'sasl' | 'amqp'
  readonly channel: number
  /** The performative or SASL body; for a header its name and version; undefined for an empty frame. */
  readonly body: unknown
  /** Bytes of payload behind the performative. */
  readonly payload: number
}

/** How `connect` reaches and convinces the peer. */
export interface ConnectOptions extends ConnectionOptions {
  /** Name or address; IPv6 without brackets. */
  host: string
  /** Default 5671 with TLS, 5672 without; over a WebSocket 443 and 80. */
  port?: number | undefined
  /**
   * TLS with verification; options go to `node:tls`. Default: true for `amqps:`, `wss:` and the default port with TLS,
   * else false.
   */
  tls?: boolean | import('node:tls').ConnectionOptions | undefined
  /** Further hosts, tried in order after `host`: `name`, `name:port` or `[address]:port`; the port is `port` by default. */
  hosts?: readonly string[] | undefined
  /**
   * Makes a connection again that is lost; `{}` for the defaults. Sessions, links and the loops over them stay the same
   * objects and go on; see `ReconnectOptions` for what becomes of what was under way. Default false: a loss is the end.
   */
  reconnect?: ReconnectOptions | false | undefined
  /**
   * Instead of a socket; what says how to connect is then not used. The caller vouches for its privacy. With `reconnect` a
   * function that makes one, called for every attempt.
   */
  transport?: Transport | (() => Maybe<Transport>) | undefined
  /** Over a WebSocket. Default: only for `ws:` and `wss:`. */
  webSocket?: WebSocketOptions | undefined
  /** Makes the connection in place of a socket, e.g. by HTTP CONNECT; TLS is done over it. Not with `webSocket`. */
  proxy?: ProxyHook | undefined
  /**
   * In order of preference, strongest first: the first that the server offers is used, and there is no second try.
   * `false`: no SASL layer. Default: PLAIN when the URL has a user; else EXTERNAL when `tls` has a client certificate,
   * then ANONYMOUS. A function is asked for each host, by the name that its certificate shows, redirects included, and
   * anew for each attempt. §5.3
   */
  sasl?: SaslChoice | ((host: string) => Maybe<SaslChoice>) | undefined
  /** Allow PLAIN and bearer tokens over a connection without TLS. Default false. */
  allowInsecureAuth?: boolean | undefined
  /**
   * How often to go where the peer says instead, when it closes with `amqp:connection:redirect` right after its open.
   * `connect` then rejects with the redirect that comes after the last of them. A mechanism that shows its secret does
   * so to no other host, unless `sasl` is a function. Default 0: the connection's `closed` has the error. §2.8.16
   */
  followRedirects?: number | undefined
  /**
   * Resolve when TCP, or TLS, stands, and send what is asked for without waiting for the peer: a link from
   * `connection.sender()` or `receiver()` is asked for in one flight with the open. Behind an init, too, where `sasl` is
   * one mechanism that `pipelines`. A peer that refuses, or is silent for 2 s, is asked again without, and so from then
   * on; a `transport` that was given has no second try, unless it is a function. Default false. §2.4.2
   */
  pipeline?: boolean | undefined
}

/** One mechanism, several in order of preference, or no SASL layer. */
export type SaslChoice = SaslMechanism | readonly SaslMechanism[] | false

/** How a WebSocket is opened. AMQP WebSocket Binding 1.0. */
export interface WebSocketOptions {
  /**
   * That of the package `ws`, or one like it. Default: the standard class, which Node has from 22 on and which takes no
   * TLS options.
   */
  class?: WebSocketClass | undefined
  /** Begins with a slash; may have a query. Default: that of the URL, else `/`; of an IoT Hub `/$iothub/websocket`. */
  path?: string | undefined
  /** Sub-protocols offered, of which the peer must take one. Default `amqp`; for an IoT Hub `AMQPWSB10`. */
  protocols?: readonly string[] | undefined
}

/** How `listen` accepts peers. */
export interface ListenOptions extends ConnectionOptions {
  /** Default 127.0.0.1. */
  host?: string | undefined
  /** Default 0: any free port; see `Listener.port`. `null`: none, peers come by `Listener.accept` alone. */
  port?: number | null | undefined
  /** Certificate and key for TLS; without it connections are plain. */
  tls?: import('node:tls').TlsOptions | undefined
  /** Mechanisms offered, in order: put the strongest first. Default: ANONYMOUS. §5.3.3.1 */
  sasl?: SaslServerMechanism | readonly SaslServerMechanism[] | undefined
  /** Accept peers that skip SASL. Default: only where ANONYMOUS is offered, which proves as little. */
  allowNoSasl?: boolean | undefined
  /**
   * Serves the links that peers attach: one handler, which accepts or refuses each, or one for each address, where others
   * are `amqp:not-found`; a link without an address has ''. Sessions are accepted unasked then. A handler that throws
   * refuses a link that it has not accepted, and `on('error')` hears of it; of a `DecodeError`, which is the peer's, as the
   * `cause` of a `ProtocolError` that names link and peer. Default: `connection.on('session')` is yours.
   */
  links?: LinkHandler | Readonly<Record<string, LinkHandler>> | undefined
  /**
   * Asked about each link before its handler is: false refuses with `amqp:unauthorized-access`, an error with that. Who
   * asks is in `link.session.connection`. With `links` only.
   */
  authorise?: ((link: IncomingLink) => Maybe<boolean | ErrorInit>) | undefined
  /** Connections at once, those in a handshake included; more are dropped as they come. Default: any number. */
  maxConnections?: number | undefined
  /** Lets the peer use transactions on what the listener takes and sends. Default: its control links are refused. §4.5 */
  coordinator?: boolean | CoordinatorOptions | undefined
  /**
   * Keeps our ends of links while these are not attached, with their unsettled deliveries, as the peer asks by
   * `expiryPolicy` and `timeout`: `true`, or limits. Sends stay open, what was received may still be decided, and who
   * attaches a link of that name again goes on with it, from another connection of the same container and user, too.
   * Default: nothing is kept, and answers to attaches say so. §2.6.3 §2.6.4 §3.5.6
   */
  termini?: boolean | TerminusOptions | undefined
  /** Wraps each accepted transport, e.g. to inject faults. */
  transport?: ((accepted: Transport) => Transport) | undefined
}

/** How a pair of links for requests is attached. */
export interface RequestLinkOptions extends Abortable {
  /**
   * The address of our end, for nodes that answer on a link from themselves: `$cbs`, `$management`. Default: none; the
   * peer makes a node for the answers, and requests name it. §3.5.3
   */
  replyTo?: string | undefined
  /** Milliseconds that each request may take, unless it says otherwise. Default: for ever. */
  timeoutMs?: number | undefined
  /** What is wrong with an answer, if anything is: it is rejected with that, and its request fails. */
  check?: ((answer: Message) => ErrorInit | undefined) | undefined
}

/** How one request is sent. */
export interface RequestOptions extends Abortable {
  /** Milliseconds until it rejects with a `TimeoutError`, as `AbortSignal.timeout` does. Default: that of the link. */
  timeoutMs?: number | undefined
}

/** What takes a link that a peer attaches: accepts it, refuses it, and may go on for as long as the link lives. */
export type LinkHandler = (link: IncomingLink) => unknown

/** How a session is begun. §2.7.2 */
export interface SessionOptions extends Abortable {
  /** Transfer frames that may be on their way to us. Default 2,048. §2.5.6 */
  incomingWindow?: number | undefined
  /**
   * Highest handle on the session: one less than the links at once, whoever attaches them.
   * Default `limits.maxLinks − 1`.
   */
  handleMax?: number | undefined
  properties?: Readonly<Record<string, AmqpValue>> | undefined
}

/** Until when a dynamic node lives at least: what must be gone before it is deleted. §3.5.10–13 */
export type NodeLifetime =
  | 'delete-on-close'
  | 'delete-on-no-links'
  | 'delete-on-no-messages'
  | 'delete-on-no-links-or-messages'

/** What a source and a target have in common. §3.5.3 §3.5.4 */
export interface TerminusInit {
  address?: string | undefined
  /** Ask the peer to make a node and tell its address: in `source` or `target` of the link, once it is attached. */
  dynamic?: boolean | undefined
  /** How long a dynamic node lives; default: as long as the link that made it. §3.5.9–13 */
  lifetime?: NodeLifetime | undefined
  /** What else is asked of a dynamic node, e.g. `supported-dist-modes`. §3.5.9 */
  nodeProperties?: Readonly<Record<string, AmqpValue>> | undefined
  durable?: 'none' | 'configuration' | 'unsettled-state' | undefined
  expiryPolicy?: 'link-detach' | 'session-end' | 'connection-close' | 'never' | undefined
  /** Seconds. */
  timeout?: number | undefined
  capabilities?: readonly string[] | undefined
}

/** Where messages of a link go. §3.5.4 */
export interface TargetInit extends TerminusInit {
  /** Of a link that controls transactions; only `capabilities` count beside it. §4.5.1 */
  coordinator?: boolean | undefined
}

/** Where messages of a link come from. §3.5.3 */
export interface SourceInit extends TerminusInit {
  /** Named filters, each a described value or null; `filters` makes the common ones. §3.5.8 */
  filter?: Readonly<Record<string, AmqpValue>> | undefined
  /** Whether a message that is sent leaves the node, or stays for others as well. Default: as the node has it. §3.5.7 */
  distributionMode?: 'move' | 'copy' | undefined
  /** What a delivery becomes that is settled without an outcome. */
  defaultOutcome?: Outcome | undefined
  outcomes?: readonly string[] | undefined
}

/** What senders and receivers may both be given. §2.7.3 */
export interface LinkOptions extends Abortable {
  /** Unique among the links of one direction between two containers. Default: random. §2.6.1 */
  name?: string | undefined
  /** Keys are sent as symbols. */
  properties?: Readonly<Record<string, AmqpValue>> | undefined
  /** Largest message this end takes, in bytes. Default for receivers: `limits.maxMessageSize`; none when streaming. */
  maxMessageSize?: bigint | undefined
  desiredCapabilities?: readonly string[] | undefined
}

/** How a sender is attached. */
export interface SenderOptions extends LinkOptions {
  /** Who settles: `settled` sends without waiting, `unsettled` always waits, `mixed` lets each send choose. Default `mixed`. §2.8.2 */
  settle?: 'settled' | 'unsettled' | 'mixed' | undefined
  /** Messages that may wait in this sender before `send` rejects. Default `limits.maxPending`. */
  maxPending?: number | undefined
  /** Our end of the link, where it matters to the peer. */
  source?: string | SourceInit | undefined
  /**
   * What an earlier link of this `name` has left, as its `unsettled()` tells: the receiver is asked what it has of it, the
   * rest is sent again, and `Sender.resumed` has the outcomes. `[]` for the first: payload is then kept until its outcome
   * is known, so that `unsettled()` has all that another link needs. For peers that keep the state of links. §2.6.13
   */
  unsettled?: readonly UnsettledSend[] | undefined
}

/** How a receiver is attached. */
export interface ReceiverOptions extends LinkOptions {
  /**
   * `{ window }` keeps that many deliveries coming, `'manual'` leaves it to `addCredit`. Default `{ window: 100 }`; 1 when
   * streaming. §2.6.7
   */
  credit?: { readonly window: number } | 'manual' | undefined
  /**
   * Hands out each delivery as soon as the sections in front of its body are here; `delivery.body` is read while the
   * rest arrives. What has arrived and is not read takes up the session's incoming-window (§2.5.6), so that at most
   * `incomingWindow` × `maxFrameSize` bytes lie here, `limits.maxIncompleteBytes` over all links of the connection, and
   * everything on the session waits for a reader who does not read. `connection.receiver` therefore begins a session of
   * its own for it, with a window of 64 frames: 4 MiB. No limit on the size of a message is announced unless
   * `maxMessageSize` is given. Default false. §2.6.14
   */
  streaming?: boolean | undefined
  /** Whether we settle first, or wait for the sender to. Default `first`. §2.8.3 */
  settle?: 'first' | 'second' | undefined
  /** How the sender is asked to settle. Default: as it likes. §2.8.2 */
  sndSettleMode?: 'settled' | 'unsettled' | 'mixed' | undefined
  /** Our end of the link, where it matters to the peer. */
  target?: string | TargetInit | undefined
  /**
   * What an earlier link of this `name` has left, as its `unsettled()` tells: whole messages that were not decided are
   * handed out again, first of all; decisions that the sender may not know are told. `[]` for the first. For peers that
   * keep the state of links. §2.6.13
   */
  unsettled?: readonly UnsettledDelivery[] | undefined
}

/** What an accepting end answers with, where that differs from what was asked. §2.6.3 */
export interface LinkReply {
  source?: SourceInit | null | undefined
  target?: TargetInit | null | undefined
  properties?: Readonly<Record<string, AmqpValue>> | undefined
  offeredCapabilities?: readonly string[] | undefined
}

/** How a transaction is declared. */
export interface TransactionOptions extends Abortable {
  /** The global transaction that the work belongs to, where the coordinator has such. Default: none, it is local. §4.5.2 */
  globalId?: AmqpValue | undefined
}

/** Work under a transaction. §4.4 */
export interface Transacted {
  /** Of the same connection, and of the same session unless the coordinator allows more. */
  transaction?: Transaction | undefined
}

/** How one message is sent. With a transaction the outcome is provisional: it holds when that commits. §4.4.1 */
export interface SendOptions extends Abortable, Transacted {
  /** At most 32 bytes, unique among the unsettled deliveries of the link. Default: a counter. §2.8.7 */
  deliveryTag?: Uint8Array | undefined
  /** Send settled: resolves once the message is handed over. Default: as the link's mode says. */
  settled?: boolean | undefined
  /** Default 0 (MESSAGE-FORMAT), the format of §3.2. §2.8.11 §3.2.16 */
  messageFormat?: number | undefined
}
