/**
 * The cases against Microsoft's SDKs for Node, over TCP and WebSockets: azure-iot-device with azure-iot-device-amqp,
 * azure-iothub over AMQP and HTTPS, azure-iot-provisioning-device-amqp, and @azure/event-hubs.
 *
 * They are clients and nothing else, over TLS and nothing else, each in a process of its own. In a case's path, what
 * follows `azure` is the part that the SDK plays; the hub is our emulator, and our clients play the rest.
 */

import { createRequire } from 'node:module'
import { credentialCases } from './azure/credentials.mjs'
import { deviceCases } from './azure/device.mjs'
import { eventCases } from './azure/events.mjs'
import { provisioningCases } from './azure/provisioning.mjs'
import { recoveryCases } from './azure/recovery.mjs'
import { renewalCases } from './azure/renewal.mjs'
import { serviceCases } from './azure/service.mjs'
import { Missing } from './support.mjs'

const { resolve } = createRequire(import.meta.url)
const packages = [
  'azure-iot-device',
  'azure-iot-device-amqp',
  'azure-iothub',
  'azure-iot-provisioning-device',
  'azure-iot-provisioning-device-amqp',
  'azure-iot-security-symmetric-key',
  'azure-iot-security-x509',
  '@azure/event-hubs',
]
for (const name of packages) {
  try {
    resolve(name)
  } catch {
    throw new Missing(name)
  }
}

export const cases = [
  ...deviceCases,
  ...credentialCases,
  ...serviceCases,
  ...provisioningCases,
  ...eventCases,
  ...recoveryCases,
  ...renewalCases,
]
