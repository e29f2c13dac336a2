/**
 * The SDK loses its connection to our hub, or part of it, and goes on: devices by themselves, with all that they had;
 * back ends when they next send. A close with an error is left out: the SDK takes 45 s over it (spec-notes/iothub.md,
 * faults).
 */

import assert from 'node:assert/strict'
import { watchHubs } from '../support.mjs'
import { DEVICE, exercise, hub, sdkDevice, sdkService, takeAll } from './harness.mjs'

const text = bytes => new TextDecoder().decode(bytes)

const faults = {
  drop: { dropAfterBytes: 0 },
  'session-ended': { on: 'session', error: { condition: 'amqp:internal-error' } },
  'link-detached': { on: 'link', match: 'messages/events', error: { condition: 'amqp:link:detach-forced' } },
}

/** Each way that a connection ends, and for a drop each kind of client. */
const losses = [
  ...['device', 'module'].flatMap(kind => ['tcp', 'ws'].map(way => ({ kind, way, loss: 'drop' }))),
  { kind: 'device', way: 'tcp', loss: 'session-ended' },
  { kind: 'device', way: 'tcp', loss: 'link-detached' },
]

const devices = losses.map(({ kind, way, loss }) => ({
  name: `azure/recovery/${kind}/${way}/${loss}`,
  async run(t) {
    const isModule = kind === 'module'
    const seen = watchHubs(t)
    const ours = await hub(t)
    const sdk = await sdkDevice(t, ours, { isModule, way })
    await takeAll(sdk, { isModule })
    await exercise(t, ours, sdk, 'before', { isModule })
    for (const [index, mark] of ['after', 'again'].entries()) {
      const fault = ours.emulator.fault(faults[loss])
      assert.equal(fault.strikes, 1)
      await t.until('the SDK to be back', () => seen.connections === index + 2)
      await exercise(t, ours, sdk, mark, { isModule })
    }
    assert.equal(seen.connections, 3)
    await sdk.do('close')
    assert.deepEqual(sdk.errors(), [])
  },
}))

const inFlight = ['tcp', 'ws'].map(way => ({
  name: `azure/recovery/device/${way}/drop-while-it-sends`,
  async run(t) {
    const seen = watchHubs(t)
    const ours = await hub(t, { lockMs: 500 })
    const sdk = await sdkDevice(t, ours, { way })
    await takeAll(sdk)
    const messages = Array.from({ length: 100 }, (_, i) => ({ body: `${i}`.padEnd(200, '.') }))
    // Enough for some of them.
    const fault = ours.emulator.fault({ dropAfterBytes: 10_000 })
    await sdk.do('send', { messages, isAtOnce: true })
    assert.equal(fault.strikes, 1)
    assert.equal(seen.connections, 2)
    // Each came, some perhaps twice: it sends those again whose outcome it does not know.
    const bodies = new Set()
    while (bodies.size < messages.length) bodies.add(text((await ours.nextEvent()).body))
    assert.deepEqual([...bodies].sort(), messages.map(({ body }) => body).sort())
    // The hub does not know yet: what it sends now is lost, and comes again when its lock has ended.
    ours.emulator.fault({ dropAfterBytes: 0 })
    const command = ours.emulator.sendToDevice(DEVICE, { body: 'under way' })
    assert.equal((await sdk.next('message')).body, 'under way')
    assert.equal(await t.wait(command, 'the end of the command'), 'success')
    assert.equal(seen.connections, 3)
    await sdk.do('close')
    assert.deepEqual(sdk.errors(), [])
  },
}))

const backEnds = ['tcp', 'ws'].map(way => ({
  name: `azure/recovery/service/${way}/drop`,
  async run(t) {
    const ours = await hub(t, { maxDeliveryCount: 1 })
    const seen = watchHubs(t)
    const sdk = await sdkService(t, ours, { way })
    await sdk.do('feedback')
    ours.emulator.fault({ dropAfterBytes: 0 })
    // It says so, and does nothing about it.
    assert.equal((await sdk.next('disconnect')).name, 'NotConnectedError')
    assert.equal((await sdk.next('error')).name, 'NotConnectedError')
    assert.equal(seen.connections, 1)
    // A send makes the connection again. One that is under way when it drops would end the SDK, with a RangeError.
    const device = await sdkDevice(t, ours)
    await device.do('receive')
    for (const body of ['after', 'again']) {
      await sdk.do('command', { deviceId: DEVICE, body })
      assert.equal((await device.next('message')).body, body)
    }
    assert.equal(seen.connections, 3)
    // Feedback has to be asked for again.
    await sdk.do('feedback')
    await sdk.do('command', { deviceId: DEVICE, body: 'reject', messageId: 'm1', ack: 'full' })
    const { body: records } = await sdk.next('feedback')
    assert.deepEqual([records[0].originalMessageId, records[0].statusCode], ['m1', 'Rejected'])
    assert.equal(seen.connections, 3)
    await Promise.all([sdk.do('close'), device.do('close')])
    assert.deepEqual([...sdk.errors(), ...device.errors()], [])
  },
}))

export const recoveryCases = [...devices, ...inFlight, ...backEnds]
