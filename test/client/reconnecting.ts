/** A connection that is made again, and the far ends that it meets one after another, over memory. */

import type { Connection, Delivery, IncomingLink, Listener, Receiver, Sender } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ConnectOptions, ListenOptions, ReceiverOptions } from '../../src/client/options.ts'
import type { ConnectionState, ReconnectOptions } from '../../src/client/recovery/back-off.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { memoryPair } from '../../src/io/memory.ts'
import type { Transport } from '../../src/io/transport.ts'
import { until } from '../waiting.ts'

export interface Reconnecting extends AsyncDisposable {
  readonly near: Connection
  /** The far ends, the latest last. */
  readonly far: Connection[]
  readonly states: ConnectionState[]
  /** Far ends of links, the latest last. */
  readonly receivers: Receiver[]
  readonly senders: Sender[]
  /** The far end, receiver or sender of this number, as soon as it is there: the near end may be told before. */
  farEnd(index: number): Promise<Connection>
  receiver(index: number): Promise<Receiver>
  sender(index: number): Promise<Sender>
  /** Drops the transport. */
  cut(): void
  /** Has attempts fail from now on, or not. */
  refuse(refused: boolean): void
  /** The next state of a kind, or one that was told before. */
  state(state: ConnectionState['state'], count?: number): Promise<ConnectionState>
}

export interface Reconnection {
  readonly near?: Partial<ConnectOptions>
  readonly far?: ListenOptions
  readonly reconnect?: ReconnectOptions
  /** How the far end receives. */
  readonly receiving?: ReceiverOptions
  readonly onLink?: ((link: IncomingLink, world: Reconnecting) => unknown) | undefined
}

/** Waits short enough for a test. */
export const QUICK: ReconnectOptions = { initialMs: 1, maxMs: 2, stableMs: 60_000 }

async function at<T>(all: readonly T[], index: number): Promise<T> {
  await until(() => all.length > index)
  return all[index] as T
}

export async function reconnecting(how: Reconnection = {}): Promise<Reconnecting> {
  const listener: Listener = await listen({ port: null, ...how.far })
  const far: Connection[] = []
  const states: ConnectionState[] = []
  const receivers: Receiver[] = []
  const senders: Sender[] = []
  let last: Transport | undefined
  let isRefused = false
  const accept = async (link: IncomingLink): Promise<void> => {
    if (how.onLink) await how.onLink(link, world)
    else if (link.remoteRole === 'sender') receivers.push(await link.accept(how.receiving))
    else senders.push(await link.accept())
  }
  const transport = (): Transport => {
    if (isRefused) throw new Error('refused')
    const [a, b] = memoryPair()
    last = b
    listener.accept(b).then(
      connection => {
        far.push(connection)
        connection.on('session', async session => {
          const accepted = await session.accept()
          accepted.on('link', link => accept(link).catch(() => {}))
        })
      },
      () => {},
    )
    return a
  }
  const onStateChange = (state: ConnectionState): unknown => states.push(state)
  const reconnect = { ...QUICK, ...how.reconnect, onStateChange }
  const near = await connect({ host: 'memory', transport, reconnect, ...how.near })
  const world: Reconnecting = {
    near,
    far,
    states,
    receivers,
    senders,
    farEnd: index => at(far, index),
    receiver: index => at(receivers, index),
    sender: index => at(senders, index),
    cut: () => last?.destroy(),
    refuse: refused => {
      isRefused = refused
    },
    async state(state, count = 1) {
      const found = (): ConnectionState[] => states.filter(have => have.state === state)
      await until(() => found().length >= count)
      return found()[count - 1] as ConnectionState
    },
    async [Symbol.asyncDispose]() {
      await near.close().catch(() => {})
      await listener.close()
    },
  }
  await until(() => far.length === 1)
  return world
}

/** What a message says. */
export const said = (delivery: Delivery): unknown => (delivery.message.body as { value: unknown }).value
