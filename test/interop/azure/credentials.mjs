/** The SDK as a device with a certificate, or with a token that was made elsewhere. */

import assert from 'node:assert/strict'
import { createDeviceAuthority } from '../../../dist/emulator.js'
import { DEVICE, exercise, hub, MODULE, sdkDevice, takeAll, tokenFor } from './harness.mjs'

const DEVICE_2 = 'device2'

/** How the hub knows a certificate. */
const registrations = {
  'x509-by-thumbprint': (emulator, { thumbprint }) => emulator.addDevice(DEVICE_2, { x509: { thumbprint } }),
  async 'x509-by-authority'(emulator, _, { ca }) {
    await emulator.addAuthority(ca)
    emulator.addDevice(DEVICE_2, { x509: 'ca' })
  },
}

const certificates = ['tcp', 'ws'].flatMap(way =>
  Object.entries(registrations).map(([name, register]) => ({
    name: `azure/device/${way}/${name}`,
    async run(t) {
      const ours = await hub(t)
      const authority = await createDeviceAuthority()
      const { cert, key, thumbprint } = await authority.issue(DEVICE_2)
      await register(ours.emulator, { thumbprint }, authority)
      const place = { deviceId: DEVICE_2 }
      const sdk = await sdkDevice(t, ours, { ...place, way, x509: { cert, key } })
      await takeAll(sdk)
      await exercise(t, ours, sdk, 'once', place)
      await sdk.do('close')
      assert.deepEqual(sdk.errors(), [])
    },
  })),
)

const refused = [
  {
    name: 'azure/device/tcp/x509-of-another',
    async run(t) {
      const ours = await hub(t)
      const authority = await createDeviceAuthority()
      const { cert, key } = await authority.issue('device3')
      await ours.emulator.addAuthority(authority.ca)
      ours.emulator.addDevice(DEVICE_2, { x509: 'ca' })
      // Nothing is judged before it attaches a link.
      const sdk = await sdkDevice(t, ours, { deviceId: DEVICE_2, x509: { cert, key } })
      const { failed } = await sdk.attempt('send', { messages: [{ body: 'x' }] })
      assert.equal(failed?.name, 'UnauthorizedError')
    },
  },
]

const tokens = ['tcp', 'ws'].flatMap(way =>
  ['device', 'module'].map(kind => ({
    name: `azure/${kind}/${way}/token-made-elsewhere`,
    async run(t) {
      const ours = await hub(t)
      const isModule = kind === 'module'
      const who = isModule ? { deviceId: DEVICE, moduleId: MODULE } : { deviceId: DEVICE }
      const sdk = await sdkDevice(t, ours, { isModule, way, makeToken: () => tokenFor(ours.emulator, who, way, 60) })
      await takeAll(sdk, { isModule })
      await exercise(t, ours, sdk, 'once', { isModule })
      await sdk.do('close')
      assert.deepEqual(sdk.errors(), [])
    },
  })),
)

export const credentialCases = [...certificates, ...refused, ...tokens]
