/**
 * Who may use which address of an emulated hub: the rights of shared access policies, identities that keep to their own
 * addresses, and the scope that a token was signed for.
 *
 * Pure. How a token becomes a principal is in `device-registry.ts`. Facts: spec-notes/iothub.md, scope.
 */

import type { HubAddress } from '../iothub/addresses.ts'
import { isInScope, type SasKeyRule, splitResource } from '../iothub/credentials/sas.ts'

/** What a policy permits. */
export type HubRight = 'RegistryRead' | 'RegistryWrite' | 'ServiceConnect' | 'DeviceConnect'

/** Whom a token stands for; `sr` is the scope that it was signed for. */
export type Principal =
  /** One device or module, by its own key. */
  | {
      readonly kind: 'device'
      readonly deviceId: string
      readonly moduleId: string | undefined
      readonly sr: string
    }
  /** `'device-policy'`: a policy whose only right is DeviceConnect, so any device in scope; `'service'`: any other. */
  | {
      readonly kind: 'service' | 'device-policy'
      readonly policy: string
      readonly rights: readonly HubRight[]
      readonly sr: string
      /** By which the token was signed: one for the event hub says nothing at the IoT Hub, nor the other way round. */
      readonly keyRule?: SasKeyRule | undefined
    }

/**
 * Whether a principal may attach a link to an address; `$cbs` is open to everyone.
 *
 * A device or module may use its own addresses. A policy needs DeviceConnect for those, ServiceConnect for all others.
 * In each case the address must lie within the `sr` that was signed for. Whether the device exists, and whether the
 * token has expired since, are other questions.
 */
export function mayUse(principal: Principal, address: HubAddress): boolean {
  if (address.kind === 'cbs') return true
  if (address.kind === 'provisioning') return false
  if (principal.kind === 'device') {
    if (!('deviceId' in address)) return false
    if (principal.deviceId !== address.deviceId || principal.moduleId !== address.moduleId) return false
  } else if (!principal.rights.includes('deviceId' in address ? 'DeviceConnect' : 'ServiceConnect')) {
    return false
  } else if ((principal.keyRule === 'eventhub') !== address.kind.startsWith('event-hub-')) {
    return false
  }
  // The token for an event hub names the hub, its management node does not.
  if (address.kind === 'event-hub-management' && address.eventHub === undefined) return true
  const { host } = splitResource(principal.sr)
  return resourcePaths(address).some(path => isInScope(principal.sr, host + path))
}

/** What a token has to cover for an address; several where more than one spelling of the scope is in use. */
function resourcePaths(address: Exclude<HubAddress, { kind: 'cbs' | 'provisioning' }>): readonly string[] {
  switch (address.kind) {
    case 'service-commands':
      return ['/messages/devicebound', '/devicebound']
    case 'service-feedback':
      return ['/messages/servicebound/feedback', '/servicebound/feedback']
    case 'service-file-notifications':
      return ['filenotifications', 'fileuploadnotifications'].flatMap(name => [
        `/messages/servicebound/${name}`,
        `/servicebound/${name}`,
      ])
    case 'telemetry-root':
      return ['/messages/events']
    case 'telemetry-management':
      return ['/messages/events/$management']
    case 'telemetry-partition':
      return [`/messages/events/ConsumerGroups/${address.consumerGroup}/Partitions/${address.partition}`]
    case 'event-hub-partition':
      return [`/${address.eventHub}/ConsumerGroups/${address.consumerGroup}/Partitions/${address.partition}`]
    case 'event-hub-management':
      return [`/${address.eventHub}/$management`]
    default: {
      const module = address.moduleId === undefined ? '' : `/modules/${address.moduleId}`
      return [`/devices/${address.deviceId}${module}/${deviceNodePaths[address.kind]}`]
    }
  }
}

const deviceNodePaths = {
  'device-telemetry': 'messages/events',
  'device-commands': 'messages/devicebound',
  'device-methods': 'methods/devicebound',
  'device-twin': 'twin',
} as const
