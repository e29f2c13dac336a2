/** fairlead: connections at both ends, CBS, SASL mechanisms, values, errors. */
/// <reference lib="esnext.disposable" preserve="true" />
/// <reference types="node" preserve="true" />

export { CbsSession, type CbsToken } from './cbs/cbs-session.ts'
export type {
  Closure,
  Connection,
  ConnectionStats,
  Delivery,
  IncomingLink,
  IncomingSession,
  Link,
  Listener,
  ProcessOptions,
  Receiver,
  RemoteOpen,
  RequestLink,
  ResumedSend,
  Sender,
  Session,
  StreamedInit,
} from './client/api.ts'
export type { Emits, LinkEvents, SenderEvents } from './client/api-events.ts'
export type { TerminusKey, TerminusOptions, TerminusRecord, TerminusStore } from './client/api-termini.ts'
export type { Acquired, CoordinatedTransaction, Retirement, Transaction } from './client/api-transactions.ts'
export { connect } from './client/connect.ts'
export type {
  ConnectionLabel,
  CreditMessage,
  DiagnosticsMessages,
  FrameMessage,
  SettlementMessage,
  StateMessage,
} from './client/diagnostics/diagnostics.ts'
export { filters, type NamedFilter } from './client/filters.ts'
export type {
  Abortable,
  ConnectionOptions,
  ConnectOptions,
  CoordinatorOptions,
  ErrorInit,
  LinkHandler,
  LinkOptions,
  LinkReply,
  ListenOptions,
  NodeLifetime,
  ReceiverOptions,
  RequestLinkOptions,
  RequestOptions,
  SaslChoice,
  SenderOptions,
  SendOptions,
  SessionOptions,
  SourceInit,
  TargetInit,
  TerminusInit,
  TracedFrame,
  Transacted,
  TransactionOptions,
  WebSocketOptions,
  WireProfile,
} from './client/options.ts'
export { assertAccepted, type Outcome } from './client/outcome.ts'
export type { ConnectionState, ReconnectOptions, ReopenedConnection } from './client/recovery/back-off.ts'
export type { UnsettledDelivery, UnsettledSend } from './client/recovery/unsettled.ts'
export { redirectTarget } from './client/redirect.ts'
export type { TokenCheck, TokenSource } from './client/sasl/bearer.ts'
export type { ExternalCheck } from './client/sasl/external.ts'
export type {
  SaslContext,
  SaslExchange,
  SaslMechanism,
  SaslServerContext,
  SaslServerExchange,
  SaslServerMechanism,
  SaslStep,
} from './client/sasl/mechanism.ts'
export type { PlainCheck } from './client/sasl/plain.ts'
export type { ScramLookup, ScramServerOptions } from './client/sasl/scram.ts'
export { type ScramCredentials, type ScramHash, scramCredentials } from './client/sasl/scram-keys.ts'
export { sasl, saslServer } from './client/sasl.ts'
export { listen } from './client/serving/listen.ts'
export type { MessageId } from './definitions/restricted.ts'
export { DEFAULT_LIMITS, type Limits } from './engine/limits.ts'
export * from './errors.ts'
export { type MemoryPairOptions, memoryPair } from './io/memory.ts'
export type { ProxyHook } from './io/proxy.ts'
export type { Transport, TransportSink } from './io/transport.ts'
export { type WebSocketClass, type WebSocketLike, webSocketTransport } from './io/websocket.ts'
export { EncodedMessage } from './message/encode.ts'
export type {
  Body,
  Entries,
  HeaderInit,
  Message,
  MessageInit,
  PropertiesInit,
} from './message/message.ts'
export { AmqpMap } from './types/map.ts'
export {
  type AmqpArray,
  AmqpSymbol,
  type AmqpTypeName,
  type AmqpValue,
  array,
  byte,
  char,
  Decimal,
  Described,
  described,
  double,
  float,
  int,
  long,
  short,
  symbol,
  Typed,
  timestamp,
  Uuid,
  ubyte,
  uint,
  ulong,
  ushort,
} from './types/values.ts'
