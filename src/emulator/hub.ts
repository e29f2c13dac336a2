/**
 * What is behind the listener of an emulated hub: identities, the telemetry log, the nodes, and a gateway for each
 * connection. How it is reached, and what programs see of it, is in `iot-hub-emulator.ts`.
 *
 * Facts: spec-notes/iothub.md
 */

import type { Connection } from '../client/api.ts'
import type { ErrorInit, ListenOptions } from '../client/options.ts'
import { saslServer } from '../client/sasl.ts'
import { AmqpCondition, ClosedError } from '../errors.ts'
import { type ClientCertificate, provesDevice, readClientCertificate } from './certificates/client-certificate.ts'
import { type EmulatorClock, systemClock } from './clock.ts'
import { type Authentication, DeviceRegistry } from './device-registry.ts'
import { Faults } from './faults/faults.ts'
import { faultyTransport } from './faults/faulty-transport.ts'
import { FileNotificationNode } from './file-notifications.ts'
import { Gateway } from './gateway.ts'
import { gatewayListenOptions } from './gateway-version.ts'
import { DeviceNode } from './nodes/device-node.ts'
import { EventHubNode } from './nodes/event-hub-node.ts'
import { ServiceNode } from './nodes/service-node.ts'
import type { IotHubEmulatorOptions } from './options.ts'
import { checkPlain, EXTERNAL_IDENTITY } from './plain-login.ts'
import { checkProvisioningLogin, ProvisioningNode } from './provisioning/provisioning-node.ts'
import { ProvisioningService } from './provisioning/provisioning-service.ts'
import { Quotas } from './quotas.ts'
import { type EmulatorState, logStart, registryState, restoreDevices, restoreEnrolments } from './state.ts'
import { EventLog } from './telemetry/event-log.ts'

/** How a {@link Hub} behaves: what is not about where it listens. */
export type HubOptions = Omit<IotHubEmulatorOptions, 'devices' | 'hostName' | 'listen' | 'webSocket' | 'https'>

/** How long a new hub keeps telemetry. */
const DAY_MS = 86_400_000

/** One hub. */
export class Hub {
  /** Who is known. */
  readonly registry: DeviceRegistry
  /** Telemetry. */
  readonly events: EventLog
  /** What is to go wrong. */
  readonly faults: Faults = new Faults()
  /** Assigns devices to this hub. */
  readonly provisioning: ProvisioningService
  /** Those that sign certificates of devices, PEM. */
  readonly authorities: Set<string> = new Set()
  /** Where services read it. */
  readonly eventHub: EventHubNode
  /** Of files that devices have uploaded. */
  readonly fileNotifications: FileNotificationNode
  readonly #hubName: string
  readonly #createdAt: number
  readonly #options: HubOptions
  readonly #clock: EmulatorClock
  readonly #tokenSkewMs: number
  readonly #quotas: Quotas | undefined
  readonly #service: ServiceNode
  readonly #devices = new Map<string, DeviceNode>()
  readonly #served = new WeakSet<Connection>()
  readonly #gateways = new Set<Gateway>()
  readonly #onClose = new Set<() => void>()
  #isClosed = false

  /**
   * @param hostName  without port; the hub's own name is its first label
   * @throws {UsageError} if `partitions` or a quota is out of range
   */
  constructor(hostName: string, options: HubOptions) {
    const { clock = systemClock, partitions, state, tokenSkewMs = 300_000, feedbackBatchMs = 15_000, lockMs } = options
    this.#hubName = hostName.split('.', 1)[0] ?? hostName
    const eventHub = { hostName: options.eventHubHostName ?? hostName, name: `iothub-ehub-${this.#hubName}` }
    this.registry = new DeviceRegistry([hostName], eventHub, state?.policies)
    this.provisioning = new ProvisioningService(hostName, this.registry, clock, {
      tokenSkewMs,
      idScope: state?.idScope,
      onAssigned: options.onAssigned,
    })
    const begin = logStart(state, clock.now())
    this.events = new EventLog({
      partitions,
      retentionMs: options.retentionMs ?? DAY_MS,
      now: () => clock.now(),
      begin,
    })
    this.#createdAt = state?.createdAt ?? clock.now()
    if (state !== undefined) restoreDevices(this.registry, state.devices)
    if (state?.enrolments !== undefined) restoreEnrolments(this.provisioning, state.enrolments)
    this.eventHub = new EventHubNode({
      ...eventHub,
      clock,
      log: this.events,
      hubHostName: hostName,
      consumerGroups: options.consumerGroups ?? [],
    })
    this.#options = options
    this.#clock = clock
    this.#tokenSkewMs = tokenSkewMs
    const { quotas } = options
    this.#quotas = quotas ? new Quotas(quotas === true ? {} : quotas) : undefined
    this.fileNotifications = new FileNotificationNode({ clock, hubName: this.#hubName, queue: { lockMs } })
    this.#service = new ServiceNode({
      clock,
      hubName: this.#hubName,
      feedbackBatchMs,
      queue: { lockMs, maxDeliveryCount: options.maxDeliveryCount },
      quotas: this.#quotas,
      device: (deviceId, moduleId) => this.device(deviceId, moduleId),
    })
  }

