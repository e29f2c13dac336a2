/**
 * The twin of one device or module as the hub keeps it: tags, desired and reported properties, versions and metadata.
 * Pure; time is an argument.
 *
 * Versions and the etag begin at 1. The etag counts what back ends change, a version what was changed in its section.
 * Facts: spec-notes/iothub.md, twins.
 */

import { isJsonObject, type JsonObject, mergePatch } from '../../iothub/twins/merge-patch.ts'

/** Properties with what the hub keeps beside them. */
interface Section {
  readonly properties: JsonObject
  /** As the properties, with the time of the last change at each level. */
  readonly metadata: JsonObject
  readonly version: number
}

/** What a back end changes; what is left out stays. */
export interface TwinPatch {
  readonly tags?: unknown
  readonly desired?: unknown
}

/** What became of a change. `status` is that of HTTP. */
export type TwinChange =
  | { readonly ok: true }
  | { readonly ok: false; readonly status: 400 | 412 | 413; readonly reason: string }

/** One twin. */
export class TwinDocument {
  #tags: JsonObject = {}
  #desired: Section
  #reported: Section
  #etag = 1

  /** @param now  ms since 1970 */
  constructor(now: number) {
    const metadata = { $lastUpdated: new Date(now).toISOString() }
    this.#desired = { properties: {}, metadata: { ...metadata, $lastUpdatedVersion: 1 }, version: 1 }
    this.#reported = { properties: {}, metadata, version: 1 }
  }

