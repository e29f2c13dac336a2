/**
 * A sender and a receiver of one address that belong together: methods and twin have such pairs. They are attached one
 * after the other, say by a common id that they are a pair, and end together.
 *
 * Facts: spec-notes/iothub.md, direct methods, twins. §2.6.3
 */

import type { Closure, Connection, Receiver, Sender } from '../../client/api.ts'
import type { Emits, LinkEvents } from '../../client/api-events.ts'
import type { ReceiverOptions, SenderOptions } from '../../client/options.ts'
import type { AmqpValue } from '../../types/values.ts'

/** Two links, attached. */
export interface LinkPair {
  readonly sender: Sender
  readonly receiver: Receiver
  /** Resolves when either has ended, by its closure; the other is closed then. */
  readonly closed: Promise<Closure>
  /** Who wants to know that one of them was lost, and that both are there again. */
  readonly watchers: Set<PairWatcher>
  /** Closes both. */
  close(): Promise<void>
}

/** Of a pair whose links are attached again by themselves: after the loss of the connection, or when they were forced off. */
export interface PairWatcher {
  /** What was to come by them, does not. May be told twice. */
  onLost(): void
  onBack(): void
}

/** What a pair is for: its address, the kind that its id names, and how its links settle. */
export interface LinkPairInit {
  readonly address: string
  readonly kind: 'methods' | 'twin'
  readonly sender?: SenderOptions | undefined
  readonly receiver?: ReceiverOptions | undefined
  /** In the attach of both. */
  readonly properties: Readonly<Record<string, AmqpValue>>
}

/**
 * Attaches a pair. Where the second link is refused, the first is closed.
 *
 * @throws {RemoteError} the hub refused one of them
 * @throws {ClosedError} the connection ended first
 */
export async function attachLinkPair(
  connection: Pick<Connection, 'sender' | 'receiver'>,
  init: LinkPairInit,
): Promise<LinkPair> {
  const { address, kind } = init
  const properties = {
    ...init.properties,
    'com.microsoft:api-version': API_VERSION,
    'com.microsoft:channel-correlation-id': `${kind}:${globalThis.crypto.randomUUID()}`,
  }
  const sender = await connection.sender(address, { ...init.sender, properties })
  const receiver = await connection.receiver(address, { ...init.receiver, properties }).catch(error => {
    sender.close().catch(() => {})
    throw error
  })
  const close = async (): Promise<void> => {
    await Promise.all([sender.close(), receiver.close()])
  }
  const closed = Promise.race([sender.closed, receiver.closed])
  const links: readonly Emits<LinkEvents>[] = [sender, receiver]
  const down = new Set<Emits<LinkEvents>>()
  const watchers = new Set<PairWatcher>()
  for (const link of links) {
    link.on('suspended', () => {
      down.add(link)
      for (const watcher of watchers) watcher.onLost()
    })
    link.on('restored', () => {
      down.delete(link)
      if (down.size === 0) for (const watcher of watchers) watcher.onBack()
    })
  }
  // A half that is left would take requests that nobody answers.
  void closed.then(() => close().catch(() => {}))
  return { sender, receiver, closed, close, watchers }
}

/** The version of the service that methods and twin are asked for by. */
const API_VERSION = '2021-04-12'
