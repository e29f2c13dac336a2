/** Connections with rhea: open and close, SASL, errors, drops, idle time-outs. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import {
  AmqpError,
  ClosedError,
  RemoteError,
  SaslError,
  sasl,
  saslServer,
  TransportError,
} from '../../../dist/index.js'
import { settled, withResolvers } from '../support.mjs'
import {
  drop,
  echoTermini,
  firstConnection,
  heard,
  linked,
  ourClient,
  ourServer,
  rheaClient,
  rheaServer,
} from './harness.mjs'

const forced = { condition: 'amqp:connection:forced', description: 'going down' }

/** What either library says of itself in its open, in the words of each. */
const ourOpen = {
  containerId: 'fairlead-end',
  maxFrameSize: 32_768,
  channelMax: 99,
  idleTimeOut: 45_000,
  offeredCapabilities: ['ANONYMOUS-RELAY'],
  desiredCapabilities: ['a', 'b'],
  properties: { product: 'fairlead', level: 7 },
}
const theirOpen = {
  container_id: 'rhea-end',
  max_frame_size: 16_384,
  channel_max: 42,
  idle_time_out: 30_000,
  properties: { product: 'rhea', version: '3.0.5' },
}

/** What each has understood of the other's open. */
function assertOpens(ours, theirs) {
  assert.equal(ours.remote.containerId, 'rhea-end')
  assert.equal(ours.remote.maxFrameSize, 16_384)
  assert.equal(ours.remote.channelMax, 42)
  assert.equal(ours.remote.idleTimeOut, 30_000)
  assert.equal(ours.remote.properties.get('product'), 'rhea')
  assert.equal(ours.remote.properties.get('version'), '3.0.5')
  assert.equal(theirs.container_id, 'fairlead-end')
  assert.equal(theirs.max_frame_size, 32_768)
  assert.equal(theirs.channel_max, 99)
  assert.equal(theirs.idle_time_out, 45_000)
  // One symbol and an array of several are the same to the standard, and not to rhea. §1.4
  assert.equal(theirs.offered_capabilities, 'ANONYMOUS-RELAY')
  assert.deepEqual(theirs.desired_capabilities, ['a', 'b'])
  assert.deepEqual(theirs.properties, { product: 'fairlead', level: 7 })
}

/** Both ends of an open connection. `theirs` is rhea's. */
async function connected(t, end, { ours = {}, theirs = {}, tls = false, prepare } = {}) {
  if (end === 'client') {
    const listener = await ourServer(t, { tls, ...ours })
    const our = firstConnection(t, listener)
    our.catch(() => {})
    const their = rheaClient(t, listener.port, { tls, ...theirs })
    await heard(t, their, 'connection_open')
    return { ours: await our, theirs: their }
  }
  const server = await rheaServer(t, { tls, ...theirs }, prepare)
  const open = heard(t, server.container, 'connection_open')
  const our = await ourClient(t, server.port, { tls, ...ours })
  return { ours: our, theirs: (await open).connection }
}

const plainServer = container =>
  container.sasl_server_mechanisms.enable_plain((user, password) => user === 'tester' && password === 'pässwörd €')
const onlyTester = saslServer.plain((user, password) => user === 'tester' && password === 's3cret')

