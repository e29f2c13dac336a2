/**
 * A scripted peer: says what a script tells it to, right or wrong, and checks each frame that it hears.
 *
 * It works synchronously against anything that takes and gives bytes, in either role, and shares nothing with `src`.
 * An expectation takes the next frame at once, so that none is ever left over; it is exact unless a field is `any` or
 * `match(…)`. A field that has its default counts as absent. What was heard and not expected fails at the next
 * expectation, at `nothing()` and at `finished()`. Frames to be sent are filled in with what a sensible peer says.
 */

import { build, conforms, type Field, type Fields, read } from './composites.ts'
import { amqpHeader, concat, type Frame, frame, fromHex, parseFrames, toHex, type Wire } from './wire.ts'

/** What the peer talks to. */
export interface Speaker {
  receive(bytes: Uint8Array): void
  output(): Uint8Array
}

/** A field that is not compared as it stands. */
export class Matcher {
  readonly label: string
  readonly test: (value: Wire | undefined) => boolean

  constructor(label: string, test: (value: Wire | undefined) => boolean) {
    this.label = label
    this.test = test
  }
}

/** A field of which the test says what is right. */
export const match = (label: string, test: (value: Wire | undefined) => boolean): Matcher => new Matcher(label, test)

/** A field, or a payload, that may be anything, absent too. */
export const any: Matcher = match('any', () => true)

/** An error with this condition and some description. §2.8.14 */
export const failing = (condition: string): Matcher =>
  match(`error ${condition}, described`, value => {
    const error = value && read(value)
    const { condition: named, description } = error?.fields ?? {}
    return error?.name === 'error' && named?.v === condition && description?.t === 'string' && description.v.length > 0
  })

export type Expected = { [field: string]: Field | Matcher }
/** The payload behind a performative: exact, none unless given. */
export type Payload = Uint8Array | Matcher

/** What a sensible peer says in a frame of which the script says nothing else. */
const defaults = {
  open: { containerId: 'peer' },
  begin: { nextOutgoingId: 0, incomingWindow: 2048, outgoingWindow: 2048 },
  attach: { name: 'l1', handle: 0, role: 'sender' },
  flow: { outgoingWindow: 2048, incomingWindow: 2048 },
  transfer: { handle: 0 },
  disposition: { role: 'receiver', first: 0 },
  detach: { handle: 0, closed: true },
  end: {},
  close: {},
  saslMechanisms: { saslServerMechanisms: ['ANONYMOUS'] },
  saslInit: { mechanism: 'ANONYMOUS' },
  saslChallenge: { challenge: new Uint8Array(0) },
  saslResponse: { response: new Uint8Array(0) },
  saslOutcome: { code: 0 },
} satisfies Record<string, Fields>

export type Name = keyof typeof defaults

/** §2.7, the defaults that are not false. A flag that is false counts as absent, a role does not. */
const standard: { readonly [field: string]: bigint | number } = {
  'open maxFrameSize': 0xffffffff,
  'open channelMax': 0xffff,
  'begin handleMax': 0xffffffff,
  'attach sndSettleMode': 2,
  'attach rcvSettleMode': 0,
}

type Verbs = {
  readonly [N in Name as `expect${Capitalize<N>}`]: (fields?: Expected, payload?: Payload, channel?: number) => Script
} & {
  readonly [N in Name as `send${Capitalize<N>}`]: (fields?: Fields, payload?: Uint8Array, channel?: number) => Script
} & {
  /** Sends it as the answer to the latest frame of that name that was heard; the latest transfer, for a disposition. */
  readonly [N in Name as `respond${Capitalize<N>}`]: (fields?: Fields, payload?: Uint8Array, channel?: number) => Script
}

/** A peer with `expectOpen`, `sendOpen`, `respondOpen`, and so for every performative. */
export type Script = Peer & Verbs

