/** Tokens that live for seconds: those that the SDK renews, and those that it does not. No tolerance on our side. */

import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { watchHubs } from '../support.mjs'
import { DEVICE, exercise, hub, sdkDevice, sdkService, takeAll, tokenFor } from './harness.mjs'

/** Seconds; a token's life is up to one less, since its end is rounded down. It is renewed after one second. */
const RENEWAL = { tokenValidTimeInSeconds: 3, tokenRenewalMarginInSeconds: 2 }
const LIVES = 2

/** Over both at the same time, since it takes long. */
const overBoth = run => Promise.all(['tcp', 'ws'].map(run))
/** Enough for the SDK to connect and be used once. */
const SECONDS = 3

const renewed = [
  {
    name: 'azure/renewal/device-and-module/by-key',
    async run(t) {
      // At the same time, since it takes long: both are clients of their own.
      const places = [
        { isModule: false, way: 'tcp' },
        { isModule: true, way: 'ws' },
      ]
      const seen = watchHubs(t)
      const used = await Promise.all(
        places.map(async place => {
          const ours = await hub(t, { tokenSkewMs: 0 })
          const sdk = await sdkDevice(t, ours, { ...place, renewal: RENEWAL })
          await takeAll(sdk, place)
          const end = Date.now() + LIVES * RENEWAL.tokenValidTimeInSeconds * 1000
          let times = 0
          while (Date.now() < end) {
            await exercise(t, ours, sdk, `${times++}`, place)
            await delay(250)
          }
          await sdk.do('close')
          assert.deepEqual([...sdk.errors(), ...sdk.all('disconnect')], [])
          return times
        }),
      )
      assert.ok(
        used.every(times => times > 10),
        `used ${used} times`,
      )
      assert.equal(seen.connections, places.length)
      // The first, and one a second.
      const atLeast = places.length * (LIVES * RENEWAL.tokenValidTimeInSeconds - 1)
      assert.ok(seen.tokens >= atLeast, `${seen.tokens} tokens, not ${atLeast}`)
    },
  },
  {
    name: 'azure/renewal/device/by-hand',
    async run(t) {
      const seen = watchHubs(t)
      const ours = await hub(t, { tokenSkewMs: 0 })
      const device = { deviceId: DEVICE }
      const sdk = await sdkDevice(t, ours, { makeToken: () => tokenFor(ours.emulator, device, 'tcp', SECONDS) })
      await takeAll(sdk)
      await exercise(t, ours, sdk, 'before')
      await sdk.do('putToken', { token: await tokenFor(ours.emulator, device, 'tcp', 60) })
      await delay(SECONDS * 1000)
      await exercise(t, ours, sdk, 'after')
      // It has put the new one twice.
      assert.deepEqual(seen, { connections: 1, tokens: 3 })
      await sdk.do('close')
      assert.deepEqual([...sdk.errors(), ...sdk.all('disconnect')], [])
    },
  },
]

const expired = [
  {
    name: 'azure/renewal/device/expired',
    async run(t) {
      const seen = watchHubs(t)
      const who = { deviceId: DEVICE }
      const clients = await overBoth(async way => {
        const ours = await hub(t, { tokenSkewMs: 0 })
        const sdk = await sdkDevice(t, ours, { makeToken: () => tokenFor(ours.emulator, who, way, SECONDS), way })
        await takeAll(sdk)
        await exercise(t, ours, sdk, 'before')
        assert.equal((await sdk.next('disconnect')).name, 'UnauthorizedError')
        assert.equal(ours.emulator.twin(DEVICE).connectionState, 'Disconnected')
        // It tries once more, and gives up.
        const { failed } = await sdk.attempt('send', { messages: [{ body: 'late' }] })
        assert.deepEqual([failed?.name, failed?.message], ['UnauthorizedError', 'the token has expired'])
        return { way, ours, sdk }
      })
      assert.deepEqual(seen, { connections: 4, tokens: 4 })
      for (const { way, ours, sdk } of clients) {
        await sdk.do('putToken', { token: await tokenFor(ours.emulator, who, way, 60) })
        await sdk.do('send', { messages: [{ body: 'after' }] })
        assert.equal(new TextDecoder().decode((await ours.nextEvent()).body), 'after')
        await sdk.do('close')
        assert.deepEqual(sdk.errors(), [])
      }
      assert.equal(seen.connections, 6)
    },
  },
  {
    name: 'azure/renewal/service/expired',
    async run(t) {
      const seen = watchHubs(t)
      await overBoth(async way => {
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
      })
      assert.deepEqual(seen, { connections: 4, tokens: 4 })
    },
  },
]

export const renewalCases = [...renewed, ...expired]
