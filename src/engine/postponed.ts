/** What waits to be framed until nothing is in its way: detaches of links, by name as well, and ends of sessions. §2.4 */

/** Something that is framed once nothing is in its way. */
export interface Postponable {
  /** @returns whether it is done with */
  frameDetach(): boolean
}

/** A link, as a peer or an owner may attach it again. §2.6.1 */
interface Named extends Postponable {
  readonly role: string
  readonly name: string
}

const keyOf = ({ role, name }: { readonly role: string; readonly name: string }): string => `${role} ${name}`

export class Postponed {
  readonly #all = new Set<Postponable>()
  /** Links, by role and name, of whatever session: whoever attaches looks for one among thousands. */
  readonly #links = new Map<string, Set<Named>>()

  get size(): number {
    return this.#all.size
  }

  /** An end of a session. */
  add(what: Postponable): void {
    this.#all.add(what)
  }

  /** A detach of a link. */
  addLink(link: Named): void {
    this.#all.add(link)
    const named = this.#links.get(keyOf(link)) ?? new Set()
    this.#links.set(keyOf(link), named.add(link))
  }

  /** Frames what can be framed. */
  frame(): void {
    for (const what of this.#all) if (what.frameDetach()) this.#delete(what)
  }

  /** Frames what waits for links like this one, if it can be framed: whoever attaches again must come after that. */
  frameNamed(link: { readonly role: string; readonly name: string }): void {
    for (const what of this.#links.get(keyOf(link)) ?? []) if (what.frameDetach()) this.#delete(what)
  }

  #delete(what: Postponable): void {
    this.#all.delete(what)
    if (!isLink(what)) return
    const named = this.#links.get(keyOf(what))
    named?.delete(what)
    if (named?.size === 0) this.#links.delete(keyOf(what))
  }

  clear(): void {
    this.#all.clear()
    this.#links.clear()
  }
}

const isLink = (what: Postponable): what is Named => 'role' in what
