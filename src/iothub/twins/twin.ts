/**
 * The twin of a device or module, at the device: desired properties as the back end has set them, kept current by
 * notifications, and reported properties, which the device updates.
 *
 * Notifications are patches with a version. One that does not follow on the version at hand means that others were
 * lost: then the twin is read again, and so it is when the connection or a link was lost and is there again. Facts: spec-notes/iothub.md, twins. RFC 7396
 */

import type { Closure } from '../../client/api.ts'
import type { Abortable } from '../../client/options.ts'
import { AmqpCondition, AmqpError, ClosedError, ProtocolError, UsageError } from '../../errors.ts'
import { checkAbortable } from '../check-names.ts'
import { untilAborted } from '../clock.ts'
import type { HubConnection } from '../connection/hub-connection.ts'
import type { LinkPair } from '../connection/link-pair.ts'
import type { SharedLink } from '../connection/shared-link.ts'
import { jsonBytes } from '../json-body.ts'
import { isJsonObject, type JsonObject, mergePatch } from './merge-patch.ts'
import { isVersion, type TwinAnswer, type TwinRequest, TwinRequests } from './twin-requests.ts'

/** A change of the desired properties. */
export interface DesiredChange {
  /** Of the desired properties with this change. */
  readonly version: number
  /** What was set; `null` where something was removed. `undefined` where the twin had to be read again. */
  readonly patch: JsonObject | undefined
  /** The desired properties with this change. */
  readonly desired: JsonObject
}

/** Properties and their version. */
interface Section {
  readonly properties: JsonObject
  readonly version: number
}

/** A change, and the promise of the next; `undefined` when there are no more. */
interface Link {
  readonly change: DesiredChange
  readonly next: Promise<Link | undefined>
}

/** A twin, kept current. Get it by `DeviceClient.twin()`. */
export class Twin {
  /** Resolves when the twin is no longer kept current: the links or the connection ended for good. */
  readonly closed: Promise<Closure>
  readonly #links: SharedLink<LinkPair>
  readonly #hub: HubConnection
  #requests: TwinRequests
  #desired: Section = { properties: {}, version: 0 }
  #reported: Section = { properties: {}, version: 0 }
  #isRead = false
  #isClosed = false
  #onClosed: (closure: Closure) => void = () => {}
  /** While the twin is read, notifications wait. */
  #reading: Promise<void> | undefined
  readonly #waiting: JsonObject[] = []
  /** While the links are attached again, updates wait. */
  #rebinding: Promise<void> | undefined
  /** Returns so far: what one begins, the next takes over. */
  #returns = 0
  #next: Promise<Link | undefined>
  #announce: (link: Link | undefined) => void = () => {}
  #fail: (error: Error) => void = () => {}

  private constructor(links: SharedLink<LinkPair>, pair: LinkPair, hub: HubConnection) {
    this.#links = links
    this.#hub = hub
    this.closed = new Promise(resolve => {
      this.#onClosed = resolve
    })
    this.#next = this.#promiseNext()
    this.#requests = this.#bind(pair)
  }

  /** @internal Subscribes and reads. @throws as {@link refresh} */
  static async open(links: SharedLink<LinkPair>, hub: HubConnection): Promise<Twin> {
    const twin = new Twin(links, await links.get(), hub)
    try {
      await twin.refresh()
      return twin
    } catch (error) {
      twin.#end({ by: 'local', error: undefined })
      throw error
    }
  }

  /** The desired properties, without `$version`. A new object with each change; do not change it. */
  get desired(): JsonObject {
    return this.#desired.properties
  }

  /** Version of the desired properties. */
  get desiredVersion(): number {
    return this.#desired.version
  }

  /** The reported properties as the hub has them, without `$version`. */
  get reported(): JsonObject {
    return this.#reported.properties
  }

  /** Version of the reported properties. */
  get reportedVersion(): number {
    return this.#reported.version
  }

