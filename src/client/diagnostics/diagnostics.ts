/**
 * What the library tells `node:diagnostics_channel`, for loggers and tracers: nothing is computed while nobody listens.
 *
 * | channel | published when | message |
 * |---|---|---|
 * | `fairlead:frame` | a frame or header crosses | `FrameMessage`, secrets of SASL left out |
 * | `fairlead:state` | a connection, session or link opens or ends | `StateMessage` |
 * | `fairlead:credit` | a receiver's flow changes what a sender may send (§2.6.7) | `CreditMessage` |
 * | `fairlead:settlement` | the outcome of a sent message is known (§2.6.12) | `SettlementMessage` |
 *
 * Whether frames are reported is decided when a connection is made: subscribe before. With `AMQP_TRACE=frames` in the
 * environment every frame is printed on stderr as well, with the time in UTC and the connection's number. Platforms without the module, browsers among them, do without.
 */

import type { OutgoingDelivery } from '../../engine/outgoing-delivery.ts'
import type { SenderEndpoint } from '../../engine/sender-endpoint.ts'
import type { TracedFrame } from '../options.ts'

/** Which connection a message is about. */
export interface ConnectionLabel {
  /** The container-id of this end, which several connections may share. */
  readonly connection: string
  /** `Connection.id`: unique in this process. */
  readonly id: number
}

/** As it crossed. */
export interface FrameMessage extends TracedFrame, ConnectionLabel {}

/** What goes down with what carries it has ended, too. */
export interface StateMessage extends ConnectionLabel {
  readonly scope: 'connection' | 'session' | 'link'
  /** The session's channel, or the link's name. */
  readonly name: string
  readonly state: 'opened' | 'ended'
  readonly by?: 'local' | 'remote' | 'transport' | undefined
  readonly error?: Error | undefined
}

/** What a sender may send, after a flow of its receiver. */
export interface CreditMessage extends ConnectionLabel {
  readonly link: string
  readonly linkCredit: number
  readonly drain: boolean
}

/** What became of a sent message. */
export interface SettlementMessage extends ConnectionLabel {
  readonly link: string
  readonly deliveryId: number
  /** `settled` for a message that was sent settled. */
  readonly outcome: string
}

/** What is published where. */
export interface DiagnosticsMessages {
  frame: FrameMessage
  state: StateMessage
  credit: CreditMessage
  settlement: SettlementMessage
}

interface Channel {
  readonly hasSubscribers: boolean
  publish(message: unknown): void
}

type Channels = { readonly [name in keyof DiagnosticsMessages]: Channel }

/** The channels; loaded without an import, so that the package needs no `node:` to run elsewhere. */
const channels: Channels | undefined = /* @__PURE__ */ (() => {
  const module = globalThis.process?.getBuiltinModule?.('node:diagnostics_channel')
  if (!module) return undefined
  const channel = (name: string): Channel => module.channel(`fairlead:${name}`)
  return {
    frame: channel('frame'),
    state: channel('state'),
    credit: channel('credit'),
    settlement: channel('settlement'),
  }
})()

/** Whether anybody listens to one of the channels. */
export const isHeard = (name: keyof DiagnosticsMessages): boolean => channels?.[name].hasSubscribers === true

/** Publishes a message; call it behind `isHeard`. */
export function publish<K extends keyof DiagnosticsMessages>(name: K, message: DiagnosticsMessages[K]): void {
  channels?.[name].publish(message)
}

/** Publishes what became of a sent message. */
export const publishSettlement = (label: ConnectionLabel, delivery: OutgoingDelivery): void =>
  publish('settlement', {
    ...label,
    link: delivery.link.name,
    deliveryId: delivery.deliveryId,
    outcome: delivery.settled ? 'settled' : (delivery.remoteState?.type ?? 'none'),
  })

/** Publishes what a sender may send. */
export const publishCredit = (label: ConnectionLabel, { name, credit }: SenderEndpoint): void =>
  publish('credit', { ...label, link: name, linkCredit: credit.linkCredit, drain: credit.drain })

/** Whether `AMQP_TRACE` asks for frames on stderr. */
export const printsFrames = (): boolean => globalThis.process?.env['AMQP_TRACE']?.split(',').includes('frames') === true

/** Fields of SASL bodies whose bytes prove an identity. §5.3.3 */
const SECRET = ['initialResponse', 'response', 'challenge', 'additionalData'] as const

/** The frame without the secrets of the SASL layer: each is replaced by as many zeros. */
export function redacted(frame: TracedFrame): TracedFrame {
  if (frame.layer !== 'sasl' || typeof frame.body !== 'object' || frame.body === null) return frame
  const body: Record<string, unknown> = { ...frame.body }
  for (const key of SECRET) if (body[key] instanceof Uint8Array) body[key] = new Uint8Array(body[key].length)
  return { ...frame, body }
}

/** Shows a frame to whoever asked for it: the option, the channel, the environment. */
export function traced(label: ConnectionLabel, frame: TracedFrame, trace?: (frame: TracedFrame) => void): void {
  trace?.(frame)
  if (isHeard('frame')) publish('frame', { ...label, ...redacted(frame) })
  if (printsFrames()) printFrame(label, frame)
}

/** Prints a frame on stderr; what formats it is loaded when it is first needed. */
function printFrame({ id, connection }: ConnectionLabel, frame: TracedFrame): void {
  const time = new Date().toISOString().slice(11, 23)
  const arrow = frame.direction === 'out' ? '→' : '←'
  void import('./trace-format.ts').then(({ formatFrame }) =>
    globalThis.process?.stderr.write(`${time} #${id} ${connection.slice(0, 8)} ${arrow} ${formatFrame(frame)}\n`),
  )
}
