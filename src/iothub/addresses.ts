/**
 * The addresses of an IoT Hub: builders for clients, and a parser for whoever has to tell what a link wants.
 *
 * Clients spell addresses in many ways: with or without scheme and authority, with or without the leading slash, with
 * ids encoded or raw, `devicebound` or `deviceBound`. The parser takes them all. It looks at the address only; what a
 * link on it means may also depend on its role (a receiver on a module's telemetry address gets module inputs).
 * Facts: spec-notes/iothub.md, address space.
 */

import { UsageError } from '../errors.ts'

/** The four nodes of a device or module. */
export interface DeviceAddresses {
  /** Sender: telemetry. A module's receiver on it gets its inputs. */
  readonly telemetry: string
  /** Receiver: cloud-to-device messages. */
  readonly commands: string
  /** Sender and receiver: direct methods. */
  readonly methods: string
  /** Sender and receiver: twin. */
  readonly twin: string
}

/** What an address of a device or module stands for. */
export type DeviceNode = 'device-telemetry' | 'device-commands' | 'device-methods' | 'device-twin'

/** What an address means; ids are percent-decoded. */
export type HubAddress =
  /** `$cbs` */
  | { readonly kind: 'cbs' }
  /** `/devices/{d}[/modules/{m}]/…`; `moduleId` is `undefined` for the device itself. */
  | { readonly kind: DeviceNode; readonly deviceId: string; readonly moduleId: string | undefined }
  /** `/messages/devicebound`, `/messages/servicebound/feedback`, `…/filenotifications` or `…/fileuploadnotifications` */
  | { readonly kind: 'service-commands' | 'service-feedback' | 'service-file-notifications' }
  /** `/messages/events` and `/messages/events/$management`, which a hub answers with a redirect. */
  | { readonly kind: 'telemetry-root' | 'telemetry-management' }
  /** `/messages/events/ConsumerGroups/{cg}/Partitions/{p}`, likewise. */
  | { readonly kind: 'telemetry-partition'; readonly consumerGroup: string; readonly partition: string }
  /** `{eventHub}/ConsumerGroups/{cg}/Partitions/{p}`, on the Event Hubs host. */
  | {
      readonly kind: 'event-hub-partition'
      readonly eventHub: string
      readonly consumerGroup: string
      readonly partition: string
    }
  /** `$management` or `{eventHub}/$management`, on the Event Hubs host. */
  | { readonly kind: 'event-hub-management'; readonly eventHub: string | undefined }
  /** `{idScope}/registrations/{registrationId}`, on a provisioning host. */
  | { readonly kind: 'provisioning'; readonly idScope: string; readonly registrationId: string }

/**
 * The addresses of a device, or of one of its modules. Ids are percent-encoded.
 *
 * @param deviceId  raw, not empty
 * @param moduleId  raw, not empty; leave out for the device itself
 * @throws {UsageError} if an id is empty or not well-formed Unicode
 */
export function deviceAddresses(deviceId: string, moduleId?: string): DeviceAddresses {
  const base = identityPath(deviceId, moduleId)
  return {
    telemetry: `${base}/messages/events`,
    commands: `${base}/messages/devicebound`,
    methods: `${base}/methods/devicebound`,
    twin: `${base}/twin`,
  }
}

/** The addresses of a back end. */
export const serviceAddresses = {
  /** Sender: cloud-to-device messages; the `to` of each names its device, see {@link commandTo}. */
  commands: '/messages/deviceBound',
  /** Receiver: what became of them. */
  feedback: '/messages/serviceBound/feedback',
  /** Receiver: finished file uploads. */
  fileNotifications: '/messages/serviceBound/filenotifications',
  /** Sender and receiver: partition queries; a hub redirects. */
  telemetryManagement: '/messages/events/$management',
  /**
   * Receiver: one partition of the telemetry; a hub redirects.
   *
   * @param consumerGroup  raw, e.g. `$Default`
   * @param partition      id of the partition, e.g. `0`
   * @throws {UsageError} if one is empty or not well-formed Unicode
   */
  telemetry(consumerGroup: string, partition: string): string {
    return `/messages/events/${partitionPath(consumerGroup, partition)}`
  },
} as const

/**
 * The `to` of a message for a device or module. Ids are percent-encoded.
 *
 * @throws {UsageError} if an id is empty or not well-formed Unicode
 */
export function commandTo(deviceId: string, moduleId?: string): string {
  return deviceAddresses(deviceId, moduleId).commands
}

/**
 * One partition of an event hub, relative to its host, without a leading slash.
 *
 * @throws {UsageError} if a part is empty or not well-formed Unicode
 */
