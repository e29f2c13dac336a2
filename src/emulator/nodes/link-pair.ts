/**
 * The two links that a device has to one node, for methods or for its twin, as the hub keeps them: the newest of each
 * role wins, and a link of another pair puts an end to the halves of the old one.
 *
 * Facts: spec-notes/iothub.md, direct methods.
 */

import type { Link, Receiver, Sender } from '../../client/api.ts'
import { LinkCondition } from '../../errors.ts'

/** The links of one device or module to one node. */
export class LinkPair {
  readonly #onChange: () => void
  #sender: Sender | undefined
  #receiver: Receiver | undefined

  /** @param onChange  called when a link has come or gone */
  constructor(onChange: () => void) {
    this.#onChange = onChange
  }

  /** To the device; `undefined` while it has only the other, or none. */
  get sender(): Sender | undefined {
    return this.#receiver === undefined ? undefined : this.#sender
  }

  /** A link to the device. */
  setSender(sender: Sender): void {
    this.#replace(this.#sender, sender)
    if (!areOfOnePair(this.#receiver, sender)) this.#replace(this.#receiver, undefined)
    this.#sender = sender
    this.#watch(sender)
  }

  /** A link from the device. */
  setReceiver(receiver: Receiver): void {
    this.#replace(this.#receiver, receiver)
    if (!areOfOnePair(this.#sender, receiver)) this.#replace(this.#sender, undefined)
    this.#receiver = receiver
    this.#watch(receiver)
  }

  /** Whether the device's present pair has this link. */
  has(link: Link): boolean {
    return link === this.#sender || link === this.#receiver
  }

  #replace(old: Link | undefined, by: Link | undefined): void {
    if (old === undefined || old === by) return
    this.#forget(old)
    const description = 'the device has attached another link of this kind'
    old.close({ error: { condition: LinkCondition.stolen, description } }).catch(() => {})
  }

  #forget(link: Link): void {
    if (link === this.#sender) this.#sender = undefined
    if (link === this.#receiver) this.#receiver = undefined
  }

  #watch(link: Link): void {
    void link.closed.then(() => {
      if (!this.has(link)) return
      this.#forget(link)
      this.#onChange()
    })
    this.#onChange()
  }
}

const PAIR_ID = 'com.microsoft:channel-correlation-id'

/** Links without an id fit any. The text before a colon names the kind. */
function areOfOnePair(one: Link | undefined, other: Link): boolean {
  const [left, right] = [one, other].map(link => link?.properties.get(PAIR_ID))
  if (typeof left !== 'string' || typeof right !== 'string') return true
  return left.replace(/^.*:/, '') === right.replace(/^.*:/, '')
}