  /**
   * Updates reported properties: objects are merged, `null` removes, all else replaces.
   *
   * @param patch  a JSON object; 32 KiB altogether, ten levels
   * @returns the new version of the reported properties
   * @throws {UsageError} the patch is no JSON object
   * @throws {RemoteError} the hub refused it; `info` has its `status`, e.g. 400, 413, 429
   * @throws {ClosedError} the connection or the links were lost meanwhile; whether it took effect is unknown
   * @throws {DOMException} `TimeoutError`: the hub has not answered within 30 s; likewise
   *
   * Cancellation stops waiting; the update may take effect.
   */
  async update(patch: object, options: Abortable = {}): Promise<number> {
    checkAbortable('update', options)
    if (!isJsonObject(patch)) throw new UsageError('twin: a patch is a JSON object')
    const body = jsonBytes(patch, 'the patch')
    await untilAborted(this.#rebinding ?? Promise.resolve(), options.signal).catch(error => {
      throw this.#hub.explained(error)
    })
    const { version } = await this.#ask({ operation: 'PATCH', resource: REPORTED, body }, options)
    const known = this.#reported
    if (version === known.version + 1) {
      // As the hub has it: without what JSON leaves out.
      const sent = JSON.parse(new TextDecoder().decode(body)) as JsonObject
      this.#reported = { properties: mergePatch(known.properties, sent), version }
    } else if (version === undefined || version > known.version) {
      await untilAborted(this.#read(), options.signal)
    }
    return version ?? this.#reported.version
  }

  /**
   * Changes of the desired properties from this call on. Each loop gets them all, in order, and may take its time. What
   * was changed while the connection was lost comes as one change, without its `patch`.
   *
   * The loop ends when the client is closed.
   *
   * @throws {ClosedError} the links ended otherwise; another `DeviceClient.twin()` begins anew
   * @throws {RemoteError} changes were lost and the hub does not say which; a new loop goes on from the next
   *
   * Cancellation ends the loop with `signal.reason`.
   */
  changes(options: Abortable = {}): AsyncGenerator<DesiredChange, undefined, undefined> {
    checkAbortable('changes', options)
    return follow(this.#next, options)
  }

  /**
   * Subscribes to changes and reads the twin, both again. It is not needed, except where one suspects the hub: after a
   * loss it is done.
   *
   * @throws {RemoteError} the hub refused; `info` has its `status`
   * @throws {ProtocolError} what it answered is no twin
   * @throws {ClosedError} the links ended first
   *
   * Cancellation stops waiting.
   */
  async refresh(options: Abortable = {}): Promise<void> {
    checkAbortable('refresh', options)
    await this.#ask({ operation: 'PUT', resource: NOTIFICATIONS }, options)
    await untilAborted(this.#read(), options.signal)
  }

  // ---- links that are lost, and others ---------------------------------------------------------------------------

  /** Not while the line is being changed, which waits for the answer. */
  async #ask(request: TwinRequest, options: Abortable): Promise<TwinAnswer> {
    const { line } = this.#hub
    if (line.isHeld) await untilAborted(line.whenOpen(), options.signal)
    try {
      return await line.underway(this.#requests.send(request, options))
    } catch (error) {
      throw this.#hub.explained(error)
    }
  }

  #bind(pair: LinkPair): TwinRequests {
    void pair.closed.then(closure => this.#onLinksEnded(closure))
    const requests = new TwinRequests(pair, body => this.#onNotification(body), this.#hub.clock)
    pair.watchers.add({
      onLost: () => requests.onLost(),
      // The hub has forgotten the subscription with the links.
      onBack: () => {
        requests.onBack()
        void this.#catchUp()
      },
    })
    return requests
  }

  async #onLinksEnded(closure: Closure): Promise<void> {
    if (this.#isClosed) return
    if (closure.by === 'local' || !this.#hub.goesOn(closure.error)) return this.#end(closure)
    const rebinding = this.#links.get().then(pair => {
      this.#requests = this.#bind(pair)
    })
    this.#rebinding = rebinding
    try {
      await rebinding
    } catch (error) {
      return this.#end(error instanceof AmqpError ? { by: closure.by, error } : closure)
    } finally {
      this.#rebinding = undefined
    }
    await this.#catchUp()
  }

  /** Subscribes and reads once more; what has changed meanwhile is told. */
  async #catchUp(): Promise<void> {
    const turn = ++this.#returns
    const isStale = (): boolean => this.#isClosed || turn !== this.#returns
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.refresh()
      } catch (error) {
        // Lost once more: that is mended elsewhere, and comes here again.
        if (isStale() || error instanceof ClosedError) return
        if (await this.#hub.mend(error, attempt)) continue
        if (!isStale()) this.#failLoops(error as Error)
        return
      }
    }
  }

