/** A peer of an emulated hub that has nothing of `src/iothub` but its tokens, and sends bytes where it likes. */

import { CbsSession } from '../../src/cbs/cbs-session.ts'
import type { Connection } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { IotHubEmulator } from '../../src/emulator/iot-hub-emulator.ts'
import { createSasToken } from '../../src/iothub/credentials/sas.ts'

/** Connects by a device's or module's own key, or by the policy `service`, and puts the token. */
export async function openAs(
  hub: IotHubEmulator,
  who: { deviceId: string; moduleId?: string } | { service: true },
): Promise<Connection> {
  const connection = await connect({ host: 'localhost', transport: hub.transport(), sasl: false })
  await using cbs = await CbsSession.attach(connection)
  const expiresAt = new Date(Date.now() + 3_600_000)
  const value = await tokenOf(hub, who, expiresAt)
  await cbs.putToken('audience', { type: 'servicebus.windows.net:sastoken', value, expiresAt })
  return connection
}

/** A token of a device, a module or the policy `service`. */
export async function tokenOf(
  hub: IotHubEmulator,
  who: { deviceId: string; moduleId?: string } | { service: true },
  expiresAt: Date,
): Promise<string> {
  const key = /SharedAccessKey=([^;]+)/.exec(hub.connectionString(who))?.[1] ?? ''
  if ('service' in who) return createSasToken({ resourceUri: 'localhost', key, keyName: 'service', expiresAt })
  const module = who.moduleId === undefined ? '' : `/modules/${who.moduleId}`
  return createSasToken({ resourceUri: `localhost/devices/${who.deviceId}${module}`, key, expiresAt })
}

/** Bytes of a vector; blanks in it are for the reader. */
export function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'))
}
