/**
 * Links: settlement in all modes, large messages, credit by hand and drains, both ways round. `proton/client` is Proton at
 * our `listen()`, `proton/broker` our client at a broker on Proton's engine, which answers drains and no echo.
 */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { listen } from '../../../dist/index.js'
import { atBroker, run } from './harness.mjs'

const MIB = 1 << 20
const MANY = 500
const ACCEPTED = 0x24

/** Bytes in which a piece that is lost, doubled or moved shows; `client.py` makes the same. */
function patterned(size) {
  const bytes = Buffer.alloc(size)
  for (let i = 0; i < size; i += 4) bytes.writeUInt32BE(Math.imul(i, 2654435761) >>> 0, i)
  return bytes
}

const sha256 = bytes => createHash('sha256').update(bytes).digest('hex')

/** Our listener; `onLink` gets the link that Proton attaches. */
async function ourServer(t, onLink) {
  const listener = await listen()
  t.defer(() => listener.close())
  listener.on('error', error => t.fail(error))
  listener.on('connection', connection =>
    connection.on('session', async incoming => {
      const session = await incoming.accept()
      session.on('link', link => onLink(link).catch(error => t.fail(error)))
    }),
  )
  return listener.port
}

const modes = ['settled', 'unsettled', 'second']
const volumes = [
  { path: `${MANY}-messages`, count: MANY, size: 1024 },
  { path: '10-mib', count: 1, size: 10 * MIB },
]

const clientSends = modes.flatMap(settle =>
  volumes.map(({ path, count, size }) => ({
    name: `proton/client/sends/${settle}/${path}`,
    async run(t) {
      const body = patterned(size)
      const seen = { right: 0, settled: 0 }
      const port = await ourServer(t, async link => {
        assert.equal(link.remoteRole, 'sender')
        for await (const delivery of await link.accept()) {
          if (body.equals(delivery.message.body)) seen.right++
          if (delivery.settled) seen.settled++
          // In mode second this waits for Proton to settle.
          await delivery.accept()
        }
      })
      const result = await run(t, { do: 'send', port, count, size, settle }, 'client.py')
      await t.until('every message', () => seen.right === count)
      assert.equal(seen.settled, settle === 'settled' ? count : 0)
      assert.deepEqual(result, {
        states: settle === 'settled' ? [] : Array(count).fill(ACCEPTED),
        settled: settle === 'unsettled' ? count : 0,
      })
    },
  })),
)

/** Our listener sends `count` messages to whoever attaches. */
async function sending(t, count, size) {
  const bodies = Array.from({ length: count }, (_, i) => patterned(size + 4 * (i % 7)))
  const seen = { outcomes: [] }
  const port = await ourServer(t, async link => {
    assert.equal(link.remoteRole, 'receiver')
    const sender = await link.accept()
    for (const body of bodies)
      sender.send({ body }).then(
        ({ outcome }) => seen.outcomes.push(outcome),
        () => seen.outcomes.push('lost'),
      )
  })
  return { port, seen, digests: bodies.map(sha256) }
}

const clientReceives = modes.flatMap(settle =>
  volumes.map(({ path, count, size }) => ({
    name: `proton/client/receives/${settle}/${path}`,
    async run(t) {
      const { port, seen, digests } = await sending(t, count, size)
      const steps = [['flow', count, count]]
      const result = await run(t, { do: 'receive', port, settle, steps }, 'client.py')
      assert.deepEqual(result, { digests, presettled: settle === 'settled' ? count : 0, steps: [[count, 0]] })
      await t.until('every outcome', () => seen.outcomes.length === count)
      assert.deepEqual(seen.outcomes, Array(count).fill('accepted'))
    },
  })),
)

const clientCredit = {
  name: 'proton/client/receives/credit-and-drain',
  async run(t) {
    const { port, digests } = await sending(t, 10, 64)
    const steps = [
      ['flow', 3, 3],
      ['flow', 1, 4],
      // All of it is used.
      ['drain', 2, 6],
      // Six of it come back.
      ['drain', 10, 10],
      // Nothing is there.
      ['drain', 5, 10],
    ]
    const result = await run(t, { do: 'receive', port, settle: 'unsettled', steps }, 'client.py')
    assert.deepEqual(result.digests, digests)
    assert.deepEqual(result.steps, [
      [3, 0],
      [4, 0],
      [6, 0],
      [10, 6],
      [10, 5],
    ])
  },
}