  #end(closure: Closure): void {
    if (this.#isClosed) return
    this.#isClosed = true
    const error = this.#hub.explained(new ClosedError('the twin', 'link', closure.error, closure.by)) as AmqpError
    if (closure.by === 'local' && this.#hub.isClosing) this.#announce(undefined)
    else this.#fail(error)
    this.#onClosed(closure)
  }

  #failLoops(error: Error): void {
    const fail = this.#fail
    this.#next = this.#promiseNext()
    fail(error)
  }

  /** Reads the twin; who asks meanwhile gets the same. */
  #read(): Promise<void> {
    const done = (): JsonObject[] => {
      this.#reading = undefined
      return this.#waiting.splice(0)
    }
    this.#reading ??= this.#get().then(
      () => {
        for (const notification of done()) this.#onNotification(notification)
      },
      error => {
        // The next notification shows the gap again.
        done()
        throw error
      },
    )
    return this.#reading
  }

  async #get(): Promise<void> {
    const { body } = await this.#ask({ operation: 'GET' }, {})
    const sections: { desired?: unknown; reported?: unknown } = isJsonObject(body) ? body : {}
    const desired = sectionOf(sections.desired)
    const reported = sectionOf(sections.reported)
    if (desired === undefined || reported === undefined)
      throw new ProtocolError('the answer is no twin', AmqpCondition.decodeError, 'delivery')
    const isNew = this.#isRead && desired.version !== this.#desired.version
    this.#isRead = true
    this.#reported = reported
    this.#desired = desired
    if (isNew) this.#tell(undefined)
  }

  #onNotification(body: unknown): void {
    if (this.#reading !== undefined) {
      // Where more come than may wait, the last says nothing, and the twin is read once more.
      if (this.#waiting.length < MAX_WAITING) this.#waiting.push(isJsonObject(body) ? body : {})
      else this.#waiting[MAX_WAITING - 1] = {}
      return
    }
    const section = sectionOf(body)
    if (section !== undefined && section.version <= this.#desired.version) return
    if (section === undefined || section.version !== this.#desired.version + 1) {
      this.#read().catch(error => {
        // After a loss it is read again in any case.
        if (!this.#isClosed && !(error instanceof ClosedError)) this.#failLoops(error)
      })
      return
    }
    const { properties: patch, version } = section
    this.#desired = { properties: mergePatch(this.#desired.properties, patch), version }
    this.#tell(patch)
  }

  #tell(patch: JsonObject | undefined): void {
    const { properties: desired, version } = this.#desired
    const announce = this.#announce
    this.#next = this.#promiseNext()
    announce({ change: { version, patch, desired }, next: this.#next })
  }

  #promiseNext(): Promise<Link | undefined> {
    const promise = new Promise<Link | undefined>((resolve, reject) => {
      this.#announce = resolve
      this.#fail = reject
    })
    // Nobody may be waiting for it.
    promise.catch(() => {})
    return promise
  }
}

const REPORTED = '/properties/reported'
/** Notifications that wait while the twin is read. */
const MAX_WAITING = 100
const NOTIFICATIONS = '/notifications/twin/properties/desired'

/** `undefined` for what has no version. */
function sectionOf(value: unknown): Section | undefined {
  if (!isJsonObject(value)) return undefined
  const { $version: version, $metadata: _, ...properties } = value
  return isVersion(version) ? { properties, version } : undefined
}

async function* follow(
  first: Promise<Link | undefined>,
  { signal }: Abortable,
): AsyncGenerator<DesiredChange, undefined, undefined> {
  for (let next = first; ; ) {
    const link = await untilAborted(next, signal)
    if (link === undefined) return
    yield link.change
    next = link.next
  }
}
