/** uAMQP at our `listen()`: opening, sending and receiving, outcomes, batches, large messages, refusals. */

import assert from 'node:assert/strict'
import { decodeMessage } from '../../../dist/codec.js'
import { SaslError, TransportError } from '../../../dist/index.js'
import { withResolvers } from '../support.mjs'
import { connected, done, linked, ourServer, patterned, run, sha256 } from './harness.mjs'

const COUNT = 100
const MIB = 1 << 20
/** The format of a batch, whose data sections are messages of their own. */
const BATCH_FORMAT = 0x8001_3700
const bodyOf = i => `message ${i} ${'ä'.repeat(i % 50)}`
const why = { condition: 'amqp:resource-deleted', description: 'the queue is gone' }

/** Takes deliveries until there were `count`. */
async function take(t, receiver, count, each) {
  for (let i = 0; i < count; i++) await each(await t.wait(receiver.receive(), `delivery ${i}`), i)
}

/**
 * How uAMQP ends a connection: it closes it, and its socket right behind, without waiting for an answer. When that
 * answer was already on its way, the system resets the connection and what uAMQP has said last may be lost.
 */
async function assertLeft(t, connection) {
  const { by, error } = await t.wait(connection.closed, 'our closed')
  if (by === 'remote') assert.equal(error, undefined)
  else assert.equal(by, 'transport')
}

