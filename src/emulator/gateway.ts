/**
 * The front of an emulated hub, for one connection: accepts its sessions, tells by address and role what each link
 * wants, refuses what it may not have, and hands the rest to the nodes.
 *
 * Links are judged by nothing else: some clients repeat the attach properties of one link on another. When a token
 * expires, the links that it alone allowed are detached; a connection that logged in by SASL PLAIN is closed. Facts:
 * spec-notes/iothub.md, addresses, CBS. §2.5.1, §2.6.3
 */

import type { Connection, IncomingLink, IncomingSession, Link, Sender } from '../client/api.ts'
import type { ErrorInit } from '../client/options.ts'
import { AmqpCondition } from '../errors.ts'
import { type HubAddress, parseAddress } from '../iothub/addresses.ts'
import { Authorisation } from './authorisation.ts'
import type { ClientCertificate } from './certificates/client-certificate.ts'
import type { EmulatorClock } from './clock.ts'
import type { Authentication } from './device-registry.ts'
import { ConnectionFaults } from './faults/connection-faults.ts'
import type { Faults } from './faults/faults.ts'
import type { FileNotificationNode } from './file-notifications.ts'
import { CbsNode } from './nodes/cbs-node.ts'
import type { DeviceNode } from './nodes/device-node.ts'
import { type EventHubNode, isRedirected, type PartitionAddress } from './nodes/event-hub-node.ts'
import { ManagementNode } from './nodes/management-node.ts'
import type { ServiceNode } from './nodes/service-node.ts'
import { readIdentity } from './plain-login.ts'
import type { ProvisioningNode } from './provisioning/provisioning-node.ts'
import type { SenderAuthentication } from './telemetry/event-log.ts'

/** What a {@link Gateway} works with. */
export interface GatewayOptions {
  readonly clock: EmulatorClock
  readonly faults: Faults
  /** How long after its expiry a token still holds, in ms. */
  readonly tokenSkewMs: number
  readonly service: ServiceNode
  /** Has addresses of its own, which it guards itself. */
  readonly provisioning: ProvisioningNode
  readonly eventHub: EventHubNode
  readonly fileNotifications: FileNotificationNode
  /** The node of a device or module; `undefined` when it is not registered. */
  device(deviceId: string, moduleId: string | undefined): DeviceNode | undefined
  /** The certificate that the peer showed in TLS. */
  readonly certificate: Promise<ClientCertificate | undefined> | undefined
  /** Whether a device is let in, if there is one. */
  isEnabled(deviceId: string): boolean
  /** Whether it proves the device of an address. */
  isProven(certificate: ClientCertificate, address: HubAddress): boolean
  /** Verifies a token. */
  authenticate(token: string): Promise<Authentication>
}

/** One connection. */
export class Gateway {
  readonly #connection: Connection
  readonly #options: GatewayOptions
  readonly #authorisation: Authorisation
  readonly #cbs: CbsNode
  readonly #management: ManagementNode
  readonly #isPlain: boolean
  readonly #faults: ConnectionFaults
  readonly #links = new Map<Link, HubAddress>()
  #cbsLinks = 0
  #certificate: ClientCertificate | undefined

