/**
 * The twin of a device or module, at the device: desired properties as the back end has set them, kept current by
 * notifications, and reported properties, which the device updates.
 *
 * Notifications are patches with a version. One that does not follow on the version at hand means that others were
 * lost: then the twin is read again. Facts: spec-notes/iothub.md, twins. RFC 7396
 */

import type { Closure } from '../client/api.ts'
import type { Abortable } from '../client/options.ts'
import { AmqpCondition, ClosedError, ProtocolError, UsageError } from '../errors.ts'
import { untilAborted } from './hub-connection.ts'
import { jsonBytes } from './json-body.ts'
import type { LinkPair } from './link-pair.ts'
import { isJsonObject, type JsonObject, mergePatch } from './merge-patch.ts'
import { TwinRequests } from './twin-requests.ts'

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
  /** Resolves when the twin is no longer kept current: the links or the connection ended. */
  readonly closed: Promise<Closure>
  readonly #requests: TwinRequests
  #desired: Section = { properties: {}, version: 0 }
  #reported: Section = { properties: {}, version: 0 }
  #isRead = false
  #isClosed = false
  /** While the twin is read, notifications wait. */
  #reading: Promise<void> | undefined
  readonly #waiting: JsonObject[] = []
  #next: Promise<Link | undefined>
  #announce: (link: Link | undefined) => void = () => {}
  #fail: (error: Error) => void = () => {}

  private constructor(pair: LinkPair) {
    this.closed = pair.closed
    this.#requests = new TwinRequests(pair, body => this.#onNotification(body))
    this.#next = this.#promiseNext()
    void pair.closed.then(({ by, error }) => {
      this.#isClosed = true
      if (by === 'local') this.#announce(undefined)
      else this.#fail(new ClosedError('the twin', 'link', error, by))
    })
  }

  /** @internal Subscribes and reads. @throws as {@link refresh} */
  static async open(pair: LinkPair): Promise<Twin> {
    const twin = new Twin(pair)
    await twin.refresh()
    return twin
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
   * @throws {ClosedError} the links ended first; whether it took effect is unknown
   *
   * Cancellation stops waiting; the update may take effect.
   */
  async update(patch: object, options: Abortable = {}): Promise<number> {
    if (!isJsonObject(patch)) throw new UsageError('twin: a patch is a JSON object')
    const body = jsonBytes(patch, 'the patch')
    const { version } = await this.#requests.send({ operation: 'PATCH', resource: REPORTED, body }, options)
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
   * Changes of the desired properties from this call on. Each loop gets them all, in order, and may take its time.
   *
   * The loop ends when the client is closed.
   *
   * @throws {ClosedError} the links ended otherwise; another `DeviceClient.twin()` begins anew
   * @throws {RemoteError} changes were lost and the hub does not say which; a new loop goes on from the next
   *
   * Cancellation ends the loop with `signal.reason`.
   */
  changes(options: Abortable = {}): AsyncGenerator<DesiredChange, undefined, undefined> {
    return follow(this.#next, options)
  }

  /**
   * Subscribes to changes and reads the twin, both again. It is not needed, except where one suspects the hub.
   *
   * @throws {RemoteError} the hub refused; `info` has its `status`
   * @throws {ProtocolError} what it answered is no twin
   * @throws {ClosedError} the links ended first
   *
   * Cancellation stops waiting.
   */
  async refresh(options: Abortable = {}): Promise<void> {
    await this.#requests.send({ operation: 'PUT', resource: NOTIFICATIONS }, options)
    await untilAborted(this.#read(), options.signal)
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
    const { body } = await this.#requests.send({ operation: 'GET' }, {})
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
      this.#waiting.push(isJsonObject(body) ? body : {})
      return
    }
    const section = sectionOf(body)
    if (section !== undefined && section.version <= this.#desired.version) return
    if (section === undefined || section.version !== this.#desired.version + 1) {
      this.#read().catch(error => {
        if (this.#isClosed) return
        const fail = this.#fail
        this.#next = this.#promiseNext()
        fail(error)
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
const NOTIFICATIONS = '/notifications/twin/properties/desired'

/** `undefined` for what has no version. */
function sectionOf(value: unknown): Section | undefined {
  if (!isJsonObject(value)) return undefined
  const { $version: version, $metadata: _, ...properties } = value
  return typeof version === 'number' ? { properties, version } : undefined
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
