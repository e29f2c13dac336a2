/** What is under way on a connection, counted when it is asked for: nothing is kept up to date for it. */

import type { ConnectionStats } from '../api.ts'
import type { ClientSession } from '../session.ts'

export function statsOf(open: ReadonlySet<ClientSession>, pendingBytes: number): ConnectionStats {
  const sessions = [...open]
  const sum = (of: (session: ClientSession) => number): number => sessions.reduce((all, one) => all + of(one), 0)
  return {
    sessions: sessions.length,
    links: sum(({ links }) => links.size),
    unsettledOutgoing: sum(({ endpoint }) => endpoint.outgoing.count),
    unsettledIncoming: sum(({ endpoint }) => endpoint.incoming.count),
    pendingBytes: pendingBytes + sum(({ links }) => [...links].reduce((all, link) => all + link.heldBytes, 0)),
  }
}
