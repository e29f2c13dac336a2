/**
 * The Device Provisioning Service of an emulated hub, linked to that hub alone: enrolments of devices and of groups, who
 * may register, and what becomes of it.
 *
 * How it is spoken to is in `provisioning-node.ts`. Facts: spec-notes/iothub.md, provisioning.
 */

import { UsageError } from '../../errors.ts'
import { deriveDeviceKey, isSharedAccessKey, parseSasToken, verifySasToken } from '../../iothub/credentials/sas.ts'
import {
  type ClientCertificate,
  checkRegistration,
  isTrusted,
  provesDevice,
} from '../certificates/client-certificate.ts'
import { checkShape, type Shape } from '../check-shape.ts'
import type { EmulatorClock } from '../clock.ts'
import { checkId, type DeviceRegistry } from '../device-registry.ts'
import type { EnrolmentState } from '../state.ts'

/** What an enrolment says of the devices that register by it. */
export interface EnrolmentOptions {
  /** What the device is handed, as JSON. Default: nothing. */
  readonly payload?: unknown
  /** It refuses to assign anything. Default false. */
  readonly disabled?: boolean | undefined
  /** How often a device is told to ask again before it is assigned, 0 or more. Default 1. */
  readonly polls?: number | undefined
  /** Seconds that it is told to wait in between, 0 or more. Default 1. */
  readonly retryAfter?: number | undefined
}

/** The enrolment of one device. */
export interface DeviceEnrolment extends EnrolmentOptions {
  /** Base64. Default: 32 random bytes. */
  readonly key?: string | undefined
  /** It proves itself by this certificate instead: hex digits of its SHA-1 or SHA-256. */
  readonly thumbprint?: string | undefined
  /** Its id on the hub. Default: the registration id. */
  readonly deviceId?: string | undefined
}

/** The enrolment of a group. The ids on the hub are the registration ids. */
export interface GroupEnrolment extends EnrolmentOptions {
  /** Base64, from which those of its devices are derived. Default: 32 random bytes. */
  readonly key?: string | undefined
  /** Its devices prove themselves by certificates that this authority, PEM, has signed; the common name is the id. */
  readonly ca?: string | undefined
}

/** What of the service is for its users. */
export interface EmulatorProvisioning {
  /** What `provision` takes as `host`, with the port. The hub's own: addresses tell which of the two is meant. */
  readonly host: string
  readonly idScope: string
  /**
   * Enrols a device, in place of an earlier enrolment of the same id.
   *
   * @returns its key, base64; none with a certificate
   * @throws {UsageError} the id is none that a hub can give a device; the key is not base64, the thumbprint none, the
   *   payload not JSON
   */
  enrol(registrationId: string, enrolment?: DeviceEnrolment): { readonly key: string | undefined }
  /**
   * Enrols a group, in place of an earlier one of the same name. Devices with an enrolment of their own go by that.
   *
   * @returns its key, base64; none with an authority
   * @throws {UsageError} the key is not base64
   */
  enrolGroup(name: string, enrolment?: GroupEnrolment): { readonly key: string | undefined }
  /** Forgets an enrolment; `false` if there was none. The device stays on the hub. */
  remove(registrationIdOrGroup: string): boolean
}

/** What a device has shown: a token under PLAIN that was found good, or a certificate. */
export type Proof = { readonly key: string } | { readonly certificate: ClientCertificate }

/** What becomes of a registration. */
export interface Operation {
  readonly id: string
  readonly status: 'assigning' | 'assigned' | 'disabled'
  /** JSON. */
  readonly registrationState: Readonly<Record<string, unknown>>
  readonly retryAfter: number
}

interface Underway {
  readonly registrationId: string
  readonly proof: Proof
  readonly enrolment: DeviceEnrolment | GroupEnrolment
  pollsLeft: number
}

/** How a {@link ProvisioningService} is set up. */
export interface ProvisioningOptions {
  readonly tokenSkewMs: number
  /** Default: a new one. */
  readonly idScope?: string | undefined
  /** A device is on the hub, and has not been told yet. */
  readonly onAssigned?: ((deviceId: string) => void) | undefined
}

