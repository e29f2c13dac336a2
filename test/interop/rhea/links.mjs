/** Links with rhea: detach, refusal, drain, termini. */

import assert from 'node:assert/strict'
import { ClosedError, Described, RemoteError, symbol, ulong } from '../../../dist/index.js'
import { settled } from '../support.mjs'
import {
  firstConnection,
  firstLink,
  heard,
  linked,
  ourClient,
  ourServer,
  rhea,
  rheaClient,
  rheaServer,
  ways,
} from './harness.mjs'

const why = { condition: 'amqp:resource-deleted', description: 'the queue is gone' }

/** What rhea calls its end of a link that it sends or receives on. */
const theirEnd = ({ from }) => (from === 'rhea' ? 'sender' : 'receiver')

const detaching = ways.flatMap(way => [
  {
    name: `${way.path}/closed-with-error-by-us`,
    async run(t) {
      const { ours, theirs } = await linked(t, way)
      const failed = heard(t, theirs, `${theirEnd(way)}_error`)
      await t.wait(ours.close({ error: { ...why, info: { queue: 'q' } } }), 'our close()')
      await failed
      assert.equal(theirs.error.condition, why.condition)
      assert.equal(theirs.error.description, why.description)
      assert.deepEqual(theirs.error.info, { queue: 'q' })
      assert.equal(theirs.remote.detach.closed, true)
      assert.deepEqual(await ours.closed, { by: 'local', error: undefined })
    },
  },
  {
    name: `${way.path}/closed-with-error-by-rhea`,
    async run(t) {
      const { ours, theirs } = await linked(t, way, { theirs: { link: { credit_window: 0 } } })
      const pending = settled(way.from === 'us' ? ours.send({ body: 'waits' }) : ours.receive())
      theirs.close(why)
      const { by, error } = await t.wait(ours.closed, 'our closed')
      assert.equal(by, 'remote')
      assert.ok(error instanceof RemoteError)
      assert.equal(error.condition, why.condition)
      assert.equal(error.description, why.description)
      assert.equal(error.scope, 'link')
      const rejected = (await t.wait(pending, 'what was pending')).error
      assert.ok(rejected instanceof ClosedError, `${rejected}`)
      assert.equal(rejected.cause, error)
      assert.equal(rejected.condition, why.condition)
    },
  },
  {
    name: `${way.path}/closed-by-us-and-opened-again`,
    async run(t) {
      const { ours, theirs } = await linked(t, way)
      const closed = heard(t, theirs, `${theirEnd(way)}_close`)
      await t.wait(ours.close(), 'our close()')
      await closed
      assert.equal(theirs.error, undefined)
      // The handle and the name are free again at both ends.
      const { session } = ours
      theirs.session.on(`${theirEnd(way)}_open`, context => {
        context[theirEnd(way)].set_source({ address: 'again' })
        context[theirEnd(way)].set_target({ address: 'again' })
      })
      const options = { name: ours.name }
      const again = way.from === 'us' ? session.sender('again', options) : session.receiver('again', options)
      assert.equal((await t.wait(again, 'our second attach')).name, ours.name)
    },
  },
  {
    name: `${way.path}/detached-by-us`,
    async run(t) {
      const { ours, theirs } = await linked(t, way)
      const closed = heard(t, theirs, `${theirEnd(way)}_close`)
      await t.wait(ours.detach(), 'our detach()')
      await closed
      assert.ok(!theirs.remote.detach.closed)
      // rhea answers with a closing detach, which must not end more than the link.
      await t.wait(ours.session.end(), 'our end()')
      assert.deepEqual(await ours.session.closed, { by: 'local', error: undefined })
    },
  },
])

/** rhea refuses as §2.6.3 says: an attach without the terminus, then a detach that says why. */
const refusals = [
  ...['sender', 'receiver'].map(kind => ({
    name: `rhea/server/refuses-our-${kind}`,
    async run(t) {
      const server = await rheaServer(t)
      const theirs = kind === 'sender' ? 'receiver' : 'sender'
      server.container.on(`${theirs}_open`, context => {
        // The terminus that is the peer's own stays null.
        if (kind === 'sender') context.receiver.set_source({})
        else context.sender.set_target({})
        context[theirs].close({ condition: 'amqp:not-found', description: 'no such queue' })
      })
      const connection = await ourClient(t, server.port)
      const { error } = await settled(t.wait(connection[kind]('nowhere'), 'our attach'))
      assert.ok(error instanceof RemoteError, `${error}`)
      assert.equal(error.condition, 'amqp:not-found')
      assert.equal(error.description, 'no such queue')
      assert.equal(error.scope, 'link')
    },
  })),
  ...['sender', 'receiver'].map(kind => ({
    name: `rhea/client/${kind}-refused-by-us`,
    async run(t) {
      const listener = await ourServer(t)
      const link = firstConnection(t, listener).then(connection => firstLink(t, connection))
      link.catch(() => {})
      const connection = rheaClient(t, listener.port)
      const theirs = kind === 'sender' ? connection.open_sender('nowhere') : connection.open_receiver('nowhere')
      const opened = heard(t, theirs, `${kind}_open`)
      const failed = heard(t, theirs, `${kind}_error`)
      const incoming = await link
      assert.equal(incoming.remoteRole, kind)
      assert.equal((kind === 'sender' ? incoming.target : incoming.source).address, 'nowhere')
      incoming.refuse({ condition: 'amqp:not-found', description: 'no such queue' })
      await opened
      assert.equal((kind === 'sender' ? theirs.target : theirs.source).address, undefined)
      await failed
      assert.equal(theirs.error.condition, 'amqp:not-found')
      assert.equal(theirs.error.description, 'no such queue')
    },
  })),
  {
    name: 'rhea/client/nobody-takes-links',
    async run(t) {
      const listener = await ourServer(t)
      listener.on('connection', connection => connection.on('session', incoming => incoming.accept()))
      const theirs = rheaClient(t, listener.port).open_sender('nowhere')
      await heard(t, theirs, 'sender_error')
      assert.equal(theirs.error.condition, 'amqp:not-found')
    },
  },
]