  constructor(connection: Connection, options: GatewayOptions) {
    this.#connection = connection
    this.#options = options
    this.#authorisation = new Authorisation(options.clock, options.tokenSkewMs, () => this.#onTokenLost())
    this.#cbs = new CbsNode(
      async token => this.#faults.token() ?? (await options.authenticate(token)),
      this.#authorisation,
    )
    const login = readIdentity(connection.identity)
    this.#management = new ManagementNode(options.eventHub)
    this.#isPlain = login !== undefined
    if (login !== undefined) this.#authorisation.grant(login.principal, login.expiresAt)
    this.#faults = new ConnectionFaults(connection, this.#authorisation, options.faults)
    connection.on('session', session => void this.#onSession(session))
    void connection.closed.then(() => this.#authorisation.close())
  }

  /** A device has been removed, or disabled: its links end with this, its tokens count no more. */
  drop(deviceId: string, error: ErrorInit): void {
    for (const [link, address] of this.#links)
      if ('deviceId' in address && address.deviceId === deviceId) link.close({ error }).catch(() => {})
    this.#authorisation.forget(deviceId)
  }

  async #onSession(incoming: IncomingSession): Promise<void> {
    try {
      const session = await incoming.accept({ incomingWindow: INCOMING_WINDOW, handleMax: HANDLE_MAX })
      session.on('link', link => void this.#onLink(link))
      this.#faults.session(session)
    } catch {
      // It ended before it had begun.
    }
  }

  async #onLink(link: IncomingLink): Promise<void> {
    try {
      this.#certificate = await this.#options.certificate
      const text = addressOf(link)
      const fault = this.#faults.attach(text ?? '')
      if (fault !== undefined) return link.refuse(fault)
      const address = text === undefined ? undefined : parseAddress(text)
      if (address?.kind === 'provisioning') return await this.#options.provisioning.serve(link, address, this.#faults)
      const refusal = this.#refusal(link, address)
      if (address === undefined || refusal !== undefined) link.refuse(refusal ?? errors.notFound)
      else if (address.kind === 'cbs') await this.#serveCbs(link, address)
      else if (isRedirected(address)) await this.#options.eventHub.redirect(link, address)
      else if (address.kind === 'event-hub-partition') await this.#serveTelemetry(link, address)
      else await this.#serve(link, address)
    } catch {
      // It ended before it was attached.
    }
  }

  /** Why a link is refused, if it is. */
  #refusal(link: IncomingLink, address: HubAddress | undefined): ErrorInit | undefined {
    if (link.target?.coordinator || link.source?.dynamic || link.target?.dynamic) return errors.notImplemented
    if (address === undefined) return errors.notFound
    const roles = servedRoles[address.kind]
    if (roles === undefined) return errors.notFound
    if (!this.#options.eventHub.isServedAt(address, this.#connection.remote.hostname)) return errors.notFound
    if (address.kind === 'cbs' && this.#cbsLinks >= MAX_CBS_LINKS) return errors.tooManyCbs
    if (!this.#allows(address)) return this.#unauthorized()
    if ('deviceId' in address && this.#options.device(address.deviceId, address.moduleId) === undefined)
      return { condition: AmqpCondition.notFound, description: 'there is no such device or module' }
    // A module has its inputs where its telemetry goes.
    const isInput = address.kind === 'device-telemetry' && address.moduleId !== undefined
    if (roles.includes(link.remoteRole) || isInput) return undefined
    return roles.length === 0 ? errors.notImplemented : errors.wrongRole
  }

  /** Counted from before it is accepted: many may come at once. */
  async #serveCbs(link: IncomingLink, address: HubAddress): Promise<void> {
    this.#cbsLinks++
    try {
      const { closed } = await this.#serve(link, address)
      await closed
    } finally {
      this.#cbsLinks--
    }
  }

  async #serveTelemetry(link: IncomingLink, address: PartitionAddress): Promise<void> {
    if (link.remoteRole !== 'receiver') return
    const struck = (sender: Sender): Sender => this.#faults.sender(sender, addressOf(link) ?? '')
    const sender = await this.#options.eventHub.serve(link, address, MAX_MESSAGE_SIZE, struck)
    if (sender !== undefined) this.#watch(sender, address)
  }

  async #serve(link: IncomingLink, address: HubAddress): Promise<Link> {
    const { service, fileNotifications } = this.#options
    const device = 'deviceId' in address ? this.#options.device(address.deviceId, address.moduleId) : undefined
    const isCbs = address.kind === 'cbs'
    const isManagement = address.kind === 'event-hub-management'
    if (link.remoteRole === 'sender') {
      const window = isCbs || isManagement ? CBS_CREDIT : CREDIT
      // Some clients ask for settle-mode second and then wait for us to settle first: so say which it is.
      const options = { credit: { window }, settle: 'first', maxMessageSize: MAX_MESSAGE_SIZE } as const
      const receiver = this.#faults.receiver(await link.accept(options), addressOf(link) ?? '')
      this.#watch(receiver, address)
      if (isCbs) void this.#cbs.receiveRequests(receiver)
      else if ('deviceId' in address) device?.receive(address.kind, receiver, this.#authenticationFor(address))
      else if (isManagement) void this.#management.receiveRequests(receiver)
      else service.receiveCommands(receiver)
      return receiver
    } else {
      const options = { settle: link.sndSettleMode, maxMessageSize: MAX_MESSAGE_SIZE }
      const sender = this.#faults.sender(await link.accept(options), addressOf(link) ?? '')
      this.#watch(sender, address)
      if (isCbs) this.#cbs.sendAnswers(sender)
      else if ('deviceId' in address) device?.send(address.kind, sender)
      else if (isManagement) this.#management.sendAnswers(sender)
      else if (address.kind === 'service-file-notifications') fileNotifications.serve(sender)
      else service.sendFeedback(sender)
      return sender
    }
  }

  /** By what a device may use its address; readers of its telemetry are told. */
  #authenticationFor(address: HubAddress): SenderAuthentication {
    const kind = this.#authorisation.principalFor(address)?.kind
    const own = 'moduleId' in address && address.moduleId !== undefined ? 'module' : 'device'
    if (kind === undefined) return { scope: own, type: 'x509' }
    return { scope: kind === 'device' ? own : 'hub', type: 'sas' }
  }

  /** Names what was shown, never the token. */
  #unauthorized(): ErrorInit {
    const shown = this.#authorisation.scopes.slice(0, MAX_SHOWN).map(scope => `a token for ${scope}`)
    if (this.#certificate) shown.push(`the certificate of '${this.#certificate.commonName}'`)
    return {
      condition: AmqpCondition.unauthorizedAccess,
      description: `no token or certificate covers this address; shown: ${shown.join(', ') || 'none'}`,
    }
  }

  /** By a token, or by the certificate. */
  #allows(address: HubAddress): boolean {
    if ('deviceId' in address && !this.#options.isEnabled(address.deviceId)) return false
    if (this.#authorisation.allows(address)) return true
    return this.#certificate !== undefined && this.#options.isProven(this.#certificate, address)
  }

  #watch(link: Link, address: HubAddress): void {
    this.#links.set(link, address)
    void link.closed.then(() => this.#links.delete(link))
    // The token may have expired while it was attached.
    if (!this.#allows(address)) link.close({ error: errors.expired }).catch(() => {})
  }

  #onTokenLost(): void {
    if (this.#isPlain && this.#authorisation.isEmpty) {
      this.#connection.close({ error: errors.expired }).catch(() => {})
      return
    }
    for (const [link, address] of this.#links) {
      if (!this.#allows(address)) link.close({ error: errors.expired }).catch(() => {})
    }
  }
}

function addressOf(link: IncomingLink): string | undefined {
  return link.remoteRole === 'sender' ? link.target?.address : link.source?.address
}

/** As real gateways have it. */
const INCOMING_WINDOW = 5000
const HANDLE_MAX = 262_143
const MAX_MESSAGE_SIZE = 1_048_576n
const CREDIT = 1000
const CBS_CREDIT = 100
/** Scopes of tokens that a refusal names: a connection may have thousands. */
const MAX_SHOWN = 3
/** Clients have two for each session that asks. Peers without a token may have them, and each answer looks through them. */
const MAX_CBS_LINKS = 64

/**
 * What a peer may be at the addresses of a hub. No role at all: a hub has the address, this emulator does not serve it.
 * The other addresses belong to other hosts.
 */
const servedRoles: Readonly<Partial<Record<HubAddress['kind'], readonly IncomingLink['remoteRole'][]>>> = {
  cbs: ['sender', 'receiver'],
  'device-telemetry': ['sender'],
  'device-commands': ['receiver'],
  'device-methods': ['sender', 'receiver'],
  'device-twin': ['sender', 'receiver'],
  'service-commands': ['sender'],
  'service-feedback': ['receiver'],
  'service-file-notifications': ['receiver'],
  'telemetry-root': ['sender', 'receiver'],
  'telemetry-management': ['sender', 'receiver'],
  'telemetry-partition': ['receiver'],
  'event-hub-partition': ['receiver'],
  'event-hub-management': ['sender', 'receiver'],
}

const errors = {
  notFound: { condition: AmqpCondition.notFound, description: 'the address is none of this hub' },
  notImplemented: { condition: AmqpCondition.notImplemented, description: 'the emulator does not serve this address' },
  wrongRole: { condition: AmqpCondition.notAllowed, description: 'the address does not serve links of this role' },
  tooManyCbs: {
    condition: AmqpCondition.resourceLimitExceeded,
    description: `a connection has at most ${MAX_CBS_LINKS} links to $cbs`,
  },
  expired: { condition: AmqpCondition.unauthorizedAccess, description: 'the token has expired or was revoked' },
} as const
