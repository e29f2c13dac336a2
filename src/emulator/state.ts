/**
 * What of an emulated hub outlives a restart, as JSON can say it: all that its clients hold on to. Telemetry, messages
 * and twins do not.
 */

import { UsageError } from '../errors.ts'
import { isSharedAccessKey } from '../iothub/credentials/sas.ts'
import type { Certificate } from './certificates/certificate.ts'
import type { X509Registration } from './certificates/client-certificate.ts'
import type { DeviceRegistry, KeyPair } from './device-registry.ts'
import type { DeviceEnrolment, GroupEnrolment, ProvisioningService } from './provisioning/provisioning-service.ts'
import type { LogStart } from './telemetry/event-log.ts'

/** A device, as it is kept. */
export interface DeviceState extends KeyPair {
  readonly deviceId: string
  readonly x509?: X509Registration | undefined
  /** It is let in no more until it is enabled. */
  readonly isDisabled?: boolean | undefined
  readonly modules: readonly (KeyPair & { readonly moduleId: string })[]
}

/** Who is enrolled at the provisioning service, as it is kept. */
export interface EnrolmentState {
  /** By registration id. */
  readonly devices: Readonly<Record<string, DeviceEnrolment>>
  /** By name. */
  readonly groups: Readonly<Record<string, GroupEnrolment>>
}

/** What {@link IotHubEmulator.state} gives and `IotHubEmulatorOptions.state` takes; JSON. Secret: there are keys in it. */
export interface EmulatorState {
  /** When the first of these hubs was started, ms since 1970. Offsets of telemetry go up from there. */
  readonly createdAt: number
  /** The certificate of the server and that of its authority; none without TLS or with TLS of your own. */
  readonly tls?: Certificate | undefined
  /** Of the provisioning service. */
  readonly idScope: string
  /** Default: nobody. */
  readonly enrolments?: EnrolmentState | undefined
  /** By name. */
  readonly policies: Readonly<Record<string, KeyPair>>
  readonly devices: readonly DeviceState[]
}

/** What is wrong with a state, in words that follow its name. */
export const stateError = (what: string): UsageError => new UsageError(`IoT Hub emulator: state: ${what}`)

/** @throws {UsageError} it is not what a hub has given */
export function checkState(state: EmulatorState): void {
  const { createdAt, tls, idScope, policies, devices, enrolments } = record(state)
  if (!(typeof createdAt === 'number' && createdAt >= 0)) throw stateError('createdAt is no time')
  if (typeof idScope !== 'string' || !/^\w+$/.test(idScope)) throw stateError('idScope is none')
  const { ca, cert, key } = tls === undefined ? { ca: '', cert: '', key: '' } : record(tls)
  for (const text of [ca, cert, key]) if (typeof text !== 'string') throw stateError('tls has not ca, cert and key')
  if (tls !== undefined && !(ca as string).includes('-----BEGIN CERTIFICATE-----'))
    throw stateError('the CA, the certificate or its key is not in PEM')
  if (!Array.isArray(devices)) throw stateError('devices is no list')
  if (enrolments !== undefined) for (const part of ['devices', 'groups']) record(record(enrolments)[part])
  for (const pair of Object.values(record(policies))) checkKeys(pair)
  for (const device of devices) {
    checkKeys(device)
    if (typeof device.deviceId !== 'string') throw stateError('a deviceId is no text')
    if (!Array.isArray(device.modules)) throw stateError('modules is no list')
    for (const module of device.modules) {
      checkKeys(module)
      if (typeof module.moduleId !== 'string') throw stateError('a moduleId is no text')
    }
  }
}

/** The part of a state that is of a registry. */
export function registryState(registry: DeviceRegistry): Pick<EmulatorState, 'policies' | 'devices'> {
  const keysOf = ({ primaryKey, secondaryKey }: KeyPair): KeyPair => ({ primaryKey, secondaryKey })
  return {
    policies: Object.fromEntries(Array.from(registry.policies(), policy => [policy.name, keysOf(policy)])),
    devices: Array.from(registry.devices(), device => ({
      deviceId: device.deviceId,
      ...keysOf(device),
      x509: device.x509,
      ...(!registry.isEnabled(device.deviceId) && { isDisabled: true }),
      modules: Array.from(device.modules.values(), module => ({ moduleId: module.moduleId, ...keysOf(module) })),
    })),
  }
}

/** Adds the devices of a state. @throws {UsageError} an id is invalid or there twice, or a thumbprint is none */
export function restoreDevices(registry: DeviceRegistry, devices: readonly DeviceState[]): void {
  try {
    for (const { deviceId, x509, isDisabled, modules, ...keys } of devices) {
      registry.addDevice(deviceId, keys, x509)
      if (isDisabled === true) registry.setEnabled(deviceId, false)
      for (const { moduleId, ...keysOfModule } of modules) registry.addModule(deviceId, moduleId, keysOfModule)
    }
  } catch (error) {
    throw stateError((error as Error).message)
  }
}

/** Enrols those of a state. @throws {UsageError} an enrolment is none */
export function restoreEnrolments(service: ProvisioningService, { devices, groups }: EnrolmentState): void {
  try {
    for (const [registrationId, enrolment] of Object.entries(devices)) service.enrol(registrationId, enrolment)
    for (const [name, enrolment] of Object.entries(groups)) service.enrolGroup(name, enrolment)
  } catch (error) {
    throw stateError((error as Error).message)
  }
}

/**
 * Where telemetry begins: behind all that an earlier hub of the state has given out, so that readers go on. It has not
 * said how far it came, but a gigabyte and a million events a second are more than it can have had.
 */
export function logStart(state: EmulatorState | undefined, now: number): LogStart {
  const elapsedMs = BigInt(state === undefined ? 0 : Math.max(0, Math.ceil(now - state.createdAt)))
  return { offset: elapsedMs * 1_000_000n, sequenceNumber: elapsedMs * 1_000n }
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) throw stateError('an object is missing')
  return value as Record<string, unknown>
}

function checkKeys(pair: unknown): void {
  const { primaryKey, secondaryKey } = record(pair)
  for (const key of [primaryKey, secondaryKey])
    if (typeof key !== 'string' || !isSharedAccessKey(key)) throw stateError('a key is not base64')
}
