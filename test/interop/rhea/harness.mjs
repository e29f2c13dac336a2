/** rhea and fairlead at the two ends of a connection, and of a link, whichever way round. */

import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import rhea from 'rhea'
import { connect, listen } from '../../../dist/index.js'
import { certificate } from '../support.mjs'

export { rhea }

/** Both ends that rhea can have, times both ways that messages can flow. */
export const ways = [
  { path: 'rhea/client/receives', end: 'client', from: 'us' },
  { path: 'rhea/client/sends', end: 'client', from: 'rhea' },
  { path: 'rhea/server/receives', end: 'server', from: 'us' },
  { path: 'rhea/server/sends', end: 'server', from: 'rhea' },
]

/** The next event of a type, as rhea tells it. */
export const heard = (t, emitter, type) =>
  t.wait(new Promise(resolve => emitter.once(type, resolve)), `rhea's event ${type}`)

/** Without these rhea prints what it cannot tell anybody, or throws it where nobody can catch it. */
function container(t) {
  const made = rhea.create_container()
  for (const scope of ['connection', 'session', 'sender', 'receiver'])
    for (const event of ['error', 'close']) made.on(`${scope}_${event}`, () => {})
  made.on('disconnected', () => {})
  for (const event of ['error', 'protocol_error']) made.on(event, error => t.fail(error))
  return made
}

/** Destroys a socket of rhea's. Without an error rhea does not notice, and keeps its timers for ever. */
export const drop = socket => socket.destroy(new Error('dropped'))

/** rhea as a server on a free port. `prepare` gets the container before anybody connects. */
export async function rheaServer(t, { tls = false, ...options } = {}, prepare = () => {}) {
  const made = container(t)
  prepare(made)
  const sockets = new Set()
  const server = made.listen({
    port: 0,
    host: '127.0.0.1',
    ...(tls ? { transport: 'tls', ...certificate() } : {}),
    ...options,
  })
  server.on(tls ? 'secureConnection' : 'connection', socket => sockets.add(socket))
  await once(server, 'listening')
  t.defer(() => {
    for (const socket of sockets) drop(socket)
    server.close()
  })
  return { container: made, port: server.address().port }
}

/** rhea as a client. With `username` it speaks SASL, without it goes straight to AMQP. */
export function rheaClient(t, port, { tls = false, ...options } = {}) {
  const connection = container(t).connect({
    host: '127.0.0.1',
    port,
    reconnect: false,
    username: 'anonymous',
    ...(tls ? { transport: 'tls', ca: certificate().cert, servername: 'localhost' } : {}),
    ...options,
  })
  t.defer(async () => {
    const { socket } = connection
    connection.close()
    if (!socket.destroyed) await Promise.race([once(socket, 'close').catch(() => {}), delay(500)])
    drop(socket)
  })
  return connection
}

/** Our `listen()`. What it reports fails the case, unless the case takes it. */
export async function ourServer(t, { tls = false, onError = error => t.fail(error), ...options } = {}) {
  const listener = await listen({ ...(tls ? { tls: certificate() } : {}), ...options })
  t.defer(() => listener.close())
  listener.on('error', onError)
  return listener
}

/** The first connection that our listener hands out. */
export const firstConnection = (t, listener) =>
  t.wait(new Promise(resolve => listener.on('connection', resolve)), 'a connection to our listener')

/** The first link that a peer attaches to our connection. */
export const firstLink = (t, connection) =>
  t.wait(
    new Promise(resolve => connection.on('session', async incoming => (await incoming.accept()).on('link', resolve))),
    'a link to our listener',
  )

/** Our `connect()`. */
export async function ourClient(t, port, { tls = false, ...options } = {}) {
  const connection = await t.wait(
    connect({ host: '127.0.0.1', port, ...(tls ? { tls: { ca: certificate().cert } } : {}), ...options }),
    'our connect()',
  )
  t.defer(() => connection.close())
  return connection
}

/** rhea leaves both termini of its answer null, which refuses the link: its users have to fill them in. */
export function echoTermini({ sender, receiver }) {
  const link = sender ?? receiver
  link.set_source({ address: link.source?.address })
  link.set_target({ address: link.target?.address })
}

/**
 * A link between the two.
 *
 * @param way  `end`: which end of the connection rhea has; `from`: who sends
 * @param options.ours, options.theirs  `{ connection, link }`: options of each library, in its own words
 * @param options.through  gives the port to connect to, for a relay in between
 * @returns `ours` and `theirs`, the two ends of the link
 */
export async function linked(t, { end, from }, { ours = {}, theirs = {}, tls = false, through = port => port } = {}) {
  const opened = from === 'rhea' ? 'sender_open' : 'receiver_open'
  const theirLink = { autoaccept: false, ...theirs.link }
  if (end === 'client') {
    const listener = await ourServer(t, { tls, ...ours.connection })
    const link = firstConnection(t, listener).then(connection => firstLink(t, connection))
    link.catch(() => {})
    const connection = rheaClient(t, await through(listener.port), { tls, ...theirs.connection })
    const their =
      from === 'rhea'
        ? connection.open_sender({ target: 'q', ...theirLink })
        : connection.open_receiver({ source: 'q', ...theirLink })
    const open = heard(t, their, opened)
    const our = await (await link).accept(ours.link)
    await open
    return { ours: our, theirs: their }
  }
  const server = await rheaServer(t, {
    tls,
    receiver_options: theirLink,
    sender_options: theirLink,
    ...theirs.connection,
  })
  server.container.on(opened, echoTermini)
  const open = heard(t, server.container, opened)
  const connection = await ourClient(t, await through(server.port), { tls, ...ours.connection })
  const our = await t.wait(
    from === 'rhea' ? connection.receiver('q', ours.link) : connection.sender('q', ours.link),
    'our attach',
  )
  const context = await open
  return { ours: our, theirs: context.sender ?? context.receiver }
}

/** Sends `count` messages from rhea, as credit allows. */
export function pump(sender, count, make) {
  let sent = 0
  const send = () => {
    while (sent < count && sender.sendable()) sender.send(make(sent++))
  }
  sender.on('sendable', send)
  send()
}

/** The next `count` events of a type; `each` is called with every one, in order. */
export const heardTimes = (t, emitter, type, count, each = () => {}) =>
  t.wait(
    new Promise((resolve, reject) => {
      let times = 0
      emitter.on(type, context => {
        try {
          each(context, times)
        } catch (error) {
          reject(error)
        }
        if (++times === count) resolve()
      })
    }),
    `${count} of rhea's event ${type}`,
    15_000,
  )
