/** JSON merge patches: an object adds and replaces, `null` removes, anything else is a value. Pure. RFC 7396 */

/** A JSON object, as parsed. */
export type JsonObject = Readonly<Record<string, unknown>>

/** Whether a value is a JSON object: neither `null` nor an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * The target with the patch applied. Neither is changed; what the patch does not touch is shared.
 *
 * @param target  anything but an object counts as an empty one
 * @param depth   levels above it. Below 100, ten times what a twin may have, a value replaces another as it is: a peer may
 *   nest what it says deeper than the stack
 */
export function mergePatch(target: unknown, patch: JsonObject, depth = 0): JsonObject {
  const merged = new Map(isJsonObject(target) ? Object.entries(target) : [])
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key)
    else if (isJsonObject(value) && depth < DEEPEST) merged.set(key, mergePatch(merged.get(key), value, depth + 1))
    else merged.set(key, value)
  }
  // Not by assignment, which has its own idea of `__proto__`.
  return Object.fromEntries(merged)
}

const DEEPEST = 100
