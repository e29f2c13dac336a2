/**
 * The built-in event hub of an IoT Hub, where back ends read telemetry. The hub redirects to it; it is another host, with
 * a connection and a token of its own, signed by another rule.
 *
 * Everything is opened when first used. What is lost is opened anew, from the redirect on, and an iteration goes on behind
 * the last event that it has handed out. Facts: spec-notes/iothub.md, redirect, reading telemetry,
 * `$management`. §2.8.18, §3.5.8
 */

import type { Delivery, Receiver } from '../../client/api.ts'
import { filters } from '../../client/filters.ts'
import type { Abortable } from '../../client/options.ts'
import {
  AmqpCondition,
  ClosedError,
  DecodeError,
  LinkCondition,
  ProtocolError,
  type Redirect,
  RemoteError,
  TransportError,
  UsageError,
} from '../../errors.ts'
import { type AmqpValue, long } from '../../types/values.ts'
import { eventHubPartition, parseAddress, serviceAddresses } from '../addresses.ts'
import { pause, untilAborted } from '../clock.ts'
import { asFinal, isRetryable } from '../connection/conditions.ts'
import { HubConnection } from '../connection/hub-connection.ts'
import type { IotHubOptions } from '../connection/hub-options.ts'
import { castsDoubt, delayBefore } from '../connection/mending.ts'
import { readHost } from '../credentials/connection-string.ts'
import type { HubLogin } from '../credentials/login.ts'
import { readEvent, selectorFor, type TelemetryEvent, type TelemetryStart } from './event-mapping.ts'
import { answerMap, checkAnswer, type EventHubInfo, type PartitionInfo, readInfo, readPartition } from './management.ts'
import { merge } from './merge.ts'
import { checkOptions, type TelemetryOptions, TelemetryStarts } from './telemetry-options.ts'

/** A connection to the event hub. */
interface Connected {
  readonly connection: HubConnection
  readonly name: string
  /** Somebody was refused on it, and its token may be to blame: whether another is worth a try. */
  doubt?: Promise<boolean>
}

/** The event hub of one hub, for whoever is logged in there. */
export class EventHub {
  readonly #hub: HubConnection
  readonly #login: HubLogin
  readonly #options: IotHubOptions
  #current: Promise<Connected> | undefined
  /** What `#current` has come to, most recently. */
  #last: Connected | undefined
  /** Fires when it is being closed: also a connection that is being made ends then. */
  readonly #closing = new AbortController()
  #isRefed = true

  /**
   * @param hub      tells where the event hub is
   * @param login    to the hub
   * @param options  how the hub was reached, and the event hub is to be
   */
  constructor(hub: HubConnection, login: HubLogin, options: IotHubOptions) {
    this.#hub = hub
    this.#login = login
    this.#options = options
  }

  /** Whether the process lives as long as the connection does. */
  set isRefed(isRefed: boolean) {
    this.#isRefed = isRefed
    this.#current?.then(({ connection }) => this.#ref(connection)).catch(() => {})
  }

  #ref(connection: HubConnection): void {
    if (this.#isRefed) connection.ref()
    else connection.unref()
  }

