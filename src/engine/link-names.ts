/**
 * Names of links: unique in each direction, over all sessions of a connection. Ours are refused when they are in use;
 * the peer's take the link over, and the older one ends as stolen. §2.6.1
 */

import { UsageError } from '../errors.ts'
import type { LinkEndpoint } from './link-endpoint.ts'

/** Who has each name: of a connection. */
export interface NameHolders {
  readonly sender: Map<string, LinkEndpoint>
  readonly receiver: Map<string, LinkEndpoint>
}

/** The names on one session. */
export class LinkNames<L extends LinkEndpoint> {
  readonly #holders: NameHolders
  /** Links that we initiated and the peer has not answered, by role and name. */
  readonly #awaiting = new Map<string, L>()

  constructor(holders: NameHolders) {
    this.#holders = holders
  }

  /** For a link of ours, to be attached. @throws {UsageError} the name is in use */
  claim<T extends L>(link: T): T {
    const { role, name, label } = link
    const key = `${role} ${name}`
    if (this.#awaiting.has(key)) throw new UsageError(`${label} is being attached already`, '2.6.1')
    if (this.#holders[role].get(name)?.holdsName)
      throw new UsageError(`${label}: a ${role} of that name is attached already`, '2.6.1')
    this.#awaiting.set(key, link)
    this.#holders[role].set(name, link)
    return link
  }

  /** The link of ours that an attach of the peer's answers, once. */
  answered(role: L['role'], name: string): L | undefined {
    const key = `${role} ${name}`
    const link = this.#awaiting.get(key)
    this.#awaiting.delete(key)
    return link?.state === 'UNATTACHED' ? undefined : link
  }

  /** The peer attaches a link: whichever had the name has been stolen. */
  take(link: L): void {
    const holders = this.#holders[link.role]
    const before = holders.get(link.name)
    holders.set(link.name, link)
    if (before !== link) before?.steal()
  }

  /** The name is free again, unless the next link of that name has it already. §2.6.4 */
  release({ role, name }: Pick<L, 'role' | 'name'>, link: unknown): void {
    const key = `${role} ${name}`
    if (this.#awaiting.get(key) === link) this.#awaiting.delete(key)
    if (this.#holders[role].get(name) === link) this.#holders[role].delete(name)
  }
}
