/** A peer that keeps the state of its links from one connection to the next, as brokers may. §2.6.13 */

import { ACCEPTED } from '../../src/definitions/delivery-state.ts'
import { Engine } from '../../src/engine/engine.ts'
import type { EngineEvent } from '../../src/engine/events.ts'
import type { IncomingDelivery } from '../../src/engine/incoming-delivery.ts'
import type { OutgoingDelivery } from '../../src/engine/outgoing-delivery.ts'
import type { ReceiverEndpoint } from '../../src/engine/receiver-endpoint.ts'
import type { SenderEndpoint } from '../../src/engine/sender-endpoint.ts'
import { Driver } from '../../src/io/driver.ts'
import type { Transport } from '../../src/io/transport.ts'
import { decodeMessage } from '../../src/message/decode.ts'
import { encodeMessage } from '../../src/message/encode.ts'

export class ResumingPeer {
  /** Numbers of the messages that arrived, in order. */
  readonly arrived: unknown[] = []
  /** Outcomes by the number of the message. */
  readonly outcomes: [number, string | undefined][] = []
  /** Deliveries that are not decided. */
  readonly undecided = new Set<IncomingDelivery>()
  /** Whether deliveries are accepted as they come. */
  accepts = true
  /** Whether credit comes back for deliveries that have arrived. */
  consumes = true
  /** The frames that it takes, which bounds the maps that fit. */
  maxFrameSize = 65536
  #toSend: number[] = []
  #kept: { incoming: readonly IncomingDelivery[]; outgoing: readonly OutgoingDelivery[] } = {
    incoming: [],
    outgoing: [],
  }
  #receiver: ReceiverEndpoint | undefined
  #sender: SenderEndpoint | undefined
  #driver: Driver | undefined

  serve(transport: Transport): void {
    // Of the connection before, this end may not have heard the end.
    this.#driver?.destroy()
    const engine = new Engine({})
    engine.connection.open({ containerId: 'peer', maxFrameSize: this.maxFrameSize })
    const driver = new Driver(engine, transport, {
      onDelivery: delivery => this.#onDelivery(delivery),
      onOutcome: delivery => this.outcomes.push([delivery.context as number, delivery.remoteState?.type]),
      onEvent: event => this.#onEvent(event),
      onFlush: () => {},
    })
    this.#driver = driver
    driver.start()
  }

  send(...numbers: number[]): void {
    this.#toSend.push(...numbers)
    this.#pump()
  }

  decideAll(): void {
    for (const delivery of this.undecided) delivery.link.disposition(delivery, ACCEPTED)
    this.undecided.clear()
    this.#driver?.touch()
  }

  #pump(): void {
    const sender = this.#sender
    if (!sender?.isAttached || sender.session.connection.hasEnded) return
    for (const index of this.#toSend.splice(0))
      sender.transfer(encodeMessage({ body: { value: index } }), { context: index })
    this.#driver?.touch()
  }

  #onDelivery(delivery: IncomingDelivery): void {
    const bytes = Buffer.concat(delivery.chunks)
    this.arrived.push((decodeMessage(bytes).body as { value: unknown }).value)
    if (this.consumes) delivery.link.consumed()
    this.undecided.add(delivery)
    if (this.accepts) this.decideAll()
  }

  #onEvent(event: EngineEvent): void {
    if (event.type === 'session.begun') event.session.begin()
    if (event.type === 'link.attached') this.#onAttached(event.link, event.attach)
    if (event.type === 'link.detached' && event.link === this.#receiver) this.#kept.incoming = this.#receiver.open
    if (event.type === 'connection.closed') {
      if (this.#receiver) this.#kept.incoming = this.#receiver.open
      if (this.#sender) this.#kept.outgoing = this.#sender.open
    }
    this.#driver?.touch()
  }

  #onAttached(link: ReceiverEndpoint | SenderEndpoint, attach: { source: never; target: never } | object): void {
    const { source, target } = attach as { source: never; target: never }
    if (link.role === 'receiver') {
      this.#receiver = link
      link.useWindow(20)
      link.adopt(this.#kept.incoming)
      link.attach({ source, target, rcvSettleMode: 'second' })
    } else {
      this.#sender = link
      link.keepsPayload = true
      link.adopt(this.#kept.outgoing)
      link.attach({ source, target })
      this.#pump()
    }
  }
}
