/** Detaches and ends that wait to be framed, in order, and found by the link's name. §2.6.1 */

import type { SessionEndpoint } from './session-endpoint.ts'

/** Something that is framed once nothing is in its way: a link's detach, a session's end. */
export interface Postponed {
  /** @returns whether it is done with */
  frameDetach(): boolean
}

/** A link, as far as it is looked for. */
interface Named {
  readonly session: SessionEndpoint
  readonly role: string
  readonly name: string
}

export class PostponedList {
  readonly #all = new Set<Postponed>()
  /** Links by role and name; of one name there may be several, on sessions of their own or one after the other. */
  readonly #named = new Map<string, Set<Postponed & Named>>()

  get size(): number {
    return this.#all.size
  }

  add(what: Postponed): void {
    this.#all.add(what)
    if (!isNamed(what)) return
    const key = keyOf(what.role, what.name)
    const same = this.#named.get(key)
    if (same) same.add(what)
    else this.#named.set(key, new Set([what]))
  }

  /** Frames what may be framed. */
  frame(): void {
    for (const what of this.#all) if (what.frameDetach()) this.#delete(what)
  }

  /** As `frame`, for the links of one name only. */
  frameNamed(session: SessionEndpoint, role: string, name: string): void {
    for (const link of this.#named.get(keyOf(role, name)) ?? [])
      if (link.session === session && link.frameDetach()) this.#delete(link)
  }

  clear(): void {
    this.#all.clear()
    this.#named.clear()
  }

  #delete(what: Postponed): void {
    this.#all.delete(what)
    if (!isNamed(what)) return
    const key = keyOf(what.role, what.name)
    const same = this.#named.get(key)
    same?.delete(what)
    if (same?.size === 0) this.#named.delete(key)
  }
}

const isNamed = (what: Postponed): what is Postponed & Named => 'role' in what

const keyOf = (role: string, name: string): string => `${role} ${name}`