/** The service. */
export class ProvisioningService implements EmulatorProvisioning {
  host: string
  readonly idScope: string
  readonly #clock: EmulatorClock
  readonly #tokenSkewMs: number
  readonly #onAssigned: (deviceId: string) => void
  readonly #registry: DeviceRegistry
  readonly #devices = new Map<string, DeviceEnrolment>()
  readonly #groups = new Map<string, GroupEnrolment>()
  readonly #operations = new Map<string, Underway>()
  readonly #createdAt = new Map<string, string>()

  constructor(host: string, registry: DeviceRegistry, clock: EmulatorClock, options: ProvisioningOptions) {
    this.host = host
    this.idScope = options.idScope ?? `0ne00${hexId(4).toUpperCase()}`
    this.#registry = registry
    this.#clock = clock
    this.#tokenSkewMs = options.tokenSkewMs
    this.#onAssigned = options.onAssigned ?? (() => {})
  }

  enrol(registrationId: string, enrolment: DeviceEnrolment = {}): { readonly key: string | undefined } {
    checkShape('field of an enrolment', enrolment, DEVICE)
    const { thumbprint, key, deviceId = registrationId } = enrolment
    checkId(registrationId, 'registration', 'provisioning')
    checkId(deviceId, 'device', 'provisioning')
    if (thumbprint !== undefined) checkRegistration({ thumbprint })
    const payload = jsonOf(enrolment.payload)
    const kept = { ...enrolment, payload, key: thumbprint === undefined ? checkedKey(key) : undefined }
    this.#devices.set(registrationId, kept)
    return { key: kept.key }
  }

  enrolGroup(name: string, enrolment: GroupEnrolment = {}): { readonly key: string | undefined } {
    checkShape('field of an enrolment of a group', enrolment, GROUP)
    const payload = jsonOf(enrolment.payload)
    const kept = { ...enrolment, payload, key: enrolment.ca === undefined ? checkedKey(enrolment.key) : undefined }
    this.#groups.set(name, kept)
    return { key: kept.key }
  }

  remove(registrationIdOrGroup: string): boolean {
    return this.#devices.delete(registrationIdOrGroup) || this.#groups.delete(registrationIdOrGroup)
  }

