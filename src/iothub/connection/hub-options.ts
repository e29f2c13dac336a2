/** How clients reach a hub, and how they stay there. */

import type { Abortable, ConnectionOptions, ConnectOptions, WebSocketOptions } from '../../client/options.ts'
import { UsageError } from '../../errors.ts'
import type { Transport } from '../../io/transport.ts'
import { checkNames, type Names } from '../check-names.ts'
import type { TokenOptions } from '../credentials/token-renewal.ts'
import type { HubReconnectOptions } from './mending.ts'

/** How to connect to a hub. */
export interface IotHubOptions extends Abortable {
  /** Options for `node:tls`, e.g. `{ ca }`. TLS is always used, except over a `transport`. */
  readonly tls?: import('node:tls').ConnectionOptions | undefined
  /**
   * Instead of a socket. The caller vouches for its privacy. A function is asked for each connection, by its host:
   * telemetry is read from another than the hub's. One that is not a function is used up when it is lost.
   */
  readonly transport?: Transport | ((host: string) => Transport) | undefined
  /** Over a WebSocket, to port 443 and the path of a hub; `{}` where the platform has a WebSocket. */
  readonly webSocket?: WebSocketOptions | undefined
  /** Makes the connection in place of a socket; see `ConnectOptions.proxy`. */
  readonly proxy?: ConnectOptions['proxy']
  /**
   * `'cbs'`: ANONYMOUS, then a token to `$cbs`; `'plain'`: the token is the password of SASL PLAIN. Default `'cbs'`. Not
   * for devices with a certificate, which have no token.
   */
  readonly auth?: 'cbs' | 'plain' | undefined
  /**
   * How connections and links that are lost are made again; `false`: they are not. Default `{}`, but `false` over a
   * `transport` that is no function.
   */
  readonly reconnect?: HubReconnectOptions | false | undefined
  /** How long tokens live, and when they are renewed. */
  readonly tokens?: TokenOptions | undefined
  /**
   * Messages of a client that may wait while there is no connection, or no link for them; more are refused with a
   * `QueueFullError`. 0 or more. Default 1,000.
   */
  readonly maxQueued?: number | undefined
  /** Sees every frame, both ways; see `ConnectionOptions.trace`. */
  readonly trace?: ConnectionOptions['trace']
}

/** Hubs know the name that the sub-protocol had before there was a standard, and no other. */
export const hubWebSocket = (options: WebSocketOptions | undefined): WebSocketOptions | undefined =>
  options && {
    class: options.class,
    path: options.path ?? '/$iothub/websocket',
    protocols: options.protocols ?? ['AMQPWSB10'],
  }

/** What all who reach a hub may say. */
export const REACH: Names<Pick<IotHubOptions, 'signal' | 'tls' | 'transport' | 'webSocket' | 'proxy' | 'trace'>> = {
  signal: 0,
  tls: 0,
  transport: 0,
  webSocket: 0,
  proxy: 0,
  trace: 0,
}

/** What all who stay connected to one may. */
export const STAY: Names<Omit<IotHubOptions, 'auth'>> = { ...REACH, reconnect: 0, tokens: 0, maxQueued: 0 }

export const HUB: Names<IotHubOptions> = { ...STAY, auth: 0 }

const TOKENS: Names<TokenOptions> = { lifeMs: 0, marginMs: 0 }

/** @throws {UsageError} `auth` is neither of the two, a number is out of range, or there is no such option of `tokens` */
export function checkHubOptions({ auth = 'cbs', maxQueued = 0, tokens = {} }: IotHubOptions): void {
  if (auth !== 'cbs' && auth !== 'plain') throw new UsageError("IoT Hub: auth is 'cbs' or 'plain'")
  checkNames('option of tokens', tokens, TOKENS)
  const { lifeMs = 1_000, marginMs = 0 } = tokens
  if (!isAtLeast(maxQueued, 0)) throw new UsageError('IoT Hub: maxQueued is a number of messages, 0 or more')
  if (!(isAtLeast(lifeMs, 1_000) && lifeMs <= 365 * 86_400_000))
    throw new UsageError('IoT Hub: tokens.lifeMs is 1 s to 365 days, in ms')
  if (!isAtLeast(marginMs, 0)) throw new UsageError('IoT Hub: tokens.marginMs is 0 or more')
  // A token that is given may live longer than one that is made.
  if (tokens.lifeMs !== undefined && marginMs >= lifeMs)
    throw new UsageError(`IoT Hub: tokens.marginMs, ${marginMs}, is less than tokens.lifeMs, ${lifeMs}`)
}

/** A text, as a variable of the environment is, compares as well. */
const isAtLeast = (value: unknown, least: number): boolean => typeof value === 'number' && value >= least

/** What hubs take to be the version of the client. */
export const attachProperties: Readonly<Record<string, string>> = { 'com.microsoft:client-version': 'fairlead/0.1.0' }
