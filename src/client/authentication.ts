/** The SASL exchange, with mechanisms that may take their time: client and server. §5.3.2 */

import type { Engine } from '../engine/engine.ts'
import type { EngineEvent } from '../engine/events.ts'
import { SaslError, type SaslFailure } from '../errors.ts'
import type {
  SaslContext,
  SaslExchange,
  SaslMechanism,
  SaslServerContext,
  SaslServerExchange,
  SaslServerMechanism,
} from './sasl/mechanism.ts'

type SaslEvent = Extract<EngineEvent, { type: `sasl.${string}` }>

/** How a connection authenticates. */
export type Security =
  | { readonly role: 'none' }
  | { readonly role: 'client'; readonly mechanisms: readonly SaslMechanism[]; readonly allowInsecure: boolean }
  | { readonly role: 'server'; readonly mechanisms: readonly SaslServerMechanism[]; readonly allowNoSasl: boolean }

/** What an authentication needs of its connection. */
export interface AuthenticationOwner {
  readonly engine: Engine
  /** What errors call the peer, where it has an address. */
  readonly peer: string | undefined
  touch(): void
  readonly peerCertificate: Uint8Array | undefined
  /** Authentication failed: the connection ends. */
  fail(error: SaslError): void
}

/** The part of either end; none without SASL. */
export function authenticationOf(
  owner: AuthenticationOwner,
  security: Security,
  context: SaslContext & SaslServerContext,
): ClientAuthentication | ServerAuthentication | undefined {
  if (security.role === 'client')
    return new ClientAuthentication(owner, security.mechanisms, context, security.allowInsecure)
  if (security.role === 'server') return new ServerAuthentication(owner, security.mechanisms, context)
  return undefined
}

/** The client's part: chooses a mechanism, and runs it. */
export class ClientAuthentication {
  readonly #owner: AuthenticationOwner
  readonly #mechanisms: readonly SaslMechanism[]
  readonly #context: SaslContext
  readonly #insecure: boolean
  #exchange: SaslExchange | undefined
  #pipelines = false
  #name = ''

  constructor(
    owner: AuthenticationOwner,
    mechanisms: readonly SaslMechanism[],
    context: SaslContext,
    allowInsecure: boolean,
  ) {
    this.#owner = owner
    this.#mechanisms = mechanisms
    this.#context = context
    this.#insecure = allowInsecure
  }

  /** Sends AMQP as soon as the mechanism lets it; and its init unasked, where there is no choice to be made. §2.4.2 */
  pipeline(): void {
    this.#pipelines = true
    const usable = this.#usable
    const [only] = usable
    if (only?.pipelines && usable.length === 1 && this.#mechanisms.length === 1) this.#guard(this.#init(only))
  }

  onEvent(event: SaslEvent): void {
    this.#guard(this.#run(event))
  }

  #guard(step: Promise<void>): void {
    step.catch(error => {
      this.#owner.fail(
        error instanceof SaslError
          ? error
          : new SaslError(`SASL ${this.#name} failed: ${reason(error)}`, undefined, error),
      )
    })
  }

  async #run(event: SaslEvent): Promise<void> {
    const { sasl } = this.#owner.engine
    if (event.type === 'sasl.mechanisms') {
      const mechanism = this.#choose(event.mechanisms)
      // Where it has been used unasked, the server knows it.
      if (!this.#exchange) await this.#init(mechanism)
    } else if (event.type === 'sasl.challenge') {
      const response = await this.#exchange?.respond(event.challenge)
      if (response && !this.#owner.engine.isDone) sasl?.respond(response)
    } else if (event.type === 'sasl.outcome') {
      if (event.code !== 'ok') throw this.#refused(event.code)
      await this.#exchange?.finish(event.additionalData)
      // Only now: a server that has not proved itself gets to see nothing of AMQP.
      if (!this.#owner.engine.isDone) sasl?.proceed()
      this.#pipe()
    }
    this.#owner.touch()
  }

  async #init(mechanism: SaslMechanism): Promise<void> {
    this.#name = mechanism.name
    this.#exchange = mechanism.start(this.#context)
    const initial = await this.#exchange.initial()
    const { engine } = this.#owner
    if (engine.isDone) return
    engine.sasl?.init(mechanism.name, initial, this.#context.hostname)
    if (mechanism.pipelines) this.#pipe()
    this.#owner.touch()
  }

  #pipe(): void {
    if (this.#pipelines && !this.#owner.engine.isDone) this.#owner.engine.pipeline()
  }

  #refused(code: SaslFailure): SaslError {
    const said = this.#exchange?.failure?.()
    const reported = said === undefined ? '' : `; the server says: ${said}`
    const where = this.#owner.peer ? ` at ${this.#owner.peer}` : ''
    return new SaslError(`authentication by SASL ${this.#name}${where} failed: ${REASONS[code]}${reported}`, code)
  }

  get #usable(): readonly SaslMechanism[] {
    return this.#mechanisms.filter(have => !have.secret || this.#context.secure || this.#insecure)
  }

  /** The first of ours that the server offers. What gives a secret away needs a private transport. */
  #choose(offered: readonly string[]): SaslMechanism {
    const usable = this.#usable
    const chosen = usable.find(have => offered.includes(have.name))
    if (chosen) return chosen
    const withheld = this.#mechanisms.find(have => !usable.includes(have) && offered.includes(have.name))
    if (withheld)
      throw new SaslError(
        `${withheld.name} is refused without TLS, since it shows the secret; see \`allowInsecureAuth\``,
      )
    throw new SaslError(
      `no common SASL mechanism: ${this.#owner.peer ?? 'the peer'} offers ${offered.join(', ') || 'none'}, we have ${this.#mechanisms.map(have => have.name).join(', ') || 'none'}`,
    )
  }
}

