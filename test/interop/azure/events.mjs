/** Microsoft's client for Event Hubs reads the telemetry of our hub. */

import assert from 'node:assert/strict'
import { DEVICE, hub, startPeer } from './harness.mjs'

export const eventCases = ['tcp', 'ws'].map(way => ({
  name: `azure/events/${way}/telemetry`,
  async run(t) {
    const ours = await hub(t)
    const device = await ours.ourDevice()
    const bodies = ['first', 'second', 'third']
    for (const body of bodies) await device.sendTelemetry({ body, messageId: body, properties: { colour: 'grün' } })
    const text = ours.emulator.connectionString({ eventHub: true })
    const connectionString = way === 'ws' ? text.replace(/:\d+\//, '/') : text
    const { partitionIds, events } = await startPeer(t, ours.emulator).do('readEvents', {
      connectionString,
      count: bodies.length,
      way,
    })
    assert.deepEqual(partitionIds, ['0', '1', '2', '3'])
    assert.deepEqual(
      events.map(({ body }) => Buffer.from(body).toString()),
      bodies,
    )
    const [{ properties, systemProperties }] = events
    assert.deepEqual(properties, { colour: 'grün' })
    assert.equal(systemProperties['iothub-connection-device-id'], DEVICE)
    assert.equal(systemProperties['messageId'], 'first')
  },
}))