const opening = [
  {
    name: 'uamqp/listener/open-and-attach',
    async run(t) {
      const { listener, reach } = await ourServer(t, { offeredCapabilities: ['one'], properties: { product: 'us' } })
      const attached = done(t, {
        ...reach,
        do: 'attach',
        connectionProperties: { product: 'uamqp' },
        linkProperties: { key: 'value' },
        desiredCapabilities: ['a', 'b'],
      })
      const reply = { properties: { product: 'us', level: 7 }, offeredCapabilities: ['a'] }
      const { connection, incoming } = await linked(t, listener, { reply })
      assert.equal(connection.identity, reach.user)
      assert.equal(connection.remote.hostname, 'localhost')
      assert.equal(connection.remote.maxFrameSize, 65_536)
      assert.equal(connection.remote.channelMax, 65_535)
      assert.equal(connection.remote.idleTimeOut, undefined)
      assert.equal(connection.remote.properties.get('product'), 'uamqp')
      assert.equal(incoming.remoteRole, 'sender')
      assert.equal(incoming.target.address, 'amqps://localhost/q')
      assert.equal(incoming.source.address, connection.remote.containerId)
      assert.equal(incoming.sndSettleMode, 'unsettled')
      assert.equal(incoming.rcvSettleMode, 'second')
      assert.equal(incoming.properties.get('key'), 'value')
      assert.deepEqual(incoming.desiredCapabilities, ['a', 'b'])
      const { source, target, properties } = await attached
      assert.equal(source, incoming.source.address)
      assert.equal(target, incoming.target.address)
      assert.deepEqual(properties, { product: 'us', level: 7 })
      await assertLeft(t, connection)
    },
  },
  {
    name: 'uamqp/listener/idle-time-out-is-kept-from-both-ends',
    async run(t) {
      const empty = { in: 0, out: 0 }
      const { listener, reach } = await ourServer(t, {
        idleTimeOut: 1000,
        trace: frame => {
          if (frame.layer === 'amqp' && frame.body === undefined) empty[frame.direction]++
        },
      })
      const attached = done(t, { ...reach, do: 'attach', seconds: 3, options: { idle_timeout: 1000 } })
      const { connection } = await linked(t, listener)
      assert.equal(connection.remote.idleTimeOut, 1000)
      await attached
      // Both announce a second, so that something has to come at least every second.
      assert.ok(empty.in >= 3, `${empty.in} heartbeats from uAMQP`)
      assert.ok(empty.out >= 2, `${empty.out} heartbeats from us`)
      await assertLeft(t, connection)
    },
  },
  {
    name: 'uamqp/listener/wrong-password',
    async run(t) {
      const refused = withResolvers()
      let acceptedAt = Number.NaN
      const transport = accepted => {
        acceptedAt = performance.now()
        return accepted
      }
      const { listener, reach } = await ourServer(t, { transport, onError: refused.resolve })
      listener.on('connection', () => t.fail(new Error('the wrong password was accepted')))
      const attached = run(t, { ...reach, password: 'wrong', do: 'attach' })
      const error = await t.wait(refused.promise, "our listener's error")
      const took = performance.now() - acceptedAt
      assert.ok(took < 1000, `refused after ${took} ms`)
      assert.ok(error instanceof SaslError, `${error}`)
      assert.equal(error.outcome, 'auth')
      assert.equal(error.scope, 'connection')
      // All that uAMQP says of an outcome of SASL.
      assert.equal((await attached).failed?.name, 'ConnectionClose')
    },
  },
  {
    name: 'uamqp/listener/no-common-mechanism',
    async run(t) {
      const failed = withResolvers()
      const { listener, reach } = await ourServer(t, { onError: failed.resolve })
      listener.on('connection', () => t.fail(new Error('a connection without a password was accepted')))
      const attached = run(t, { ...reach, auth: 'anonymous', do: 'attach' })
      // It goes without a word.
      const error = await t.wait(failed.promise, "our listener's error")
      assert.ok(error instanceof TransportError, `${error}`)
      assert.equal((await attached).failed?.name, 'ConnectionClose')
    },
  },
  {
    name: 'uamqp/listener/link-refused',
    async run(t) {
      const { listener, reach } = await ourServer(t)
      const sent = run(t, { ...reach, do: 'send', messages: [{ body: 'never sent' }] })
      const connection = await connected(t, listener)
      connection.on('session', async session =>
        (await session.accept()).on('link', link => link.refuse({ ...why, condition: 'amqp:not-found' })),
      )
      const { failed } = await sent
      assert.equal(failed?.name, 'LinkDetach')
      assert.match(failed.message, /the queue is gone/)
      await assertLeft(t, connection)
    },
  },
  {
    name: 'uamqp/listener/link-closed-with-error',
    async run(t) {
      const { listener, reach } = await ourServer(t)
      const sent = run(t, { ...reach, do: 'send', messages: [{ body: 'never settled' }] })
      const { connection, link } = await linked(t, listener)
      await t.wait(link.receive(), 'a delivery')
      await t.wait(link.close({ error: why }), 'our close()')
      const { failed } = await sent
      assert.equal(failed?.name, 'LinkDetach')
      assert.match(failed.message, /the queue is gone/)
      await assertLeft(t, connection)
    },
  },
  {
    name: 'uamqp/listener/connection-closed-with-error',
    async run(t) {
      const { listener, reach } = await ourServer(t)
      const sent = run(t, { ...reach, do: 'send', messages: [{ body: 'never settled' }] })
      const { connection, link } = await linked(t, listener)
      await t.wait(link.receive(), 'a delivery')
      await t.wait(connection.close({ error: why }), 'our close()')
      const { failed } = await sent
      assert.equal(failed?.name, 'ConnectionClose')
      assert.match(failed.message, /the queue is gone/)
    },
  },
]

/** What each way of writing the same frames must come to. */
const profiles = [
  { path: '', options: {} },
  {
    path: '-written-out',
    options: { wireProfile: { completePerformatives: true, symbolArrays: true } },
  },
]

