/**
 * Transactions: `proton/coordinator` is Proton's controller at our `listen()`; `proton/controller` are ours at a broker on
 * Proton's engine. Proton has no coordinator of its own, so that half of it is `peer.py`.
 */

import assert from 'node:assert/strict'
import { listen, TransactionError } from '../../../dist/index.js'
import { atBroker, run } from './harness.mjs'

const COUNT = 5
const ACCEPTED = 0x24

/** Our broker: what has committed, and how what it sends from `s` ends. */
async function ourBroker(t, { refuse = false } = {}) {
  const seen = { committed: [], rolledBack: [], outcomes: [] }
  const bodies = ({ posted }) => posted.map(({ message }) => message.body)
  const listener = await listen({
    coordinator: {
      commit: transaction => {
        if (refuse) throw Object.assign(new Error('no'), { condition: 'amqp:not-allowed' })
        seen.committed.push({ posted: bodies(transaction), retired: transaction.retired.length })
      },
      rollback: transaction =>
        seen.rolledBack.push({ posted: bodies(transaction), retired: transaction.retired.length }),
    },
  })
  t.defer(() => listener.close())
  listener.on('error', error => t.fail(error))
  listener.on('connection', connection =>
    connection.on('session', async incoming => {
      const session = await incoming.accept()
      session.on('link', async link => {
        if (link.remoteRole === 'sender') {
          for await (const delivery of await link.accept()) await delivery.accept()
          return
        }
        const sender = await link.accept()
        for (let i = 0; i < COUNT; i++)
          sender.send({ body: `message ${i}` }).then(
            ({ outcome }) => seen.outcomes.push(outcome),
            () => seen.outcomes.push('lost'),
          )
      })
    }),
  )
  return { seen, port: listener.port }
}

const messages = Array.from({ length: COUNT }, (_, i) => `message ${i}`)

const coordinator = [
  ...['commit', 'abort'].map(end => ({
    name: `proton/coordinator/post-${end}`,
    async run(t) {
      const { seen, port } = await ourBroker(t)
      const result = await run(t, { do: 'controller', port, work: 'post', end, count: COUNT })
      assert.deepEqual(result, {
        end: end === 'commit' ? 'committed' : 'aborted',
        outcomes: messages.map(() => ACCEPTED),
      })
      const held = end === 'commit' ? seen.committed : seen.rolledBack
      await t.until('the end of the transaction', () => held.length > 0)
      assert.deepEqual(held, [{ posted: messages, retired: 0 }])
    },
  })),
  ...[false, true].flatMap(settleBefore =>
    ['commit', 'abort'].map(end => ({
      name: `proton/coordinator/retire-${end}${settleBefore ? '-settled-before' : ''}`,
      async run(t) {
        const { seen, port } = await ourBroker(t)
        const result = await run(t, { do: 'controller', port, work: 'retire', end, count: COUNT, settleBefore })
        assert.deepEqual(result, { end: end === 'commit' ? 'committed' : 'aborted', outcomes: messages })
        await t.until('outcomes', () => seen.outcomes.length === COUNT)
        // What is not settled before an abort Proton releases; what is gets the default outcome.
        assert.deepEqual(seen.outcomes, Array(COUNT).fill(end === 'commit' ? 'accepted' : 'released'))
        const held = end === 'commit' ? seen.committed : seen.rolledBack
        assert.deepEqual(held, [{ posted: [], retired: COUNT }])
      },
    })),
  ),
  {
    name: 'proton/coordinator/refused',
    async run(t) {
      const { port } = await ourBroker(t, { refuse: true })
      const result = await run(t, { do: 'controller', port, work: 'post', end: 'commit', count: COUNT })
      assert.equal(result.end, 'refused')
    },
  },
]

const controller = [
  {
    name: 'proton/controller/post',
    async run(t) {
      const connection = await atBroker(t)
      const sender = await connection.sender('q')
      const [kept, lost] = [await connection.transaction(), await connection.transaction()]
      for (const body of messages) {
        assert.deepEqual(await sender.send({ body }, { transaction: kept }), { outcome: 'accepted' })
        await sender.send({ body: `not ${body}` }, { transaction: lost })
      }
      await lost.rollback()
      await kept.commit()
      const receiver = await connection.receiver('q')
      for (const body of messages) {
        const delivery = await t.wait(receiver.receive(), body)
        assert.equal(delivery.message.body, body)
        await delivery.accept()
      }
    },
  },
  {
    name: 'proton/controller/large-message',
    async run(t) {
      const connection = await atBroker(t)
      const sender = await connection.sender('q')
      const transaction = await connection.transaction()
      const body = Buffer.alloc(1 << 20, 7)
      const sent = sender.send({ body }, { transaction })
      await transaction.commit()
      await sent
      const delivery = await t.wait((await connection.receiver('q')).receive(), 'the message')
      assert.ok(body.equals(delivery.message.body))
    },
  },
  {
    name: 'proton/controller/retire',
    async run(t) {
      const connection = await atBroker(t)
      const sender = await connection.sender('q')
      await sender.send({ body: 'one' })
      const receiver = await connection.receiver('q')
      const delivery = await t.wait(receiver.receive(), 'the message')
      const back = await connection.transaction()
      await delivery.accept({ transaction: back })
      await back.rollback()
      assert.equal(delivery.state, 'live')
      const again = await connection.transaction()
      await delivery.release({ transaction: again })
      await again.commit()
      const second = await t.wait(receiver.receive(), 'the message again')
      assert.equal(second.message.body, 'one')
      await second.accept()
    },
  },
  {
    name: 'proton/controller/refused',
    async run(t) {
      const connection = await atBroker(t)
      const sender = await connection.sender('full')
      const transaction = await connection.transaction()
      await sender.send({ body: 'one' }, { transaction })
      await assert.rejects(transaction.commit(), error => {
        assert.ok(error instanceof TransactionError)
        assert.equal(error.condition, 'amqp:transaction:rollback')
        assert.equal(error.fate, 'rolled-back')
        return true
      })
    },
  },
]

export const transactionCases = [...coordinator, ...controller]