export function eventHubPartition(eventHub: string, consumerGroup: string, partition: string): string {
  return `${encodeSegment(eventHub, 'event hub')}/${partitionPath(consumerGroup, partition)}`
}

/**
 * Tells what an address stands for: drops scheme and authority, percent-decodes the segments, compares fixed ones
 * without regard to case and leaves ids as they are.
 *
 * @param text  as in a source, a target or a `to`; anything at all
 * @returns `undefined` for an address that is none of a hub's
 */
export function parseAddress(text: string): HubAddress | undefined {
  const path = text.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, '').replace(/^\//, '')
  const segments = path.replace(/\/$/, '').split('/').map(decodeSegment)
  // An encoded slash is in no id; taken literally it would blur where one ends.
  if (segments.some(segment => segment === '' || segment.includes('/'))) return undefined
  return parseDevice(segments) ?? parseFixed(segments) ?? parseNamed(segments)
}

const deviceNodes: Readonly<Record<string, DeviceNode | undefined>> = {
  'messages/events': 'device-telemetry',
  'messages/devicebound': 'device-commands',
  'methods/devicebound': 'device-methods',
  twin: 'device-twin',
}

function parseDevice(segments: readonly string[]): HubAddress | undefined {
  const [first = '', deviceId, third = '', fourth] = segments
  if (first.toLowerCase() !== 'devices' || deviceId === undefined) return undefined
  const moduleId = third.toLowerCase() === 'modules' ? fourth : undefined
  const kind = own(deviceNodes, lowerCased(segments.slice(moduleId === undefined ? 2 : 4)))
  return kind && { kind, deviceId, moduleId }
}

type FixedKind = Exclude<
  HubAddress['kind'],
  DeviceNode | `${string}-partition` | 'event-hub-management' | 'provisioning'
>

const fixedAddresses: Readonly<Record<string, FixedKind | undefined>> = {
  $cbs: 'cbs',
  'messages/devicebound': 'service-commands',
  'messages/servicebound/feedback': 'service-feedback',
  'messages/servicebound/filenotifications': 'service-file-notifications',
  'messages/servicebound/fileuploadnotifications': 'service-file-notifications',
  'messages/events': 'telemetry-root',
  'messages/events/$management': 'telemetry-management',
}

function parseFixed(segments: readonly string[]): HubAddress | undefined {
  const kind = own(fixedAddresses, lowerCased(segments))
  return kind && { kind }
}

function parseNamed(segments: readonly string[]): HubAddress | undefined {
  const [first = '', second, third = ''] = segments
  const [groups, consumerGroup = '', partitions, partition = ''] = segments.slice(-4)
  if (groups?.toLowerCase() === 'consumergroups' && partitions?.toLowerCase() === 'partitions') {
    const entity = segments.slice(0, -4)
    if (lowerCased(entity) === 'messages/events') return { kind: 'telemetry-partition', consumerGroup, partition }
    if (entity.length === 1) return { kind: 'event-hub-partition', eventHub: first, consumerGroup, partition }
    return undefined
  }
  if (lowerCased(segments.slice(-1)) === '$management' && segments.length <= 2) {
    return { kind: 'event-hub-management', eventHub: second === undefined ? undefined : first }
  }
  if (segments.length === 3 && second?.toLowerCase() === 'registrations') {
    return { kind: 'provisioning', idScope: first, registrationId: third }
  }
  return undefined
}

function lowerCased(segments: readonly string[]): string {
  return segments.join('/').toLowerCase()
}

function own<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined
}

function identityPath(deviceId: string, moduleId: string | undefined): string {
  const device = `/devices/${encodeSegment(deviceId, 'device id')}`
  return moduleId === undefined ? device : `${device}/modules/${encodeSegment(moduleId, 'module id')}`
}

function partitionPath(consumerGroup: string, partition: string): string {
  return `ConsumerGroups/${encodeSegment(consumerGroup, 'consumer group')}/Partitions/${encodeSegment(partition, 'partition')}`
}

/** `$` stays: it is legal in a path, and the services know `$Default` by no other spelling. */
function encodeSegment(text: string, what: string): string {
  if (text === '') throw new UsageError(`IoT Hub address: the ${what} is empty`)
  try {
    return encodeURIComponent(text).replaceAll('%24', '$')
  } catch (cause) {
    if (cause instanceof URIError) throw new UsageError(`IoT Hub address: the ${what} is not well-formed Unicode`)
    throw cause
  }
}

/** Some clients send ids raw, so a stray `%` stands for itself. */
function decodeSegment(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
