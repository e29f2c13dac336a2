/** A connection of the promise API whose peer is a script: what is written waits until the script looks at it. */

import type { Connection, IncomingSession, Listener, Session } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ConnectionOptions, ListenOptions } from '../../src/client/options.ts'
import { listen } from '../../src/client/serving/listen.ts'
import type { Transport, TransportSink } from '../../src/io/transport.ts'
import type { Fields } from '../peer/composites.ts'
import { any, type Expected, type Script, scripted } from '../peer/script.ts'
import { concat } from '../peer/wire.ts'

/** Lets everything that is due happen: promises, flushes, and what follows from them. */
export async function quiet(): Promise<void> {
  for (let i = 0; i < 4; i++) await new Promise(resolve => setImmediate(resolve))
}

function wired(): { transport: Transport; peer: Script; cut: () => void } {
  let sink: TransportSink | undefined
  const written: Uint8Array[] = []
  const peer = scripted({
    receive: bytes => sink?.data(bytes),
    output: () => concat(...written.splice(0)),
  })
  const transport: Transport = {
    start: given => {
      sink = given
    },
    write: chunks => {
      written.push(...chunks.map(chunk => chunk.slice()))
      return true
    },
    end: () => {},
    destroy: error => sink?.end(error),
  }
  return { transport, peer, cut: () => sink?.end(new Error('cut')) }
}

const OPEN: Expected = { containerId: any, hostname: any, maxFrameSize: any, channelMax: any, idleTimeOut: any }
const BEGIN: Expected = { nextOutgoingId: 0, incomingWindow: 2048, outgoingWindow: any, handleMax: any }

/** A connection of ours, and one session that it has begun on channel 0. */
export async function scriptedClient(theirs: Fields = {}, options: ConnectionOptions = {}) {
  const { transport, peer, cut } = wired()
  const connecting = connect({ host: 'h', transport, sasl: false, ...options })
  await quiet()
  peer.expectHeader().sendHeader()
  await quiet()
  peer.expectOpen(OPEN).respondOpen(theirs)
  const connection = await connecting
  const beginning = connection.session()
  await quiet()
  peer.expectBegin(BEGIN).respondBegin()
  return { connection, session: await beginning, peer, cut }
}

/**
 * A connection that the script has opened to us, and one session that it has begun on channel 0, not its links.
 *
 * @param behind  what the script says right behind its open and begin, before anybody here has answered
 */
export async function scriptedServer(options: ListenOptions = {}, behind?: (peer: Script) => void) {
  const listener = await listen({ port: null, ...options })
  const { connection, peer, cut } = await scriptedPeer(listener, {}, behind && (p => behind(p.sendBegin())))
  const once = new AbortController()
  const session = new Promise<Session>(resolve => {
    const accept = async (incoming: IncomingSession) => {
      once.abort()
      resolve(await incoming.accept())
    }
    connection.on('session', accept, { signal: once.signal })
  })
  if (!behind) peer.sendBegin()
  await quiet()
  peer.expectBegin({ remoteChannel: 0, ...BEGIN })
  return { connection, session: await session, peer, cut }
}

/** A connection that the script has opened to a listener, and, if asked to, something behind its open. */
export async function scriptedPeer(listener: Listener, theirs: Fields = {}, behind?: (peer: Script) => void) {
  const { transport, peer, cut } = wired()
  const accepting = listener.accept(transport)
  peer.together(() => {
    peer.sendHeader().sendOpen(theirs)
    behind?.(peer)
  })
  await quiet()
  peer.expectHeader().expectOpen(OPEN)
  const connection: Connection = await accepting
  return { listener, connection, peer, cut }
}
