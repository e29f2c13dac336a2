/**
 * The cases against Microsoft's SDK for Node: azure-iot-device over AMQP, and azure-iothub over AMQP and HTTPS.
 *
 * It is clients and nothing else, over TLS and nothing else, each in a process of its own. In a case's path, `device`,
 * `module` or `service` is the part that the SDK plays; the hub is our emulator, and our clients play the rest.
 */

import { createRequire } from 'node:module'
import { deviceCases } from './azure/device.mjs'
import { serviceCases } from './azure/service.mjs'
import { Missing } from './support.mjs'

const { resolve } = createRequire(import.meta.url)
for (const name of ['azure-iot-device', 'azure-iot-device-amqp', 'azure-iothub']) {
  try {
    resolve(name)
  } catch {
    throw new Missing(name)
  }
}

export const cases = [...deviceCases, ...serviceCases]