export function scripted(speaker: Speaker): Script {
  const peer = new Peer(speaker)
  for (const name of Object.keys(defaults) as Name[]) {
    const verb = name.charAt(0).toUpperCase() + name.slice(1)
    Object.assign(peer, {
      [`expect${verb}`]: (fields?: Expected, payload?: Payload, channel?: number) =>
        peer.expect(name, fields, payload, channel),
      [`send${verb}`]: (fields?: Fields, payload?: Uint8Array, channel?: number) =>
        peer.send(name, fields, payload, channel),
      [`respond${verb}`]: (fields?: Fields, payload?: Uint8Array, channel?: number) =>
        peer.respond(name, fields, payload, channel),
    })
  }
  return peer as Script
}

/** A protocol header, or a frame. */
type Heard = { header: string } | Frame

export class Peer {
  /** Transfer-ids, kept for flows as if there were one session; a script with more says them itself. §2.5.6 */
  nextIncomingId: number | undefined
  nextOutgoingId = 0
  /** Largest frame that we have said we take: a larger one is a failure. */
  maxFrameSize = Number.POSITIVE_INFINITY
  /** How what we send is cut. */
  cut: (bytes: Uint8Array) => Uint8Array[] = bytes => [bytes]
  readonly #speaker: Speaker
  #bytes: Uint8Array = new Uint8Array(0)
  #heard: Heard[] = []
  /** The latest frame of each name. */
  readonly #latest = new Map<string, { frame: Frame; fields: Record<string, Wire> }>()
  #batch: Uint8Array[] | undefined

  constructor(speaker: Speaker) {
    this.#speaker = speaker
  }

  // ---- saying

  sendHeader(header: Uint8Array = amqpHeader): this {
    return this.sendRaw(header)
  }