  /** Who is enrolled. */
  enrolments(): EnrolmentState {
    return { devices: Object.fromEntries(this.#devices), groups: Object.fromEntries(this.#groups) }
  }

  /** Whether the user name of SASL PLAIN is meant for this service. */
  isUser(username: string): boolean {
    return username.startsWith(`${this.idScope}/registrations/`)
  }

  /** The key by which a token proves the user of SASL PLAIN; `undefined` if it does not. */
  async keyOf(username: string, token: string): Promise<string | undefined> {
    const registrationId = username.slice(`${this.idScope}/registrations/`.length)
    const keys = await this.#keys(registrationId)
    const verdict = await verifySasToken(token, { keys, now: this.#clock.now(), skewMs: this.#tokenSkewMs })
    if (!verdict.ok) return undefined
    const { sr, skn } = parseSasToken(token)
    return sr === username && skn === 'registration' ? keys[verdict.keyIndex] : undefined
  }

  /** Registers a device; `undefined` when no enrolment fits what it has shown. */
  async register(registrationId: string, proof: Proof): Promise<Operation | undefined> {
    const enrolment = await this.#enrolmentFor(registrationId, proof)
    if (enrolment === undefined) return undefined
    const id = `5.${hexId(8)}.${globalThis.crypto.randomUUID()}`
    this.#operations.set(id, { registrationId, proof, enrolment, pollsLeft: (enrolment.polls ?? 1) + 1 })
    // What nobody asks after is forgotten.
    if (this.#operations.size > MAX_OPERATIONS)
      for (const oldest of [...this.#operations.keys()].slice(0, MAX_OPERATIONS / 2)) this.#operations.delete(oldest)
    return this.operation(id, registrationId)
  }

  /** How a registration goes; `undefined` when it is not one of this device. Asking moves it on. */
  operation(id: string, registrationId: string): Operation | undefined {
    const underway = this.#operations.get(id)
    if (underway?.registrationId !== registrationId) return undefined
    const { enrolment, proof } = underway
    const { retryAfter = 1 } = enrolment
    if (underway.pollsLeft > 0) underway.pollsLeft--
    const status = enrolment.disabled ? 'disabled' : underway.pollsLeft > 0 ? 'assigning' : 'assigned'
    const now = new Date(this.#clock.now()).toISOString()
    const createdDateTimeUtc = this.#createdAt.get(registrationId) ?? now
    this.#createdAt.set(registrationId, createdDateTimeUtc)
    const common = { registrationId, status, createdDateTimeUtc, lastUpdatedDateTimeUtc: now }
    if (status !== 'assigned') return { id, status, retryAfter, registrationState: common }
    const deviceId = this.#assign(registrationId, enrolment, proof)
    const assigned = { assignedHub: this.host, deviceId, substatus: 'initialAssignment', payload: enrolment.payload }
    return { id, status, retryAfter, registrationState: { ...common, ...assigned } }
  }

  /** Makes the device on the hub, or gives it the proof that it has registered with. */
  #assign(registrationId: string, enrolment: DeviceEnrolment | GroupEnrolment, proof: Proof): string {
    const deviceId = ('deviceId' in enrolment && enrolment.deviceId) || registrationId
    const keys = 'key' in proof ? { primaryKey: proof.key } : {}
    const x509 = 'key' in proof ? undefined : { thumbprint: proof.certificate.thumbprints[0] }
    if (this.#registry.device(deviceId) === undefined) this.#registry.addDevice(deviceId, keys, x509)
    else this.#registry.rekey(deviceId, keys, x509)
    this.#onAssigned(deviceId)
    return deviceId
  }

  async #enrolmentFor(registrationId: string, proof: Proof): Promise<DeviceEnrolment | GroupEnrolment | undefined> {
    const own = this.#devices.get(registrationId)
    if (own !== undefined) return this.#fits(registrationId, own, proof) ? own : undefined
    for (const group of this.#groups.values()) {
      if ('key' in proof) {
        if (group.key !== undefined && (await deriveDeviceKey(group.key, registrationId)) === proof.key) return group
      } else if (group.ca !== undefined && proof.certificate.commonName === registrationId) {
        if (isTrusted(proof.certificate, [group.ca], this.#clock.now())) return group
      }
    }
    return undefined
  }

  #fits(deviceId: string, { key, thumbprint }: DeviceEnrolment, proof: Proof): boolean {
    if ('key' in proof) return key === proof.key
    return thumbprint !== undefined && provesDevice(proof.certificate, { deviceId, x509: { thumbprint } }, [], 0)
  }

  /** That may sign for a registration: its own, or one derived for each group. */
  async #keys(registrationId: string): Promise<readonly string[]> {
    const own = this.#devices.get(registrationId)
    if (own !== undefined) return own.key === undefined ? [] : [own.key]
    const groups = [...this.#groups.values()].flatMap(({ key }) => key ?? [])
    return Promise.all(groups.map(key => deriveDeviceKey(key, registrationId)))
  }
}

const COMMON: Shape<EnrolmentOptions> = { payload: 'any', disabled: 'flag', polls: 'count', retryAfter: 'seconds' }
const DEVICE: Shape<DeviceEnrolment> = { ...COMMON, key: 'text', thumbprint: 'text', deviceId: 'text' }
const GROUP: Shape<GroupEnrolment> = { ...COMMON, key: 'text', ca: 'text' }

const MAX_OPERATIONS = 10_000

function checkedKey(key: string = Buffer.from(randomBytes(32)).toString('base64')): string {
  if (!isSharedAccessKey(key)) throw new UsageError('provisioning: the key is not base64')
  return key
}

/** A copy, as it will be sent. */
function jsonOf(payload: unknown): unknown {
  try {
    return payload === undefined ? undefined : JSON.parse(JSON.stringify(payload))
  } catch {
    throw new UsageError('provisioning: the payload cannot be written as JSON')
  }
}

const randomBytes = (count: number): Uint8Array => globalThis.crypto.getRandomValues(new Uint8Array(count))

const hexId = (bytes: number): string => Buffer.from(randomBytes(bytes)).toString('hex')
