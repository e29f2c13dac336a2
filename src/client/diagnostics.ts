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
 * environment every frame is printed on stderr as well. Platforms without the module, browsers among them, do without.
 */

import type { TracedFrame } from './options.ts'

/** As it crossed; `connection` is the container-id of this end. */
export interface FrameMessage extends TracedFrame {
  readonly connection: string
}

export interface StateMessage {
  readonly connection: string
  readonly scope: 'connection' | 'session' | 'link'
  /** The session's channel, or the link's name. */
  readonly name: string
  readonly state: 'opened' | 'ended'
  readonly by?: 'local' | 'remote' | 'transport' | undefined
  readonly error?: Error | undefined
}

export interface CreditMessage {
  readonly connection: string
  readonly link: string
  readonly linkCredit: number
  readonly drain: boolean
}

export interface SettlementMessage {
  readonly connection: string
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

/** Whether `AMQP_TRACE` asks for frames on stderr. */
export const printsFrames = (): boolean => globalThis.process?.env['AMQP_TRACE']?.split(',').includes('frames') === true

/** Prints a frame on stderr; what formats it is loaded when it is first needed. */
export function printFrame(connection: string, frame: TracedFrame): void {
  void import('./trace-format.ts').then(({ formatFrame }) =>
    globalThis.process?.stderr.write(
      `${connection.slice(0, 8)} ${frame.direction === 'out' ? '→' : '←'} ${formatFrame(frame)}\n`,
    ),
  )
}

/** Fields of SASL bodies whose bytes prove an identity. §5.3.3 */
const SECRET = ['initialResponse', 'response', 'challenge', 'additionalData'] as const

/** The frame without the secrets of the SASL layer: each is replaced by as many zeros. */
export function redacted(frame: TracedFrame): TracedFrame {
  if (frame.layer !== 'sasl' || typeof frame.body !== 'object' || frame.body === null) return frame
  const body: Record<string, unknown> = { ...frame.body }
  for (const key of SECRET) if (body[key] instanceof Uint8Array) body[key] = new Uint8Array(body[key].length)
  return { ...frame, body }
}
