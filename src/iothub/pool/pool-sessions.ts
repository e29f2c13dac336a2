/**
 * Sessions for the links of many: each takes so many links, and when all are full another is begun. What ends a session
 * ends the links of some only. §2.5.1
 */

import type { Connection, Link, Session } from '../../client/api.ts'
import { UsageError } from '../../errors.ts'
import type { LinkHost } from '../connection/hub-connection.ts'

/** A session, or one that is being begun, and the links that it has or is to have. */
interface Place {
  readonly session: Promise<Session>
  /** Links that it takes. */
  most: number
  links: number
}

export class PoolSessions implements LinkHost {
  readonly #connection: Pick<Connection, 'session'>
  readonly #most: number
  readonly #places = new Set<Place>()

  /** @param most  links that one session takes, 1 or more */
  constructor(connection: Pick<Connection, 'session'>, most: number) {
    this.#connection = connection
    this.#most = most
  }

  /** Sessions there are. */
  get count(): number {
    return this.#places.size
  }

  /** @throws {UsageError} no further session may be begun  @throws as `Session.sender` */
  readonly sender: Connection['sender'] = (target, options) => this.#attach(session => session.sender(target, options))

  /** @throws as {@link sender} */
  readonly receiver: Connection['receiver'] = (source, options) =>
    this.#attach(session => session.receiver(source, options))

  async #attach<L extends Link>(attach: (session: Session) => Promise<L>): Promise<L> {
    for (;;) {
      const place = this.#place()
      place.links++
      try {
        const link = await attach(await place.session)
        void link.closed.then(() => place.links--)
        return link
      } catch (error) {
        place.links--
        // The hub allows fewer to a session.
        const isFull = error instanceof UsageError && error.section === NO_HANDLE && place.links > 0
        if (!isFull) throw error
        place.most = Math.min(place.most, place.links)
      }
    }
  }

  #place(): Place {
    for (const place of this.#places) if (place.links < place.most) return place
    const place: Place = { session: this.#connection.session(), most: this.#most, links: 0 }
    this.#places.add(place)
    const forget = (): boolean => this.#places.delete(place)
    place.session.then(session => session.closed.then(forget), forget)
    return place
  }
}

/** The section that a link without a handle breaks. */
const NO_HANDLE = '2.6.2'
