/** The SDK registers with the provisioning service of our hub, and is then a device of it. */

import assert from 'node:assert/strict'
import { createDeviceAuthority } from '../../../dist/emulator.js'
import { deriveDeviceKey } from '../../../dist/iothub.js'
import { hub, startPeer, withoutPort } from './harness.mjs'

/** How a device proves itself; `enrol` has it enrolled, and answers with what it shows. */
const proofs = {
  key: {
    deviceId: 'lamp',
    enrol: async ({ provisioning }, id, options) => ({
      key: provisioning.enrol(id, { deviceId: 'lamp', ...options }).key,
    }),
  },
  'key-of-a-group': {
    enrol: async ({ provisioning }, id, options) => ({
      key: await deriveDeviceKey(provisioning.enrolGroup('group', options).key, id),
    }),
  },
  x509: {
    async enrol({ provisioning }, id, options) {
      const { cert, key, thumbprint } = await (await createDeviceAuthority()).issue(id)
      provisioning.enrol(id, { thumbprint, ...options })
      return { x509: { cert, key } }
    },
  },
  'x509-of-a-group': {
    async enrol({ provisioning }, id, options) {
      const authority = await createDeviceAuthority()
      provisioning.enrolGroup('group', { ca: authority.ca, ...options })
      const { cert, key } = await authority.issue(id)
      return { x509: { cert, key } }
    },
  },
}

const ID = 'registration-1'

/** What it goes to: the service by its name alone, as the SDK knows no other ports than its own. */
const registration = ({ provisioning }, way) => ({
  host: provisioning.host.split(':')[0],
  idScope: provisioning.idScope,
  registrationId: ID,
  way,
})

const registered = ['tcp', 'ws'].flatMap(way =>
  Object.entries(proofs).map(([name, { enrol, deviceId = ID }], index) => ({
    name: `azure/provisioning/${way}/${name}`,
    async run(t) {
      const ours = await hub(t, { devices: ['device1'] })
      // Some are told to ask again, which takes the SDK a second.
      const proof = await enrol(ours.emulator, ID, { polls: (index + 1) % 2, payload: { room: 1 } })
      const sdk = startPeer(t, ours.emulator)
      const payload = { modelId: 'dtmi:com:example:Lamp;1' }
      const result = await sdk.do('provision', { ...registration(ours.emulator, way), ...proof, payload })
      assert.equal(result.status, 'assigned')
      assert.equal(result.deviceId, deviceId)
      assert.equal(result.assignedHub, ours.emulator.provisioning.host)
      assert.deepEqual(result.payload, { room: 1 })

      const credential = proof.key === undefined ? 'x509=true' : `SharedAccessKey=${proof.key}`
      const text = `HostName=${result.assignedHub};DeviceId=${result.deviceId};${credential}`
      const connectionString = way === 'ws' ? withoutPort(text) : text
      await sdk.do('openDevice', { connectionString, x509: proof.x509, way })
      await sdk.do('send', { messages: [{ body: 'here' }] })
      const event = await ours.nextEvent()
      assert.equal(event.deviceId, deviceId)
      assert.equal(new TextDecoder().decode(event.body), 'here')
      await sdk.do('close')
      assert.deepEqual(sdk.errors(), [])
    },
  })),
)

const refused = [
  {
    name: 'azure/provisioning/tcp/wrong-key',
    async run(t) {
      const ours = await hub(t)
      ours.emulator.provisioning.enrol(ID)
      const sdk = startPeer(t, ours.emulator)
      const key = Buffer.alloc(32).toString('base64')
      const { failed } = await sdk.attempt('provision', { ...registration(ours.emulator, 'tcp'), key })
      // It goes on to attach when its login has failed, to a connection that is gone.
      assert.equal(failed?.name, 'NotConnectedError')
      assert.throws(() => ours.emulator.twin(ID), /no device 'registration-1'/)
    },
  },
  {
    name: 'azure/provisioning/ws/certificate-of-another',
    async run(t) {
      const ours = await hub(t)
      const authority = await createDeviceAuthority()
      ours.emulator.provisioning.enrolGroup('group', { ca: authority.ca })
      const { cert, key } = await authority.issue('registration-2')
      const sdk = startPeer(t, ours.emulator)
      const job = { ...registration(ours.emulator, 'ws'), x509: { cert, key } }
      const { failed } = await sdk.attempt('provision', job)
      // It hands on the error of the attach as it is.
      assert.equal(failed?.condition, 'amqp:unauthorized-access')
      assert.throws(() => ours.emulator.twin(ID), /no device 'registration-1'/)
    },
  },
]

export const provisioningCases = [...registered, ...refused]
