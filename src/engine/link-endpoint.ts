/**
 * LinkEndpoint: what senders and receivers have in common: attaching, detaching, closing, refusing. §2.6.1–6
 *
 * Frames of a link go through its session. Attach and flow are written in the order of the calls; a detach waits until
 * the link's queued transfers are framed, unless it abandons them.
 */

import { type Attach, attach as attachTable, type Detach } from '../definitions/performatives.ts'
import type { ReceiverSettleMode, Role, SenderSettleMode } from '../definitions/restricted.ts'
import type { Coordinator, Source, Target } from '../definitions/terminus.ts'
import { fittingEntries, type UnsettledEntry } from '../definitions/unsettled-map.ts'
import { type AmqpError, LinkCondition, ProtocolError, RemoteError, UsageError } from '../errors.ts'
import type { Init } from '../types/composite.ts'
import { Writer } from '../types/writer.ts'
import { type ErrorFields, fitted } from './error-fields.ts'
import type { EndedBy } from './events.ts'
import { type LinkInput, type LinkState, linkTransitions } from './link-states.ts'
import { refusal } from './refusal.ts'
import type { SessionEndpoint } from './session-endpoint.ts'
import { advance } from './transitions.ts'

/** What `attach` may be given; name, handle and role are the endpoint's own. */
export type AttachInit = Omit<Init<Attach>, 'type' | 'name' | 'handle' | 'role' | 'source' | 'target'> & {
  readonly source?: Init<Source> | undefined
  readonly target?: (Init<Target> & { readonly type?: 'target' }) | Coordinator | undefined
}

/** A detach that waits to be framed. */
interface PendingDetach {
  readonly closed: boolean
  readonly error: ErrorFields | undefined
}

export abstract class LinkEndpoint {
  abstract readonly role: Role
  readonly session: SessionEndpoint
  /** §2.6.1 */
  readonly name: string
  readonly initiated: 'local' | 'remote'
  state: LinkState = 'UNATTACHED'
  /** Our handle, from our attach on; −1 before and after. §2.6.2 */
  handle = -1
  /** The peer's handle; −1 before and after. */
  remoteHandle = -1
  sndSettleMode: SenderSettleMode = 'mixed'
  rcvSettleMode: ReceiverSettleMode = 'first'
  /** The peer's termini and limits, from its attach. */
  remoteSource: Source | undefined
  remoteTarget: Target | Coordinator | undefined
  /** 0: no limit. */
  remoteMaxMessageSize = 0n
  /** The peer refused the link: its terminus is null, and a detach follows. §2.6.3 */
  refused = false
  flowDue = false
  /** Memory that counts for it since the peer's attach. */
  keptBytes = 0
  /** Our attach told all that we hold unsettled. §2.6.13 */
  protected mapComplete = true
  /** The peer's attach did. */
  protected remoteMapComplete = true
  /** The peer's unsettled map, until it is compared with ours. */
  #remoteUnsettled: readonly UnsettledEntry[] | undefined
  /** Its deliveries among the session's unsettled ones. */
  unsettledCount = 0
  /** For the owner. */
  context: unknown
  #pendingDetach: PendingDetach | undefined
  #ended = false
  #isStolen = false

  /** The end has been reported, or is about to be. */
  get hasEnded(): boolean {
    return this.#ended
  }

  constructor(session: SessionEndpoint, name: string, initiated: 'local' | 'remote') {
    this.session = session
    this.name = name
    this.initiated = initiated
  }

  /** For messages: `link 'q1'`. A long name is cut: what we tell the peer must fit in the smallest frame. */
  get label(): string {
    const { name } = this
    return `link '${name.length > 60 ? `${name.slice(0, 60).toWellFormed()}…` : name}'`
  }

  /** Whether frames other than attach and detach may be sent and are expected. */
  get isAttached(): boolean {
    return this.state === 'ATTACHED' && this.#pendingDetach === undefined
  }