  /** See `ServiceClient.telemetry`. */
  async *telemetry(options: TelemetryOptions = {}): AsyncGenerator<TelemetryEvent, undefined, undefined> {
    const { partition, signal } = options
    checkOptions(options)
    const starts = new TelemetryStarts(options)
    if (partition !== undefined) {
      yield* this.#read(partition, starts, options, signal)
      return
    }
    const partitions = await this.#ids(options)
    starts.checkPartitions(partitions)
    const stop = new AbortController()
    const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal])
    const readers = partitions.map(id => this.#read(id, starts, options, either))
    yield* merge(readers, () => stop.abort())
  }

  async #ids(options: Abortable): Promise<readonly string[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return (await this.info(options)).partitions
      } catch (error) {
        if (this.#isClosing && error instanceof ClosedError) return []
        if (!(await this.#mend(error, attempt, options.signal))) throw error
      }
    }
  }

  /** See `ServiceClient.eventHub`. */
  async info(options: Abortable = {}): Promise<EventHubInfo> {
    const [info] = await this.#ask([{ type: 'com.microsoft:eventhub' }], options.signal)
    return readInfo(info)
  }

  /** See `ServiceClient.partitions`. */
  async partitions(options: Abortable = {}): Promise<readonly PartitionInfo[]> {
    const { partitions } = await this.info(options)
    return this.#partitions(partitions, options.signal)
  }

  async #partitions(ids: readonly string[], signal: AbortSignal | undefined): Promise<readonly PartitionInfo[]> {
    const requests = ids.map(partition => ({ type: 'com.microsoft:partition', partition }))
    return (await this.#ask(requests, signal)).map(readPartition)
  }

  /** Closes the connection, if there is one; iterations end. */
  async close(): Promise<void> {
    this.#closing.abort(this.#closedError())
    const connected = await this.#current?.catch(() => undefined)
    await connected?.connection.close()
  }

  get #isClosing(): boolean {
    return this.#closing.signal.aborted
  }

  #closedError(): ClosedError {
    return asFinal(new ClosedError(`the client of ${this.#login.who}`, 'connection', undefined, 'local'))
  }

  async *#read(
    partition: string,
    starts: TelemetryStarts,
    options: TelemetryOptions,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<TelemetryEvent, undefined, undefined> {
    let start: TelemetryStart | undefined
    for (let attempt = 1; ; attempt++) {
      let receiver: Receiver | undefined
      let attachedAt = Number.POSITIVE_INFINITY
      let used: Connected | undefined
      try {
        start ??= starts.of(partition)
        if (start === 'end' && this.#hub.mending) start = await this.#endOf(partition, signal)
        used = await this.#connected(serviceAddresses.telemetry(groupOf(options), partition), signal)
        receiver = await this.#attach(used, partition, start, options, signal)
        this.#hub.attached()
        attachedAt = performance.now()
        for (;;) {
          const delivery = await receiver.receive({ signal })
          if (!delivery.settled) delivery.accept().catch(() => {})
          const event = readable(delivery, partition)
          if (event === undefined) continue
          attempt = 0
          start = { offset: event.offset }
          yield event
        }
      } catch (error) {
        if (this.#isClosing && error instanceof ClosedError) return
        // One that has lived for long was well, though nothing may have come.
        if (performance.now() - attachedAt >= this.#hub.stableMs) attempt = 1
        if (!(await this.#mend(error, attempt, signal, used))) throw this.#hub.withEnd(error)
      } finally {
        await receiver?.close().catch(() => {})
      }
    }
  }

  /** The end as it is now, as a place: so that it is the same one after a loss. */
  async #endOf(partition: string, signal: AbortSignal | undefined): Promise<TelemetryStart> {
    const [info] = await this.#partitions([partition], signal)
    const sequenceNumber = info?.lastSequenceNumber ?? -1n
    return sequenceNumber < 0n ? 'start' : { sequenceNumber }
  }

  /**
   * Waits before the next try, after what ended a reader or a question.
   *
   * @param used  the connection that it was on
   * @returns false: there is none
   */
  async #mend(error: unknown, attempt: number, signal: AbortSignal | undefined, used?: Connected): Promise<boolean> {
    const { mending, over, clock } = this.#hub
    if (!mending || over.aborted || this.#isClosing || signal?.aborted || attempt > mending.attempts) return false
    // A consumer group that is not there is not there for anybody.
    if (castsDoubt(error) && (error as RemoteError).condition !== AmqpCondition.notFound) {
      if (!(await this.#doubt(used))) return false
    } else if (!isRetryable(error) || this.#isOutOfReach(error)) return false
    const either = signal === undefined ? over : AbortSignal.any([signal, over])
    await pause(clock, delayBefore(Math.max(attempt, 1), error, mending, Math.random()), either)
    return !either.aborted && !this.#isClosing
  }

  /** Once for all who used a connection. @returns false: another token is not worth a try */
  #doubt(used: Connected | undefined): Promise<boolean> {
    if (!used) return this.#hub.doubtToken()
    if (!used.doubt) {
      // With another token, and from where the hub says now.
      if (used === this.#last) this.#current = undefined
      used.connection.close().catch(() => {})
      used.doubt = this.#hub.doubtToken()
    }
    return used.doubt
  }

  /** It has never been reached: somebody has to know. */
  #isOutOfReach(error: unknown): boolean {
    return error instanceof TransportError && this.#last === undefined
  }

  #attach(
    { connection, name }: Connected,
    partition: string,
    start: TelemetryStart,
    options: TelemetryOptions,
    signal: AbortSignal | undefined,
  ): Promise<Receiver> {
    const { ownerLevel, credit = 300 } = options
    const filter = filters.selector(selectorFor(start))
    return connection.attachReceiver(
      { address: eventHubPartition(name, groupOf(options), partition), filter },
      {
        signal,
        credit: { window: credit },
        // Where it has got to is kept here, so there is nothing to settle.
        sndSettleMode: 'settled',
        ...(ownerLevel !== undefined && { properties: { 'com.microsoft:epoch': long(BigInt(ownerLevel)) } }),
      },
    )
  }

  /** @param address  which the hub redirects, unless the way is known */
  #connected(address: string, signal: AbortSignal | undefined): Promise<Connected> {
    if (this.#isClosing) throw this.#closedError()
    if (!this.#current) {
      const opening: Promise<Connected> = this.#open(address, () => opening)
      this.#current = opening
    }
    return untilAborted(this.#current, signal)
  }

  async #open(address: string, opening: () => Promise<Connected>): Promise<Connected> {
    try {
      const { host, port, name } = placeOf(await redirectOf(this.#hub, address), address)
      const { who } = this.#login
      const login: HubLogin = {
        ...this.#login,
        who: `${who}, event hub '${name}'`,
        host,
        port: this.#options.webSocket ? webSocketPort(this.#login, host) : port,
        resource: `sb://${host}/${name}`,
        keyRule: 'eventhub',
      }
      const connection = await HubConnection.open(login, this.#optionsThere(host), this.#hub.clock)
      this.#ref(connection)
      void connection.closed.then(() => {
        if (this.#current === opening()) this.#current = undefined
      })
      this.#last = { connection, name }
      return this.#last
    } catch (error) {
      if (this.#current === opening()) this.#current = undefined
      throw error
    }
  }

  /** The same way to another host. @throws {UsageError} there is none */
  #optionsThere(host: string): IotHubOptions {
    const { tls, transport, webSocket } = this.#options
    if (transport !== undefined && typeof transport !== 'function')
      throw new UsageError(`IoT Hub: telemetry is read from ${host}; give \`transport\` as a function of the host`)
    return {
      ...this.#options,
      auth: 'cbs',
      signal: this.#closing.signal,
      // What is restored there would begin where it had begun: it is opened anew instead.
      reconnect: false,
      tls: tls && { ...tls, servername: undefined },
      webSocket: webSocket && { ...webSocket, path: '/$servicebus/websocket/' },
    }
  }

  /** Asks, and once more where the connection was lost meanwhile. */
  async #ask(
    requests: readonly Readonly<Record<string, string>>[],
    signal: AbortSignal | undefined,
  ): Promise<readonly ReadonlyMap<AmqpValue, AmqpValue>[]> {
    for (let attempt = 1; ; attempt++) {
      let used: Connected | undefined
      try {
        used = await this.#connected(serviceAddresses.telemetryManagement, signal)
        const answers = await this.#askOnce(used, requests, signal)
        this.#hub.attached()
        return answers
      } catch (error) {
        // What is answered is the answer.
        const isAnswer = error instanceof RemoteError && error.scope === 'delivery'
        if (isAnswer || !(await this.#mend(error, attempt, signal, used))) throw this.#hub.withEnd(error)
      }
    }
  }

  async #askOnce(
    { connection, name }: Connected,
    requests: readonly Readonly<Record<string, string>>[],
    signal: AbortSignal | undefined,
  ): Promise<readonly ReadonlyMap<AmqpValue, AmqpValue>[]> {
    const link = await connection.request(MANAGEMENT, {
      signal,
      replyTo: globalThis.crypto.randomUUID(),
      check: checkAnswer,
    })
    try {
      const answers = requests.map(async request => {
        const applicationProperties = { operation: 'READ', name, ...request }
        return answerMap(await link.send({ applicationProperties, body: { value: null } }, { signal }), name)
      })
      return await Promise.all(answers)
    } finally {
      void link.close().catch(() => {})
    }
  }
}

const groupOf = ({ consumerGroup = '$Default' }: TelemetryOptions): string => consumerGroup

const MANAGEMENT = '$management'
/** How long a hub may take to redirect a link that it has attached, in ms. */
const REDIRECT_MS = 10_000

/** Where the hub sends a link. @throws {ProtocolError} nowhere: it serves the link itself */
async function redirectOf(hub: HubConnection, address: string): Promise<Redirect> {
  let error: unknown
  try {
    const receiver = await hub.attachReceiver(address, { credit: 'manual' })
    let timer: ReturnType<typeof setTimeout> | undefined
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, REDIRECT_MS)
    })
    const closure = await Promise.race([receiver.closed, late])
    clearTimeout(timer)
    receiver.close().catch(() => {})
    error = closure?.error ?? notRedirected(address, 'attached it')
  } catch (refusal) {
    error = refusal
  }
  if (!(error instanceof RemoteError) || error.condition !== LinkCondition.redirect) throw error
  if (error.redirect === undefined) throw notRedirected(address, 'does not say where to', error)
  return error.redirect
}

function placeOf(
  { hostname, networkHost, port, address = '' }: Redirect,
  from: string,
): { readonly host: string; readonly port: number | undefined; readonly name: string } {
  const place = parseAddress(address)
  const name = place !== undefined && 'eventHub' in place ? place.eventHub : undefined
  const host = networkHost ?? hostname
  if (name === undefined || host === undefined) throw notRedirected(from, 'does not name an event hub')
  // A token is signed for it: it must not be another host to whoever reads the token than to whoever connects.
  if (readHost(host)?.host !== host && !/^[0-9a-f:.]*:[0-9a-f:.]+$/i.test(host))
    throw notRedirected(from, 'does not name a host')
  return { host, port, name }
}

/** The port that a hub names is for AMQP. One that serves WebSockets itself does so where it was reached; else at 443. */
const webSocketPort = (hub: HubLogin, host: string): number | undefined =>
  host.toLowerCase() === hub.host.toLowerCase() ? hub.port : undefined

function notRedirected(address: string, problem: string, cause?: unknown): ProtocolError {
  return new ProtocolError(
    `the hub was to redirect '${address}' and ${problem}`,
    AmqpCondition.invalidField,
    'link',
    '2.8.18',
    cause,
  )
}

/** An event that cannot be read would stop every reader at the same place. */
function readable(delivery: Delivery, partition: string): TelemetryEvent | undefined {
  try {
    return readEvent(delivery.message, partition)
  } catch (error) {
    if (error instanceof DecodeError) return undefined
    throw error
  }
}