const sending = [
  ...profiles.flatMap(({ path, options }) =>
    [1, COUNT].map(count => ({
      name: `uamqp/listener/sends/${count}${path}`,
      async run(t) {
        const { listener, reach } = await ourServer(t, options)
        const messages = Array.from({ length: count }, (_, i) => ({ body: bodyOf(i) }))
        const sent = done(t, { ...reach, do: 'send', messages })
        const { connection, link } = await linked(t, listener, { settle: 'first' })
        await take(t, link, count, (delivery, i) => {
          assert.equal(Buffer.from(delivery.message.body).toString(), bodyOf(i))
          assert.equal(delivery.settled, false)
          assert.equal(delivery.messageFormat, 0)
          return delivery.accept()
        })
        const { states, outcomes } = await sent
        assert.deepEqual(states, Array(count).fill('SendComplete'))
        assert.deepEqual(outcomes, Array(count).fill({ result: 'Ok', condition: null, description: null }))
        await assertLeft(t, connection)
      },
    })),
  ),
  {
    name: `uamqp/listener/sends/${COUNT}-presettled`,
    async run(t) {
      const { listener, reach } = await ourServer(t)
      const messages = Array.from({ length: COUNT }, (_, i) => ({ body: bodyOf(i) }))
      const sent = done(t, { ...reach, do: 'send', settle: 'Settled', messages })
      const { link, incoming } = await linked(t, listener)
      assert.equal(incoming.sndSettleMode, 'settled')
      await take(t, link, COUNT, ({ message, settled }, i) => {
        assert.equal(Buffer.from(message.body).toString(), bodyOf(i))
        assert.equal(settled, true)
      })
      assert.deepEqual((await sent).states, Array(COUNT).fill('SendComplete'))
    },
  },
  {
    name: 'uamqp/listener/sends/every-section',
    async run(t) {
      const { listener, reach } = await ourServer(t)
      const message = {
        body: 'grüße, 世界 🚢',
        header: { durable: true, priority: 7, time_to_live: 60_000 },
        annotations: { 'x-opt-key': 'value', 'x-opt-count': 3 },
        properties: {
          message_id: 'id-1',
          user_id: 'somebody',
          to: '/a/b',
          subject: 'about',
          reply_to: '/c',
          correlation_id: 'id-0',
          content_type: 'text/plain',
          content_encoding: 'utf-8',
          group_id: 'g',
          group_sequence: 4_000_000_000,
          reply_to_group_id: 'h',
        },
        applicationProperties: { text: 'ä', yes: true, no: false, number: 7, large: 2 ** 40, half: 0.5 },
      }
      const sent = done(t, { ...reach, do: 'send', messages: [message] })
      const { link } = await linked(t, listener, { settle: 'first' })
      const delivery = await t.wait(link.receive(), 'a delivery')
      const { header, messageAnnotations, properties, applicationProperties, body } = delivery.message.toInit()
      await delivery.accept()
      assert.equal(Buffer.from(body).toString(), message.body)
      assert.equal(header.durable, true)
      assert.equal(header.priority, 7)
      assert.equal(header.ttl, 60_000)
      assert.equal(messageAnnotations.get('x-opt-key'), 'value')
      assert.equal(Number(messageAnnotations.get('x-opt-count')), 3)
      assert.equal(Buffer.from(properties.userId).toString(), 'somebody')
      const { userId: _, ...others } = properties
      assert.deepEqual(present(others), {
        messageId: 'id-1',
        to: '/a/b',
        subject: 'about',
        replyTo: '/c',
        correlationId: 'id-0',
        contentType: 'text/plain',
        contentEncoding: 'utf-8',
        groupId: 'g',
        groupSequence: 4_000_000_000,
        replyToGroupId: 'h',
      })
      const { number, large, ...simple } = Object.fromEntries(applicationProperties)
      assert.deepEqual(simple, { text: 'ä', yes: true, no: false, half: 0.5 })
      assert.equal(Number(number), 7)
      assert.equal(Number(large), 2 ** 40)
      assert.deepEqual((await sent).states, ['SendComplete'])
    },
  },
  {
    name: 'uamqp/listener/sends/rejected-and-released',
    async run(t) {
      const { listener, reach } = await ourServer(t)
      const messages = ['accept', 'reject', 'release'].map(body => ({ body }))
      const sent = done(t, { ...reach, do: 'send', messages })
      const { link } = await linked(t, listener, { settle: 'first' })
      let released = 0
      // What is released is sent again, in the end to be accepted. (`modified` would be no use: uAMQP cannot read it.)
      await take(t, link, messages.length + 1, delivery => {
        const body = Buffer.from(delivery.message.body).toString()
        if (body === 'reject')
          return delivery.reject({ condition: 'amqp:precondition-failed', description: 'not today' })
        if (body === 'release' && released++ === 0) return delivery.release()
        return delivery.accept()
      })
      const { states, outcomes } = await sent
      assert.equal(released, 2)
      assert.deepEqual(states, ['SendComplete', 'SendFailed', 'SendComplete'])
      assert.deepEqual(
        outcomes.find(({ result }) => result !== 'Ok'),
        { result: 'Error', condition: 'amqp:precondition-failed', description: 'not today' },
      )
    },
  },
  {
    name: 'uamqp/listener/sends/batch',
    async run(t) {
      const { listener, reach } = await ourServer(t)
      const batch = Array.from({ length: COUNT }, (_, i) => bodyOf(i))
      const sent = done(t, { ...reach, do: 'send', batch })
      const { link } = await linked(t, listener, { settle: 'first' })
      const delivery = await t.wait(link.receive(), 'a delivery')
      assert.equal(delivery.messageFormat, BATCH_FORMAT)
      const { data } = delivery.message.body
      assert.equal(data.length, COUNT)
      // Each item is a message in itself.
      for (const [i, item] of data.entries()) assert.equal(Buffer.from(decodeMessage(item).body).toString(), bodyOf(i))
      await delivery.accept()
      assert.deepEqual((await sent).states, ['SendComplete'])
    },
  },
  {
    name: 'uamqp/listener/sends/1-mib',
    async run(t) {
      const { listener, reach } = await ourServer(t, { maxFrameSize: 4096 })
      const sent = done(t, { ...reach, do: 'send', messages: [{ size: MIB }], options: { max_message_size: 2 * MIB } })
      const { link } = await linked(t, listener, { settle: 'first' })
      const delivery = await t.wait(link.receive(), 'a delivery', 10_000)
      assert.equal(delivery.message.body.length, MIB)
      assert.equal(sha256(delivery.message.body), sha256(patterned(MIB)))
      await delivery.accept()
      assert.deepEqual((await sent).states, ['SendComplete'])
    },
  },
]

