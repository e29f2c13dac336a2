/**
 * Tokens that live for seconds: those that the SDK renews, and those that nobody does. No tolerance on our side.
 *
 * Since it takes long, what is alike goes on at the same time, each client at a hub of its own.
 */

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { watchHubs } from '../support.mjs'
import { DEVICE, exercise, hub, sdkDevice, sdkService, takeAll, tokenFor } from './harness.mjs'

/** Seconds; a token's life is up to one less, since its end is rounded down. It is renewed after one second. */
const RENEWAL = { tokenValidTimeInSeconds: 3, tokenRenewalMarginInSeconds: 2 }
/** What a token made elsewhere lives, in seconds: enough for the SDK to connect and be used once. */
const SECONDS = 4
/** Two lives. */
const USE_MS = 6000
/** How often all of it is used at least: mostly about three times a second. */
const TIMES = 6

const device = { deviceId: DEVICE }

/** Uses all that a device can do, again and again; then nothing may have been complained of. */
async function keepUsing(t, ours, sdk, place) {
  const end = Date.now() + USE_MS
  let times = 0
  while (Date.now() < end) {
    await exercise(t, ours, sdk, `${times++}`, place)
    await delay(250)
  }
  assert.ok(times >= TIMES, `${times} times`)
  await sdk.do('close')
  assert.deepEqual([...sdk.errors(), ...sdk.all('disconnect')], [])
}

/** The SDK makes its tokens. */
async function byKey(t, place) {
  const ours = await hub(t, { tokenSkewMs: 0 })
  const sdk = await sdkDevice(t, ours, { ...place, renewal: RENEWAL })
  await takeAll(sdk, place)
  await keepUsing(t, ours, sdk, place)
}

/** It is handed the second token, which is to last. */
async function byHand(t, place) {
  const ours = await hub(t, { tokenSkewMs: 0 })
  const makeToken = seconds => tokenFor(ours.emulator, device, place.way, seconds)
  const sdk = await sdkDevice(t, ours, { ...place, makeToken: () => makeToken(SECONDS) })
  await takeAll(sdk)
  await sdk.do('putToken', { token: await makeToken(60) })
  await keepUsing(t, ours, sdk, place)
}

const renewed = {
  name: 'azure/renewal/renewed',
  async run(t) {
    const seen = watchHubs(t)
    const clients = [byKey(t, { way: 'tcp' }), byKey(t, { isModule: true, way: 'ws' }), byHand(t, { way: 'tcp' })]
    await Promise.all(clients)
    assert.equal(seen.connections, clients.length)
    // The first, one a second or so, and the second of the last client, which it puts twice.
    assert.ok(seen.tokens >= 2 * 5 + 3, `${seen.tokens} tokens`)
  },
}

/** Its token is over: it is told so, tries once more, and goes on with another. */
async function expiredDevice(t, way) {
  const ours = await hub(t, { tokenSkewMs: 0 })
  const makeToken = seconds => tokenFor(ours.emulator, device, way, seconds)
  const sdk = await sdkDevice(t, ours, { makeToken: () => makeToken(SECONDS), way })
  await takeAll(sdk)
  await exercise(t, ours, sdk, 'before')
  assert.equal((await sdk.next('disconnect')).name, 'UnauthorizedError')
  assert.equal(ours.emulator.twin(DEVICE).connectionState, 'Disconnected')
  const { failed } = await sdk.attempt('send', { messages: [{ body: 'late' }] })
  assert.deepEqual([failed?.name, failed?.message], ['UnauthorizedError', 'the token has expired'])
  await sdk.do('putToken', { token: await makeToken(60) })
  await sdk.do('send', { messages: [{ body: 'after' }] })
  assert.equal(new TextDecoder().decode((await ours.nextEvent()).body), 'after')
  await sdk.do('close')
  assert.deepEqual(sdk.errors(), [])
}

/** The same; it cannot be handed another. */
async function expiredService(t, way) {
  const ours = await hub(t, { tokenSkewMs: 0 })
  const makeToken = () => tokenFor(ours.emulator, { service: true }, way, SECONDS)
  const sdk = await sdkService(t, ours, { makeToken, way })
  await sdk.do('command', { deviceId: DEVICE, body: 'before' })
  assert.equal((await sdk.next('disconnect')).name, 'amqp:unauthorized-access')
  const { failed } = await sdk.attempt('command', { deviceId: DEVICE, body: 'late' })
  assert.equal(failed?.message, 'AMQP Transport: Could not send message')
  assert.equal(ours.emulator.purgeMessages(DEVICE), 1)
  await sdk.do('close')
  assert.deepEqual(sdk.errors(), [])
}

const expired = {
  name: 'azure/renewal/expired',
  async run(t) {
    const seen = watchHubs(t)
    await Promise.all(['tcp', 'ws'].flatMap(way => [expiredDevice(t, way), expiredService(t, way)]))
    // Twice each, and each device once more.
    assert.deepEqual(seen, { connections: 10, tokens: 10 })
  },
}

export const renewalCases = [renewed, expired]
