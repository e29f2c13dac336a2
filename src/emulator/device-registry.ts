/**
 * Who is known to an emulated hub: devices, modules and shared access policies with their keys, in memory, and the rule
 * by which a token becomes a principal. What a principal may do is in `access.ts`.
 *
 * Facts: spec-notes/iothub.md, scope.
 */

import { UsageError } from '../errors.ts'
import {
  isSharedAccessKey,
  parseSasToken,
  type SasKeyRule,
  type SasToken,
  splitResource,
  verifySasToken,
} from '../iothub/credentials/sas.ts'
import type { HubRight, Principal } from './access.ts'
import { checkRegistration, type X509Registration } from './certificates/client-certificate.ts'

/** Two keys, either of which signs; base64. Secret. */
export interface KeyPair {
  readonly primaryKey: string
  readonly secondaryKey: string
}

/** What an identity proves itself by. */
type Credentials = KeyPair & { readonly x509?: X509Registration | undefined }

/** A module of a device. */
export interface ModuleIdentity extends KeyPair {
  readonly deviceId: string
  readonly moduleId: string
  /** Differs between a module and a later one of the same id; decimal text. */
  readonly generationId: string
}

/** A device. */
export interface DeviceIdentity extends KeyPair {
  /** Of a device that proves itself by a certificate: its keys then sign nothing. */
  readonly x509?: X509Registration | undefined
  readonly deviceId: string
  /** Differs between a device and a later one of the same id; decimal text. */
  readonly generationId: string
  /** By module id; changes as modules are added. */
  readonly modules: ReadonlyMap<string, ModuleIdentity>
}

/** A shared access policy. */
export interface HubPolicy extends KeyPair {
  readonly name: string
  readonly rights: readonly HubRight[]
}

/** The event hub that tokens may be for. */
export interface EventHubName {
  /** Without port. */
  readonly hostName: string
  readonly name: string
}

/** The end of {@link DeviceRegistry.authenticate}. */
export type Authentication =
  | { readonly ok: true; readonly principal: Principal; readonly token: SasToken }
  /**
   * `'unknown'`: no such policy, device or module, or `sr` names none; `'host'`: `sr` is for another host; `'disabled'`: all
   * is well, but for that.
   */
  | { readonly ok: false; readonly reason: 'malformed' | 'host' | 'unknown' | 'signature' | 'expired' | 'disabled' }

/** Why a token is refused. */
export type AuthenticationFailure = Extract<Authentication, { ok: false }>['reason']

/** The same in words, which quote nothing of the token. */
export const FAILURES: Readonly<Record<AuthenticationFailure, string>> = {
  malformed: 'the token is malformed',
  host: 'the token is for another host',
  unknown: 'the token names no known device, module or policy',
  signature: 'the signature matches neither the primary nor the secondary key',
  expired: 'the token has expired',
  disabled: 'the device is disabled',
}

/** The identities and policies of one hub. It begins with no device and the five policies of a new hub. */
export class DeviceRegistry {
  readonly #hostNames: ReadonlySet<string>
  readonly #eventHub: EventHubName | undefined
  readonly #devices = new Map<string, DeviceIdentity & { readonly modules: Map<string, ModuleIdentity> }>()
  readonly #policies = new Map<string, HubPolicy>()
  readonly #disabled = new Set<string>()
  #lastGeneration = 638_000_000_000_000_000n

  /**
   * @param hostNames  hosts that a token may name, without scheme; ports and case are left aside
   * @param eventHub   tokens for it are signed by the other key rule
   * @param policies   keys of policies, by name; each default is new ones
   * @throws {UsageError} if there is no host name, or a key is not base64
   */
  constructor(
    hostNames: readonly string[],
    eventHub?: EventHubName,
    policies: Readonly<Record<string, Partial<KeyPair>>> = {},
  ) {
    if (hostNames.length === 0) throw new UsageError('device registry: at least one host name is needed')
    this.#hostNames = new Set(hostNames.map(name => splitResource(name).host))
    this.#eventHub = eventHub
    for (const [name, rights] of Object.entries(defaultPolicies))
      this.#policies.set(name, { name, rights, ...newKeys(policies[name]) })
  }

  /** All policies. */
  policies(): IterableIterator<HubPolicy> {
    return this.#policies.values()
  }

  /** All devices, in the order added. */
  devices(): IterableIterator<DeviceIdentity> {
    return this.#devices.values()
  }

  /** The device of that id, compared exactly. */
  device(deviceId: string): DeviceIdentity | undefined {
    return this.#devices.get(deviceId)
  }