const termini = [
  {
    name: 'rhea/server/dynamic-source-and-capabilities',
    async run(t) {
      const server = await rheaServer(t)
      server.container.on('sender_open', ({ sender }) => {
        assert.equal(sender.source.dynamic, true)
        sender.set_source({ address: 'temporary-1', dynamic: true, capabilities: ['queue', 'temporary'] })
        sender.set_target({})
      })
      const connection = await ourClient(t, server.port)
      const receiver = await t.wait(connection.receiver({ dynamic: true }), 'our attach')
      assert.equal(receiver.source.address, 'temporary-1')
      assert.deepEqual(receiver.source.capabilities, ['queue', 'temporary'])
    },
  },
  {
    name: 'rhea/client/dynamic-source-and-filter',
    async run(t) {
      const listener = await ourServer(t)
      const link = firstConnection(t, listener).then(connection => firstLink(t, connection))
      link.catch(() => {})
      const theirs = rheaClient(t, listener.port).open_receiver({
        source: { dynamic: true, filter: rhea.filter.selector("colour = 'red'"), capabilities: ['queue'] },
        properties: { purpose: 'replies' },
      })
      const opened = heard(t, theirs, 'receiver_open')
      const incoming = await link
      assert.equal(incoming.source.dynamic, true)
      assert.deepEqual(incoming.source.capabilities, ['queue'])
      assert.equal(incoming.properties.get('purpose'), 'replies')
      const { descriptor, value } = incoming.source.filter['jms-selector']
      assert.equal(descriptor, 0x468c00000004n)
      assert.equal(value, "colour = 'red'")
      await incoming.accept({ reply: { source: { address: 'temporary-2', dynamic: true } } })
      await opened
      assert.equal(theirs.source.address, 'temporary-2')
    },
  },
  {
    name: 'rhea/server/filter-and-link-properties',
    async run(t) {
      const server = await rheaServer(t)
      const opened = heard(t, server.container, 'sender_open')
      server.container.on('sender_open', ({ sender }) => {
        sender.set_source({ address: sender.source.address })
        sender.set_target({})
      })
      const connection = await ourClient(t, server.port)
      const filter = { 'apache.org:selector-filter:string': new Described(ulong(0x468c00000004n), "colour = 'red'") }
      await t.wait(
        connection.receiver({ address: 'q', filter }, { properties: { kind: symbol('test') } }),
        'our attach',
      )
      const { sender } = await opened
      assert.equal(sender.source.address, 'q')
      const seen = sender.source.filter['apache.org:selector-filter:string']
      assert.equal(Number(seen.descriptor), 0x468c00000004)
      assert.equal(seen.value, "colour = 'red'")
      assert.equal(sender.properties.kind, 'test')
    },
  },
]

const draining = ['client', 'server'].flatMap(end => [
  {
    name: `rhea/${end}/receives/drains-us`,
    async run(t) {
      const { ours, theirs } = await linked(t, { end, from: 'us' }, { theirs: { link: { credit_window: 0 } } })
      const granted = new Promise(resolve => ours.on('credit', resolve))
      theirs.add_credit(10)
      assert.deepEqual(await t.wait(granted, 'credit'), { linkCredit: 10, drain: false })
      const seen = heard(t, theirs, 'message')
      await Promise.all([ours.send({ body: 'one' }, { settled: true }), seen])
      assert.equal(ours.linkCredit, 9)
      const drained = heard(t, theirs, 'receiver_drained')
      theirs.drain_credit()
      await drained
      assert.equal(theirs.credit, 0)
      assert.equal(ours.linkCredit, 0)
      assert.equal(theirs.delivery_count, 10)
    },
  },
  {
    name: `rhea/${end}/sends/is-drained-by-us`,
    async run(t) {
      const { ours, theirs } = await linked(t, { end, from: 'rhea' }, { ours: { link: { credit: 'manual' } } })
      theirs.on('sender_draining', ({ sender }) => sender.set_drained(true))
      const sendable = heard(t, theirs, 'sendable')
      ours.addCredit(5)
      await sendable
      theirs.send({ body: 'one' })
      const delivery = await t.wait(ours.receive(), 'a delivery')
      await delivery.accept()
      await t.wait(ours.drain(), 'our drain()')
      assert.equal(theirs.credit, 0)
      // The link goes on with fresh credit.
      const again = heard(t, theirs, 'sendable')
      ours.addCredit(1)
      await again
      theirs.send({ body: 'two' })
      assert.equal((await t.wait(ours.receive(), 'a second delivery')).message.body.value ?? 'two', 'two')
    },
  },
])

export const linkCases = [...detaching, ...refusals, ...termini, ...draining]
