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
 */
export function mergePatch(target: unknown, patch: JsonObject): JsonObject {
  const merged = new Map(isJsonObject(target) ? Object.entries(target) : [])
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key)
    else merged.set(key, isJsonObject(value) ? mergePatch(merged.get(key), value) : value)
  }
  // Not by assignment, which has its own idea of `__proto__`.
  return Object.fromEntries(merged)
}