const present = object => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))

const receiving = [
  ...profiles.flatMap(({ path, options }) =>
    [1, COUNT].map(count => ({
      name: `uamqp/listener/receives/${count}${path}`,
      async run(t) {
        const { listener, reach } = await ourServer(t, options)
        const received = done(t, { ...reach, do: 'receive', count, seconds: 10, prefetch: COUNT })
        const { connection, incoming, link } = await linked(t, listener)
        assert.equal(incoming.remoteRole, 'receiver')
        assert.equal(incoming.source.address, 'amqps://localhost/q')
        const sent = Array.from({ length: count }, (_, i) => link.send({ body: Buffer.from(bodyOf(i)) }))
        const outcomes = await t.wait(Promise.all(sent), 'every outcome', 10_000)
        assert.deepEqual(outcomes, Array(count).fill({ outcome: 'accepted' }))
        const { messages } = await received
        assert.deepEqual(
          messages.map(({ body }) => body),
          Array.from({ length: count }, (_, i) => bodyOf(i)),
        )
        await assertLeft(t, connection)
      },
    })),
  ),
  {
    name: 'uamqp/listener/receives/every-section',
    async run(t) {
      const { listener, reach } = await ourServer(t)
      const received = done(t, { ...reach, do: 'receive', count: 1, seconds: 10 })
      const { link } = await linked(t, listener)
      const sent = link.send({
        header: { durable: true, priority: 7 },
        messageAnnotations: { 'x-opt-key': 'value' },
        properties: {
          messageId: 'id-1',
          userId: Buffer.from('somebody'),
          to: '/a/b',
          subject: 'about',
          correlationId: 'id-0',
          contentType: 'text/plain',
          groupSequence: 4_000_000_000,
        },
        applicationProperties: { text: 'ä', yes: true, half: 0.5 },
        body: { data: [Buffer.from('grüße, '), Buffer.from('世界 🚢')] },
        footer: { checked: true },
      })
      assert.deepEqual(await t.wait(sent, 'the outcome', 10_000), { outcome: 'accepted' })
      const [message] = (await received).messages
      assert.equal(message.body, 'grüße, 世界 🚢')
      assert.equal(message.message_id, 'id-1')
      assert.equal(message.user_id, 'somebody')
      assert.equal(message.to, '/a/b')
      assert.equal(message.subject, 'about')
      assert.equal(message.correlation_id, 'id-0')
      assert.equal(message.content_type, 'text/plain')
      assert.equal(message.group_sequence, 4_000_000_000)
      assert.deepEqual(message.applicationProperties, { text: 'ä', yes: true, half: 0.5 })
      assert.deepEqual(message.annotations, { 'x-opt-key': 'value' })
    },
  },
  {
    name: 'uamqp/listener/receives/outcomes',
    async run(t) {
      const { listener, reach } = await ourServer(t)
      const settle = ['accept', 'release', 'reject', 'modify']
      const received = done(t, { ...reach, do: 'receive', count: settle.length, settle, seconds: 10 })
      const { link } = await linked(t, listener)
      const sent = settle.map(body => link.send({ body: Buffer.from(body) }))
      const [accepted, released, rejected, modified] = await t.wait(Promise.all(sent), 'every outcome', 10_000)
      assert.deepEqual(accepted, { outcome: 'accepted' })
      assert.deepEqual(released, { outcome: 'released' })
      assert.equal(rejected.outcome, 'rejected')
      assert.equal(rejected.error.condition, 'amqp:precondition-failed')
      assert.equal(rejected.error.description, 'not today')
      assert.equal(modified.outcome, 'modified')
      assert.equal(modified.deliveryFailed, true)
      assert.equal(modified.undeliverableHere, true)
      await received
    },
  },
  {
    name: `uamqp/listener/receives/${COUNT}-presettled`,
    async run(t) {
      const { listener, reach } = await ourServer(t)
      const received = done(t, { ...reach, do: 'receive', count: COUNT, mode: 'ReceiveAndDelete', seconds: 10 })
      const { incoming, link } = await linked(t, listener, { settle: 'settled' })
      assert.equal(incoming.rcvSettleMode, 'first')
      const sent = Array.from({ length: COUNT }, (_, i) => link.send({ body: Buffer.from(bodyOf(i)) }))
      assert.deepEqual(await t.wait(Promise.all(sent), 'every hand-over'), Array(COUNT).fill({ outcome: 'accepted' }))
      const { messages } = await received
      assert.deepEqual(
        messages.map(({ body }) => body),
        Array.from({ length: COUNT }, (_, i) => bodyOf(i)),
      )
    },
  },
  {
    name: 'uamqp/listener/receives/1-mib',
    async run(t) {
      const { listener, reach } = await ourServer(t)
      const options = { max_message_size: 2 * MIB }
      const received = done(t, { ...reach, do: 'receive', count: 1, seconds: 10, options })
      const { link } = await linked(t, listener)
      assert.equal(link.remoteMaxMessageSize, BigInt(2 * MIB))
      const body = patterned(MIB)
      assert.deepEqual(await t.wait(link.send({ body }), 'the outcome', 10_000), { outcome: 'accepted' })
      const [message] = (await received).messages
      assert.equal(message.size, MIB)
      assert.equal(message.sha256, sha256(body))
    },
  },
]

export const listenerCases = [...opening, ...sending, ...receiving]