  /** The module of that id, compared exactly. */
  module(deviceId: string, moduleId: string): ModuleIdentity | undefined {
    return this.#devices.get(deviceId)?.modules.get(moduleId)
  }

  /** The policy of that name, compared exactly. */
  policy(name: string): HubPolicy | undefined {
    return this.#policies.get(name)
  }

  /**
   * Adds a device.
   *
   * @param deviceId  1 … 128 ASCII letters, digits and ``- : . + % _ # * ? ! ( ) , = @ $ '``
   * @param keys      base64; each default is 32 random bytes
   * @param x509      how it proves itself, in place of keys
   * @throws {UsageError} if the id is invalid or taken, a key is not base64, or a thumbprint is none
   */
  addDevice(deviceId: string, keys: Partial<KeyPair> = {}, x509?: X509Registration): DeviceIdentity {
    checkId(deviceId, 'device')
    if (x509 !== undefined) checkRegistration(x509)
    if (this.#devices.has(deviceId)) throw new UsageError(`device registry: device '${deviceId}' exists`)
    const device = { deviceId, generationId: this.#nextGeneration(), ...newKeys(keys), x509, modules: new Map() }
    this.#devices.set(deviceId, device)
    return device
  }

  /** Gives a device other proofs; it keeps its modules and generation. @throws {UsageError} as {@link addDevice} does */
  rekey(deviceId: string, keys: Partial<KeyPair>, x509?: X509Registration): void {
    const device = this.#devices.get(deviceId)
    if (device !== undefined) this.#devices.set(deviceId, { ...device, ...newKeys(keys), x509 })
  }

  /**
   * Adds a module to a device.
   *
   * @param moduleId  1 … 128 ASCII letters, digits and ``- : . + % _ # * ? ! ( ) , = @ $ '``
   * @param keys      base64; each default is 32 random bytes
   * @throws {UsageError} if there is no such device, the id is invalid or taken, or a key is not base64
   */
  addModule(deviceId: string, moduleId: string, keys: Partial<KeyPair> = {}): ModuleIdentity {
    checkId(moduleId, 'module')
    const modules = this.#devices.get(deviceId)?.modules
    if (modules === undefined) throw new UsageError('device registry: the device of the module does not exist')
    if (modules.has(moduleId)) throw new UsageError(`device registry: module '${moduleId}' exists`)
    const module = { deviceId, moduleId, generationId: this.#nextGeneration(), ...newKeys(keys) }
    modules.set(moduleId, module)
    return module
  }

  /** Removes a device and its modules; `false` if there was none. Its open links are not this class's concern. */
  removeDevice(deviceId: string): boolean {
    this.#disabled.delete(deviceId)
    return this.#devices.delete(deviceId)
  }

  /** Lets a device and its modules in, or not. Its open links are not this class's concern. */
  setEnabled(deviceId: string, isEnabled: boolean): void {
    if (isEnabled) this.#disabled.delete(deviceId)
    else this.#disabled.add(deviceId)
  }

  /** Whether a device, and its modules, are let in: unless it has been disabled. */
  isEnabled(deviceId: string): boolean {
    return !this.#disabled.has(deviceId)
  }

  /** Removes a module; `false` if there was none. */
  removeModule(deviceId: string, moduleId: string): boolean {
    return this.#devices.get(deviceId)?.modules.delete(moduleId) ?? false
  }

  /**
   * Whom a token stands for, by its `skn` (a policy) or, without one, its `sr` (a device or module). The signature is
   * not looked at: verify it, with {@link keysOf} of the result.
   *
   * @param token  `sr` percent-decoded
   * @returns why not, if nobody
   */
  principalOf(token: Pick<SasToken, 'sr' | 'skn'>): Principal | 'host' | 'unknown' {
    const { sr, skn } = token
    const { segments } = splitResource(sr)
    const keyRule = this.#keyRuleFor(sr)
    if (keyRule === undefined) return 'host'
    if (skn !== undefined) {
      const policy = this.#policies.get(skn)
      if (policy === undefined) return 'unknown'
      const { name, rights } = policy
      const isDeviceOnly = rights.every(right => right === 'DeviceConnect')
      return { kind: isDeviceOnly ? 'device-policy' : 'service', policy: name, rights, sr, keyRule }
    }
    const [collection, deviceId, below, fourth] = segments
    if (collection !== 'devices' || deviceId === undefined) return 'unknown'
    const moduleId = below === 'modules' ? fourth : undefined
    if (below === 'modules' && moduleId === undefined) return 'unknown'
    const principal = { kind: 'device', deviceId, moduleId, sr } as const
    return this.keysOf(principal) === undefined ? 'unknown' : principal
  }

  /** The keys that may sign for a principal, none for a device with a certificate; `undefined` if its identity or policy does not exist (any more). */
  keysOf(principal: Principal): readonly string[] | undefined {
    const pair: Credentials | undefined =
      principal.kind === 'device' ? this.#identity(principal) : this.#policies.get(principal.policy)
    return pair && (pair.x509 === undefined ? [pair.primaryKey, pair.secondaryKey] : [])
  }

  /** Who logs in to the event hub by name and key of a policy, as some of its clients do; `undefined` if they are wrong. */
  eventHubPolicy(name: string, key: string): Principal | undefined {
    const policy = this.#policies.get(name)
    const eventHub = this.#eventHub
    if (policy === undefined || eventHub === undefined) return undefined
    if (key !== policy.primaryKey && key !== policy.secondaryKey) return undefined
    const sr = `sb://${eventHub.hostName}/${eventHub.name}`
    return { kind: 'service', policy: name, rights: policy.rights, sr, keyRule: 'eventhub' }
  }

  /**
   * Verifies a token and tells whom it stands for.
   *
   * @param text     the token as presented; anything at all
   * @param options  `now` in ms since 1970, default now; `skewMs` as in `verifySasToken`; `keyRule`: default that of what
   *   the token is for
   */
  async authenticate(
    text: string,
    options: {
      readonly now?: number | undefined
      readonly skewMs?: number | undefined
      readonly keyRule?: SasKeyRule | undefined
    } = {},
  ): Promise<Authentication> {
    let token: SasToken
    try {
      token = parseSasToken(text)
    } catch (error) {
      if (error instanceof UsageError) return { ok: false, reason: 'malformed' }
      throw error
    }
    const principal = this.principalOf(token)
    if (typeof principal === 'string') return { ok: false, reason: principal }
    const keyRule = options.keyRule ?? this.#keyRuleFor(token.sr)
    const verdict = await verifySasToken(text, { ...options, keyRule, keys: this.keysOf(principal) ?? [] })
    if (!verdict.ok) return verdict
    const isEnabled = principal.kind !== 'device' || this.isEnabled(principal.deviceId)
    return isEnabled ? { ok: true, principal, token } : { ok: false, reason: 'disabled' }
  }

  /** By which rule a token for `sr` is signed; `undefined` for a host that is none of ours. */
  #keyRuleFor(sr: string): SasKeyRule | undefined {
    const { host, segments } = splitResource(sr)
    const isHub = this.#hostNames.has(host)
    const { hostName, name } = this.#eventHub ?? {}
    if (hostName === undefined || splitResource(hostName).host !== host) return isHub ? 'iothub' : undefined
    // Both may be at one host, where the path of a token says which it is for. Some clients write sb: at the hub too.
    const first = segments[0]
    const isForEventHub = !isHub || (first === undefined ? /^sb:/i.test(sr) : first === name?.toLowerCase())
    return isForEventHub ? 'eventhub' : 'iothub'
  }

  #identity({ deviceId, moduleId }: { deviceId: string; moduleId: string | undefined }): Credentials | undefined {
    return moduleId === undefined ? this.device(deviceId) : this.module(deviceId, moduleId)
  }

  #nextGeneration(): string {
    this.#lastGeneration += 1n
    return this.#lastGeneration.toString()
  }
}

const defaultPolicies: Readonly<Record<string, readonly HubRight[]>> = {
  iothubowner: ['RegistryRead', 'RegistryWrite', 'ServiceConnect', 'DeviceConnect'],
  service: ['ServiceConnect'],
  device: ['DeviceConnect'],
  registryRead: ['RegistryRead'],
  registryReadWrite: ['RegistryRead', 'RegistryWrite'],
}

function newKeys(given: Partial<KeyPair> = {}): KeyPair {
  const { primaryKey = randomKey(), secondaryKey = randomKey() } = given
  if (!isSharedAccessKey(primaryKey) || !isSharedAccessKey(secondaryKey)) {
    throw new UsageError('device registry: a key is not base64')
  }
  return { primaryKey, secondaryKey }
}

function randomKey(): string {
  return Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(32))).toString('base64')
}

/** @param of  who asks, for the error @throws {UsageError} it is no id of a device or module */
export function checkId(id: string, what: string, of = 'device registry'): void {
  if (typeof id === 'string' && /^[\w\-:.+%#*?!(),=@$']{1,128}$/.test(id)) return
  throw new UsageError(
    `${of}: '${id}' is no ${what} id, which has 1 … 128 ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ $ '`,
  )
}