  /** Changes with each change of the tags or desired properties; opaque, without quotes. */
  get etag(): string {
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigUint64(0, BigInt(this.#etag))
    return Buffer.from(bytes).toString('base64')
  }

  /** Version of the desired properties. */
  get desiredVersion(): number {
    return this.#desired.version
  }

  /** Version of the reported properties. */
  get reportedVersion(): number {
    return this.#reported.version
  }

  /** What the device sees. */
  forDevice(): JsonObject {
    const view = ({ properties, version }: Section): JsonObject => ({ ...properties, $version: version })
    return { desired: view(this.#desired), reported: view(this.#reported) }
  }

  /** What back ends see, without what they see of the device itself. */
  forService(): {
    readonly etag: string
    readonly version: number
    readonly tags: JsonObject
    readonly properties: { readonly desired: JsonObject; readonly reported: JsonObject }
  } {
    const view = ({ properties, metadata, version }: Section): JsonObject => ({
      ...properties,
      $metadata: metadata,
      $version: version,
    })
    return {
      etag: this.etag,
      version: this.#desired.version + this.#reported.version,
      tags: this.#tags,
      properties: { desired: view(this.#desired), reported: view(this.#reported) },
    }
  }

  /** A device's patch. */
  patchReported(patch: unknown, now: number): TwinChange {
    const changed = patched(this.#reported, patch, now)
    if ('status' in changed) return changed
    this.#reported = changed
    return { ok: true }
  }

  /**
   * A back end's patch: all of it, or nothing.
   *
   * @param etag  the patch is refused if this is not the twin's
   */
  patch({ tags, desired }: TwinPatch, now: number, etag?: string): TwinChange {
    if (etag !== undefined && etag !== this.etag) return fault('the etag is not that of the twin', 412)
    const wrong = tags === undefined ? undefined : checkPatch('tags', tags, MAX_TAGS_SIZE, this.#tags)
    if (wrong !== undefined) return wrong
    const changed = desired === undefined ? this.#desired : patched(this.#desired, desired, now, true)
    if ('status' in changed) return changed
    this.#desired = changed
    if (isJsonObject(tags)) this.#tags = mergePatch(this.#tags, withoutReadOnly(tags))
    this.#etag++
    return { ok: true }
  }
}

const MAX_SECTION_SIZE = 32 * 1024
const MAX_TAGS_SIZE = 8 * 1024
const MAX_DEPTH = 10
const MAX_KEY_SIZE = 1024
const MAX_TEXT_SIZE = 4096

type Fault = Extract<TwinChange, { ok: false }>

/** @param tellsVersion  desired properties say in which version each was set */
function patched(section: Section, patch: unknown, now: number, tellsVersion = false): Section | Fault {
  const wrong = checkPatch('the properties', patch, MAX_SECTION_SIZE, section.properties)
  if (wrong !== undefined || !isJsonObject(patch)) return wrong ?? fault('a patch is a JSON object')
  const version = section.version + 1
  const stamp = { $lastUpdated: new Date(now).toISOString(), ...(tellsVersion && { $lastUpdatedVersion: version }) }
  const sent = withoutReadOnly(patch)
  return {
    properties: mergePatch(section.properties, sent),
    metadata: stamped(section.metadata, sent, stamp),
    version,
  }
}

/** Metadata follow the patch: each level that it touches gets the stamp. */
function stamped(metadata: unknown, patch: JsonObject, stamp: JsonObject): JsonObject {
  const merged = new Map(isJsonObject(metadata) ? Object.entries(metadata) : [])
  for (const [key, value] of Object.entries(stamp)) merged.set(key, value)
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key)
    else merged.set(key, isJsonObject(value) ? stamped(merged.get(key), value, stamp) : stamp)
  }
  return Object.fromEntries(merged)
}

/** Back ends write back what they have read: what only the hub may set is passed over. */
function withoutReadOnly({ $version: _, $metadata: __, ...patch }: JsonObject): JsonObject {
  return patch
}

function checkPatch(what: string, patch: unknown, maxSize: number, target: JsonObject): Fault | undefined {
  if (!isJsonObject(patch)) return fault(`${what}: a patch is a JSON object`)
  const sent = withoutReadOnly(patch)
  const wrong = checkObject(sent, 0)
  if (wrong !== undefined) return fault(`${what}: ${wrong}`)
  const size = sizeOf(mergePatch(target, sent))
  return size > maxSize ? fault(`${what} would have ${size} bytes, more than ${maxSize}`, 413) : undefined
}

function checkObject(object: JsonObject, depth: number): string | undefined {
  if (depth > MAX_DEPTH) return `objects are nested more than ${MAX_DEPTH} deep`
  for (const [key, value] of Object.entries(object)) {
    const wrong = checkKey(key) ?? checkValue(value, depth)
    if (wrong !== undefined) return wrong
  }
  return undefined
}

function checkKey(key: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is they that are not allowed
  if (/[\u0000-\u001f\u007f-\u009f.$ ]/.test(key)) return 'a key has a control character, a dot, a blank or a $'
  return utf8Length(key) > MAX_KEY_SIZE ? `a key has more than ${MAX_KEY_SIZE} bytes` : undefined
}

function checkValue(value: unknown, depth: number): string | undefined {
  if (typeof value === 'string')
    return utf8Length(value) > MAX_TEXT_SIZE ? `a text has more than ${MAX_TEXT_SIZE} bytes` : undefined
  if (typeof value === 'number')
    return Number.isInteger(value) && !(value >= -(2 ** 52) && value < 2 ** 52) ? 'an integer is too large' : undefined
  if (Array.isArray(value)) {
    for (const item of value) {
      const wrong =
        Array.isArray(item) && depth >= MAX_DEPTH ? 'arrays are nested too deep' : checkValue(item, depth + 1)
      if (wrong !== undefined) return wrong
    }
    return undefined
  }
  return isJsonObject(value) ? checkObject(value, depth + 1) : undefined
}

/** As a hub counts: texts without control characters, 8 for a number, 4 for a boolean, keys and values of all levels. */
function sizeOf(value: unknown): number {
  if (typeof value === 'number') return 8
  if (typeof value === 'boolean') return 4
  if (typeof value === 'string') return textSize(value)
  if (Array.isArray(value)) return value.reduce<number>((size, item) => size + sizeOf(item), 0)
  if (!isJsonObject(value)) return 0
  return Object.entries(value).reduce((size, [key, item]) => size + textSize(key) + sizeOf(item), 0)
}

function textSize(text: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is they that do not count
  return utf8Length(text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ''))
}

function utf8Length(text: string): number {
  return new TextEncoder().encode(text).length
}

function fault(reason: string, status: Fault['status'] = 400): Fault {
  return { ok: false, status, reason }
}
