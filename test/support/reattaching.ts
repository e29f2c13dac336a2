/** A listener that keeps termini, and scripted peers that come and go and attach the same link. §2.6.4 §3.5.6 */

import type { Delivery, IncomingLink, Receiver, Sender } from '../../src/client/api.ts'
import type { ListenOptions, ReceiverOptions, SenderOptions } from '../../src/client/options.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { type Fields, source, target } from '../peer/composites.ts'
import { any, type Expected, type Script } from '../peer/script.ts'
import { quiet, scriptedPeer } from './scripted-connection.ts'

/** A message of one section. */
export const one: Uint8Array = Uint8Array.of(0, 0x53, 0x75, 0xa0, 1, 9)
export const tag = (n: number): Uint8Array => Uint8Array.of(n)

export interface Peer {
  readonly peer: Script
  readonly cut: () => void
}

export class Keeping {
  readonly errors: Error[] = []
  readonly links: IncomingLink[] = []
  readonly senders: Sender[] = []
  readonly receivers: Receiver[] = []
  readonly arrived: Delivery[] = []
  readonly #listener
  /** How the next link is accepted. */
  accepting: SenderOptions & ReceiverOptions & { reply?: Fields } = {}

  constructor(options: ListenOptions = {}) {
    this.#listener = listen({
      port: null,
      termini: true,
      limits: { closeMs: 20, settleMs: 20 },
      links: async link => {
        this.links.push(link)
        if (link.remoteRole === 'receiver') this.senders.push(await link.accept(this.accepting as SenderOptions))
        else {
          const receiver = await link.accept(this.accepting as ReceiverOptions)
          this.receivers.push(receiver)
          for await (const delivery of receiver) this.arrived.push(delivery)
        }
      },
      ...options,
    })
    this.#listener.then(listener => listener.on('error', error => this.errors.push(error)))
  }

  get listener() {
    return this.#listener
  }

  async close(): Promise<void> {
    await (await this.#listener).close()
  }

  /** A connection of a container, with a session on channel 0. */
  async connected(containerId = 'c1', open: Fields = {}): Promise<Peer> {
    const { peer, cut } = await scriptedPeer(await this.#listener, { containerId, ...open }, p => p.sendBegin())
    await quiet()
    peer.expectBegin({
      remoteChannel: 0,
      nextOutgoingId: 0,
      incomingWindow: 2048,
      outgoingWindow: any,
      handleMax: any,
    })
    return { peer, cut }
  }
}

/** Terms as a terminus says them. */
export interface Asked {
  readonly durable?: number
  readonly expiryPolicy?: string
  readonly timeout?: number
}

/** The peer attaches its receiver to our source 'a'; our answer is checked. */
export async function attachReceiver(
  { peer }: Peer,
  asked: Asked,
  granted: Asked | undefined,
  rest: Fields = {},
  expected: Expected = {},
): Promise<void> {
  peer.sendAttach({ name: 'l', handle: 0, role: 'receiver', source: source({ address: 'a', ...asked }), ...rest })
  await quiet()
  peer.expectAttach({
    name: 'l',
    handle: 0,
    role: 'sender',
    source: granted ? source({ address: 'a', ...granted }) : any,
    target: any,
    initialDeliveryCount: 0,
    ...expected,
  })
}

/** The peer attaches its sender to our target 'b', to be settled second. */
export async function attachSender(
  { peer }: Peer,
  asked: Asked,
  granted: Asked | undefined,
  rest: Fields = {},
  expected: Expected = {},
): Promise<void> {
  const ends = { source: source({ address: 'a' }), target: target({ address: 'b', ...asked }) }
  peer.sendAttach({ name: 'l', handle: 0, role: 'sender', rcvSettleMode: 'second', ...ends, ...rest })
  await quiet()
  peer.expectAttach({
    name: 'l',
    handle: 0,
    role: 'receiver',
    rcvSettleMode: 'second',
    source: any,
    target: granted ? target({ address: 'b', ...granted }) : any,
    maxMessageSize: any,
    ...expected,
  })
  peer.expectFlow({
    nextIncomingId: any,
    incomingWindow: any,
    nextOutgoingId: any,
    outgoingWindow: any,
    handle: 0,
    deliveryCount: any,
    linkCredit: any,
  })
}