/** Sends to the broker, which accepts each. */
async function fill(t, connection, bodies, settle) {
  const sender = await connection.sender('q', { settle })
  const sends = bodies.map(body => sender.send({ body }))
  assert.deepEqual(
    await t.wait(Promise.all(sends), 'outcomes', 15_000),
    sends.map(() => ({ outcome: 'accepted' })),
  )
  return sender
}

const brokers = [
  ...['settled', 'unsettled', 'second'].flatMap(settle =>
    volumes.map(({ path, count, size }) => ({
      name: `proton/broker/${settle}/${path}`,
      async run(t) {
        const connection = await atBroker(t)
        const bodies = Array.from({ length: count }, (_, i) => patterned(size + 4 * (i % 7)))
        await fill(t, connection, bodies, settle === 'settled' ? 'settled' : 'unsettled')
        const receiver = await connection.receiver('q', {
          sndSettleMode: settle === 'settled' ? 'settled' : 'unsettled',
          settle: settle === 'second' ? 'second' : 'first',
        })
        for (const body of bodies) {
          const delivery = await t.wait(receiver.receive(), 'a delivery', 15_000)
          assert.ok(body.equals(delivery.message.body))
          assert.equal(delivery.settled, settle === 'settled')
          await t.wait(delivery.accept(), 'the settlement')
          assert.equal(delivery.state, 'settled')
        }
      },
    })),
  ),
  {
    name: 'proton/broker/credit-and-drain',
    async run(t) {
      const connection = await atBroker(t)
      const bodies = Array.from({ length: 10 }, (_, i) => `message ${i}`)
      await fill(t, connection, bodies)
      const receiver = await connection.receiver('q', { credit: 'manual' })
      const seen = []
      const taking = (async () => {
        for await (const delivery of receiver) {
          seen.push(delivery.message.body)
          await delivery.accept()
        }
      })()
      receiver.addCredit(3)
      await t.until('three deliveries', () => seen.length >= 3)
      await delay(100)
      assert.equal(seen.length, 3)
      for (const [credit, sum] of [
        [2, 5],
        [10, 10],
        [4, 10],
      ]) {
        receiver.addCredit(credit)
        await t.wait(receiver.drain(), 'the end of the drain')
        await t.until(`${sum} deliveries`, () => seen.length >= sum)
        assert.equal(seen.length, sum)
      }
      assert.deepEqual(seen, bodies)
      // All credit is gone: what comes now stays there.
      const sender = await fill(t, connection, ['late'])
      await delay(100)
      assert.equal(seen.length, 10)
      await receiver.close()
      await taking
      await sender.close()
    },
  },
  {
    name: 'proton/broker/get',
    async run(t) {
      const connection = await atBroker(t)
      await fill(t, connection, ['one'])
      const receiver = await connection.receiver('q', { credit: 'manual' })
      const delivery = await t.wait(receiver.get(), 'a message')
      assert.equal(delivery.message.body, 'one')
      await delivery.accept()
      assert.equal(await t.wait(receiver.get(), 'nothing'), undefined)
    },
  },
  {
    name: 'proton/broker/stop',
    async run(t) {
      const connection = await atBroker(t)
      const receiver = await connection.receiver('q')
      await delay(50)
      // Proton's engine answers no echo: the drain that follows it is answered.
      await t.wait(receiver.stop(), 'our stop()', 2_000)
      await fill(t, connection, ['one'])
      receiver.addCredit(1)
      assert.equal((await t.wait(receiver.receive(), 'a delivery')).message.body, 'one')
      const other = await connection.receiver('q')
      await delay(50)
      const started = Date.now()
      await t.wait(other.close(), 'our close()', 2_000)
      assert.ok(Date.now() - started < 900, `a close of ${Date.now() - started} ms`)
    },
  },
]

export const linkCases = [...clientSends, ...clientReceives, clientCredit, ...brokers]