/** The server's part. */
export class ServerAuthentication {
  readonly #owner: AuthenticationOwner
  readonly #mechanisms: readonly SaslServerMechanism[]
  readonly #context: SaslServerContext
  #exchange: SaslServerExchange | undefined
  /** Who the peer is, once it is known. */
  identity: string | undefined

  constructor(owner: AuthenticationOwner, mechanisms: readonly SaslServerMechanism[], context: SaslServerContext) {
    this.#owner = owner
    this.#mechanisms = mechanisms
    this.#context = context
  }

  onEvent(event: SaslEvent): void {
    if (event.type === 'sasl.init') {
      const mechanism = this.#mechanisms.find(have => have.name === event.mechanism)
      if (!mechanism)
        return this.#refuse('auth', `the peer chose ${event.mechanism.slice(0, 64)}, which is not offered`)
      this.#exchange = mechanism.start(this.#context)
      this.#step(event.initialResponse)
    } else if (event.type === 'sasl.response') this.#step(event.response)
  }

  #step(response: Uint8Array | undefined): void {
    this.#next(response).catch(error => this.#refuse('sys', `the mechanism failed: ${reason(error)}`))
  }

  async #next(response: Uint8Array | undefined): Promise<void> {
    const step = await this.#exchange?.step(response)
    const { engine } = this.#owner
    if (!step || engine.isDone) return
    if ('challenge' in step) engine.sasl?.challenge(step.challenge)
    else if (step.outcome === 'ok') {
      this.identity = step.identity
      engine.sasl?.outcome('ok', step.additionalData)
    } else return this.#refuse(step.outcome, `${named(step.identity)} is not authenticated`)
    this.#owner.touch()
  }

  #refuse(code: 'auth' | 'sys' | 'sys-perm' | 'sys-temp', why: string): void {
    const { engine } = this.#owner
    if (engine.isDone) return
    engine.sasl?.outcome(code)
    const from = this.#owner.peer ? ` of ${this.#owner.peer}` : ''
    this.#owner.fail(new SaslError(`authentication${from} refused: ${why}`, code))
  }
}

/** Whom a peer that is refused said it was. */
const named = (identity: string | undefined): string =>
  identity === undefined ? 'the peer' : JSON.stringify(identity.slice(0, 64))

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** What the outcome codes say, for people. §5.3.3.6 */
const REASONS = {
  auth: 'the peer refused the identity or its proof (code auth)',
  sys: 'the peer had a system error (code sys)',
  'sys-perm': 'the peer had a system error that will last (code sys-perm)',
  'sys-temp': 'the peer had a system error that may pass (code sys-temp)',
} as const