  /** Whether a second link of its name would be one too many. §2.6.1 */
  get holdsName(): boolean {
    const { state } = this
    if (this.#pendingDetach || this.#ended || !this.session.maySend) return false
    return state === 'ATTACHED' || state === 'ATTACH_SENT' || state === 'ATTACH_RCVD'
  }

  /** One of the maps was incomplete: the link is to be detached and attached again, for what it did not have. §2.6.13 */
  get mapsIncomplete(): boolean {
    return !this.mapComplete || !this.remoteMapComplete
  }

  /**
   * Whether its terminus ends with it: it is closed, or about to be, as against detached, cut off, or stolen. §2.6.4 §2.6.6
   */
  get isClosed(): boolean {
    if (this.#isStolen) return false
    const { state } = this
    return (
      this.#pendingDetach?.closed === true ||
      state === 'CLOSED' ||
      state === 'CLOSE_SENT' ||
      state === 'CLOSE_RCVD' ||
      state === 'DISCARDING'
    )
  }

  /** Sends our attach. @throws {UsageError} when it has been sent, or no handle is free. §2.6.3 */
  attach(init: AttachInit): void {
    const next = this.#check('S:ATTACH', 'attach')
    this.session.connection.postponed.frameNamed(this)
    const handle = this.session.assignHandle(this)
    if (handle < 0) throw new UsageError(`no handle left for ${this.label}`, '2.6.2')
    const unsettled = this.unsettledState
    try {
      const fields = {
        ...init,
        source: init.source && ({ ...init.source, type: 'source' } as Source),
        target: init.target && ({ type: 'target', ...init.target } as Target | Coordinator),
        type: 'attach',
        name: this.name,
        handle,
        role: this.role,
        // What the peer has asked for holds unless we say otherwise.
        sndSettleMode: init.sndSettleMode ?? this.sndSettleMode,
        rcvSettleMode: init.rcvSettleMode ?? this.rcvSettleMode,
        ...this.attachFields(init),
      }
      this.session.control('attach', unsettled ? { ...fields, ...this.#unsettled(fields, unsettled) } : fields)
    } catch (error) {
      this.handle = handle
      this.session.releaseLink(this)
      throw error
    }
    this.handle = handle
    this.state = next
    if (init.sndSettleMode) this.sndSettleMode = init.sndSettleMode
    if (init.rcvSettleMode) this.rcvSettleMode = init.rcvSettleMode
    this.#resume()
    this.onAttached()
  }

  /** The unsettled map that fits into our attach. §2.7.3 */
  #unsettled(attach: object, entries: Iterable<UnsettledEntry>): Init<Attach> {
    const writer = new Writer()
    attachTable.write(writer, attach as Attach, this.session.connection.style)
    const fields = fittingEntries(entries, this.session.connection.remoteMaxFrameSize - writer.offset - 16)
    this.mapComplete = !fields.incompleteUnsettled
    return fields
  }

  /** Refuses a link that the peer has attached: null terminus, then a closing detach with the error. §2.6.3 */
  refuse(error: ErrorFields): void {
    this.#check('S:ATTACH', 'refuse')
    const fields = fitted(error, this.session.connection.remoteMaxFrameSize)
    const theirs = this.role === 'sender' ? { target: this.remoteTarget } : { source: this.remoteSource }
    // The peer may have said of its terminus what cannot be said back.
    if (!refusal(() => this.attach(theirs)) || this.#answer()) this.close(fields)
  }

  /** Detaches; the terminus lives on. Queued transfers go first. @throws {UsageError} unless attached. §2.6.4 */
  detach(): void {
    this.#check('S:DETACH', 'detach')
    this.#postpone({ closed: false, error: undefined })
  }

  /**
   * Closes the link. Queued transfers go first, unless there is an error or `abandon` is set.
   * @throws {UsageError} unless attached. §2.6.5 §2.6.6
   */
  close(error?: ErrorFields, abandon = false): void {
    this.#check('S:CLOSE', 'close')
    const fields = error && fitted(error, this.session.connection.remoteMaxFrameSize)
    if (error || abandon) this.abandonQueue()
    this.#postpone({ closed: true, error: fields })
  }

  #postpone(detach: PendingDetach): void {
    this.#pendingDetach = detach
    this.session.connection.postponed.addLink(this)
  }

  /** Writes the postponed detach, if nothing is in its way any more. @returns whether it is off the list */
  frameDetach(): boolean {
    const pending = this.#pendingDetach
    if (!pending) return true
    if (!this.mayDetach) return false
    const input: LinkInput = pending.closed ? (pending.error ? 'S:CLOSE(ERROR)' : 'S:CLOSE') : 'S:DETACH'
    const next = advance(linkTransitions, this.state, input)
    this.#pendingDetach = undefined
    if (next === undefined || !this.session.maySend) return true
    this.session.control('detach', {
      type: 'detach',
      handle: this.handle,
      closed: pending.closed,
      error: pending.error as never,
    })
    this.state = next
    if (next === 'CLOSED' || next === 'DETACHED') this.#release()
    return true
  }

  /** The peer's attach. */
  onRemoteAttach(attach: Attach): void {
    const next = advance(linkTransitions, this.state, 'R:ATTACH')
    if (next === undefined)
      return this.session.fail('amqp:session:handle-in-use', `attach for ${this.label}, which is attached`, '2.6.3')
    this.state = next
    this.remoteHandle = attach.handle
    this.remoteSource = attach.source
    this.remoteTarget = attach.target
    this.remoteMaxMessageSize = attach.maxMessageSize ?? 0n
    this.refused = this.initiated === 'local' && (this.role === 'sender' ? !attach.target : !attach.source)
    if (!this.onAttachFields(attach)) return
    this.#remoteUnsettled = attach.unsettled
    this.remoteMapComplete = !attach.incompleteUnsettled
    this.#resume()
    this.session.connection.emit({ type: 'link.attached', link: this.self, attach })
    this.onAttached()
  }

  /** Compares the two maps once both attaches have passed; the peer's may be incomplete where ours is none. §2.6.13 */
  #resume(): void {
    if (this.state !== 'ATTACHED' || this.refused || this.#ended) return
    this.resume(this.#remoteUnsettled)
    this.#remoteUnsettled = undefined
  }

  /** The peer's detach: always answered, and reported once. §2.6.4 §2.6.6 */
  onRemoteDetach(detach: Detach): void {
    const answered = this.state === 'DETACH_SENT' || this.state === 'CLOSE_SENT' || this.state === 'DISCARDING'
    const next = advance(linkTransitions, this.state, detach.closed ? 'R:CLOSE' : 'R:DETACH')
    if (next === undefined)
      return this.session.fail(
        'amqp:session:unattached-handle',
        `detach for ${this.label}, which is not attached`,
        '2.6.4',
      )
    this.state = next
    this.session.releaseRemoteHandle(this)
    this.abandonQueue()
    const error =
      detach.error &&
      new RemoteError(`${this.label} ${detach.closed ? 'closed' : 'detached'} by peer`, 'link', detach.error)
    this.ended(answered ? 'local' : 'remote', detach.closed || next === 'CLOSED', error)
    if (answered) return this.#release()
    if (!this.session.maySend) return
    // It left before we had answered its attach: the answer is owed all the same.
    if (next === 'ATTACH_RCVD') {
      if (!this.#answer()) return
      this.state = detach.closed ? 'CLOSE_RCVD' : 'DETACH_RCVD'
    }
    this.#postpone({ closed: detach.closed, error: undefined })
  }

  /** Attaches for an owner who has not. The peer may have left us no handle, or its name no room in its frames. */
  #answer(): boolean {
    const why = refusal(() => this.attach({}))
    if (why) this.session.fail('amqp:not-allowed', `attach cannot be answered: ${why.message}`, '2.6.3')
    return why === undefined
  }

  /** The peer broke a rule of this link: it is told so, and the link discards until the peer's detach. §2.6.5 */
  fail(condition: string, description: string, section: string): void {
    const error = new ProtocolError(`${this.label}: ${description}`, condition, 'link', section)
    this.session.connection.emit({ type: 'protocol.error', error })
    // A flow may come right behind the attach.
    if (this.state === 'ATTACH_RCVD' && !this.#answer()) return
    this.#discard({ type: 'error', condition, description: error.message })
    this.ended('local', true, error)
  }

  /**
   * The peer has attached a link of this name again: this one is closed, and no rule was broken. §2.6.1 §2.8.18
   *
   * @param elsewhere  on another connection: whatever state this one is in, it ends. Default false
   */
  steal(elsewhere = false): void {
    // One of ours that has not been answered, or is closing, is none that the peer could have meant.
    if (!elsewhere && (!this.holdsName || this.state === 'ATTACH_SENT')) return
    if (this.state === 'ATTACH_RCVD' && !this.#answer()) return
    this.#isStolen = true
    const error = { condition: LinkCondition.stolen, description: 'the name was attached again' }
    this.#discard({ type: 'error', ...error })
    this.ended('remote', true, new RemoteError(this.label, 'link', error))
  }

  /** Closes with an error at once, and discards until the peer's detach. §2.6.5 */
  #discard(error: ErrorFields): void {
    this.abandonQueue()
    this.#pendingDetach = undefined
    const next = advance(linkTransitions, this.state, 'S:CLOSE(ERROR)')
    if (next === undefined || !this.session.maySend) return
    this.session.control('detach', {
      type: 'detach',
      handle: this.handle,
      closed: true,
      error: fitted(error, this.session.connection.remoteMaxFrameSize),
    })
    this.state = next
    if (next === 'CLOSED') this.#release()
  }

  /** Reports the end, the first time: the first cause wins. */
  protected ended(by: EndedBy, closed: boolean, error: AmqpError | undefined): void {
    if (this.#ended) return
    this.#ended = true
    this.onEnded()
    this.session.connection.emit({ type: 'link.detached', link: this.self, by, closed, error })
  }

  #release(): void {
    this.session.releaseLink(this)
    this.ended('local', this.state === 'CLOSED', undefined)
  }

  #check(input: LinkInput, verb: string): LinkState {
    const next = this.#pendingDetach ? undefined : advance(linkTransitions, this.state, input)
    if (next === undefined) throw new UsageError(`cannot ${verb} ${this.label} in state ${this.state}`, '2.6')
    if (!this.session.maySend) throw new UsageError(`cannot ${verb} ${this.label}: its session has ended`, '2.5.5')
    return next
  }

  // ---- what the two roles fill in ------------------------------------------------------------------------------

  /** This endpoint as what it is. */
  protected abstract get self(): never
  /** Fields of our attach that the role decides. */
  protected abstract attachFields(init: AttachInit): Init<Attach>
  /** The peer's attach, as far as the role is concerned. @returns false when it ended the session */
  protected abstract onAttachFields(attach: Attach): boolean
  /** What this end holds unsettled from an earlier endpoint; `undefined` for a link that is not resumed. §2.6.13 */
  protected abstract get unsettledState(): Iterable<UnsettledEntry> | undefined
  /** Both maps are known. §2.6.13 */
  protected abstract resume(unsettled: readonly UnsettledEntry[] | undefined): void
  /** Called when either attach has passed; both have when `state` is ATTACHED. */
  protected abstract onAttached(): void
  /** Whether nothing is queued in front of a detach. */
  abstract get mayDetach(): boolean
  /** Drops what is queued. */
  abstract abandonQueue(): void
  /** The link has ended: its unsettled deliveries leave the session. */
  protected abstract onEnded(): void
}
