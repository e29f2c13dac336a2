/** A connection and its far end over memory, with a far end that can fall silent or vanish. */

import type { Connection, IncomingLink, Listener, Session } from '../../src/client/api.ts'
import { connect } from '../../src/client/connect.ts'
import type { ConnectOptions, ListenOptions } from '../../src/client/options.ts'
import { listen } from '../../src/client/serving/listen.ts'
import { memoryPair } from '../../src/io/memory.ts'

export interface Joined extends AsyncDisposable {
  readonly near: Connection
  readonly far: Connection
  readonly listener: Listener
  /** The far ends of sessions, each as it is accepted. */
  readonly sessions: Session[]
  /** From now on nothing that the far end writes arrives. */
  mute(): void
  /** Drops the transport. */
  cut(): void
}

/** How the two ends are made, and what the far one does with links: it accepts them unless told otherwise. */
export interface Joining {
  readonly near?: Partial<ConnectOptions>
  readonly far?: ListenOptions
  readonly onLink?: ((link: IncomingLink) => unknown) | null
}

export async function joined(how: Joining = {}): Promise<Joined> {
  const { onLink = link => link.accept() } = how
  const [a, b] = memoryPair()
  let muted = false
  const listener = await listen({ port: null, ...how.far })
  const accepting = listener.accept({
    start: sink => b.start(sink),
    write: chunks => muted || b.write(chunks),
    end: () => muted || b.end(),
    destroy: error => b.destroy(error),
  })
  const near = await connect({ host: 'memory', transport: a, ...how.near })
  const far = await accepting
  const sessions: Session[] = []
  if (onLink)
    far.on('session', async incoming => {
      const session = await incoming.accept()
      session.on('link', onLink)
      sessions.push(session)
    })
  const cut = (): void => b.destroy()
  return {
    near,
    far,
    listener,
    sessions,
    cut,
    mute: () => {
      muted = true
    },
    async [Symbol.asyncDispose]() {
      cut()
      await near.closed
      await listener.close()
    },
  }
}

/** What a promise comes to: its value, or why it rejects. */
export const settled = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    value => value,
    error => error,
  )