  /** Bytes as they are, as such or in hex. */
  sendRaw(bytes: Uint8Array | string): this {
    const raw = typeof bytes === 'string' ? fromHex(bytes) : bytes
    if (this.#batch) this.#batch.push(raw)
    else for (const chunk of this.cut(raw)) this.#speaker.receive(chunk)
    return this
  }

  /** What `say` sends arrives as one chunk. */
  together(say: (peer: this) => void): this {
    this.#batch = []
    say(this)
    const bytes = concat(...this.#batch)
    this.#batch = undefined
    return this.sendRaw(bytes)
  }

  /** An empty frame. §2.4.5 */
  sendEmpty(channel = 0): this {
    return this.sendRaw(frame(channel))
  }

  send(name: Name, given: Fields = {}, payload?: Uint8Array, channel = 0): this {
    const flow = { nextIncomingId: this.nextIncomingId, nextOutgoingId: this.nextOutgoingId }
    const fields: Fields = { ...defaults[name], ...(name === 'flow' ? flow : {}), ...given }
    if (name === 'attach' && fields.role === 'sender') fields.initialDeliveryCount ??= 0
    if (name === 'attach' && !('source' in given)) fields.source = build('source', { address: 'a' })
    if (name === 'attach' && !('target' in given)) fields.target = build('target', { address: 'b' })
    if (name === 'open' && typeof fields.maxFrameSize === 'number')
      this.maxFrameSize = Math.max(fields.maxFrameSize, 512)
    if (name === 'begin') this.nextOutgoingId = Number(fields.nextOutgoingId)
    if (name === 'transfer') this.nextOutgoingId = (this.nextOutgoingId + 1) >>> 0
    return this.sendRaw(frame(channel, build(name, fields), payload, name.startsWith('sasl') ? 1 : 0))
  }

  respond(name: Name, given: Fields = {}, payload?: Uint8Array, channel = 0): this {
    const answered = this.#latest.get(name === 'disposition' ? 'transfer' : name)
    if (!answered) throw new Error(`nothing to answer with ${name}`)
    const { frame, fields } = answered
    const answers: { [name: string]: () => Fields } = {
      begin: () => ({ remoteChannel: frame.channel }),
      attach: () => ({
        name: fields.name,
        handle: fields.handle,
        role: fields.role?.v === true ? 'sender' : 'receiver',
        sndSettleMode: fields.sndSettleMode,
        rcvSettleMode: fields.rcvSettleMode,
        source: fields.source,
        target: fields.target,
      }),
      disposition: () => ({ first: fields.deliveryId, settled: true, state: build('accepted') }),
      detach: () => ({ handle: fields.handle, closed: fields.closed }),
    }
    return this.send(name, { ...answers[name]?.(), ...given }, payload, channel)
  }

  // ---- hearing

  expectHeader(header: Uint8Array = amqpHeader): this {
    const heard = this.#next()
    const wanted = { header: toHex(header) }
    if (!heard || !('header' in heard) || heard.header !== wanted.header)
      throw new Error(`expected ${described(wanted).join(' ')}, heard ${described(heard).join('\n')}`)
    return this
  }

  /** Takes the next frame, which must be this one. */
  expect(name: Name, expected: Expected = {}, payload: Payload = new Uint8Array(0), channel = 0): this {
    const heard = this.#next()
    const known = heard && 'performative' in heard && heard.performative ? read(heard.performative) : undefined
    const fields = known?.name === name ? withoutDefaults(name, known.fields) : {}
    const same =
      known?.name === name &&
      (heard as Frame).channel === channel &&
      [...new Set([...Object.keys(expected), ...Object.keys(fields)])].every(key =>
        agrees(wanted(name, key, expected[key]), fields[key]),
      ) &&
      agreesPayload(payload, (heard as Frame).payload)
    if (!same) throw new Error(difference(wish(name, expected, payload, channel), described(heard)))
    if (!conforms((heard as Frame).performative as Wire))
      throw new Error(`not as the standard has it:\n${described(heard).join('\n')}`)
    return this
  }

  /** Takes the next frame, which must be an empty one on channel 0. §2.4.5 */
  expectEmpty(): this {
    const heard = this.#next()
    if (!heard || 'header' in heard || heard.performative || heard.channel !== 0 || heard.payload.length > 0)
      throw new Error(difference(['empty frame on channel 0'], described(heard)))
    return this
  }

  /** Fails when there is anything that has not been expected. */
  nothing(): this {
    this.#pump()
    if (this.#heard.length === 0) return this
    throw new Error(difference(['nothing'], this.#heard.flatMap(described)))
  }

  /** The end of a script: nothing unexpected, and no half of a frame. */
  finished(): void {
    this.nothing()
    if (this.#bytes.length > 0) throw new Error(`the beginning of a frame is left: ${toHex(this.#bytes)}`)
  }

  /** Takes everything there is: the performatives by name, with their fields, and payload. For what comes in numbers. */
  all(): { name: string; fields: Record<string, Wire>; channel: number; payload: Uint8Array }[] {
    this.#pump()
    return this.#heard.splice(0).map(heard => {
      if ('header' in heard || !heard.performative) throw new Error(`no performative: ${described(heard).join('\n')}`)
      const { name = '?', fields = {} } = read(heard.performative) ?? {}
      return { name, fields: withoutDefaults(name, fields), channel: heard.channel, payload: heard.payload }
    })
  }

  #next(): Heard | undefined {
    if (this.#heard.length === 0) this.#pump()
    return this.#heard.shift()
  }

  #pump(): void {
    this.#bytes = concat(this.#bytes, this.#speaker.output())
    let at = 0
    for (;;) {
      const rest = this.#bytes.subarray(at)
      if (rest.length < 8) break
      const isHeader = toHex(rest.subarray(0, 4)) === '414d5150'
      const size = isHeader ? 8 : new DataView(rest.buffer, rest.byteOffset).getUint32(0)
      if (rest.length < size) break
      if (!isHeader && size > this.maxFrameSize) throw new Error(`a frame of ${size} bytes, above ${this.maxFrameSize}`)
      if (isHeader) this.#heard.push({ header: toHex(rest.subarray(0, 8)) })
      else for (const frame of parseFrames(rest.slice(0, size)).frames) this.#note(frame)
      at += size
    }
    this.#bytes = this.#bytes.slice(at)
  }

  #note(frame: Frame): void {
    this.#heard.push(frame)
    const known = frame.performative && read(frame.performative)
    if (!known) return
    this.#latest.set(known.name, { frame, fields: known.fields })
    if (known.name === 'begin') this.nextIncomingId = Number(known.fields.nextOutgoingId?.v)
    if (known.name === 'transfer') this.nextIncomingId = ((this.nextIncomingId ?? 0) + 1) >>> 0
  }
}

function withoutDefaults(name: string, fields: Record<string, Wire>): Record<string, Wire> {
  const kept = Object.entries(fields).filter(([key, value]) => {
    if (value.t === 'boolean' && key !== 'role') return value.v
    return standard[`${name} ${key}`] === undefined || standard[`${name} ${key}`] !== value.v
  })
  return Object.fromEntries(kept)
}

/** What is expected of a field, as it would be on the wire. */
function wanted(name: Name, key: string, value: Field | Matcher): Wire | Matcher | undefined {
  if (value instanceof Matcher) return value
  const built = read(build(name, { [key]: value }))
  return withoutDefaults(name, built?.fields ?? {})[key]
}

function agrees(expected: Wire | Matcher | undefined, heard: Wire | undefined): boolean {
  if (expected instanceof Matcher) return expected.test(heard)
  return show(expected) === show(heard)
}

const agreesPayload = (expected: Payload, heard: Uint8Array): boolean =>
  expected instanceof Matcher ? expected.test({ t: 'binary', v: toHex(heard) }) : toHex(expected) === toHex(heard)

// ---- as text

function wish(name: Name, expected: Expected, payload: Payload, channel: number): string[] {
  const fields = Object.keys(expected).map(key => [key, wanted(name, key, expected[key])] as const)
  return [
    `${name} on channel ${channel}`,
    ...fields.filter(([, value]) => value !== undefined).map(([key, value]) => `  ${key}: ${show(value)}`),
    ...(payload instanceof Matcher || payload.length > 0 ? [`  payload: ${showPayload(payload)}`] : []),
  ]
}

function described(heard: Heard | undefined): string[] {
  if (!heard) return ['nothing']
  if ('header' in heard) return [`header ${heard.header}`]
  if (!heard.performative) return [`empty frame on channel ${heard.channel}`]
  const { name = show(heard.performative), fields = {} } = read(heard.performative) ?? {}
  return [
    `${name} on channel ${heard.channel}`,
    ...Object.entries(withoutDefaults(name, fields)).map(([key, value]) => `  ${key}: ${show(value)}`),
    ...(heard.payload.length > 0 ? [`  payload: ${showPayload(heard.payload)}`] : []),
  ]
}

/** Lines of both, those that only one has marked. */
function difference(expected: string[], heard: string[]): string {
  const lines = [
    ...expected.map(line => (heard.includes(line) ? `  ${line}` : `- ${line}`)),
    ...heard.filter(line => !expected.includes(line)).map(line => `+ ${line}`),
  ]
  return ['the frame is not the expected one (- expected, + heard)', ...lines].join('\n')
}

const showPayload = (payload: Payload): string =>
  payload instanceof Matcher ? payload.label : `${payload.length} bytes, ${toHex(payload.subarray(0, 32))}`

function show(value: Wire | Matcher | undefined): string {
  if (value === undefined) return 'absent'
  if (value instanceof Matcher) return value.label
  if (value.t === 'described') {
    const known = read(value)
    const of = known ? Object.entries(known.fields).map(([key, item]) => `${key}: ${show(item)}`) : undefined
    return known ? `${known.name}(${of?.join(', ')})` : `${show(value.v.descriptor)} ${show(value.v.value)}`
  }
  if (value.t === 'list') return `[${value.v.map(show).join(', ')}]`
  if (value.t === 'map') return `{${value.v.map(([key, item]) => `${show(key)}: ${show(item)}`).join(', ')}}`
  if (value.t === 'array') return `array[${value.v.elements.map(show).join(', ')}]`
  return `${value.t} ${value.v}`
}