  /** What is kept of it, but for the certificate. */
  state(): EmulatorState {
    const { idScope } = this.provisioning
    const enrolments = this.provisioning.enrolments()
    return { createdAt: this.#createdAt, idScope, enrolments, ...registryState(this.registry) }
  }

  /** What the hub says of itself, as real gateways do, and whom it lets in. */
  listenOptions(): ListenOptions {
    const plain = saslServer.plain((username, password) => {
      if (this.faults.token()) return false
      return this.provisioning.isUser(username)
        ? checkProvisioningLogin(this.provisioning, username, password)
        : checkPlain(this.registry, this.#hubName, username, password, this.#tokenOptions())
    })
    // What a certificate proves is asked of each link.
    const external = saslServer.external(() => EXTERNAL_IDENTITY)
    return {
      ...gatewayListenOptions(this.#options.gateway ?? 'v1', {
        plain,
        anonymous: saslServer.anonymous(),
        mssbcbs: saslServer.mssbcbs(),
        external,
      }),
      limits: { maxSessions: 8192, maxLinks: 262_144 },
      allowNoSasl: true,
      transport: accepted => faultyTransport(accepted, this.faults, this.#clock),
    }
  }

  /** Serves a connection; once, however often it is given. */
  serve(connection: Connection): void {
    if (this.#served.has(connection)) return
    this.#served.add(connection)
    const { peerCertificate, identity } = connection
    const certificate = peerCertificate && readClientCertificate(peerCertificate).catch(() => undefined)
    const gateway = new Gateway(connection, {
      certificate,
      provisioning: new ProvisioningNode(this.provisioning, identity, certificate),
      isProven: (certificate, address) =>
        'deviceId' in address && address.moduleId === undefined && this.#isProven(certificate, address.deviceId),
      isEnabled: deviceId => this.registry.isEnabled(deviceId),
      clock: this.#clock,
      faults: this.faults,
      tokenSkewMs: this.#tokenSkewMs,
      service: this.#service,
      eventHub: this.eventHub,
      fileNotifications: this.fileNotifications,
      device: (deviceId, moduleId) => this.device(deviceId, moduleId),
      authenticate: token => this.authenticate(token),
    })
    this.#gateways.add(gateway)
    void connection.closed.then(() => this.#gateways.delete(gateway))
  }

  /** Removes a device and its modules, with all that waits for them. @returns whether there was one */
  removeDevice(deviceId: string): boolean {
    const { modules } = this.registry.device(deviceId) ?? {}
    if (modules === undefined || !this.registry.removeDevice(deviceId)) return false
    for (const [key, node] of this.#devices) {
      if (node.identity.deviceId !== deviceId) continue
      node.close()
      this.#devices.delete(key)
    }
    this.#drop(deviceId, { condition: AmqpCondition.notFound, description: 'the device has been removed' })
    return true
  }

  /** Lets a device and its modules in, or not. */
  setEnabled(deviceId: string, isEnabled: boolean): void {
    this.registry.setEnabled(deviceId, isEnabled)
    if (isEnabled) return
    this.#drop(deviceId, { condition: AmqpCondition.unauthorizedAccess, description: 'the device is disabled' })
  }

  #drop(deviceId: string, error: ErrorInit): void {
    for (const gateway of this.#gateways) gateway.drop(deviceId, error)
  }

  /** Verifies a token and tells whom it stands for. */
  authenticate(token: string): Promise<Authentication> {
    return this.registry.authenticate(token, this.#tokenOptions())
  }

  /** For clients of event hubs, under the policy `service`. @returns text with a key in it */
  eventHubConnectionString(): string {
    const { name, hostName, port } = this.eventHub
    const authority = port === 5671 ? hostName : `${hostName}:${port}`
    const key = this.registry.policy('service')?.primaryKey
    return `Endpoint=sb://${authority}/;SharedAccessKeyName=service;SharedAccessKey=${key};EntityPath=${name}`
  }

  /** The node of a device or module; `undefined` when it is not registered. */
  device(deviceId: string, moduleId: string | undefined): DeviceNode | undefined {
    const { registry } = this
    const identity = moduleId === undefined ? registry.device(deviceId) : registry.module(deviceId, moduleId)
    if (identity === undefined) return undefined
    const { generationId } = identity
    const key = JSON.stringify([deviceId, moduleId, generationId])
    const known = this.#devices.get(key)
    if (known !== undefined) return known
    const { lockMs, maxDeliveryCount, timeToLiveMs } = this.#options
    const node = new DeviceNode(
      { deviceId, moduleId, generationId },
      {
        clock: this.#clock,
        events: this.events,
        quotas: this.#quotas,
        queue: { lockMs, maxDeliveryCount, timeToLiveMs },
        onEnd: (whose, command, status) => this.#service.report(whose, command, status),
      },
    )
    this.#devices.set(key, node)
    return node
  }

  /** A promise that is rejected when the hub closes first. */
  untilClosed<T>(executor: (resolve: (value: T) => void, reject: (error: Error) => void) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const onClose = (): void => reject(new ClosedError('the hub', 'connection'))
      if (this.#isClosed) return onClose()
      this.#onClose.add(onClose)
      const done = <V>(settle: (value: V) => void) => {
        return (value: V): void => {
          this.#onClose.delete(onClose)
          settle(value)
        }
      }
      executor(done(resolve), done(reject))
    })
  }

  /** Stops every timer and ends what waits. */
  close(): void {
    this.#isClosed = true
    this.events.close()
    this.#service.close()
    this.fileNotifications.close()
    for (const device of this.#devices.values()) device.close()
    for (const onClose of this.#onClose) onClose()
    this.#onClose.clear()
  }

  #isProven(certificate: ClientCertificate, deviceId: string): boolean {
    const { x509 } = this.registry.device(deviceId) ?? {}
    return x509 !== undefined && provesDevice(certificate, { deviceId, x509 }, this.authorities, this.#clock.now())
  }

  #tokenOptions(): { readonly now: number; readonly skewMs: number } {
    return { now: this.#clock.now(), skewMs: this.#tokenSkewMs }
  }
}