const sides = ['client', 'server'].flatMap(end => [
  {
    name: `rhea/${end}/open-and-close-by-rhea`,
    async run(t) {
      const { ours, theirs } = await connected(t, end, { ours: ourOpen, theirs: theirOpen })
      assertOpens(ours, theirs)
      assert.equal(ours.identity, undefined)
      const closed = heard(t, theirs, 'connection_close')
      theirs.close()
      assert.deepEqual(await t.wait(ours.closed, 'our closed'), { by: 'remote', error: undefined })
      await closed
    },
  },
  {
    name: `rhea/${end}/open-and-close-by-us-tls`,
    async run(t) {
      const { ours, theirs } = await connected(t, end, { ours: ourOpen, theirs: theirOpen, tls: true })
      assertOpens(ours, theirs)
      const closed = heard(t, theirs, 'connection_close')
      await t.wait(ours.close(), 'our close()')
      assert.deepEqual(await ours.closed, { by: 'local', error: undefined })
      await closed
      assert.equal(theirs.error, undefined)
    },
  },
  {
    name: `rhea/${end}/close-with-error-by-rhea`,
    async run(t) {
      const { ours, theirs } = await connected(t, end)
      theirs.close(forced)
      const { by, error } = await t.wait(ours.closed, 'our closed')
      assert.equal(by, 'remote')
      assert.ok(error instanceof RemoteError)
      assert.equal(error.condition, forced.condition)
      assert.equal(error.description, forced.description)
      assert.equal(error.scope, 'connection')
    },
  },
  {
    name: `rhea/${end}/close-with-error-by-us`,
    async run(t) {
      const { ours, theirs } = await connected(t, end)
      const failed = heard(t, theirs, 'connection_error')
      await t.wait(ours.close({ error: forced }), 'our close()')
      await failed
      assert.equal(theirs.error.condition, forced.condition)
      assert.equal(theirs.error.description, forced.description)
    },
  },
  {
    name: `rhea/${end}/session-end-with-error-by-rhea`,
    async run(t) {
      const { ours, theirs } = await linked(t, { end, from: 'us' })
      theirs.session.close({ condition: 'amqp:not-allowed', description: 'no more' })
      const { by, error } = await t.wait(ours.session.closed, "our session's closed")
      assert.equal(by, 'remote')
      assert.ok(error instanceof RemoteError)
      assert.equal(error.condition, 'amqp:not-allowed')
      assert.equal(error.description, 'no more')
      assert.equal(error.scope, 'session')
      assert.equal((await t.wait(ours.closed, "our link's closed")).error, error)
    },
  },
  {
    name: `rhea/${end}/session-end-with-error-by-us`,
    async run(t) {
      const { ours, theirs } = await linked(t, { end, from: 'us' })
      const failed = heard(t, theirs.session, 'session_error')
      await t.wait(ours.session.end({ error: { condition: 'amqp:not-allowed', description: 'no more' } }), 'our end()')
      await failed
      assert.equal(theirs.session.error.condition, 'amqp:not-allowed')
      assert.equal(theirs.session.error.description, 'no more')
    },
  },
  {
    name: `rhea/${end}/drop-settles-everything`,
    async run(t) {
      const options = { receiver_options: { credit_window: 0, autoaccept: false } }
      const { ours: receiver, theirs } = await linked(
        t,
        { end, from: 'rhea' },
        { ours: { link: { settle: 'second' } }, theirs: { connection: options } },
      )
      const { session } = receiver
      theirs.connection.container.on('receiver_open', context => {
        echoTermini(context)
        if (context.receiver.target.address === 'credit') context.receiver.add_credit(1)
      })
      const starved = await t.wait(session.sender('no credit'), 'our first sender')
      const unsettled = await t.wait(session.sender('credit'), 'our second sender')
      theirs.send({ body: 'decide' })
      const delivery = await t.wait(receiver.receive(), 'a delivery')
      const { connection } = session
      const sent = heard(t, theirs.connection, 'message')
      const sending = unsettled.send({ body: 'never settled' })
      await sent
      // rhea is deaf from here on, so that every kind of operation is pending when the socket goes.
      theirs.connection.socket.removeAllListeners('data')
      const pending = {
        'send without credit': starved.send({ body: 'never sent' }),
        'send without outcome': sending,
        'accept in mode second': delivery.accept(),
        receive: receiver.receive(),
        drain: receiver.drain(),
        'iterator next': receiver[Symbol.asyncIterator]().next(),
        session: connection.session(),
        sender: session.sender('another'),
        receiver: session.receiver('another'),
        'link close': unsettled.close(),
        'session end': session.end(),
        'connection close': connection.close(),
        closed: connection.closed,
      }
      const settling = Object.entries(pending).map(async ([name, promise]) => [name, await settled(promise)])
      await delay(100)
      drop(theirs.connection.socket)
      const results = Object.fromEntries(await t.wait(Promise.all(settling), 'everything pending', 2_000))
      const { closed, ...rejected } = results
      // What was being closed is closed.
      for (const name of ['link close', 'session end', 'connection close']) {
        assert.deepEqual(results[name], { value: undefined }, name)
        delete rejected[name]
      }
      for (const [name, { error }] of Object.entries(rejected))
        assert.ok(error instanceof AmqpError, `${name} must reject with one of our errors, not ${error}`)
      assert.equal(closed.value.by, 'transport')
      assert.ok(closed.value.error instanceof TransportError)
    },
  },
  {
    name: `rhea/${end}/close-with-a-message-that-gets-no-credit`,
    async run(t) {
      const { ours } = await linked(
        t,
        { end, from: 'us' },
        { ours: { connection: { limits: { closeMs: 300 } } }, theirs: { link: { credit_window: 0 } } },
      )
      const sending = settled(ours.send({ body: 'never sent' }))
      const { connection } = ours.session
      await t.wait(connection.close(), 'our close()', 2_000)
      assert.equal((await connection.closed).by, 'transport')
      assert.ok((await t.wait(sending, 'our send()')).error instanceof ClosedError)
    },
  },
  {
    name: `rhea/${end}/idle-time-out-is-kept-from-both-ends`,
    async run(t) {
      const empty = { in: 0, out: 0 }
      const { ours, theirs } = await connected(t, end, {
        ours: {
          idleTimeOut: 1000,
          trace: frame => {
            if (frame.layer === 'amqp' && frame.body === undefined) empty[frame.direction]++
          },
        },
        theirs: { idle_time_out: 1000 },
      })
      await Promise.race([delay(4000), ours.closed, once(theirs, 'disconnected')])
      assert.ok(theirs.is_open(), 'rhea has closed')
      // Both announce a second, so that something has to come at least every second.
      assert.ok(empty.in >= 3, `${empty.in} heartbeats from rhea`)
      assert.ok(empty.out >= 3, `${empty.out} heartbeats from us`)
      await t.wait(ours.close(), 'our close()')
      assert.deepEqual(await ours.closed, { by: 'local', error: undefined })
    },
  },
])

