/**
 * SaslEndpoint: the frames of one authentication, as client or as server. What is in them is the mechanism's. §5.3.2
 */

import { type SaslCode, type SaslPerformative, saslFrame } from '../definitions/sasl.ts'
import { AmqpCondition, type ProtocolError, UsageError } from '../errors.ts'
import type { FrameWriter } from '../framing/frame-writer.ts'
import type { EngineEvent } from './events.ts'
import { type SaslInput, type SaslState, saslTransitions } from './sasl-states.ts'
import { advance } from './transitions.ts'

/** What the endpoint needs of the engine. */
export interface SaslOwner {
  readonly writer: FrameWriter
  readonly tracing: boolean
  emit(event: EngineEvent): void
  /** A frame is about to be written: the header comes before it. */
  beforeSasl(): void
  /** The exchange broke a rule, or ended without success. */
  saslFailed(error: ProtocolError['condition'], description: string, section: string): void
  /** The outcome is `ok`: the AMQP header follows. */
  saslDone(): void
}

export class SaslEndpoint {
  readonly role: 'client' | 'server'
  state: SaslState = 'START'
  /** The outcome, once there is one. §5.3.3.6 */
  code: SaslCode | undefined
  readonly #owner: SaslOwner
  /** Client: whether `ok` waits for `proceed`. */
  readonly #holds: boolean

  #confirmed = false

  /** @param holds  for a client whose owner has to look at the outcome before it is believed */
  constructor(role: 'client' | 'server', owner: SaslOwner, holds = false) {
    this.role = role
    this.#holds = holds && role === 'client'
    this.#owner = owner
  }

  /** Server: offers mechanisms, in order of preference. §5.3.3.1 @throws {UsageError} */
  mechanisms(names: readonly string[]): void {
    this.#send('MECHANISMS', { type: 'sasl-mechanisms', saslServerMechanisms: names })
  }

  /**
   * Client: chooses a mechanism. A guess, when the server's list has not come; the owner looks whether it was right.
   * §5.3.3.2 @throws {UsageError}
   */
  init(mechanism: string, initialResponse: Uint8Array | undefined, hostname: string | undefined): void {
    this.#send('INIT', { type: 'sasl-init', mechanism, initialResponse, hostname })
  }

  /** Server: §5.3.3.3 @throws {UsageError} */
  challenge(challenge: Uint8Array): void {
    this.#send('CHALLENGE', { type: 'sasl-challenge', challenge })
  }

  /** Client: §5.3.3.4 @throws {UsageError} */
  respond(response: Uint8Array): void {
    this.#send('RESPONSE', { type: 'sasl-response', response })
  }

  /** Server: ends the exchange; anything but `ok` ends the connection. §5.3.3.5 @throws {UsageError} */
  outcome(code: SaslCode, additionalData?: Uint8Array): void {
    this.#send('OUTCOME', { type: 'sasl-outcome', code, additionalData })
    this.code = code
    if (code === 'ok') this.#owner.saslDone()
  }

  /**
   * Client, with the option `holdOutcome`: the server has proved itself as the mechanism demands, AMQP may begin. Until
   * then nothing is sent, and nothing is read. §5.3.2 D-036
   * @throws {UsageError} there is no outcome `ok` that waits
   */
  proceed(): void {
    if (!this.isHeld) throw new UsageError('no SASL outcome waits to be confirmed', '5.3.2')
    this.#confirmed = true
    this.#owner.saslDone()
  }

  /** Client: the init has been sent. */
  get hasInit(): boolean {
    return this.role === 'client' && this.state !== 'START' && this.state !== 'MECHANISMS'
  }

  /** Client: an outcome `ok` has come and waits for `proceed`. */
  get isHeld(): boolean {
    return this.#holds && this.code === 'ok' && !this.#confirmed
  }

  #send(input: SaslInput, body: SaslPerformative): void {
    const next = advance(saslTransitions, this.state, input)
    if (next === undefined) throw new UsageError(`cannot send ${body.type} in SASL state ${this.state}`, '5.3.2')
    this.#owner.beforeSasl()
    // A token may be longer than the 512 bytes of §5.3.1; what fits is up to the peer. DEVIATES D-016
    this.#owner.writer.frame(1, 0, 0xffffffff, writer => saslFrame.write(writer, body))
    this.state = next
    if (this.#owner.tracing)
      this.#owner.emit({ type: 'frame', direction: 'out', layer: 'sasl', channel: 0, body, payload: 0 })
  }

  /** A SASL frame from the peer. */
  receive(body: SaslPerformative | undefined): void {
    if (body === undefined) return this.#owner.saslFailed(AmqpCondition.illegalState, 'empty SASL frame', '5.3.1')
    const input = INPUTS[body.type]
    const fromServer = input !== 'INIT' && input !== 'RESPONSE'
    const next = fromServer === (this.role === 'client') ? advance(saslTransitions, this.state, input) : undefined
    if (next === undefined)
      return this.#owner.saslFailed(AmqpCondition.illegalState, `${body.type} in SASL state ${this.state}`, '5.3.2')
    this.state = next
    const emit = this.#owner.emit.bind(this.#owner)
    switch (body.type) {
      case 'sasl-mechanisms':
        return emit({ type: 'sasl.mechanisms', mechanisms: body.saslServerMechanisms })
      case 'sasl-init':
        return emit({
          type: 'sasl.init',
          mechanism: body.mechanism,
          initialResponse: body.initialResponse,
          hostname: body.hostname,
        })
      case 'sasl-challenge':
        return emit({ type: 'sasl.challenge', challenge: body.challenge })
      case 'sasl-response':
        return emit({ type: 'sasl.response', response: body.response })
      case 'sasl-outcome':
        this.code = body.code
        emit({ type: 'sasl.outcome', code: body.code, additionalData: body.additionalData })
        if (body.code === 'ok' && !this.isHeld) this.#owner.saslDone()
    }
  }
}

const INPUTS: { readonly [type in SaslPerformative['type']]: SaslInput } = {
  'sasl-mechanisms': 'MECHANISMS',
  'sasl-init': 'INIT',
  'sasl-challenge': 'CHALLENGE',
  'sasl-response': 'RESPONSE',
  'sasl-outcome': 'OUTCOME',
}