const saslCases = [
  {
    name: 'rhea/client/no-sasl',
    async run(t) {
      const { ours, theirs } = await connected(t, 'client', { theirs: { username: undefined } })
      assert.equal(theirs.sasl_transport, undefined)
      assert.equal(ours.identity, undefined)
    },
  },
  {
    name: 'rhea/client/no-sasl-refused',
    async run(t) {
      const failed = withResolvers()
      const listener = await ourServer(t, { allowNoSasl: false, onError: failed.resolve })
      listener.on('connection', () => t.fail(new Error('a connection without SASL was accepted')))
      const connection = rheaClient(t, listener.port, { username: undefined })
      connection.on('connection_open', () => t.fail(new Error('rhea believes that it is connected')))
      // It is told by the SASL header, which rhea calls a protocol error. §5.3.1
      await heard(t, connection, 'protocol_error')
      assert.ok((await t.wait(failed.promise, "our listener's error")) instanceof AmqpError)
    },
  },
  {
    name: 'rhea/client/plain-over-tls',
    async run(t) {
      const { ours } = await connected(t, 'client', {
        tls: true,
        ours: { sasl: [onlyTester] },
        theirs: { username: 'tester', password: 's3cret' },
      })
      assert.equal(ours.identity, 'tester')
    },
  },
  {
    name: 'rhea/client/plain-over-tls-wrong-password',
    async run(t) {
      const failed = withResolvers()
      const listener = await ourServer(t, { tls: true, sasl: [onlyTester], onError: failed.resolve })
      listener.on('connection', () => t.fail(new Error('the wrong password was accepted')))
      const connection = rheaClient(t, listener.port, { tls: true, username: 'tester', password: 'wrong' })
      const { error } = await heard(t, connection, 'connection_error')
      assert.equal(error.condition, 'amqp:unauthorized-access')
      const ours = await t.wait(failed.promise, "our listener's error")
      assert.ok(ours instanceof SaslError)
      assert.equal(ours.outcome, 'auth')
    },
  },
  {
    name: 'rhea/client/no-common-mechanism',
    async run(t) {
      const listener = await ourServer(t, { sasl: [onlyTester], onError: () => {} })
      const connection = rheaClient(t, listener.port)
      const { error } = await heard(t, connection, 'connection_error')
      assert.match(error.description ?? error.message, /No suitable mechanism/)
    },
  },
  {
    name: 'rhea/server/no-sasl',
    async run(t) {
      const { theirs } = await connected(t, 'server', { ours: { sasl: false } })
      assert.equal(theirs.sasl_transport.selected, theirs.amqp_transport)
    },
  },
  {
    name: 'rhea/server/plain-over-tls',
    async run(t) {
      const { theirs } = await connected(t, 'server', {
        tls: true,
        ours: { sasl: sasl.plain('tester', 'pässwörd €') },
        prepare: plainServer,
      })
      assert.equal(theirs.sasl_transport.username, 'tester')
    },
  },
  {
    name: 'rhea/server/plain-over-tls-wrong-password',
    async run(t) {
      const server = await rheaServer(t, { tls: true }, plainServer)
      const attempt = ourClient(t, server.port, { tls: true, sasl: sasl.plain('tester', 'wrong') })
      const { error } = await settled(attempt)
      assert.ok(error instanceof SaslError, `${error}`)
      assert.equal(error.outcome, 'auth')
    },
  },
  {
    name: 'rhea/server/plain-without-tls-is-not-tried',
    async run(t) {
      let asked = 0
      const server = await rheaServer(t, {}, container =>
        container.sasl_server_mechanisms.enable_plain(() => {
          asked++
          return true
        }),
      )
      const attempt = ourClient(t, server.port, { sasl: sasl.plain('tester', 's3cret') })
      const { error } = await settled(attempt)
      assert.ok(error instanceof SaslError, `${error}`)
      assert.equal(asked, 0)
      const allowed = ourClient(t, server.port, { sasl: sasl.plain('tester', 's3cret'), allowInsecureAuth: true })
      await allowed
      assert.equal(asked, 1)
    },
  },
]

export const connectionCases = [...sides, ...saslCases]
